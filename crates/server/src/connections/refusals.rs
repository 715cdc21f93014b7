//! Connections that came to nothing, for the log: however many there were, in a minute the first of each kind as it was, and the
//! numbers.

use crate::metrics::ConnectionRefusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

const INTERVAL: Duration = Duration::from_secs(60);

/// How many there were since they were last told of. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Refusals(Arc<Counts>);

#[derive(Default)]
struct Counts {
    socket: AtomicU64,
    tls: AtomicU64,
    timeout: AtomicU64,
}

/// When to tell of them.
pub(super) fn summaries() -> Interval {
    let mut interval = interval_at(Instant::now() + INTERVAL, INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Refusals {
    /// Counts one more. Answers whether it is the first of its kind since they were last told of.
    pub(super) fn count(&self, kind: ConnectionRefusal) -> bool {
        let count = match kind {
            ConnectionRefusal::Socket => &self.0.socket,
            ConnectionRefusal::Tls => &self.0.tls,
            ConnectionRefusal::Timeout => &self.0.timeout,
        };
        count.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Says how many there were of each kind, where that was not said with the first, and begins anew.
    pub(super) fn tell(&self) {
        let all = self.take();
        if all.iter().any(|count| *count > 1) {
            let [socket, tls, timeout] = all;
            tracing::info!(socket, tls, handshake_timeout = timeout, "connections refused in the last minute");
        }
    }

    fn take(&self) -> [u64; 3] {
        let Counts { socket, tls, timeout } = &*self.0;
        [socket, tls, timeout].map(|count| count.swap(0, Ordering::Relaxed))
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
            assert_eq!(refusals.take(), [1, 3, 1]);
        }
        assert_eq!(refusals.take(), [0, 0, 0]);
    }
}
