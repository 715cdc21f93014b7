//! What waits to be written, and when it is time to write it.
//!
//! A group is whatever has gathered while the last one was being written. That alone makes groups grow with the
//! load. On top of it, the thread waits a moment for more while other calls are between their intent and their
//! outcome: they will be back soon, and one sync of the disk will do for all. Who is alone never waits.

mod delivery;
mod request;

pub(crate) use delivery::Delivery;
pub(crate) use request::{Answer, KeptAs, Request, SealRequest};

use crate::health::LogHealth;
use crate::log::{LogSettings, RecordError};
use crate::prepared::Prepared;
use crate::shares::{Share, Shares};
use crate::slot::OutcomeSlot;
use chancery_model::{Timestamp, Uid};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long outcomes and denials wait for intents that take them along.
const LINGER: Duration = Duration::from_millis(5);

/// How many denials may wait; more are only counted.
const MAX_DENIALS: usize = 1_024;

pub(crate) struct Queue {
    pub settings: LogSettings,
    state: Mutex<State>,
    wake: Condvar,
    health: watch::Sender<LogHealth>,
    /// All records below this index are durable.
    durable: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// What somebody waits for, in order.
    requests: VecDeque<Request>,
    /// How many intents are in `requests`.
    intents: usize,
    /// Whether something is in `requests` that is worth a group of its own.
    urgent: bool,
    /// When the oldest of `requests` came.
    requests_since: Option<Instant>,
    /// What nobody waits for.
    background: Background,
    /// When the oldest of `background` came.
    background_since: Option<Instant>,
    /// Places taken: from before the intent until the outcome is durable.
    places: Shares,
    /// Calls between taking a place and handing in the outcome.
    in_flight: usize,
    /// What the thread is doing.
    thread: Doing,
    stopping: bool,
}

/// What the writing thread is doing, so that it is woken only for what matters to it.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It writes, and will look by itself.
    #[default]
    Writing,
    /// It waits for anything.
    Idle,
    /// It has background records, and waits for requests that take them along.
    Lingering,
    /// It has intents, and waits for others.
    Gathering,
}

/// What nobody waits for.
#[derive(Default)]
pub(crate) struct Background {
    pub records: Vec<Prepared>,
    /// Places to give back when the records are durable.
    pub places: Vec<Share>,
    denials: usize,
    /// Denials that found no room.
    pub dropped: u32,
    /// When API keys were used last: kept beside the record, and no part of it.
    pub uses: BTreeMap<Uid, Timestamp>,
}

impl Background {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.dropped == 0 && self.uses.is_empty()
    }

    fn places(&self) -> usize {
        self.places.iter().map(|share| share.places).sum()
    }
}

/// What is written in one transaction.
pub(crate) struct Group {
    pub requests: Vec<Request>,
    pub background: Background,
}

impl Group {
    /// How many intents, and how many records with them, it holds.
    pub fn count(&self) -> (usize, usize) {
        let none = (0, self.background.records.len());
        self.requests
            .iter()
            .map(Request::count)
            .fold(none, |(intents, records), (more, all)| (intents + more, records + all))
    }
}

impl Queue {
    /// A queue before a log whose next record has the index `next_index`.
    pub fn new(settings: LogSettings, next_index: u64) -> Self {
        let health = watch::Sender::new(LogHealth::Open);
        let durable = watch::Sender::new(next_index);
        Self { settings, state: Mutex::default(), wake: Condvar::new(), health, durable }
    }

    /// Below which index every record is durable.
    pub fn durable(&self) -> &watch::Sender<u64> {
        &self.durable
    }

    pub fn health(&self) -> &watch::Sender<LogHealth> {
        &self.health
    }

    /// Takes places for the outcomes of a caller's intents.
    pub fn reserve(self: &Arc<Self>, share: Share) -> Result<OutcomeSlot, RecordError> {
        let mut state = self.lock();
        self.check_open(&state)?;
        if !state.places.take(share, self.settings.outcome_queue_limit) {
            return Err(RecordError::Overloaded);
        }
        state.in_flight += share.places;
        Ok(OutcomeSlot::new(Arc::clone(self), share))
    }

