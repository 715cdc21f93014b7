//! Writes an export, or goes on with one.

mod found;

use super::details::{details_path, push_details};
use super::error::ExportError;
use super::files::ExportedLog;
use super::limits::CHECKPOINT_BYTES;
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::note::VerifierKey;
use crate::tree::{Appender, Resource, TILE_WIDTH, Tile, check_consistency, leaf_hash, push_entry};
use crate::verify::LogRecord;
use chancery_model::Sha256Hash;
use found::{end_of, held_from, prepare, take_up};
use std::path::Path;

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The checkpoint that is published in the folder now.
    pub checkpoint: SignedCheckpoint,
    /// How many records were not there before.
    pub added: u64,
    /// How many records the checkpoint that was to be exported covers, where one of more was published before.
    pub behind: Option<u64>,
    /// From which record on what was there before was held to its hashes again, entries and details; before it, tiles alone
    /// were. The verification of an export reads all of it.
    pub held_from: u64,
}

/// Takes the records of a log into a folder, up to the size of one checkpoint, which it publishes last.
///
/// Interrupted, it is taken up at the last whole bundle. A file has its name only once it is on the disk, and all of them are
/// there before the checkpoint is. Records are taken up to the size of the checkpoint, and none beyond. The checkpoint that is
/// published never becomes smaller: where one of more records was published before, it stays, once the log has shown that it
/// still has these records, and the smaller one is kept beside it.
#[derive(Debug)]
pub struct Exporter {
    export: ExportedLog,
    checkpoint: SignedCheckpoint,
    tree: Appender,
    /// The first record that was not there.
    first: u64,
    /// What was published before.
    before: Option<SignedCheckpoint>,
    /// Whether the log has shown that it still has what was published before.
    has_published: bool,
    /// The records since the last whole bundle.
    bundle: Vec<u8>,
    details: Option<String>,
}

impl Exporter {
    /// Begins an export of the log of this checkpoint, or goes on with the one that is in the folder. The checkpoint is
    /// believed: verify it before.
    ///
    /// # Errors
    /// [`ExportError`]: the folder holds something else, or not the beginning of this log.
    pub fn begin(folder: &Path, checkpoint: SignedCheckpoint, details: bool) -> Result<Self, ExportError> {
        let export = ExportedLog::at(folder);
        let before = prepare(&export, details)?;
        let size = checkpoint.unverified().size();
        let exported = before.as_ref().map_or(0, |before| before.unverified().size());
        if exported > size && size == 0 {
            return Err(ExportError::Behind { folder: folder.to_owned(), exported, size });
        }
        let tree = take_up(&export, before.as_ref(), &checkpoint)?;
        let (first, bundle, details) = (tree.size(), Vec::new(), details.then(String::new));
        Ok(Self { export, checkpoint, first, tree, before, has_published: false, bundle, details })
    }

    /// What was published before, where it is of more records than the checkpoint is: witnesses are late, or the log was cut.
    /// No more records are wanted then, and the log has to show which it is ([`Exporter::log_shows`]).
    #[must_use]
    pub fn ahead(&self) -> Option<&Checkpoint> {
        let before = self.before.as_ref().map(SignedCheckpoint::unverified);
        before.filter(|before| before.size() > self.checkpoint.unverified().size())
    }

    /// Takes the log's proof (RFC 6962, section 2.1.2) that what was published before continues the tree of the checkpoint:
    /// a log that can give it has not been cut.
    ///
    /// # Errors
    /// [`ExportError::Fork`]: it does not hold.
    pub fn log_shows(&mut self, proof: &[Sha256Hash]) -> Result<(), ExportError> {
        let Some(published) = self.ahead() else { return Ok(()) };
        let (older, size) = (self.checkpoint.unverified(), published.size());
        check_consistency(older.size(), older.root(), size, published.root(), proof)
            .map_err(|_not_shown| ExportError::Fork { size })?;
        self.has_published = true;
        Ok(())
    }

