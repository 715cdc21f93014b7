//! What waits for a lane, in turns: each flow that has calls waiting gives one of them away, then it is the next one's turn.
//!
//! However much one flow hands in, a call of another waits for at most one call of each flow before it, beside what the lanes
//! have already. The queue is bounded as a whole, and each flow by what is free (see [`Queue::admits`]). Whoever has nothing
//! waiting is let in always, so that no others, however many, keep somebody out.

use super::dispatch::Call;
use crate::Flow;
use std::collections::{HashMap, VecDeque};
use tokio::time::Instant;

/// A flow may have so many calls waiting for each place that is free. Alone it gets four fifths of the queue. Where several
/// take what they can, those that have many get no more until the others have as many.
const CALLS_FOR_EACH_FREE_PLACE: usize = 4;

/// The calls that wait.
#[derive(Debug)]
pub(super) struct Queue {
    /// Let in once already, and back: before all others.
    returned: VecDeque<Call>,
    /// What each flow has waiting; never empty.
    flows: HashMap<Flow, VecDeque<Call>>,
    /// The flows that have something waiting, in the order of their turns.
    turns: VecDeque<Flow>,
    /// Calls in `flows`, together.
    waiting: usize,
    limit: usize,
}

/// Why a call was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// So many wait in all.
    Queue(usize),
    /// So many of its own flow wait.
    Flow(usize),
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { returned: VecDeque::new(), flows: HashMap::new(), turns: VecDeque::new(), waiting: 0, limit }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.returned.len() + self.waiting
    }

    /// How many flows wait.
    pub(super) fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Puts a call behind the others of its flow.
    pub(super) fn push(&mut self, call: Call) -> Result<(), Full> {
        if self.admits(call.flow).is_err() {
            // Those that gave up while they waited make room.
            self.forget_the_gone();
        }
        self.admits(call.flow)?;
        let Self { flows, turns, .. } = self;
        let flow = flows.entry(call.flow).or_default();
        if flow.is_empty() {
            turns.push_back(call.flow);
        }
        flow.push_back(call);
        self.waiting += 1;
        Ok(())
    }

    /// Puts a call that was let in before to the front. The limits are not for it: there are never more such calls than what
    /// the lanes of a lost worker held.
    pub(super) fn push_front(&mut self, call: Call) {
        self.returned.push_front(call);
    }

    /// The next call that somebody still waits for and that fits into `room` bytes.
    pub(super) fn pop(&mut self, room: usize) -> Option<Call> {
        let now = Instant::now();
        while let Some(call) = self.returned.front() {
            if is_gone(call, now) {
                self.returned.pop_front();
            } else if call.frame.len() > room {
                return None;
            } else {
                return self.returned.pop_front();
            }
        }
        while let Some(turn) = self.turns.front().copied() {
            let Some(flow) = self.flows.get_mut(&turn) else {
                // A turn without calls: never, and harmless.
                self.turns.pop_front();
                continue;
            };
            while flow.front().is_some_and(|call| is_gone(call, now)) {
                flow.pop_front();
                self.waiting -= 1;
            }
            if flow.front().is_some_and(|call| call.frame.len() > room) {
                // The next lane with more room takes it; no other flow goes before it meanwhile.
                return None;
            }
            let call = flow.pop_front();
            let is_done = flow.is_empty();
            self.turns.pop_front();
            if is_done {
                self.flows.remove(&turn);
            } else {
                self.turns.push_back(turn);
            }
            if call.is_some() {
                self.waiting -= 1;
                return call;
            }
        }
        None
    }

    /// Takes all that waits out.
    pub(super) fn take(&mut self) -> Vec<Call> {
        self.turns.clear();
        self.waiting = 0;
        let waiting = std::mem::take(&mut self.flows).into_values().flatten();
        std::mem::take(&mut self.returned).into_iter().chain(waiting).collect()
    }

    /// Whether there is room for one call more of a flow.
    fn admits(&self, flow: Flow) -> Result<(), Full> {
        let own = self.flows.get(&flow).map_or(0, VecDeque::len);
        if own == 0 {
            // Beyond the limit, too, by one call of each flow at most; and there are no more flows than registered callers.
            return Ok(());
        }
        let free = self.limit.saturating_sub(self.len());
        if free == 0 {
            return Err(Full::Queue(self.len()));
        }
        if own < free.saturating_mul(CALLS_FOR_EACH_FREE_PLACE) { Ok(()) } else { Err(Full::Flow(own)) }
    }

    fn forget_the_gone(&mut self) {
        let now = Instant::now();
        self.returned.retain(|call| !is_gone(call, now));
        self.flows.retain(|_, calls| {
            calls.retain(|call| !is_gone(call, now));
            !calls.is_empty()
        });
        let Self { flows, turns, .. } = self;
        turns.retain(|flow| flows.contains_key(flow));
        self.waiting = self.flows.values().map(VecDeque::len).sum();
    }
}

