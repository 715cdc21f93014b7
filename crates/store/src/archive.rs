//! Leaves that were moved out of the database: who gives them back, and that no empty one goes out in a leaf's place.
//!
//! The row of such a leaf stays, empty, so that indexes, joins and references are as they were. Out of scope: how an archive is
//! laid out, and how its leaves are checked (`audit`).

use crate::error::Source;
use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How many leaves are archived together: those of a whole tile of the tree.
pub(crate) const TILE_LEAVES: u64 = 256;

/// Tiles whose leaves are kept at hand: neighbours are asked for together, and by a few at the same time.
const AT_HAND: usize = 4;
/// How long a tile may take that is waited for without a deadline.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How many tiles are read at the same time: more than there are readers, if none of them hangs.
const AT_ONCE: usize = 16;

/// Gives back leaves that were archived. Blocks.
pub trait ArchivedLeaves: fmt::Debug + Send + Sync {
    /// The 256 leaves of a whole tile, by its place in the lowest level. They are checked against its `hashes`, of 32 bytes each,
    /// which the database has kept.
    ///
    /// # Errors
    /// [`ArchiveError`]: the archive cannot be read, or does not hold what was moved into it.
    fn tile(&self, index: u64, hashes: &[u8]) -> Result<Vec<Vec<u8>>, ArchiveError>;

    /// Where the archive is, for who has to see to it.
    fn folder(&self) -> &Path;
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
    /// It does not answer.
    #[error("the archive in {folder} does not answer; see to the disk or the network that it is mounted from")]
    Silent {
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
    at_hand: Arc<AtHand>,
    /// How many tiles are being read.
    reading: Arc<AtomicUsize>,
}

impl Archive {
    pub fn new(leaves: Arc<dyn ArchivedLeaves>) -> Self {
        Self { leaves, at_hand: Arc::default(), reading: Arc::default() }
    }

    /// A leaf, if it is at hand.
    pub fn at_hand(&self, index: u64) -> Option<Vec<u8>> {
        leaf_of(&self.at_hand.get(index / TILE_LEAVES)?, index)
    }

    /// A leaf, of the tile with these hashes. Nothing else waits for the archive meanwhile.
    ///
    /// Read on a thread of its own, since a share whose server has gone may never answer, and no thread can be called back from
    /// there. It is waited for until then; what comes later is at hand for the next one who asks.
    pub fn fetch(&self, index: u64, hashes: Vec<u8>, until: Instant) -> Result<Option<Vec<u8>>, ArchiveError> {
        let silent = || ArchiveError::Silent { folder: self.leaves.folder().to_owned() };
        let reading = Reading::begin(&self.reading).ok_or_else(silent)?;
        let (tile, leaves, at_hand) = (index / TILE_LEAVES, Arc::clone(&self.leaves), Arc::clone(&self.at_hand));
        let (answer, answered) = mpsc::channel();
        let read = move || {
            let _reading = reading;
            let read = leaves.tile(tile, &hashes).map(Leaves::from);
            if let Ok(leaves) = &read {
                at_hand.put(tile, Arc::clone(leaves));
            }
            // It may have taken too long for who has asked.
            drop(answer.send(read));
        };
        let no_thread =
            |error| ArchiveError::Unreadable { file: self.leaves.folder().to_owned(), source: Box::new(error) };
        thread::Builder::new().name("archive".to_owned()).spawn(read).map_err(no_thread)?;
        let patience = until.saturating_duration_since(Instant::now());
        let leaves = answered.recv_timeout(patience).unwrap_or_else(|_none| Err(silent()))?;
        Ok(leaf_of(&leaves, index))
    }
}

/// A tile that is being read.
struct Reading(Arc<AtomicUsize>);

impl Reading {
    /// `None` where so many are, that they must hang.
    fn begin(reading: &Arc<AtomicUsize>) -> Option<Self> {
        let this = Self(Arc::clone(reading));
        (reading.fetch_add(1, Ordering::Relaxed) < AT_ONCE).then_some(this)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tiles that were read last.
#[derive(Debug, Default)]
struct AtHand(Mutex<VecDeque<(u64, Leaves)>>);

impl AtHand {
    fn get(&self, tile: u64) -> Option<Leaves> {
        self.lock().iter().find(|(at_hand, _)| *at_hand == tile).map(|(_, leaves)| Arc::clone(leaves))
    }

    fn put(&self, tile: u64, leaves: Leaves) {
        let mut at_hand = self.lock();
        at_hand.retain(|(other, _)| *other != tile);
        at_hand.truncate(AT_HAND - 1);
        at_hand.push_front((tile, leaves));
    }

    /// What is inside is whole at every moment.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Leaves)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn leaf_of(leaves: &[Vec<u8>], index: u64) -> Option<Vec<u8>> {
    leaves.get(usize::try_from(index % TILE_LEAVES).ok()?).cloned()
}
