//! The device alone: a SoftHSM token of its own, so that the service keeps the one it has.

use std::num::NonZero;
use std::time::Duration;

use chancery_hsm::{TokenSettings, WorkerCommand};
use chancery_model::{Algorithm, Id};
use tempfile::TempDir;

use crate::commands::serve::worker_command;
use crate::dev::token::{self, Module};
use crate::exit::Failure;

/// A token in a temporary folder, gone with this value.
pub struct Device {
    algorithm: Algorithm,
    settings: TokenSettings,
    worker: WorkerCommand,
    threads: usize,
    _folder: TempDir,
}

impl Device {
    /// Makes the token.
    pub async fn make(algorithm: Algorithm) -> Result<Self, Failure> {
        let module = Module::softhsm()?.library;
        let folder = tempfile::Builder::new().prefix("chancery-bench-").tempdir().map_err(|error| {
            Failure::local("cannot make a temporary folder for the device to measure").because(error)
        })?;
        let home = folder.path().join("softhsm");
        let made = token::make(&home, None).await?;
        let lock_dir = folder.path().join("locks");
        std::fs::create_dir(&lock_dir).map_err(|error| Failure::file("create the folder", &lock_dir, error))?;
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let settings = TokenSettings {
            id: Id::parse("the token id", "bench").map_err(|error| Failure::local(error.to_string()))?,
            module,
            label: made.token.label,
            serial: Some(made.token.serial),
            pin: made.pin,
            pin_file: None,
            module_environment: made.environment,
            lock_dir,
            signing_threads: threads,
            keepalive: Duration::from_secs(10),
            max_worker_memory_bytes: 1 << 30,
            queue_limit: threads,
        };
        Ok(Self { algorithm, settings, worker: worker_command(), threads, _folder: folder })
    }

    /// Signatures a second, with nothing in between.
    pub async fn measure(&self, duration: Duration) -> Result<f64, Failure> {
        chancery_hsm::measure(&self.worker, &self.settings, self.algorithm, self.threads, duration)
            .await
            .map(|rate| rate.per_second())
            .map_err(|error| Failure::local("cannot measure the device alone").because(error))
    }
}
