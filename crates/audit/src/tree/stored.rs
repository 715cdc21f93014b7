//! A tree whose tiles are kept somewhere: its root, and proofs made from it.

use crate::tree::hash::{EMPTY_ROOT, node_hash, root_over, split};
use crate::tree::proof::check_inclusion;
use crate::tree::tiles::{HEIGHT, TILE_WIDTH, Tile, TileError};
use chancery_model::Sha256Hash;
use std::collections::BTreeMap;

/// Why a proof was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeProofError<E> {
    /// There is no such leaf.
    #[error("the tree of {size} leaves has no leaf {index}: ask for one below {size}, or for a newer checkpoint")]
    NoSuchLeaf {
        /// The leaf asked for.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The older tree is larger.
    #[error("the tree of {size} leaves does not contain one of {older}: ask for a newer checkpoint")]
    NotOlder {
        /// The size of the tree that should be older.
        older: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A tile is not to be had.
    #[error(transparent)]
    Tile(#[from] TileError<E>),
}

/// Why a tile is not shown to be one of a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckTileError<E> {
    /// The tree has none such.
    #[error("{0} is beyond the tree")]
    NoSuchTile(Tile),
    /// Its hashes do not lead to the root, or those do not that it is checked with.
    #[error(
        "{tile} of the log does not lead to the root of its {size} leaves: it, or a tile beside it, is not that of the leaves"
    )]
    NotOfRoot {
        /// Which.
        tile: Tile,
        /// Of which tree.
        size: u64,
    },
    /// A tile is not to be had.
    #[error(transparent)]
    Tile(#[from] TileError<E>),
}

/// The tree of the first `size` leaves of a log. Reads a tile when it is needed, once: a proof takes two or three of them
/// in each level at most.
pub struct StoredTree<R> {
    size: u64,
    read: R,
    tiles: BTreeMap<Tile, Vec<Sha256Hash>>,
}

