//! Copying leaves into the archive, a tile at a time: what may be emptied in the database afterwards.

use super::{Archive, whole};
use crate::checkpoint::SignedCheckpoint;
use crate::export::ExportError;
use crate::export::limits::CHECKPOINT_BYTES;
use crate::kept::{KeptTree, damage, kept_tree};
use crate::leaf::Leaf;
use crate::note::VerifierKey;
use crate::tree::{MakeProofError, Resource, TILE_WIDTH, Tile, check_inclusion, leaf_hash, push_entry};
use chancery_model::{Sha256Hash, Timestamp};
use chancery_store::{ArchiveError, ArchivedLeaves as _, Reader, StoreError};
use std::path::PathBuf;

const WIDTH: u64 = TILE_WIDTH as u64;

/// Why leaves were not copied. The database is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] StoreError),
    /// What was archived before, or just now, cannot be read back.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] ExportError),
    /// The folder is something else.
    #[error("{folder} is an export of a log, whose files change; name another folder for the archive")]
    Export {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds something else than this log.
    #[error(
        "the archive {folder} is that of another log, or of another history of this one: {what}. Nothing in it was changed; name \
         the right folder, or see docs/operations.md, \"The archive\""
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// What is different.
        what: String,
    },
    /// A leaf is not what the tree says.
    #[error(
        "record {index} {what}: somebody edited the database, or the disk is damaged. Nothing more is archived; keep a copy as \
         evidence, and see `chancery audit verify`"
    )]
    Leaf {
        /// The record.
        index: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// Leaves that are in the archive: on the disk, read back from it, and shown to be under a checkpoint. Made here only; what it
/// names may be emptied in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    first: u64,
    end: u64,
    root: Sha256Hash,
}

impl Copied {
    /// The first of the records, and the last.
    #[must_use]
    pub const fn range(&self) -> (u64, u64) {
        (self.first, self.end - 1)
    }

    /// How many records, from the first of the log on, are archived when these are.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// How many whole tiles these are.
    #[must_use]
    pub const fn tiles(&self) -> u64 {
        (self.end - self.first) / WIDTH
    }

    /// The root over the log up to [`Copied::end`].
    #[must_use]
    pub const fn root(&self) -> &Sha256Hash {
        &self.root
    }

    /// The first record of each tile.
    pub fn firsts(&self) -> impl Iterator<Item = u64> {
        (self.first..self.end).step_by(usize::from(TILE_WIDTH))
    }
}

/// A copy that is being made, from where the archive ends.
pub struct Copying {
    archive: Archive,
    reader: Reader,
    checkpoint: SignedCheckpoint,
    keys: Vec<VerifierKey>,
    tree: KeptTree,
    first: u64,
    next: u64,
}

impl Archive {
    /// Begins to copy what follows the leaves that are archived, as far as this checkpoint reaches, which the log has signed by one
    /// of these keys.
    ///
    /// # Errors
    /// [`CopyError`]: the database failed, or what was archived before is not there.
    pub fn begin(
        &self,
        reader: &Reader,
        checkpoint: &SignedCheckpoint,
        keys: Vec<VerifierKey>,
    ) -> Result<Copying, CopyError> {
        let first = reader.archived()?;
        // Not written beside what is away: an empty mount point would do as well as any folder.
        self.check(reader)?;
        Ok(Copying {
            archive: self.clone(),
            reader: reader.clone(),
            checkpoint: checkpoint.clone(),
            keys,
            tree: kept_tree(reader, checkpoint.unverified().size()),
            first,
            next: first,
        })
    }
}

impl Copying {
    /// How many tiles were copied.
    #[must_use]
    pub const fn tiles(&self) -> u64 {
        (self.next - self.first) / WIDTH
    }

