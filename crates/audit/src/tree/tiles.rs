//! Tiles and their paths: C2SP tlog-tiles, "Merkle Tree" and "Log entries".
//!
//! A tile is up to 256 neighbouring hashes of one height: those of leaves in level 0, of whole tiles of the level
//! below otherwise. A partial tile is the beginning of the whole one that it becomes.

use chancery_model::Sha256Hash;
use std::fmt;

/// The hashes in a whole tile, and the entries in a whole bundle.
pub const TILE_WIDTH: u16 = 256;

/// The height of a tile: 256 = 2^8.
pub(super) const HEIGHT: u32 = 8;

/// The highest level: above it, one hash stands for 2^64 leaves. (The specification has room for 63.)
pub(crate) const MAX_LEVEL: u8 = 7;

/// A tile, by its place: which hashes, not what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

/// Why a tile is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError<E> {
    /// It could not be read.
    #[error("{tile} of the log could not be read")]
    Read {
        /// Which.
        tile: Tile,
        /// Why.
        source: E,
    },
    /// It has fewer hashes than its tree needs.
    #[error("{tile} of the log has only {actual} hashes: tiles are missing or cut; make them again from the leaves")]
    Short {
        /// Which.
        tile: Tile,
        /// How many it has.
        actual: usize,
    },
}

impl Tile {
    /// A tile; `None` for what no tree of fewer than 2^64 leaves has.
    #[must_use]
    pub fn new(level: u8, index: u64, width: u16) -> Option<Self> {
        if level > MAX_LEVEL || width == 0 || width > TILE_WIDTH {
            return None;
        }
        let hashes = u128::from(index) * u128::from(TILE_WIDTH) + u128::from(width);
        u64::try_from(hashes << (HEIGHT * u32::from(level))).is_ok().then_some(Self { level, index, width })
    }

    /// A tile as a tree of `size` leaves has it, whole or partial; `None` where it has none.
    #[must_use]
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(HEIGHT * u32::from(level))?;
        let rest = hashes.checked_sub(index.checked_mul(u64::from(TILE_WIDTH))?)?;
        Self::new(level, index, u16::try_from(rest).unwrap_or(TILE_WIDTH).min(TILE_WIDTH))
    }

    /// Every tile of a tree of `size` leaves, level by level: what a full copy of it holds.
    pub fn of_tree(size: u64) -> impl Iterator<Item = Self> {
        (0..=MAX_LEVEL).flat_map(move |level| (0..).map_while(move |index| Self::in_tree(level, index, size)))
    }

    /// The partial tiles of a tree of `size` leaves: its right edge, at most one in each level.
    pub fn edge_of_tree(size: u64) -> impl Iterator<Item = Self> {
        (0..=MAX_LEVEL).filter_map(move |level| {
            let index = (size >> (HEIGHT * u32::from(level))) / u64::from(TILE_WIDTH);
            Self::in_tree(level, index, size)
        })
    }

    /// 0 for hashes of leaves.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// Its place in the level.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// How many hashes: 1 to 256.
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// Whether it will never change again.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Reads a tile's hashes. The reader may give more than the tile's width, as a store does that keeps each tile as
    /// wide as it is by now.
    pub(super) fn read<E>(
        self,
        read: impl FnOnce(Self) -> Result<Vec<Sha256Hash>, E>,
    ) -> Result<Vec<Sha256Hash>, TileError<E>> {
        let mut hashes = read(self).map_err(|source| TileError::Read { tile: self, source })?;
        let width = usize::from(self.width);
        if hashes.len() < width {
            return Err(TileError::Short { tile: self, actual: hashes.len() });
        }
        hashes.truncate(width);
        Ok(hashes)
    }

    fn write_place(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut elements = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            elements = format!("x{:03}/{elements}", rest % 1000);
            rest /= 1000;
        }
        f.write_str(&elements)?;
        if self.is_whole() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }

    /// `text` is what follows the level in a path.
    fn parse_place(level: u8, text: &str) -> Option<Self> {
        let (elements, width) = match text.split_once(".p/") {
            None => (text, TILE_WIDTH),
            Some((elements, width)) => (elements, width.parse().ok().filter(|width| *width < TILE_WIDTH)?),
        };
        let index = elements.split('/').try_fold(0_u64, |index, element| {
            let digits = element.strip_prefix('x').unwrap_or(element);
            index.checked_mul(1000)?.checked_add(digits.parse().ok()?)
        })?;
        Self::new(level, index, width)
    }
}

impl fmt::Display for Tile {
    /// The path below the log's prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        self.write_place(f)
    }
}

/// What a log serves, by its path below the log's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// `checkpoint`: the newest one.
    Checkpoint,
    /// `tile/<L>/<N>[.p/<W>]`: hashes.
    Tile(Tile),
    /// `tile/entries/<N>[.p/<W>]`: the entries whose hashes are this tile of level 0.
    Entries(Tile),
}

