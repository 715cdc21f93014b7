//! When API keys were used last: in memory to the call, in the store to about a minute. Not part of the state, so that a
//! busy key does not raise the epoch.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chancery_model::{Timestamp, Uid};

/// How often the last use of one key is written, at most.
const NOTED_EVERY_MICROS: i64 = 60 * 1_000_000;

#[derive(Default)]
pub(crate) struct Uses {
    uses: Mutex<HashMap<Uid, Use>>,
}

#[derive(Clone, Copy)]
struct Use {
    last: Timestamp,
    noted: Timestamp,
}

impl Uses {
    pub fn new(stored: BTreeMap<Uid, Timestamp>) -> Self {
        let of = |used: Timestamp| Use { last: used, noted: used };
        Self { uses: Mutex::new(stored.into_iter().map(|(uid, used)| (uid, of(used))).collect()) }
    }

    /// Notes a use; whether it is to be written.
    pub fn note(&self, key: Uid, now: Timestamp) -> bool {
        let mut uses = self.lock();
        let known = uses.get(&key).copied();
        let due = known.is_none_or(|known| now.unix_micros() - known.noted.unix_micros() >= NOTED_EVERY_MICROS);
        let noted = if due { now } else { known.map_or(now, |known| known.noted) };
        uses.insert(key, Use { last: now, noted });
        due
    }

    pub fn last(&self, key: Uid) -> Option<Timestamp> {
        self.lock().get(&key).map(|known| known.last)
    }

    /// What is not written yet: for the end.
    pub fn unwritten(&self) -> Vec<(Uid, Timestamp)> {
        let mut uses = self.lock();
        let open = uses.iter_mut().filter(|(_, known)| known.last > known.noted);
        open.map(|(uid, known)| {
            known.noted = known.last;
            (*uid, known.last)
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_key_is_written_once_a_minute_and_at_the_end() {
        let key = Uid::from_bytes([1; 16]);
        let at = |seconds: i64| Timestamp::from_unix_micros(seconds * 1_000_000);
        let uses = Uses::new(BTreeMap::from([(Uid::from_bytes([2; 16]), at(5))]));
        assert!(uses.note(key, at(100)));
        assert!(!uses.note(key, at(101)) && !uses.note(key, at(159)));
        assert_eq!((uses.last(key), uses.last(Uid::from_bytes([2; 16]))), (Some(at(159)), Some(at(5))));
        assert!(uses.note(key, at(160)));
        assert!(uses.unwritten().is_empty());
        assert!(!uses.note(key, at(170)));
        assert_eq!(uses.unwritten(), [(key, at(170))]);
        assert!(uses.unwritten().is_empty());
    }
}
