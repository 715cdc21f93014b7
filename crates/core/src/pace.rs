//! How fast callers and keys go: uses in a second, and uses of a key under way.
//!
//! A use is what a token does for a call: a signature, a MAC made or checked, random bytes. It is looked at after policy has
//! allowed it and before its intent is recorded; what is refused leaves nothing behind, and what comes to nothing before its
//! intent is recorded is given back. Counted in memory, by this instance alone, and only for who has such a limit.

mod bucket;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery_model::{Pace, Rate, Timestamp, Uid};

use crate::error::Limited;
use crate::sign::Prepared;
use crate::state::{KeyEntry, Snapshot};
use crate::{Chancery, Error, Requester};
use bucket::{Bucket, Empty};

/// Below so many meters it is not worth looking for idle ones.
const FEW: usize = 128;

/// What is counted of callers and keys, by uid.
#[derive(Clone, Default)]
pub(crate) struct Paces {
    meters: Arc<Mutex<Meters>>,
}

#[derive(Default)]
struct Meters {
    of: HashMap<Uid, Meter>,
    /// At so many, those that are as new ones would be are dropped.
    prune_at: usize,
}

/// What is counted of one caller or key.
#[derive(Default)]
struct Meter {
    bucket: Option<Bucket>,
    under_way: u32,
}

/// Uses that may begin. Those of a key are under way until this is dropped; unless they were spent, the rates have them back
/// then.
#[must_use = "dropping it ends the uses"]
pub(crate) struct Admitted {
    meters: Arc<Mutex<Meters>>,
    /// Of whom how many uses were taken, and whether they are counted as under way.
    taken: Vec<(Uid, u32, bool)>,
    spent: bool,
}

/// The uses of a key in one call.
struct KeyUses {
    key: Arc<KeyEntry>,
    uses: u32,
    refused: Option<Refused>,
}

/// Why uses do not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Rate(Rate, Empty),
    /// So many may be under way.
    Concurrency(u32),
}

impl Admitted {
    /// What was taken is used: the intents are on the record, or the token is being asked.
    pub fn spend(&mut self) {
        self.spent = true;
        self.taken.retain(|(_, _, under_way)| *under_way);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut meters = lock(&self.meters);
        for (of, uses, under_way) in &self.taken {
            meters.give_back(*of, *uses, !self.spent, *under_way);
        }
    }
}

impl Chancery {
    /// Lets the items of a call begin that policy allowed: all that the caller's rate has room for, or none of them; and of
    /// each key all or none. What a key refuses is an error at its place.
    ///
    /// # Errors
    /// [`Error::RateLimit`] of the caller.
    pub(crate) fn admit(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        decided: &mut [Result<Prepared, Error>],
    ) -> Result<Admitted, Error> {
        let mut of_keys: BTreeMap<Uid, KeyUses> = BTreeMap::new();
        for key in decided.iter().filter_map(|item| item.as_ref().ok()?.paced.as_ref()) {
            let new = || KeyUses { key: Arc::clone(key), uses: 0, refused: None };
            of_keys.entry(key.uid).or_insert_with(new).uses += 1;
        }
        let all = decided.iter().filter(|item| item.is_ok()).count();
        let mut keys: Vec<KeyUses> = of_keys.into_values().collect();
        let admitted = self.begin(snapshot, from, u32::try_from(all).unwrap_or(u32::MAX), &mut keys)?;
        for item in decided {
            let Ok(Prepared { paced: Some(key), .. }) = item else { continue };
            let error = keys.iter().find(|uses| uses.key.uid == key.uid).and_then(KeyUses::error);
            if let Some(error) = error {
                *item = Err(error);
            }
        }
        Ok(admitted)
    }

    /// The same for one use; of a key, where it is one's.
    pub(crate) fn admit_one(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        key: Option<&Arc<KeyEntry>>,
    ) -> Result<Admitted, Error> {
        let mut keys: Vec<KeyUses> =
            key.map(|key| KeyUses { key: Arc::clone(key), uses: 1, refused: None }).into_iter().collect();
        let admitted = self.begin(snapshot, from, 1, &mut keys)?;
        keys.iter().find_map(KeyUses::error).map_or(Ok(admitted), Err)
    }

    fn begin(&self, snapshot: &Snapshot, from: &Requester, uses: u32, keys: &mut [KeyUses]) -> Result<Admitted, Error> {
        let caller = snapshot.callers.by_uid(from.caller.uid);
        let own = caller.and_then(|caller| caller.limits.pace.rate());
        let rate = own.or(self.inner.limits.caller_rate);
        let paces = &self.inner.paces;
        match paces.begin(rate.map(|rate| (from.caller.uid, rate)), uses, keys, || self.inner.clock.now()) {
            Ok(admitted) => Ok(admitted),
            Err((rate, empty)) => Err(rate_limit(Limited::Caller(from.caller.id.clone()), rate, uses, empty)),
        }
    }
}