impl Resource {
    /// Reads a path. A resource has exactly one; all other spellings are refused.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let resource = match path.strip_prefix("tile/") {
            None => Self::Checkpoint,
            Some(rest) => match rest.split_once('/')? {
                ("entries", place) => Self::Entries(Tile::parse_place(0, place)?),
                (level, place) => Self::Tile(Tile::parse_place(level.parse().ok()?, place)?),
            },
        };
        // Reading is lenient (signs, leading zeros, a missing x); writing is not.
        (resource.to_string() == path).then_some(resource)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Tile(tile) => tile.fmt(f),
            Self::Entries(tile) => {
                f.write_str("tile/entries/")?;
                tile.write_place(f)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        // The index that the specification spells out.
        let tile = Tile::new(0, 1_234_067, 256).unwrap();
        assert_eq!(tile.to_string(), "tile/0/x001/x234/067");
        assert_eq!(Resource::Entries(tile).to_string(), "tile/entries/x001/x234/067");
        let partial = Tile::new(1, 7, 17).unwrap();
        assert_eq!(partial.to_string(), "tile/1/007.p/17");
        for path in [
            "checkpoint",
            "tile/0/000",
            "tile/0/999",
            "tile/0/x001/000",
            "tile/0/x001/x234/067.p/255",
            "tile/entries/x001/x234/067",
            "tile/entries/000.p/1",
            "tile/6/254",
            "tile/6/255.p/255",
            "tile/7/000.p/255",
        ] {
            assert_eq!(Resource::parse(path).unwrap().to_string(), path);
        }
    }

    #[test]
    fn no_other_spelling_of_a_path_is_taken() {
        for path in [
            "",
            "/checkpoint",
            "checkpoint/",
            "Checkpoint",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x000",
            "tile/0/x000/001",
            "tile/0/001/001",
            "tile/0/x01/001",
            "tile/0/x001/x001",
            "tile/0/+01",
            "tile/0/-01",
            "tile/0/ 01",
            "tile/00/000",
            "tile/+0/000",
            "tile/-1/000",
            "tile/64/000",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/000.p/+1",
            "tile/0/000.p/256",
            "tile/0/000.p/65537",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "tile/0/../0/000",
            "tile/0//000",
            "tile/entries",
            "tile/entries/",
            "tile/entries/0",
            "tile/entries/0/000",
            "tile/data/000",
            "tile/8/0/000",
            // No tree of fewer than 2^64 leaves has these.
            "tile/0/x072/x057/x594/x037/x927/936",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/6/255",
            "tile/6/256",
            "tile/7/000",
            "tile/7/001.p/1",
            "tile/8/000.p/1",
        ] {
            assert_eq!(Resource::parse(path), None, "{path}");
        }
    }

    #[test]
    fn trees_have_the_tiles_that_the_specification_counts() {
        let tiles: Vec<Tile> = Tile::of_tree(70_000).collect();
        let count = |level: u8, whole: bool| {
            tiles.iter().filter(|tile| tile.level() == level && tile.is_whole() == whole).count()
        };
        assert_eq!((count(0, true), count(0, false)), (273, 1));
        assert_eq!((count(1, true), count(1, false)), (1, 1));
        assert_eq!((count(2, true), count(2, false)), (0, 1));
        assert_eq!(tiles.len(), 277);
        let edge: Vec<String> = Tile::edge_of_tree(70_000).map(|tile| tile.to_string()).collect();
        assert_eq!(edge, ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
        let all = |size| Tile::of_tree(size).map(|tile| tile.to_string()).collect::<Vec<_>>();
        assert_eq!(all(256), ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(all(1), ["tile/0/000.p/1"]);
        assert_eq!(all(0), [""; 0]);
        assert_eq!(Tile::edge_of_tree(0).count(), 0);
        assert_eq!(Tile::edge_of_tree(u64::MAX).count(), 8);
    }

    #[test]
    fn a_tile_that_is_too_short_is_refused_and_a_longer_one_is_cut() {
        let tile = Tile::new(0, 0, 3).unwrap();
        let read = |count: u8| move |_: Tile| Ok::<_, ()>((0..count).map(|byte| [byte; 32]).collect::<Vec<_>>());
        assert_eq!(tile.read(read(2)), Err(TileError::Short { tile, actual: 2 }));
        assert_eq!(tile.read(read(5)).unwrap(), [[0; 32], [1; 32], [2; 32]]);
        assert_eq!(tile.read(|_| Err(7)), Err(TileError::Read { tile, source: 7 }));
    }

    proptest! {
        #[test]
        fn a_path_comes_back(level in 0..=MAX_LEVEL, index: u64, shift in 0_u32..64, width in 1..=TILE_WIDTH) {
            if let Some(tile) = Tile::new(level, index >> shift, width) {
                prop_assert_eq!(Resource::parse(&tile.to_string()), Some(Resource::Tile(tile)));
                let entries = Resource::Entries(Tile { level: 0, ..tile });
                prop_assert_eq!(Resource::parse(&entries.to_string()), Some(entries));
            }
        }

        #[test]
        fn any_text_is_a_path_or_none(text in "(tile/)?(entries/|[0-9]{1,3}/)?[x0-9./p+-]{0,30}") {
            if let Some(resource) = Resource::parse(&text) {
                prop_assert_eq!(resource.to_string(), text);
            }
        }
    }
}
