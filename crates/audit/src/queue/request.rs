//! What is asked of the writing thread, by somebody who waits for the answer.

use super::Delivery;
use crate::archive::MendedTile;
use crate::erase::Erasure;
use crate::growing::TreeHead;
use crate::log::RecordError;
use crate::prepared::Prepared;
use crate::record::{Changed, NewSeal};
use chancery_store::{CheckpointRow, Epoch, RowChange};
use tokio::sync::oneshot;

/// Where the answer goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, RecordError>>;

/// What somebody waits for.
pub(crate) enum Request {
    Intents {
        epoch: Epoch,
        records: Vec<Prepared>,
        answer: Answer<Delivery>,
    },
    Change {
        epoch: Epoch,
        rows: Vec<RowChange>,
        records: Vec<Prepared>,
        answer: Answer<Changed>,
    },
    /// What changes nothing: the epoch stays.
    Note {
        epoch: Epoch,
        records: Vec<Prepared>,
        answer: Answer<Changed>,
    },
    Seal(Box<SealRequest>),
    /// Where the tree stands after this group.
    TreeHead {
        answer: Answer<Option<TreeHead>>,
    },
    Checkpoint {
        checkpoint: CheckpointRow,
        kept: KeptAs,
        answer: Answer<()>,
    },
    /// Erases details that a record says are erased.
    Erase {
        erasure: Erasure,
        answer: Answer<()>,
    },
    /// Empties the leaves of the archived tile that begins at `first`. Whether it did.
    Archive {
        first: u64,
        answer: Answer<bool>,
    },
    /// Puts hashes of archived leaves back.
    Mend {
        tiles: Vec<MendedTile>,
        answer: Answer<()>,
    },
    /// Makes the tree again from the leaves. How many of its tiles were not theirs.
    RemakeTree {
        answer: Answer<u64>,
    },
    /// Empties the write-ahead log, so that what was erased is not there, either. Whether it is empty.
    EmptyWal {
        answer: Answer<bool>,
    },
    Flush {
        answer: Answer<()>,
    },
}

impl Request {
    /// How many intents, and how many records with them, it holds.
    pub(super) fn count(&self) -> (usize, usize) {
        match self {
            Self::Intents { records, .. } => (records.len(), records.len()),
            Self::Change { records, .. } | Self::Note { records, .. } => (0, records.len()),
            Self::Seal(seal) => (0, seal.records.len()),
            Self::TreeHead { .. }
            | Self::Checkpoint { .. }
            | Self::Erase { .. }
            | Self::Archive { .. }
            | Self::Mend { .. }
            | Self::RemakeTree { .. }
            | Self::EmptyWal { .. }
            | Self::Flush { .. } => (0, 0),
        }
    }
}

/// What a checkpoint is when it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptAs {
    /// Signed; it counts once witnesses have cosigned it.
    Signed,
    /// Signed, and it counts as it is.
    Counting,
    /// Signed and kept before; enough witnesses have cosigned it by now, and it counts.
    Cosigned,
}

/// From now on the state is sealed as it is at `epoch`. With records it is sealed anew, with a raised
/// epoch, and `rows` change with it; without, it is sealed as it should be already.
pub(crate) struct SealRequest {
    pub epoch: Epoch,
    pub new: NewSeal,
    pub rows: Vec<RowChange>,
    pub records: Vec<Prepared>,
    pub answer: Answer<Epoch>,
}
