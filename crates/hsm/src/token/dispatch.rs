//! Calls on their way into the lanes, and through the bounded queue in front of them.

use super::lanes::LaneSet;
use super::progress::{Progress, Stage};
use super::queue::{Full, Queue};
use crate::{Flow, HsmErrorKind, HsmFailure};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How a call came back.
pub(super) type CallEnd = Result<Vec<u8>, CallFailure>;

/// A call that failed, and what to do about it.
#[derive(Debug, Clone)]
pub(super) struct CallFailure {
    pub(super) failure: HsmFailure,
    /// The same may be asked for once more.
    pub(super) retry: bool,
    /// The worker of this generation asks to be replaced.
    pub(super) replace: Option<u64>,
    /// The token was not asked, since the lane has no session: another lane may.
    pub(super) not_asked: bool,
}

impl CallFailure {
    pub(super) fn last(failure: HsmFailure) -> Self {
        Self { failure, retry: false, replace: None, not_asked: false }
    }
}

/// A call on its way into a lane.
#[derive(Debug)]
pub(super) struct Call {
    /// In whose turn it waits.
    pub(super) flow: Flow,
    pub(super) frame: Vec<u8>,
    pub(super) deadline: Instant,
    /// It was let in once already: the queue's limits are not for it, and it goes to the front.
    pub(super) again: bool,
    /// Whether the worker may have seen it, and since when.
    pub(super) progress: Arc<Progress>,
    pub(super) stage: Stage,
    pub(super) reply: oneshot::Sender<CallEnd>,
}

/// The lanes of the present worker, and what waits for one of them. The queue outlives workers.
#[derive(Debug)]
pub(super) struct Dispatch {
    lanes: RwLock<Option<Arc<LaneSet>>>,
    queue: Mutex<Queue>,
    /// Length of the queue, to look at without its mutex.
    queued: AtomicUsize,
    /// Why nothing is taken at present, for example because the token is down.
    refusal: RwLock<Option<HsmFailure>>,
}

impl Dispatch {
    pub(super) fn new(queue_limit: usize) -> Self {
        Self {
            lanes: RwLock::new(None),
            queue: Mutex::new(Queue::new(queue_limit)),
            queued: AtomicUsize::new(0),
            refusal: RwLock::new(None),
        }
    }

    /// Puts a call into a lane, or into the queue.
    pub(super) fn submit(&self, call: Call) -> Result<(), HsmFailure> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let lanes = self.lanes();
        let mut call = call;
        if self.queued() == 0
            && let Some(lane) = lanes.as_ref().and_then(|lanes| lanes.least_loaded())
        {
            match lane.send(call) {
                None => return Ok(()),
                Some(back) => call = back,
            }
        }
        self.enqueue(call)?;
        // A lane may have become free, or a worker ready, between the look and the queue.
        if let Some(lanes) = self.lanes() {
            lanes.refill(self);
        }
        Ok(())
    }

    fn enqueue(&self, call: Call) -> Result<(), HsmFailure> {
        let mut queue = lock(&self.queue);
        let let_in = if call.again {
            queue.push_front(call);
            Ok(())
        } else {
            queue.push(call)
        };
        self.queued.store(queue.len(), Ordering::SeqCst);
        let_in.map_err(|full| {
            let message = match full {
                Full::Queue(length) => format!("{length} requests wait for this token already; try again later"),
                Full::Flow(length) => {
                    format!("{length} requests of the same flow wait for this token already; try again later")
                }
            };
            HsmFailure::new(HsmErrorKind::Overloaded, message)
        })
    }

    /// The next call that somebody still waits for and that fits into `room` bytes.
    pub(super) fn next(&self, room: usize) -> Option<Call> {
        let mut queue = lock(&self.queue);
        let next = queue.pop(room);
        self.queued.store(queue.len(), Ordering::SeqCst);
        next
    }

    /// Takes calls back that reached nobody.
    pub(super) fn put_back(&self, calls: Vec<Call>) {
        let mut queue = lock(&self.queue);
        for call in calls.into_iter().rev() {
            queue.push_front(call);
        }
        self.queued.store(queue.len(), Ordering::SeqCst);
    }

    /// Opens the lanes of a new worker, and sends what has waited for it.
    pub(super) fn install(&self, lanes: Arc<LaneSet>) {
        self.accept();
        *self.lanes.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&lanes));
        lanes.refill(self);
    }

    /// Closes the lanes of a worker that is gone or goes.
    pub(super) fn uninstall(&self) {
        let lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lanes) = lanes {
            lanes.close();
        }
    }

    /// Takes calls again, which wait for the next worker.
    pub(super) fn accept(&self) {
        let mut refusal = self.refusal.write().unwrap_or_else(PoisonError::into_inner);
        // A token that is being let go takes no calls, whoever comes up meanwhile.
        *refusal = refusal.take().filter(|refusal| refusal.kind == HsmErrorKind::Stopping);
    }

    /// Takes no further calls, and gives this reason.
    pub(super) fn refuse(&self, refusal: HsmFailure) {
        *self.refusal.write().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    /// Why no lane takes a call, where it is that none of them has a session.
    pub(super) fn without_sessions(&self) -> Option<HsmFailure> {
        let message = "the token has no session for any lane; end what else uses it, or ask for fewer lanes";
        let lanes = self.lanes()?;
        lanes.is_without_sessions().then(|| HsmFailure::new(HsmErrorKind::Capacity, message))
    }

    /// Fails what waits in the queue.
    pub(super) fn fail_queued(&self, failure: &HsmFailure) {
        let waiting = {
            let mut queue = lock(&self.queue);
            self.queued.store(0, Ordering::SeqCst);
            queue.take()
        };
        for call in waiting {
            // Whoever gave up does not need to know.
            let _gone = call.reply.send(Err(CallFailure::last(failure.clone())));
        }
    }

    pub(super) fn refusal(&self) -> Option<HsmFailure> {
        self.refusal.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn lanes(&self) -> Option<Arc<LaneSet>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }

    pub(super) fn flows_waiting(&self) -> usize {
        lock(&self.queue).flows()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lanes().map_or(0, |lanes| lanes.load())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
