//! The environment variables, and the files that belong together.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Names the module behind.
pub const MODULE_VARIABLE: &str = "PKCS11_FAULT_MODULE";
/// Names the file of rules. Without it, or while there is no such file, nothing goes wrong.
pub const RULES_VARIABLE: &str = "PKCS11_FAULT_RULES";
/// Names the file to which each fault is appended.
pub const LOG_VARIABLE: &str = "PKCS11_FAULT_LOG";

/// What the environment says, as it was when it was first asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) module: Option<PathBuf>,
    pub(crate) rules: Option<PathBuf>,
    pub(crate) log: Option<PathBuf>,
}

pub(crate) fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let path = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        Settings { module: path(MODULE_VARIABLE), rules: path(RULES_VARIABLE), log: path(LOG_VARIABLE) }
    })
}

/// Beside a file of rules: whether they were understood by the process that read them last.
pub(crate) fn status(rules: &Path) -> PathBuf {
    beside(rules, ".status")
}

/// Beside a file of rules: the folder of what is counted in all processes together.
pub(crate) fn state(rules: &Path) -> PathBuf {
    beside(rules, ".state")
}

fn beside(rules: &Path, suffix: &str) -> PathBuf {
    let mut name = rules.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
