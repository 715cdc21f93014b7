//! The command line against a real service: what it prints, what it writes, how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise, and helpers belong to it"
)]

mod api_keys;
mod bench;
mod callers;
mod calls;
mod connection;
mod dev_folder;
mod keys;
mod quantities;
mod serving;
mod signatures;

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: Vec<u8>,
    err: String,
}

/// Runs a command line, given as words, with this on standard input.
fn run_with(mut command: Command, words: &[&str], input: &[u8]) -> Ended {
    let mut child =
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may be gone already.
    let _unread = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(command: Command, words: &[&str]) -> Ended {
    run_with(command, words, b"")
}

impl Ended {
    /// What it printed, having ended well.
    #[track_caller]
    fn text(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        String::from_utf8(self.out).unwrap()
    }

    /// What it printed as JSON, however it ended.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// That it ended with this code, and said this.
    #[track_caller]
    fn failed(self, code: i32, said: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(String::from_utf8_lossy(&self.out), "", "nothing on standard output: {}", self.err);
        for said in said {
            assert!(self.err.contains(said), "{said:?} in {}", self.err);
        }
    }
}
