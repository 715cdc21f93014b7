//! The use cases of Chancery, one file each: authorise, then record, then act.
//!
//! In scope: the rules of the product; the order in which policy, the record and the tokens are asked; the state that
//! decisions are made from. Out of scope: how calls arrive and how errors are worded for them (server), SQL (store),
//! Cedar (policy), PKCS#11 (hsm), the record's encoding (audit), public-key encodings (crypto).
//!
//! The caller is the first argument of every use case. Nothing reaches a token without a [`chancery_policy::Permit`] and
//! a [`chancery_audit::Recorded`], which only policy and the record can make; the private functions that ask a token
//! (`sign::asking::ask_token`, `generate::ask_token`, `adopt::ask_for_proof`, those of `mac`, `latch::try_login`) take
//! them by value. What a key's rules ask for needs no permit (it was permitted when the rule was laid down), but a value
//! that only `schedule` can make. The service's own secrets, in a ring that no caller reaches, are made and used on record,
//! too (`system_ring`, `state_root`); the key that signs the log signs what only `checkpoints` can make.

mod access;
mod adopt;
mod api_keys;
mod archive;
mod authorize;
mod batch;
mod callers;
mod certificates;
mod change;
mod checkpoints;
mod clock;
mod denials;
mod destruction;
mod details;
mod error;
mod evidence;
mod explain;
mod freeze;
mod generate;
mod health;
mod inflight;
mod inventory;
mod jwks;
mod jwt;
mod keys;
mod latch;
mod mac;
mod observe;
mod pace;
mod paging;
mod policies;
mod proofs;
mod public_key;
mod random;
mod receipts;
mod records;
mod registry;
mod replay;
mod requester;
mod retention;
mod rings;
mod rotation;
mod rules;
mod schedule;
mod sign;
mod start;
mod state;
mod state_root;
mod sweep;
mod system_ring;
mod tokens;
mod told;
mod transitions;
mod update;
mod usage;
mod verify;
mod versions;
mod watch;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use chancery_audit::Log;
use chancery_hsm::Token;
use chancery_model::{Caller, Id, Rate};
use chancery_store::Reader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

pub use access::{AccessPage, AccessPlace, AccessQuestion, EffectiveAccess, ReviewedResource};
pub use adopt::AdoptKey;
pub use api_keys::{
    ApiKeyCensus, ApiKeyEntry, ApiKeyName, ApiKeySettings, ApiKeyState, ApiKeyView, IssueApiKey, IssuedApiKey,
    RotateApiKey,
};
pub use archive::{ArchiveSettings, ArchiveStanding, ArchiveTrouble};
pub use callers::{
    Bearer, BootstrapError, CallerChange, CallerDeclaration, LimitChanges, NewCaller, SuspendedCaller, Unidentified,
    bootstrap,
};
pub use certificates::{CertificateRequest, CertificateRequestAnswer};
/// What the log serves, by its path.
pub use chancery_audit::tree::Resource as LogResource;
pub use checkpoints::{
    CheckpointSettings, CheckpointStanding, CheckpointTrouble, LogKey, NewestCheckpoint, WitnessStanding,
    WitnessTrouble, kept_log_keys,
};
pub use clock::Clock;
pub use error::{Error, Limited};
pub use evidence::{CallerSignature, ClientCertificate, EvidenceFault};
pub use explain::{ExplainRequest, ExplainResource, HypotheticalJwt, HypotheticalRegistration};
pub use freeze::FrozenRing;
pub use health::{Health, HealthChanges};
pub use jwks::KeySetOf;
pub use jwt::{DEFAULT_MAX_JWT_LIFETIME, LONGEST_JWT_LIFETIME, SignJwtAnswer, SignJwtRequest};
pub use keys::{CreateKey, KeyOrVersion};
pub use mac::{MacSignAnswer, MacSignRequest, MacVerifyAnswer, MacVerifyRequest};
pub use observe::{Observation, Observer};
pub use paging::Page;
pub use policies::{PolicyCheck, PolicySetView};
pub use proofs::{LogCheckpoint, LogProof};
pub use receipts::{NoReceipt, ReceiptAnswer};
pub use registry::CallerEntry;
pub use replay::{ChangedDecision, Replayed};
pub use requester::{Held, Requester};
pub use retention::{ErasedOfCaller, Retention, erase_details_of};
pub use rings::{Ring, RingView};
pub use rotation::RotateKey;
pub use rules::RuleChanges;
pub use schedule::{Due, ScheduleReport};
pub use sign::{Input, SignAnswer, SignRequest};
pub use start::{Assembly, StartError};
pub use state::{KeyEntry, VersionEntry};
pub use state_root::{
    Expected, InvalidExpected, LostKey, RowFinding, StateDesk, StateError, StateRefusal, StateRefused, StateReport,
    StateStanding, Tampering,
};
pub use system_ring::SYSTEM_RING;
pub use tokens::TokenView;
pub use transitions::{DEFAULT_DESTRUCTION_GRACE, Stopped};
pub use update::UpdateKey;
pub use usage::{CallerView, KeyView};
pub use verify::{Verdict, VerifyAnswer, VerifyRequest};
pub use watch::{RecordChunk, RecordWatch};

