//! For tests in Rust: where the module is, writing its rules, reading its log.

use crate::log::Injected;
use crate::paths::{self, LOG_VARIABLE, MODULE_VARIABLE, RULES_VARIABLE};
use crate::rules::{self, Rule, RuleSet, Rules};
use std::collections::BTreeMap;
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
    /// The module could not do what rules say, so what a test saw is no answer to them.
    #[error("the faulty module complains: {0}")]
    Complaint(String),
    /// The shared library was not built.
    #[error("{} is not there; build it with cargo build -p chancery-pkcs11-fault", .0.display())]
    NoLibrary(PathBuf),
}

/// The shared library that cargo has built for the running program, in whichever folder of `target/<profile>` that is. A
/// dev-dependency on this crate has it built.
///
/// # Errors
/// [`HarnessError::NoLibrary`] where it is not.
pub fn library() -> Result<PathBuf, HarnessError> {
    let name = format!("{DLL_PREFIX}chancery_pkcs11_fault{DLL_SUFFIX}");
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

/// The rules and the log of a faulty module, in a folder.
///
/// One that stands between a test and its module: [`Self::environment`] is what the process that loads the module needs.
#[derive(Debug, Clone)]
pub struct FaultRules {
    rules: PathBuf,
    log: PathBuf,
}

impl FaultRules {
    /// Without any rule, in a folder that is there.
    ///
    /// # Errors
    /// [`HarnessError::File`] where nothing can be written there.
    pub fn new(folder: &Path) -> Result<Self, HarnessError> {
        let harness = Self::at(folder);
        harness.set(&[])?;
        Ok(harness)
    }

    /// With the rules that stand in a folder already.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { rules: folder.join("faults.toml"), log: folder.join("faults.log") }
    }

    /// The environment variables that the module is to find, with the module that is to stand behind it. Those that the
    /// latter needs come beside them.
    #[must_use]
    pub fn environment(&self, behind: &Path) -> BTreeMap<String, String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [(MODULE_VARIABLE, text(behind)), (RULES_VARIABLE, text(&self.rules)), (LOG_VARIABLE, text(&self.log))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// Has these rules followed, and no others, by each call that begins from now on. One that stood there before just as
    /// it is goes on counting where it is; any other begins anew.
    ///
    /// # Errors
    /// [`HarnessError::Rules`] where one means nothing; [`HarnessError::File`] where they cannot be written.
    pub fn set(&self, rules: &[Rule]) -> Result<(), HarnessError> {
        let before = fs::read_to_string(&self.rules).ok().and_then(|text| rules::parse(&text).ok()).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A rule that is taken away and put back is a new one, also for a process that made no call in between.
        let new = u64::try_from(now.as_nanos()).ok();
        let rules = rules.iter().map(|rule| {
            let is_same = |other: &&Rule| Rule { revision: rule.revision, ..(*other).clone() } == *rule;
            let revision = rule.revision.or(before.iter().find(is_same).map_or(new, |same| same.revision));
            Rule { revision, ..rule.clone() }
        });
        let text = toml::to_string(&Rules { rules: rules.collect() })
            .map_err(|error| HarnessError::Rules(error.to_string()))?;
        RuleSet::parse(&text, &RuleSet::none()).map_err(HarnessError::Rules)?;
        self.replace(&text).map_err(file("write", &self.rules))
    }

    /// As [`Self::set`], from the text of a file of rules.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_text(&self, text: &str) -> Result<(), HarnessError> {
        self.set(&rules::parse(text).map_err(HarnessError::Rules)?)
    }

    /// Has no rule followed any longer: what hangs goes on, and what is absent is back.
    ///
    /// # Errors
    /// [`HarnessError::File`] where that cannot be written.
    pub fn clear(&self) -> Result<(), HarnessError> {
        self.set(&[])
    }

    /// Never half a file: the module would complain of it.
    fn replace(&self, text: &str) -> io::Result<()> {
        let new = self.rules.with_extension("toml.new");
        fs::write(&new, text)?;
        fs::rename(new, &self.rules)
    }

    /// All faults that have happened, in the order of the log.
    ///
    /// # Errors
    /// [`HarnessError::Complaint`] where the module could not do what it was told; [`HarnessError::File`].
    pub fn log(&self) -> Result<Vec<Injected>, HarnessError> {
        let text = match fs::read_to_string(&self.log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(file("read", &self.log))?,
        };
        let parse = |line: &str| Injected::parse(line).ok_or_else(|| HarnessError::Complaint(line.to_owned()));
        text.lines().map(parse).collect()
    }

    /// How often a rule has fired since the log was begun.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn count(&self, rule: &str) -> Result<usize, HarnessError> {
        Ok(self.log()?.iter().filter(|injected| injected.rule == rule).count())
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

    /// Where the module says whether it understood the rules: `ok: ...` or `error: ...`, one line.
    #[must_use]
    pub fn status_path(&self) -> PathBuf {
        paths::status(&self.rules)
    }

    /// The log.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HarnessError + use<> {
    let path = path.to_owned();
    move |source| HarnessError::File { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Then;

    fn revisions(faults: &FaultRules) -> Vec<Option<u64>> {
        let rules = rules::parse(&fs::read_to_string(&faults.rules).unwrap()).unwrap();
        rules.into_iter().map(|rule| rule.revision).collect()
    }

    #[test]
    fn a_rule_that_stays_is_the_same_and_one_that_was_away_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let faults = FaultRules::new(folder.path()).unwrap();
        let (one, two) = (Rule::new("one", Then::Zeros), Rule::new("two", Then::Absent));
        faults.set(std::slice::from_ref(&one)).unwrap();
        let first = revisions(&faults)[0];
        faults.set(&[two.clone(), one.clone()]).unwrap();
        assert_eq!(revisions(&faults)[1], first);
        faults.set(&[two]).unwrap();
        faults.set(std::slice::from_ref(&one)).unwrap();
        assert_ne!(revisions(&faults)[0], first);
        faults.set(&[Rule { revision: Some(7), ..one }]).unwrap();
        assert_eq!(revisions(&faults), [Some(7)]);
    }

    #[test]
    fn wrong_rules_are_refused_before_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let faults = FaultRules::new(folder.path()).unwrap();
        faults.set(&[Rule::new("one", Then::Zeros)]).unwrap();
        let error = faults.set(&[Rule::returning("two", "C_Sign", "CKR_NOTHING")]).unwrap_err();
        assert!(error.to_string().contains("CKR_NOTHING"), "{error}");
        assert_eq!(revisions(&faults).len(), 1);
        assert!(faults.set_text("nonsense").is_err());
    }

    #[test]
    fn a_complaint_in_the_log_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let faults = FaultRules::new(folder.path()).unwrap();
        assert_eq!(faults.count("r").unwrap(), 0);
        fs::write(faults.log_path(), "1 2 C_Sign r 1 hung\n1 2 C_Sign q 2 hung\n").unwrap();
        assert_eq!(faults.count("r").unwrap(), 1);
        fs::write(faults.log_path(), "1 2 C_Sign r 1 hung\nerror: rule q: no\n").unwrap();
        assert!(matches!(faults.log(), Err(HarnessError::Complaint(why)) if why.contains("rule q")));
        faults.clear_log().unwrap();
        assert_eq!(faults.log().unwrap(), []);
    }
}