    /// Copies the next tile, if it is whole, under the checkpoint, and waits for nothing, and if all its leaves are of before
    /// this time, by what they say themselves; `false` where it is not. Blocks.
    ///
    /// # Errors
    /// [`CopyError`]: what was copied is not to be emptied then.
    pub fn copy_next(&mut self, before: Timestamp) -> Result<bool, CopyError> {
        let (first, end) = (self.next, self.next + WIDTH);
        let open = self.reader.first_open_intent()?;
        if end > self.checkpoint.unverified().size() || open.is_some_and(|open| open < end) {
            return Ok(false);
        }
        let leaves = self.reader.leaves(first, TILE_WIDTH.into())?;
        for (index, leaf) in (first..end).zip(&leaves) {
            let wrong = |error| CopyError::Leaf { index, what: format!("cannot be read ({error})") };
            if Leaf::decode(leaf).map_err(wrong)?.time >= before {
                return Ok(false);
            }
        }
        let hashes = self.hold_to_the_checkpoint(first, &leaves)?;
        if self.tiles() == 0 {
            self.archive.prepare(&self.keys)?;
        } else {
            self.archive.is_still_there(&self.keys)?;
        }
        self.write(first, end, &leaves, &hashes)?;
        self.next = end;
        Ok(true)
    }

    /// The hashes of a tile, as the database keeps them: those of its leaves, and under the checkpoint all of them. One proof
    /// shows it, since the hashes of all other leaves of the tile go into that of the first one.
    fn hold_to_the_checkpoint(&mut self, first: u64, leaves: &[Vec<u8>]) -> Result<Vec<u8>, CopyError> {
        let wrong = |index, what: &str| CopyError::Leaf { index, what: what.to_owned() };
        let kept = self.reader.tile(0, first / WIDTH)?;
        let kept = kept.ok_or_else(|| wrong(first, "begins a whole tile that is not kept"))?;
        let (hashes, rest) = kept.as_chunks();
        if leaves.len() < usize::from(TILE_WIDTH) {
            return Err(wrong(first + leaves.len() as u64, "is missing"));
        }
        if hashes.len() != leaves.len() || !rest.is_empty() {
            return Err(wrong(first, "begins a whole tile that is kept cut"));
        }
        if let Some((index, _)) =
            (first..).zip(leaves.iter().zip(hashes)).find(|(_, (leaf, hash))| leaf_hash(leaf) != **hash)
        {
            return Err(wrong(index, "is not the one whose hash is in the tree"));
        }
        let proof = self.tree.inclusion_proof(first).map_err(|error| match error {
            MakeProofError::Tile(error) => CopyError::Database(damage(error)),
            error => wrong(first, &format!("has no proof ({error})")),
        })?;
        let (checkpoint, hash) = (self.checkpoint.unverified(), hashes.first().copied().unwrap_or_default());
        check_inclusion(&hash, first, checkpoint.size(), checkpoint.root(), &proof)
            .map_err(|_error| wrong(first, "or one of the 255 behind it is not under the checkpoint"))?;
        Ok(kept)
    }

    /// Writes the bundle, its tile, and the tiles above that are whole with it; then reads the leaves back from the disk.
    fn write(&self, first: u64, end: u64, leaves: &[Vec<u8>], hashes: &[u8]) -> Result<(), CopyError> {
        let tile = whole(0, first / WIDTH);
        let mut bundle = Vec::new();
        leaves.iter().try_for_each(|leaf| push_entry(&mut bundle, leaf)).map_err(ExportError::from)?;
        self.archive.put(&Resource::Entries(tile).to_string(), &bundle)?;
        self.archive.put(&tile.to_string(), hashes)?;
        for tile in completed_above(end) {
            let missing = || CopyError::Leaf { index: first, what: format!("is below {tile}, which is not kept") };
            let hashes = self.reader.tile(tile.level(), tile.index())?.ok_or_else(missing)?;
            self.archive.put(&tile.to_string(), &hashes)?;
        }
        self.archive.tile(tile.index(), hashes)?;
        Ok(())
    }

    /// What was copied; `None` where nothing was. A checkpoint over it is in the archive then, too.
    ///
    /// # Errors
    /// [`CopyError`]
    pub fn finish(self) -> Result<Option<Copied>, CopyError> {
        if self.next == self.first {
            return Ok(None);
        }
        self.archive.is_still_there(&self.keys)?;
        self.archive.put_checkpoint(&self.evidence()?)?;
        let root = kept_tree(&self.reader, self.next).root().map_err(damage)?;
        Ok(Some(Copied { first: self.first, end: self.next, root }))
    }

