//! The leaves of old records leave the database for the archive, by rule (docs/audit-record.md, "The archive").
//!
//! Copied first, read back from the disk, then on the record, then emptied in the database, a tile at a time with pauses, so that
//! signing hardly notices. Whatever stops it in between: the next run goes on where the database says that the archive ends, and
//! finds in it what was copied already. Signing needs no archived leaf, and goes on while the archive is away.

mod condition;
mod looking;

use std::future::pending;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use chancery_audit::archive::{Archive, Copied};
use chancery_audit::tree::TILE_WIDTH;
use chancery_audit::{Log, Recorded};
use chancery_fail_point::FailPoint;
use chancery_model::Timestamp;
use chancery_store::{ArchiveError, StoreError};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

pub use condition::{ArchiveStanding, ArchiveTrouble};
pub(crate) use condition::{Condition, Watched};

use crate::checkpoints::{NewestCheckpoint, kept_log_keys};
use crate::{Chancery, Error, Observation, details};
use looking::Looks;

const DAY: Duration = Duration::from_secs(86_400);
/// How often it is looked for what has come due.
const INTERVAL: Duration = Duration::from_secs(3600);
/// How often it is looked whether the archive can be read; and while it cannot.
const LOOK: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long one step of reading the archive may take. A share whose server has gone answers never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How many tiles are moved under one act: 262,144 records.
const RUN: u64 = 1_024;
/// The pause after a tile, as a multiple of what it took: once for the disk, once for the writing thread.
const PAUSE: u32 = 3;

/// Where the archive is, and what is moved into it.
#[derive(Debug, Clone)]
pub struct ArchiveSettings {
    /// The archive.
    pub archive: Archive,
    /// How old all leaves of a tile have to be; `None`: nothing more is moved, and what was is read.
    pub after_days: Option<NonZeroU16>,
}

/// Leaves whose time is over. Made here only, where the rule is read.
struct ByRule {
    days: NonZeroU16,
    before: Timestamp,
}

/// What is wrong with an archive; the disk's own words are in the cause.
pub(crate) fn why(error: &ArchiveError) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// That an archive does not answer.
pub(crate) fn silent(archive: Option<&Archive>) -> ArchiveError {
    ArchiveError::Silent { folder: archive.map(|archive| archive.folder().to_owned()).unwrap_or_default() }
}

/// Does what reads an archive, and so may hang; `None` where it came to none of its steps in time. It keeps its thread then,
/// which nobody can take from it.
pub(crate) async fn patiently<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce(&dyn Fn()) -> T + Send + 'static,
) -> Result<Option<T>, Error> {
    let (steps, mut seen) = watch::channel(());
    let mut work = spawn_blocking(move || work(&|| steps.send_replace(())));
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            step = timeout(patience, seen.changed()) => match step {
                Ok(Ok(())) => {}
                Ok(Err(_no_more_steps)) => break work.await,
                Err(_elapsed) => return Ok(None),
            },
        }
    };
    ended.map(Some).map_err(|error| Error::internal(format!("a read was not completed: {error}")))
}

