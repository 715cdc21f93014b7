//! Why the log did not start, and why a record was not made.

use chancery_model::{LimitKind, UsageOf};
use chancery_store::StoreError;
use std::io;
use std::path::PathBuf;

/// The log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A limit is zero.
    #[error("the record's outcome_queue_limit and max_batch must be at least 1")]
    Settings,
    /// The system gave no thread.
    #[error("the record's writing thread could not be started")]
    Thread(#[source] io::Error),
    /// Where the record stands, or what the state is held to, cannot be read.
    #[error("where the record stands could not be read")]
    Head(#[source] StoreError),
    /// The Merkle tree over the leaves cannot be read, or made.
    #[error("the tree over the record could not be brought up to where the record stands")]
    Tree(#[source] StoreError),
}

/// A record was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The state has changed since the decision. Decide again.
    #[error("the state has changed since the decision was made; decide again")]
    StaleEpoch,
    /// Too many intents wait for their outcome to become durable. Come again.
    #[error("too many operations are under way; try again later")]
    Overloaded,
    /// A key or a caller has no such number of signatures left. Nothing of the request was recorded, and nothing counted.
    #[error("{of} has {left} signatures left under its limits")]
    UsageLimit {
        /// Whose limits.
        of: UsageOf,
        /// The limit that leaves the fewest.
        kind: LimitKind,
        /// How many it leaves.
        left: u64,
    },
    /// The change would have to be sealed, and what seals is not there: the state has not been checked yet.
    #[error("the state has not been checked since the service was started, and is not changed before")]
    Unchecked,
    /// The anchor cannot be written.
    #[error("the anchor {path} cannot be written: {reason}")]
    Anchor {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Nothing is recorded any more, and so nothing may be signed.
    #[error("the record is closed until the service is started again: {reason}")]
    Closed {
        /// Why.
        reason: String,
    },
}
