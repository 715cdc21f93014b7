//! What a database has in an archive: its leaves are read through the database, and verified with it; here are the other files.

use super::database::read_kept;
use super::walk::Stop;
use super::{Check, Fault, Place};
use crate::archive::{Archive, whole_tiles};
use crate::checkpoint::SignedCheckpoint;
use crate::export::limits::TILE_BYTES;
use crate::tree::{Resource, TILE_WIDTH, Tile};
use chancery_store::{ArchiveError, Reader, StoreError};

/// The checkpoints in an archive, by their sizes, into which so many leaves were moved.
pub(super) fn checkpoints(archive: &Archive, archived: u64) -> Result<Vec<SignedCheckpoint>, Stop<StoreError>> {
    let sizes = match archive.checkpoints() {
        // It is made when the first leaves are moved.
        Err(ArchiveError::Away { .. }) if archived == 0 => return Ok(Vec::new()),
        sizes => sizes.map_err(|source| Stop::Read(StoreError::Archived { index: 0, source }))?,
    };
    let read = |size: u64| {
        let note = archive.checkpoint(size).map_err(|error| not_had(Place::Checkpoint(size), size, error))?;
        Ok(read_kept(size, &note)?)
    };
    sizes.into_iter().map(read).collect()
}

/// Holds the tiles in an archive against those in the database, which were verified with the log.
pub(super) fn check_tiles(reader: &Reader, archive: &Archive, archived: u64) -> Result<(), Stop<StoreError>> {
    for tile in whole_tiles(archived) {
        let kept = reader.tile(tile.level(), tile.index()).map_err(Stop::Read)?;
        let file = Resource::Tile(tile);
        let there = archive.read(file, TILE_BYTES).map_err(|error| not_had(Place::Tile(tile), archived - 1, error))?;
        if kept.as_ref() != Some(&there) {
            let what = "its hashes are not those of the log".to_owned();
            let changed = ArchiveError::Changed { file: archive.file(file), what };
            return Err(not_had(Place::Tile(tile), archived - 1, changed));
        }
    }
    Ok(())
}

/// A leaf that the database does not give.
pub(super) fn leaf_not_had(error: StoreError) -> Stop<StoreError> {
    match error {
        StoreError::NoLeaf { index } => Fault { at: Place::Record(index), check: Check::NoLeaf }.into(),
        StoreError::Archived { index, source } => {
            let tile = Tile::new(0, index / u64::from(TILE_WIDTH), TILE_WIDTH);
            not_had(tile.map_or(Place::Record(index), Place::Entries), index, source)
        }
        error => Stop::Read(error),
    }
}

/// What is wrong with an archive is a fault of the log. That it is away, or cannot be read, is none.
fn not_had(at: Place, index: u64, error: ArchiveError) -> Stop<StoreError> {
    match error {
        ArchiveError::Missing { .. } | ArchiveError::Changed { .. } => {
            Fault { at, check: Check::Archive(error.to_string()) }.into()
        }
        source => Stop::Read(StoreError::Archived { index, source }),
    }
}
