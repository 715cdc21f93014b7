//! How often keys sign, and callers have them sign: what limits leave, and what was counted.
//!
//! An intent counts, in the transaction that makes it durable: neither a crash nor any number of calls at once gives a key or a
//! caller one signature more than it has. Who has no limits is not counted.

use std::sync::Arc;
use std::time::Duration;

use chancery_audit::UsageClaim;
use chancery_model::{LimitKind, Timestamp, Usage, UsageOf};

use crate::error::Limited;
use crate::registry::CallerEntry;
use crate::sign::Prepared;
use crate::state::{KeyEntry, Snapshot};
use crate::{Chancery, Error, Requester};

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// A key as it is shown.
#[derive(Debug, Clone)]
pub struct KeyView {
    /// The key.
    pub entry: Arc<KeyEntry>,
    /// What was counted of its signatures, as of today (UTC); nothing where it has no limits.
    pub usage: Usage,
}

/// A caller as it is shown.
#[derive(Debug, Clone)]
pub struct CallerView {
    /// The caller.
    pub entry: Arc<CallerEntry>,
    /// What was counted of the signatures made for it, as of today (UTC); nothing where it has no limits.
    pub usage: Usage,
}

/// What a signature counts against, and what is said where that leaves no room.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    pub claim: UsageClaim,
    limited: Limited,
    until_tomorrow: Duration,
}

impl Counted {
    /// The refusal of one signature more.
    pub fn refusal(&self, kind: LimitKind) -> Error {
        let (limit, retry_after) = match kind {
            LimitKind::Total => (self.claim.limits.total, None),
            LimitKind::Daily => (self.claim.limits.daily, Some(self.until_tomorrow)),
        };
        Error::UsageLimit { of: self.limited.clone(), kind, limit: limit.unwrap_or(0), retry_after }
    }
}

impl Chancery {
    /// What a signature of this key for this caller counts against: the limits of both, where they have any, as of the
    /// snapshot.
    pub(crate) fn counted(&self, snapshot: &Snapshot, from: &Requester, key: &KeyEntry) -> Vec<Counted> {
        let of_key = Some(key.rules.limits).filter(|limits| limits.any());
        let caller = snapshot.callers.by_uid(from.caller.uid);
        let of_caller = caller.map(|caller| caller.limits.usage).filter(|limits| limits.any());
        if of_key.is_none() && of_caller.is_none() {
            return Vec::new();
        }
        let now = self.inner.clock.now();
        let (day, until_tomorrow) = (day_of(now), until_tomorrow(now));
        let counted = |of, limits, limited| Counted { claim: UsageClaim { of, limits, day }, limited, until_tomorrow };
        let of_key = of_key.map(|limits| counted(UsageOf::Key(key.uid), limits, Limited::Key(key.name.clone())));
        let of_caller = of_caller
            .map(|limits| counted(UsageOf::Caller(from.caller.uid), limits, Limited::Caller(from.caller.id.clone())));
        of_key.into_iter().chain(of_caller).collect()
    }

    /// A key with what was counted of it.
    pub(crate) async fn view(&self, entry: Arc<KeyEntry>) -> Result<KeyView, Error> {
        let view = self.views(vec![entry]).await?.pop();
        view.ok_or_else(|| Error::internal("a key was to be shown and was not"))
    }

    /// Keys with what was counted of each.
    pub(crate) async fn views(&self, entries: Vec<Arc<KeyEntry>>) -> Result<Vec<KeyView>, Error> {
        let of = |entry: &Arc<KeyEntry>| entry.rules.limits.any().then_some(UsageOf::Key(entry.uid));
        let usages = self.usages(entries.iter().map(of).collect()).await?;
        Ok(entries.into_iter().zip(usages).map(|(entry, usage)| KeyView { entry, usage }).collect())
    }

    /// A caller with what was counted of it.
    pub(crate) async fn view_caller(&self, entry: Arc<CallerEntry>) -> Result<CallerView, Error> {
        let view = self.view_callers(vec![entry]).await?.pop();
        view.ok_or_else(|| Error::internal("a caller was to be shown and was not"))
    }

    /// Callers with what was counted of each.
    pub(crate) async fn view_callers(&self, entries: Vec<Arc<CallerEntry>>) -> Result<Vec<CallerView>, Error> {
        let of =
            |CallerEntry { caller, .. }: &CallerEntry| caller.limits.usage.any().then_some(UsageOf::Caller(caller.uid));
        let usages = self.usages(entries.iter().map(|entry| of(entry)).collect()).await?;
        Ok(entries.into_iter().zip(usages).map(|(entry, usage)| CallerView { entry, usage }).collect())
    }

    /// What was counted of each; nothing of who has no limits, and is not looked up.
    async fn usages(&self, of: Vec<Option<UsageOf>>) -> Result<Vec<Usage>, Error> {
        let limited: Vec<UsageOf> = of.iter().copied().flatten().collect();
        let counted = if limited.is_empty() {
            Vec::new()
        } else {
            let reader = self.inner.reader.clone();
            crate::blocking(move || reader.usage(&limited)).await??
        };
        let today = day_of(self.inner.clock.now());
        let mut counted = counted.into_iter();
        let usage = |of: Option<UsageOf>| of.and_then(|_| counted.next()).unwrap_or_default().on(today);
        Ok(of.into_iter().map(usage).collect())
    }
}

/// Refuses the items beyond those that limits leave room for.
pub(crate) fn refuse_beyond(decided: &mut [Result<Prepared, Error>], of: UsageOf, kind: LimitKind, left: u64) {
    let mut room = left;
    for item in decided {
        let Ok(Prepared { counted, .. }) = item else { continue };
        let Some(counted) = counted.iter().find(|counted| counted.claim.of == of) else { continue };
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
