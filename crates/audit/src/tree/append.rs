//! The growing tree: takes leaves one by one, hands out each tile when it is whole, and knows its root at any time.

use crate::tree::hash::{EMPTY_ROOT, root_over};
use crate::tree::tiles::{HEIGHT, TILE_WIDTH, Tile, TileError};
use chancery_model::Sha256Hash;

/// The right edge of a tree: in each level the hashes that no whole tile holds yet. At most 255 for each 256-fold of its
/// size, so a tree of ten million leaves takes 24 KiB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appender {
    size: u64,
    levels: Vec<Vec<Sha256Hash>>,
}

impl Appender {
    /// A tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, levels: Vec::new() }
    }

    /// The tree of the first `size` leaves of a log whose tiles are kept: reads one tile in each level at most. `read` may
    /// answer with more hashes than the tile's width.
    ///
    /// The tiles are believed. Compare [`Appender::root`] with the checkpoint of that size.
    ///
    /// # Errors
    /// [`TileError`]: a tile of the right edge is not to be had.
    pub fn resume<E>(
        size: u64,
        mut read: impl FnMut(Tile) -> Result<Vec<Sha256Hash>, E>,
    ) -> Result<Self, TileError<E>> {
        let mut levels: Vec<Vec<Sha256Hash>> = Vec::new();
        for tile in Tile::edge_of_tree(size) {
            levels.resize_with(usize::from(tile.level()), Vec::new);
            levels.push(tile.read(&mut read)?);
        }
        Ok(Self { size, levels })
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds the leaf with this hash. `whole` is given each tile that it completes; it will never change again.
    pub fn append(&mut self, leaf_hash: Sha256Hash, mut whole: impl FnMut(Tile, &[Sha256Hash])) {
        self.size += 1;
        let mut carried = Some(leaf_hash);
        for (level, hashes) in (0..).zip(&mut self.levels) {
            let Some(hash) = carried.take() else { return };
            hashes.push(hash);
            if hashes.len() == usize::from(TILE_WIDTH) {
                let index = (self.size >> (HEIGHT * (u32::from(level) + 1))) - 1;
                if let Some(tile) = Tile::new(level, index, TILE_WIDTH) {
                    whole(tile, hashes);
                }
                carried = root_over(hashes);
                hashes.clear();
            }
        }
        self.levels.extend(carried.map(|hash| vec![hash]));
    }

    /// The root over all leaves so far.
    #[must_use]
    pub fn root(&self) -> Sha256Hash {
        let mut lower = None;
        for hashes in &self.levels {
            let mut hashes = hashes.clone();
            hashes.extend(lower);
            lower = root_over(&hashes);
        }
        lower.unwrap_or(EMPTY_ROOT)
    }

    /// The partial tiles: what must be kept, beside the whole tiles, to serve the tree at this size and to
    /// [`resume`](Appender::resume) it.
    pub fn edge(&self) -> impl Iterator<Item = (Tile, &[Sha256Hash])> {
        Tile::edge_of_tree(self.size).filter_map(|tile| {
            let hashes = self.levels.get(usize::from(tile.level()))?;
            Some((tile, hashes.as_slice()))
        })
    }
}
