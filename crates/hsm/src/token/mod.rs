//! A token as the service sees it.

mod attempts;
mod breaker;
mod control;
mod dispatch;
mod keys;
mod lane;
mod lanes;
pub(crate) mod launch;
mod mac;
mod progress;
mod queue;
mod random;
mod shared;
mod sign;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod trouble;
mod vitals;

use crate::wire::{ControlReply, ControlRequest, TokenFacts};
use crate::{
    ClearLatchError, FIRST_START_PATIENCE, Flow, HealthCause, HsmError, HsmErrorKind, HsmFailure, MissingMechanism,
    ORDERLY_GRACE, Pin, TokenHealth, TokenSettings, TokenState, TokenStatus, WorkerCommand,
};
use chancery_model::Algorithm;
use control::ControlJob;
use shared::Shared;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use supervisor::{Event, First, Insistence};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Control requests that may wait in the service.
const CONTROL_QUEUE: usize = 64;

/// One token, held by a worker process that is replaced whenever it must be. Cheap to clone; when the last clone is
/// dropped, the token is let go.
#[derive(Clone)]
pub struct Token {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<ControlJob>,
    _guard: Arc<LetGo>,
    /// In whose turn what is asked through this handle waits.
    flow: Flow,
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
        let (token, started) = Self::begin(settings, worker, Insistence::First);
        match started.await {
            Ok(result) => result.map(|()| token),
            Err(_gone) => Err(token.ended()),
        }
    }

    /// The same for a service that has other tokens, too: a token that is away, is held by another process, or has
    /// refused its PIN is taken all the same, and its health says so. It is tried again and again, except for its PIN. A
    /// module that takes its time is waited for ten seconds, and goes on starting afterwards.
    ///
    /// # Errors
    /// [`HsmError`] where the settings are wrong, so that waiting would not help: a module that cannot be loaded, a label
    /// that several tokens have, a lock directory that cannot be used.
    pub async fn hold(settings: TokenSettings, worker: WorkerCommand) -> Result<Self, HsmError> {
        let (token, started) = Self::begin(settings, worker, Insistence::OnSettings);
        match timeout(FIRST_START_PATIENCE, started).await {
            Ok(Ok(result)) => result.map(|()| token),
            Ok(Err(_gone)) => Err(token.ended()),
            Err(_elapsed) => Ok(token),
        }
    }

    fn begin(
        settings: TokenSettings,
        worker: WorkerCommand,
        insistence: Insistence,
    ) -> (Self, oneshot::Receiver<Result<(), HsmError>>) {
        let (events, received) = mpsc::unbounded_channel();
        let (jobs, control) = mpsc::channel(CONTROL_QUEUE);
        let shared = Arc::new(Shared::new(settings, worker, events.clone()));
        let (first, started) = oneshot::channel();
        tokio::spawn(supervisor::supervise(Arc::clone(&shared), First { first, insistence }, received, control));
        (Self { shared, jobs, _guard: Arc::new(LetGo(events)), flow: Flow::OWN }, started)
    }

    /// The same token, asked on behalf of a flow: where calls wait, flows take turns, and none has the whole queue. What is
    /// asked through a handle that was not made so is the service's own.
    #[must_use]
    pub fn in_flow(mut self, flow: Flow) -> Self {
        self.flow = flow;
        self
    }

    fn ended(&self) -> HsmError {
        HsmError::new(HsmErrorKind::Stopping, format!("token {} has been let go", self.shared.settings.id))
    }

    /// Tries one login on a token that has refused its PIN, with the PIN as its file has it now. Only where the token
    /// takes it is the refusal forgotten; otherwise the token stays latched, and the next attempt needs another call. For an
    /// operator who has put the PIN right: too many attempts lock a token for good.
    ///
    /// # Errors
    /// [`ClearLatchError`].
    pub async fn clear_pin_latch(&self) -> Result<(), ClearLatchError> {
        let shared = &self.shared;
        if shared.health().state != TokenState::Latched {
            return Err(ClearLatchError::NotLatched);
        }
        if let Some(file) = &shared.settings.pin_file {
            shared.set_pin(Pin::read_file(file)?);
        }
        let (reply, tried) = oneshot::channel();
        shared.tell(Event::ClearLatch(reply));
        tried.await.unwrap_or_else(|_gone| {
            let failure = HsmFailure::new(HsmErrorKind::Stopping, "the token is being let go");
            Err(ClearLatchError::Failed(failure))
        })
    }

    /// Whether the token has the mechanisms and makes the keys that an algorithm needs, as found out when its
    /// worker started.
    ///
    /// # Errors
    /// [`MissingMechanism`] says which token lacks what.
    pub fn offers(&self, algorithm: Algorithm) -> Result<(), MissingMechanism> {
        let settings = &self.shared.settings;
        // Of a token that no worker has held yet nobody knows; it says itself that it is away.
        match self.shared.facts(|facts| facts.and_then(|facts| facts.missing(algorithm))) {
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
        let settings = &shared.settings;
        let facts = shared.facts(|facts| facts.cloned());
        let seen = facts.is_some();
        let facts = facts.unwrap_or_else(|| TokenFacts {
            label: settings.label.clone(),
            serial: settings.serial.clone().unwrap_or_default(),
            ..TokenFacts::default()
        });
        let offered = |algorithm: &Algorithm| seen && facts.missing(*algorithm).is_none();
        let algorithms = Algorithm::ALL.into_iter().filter(offered).collect();
        let pid = shared.pid.load(Ordering::Relaxed);
        let vitals = shared.vitals().filter(|_| pid != 0);
        TokenStatus {
            id: settings.id.clone(),
            label: facts.label,
            serial: facts.serial,
            manufacturer: facts.manufacturer,
            model: facts.model,
            firmware_version: facts.firmware_version,
            hardware_version: facts.hardware_version,
            health: shared.health(),
            next_attempt: shared.next_attempt(),
            worker_pid: (pid != 0).then_some(pid),
            restarts: shared.restarts.load(Ordering::Relaxed),
            replacements_held_back: shared.held_back.load(Ordering::Relaxed),
            worker_memory_bytes: vitals.map(|vitals| vitals.memory_bytes),
            worker_memory_limit_bytes: settings.max_worker_memory_bytes,
            worker_threads: vitals.map(|vitals| vitals.threads),
            sessions_open: if pid == 0 { 0 } else { shared.sessions_open.load(Ordering::Relaxed) },
            sessions_max: facts.sessions_max,
            mechanisms: facts.mechanisms.into_iter().map(|mechanism| mechanism.name).collect(),
            algorithms,
            signing_threads: shared.dispatch.lanes().map_or(0, |lanes| lanes.with_session()),
            signing_threads_configured: settings.signing_threads,
            in_flight: shared.dispatch.in_flight(),
            queued: shared.dispatch.queued(),
        }
    }

    /// Whether a request of the worker to be replaced would be held back now, because one was granted a moment ago.
    #[must_use]
    pub fn breaker_is_open(&self) -> bool {
        self.shared.breaker_is_open()
    }

    /// How many flows have calls that wait for a lane.
    #[must_use]
    pub fn flows_waiting(&self) -> usize {
        self.shared.dispatch.flows_waiting()
    }

    /// Refuses where a call would be refused at once, since no worker can take the token. Asks nobody.
    ///
    /// # Errors
    /// [`HsmFailure`], as the call would end.
    pub fn check_taking_calls(&self) -> Result<(), HsmFailure> {
        self.shared.dispatch.refusal().map_or(Ok(()), Err)
    }

    /// How often the token has come into each state, and for which cause, since the service took it.
    #[must_use]
    pub fn transitions(&self) -> Vec<(TokenState, Option<HealthCause>, u64)> {
        self.shared.transitions().into_iter().map(|((state, cause), times)| (state, cause, times)).collect()
    }

    /// Follows the token's health.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<TokenHealth> {
        self.shared.subscribe()
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

    /// Waits until no worker could take the token. That it is being let go is no such thing: what is under way is answered.
    async fn refused(&self) -> HsmFailure {
        let mut health = self.subscribe();
        loop {
            if let Some(refusal) = self.shared.dispatch.refusal().filter(|why| why.kind != HsmErrorKind::Stopping) {
                return refusal;
            }
            if health.changed().await.is_err() {
                // Nothing changes any more, and what waits is told by its own end.
                return std::future::pending().await;
            }
        }
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
        // Whoever waits for a worker that does not come is told why, as those are who wait for a lane.
        let answer = tokio::select! {
            biased;
            answer = timeout_at(deadline, answer) => answer,
            refusal = self.refused() => return Err(refusal),
        };
        match answer {
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
}