impl Chancery {
    /// Moves what is old enough, now and every hour, and looks every minute whether the archive can be read, as long as the
    /// service lives.
    pub(crate) fn keep_archive(&self) {
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let (mut due, mut looks) = (Instant::now(), Looks::default());
            loop {
                let Some(inner) = inner.upgrade() else { return };
                let this = Self { inner };
                // Before the first checkpoint counts nothing can be moved; then it is done at once.
                let first = this.first_to_count();
                // What is amiss with older tiles keeps nothing from being moved: they may be gone for good.
                let newest_is_read = this.look_at_archive(&mut looks).await;
                let condition = &this.inner.archive_condition;
                let moves = newest_is_read && this.archive_rule().is_some();
                if moves && first.is_none() && Instant::now() >= due {
                    due = Instant::now() + INTERVAL;
                    let end = this.archive_by_rule().await;
                    this.observe(Observation::Archive { failed: end.is_err() });
                    match end {
                        Ok(records) => {
                            if records > 0 {
                                tracing::info!(records, "the leaves of old records were archived by rule");
                            }
                            condition.moved(true);
                        }
                        // Nothing is recorded any more, and so nothing moved, until the service was started again.
                        Err(Error::RecordClosed { .. }) => return,
                        Err(error) => {
                            tracing::error!(%error, "the leaves of old records are not archived, although they should be");
                            condition.moved(false);
                        }
                    }
                }
                let in_trouble = condition.until_unreadable();
                drop(this);
                let first = async {
                    match first.filter(|_| moves) {
                        Some(first) => first.await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    // Not at once: where it is read well again, that is news of its own.
                    () = in_trouble => sleep(LOOK_AGAIN).await,
                    () = first => {}
                    () = sleep(LOOK) => {}
                }
            }
        });
    }

    /// How the archive is.
    #[must_use]
    pub fn archive(&self) -> ArchiveStanding {
        self.inner.archive_condition.standing()
    }

    fn archive_rule(&self) -> Option<(&Archive, NonZeroU16)> {
        let ArchiveSettings { archive, after_days } = self.inner.archive.as_ref()?;
        after_days.map(|days| (archive, days))
    }

    fn silent(&self) -> Error {
        let archive = self.inner.archive.as_ref().map(|settings| &settings.archive);
        StoreError::Archived { index: self.archive().records.saturating_sub(1), source: silent(archive) }.into()
    }

    /// Moves all that is old enough by the rule and under a checkpoint that counts. How many records.
    ///
    /// # Errors
    /// [`Error::RecordClosed`]; [`Error::Internal`] where something is wrong with the log, the archive or the store. What was not
    /// moved yet is found again.
    pub async fn archive_by_rule(&self) -> Result<u64, Error> {
        let Some((archive, days)) = self.archive_rule() else { return Ok(0) };
        let rule = ByRule { days, before: self.inner.clock.now().before(DAY * days.get().into()) };
        let mut moved = 0;
        while let Some(checkpoint) = self.served_checkpoint() {
            let Some(copied) = self.copy(archive, &rule, &checkpoint).await? else { break };
            FailPoint::LeavesCopied.pass();
            let recorded = self.note(&details::leaves_archived(rule.days, &copied)).await?;
            empty(&self.inner.log, &recorded, &copied, &self.inner.archive_condition).await?;
            let (first, last) = copied.range();
            moved += last - first + 1;
        }
        Ok(moved)
    }

    /// Copies the next tiles whose time is over, as many as one act is for.
    async fn copy(
        &self,
        archive: &Archive,
        rule: &ByRule,
        checkpoint: &NewestCheckpoint,
    ) -> Result<Option<Copied>, Error> {
        let (reader, archive, checkpoint) = (self.inner.reader.clone(), archive.clone(), checkpoint.checkpoint.clone());
        let mut copying = self
            .in_time(move || {
                let keys = kept_log_keys(&reader)?;
                Ok(archive.begin(&reader, &checkpoint, keys)?)
            })
            .await?;
        let before = rule.before;
        while copying.tiles() < RUN {
            let begun = Instant::now();
            let next = move || {
                let more = copying.copy_next(before)?;
                Ok((copying, more))
            };
            let more;
            (copying, more) = self.in_time(next).await?;
            if !more {
                break;
            }
            sleep(begun.elapsed() * PAUSE).await;
        }
        self.in_time(move || Ok(copying.finish()?)).await
    }

    /// Does a step of copying. One that hangs keeps its thread; what it still writes when it goes on is what the next run writes, and
    /// nothing is emptied for it.
    async fn in_time<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        patiently(PATIENCE, move |_| step()).await?.unwrap_or_else(|| Err(self.silent()))
    }
}

/// The only place where leaves are emptied, of which it is on the record that they are archived.
async fn empty(log: &Log, recorded: &Recorded, copied: &Copied, condition: &Condition) -> Result<(), Error> {
    for first in copied.firsts() {
        let begun = Instant::now();
        if !log.archive(recorded, copied, first).await? {
            return Err(Error::internal(format!(
                "the leaves from record {first} on are in the archive, and were not emptied in the database: another hand has \
                 changed it meanwhile"
            )));
        }
        condition.has(first + u64::from(TILE_WIDTH));
        FailPoint::LeavesEmptied.pass();
        sleep(begun.elapsed() * PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_hangs_is_given_up_and_what_goes_on_step_by_step_is_not() {
        let (let_go, held) = mpsc::channel::<()>();
        let hangs = move |_: &dyn Fn()| held.recv();
        assert!(patiently(Duration::from_millis(50), hangs).await.unwrap().is_none());
        drop(let_go);
        // Longer in all than it may take for one.
        let patience = Duration::from_secs(3);
        let walks = move |step: &dyn Fn()| {
            let begun = std::time::Instant::now();
            while begun.elapsed() < patience + Duration::from_secs(1) {
                step();
                std::thread::sleep(Duration::from_millis(100));
            }
            "came to its end"
        };
        assert_eq!(patiently(patience, walks).await.unwrap(), Some("came to its end"));
    }
}
