//! Files that appear whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::exit::Failure;

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
pub enum Readers {
    /// Its owner alone (mode 0600).
    Owner,
    /// Whoever may enter the folder (mode 0644).
    Everybody,
}

/// Writes a file under a temporary name beside it, makes it durable, and gives it its name.
pub fn write(path: &Path, content: &[u8], readers: Readers) -> Result<(), Failure> {
    whole(path, content, readers).map_err(|error| Failure::file("write", path, error))
}

/// Writes a file that somebody named and may keep something in, likewise. Where it is a link, what it leads to is replaced; what
/// is no file (a pipe, a terminal) is written to.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let written = match std::fs::canonicalize(path) {
        Ok(file) if file.is_file() => whole(&file, content, Readers::Everybody),
        Ok(_no_file) => std::fs::write(path, content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => whole(path, content, Readers::Everybody),
        Err(error) => Err(error),
    };
    written.map_err(|error| Failure::file("write", path, error))
}

fn whole(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everybody => 0o644,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_folder(path)
}

/// Makes the names in the folder of `path` durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The file's text; `None` where there is no such file.
pub fn read(path: &Path) -> Result<Option<String>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file("read", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_somebody_keeps_is_there_until_the_new_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, link) = (folder.path().join("kept"), folder.path().join("link"));
        replace(&kept, b"one").unwrap();
        // Whoever has the old one open still reads all of it: it was not written over.
        let mut old = File::open(&kept).unwrap();
        std::os::unix::fs::symlink(&kept, &link).unwrap();
        replace(&link, b"two").unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut old, &mut text).unwrap();
        assert_eq!((text.as_str(), read(&kept).unwrap().as_deref()), ("one", Some("two")));
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        // What could not be written leaves what there was.
        std::fs::create_dir(folder.path().join("kept.new")).unwrap();
        assert!(replace(&kept, b"three").is_err());
        assert_eq!(read(&kept).unwrap().as_deref(), Some("two"));
        replace(Path::new("/dev/null"), b"four").unwrap();
        // A name without a folder is of the folder that one is in.
        sync_folder(Path::new("kept")).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_leftover_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(folder.path().join("secret.new"), "half").unwrap();
        write(&path, b"one", Readers::Owner).unwrap();
        write(&path, b"two", Readers::Owner).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(read(&folder.path().join("nothing")).unwrap(), None);
    }
}
