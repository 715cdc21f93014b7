//! Coming up: the state is loaded, what the configuration declares is registered, and what a crash left is put right,
//! before the first call is taken.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use chancery_audit::{Leaf, Log};
use chancery_hsm::Token;
use chancery_model::{Id, Timestamp};
use chancery_policy::{PolicyDocument, PolicyErrors, PolicySet, someone_can_apply};
use chancery_store::{OpenIntent, Reader, State};
use tokio::sync::{Semaphore, watch};

use crate::api_keys::{ApiKeySettings, ApiKeys, Uses};
use crate::archive::{ArchiveSettings, Condition, Watched};
use crate::callers::{CallerDeclaration, take_callers};
use crate::checkpoints::{CheckpointSettings, Checkpoints, KeptForStart};
use crate::denials::Denials;
use crate::evidence::Nonces;
use crate::freeze::ring_states;
use crate::inflight::InFlight;
use crate::pace::Paces;
use crate::policies::policy_documents;
use crate::retention::Retention;
use crate::rings::Ring;
use crate::state::Snapshot;
use crate::state_root::{StateKeeper, StateKey, StateRefused, StateStanding, Trouble};
use crate::told::Told;
use crate::{
    BROWSING, Chancery, Clock, Error, Inner, LISTING, Limits, MOST_UNDER_WAY, Observer, PUBLISHING, WATCHING,
    system_ring,
};

mod policy_set;

use policy_set::{apply_first, prepare, take_stored};

/// How long to wait before it is tried again to check the state.
const CHECK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Among how many of the newest records the latest time is looked for: a restart after the clock was set back finds the records
/// of before behind some of after.
const NEWEST: u32 = 4096;
/// How often refusals are handed to the record.
const DENIAL_INTERVAL: Duration = Duration::from_secs(1);

/// All the parts, ready to be put together.
pub struct Assembly {
    /// Names this instance in the record; the same after each restart.
    pub instance: Id,
    /// The key rings.
    pub rings: Vec<Ring>,
    /// The tokens, by their id in the configuration.
    pub tokens: BTreeMap<Id, Token>,
    /// The callers that the configuration declares: registered where the store knows none.
    pub callers: Vec<CallerDeclaration>,
    /// The token of the system ring, where there is one. Without it the state is held to no seal, either.
    pub system_ring: Option<Id>,
    /// Where the anchor is kept: outside of the database, and where the record knows it, too. Without it the state is held
    /// to no seal.
    pub anchor: Option<PathBuf>,
    /// How the log is signed, where there is a system ring.
    pub checkpoints: CheckpointSettings,
    /// How long details are kept.
    pub retention: Retention,
    /// Where the leaves of old records are. None where there is no archive.
    pub archive: Option<ArchiveSettings>,
    /// Of API keys.
    pub api_keys: ApiKeySettings,
    /// Applied and recorded where the store holds no policy set.
    pub first_policy_set: Vec<PolicyDocument>,
    /// The record.
    pub log: Log,
    /// The store's reading half; the writing half is the record's.
    pub reader: Reader,
    /// Limits.
    pub limits: Limits,
    /// Is told of everything that happens.
    pub observer: Observer,
    /// By what the rules of keys are timed.
    pub clock: Clock,
    /// Whom callers' own signatures of requests are for; none are taken where there is none.
    pub audience: Option<String>,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy set does not hold together.
    #[error("the {which} policy set is not valid: {errors}")]
    Policy {
        /// `first` (from the configuration) or `stored`.
        which: &'static str,
        /// What is wrong with it.
        #[source]
        errors: PolicyErrors,
    },
    /// Under the first policy set nobody could apply another.
    #[error(
        "under the first policy set no registered caller could apply another one; give a caller the role \
         policy-administrator, or permit the action ApplyPolicySet to one"
    )]
    Lockout,
    /// No caller is registered and none is configured.
    #[error(
        "nobody is registered, so nobody could call: declare the first callers as [[caller]] in the configuration, or \
         register the first operator with `chancery bootstrap`"
    )]
    NobodyRegistered,
    /// A ring's token is not configured.
    #[error("{ring} is on the token {token}, which is not configured")]
    NoSuchToken {
        /// The ring.
        ring: String,
        /// The token.
        token: Id,
    },
    /// The state is not the one that was sealed.
    #[error(transparent)]
    Refused(#[from] StateRefused),
    /// The state was sealed, and is to be taken without.
    #[error(
        "the state of this database is sealed, and the configuration wants it to be taken unchecked; give it the [system_ring] \
         that sealed it, and no `state_root = false` in [store]"
    )]
    Unsealing,
    /// The store or the record failed.
    #[error("the state cannot be brought up")]
    State(#[source] Error),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::State(error)
    }
}

