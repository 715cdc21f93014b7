//! Which token is meant: one of a configuration, or one of a module that is named here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chancery_hsm::PinSource;
use chancery_model::Id;
use chancery_server::config::{self, looks_secret};
use clap::Args;

use crate::commands::serve;
use crate::exit::Failure;
use crate::names::TokenArgument;

/// Where `chancery init` puts the locks of a service.
const LOCK_DIR: &str = "/var/lib/chancery/locks";

/// A module, and how it is told what it needs to know.
#[derive(Debug, Args)]
pub struct ModuleArguments {
    /// The PKCS#11 module (shared library)
    #[arg(long, value_name = "LIBRARY")]
    pub module: Option<PathBuf>,
    /// A variable for the module, which sees no other: NAME=VALUE, or NAME for the value that it has here
    #[arg(long = "env", value_name = "NAME[=VALUE]", requires = "module")]
    pub environment: Vec<Variable>,
}

/// The token that is meant.
#[derive(Debug, Args)]
pub struct AddressArguments {
    /// Take module, label, PIN and locks of a token from a service's configuration file
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["module", "label", "serial", "lock_dir"])]
    config: Option<PathBuf>,
    /// Which of the configuration's tokens; needed where it has several
    #[arg(long, value_name = "ID", requires = "config")]
    token: Option<TokenArgument>,
    #[command(flatten)]
    module: ModuleArguments,
    /// The token's label
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// The token's serial number, where the label alone does not tell it apart
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    /// Folder of the locks: the one that the service's configuration names in [hsm]
    #[arg(long, value_name = "DIR", default_value = LOCK_DIR)]
    lock_dir: PathBuf,
}

/// A module and its locks; a token where one is named.
#[derive(Debug)]
pub struct Address {
    pub module: PathBuf,
    pub environment: BTreeMap<String, String>,
    pub lock_dir: PathBuf,
    pub label: Option<String>,
    pub serial: Option<String>,
    /// The user PIN's, as the configuration says.
    pub pin: Option<PinSource>,
}

impl AddressArguments {
    /// Reads the configuration, where one is named.
    pub fn resolve(self) -> Result<Address, Failure> {
        let Self { config, token, module: ModuleArguments { module, environment }, label, serial, lock_dir } = self;
        let address = match (config, module) {
            (Some(config), _) => of_config(&config, token.map(|TokenArgument(id)| id).as_ref())?,
            (None, Some(module)) => Address {
                module: absolute(&module)?,
                environment: variables(environment)?,
                lock_dir: absolute(&lock_dir)?,
                label,
                serial,
                pin: None,
            },
            (None, None) => {
                return Err(Failure::usage("which token is meant is not said").hint(
                    "name a module and a label (--module LIBRARY --label LABEL), or a configuration (--config FILE)",
                ));
            }
        };
        Ok(address)
    }
}

impl Address {
    /// The label, where there must be one.
    pub fn label(&self) -> Result<&str, Failure> {
        self.label.as_deref().ok_or_else(|| {
            Failure::usage("the token's label is not said")
                .hint("add --label LABEL; chancery token list --module LIBRARY shows the labels")
        })
    }

    /// Makes the folder of the locks, as the service would.
    pub fn make_lock_dir(&self) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.lock_dir).map_err(|error| {
            Failure::file("make the folder of the locks", &self.lock_dir, error)
                .hint("--lock-dir names the folder that the service's configuration names in [hsm]; run this as the service's user")
        })
    }
}

fn of_config(path: &Path, wanted: Option<&Id>) -> Result<Address, Failure> {
    let config = serve::load(path)?;
    let known = || config.tokens.iter().map(|token| token.id.as_str()).collect::<Vec<_>>().join(", ");
    let token = match (wanted, config.tokens.as_slice()) {
        (Some(wanted), tokens) => tokens
            .iter()
            .find(|token| token.id == *wanted)
            .ok_or_else(|| Failure::usage(format!("{} has no token {wanted}; it has: {}", path.display(), known())))?,
        (None, [only]) => only,
        (None, _) => {
            return Err(Failure::usage(format!("{} has not one token; say --token ID", path.display()))
                .hint(format!("it has: {}", known())));
        }
    };
    let config::Token {
        id: _,
        module,
        label,
        serial,
        pin,
        signing_threads: _,
        keepalive: _,
        max_worker_memory_bytes: _,
        queue_limit: _,
        environment,
    } = token;
    Ok(Address {
        module: absolute(module)?,
        environment: environment.0.clone(),
        lock_dir: absolute(&config.hsm.lock_dir)?,
        label: Some(label.clone()),
        serial: serial.clone(),
        pin: Some(pin.clone()),
    })
}

/// The worker's folder is ours, but an error that names a path is to name it whole.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::file("find", path, error))
}

/// The environment of the module.
pub fn variables(given: Vec<Variable>) -> Result<BTreeMap<String, String>, Failure> {
    given
        .into_iter()
        .map(|Variable { name, value }| match value {
            Some(value) => Ok((name, value)),
            None => match std::env::var(&name) {
                Ok(value) => Ok((name, value)),
                Err(error) => {
                    Err(Failure::usage(format!("--env {name} takes the value that {name} has here: {error}")))
                }
            },
        })
        .collect()
}

/// A variable for a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    name: String,
    /// None: as it is in this process.
    value: Option<String>,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("a variable has no name; write NAME=VALUE or NAME".to_owned());
        }
        if value.is_some() && looks_secret(name) {
            return Err(format!(
                "{name} looks like a secret, and a command line is for everybody to read; set it in the environment, and \
                 write --env {name}"
            ));
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_given_or_passed_on() {
        let variable = |text: &str| text.parse::<Variable>();
        assert_eq!(variable("A=b=c").unwrap().value.as_deref(), Some("b=c"));
        assert_eq!(variable("VENDOR_PASSWORD").unwrap().value, None);
        let error = variable("VENDOR_PASSWORD=hunter2").unwrap_err();
        assert!(error.contains("--env VENDOR_PASSWORD") && !error.contains("hunter2"), "{error}");
        assert!(variable("=b").is_err());
    }

    #[test]
    fn a_token_is_named_or_found_in_a_configuration() {
        let said = |arguments: AddressArguments| arguments.resolve().unwrap_err().report().0;
        let module = || ModuleArguments { module: None, environment: Vec::new() };
        let none = AddressArguments {
            config: None,
            token: None,
            module: module(),
            label: None,
            serial: None,
            lock_dir: LOCK_DIR.into(),
        };
        assert!(said(none).contains("--config FILE"));
    }
}
