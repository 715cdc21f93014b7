//! A token as the service sees it.

mod attempts;
mod control;
mod dispatch;
mod lane;
pub(crate) mod launch;
mod mac;
mod progress;
mod random;
mod sign;
mod supervisor;

use crate::wire::{ControlReply, ControlRequest, TokenFacts, WireKey, algorithm_index};
use crate::{
    GeneratedKey, HsmError, HsmErrorKind, HsmFailure, KeyPresence, MacKey, MissingMechanism, ORDERLY_GRACE, SigningKey,
    TokenHealth, TokenObject, TokenSettings, TokenStatus, WorkerCommand,
};
use chancery_crypto::PublicKey;
use chancery_model::{Algorithm, Uid};
use control::ControlJob;
use dispatch::Dispatch;
use lane::{LaneSet, Stall};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use supervisor::Event;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// Control requests that may wait in the service.
const CONTROL_QUEUE: usize = 64;

/// A worker that asks for a successor gets one at most this often: a token whose every call fails is not helped by
/// a login every second.
const REPLACEMENT_INTERVAL: Duration = Duration::from_secs(30);

/// One token, held by a worker process that is replaced whenever it must be. Cheap to clone; when the last clone is
/// dropped, the token is let go.
#[derive(Clone)]
pub struct Token {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<ControlJob>,
    _guard: Arc<LetGo>,
}

/// What a token's handles and its supervisor share.
struct Shared {
    settings: TokenSettings,
    worker: WorkerCommand,
    dispatch: Dispatch,
    events: mpsc::UnboundedSender<Event>,
    health: watch::Sender<TokenHealth>,
    done: watch::Sender<bool>,
    facts: RwLock<TokenFacts>,
    /// 0: none.
    pid: AtomicU32,
    restarts: AtomicU64,
    sessions_open: AtomicU64,
    /// The worker does something that a kill could turn into damage.
    delicate: AtomicBool,
    last_replacement: Mutex<Option<Instant>>,
}

impl Shared {
    fn tell(&self, event: Event) {
        // Without a supervisor there is nothing left to do.
        let _gone = self.events.send(event);
    }

    /// A worker asks to be replaced. Its lanes close at once, so that a retry waits for the next one.
    fn replace_on_request(&self, generation: u64, reason: &str) {
        {
            let mut last = self.last_replacement.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| last.elapsed() < REPLACEMENT_INTERVAL) {
                return;
            }
            *last = Some(Instant::now());
        }
        self.replace(generation, reason);
    }

    fn replace(&self, generation: u64, reason: &str) {
        // Told first: closing the lanes is noticed as well, and would be taken for the worker's doing.
        self.tell(Event::Replace(generation, reason.to_owned()));
        if let Some(lanes) = self.dispatch.lanes().filter(|lanes| lanes.generation == generation) {
            lanes.close();
        }
    }

    /// A call overran its deadline: finds out whether its worker hangs, and if so replaces it.
    fn suspect(self: &Arc<Self>) {
        let Some(lanes) = self.dispatch.lanes() else { return };
        if !lanes.begin_suspicion() {
            return;
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                match lanes.stall() {
                    Stall::No => break,
                    Stall::LookAgain(at) => sleep_until(at).await,
                    Stall::Hung => {
                        shared.replace(lanes.generation, "a call overran its deadline and its lane is silent");
                        break;
                    }
                }
            }
            LaneSet::end_suspicion(&lanes);
        });
    }
}

/// Lets the token go when the last handle is dropped.
struct LetGo(mpsc::UnboundedSender<Event>);

impl Drop for LetGo {
    fn drop(&mut self) {
        // A supervisor that is gone already has let go.
        let _gone = self.0.send(Event::Stop);
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.shared.settings.id)
            .field("label", &self.shared.settings.label)
            .finish()
    }
}

