//! Connections that came to nothing, for the log: however many there were, in a minute the first of each kind as it was, and the
//! numbers.

use crate::metrics::ConnectionRefusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

const INTERVAL: Duration = Duration::from_secs(60);

/// How many there are kinds of them.
const KINDS: usize = ConnectionRefusal::ALL.len();

/// How many there were since they were last told of, by kind. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Refusals(Arc<[AtomicU64; KINDS]>);

/// When to tell of them.
pub(super) fn summaries() -> Interval {
    let mut interval = interval_at(Instant::now() + INTERVAL, INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Refusals {
    /// Counts one more. Answers whether it is the first of its kind since they were last told of.
    pub(super) fn count(&self, kind: ConnectionRefusal) -> bool {
        let mut counts = ConnectionRefusal::ALL.into_iter().zip(&*self.0);
        counts.find(|(of, _)| *of == kind).is_some_and(|(_, count)| count.fetch_add(1, Ordering::Relaxed) == 0)
    }

    /// Says how many there were of each kind, where that was not said with the first, and begins anew.
    pub(super) fn tell(&self) {
        let all = self.take();
        if all.iter().any(|count| *count > 1) {
            let counts = ConnectionRefusal::ALL.into_iter().zip(all).filter(|(_, count)| *count > 0);
            let counts: Vec<String> = counts.map(|(kind, count)| format!("{}={count}", kind.as_str())).collect();
            tracing::info!(by_reason = counts.join(" "), "connections refused in the last minute");
        }
    }

    fn take(&self) -> [u64; KINDS] {
        self.0.each_ref().map(|count| count.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_kind_is_told_from_those_after_it() {
        use ConnectionRefusal::{Socket, Timeout, Tls};
        let refusals = Refusals::default();
        let other = refusals.clone();
        for _minute in 0..2 {
            let firsts = [Tls, Timeout, Tls, Socket, Tls].map(|kind| other.count(kind));
            assert_eq!(firsts, [true, true, false, true, false]);
            let counted = ConnectionRefusal::ALL.into_iter().zip(refusals.take()).filter(|(_, count)| *count > 0);
            assert_eq!(counted.collect::<Vec<_>>(), [(Socket, 1), (Tls, 3), (Timeout, 1)]);
        }
        assert!(refusals.take().iter().all(|count| *count == 0));
    }
}
