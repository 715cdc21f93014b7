//! Writes an export, or goes on with one.

use super::details::{details_path, push_details};
use super::error::{ExportError, failed};
use super::files::ExportedLog;
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::note::VerifierKey;
use crate::tree::{Appender, Resource, TILE_WIDTH, Tile, check_consistency, leaf_hash, push_entry, read_bundle};
use crate::verify::LogRecord;
use chancery_model::Sha256Hash;
use std::path::Path;

/// How many bytes of a checkpoint are read.
const CHECKPOINT_LIMIT: u64 = 1 << 20;
/// 256 leaves with their lengths, of the longest.
const BUNDLE_LIMIT: u64 = 256 * (65_535 + 2);
const TILE_BYTES: u64 = 256 * 32;

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The checkpoint that is published in the folder now.
    pub checkpoint: SignedCheckpoint,
    /// How many records were not there before.
    pub added: u64,
    /// How many records the checkpoint that was to be exported covers, where one of more was published before.
    pub behind: Option<u64>,
}

/// Takes the records of a log into a folder, up to the size of one checkpoint, which it publishes last.
///
/// Interrupted, it is taken up at the last whole bundle. All files are on the disk before the checkpoint is there. The
/// checkpoint that is published never becomes smaller: where one of more records was published before, it stays, once the log
/// has shown that it still has these records, and the smaller one is kept beside it.
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
        (self.tree.size() < self.checkpoint.unverified().size()).then(|| self.tree.size())
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`ExportError`]: it is not the one that is wanted, or cannot be written.
    pub fn record(&mut self, record: &LogRecord) -> Result<(), ExportError> {
        let index = self.tree.size();
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
        let published = self.before.as_ref().map_or(0, |before| before.unverified().size());
        let mut checkpoint = self.checkpoint.clone();
        if let Some(before) = &self.before {
            self.keep(before, size, keys)?;
            if before.note().text() == checkpoint.note().text() && says_as_much(before, &checkpoint, keys) {
                checkpoint = before.clone();
            }
        }
        self.export.add_log_keys(keys)?;
        self.sync()?;
        let name = Resource::Checkpoint.to_string();
        self.export.write(&name, checkpoint.to_string().as_bytes())?;
        self.export.sync(&name)?;
        self.export.sync("")?;
        self.remove_partial_tiles()?;
        Ok(Exported { checkpoint, added: size - published, behind: None })
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
        self.export.sync("")?;
        Ok(Exported { checkpoint: published, added: 0, behind: Some(size) })
    }

    /// Lets the next run begin where this one began: the whole tiles say which records are there.
    fn take_back(&self) -> Result<(), ExportError> {
        let width = u64::from(TILE_WIDTH);
        let mut added =
            (self.first / width..self.tree.size() / width).filter_map(|index| Tile::new(0, index, TILE_WIDTH));
        added.try_for_each(|tile| self.export.remove(&tile.to_string()))
    }

    /// Keeps a checkpoint beside the one that is published, of so many records, unless one that says as much is kept there.
    fn keep(&self, checkpoint: &SignedCheckpoint, published: u64, keys: &[VerifierKey]) -> Result<(), ExportError> {
        let size = checkpoint.unverified().size();
        if size >= published {
            return Ok(());
        }
        let kept = self.export.read_kept(size, CHECKPOINT_LIMIT)?;
        let kept = kept.and_then(|kept| SignedCheckpoint::parse(&kept).ok());
        if kept.is_some_and(|kept| says_as_much(&kept, checkpoint, keys)) {
            return Ok(());
        }
        self.export.keep_checkpoint(size, &checkpoint.to_string())
    }

    /// Brings to the disk what was written.
    fn sync(&self) -> Result<(), ExportError> {
        for tile in Tile::of_tree(self.tree.size()).filter(|tile| self.is_new(*tile)) {
            self.export.sync(&tile.to_string())?;
            if tile.level() == 0 {
                self.export.sync(&Resource::Entries(tile).to_string())?;
                if self.details.is_some() {
                    self.export.sync(&details_path(tile))?;
                }
            }
        }
        Ok(())
    }

    /// Whether a tile of the tree ends behind what was published before: a run that was interrupted has written it, or this one.
    fn is_new(&self, tile: Tile) -> bool {
        let hashes = tile.index() * u64::from(TILE_WIDTH) + u64::from(tile.width());
        let published = self.before.as_ref().map_or(0, |before| before.unverified().size());
        !tile.is_whole() || hashes << (8 * u32::from(tile.level())) > published
    }

    /// Those of the checkpoint before, and of where this run began, which are whole by now.
    fn remove_partial_tiles(&self) -> Result<(), ExportError> {
        let published = self.before.as_ref().map_or(0, |before| before.unverified().size());
        let mut edges = Tile::edge_of_tree(published).chain(Tile::edge_of_tree(self.first));
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

/// Makes the folder, or finds what was published in it.
fn prepare(export: &ExportedLog, details: bool) -> Result<Option<SignedCheckpoint>, ExportError> {
    let folder = export.folder();
    export.make()?;
    if export.holds("tile") || export.is_published() {
        if export.has_details() != details {
            let begun = if details { "without" } else { "with" };
            return Err(ExportError::Details { folder: folder.to_owned(), begun });
        }
        let Some(bytes) = export.read(Resource::Checkpoint, CHECKPOINT_LIMIT)? else { return Ok(None) };
        let parsed = SignedCheckpoint::parse(&bytes);
        return parsed.map(Some).map_err(|error| export.damaged(format!("the checkpoint cannot be read: {error}")));
    }
    let empty = std::fs::read_dir(folder).map_err(failed("list", folder))?.all(|entry| {
        // What an export makes before its first tile.
        entry.is_ok_and(|entry| entry.file_name() == "details")
    });
    if !empty {
        return Err(ExportError::Occupied { folder: folder.to_owned() });
    }
    if details { export.make_details().map(|()| None) } else { Ok(None) }
}

/// The tree of the whole bundles that are there, which must have the root that was published, and that of a checkpoint of
/// fewer records.
fn take_up(
    export: &ExportedLog,
    before: Option<&SignedCheckpoint>,
    checkpoint: &SignedCheckpoint,
) -> Result<Appender, ExportError> {
    let published = before.map_or(0, |before| before.unverified().size());
    let size = checkpoint.unverified().size();
    let other = || export.damaged(format!("its tiles are not those of its checkpoint of {published} records"));
    let check = |tree: &Appender| {
        if tree.size() == published && before.is_some_and(|before| !is_root(tree, before)) {
            return Err(other());
        }
        if tree.size() == size && size < published && !is_root(tree, checkpoint) {
            return Err(ExportError::Fork { size });
        }
        Ok(())
    };
    let mut tree = Appender::new();
    for index in 0..size.max(published) / u64::from(TILE_WIDTH) {
        let Some(tile) = Tile::new(0, index, TILE_WIDTH) else { break };
        let Some(hashes) = read_tile(export, tile)? else { break };
        // What an interrupted run wrote was not brought to the disk: of a file there may be the name alone.
        if (index + 1) * u64::from(TILE_WIDTH) > published && !holds_bundle(export, tile, &hashes)? {
            break;
        }
        for hash in hashes {
            check(&tree)?;
            let mut written = Ok(());
            tree.append(hash, |tile, hashes| {
                if written.is_ok() && tile.level() > 0 && !export.holds(&tile.to_string()) {
                    written = write_tile(export, tile, hashes);
                }
            });
            written?;
        }
    }
    if tree.size() <= published {
        let mut whole = tree.clone();
        if let Some(tile) = Tile::edge_of_tree(published).find(|tile| tile.level() == 0) {
            for hash in read_tile(export, tile)?.into_iter().flatten() {
                check(&whole)?;
                whole.append(hash, |_, _| ());
            }
        }
        if whole.size() != published {
            return Err(other());
        }
        check(&whole)?;
    }
    Ok(tree)
}

/// Whether the entries of a whole tile are there, and are those of its hashes, with a file of details where there are such.
fn holds_bundle(export: &ExportedLog, tile: Tile, hashes: &[Sha256Hash]) -> Result<bool, ExportError> {
    let Some(bytes) = export.read(Resource::Entries(tile), BUNDLE_LIMIT)? else { return Ok(false) };
    let Ok(leaves) = read_bundle(&bytes, tile.width()) else { return Ok(false) };
    let same = leaves.iter().map(|leaf| leaf_hash(leaf)).eq(hashes.iter().copied());
    Ok(same && (!export.has_details() || export.holds(&details_path(tile))))
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

fn read_tile(export: &ExportedLog, tile: Tile) -> Result<Option<Vec<Sha256Hash>>, ExportError> {
    let Some(bytes) = export.read(Resource::Tile(tile), TILE_BYTES)? else { return Ok(None) };
    match bytes.as_chunks() {
        (hashes, []) if hashes.len() == usize::from(tile.width()) => Ok(Some(hashes.to_vec())),
        _ => Err(export.damaged(format!("{tile} has {} bytes", bytes.len()))),
    }
}

fn write_tile(export: &ExportedLog, tile: Tile, hashes: &[Sha256Hash]) -> Result<(), ExportError> {
    export.write(&tile.to_string(), hashes.as_flattened())
}
