//! The lanes of one worker: which of them gets the next call, and what is done about those that are silent or have no
//! session.

use super::dispatch::Dispatch;
use super::lane::Lane;
use super::launch::LaneSocket;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::UnixStream;
use tokio::time::Instant;

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
                lane.begin_resting();
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
        self.lanes.iter().all(|lane| lane.load() == 0 || lane.is_silent(now))
    }

    /// How many lanes there are that are not without a session.
    pub(super) fn with_session(&self) -> usize {
        self.lanes.iter().filter(|lane| !lane.is_resting()).count()
    }

    /// Whether each lane is without a session.
    pub(super) fn is_without_sessions(&self) -> bool {
        self.with_session() == 0
    }

    /// What has to be looked at from time to time, whether or not calls come: lanes whose rest is over take calls again,
    /// and what waits behind a call that hangs goes to other lanes.
    pub(super) fn look_after(&self, dispatch: &Dispatch) {
        let now = Instant::now();
        let held_up = |lane: &&Lane| lane.load() > 1 && lane.is_silent(now);
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
        lane.free_what_is_held_up(now, |since| {
            self.lanes.iter().any(|other| !std::ptr::eq(other, lane) && other.answered_after(since))
        });
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
                lane.refill(dispatch);
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
            let Some(hung_at) = lane.hung_at(now) else { continue };
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
