//! One process owns a token: an exclusive lock on a file, held until the process ends.

use super::fault::Fault;
use crate::{HealthCause, HsmErrorKind};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks at a lock that somebody else holds.
const POLL: Duration = Duration::from_millis(25);

/// The locks of a token. Dropped with the process.
#[derive(Debug)]
#[must_use = "the token is ours only as long as the files are open"]
pub(super) struct TokenLock {
    _files: Vec<File>,
}

impl TokenLock {
    /// Waits for the token's lock, at most for `patience`.
    ///
    /// With a serial, the label is locked for sharing and label and serial together exclusively: tokens of one label
    /// can then be held side by side, while somebody who knows a token by its label alone excludes them all.
    pub(super) fn acquire(
        directory: &Path,
        label: &str,
        serial: Option<&str>,
        patience: Duration,
    ) -> Result<Self, Fault> {
        let until = Instant::now() + patience;
        let mut files = vec![lock(&file(directory, label, None, "lock"), serial.is_some(), until)?];
        if let Some(serial) = serial {
            files.push(lock(&file(directory, label, Some(serial), "lock"), false, until)?);
        }
        Ok(Self { _files: files })
    }
}

/// The path of a file that belongs to a token. Bytes other than letters, digits, `-` and `_` are written in
/// hexadecimal, so that two labels never share a file.
pub(super) fn file(directory: &Path, label: &str, serial: Option<&str>, extension: &str) -> PathBuf {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
                other => format!("%{other:02x}"),
            })
            .collect()
    };
    let name = match serial {
        Some(serial) => format!("{}+{}.{extension}", escape(label), escape(serial)),
        None => format!("{}.{extension}", escape(label)),
    };
    directory.join(name)
}

fn lock(path: &Path, shared: bool, until: Instant) -> Result<File, Fault> {
    let failed = |error: io::Error| {
        let path = path.display();
        Fault::new(
            HsmErrorKind::Configuration,
            format!("cannot lock {path}: {error}; the lock directory must exist and be writable for the service"),
        )
    };
    let mut open = OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = open.open(path).map_err(failed)?;
    loop {
        let attempt = if shared { file.try_lock_shared() } else { file.try_lock() };
        match attempt {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only to help: what an exclusive holder wrote about itself.
                let holder = match (&file).take(64).read_to_string(&mut holder) {
                    Ok(length) if length > 0 => holder.trim().to_owned(),
                    Ok(_) | Err(_) => "another process".to_owned(),
                };
                let path = path.display();
                return Err(Fault::new(
                    HsmErrorKind::TokenAbsent,
                    format!("the token is held by {holder} (lock {path}); stop it, or give each its own token"),
                )
                .because(HealthCause::TokenInUse));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    if !shared {
        let note = format!("process {}\n", std::process::id());
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes())).map_err(failed)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        let first = TokenLock::acquire(directory.path(), "a", None, NOW).unwrap();
        let error = TokenLock::acquire(directory.path(), "a", None, Duration::from_millis(60)).unwrap_err();
        assert!(error.message.contains(&format!("process {}", std::process::id())), "{}", error.message);
        drop(first);
        let _second = TokenLock::acquire(directory.path(), "a", None, NOW).unwrap();
    }

    #[test]
    fn tokens_of_one_label_live_side_by_side_only_where_serials_tell_them_apart() {
        let directory = tempfile::tempdir().unwrap();
        let _one = TokenLock::acquire(directory.path(), "a", Some("1"), NOW).unwrap();
        let _two = TokenLock::acquire(directory.path(), "a", Some("2"), NOW).unwrap();
        assert!(TokenLock::acquire(directory.path(), "a", Some("2"), NOW).is_err());
        assert!(TokenLock::acquire(directory.path(), "a", None, NOW).is_err());
    }

    #[test]
    fn labels_never_leave_the_directory_or_share_a_file() {
        let directory = Path::new("/d");
        assert_eq!(file(directory, "../x y", None, "lock"), Path::new("/d/%2e%2e%2fx%20y.lock"));
        assert_ne!(file(directory, "a+1", None, "lock"), file(directory, "a", Some("1"), "lock"));
    }
}