use api_keys::{Pepper, Uses};
use checkpoints::Checkpoints;
use denials::Denials;
use evidence::Nonces;
use inflight::InFlight;
use pace::Paces;
use state::Snapshot;
use state_root::{StateKeeper, StateKey};

/// The office: everything that a call needs. Cheap to clone.
#[derive(Clone)]
pub struct Chancery {
    inner: Arc<Inner>,
}

struct Inner {
    instance: Id,
    /// Those of callers.
    rings: BTreeMap<Id, Ring>,
    /// The one that holds the service's own secrets, where one is configured.
    system_ring: Option<Ring>,
    tokens: BTreeMap<Id, Token>,
    limits: Limits,
    log: Log,
    reader: Reader,
    /// Places for those who list the record, and for those who follow it or take proofs and receipts: together fewer than the
    /// store has readers, so that who reads much never keeps the state from being loaded.
    listing: Arc<Semaphore>,
    /// Places for those who decide on all keys of a ring at once, or review access; and for those who list keys or callers, each
    /// of which is decided on: not as long as those, and not behind them.
    publishing: Arc<Semaphore>,
    browsing: Arc<Semaphore>,
    watching: Arc<Semaphore>,
    state: ArcSwap<Snapshot>,
    /// Held while the state is changed or loaded: one change at a time.
    changing: tokio::sync::Mutex<()>,
    /// By key version.
    in_flight: InFlight,
    /// By caller.
    callers_in_flight: InFlight,
    /// A place for each call that is being carried out.
    under_way: Arc<Semaphore>,
    denials: Arc<Denials>,
    observer: Observer,
    api_key_settings: ApiKeySettings,
    api_key_uses: Uses,
    /// The key under which API keys are hashed; none until it has been derived in the device.
    pepper: ArcSwapOption<Pepper>,
    /// Held while it is derived.
    deriving: tokio::sync::Mutex<()>,
    /// Holds the state to its seal; none where no system ring is configured.
    keeper: Option<StateKeeper>,
    /// The key that the state is sealed with; none until it has been derived in the device.
    state_key: ArcSwapOption<StateKey>,
    standing: tokio::sync::watch::Sender<StateStanding>,
    /// Signs the log; none where no system ring is configured.
    checkpoints: Option<Checkpoints>,
    retention: Retention,
    archive: Option<ArchiveSettings>,
    archive_condition: archive::Condition,
    clock: Clock,
    paces: Paces,
    /// Whom callers' own signatures of requests are for; none are taken where there is none.
    audience: Option<String>,
    nonces: Nonces,
}

