//! What an operator does about the state while the service does not run: look, and accept.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use chancery_audit::archive::Archive;
use chancery_audit::{Hex, Log, NewSeal, RecordError, RowStatement};
use chancery_hsm::{HsmFailure, Token};
use chancery_model::{Id, Sha256Hash};
use chancery_store::{Reader, State};

use super::log::Thoroughness;
use super::lost::{Lost, LostKey};
use super::refusal::{RowFinding, StateRefusal, StateRefused};
use super::secret::Anew;
use super::{StateKeeper, Trouble};
use crate::{Error, details};

/// The state of a database that no service runs on, and what it is checked with.
pub struct StateDesk {
    keeper: StateKeeper,
}

/// What there is to be said about a state.
#[derive(Debug, Clone)]
pub struct StateReport {
    /// Its epoch.
    pub epoch: u64,
    /// The root of the rows as they are.
    pub root: Sha256Hash,
    /// How many rows there are.
    pub rows: usize,
    /// The index that the next record gets.
    pub next_index: u64,
    /// Whether it was sealed.
    pub sealed: bool,
    /// What is wrong with it.
    pub found: Vec<StateRefusal>,
    /// Which of the service's own keys the token does not hold. The service goes by the state all the same.
    pub lost: Vec<LostKey>,
    /// How many tiles of the log's tree were not those of its leaves, and were made again.
    pub tiles_remade: u64,
}

/// What an operator has looked at, and accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The epoch.
    pub epoch: u64,
    /// The root of the rows.
    pub root: Sha256Hash,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, Hex::from(self.root))
    }
}

impl FromStr for Expected {
    type Err = InvalidExpected;

    fn from_str(text: &str) -> Result<Self, InvalidExpected> {
        let parsed = || {
            let (epoch, root) = text.split_once('/')?;
            let root: Hex = root.parse().ok()?;
            Some(Self { epoch: epoch.parse().ok()?, root: root.as_bytes().try_into().ok()? })
        };
        parsed().ok_or(InvalidExpected)
    }
}

/// Not the text of an epoch and a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an epoch, a slash, and a root of 64 lower-case hexadecimal digits, as `chancery state check` shows them")]
pub struct InvalidExpected;

/// Why a state was not checked or accepted.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The token of the system ring does not answer.
    #[error(
        "the token of the system ring does not answer, and nothing can be checked without it; see `chancery token doctor`"
    )]
    Token(#[source] HsmFailure),
    /// It is another state than the operator has looked at.
    #[error(
        "the state is another one than expected: epoch {}, root {}; look at it again with `chancery state check`",
        .0.epoch, Hex::from(.0.root)
    )]
    NotExpected(Box<StateReport>),
    /// There is nothing to accept.
    #[error("the state is the one that was sealed: there is nothing to accept")]
    NothingToAccept,
    /// The rows cannot be read.
    #[error(transparent)]
    Refused(#[from] StateRefused),
    /// The store or the record failed.
    #[error("the state cannot be looked at, or accepted")]
    State(#[source] Error),
}

impl From<Trouble> for StateError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Away(failure) => Self::Token(failure),
            Trouble::Refused(refused) => Self::Refused(refused),
            Trouble::Failed(error) => Self::State(error),
        }
    }
}

impl StateDesk {
    /// `token` is that of the system ring, with its id in the configuration; `anchor` is where the anchor is kept, as the log
    /// knows it, too; `archive`, which the reader takes old leaves from, is asked for hashes of theirs that are lost.
    #[must_use]
    pub const fn new(
        token_id: Id,
        token: Token,
        log: Log,
        reader: Reader,
        anchor: PathBuf,
        archive: Option<Archive>,
    ) -> Self {
        Self { keeper: StateKeeper { token, token_id, log, reader, anchor, archive } }
    }

