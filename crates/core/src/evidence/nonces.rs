//! Which signatures of callers were used: each is good once. Kept in memory for as long as one could still be fresh. What
//! could have been used before that memory begins is not taken, so that a restart lets nothing be used twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chancery_audit::{CALLER_SIGNATURE_AHEAD, CALLER_SIGNATURE_WINDOW};
use chancery_crypto::CallerNonce;
use chancery_model::{Timestamp, Uid};

/// How old a signature may be.
pub(crate) const WINDOW: Duration = CALLER_SIGNATURE_WINDOW;
/// How far the caller's clock may be ahead. For as long after its start a service takes none: one that is signed ahead could
/// have been used before.
pub(crate) const AHEAD: Duration = CALLER_SIGNATURE_AHEAD;
/// How far behind the record's clock the memory's may begin: a service whose clock was set back by more than this takes again
/// what was used in between. A clock that ran years ahead would otherwise shut callers out for as long.
const MOST_SET_BACK: Duration = Duration::from_secs(60 * 60);
/// How many are remembered of one caller, and of all: 30 bytes each. One caller alone cannot take the others' places.
const MOST_OF_ONE: usize = 1 << 18;
const MOST: usize = 1 << 20;

/// Why a signature is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not made within the window.
    Stale,
    /// Made at a time of which this memory does not know everything; one that is signed after this time will be taken.
    NotYet(Duration),
    /// Used before.
    Replayed,
    /// No more can be remembered for now.
    Full,
}

/// What was used.
pub(crate) struct Nonces(Mutex<Memory>);

struct Memory {
    /// Of what was signed from here on, all that was used is remembered.
    opens: Timestamp,
    /// What was signed before is stale. It never goes back, also where the clock does: what was forgotten stays refused.
    floor: Timestamp,
    most_of_one: usize,
    most: usize,
    total: usize,
    callers: HashMap<Uid, Used>,
}

/// Of one caller, by the second in which it was signed.
#[derive(Default)]
struct Used {
    count: usize,
    seconds: BTreeMap<i64, HashSet<CallerNonce>>,
}

impl Nonces {
    /// A memory that begins now; or when the record was last written, by its own clock, where that is later: the clock was set
    /// back since, and what was used until then is used.
    pub fn new(now: Timestamp, recorded: Option<Timestamp>) -> Self {
        let furthest = now.after(MOST_SET_BACK);
        let begins = recorded.map_or(now, |recorded| recorded.clamp(now, furthest));
        if begins > now {
            let seconds = begins.unix_micros().saturating_sub(now.unix_micros()) / 1_000_000;
            let beyond = recorded.is_some_and(|recorded| recorded > furthest);
            tracing::warn!(
                seconds,
                beyond,
                "the newest records are of a time that has not come: the clock was set back; until it has caught up, for an hour at \
                 most, no signatures of callers are taken"
            );
        }
        Self::with_room(begins, MOST_OF_ONE, MOST)
    }

    fn with_room(now: Timestamp, most_of_one: usize, most: usize) -> Self {
        let (opens, floor) = (now.after(AHEAD), now.before(WINDOW));
        Self(Mutex::new(Memory { opens, floor, most_of_one, most, total: 0, callers: HashMap::new() }))
    }

    /// Uses a nonce, once.
    pub fn take(&self, now: Timestamp, caller: Uid, created: Timestamp, nonce: CallerNonce) -> Result<(), Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(now, caller, created, nonce)
    }
}

impl Memory {
    fn take(&mut self, now: Timestamp, caller: Uid, created: Timestamp, nonce: CallerNonce) -> Result<(), Refusal> {
        self.forget(now);
        if created < now.before(WINDOW) || created > now.after(AHEAD) {
            return Err(Refusal::Stale);
        }
        if created < self.opens {
            let left = self.opens.unix_micros().saturating_sub(now.unix_micros());
            return Err(Refusal::NotYet(Duration::from_micros(u64::try_from(left).unwrap_or_default())));
        }
        if created < self.floor {
            return Err(Refusal::Stale);
        }
        let second = second_of(created);
        let used = self.callers.entry(caller).or_default();
        if used.seconds.get(&second).is_some_and(|nonces| nonces.contains(&nonce)) {
            return Err(Refusal::Replayed);
        }
        if used.count >= self.most_of_one || self.total >= self.most {
            return Err(Refusal::Full);
        }
        used.seconds.entry(second).or_default().insert(nonce);
        used.count += 1;
        self.total += 1;
        Ok(())
    }

    /// Forgets whole seconds that are stale, once for each second that passes.
    fn forget(&mut self, now: Timestamp) {
        let floor = now.before(WINDOW);
        if floor <= self.floor {
            return;
        }
        let passed = second_of(floor) > second_of(self.floor);
        self.floor = floor;
        if !passed {
            return;
        }
        let oldest = second_of(floor);
        let total = &mut self.total;
        self.callers.retain(|_caller, used| {
            while let Some(first) = used.seconds.first_entry().filter(|first| *first.key() < oldest) {
                let gone = first.remove().len();
                used.count = used.count.saturating_sub(gone);
                *total = total.saturating_sub(gone);
            }
            !used.seconds.is_empty()
        });
    }
}

