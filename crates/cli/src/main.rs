//! The one binary, `chancery`.
//!
//! In scope: the command line (what is typed, what is printed, exit codes), the development folder, and the start of the
//! two long-lived processes, the service and the worker of a token. Out of scope: what they do (`chancery_server`,
//! `chancery_hsm`), how the service is called (`chancery_client`). One file for each group of commands in [`commands`].

mod arguments;
mod commands;
mod connection;
mod dev;
mod duration;
mod exit;
mod files;
mod init;
mod input;
mod names;
mod output;
mod progress;
mod run;
mod scan;
mod view;

use std::process::ExitCode;

/// The hidden command that makes this process the worker of a token. Only the service calls it.
pub(crate) const WORKER_COMMAND: &str = "hsm-worker";

fn main() -> ExitCode {
    // A worker finds its sockets among inherited descriptors and loads a vendor's library: before it starts, this process
    // must not have opened a file or started a thread. So it comes before everything, the parsing of arguments included.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == WORKER_COMMAND) {
        chancery_hsm::worker::run();
    }
    run::run(arguments::Arguments::typed())
}