/// A key of which it matters how fast it is used.
pub(crate) fn paced(key: &Arc<KeyEntry>) -> Option<Arc<KeyEntry>> {
    (key.rules.pace != Pace::default()).then(|| Arc::clone(key))
}

impl KeyUses {
    fn error(&self) -> Option<Error> {
        let (key, uses) = (&self.key.name, self.uses);
        Some(match self.refused? {
            Refused::Rate(rate, empty) => rate_limit(Limited::Key(key.clone()), rate, uses, empty),
            Refused::Concurrency(limit) => Error::ConcurrencyLimit { key: key.clone(), limit, uses },
        })
    }
}

fn rate_limit(of: Limited, rate: Rate, uses: u32, empty: Empty) -> Error {
    let retry_after: Option<Duration> = match empty {
        Empty::For(wait) => Some(wait),
        Empty::Always => None,
    };
    Error::RateLimit { of, rate, uses, retry_after }
}

impl Paces {
    /// Takes all uses from the caller, and from each key its own. What a key refuses the caller gets back.
    fn begin(
        &self,
        caller: Option<(Uid, Rate)>,
        uses: u32,
        keys: &mut [KeyUses],
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Admitted, (Rate, Empty)> {
        let mut admitted = Admitted { meters: Arc::clone(&self.meters), taken: Vec::new(), spent: false };
        if uses == 0 || (caller.is_none() && keys.is_empty()) {
            return Ok(admitted);
        }
        let mut meters = lock(&self.meters);
        let now = now();
        let mut of_caller = uses;
        if let Some((uid, rate)) = caller {
            meters.meter(uid, now).take(rate, uses, now).map_err(|empty| (rate, empty))?;
        }
        for key in keys {
            let (uid, pace) = (key.key.uid, key.key.rules.pace);
            match meters.meter(uid, now).begin(pace, key.uses, now) {
                Ok(()) => admitted.taken.push((uid, key.uses, true)),
                Err(refused) => {
                    key.refused = Some(refused);
                    of_caller -= key.uses.min(of_caller);
                    if let Some((uid, _)) = caller {
                        meters.give_back(uid, key.uses, true, false);
                    }
                }
            }
        }
        if let Some((uid, _)) = caller
            && of_caller > 0
        {
            admitted.taken.push((uid, of_caller, false));
        }
        Ok(admitted)
    }
}

impl Meters {
    fn meter(&mut self, of: Uid, now: Timestamp) -> &mut Meter {
        if self.of.len() >= self.prune_at.max(FEW) {
            self.of.retain(|_, meter| !meter.is_idle(now));
            self.prune_at = self.of.len() * 2;
        }
        self.of.entry(of).or_default()
    }

    fn give_back(&mut self, of: Uid, uses: u32, to_the_rate: bool, under_way: bool) {
        let Some(meter) = self.of.get_mut(&of) else { return };
        if under_way {
            meter.under_way = meter.under_way.saturating_sub(uses);
        }
        if let Some(bucket) = meter.bucket.as_mut().filter(|_| to_the_rate) {
            bucket.give_back(uses);
        }
    }
}

impl Meter {
    /// As many uses as a key's pace allows, all or none.
    fn begin(&mut self, pace: Pace, uses: u32, now: Timestamp) -> Result<(), Refused> {
        if let Some(limit) = pace.concurrent.filter(|limit| self.under_way.saturating_add(uses) > *limit) {
            return Err(Refused::Concurrency(limit));
        }
        match pace.rate() {
            Some(rate) => self.take(rate, uses, now).map_err(|empty| Refused::Rate(rate, empty))?,
            None => self.bucket = None,
        }
        self.under_way += uses;
        Ok(())
    }

    fn take(&mut self, rate: Rate, uses: u32, now: Timestamp) -> Result<(), Empty> {
        self.bucket.get_or_insert_with(|| Bucket::new(rate, now)).take(rate, uses, now)
    }

    fn is_idle(&mut self, now: Timestamp) -> bool {
        self.under_way == 0 && self.bucket.as_mut().is_none_or(|bucket| bucket.is_full(now))
    }
}

/// Whole at every moment, so that a panic elsewhere does not matter.
fn lock(meters: &Mutex<Meters>) -> MutexGuard<'_, Meters> {
    meters.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
