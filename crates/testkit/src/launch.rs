//! How the service is started on the folder of a test, and waited for.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use crate::Error;
use crate::authority::IdentityFiles;
use crate::process::{POLL, Process};

/// How long it may take to come up: machines that test are busy.
const START_PATIENCE: Duration = Duration::from_secs(90);

/// How `chancery dev` is called.
#[derive(Debug)]
pub(crate) struct Launch {
    pub binary: PathBuf,
    /// About the token's module.
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

impl Launch {
    /// `chancery dev` on a folder, at free ports.
    pub fn dev(&self, dir: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("dev").arg("--dir").arg(dir);
        // Where the test is killed, nobody else would stop the service.
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--stop-on-eof"]);
        command.args(&self.arguments).args(more);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the service on its development folder.
    pub fn start(&self, folder: &TempDir) -> Result<Process, Error> {
        let path = announcement(folder);
        // One that a killed service left would be taken for the new one's.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::system(format!("remove {}", path.display()))(error));
            }
            _ => {}
        }
        Process::spawn(self.dev(&dir(folder), &[]), &log(folder))
    }
}

/// What `dev.json` holds.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Announcement {
    pub endpoint: String,
    pub ca: PathBuf,
    pub operator: Pair,
    pub caller: Pair,
    pub key_ring: String,
    pub config: PathBuf,
    pub admin_endpoint: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Pair {
    pub fn files(&self) -> IdentityFiles {
        IdentityFiles { certificate: self.cert.clone(), private_key: self.key.clone() }
    }
}

pub(crate) fn dir(folder: &TempDir) -> PathBuf {
    folder.path().join("dev")
}

pub(crate) fn token_home(folder: &TempDir, id: &str) -> PathBuf {
    folder.path().join(format!("token-{id}"))
}

pub(crate) fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("log")
}

pub(crate) fn read_log(folder: &TempDir) -> String {
    std::fs::read(log(folder)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

pub(crate) fn failed(folder: &TempDir, what: String) -> Error {
    Error::Process { what, log: read_log(folder) }
}

/// Where the service says that it serves, and how it is reached.
fn announcement(folder: &TempDir) -> PathBuf {
    dir(folder).join("dev.json")
}

/// Waits for its announcement.
pub(crate) async fn serving(process: &mut Process, folder: &TempDir) -> Result<Announcement, Error> {
    let path = announcement(folder);
    let until = Instant::now() + START_PATIENCE;
    loop {
        // It appears whole.
        if let Ok(text) = std::fs::read_to_string(&path) {
            return serde_json::from_str(&text)
                .map_err(|error| Error::Content { path: path.clone(), why: error.to_string() });
        }
        if let Some(status) = process.ended()? {
            return Err(failed(folder, format!("dev ended with {status}")));
        }
        if Instant::now() > until {
            return Err(failed(folder, format!("dev did not serve within {START_PATIENCE:?}")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until it has ended, and kills it where it does not.
pub(crate) async fn wait(process: &mut Process, folder: &TempDir) -> Result<ExitStatus, Error> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        if let Some(status) = process.ended()? {
            return Ok(status);
        }
        if Instant::now() > until {
            process.kill()?;
            return Err(failed(folder, format!("did not end within {START_PATIENCE:?} and was killed")));
        }
        tokio::time::sleep(POLL).await;
    }
}
