//! How soon a worker may be replaced, and how soon the next start is tried. Times are handed in: nothing here waits.

use std::time::Duration;
use tokio::time::Instant;

/// A worker that asks for a successor gets one at most this often: a token whose every call fails is not helped by
/// a login every second.
const REPLACEMENT_INTERVAL: Duration = Duration::from_secs(30);

/// Waits between starts that come to nothing: the first of them, doubled each time up to the last. With it, and with what
/// a worker spends on looking for its token, a token is served again within five seconds of the end of its trouble, and
/// the time that its module takes to start.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// A worker that lived for less did not do its work: the wait before the next one grows.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// After a worker that lived for so long, all is forgotten.
const QUIET_TIME: Duration = Duration::from_secs(5);

/// Lets workers be replaced on request, at most once in a while.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    granted: Option<Instant>,
}

impl Breaker {
    /// Whether a worker may be replaced now. Where it may not, the second value is when it may at the earliest.
    pub(super) fn ask(&mut self, now: Instant) -> Result<(), Instant> {
        match self.open_until(now) {
            Some(until) => Err(until),
            None => {
                self.granted = Some(now);
                Ok(())
            }
        }
    }

    /// Until when no request is granted, if any would be refused now.
    pub(super) fn open_until(&self, now: Instant) -> Option<Instant> {
        self.granted.map(|granted| granted + REPLACEMENT_INTERVAL).filter(|until| *until > now)
    }
}

/// The waits between starts.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    wait: Duration,
}

impl BackOff {
    /// A start came to nothing.
    pub(super) fn failed(&mut self) {
        self.wait = if self.wait.is_zero() { FIRST_WAIT } else { (self.wait * 2).min(LONGEST_WAIT) };
    }

    /// A worker ended after `lived`.
    pub(super) fn ended(&mut self, lived: Duration) {
        if lived < SHORT_LIFE {
            self.failed();
        } else if lived >= QUIET_TIME {
            self.wait = Duration::ZERO;
        }
    }

    /// How long to wait before the next start: between half of the wait and the whole of it, as `random` says, so that
    /// the workers of several tokens, or replicas, do not start in step.
    pub(super) fn wait(&self, random: u32) -> Duration {
        let half = self.wait / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_is_granted_in_thirty_seconds() {
        let mut breaker = Breaker::default();
        let first = Instant::now();
        assert_eq!(breaker.open_until(first), None);
        assert_eq!(breaker.ask(first), Ok(()));
        let again = first + REPLACEMENT_INTERVAL;
        for later in [0, 1, 29] {
            assert_eq!(breaker.ask(first + Duration::from_secs(later)), Err(again), "after {later} s");
        }
        assert_eq!(breaker.open_until(first + Duration::from_secs(29)), Some(again));
        assert_eq!(breaker.ask(again), Ok(()), "those that were refused do not make it later");
        assert_eq!(breaker.ask(again), Err(again + REPLACEMENT_INTERVAL));
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_is_spread() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.wait(u32::MAX), Duration::ZERO, "the first replacement is at once");
        let mut waits = Vec::new();
        for _ in 0..8 {
            back_off.failed();
            waits.push(back_off.wait(u32::MAX).as_millis());
            assert_eq!(back_off.wait(0).as_millis(), waits.last().unwrap() / 2);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_000, 3_000, 3_000]);
    }

    #[test]
    fn a_short_life_counts_as_a_failure_and_a_quiet_time_forgets() {
        let mut back_off = BackOff::default();
        let whole = |back_off: &BackOff| back_off.wait(u32::MAX).as_millis();
        back_off.ended(Duration::from_millis(10));
        back_off.ended(Duration::from_millis(999));
        assert_eq!(whole(&back_off), 200);
        back_off.ended(Duration::from_secs(4));
        assert_eq!(whole(&back_off), 200, "neither short nor quiet");
        back_off.ended(QUIET_TIME);
        assert_eq!(whole(&back_off), 0);
    }
}
