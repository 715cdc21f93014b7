//! Lets the disk under an SQLite database fail, as told by rules in a file.
//!
//! In scope: how rules are written and read, the log of what really happened, and what a test needs to have a process fail
//! so ([`FaultRules`]). Out of scope: standing between a process and its disk, which is the library to preload, in
//! `preload/`. `README.md` is the manual of both.

mod errno;
mod harness;
mod log;
mod paths;
mod rules;

pub use errno::number as errno;
pub use harness::{FaultRules, HarnessError, library};
pub use log::{Logged, NoLine};
pub use paths::{DATABASE_VARIABLE, LOG_VARIABLE, RULES_VARIABLE};
pub use rules::{At, Call, File, Rule, Rules, Then, When, parse};
