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

/// The acts that failed, and for how long each is left alone.
#[derive(Default)]
pub(super) struct Pauses {
    acts: Mutex<HashMap<(KeyName, Due), Pause>>,
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

    /// Kept for a while after its end: who fails again then waits for longer.
    pub(super) fn forget_old(&self) {
        self.lock().retain(|_, pause| pause.until + LONGEST_PAUSE > Instant::now());
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
