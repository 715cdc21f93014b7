//! The service's end of the lanes.
//!
//! The handler of a call writes into a lane itself, under the lane's mutex: handing the bytes to a task that writes
//! would cost a wake-up, which is dearer than the bytes. One task for each lane reads; on replies it refills the lane
//! from the queue first and then wakes those who wait, so that the worker never idles while they are scheduled.

use super::dispatch::{Call, CallEnd, CallFailure, Dispatch, lock};
use super::launch::LaneSocket;
use super::progress::{Progress, Stage};
use crate::wire::{FrameBuffer, LaneReply, LaneRequest, Operation, decode_lane_reply};
use crate::{Flow, HANG_PATIENCE, HsmErrorKind, HsmFailure, LANE_DEPTH};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as BlockingStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Span;

/// What waits behind a call that has been silent for so long is taken back, where other lanes answer meanwhile.
const HELD_UP_AFTER: Duration = Duration::from_secs(2);

/// A lane that is only asked whether it answers has so long before it counts as overdue.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// A lane that got no session is left alone for so long, doubled each time it gets none again, up to the second.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Where no lane has a session nothing is signed: then none is left alone for longer than this.
const LONGEST_REST_OF_ALL: Duration = Duration::from_secs(2);

/// The lanes of one worker.
#[derive(Debug)]
pub(super) struct LaneSet {
    /// Which worker: the first, the second, ...
    pub(super) generation: u64,
    lanes: Vec<Lane>,
    /// The worker is going to be replaced: it answers what it has and gets nothing more.
    draining: AtomicBool,
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
    /// The lanes from `with_session` on begin without a session, and are asked later whether they get one.
    pub(super) fn new(
        generation: u64,
        sockets: Vec<LaneSocket>,
        with_session: usize,
    ) -> io::Result<(Arc<Self>, Vec<UnixStream>)> {
        let mut lanes = Vec::with_capacity(sockets.len());
        let mut readers = Vec::with_capacity(sockets.len());
        for LaneSocket { socket, budget } in sockets {
            readers.push(UnixStream::from_std(socket.try_clone()?)?);
            let lane = Lane::new(generation, socket, budget);
            if lanes.len() >= with_session {
                lane.rest(&mut lane.lock(), LONGEST_REST);
            }
            lanes.push(lane);
        }
        let (draining, suspected) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok((Arc::new(Self { generation, lanes, draining, suspected }), readers))
    }

    /// Sends nothing more to this worker. What it has is still answered.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether this worker gets nothing more.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether all has been answered that is still going to be: a lane that is silent is not waited for.
    pub(super) fn is_drained(&self) -> bool {
        let now = Instant::now();
        self.lanes.iter().all(|lane| lane.load() == 0 || lane.is_silent(&lane.lock(), now, HANG_PATIENCE))
    }

