//! The archive: the leaves of old whole tiles, in a folder, in the files that C2SP tlog-tiles serves
//! (docs/audit-record.md, "The archive").
//!
//! In scope: writing the files, each once, and reading them back, each time held against the hashes that the database keeps, or,
//! where these are lost, against what was signed.
//! Out of scope: which leaves are old enough, and emptying them in the database ([`crate::Log::archive`]).
//!
//! There is no `checkpoint` in it, which would name tiles that are not there yet; those under which leaves were moved are in
//! `checkpoints`, as an export keeps them.

mod copying;
mod mending;

pub use copying::{Copied, CopyError, Copying};
pub use mending::{Doubt, MendedTile, Mending, walk_with_archive};

use crate::export::ExportedLog;
use crate::export::limits::{BUNDLE_BYTES, CHECKPOINT_BYTES};
use crate::tree::{Resource, TILE_WIDTH, Tile, leaf_hash, read_bundle};
use chancery_store::{ArchiveError, ArchivedLeaves, Reader, StoreError};
use std::path::{Path, PathBuf};

/// An archive in a folder, which may be away.
#[derive(Debug, Clone)]
pub struct Archive {
    files: ExportedLog,
}

impl Archive {
    /// The archive in a folder. Looks at nothing yet.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { files: ExportedLog::at(folder) }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.files.folder()
    }

    /// Whether what was archived last can be read, and is what it was; nothing, where nothing was archived. Reading blocks.
    ///
    /// # Errors
    /// As of [`Archive::check_tile`].
    pub fn check(&self, reader: &Reader) -> Result<(), StoreError> {
        let Some(last) = reader.archived()?.checked_sub(1) else { return Ok(()) };
        self.check_tile(reader, last / u64::from(TILE_WIDTH))
    }

    /// Whether the leaves of a tile that was archived can be read, and are what they were. Reading blocks.
    ///
    /// # Errors
    /// [`StoreError::Archived`] where they cannot, or are not; others where the database failed.
    pub fn check_tile(&self, reader: &Reader, index: u64) -> Result<(), StoreError> {
        let last = (index + 1) * u64::from(TILE_WIDTH) - 1;
        let hashes = reader.tile(0, index)?.ok_or_else(|| StoreError::Damaged {
            what: format!(
                "the tile of the log's tree is missing by which the leaves of record {last} and before are checked"
            ),
        })?;
        let read = ArchivedLeaves::tile(self, index, &hashes);
        read.map(drop).map_err(|source| StoreError::Archived { index: last, source })
    }

    /// The sizes of the checkpoints under which leaves were moved.
    pub(crate) fn checkpoints(&self) -> Result<Vec<u64>, ArchiveError> {
        let unreadable = |error| ArchiveError::Unreadable { file: self.folder().to_owned(), source: Box::new(error) };
        if !self.files.has_log_keys().map_err(unreadable)? {
            return Err(self.away());
        }
        self.files.kept_checkpoints().map_err(unreadable)
    }

    /// One of them.
    pub(crate) fn checkpoint(&self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        let file = self.folder().join(ExportedLog::kept_name(size));
        match self.files.read_kept(size, CHECKPOINT_BYTES) {
            Ok(Some(note)) => Ok(note),
            Ok(None) => Err(ArchiveError::Missing { file }),
            Err(error) => Err(ArchiveError::Unreadable { file, source: Box::new(error) }),
        }
    }

    /// A file of it, no longer than `limit`, which was written and so has to be there.
    pub(crate) fn read(&self, resource: Resource, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let file = self.file(resource);
        let read = self.files.read(resource, limit).and_then(|read| match read {
            Some(bytes) => Ok(Ok(bytes)),
            None => Ok(Err(self.files.has_log_keys()?)),
        });
        match read {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(true)) => Err(ArchiveError::Missing { file }),
            Ok(Err(false)) => Err(self.away()),
            Err(error) => Err(ArchiveError::Unreadable { file, source: Box::new(error) }),
        }
    }

    /// The leaves of a whole tile, held to nothing.
    fn leaves(&self, index: u64) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let entries = Resource::Entries(whole(0, index));
        let bytes = self.read(entries, BUNDLE_BYTES)?;
        let changed = |what| ArchiveError::Changed { file: self.file(entries), what };
        let leaves = read_bundle(&bytes, TILE_WIDTH).map_err(|error| changed(error.to_string()))?;
        Ok(leaves.into_iter().map(<[u8]>::to_vec).collect())
    }

    pub(crate) fn file(&self, resource: Resource) -> PathBuf {
        self.folder().join(resource.to_string())
    }

    fn away(&self) -> ArchiveError {
        ArchiveError::Away { folder: self.folder().to_owned() }
    }
}

impl ArchivedLeaves for Archive {
    fn folder(&self) -> &Path {
        self.files.folder()
    }

    fn tile(&self, index: u64, hashes: &[u8]) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let leaves = self.leaves(index)?;
        let changed = |what| ArchiveError::Changed { file: self.file(Resource::Entries(whole(0, index))), what };
        let (hashes, rest) = hashes.as_chunks();
        if hashes.len() != leaves.len() || !rest.is_empty() {
            return Err(changed(format!("the database has {} hashes for its {} leaves", hashes.len(), leaves.len())));
        }
        let first = index * u64::from(TILE_WIDTH);
        match (first..).zip(leaves.iter().zip(hashes)).find(|(_, (leaf, hash))| leaf_hash(leaf) != **hash) {
            Some((record, _)) => Err(changed(format!(
                "the leaf of record {record} has another hash than the database has kept (where it is the database that is \
                     damaged, `chancery state check` mends it)"
            ))),
            None => Ok(leaves),
        }
    }
}

/// A tile that holds leaves which a database can count.
#[expect(clippy::expect_used, reason = "records are counted in 63 bits")]
fn whole(level: u8, index: u64) -> Tile {
    Tile::new(level, index, TILE_WIDTH).expect("a tile of a log that a database holds")
}

/// The whole tiles of a log of which so many leaves are archived, all levels.
pub(crate) fn whole_tiles(leaves: u64) -> impl Iterator<Item = Tile> {
    Tile::of_tree(leaves).filter(|tile| tile.is_whole())
}
