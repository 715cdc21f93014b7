//! How often a key signs: what its limits leave, and what was counted.
//!
//! An intent counts, in the transaction that makes it durable: neither a crash nor any number of calls at once gives a key
//! one signature more than it has. Keys without limits are not counted.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::UsageClaim;
use chancery_model::{LimitKind, Timestamp, Uid, Usage};

use crate::sign::Prepared;
use crate::state::KeyEntry;
use crate::{Chancery, Error};

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// A key as it is shown.
#[derive(Debug, Clone)]
pub struct KeyView {
    /// The key.
    pub entry: Arc<KeyEntry>,
    /// What was counted of its signatures, as of today (UTC); nothing where it has no limits.
    pub usage: Usage,
}

/// What a signature of a key counts against, and what is said where that leaves no room.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    pub claim: UsageClaim,
    key: Arc<KeyEntry>,
    until_tomorrow: Duration,
}

impl Counted {
    /// The refusal of one signature more.
    pub fn refusal(&self, kind: LimitKind) -> Error {
        let (limit, retry_after) = match kind {
            LimitKind::Total => (self.claim.limits.total, None),
            LimitKind::Daily => (self.claim.limits.daily, Some(self.until_tomorrow)),
        };
        Error::UsageLimit { key: self.key.name.clone(), kind, limit: limit.unwrap_or(0), retry_after }
    }
}

impl Chancery {
    /// What a signature of this key counts against, where it has limits.
    pub(crate) fn counted(&self, key: &Arc<KeyEntry>) -> Option<Counted> {
        let limits = key.rules.limits;
        if !limits.any() {
            return None;
        }
        let now = self.inner.clock.now();
        let claim = UsageClaim { key: key.uid, limits, day: day_of(now) };
        Some(Counted { claim, key: Arc::clone(key), until_tomorrow: until_tomorrow(now) })
    }

    /// A key with what was counted of it.
    pub(crate) async fn view(&self, entry: Arc<KeyEntry>) -> Result<KeyView, Error> {
        let view = self.views(vec![entry]).await?.pop();
        view.ok_or_else(|| Error::internal("a key was to be shown and was not"))
    }

    /// Keys with what was counted of each. Keys without limits are not looked up.
    pub(crate) async fn views(&self, entries: Vec<Arc<KeyEntry>>) -> Result<Vec<KeyView>, Error> {
        let limited = |entry: &&Arc<KeyEntry>| entry.rules.limits.any();
        let uids: Vec<Uid> = entries.iter().filter(limited).map(|entry| entry.uid).collect();
        let counted = if uids.is_empty() {
            Vec::new()
        } else {
            let reader = self.inner.reader.clone();
            crate::blocking(move || reader.usage(&uids)).await??
        };
        let today = day_of(self.inner.clock.now());
        let mut counted = counted.into_iter();
        let view = |entry: Arc<KeyEntry>| {
            let usage = if entry.rules.limits.any() { counted.next() } else { None };
            KeyView { entry, usage: usage.unwrap_or_default().on(today) }
        };
        Ok(entries.into_iter().map(view).collect())
    }
}

/// Refuses the items of a key beyond those that its limits leave room for.
pub(crate) fn refuse_beyond(decided: &mut [Result<Prepared, Error>], key: Uid, kind: LimitKind, left: u64) {
    let mut room = left;
    for item in decided {
        let Ok(Prepared { counted: Some(counted), .. }) = item else { continue };
        if counted.claim.key != key {
            continue;
        }
        if room > 0 {
            room -= 1;
        } else {
            *item = Err(counted.refusal(kind));
        }
    }
}

fn day_of(now: Timestamp) -> i64 {
    now.unix_micros().div_euclid(DAY_MICROS)
}

fn until_tomorrow(now: Timestamp) -> Duration {
    let since_midnight = now.unix_micros().rem_euclid(DAY_MICROS);
    Duration::from_micros((DAY_MICROS - since_midnight).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_utc() {
        let at = |micros| Timestamp::from_unix_micros(micros);
        assert_eq!((day_of(at(0)), until_tomorrow(at(0))), (0, Duration::from_secs(86_400)));
        assert_eq!((day_of(at(DAY_MICROS - 1)), until_tomorrow(at(DAY_MICROS - 1))), (0, Duration::from_micros(1)));
        assert_eq!(day_of(at(DAY_MICROS)), 1);
        assert_eq!(day_of(at(-1)), -1);
    }
}