    /// How many lanes there are that are not without a session.
    pub(super) fn with_session(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.resting.load(Ordering::SeqCst)).count()
    }

    /// Whether each lane is without a session.
    pub(super) fn is_without_sessions(&self) -> bool {
        self.with_session() == 0
    }

    /// What has to be looked at from time to time, whether or not calls come: lanes whose rest is over take calls again,
    /// and what waits behind a call that hangs goes to other lanes.
    pub(super) fn look_after(&self, dispatch: &Dispatch) {
        let now = Instant::now();
        let held_up = |lane: &&Lane| lane.load() > 1 && lane.is_silent(&lane.lock(), now, HANG_PATIENCE);
        if let Some(lane) = self.lanes.iter().find(held_up) {
            self.free_what_is_held_up(lane, now);
            // Whether others answer has to be seen, also where nobody else calls now.
            if let Some(other) = self.lanes.iter().find(|other| other.load() == 0 && other.takes_calls()) {
                other.probe(now);
            }
        }
        self.refill(dispatch);
        for lane in self.lanes.iter().filter(|lane| lane.has_rested(now)) {
            // Whether there is a session for it by now is found out by us, and not by a call.
            lane.probe(now);
        }
    }

    /// Takes back what waits in a lane behind a call that does not come back, where another lane shows that the module
    /// answers: there it is asked for once more. Where no lane answers it is the worker that hangs, and its successor is who
    /// is to be asked.
    fn free_what_is_held_up(&self, lane: &Lane, now: Instant) {
        let mut state = lane.lock();
        if !lane.is_silent(&state, now, HELD_UP_AFTER) {
            return;
        }
        let since = state.heard + HANG_PATIENCE;
        let others_answer = self.lanes.iter().any(|other| {
            // Never the lock of two lanes at once: that of this one is held.
            !std::ptr::eq(other, lane) && other.answered_after(since)
        });
        if !others_answer {
            return;
        }
        for sent in state.sent.iter_mut().skip(1) {
            sent.lose("another call before it does not come back from the PKCS#11 module");
        }
    }

    /// Calls in all lanes.
    pub(super) fn load(&self) -> usize {
        self.lanes.iter().map(Lane::load).sum()
    }

    /// The lane with the least to do of those that take calls.
    pub(super) fn least_loaded(&self) -> Option<&Lane> {
        if self.is_draining() {
            return None;
        }
        self.lanes.iter().filter(|lane| lane.takes_calls()).min_by_key(|lane| lane.load())
    }

    /// Sends waiting calls wherever there is room.
    pub(super) fn refill(&self, dispatch: &Dispatch) {
        if self.is_draining() {
            return;
        }
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
        if let Err(error) = lane.read(&socket, self, dispatch).await {
            tracing::warn!(lane = number, generation = self.generation, %error, "a lane broke");
        }
        // With one lane the worker ends. Before anybody is told: a retry must not go into another lane of it.
        self.drain();
        lane.close();
    }
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    generation: u64,
    /// The same socket that the reading task has, for writing without the runtime.
    socket: BlockingStream,
    budget: usize,
    state: Mutex<LaneState>,
    /// Calls in the lane, to look at without its mutex.
    load: AtomicUsize,
    /// Whether it takes calls, to look at without its mutex.
    open: AtomicBool,
    /// Whether it has no session, to look at without its mutex.
    resting: AtomicBool,
    /// What the next times are counted from.
    made: Instant,
    /// Milliseconds after `made` until which it is left alone, for want of a session.
    rests_until: AtomicU64,
    /// Milliseconds after `made` at which it last answered.
    answered: AtomicU64,
    /// The same of `LaneState::heard`, to look at without the mutex.
    heard: AtomicU64,
}

#[derive(Debug)]
struct LaneState {
    open: bool,
    sent: VecDeque<Sent>,
    bytes: usize,
    /// When the lane last answered, or began to have something to answer.
    heard: Instant,
    /// How long it is left alone the next time that it gets no session.
    rest: Duration,
}

/// A call that the worker has.
#[derive(Debug)]
struct Sent {
    /// `None`: it is not waited for here any more.
    reply: Option<oneshot::Sender<CallEnd>>,
    deadline: Instant,
    bytes: usize,
    /// Ends with the worker's answer.
    device: Span,
}

impl Sent {
    /// Tells whoever waits that this attempt is lost; what becomes of it is not known.
    fn lose(&mut self, why: &str) {
        let Some(reply) = self.reply.take() else { return };
        let failure = HsmFailure { attempts: 1, ..HsmFailure::new(HsmErrorKind::WorkerLost, why) };
        // Whoever gave up does not need to know.
        let _gone = reply.send(Err(CallFailure { retry: true, ..CallFailure::last(failure) }));
    }
}

