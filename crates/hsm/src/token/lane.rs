//! The service's end of the lanes.
//!
//! The handler of a call writes into a lane itself, under the lane's mutex: handing the bytes to a task that writes
//! would cost a wake-up, which is dearer than the bytes. One task for each lane reads; on replies it refills the lane
//! from the queue first and then wakes those who wait, so that the worker never idles while they are scheduled.

use super::dispatch::{Call, CallEnd, CallFailure, Dispatch, lock};
use super::launch::LaneSocket;
use crate::wire::{FrameBuffer, LaneReply, decode_lane_reply};
use crate::{HANG_PATIENCE, HsmErrorKind, HsmFailure, LANE_DEPTH};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream as BlockingStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Span;

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

    /// Calls in all lanes.
    pub(super) fn load(&self) -> usize {
        self.lanes.iter().map(Lane::load).sum()
    }

    /// The lane with the least to do of those that take calls.
    pub(super) fn least_loaded(&self) -> Option<&Lane> {
        self.lanes.iter().filter(|lane| lane.takes_calls()).min_by_key(|lane| lane.load())
    }

    /// Sends waiting calls wherever there is room.
    pub(super) fn refill(&self, dispatch: &Dispatch) {
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
    /// Ends with the worker's answer.
    device: Span,
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
        }
        for Call { frame, deadline, again: _, progress: _, stage, reply } in calls {
            state.bytes += frame.len();
            state.sent.push_back(Sent { reply, deadline, bytes: frame.len(), device: stage.device() });
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
                        answered.push((sent, reply));
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
        for (Sent { reply: waiting, device, .. }, reply) in answered {
            drop(device);
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
