//! Changes of the state: decided on a snapshot, committed with their record, and in force when they are answered.

use std::sync::Arc;

use chancery_audit::{Act, RecordError, Recorded};
use chancery_policy::{PolicyPoint, PolicySet};
use chancery_store::{Epoch, RowChange, State};

use crate::api_keys::ApiKeys;
use crate::freeze::ring_states;
use crate::policies::policy_documents;
use crate::state::{Snapshot, VersionEntry};
use crate::{Chancery, Error};

/// How often a decision is made again because the state changed under it.
pub(crate) const ATTEMPTS: usize = 3;

/// What a change comes to, decided on a snapshot.
pub(crate) enum Plan<T, N = Arc<VersionEntry>> {
    /// Things are as wanted already.
    Nothing(N),
    /// To be committed.
    Change { rows: Vec<RowChange>, act: Box<Act>, then: T },
}

/// What a change came to.
pub(crate) enum Done<T, N = Arc<VersionEntry>> {
    Nothing(N),
    Changed { snapshot: Arc<Snapshot>, recorded: Recorded, then: T },
}

impl Chancery {
    /// Decides and commits a change; when it returns, every later call of this instance is decided on the new state,
    /// and every other instance's intents are refused until it has loaded it.
    pub(crate) async fn change<T, N>(
        &self,
        decide: impl Fn(&Snapshot) -> Result<Plan<T, N>, Error>,
    ) -> Result<Done<T, N>, Error> {
        let _one_at_a_time = self.inner.changing.lock().await;
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot();
            let (rows, act, then) = match decide(&snapshot)? {
                Plan::Nothing(as_it_is) => return Ok(Done::Nothing(as_it_is)),
                Plan::Change { rows, act, then } => (rows, act, then),
            };
            match self.inner.log.change(snapshot.epoch, rows.clone(), *act).await {
                Ok(changed) => {
                    let snapshot = self.install(snapshot.after(changed.epoch, &rows)?);
                    return Ok(Done::Changed { snapshot, recorded: changed.recorded, then });
                }
                Err(RecordError::StaleEpoch) => self.reload().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::StateChanging)
    }

    /// Records what the service itself does, and changes nothing by it, at whichever epoch the state is by then: it stays.
    pub(crate) async fn note(&self, act: &Act) -> Result<Recorded, Error> {
        for _ in 0..ATTEMPTS {
            match self.inner.log.note(self.snapshot().epoch, act.clone()).await {
                Ok(changed) => return Ok(changed.recorded),
                Err(RecordError::StaleEpoch) => {
                    let _one_at_a_time = self.inner.changing.lock().await;
                    self.reload().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::StateChanging)
    }

    /// Waits until the snapshot is newer than `stale`, loading it where no change of ours is about to bring it.
    pub(crate) async fn refresh(&self, stale: Epoch) -> Result<(), Error> {
        let _no_change_under_way = self.inner.changing.lock().await;
        if self.snapshot().epoch > stale { Ok(()) } else { self.reload().await }
    }

    /// Makes `snapshot` the one that decisions are made from.
    pub(crate) fn install(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.inner.state.store(Arc::clone(&snapshot));
        snapshot
    }

    /// Loads the state from the store: another instance has changed it.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        let old = self.snapshot();
        let reader = self.inner.reader.clone();
        let state = crate::blocking(move || reader.load_state()).await??;
        let state = self.still_sealed(state).await?;
        let (keys, key_names) = Snapshot::keys_from_rows(state.keys, state.key_versions)?;
        let ring_states = ring_states(state.key_rings);
        let callers = Arc::new(old.callers.reloaded(state.callers));
        let row = state.policy_set.ok_or_else(|| Error::internal("the store holds no policy set"))?;
        let (policy, policy_row) = if row.hash == old.policy_row.hash && row.version == old.policy_row.version {
            let point = old.policy.with_callers(&callers.all).map_err(Error::PolicyInvalid)?;
            (Arc::new(point), Arc::clone(&old.policy_row))
        } else {
            let set = PolicySet::parse_in_force(policy_documents(&row.documents)).map_err(Error::PolicyInvalid)?;
            (Arc::new(PolicyPoint::new(set, &callers.all).map_err(Error::PolicyInvalid)?), Arc::new(row))
        };
        let api_keys = Arc::new(ApiKeys::from_rows(state.api_keys));
        let (epoch, checked) = (state.epoch, self.inner.standing.borrow().decides());
        self.install(Snapshot { epoch, keys, key_names, ring_states, policy, policy_row, callers, api_keys, checked });
        Ok(())
    }

    /// The state as loaded, if it is the one that was sealed; otherwise nothing is decided any more.
    async fn still_sealed(&self, state: State) -> Result<State, Error> {
        let Some(key) = self.inner.state_key.load_full() else { return Ok(state) };
        let (state, fits) = crate::blocking(move || {
            let fits = key.fits(&state);
            (state, fits)
        })
        .await?;
        if fits {
            return Ok(state);
        }
        let reason = "the state in the database is not the one that was sealed: somebody changed it while the service ran;                       the next start says what was changed (chancery state check)";
        self.inner.log.close(reason);
        Err(Error::RecordClosed { reason: reason.to_owned() })
    }
}