    /// The index of the record that is wanted next; `None` where there are enough.
    #[must_use]
    pub fn wants(&self) -> Option<u64> {
        let wanted = self.tree.size() < self.checkpoint.unverified().size() && self.ahead().is_none();
        wanted.then(|| self.tree.size())
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`ExportError`]: it is not the one that is wanted, or cannot be written.
    pub fn record(&mut self, record: &LogRecord) -> Result<(), ExportError> {
        let Some(index) = self.wants() else {
            let what =
                format!("the checkpoint is of {} records, and does not cover it", self.checkpoint.unverified().size());
            return Err(ExportError::Record { index: record.index, what });
        };
        let refused = |what| ExportError::Record { index, what };
        if record.index != index {
            return Err(refused(format!("record {} stands in its place", record.index)));
        }
        push_entry(&mut self.bundle, &record.leaf)?;
        if let Some(lines) = &mut self.details {
            push_details(lines, record).map_err(refused)?;
        }
        if let Some(tile) = Tile::in_tree(0, index / u64::from(TILE_WIDTH), index + 1).filter(|tile| tile.is_whole()) {
            self.write_bundle(tile)?;
        }
        let mut written = Ok(());
        // After its entries: a tile that is there says that they are, too.
        self.tree.append(leaf_hash(&record.leaf), |tile, hashes| {
            if written.is_ok() {
                written = write_tile(&self.export, tile, hashes);
            }
        });
        written?;
        match &self.before {
            Some(before) if before.unverified().size() == self.tree.size() && !is_root(&self.tree, before) => {
                Err(ExportError::Fork { size: self.checkpoint.unverified().size() })
            }
            _ => Ok(()),
        }
    }

    fn write_bundle(&mut self, tile: Tile) -> Result<(), ExportError> {
        self.export.write(&Resource::Entries(tile).to_string(), &self.bundle)?;
        self.bundle.clear();
        if let Some(lines) = &mut self.details {
            self.export.write(&details_path(tile), lines.as_bytes())?;
            lines.clear();
        }
        Ok(())
    }

    /// Publishes the checkpoint, with those that the log has kept, and its keys.
    ///
    /// # Errors
    /// [`ExportError`]: records are missing, or are not those of the checkpoint; then it was not published.
    pub fn publish<E: From<ExportError>>(
        mut self,
        kept: impl IntoIterator<Item = Result<SignedCheckpoint, E>>,
        keys: &[VerifierKey],
    ) -> Result<Exported, E> {
        let size = self.checkpoint.unverified().size();
        if let Some(exported) = self.ahead().map(Checkpoint::size) {
            if !self.has_published {
                let folder = self.export.folder().to_owned();
                return Err(ExportError::Behind { folder, exported, size }.into());
            }
            return self.publish_beside(kept, keys);
        }
        if self.tree.size() != size {
            let what = "the log ended before it, and its checkpoint says that it is there".to_owned();
            return Err(ExportError::Record { index: self.tree.size(), what }.into());
        }
        if !is_root(&self.tree, &self.checkpoint) {
            self.take_back()?;
            return Err(ExportError::Fork { size }.into());
        }
        if let Some(tile) = Tile::edge_of_tree(size).find(|tile| tile.level() == 0) {
            self.write_bundle(tile)?;
        }
        for (tile, hashes) in self.tree.edge() {
            write_tile(&self.export, tile, hashes)?;
        }
        for checkpoint in kept {
            self.keep(&checkpoint?, size, keys)?;
        }
        let mut checkpoint = self.checkpoint.clone();
        if let Some(before) = &self.before {
            self.keep(before, size, keys)?;
            if before.note().text() == checkpoint.note().text() && says_as_much(before, &checkpoint, keys) {
                checkpoint = before.clone();
            }
        }
        self.export.add_log_keys(keys)?;
        self.sync_names()?;
        let name = Resource::Checkpoint.to_string();
        self.export.write(&name, checkpoint.to_string().as_bytes())?;
        self.export.sync_folders_of([&name])?;
        self.remove_partial_tiles()?;
        let published = self.published();
        Ok(Exported { checkpoint, added: size - published, behind: None, held_from: held_from(published) })
    }

    /// How many records were published before.
    fn published(&self) -> u64 {
        self.before.as_ref().map_or(0, |before| before.unverified().size())
    }

