//! The service's end of the lanes, and the queue in front of them.
//!
//! The handler of a call writes into a lane itself, under the lane's mutex: handing the bytes to a task that writes
//! would cost a wake-up, which is dearer than the bytes. One task for each lane reads; on replies it refills the lane
//! from the queue first and then wakes those who wait, so that the worker never idles while they are scheduled.

use super::launch::LaneSocket;
use crate::wire::{FrameBuffer, LaneReply, decode_lane_reply};
use crate::{HANG_PATIENCE, HsmErrorKind, HsmFailure, LANE_DEPTH};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as BlockingStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How a call came back.
pub(super) type CallEnd = Result<Vec<u8>, CallFailure>;

/// A call that failed, and what to do about it.
#[derive(Debug, Clone)]
pub(super) struct CallFailure {
    pub(super) failure: HsmFailure,
    /// The same signature may be asked for once more.
    pub(super) retry: bool,
    /// The worker of this generation asks to be replaced.
    pub(super) replace: Option<u64>,
}

impl CallFailure {
    pub(super) fn last(failure: HsmFailure) -> Self {
        Self { failure, retry: false, replace: None }
    }
}

/// A call on its way into a lane.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) frame: Vec<u8>,
    pub(super) deadline: Instant,
    /// It was let in once already: the queue's limit is not for it, and it goes to the front.
    pub(super) again: bool,
    pub(super) reply: oneshot::Sender<CallEnd>,
}

/// The lanes of the present worker, and what waits for one of them. The queue outlives workers.
#[derive(Debug)]
pub(super) struct Dispatch {
    lanes: RwLock<Option<Arc<LaneSet>>>,
    queue: Mutex<VecDeque<Call>>,
    /// Length of the queue, to look at without its mutex.
    queued: AtomicUsize,
    queue_limit: usize,
    /// Why nothing is taken at present, for example because the token is down.
    refusal: RwLock<Option<HsmFailure>>,
}

