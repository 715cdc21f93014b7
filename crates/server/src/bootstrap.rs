//! The first caller of a store that has none, registered while the service does not run.

use crate::assembly;
use crate::config::{self, Config};
use chancery_audit::{Log, LogSettings};
use tokio::task::JoinError;

/// Why the first caller was not registered.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The database could not be opened; the service runs, perhaps.
    #[error("store.path: {0}")]
    Store(#[from] chancery_store::OpenError),
    /// The record could not be started.
    #[error("the record could not be started: {0}")]
    Record(#[from] chancery_audit::StartError),
    /// It is not to be registered, or that failed.
    #[error(transparent)]
    Core(#[from] chancery_core::BootstrapError),
    /// A part panicked.
    #[error("a part panicked; standard error says where")]
    Panicked(#[from] JoinError),
}

/// Registers the first caller in the configuration's store, on the record. No token is touched.
///
/// # Errors
/// [`BootstrapError`]; refused where anybody is registered already, and while the service has the store.
pub async fn bootstrap(config: &Config, first: &config::Caller) -> Result<(), BootstrapError> {
    let path = config.store.path.clone();
    let (writer, reader) = tokio::task::spawn_blocking(move || chancery_store::open(&path)).await??;
    let log = Log::start(writer, LogSettings::new(config.instance.clone()))?;
    let registered = chancery_core::bootstrap(&log, &reader, assembly::caller(first)).await;
    log.shutdown().await;
    Ok(registered?)
}
