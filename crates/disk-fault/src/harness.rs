//! For tests: where the library is, writing its rules, reading its log.

use crate::log::{Logged, NoLine};
use crate::paths::{DATABASE_VARIABLE, LOG_VARIABLE, RULES_VARIABLE};
use crate::rules::{self, Rule, Rules};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Why rules cannot be written or a log not be read.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A file does not let itself be used.
    #[error("{} {}", .what, .path.display())]
    File {
        /// What was to be done with it.
        what: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The rules mean nothing.
    #[error("these rules cannot be followed: {0}")]
    Rules(String),
    /// The library could not do what rules say, so what a test saw is no answer to them.
    #[error("the disk's faults complain: {0}")]
    Complaint(String),
    /// The shared library was not built.
    #[error("{} is not there; build it with cargo build -p chancery-disk-fault-preload", .0.display())]
    NoLibrary(PathBuf),
}

/// The library to preload that cargo has built for the running program, in whichever folder of `target/<profile>` that is.
/// A dependency on `chancery-disk-fault-preload`, never named in code, has it built.
///
/// # Errors
/// [`HarnessError::NoLibrary`] where it is not.
pub fn library() -> Result<PathBuf, HarnessError> {
    let name = format!("{DLL_PREFIX}chancery_disk_fault_preload{DLL_SUFFIX}");
    let program = std::env::current_exe().map_err(file("find the running program", Path::new("")))?;
    let mut tried = PathBuf::from(&name);
    for folder in program.ancestors().skip(1).take(2) {
        // For a dependency cargo puts it into `deps` alone: what stands above may be of an older build.
        for folder in [folder.join("deps"), folder.to_owned()] {
            tried = folder.join(&name);
            if tried.is_file() {
                return Ok(tried);
            }
        }
    }
    Err(HarnessError::NoLibrary(tried))
}

/// The rules and the log of a failing disk, in a folder.
#[derive(Debug, Clone)]
pub struct FaultRules {
    rules: PathBuf,
    log: PathBuf,
}

impl FaultRules {
    /// Without any rule, in a folder that is there, and is not the database's.
    ///
    /// # Errors
    /// [`HarnessError::File`] where nothing can be written there.
    pub fn new(folder: &Path) -> Result<Self, HarnessError> {
        let harness = Self { rules: folder.join("disk-faults.toml"), log: folder.join("disk-faults.log") };
        harness.set(&[])?;
        Ok(harness)
    }

    /// The environment variables of the process whose disk is to fail. `database` is the file name of its database, or its
    /// whole path.
    ///
    /// # Errors
    /// [`HarnessError::NoLibrary`].
    pub fn environment(&self, database: &str) -> Result<Vec<(String, String)>, HarnessError> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Ok([
            ("LD_PRELOAD", text(&library()?)),
            (DATABASE_VARIABLE, database.to_owned()),
            (RULES_VARIABLE, text(&self.rules)),
            (LOG_VARIABLE, text(&self.log)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into())
    }

    /// Has these rules followed, and no others, by each call that begins from now on. All begin to count anew.
    ///
    /// # Errors
    /// [`HarnessError::Rules`] where one means nothing; [`HarnessError::File`] where they cannot be written.
    pub fn set(&self, rules: &[Rule]) -> Result<(), HarnessError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let revision = u64::try_from(now.as_nanos()).ok().map(|now| now & (u64::MAX >> 1));
        let anew = |rule: &Rule| Rule { revision: rule.revision.or(revision), ..rule.clone() };
        let text = toml::to_string(&Rules { rules: rules.iter().map(anew).collect() })
            .map_err(|error| HarnessError::Rules(error.to_string()))?;
        rules::parse(&text).map_err(HarnessError::Rules)?;
        // Never half a file: the library would complain of it.
        let new = self.rules.with_extension("toml.new");
        fs::write(&new, text).and_then(|()| fs::rename(new, &self.rules)).map_err(file("write", &self.rules))
    }

    /// Has no rule followed any longer: the disk is whole.
    ///
    /// # Errors
    /// [`HarnessError::File`] where that cannot be written.
    pub fn clear(&self) -> Result<(), HarnessError> {
        self.set(&[])
    }

    /// All that has happened, in the order of the log.
    ///
    /// # Errors
    /// [`HarnessError::Complaint`] where the library could not do what it was told; [`HarnessError::File`].
    pub fn log(&self) -> Result<Vec<Logged>, HarnessError> {
        let text = match fs::read_to_string(&self.log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(file("read", &self.log))?,
        };
        let parse = |line: &str| line.parse().map_err(|NoLine| HarnessError::Complaint(line.to_owned()));
        text.lines().map(parse).collect()
    }

    /// What has happened by a rule.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn by(&self, rule: &str) -> Result<Vec<Logged>, HarnessError> {
        Ok(self.log()?.into_iter().filter(|logged| logged.rule == rule).collect())
    }

    /// Begins the log anew.
    ///
    /// # Errors
    /// [`HarnessError::File`] where it cannot be removed.
    pub fn clear_log(&self) -> Result<(), HarnessError> {
        match fs::remove_file(&self.log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", &self.log)(error)),
            _ => Ok(()),
        }
    }

    /// The file of rules, to be written by other means.
    #[must_use]
    pub fn rules_path(&self) -> &Path {
        &self.rules
    }
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HarnessError + use<> {
    let path = path.to_owned();
    move |source| HarnessError::File { what, path, source }
}