impl Dispatch {
    pub(super) fn new(queue_limit: usize) -> Self {
        Self {
            lanes: RwLock::new(None),
            queue: Mutex::new(VecDeque::new()),
            queued: AtomicUsize::new(0),
            queue_limit,
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
                Ok(()) => return Ok(()),
                Err(back) => call = back,
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
        if call.again {
            // Never more than what the lanes of a lost worker held.
            queue.push_front(call);
            self.queued.store(queue.len(), Ordering::SeqCst);
            return Ok(());
        }
        if queue.len() >= self.queue_limit {
            // Those that gave up while they waited make room.
            queue.retain(|waiting| !waiting.reply.is_closed());
        }
        let length = queue.len();
        if length >= self.queue_limit {
            self.queued.store(length, Ordering::SeqCst);
            let message = format!("{length} signing requests wait for this token already; try again later");
            return Err(HsmFailure::new(HsmErrorKind::Overloaded, message));
        }
        queue.push_back(call);
        self.queued.store(length + 1, Ordering::SeqCst);
        Ok(())
    }

    /// The next call that somebody still waits for and that fits into `room` bytes.
    fn next(&self, room: usize) -> Option<Call> {
        let mut queue = lock(&self.queue);
        let next = loop {
            match queue.front() {
                None => break None,
                Some(call) if call.reply.is_closed() || call.deadline <= Instant::now() => {
                    // Whoever waits for it has a timer of his own.
                    queue.pop_front();
                }
                Some(call) if call.frame.len() > room => break None,
                Some(_) => break queue.pop_front(),
            }
        };
        self.queued.store(queue.len(), Ordering::SeqCst);
        next
    }

    fn put_back(&self, calls: Vec<Call>) {
        let mut queue = lock(&self.queue);
        for call in calls.into_iter().rev() {
            queue.push_front(call);
        }
        self.queued.store(queue.len(), Ordering::SeqCst);
    }

    /// Opens the lanes of a new worker, and sends what has waited for it.
    pub(super) fn install(&self, lanes: Arc<LaneSet>) {
        *self.refusal.write().unwrap_or_else(PoisonError::into_inner) = None;
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

    /// Takes no further calls, and gives this reason.
    pub(super) fn refuse(&self, refusal: HsmFailure) {
        *self.refusal.write().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    /// Fails what waits in the queue.
    pub(super) fn fail_queued(&self, failure: &HsmFailure) {
        let waiting = std::mem::take(&mut *lock(&self.queue));
        self.queued.store(0, Ordering::SeqCst);
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

    pub(super) fn in_flight(&self) -> usize {
        self.lanes().map_or(0, |lanes| lanes.lanes.iter().map(Lane::load).sum())
    }
}

/// The lanes of one worker.
#[derive(Debug)]
pub(super) struct LaneSet {
    /// Which worker: the first, the second, ...
    pub(super) generation: u64,
    lanes: Vec<Lane>,
    /// A task looks after a call that overran its deadline.
    suspected: AtomicBool,
}

/// Whether a worker is hung.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stall {
    /// No call overruns its deadline.
    No,
    /// One does, and its lane was heard of not long ago: look again then.
    LookAgain(Instant),
    /// One does, and its lane is silent.
    Hung,
}

impl LaneSet {
    /// Takes the sockets of a worker; the second value is what its reading tasks read from.
    pub(super) fn new(generation: u64, sockets: Vec<LaneSocket>) -> io::Result<(Arc<Self>, Vec<UnixStream>)> {
        let mut lanes = Vec::with_capacity(sockets.len());
        let mut readers = Vec::with_capacity(sockets.len());
        for LaneSocket { socket, budget } in sockets {
            readers.push(UnixStream::from_std(socket.try_clone()?)?);
            lanes.push(Lane::new(generation, socket, budget));
        }
        Ok((Arc::new(Self { generation, lanes, suspected: AtomicBool::new(false) }), readers))
    }

    fn least_loaded(&self) -> Option<&Lane> {
        self.lanes.iter().filter(|lane| lane.takes_calls()).min_by_key(|lane| lane.load())
    }

    fn refill(&self, dispatch: &Dispatch) {
        for lane in &self.lanes {
            if lane.takes_calls() {
                lane.refill(&mut lane.lock(), dispatch);
            }
        }
    }

    /// Fails what is in the lanes and takes no more. What the worker still answers is not read.
    pub(super) fn close(&self) {
        for lane in &self.lanes {
            lane.close();
        }
    }

    /// The first to ask gets true and looks after the suspicion.
    pub(super) fn begin_suspicion(&self) -> bool {
        !self.suspected.swap(true, Ordering::SeqCst)
    }

    pub(super) fn end_suspicion(&self) {
        self.suspected.store(false, Ordering::SeqCst);
    }

    /// Whether a call that overruns its deadline waits in a lane that is silent.
    pub(super) fn stall(&self) -> Stall {
        let now = Instant::now();
        let mut again: Option<Instant> = None;
        for lane in &self.lanes {
            let state = lane.lock();
            let Some(oldest) = state.sent.front().filter(|oldest| oldest.deadline <= now) else { continue };
            let hung_at = oldest.deadline.max(state.heard + HANG_PATIENCE);
            if hung_at <= now {
                return Stall::Hung;
            }
            again = Some(again.map_or(hung_at, |earlier| earlier.min(hung_at)));
        }
        again.map_or(Stall::No, Stall::LookAgain)
    }

    /// Reads the replies of one lane until its end.
    pub(super) async fn read(&self, number: usize, socket: UnixStream, dispatch: &Dispatch) {
        let Some(lane) = self.lanes.get(number) else { return };
        if let Err(error) = lane.read(&socket, dispatch).await {
            tracing::warn!(lane = number, generation = self.generation, %error, "a lane broke");
        }
        lane.close();
    }
}

#[derive(Debug)]
struct Lane {
    generation: u64,
    /// The same socket that the reading task has, for writing without the runtime.
    socket: BlockingStream,
    budget: usize,
    state: Mutex<LaneState>,
    /// Calls in the lane, to look at without its mutex.
    load: AtomicUsize,
    /// Whether it takes calls, to look at without its mutex.
    open: AtomicBool,
}

#[derive(Debug)]
struct LaneState {
    open: bool,
    sent: VecDeque<Sent>,
    bytes: usize,
    /// When the lane last answered, or began to have something to answer.
    heard: Instant,
}

/// A call that the worker has.
#[derive(Debug)]
struct Sent {
    reply: oneshot::Sender<CallEnd>,
    deadline: Instant,
    bytes: usize,
}

impl Lane {
    fn new(generation: u64, socket: BlockingStream, budget: usize) -> Self {
        let state = LaneState { open: true, sent: VecDeque::new(), bytes: 0, heard: Instant::now() };
        Self {
            generation,
            socket,
            budget,
            state: Mutex::new(state),
            load: AtomicUsize::new(0),
            open: AtomicBool::new(true),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LaneState> {
        lock(&self.state)
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::SeqCst)
    }

    fn takes_calls(&self) -> bool {
        self.open.load(Ordering::SeqCst) && self.load() < LANE_DEPTH
    }

    fn room(&self, state: &LaneState) -> usize {
        match (state.open, state.sent.len()) {
            (false, _) => 0,
            (true, length) if length >= LANE_DEPTH => 0,
            (true, _) => self.budget.saturating_sub(state.bytes),
        }
    }

    /// Sends a call, or gives it back.
    fn send(&self, call: Call) -> Result<(), Call> {
        let mut state = self.lock();
        if call.frame.len() > self.room(&state) {
            return Err(call);
        }
        let mut back = self.write(&mut state, vec![call]);
        match back.pop() {
            Some(call) => Err(call),
            None => Ok(()),
        }
    }

    /// Sends as many of the waiting calls as the lane takes.
    fn refill(&self, state: &mut LaneState, dispatch: &Dispatch) {
        let mut calls: Vec<Call> = Vec::new();
        let mut bytes = 0;
        while state.sent.len() + calls.len() < LANE_DEPTH
            && let Some(call) = dispatch.next(self.room(state).saturating_sub(bytes))
        {
            bytes += call.frame.len();
            calls.push(call);
        }
        if !calls.is_empty() {
            let back = self.write(state, calls);
            if !back.is_empty() {
                dispatch.put_back(back);
            }
        }
    }

    /// Writes frames in one go. Returns the calls that certainly reached nobody.
    fn write(&self, state: &mut LaneState, calls: Vec<Call>) -> Vec<Call> {
        let written = match calls.as_slice() {
            [only] => write_whole(&self.socket, &only.frame),
            several => write_whole(
                &self.socket,
                &several.iter().flat_map(|call| call.frame.iter().copied()).collect::<Vec<_>>(),
            ),
        };
        match written {
            Ok(()) => {
                self.note_sent(state, calls);
                Vec::new()
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                self.close_locked(state);
                calls
            }
            Err(error) => {
                // The byte budget makes this impossible; if it happens all the same, the stream is out of step.
                tracing::error!(generation = self.generation, %error, "a lane did not take a whole frame");
                self.note_sent(state, calls);
                self.close_locked(state);
                Vec::new()
            }
        }
    }

    fn note_sent(&self, state: &mut LaneState, calls: Vec<Call>) {
        if state.sent.is_empty() {
            state.heard = Instant::now();
        }
        for Call { frame, deadline, again: _, reply } in calls {
            state.bytes += frame.len();
            state.sent.push_back(Sent { reply, deadline, bytes: frame.len() });
        }
        self.load.store(state.sent.len(), Ordering::SeqCst);
    }

    async fn read(&self, socket: &UnixStream, dispatch: &Dispatch) -> io::Result<()> {
        let mut frames = FrameBuffer::default();
        let mut read = vec![0; 1 << 14];
        loop {
            socket.readable().await?;
            let length = match socket.try_read(&mut read) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            };
            frames.extend(read.get(..length).unwrap_or_default());
            let mut replies = Vec::new();
            while let Some(body) = frames.next()? {
                replies.push(decode_lane_reply(body)?);
            }
            self.complete(replies, dispatch)?;
        }
    }

    /// Refills the lane, then wakes those whose replies came.
    fn complete(&self, replies: Vec<LaneReply>, dispatch: &Dispatch) -> io::Result<()> {
        let mut answered = Vec::with_capacity(replies.len());
        {
            let mut state = self.lock();
            state.heard = Instant::now();
            for reply in replies {
                match state.sent.pop_front() {
                    Some(sent) => {
                        state.bytes -= sent.bytes;
                        answered.push((sent.reply, reply));
                    }
                    None if !state.open => break,
                    None => return Err(io::Error::other("the worker answered what nobody asked")),
                }
            }
            if state.open {
                self.load.store(state.sent.len(), Ordering::SeqCst);
                self.refill(&mut state, dispatch);
            }
        }
        for (waiting, reply) in answered {
            let end = reply.map_err(|failure| CallFailure {
                retry: failure.retry,
                replace: failure.replace.then_some(self.generation),
                failure: failure.into_failure(),
            });
            // Whoever gave up does not need to know.
            let _gone = waiting.send(end);
        }
        Ok(())
    }

    fn close(&self) {
        self.close_locked(&mut self.lock());
    }

    fn close_locked(&self, state: &mut LaneState) {
        state.open = false;
        state.bytes = 0;
        self.open.store(false, Ordering::SeqCst);
        self.load.store(0, Ordering::SeqCst);
        // The worker and the reading task see the end, if they have not yet.
        let _gone = self.socket.shutdown(Shutdown::Both);
        for sent in state.sent.drain(..) {
            let message = "the worker process ended before it answered";
            let failure = HsmFailure { attempts: 1, ..HsmFailure::new(HsmErrorKind::WorkerLost, message) };
            let _gone = sent.reply.send(Err(CallFailure { failure, retry: true, replace: None }));
        }
    }
}

fn write_whole(mut socket: &BlockingStream, bytes: &[u8]) -> io::Result<()> {
    match socket.write(bytes)? {
        length if length == bytes.len() => Ok(()),
        length => Err(io::Error::other(format!("{length} of {} bytes were taken", bytes.len()))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