    /// Gives back places that no outcome came for.
    pub fn give_back(&self, share: Share) {
        let mut state = self.lock();
        state.places.give_back(share);
        self.landed(&mut state, share.places);
    }

    /// Hands in what the caller then waits for.
    pub fn request(&self, request: Request) -> Result<(), RecordError> {
        let mut state = self.lock();
        self.check_open(&state)?;
        let (intents, _records) = request.count();
        state.intents += intents;
        state.urgent |= !matches!(request, Request::Intents { .. });
        state.requests.push_back(request);
        state.requests_since.get_or_insert_with(Instant::now);
        let wake = match state.thread {
            Doing::Idle | Doing::Lingering => true,
            Doing::Gathering => self.gathered(&state),
            Doing::Writing => false,
        };
        self.wake_if(wake, &mut state);
        Ok(())
    }

    /// Hands in outcomes, with the places that were taken for them.
    pub fn outcomes(&self, records: Vec<Prepared>, places: Option<Share>) -> Result<(), RecordError> {
        let mut state = self.lock();
        self.check_open(&state)?;
        state.background.records.extend(records);
        if let Some(share) = places {
            state.background.places.push(share);
            self.landed(&mut state, share.places);
        }
        self.background_came(&mut state);
        Ok(())
    }

    /// Hands in denials, as many as there is room for.
    pub fn denials(&self, records: impl ExactSizeIterator<Item = Prepared>) -> Result<(), RecordError> {
        let mut state = self.lock();
        self.check_open(&state)?;
        let room = MAX_DENIALS.saturating_sub(state.background.denials).min(records.len());
        let over = u32::try_from(records.len() - room).unwrap_or(u32::MAX);
        state.background.denials += room;
        state.background.dropped = state.background.dropped.saturating_add(over);
        state.background.records.extend(records.take(room));
        self.background_came(&mut state);
        Ok(())
    }

    /// Hands in when API keys were used last.
    pub fn uses(&self, uses: impl IntoIterator<Item = (Uid, Timestamp)>) -> Result<(), RecordError> {
        let mut state = self.lock();
        self.check_open(&state)?;
        state.background.uses.extend(uses);
        self.background_came(&mut state);
        Ok(())
    }