impl Chancery {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`StartError`]; nothing was taken on.
    pub async fn start(assembly: Assembly) -> Result<Self, StartError> {
        let Assembly {
            instance,
            rings,
            tokens,
            callers,
            system_ring,
            anchor,
            checkpoints,
            retention,
            archive,
            api_keys,
            first_policy_set,
            log,
            reader,
            limits,
            observer,
            clock,
            audience,
        } = assembly;
        let archive_condition = Condition::default();
        let reader = match &archive {
            Some(ArchiveSettings { archive, .. }) => {
                reader.with_archive(Arc::new(Watched::new(archive.clone(), archive_condition.clone())))
            }
            None => reader,
        };
        let system_ring = system_ring.map(system_ring::ring);
        if let Some(ring) = rings.iter().chain(&system_ring).find(|ring| !tokens.contains_key(&ring.token)) {
            return Err(StartError::NoSuchToken { ring: ring.name.to_string(), token: ring.token.clone() });
        }
        let state = load(&reader).await?;
        if callers.is_empty() && state.callers.iter().all(|caller| caller.registration.is_none()) {
            return Err(StartError::NobodyRegistered);
        }
        let keeper = system_ring.as_ref().and_then(|ring| {
            let token = tokens.get(&ring.token)?.clone();
            let (log, reader, anchor) = (log.clone(), reader.clone(), anchor?);
            let archive = archive.as_ref().map(|settings| settings.archive.clone());
            Some(StateKeeper { token, token_id: ring.token.clone(), log, reader, anchor, archive })
        });
        let (standing, state_key, state) = hold_to_its_seal(keeper.as_ref(), &reader, state).await?;
        let may_change = standing.decides() || state.seal.is_none();
        let (epoch, callers) = take_callers(&log, state.epoch, state.callers, callers).await?;
        let callers = Arc::new(callers);
        let (epoch, policy, policy_row) = match state.policy_set {
            Some(row) if may_change => take_stored(&log, epoch, row, &callers).await?,
            // Until the state is checked it decides on little, and nothing is written by it.
            Some(row) => {
                let set = PolicySet::parse_in_force(policy_documents(&row.documents));
                (epoch, prepare("stored", set, &callers)?, row)
            }
            None => apply_first(&log, epoch, &first_policy_set, &callers).await?,
        };
        if !someone_can_apply(&policy, &callers.able()) {
            tracing::warn!("under the policy set in force no registered caller can apply another one");
        }
        let (keys, key_names) = Snapshot::keys_from_rows(state.keys, state.key_versions)?;
        let snapshot = Snapshot {
            epoch,
            keys,
            key_names,
            ring_states: ring_states(state.key_rings),
            policy: Arc::new(policy),
            policy_row: Arc::new(policy_row),
            callers,
            api_keys: Arc::new(ApiKeys::from_rows(state.api_keys)),
            checked: standing.decides(),
        };
        let checkpoints = match &system_ring {
            None => None,
            Some(_) => {
                let reader = reader.clone();
                let kept = crate::blocking(move || KeptForStart::read(&reader)).await?.map_err(Error::from)?;
                Some(Checkpoints::new(checkpoints, kept)?)
            }
        };
        let nonces = match audience {
            Some(_) => Nonces::new(Timestamp::now(), newest_time(&reader).await?),
            None => Nonces::new(Timestamp::now(), None),
        };
        let inner = Inner {
            instance,
            rings: rings.into_iter().map(|ring| (ring.name.ring.clone(), ring)).collect(),
            system_ring,
            tokens,
            limits,
            log,
            reader,
            listing: Arc::new(Semaphore::new(LISTING)),
            publishing: Arc::new(Semaphore::new(PUBLISHING)),
            browsing: Arc::new(Semaphore::new(BROWSING)),
            watching: Arc::new(Semaphore::new(WATCHING)),
            state: ArcSwap::from_pointee(snapshot),
            changing: tokio::sync::Mutex::new(()),
            in_flight: InFlight::default(),
            callers_in_flight: InFlight::default(),
            under_way: Arc::new(Semaphore::new(MOST_UNDER_WAY as usize)),
            denials: Arc::new(Denials::default()),
            observer,
            api_key_settings: api_keys,
            api_key_uses: Uses::new(state.api_key_uses),
            pepper: ArcSwapOption::empty(),
            deriving: tokio::sync::Mutex::new(()),
            keeper,
            state_key: ArcSwapOption::from_pointee(state_key),
            standing: watch::Sender::new(standing),
            checkpoints,
            retention,
            archive,
            archive_condition,
            clock,
            paces: Paces::default(),
            audience,
            nonces,
        };
        let chancery = Self { inner: Arc::new(inner) };
        let open = chancery.close_intents_that_a_crash_left().await?;
        chancery.hand_over_denials();
        if chancery.inner.standing.borrow().decides() {
            chancery.go_on(&open).await?;
        } else {
            chancery.check_the_state_later(open);
        }
        Ok(chancery)
    }

    /// What is done by the state, without anybody asking for it.
    async fn go_on(&self, open: &[OpenIntent]) -> Result<(), Error> {
        self.close_acts_that_a_crash_left(open).await?;
        self.derive_pepper_if_needed().await;
        self.keep_checkpoints().await;
        self.keep_schedule();
        self.keep_retention();
        self.keep_archive();
        Ok(())
    }

    /// Checks the state as soon as the token answers, and goes on then. Where it is not the one that was sealed, the record is
    /// closed: nothing is decided until the next start.
    fn check_the_state_later(&self, open: Vec<OpenIntent>) {
        let inner = Arc::downgrade(&self.inner);
        let mut health = self.inner.keeper.as_ref().map(|keeper| keeper.token.subscribe());
        tokio::spawn(async move {
            let mut told = Told::default();
            loop {
                crate::tokens::back_or_after(&mut health, CHECK_AGAIN_AFTER).await;
                let Some(inner) = inner.upgrade() else { return };
                let this = Self { inner };
                match this.check_the_state_now().await {
                    Ok(()) => {
                        tracing::info!("the state is the one that was sealed; calls are decided from now on");
                        if let Err(error) = this.go_on(&open).await {
                            tracing::error!(%error, "what a crash left is settled at the next start");
                        }
                        return;
                    }
                    // Tried again every few seconds, for as long as a token is away.
                    Err(Trouble::Away(failure)) if told.is_news(&failure) => {
                        tracing::warn!(%failure, "the state cannot be checked yet: its token does not answer");
                    }
                    Err(Trouble::Away(failure)) => {
                        tracing::debug!(%failure, "the state cannot be checked yet: its token does not answer");
                    }
                    Err(Trouble::Refused(refused)) => return this.inner.log.close(&refused.to_string()),
                    Err(Trouble::Failed(error @ Error::RecordClosed { .. })) => {
                        return tracing::error!(%error, "the state is checked at the next start");
                    }
                    Err(Trouble::Failed(error)) if told.is_news(&error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the state cannot be checked yet");
                    }
                    Err(Trouble::Failed(error)) => tracing::debug!(%error, "the state cannot be checked yet"),
                }
            }
        });
    }

    async fn check_the_state_now(&self) -> Result<(), Trouble> {
        let _no_change_under_way = self.inner.changing.lock().await;
        let Some(keeper) = &self.inner.keeper else { return Ok(()) };
        let (log, reader) = (&self.inner.log, &self.inner.reader);
        let (key, state) = keeper.take_up_and_load(&load(reader).await?).await?;
        self.inner.state_key.store(Some(Arc::new(key)));
        if let Some(row) = state.policy_set {
            let taken = take_stored(log, state.epoch, row, &self.snapshot().callers).await;
            taken.map_err(|error| Error::internal(format!("the policy set is not in force: {error}")))?;
        }
        // Before it is loaded: what is loaded decides by it.
        self.inner.standing.send_replace(StateStanding::Checked);
        Ok(self.reload().await?)
    }

    /// Hands refusals to the record once a second, as long as the service lives.
    fn hand_over_denials(&self) {
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(DENIAL_INTERVAL);
            loop {
                tick.tick().await;
                let Some(inner) = inner.upgrade() else { return };
                inner.denials.flush(&inner.log);
            }
        });
    }
}

