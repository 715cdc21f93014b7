//! The folder: who may read it, what is where, and that one process at a time has it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Announcement;
use crate::exit::Failure;

/// A development folder, by its absolute path.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

/// Held while the folder is prepared and served; the operating system drops it with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Folder {
    /// Opens the folder, and makes it, for its owner alone, where there is none.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| Failure::file("create the folder", path, error))?;
        let root = path.canonicalize().map_err(|error| Failure::file("open the folder", path, error))?;
        // The paths go into TOML, JSON and SoftHSM's own configuration file, which has no way to quote.
        match root.to_str() {
            Some(text) if !text.contains(['\n', '\r', '"', '#']) => Ok(Self { root }),
            _ => Err(Failure::local(format!("{} cannot be written into configuration files", root.display()))
                .hint("choose a folder whose path is UTF-8 without quotes, hashes and line breaks")),
        }
    }

    /// Takes the folder for this process.
    pub fn lock(&self) -> Result<Lock, Failure> {
        let path = self.path("dev.lock");
        let failed = |error| Failure::file("lock", &path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.in_use(&mut file)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Lock { _file: file })
    }

    /// Says who has the folder: its process, and its endpoint once it serves.
    fn in_use(&self, lock: &mut File) -> Failure {
        let mut pid = String::new();
        let _unreadable = lock.rewind().and_then(|()| lock.read_to_string(&mut pid));
        let pid = pid.trim();
        let process = if pid.is_empty() { String::new() } else { format!(" (process {pid})") };
        let endpoint = match Announcement::read(&self.root) {
            Ok(announcement) => format!(", at {}", announcement.endpoint),
            Err(_) => ", and does not serve yet".to_owned(),
        };
        let hint = match pid {
            "" => format!("use it: chancery health --dev {}", self.root.display()),
            pid => format!("use it: chancery health --dev {}; or stop it first: kill {pid}", self.root.display()),
        };
        Failure::local(format!("a chancery dev already runs in {}{process}{endpoint}", self.root.display())).hint(hint)
    }

    /// The absolute path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_folder_is_its_owners_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("a/b")).unwrap();
        assert_eq!(std::fs::metadata(folder.root()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(folder.root().is_absolute());
    }

    #[test]
    fn a_second_process_is_told_who_has_the_folder() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(parent.path()).unwrap();
        let lock = folder.lock().unwrap();
        let (text, exit) = folder.lock().unwrap_err().report();
        assert_eq!(exit, crate::exit::Exit::Local);
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert!(text.contains("does not serve yet"), "{text}");
        drop(lock);
        assert!(folder.lock().is_ok());
    }

    #[test]
    fn paths_that_cannot_be_quoted_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        assert!(Folder::open(&parent.path().join("a#b")).is_err());
    }
}
