//! The SoftHSM token of a development folder: `softhsm/` with its configuration, its PINs and its objects.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use chancery_hsm::{InitialiseToken, Pin, write_softhsm_configuration};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Folder;
use super::files::{self, Readers};
use crate::commands::serve::worker_command;
use crate::exit::Failure;
use crate::input::hex;

/// The token's label.
const LABEL: &str = "chancery-dev";

/// What identifies the token, for the configuration; kept in `token.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevToken {
    /// CKA label.
    pub label: String,
    /// Serial number, as SoftHSM chose it.
    pub serial: String,
}

/// A token that was just made.
pub struct Made {
    /// What identifies it.
    pub token: DevToken,
    /// The user's PIN.
    pub pin: Pin,
}

/// Where SoftHSM's library is.
pub fn find() -> Result<PathBuf, Failure> {
    let found = chancery_hsm::find_softhsm_module().filter(|module| module.is_file());
    found.ok_or_else(|| {
        Failure::local("SoftHSM 2, the PKCS#11 token for development, was not found on this machine").hint(
            "install it: softhsm/install.sh in the source tree, or the package softhsm2 (Debian, Ubuntu), softhsm \
             (Fedora, RHEL, Alpine, Arch, Homebrew); or set SOFTHSM2_MODULE to the path of libsofthsm2.so",
        )
    })
}

/// Makes the token where there is none. All of it is made under another name first, so that a token that exists is a
/// whole one: its PINs are on disk, and its serial is known.
pub async fn prepare(folder: &Folder, module: &Path, done: &mut Vec<String>) -> Result<DevToken, Failure> {
    let home = folder.path("softhsm");
    if !home.exists() {
        let new = folder.path("softhsm.new");
        make(&new, module).await?;
        std::fs::rename(&new, &home)
            .and_then(|()| files::sync_folder(&home))
            .map_err(|error| Failure::file("make", &home, error))?;
        done.push(format!("made the SoftHSM token {LABEL} in {}", home.display()));
    }
    configure(&home)?;
    let path = home.join("token.json");
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, error))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::local(format!("{} does not say which token this is", path.display()))
            .because(error)
            .hint(format!("if the keys do not matter, remove {} and chancery.toml beside it", home.display()))
    })
}

/// Makes a token and its folder from nothing.
pub async fn make(home: &Path, module: &Path) -> Result<Made, Failure> {
    let failed = |error| Failure::file("make", home, error);
    match std::fs::remove_dir_all(home) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // The lock and the mark of the initialisation are of no use afterwards: the folder as a whole is the mark.
    let lock_dir = home.join("making");
    std::fs::create_dir_all(&lock_dir).map_err(failed)?;
    let configuration = write_softhsm_configuration(home).map_err(failed)?;
    let (so_pin, user_pin) = (random_pin()?, random_pin()?);
    files::write(&home.join("so-pin"), so_pin.as_bytes(), Readers::Owner)?;
    files::write(&home.join("pin"), user_pin.as_bytes(), Readers::Owner)?;
    let pin = Pin::new(user_pin);
    let request = InitialiseToken {
        module: module.to_owned(),
        module_environment: BTreeMap::from([("SOFTHSM2_CONF".to_owned(), configuration.display().to_string())]),
        lock_dir: lock_dir.clone(),
        label: LABEL.to_owned(),
        so_pin: Pin::new(so_pin),
        user_pin: pin.clone(),
    };
    let made = chancery_hsm::initialise_token(&worker_command(), request)
        .await
        .map_err(|error| Failure::local(format!("cannot make a SoftHSM token in {}", home.display())).because(error))?;
    std::fs::remove_dir_all(&lock_dir).map_err(failed)?;
    let token = DevToken { label: made.label, serial: made.serial };
    let text =
        serde_json::to_string(&token).map_err(|error| Failure::local("cannot write token.json").because(error))?;
    files::write(&home.join("token.json"), format!("{text}\n").as_bytes(), Readers::Everybody)?;
    Ok(Made { token, pin })
}

/// SoftHSM's configuration holds the path of its objects: written anew where the folder is another than it says.
fn configure(home: &Path) -> Result<(), Failure> {
    let path = home.join("softhsm2.conf");
    let tokens = home.join("tokens").display().to_string();
    let fits = files::read(&path)?.is_some_and(|text| text.lines().any(|line| line.ends_with(&format!("= {tokens}"))));
    if fits {
        return Ok(());
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::file("replace", &path, error)),
        _ => {}
    }
    write_softhsm_configuration(home).map(drop).map_err(|error| Failure::file("write", &path, error))
}

/// 128 random bits in hexadecimal.
fn random_pin() -> Result<Zeroizing<String>, Failure> {
    let bytes: Zeroizing<[u8; 16]> = Zeroizing::new(
        chancery_crypto::random_bytes().map_err(|error| Failure::local("cannot make a PIN").because(error))?,
    );
    Ok(Zeroizing::new(hex(bytes.as_slice())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_follows_the_folder_when_it_is_moved() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path().canonicalize().unwrap();
        let (here, there) = (parent.join("here"), parent.join("there"));
        std::fs::create_dir(&here).unwrap();
        configure(&here).unwrap();
        std::fs::rename(&here, &there).unwrap();
        configure(&there).unwrap();
        let text = std::fs::read_to_string(there.join("softhsm2.conf")).unwrap();
        assert!(text.contains(&format!("= {}", there.join("tokens").display())), "{text}");
        assert!(!text.contains(&format!("{}", here.display())), "{text}");
    }

    #[test]
    fn no_pin_is_like_another() {
        let (one, two) = (random_pin().unwrap(), random_pin().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(*one, *two);
    }
}