    /// Looks at the state, and at all leaves of the log; what is wrong is recorded. Where nothing is but tiles of the log's tree,
    /// these are made again, as the start would do it with those that it looks at.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn check(&self) -> Result<StateReport, StateError> {
        let state = self.load().await?;
        let examined = self.keeper.examine(&state, Thoroughness::Leaves).await?;
        let (mut found, mut tiles_remade) = (Vec::new(), 0);
        if !examined.found.is_empty() {
            found = self.keeper.refuse(&state, examined.found).await.found;
        } else if examined.wrong_tiles.count > 0 {
            tiles_remade = self.keeper.remake_tiles(state.epoch, examined.wrong_tiles).await?;
        }
        let lost = self.keeper.lost_keys(&state).await?.keys;
        Ok(StateReport { tiles_remade, ..report(&state, examined.hash, found, lost) })
    }

    /// Accepts the state as it is, on the record, and seals it anew; without `expected` whatever it is. What the token does not
    /// hold of the service's own keys goes out of use.
    ///
    /// # Errors
    /// [`StateError`]; nothing was accepted.
    pub async fn accept(&self, expected: Option<Expected>, reason: &str) -> Result<StateReport, StateError> {
        let state = self.load().await?;
        let examined = self.keeper.examine(&state, Thoroughness::Leaves).await?;
        let Lost { keys, rows: lost } = self.keeper.lost_keys(&state).await?;
        let mut report = report(&state, examined.hash, examined.found, keys);
        if expected.is_some_and(|expected| expected != Expected { epoch: report.epoch, root: report.root }) {
            return Err(StateError::NotExpected(Box::new(report)));
        }
        if report.found.is_empty() && report.lost.is_empty() {
            return Err(StateError::NothingToAccept);
        }
        let ambiguous = |found: &&StateRefusal| matches!(found, StateRefusal::Twice(_));
        if let Some(twice) = report.found.iter().find(ambiguous) {
            return Err(StateRefused { found: vec![twice.clone()] }.into());
        }
        // The record says from now on what these rows are; otherwise they would be found again beside the next edit.
        let found = report.found.iter().flat_map(|found| match found {
            StateRefusal::Rows(rows) => rows.as_slice(),
            _ => &[],
        });
        let statements: Vec<RowStatement> = found.map(|row| statement(row, &state)).collect();
        let message = accepted(&report, reason);
        // An anchor of before, and a database of before, are another database's from now on. By epochs alone, a database from
        // before a restore would be ahead of what was restored and accepted since.
        let database = Some(chancery_crypto::new_uid().map_err(|error| StateError::State(error.into()))?);
        // What is signed from now on is the log as its leaves are: of the tree nothing is believed.
        report.tiles_remade = self.keeper.remake_tiles(state.epoch, examined.wrong_tiles).await?;
        let void_checkpoints = self.keeper.void_checkpoints(&state).await.map_err(StateError::State)?;
        // What is sealed is what was looked at, in one transaction with the acceptance.
        match examined.key {
            Some(key) => {
                let log = &self.keeper.log;
                let failed = |error: RecordError| StateError::State(error.into());
                let act = details::state_accepted(&message);
                let epoch = if report.found.is_empty() {
                    log.arm(state.epoch, examined.root, key.sealer()).await.map_err(failed)?;
                    state.epoch
                } else {
                    let new = NewSeal { root: examined.root, sealer: key.sealer(), database, void_checkpoints };
                    log.seal(state.epoch, new, act.clone(), &statements).await.map_err(failed)?
                };
                // A change like any other, once the state is sealed. Where it is not come to, it is found again.
                if !lost.is_empty() {
                    log.change(epoch, lost, act).await.map_err(failed)?;
                }
            }
            None => {
                let anew = Anew { message: &message, database, void_checkpoints, lost, statements };
                self.keeper.seal_with_a_new_secret(&state, examined.root, anew).await?;
            }
        }
        Ok(report)
    }

    async fn load(&self) -> Result<State, StateError> {
        let reader = self.keeper.reader.clone();
        let state = crate::blocking(move || reader.load_state()).await.map_err(StateError::State)?;
        state.map_err(|error| StateError::State(error.into()))
    }
}

fn report(state: &State, root: Sha256Hash, found: Vec<StateRefusal>, lost: Vec<LostKey>) -> StateReport {
    StateReport {
        epoch: state.epoch.get(),
        root,
        rows: state.rows().count(),
        next_index: state.next_index,
        sealed: state.seal.is_some(),
        found,
        lost,
        tiles_remade: 0,
    }
}

fn statement(found: &RowFinding, state: &State) -> RowStatement {
    let RowFinding { table, id, .. } = *found;
    let row = state.rows().find(|row| (row.table(), row.row_id()) == (table, id));
    RowStatement { table, id, canonical: row.and_then(|row| row.canonical_bytes()) }
}

fn accepted(report: &StateReport, reason: &str) -> String {
    let lost = report.lost.iter().map(ToString::to_string);
    let found: Vec<String> = report.found.iter().map(ToString::to_string).chain(lost).collect();
    let (epoch, root) = (report.epoch, Hex::from(report.root));
    format!("an operator accepts the state of epoch {epoch} with root {root}: {reason}. Found: {}", found.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_is_taken() {
        let expected = Expected { epoch: 12, root: [0xab; 32] };
        assert_eq!(expected.to_string().parse(), Ok(expected));
        for wrong in ["", "12", "12/ab", "x/", &expected.to_string().to_uppercase()] {
            assert_eq!(wrong.parse::<Expected>(), Err(InvalidExpected), "{wrong}");
        }
    }
}
