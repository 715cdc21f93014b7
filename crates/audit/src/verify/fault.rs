//! What can be wrong with a log, and where.

use crate::checkpoint::CheckpointError;
use crate::leaf::LeafError;
use crate::verify::MAX_OPEN;
use std::fmt;

/// The first thing that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {check}")]
pub struct Fault {
    /// Where.
    pub at: Place,
    /// What.
    pub check: Check,
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The record with this index.
    Record(u64),
    /// The checkpoint of so many records.
    Checkpoint(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(index) => write!(f, "record {index}"),
            Self::Checkpoint(size) => write!(f, "the checkpoint of {size} records"),
        }
    }
}

/// The check that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Check {
    /// Records are numbered without gaps.
    #[error("a record with index {found} stands in its place: records were deleted, put in or moved")]
    Index {
        /// The index that stands there.
        found: u64,
    },
    /// A leaf can be read.
    #[error("its leaf cannot be read: {0}")]
    Leaf(#[from] LeafError),
    /// Details are those that the leaf commits to.
    #[error("its details and salt are not those that its leaf commits to: they were changed")]
    Commitment,
    /// The rule of the epoch.
    #[error(
        "its epoch is {epoch} after {before}: it grows by one with each act and each outcome that changes rows, and with \
         nothing else, so the state was changed off the record, or records are missing"
    )]
    Epoch {
        /// The epoch of the record before it.
        before: u64,
        /// Its own.
        epoch: u64,
    },
    /// What continues a record stands behind it and is like it.
    #[error("it says that it continues the record before it, and {0}")]
    Continues(&'static str),
    /// What ends was open.
    #[error(
        "it says how {ended} ended, which is not open there: no intent or act before it, or one that has its outcome already"
    )]
    Outcome {
        /// The index of what is said to have ended.
        ended: u64,
    },
    /// Open intents are few.
    #[error("more than {MAX_OPEN} intents are open there: no service of ours works so, and the verifier keeps no more")]
    TooManyOpen,
    /// A checkpoint is signed by the log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint's root is that of the leaves.
    #[error(
        "its root is not that of the records: a record was changed, moved, put in or deleted, or the log was forked"
    )]
    Root,
    /// A log has all the leaves that it once vouched for.
    #[error("the log has only {records} records: it was cut, or an old copy was put back")]
    Truncated {
        /// How many it has.
        records: u64,
    },
    /// Checkpoints grow.
    #[error("it comes when {records} records have been read: checkpoints must be in the order of their sizes")]
    Backwards {
        /// How many had been read.
        records: u64,
    },
}
