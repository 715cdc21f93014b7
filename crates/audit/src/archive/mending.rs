//! The hashes of archived leaves are in the database's lowest tiles, and nowhere else in it. Where such a tile is not what was
//! signed any more, or is gone, the leaves in the archive give it again, if they lead to what was signed.
//!
//! In scope: finding these tiles, and reading them from the archive. Out of scope: writing them ([`crate::Log::mend`]), and the
//! tiles above, which are made of them.

use super::{Archive, whole};
use crate::growing::{CHUNK, TreeHead};
use crate::kept::{WalkedLeaves, kept_tree, leaf_hashes, walk};
use crate::tree::{CheckTileError, Resource, TILE_WIDTH, Tile, TileError, leaf_hash, root_over};
use chancery_model::Sha256Hash;
use chancery_store::{ArchiveError, Reader, StoreError};
use std::collections::{BTreeSet, VecDeque};

/// How many tiles are read from the archive together, and written in one transaction.
const TOGETHER: usize = 16;

/// What the archive has to do with a log that was walked.
#[derive(Debug, Default)]
pub struct Mending {
    archive: Option<Archive>,
    /// The tiles whose hashes are to be taken from the archive, each with the root over them that was walked with.
    tiles: VecDeque<(u64, Sha256Hash)>,
    doubt: Option<Doubt>,
}

/// Hashes that neither the database has as they were signed, nor the archive, as far as that can be told.
#[derive(Debug)]
pub struct Doubt {
    /// The first record of their tile, and the last.
    pub records: (u64, u64),
    /// Why the archive does not give them.
    pub why: ArchiveError,
}

/// The hashes of a tile of archived leaves, as the archive gives them. Made here only, where they were held to a root.
#[derive(Debug)]
pub struct MendedTile {
    pub(crate) index: u64,
    pub(crate) hashes: Vec<u8>,
}

/// Walks the leaves of a log as [`crate::walk_leaves`] does, but takes the hashes of archived leaves from the archive where those
/// in the database do not lead to `signed`, a tree that the log has signed, over all that is archived. `step` is told before each
/// reading. Reading blocks.
///
/// What was taken from the archive is worth as much as the root that it came to: compare [`WalkedLeaves::roots`] with `signed`
/// before anything is done with the [`Mending`].
///
/// # Errors
/// [`StoreError`]: the database failed. That the archive cannot be read is no error, but a [`Doubt`].
pub fn walk_with_archive(
    reader: &Reader,
    archive: Option<&Archive>,
    signed: TreeHead,
    leaves: u64,
    sizes: &BTreeSet<u64>,
    step: impl Fn(),
) -> Result<(WalkedLeaves, Mending), StoreError> {
    let archived = reader.archived()?;
    let mut choosing = Choosing { reader, signed, asked: archive, mending: Mending::default() };
    let walked = walk(reader, leaves, sizes, |first| {
        step();
        let kept = leaf_hashes(reader, first, CHUNK, archived)?;
        if first < archived { choosing.choose(first / u64::from(TILE_WIDTH), kept) } else { Ok(kept) }
    })?;
    Ok((walked, Mending { archive: archive.cloned(), ..choosing.mending }))
}

/// Chooses whose hashes are taken, tile by tile.
struct Choosing<'a> {
    reader: &'a Reader,
    signed: TreeHead,
    /// The archive, as long as it answers.
    asked: Option<&'a Archive>,
    mending: Mending,
}

impl Choosing<'_> {
    /// Those that are kept, if they lead to what was signed; otherwise those of the leaves in the archive. These are not held to
    /// it here: the tiles on the way may be as damaged as this one, and the root of the whole tells in the end.
    fn choose(&mut self, index: u64, kept: Vec<Sha256Hash>) -> Result<Vec<Sha256Hash>, StoreError> {
        let tile = whole(0, index);
        if self.leads_to_what_was_signed(tile, &kept)? {
            return Ok(kept);
        }
        let read = self.asked.ok_or(ArchiveError::NotNamed).and_then(|archive| archive.leaf_hashes(index));
        let hashes = match read {
            // It is another tile that is damaged.
            Ok(hashes) if hashes == kept => return Ok(kept),
            Ok(hashes) => hashes,
            Err(why) => {
                // Not asked again for each tile: it may take long to say that it is not there.
                if !matches!(why, ArchiveError::Missing { .. } | ArchiveError::Changed { .. }) {
                    self.asked = None;
                }
                self.doubt(index, why);
                return Ok(kept);
            }
        };
        if !self.leads_to_what_was_signed(tile, &hashes)? {
            let file = self.asked.map(|archive| archive.file(Resource::Entries(tile))).unwrap_or_default();
            let what = "its leaves do not lead to what was signed".to_owned();
            self.doubt(index, ArchiveError::Changed { file, what });
        }
        self.mending.tiles.extend(root_over(&hashes).map(|root| (index, root)));
        Ok(hashes)
    }

    /// By the tiles above and beside it.
    fn leads_to_what_was_signed(&self, tile: Tile, hashes: &[Sha256Hash]) -> Result<bool, StoreError> {
        if hashes.len() != usize::from(TILE_WIDTH) {
            return Ok(false);
        }
        match kept_tree(self.reader, self.signed.size).check_tile(tile, hashes, &self.signed.root) {
            Ok(()) => Ok(true),
            Err(CheckTileError::Tile(TileError::Read { source, .. })) => Err(source),
            Err(_wrong) => Ok(false),
        }
    }

    /// The first is the one to look at.
    fn doubt(&mut self, index: u64, why: ArchiveError) {
        let first = index * u64::from(TILE_WIDTH);
        let records = (first, first + u64::from(TILE_WIDTH) - 1);
        self.mending.doubt.get_or_insert(Doubt { records, why });
    }
}

impl Mending {
    /// Which hashes are not to be had; the first of them. Where the root came out right nevertheless, nothing is wrong with them.
    #[must_use]
    pub const fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// How many tiles are taken from the archive.
    #[must_use]
    pub fn tiles(&self) -> usize {
        self.tiles.len()
    }

    /// The next of these tiles; none where there are no more. What the archive says by now is held to what was walked with.
    /// Blocks.
    ///
    /// # Errors
    /// [`StoreError::Archived`]: the archive cannot be read any more, or says something else.
    pub fn read(&mut self) -> Result<Vec<MendedTile>, StoreError> {
        let next: Vec<(u64, Sha256Hash)> = self.tiles.drain(..self.tiles.len().min(TOGETHER)).collect();
        next.into_iter().map(|(index, root)| self.read_one(index, root)).collect()
    }

    fn read_one(&self, index: u64, root: Sha256Hash) -> Result<MendedTile, StoreError> {
        let failed = |source| StoreError::Archived { index: index * u64::from(TILE_WIDTH), source };
        let archive = self.archive.as_ref().ok_or_else(|| failed(ArchiveError::NotNamed))?;
        let hashes = archive.leaf_hashes(index).map_err(failed)?;
        if root_over(&hashes) == Some(root) {
            return Ok(MendedTile { index, hashes: hashes.as_flattened().to_vec() });
        }
        let file = archive.file(Resource::Entries(whole(0, index)));
        Err(failed(ArchiveError::Changed { file, what: "it was another one a moment ago".to_owned() }))
    }
}

impl Archive {
    /// The hashes of the leaves of a whole tile, as the archive has them: held to nothing.
    fn leaf_hashes(&self, index: u64) -> Result<Vec<Sha256Hash>, ArchiveError> {
        Ok(self.leaves(index)?.iter().map(|leaf| leaf_hash(leaf)).collect())
    }
}
