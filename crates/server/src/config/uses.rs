//! `[limits]`: how fast callers go that have no rate of their own.

use super::check::Report;
use chancery_model::Rate;
use serde::Deserialize;
use std::num::NonZeroU32;

/// The largest number of a rate, as of those that callers are registered with.
const LARGEST_RATE: u32 = 1_000_000;

/// How fast a caller goes whose registration does not say it. Nothing is limited where the section is absent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UseLimits {
    /// Uses of tokens that a caller gets in a second, in the long run; one more is refused (RESOURCE_EXHAUSTED,
    /// CALLER_RATE_LIMIT). Each caller has so many. Counted by this instance alone. Not given: no limit.
    pub caller_uses_per_second: Option<NonZeroU32>,
    /// How many at once, after a time without any; and so the largest batch. Not given: as many as in a second.
    pub caller_burst: Option<NonZeroU32>,
}

impl UseLimits {
    /// The rate, where there is one.
    pub(crate) fn rate(&self) -> Option<Rate> {
        let per_second = self.caller_uses_per_second?.get();
        Some(Rate { per_second, burst: self.caller_burst.map_or(per_second, NonZeroU32::get) })
    }
}

impl Report {
    pub(super) fn uses(&mut self, limits: &UseLimits) {
        let UseLimits { caller_uses_per_second, caller_burst } = limits;
        let numbers =
            [("limits.caller_uses_per_second", caller_uses_per_second), ("limits.caller_burst", caller_burst)];
        for (field, number) in numbers {
            if number.is_some_and(|number| number.get() > LARGEST_RATE) {
                self.error(field, format!("is more than {LARGEST_RATE}; lower it, or leave it out for no limit"));
            }
        }
        if caller_burst.is_some() && caller_uses_per_second.is_none() {
            let message = "needs a caller_uses_per_second; give one, or take this away, too";
            self.error("limits.caller_burst", message);
        }
    }
}
