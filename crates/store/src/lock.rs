//! The lock that keeps a second service off the same database.
//!
//! SQLite lets many processes write to one file. We must not: a second service would decide from a cache that
//! the first one's changes never reach, and the HSM's workers behind both would fight for one token.

use crate::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Held as long as it lives; the system lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `<database>.lock`. The file stays when the lock is let go: removing it would let two services
    /// lock two files of one name.
    pub(crate) fn take(database: &Path) -> Result<Self, OpenError> {
        let path = lock_path(database);
        let failed = |source| OpenError::Lock { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { path: database.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Only for the error message of the next one who tries: failing to write it harms nothing.
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        if let Err(error) = written {
            tracing::debug!(%error, "the lock file holds no process id");
        }
        Ok(Self { _file: file })
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(20).read_to_string(&mut text).map(|_| text.trim().parse::<u32>()) {
        Ok(Ok(id)) => format!("process {id}"),
        Ok(Err(_)) | Err(_) => "another process".to_owned(),
    }
}
