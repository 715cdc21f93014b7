//! Connections that came to nothing, for the log: one line a minute at most, however many there were.

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
    pub(super) fn count(&self, kind: ConnectionRefusal) {
        let count = match kind {
            ConnectionRefusal::Socket => &self.0.socket,
            ConnectionRefusal::Tls => &self.0.tls,
            ConnectionRefusal::Timeout => &self.0.timeout,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Says how many there were of each kind, if any, and begins anew.
    pub(super) fn tell(&self) {
        let [socket, tls, timeout] = self.take();
        if socket + tls + timeout > 0 {
            tracing::info!(
                socket,
                tls,
                handshake_timeout = timeout,
                "connections were refused since this was last said"
            );
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
    fn each_is_told_once_under_its_kind() {
        let refusals = Refusals::default();
        let other = refusals.clone();
        for kind in
            [ConnectionRefusal::Tls, ConnectionRefusal::Timeout, ConnectionRefusal::Tls, ConnectionRefusal::Socket]
        {
            other.count(kind);
        }
        assert_eq!(refusals.take(), [1, 2, 1]);
        assert_eq!(refusals.take(), [0, 0, 0]);
    }
}
