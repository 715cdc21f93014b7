//! Which of the calls that a rule is about it fires on.

use super::file::When;
use std::sync::atomic::{AtomicU64, Ordering};

/// A rule's counter of calls, of one process.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts a call, and says whether it is one of those that are meant.
    pub(crate) fn count(&self, when: &When) -> bool {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        is_meant(when, number)
    }
}

fn is_meant(when: &When, number: u64) -> bool {
    when.nth.is_none_or(|nth| number == nth)
        && when.every.is_none_or(|every| number.is_multiple_of(every))
        && when.first.is_none_or(|first| number <= first)
        && when.after.is_none_or(|after| number > after)
        && when.probability.is_none_or(|probability| draw(when.seed.unwrap_or(0), number) < probability)
}

/// A number of 0 to 1, 1 excluded, of a seed and a call's number alone: which calls fail does not depend on how threads
/// run. The finalizer of SplitMix64, whose output is uniform enough for 53 bits of each.
#[allow(clippy::cast_precision_loss, reason = "53 bits fit in an f64")]
fn draw(seed: u64, number: u64) -> f64 {
    let mut state = mix(seed).wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = mix(state);
    (state >> 11) as f64 / (1_u64 << 53) as f64
}

const fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(when: &When, calls: u64) -> Vec<u64> {
        let counter = Counter::default();
        (1..=calls).filter(|_| counter.count(when)).collect()
    }

    #[test]
    fn calls_are_counted_from_one_and_all_conditions_must_hold() {
        assert_eq!(meant(&When::default(), 3), [1, 2, 3]);
        assert_eq!(meant(&When { nth: Some(2), ..When::default() }, 4), [2]);
        assert_eq!(meant(&When { every: Some(3), ..When::default() }, 7), [3, 6]);
        assert_eq!(meant(&When { first: Some(2), ..When::default() }, 4), [1, 2]);
        assert_eq!(meant(&When { after: Some(2), ..When::default() }, 4), [3, 4]);
        assert_eq!(meant(&When { every: Some(2), after: Some(2), first: Some(6), ..When::default() }, 9), [4, 6]);
    }

    #[test]
    fn a_seed_chooses_the_same_calls_each_time_and_about_as_many_as_it_should() {
        let of = |seed, probability| {
            meant(&When { probability: Some(probability), seed: Some(seed), ..When::default() }, 10_000)
        };
        assert_eq!(of(7, 0.1), of(7, 0.1));
        assert_ne!(of(7, 0.1), of(8, 0.1));
        assert!((900..1_100).contains(&of(7, 0.1).len()), "{}", of(7, 0.1).len());
        assert_eq!((of(7, 0.0).len(), of(7, 1.0).len()), (0, 10_000));
    }
}