/// Whether nobody waits for it any more. Whoever did has a timer of his own.
fn is_gone(call: &Call, now: Instant) -> bool {
    call.reply.is_closed() || call.deadline <= now
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::CallEnd;
    use super::super::progress::{Progress, Stage};
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::oneshot;

    const ROOM: usize = 1 << 16;

    /// A call whose frame says what it is, and who waits for it.
    fn call(flow: u128, name: &str) -> (Call, oneshot::Receiver<CallEnd>) {
        let (reply, waiting) = oneshot::channel();
        let call = Call {
            flow: Flow::new(flow),
            frame: name.as_bytes().to_vec(),
            deadline: Instant::now() + Duration::from_secs(60),
            again: false,
            progress: Arc::new(Progress::begin()),
            stage: Stage::unseen(),
            reply,
        };
        (call, waiting)
    }

    fn name(call: &Call) -> String {
        String::from_utf8(call.frame.clone()).unwrap()
    }

    fn all(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(ROOM)).map(|call| name(&call)).collect()
    }

    #[test]
    fn flows_take_turns_and_each_keeps_its_order() {
        let mut queue = Queue::new(100);
        let mut waiting = Vec::new();
        for (flow, calls) in [(1, ["a1", "a2", "a3", "a4"].as_slice()), (2, &["b1", "b2"]), (3, &["c1"])] {
            for name in calls {
                let (call, waits) = call(flow, name);
                queue.push(call).unwrap();
                waiting.push(waits);
            }
        }
        assert_eq!(queue.len(), 7);
        assert_eq!(all(&mut queue), ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
        assert_eq!((queue.len(), queue.flows.len(), queue.turns.len()), (0, 0, 0));
    }

    #[test]
    fn who_comes_late_waits_for_one_call_of_each_flow_and_no_more() {
        let mut queue = Queue::new(10_000);
        let mut waiting = Vec::new();
        for number in 0..3_000_u128 {
            let (call, waits) = call(number % 3, "flood");
            queue.push(call).unwrap();
            waiting.push(waits);
        }
        for _ in 0..20 {
            let (call, _waits) = call(9, "quiet");
            queue.push(call).unwrap();
            let before = std::iter::from_fn(|| queue.pop(ROOM)).position(|call| name(&call) == "quiet");
            assert!(before.is_some_and(|before| before <= 3), "{before:?}");
        }
    }

    #[test]
    fn a_flow_that_takes_what_it_can_leaves_room_for_others() {
        for limit in [1, 2, 3, 5, 10, 1024] {
            let mut queue = Queue::new(limit);
            let mut waiting = Vec::new();
            let mut fill = |queue: &mut Queue, flow| {
                let mut let_in = 0;
                loop {
                    let (call, waits) = call(flow, "flood");
                    if queue.push(call).is_err() {
                        return let_in;
                    }
                    waiting.push(waits);
                    let_in += 1;
                }
            };
            let alone = fill(&mut queue, 1);
            assert!(alone * 5 >= limit * 4, "{alone} of {limit}: one flow gets four fifths of the queue");
            if limit < 10 {
                continue;
            }
            assert!(alone < limit, "{alone} of {limit}");
            assert!(fill(&mut queue, 2) >= 1 && queue.len() <= limit);
            if limit < 1024 {
                continue;
            }
            let (more, _waits) = call(1, "one more");
            assert!(matches!(queue.push(more), Err(Full::Flow(own)) if own == alone));
        }
    }

    #[test]
    fn where_many_flows_take_what_they_can_there_is_room_for_one_more() {
        let mut queue = Queue::new(1024);
        let mut waiting = Vec::new();
        for round in 0..4_000 {
            for flow in 1..=20 {
                loop {
                    let (call, waits) = call(flow, "flood");
                    if queue.push(call).is_err() {
                        break;
                    }
                    waiting.push(waits);
                }
            }
            // Whoever was first has most of the queue for a while; nobody is kept out for it.
            if round % 40 == 0 {
                let (quiet, waits) = call(99, "quiet");
                queue.push(quiet).unwrap();
                waiting.push(waits);
            }
            queue.pop(ROOM).unwrap();
            assert!(queue.len() <= 1024 + 21, "beyond the limit there is one call of each at most");
        }
    }

    #[test]
    fn who_gave_up_makes_room_and_is_passed_over() {
        let mut queue = Queue::new(3);
        let mut waiting = Vec::new();
        for (flow, name) in [(1, "a"), (1, "b"), (2, "c")] {
            let (call, waits) = call(flow, name);
            queue.push(call).unwrap();
            waiting.push(waits);
        }
        let (late, _waits) = call(2, "d");
        assert_eq!(queue.push(late).unwrap_err(), Full::Queue(3));
        // Those who wait for a and c.
        drop((waiting.remove(2), waiting.remove(0)));
        let (late, _waits) = call(2, "d");
        queue.push(late).unwrap();
        assert_eq!(all(&mut queue), ["b", "d"]);
    }

    #[test]
    fn what_comes_back_goes_first_and_what_does_not_fit_is_waited_for() {
        let mut queue = Queue::new(2);
        let (long, _long) = call(1, "long");
        let (short, _short) = call(2, "s");
        queue.push(long).unwrap();
        queue.push(short).unwrap();
        let (back, _back) = call(3, "back");
        queue.push_front(back);
        assert_eq!(queue.len(), 3, "the limit is not for what was let in before");
        assert_eq!(name(&queue.pop(4).unwrap()), "back");
        assert!(queue.pop(3).is_none(), "nobody goes before it");
        assert_eq!(all(&mut queue), ["long", "s"]);
        let (last, _last) = call(1, "last");
        queue.push(last).unwrap();
        assert_eq!(queue.take().len(), 1);
        assert_eq!((queue.len(), queue.turns.len()), (0, 0));
    }
}
