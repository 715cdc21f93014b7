//! The token of a development folder: its configuration, its PINs and its objects, in `softhsm/`, or in `token/` where
//! it is not SoftHSM's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use chancery_hsm::{InitialiseToken, ModuleConfiguration, Pin};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Folder;
use crate::commands::serve::worker_command;
use crate::exit::Failure;
use crate::files::{self, Readers};
use crate::input::hex;

/// The token's label.
const LABEL: &str = "chancery-dev";

/// A PKCS#11 module that keeps its tokens in files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// The shared library.
    pub library: PathBuf,
    /// How it is told where its files are.
    pub configuration: ModuleConfiguration,
}

/// What identifies the token, for the configuration; kept in `token.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevToken {
    /// CKA label.
    pub label: String,
    /// Serial number, as the module chose it.
    pub serial: String,
    /// The module, where it is not SoftHSM: that one is looked for at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<Module>,
}

/// A token that is there.
#[derive(Debug)]
pub struct Prepared {
    /// What identifies it.
    pub token: DevToken,
    /// Its module.
    pub module: Module,
    /// Its folder, by its name in the development folder.
    pub home: &'static str,
}

/// A token that was just made.
#[derive(Debug)]
pub struct Made {
    /// What identifies it.
    pub token: DevToken,
    /// The user's PIN.
    pub pin: Pin,
    /// The environment of its worker.
    pub environment: BTreeMap<String, String>,
}

impl Module {
    /// The SoftHSM of this machine.
    pub fn softhsm() -> Result<Self, Failure> {
        let found = chancery_hsm::find_softhsm_module().filter(|module| module.is_file());
        let configuration = ModuleConfiguration::softhsm();
        found.map(|library| Self { library, configuration }).ok_or_else(|| {
            Failure::local("SoftHSM 2, the PKCS#11 token for development, was not found on this machine").hint(
                "install it: softhsm/install.sh in the source tree, or the package softhsm2 (Debian, Ubuntu), softhsm \
                 (Fedora, RHEL, Alpine, Arch, Homebrew); or set SOFTHSM2_MODULE to the path of libsofthsm2.so",
            )
        })
    }

    /// Another one: its library, and `VARIABLE=TEMPLATE`, where the template's file name without `.template` is that of
    /// the configuration.
    pub fn other(library: &Path, configuration: &str) -> Result<Self, Failure> {
        // Absolute, and not followed: a link is there to be pointed at the next version.
        let library = std::fs::metadata(library)
            .and_then(|_| std::path::absolute(library))
            .map_err(|error| Failure::file("find", library, error))?;
        let parts = configuration.split_once('=').map(|(variable, template)| (variable, Path::new(template)));
        let (variable, template) =
            parts.filter(|(variable, template)| !variable.is_empty() && template.file_name().is_some()).ok_or_else(
                || Failure::local(format!("--module-config wants VARIABLE=TEMPLATE, and is {configuration:?}")),
            )?;
        let text = std::fs::read_to_string(template).map_err(|error| Failure::file("read", template, error))?;
        let name = template.file_name().unwrap_or_default().to_string_lossy();
        let configuration = ModuleConfiguration {
            variable: variable.to_owned(),
            file_name: name.strip_suffix(".template").unwrap_or(&name).to_owned(),
            template: text,
        };
        Ok(Self { library, configuration })
    }
}

/// Makes the token where there is none. All of it is made under another name first, so that a token that exists is a
/// whole one: its PINs are on disk, and its serial is known.
pub async fn prepare(folder: &Folder, chosen: Option<Module>, done: &mut Vec<String>) -> Result<Prepared, Failure> {
    let home = ["softhsm", "token"].into_iter().find(|home| folder.path(home).exists());
    let home = home.unwrap_or(if chosen.is_some() { "token" } else { "softhsm" });
    let path = folder.path(home);
    if !path.exists() {
        let new = folder.path(&format!("{home}.new"));
        make(&new, chosen.as_ref()).await?;
        std::fs::rename(&new, &path)
            .and_then(|()| files::sync_folder(&path))
            .map_err(|error| Failure::file("make", &path, error))?;
        let kind = if chosen.is_some() { "" } else { "SoftHSM " };
        done.push(format!("made the {kind}token {LABEL} in {}", path.display()));
    }
    let token = read(&path)?;
    if chosen.is_some() && chosen != token.module {
        return Err(Failure::local(format!("{} holds the token of another module", path.display()))
            .hint("choose another folder, or leave out --module"));
    }
    let module = match &token.module {
        Some(module) => module.clone(),
        None => Module::softhsm()?,
    };
    module.configuration.write(&path).map_err(|error| Failure::file("write", &path, error))?;
    Ok(Prepared { token, module, home })
}

