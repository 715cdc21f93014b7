//! How far something long has come: a line on the terminal, rewritten, with an estimate of what is left. Nothing where standard
//! error is no terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often the line is rewritten.
const EACH: Duration = Duration::from_millis(200);

/// The line.
pub struct Progress {
    what: &'static str,
    begun: Instant,
    /// What was done when it began.
    from: Option<u64>,
    /// When it was last written; `None` where it is not to be.
    written: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// Of something that is done to records: "verified", for example.
    pub fn new(what: &'static str) -> Self {
        let now = Instant::now();
        Self { what, begun: now, from: None, written: io::stderr().is_terminal().then_some(now), shown: false }
    }

    /// So many of so many are done.
    pub fn at(&mut self, done: u64, all: u64) {
        let from = *self.from.get_or_insert(done);
        if self.written.is_none_or(|written| written.elapsed() < EACH) {
            return;
        }
        self.written = Some(Instant::now());
        self.shown = true;
        let line = line(self.what, from, done, all, self.begun.elapsed());
        // Where it cannot be written, nobody misses it.
        let _ignored = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ignored = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(what: &str, from: u64, done: u64, all: u64, took: Duration) -> String {
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
    let left = match done.saturating_sub(from) {
        0 => String::new(),
        fresh => {
            let millis = took.as_millis().saturating_mul(all.saturating_sub(done).into()) / u128::from(fresh);
            let seconds = millis.div_ceil(1000);
            format!(", {}:{:02} left", seconds / 60, seconds % 60)
        }
    };
    format!("{what} {done} of {all} records, {percent} %{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_estimated_from_what_was_done_here() {
        let said = |from, done| line("verified", from, done, 1_000, Duration::from_secs(10));
        assert_eq!(said(0, 0), "verified 0 of 1000 records, 0 %");
        assert_eq!(said(0, 100), "verified 100 of 1000 records, 10 %, 1:30 left");
        assert_eq!(said(800, 900), "verified 900 of 1000 records, 90 %, 0:10 left");
        assert_eq!(line("exported", 0, 0, 0, Duration::ZERO), "exported 0 of 0 records, 100 %");
    }
}
