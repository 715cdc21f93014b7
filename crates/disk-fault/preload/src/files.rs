//! Which file is one of the database's, by path and by descriptor.
//!
//! Looking up a descriptor takes no lock and no memory, so that it can be done anywhere, between `fork` and `exec` too.

use chancery_disk_fault::{DATABASE_VARIABLE, File};
use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Descriptors beyond are nobody's: a process has far fewer.
const DESCRIPTORS: usize = 1 << 16;

/// For each descriptor the place in [`File::ALL`] from 1, or 0.
static OPEN: [AtomicU8; DESCRIPTORS] = [const { AtomicU8::new(0) }; DESCRIPTORS];

/// Where the database was found to be.
static FOLDER: OnceLock<OsString> = OnceLock::new();

fn database() -> Option<&'static OsStr> {
    static DATABASE: OnceLock<Option<OsString>> = OnceLock::new();
    DATABASE.get_or_init(|| std::env::var_os(DATABASE_VARIABLE).filter(|name| !name.is_empty())).as_deref()
}

/// Which of the database's files a path leads to.
pub(crate) fn of_path(path: &CStr) -> Option<File> {
    let database = database()?;
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    let text = if database.as_bytes().contains(&b'/') { path.as_os_str() } else { path.file_name()? };
    let file = match text.as_bytes().strip_prefix(database.as_bytes()) {
        Some(b"") => File::Database,
        Some(b"-wal") => File::Wal,
        Some(b"-shm") => File::Shm,
        Some(b"-journal") => File::Journal,
        Some(_) | None => return FOLDER.get().filter(|folder| *folder == path.as_os_str()).map(|_| File::Folder),
    };
    let folder = path.parent().unwrap_or(path).as_os_str();
    FOLDER.get_or_init(|| if folder.is_empty() { ".".into() } else { folder.to_owned() });
    Some(file)
}

fn entry(descriptor: i32) -> Option<&'static AtomicU8> {
    OPEN.get(usize::try_from(descriptor).ok()?)
}

/// Which of the database's files a descriptor is open on.
pub(crate) fn of_descriptor(descriptor: i32) -> Option<File> {
    let place = entry(descriptor)?.load(Ordering::Relaxed);
    File::ALL.get(usize::from(place).checked_sub(1)?).copied()
}

/// Notes what a descriptor was opened on.
pub(crate) fn opened(descriptor: i32, file: Option<File>) {
    let place = file.and_then(|file| File::ALL.iter().position(|known| *known == file));
    let place = place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or(0);
    if let Some(entry) = entry(descriptor) {
        entry.store(place, Ordering::Relaxed);
    }
}
