//! What a token's handles and its supervisor share.

use super::breaker::Breaker;
use super::dispatch::Dispatch;
use super::lanes::{LaneSet, Stall};
use super::state::{Conditions, Happening, Standing, after};
use super::supervisor::Event;
use super::trouble::Trouble;
use super::vitals::Vitals;
use crate::wire::TokenFacts;
use crate::{HealthCause, HsmErrorKind, Pin, TokenHealth, TokenSettings, TokenState, WorkerCommand};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How often a token came into each state, and for which cause.
pub(super) type Transitions = BTreeMap<(TokenState, Option<HealthCause>), u64>;

pub(super) struct Shared {
    pub(super) settings: TokenSettings,
    pub(super) worker: WorkerCommand,
    pub(super) dispatch: Dispatch,
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// Never looked into where `state` may be waited for: what happens to the token takes that first.
    health: watch::Sender<TokenHealth>,
    pub(super) done: watch::Sender<bool>,
    /// What the last worker learned; `None` before the first one held the token.
    pub(super) facts: RwLock<Option<TokenFacts>>,
    /// 0: none.
    pub(super) pid: AtomicU32,
    pub(super) restarts: AtomicU64,
    pub(super) sessions_open: AtomicU64,
    /// The worker does something that a kill could turn into damage.
    pub(super) delicate: AtomicBool,
    /// The worker is asked something on its control socket.
    pub(super) control_busy: AtomicBool,
    /// The worker is to be asked how it is, soon.
    pub(super) check_up: Notify,
    pub(super) held_back: AtomicU64,
    state: Mutex<State>,
}

/// What changes seldom, all of it together.
struct State {
    /// As read last from its file.
    pin: Pin,
    breaker: Breaker,
    trouble: Trouble,
    vitals: Option<Vitals>,
    next_attempt: Option<SystemTime>,
    transitions: Transitions,
}

impl Shared {
    pub(super) fn new(settings: TokenSettings, worker: WorkerCommand, events: mpsc::UnboundedSender<Event>) -> Self {
        let Standing { state, cause } = Standing::FIRST;
        let kept = State {
            pin: settings.pin.clone(),
            breaker: Breaker::default(),
            trouble: Trouble::default(),
            vitals: None,
            next_attempt: None,
            transitions: BTreeMap::from([((state, cause), 1)]),
        };
        Self {
            dispatch: Dispatch::new(settings.queue_limit),
            events,
            health: watch::Sender::new(TokenHealth::now(state, cause, "")),
            done: watch::Sender::new(false),
            facts: RwLock::new(None),
            pid: AtomicU32::new(0),
            restarts: AtomicU64::new(0),
            sessions_open: AtomicU64::new(0),
            delicate: AtomicBool::new(false),
            control_busy: AtomicBool::new(false),
            check_up: Notify::new(),
            held_back: AtomicU64::new(0),
            state: Mutex::new(kept),
            settings,
            worker,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: Event) {
        // Without a supervisor there is nothing left to do.
        let _gone = self.events.send(event);
    }

    /// How the token is. A copy: whoever held on to the original and then waited for `state` would wait for ever, with all who
    /// come after him.
    pub(super) fn health(&self) -> TokenHealth {
        self.health.borrow().clone()
    }

    /// How the token is, from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<TokenHealth> {
        self.health.subscribe()
    }

    /// Takes the token from state to state, and says so once. `detail` is for the log.
    pub(super) fn happened(&self, happening: Happening, detail: &str) {
        let mut changed = None;
        {
            let mut state = self.state();
            self.health.send_if_modified(|health| {
                let now = Standing { state: health.state, cause: health.cause };
                let then = after(now, happening);
                if then == now {
                    return false;
                }
                *state.transitions.entry((then.state, then.cause)).or_default() += 1;
                *health = TokenHealth::now(then.state, then.cause, detail);
                changed = Some((now, then));
                true
            });
        }
        // With nothing locked: whoever reads the log may have stopped reading.
        if let Some((now, then)) = changed {
            self.tell_of(now, then, detail);
        }
    }

    fn tell_of(&self, now: Standing, then: Standing, detail: &str) {
        let (token, from, to) = (&self.settings.id, now.state.as_str(), then.state.as_str());
        let cause = then.cause.map(HealthCause::as_str);
        match then.state {
            TokenState::Starting | TokenState::Up => {
                tracing::info!(%token, from, to, "the token has changed state");
            }
            TokenState::Degraded | TokenState::Recovering => {
                tracing::warn!(%token, from, to, cause, detail, "the token has changed state");
            }
            TokenState::Down if then.cause == Some(HealthCause::Stopping) => {
                tracing::info!(%token, from, to, cause, "the token has changed state");
            }
            TokenState::Down | TokenState::Latched => {
                tracing::error!(%token, from, to, cause, detail, "the token has changed state");
            }
        }
    }

