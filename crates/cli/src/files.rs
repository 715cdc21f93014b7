//! Files that appear whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// More than the system follows.
const MOST_LINKS: usize = 64;

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

/// Writes what a command was to put into a file that somebody named: whole or not at all, and durable, and otherwise as a
/// program writes that writes into the file. Where it is a link, what it leads to is written; what is there keeps its owner and
/// its rights, and has to be writable.
///
/// What cannot be replaced so is written to in its place: a pipe, a terminal, /dev/stdout wherever it leads to, a file with
/// several names or that could not be given back its owner, or one in a folder in which nothing may be made.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let written = match replaceable(path) {
        Ok(Some((file, there))) => put(&file, there.as_ref(), content),
        Ok(None) => Ok(false),
        Err(error) => Err(error),
    };
    let written = written.and_then(|done| if done { Ok(()) } else { fs::write(path, content) });
    written.map_err(|error| Failure::file("write", path, error))
}

/// The file that a name leads to, and what is there of it; none where it has to be written to in its place.
fn replaceable(path: &Path) -> io::Result<Option<(PathBuf, Option<Metadata>)>> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Some(name) = path.file_name().filter(|_| !path.as_os_str().as_encoded_bytes().ends_with(b"/")) else {
            return Ok(None);
        };
        let folder = fs::canonicalize(folder_of(&path))?;
        // What this process or another has open: its name there is no file's.
        if folder.starts_with("/proc") {
            return Ok(None);
        }
        let file = folder.join(name);
        match fs::symlink_metadata(&file) {
            Ok(found) if found.is_symlink() => path = folder.join(fs::read_link(&file)?),
            Ok(found) if found.is_file() && found.nlink() == 1 => {
                // Refused where writing to it would be.
                File::options().write(true).open(&file)?;
                return Ok(Some((file, Some(found))));
            }
            Ok(_no_file_of_one_name) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some((file, None))),
            Err(error) => return Err(error),
        }
    }
    // Links in a circle, for the system to name.
    Ok(None)
}

/// Puts a file in the place of what is `there`; false where that cannot be.
fn put(file: &Path, there: Option<&Metadata>, content: &[u8]) -> io::Result<bool> {
    let mut making = tempfile::Builder::new();
    making.prefix(".chancery-").suffix(".new").permissions(Permissions::from_mode(0o666));
    let mut new = match making.tempfile_in(folder_of(file)) {
        Err(error) if there.is_some() && may_not(&error) => return Ok(false),
        new => new?,
    };
    if let Some(there) = there {
        let made = new.as_file().metadata()?;
        if (made.uid(), made.gid()) != (there.uid(), there.gid())
            && std::os::unix::fs::fchown(new.as_file(), Some(there.uid()), Some(there.gid())).is_err()
        {
            return Ok(false);
        }
        new.as_file().set_permissions(there.permissions())?;
    }
    new.write_all(content)?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|failed| failed.error)?;
    match sync_folder(file) {
        // A folder that may be written to and not read.
        Err(error) if may_not(&error) => Ok(true),
        synced => synced.map(|()| true),
    }
}

fn may_not(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn whole(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    match fs::remove_file(&temporary) {
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
    fs::rename(&temporary, path)?;
    sync_folder(path)
}

/// Makes the names in the folder of `path` durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file's text; `None` where there is no such file.
pub fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file("read", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    /// Of what is in a folder.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn what_somebody_keeps_is_there_until_the_new_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, link) = (folder.path().join("kept"), folder.path().join("link"));
        replace(&kept, b"one").unwrap();
        // As any program makes one here.
        fs::write(folder.path().join("made"), "").unwrap();
        assert_eq!(mode(&kept), mode(&folder.path().join("made")));
        // Whoever has the old one open still reads all of it: it was not written over.
        let mut old = File::open(&kept).unwrap();
        std::os::unix::fs::symlink("kept", &link).unwrap();
        replace(&link, b"two").unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut old, &mut text).unwrap();
        assert_eq!((text.as_str(), read(&kept).unwrap().as_deref()), ("one", Some("two")));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        // A link that leads to nothing yet.
        fs::remove_file(&kept).unwrap();
        replace(&link, b"three").unwrap();
        assert_eq!(read(&kept).unwrap().as_deref(), Some("three"));
        assert_eq!(names(folder.path()), ["kept", "link", "made"], "nothing else stays");
        // A name without a folder is of the folder that one is in.
        sync_folder(Path::new("kept")).unwrap();
    }

    #[test]
    fn a_file_keeps_its_rights_and_others_keep_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        // A neighbour that is not ours to remove.
        fs::write(folder.path().join("kept.new"), "mine").unwrap();
        for rights in [0o600, 0o640, 0o666] {
            fs::write(&kept, "old, and longer").unwrap();
            fs::set_permissions(&kept, Permissions::from_mode(rights)).unwrap();
            replace(&kept, b"new").unwrap();
            assert_eq!((read(&kept).unwrap().as_deref(), mode(&kept)), (Some("new"), rights));
        }
        assert_eq!(read(&folder.path().join("kept.new")).unwrap().as_deref(), Some("mine"));
        // Another name of the same file stays one.
        let other = folder.path().join("other");
        fs::hard_link(&kept, &other).unwrap();
        replace(&kept, b"both").unwrap();
        assert_eq!(read(&other).unwrap().as_deref(), Some("both"));
        assert_eq!(names(folder.path()), ["kept", "kept.new", "other"]);
    }

    #[test]
    fn what_is_no_file_is_written_to_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        replace(Path::new("/dev/null"), b"one").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        // What a process has open goes by another name, whatever it is: a file that is written to, too.
        let (file, path) = (folder.path().join("open"), |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd()));
        let open = File::create(&file).unwrap();
        replace(Path::new(&path(&open)), b"two").unwrap();
        assert_eq!(open.metadata().unwrap().ino(), fs::metadata(&file).unwrap().ino());
        assert_eq!(read(&file).unwrap().as_deref(), Some("two"));
        let link = folder.path().join("stdout");
        std::os::unix::fs::symlink(path(&open), &link).unwrap();
        replace(&link, b"three").unwrap();
        assert_eq!(open.metadata().unwrap().len(), 5);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        // What cannot be written.
        let circle = folder.path().join("circle");
        std::os::unix::fs::symlink("circle", &circle).unwrap();
        for wrong in [folder.path().to_owned(), folder.path().join("none/file"), folder.path().join("new/"), circle] {
            assert!(replace(&wrong, b"four").is_err(), "{}", wrong.display());
        }
        assert_eq!(names(folder.path()), ["circle", "open", "stdout"]);
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_leftover_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(folder.path().join("secret.new"), "half").unwrap();
        write(&path, b"one", Readers::Owner).unwrap();
        write(&path, b"two", Readers::Owner).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(mode(&path), 0o600);
        assert_eq!(names(folder.path()), ["secret"]);
        assert_eq!(read(&folder.path().join("nothing")).unwrap(), None);
    }
}
