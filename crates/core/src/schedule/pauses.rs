//! Acts of keys that failed are left alone for a while, and longer each time: each attempt to make a version is on the record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chancery_model::KeyName;
use tokio::time::Instant;

use super::{Due, ScheduleReport};
use crate::Error;

const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// For so long at most an old version goes on signing because its successor is not there yet. A pair takes two minutes at most
/// (`generate`); behind a token that hangs, many would have to be waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// The acts that failed, and for how long each is left alone.
#[derive(Default)]
pub(super) struct Pauses {
    acts: Mutex<HashMap<(KeyName, Due), Pause>>,
    /// Since when an act has been due that waits for another one. From when it was first seen, and not from when it was due:
    /// after a time without service a key shall not be without a version that signs.
    waiting: Mutex<HashMap<(KeyName, Due), Instant>>,
    record_closed: AtomicBool,
}

struct Pause {
    until: Instant,
    length: Duration,
}

impl Pauses {
    /// Whether an act is left alone for now.
    pub(super) fn rests(&self, key: &KeyName, due: Due) -> bool {
        let acts = self.lock();
        !acts.is_empty() && acts.get(&(key.clone(), due)).is_some_and(|pause| pause.until > Instant::now())
    }

    /// Whether an act may wait for another one still. Asked for the first time, it begins to wait.
    pub(super) fn may_wait(&self, key: &KeyName, due: Due) -> bool {
        self.may_wait_at(key, due, Instant::now())
    }

    fn may_wait_at(&self, key: &KeyName, due: Due, now: Instant) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *waiting.entry((key.clone(), due)).or_insert(now);
        now.saturating_duration_since(since) < PATIENCE
    }

    /// Kept for a while after its end: who fails again then waits for longer.
    pub(super) fn forget_old(&self) {
        let now = Instant::now();
        self.lock().retain(|_, pause| pause.until + LONGEST_PAUSE > now);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, since| *since + PATIENCE + LONGEST_PAUSE > now);
    }

    /// Notes how acts ended, and tells of those that failed.
    pub(super) fn note(&self, report: ScheduleReport) {
        let mut acts = self.lock();
        for done in report.done {
            acts.remove(&done);
        }
        for (key, due, error) in report.failed {
            if let Error::RecordClosed { .. } = error {
                self.record_closed.store(true, Ordering::SeqCst);
            }
            let first = Pause { until: Instant::now(), length: FIRST_PAUSE };
            let pause = acts.entry((key.clone(), due)).or_insert(first);
            tracing::warn!(%key, rule = due.as_str(), error = &error as &dyn std::error::Error,
                again_in_seconds = pause.length.as_secs(), "what a key's rule asks for could not be done");
            pause.until = Instant::now() + pause.length;
            pause.length = (pause.length * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether an act failed because the record is closed.
    pub(super) fn record_is_closed(&self) -> bool {
        self.record_closed.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(KeyName, Due), Pause>> {
        self.acts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_waits_for_another_for_so_long_and_no_longer() {
        let (pauses, key) = (Pauses::default(), "keyRings/dev/keys/jwt".parse::<KeyName>().unwrap());
        let (first, other) = (Due::Deactivate(1), Due::Deactivate(2));
        let now = Instant::now();
        assert!(pauses.may_wait_at(&key, first, now));
        let last = now + PATIENCE - Duration::from_micros(1);
        assert!(pauses.may_wait_at(&key, first, last), "asking again does not begin anew");
        assert!(pauses.may_wait_at(&key, other, last));
        assert!(!pauses.may_wait_at(&key, first, now + PATIENCE));
        assert!(pauses.may_wait_at(&key, other, now + PATIENCE), "each has its own time");
    }
}
