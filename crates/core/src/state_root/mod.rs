//! The state root: the state is held to what was sealed, with a key that the token derives (docs/state-root.md).
//!
//! Here: finding out at the start whether the state is the one that was sealed, sealing it for the first time, and the
//! operator's acceptance of another one. The seal itself is written by the record's thread (`audit`), and the service's rows
//! are checked again whenever they are loaded (`change`).

mod examine;
mod log;
mod lost;
mod offline;
mod refusal;
mod rows;
mod secret;
mod standing;

use log::Thoroughness;
pub(crate) use log::log_keys;
pub use lost::LostKey;
pub use offline::{Expected, InvalidExpected, StateDesk, StateError, StateReport};
pub use refusal::{RowFinding, StateRefusal, StateRefused, Tampering};
use secret::Anew;
pub(crate) use secret::StateKey;
pub use standing::StateStanding;
pub(crate) use standing::needs_no_checked_state;

use std::path::PathBuf;

use chancery_audit::archive::Archive;
use chancery_audit::{Log, RecordError, StateRoot, VoidCheckpoints};
use chancery_hsm::{HsmFailure, Token};
use chancery_model::Id;
use chancery_store::{Reader, State};

use crate::{Error, details};

/// Who holds the state to its seal: where the secret is, and what it stands on.
pub(crate) struct StateKeeper {
    /// The token of the system ring, and its id in the configuration.
    pub token: Token,
    pub token_id: Id,
    pub log: Log,
    pub reader: Reader,
    /// Where the anchor is.
    pub anchor: PathBuf,
    /// Where the leaves of old records are: for hashes of theirs that the database has lost.
    pub archive: Option<Archive>,
}

/// Why the state is not held to its seal.
pub(crate) enum Trouble {
    /// The token does not answer; it is asked again.
    Away(HsmFailure),
    /// It is not the state that was sealed.
    Refused(StateRefused),
    /// Something else failed.
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<RecordError> for Trouble {
    fn from(error: RecordError) -> Self {
        Self::Failed(error.into())
    }
}

impl StateKeeper {
    /// Holds the state to its seal from now on, if it is the one that was sealed; seals it, if none ever was. The epoch may
    /// be another afterwards.
    pub async fn take_up(&self, state: &State) -> Result<StateKey, Trouble> {
        let examined = self.examine(state, Thoroughness::Tiles).await?;
        if !examined.found.is_empty() {
            return Err(Trouble::Refused(self.refuse(state, examined.found).await));
        }
        if examined.wrong_tiles.count > 0 {
            self.remake_tiles(state.epoch, examined.wrong_tiles).await?;
        }
        match examined.key {
            Some(key) => {
                self.log.arm(state.epoch, examined.root, key.sealer()).await?;
                Ok(key)
            }
            None => self.seal_for_the_first_time(state, examined.root).await,
        }
    }

    /// The same, and the state as it is afterwards: it is held to the seal itself, since what was checked was another reading.
    pub async fn take_up_and_load(&self, state: &State) -> Result<(StateKey, State), Trouble> {
        let key = self.take_up(state).await?;
        let reader = self.reader.clone();
        let state = crate::blocking(move || reader.load_state()).await?.map_err(Error::from)?;
        let (key, state, fits) = crate::blocking(move || {
            let fits = key.fits(&state);
            (key, state, fits)
        })
        .await?;
        if fits {
            Ok((key, state))
        } else {
            Err(Trouble::Refused(self.refuse(&state, vec![StateRefusal::Changed]).await))
        }
    }

    async fn seal_for_the_first_time(&self, state: &State, root: StateRoot) -> Result<StateKey, Trouble> {
        let rows = root.rows();
        if rows > 0 {
            tracing::warn!(
                rows,
                epoch = state.epoch.get(),
                "the state was never sealed: it is sealed now, and what stands in it is trusted as it is"
            );
        }
        let message = format!("the state is sealed for the first time, with the {rows} rows that it has");
        let (lost, statements) = (Vec::new(), Vec::new());
        let anew =
            Anew { message: &message, database: None, void_checkpoints: VoidCheckpoints::default(), lost, statements };
        self.seal_with_a_new_secret(state, root, anew).await
    }

    /// Puts on the record what was found, where that can be done: it is no less found where it cannot.
    pub async fn refuse(&self, state: &State, found: Vec<StateRefusal>) -> StateRefused {
        let refused = StateRefused { found };
        let act = details::state_refused(&refused.to_string());
        // The epoch stays, sealed or not: an operator accepts the epoch that was shown to him.
        if let Err(error) = self.log.note(state.epoch, act).await {
            tracing::error!(%error, "that the state was refused could not be recorded");
        }
        refused
    }
}
