//! SoftHSM: where its module is, its configuration, and new tokens in it. For development and tests.

use crate::token::launch;
use crate::wire::{Initialise, Started, Task};
use crate::{HsmError, HsmErrorKind, Pin, START_PATIENCE, WorkerCommand};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The configuration that `make run`, compose and tests share.
const TEMPLATE: &str = include_str!("../../../softhsm/softhsm2.conf.template");

/// Where packages put the module: Debian and Ubuntu, Fedora, Alpine, Arch, Homebrew, own builds.
const USUAL_PATHS: [&str; 10] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/lib/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/usr/local/lib/libsofthsm2.so",
];

/// The SoftHSM module of this machine: what the environment variable `SOFTHSM2_MODULE` says, or else the first that
/// is there of the usual paths.
#[must_use]
pub fn find_softhsm_module() -> Option<PathBuf> {
    match std::env::var_os("SOFTHSM2_MODULE") {
        Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => USUAL_PATHS.into_iter().map(PathBuf::from).find(|path| path.is_file()),
    }
}

/// Writes `DIRECTORY/softhsm2.conf` and makes `DIRECTORY/tokens`, which only the owner can enter; what is there
/// already stays as it is. The path of the file goes into the worker's environment as `SOFTHSM2_CONF`.
///
/// # Errors
/// An [`io::Error`] where the directory cannot be made or written to.
pub fn write_softhsm_configuration(directory: &Path) -> io::Result<PathBuf> {
    let tokens = directory.join("tokens");
    DirBuilder::new().recursive(true).mode(0o700).create(&tokens)?;
    let tokens = fs::canonicalize(tokens)?;
    let tokens = tokens.to_str().ok_or_else(|| io::Error::other("SoftHSM wants a path in UTF-8 for its tokens"))?;
    let path = directory.join("softhsm2.conf");
    if !path.exists() {
        fs::write(&path, TEMPLATE.replace("@TOKENS@", tokens))?;
    }
    fs::canonicalize(path)
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct InitialiseToken {
    /// The PKCS#11 shared library.
    pub module: PathBuf,
    /// Environment of the process that makes it, for example `SOFTHSM2_CONF`.
    pub module_environment: BTreeMap<String, String>,
    /// Directory of locks, as in [`crate::TokenSettings::lock_dir`].
    pub lock_dir: PathBuf,
    /// Label of the new token: 1 to 32 bytes, and no token has it yet.
    pub label: String,
    /// PIN of the security officer.
    pub so_pin: Pin,
    /// PIN of the user.
    pub user_pin: Pin,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialisedToken {
    /// Its label.
    pub label: String,
    /// The serial number that the module gave it.
    pub serial: String,
}

/// Makes a token in an uninitialised slot, in a process of its own and under the token's lock.
///
/// Refuses a label that a token has, and one under which a token was made from the same lock directory before: many
/// processes that initialise SoftHSM at once can fail to see a token that is there.
///
/// # Errors
/// [`HsmError`] with the kind [`HsmErrorKind::Configuration`] where such a token exists or existed, the label is none,
/// or no slot is free; [`HsmErrorKind::TokenAbsent`] where another process holds the lock.
pub async fn initialise_token(worker: &WorkerCommand, request: InitialiseToken) -> Result<InitialisedToken, HsmError> {
    let InitialiseToken { module, module_environment, lock_dir, label, so_pin, user_pin } = request;
    let what = format!("initialising token {label:?}");
    let task = Task::Initialise(Initialise { module, label: label.clone(), so_pin, user_pin, lock_dir });
    match launch::run_once(&what, worker, &module_environment, task, START_PATIENCE).await? {
        Started::Initialised { serial } => Ok(InitialisedToken { label, serial }),
        Started::Failed(failure) => Err(HsmError::failure(&what, failure.into_failure())),
        Started::Serving(_) | Started::Measured { .. } => {
            Err(HsmError::new(HsmErrorKind::Bug, format!("{what}: the worker answered something else")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_directory_and_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = write_softhsm_configuration(directory.path()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let tokens = fs::canonicalize(directory.path().join("tokens")).unwrap();
        assert!(text.contains(&format!("directories.tokendir = {}", tokens.display())), "{text}");
        assert!(!text.contains('@'));
        fs::write(&path, "mine").unwrap();
        write_softhsm_configuration(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
