//! What an operator does about the state while the service does not run: look at it, and accept it.

use crate::assembly::{AssemblyError, open_store, start_token};
use crate::config::{self, Config};
use chancery_audit::{Anchor, Log, LogSettings};
use chancery_core::{ErasedOfCaller, Expected, StateDesk, StateError, StateReport};
use chancery_hsm::{Token, WorkerCommand};
use chancery_model::Id;
use chancery_store::{BackupError, Standing};
use std::io;
use std::path::PathBuf;
use tokio::task::JoinError;

/// Why nothing was done about the state.
#[derive(Debug, thiserror::Error)]
pub enum StateActError {
    /// The token of the system ring could not be taken.
    #[error(transparent)]
    Parts(#[from] AssemblyError),
    /// The database could not be opened; the service runs, perhaps.
    #[error("store.path: {0}")]
    Store(#[from] chancery_store::OpenError),
    /// The record could not be started.
    #[error("the record could not be started: {0}")]
    Record(#[from] chancery_audit::StartError),
    /// It could not be checked, or was not accepted.
    #[error(transparent)]
    State(#[from] StateError),
    /// Nobody of this id is registered, of whom details could be erased.
    #[error("callers/{caller} does not exist")]
    NoSuchCaller {
        /// The id.
        caller: Id,
    },
    /// Details could not be erased.
    #[error(transparent)]
    Erase(#[from] chancery_core::Error),
    /// The database could not be looked at.
    #[error(transparent)]
    Look(#[from] BackupError),
    /// The anchor could not be read.
    #[error("the anchor {path} cannot be read")]
    Anchor {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A part panicked.
    #[error("a part panicked; standard error says where")]
    Panicked(#[from] JoinError),
}

/// Where a database and its anchor stand.
#[derive(Debug)]
pub struct StateShown {
    /// The database.
    pub database: Standing,
    /// The anchor; `None` where there is none.
    pub anchor: Option<Anchor>,
}

/// Looks where the database and its anchor stand. Takes no lock and checks nothing.
///
/// # Errors
/// [`StateActError`]
pub fn show_state(config: &Config) -> Result<StateShown, StateActError> {
    let path = config.store.anchor();
    let anchor = Anchor::read(&path).map_err(|source| StateActError::Anchor { path, source })?;
    Ok(StateShown { database: chancery_store::standing(&config.store.path)?, anchor })
}

/// Erases the details of a caller's signatures and refusals, on the record. Takes the database's lock, and needs no token.
///
/// # Errors
/// [`StateActError`]
pub async fn erase_details(config: &Config, caller: &Id, reason: &str) -> Result<ErasedOfCaller, StateActError> {
    let (writer, reader) = open_store(config).await??;
    let log = Log::start(writer, LogSettings::new(config.instance.clone()))?;
    let erased = chancery_core::erase_details_of(&log, &reader, caller, reason).await;
    log.shutdown().await;
    erased.map_err(|error| match error {
        chancery_core::Error::NotFound { .. } => StateActError::NoSuchCaller { caller: caller.clone() },
        error => error.into(),
    })
}

/// The database and the token of the system ring, taken from the service that does not run.
pub struct StateActs {
    desk: StateDesk,
    log: Log,
    token: Token,
}

impl StateActs {
    /// Takes them. The database's lock is held from now on, and the token's.
    ///
    /// # Errors
    /// [`StateActError`]
    pub async fn begin(config: &Config, worker: &WorkerCommand) -> Result<Self, StateActError> {
        let ring = config.system_ring.as_ref().ok_or(AssemblyError::NoSystemRing)?;
        // First, since it is what a service that runs is noticed by.
        let (writer, reader) = open_store(config).await??;
        let token = start_token(config, worker, &ring.token).await?;
        let anchor = config.store.anchor();
        let archive = config.log.archive.as_ref().map(config::Archive::leaves);
        let settings = LogSettings { anchor: Some(anchor.clone()), ..LogSettings::new(config.instance.clone()) };
        let log = match Log::start(writer, settings) {
            Ok(log) => log,
            Err(error) => {
                token.shutdown().await;
                return Err(error.into());
            }
        };
        let desk = StateDesk::new(ring.token.clone(), token.clone(), log.clone(), reader, anchor, archive);
        Ok(Self { desk, log, token })
    }

    /// Looks at the state; what is wrong with it is recorded.
    ///
    /// # Errors
    /// [`StateActError`]
    pub async fn check(&self) -> Result<StateReport, StateActError> {
        Ok(self.desk.check().await?)
    }

    /// Accepts it as it is, on the record; without `expected` whatever it is.
    ///
    /// # Errors
    /// [`StateActError`]; nothing was accepted.
    pub async fn accept(&self, expected: Option<Expected>, reason: &str) -> Result<StateReport, StateActError> {
        Ok(self.desk.accept(expected, reason).await?)
    }

    /// Lets both go, in order.
    pub async fn end(self) {
        self.log.shutdown().await;
        self.token.shutdown().await;
    }
}