    /// How often the token came into each state.
    pub(super) fn transitions(&self) -> Transitions {
        self.state().transitions.clone()
    }

    /// An attempt in a lane failed.
    pub(super) fn note_failure(&self, kind: HsmErrorKind) {
        self.state().trouble.note(kind, Instant::now());
    }

    /// What is amiss with the worker that holds the token, beside its size.
    pub(super) fn conditions(&self, lanes: &LaneSet, worker_near_limit: bool) -> Conditions {
        let makes_no_keys = self.facts(|facts| facts.is_some_and(|facts| facts.makes_no_keys));
        let calls_fail = self.state().trouble.is_lasting(Instant::now());
        Conditions {
            calls_fail,
            fewer_lanes: lanes.with_session() < self.settings.signing_threads,
            worker_near_limit,
            keys_cannot_be_made: makes_no_keys,
        }
    }

    pub(super) fn facts<T>(&self, read: impl FnOnce(Option<&TokenFacts>) -> T) -> T {
        read(self.facts.read().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    /// A worker holds the token: what was of the one before it is forgotten.
    pub(super) fn begin_anew(&self, facts: TokenFacts) {
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = Some(facts);
        let mut state = self.state();
        state.trouble.forget();
        state.next_attempt = None;
    }

    pub(super) fn pin(&self) -> Pin {
        self.state().pin.clone()
    }

    pub(super) fn set_pin(&self, pin: Pin) {
        self.state().pin = pin;
    }

    pub(super) fn vitals(&self) -> Option<Vitals> {
        self.state().vitals
    }

    pub(super) fn set_vitals(&self, vitals: Option<Vitals>) {
        self.state().vitals = vitals;
    }

    pub(super) fn set_next_attempt(&self, at: Option<Instant>) {
        self.state().next_attempt = at.map(as_system_time);
    }

    /// When something is tried next that is put off now.
    pub(super) fn next_attempt(&self) -> Option<SystemTime> {
        let state = self.state();
        state.next_attempt.or_else(|| state.breaker.open_until(Instant::now()).map(as_system_time))
    }

    /// Whether the breaker lets a worker be replaced now; then it has been.
    pub(super) fn may_replace(&self) -> bool {
        let granted = self.state().breaker.ask(Instant::now()).is_ok();
        if !granted {
            self.held_back.fetch_add(1, Ordering::Relaxed);
        }
        granted
    }

    /// Whether a worker that asks to be replaced would not be.
    pub(super) fn breaker_is_open(&self) -> bool {
        self.state().breaker.open_until(Instant::now()).is_some()
    }

    /// A worker asks to be replaced. It gets nothing more from now on, so that a retry waits for the next one. Where one
    /// was replaced a moment ago, it is only asked how it is: one that can do nothing at all is replaced all the same.
    pub(super) fn replace_on_request(&self, generation: u64, kind: HsmErrorKind, reason: &str) {
        let Some(lanes) = self.dispatch.lanes().filter(|lanes| lanes.generation == generation) else { return };
        if lanes.is_draining() {
            return;
        }
        // After a refused PIN the next worker logs in no more; it is how the token comes to say that it is latched.
        if kind == HsmErrorKind::PinLatched || self.may_replace() {
            self.replace(&lanes, HealthCause::of(kind), reason);
        } else {
            self.check_up.notify_one();
        }
    }

    /// Has a worker replaced, once it has answered what it has.
    pub(super) fn replace(&self, lanes: &LaneSet, cause: HealthCause, reason: &str) {
        lanes.drain();
        self.tell(Event::Replace { generation: lanes.generation, cause, reason: reason.to_owned() });
    }

    /// Has a worker replaced of which [`LaneSet::stall`] says that it hangs.
    pub(super) fn replace_hung(&self, lanes: &LaneSet) {
        self.replace(lanes, HealthCause::WorkerHung, "a call overran its deadline and its lane is silent");
    }

    /// A call overran its deadline: finds out whether its worker hangs, and if so replaces it.
    pub(super) fn suspect(self: &Arc<Self>) {
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
                        shared.replace_hung(&lanes);
                        break;
                    }
                }
            }
            LaneSet::end_suspicion(&lanes);
        });
    }
}

fn as_system_time(at: Instant) -> SystemTime {
    SystemTime::now() + at.saturating_duration_since(Instant::now())
}