    /// Keeps the checkpoint beside the larger one that was published before, which stays.
    fn publish_beside<E: From<ExportError>>(
        self,
        kept: impl IntoIterator<Item = Result<SignedCheckpoint, E>>,
        keys: &[VerifierKey],
    ) -> Result<Exported, E> {
        let size = self.checkpoint.unverified().size();
        let published = self.before.as_ref().unwrap_or(&self.checkpoint).clone();
        let of = published.unverified().size();
        for checkpoint in kept {
            self.keep(&checkpoint?, of, keys)?;
        }
        self.keep(&self.checkpoint, of, keys)?;
        self.export.add_log_keys(keys)?;
        self.export.sync_folders_of([ExportedLog::kept_name(size)])?;
        Ok(Exported { checkpoint: published, added: 0, behind: Some(size), held_from: held_from(of) })
    }

    /// Lets the next run begin where what was published ends: the whole tiles say which records are there.
    fn take_back(&self) -> Result<(), ExportError> {
        let mut new = Tile::of_tree(self.tree.size()).filter(|tile| tile.is_whole() && self.is_new(*tile));
        new.try_for_each(|tile| self.export.remove(&tile.to_string()))
    }

    /// Keeps a checkpoint beside the one that is published, of so many records, unless one that says as much is kept there.
    fn keep(&self, checkpoint: &SignedCheckpoint, published: u64, keys: &[VerifierKey]) -> Result<(), ExportError> {
        let size = checkpoint.unverified().size();
        if size >= published {
            return Ok(());
        }
        let kept = self.export.read_kept(size, CHECKPOINT_BYTES)?;
        let kept = kept.and_then(|kept| SignedCheckpoint::parse(&kept).ok());
        if kept.is_some_and(|kept| says_as_much(&kept, checkpoint, keys)) {
            return Ok(());
        }
        self.export.keep_checkpoint(size, &checkpoint.to_string())
    }

    /// Brings the names of what was written to the disk; each file is there already.
    fn sync_names(&self) -> Result<(), ExportError> {
        let new = Tile::of_tree(self.tree.size()).filter(|tile| self.is_new(*tile));
        let beside = |tile: Tile| [Resource::Entries(tile).to_string(), details_path(tile)];
        let details = self.details.is_some();
        let names = new.flat_map(|tile| {
            let beside = beside(tile).into_iter().take(if tile.level() > 0 { 0 } else { 1 + usize::from(details) });
            std::iter::once(tile.to_string()).chain(beside)
        });
        let kept = self.export.keeps_checkpoints().then(|| ExportedLog::kept_name(0));
        self.export.sync_folders_of(names.chain(kept))
    }

    /// Whether a tile of the tree ends behind what was published before: a run that was interrupted has written it, or this one.
    fn is_new(&self, tile: Tile) -> bool {
        !tile.is_whole() || end_of(tile) > self.published()
    }

    /// Those of the checkpoint before, and of where this run began, which are whole by now.
    fn remove_partial_tiles(&self) -> Result<(), ExportError> {
        let mut edges = Tile::edge_of_tree(self.published()).chain(Tile::edge_of_tree(self.first));
        edges.try_for_each(|tile| self.remove_partial(tile))
    }

    fn remove_partial(&self, tile: Tile) -> Result<(), ExportError> {
        let whole = Tile::in_tree(tile.level(), tile.index(), self.tree.size()).filter(|tile| tile.is_whole());
        let Some(whole) = whole else { return Ok(()) };
        self.export.remove_partial(&whole.to_string())?;
        if whole.level() == 0 {
            self.export.remove_partial(&Resource::Entries(whole).to_string())?;
            self.export.remove_partial(&details_path(whole))?;
        }
        Ok(())
    }
}

fn is_root(tree: &Appender, of: &SignedCheckpoint) -> bool {
    tree.root() == *of.unverified().root()
}

/// Whether a checkpoint that is kept need not give way to another one of its size: it has more signatures, or it is not the
/// same, and then it is evidence.
fn says_as_much(kept: &SignedCheckpoint, other: &SignedCheckpoint, keys: &[VerifierKey]) -> bool {
    let (note, others) = (kept.note(), other.note());
    let same_size = kept.unverified().size() == other.unverified().size();
    let as_much = note.text() != others.text() || note.signatures().len() >= others.signatures().len();
    same_size && as_much && kept.verify(keys).is_ok()
}

fn write_tile(export: &ExportedLog, tile: Tile, hashes: &[Sha256Hash]) -> Result<(), ExportError> {
    export.write(&tile.to_string(), hashes.as_flattened())
}
