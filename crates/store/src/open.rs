//! Opening: lock first, then look, then bring the schema up to date.

use crate::lock::Lock;
use crate::sqlite::{backfill, connect, migrate};
use crate::{OpenError, Reader, Writer};
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

/// Opens the database at `path`, and makes it where there is none. Blocking.
///
/// # Errors
/// [`OpenError`]: the path cannot be used, another service has the database, the file is not ours, its schema
/// is newer than this program, or the database fails.
pub fn open(path: &Path) -> Result<(Writer, Reader), OpenError> {
    let path = resolve(path).map_err(|source| OpenError::Path { path: path.to_owned(), source })?;
    let lock = Lock::take(&path)?;
    create(&path).map_err(|source| OpenError::Path { path: path.clone(), source })?;
    let (mut connection, wal) = connect::for_writing(&path)?;
    migrate::run(&mut connection, &path)?;
    backfill::run(&mut connection, &wal, &path)?;
    Ok((Writer::new(connection, wal, lock), Reader::new(path)))
}

/// The file's one true path, so that two ways to write it lead to one lock.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    if path.exists() {
        return path.canonicalize();
    }
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok(folder.canonicalize()?.join(name))
}

/// Makes the file, readable by this service's user alone (it holds names and addresses); SQLite gives its
/// companion files the same rights.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
