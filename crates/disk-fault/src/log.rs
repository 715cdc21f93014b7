//! The log: one line for each fault, and for each call that a rule notes, written before it shows.

use std::fmt;
use std::str::FromStr;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Microseconds since 1970.
    pub time_micros: u64,
    /// The process in which it happened.
    pub pid: u32,
    /// The call, as in the rules.
    pub call: String,
    /// The file, as in the rules.
    pub file: String,
    /// The rule by which it happened.
    pub rule: String,
    /// What was done, in a few words.
    pub what: String,
}

impl fmt::Display for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time_micros, pid, call, file, rule, what } = self;
        write!(f, "{time_micros} {pid} {call} {file} {rule} {what}")
    }
}

/// Not a line of the log; the library complains in such lines.
#[derive(Debug)]
pub struct NoLine;

impl FromStr for Logged {
    type Err = NoLine;

    fn from_str(line: &str) -> Result<Self, NoLine> {
        let mut fields = line.splitn(6, ' ');
        let mut next = || fields.next().ok_or(NoLine);
        Ok(Self {
            time_micros: next()?.parse().or(Err(NoLine))?,
            pid: next()?.parse().or(Err(NoLine))?,
            call: next()?.to_owned(),
            file: next()?.to_owned(),
            rule: next()?.to_owned(),
            what: next()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let line = "1700000000000000 42 fsync wal once answered EIO after the call";
        let logged: Logged = line.parse().unwrap();
        assert_eq!((logged.pid, logged.call.as_str(), logged.rule.as_str()), (42, "fsync", "once"));
        assert_eq!(logged.to_string(), line);
        assert!("error: the rules mean nothing at all".parse::<Logged>().is_err());
    }
}