impl Token {
    /// Takes a token: starts its first worker, which gets the lock (waiting a few seconds for a predecessor that
    /// drains), finds the token, logs in and finds out what it offers.
    ///
    /// # Errors
    /// [`HsmError`] says what is wrong: no such token, another holder, a refused PIN (which is never tried again), a
    /// module that does not load.
    pub async fn start(settings: TokenSettings, worker: WorkerCommand) -> Result<Self, HsmError> {
        let (events, received) = mpsc::unbounded_channel();
        let (jobs, control) = mpsc::channel(CONTROL_QUEUE);
        let shared = Arc::new(Shared {
            dispatch: Dispatch::new(settings.queue_limit),
            events: events.clone(),
            health: watch::Sender::new(TokenHealth::Starting),
            done: watch::Sender::new(false),
            facts: RwLock::new(TokenFacts::default()),
            pid: AtomicU32::new(0),
            restarts: AtomicU64::new(0),
            sessions_open: AtomicU64::new(0),
            delicate: AtomicBool::new(false),
            last_replacement: Mutex::new(None),
            settings,
            worker,
        });
        let live = supervisor::start_worker(&shared, 1).await?;
        tokio::spawn(supervisor::supervise(Arc::clone(&shared), live, received, control));
        Ok(Self { shared, jobs, _guard: Arc::new(LetGo(events)) })
    }

    /// Makes a key whose objects all have the CKA_ID `uid`, reads it back, and has it prove itself on a random challenge.
    /// A key is a pair or, for MACs, a secret. Keys are made one at a time, and signing goes on meanwhile. Never retried: after a failure of another kind
    /// than [`HsmErrorKind::Configuration`] or [`HsmErrorKind::KeyAmbiguous`], ask [`Token::inspect`] what is there.
    ///
    /// # Errors
    /// [`HsmFailure`]; also where the key's attributes are not as demanded, in which case the key has been
    /// destroyed.
    pub async fn generate(
        &self,
        uid: Uid,
        label: &str,
        algorithm: Algorithm,
        deadline: Instant,
    ) -> Result<GeneratedKey, HsmFailure> {
        self.offers(algorithm).map_err(|missing| HsmFailure::new(HsmErrorKind::Configuration, missing.to_string()))?;
        let request = ControlRequest::Generate {
            uid: *uid.as_bytes(),
            label: label.to_owned(),
            algorithm: algorithm_index(algorithm),
        };
        let key = match self.control(request, deadline).await? {
            ControlReply::Key(key) => generated(key),
            _ => return Err(unexpected()),
        };
        match self.prove(&key, algorithm, deadline).await {
            Ok(()) => Ok(key),
            Err(failure) => {
                // The caller's time may be over; the key must go all the same.
                let gone = self.destroy(uid, Instant::now() + ORDERLY_GRACE).await;
                // While the key may still be there, no kind may say that nothing was left.
                let (kind, after) = match gone {
                    Ok(_) => (failure.kind, "it was destroyed".to_owned()),
                    Err(second) => (HsmErrorKind::OutcomeUnknown, format!("destroying it failed: {second}")),
                };
                let message = format!("the new key {uid} did not prove itself: {}; {after}", failure.message);
                Err(HsmFailure { kind, message, ..failure })
            }
        }
    }

    /// Finds out what the token holds under a CKA_ID. A key that is whole has also proved itself on a
    /// random challenge.
    ///
    /// # Errors
    /// [`HsmFailure`] where the token could not say.
    pub async fn inspect(&self, uid: Uid, algorithm: Algorithm, deadline: Instant) -> Result<KeyPresence, HsmFailure> {
        let request = ControlRequest::Inspect { uid: *uid.as_bytes(), algorithm: algorithm_index(algorithm) };
        let reply = match self.control(request, deadline).await {
            Err(failure) if speaks_of_the_key(&failure) => return Ok(KeyPresence::Unfit { why: failure.message }),
            reply => reply?,
        };
        match reply {
            ControlReply::Key(key) => {
                let key = generated(key);
                match self.prove(&key, algorithm, deadline).await {
                    Ok(()) => Ok(KeyPresence::Complete(key)),
                    Err(failure) if speaks_of_the_key(&failure) => Ok(KeyPresence::Unfit { why: failure.message }),
                    Err(failure) => Err(failure),
                }
            }
            ControlReply::Incomplete { private: 0, public: 0, secret: 0 } => Ok(KeyPresence::Absent),
            ControlReply::Incomplete { private, public, secret } => {
                let (private, public, secret) = (count(private), count(public), count(secret));
                Ok(KeyPresence::Partial { private, public, secret })
            }
            _ => Err(unexpected()),
        }
    }

