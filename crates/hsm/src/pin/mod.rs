//! The PIN of a token: a secret that is shown to nobody.

mod descriptor;
mod terminal;

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest PIN in bytes; PKCS#11 tokens stop far below.
const MAX_PIN_BYTES: usize = 1024;

/// A token's PIN. Wiped from memory when dropped, never part of `Debug`, and compared only with itself typed again.
#[derive(Clone)]
pub struct Pin(Zeroizing<String>);

/// Where a PIN comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// A file that only its owner can use, with the PIN on one line.
    File(PathBuf),
    /// A credential that systemd gives the unit: the file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A descriptor that this program inherited; it is read once, to its end, and closed. 0 is standard input.
    Descriptor(u32),
    /// A person at the terminal, which shows nothing of what is typed.
    Terminal,
}

/// Which PIN an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinOrigin {
    /// That of a file.
    File(PathBuf),
    /// That of an inherited descriptor.
    Descriptor(u32),
    /// One that was typed.
    Terminal,
}

impl fmt::Display for PinOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the PIN file {}", path.display()),
            Self::Descriptor(number) => write!(f, "the PIN from descriptor {number}"),
            Self::Terminal => f.write_str("the PIN from the terminal"),
        }
    }
}

/// Why a PIN was not taken. The text never holds what was read.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It cannot be read.
    #[error("cannot read {origin}: {source}")]
    Read {
        /// Which one.
        origin: PinOrigin,
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
    /// What was read is no PIN, or cannot be one.
    #[error("{origin} must be one line of UTF-8 text of 1 to {MAX_PIN_BYTES} bytes, the PIN, and nothing else")]
    Content {
        /// Which one.
        origin: PinOrigin,
    },
    /// There are no credentials.
    #[error(
        "there is no credential {name:?}: CREDENTIALS_DIRECTORY is not set, which systemd does for a unit with \
         LoadCredential= or LoadCredentialEncrypted="
    )]
    NoCredentials {
        /// The credential's name.
        name: String,
    },
    /// A credential's name is a path, or nothing.
    #[error("{name:?} is not the name of a credential: it is a file name, without a folder")]
    CredentialName {
        /// What was given.
        name: String,
    },
}

impl PinSource {
    /// Gets the PIN. `question` is what a person at the terminal is asked.
    ///
    /// # Errors
    /// [`PinError`], which names the source and never shows what it gave.
    pub fn read(&self, question: &str) -> Result<Pin, PinError> {
        match self {
            Self::File(path) => Pin::read_file(path),
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
                Pin::read_file(&credential(name, folder.as_deref())?)
            }
            Self::Descriptor(number) => descriptor::read(*number),
            Self::Terminal => terminal::ask(question),
        }
    }
}

impl PinSource {
    /// The file that can be read again; `None` where what gave the PIN gives it once.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Credential(name) => {
                credential(name, std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref()).ok()
            }
            Self::Descriptor(_) | Self::Terminal => None,
        }
    }
}

fn credential(name: &str, folder: Option<&Path>) -> Result<PathBuf, PinError> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(PinError::CredentialName { name: name.to_owned() });
    }
    let folder = folder.filter(|folder| folder.is_absolute());
    folder.map(|folder| folder.join(name)).ok_or_else(|| PinError::NoCredentials { name: name.to_owned() })
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
        let failed = |source| PinError::Read { origin: PinOrigin::File(path.to_owned()), source };
        // The open file is what gets checked and read, so that it cannot be exchanged in between.
        let file = std::fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(PinError::NotAFile { path: path.to_owned() });
        }
        let mode = metadata.permissions().mode() & 0o777;
        if others_can_use(path, mode) {
            return Err(PinError::Permissions { path: path.to_owned(), mode });
        }
        Self::read_from(file, PinOrigin::File(path.to_owned()))
    }

    /// Reads to the end, and strips one line end.
    fn read_from(source: impl Read, origin: PinOrigin) -> Result<Self, PinError> {
        // One allocation that never grows, so that no copy of the PIN stays behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PIN_BYTES + 8));
        let limit = u64::try_from(MAX_PIN_BYTES).unwrap_or(u64::MAX).saturating_add(3);
        match source.take(limit).read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(source) => return Err(PinError::Read { origin, source }),
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Self::checked(bytes, origin)
    }

    /// Takes what was read or typed, if it can be a PIN.
    fn checked(mut bytes: Zeroizing<Vec<u8>>, origin: PinOrigin) -> Result<Self, PinError> {
        let fits = (1..=MAX_PIN_BYTES).contains(&bytes.len()) && !bytes.iter().any(|byte| b"\n\r\0".contains(byte));
        // Moved, not copied; what is no text is wiped with the error that holds it.
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(text) if fits => Ok(Self(Zeroizing::new(text))),
            Ok(text) => {
                drop(Zeroizing::new(text));
                Err(PinError::Content { origin })
            }
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(PinError::Content { origin })
            }
        }
    }

    /// Whether two PINs are the same, for one that was typed twice. Takes the same time wherever they differ.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes()).is_ok()
    }

    /// Writes the PIN to a new file that only its owner can use, on one line, and makes it durable. A file that is there
    /// is not touched.
    ///
    /// # Errors
    /// An [`io::Error`], of kind [`io::ErrorKind::AlreadyExists`] where the file is there.
    pub fn write_new_file(&self, path: &Path) -> io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        // Two writes, so that no buffer holds a copy.
        file.write_all(self.0.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
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
    fn a_credential_is_a_name_in_the_folder_that_systemd_says() {
        let folder = Path::new("/run/credentials/chancery.service");
        assert_eq!(credential("pin-main", Some(folder)).unwrap(), folder.join("pin-main"));
        assert!(matches!(credential("pin", None), Err(PinError::NoCredentials { .. })));
        assert!(matches!(credential("pin", Some(Path::new("credentials"))), Err(PinError::NoCredentials { .. })));
        for name in ["", "..", "../pin", "/etc/pin"] {
            assert!(matches!(credential(name, Some(folder)), Err(PinError::CredentialName { .. })), "{name}");
        }
    }

    #[test]
    fn a_pin_is_written_for_its_owner_alone_and_over_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        let pin = Pin::new(Zeroizing::new("1234".to_owned()));
        pin.write_new_file(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Pin::read_file(&path).unwrap().is_same_as(&pin));
        let other = Pin::new(Zeroizing::new("4321".to_owned()));
        assert_eq!(other.write_new_file(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!Pin::read_file(&path).unwrap().is_same_as(&other));
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
