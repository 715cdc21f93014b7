//! Leaves that were moved out of the database: who gives them back, and that no empty one goes out in a leaf's place.
//!
//! The row of such a leaf stays, empty, so that indexes, joins and references are as they were. Out of scope: how an archive is
//! laid out, and how its leaves are checked (`audit`).

use crate::error::Source;
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many leaves are archived together: those of a whole tile of the tree.
pub(crate) const TILE_LEAVES: u64 = 256;

/// Tiles whose leaves are kept at hand: neighbours are asked for together, and by a few at the same time.
const AT_HAND: usize = 4;

/// Gives back leaves that were archived. Blocks.
pub trait ArchivedLeaves: fmt::Debug + Send + Sync {
    /// The 256 leaves of a whole tile, by its place in the lowest level. They are checked against its `hashes`, of 32 bytes each,
    /// which the database has kept.
    ///
    /// # Errors
    /// [`ArchiveError`]: the archive cannot be read, or does not hold what was moved into it.
    fn tile(&self, index: u64, hashes: &[u8]) -> Result<Vec<Vec<u8>>, ArchiveError>;
}

/// Why an archive does not give back a leaf.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Nobody said where it is.
    #[error("no archive is named; name its folder: [log.archive] in the configuration, --archive DIR of a command")]
    NotNamed,
    /// It is not there.
    #[error("there is no archive in {folder}; mount it, or name the folder where it is now")]
    Away {
        /// Its folder.
        folder: PathBuf,
    },
    /// A file of it is not there.
    #[error("{file} is not there, and was; put it back from a copy of the archive")]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A file of it cannot be read.
    #[error("{file} cannot be read; see to its rights, and to the disk that it is on")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: Source,
    },
    /// A file of it is another one than was written.
    #[error("{file} is not what was archived: {what}; keep it as evidence, and put back a copy of before")]
    Changed {
        /// The file.
        file: PathBuf,
        /// What is different.
        what: String,
    },
}

/// The leaves of a tile.
type Leaves = Arc<[Vec<u8>]>;

/// An archive, with the leaves that were asked for last.
#[derive(Debug)]
pub(crate) struct Archive {
    leaves: Arc<dyn ArchivedLeaves>,
    at_hand: Mutex<VecDeque<(u64, Leaves)>>,
}

impl Archive {
    pub fn new(leaves: Arc<dyn ArchivedLeaves>) -> Self {
        Self { leaves, at_hand: Mutex::default() }
    }

    /// A leaf, if it is at hand.
    pub fn at_hand(&self, index: u64) -> Option<Vec<u8>> {
        let tile = index / TILE_LEAVES;
        let leaves = self.lock().iter().find(|(at_hand, _)| *at_hand == tile).map(|(_, leaves)| Arc::clone(leaves))?;
        leaf_of(&leaves, index)
    }

    /// A leaf, of the tile with these hashes. Nothing else waits for the archive meanwhile.
    pub fn fetch(&self, index: u64, hashes: &[u8]) -> Result<Option<Vec<u8>>, ArchiveError> {
        let tile = index / TILE_LEAVES;
        let leaves: Leaves = self.leaves.tile(tile, hashes)?.into();
        let mut at_hand = self.lock();
        at_hand.retain(|(other, _)| *other != tile);
        at_hand.truncate(AT_HAND - 1);
        at_hand.push_front((tile, Arc::clone(&leaves)));
        drop(at_hand);
        Ok(leaf_of(&leaves, index))
    }

    /// What is inside is whole at every moment.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Leaves)>> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leaf_of(leaves: &[Vec<u8>], index: u64) -> Option<Vec<u8>> {
    leaves.get(usize::try_from(index % TILE_LEAVES).ok()?).cloned()
}