fn second_of(time: Timestamp) -> i64 {
    time.unix_micros().div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_000_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_micros(START + seconds * 1_000_000)
    }

    fn uid(byte: u8) -> Uid {
        Uid::from_bytes([byte; 16])
    }

    /// A memory that began so long ago that it knows everything at 0.
    fn old(most_of_one: usize, most: usize) -> Nonces {
        Nonces::with_room(at(-100), most_of_one, most)
    }

    #[test]
    fn a_nonce_is_good_once_for_its_caller() {
        let nonces = old(9, 9);
        assert_eq!(nonces.take(at(1), uid(1), at(1), [1; 16]), Ok(()));
        assert_eq!(nonces.take(at(1), uid(1), at(1), [1; 16]), Err(Refusal::Replayed));
        assert_eq!(nonces.take(at(1), uid(1), at(1), [2; 16]), Ok(()));
        assert_eq!(nonces.take(at(1), uid(2), at(1), [1; 16]), Ok(()), "another caller's");
        assert_eq!(nonces.take(at(61), uid(1), at(1), [1; 16]), Err(Refusal::Replayed), "as long as it is fresh");
        assert_eq!(nonces.take(at(62), uid(1), at(1), [1; 16]), Err(Refusal::Stale), "and then it is stale");
    }

    #[test]
    fn what_is_too_old_or_not_made_yet_is_stale() {
        let nonces = old(9, 9);
        assert_eq!(nonces.take(at(100), uid(1), at(39), [1; 16]), Err(Refusal::Stale));
        assert_eq!(nonces.take(at(100), uid(1), at(40), [1; 16]), Ok(()));
        assert_eq!(nonces.take(at(100), uid(1), at(105), [2; 16]), Ok(()));
        assert_eq!(nonces.take(at(100), uid(1), at(106), [3; 16]), Err(Refusal::Stale));
    }

    #[test]
    fn what_could_have_been_used_before_the_memory_begins_is_not_taken() {
        // Another service, until 0, took what is signed five seconds ahead.
        let nonces = Nonces::new(at(0), None);
        let not_yet = |seconds| Err(Refusal::NotYet(Duration::from_secs(seconds)));
        assert_eq!(nonces.take(at(1), uid(1), at(1), [1; 16]), not_yet(4));
        assert_eq!(nonces.take(at(6), uid(1), at(4), [1; 16]), not_yet(0), "signed again, it is taken");
        assert_eq!(nonces.take(at(6), uid(1), at(6), [1; 16]), Ok(()));
        assert_eq!(nonces.take(at(1), uid(1), at(5), [2; 16]), Ok(()), "as early as nobody could have used it before");
        assert_eq!(nonces.take(at(70), uid(1), at(4), [3; 16]), Err(Refusal::Stale));
    }

    #[test]
    fn a_memory_begins_where_the_record_ends() {
        let not_yet = |seconds| Err(Refusal::NotYet(Duration::from_secs(seconds)));
        // The clock was set back by 100 seconds, and the service started again.
        let nonces = Nonces::new(at(0), Some(at(100)));
        assert_eq!(nonces.take(at(6), uid(1), at(6), [1; 16]), not_yet(99));
        assert_eq!(nonces.take(at(101), uid(1), at(104), [1; 16]), not_yet(4), "used ahead by the clock of then");
        assert_eq!(nonces.take(at(101), uid(1), at(20), [1; 16]), Err(Refusal::Stale));
        assert_eq!(nonces.take(at(105), uid(1), at(105), [1; 16]), Ok(()));
        // The record ends before now, as ever.
        let nonces = Nonces::new(at(0), Some(at(-100)));
        assert_eq!(
            [nonces.take(at(5), uid(1), at(5), [1; 16]), nonces.take(at(5), uid(1), at(4), [2; 16])],
            [Ok(()), not_yet(0)]
        );
        // A clock that ran years ahead shuts nobody out for years.
        let nonces = Nonces::new(at(0), Some(at(100_000_000)));
        assert_eq!(nonces.take(at(0), uid(1), at(0), [1; 16]), not_yet(3605));
        assert_eq!(nonces.take(at(3605), uid(1), at(3605), [1; 16]), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_lets_nothing_in_that_was_forgotten() {
        let nonces = old(9, 9);
        assert_eq!(nonces.take(at(10), uid(1), at(10), [1; 16]), Ok(()));
        assert_eq!(nonces.take(at(500), uid(1), at(500), [2; 16]), Ok(()), "a clock that runs ahead");
        assert_eq!(nonces.take(at(11), uid(1), at(10), [1; 16]), Err(Refusal::Stale), "and is set right");
    }

    #[test]
    fn one_caller_cannot_take_all_places_and_they_come_back() {
        let nonces = old(2, 3);
        let take = |now, caller, nonce| nonces.take(at(now), uid(caller), at(now), [nonce; 16]);
        assert_eq!([take(1, 1, 1), take(1, 1, 2), take(1, 1, 3)], [Ok(()), Ok(()), Err(Refusal::Full)]);
        assert_eq!([take(1, 2, 1), take(1, 2, 2)], [Ok(()), Err(Refusal::Full)], "all places are taken");
        assert_eq!([take(63, 1, 4), take(63, 1, 5), take(63, 2, 6)], [Ok(()), Ok(()), Ok(())]);
    }
}
