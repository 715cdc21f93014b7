//! The program as an operator runs it: commands that end, and services of our own configuration.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these functions run inside tests, which stop at the first surprise"
)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use crate::contract::PATIENCE;

/// Between two looks.
const POLL: std::time::Duration = std::time::Duration::from_millis(20);

/// What the command line and the service read of the environment, behind `CHANCERY_`.
const NAMES: [&str; 12] = [
    "DEV",
    "ENDPOINT",
    "CA",
    "CERT",
    "KEY",
    "API_KEY_FILE",
    "OIDC_TOKEN_FILE",
    "CALLER_SIGNATURE",
    "HOME",
    "LISTEN",
    "ADMIN_LISTEN",
    "OTLP_ENDPOINT",
];

/// The binary: `CHANCERY_BIN`, or the one that was built with these tests.
#[must_use]
pub fn chancery() -> PathBuf {
    let path = match std::env::var_os("CHANCERY_BIN") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("chancery"),
    };
    assert!(path.is_file(), "{} is not there; cargo build --bin chancery", path.display());
    path.canonicalize().unwrap()
}

/// The root of the source tree.
#[must_use]
pub fn source_tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A command that hears of no other service than the one it is told of.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in NAMES {
        command.env_remove(format!("CHANCERY_{name}"));
    }
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end: standard output and error together, and its exit code.
#[must_use]
pub fn run(command: &mut Command) -> (String, Option<i32>) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (format!("{}{}", String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()), status.code())
}

/// Runs a command to its end, which is to be a good one, and answers what it said.
///
/// # Panics
/// Where it is not.
#[must_use]
pub fn succeed(command: &mut Command) -> String {
    let (said, code) = run(command);
    assert_eq!(code, Some(0), "{command:?} said: {said}");
    said
}

/// A program that runs until it is told to stop, also where the test fails.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it. What it says goes to the file `log`.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, log: log.to_owned() }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `look` finds something.
    ///
    /// # Panics
    /// Where the program ends first, or nothing is found for too long.
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(&self.log()) {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status} before {what}; it said:\n{}", self.log());
            }
            assert!(Instant::now() < until, "no {what} within {PATIENCE:?}; it said:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }

    /// Asks it to stop (SIGTERM) and says how it ended.
    ///
    /// # Panics
    /// Where it does not.
    pub fn stop(&mut self) -> ExitStatus {
        if self.child.try_wait().unwrap().is_none() {
            chancery_testkit::signal(self.child.id(), "TERM").unwrap();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not stop; it said:\n{}", self.log());
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A second panic while the first unwinds would hide it.
        if !std::thread::panicking() {
            let _status = self.stop();
        } else if let Ok(None) = self.child.try_wait() {
            let _unsaid = chancery_testkit::signal(self.child.id(), "TERM");
            let _unsaid = self.child.wait();
        }
    }
}
