//! Modules that keep their tokens in files: where SoftHSM is, and how such a module is told of its files. For development
//! and tests.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// SoftHSM's configuration, as `make run`, compose and tests share it.
const SOFTHSM_TEMPLATE: &str = include_str!("../../../softhsm/softhsm2.conf.template");

/// Where packages put SoftHSM's module: Debian and Ubuntu, Fedora, Alpine, Arch, Homebrew, own builds.
const SOFTHSM_PATHS: [&str; 10] = [
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

/// What stands in a template for the directory of the tokens.
const TOKENS: &str = "@TOKENS@";

/// The SoftHSM module of this machine: what the environment variable `SOFTHSM2_MODULE` says, or else the first that
/// is there of the usual paths.
#[must_use]
pub fn find_softhsm_module() -> Option<PathBuf> {
    match std::env::var_os("SOFTHSM2_MODULE") {
        Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => SOFTHSM_PATHS.into_iter().map(PathBuf::from).find(|path| path.is_file()),
    }
}

/// How a module that keeps tokens in files is told where: by a configuration file, which an environment variable names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleConfiguration {
    /// The environment variable, for example `SOFTHSM2_CONF`.
    pub variable: String,
    /// The name of the file, for example `softhsm2.conf`.
    pub file_name: String,
    /// What is in the file; `@TOKENS@` stands for the absolute path of the directory of the tokens.
    pub template: String,
}

impl ModuleConfiguration {
    /// That of SoftHSM.
    #[must_use]
    pub fn softhsm() -> Self {
        Self {
            variable: "SOFTHSM2_CONF".to_owned(),
            file_name: "softhsm2.conf".to_owned(),
            template: SOFTHSM_TEMPLATE.to_owned(),
        }
    }

    /// The path of the file in a directory.
    #[must_use]
    pub fn path_in(&self, directory: &Path) -> PathBuf {
        directory.join(&self.file_name)
    }

    /// Writes the file into the directory, and makes `tokens` there, which only the owner can enter. A file that is
    /// there stays as it is, unless it was written for tokens elsewhere: the directory was moved then.
    ///
    /// Answers the environment of the worker.
    ///
    /// # Errors
    /// An [`io::Error`] where the directory cannot be made or written to, or its path is not UTF-8.
    pub fn write(&self, directory: &Path) -> io::Result<BTreeMap<String, String>> {
        let utf8 = |path: PathBuf| {
            let not_utf8 = |path| io::Error::other(format!("the path of a token's files is not UTF-8: {path:?}"));
            path.into_os_string().into_string().map_err(not_utf8)
        };
        let tokens = directory.join("tokens");
        DirBuilder::new().recursive(true).mode(0o700).create(&tokens)?;
        let text = self.template.replace(TOKENS, &utf8(fs::canonicalize(tokens)?)?);
        let path = self.path_in(directory);
        let there = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(read?),
        };
        if !there.is_some_and(|there| self.names_the_same_tokens(&text, &there)) {
            fs::write(&path, &text)?;
        }
        Ok(BTreeMap::from([(self.variable.clone(), utf8(fs::canonicalize(path)?)?)]))
    }

    /// Whether each line that names the directory is also in the file that is there.
    fn names_the_same_tokens(&self, text: &str, there: &str) -> bool {
        let lines = self.template.lines().zip(text.lines()).filter(|(line, _)| line.contains(TOKENS));
        lines.into_iter().all(|(_, line)| there.lines().any(|other| other == line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_directory_and_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let softhsm = ModuleConfiguration::softhsm();
        let environment = softhsm.write(directory.path()).unwrap();
        let path = &environment["SOFTHSM2_CONF"];
        let text = fs::read_to_string(path).unwrap();
        let tokens = fs::canonicalize(directory.path().join("tokens")).unwrap();
        assert!(text.contains(&format!("directories.tokendir = {}\n", tokens.display())), "{text}");
        assert!(!text.contains('@'));
        let mine = format!("# mine\n{text}");
        fs::write(path, &mine).unwrap();
        assert_eq!(softhsm.write(directory.path()).unwrap(), environment);
        assert_eq!(fs::read_to_string(path).unwrap(), mine);
    }

    #[test]
    fn the_file_follows_the_directory_when_it_is_moved() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path().canonicalize().unwrap();
        let (here, there) = (parent.join("here"), parent.join("there"));
        let module = ModuleConfiguration {
            variable: "MODULE_CONF".to_owned(),
            file_name: "module.conf".to_owned(),
            template: "[slot]\nfile = \"@TOKENS@/one\"\nother = 1\n".to_owned(),
        };
        module.write(&here).unwrap();
        fs::rename(&here, &there).unwrap();
        let environment = module.write(&there).unwrap();
        let text = fs::read_to_string(&environment["MODULE_CONF"]).unwrap();
        assert_eq!(text, format!("[slot]\nfile = \"{}/tokens/one\"\nother = 1\n", there.display()));
    }
}
