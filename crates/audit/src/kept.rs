//! The tree as the database keeps it: its tiles, and where the lowest one is not whole yet, the leaves themselves.

use crate::growing::CHUNK;
use crate::tree::{Appender, StoredTree, TILE_WIDTH, Tile, TileError, leaf_hash};
use chancery_model::Sha256Hash;
use chancery_store::{Reader, StoreError, Writer};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
            let leaves = match rows.leaves(first, tile.width().into()) {
                // Of archived leaves it is missing: there is nothing by which they could be read.
                Err(StoreError::Damaged { .. }) => Vec::new(),
                leaves => leaves?,
            };
            Ok(leaves.iter().map(|leaf| leaf_hash(leaf)).collect())
        }
        (None, _) => Ok(Vec::new()),
    }
}

/// The hashes of leaves from `first` on, of up to `limit` of them; none where the log has a gap. Of archived leaves, a tile at a
/// time, they are those that the database has kept: the archive may be away, and that its leaves are theirs is seen when they
/// are read.
pub(crate) fn leaf_hashes(
    rows: &impl Rows,
    first: u64,
    limit: u32,
    archived: u64,
) -> Result<Vec<Sha256Hash>, StoreError> {
    if first >= archived {
        return Ok(rows.leaves(first, limit)?.iter().map(|leaf| leaf_hash(leaf)).collect());
    }
    let kept = rows.tile(0, first / u64::from(TILE_WIDTH))?.unwrap_or_default();
    Ok(match kept.as_chunks() {
        (hashes, []) if hashes.len() == usize::from(TILE_WIDTH) => hashes.to_vec(),
        _ => Vec::new(),
    })
}

/// The hash of one leaf, likewise; `None` where it is not there.
pub(crate) fn hash_of_leaf(reader: &Reader, index: u64) -> Result<Option<Sha256Hash>, StoreError> {
    let archived = reader.archived()?;
    let place = if index < archived { index % u64::from(TILE_WIDTH) } else { 0 };
    let hashes = leaf_hashes(reader, index - place, 1, archived)?;
    Ok(usize::try_from(place).ok().and_then(|place| hashes.get(place)).copied())
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

/// What the leaves of a log say, whatever is kept of its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkedLeaves {
    /// The roots over the first leaves, for each size that was asked for; `None` for what is beyond the log, or behind a gap.
    pub roots: BTreeMap<u64, Option<Sha256Hash>>,
    /// How many of the tiles that are kept, or should be, are not those of the leaves.
    pub wrong_tiles: u64,
}

/// Reads the first `leaves` leaves of the log in this database, 16,384 at a time, and makes the roots of these sizes, and the
/// tiles, anew; of leaves that are archived, from the hashes that are kept. Reading blocks.
///
/// # Errors
/// [`StoreError`]: the database failed.
pub fn walk_leaves(reader: &Reader, leaves: u64, sizes: &BTreeSet<u64>) -> Result<WalkedLeaves, StoreError> {
    let archived = reader.archived()?;
    walk(reader, leaves, sizes, |first| leaf_hashes(reader, first, CHUNK, archived))
}

/// The same with the hashes of leaves from an index on, as many as are at hand, from elsewhere.
pub(crate) fn walk(
    reader: &Reader,
    leaves: u64,
    sizes: &BTreeSet<u64>,
    mut hashes_from: impl FnMut(u64) -> Result<Vec<Sha256Hash>, StoreError>,
) -> Result<WalkedLeaves, StoreError> {
    let mut tree = Appender::new();
    let mut walked = WalkedLeaves { roots: sizes.iter().map(|size| (*size, None)).collect(), wrong_tiles: 0 };
    let kept = |tile: Tile, hashes: &[Sha256Hash]| {
        let kept = reader.tile(tile.level(), tile.index())?;
        // One of the edge may be wider by now.
        Ok::<_, StoreError>(kept.is_some_and(|kept| kept.starts_with(hashes.as_flattened())))
    };
    let mut read = VecDeque::new();
    loop {
        if let Some(root) = walked.roots.get_mut(&tree.size()) {
            *root = Some(tree.root());
        }
        if tree.size() >= leaves {
            break;
        }
        if read.is_empty() {
            read = VecDeque::from(hashes_from(tree.size())?);
        }
        let Some(hash) = read.pop_front() else { break };
        let mut looked = Ok(());
        tree.append(hash, |tile, hashes| {
            if looked.is_ok() {
                looked = kept(tile, hashes).map(|right| walked.wrong_tiles += u64::from(!right));
            }
        });
        looked?;
    }
    for (tile, hashes) in tree.edge().filter(|(tile, _)| tile.level() > 0) {
        walked.wrong_tiles += u64::from(!kept(tile, hashes)?);
    }
    Ok(walked)
}

/// A tile that is not to be had is damage of the database, unless it is the database that failed.
pub(crate) fn damage(error: TileError<StoreError>) -> StoreError {
    match error {
        TileError::Read { source, .. } => source,
        short @ TileError::Short { .. } => StoreError::Damaged { what: short.to_string() },
    }
}
