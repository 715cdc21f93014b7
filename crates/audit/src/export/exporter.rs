//! Writes an export, or goes on with one.

use super::details::{details_path, push_details};
use super::error::{ExportError, failed};
use super::files::ExportedLog;
use crate::checkpoint::SignedCheckpoint;
use crate::note::VerifierKey;
use crate::tree::{Appender, Resource, TILE_WIDTH, Tile, leaf_hash, push_entry, read_bundle};
use crate::verify::LogRecord;
use chancery_model::Sha256Hash;
use std::path::Path;

/// How many bytes of a checkpoint are read.
const CHECKPOINT_LIMIT: u64 = 1 << 20;
/// 256 leaves with their lengths, of the longest.
const BUNDLE_LIMIT: u64 = 256 * (65_535 + 2);
const TILE_BYTES: u64 = 256 * 32;

/// Takes the records of a log into a folder, up to the size of one checkpoint, which it publishes last.
///
/// Interrupted, it is taken up at the last whole bundle. All files are on the disk before the checkpoint is there.
#[derive(Debug)]
pub struct Exporter {
    export: ExportedLog,
    checkpoint: SignedCheckpoint,
    tree: Appender,
    /// The first record that was not there.
    first: u64,
    /// What was published before.
    before: Option<SignedCheckpoint>,
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
        if exported > size {
            return Err(ExportError::Behind { folder: folder.to_owned(), exported, size });
        }
        let tree = take_up(&export, before.as_ref(), size)?;
        let details = details.then(String::new);
        Ok(Self { export, checkpoint, first: tree.size(), tree, before, bundle: Vec::new(), details })
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

    /// Publishes the checkpoint, with those that the log has kept, and its keys. How many records it has more than the one that
    /// was published before.
    ///
    /// # Errors
    /// [`ExportError`]: records are missing, or are not those of the checkpoint; then it was not published.
    pub fn publish<E: From<ExportError>>(
        mut self,
        kept: impl IntoIterator<Item = Result<SignedCheckpoint, E>>,
        keys: &[VerifierKey],
    ) -> Result<u64, E> {
        let size = self.checkpoint.unverified().size();
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
            self.keep(&checkpoint?)?;
        }
        let published = self.before.as_ref().map_or(0, |before| before.unverified().size());
        if let Some(before) = &self.before {
            self.keep(before)?;
        }
        self.export.write_log_keys(keys)?;
        self.sync()?;
        let name = Resource::Checkpoint.to_string();
        self.export.write(&name, self.checkpoint.to_string().as_bytes())?;
        self.export.sync(&name)?;
        self.export.sync("")?;
        self.remove_partial_tiles()?;
        Ok(size - published)
    }

    /// Lets the next run begin where this one began: the whole tiles say which records are there.
    fn take_back(&self) -> Result<(), ExportError> {
        let width = u64::from(TILE_WIDTH);
        let mut added =
            (self.first / width..self.tree.size() / width).filter_map(|index| Tile::new(0, index, TILE_WIDTH));
        added.try_for_each(|tile| self.export.remove(&tile.to_string()))
    }

    /// Keeps a checkpoint beside the one that is published.
    fn keep(&self, checkpoint: &SignedCheckpoint) -> Result<(), ExportError> {
        let size = checkpoint.unverified().size();
        if size < self.checkpoint.unverified().size() {
            self.export.keep_checkpoint(size, &checkpoint.to_string())?;
        }
        Ok(())
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

/// The tree of the whole bundles that are there, which must have the root that was published.
fn take_up(export: &ExportedLog, before: Option<&SignedCheckpoint>, size: u64) -> Result<Appender, ExportError> {
    let published = before.map_or(0, |before| before.unverified().size());
    let is_root = |tree: &Appender| before.is_none_or(|before| is_root(tree, before));
    let other = || export.damaged(format!("its tiles are not those of its checkpoint of {published} records"));
    let mut tree = Appender::new();
    for index in 0..size / u64::from(TILE_WIDTH) {
        let Some(tile) = Tile::new(0, index, TILE_WIDTH) else { break };
        let Some(hashes) = read_tile(export, tile)? else { break };
        // What an interrupted run wrote was not brought to the disk: of a file there may be the name alone.
        if (index + 1) * u64::from(TILE_WIDTH) > published && !holds_bundle(export, tile, &hashes)? {
            break;
        }
        for hash in hashes {
            if tree.size() == published && !is_root(&tree) {
                return Err(other());
            }
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
            read_tile(export, tile)?.into_iter().flatten().for_each(|hash| whole.append(hash, |_, _| ()));
        }
        if whole.size() != published || !is_root(&whole) {
            return Err(other());
        }
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
