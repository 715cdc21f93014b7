//! What is counted in all processes together, and outlives each: faults of a rule that has a limit, and wrong PINs.
//!
//! One small file for each count, in a folder beside the rules. A rule's counts go when it no longer stands among them.

use crate::log;
use crate::paths::{self, settings};
use crate::rules::Active;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

/// Whether a rule may fire once more, and if so, that it does.
pub(crate) fn take_one(rule: &Active) -> bool {
    let Some(times) = rule.rule.when.times else { return true };
    let name = format!("{}.fired", rule.state_name());
    let mut may = false;
    change(&name, |fired| {
        may = fired < times;
        fired + u64::from(may)
    });
    may
}

/// Whether a rule may fire once more, which it does not do yet.
pub(crate) fn may_fire(rule: &Active) -> bool {
    let Some(times) = rule.rule.when.times else { return true };
    change(&format!("{}.fired", rule.state_name()), |fired| fired) < times
}

/// The wrong PINs in a row that a token was shown under a rule, after a change.
pub(crate) fn wrong_pins(rule: &Active, token: &str, how: impl FnOnce(u64) -> u64) -> u64 {
    let token: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
    change(&format!("{}.pin.{token}", rule.state_name()), how)
}

/// Changes a count under a lock that holds other processes off, and answers it.
///
/// Where that cannot be done it complains, and answers 0 changed.
fn change(name: &str, how: impl FnOnce(u64) -> u64) -> u64 {
    let Some(rules) = &settings().rules else { return how(0) };
    let folder = paths::state(rules);
    let opened = fs::create_dir_all(&folder).and_then(|()| {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(name))?;
        file.lock()?;
        let count = read(&mut file)?;
        Ok((file, count))
    });
    match opened {
        Ok((mut file, count)) => {
            let changed = how(count);
            if changed != count
                && let Err(error) = write(&mut file, changed)
            {
                log::complain(&format!("error: writing {}: {error}", folder.join(name).display()));
            }
            changed
        }
        Err(error) => {
            log::complain(&format!("error: counting in {}: {error}", folder.join(name).display()));
            how(0)
        }
    }
}

fn read(file: &mut File) -> io::Result<u64> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if text.is_empty() { Ok(0) } else { text.parse().map_err(io::Error::other) }
}

fn write(file: &mut File, count: u64) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(count.to_string().as_bytes())
}

/// Removes the counts of rules that are not among these. What cannot be removed is in nobody's way: it has the name of a
/// rule that is no more.
pub(crate) fn keep_only(rules_file: &Path, rules: &[Arc<Active>]) {
    let kept: Vec<_> = rules.iter().map(|rule| rule.state_name()).collect();
    let is_kept =
        |file: &str| kept.iter().any(|kept| file.strip_prefix(kept).is_some_and(|rest| rest.starts_with('.')));
    for entry in fs::read_dir(paths::state(rules_file)).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(is_kept) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
