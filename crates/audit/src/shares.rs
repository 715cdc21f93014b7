//! Who has how many of a bounded number of places.
//!
//! The rule is that of the queue before a token (`hsm/src/token/queue.rs`): no caller takes all places, however much it hands in,
//! and one that has none gets in always.

use chancery_model::Uid;
use std::collections::HashMap;

/// A caller may have so many places for each that is free: alone, four fifths of all. Where several take what they can, those
/// that have many get no more until the others have as many.
const PLACES_FOR_EACH_FREE_ONE: usize = 4;

/// Places of one caller, on their way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub caller: Uid,
    pub places: usize,
}

/// The places that are taken.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    taken: usize,
    /// What each caller has; never zero.
    callers: HashMap<Uid, usize>,
}

impl Shares {
    /// Takes places, of `limit` that there are, where the caller may have so many more. One that has none gets them though all
    /// are taken: there are never more places taken beyond the limit than callers have first calls under way.
    pub(crate) fn take(&mut self, wanted: Share, limit: usize) -> bool {
        let Share { caller, places } = wanted;
        let own = self.callers.get(&caller).copied().unwrap_or(0);
        let free = limit.saturating_sub(self.taken.saturating_add(places));
        let admitted = match own {
            0 => places <= limit,
            own => own.saturating_add(places) <= free.saturating_mul(PLACES_FOR_EACH_FREE_ONE),
        };
        if admitted && places > 0 {
            self.taken += places;
            self.callers.insert(caller, own + places);
        }
        admitted
    }

    pub(crate) fn give_back(&mut self, share: Share) {
        let Share { caller, places } = share;
        self.taken = self.taken.saturating_sub(places);
        if let Some(own) = self.callers.get_mut(&caller) {
            *own = own.saturating_sub(places);
            if *own == 0 {
                self.callers.remove(&caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4_096;
    const BATCH: usize = 256;

    fn of(caller: u8, places: usize) -> Share {
        Share { caller: Uid::from_bytes([caller; 16]), places }
    }

    /// Batches until one is refused; says how many were let in.
    fn flood(shares: &mut Shares, caller: u8) -> usize {
        std::iter::from_fn(|| shares.take(of(caller, BATCH), LIMIT).then_some(())).count()
    }

    #[test]
    fn batches_of_one_caller_leave_places_for_others() {
        let mut shares = Shares::default();
        let alone = flood(&mut shares, 1);
        assert!(alone * BATCH >= LIMIT / 4 * 3 && alone * BATCH <= LIMIT / 5 * 4, "{alone} batches");
        assert!(flood(&mut shares, 2) > 0);
    }

    #[test]
    fn who_has_none_gets_in_however_many_flood_and_gets_no_second_one() {
        let mut shares = Shares::default();
        for caller in 1..=100 {
            assert!(flood(&mut shares, caller) > 0, "caller {caller}");
        }
        let quiet = of(200, 1);
        for _ in 0..10 {
            assert!(shares.take(quiet, LIMIT));
            assert!(!shares.take(quiet, LIMIT), "all places are taken, and it has one");
            shares.give_back(quiet);
        }
        assert!(!shares.take(of(201, LIMIT + 1), LIMIT), "more than there are at all");
    }

    #[test]
    fn what_is_given_back_is_there_again_and_nobody_is_remembered() {
        let mut shares = Shares::default();
        for _ in 0..3 {
            let batches = flood(&mut shares, 1);
            for _ in 0..batches {
                shares.give_back(of(1, BATCH));
            }
            assert_eq!((shares.taken, shares.callers.len()), (0, 0));
        }
        assert!(shares.take(of(1, 0), LIMIT));
        assert!(shares.callers.is_empty());
    }
}
