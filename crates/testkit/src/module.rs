//! Which PKCS#11 module holds the token of a test.

use std::path::{Path, PathBuf};

use crate::Error;

/// Kryoptic's configuration, with a place for the folder of its tokens.
const KRYOPTIC_TEMPLATE: &str = include_str!("../../../kryoptic/token.conf.template");

/// The PKCS#11 module of a test's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Module {
    /// SoftHSM 2, where the system's package manager or `SOFTHSM2_MODULE` has put it.
    #[default]
    SoftHsm,
    /// Kryoptic, where `kryoptic/build.sh` or `KRYOPTIC_MODULE` has put it.
    Kryoptic,
}

impl Module {
    /// What `CHANCERY_TEST_MODULE` says: `softhsm` or `kryoptic`; SoftHSM where it says nothing.
    ///
    /// # Errors
    /// [`Error::NoModule`] where it says something else.
    pub fn from_environment() -> Result<Self, Error> {
        match std::env::var("CHANCERY_TEST_MODULE").as_deref() {
            Err(_) | Ok("" | "softhsm") => Ok(Self::SoftHsm),
            Ok("kryoptic") => Ok(Self::Kryoptic),
            Ok(other) => Err(Error::NoModule {
                why: format!("CHANCERY_TEST_MODULE is {other:?}; set it to softhsm or kryoptic, or unset it"),
            }),
        }
    }

    /// The folder of the token in a development folder.
    pub(crate) const fn home(self) -> &'static str {
        match self {
            Self::SoftHsm => "softhsm",
            Self::Kryoptic => "token",
        }
    }

    /// What `chancery dev` is told of it. `folder` takes a file that it is shown.
    pub(crate) fn arguments(self, binary: &Path, folder: &Path) -> Result<Vec<String>, Error> {
        match self {
            Self::SoftHsm => Ok(Vec::new()),
            Self::Kryoptic => {
                let library = kryoptic(binary)?;
                let template = folder.join("token.conf.template");
                std::fs::write(&template, KRYOPTIC_TEMPLATE)
                    .map_err(Error::system(format!("write {}", template.display())))?;
                let configuration = format!("KRYOPTIC_CONF={}", template.display());
                let library = library.display().to_string();
                Ok(vec!["--module".to_owned(), library, "--module-config".to_owned(), configuration])
            }
        }
    }
}

/// Kryoptic's library: `KRYOPTIC_MODULE`, or that in `target/kryoptic` beside the profile that the binary was built with.
fn kryoptic(binary: &Path) -> Result<PathBuf, Error> {
    let library = match std::env::var_os("KRYOPTIC_MODULE") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => binary.ancestors().nth(2).unwrap_or(Path::new("")).join("kryoptic/libkryoptic_pkcs11.so"),
    };
    if library.is_file() {
        Ok(library)
    } else {
        let why = format!("{} is not there; build it (kryoptic/build.sh), or set KRYOPTIC_MODULE", library.display());
        Err(Error::NoModule { why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softhsm_is_what_dev_takes_by_itself() {
        let arguments = Module::SoftHsm.arguments(Path::new("/target/debug/chancery"), Path::new("/nowhere"));
        assert_eq!(arguments.unwrap(), [""; 0]);
    }

    #[test]
    fn a_module_that_is_not_built_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("debug/chancery");
        let error = kryoptic(&binary).unwrap_err().to_string();
        assert!(error.contains("kryoptic/libkryoptic_pkcs11.so is not there") && error.contains("build.sh"), "{error}");
    }
}