    /// Destroys every key object with a CKA_ID and checks that none is left. Returns how many there were.
    ///
    /// # Errors
    /// [`HsmFailure`]; some of the objects may be gone then.
    pub async fn destroy(&self, uid: Uid, deadline: Instant) -> Result<usize, HsmFailure> {
        match self.control(ControlRequest::Destroy { uid: *uid.as_bytes() }, deadline).await? {
            ControlReply::Destroyed(destroyed) => Ok(count(destroyed)),
            _ => Err(unexpected()),
        }
    }

    /// Lists all private, public and secret key objects of the token, whoever made them.
    ///
    /// # Errors
    /// [`HsmFailure`]
    pub async fn list(&self, deadline: Instant) -> Result<Vec<TokenObject>, HsmFailure> {
        match self.control(ControlRequest::List, deadline).await? {
            ControlReply::Objects(objects) => Ok(objects),
            _ => Err(unexpected()),
        }
    }

    /// Whether the token has the mechanisms and makes the keys that an algorithm needs, as found out when its
    /// worker started.
    ///
    /// # Errors
    /// [`MissingMechanism`] says which token lacks what.
    pub fn offers(&self, algorithm: Algorithm) -> Result<(), MissingMechanism> {
        let settings = &self.shared.settings;
        match self.facts(|facts| facts.missing(algorithm)) {
            None => Ok(()),
            Some(missing) => {
                let (token, label) = (settings.id.clone(), settings.label.clone());
                Err(MissingMechanism { token, label, algorithm, missing })
            }
        }
    }

    /// The token as it is now; asks nobody.
    #[must_use]
    pub fn status(&self) -> TokenStatus {
        let shared = &self.shared;
        let facts = self.facts(TokenFacts::clone);
        let algorithms = Algorithm::ALL.into_iter().filter(|algorithm| facts.missing(*algorithm).is_none()).collect();
        let pid = shared.pid.load(Ordering::Relaxed);
        TokenStatus {
            id: shared.settings.id.clone(),
            label: facts.label,
            serial: facts.serial,
            manufacturer: facts.manufacturer,
            model: facts.model,
            firmware_version: facts.firmware_version,
            hardware_version: facts.hardware_version,
            health: shared.health.borrow().clone(),
            worker_pid: (pid != 0).then_some(pid),
            restarts: shared.restarts.load(Ordering::Relaxed),
            sessions_open: if pid == 0 { 0 } else { shared.sessions_open.load(Ordering::Relaxed) },
            sessions_max: facts.sessions_max,
            mechanisms: facts.mechanisms.into_iter().map(|mechanism| mechanism.name).collect(),
            algorithms,
            signing_threads: usize::try_from(facts.lanes).unwrap_or(usize::MAX),
            in_flight: shared.dispatch.in_flight(),
            queued: shared.dispatch.queued(),
        }
    }

