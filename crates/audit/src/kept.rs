//! The tree as the database keeps it: its tiles, and where the lowest one is not whole yet, the leaves themselves.

use crate::tree::{StoredTree, TILE_WIDTH, Tile, TileError, leaf_hash, push_entry};
use chancery_model::Sha256Hash;
use chancery_store::{Reader, StoreError, Writer};

/// What tiles and leaves are read from: the writing thread's own connection, or one beside it.
pub(crate) trait Rows {
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError>;
    fn leaves(&self, first: u64, limit: u32) -> Result<Vec<Vec<u8>>, StoreError>;
}

impl Rows for Writer {
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Self::tile(self, level, index)
    }

    fn leaves(&self, first: u64, limit: u32) -> Result<Vec<Vec<u8>>, StoreError> {
        Self::leaves(self, first, limit)
    }
}

impl Rows for Reader {
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Self::tile(self, level, index)
    }

    fn leaves(&self, first: u64, limit: u32) -> Result<Vec<Vec<u8>>, StoreError> {
        Self::leaves(self, first, limit)
    }
}

/// A tile's hashes, at least as many as its width, if the log has so many leaves.
pub(crate) fn read_tile(rows: &impl Rows, tile: Tile) -> Result<Vec<Sha256Hash>, StoreError> {
    match (rows.tile(tile.level(), tile.index())?, tile.level()) {
        (Some(bytes), _) => Ok(bytes.as_chunks().0.to_vec()),
        (None, 0) => {
            let first = tile.index() * u64::from(TILE_WIDTH);
            let leaves = rows.leaves(first, tile.width().into())?;
            Ok(leaves.iter().map(|leaf| leaf_hash(leaf)).collect())
        }
        (None, _) => Ok(Vec::new()),
    }
}

/// The tree over the first leaves of a log, read when it is asked. See [`kept_tree`].
pub type KeptTree = StoredTree<Box<dyn FnMut(Tile) -> Result<Vec<Sha256Hash>, StoreError> + Send>>;

/// The tree over the first `size` leaves of the log in this database, for its root and proofs. Reading blocks; of a log that
/// has fewer leaves, tiles are short.
#[must_use]
pub fn kept_tree(reader: &Reader, size: u64) -> KeptTree {
    let reader = reader.clone();
    StoredTree::new(size, Box::new(move |tile| read_tile(&reader, tile)))
}

/// What tlog-tiles serves of the log in this database at a path: a tile's hashes, or the entries of a bundle. Of a tile that is
/// wider by now, the beginning. Whether it is under a checkpoint, the caller has to know. Reading blocks.
///
/// # Errors
/// [`StoreError`]: the database failed, or the log has not so many leaves.
pub fn served_tile(reader: &Reader, tile: Tile) -> Result<Vec<u8>, StoreError> {
    let hashes = read_tile(reader, tile)?;
    let hashes = hashes.get(..tile.width().into()).ok_or_else(|| short(tile, hashes.len()))?;
    Ok(hashes.as_flattened().to_vec())
}

/// The same for the bundle of entries of a tile of level 0.
///
/// # Errors
/// [`StoreError`]: the database failed, or the log has not so many leaves.
pub fn served_entries(reader: &Reader, tile: Tile) -> Result<Vec<u8>, StoreError> {
    let leaves = reader.leaves(tile.index() * u64::from(TILE_WIDTH), tile.width().into())?;
    if leaves.len() < usize::from(tile.width()) {
        return Err(short(tile, leaves.len()));
    }
    let mut bundle = Vec::new();
    for leaf in leaves {
        push_entry(&mut bundle, &leaf).map_err(|error| StoreError::Damaged { what: error.to_string() })?;
    }
    Ok(bundle)
}

fn short(tile: Tile, actual: usize) -> StoreError {
    damage(TileError::Short { tile, actual })
}

/// A tile that is not to be had is damage of the database, unless it is the database that failed.
pub(crate) fn damage(error: TileError<StoreError>) -> StoreError {
    match error {
        TileError::Read { source, .. } => source,
        short @ TileError::Short { .. } => StoreError::Damaged { what: short.to_string() },
    }
}
