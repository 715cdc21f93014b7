//! How far a signing request has come, for its times and for its spans.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::{Span, debug_span};

/// What the caller's end sees of a request that is in the queue or in a lane.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    /// Nanoseconds from the beginning until a lane had it, and 1; 0 while it waits for one.
    sent_after: AtomicU64,
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), sent_after: AtomicU64::new(0) }
    }

    /// From now on the worker may see it.
    pub(super) fn sent(&self) {
        let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.sent_after.store(nanos.saturating_add(1), Ordering::SeqCst);
    }

    /// It reached nobody after all.
    pub(super) fn not_sent(&self) {
        self.sent_after.store(0, Ordering::SeqCst);
    }

    /// Whether the worker may have seen it.
    pub(super) fn was_sent(&self) -> bool {
        self.sent_after.load(Ordering::SeqCst) != 0
    }

    /// How long it waited for a lane until now, and how long it has been with the worker.
    pub(super) fn times(&self) -> (Duration, Duration) {
        let all = self.begun.elapsed();
        match self.sent_after.load(Ordering::SeqCst).checked_sub(1) {
            None => (all, Duration::ZERO),
            Some(nanos) => {
                let queue = Duration::from_nanos(nanos);
                (queue, all.saturating_sub(queue))
            }
        }
    }
}

/// The span of a request's stage. It travels with the request: whoever moves the request on ends it. Where nobody
/// looks at spans, these are empty and cost nothing.
#[derive(Debug)]
pub(super) struct Stage {
    parent: Span,
    queue: Span,
}

impl Stage {
    /// It waits for a lane, on behalf of the present span.
    pub(super) fn queue() -> Self {
        Self { parent: Span::current(), queue: debug_span!("queue") }
    }

    /// It is on nobody's behalf.
    pub(super) fn unseen() -> Self {
        Self { parent: Span::none(), queue: Span::none() }
    }

    /// A lane has it; the span ends when the worker's answer is there.
    pub(super) fn device(self) -> Span {
        let Self { parent, queue } = self;
        if queue.is_disabled() {
            // Whoever moves it on is not within the call, and could not tell that nobody looks.
            return Span::none();
        }
        drop(queue);
        debug_span!(parent: &parent, "device")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_the_queues_until_a_lane_has_the_request() {
        let progress = Progress::begin();
        std::thread::sleep(Duration::from_millis(2));
        assert!(!progress.was_sent());
        let (queue, device) = progress.times();
        assert!(queue >= Duration::from_millis(2) && device == Duration::ZERO);
        progress.sent();
        assert!(progress.was_sent());
        let (queue, _) = progress.times();
        std::thread::sleep(Duration::from_millis(2));
        let (still, device) = progress.times();
        assert!(still == queue && device >= Duration::from_millis(2));
        progress.not_sent();
        assert!(!progress.was_sent() && progress.times().1 == Duration::ZERO);
    }
}
