//! The log of a database, for those who export or verify it beside the service or without it.

use chancery_audit::note::VerifierKey;
use chancery_store::{BackupError, Reader};
use std::path::Path;

/// A log as a database keeps it. Takes no lock and changes nothing.
#[derive(Debug)]
pub struct KeptLog {
    /// Reads it.
    pub reader: Reader,
}

impl KeptLog {
    /// The log in this database, which must be one of this version.
    ///
    /// # Errors
    /// [`BackupError`]: there is none.
    pub fn open(database: &Path) -> Result<Self, BackupError> {
        Ok(Self { reader: chancery_store::look_into(database)? })
    }

    /// The log's keys, as the state in the same database pins them: its own word.
    ///
    /// # Errors
    /// [`chancery_core::Error`]: the state cannot be read.
    pub fn log_keys(&self) -> Result<Vec<VerifierKey>, chancery_core::Error> {
        chancery_core::kept_log_keys(&self.reader)
    }
}