    /// The next group, when it is time to write it. `None`: nothing more will come.
    pub fn next_group(&self) -> Option<Group> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let (doing, patience) = if let Some(since) = state.requests_since {
                let patience = self.settings.max_wait.saturating_sub(now.duration_since(since));
                if state.stopping || self.gathered(&state) || patience.is_zero() {
                    return Some(self.take(&mut state));
                }
                (Doing::Gathering, Some(patience))
            } else if let Some(since) = state.background_since {
                let patience = LINGER.saturating_sub(now.duration_since(since));
                if state.stopping || self.crowded(&state) || patience.is_zero() {
                    return Some(self.take(&mut state));
                }
                (Doing::Lingering, Some(patience))
            } else if state.stopping {
                return None;
            } else {
                (Doing::Idle, None)
            };
            state.thread = doing;
            state = match patience {
                Some(patience) => self.wake.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0,
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.thread = Doing::Writing;
        }
    }

    /// Gives back the places of outcomes that are durable now.
    pub fn written(&self, places: Vec<Share>) {
        let mut state = self.lock();
        for share in places {
            state.places.give_back(share);
        }
    }

    /// Takes no more records, ever, because something failed. Who waits is told why; the first reason stands.
    pub fn close(&self, reason: &str) {
        if let Some((waiting, outcomes_lost)) = self.end(reason) {
            tracing::error!(
                reason,
                waiting,
                outcomes_lost,
                "the record is closed: nothing is signed until the service is started again"
            );
        }
    }

    /// Takes no more records, ever, because all that was handed in is written and the service stops.
    pub fn close_in_order(&self) {
        self.end("the service was shut down");
    }

    /// Ends the log; says how many requests and records were still there, if this was the first reason.
    fn end(&self, reason: &str) -> Option<(usize, usize)> {
        let closed = self.health.send_if_modified(|health| {
            let first = *health == LogHealth::Open;
            if first {
                *health = LogHealth::Closed { since: Timestamp::now(), reason: reason.to_owned() };
            }
            first
        });
        let mut state = self.lock();
        let (requests, background) = (std::mem::take(&mut state.requests), std::mem::take(&mut state.background));
        state.intents = 0;
        state.requests_since = None;
        state.background_since = None;
        drop(state);
        let lost = (requests.len(), background.records.len());
        // Dropping a request tells its sender, who reads the reason from the health.
        drop(requests);
        closed.then_some(lost)
    }

    /// Writes what is there, and then takes no more.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        self.wake_if(true, &mut state);
    }

    /// Waits until [`Self::stop`] is called.
    pub fn wait_until_stopped(&self) {
        let mut state = self.lock();
        while !state.stopping {
            state.thread = Doing::Idle;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Why nothing is recorded any more.
    pub fn closed(&self) -> RecordError {
        let reason = match &*self.health.borrow() {
            LogHealth::Closed { reason, .. } => reason.clone(),
            LogHealth::Open => "the record's thread has ended".to_owned(),
        };
        RecordError::Closed { reason }
    }

    fn take(&self, state: &mut State) -> Group {
        let mut requests = Vec::with_capacity(state.requests.len());
        let mut intents = 0;
        while let Some(request) = state.requests.front() {
            let (more, _records) = request.count();
            if intents > 0 && intents + more > self.settings.max_batch {
                break;
            }
            intents += more;
            requests.extend(state.requests.pop_front());
        }
        state.intents = state.intents.saturating_sub(intents);
        if state.requests.is_empty() {
            state.urgent = false;
            state.requests_since = None;
        }
        state.background_since = None;
        Group { requests, background: std::mem::take(&mut state.background) }
    }

    /// Whether there is nothing to be gained by waiting for more intents.
    fn gathered(&self, state: &State) -> bool {
        state.urgent || state.intents >= self.settings.max_batch || state.intents >= state.in_flight
    }

    /// Whether background records should not wait longer for company: so many places are taken that new intents
    /// may soon find none.
    fn crowded(&self, state: &State) -> bool {
        state.background.records.len() >= self.settings.max_batch
            || state.background.places() * 2 >= self.settings.outcome_queue_limit
    }

    /// `count` calls are no longer in flight.
    fn landed(&self, state: &mut State, count: usize) {
        state.in_flight = state.in_flight.saturating_sub(count);
        let wake = state.thread == Doing::Gathering && self.gathered(state);
        self.wake_if(wake, state);
    }

    fn background_came(&self, state: &mut State) {
        if state.background.is_empty() {
            return;
        }
        state.background_since.get_or_insert_with(Instant::now);
        let wake = match state.thread {
            Doing::Idle => true,
            Doing::Lingering => self.crowded(state),
            Doing::Gathering | Doing::Writing => false,
        };
        self.wake_if(wake, state);
    }

    fn wake_if(&self, wake: bool, state: &mut State) {
        if wake {
            // Once is enough: until it has looked, it is as good as awake.
            state.thread = Doing::Writing;
            self.wake.notify_one();
        }
    }

    fn check_open(&self, state: &State) -> Result<(), RecordError> {
        if *self.health.borrow() != LogHealth::Open {
            return Err(self.closed());
        }
        if state.stopping {
            return Err(RecordError::Closed { reason: "the service is shutting down".to_owned() });
        }
        Ok(())
    }

    /// Every change of the state is whole before anything in it can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("health", &*self.health.borrow()).finish_non_exhaustive()
    }
}