impl<R, E> StoredTree<R>
where
    R: FnMut(Tile) -> Result<Vec<Sha256Hash>, E>,
{
    /// A tree whose tiles `read` gives; it may answer with more hashes than a tile's width. The tiles are believed:
    /// whoever takes a proof checks it.
    pub const fn new(size: u64, read: R) -> Self {
        Self { size, read, tiles: BTreeMap::new() }
    }

    /// The root.
    ///
    /// # Errors
    /// [`TileError`]: a tile is not to be had.
    pub fn root(&mut self) -> Result<Sha256Hash, TileError<E>> {
        if self.size == 0 { Ok(EMPTY_ROOT) } else { self.root_of(0, self.size) }
    }

    /// RFC 6962, section 2.1.1: the siblings of the leaf and of what stands above it, from the leaf up.
    ///
    /// # Errors
    /// [`MakeProofError`]: there is no such leaf, or a tile is not to be had.
    pub fn inclusion_proof(&mut self, index: u64) -> Result<Vec<Sha256Hash>, MakeProofError<E>> {
        let Self { size, .. } = *self;
        if index >= size {
            return Err(MakeProofError::NoSuchLeaf { index, size });
        }
        Ok(self.path_of(index, 1)?)
    }

    /// The hashes of a tile of this tree, held to its root: a tile that is whole by its way up to the root, which is that of a
    /// leaf from the tile's height on, and one of the right edge by the root itself, which is made of all of them.
    ///
    /// # Errors
    /// [`CheckTileError`]: they lead to another root, there is no such tile, or one is not to be had.
    pub fn checked_tile(&mut self, tile: Tile, root: &Sha256Hash) -> Result<Vec<Sha256Hash>, CheckTileError<E>> {
        let there = Tile::in_tree(tile.level(), tile.index(), self.size);
        let there = there.filter(|there| there.width() >= tile.width()).ok_or(CheckTileError::NoSuchTile(tile))?;
        let mut hashes = self.hashes_of(there)?.to_vec();
        self.check_tile(there, &hashes, root)?;
        hashes.truncate(tile.width().into());
        Ok(hashes)
    }

    /// Whether these are the hashes of a tile, as wide as this tree has it.
    ///
    /// # Errors
    /// As of [`Self::checked_tile`].
    pub fn check_tile(
        &mut self,
        tile: Tile,
        hashes: &[Sha256Hash],
        root: &Sha256Hash,
    ) -> Result<(), CheckTileError<E>> {
        let wrong = CheckTileError::NotOfRoot { tile, size: self.size };
        if !tile.is_whole() {
            let same = self.hashes_of(tile)? == hashes && self.root()? == *root;
            return if same { Ok(()) } else { Err(wrong) };
        }
        let height = HEIGHT * (u32::from(tile.level()) + 1);
        let path = self.path_of(tile.index() << height, 1 << height)?;
        let last = (self.size - 1) >> height;
        let subtree = root_over(hashes).unwrap_or(EMPTY_ROOT);
        check_inclusion(&subtree, tile.index(), last + 1, root, &path).map_err(|_other| wrong)
    }

    /// The siblings of the subtree of so many leaves, a power of two, from `begin` on, and of what stands above it.
    fn path_of(&mut self, first: u64, leaves: u64) -> Result<Vec<Sha256Hash>, TileError<E>> {
        let (mut begin, mut end) = (0, self.size);
        let mut siblings = Vec::new();
        while end - begin > leaves {
            let middle = begin + split(end - begin);
            if first < middle {
                siblings.push((middle, end));
                end = middle;
            } else {
                siblings.push((begin, middle));
                begin = middle;
            }
        }
        self.roots_of(&siblings)
    }

    /// RFC 6962, section 2.1.2: what shows that this tree begins with the one of the first `older` leaves. Empty where
    /// `older` is 0 or this tree's size: as C2SP tlog-witness has it, there is nothing to show.
    ///
    /// # Errors
    /// [`MakeProofError`]: the other tree is larger, or a tile is not to be had.
    pub fn consistency_proof(&mut self, older: u64) -> Result<Vec<Sha256Hash>, MakeProofError<E>> {
        let Self { size, .. } = *self;
        if older > size {
            return Err(MakeProofError::NotOlder { older, size });
        }
        if older == 0 {
            return Ok(Vec::new());
        }
        let (mut begin, mut end) = (0, size);
        let mut parts = Vec::new();
        while end > older {
            let middle = begin + split(end - begin);
            if older <= middle {
                parts.push((middle, end));
                end = middle;
            } else {
                parts.push((begin, middle));
                begin = middle;
            }
        }
        // Where nothing stands before it, this is the older tree itself, whose root the verifier has.
        if begin > 0 {
            parts.push((begin, end));
        }
        Ok(self.roots_of(&parts)?)
    }

    /// The roots of subtrees, the lowest, which is the last, first.
    fn roots_of(&mut self, subtrees: &[(u64, u64)]) -> Result<Vec<Sha256Hash>, TileError<E>> {
        subtrees.iter().rev().map(|(begin, end)| self.root_of(*begin, *end)).collect()
    }

    /// The root of a subtree: from `begin` on, which is a multiple of the smallest power of two that holds the subtree.
    fn root_of(&mut self, begin: u64, end: u64) -> Result<Sha256Hash, TileError<E>> {
        let leaves = end - begin;
        if leaves.is_power_of_two() {
            return self.perfect_root_of(begin, leaves.ilog2());
        }
        let middle = begin + split(leaves);
        Ok(node_hash(&self.root_of(begin, middle)?, &self.root_of(middle, end)?))
    }

    /// The root of the subtree of 2^height leaves from `begin` on: so many neighbours in one tile, hashed together.
    fn perfect_root_of(&mut self, begin: u64, height: u32) -> Result<Sha256Hash, TileError<E>> {
        let level = height / HEIGHT;
        let first = begin >> (HEIGHT * level);
        let (index, place) = (first / u64::from(TILE_WIDTH), first % u64::from(TILE_WIDTH));
        let count = 1_usize << (height % HEIGHT);
        let tile = Tile::in_tree(u8::try_from(level).unwrap_or(u8::MAX), index, self.size);
        #[expect(clippy::expect_used, reason = "the subtree is inside the tree, so the tile is")]
        let tile = tile.expect("a subtree inside the tree is in one of its tiles");
        let hashes = self.hashes_of(tile)?;
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        hashes
            .get(place..place.saturating_add(count))
            .and_then(root_over)
            .ok_or(TileError::Short { tile, actual: hashes.len() })
    }

    /// A tile's hashes, read once.
    fn hashes_of(&mut self, tile: Tile) -> Result<&[Sha256Hash], TileError<E>> {
        if !self.tiles.contains_key(&tile) {
            let hashes = tile.read(&mut self.read)?;
            self.tiles.insert(tile, hashes);
        }
        Ok(self.tiles.get(&tile).map(Vec::as_slice).unwrap_or_default())
    }
}
