//! The service's end of a lane.
//!
//! The handler of a call writes into a lane itself, under the lane's mutex: handing the bytes to a task that writes
//! would cost a wake-up, which is dearer than the bytes. One task for each lane reads; on replies it refills the lane
//! from the queue first and then wakes those who wait, so that the worker never idles while they are scheduled.

use super::dispatch::{Call, CallEnd, CallFailure, Dispatch, lock};
use super::lanes::LaneSet;
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

impl LaneState {
    /// Whether there is something to answer and nothing was heard for so long.
    fn is_silent(&self, now: Instant, patience: Duration) -> bool {
        !self.sent.is_empty() && now.saturating_duration_since(self.heard) >= patience
    }
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
    pub(super) fn new(generation: u64, socket: BlockingStream, budget: usize) -> Self {
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

    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::SeqCst)
    }

    /// A lane that has not answered for a while takes no more: what hangs there must not hold up others.
    pub(super) fn takes_calls(&self) -> bool {
        let load = self.load();
        if !self.open.load(Ordering::SeqCst) || self.resting.load(Ordering::SeqCst) || load >= LANE_DEPTH {
            return false;
        }
        let silent = self.after_made(Instant::now()).saturating_sub(self.heard.load(Ordering::SeqCst));
        load == 0 || u128::from(silent) < HANG_PATIENCE.as_millis()
    }

    /// Whether it has no session.
    pub(super) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::SeqCst)
    }

    /// Whether it has been left alone for long enough.
    pub(super) fn has_rested(&self, now: Instant) -> bool {
        let resting = self.open.load(Ordering::SeqCst) && self.resting.load(Ordering::SeqCst);
        resting && self.load() == 0 && self.after_made(now) >= self.rests_until.load(Ordering::SeqCst)
    }

    fn after_made(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it has something to answer and has not for as long as a worker may hang.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.lock().is_silent(now, HANG_PATIENCE)
    }

    /// When it counts as hung, by a call that overruns its deadline now; nothing where none does.
    pub(super) fn hung_at(&self, now: Instant) -> Option<Instant> {
        let state = self.lock();
        let oldest = state.sent.front().filter(|oldest| oldest.deadline <= now)?;
        Some(oldest.deadline.max(state.heard + HANG_PATIENCE))
    }

    /// Takes back what waits behind a call that does not come back, where others are known to have answered since the
    /// time that `others_answered` is asked about. It is asked with the lock of this lane held, and must not take that of
    /// another.
    pub(super) fn free_what_is_held_up(&self, now: Instant, others_answered: impl FnOnce(Instant) -> bool) {
        let mut state = self.lock();
        if !state.is_silent(now, HELD_UP_AFTER) || !others_answered(state.heard + HANG_PATIENCE) {
            return;
        }
        for sent in state.sent.iter_mut().skip(1) {
            sent.lose("another call before it does not come back from the PKCS#11 module");
        }
    }

    pub(super) fn answered_after(&self, time: Instant) -> bool {
        self.answered.load(Ordering::SeqCst) > self.after_made(time)
    }

    /// Asks it for something that means nothing, to see whether it answers.
    pub(super) fn probe(&self, now: Instant) {
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

    /// Leaves it alone for a while, since it begins without a session.
    pub(super) fn begin_resting(&self) {
        self.rest(&mut self.lock(), LONGEST_REST);
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
    pub(super) fn refill(&self, dispatch: &Dispatch) {
        self.refill_locked(&mut self.lock(), dispatch);
    }

    fn refill_locked(&self, state: &mut LaneState, dispatch: &Dispatch) {
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

    pub(super) async fn read(&self, socket: &UnixStream, set: &LaneSet, dispatch: &Dispatch) -> io::Result<()> {
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
        let mut out_of_step = false;
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
                    None => {
                        out_of_step = true;
                        break;
                    }
                }
            }
            if state.open {
                self.load.store(state.sent.len(), Ordering::SeqCst);
                if !set.is_draining() && !self.is_resting() {
                    self.refill_locked(&mut state, dispatch);
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
        if out_of_step { Err(io::Error::other("the worker answered what nobody asked")) } else { Ok(()) }
    }

    pub(super) fn close(&self) {
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
