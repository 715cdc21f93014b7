//! The rules in force, and what they say of a call.
//!
//! Each call on one of the database's files looks whether the file of rules was replaced: a rule that was written before a
//! call began applies to it.

use chancery_disk_fault::{At, Call, File, LOG_VARIABLE, Logged, RULES_VARIABLE, Rule, Then, errno, parse};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    /// It is made as it is.
    Go,
    /// It fails with this error.
    Fail(i32, At),
    /// It reads or writes so many bytes at most.
    Short(usize),
}

struct Settings {
    rules: Option<PathBuf>,
    log: Option<PathBuf>,
}

fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let path = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        Settings { rules: path(RULES_VARIABLE), log: path(LOG_VARIABLE) }
    })
}

struct Active {
    rule: Rule,
    calls: AtomicU64,
    fired: AtomicU64,
}

/// What tells one file of rules from the next.
type Stamp = (u64, u64, i64, i64);

struct InForce {
    /// Of the file that was read; none where there was none.
    stamp: Option<Stamp>,
    rules: Vec<Active>,
    broken: bool,
}

static IN_FORCE: RwLock<InForce> = RwLock::new(InForce { stamp: None, rules: Vec::new(), broken: false });

/// What the rules say of a call on one of the database's files.
pub(crate) fn verdict(call: Call, file: File) -> Verdict {
    let in_force = current();
    if in_force.broken {
        return Verdict::Fail(libc::EIO, At::Before);
    }
    let fired =
        |id: &String| in_force.rules.iter().any(|other| other.rule.id == *id && other.fired.load(Ordering::SeqCst) > 0);
    // As it was before the call: a rule that fires in it says nothing of the call itself.
    let meant =
        |active: &&Active| active.rule.is_about(call, file) && active.rule.when.since.as_ref().is_none_or(fired);
    let meant: Vec<&Active> = in_force.rules.iter().filter(meant).collect();
    let mut verdict = Verdict::Go;
    for active in meant {
        let decided = !matches!(verdict, Verdict::Go);
        if decided && active.rule.then != Then::Note {
            continue;
        }
        let number = active.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if !active.rule.when.is_meant(number) {
            continue;
        }
        active.fired.fetch_add(1, Ordering::SeqCst);
        let what = match &active.rule.then {
            Then::Note => "noted".to_owned(),
            Then::Short(bytes) => {
                verdict = Verdict::Short(*bytes);
                format!("cut to {bytes} bytes")
            }
            Then::Error(name) => {
                // The name was looked at when the rules were read.
                verdict = Verdict::Fail(errno(name).unwrap_or(libc::EIO), active.rule.at);
                let after = if active.rule.at == At::After { " after the call" } else { "" };
                format!("answered {name}{after}")
            }
        };
        log(call, file, &active.rule.id, what);
    }
    verdict
}

fn current() -> RwLockReadGuard<'static, InForce> {
    let stamp = stamp();
    {
        let in_force = IN_FORCE.read().unwrap_or_else(PoisonError::into_inner);
        if in_force.stamp == stamp {
            return in_force;
        }
    }
    let mut in_force = IN_FORCE.write().unwrap_or_else(PoisonError::into_inner);
    // Another thread may have been here before.
    if in_force.stamp != stamp {
        read(&mut in_force, stamp);
    }
    drop(in_force);
    IN_FORCE.read().unwrap_or_else(PoisonError::into_inner)
}

fn stamp() -> Option<Stamp> {
    let metadata = fs::metadata(settings().rules.as_ref()?).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

/// The stamp is older than the text: what is written in between is read at the next call.
fn read(in_force: &mut InForce, stamp: Option<Stamp>) {
    in_force.stamp = stamp;
    let text = match settings().rules.as_ref().map(fs::read_to_string) {
        None => Ok(String::new()),
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Some(read) => read.map_err(|error| error.to_string()),
    };
    match text.and_then(|text| parse(&text)) {
        Ok(rules) => {
            let mut before = std::mem::take(&mut in_force.rules);
            for rule in rules {
                // One that stands as it stood goes on counting where it is.
                let same = before.iter().position(|active| active.rule == rule);
                let new = || Active { rule, calls: AtomicU64::new(0), fired: AtomicU64::new(0) };
                in_force.rules.push(same.map_or_else(new, |place| before.swap_remove(place)));
            }
            in_force.broken = false;
        }
        Err(error) => {
            complain(&format!("error: the rules cannot be followed: {error}"));
            in_force.broken = true;
        }
    }
}

fn log(call: Call, file: File, rule: &str, what: String) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = Logged {
        time_micros: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
        pid: std::process::id(),
        call: call.name().to_owned(),
        file: file.name().to_owned(),
        rule: rule.to_owned(),
        what,
    };
    append(&format!("{line}\n"));
}

/// Says what stands in the way of rules, so that nobody takes silence for a fault survived.
#[allow(clippy::print_stderr, reason = "there is no better way to a person; the log may be what fails")]
fn complain(error: &str) {
    let line = error.replace('\n', "; ");
    eprintln!("disk-fault: {line}");
    append(&format!("{line}\n"));
}

/// One write to the end of the file, which other processes do not get into.
#[allow(clippy::print_stderr, reason = "there is no other place left")]
fn append(line: &str) {
    let Some(path) = &settings().log else { return };
    let opened = OpenOptions::new().append(true).create(true).open(path);
    if let Err(error) = opened.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("disk-fault: writing {}: {error}: {line}", path.display());
    }
}
