//! A token bucket, counted exactly: in millionths of a use, by a clock of microseconds.

use std::time::Duration;

use chancery_model::{Rate, Timestamp};

/// Millionths: what a rate of one a second gives in a microsecond.
const USE: u64 = 1_000_000;

/// How many uses are left, and since when.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    rate: Rate,
    /// In millionths of a use.
    level: u64,
    at: Timestamp,
}

/// There are not so many uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// There are when so much time has passed, unless somebody else takes them.
    For(Duration),
    /// There never are: the burst is smaller.
    Always,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate, now: Timestamp) -> Self {
        Self { rate, level: capacity(rate), at: now }
    }

    /// Takes so many uses, all or none. `rate` is what holds now: a bucket whose rate has changed keeps what it has, as far
    /// as the new burst goes.
    pub fn take(&mut self, rate: Rate, uses: u32, now: Timestamp) -> Result<(), Empty> {
        self.settle(now);
        self.rate = rate;
        self.level = self.level.min(capacity(rate));
        if uses > rate.burst {
            return Err(Empty::Always);
        }
        let wanted = u64::from(uses) * USE;
        match wanted.checked_sub(self.level) {
            None | Some(0) => {
                self.level -= wanted;
                Ok(())
            }
            Some(missing) => {
                Err(Empty::For(Duration::from_micros(missing.div_ceil(u64::from(rate.per_second).max(1)))))
            }
        }
    }

    /// Gives uses back that were taken and not made.
    pub fn give_back(&mut self, uses: u32) {
        self.level = self.level.saturating_add(u64::from(uses) * USE).min(capacity(self.rate));
    }

    /// Whether it is as a new one would be.
    pub fn is_full(&mut self, now: Timestamp) -> bool {
        self.settle(now);
        self.level == capacity(self.rate)
    }

    /// Adds what has come since. A clock that was set back adds nothing, and takes nothing away.
    fn settle(&mut self, now: Timestamp) {
        let passed = now.unix_micros().saturating_sub(self.at.unix_micros());
        let new = u64::try_from(passed).unwrap_or(0).saturating_mul(self.rate.per_second.into());
        self.level = self.level.saturating_add(new).min(capacity(self.rate));
        self.at = now;
    }
}

fn capacity(rate: Rate) -> u64 {
    u64::from(rate.burst) * USE
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 3, burst: 5 };

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(micros)
    }

    fn wait(empty: Empty) -> i64 {
        match empty {
            Empty::For(wait) => i64::try_from(wait.as_micros()).unwrap(),
            Empty::Always => panic!("never"),
        }
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut bucket = Bucket::new(RATE, at(0));
        bucket.take(RATE, 5, at(0)).unwrap();
        // A third of a second, rounded up: before it there is none, from it on there is one.
        let next = wait(bucket.take(RATE, 1, at(0)).unwrap_err());
        assert_eq!(next, 333_334);
        assert_eq!(wait(bucket.take(RATE, 1, at(next - 1)).unwrap_err()), 1);
        bucket.take(RATE, 1, at(next)).unwrap();
        assert!(bucket.take(RATE, 1, at(next)).is_err());
        // Nothing is lost to rounding: in a hundred seconds there are three hundred.
        let mut bucket = Bucket::new(RATE, at(0));
        bucket.take(RATE, 5, at(0)).unwrap();
        let made = (0..=100_000).filter(|millis| bucket.take(RATE, 1, at(millis * 1_000)).is_ok()).count();
        assert_eq!(made, 300);
    }

    #[test]
    fn many_at_once_are_taken_together_or_not_at_all() {
        let mut bucket = Bucket::new(RATE, at(0));
        assert_eq!(bucket.take(RATE, 6, at(0)).unwrap_err(), Empty::Always);
        bucket.take(RATE, 3, at(0)).unwrap();
        assert_eq!(wait(bucket.take(RATE, 4, at(0)).unwrap_err()), 666_667);
        bucket.take(RATE, 2, at(0)).unwrap();
        bucket.give_back(2);
        bucket.take(RATE, 2, at(0)).unwrap();
        bucket.give_back(100);
        assert!(bucket.is_full(at(0)), "never more than the burst");
        assert!(bucket.take(RATE, 5, at(0)).is_ok() && !bucket.is_full(at(1)));
    }

    #[test]
    fn a_clock_that_jumps_gives_a_burst_at_most_and_takes_nothing() {
        let mut bucket = Bucket::new(RATE, at(1_000_000_000));
        bucket.take(RATE, 5, at(1_000_000_000)).unwrap();
        let next = wait(bucket.take(RATE, 1, at(0)).unwrap_err());
        bucket.take(RATE, 1, at(next)).unwrap();
        assert_eq!(bucket.take(RATE, 5, at(i64::MAX)), Ok(()));
        assert!(bucket.take(RATE, 1, at(i64::MAX)).is_err());
        assert!(bucket.take(RATE, 1, at(i64::MIN)).is_err());
    }

    #[test]
    fn another_rate_holds_at_once_and_gives_nothing_away() {
        let mut bucket = Bucket::new(RATE, at(0));
        bucket.take(RATE, 4, at(0)).unwrap();
        let larger = Rate { per_second: 1, burst: 100 };
        assert_eq!(wait(bucket.take(larger, 100, at(0)).unwrap_err()), 99_000_000);
        let smaller = Rate { per_second: 1, burst: 1 };
        bucket.take(smaller, 1, at(1_000_000_000)).unwrap();
        assert_eq!(wait(bucket.take(smaller, 1, at(1_000_000_000)).unwrap_err()), 1_000_000);
    }
}
