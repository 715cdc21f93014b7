//! The small witness's own key.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_audit::note::{InvalidVerifierKey, KeyName, SignatureKind, VerifierKey};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::desk::sync_folder;

/// The longest key file: an Ed25519 key has less than a hundred bytes.
const MAX_BYTES: u64 = 1024;

/// An Ed25519 key that cosigns.
pub struct CosignerKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file.
    #[error("{path} cannot be read or made; correct its rights, or those of its folder")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "{path} can be read by others (mode {mode:03o}), so it is nobody's key; chmod 600 it, or begin with a new folder"
    )]
    Rights {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds no key.
    #[error("{path} holds no Ed25519 private key (PKCS#8, DER); put back the one that was there")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// No key can be made.
    #[error("no key could be made: the system gives no random bytes")]
    Random,
    /// Its public half.
    #[error(transparent)]
    Verifier(#[from] InvalidVerifierKey),
}

impl CosignerKey {
    /// Reads it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path, name: KeyName) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Rights { path: path.to_owned(), mode });
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        let pair = Ed25519KeyPair::from_pkcs8(&bytes).or(Err(KeyError::NoKey { path: path.to_owned() }))?;
        Self::of(pair, name)
    }

    /// Makes one, in a file that only its owner can read, whole or not at all, and on the disk.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn make(path: &Path, name: KeyName) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let bytes = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).or(Err(KeyError::Random))?;
        let beside = path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(bytes.as_ref())?;
            file.sync_all()?;
            std::fs::rename(&beside, path)?;
            sync_folder(path)
        };
        write().map_err(failed)?;
        Self::read(path, name)
    }

    fn of(pair: Ed25519KeyPair, name: KeyName) -> Result<Self, KeyError> {
        let point = pair.public_key().as_ref().try_into().or(Err(KeyError::Random))?;
        let verifier = VerifierKey::new(name, SignatureKind::Cosignature, point)?;
        Ok(Self { pair, verifier })
    }

    /// What verifies its cosignatures.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs.
    pub(crate) fn sign(&self, text: &[u8]) -> Option<[u8; 64]> {
        self.pair.sign(text).as_ref().try_into().ok()
    }
}
