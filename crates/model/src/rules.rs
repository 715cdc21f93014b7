//! What a key's administrators lay down for it, and how much of the service a key or a caller may take.

use crate::{Timestamp, Uid};
use std::fmt;

/// The rules of a key. Without any it is nobody's in particular, may be destroyed, is rotated by hand, and signs without
/// end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRules {
    /// Who answers for the key; for people.
    pub owner: Option<String>,
    /// Whether no version of the key may be destroyed.
    pub deletion_protection: bool,
    /// How often a new version takes over, in seconds.
    pub rotation_period_seconds: Option<u32>,
    /// When the next one does.
    pub next_rotation: Option<Timestamp>,
    /// How long before it takes over the next version is made and published, in seconds.
    pub publish_ahead_seconds: Option<u32>,
    /// How long a version signs from when it became ACTIVE, in seconds; then it is DEACTIVATED.
    pub signing_period_seconds: Option<u32>,
    /// How often the key signs.
    pub limits: UsageLimits,
    /// How fast it is used.
    pub pace: Pace,
    /// Whether it signs only what its caller has signed, too, with the key of the client certificate.
    pub requires_caller_signature: bool,
}

/// What a caller may take of the service; without a number, what everybody may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CallerLimits {
    /// How many signatures are made for it.
    pub usage: UsageLimits,
    /// How fast: uses in a second, and calls under way.
    pub pace: Pace,
}

/// How fast a key or a caller goes. Counted by each instance of the service for itself, and forgotten when it stops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Pace {
    /// Uses in a second, in the long run.
    pub per_second: Option<u32>,
    /// Uses at once, after a time without any; as many as in a second where there is no number.
    pub burst: Option<u32>,
    /// Of a key, uses under way at the same time; of a caller, calls.
    pub concurrent: Option<u32>,
}

impl Pace {
    /// The rate, where there is one.
    #[must_use]
    pub fn rate(self) -> Option<Rate> {
        self.per_second.map(|per_second| Rate { per_second, burst: self.burst.unwrap_or(per_second) })
    }
}

/// So many in a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// In a second, in the long run.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// How many signatures a key makes, or are made for a caller; without end where there is no number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct UsageLimits {
    /// In all.
    pub total: Option<u64>,
    /// On one day (UTC).
    pub daily: Option<u64>,
}

impl UsageLimits {
    /// Whether there is any.
    #[must_use]
    pub const fn any(self) -> bool {
        self.total.is_some() || self.daily.is_some()
    }
}

/// How many signatures a key has made, or were made for a caller, since it has had a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// In all.
    pub total: u64,
    /// The last day of a signature: days since 1970-01-01, UTC.
    pub day: i64,
    /// On that day.
    pub today: u64,
}

impl Usage {
    /// As it stands on `day`. A clock that was set back gives no day a second time.
    #[must_use]
    pub const fn on(self, day: i64) -> Self {
        if day > self.day { Self { day, today: 0, ..self } } else { self }
    }

    /// How many more signatures `limits` allow, and which of them allows the fewest; none where there is no limit.
    #[must_use]
    pub fn left(self, limits: UsageLimits) -> Option<(u64, LimitKind)> {
        let total = limits.total.map(|limit| (limit.saturating_sub(self.total), LimitKind::Total));
        let daily = limits.daily.map(|limit| (limit.saturating_sub(self.today), LimitKind::Daily));
        match (total, daily) {
            // Of two that are used up, the one that no waiting cures is the one to be told of.
            (Some(total), Some(daily)) => Some(if daily.0 < total.0 { daily } else { total }),
            (total, daily) => total.or(daily),
        }
    }
}

/// Whose signatures are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UsageOf {
    /// A key's.
    Key(Uid),
    /// Those that are made for a caller.
    Caller(Uid),
}

impl fmt::Display for UsageOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(uid) => write!(f, "the key {uid}"),
            Self::Caller(uid) => write!(f, "the caller {uid}"),
        }
    }
}

/// Which limit of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Signatures in all.
    Total,
    /// Signatures on one day.
    Daily,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_day_begins_anew_and_an_old_one_does_not() {
        let used = Usage { total: 10, day: 100, today: 4 };
        assert_eq!(used.on(101), Usage { total: 10, day: 101, today: 0 });
        assert_eq!(used.on(100), used);
        assert_eq!(used.on(99), used, "the clock was set back");
    }

    #[test]
    fn a_burst_is_a_seconds_worth_unless_it_is_said() {
        let pace = |per_second, burst| Pace { per_second, burst, concurrent: None };
        assert_eq!(pace(None, Some(5)).rate(), None);
        assert_eq!(pace(Some(7), None).rate(), Some(Rate { per_second: 7, burst: 7 }));
        assert_eq!(pace(Some(7), Some(1)).rate(), Some(Rate { per_second: 7, burst: 1 }));
    }

    #[test]
    fn the_tighter_limit_counts() {
        let used = Usage { total: 10, day: 100, today: 4 };
        let limits = |total, daily| UsageLimits { total, daily };
        assert_eq!(used.left(limits(None, None)), None);
        assert_eq!(used.left(limits(Some(12), None)), Some((2, LimitKind::Total)));
        assert_eq!(used.left(limits(None, Some(5))), Some((1, LimitKind::Daily)));
        assert_eq!(used.left(limits(Some(12), Some(5))), Some((1, LimitKind::Daily)));
        assert_eq!(used.left(limits(Some(10), Some(4))), Some((0, LimitKind::Total)));
        assert_eq!(used.left(limits(Some(3), Some(1))), Some((0, LimitKind::Total)), "a limit below what was used");
    }
}