    /// Follows the token's health.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<TokenHealth> {
        self.shared.health.subscribe()
    }

    /// Lets the token go: takes no further calls, answers those that it has (up to ten seconds), then lets the worker
    /// drain and leave. A worker that does not leave in time is killed, later than otherwise if it may be writing to
    /// the token.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        let mut done = shared.done.subscribe();
        shared.dispatch.refuse(HsmFailure::new(HsmErrorKind::Stopping, "the token is being let go"));
        let drained = async {
            while shared.dispatch.queued() + shared.dispatch.in_flight() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(ORDERLY_GRACE, drained).await.is_err() {
            tracing::warn!(token = %shared.settings.id, "letting the token go with calls unanswered");
        }
        shared.tell(Event::Stop);
        // An error means that the sender is gone, and we hold it.
        let _always = done.wait_for(|done| *done).await;
    }

    /// Has a key show on a random challenge that it works: a pair signs it, and that is verified in software; a secret
    /// makes a MAC, which the token recognises, and which it no longer does when a bit is flipped.
    async fn prove(&self, key: &GeneratedKey, algorithm: Algorithm, deadline: Instant) -> Result<(), HsmFailure> {
        let refused = |message| HsmFailure { attempts: 1, ..HsmFailure::new(HsmErrorKind::Configuration, message) };
        let mut challenge = chancery_crypto::random_bytes::<32>()
            .map_err(|error| HsmFailure::new(HsmErrorKind::Bug, format!("no random bytes for a challenge: {error}")))?;
        let Some(spki_der) = &key.spki_der else {
            let key = MacKey { uid: key.uid, algorithm };
            let mac = self.mac(&key, &challenge, deadline).await?;
            let right = self.verify_mac(&key, &challenge, &mac.bytes, deadline).await?;
            challenge[0] ^= 1;
            let wrong = self.verify_mac(&key, &challenge, &mac.bytes, deadline).await?;
            return match (right.valid, wrong.valid) {
                (true, false) => Ok(()),
                (false, _) => Err(refused("the token does not recognise a MAC that it has made".to_owned())),
                (true, true) => Err(refused("the token takes a MAC for that of another message, too".to_owned())),
            };
        };
        let public = PublicKey::from_spki_der(algorithm, spki_der)
            .map_err(|error| refused(format!("the token shows a public key that is none for {algorithm}: {error}")))?;
        let key = SigningKey { uid: key.uid, public };
        self.sign(&key, crate::SignInput::Message(&challenge), deadline).await.map(|_| ())
    }

    async fn control(&self, request: ControlRequest, deadline: Instant) -> Result<ControlReply, HsmFailure> {
        if let Some(refusal) = self.shared.dispatch.refusal() {
            return Err(refusal);
        }
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(ControlJob { request, deadline, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                HsmFailure::new(HsmErrorKind::Overloaded, "too many requests to make or list keys wait for this token")
            }
            mpsc::error::TrySendError::Closed(_) => {
                HsmFailure::new(HsmErrorKind::Stopping, "the token has been let go")
            }
        })?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_closed)) => {
                let message = "the worker process ended in the middle of the request; what the token did is unknown";
                Err(HsmFailure { attempts: 1, ..HsmFailure::new(HsmErrorKind::WorkerLost, message) })
            }
            Err(_elapsed) => {
                let message = "the token did not answer by the deadline; what it did is unknown";
                Err(HsmFailure { attempts: 1, ..HsmFailure::new(HsmErrorKind::Deadline, message) })
            }
        }
    }

    fn facts<T>(&self, read: impl FnOnce(&TokenFacts) -> T) -> T {
        read(&self.shared.facts.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn generated(key: WireKey) -> GeneratedKey {
    GeneratedKey { uid: Uid::from_bytes(key.uid), spki_der: key.spki_der, attributes: key.attributes }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Whether a failure is the key's own: asking again will not make it another one.
const fn speaks_of_the_key(failure: &HsmFailure) -> bool {
    matches!(
        failure.kind,
        HsmErrorKind::Configuration | HsmErrorKind::Bug | HsmErrorKind::KeyAmbiguous | HsmErrorKind::WrongSignature
    )
}

fn unexpected() -> HsmFailure {
    HsmFailure::new(HsmErrorKind::Bug, "the worker answered something else than it was asked")
}