/// How many may read lists of records from the store at the same time, which may take long; and chunks, which do not.
const LISTING: usize = 2;
const WATCHING: usize = 1;
/// How many may decide on much at the same time, and on one page of a list after the other: the cores are for signing.
const PUBLISHING: usize = 2;
const BROWSING: usize = 2;
/// How many calls can be carried out at once: far more than the server lets in.
const MOST_UNDER_WAY: u32 = 1 << 20;
/// How long a shutdown waits for calls whose callers have gone; as long as a token may take for a slow key pair.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(30);

/// What the use cases allow themselves and their callers.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a suspension waits for the intents that were recorded before it.
    pub suspend_wait: Duration,
    /// Length of the longest message that Sign and Verify take, in bytes.
    pub max_message_bytes: usize,
    /// How many items a batch may have.
    pub max_batch_items: usize,
    /// How long all receipts of an answer may be together, in bytes.
    pub max_receipt_bytes: usize,
    /// How often the rules of keys are looked at.
    pub schedule_interval: Duration,
    /// How fast a caller goes that has no rate of its own.
    pub caller_rate: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            suspend_wait: Duration::from_secs(5),
            max_message_bytes: 1 << 20,
            max_batch_items: 256,
            max_receipt_bytes: 3 << 20,
            schedule_interval: Duration::from_secs(1),
            caller_rate: None,
        }
    }
}

impl Chancery {
    /// The caller of this id.
    #[must_use]
    pub fn caller(&self, id: &Id) -> Option<Arc<Caller>> {
        self.snapshot().callers.by_id(id)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.state.load_full()
    }

    /// Ends what is under way and closes: calls whose callers have gone are carried out (for a while), refusals and
    /// outcomes are written, the record is closed, the tokens are released. No new calls may arrive any more.
    pub async fn shutdown(&self) {
        let all_ended = self.inner.under_way.acquire_many(MOST_UNDER_WAY);
        if tokio::time::timeout(SHUTDOWN_PATIENCE, all_ended).await.is_err() {
            tracing::warn!("calls are still being carried out; the next start records what became of them");
        }
        self.inner.denials.flush_all(&self.inner.log);
        self.inner.log.note_api_key_uses(self.inner.api_key_uses.unwritten());
        self.sign_last_checkpoint().await;
        self.inner.log.shutdown().await;
        for token in self.inner.tokens.values() {
            token.shutdown().await;
        }
    }

    /// Runs what must not stop half-way on a task of its own: a caller who goes away, or whose deadline passes, takes
    /// back neither an intent that is recorded nor a change that is committed. A shutdown waits for it. What the call holds
    /// ([`Held`]) goes with the requester into `work`, and is given back when that has ended.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let place = Arc::clone(&self.inner.under_way).try_acquire_owned().or(Err(Error::Overloaded))?;
        let work = async move {
            let result = work.await;
            drop(place);
            result
        };
        // In the caller's trace, although no longer in his hands.
        let task = tokio::spawn(work.in_current_span());
        task.await.unwrap_or_else(|error| Err(Error::internal(format!("the call was not completed: {error}"))))
    }
}

/// Waits for one of a few places.
///
/// # Errors
/// [`Error::DeadlineExceeded`] where there is none before the deadline.
async fn place_in(places: &Arc<Semaphore>, deadline: Instant) -> Result<OwnedSemaphorePermit, Error> {
    let place = timeout_at(deadline, Arc::clone(places).acquire_owned()).await;
    let place = place.map_err(|_elapsed| Error::DeadlineExceeded { record_index: None })?;
    place.map_err(|closed| Error::internal(closed.to_string()))
}

/// Runs what may take long in its place, on no thread that serves calls. It goes on, and keeps the place, also where nobody
/// waits for it any more.
async fn blocking_in<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    blocking(move || {
        let _place = place;
        work()
    })
    .await
}

/// Runs reading from the store where it may block. Never on the signing path.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("a read was not completed: {error}")))
}
