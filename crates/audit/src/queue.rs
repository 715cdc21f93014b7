//! What waits to be written, and when it is time to write it.
//!
//! A group is whatever has gathered while the last one was being written. That alone makes groups grow with the
//! load. On top of it, the thread waits a moment for more while other calls are between their intent and their
//! outcome: they will be back soon, and one sync of the disk will do for all. Who is alone never waits.

use crate::erase::Erasure;
use crate::growing::TreeHead;
use crate::health::LogHealth;
use crate::log::{LogSettings, RecordError};
use crate::prepared::Prepared;
use crate::record::{Changed, NewSeal, OutcomeItem, Recorded};
use crate::shares::{Share, Shares};
use crate::slot::OutcomeSlot;
use crate::{Details, Outcome, OutcomeResult};
use chancery_model::{Timestamp, Uid};
use chancery_store::{CheckpointRow, Epoch, RowChange};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

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

/// What somebody waits for.
pub(crate) enum Request {
    Intents {
        epoch: Epoch,
        records: Vec<Prepared>,
        answer: Answer<Delivery>,
    },
    Change {
        epoch: Epoch,
        rows: Vec<RowChange>,
        records: Vec<Prepared>,
        answer: Answer<Changed>,
    },
    /// What changes nothing: the epoch stays.
    Note {
        epoch: Epoch,
        records: Vec<Prepared>,
        answer: Answer<Changed>,
    },
    Seal(Box<SealRequest>),
    /// Where the tree stands after this group.
    TreeHead {
        answer: Answer<Option<TreeHead>>,
    },
    Checkpoint {
        checkpoint: CheckpointRow,
        kept: KeptAs,
        answer: Answer<()>,
    },
    /// Erases details that a record says are erased.
    Erase {
        erasure: Erasure,
        answer: Answer<()>,
    },
    /// Empties the leaves of the archived tile that begins at `first`. Whether it did.
    Archive {
        first: u64,
        answer: Answer<bool>,
    },
    /// Makes the tree again from the leaves. How many of its tiles were not theirs.
    RemakeTree {
        answer: Answer<u64>,
    },
    /// Empties the write-ahead log, so that what was erased is not there, either. Whether it is empty.
    EmptyWal {
        answer: Answer<bool>,
    },
    Flush {
        answer: Answer<()>,
    },
}

/// What a checkpoint is when it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptAs {
    /// Signed; it counts once witnesses have cosigned it.
    Signed,
    /// Signed, and it counts as it is.
    Counting,
    /// Signed and kept before; enough witnesses have cosigned it by now, and it counts.
    Cosigned,
}

/// From now on the state is sealed as it is at `epoch`. With records it is sealed anew, with a raised
/// epoch, and `rows` change with it; without, it is sealed as it should be already.
pub(crate) struct SealRequest {
    pub epoch: Epoch,
    pub new: NewSeal,
    pub rows: Vec<RowChange>,
    pub records: Vec<Prepared>,
    pub answer: Answer<Epoch>,
}

pub(crate) type Answer<T> = oneshot::Sender<Result<T, RecordError>>;

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

impl Request {
    /// How many intents, and how many records with them, it holds.
    fn count(&self) -> (usize, usize) {
        match self {
            Self::Intents { records, .. } => (records.len(), records.len()),
            Self::Change { records, .. } | Self::Note { records, .. } => (0, records.len()),
            Self::Seal(seal) => (0, seal.records.len()),
            Self::TreeHead { .. }
            | Self::Checkpoint { .. }
            | Self::Erase { .. }
            | Self::Archive { .. }
            | Self::RemakeTree { .. }
            | Self::EmptyWal { .. }
            | Self::Flush { .. } => (0, 0),
        }
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

/// Recorded intents on their way to who asked for them.
///
/// If that one has gone, nobody will ever ask the token for them: then their outcome is recorded here.
pub(crate) struct Delivery {
    recorded: Vec<Recorded>,
    queue: Arc<Queue>,
}

impl Delivery {
    pub const fn new(recorded: Vec<Recorded>, queue: Arc<Queue>) -> Self {
        Self { recorded, queue }
    }

    /// Hands them over.
    pub fn accept(mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.recorded)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.recorded.is_empty() {
            return;
        }
        let item = |recorded: &Recorded| OutcomeItem {
            intent: recorded.index(),
            result: OutcomeResult::Abandoned,
            signature_sha256: None,
        };
        let items: Vec<OutcomeItem> = self.recorded.iter().map(item).collect();
        let message = Some("the caller had gone before the token was asked".to_owned());
        let outcome = Outcome { time: Timestamp::now(), items, details: Details { message, ..Details::default() } };
        // A log that is closed cannot be told; the next start closes these intents as unknown.
        if let Ok(records) = Prepared::outcome(&self.queue.settings.instance, &[], outcome)
            && let Err(error) = self.queue.outcomes(records, None)
        {
            tracing::warn!(%error, intents = self.recorded.len(), "abandoned intents stay open");
        }
    }
}
