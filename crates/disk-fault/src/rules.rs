//! What stands in a file of rules, and what it means.

use crate::errno;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// A file of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Its rules. The first that lets a call fail decides; those that only note are followed besides.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// One rule: what is to go wrong, in which calls on which files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name in the log: 1 to 64 letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// Any number. With another one a rule is not the same as before, and begins its counts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The calls that it is about; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub call: Vec<Call>,
    /// The files that it is about; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file: Vec<File>,
    /// On which of these calls.
    #[serde(default, skip_serializing_if = "When::is_default")]
    pub when: When,
    /// Before or after the real call.
    #[serde(default, skip_serializing_if = "At::is_default")]
    pub at: At,
    /// What goes wrong.
    pub then: Then,
}

/// A call of the C library, or several that do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Call {
    /// `open`, `openat`, and the same with 64.
    Open,
    /// `read`, `pread`, `pread64`.
    Read,
    /// `write`, `pwrite`, `pwrite64`.
    Write,
    /// `fsync`, `fdatasync`.
    Fsync,
    /// `ftruncate`, `ftruncate64`.
    Ftruncate,
    /// `fallocate`, `posix_fallocate`, and the same with 64.
    Fallocate,
    /// `mmap`, `mmap64`.
    Mmap,
    /// `close`.
    Close,
    /// `unlink`.
    Unlink,
}

/// One of the files that make up a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum File {
    /// The database itself.
    Database,
    /// Its write-ahead log, `-wal`.
    Wal,
    /// The index of the write-ahead log, `-shm`.
    Shm,
    /// Its rollback journal, `-journal`.
    Journal,
    /// The folder in which it is.
    Folder,
}

/// Conditions on a call. All that are given must hold. Calls are counted in each process by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// Only the n-th call, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// Not the first n calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only the first n calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Only once another rule, by its id, has fired in this process; the call in which it does is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Before or after the real call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Before it: it does not happen.
    #[default]
    Before,
    /// After it: it has happened, and the answer is an error all the same.
    After,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The call fails with this error, for example `EIO`.
    Error(String),
    /// The call reads or writes so many bytes at most, and says so; 0 is the end of the file, or a disk that takes nothing.
    Short(usize),
    /// Nothing; the call is noted in the log.
    Note,
}

impl Rule {
    /// A rule for each call of these, on each of these files.
    #[must_use]
    pub fn new(id: &str, call: &[Call], file: &[File], then: Then) -> Self {
        let (call, file) = (call.to_vec(), file.to_vec());
        Self { id: id.to_owned(), revision: None, call, file, when: When::default(), at: At::Before, then }
    }

    /// A call fails on a file.
    #[must_use]
    pub fn failing(id: &str, call: Call, file: File, error: &str) -> Self {
        Self::new(id, &[call], &[file], Then::Error(error.to_owned()))
    }

    /// Under conditions: `rule.when(|when| when.nth = Some(3))`.
    #[must_use]
    pub fn when(mut self, set: impl FnOnce(&mut When)) -> Self {
        set(&mut self.when);
        self
    }

    /// On the first call only.
    #[must_use]
    pub fn once(self) -> Self {
        self.when(|when| when.first = Some(1))
    }

    /// After the real call.
    #[must_use]
    pub fn after_the_call(self) -> Self {
        Self { at: At::After, ..self }
    }

    /// Whether it is about a call on a file.
    #[must_use]
    pub fn is_about(&self, call: Call, file: File) -> bool {
        (self.call.is_empty() || self.call.contains(&call)) && (self.file.is_empty() || self.file.contains(&file))
    }
}

impl Call {
    /// As in the rules and in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Fsync => "fsync",
            Self::Ftruncate => "ftruncate",
            Self::Fallocate => "fallocate",
            Self::Mmap => "mmap",
            Self::Close => "close",
            Self::Unlink => "unlink",
        }
    }
}

impl File {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Database, Self::Wal, Self::Shm, Self::Journal, Self::Folder];

    /// As in the rules and in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Wal => "wal",
            Self::Shm => "shm",
            Self::Journal => "journal",
            Self::Folder => "folder",
        }
    }
}

