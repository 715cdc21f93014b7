//! The log of what really went wrong: one line for each fault, written before it shows.

use crate::function::Function;
use crate::paths::settings;
use crate::rules::Active;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// Microseconds since 1970.
    pub time_micros: u64,
    /// The process in which it happened.
    pub pid: u32,
    /// The function in which it happened.
    pub function: String,
    /// The rule by which it happened.
    pub rule: String,
    /// The how-manieth fault of all rules this is in its process, from 1.
    pub count: u64,
    /// What was done, in a few words.
    pub what: String,
}

impl Injected {
    /// Reads a line of the log; none if it is no such line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        Some(Self {
            time_micros: fields.next()?.parse().ok()?,
            pid: fields.next()?.parse().ok()?,
            function: fields.next()?.to_owned(),
            rule: fields.next()?.to_owned(),
            count: fields.next()?.parse().ok()?,
            what: fields.next()?.to_owned(),
        })
    }
}

/// Notes a fault.
pub(crate) fn injected(function: Function, rule: &Active, what: &str) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    append(&format!("{time} {} {} {} {count} {what}\n", std::process::id(), function.name(), rule.id()));
}

/// Says what stands in the way of rules, so that nobody takes silence for a fault survived.
#[allow(clippy::print_stderr, reason = "a module has no better way to a person; the log may be what fails")]
pub(crate) fn complain(error: &str) {
    let line = error.replace('\n', "; ");
    eprintln!("pkcs11-fault: {line}");
    append(&format!("{line}\n"));
}

/// One write to the end of the file, which other processes do not get into. The file is opened each time: a test may have
/// taken it away, and a fault is no hot path.
#[allow(clippy::print_stderr, reason = "there is no other place left")]
fn append(line: &str) {
    let Some(path) = &settings().log else { return };
    let opened = OpenOptions::new().append(true).create(true).open(path);
    if let Err(error) = opened.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("pkcs11-fault: writing {}: {error}: {line}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let line = "1700000000000000 42 C_Sign rule-1 3 answered CKR_DEVICE_ERROR";
        let injected = Injected::parse(line).unwrap();
        assert_eq!((injected.pid, injected.count, injected.rule.as_str()), (42, 3, "rule-1"));
        assert_eq!((injected.function.as_str(), injected.what.as_str()), ("C_Sign", "answered CKR_DEVICE_ERROR"));
        assert_eq!(Injected::parse("error: rules.toml: TOML parse error"), None);
    }
}