    /// The first checkpoint over what was copied that is kept, with cosignatures where there is such: it is of the time of the
    /// records, so that a backup which is put back has it, too. Or else the one that it was all held to.
    fn evidence(&self) -> Result<SignedCheckpoint, CopyError> {
        let before = Some(self.next - 1);
        let cosigned = self.reader.cosigned_checkpoints_after(before, 1)?;
        for row in cosigned.into_iter().chain(self.reader.checkpoints_after(before, 1)?) {
            let kept = SignedCheckpoint::parse(row.note.as_bytes()).ok();
            let Some(kept) = kept.filter(|kept| kept.verify(&self.keys).is_ok()) else { continue };
            if kept_tree(&self.reader, kept.unverified().size()).root().map_err(damage)? == *kept.unverified().root() {
                return Ok(kept);
            }
        }
        Ok(self.checkpoint.clone())
    }
}

/// The whole tiles above the lowest whose last leaf is the one before `end`.
fn completed_above(end: u64) -> impl Iterator<Item = Tile> {
    (1..=u8::MAX).map_while(move |level| {
        let leaves = 1_u64.checked_shl(8 * (u32::from(level) + 1))?;
        end.is_multiple_of(leaves).then(|| whole(level, end / leaves - 1))
    })
}

impl Archive {
    /// Makes the folder, or finds that it is this log's. Its keys are the first file: by them an archive is known to be there.
    fn prepare(&self, keys: &[VerifierKey]) -> Result<(), CopyError> {
        let files = &self.files;
        if files.is_published() {
            return Err(CopyError::Export { folder: self.folder().to_owned() });
        }
        files.make()?;
        if !files.has_log_keys()? {
            return Ok(files.put_log_keys(keys)?);
        }
        let mut all = self.keys_shared_with(keys)?;
        let before = all.len();
        keys.iter().for_each(|key| {
            if !all.contains(key) {
                all.push(key.clone())
            }
        });
        // The one file that is ever replaced: the log has got another key, by which later checkpoints are signed.
        if all.len() > before { Ok(files.put_log_keys(&all)?) } else { Ok(()) }
    }

    /// That it has not gone since it was prepared, and nobody else has taken it: what is written where a share was mounted is
    /// hidden once it is mounted again.
    fn is_still_there(&self, keys: &[VerifierKey]) -> Result<(), CopyError> {
        if !self.files.has_log_keys()? {
            return Err(self.away().into());
        }
        self.keys_shared_with(keys).map(drop)
    }

    /// The keys in it, one of which has to be of these.
    fn keys_shared_with(&self, keys: &[VerifierKey]) -> Result<Vec<VerifierKey>, CopyError> {
        let all = self.files.log_keys()?;
        if all.iter().any(|key| keys.contains(key)) {
            Ok(all)
        } else {
            Err(self.foreign("its log-keys are others than this log's".to_owned()))
        }
    }

    /// Writes a file; one that is there already stays, and has to be the same.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), CopyError> {
        if self.files.put(name, bytes)? { Ok(()) } else { Err(self.foreign(format!("{name} in it is another one"))) }
    }

    /// The same for a checkpoint, which may be there with fewer cosignatures, or more.
    fn put_checkpoint(&self, checkpoint: &SignedCheckpoint) -> Result<(), CopyError> {
        let size = checkpoint.unverified().size();
        let there = self.files.read_kept(size, CHECKPOINT_BYTES)?;
        match there.map(|note| SignedCheckpoint::parse(&note)) {
            Some(Ok(there)) if there.note().text() == checkpoint.note().text() => Ok(()),
            Some(_) => Err(self.foreign(format!("the checkpoint of {size} records in it is another one"))),
            None => self.put(&crate::export::ExportedLog::kept_name(size), checkpoint.to_string().as_bytes()),
        }
    }

    fn foreign(&self, what: String) -> CopyError {
        CopyError::Foreign { folder: self.folder().to_owned(), what }
    }
}