impl When {
    /// Whether the n-th call, from 1, is meant.
    #[must_use]
    pub fn is_meant(&self, number: u64) -> bool {
        self.nth.is_none_or(|nth| number == nth)
            && self.after.is_none_or(|after| number > after)
            && self.first.is_none_or(|first| number <= first)
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl At {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::Before
    }
}

/// Reads rules.
///
/// # Errors
/// What is wrong, and with which rule.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let Rules { rules } = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut ids = HashSet::new();
    for rule in &rules {
        let wrong = |why: &str| Err(format!("rule {:?}: {why}", rule.id));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=64).contains(&rule.id.len()) || !rule.id.bytes().all(is_plain) {
            return wrong("an id has 1 to 64 letters, digits, '-', '_' and '.'");
        }
        if !ids.insert(rule.id.as_str()) {
            return wrong("another rule has this id");
        }
        if rule.when.nth == Some(0) {
            return wrong("calls are counted from 1");
        }
        match &rule.then {
            Then::Error(name) if errno::number(name).is_none() => return wrong(&format!("there is no error {name:?}")),
            Then::Short(_)
                if rule.call.iter().any(|call| !matches!(call, Call::Read | Call::Write)) || rule.call.is_empty() =>
            {
                return wrong("only `read` and `write` can fall short: name them in `call`");
            }
            Then::Short(_) | Then::Note if rule.at == At::After => return wrong("`at` goes with `error`"),
            Then::Error(_) | Then::Short(_) | Then::Note => {}
        }
    }
    let unknown = rules.iter().find_map(|rule| rule.when.since.as_deref().filter(|id| !ids.contains(id)));
    match unknown {
        Some(id) => Err(format!("`since` names the rule {id:?}, which is not there")),
        None => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        let rules = vec![
            Rule::failing("a", Call::Fsync, File::Wal, "EIO").once(),
            Rule::failing("b", Call::Close, File::Database, "ENOSPC").after_the_call(),
            Rule::new("c", &[Call::Write], &[], Then::Short(7)).when(|when| when.since = Some("a".to_owned())),
            Rule::new("d", &[], &[], Then::Note).when(|when| (when.nth, when.after) = (Some(3), Some(1))),
        ];
        let text = toml::to_string(&Rules { rules: rules.clone() }).unwrap();
        assert_eq!(parse(&text), Ok(rules));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_reason() {
        for (text, reason) in [
            ("then = \"explode\"", "unknown variant"),
            ("then = { error = \"EOOPS\" }", "no error"),
            ("then = { error = \"EIO\" }\ncall = [\"fsink\"]", "unknown variant"),
            ("then = { error = \"EIO\" }\nfile = [\"disk\"]", "unknown variant"),
            ("then = { error = \"EIO\" }\nwhen = { nht = 1 }", "unknown field"),
            ("then = { error = \"EIO\" }\nwhen = { nth = 0 }", "from 1"),
            ("then = { error = \"EIO\" }\nwhen = { since = \"b\" }", "not there"),
            ("then = { short = 1 }", "fall short"),
            ("then = { short = 1 }\ncall = [\"fsync\"]", "fall short"),
            ("then = \"note\"\nat = \"after\"", "goes with"),
            ("then = \"note\"\n[[rule]]\nid = \"a\"\nthen = \"note\"", "another rule"),
        ] {
            let error = parse(&format!("[[rule]]\nid = \"a\"\n{text}\n")).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(parse("[[rule]]\nid = \"a b\"\nthen = \"note\"").unwrap_err().contains("letters"));
    }

    #[test]
    fn names_are_those_of_the_rules() {
        let named = |call: Call| format!("[[rule]]\nid = \"a\"\ncall = [\"{}\"]\nthen = \"note\"", call.name());
        for call in [
            Call::Open,
            Call::Read,
            Call::Write,
            Call::Fsync,
            Call::Ftruncate,
            Call::Fallocate,
            Call::Mmap,
            Call::Close,
            Call::Unlink,
        ] {
            assert_eq!(parse(&named(call)).unwrap()[0].call, [call]);
        }
        for file in File::ALL {
            let text = format!("[[rule]]\nid = \"a\"\nfile = [\"{}\"]\nthen = \"note\"", file.name());
            assert_eq!(parse(&text).unwrap()[0].file, [file]);
        }
    }

    #[test]
    fn calls_are_counted_from_one() {
        let meant = |when: When| (1..=4).filter(|number| when.is_meant(*number)).collect::<Vec<_>>();
        assert_eq!(meant(When::default()), [1, 2, 3, 4]);
        assert_eq!(meant(When { nth: Some(2), ..When::default() }), [2]);
        assert_eq!(meant(When { after: Some(1), first: Some(3), ..When::default() }), [2, 3]);
    }
}