fn read(home: &Path) -> Result<DevToken, Failure> {
    let path = home.join("token.json");
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, error))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::local(format!("{} does not say which token this is", path.display()))
            .because(error)
            .hint(format!("if the keys do not matter, remove {} and chancery.toml beside it", home.display()))
    })
}

/// Makes a token and its folder from nothing: a SoftHSM token where no other module is named.
pub async fn make(home: &Path, other: Option<&Module>) -> Result<Made, Failure> {
    let failed = |error| Failure::file("make", home, error);
    let module = match other {
        Some(module) => module.clone(),
        None => Module::softhsm()?,
    };
    match std::fs::remove_dir_all(home) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // The lock and the mark of the initialisation are of no use afterwards: the folder as a whole is the mark.
    let lock_dir = home.join("making");
    std::fs::create_dir_all(&lock_dir).map_err(failed)?;
    let environment = module.configuration.write(home).map_err(failed)?;
    let (so_pin, user_pin) = (random_pin()?, random_pin()?);
    files::write(&home.join("so-pin"), so_pin.as_bytes(), Readers::Owner)?;
    files::write(&home.join("pin"), user_pin.as_bytes(), Readers::Owner)?;
    let pin = Pin::new(user_pin);
    let request = InitialiseToken {
        module: module.library,
        module_environment: environment.clone(),
        lock_dir: lock_dir.clone(),
        label: LABEL.to_owned(),
        slot: None,
        so_pin: Pin::new(so_pin),
        user_pin: pin.clone(),
        // Its folder was removed and made above, under the development folder's lock.
        storage_is_new: true,
    };
    let made = chancery_hsm::initialise_token(&worker_command(), request)
        .await
        .map_err(|error| Failure::local(format!("cannot make a token in {}", home.display())).because(error))?;
    std::fs::remove_dir_all(&lock_dir).map_err(failed)?;
    let token = DevToken { label: made.label, serial: made.serial, module: other.cloned() };
    let text =
        serde_json::to_string(&token).map_err(|error| Failure::local("cannot write token.json").because(error))?;
    files::write(&home.join("token.json"), format!("{text}\n").as_bytes(), Readers::Everybody)?;
    Ok(Made { token, pin, environment })
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
    fn another_module_is_told_by_a_variable_and_a_template() {
        let parent = tempfile::tempdir().unwrap();
        let (library, template) = (parent.path().join("lib.so"), parent.path().join("token.conf.template"));
        std::fs::write(&library, "").unwrap();
        std::fs::write(&template, "tokens = '@TOKENS@'\n").unwrap();
        let module = Module::other(&library, &format!("TOKEN_CONF={}", template.display())).unwrap();
        let ModuleConfiguration { variable, file_name, template: text } = module.configuration;
        assert_eq!((variable.as_str(), file_name.as_str()), ("TOKEN_CONF", "token.conf"));
        assert_eq!(text, "tokens = '@TOKENS@'\n");
        for wrong in ["TOKEN_CONF", "=x", "TOKEN_CONF=", "TOKEN_CONF=/nowhere/token.conf"] {
            assert!(Module::other(&library, wrong).is_err(), "{wrong}");
        }
        assert!(Module::other(Path::new("/nowhere/lib.so"), "A=b").is_err());
    }

    #[test]
    fn no_pin_is_like_another() {
        let (one, two) = (random_pin().unwrap(), random_pin().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(*one, *two);
    }
}
