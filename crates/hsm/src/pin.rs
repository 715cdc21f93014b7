//! The PIN of a token: a secret that is shown to nobody.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest PIN in bytes; PKCS#11 tokens stop far below.
const MAX_PIN_BYTES: usize = 1024;

/// A token's PIN. Wiped from memory when dropped, never part of `Debug`, and compared with nothing.
#[derive(Clone)]
pub struct Pin(Zeroizing<String>);

/// Why a PIN file was not taken. The text never holds what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be read.
    #[error("cannot read the PIN file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file can be read by others than its owner.
    #[error("the PIN file {path} has mode {mode:03o}: others than its owner can use it; run `chmod 600 {path}`")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path is a directory, a device or a pipe.
    #[error("the PIN file {path} is not a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file holds no PIN, or something that cannot be one.
    #[error(
        "the PIN file {path} must hold one line of UTF-8 text of 1 to {MAX_PIN_BYTES} bytes, the PIN, and nothing else"
    )]
    Content {
        /// The file.
        path: PathBuf,
    },
}

/// Whether a file of these permission bits can be used by others than its owner.
///
/// A credential of systemd (a file directly in `$CREDENTIALS_DIRECTORY`) may show group read: it belongs to root, and these
/// bits are the mask of the ACL by which the service's own user, and nobody else, gets at it.
#[must_use]
pub fn others_can_use(path: &Path, mode: u32) -> bool {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    others_can_use_beside(path, mode, credentials.as_deref())
}

fn others_can_use_beside(path: &Path, mode: u32, credentials: Option<&Path>) -> bool {
    let is_credential = credentials.is_some_and(|folder| folder.is_absolute() && path.parent() == Some(folder));
    mode & if is_credential { 0o037 } else { 0o077 } != 0
}

impl Pin {
    /// Takes a PIN.
    #[must_use]
    pub const fn new(pin: Zeroizing<String>) -> Self {
        Self(pin)
    }

    /// Reads a PIN from a file that only its owner can use, and strips one line end (LF or CR LF).
    ///
    /// # Errors
    /// [`PinError`] where the file cannot be read, is open to group or others, or does not hold exactly one line.
    pub fn read_file(path: &Path) -> Result<Self, PinError> {
        let failed = |source| PinError::Read { path: path.to_owned(), source };
        // The open file is what gets checked and read, so that it cannot be exchanged in between.
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(PinError::NotAFile { path: path.to_owned() });
        }
        let mode = metadata.permissions().mode() & 0o777;
        if others_can_use(path, mode) {
            return Err(PinError::Permissions { path: path.to_owned(), mode });
        }
        // One allocation that never grows, so that no copy of the PIN stays behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_PIN_BYTES + 8));
        let limit = u64::try_from(MAX_PIN_BYTES).unwrap_or(u64::MAX).saturating_add(3);
        match (&mut file).take(limit).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(PinError::Content { path: path.to_owned() });
            }
            Err(error) => return Err(failed(error)),
        }
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() || text.len() > MAX_PIN_BYTES || text.contains(['\n', '\r', '\0']) {
            return Err(PinError::Content { path: path.to_owned() });
        }
        Ok(Self(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(secret)")
    }
}

// On the control socket a PIN is a text like any other; the buffers on both sides are wiped.
impl serde::Serialize for Pin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Pin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    fn file_with(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn one_line_end_is_stripped() {
        for content in ["1234", "1234\n", "1234\r\n"] {
            let (_directory, path) = file_with(content.as_bytes(), 0o600);
            assert_eq!(Pin::read_file(&path).unwrap().expose(), "1234");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_its_content_not_shown() {
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let (_directory, path) = file_with(b"very-secret", mode);
            let error = Pin::read_file(&path).unwrap_err();
            assert!(matches!(error, PinError::Permissions { .. }), "{error}");
            assert!(error.to_string().contains("chmod 600") && !error.to_string().contains("very-secret"));
        }
    }

    #[test]
    fn a_credential_may_show_the_mask_of_its_acl() {
        let credentials = Path::new("/run/credentials/chancery.service");
        let pin = credentials.join("pin");
        for (mode, open) in [(0o400, false), (0o440, false), (0o460, true), (0o444, true)] {
            assert_eq!(others_can_use_beside(&pin, mode, Some(credentials)), open, "{mode:o}");
        }
        assert!(others_can_use_beside(&pin, 0o440, None));
        assert!(others_can_use_beside(&credentials.join("deeper/pin"), 0o440, Some(credentials)));
        assert!(others_can_use_beside(Path::new("pin"), 0o440, Some(Path::new(""))));
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        let long = "1".repeat(MAX_PIN_BYTES + 1);
        for content in [b"".as_slice(), b"\n", b"1234\n\n", b"12\n34", b"\xff\xfe", long.as_bytes()] {
            let (_directory, path) = file_with(content, 0o600);
            assert!(matches!(Pin::read_file(&path), Err(PinError::Content { .. })), "{content:?}");
        }
    }

    #[test]
    fn debug_shows_no_pin() {
        assert_eq!(format!("{:?}", Pin::new(Zeroizing::new("1234".to_owned()))), "Pin(secret)");
    }
}
