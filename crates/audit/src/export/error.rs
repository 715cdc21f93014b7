//! Why there is no export, or none that can be read.

use crate::note::InvalidVerifierKey;
use crate::tree::EntryTooLong;
use std::io;
use std::path::{Path, PathBuf};

/// Why an export was not made, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file failed.
    #[error("cannot {doing} {path}")]
    File {
        /// A verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no export.
    #[error("{folder} is no export of a log: there is no checkpoint in it; if one was interrupted, make it again")]
    None {
        /// The folder.
        folder: PathBuf,
    },
    /// There is something else.
    #[error("{folder} holds something else than an export; name another folder")]
    Occupied {
        /// The folder.
        folder: PathBuf,
    },
    /// With details, or without, but not both.
    #[error("the export in {folder} was begun {begun} details; go on with it so, or name another folder")]
    Details {
        /// The folder.
        folder: PathBuf,
        /// "with" or "without".
        begun: &'static str,
    },
    /// What there is of the export does not fit together.
    #[error("the export in {folder} is damaged: {what}; export to another folder, and keep this one as evidence")]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The log has fewer records than were exported.
    #[error(
        "the export in {folder} has a checkpoint of {exported} records, and the log, whose newest here is of {size}, no longer \
         has as many: it was cut, or an old copy was put back; keep the export as evidence"
    )]
    Behind {
        /// The folder.
        folder: PathBuf,
        /// How many were exported.
        exported: u64,
        /// Of how many the log's newest checkpoint is.
        size: u64,
    },
    /// The records are not those of the checkpoint.
    #[error(
        "the checkpoint of {size} records is not over the records that were exported: a record was changed, or the log was \
         forked since the export was begun; nothing was published"
    )]
    Fork {
        /// The size in the checkpoint.
        size: u64,
    },
    /// A record is missing, or has something that a file cannot hold.
    #[error("record {index} cannot be exported: {what}")]
    Record {
        /// Its index.
        index: u64,
        /// What is wrong.
        what: String,
    },
    /// A leaf is too long.
    #[error(transparent)]
    TooLong(#[from] EntryTooLong),
    /// The keys in it are none.
    #[error("{path} does not hold the keys of a log")]
    Keys {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: InvalidVerifierKey,
    },
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    move |source| ExportError::File { doing, path: path.to_owned(), source }
}
