//! The rules in force: read again whenever their file has changed.
//!
//! Each call looks at the file's inode, size and times, with one system call of about a microsecond. Looking every few
//! milliseconds would be cheaper and no test could say which call is the first that a change applies to. As it is, a rule
//! that was written before a call began applies to it.

use crate::paths::{self, settings};
use crate::rules::RuleSet;
use crate::{log, state};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// The rules cannot be read or understood. What is wrong was said where people look: in the file of the status, in the
/// log and on standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken;

/// What tells one content of a file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

struct Loaded {
    stamp: Option<Stamp>,
    /// Those that were understood last.
    rules: Arc<RuleSet>,
    broken: bool,
}

/// The rules that apply to a call that begins now.
pub(crate) fn current() -> Result<Arc<RuleSet>, Broken> {
    static LOADED: LazyLock<RwLock<Loaded>> =
        LazyLock::new(|| RwLock::new(Loaded { stamp: None, rules: Arc::new(RuleSet::none()), broken: false }));
    let stamp = settings().rules.as_deref().and_then(stamp);
    {
        let loaded = LOADED.read().unwrap_or_else(PoisonError::into_inner);
        if loaded.stamp == stamp {
            return loaded.answer();
        }
    }
    let mut loaded = LOADED.write().unwrap_or_else(PoisonError::into_inner);
    if loaded.stamp != stamp {
        loaded.read_again(stamp);
    }
    loaded.answer()
}

impl Loaded {
    fn answer(&self) -> Result<Arc<RuleSet>, Broken> {
        if self.broken { Err(Broken) } else { Ok(Arc::clone(&self.rules)) }
    }

    fn read_again(&mut self, stamp: Option<Stamp>) {
        self.stamp = stamp;
        let Some(path) = settings().rules.as_deref() else { return };
        let read = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|error| error.to_string()),
        };
        match read.and_then(|text| RuleSet::parse(&text, &self.rules)) {
            Ok(rules) => {
                state::keep_only(path, rules.all());
                say(path, &format!("ok: {} rules\n", rules.all().len()));
                (self.rules, self.broken) = (Arc::new(rules), false);
            }
            Err(error) => {
                let error = format!("error: {}: {}", path.display(), error.trim_end());
                say(path, &format!("{error}\n"));
                log::complain(&error);
                self.broken = true;
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        size: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Writes the status. That this can fail is no reason for the module to: the log says the same of an error.
fn say(rules: &Path, status: &str) {
    if let Err(error) = fs::write(paths::status(rules), status) {
        log::complain(&format!("error: writing the status beside {}: {error}", rules.display()));
    }
}
