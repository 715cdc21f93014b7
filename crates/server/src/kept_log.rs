//! The log of a database, for those who export or verify it beside the service or without it.

use chancery_audit::archive::Archive;
use chancery_audit::note::VerifierKey;
use chancery_store::{BackupError, Reader};
use std::path::Path;
use std::sync::Arc;

/// A log as a database keeps it. Takes no lock and changes nothing.
#[derive(Debug)]
pub struct KeptLog {
    /// Reads it, and its archive.
    pub reader: Reader,
    /// The archive that was named.
    pub archive: Option<Archive>,
}

impl KeptLog {
    /// The log in this database, which must be one of this version, and in the archive in this folder.
    ///
    /// # Errors
    /// [`BackupError`]: there is none.
    pub fn open(database: &Path, archive: Option<&Path>) -> Result<Self, BackupError> {
        let (reader, archive) = (chancery_store::look_into(database)?, archive.map(Archive::at));
        let reader = match archive.clone() {
            Some(archive) => reader.with_archive(Arc::new(archive)),
            None => reader,
        };
        Ok(Self { reader, archive })
    }

    /// The log's keys, as the state in the same database pins them: its own word.
    ///
    /// # Errors
    /// [`chancery_core::Error`]: the state cannot be read.
    pub fn log_keys(&self) -> Result<Vec<VerifierKey>, chancery_core::Error> {
        chancery_core::kept_log_keys(&self.reader)
    }
}
