//! The rules in force: read again whenever their file has changed.
//!
//! Each call looks whether it has, with one system call on the open file (half a microsecond, where a walk along its path
//! takes three times as long): its size and times tell whether it was written to, and its number of links whether another
//! file has taken its place. Looking every few milliseconds would be cheaper still, and no test could say which call is
//! the first that a change applies to. As it is, a rule that was written before a call began applies to it.

use crate::paths::{self, settings};
use crate::rules::RuleSet;
use crate::{log, state};
use std::fs::{self, File};
use std::io::{self, Read};
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
    size: u64,
    links: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

struct Loaded {
    /// The file as it was read; none where there was none.
    file: Option<(File, Stamp)>,
    /// Those that were understood last.
    rules: Arc<RuleSet>,
    broken: bool,
}

/// The rules that apply to a call that begins now.
pub(crate) fn current() -> Result<Arc<RuleSet>, Broken> {
    static LOADED: LazyLock<RwLock<Loaded>> =
        LazyLock::new(|| RwLock::new(Loaded { file: None, rules: Arc::new(RuleSet::none()), broken: false }));
    {
        let loaded = LOADED.read().unwrap_or_else(PoisonError::into_inner);
        if !loaded.is_stale() {
            return loaded.answer();
        }
    }
    let mut loaded = LOADED.write().unwrap_or_else(PoisonError::into_inner);
    // Another thread may have been here before.
    if loaded.is_stale() {
        loaded.read_again();
    }
    loaded.answer()
}

impl Loaded {
    fn is_stale(&self) -> bool {
        match (&self.file, &settings().rules) {
            (Some((file, before)), _) => stamp(file).ok().as_ref() != Some(before),
            (None, Some(path)) => self.broken || path.exists(),
            (None, None) => false,
        }
    }

    fn answer(&self) -> Result<Arc<RuleSet>, Broken> {
        if self.broken { Err(Broken) } else { Ok(Arc::clone(&self.rules)) }
    }

    fn read_again(&mut self) {
        let Some(path) = settings().rules.as_deref() else { return };
        self.file = None;
        let text = match read(path) {
            Ok((text, file, stamp)) => {
                self.file = Some((file, stamp));
                Ok(text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error.to_string()),
        };
        match text.and_then(|text| RuleSet::parse(&text, &self.rules)) {
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

/// The stamp is older than the text: what is written in between is read at the next call.
fn read(path: &Path) -> io::Result<(String, File, Stamp)> {
    let mut file = File::open(path)?;
    let stamp = stamp(&file)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, file, stamp))
}

fn stamp(file: &File) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    Ok(Stamp {
        size: metadata.len(),
        links: metadata.nlink(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Writes the status. Without the folder nobody waits for it: its test is over.
fn say(rules: &Path, status: &str) {
    match fs::write(paths::status(rules), status) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::complain(&format!("error: writing the status beside {}: {error}", rules.display()));
        }
        _ => {}
    }
}
