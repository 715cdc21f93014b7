//! A SoftHSM in a folder of its own, worked on by the command line alone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "the helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use chancery_pkcs11_fault::{FaultRules, library};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{chancery, command, succeed};

/// PIN of the security officer, as [`SoftHsm::init`] sets it.
pub const SO_PIN: &str = "so-canary-55512";
/// PIN of the user, likewise.
pub const USER_PIN: &str = "user-canary-90210";
/// Label of the token, likewise.
pub const LABEL: &str = "payments";

/// SoftHSM's configuration, as `make run` has it.
const TEMPLATE: &str = include_str!("../../softhsm/softhsm2.conf.template");

/// The module, its folder, and the files with the PINs.
#[derive(Debug)]
pub struct SoftHsm {
    folder: TempDir,
    module: PathBuf,
    environment: BTreeMap<String, String>,
}

impl SoftHsm {
    /// One without a token.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["tokens", "locks"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("softhsm2.conf"), TEMPLATE.replace("@TOKENS@", at("tokens").to_str().unwrap())).unwrap();
        let environment = [("SOFTHSM2_CONF".to_owned(), at("softhsm2.conf").to_str().unwrap().to_owned())].into();
        let hsm = Self { module: softhsm(), environment, folder };
        hsm.pin_file("so-pin", SO_PIN);
        hsm.pin_file("pin", USER_PIN);
        hsm
    }

    /// One with a token.
    #[must_use]
    pub fn with_token() -> Self {
        let hsm = Self::new();
        let _said = succeed(hsm.init(LABEL).args(["--user-pin-file"]).arg(hsm.path("pin")));
        hsm
    }

    /// The same, taken through the faulty module from here on.
    #[must_use]
    pub fn faulty(mut self) -> (Self, FaultRules) {
        let faults = FaultRules::new(self.folder.path()).unwrap();
        self.environment.extend(faults.environment(&self.module));
        self.module = library().unwrap();
        (self, faults)
    }

    /// The module.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The module's environment.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that only its owner can use.
    pub fn pin_file(&self, name: &str, pin: &str) -> PathBuf {
        use std::io::Write as _;
        let path = self.path(name);
        let mut open = std::fs::OpenOptions::new();
        let mut file = open.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
        file.write_all(format!("{pin}\n").as_bytes()).unwrap();
        path
    }

    /// `chancery token COMMAND`, with the module.
    #[must_use]
    pub fn bare(&self, name: &str) -> Command {
        let mut command = command(chancery());
        command.args(["token", name, "--module"]).arg(&self.module);
        for (name, value) in &self.environment {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        command
    }

    /// The same, with label and locks.
    #[must_use]
    pub fn token(&self, name: &str) -> Command {
        let mut command = self.bare(name);
        command.args(["--label", LABEL, "--lock-dir"]).arg(self.path("locks"));
        command
    }

    /// `chancery token init`, with the SO PIN.
    #[must_use]
    pub fn init(&self, label: &str) -> Command {
        let mut command = self.bare("init");
        command.args(["--label", label, "--lock-dir"]).arg(self.path("locks"));
        command.arg("--so-pin-file").arg(self.path("so-pin"));
        command
    }

    /// `chancery token list --module`.
    #[must_use]
    pub fn slots(&self) -> Vec<Value> {
        let said = succeed(self.bare("list").args(["--output", "json"]));
        serde_json::from_str::<Value>(&said).unwrap()["slots"].as_array().unwrap().clone()
    }

    /// Files of objects in all tokens: each object is one.
    #[must_use]
    pub fn objects(&self) -> usize {
        let tokens = std::fs::read_dir(self.path("tokens")).unwrap();
        let files = tokens.flat_map(|token| std::fs::read_dir(token.unwrap().path()).unwrap());
        let name = |file: std::io::Result<std::fs::DirEntry>| file.unwrap().file_name().into_string().unwrap();
        files.map(name).filter(|name| name.ends_with(".object") && name != "token.object").count()
    }
}

impl Default for SoftHsm {
    fn default() -> Self {
        Self::new()
    }
}

/// The module, where packages put it.
///
/// # Panics
/// Where it is not installed.
#[must_use]
pub fn softhsm() -> PathBuf {
    let said = std::env::var_os("SOFTHSM2_MODULE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let usual = ["/usr/lib/softhsm", "/usr/lib/x86_64-linux-gnu/softhsm", "/usr/lib/aarch64-linux-gnu/softhsm"];
    let usual = usual.into_iter().chain(["/usr/lib64/pkcs11", "/usr/lib64/softhsm", "/usr/lib/pkcs11", "/usr/lib"]);
    said.into_iter()
        .chain(usual.map(|folder| Path::new(folder).join("libsofthsm2.so")))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no SoftHSM here: run softhsm/install.sh"))
}
