//! What can go wrong with the database.

use crate::ArchiveError;
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// An error of the database's own library, whichever it is; named by what it says.
pub(crate) type Source = Box<dyn Error + Send + Sync>;

/// The database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path cannot be used.
    #[error("the database {path} cannot be opened; its folder must exist and be writable by this service")]
    Path {
        /// The database.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another service has the database.
    #[error(
        "the database {path} is in use by {holder} (it holds the lock {path}.lock); stop that service, or give this one a database of its own"
    )]
    InUse {
        /// The database.
        path: PathBuf,
        /// The process that wrote the lock file, for example `process 123`.
        holder: String,
    },
    /// The lock file cannot be made or locked.
    #[error("the lock file {path} cannot be taken; it must be writable, and on a file system that has locks")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder of the database does not let itself be synced.
    #[error(
        "the folder {folder} of the database {path} cannot be synced; what is written there might not outlast a power failure"
    )]
    Folder {
        /// The database.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another program reads the database, and the write-ahead log of the run before must be taken in first.
    #[error(
        "the database {path} is being read by another program, so that the write-ahead log of the run before cannot be taken in; let that program end (a backup, a database shell), and start again"
    )]
    Read {
        /// The database.
        path: PathBuf,
    },
    /// The file is a database, but not one of Chancery's.
    #[error("{path} is a database of another program; nothing was changed in it. Name another file")]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A newer Chancery wrote the database.
    #[error(
        "the database {path} has schema {found}, and this program knows schemas up to {known}; run the newer program, or restore the backup from before the upgrade"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that this program knows.
        known: u32,
    },
    /// The schema was not made by this program's migrations.
    #[error(
        "the database {path} was made by another text of migration {number} ({name}) than this program has; use the program that made it"
    )]
    MigrationDiffers {
        /// The database.
        path: PathBuf,
        /// The migration.
        number: u32,
        /// Its name.
        name: String,
    },
    /// The schema is not the one that the migrations make.
    #[error(
        "the schema of the database {path} is not the one that Chancery makes: {what}. Somebody edited it, and what it shows cannot be trusted; find out who did, and restore a backup, or undo it"
    )]
    SchemaEdited {
        /// The database.
        path: PathBuf,
        /// What is different.
        what: String,
    },
    /// A migration failed; the database is as it was before it.
    #[error("migration {number} ({name}) of the database {path} failed and was undone")]
    Migration {
        /// The database.
        path: PathBuf,
        /// The migration.
        number: u32,
        /// Its name.
        name: String,
        /// What the database says.
        source: Source,
    },
    /// The database does not take the settings that durability needs.
    #[error("the database {path} does not take {setting}; it must be on a local file system")]
    Setting {
        /// The database.
        path: PathBuf,
        /// The setting.
        setting: &'static str,
    },
    /// The database failed.
    #[error("the database {path} failed while {doing}")]
    Database {
        /// The database.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        source: Source,
    },
}

/// The database failed while it was in use.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database, or the disk under it, refused.
    #[error("the database failed while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the database says.
        source: Source,
    },
    /// Reading took longer than it was given.
    #[error("reading was given up, because its time was over")]
    OutOfTime,
    /// A leaf is in the archive, which does not give it back.
    #[error("the leaf of record {index} is in the archive, and is not to be had")]
    Archived {
        /// The record.
        index: u64,
        /// Why not.
        source: ArchiveError,
    },
    /// A leaf is empty that was never archived.
    #[error("record {index} has no leaf, and was not archived: somebody emptied it; restore a backup")]
    NoLeaf {
        /// The record.
        index: u64,
    },
    /// The database is not what this program made it to be.
    #[error("the database is damaged: {what}; restore a backup")]
    Damaged {
        /// What was found.
        what: String,
    },
}
