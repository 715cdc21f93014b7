//! `chancery serve`: the service, by its configuration.

use std::path::{Path, PathBuf};

use chancery_hsm::WorkerCommand;
use chancery_server::ServeError;
use chancery_server::config::{self, Config};
use clap::Args;

use crate::WORKER_COMMAND;
use crate::exit::{Exit, Failure};

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Stops on SIGTERM or SIGINT: takes no new calls, answers those it has, writes its record to the end. Certificates are read \
again when their files change. docs/configuration.md describes the file.

Examples:
  chancery config check /etc/chancery.toml && chancery serve --config /etc/chancery.toml")]
pub struct ServeCommand {
    /// The configuration file
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
}

impl ServeCommand {
    /// Serves until a signal comes.
    pub async fn run(self) -> Result<Exit, Failure> {
        let config = load(&self.config)?;
        chancery_server::serve(config, worker_command(), |_bound| {}, chancery_server::exit_on_signal())
            .await
            .map_err(did_not_serve)?;
        Ok(Exit::Done)
    }
}

/// Reads a configuration, with errors that point to `config check`.
pub(super) fn load(path: &Path) -> Result<Config, Failure> {
    config::load(path).map_err(|errors| Failure::local(format!("the configuration cannot be used:\n{errors}")))
}

/// Why the service does not serve.
pub(super) fn did_not_serve(error: ServeError) -> Failure {
    let message = "the service does not start";
    let failure = match &error {
        ServeError::Listen { source, .. } => Failure::listening(message, source.kind()),
        _ => Failure::local(message),
    };
    failure.because(error)
}

/// How the service starts its workers: this very program, even where its file was replaced meanwhile.
pub(crate) fn worker_command() -> WorkerCommand {
    let itself = PathBuf::from("/proc/self/exe");
    let program = if itself.exists() { itself } else { std::env::current_exe().unwrap_or(itself) };
    WorkerCommand { program, arguments: vec![WORKER_COMMAND.to_owned()] }
}