/// The latest time among the newest records, if there are any. What is archived is old, and may be away.
async fn newest_time(reader: &Reader) -> Result<Option<Timestamp>, Error> {
    let reader = reader.clone();
    let leaves = move || {
        let first = reader.log_end()?.leaves.saturating_sub(NEWEST.into());
        reader.leaves(first.max(reader.archived()?), NEWEST)
    };
    let leaves: Vec<Vec<u8>> = crate::blocking(leaves).await??;
    // What cannot be read is found by those who read the log; it has no time.
    Ok(leaves.iter().filter_map(|leaf| Leaf::decode(leaf).ok()).map(|leaf| leaf.time).max())
}

async fn load(reader: &Reader) -> Result<State, Error> {
    let reader = reader.clone();
    let state = crate::blocking(move || reader.load_state()).await?;
    Ok(state?)
}

/// The state as it is once it is held to its seal, if it can be.
async fn hold_to_its_seal(
    keeper: Option<&StateKeeper>,
    reader: &Reader,
    state: State,
) -> Result<(StateStanding, Option<StateKey>, State), StartError> {
    let Some(keeper) = keeper else {
        let unsealed = state.seal.is_none();
        return if unsealed { Ok((StateStanding::NotSealed, None, state)) } else { Err(StartError::Unsealing) };
    };
    match keeper.take_up_and_load(&state).await {
        Ok((key, state)) => Ok((StateStanding::Checked, Some(key), state)),
        Err(Trouble::Away(failure)) => {
            tracing::error!(
                token = %keeper.token_id, %failure,
                "the state cannot be checked, because the token of the system ring does not answer: calls are refused until it does"
            );
            Ok((StateStanding::Unchecked { why: failure.to_string() }, None, load(reader).await?))
        }
        Err(Trouble::Refused(refused)) => Err(refused.into()),
        Err(Trouble::Failed(error)) => Err(error.into()),
    }
}
