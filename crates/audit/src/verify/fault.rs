//! What can be wrong with a log, and where.

use crate::caller_evidence::CallerEvidenceError;
use crate::checkpoint::CheckpointError;
use crate::export::details_path;
use crate::leaf::LeafError;
use crate::note::NoteError;
use crate::tree::{BundleError, Resource, Tile};
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
    /// The checkpoint of an export, where it cannot be read.
    NewestCheckpoint,
    /// A tile of the tree as it is kept.
    Tile(Tile),
    /// A bundle of records of an export.
    Entries(Tile),
    /// The details of a bundle of records of an export.
    Details(Tile),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(index) => write!(f, "record {index}"),
            Self::Checkpoint(size) => write!(f, "the checkpoint of {size} records"),
            Self::NewestCheckpoint => f.write_str("the checkpoint"),
            Self::Tile(tile) => tile.fmt(f),
            Self::Entries(tile) => Resource::Entries(*tile).fmt(f),
            Self::Details(tile) => f.write_str(&details_path(*tile)),
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
    /// A caller's own signature, where details have one, is one of the record's request.
    #[error("its details have a signature of its caller that proves nothing of it: {0}")]
    CallerSignature(#[from] CallerEvidenceError),
    /// Details of acts, and of outcomes that changed rows, are never erased.
    #[error(
        "its details are missing, and those of an act or of an outcome that changed rows are never erased: somebody removed them"
    )]
    DetailsRemoved,
    /// A record is found by what it says.
    #[error(
        "it is found by another {column} than its leaf and its details say: searches were deceived, and the record was not"
    )]
    FoundBy {
        /// The column.
        column: &'static str,
    },
    /// A record ended as the log says.
    #[error("the log says that it {said}, and the database notes that it {noted}: one of both was changed")]
    NotedEnd {
        /// What the leaves say.
        said: String,
        /// What stands in `open_intents` and `outcomes`.
        noted: String,
    },
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
    /// What a witness is said to have signed, it has.
    #[error("a cosignature on it is false: {0}")]
    Cosignature(NoteError),
    /// A checkpoint's root is that of the leaves.
    #[error(
        "its root is not that of the records: from record {since} on, one was changed, moved, put in or deleted, or the log was \
         forked"
    )]
    Root {
        /// The first record that no checkpoint before it vouches for.
        since: u64,
    },
    /// A log has all the leaves that it once vouched for.
    #[error("the log has only {records} records: it was cut, or an old copy was put back")]
    Truncated {
        /// How many it has.
        records: u64,
    },
    /// A checkpoint is kept by its size.
    #[error("it says that it is of {found} records, and is kept as another")]
    OtherSize {
        /// The size in it.
        found: u64,
    },
    /// A database has as many leaves as it has given indexes.
    #[error(
        "the database has given {next_index} records their index, and holds records up to {leaves}: the rest is missing"
    )]
    End {
        /// What the next record would get.
        next_index: u64,
        /// One more than the highest index there is.
        leaves: u64,
    },
    /// A leaf that was not archived is there.
    #[error("its leaf is empty, and was not archived: somebody emptied it")]
    NoLeaf,
    /// The archive has what was moved into it.
    #[error("in the archive: {0}")]
    Archive(String),
    /// A part of a log is there.
    #[error("it is missing")]
    Missing,
    /// A bundle of records is one.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A tile has its length.
    #[error("it has {bytes} bytes, and not those of the hashes that the records have")]
    TileLength {
        /// How many.
        bytes: usize,
    },
    /// A tile has the hashes of the records.
    #[error("the tree as it is kept, in {tile}, has another hash there than the records: one of both was changed")]
    TileHash {
        /// Where the hash is kept.
        tile: Tile,
    },
    /// The details of an export can be read.
    #[error("its line {line} is not the details of a record: {why}")]
    DetailsLine {
        /// Which line, from 1 on.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A part of an export is not larger than it can be.
    #[error("it is larger than it can be")]
    TooLarge,
    /// Checkpoints grow.
    #[error("it comes when {records} records have been read: checkpoints must be in the order of their sizes")]
    Backwards {
        /// How many had been read.
        records: u64,
    },
}

impl Check {
    /// What to do when it failed.
    #[must_use]
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => {
                "check that the log's key is the right one, with whoever operates the log: what was signed with an earlier key, \
                 or under an earlier name of the log, needs that key, too; if none is missing, the checkpoint was changed or \
                 made up: keep all of it as evidence, and compare with a copy from elsewhere"
            }
            Self::Cosignature(_) => {
                "check that the witness's key is the right one, with whoever operates the witness; if it is, the checkpoint was \
                 changed or the cosignature made up: keep all of it as evidence, and compare with a copy from elsewhere"
            }
            Self::Truncated { .. } => {
                "keep this copy, and look for a newer one: the service's database, a backup, another export"
            }
            Self::TileLength { .. } | Self::TileHash { .. } | Self::Missing => {
                "take the export again, or verify a copy of the database; if it is the service's own database, keep a copy \
                 of it as evidence and restore a backup"
            }
            Self::Bundle(_) | Self::DetailsLine { .. } | Self::TooLarge => {
                "take the export again into an empty folder, and keep this one as evidence"
            }
            Self::OtherSize { .. } => {
                "keep this copy as evidence: the checkpoint, or the size by which it is kept, was changed; verify another copy: of \
                 a database a backup, which to restore, of an archive one of that file, which to put back, and take an export again \
                 into an empty folder"
            }
            Self::NotedEnd { .. } => {
                "keep this copy as evidence, and compare both records with another: a backup, an export, an auditor's; where they \
                 are the same there, the note was changed, and what chancery audit list and audit show said of the end of this \
                 record was not so"
            }
            Self::Archive(_) => {
                "keep what is in the archive as evidence, put back the file from a copy of the archive (a backup, an export of \
                 the log), and verify again; where that is the same file, the tile in the database was changed: restore a backup"
            }
            Self::CallerSignature(_) => {
                "this is how it was recorded, so whoever ran the service put something on the record that its caller had not \
                 signed: keep this copy as evidence, see the whole record (chancery audit show) and ask the caller and whoever \
                 runs the service; a record of a newer version than this program needs that version"
            }
            Self::TooManyOpen | Self::Backwards { .. } => "ask whoever made this log what it is; Chancery did not",
            Self::Index { .. }
            | Self::Leaf(_)
            | Self::NoLeaf
            | Self::Commitment
            | Self::DetailsRemoved
            | Self::FoundBy { .. }
            | Self::Epoch { .. }
            | Self::Continues(_)
            | Self::Outcome { .. }
            | Self::End { .. }
            | Self::Root { .. } => {
                "keep this copy as evidence, and compare it with another: a backup, an export, an auditor's; the first \
                 record in which they differ is the one that was changed"
            }
        }
    }
}