impl Lane {
    fn new(generation: u64, socket: BlockingStream, budget: usize) -> Self {
        let now = Instant::now();
        let state = LaneState { open: true, sent: VecDeque::new(), bytes: 0, heard: now, rest: FIRST_REST };
        Self {
            generation,
            socket,
            budget,
            state: Mutex::new(state),
            load: AtomicUsize::new(0),
            open: AtomicBool::new(true),
            resting: AtomicBool::new(false),
            made: now,
            rests_until: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LaneState> {
        lock(&self.state)
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::SeqCst)
    }

    /// A lane that has not answered for a while takes no more: what hangs there must not hold up others.
    fn takes_calls(&self) -> bool {
        let load = self.load();
        if !self.open.load(Ordering::SeqCst) || self.resting.load(Ordering::SeqCst) || load >= LANE_DEPTH {
            return false;
        }
        let silent = self.after_made(Instant::now()).saturating_sub(self.heard.load(Ordering::SeqCst));
        load == 0 || u128::from(silent) < HANG_PATIENCE.as_millis()
    }

    /// Whether it has been left alone for long enough.
    fn has_rested(&self, now: Instant) -> bool {
        let resting = self.open.load(Ordering::SeqCst) && self.resting.load(Ordering::SeqCst);
        resting && self.load() == 0 && self.after_made(now) >= self.rests_until.load(Ordering::SeqCst)
    }

    fn after_made(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it has something to answer and has not for so long.
    fn is_silent(&self, state: &LaneState, now: Instant, patience: Duration) -> bool {
        !state.sent.is_empty() && now.saturating_duration_since(state.heard) >= patience
    }

    fn answered_after(&self, time: Instant) -> bool {
        self.answered.load(Ordering::SeqCst) > self.after_made(time)
    }

    /// Asks it for something that means nothing, to see whether it answers.
    fn probe(&self, now: Instant) {
        let (reply, _nobody_waits) = oneshot::channel();
        let frame = LaneRequest { fresh_session: false, operation: Operation::Random { length: 1 } }.encode();
        let call = Call {
            flow: Flow::OWN,
            frame,
            deadline: now + PROBE_DEADLINE,
            again: false,
            progress: Arc::new(Progress::begin()),
            stage: Stage::unseen(),
            reply,
        };
        // Given back where somebody was faster: then there is something to be seen all the same.
        drop(self.send(call));
    }

    /// Leaves it alone for a while, at most for `longest`, since it has no session and got none.
    fn rest(&self, state: &mut LaneState, longest: Duration) {
        self.resting.store(true, Ordering::SeqCst);
        self.rests_until.store(self.after_made(Instant::now() + state.rest.min(longest)), Ordering::SeqCst);
        state.rest = (state.rest * 2).min(LONGEST_REST);
    }

    fn room(&self, state: &LaneState) -> usize {
        match (state.open, state.sent.len()) {
            (false, _) => 0,
            (true, length) if length >= LANE_DEPTH => 0,
            (true, _) => self.budget.saturating_sub(state.bytes),
        }
    }

    /// Sends a call, or gives it back.
    pub(super) fn send(&self, call: Call) -> Option<Call> {
        let mut state = self.lock();
        if call.frame.len() > self.room(&state) {
            return Some(call);
        }
        self.write(&mut state, vec![call]).pop()
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
        for call in &calls {
            call.progress.sent();
        }
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
                for call in &calls {
                    call.progress.not_sent();
                }
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
            self.heard.store(self.after_made(state.heard), Ordering::SeqCst);
        }
        for Call { flow: _, frame, deadline, again: _, progress: _, stage, reply } in calls {
            state.bytes += frame.len();
            state.sent.push_back(Sent { reply: Some(reply), deadline, bytes: frame.len(), device: stage.device() });
        }
        self.load.store(state.sent.len(), Ordering::SeqCst);
    }

    async fn read(&self, socket: &UnixStream, set: &LaneSet, dispatch: &Dispatch) -> io::Result<()> {
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
            self.complete(replies, set, dispatch)?;
        }
    }

    /// Refills the lane, then wakes those whose replies came.
    fn complete(&self, replies: Vec<LaneReply>, set: &LaneSet, dispatch: &Dispatch) -> io::Result<()> {
        let mut answered = Vec::with_capacity(replies.len());
        {
            let mut state = self.lock();
            state.heard = Instant::now();
            let heard = self.after_made(state.heard);
            self.heard.store(heard, Ordering::SeqCst);
            self.answered.store(heard, Ordering::SeqCst);
            for reply in replies {
                if matches!(&reply, Err(failure) if failure.no_session) {
                    // This one may be the last that had one.
                    self.resting.store(true, Ordering::SeqCst);
                    let longest = if set.is_without_sessions() { LONGEST_REST_OF_ALL } else { LONGEST_REST };
                    self.rest(&mut state, longest);
                } else {
                    self.resting.store(false, Ordering::SeqCst);
                    state.rest = FIRST_REST;
                }
                match state.sent.pop_front() {
                    Some(sent) => {
                        state.bytes -= sent.bytes;
                        answered.push((sent, reply));
                    }
                    None if !state.open => break,
                    None => return Err(io::Error::other("the worker answered what nobody asked")),
                }
            }
            if state.open {
                self.load.store(state.sent.len(), Ordering::SeqCst);
                if !set.is_draining() && !self.resting.load(Ordering::SeqCst) {
                    self.refill(&mut state, dispatch);
                }
            }
        }
        for (Sent { reply: waiting, device, .. }, reply) in answered {
            drop(device);
            let Some(waiting) = waiting else { continue };
            let end = reply.map_err(|failure| CallFailure {
                retry: failure.retry,
                replace: failure.replace.then_some(self.generation),
                not_asked: failure.no_session,
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
        for mut sent in state.sent.drain(..) {
            sent.lose("the worker process ended before it answered");
        }
    }
}

fn write_whole(mut socket: &BlockingStream, bytes: &[u8]) -> io::Result<()> {
    match socket.write(bytes)? {
        length if length == bytes.len() => Ok(()),
        length => Err(io::Error::other(format!("{length} of {} bytes were taken", bytes.len()))),
    }
}
