//! Details are erased by rule when they are old enough, or by an operator (docs/audit-record.md, "Erasing").
//!
//! Each run is on the record before anything is erased, and bounded: what is left over is the next run's. It goes on in small
//! transactions with pauses between them, so that signing hardly notices. What a crash leaves is found again by the next
//! start, as is what came due meanwhile: there is nothing to remember but the database itself.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use chancery_audit::{EraseStep, Erased, Log, Recorded, ToErase, erasable};
use chancery_model::Id;
use chancery_store::Reader;
use tokio::time::{Instant, sleep};

use crate::{Chancery, Error, Observation, details};

const DAY: Duration = Duration::from_secs(86_400);
/// How often it is looked for what has come due.
const INTERVAL: Duration = Duration::from_secs(3600);
/// How many records are erased under one act: what a run keeps in memory.
const RUN: usize = 100_000;
/// How many records a transaction erases: some milliseconds, which calls that sign may have to wait for.
const STEP: usize = 64;
/// The pause after a step, as a multiple of what it took.
const PAUSE: u32 = 3;
/// How often it is tried to empty the write-ahead log, and how long it is waited before it is tried again.
const WAL_ATTEMPTS: u32 = 100;
const WAL_PAUSE: Duration = Duration::from_millis(100);

/// How long details are kept; what is `None` is kept for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Of intents, and of how they ended.
    pub signature_days: Option<NonZeroU16>,
    /// Of denials.
    pub refusal_days: Option<NonZeroU16>,
}

impl Retention {
    fn rules(self) -> impl Iterator<Item = (Erased, NonZeroU16)> {
        let rules = [(Erased::Signatures, self.signature_days), (Erased::Refusals, self.refusal_days)];
        rules.into_iter().filter_map(|(what, days)| Some((what, days?)))
    }

    /// Whether anything is ever erased.
    #[must_use]
    pub fn erases(self) -> bool {
        self.rules().next().is_some()
    }
}

/// A kind of record whose time is over. Made here only, where the rule is read.
struct ByRule {
    what: Erased,
    days: NonZeroU16,
}

impl Chancery {
    /// Erases what is old enough, now and every hour, as long as the service lives; without rules, what an erasure has left
    /// that was interrupted.
    pub(crate) fn keep_retention(&self) {
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                let Some(inner) = inner.upgrade() else { return };
                let this = Self { inner };
                let end = this.erase_by_rule().await;
                let erases = this.inner.retention.erases();
                if erases {
                    this.observe(Observation::Retention { failed: end.is_err() });
                }
                drop(this);
                match end {
                    Ok(0) => {}
                    Ok(records) => tracing::info!(records, "details of old records are erased by rule"),
                    // Nothing is recorded any more, and so nothing erased, until the service was started again.
                    Err(Error::RecordClosed { .. }) => return,
                    Err(error) => {
                        tracing::error!(%error, "details of records are not erased, although they should be")
                    }
                }
                if !erases {
                    return;
                }
                sleep(INTERVAL).await;
            }
        });
    }

    /// Erases all that is old enough by the rules. Of how many records.
    ///
    /// # Errors
    /// [`Error::RecordClosed`]; [`Error::Internal`] where the store cannot be read. What was not erased yet is found again.
    pub async fn erase_by_rule(&self) -> Result<u64, Error> {
        let mut erased = 0;
        for (what, days) in self.inner.retention.rules() {
            while let Some(due) = self.old_enough(what, days).await? {
                erased += due.count() as u64;
                let recorded = self.record_erasure(&ByRule { what, days }, &due).await?;
                erase(&self.inner.log, recorded, &due, PAUSE).await?;
            }
        }
        let left = remove_leftovers(&self.inner.log, &self.inner.reader, PAUSE).await?;
        if erased > 0 || left {
            empty_wal(&self.inner.log).await?;
        }
        Ok(erased)
    }

    async fn old_enough(&self, what: Erased, days: NonZeroU16) -> Result<Option<ToErase>, Error> {
        let before = self.inner.clock.now().before(DAY * days.get().into());
        let reader = self.inner.reader.clone();
        Ok(crate::blocking(move || erasable(&reader, what, Some(before), None, RUN)).await??)
    }

    /// The act that says what is erased. It changes no row, and leaves the epoch as it is.
    async fn record_erasure(&self, rule: &ByRule, due: &ToErase) -> Result<Recorded, Error> {
        let ByRule { what, days } = rule;
        self.note(&details::details_erased(*what, *days, due)).await
    }
}

/// The only place where details are erased. It takes the recorded act by value.
async fn erase(log: &Log, recorded: Recorded, due: &ToErase, pause: u32) -> Result<(), Error> {
    // All is emptied before anything is removed: see `Log::erase`.
    for step in [EraseStep::Empty, EraseStep::Remove] {
        for part in due.parts(STEP) {
            let begun = Instant::now();
            log.erase(&recorded, step, part).await?;
            sleep(begun.elapsed() * pause).await;
        }
    }
    Ok(())
}

/// Removes the rows that an interrupted erasure has left, empty; whether there were any. Last of all: where rows are removed,
/// others are moved, and what of these is to be erased is empty by then.
async fn remove_leftovers(log: &Log, reader: &Reader, pause: u32) -> Result<bool, Error> {
    let mut any = false;
    loop {
        let blocking = reader.clone();
        let limit = u32::try_from(STEP).unwrap_or(u32::MAX);
        let emptied = crate::blocking(move || blocking.emptied(limit)).await??;
        if emptied.is_empty() {
            return Ok(any);
        }
        any = true;
        let begun = Instant::now();
        log.remove_emptied(&emptied).await?;
        sleep(begun.elapsed() * pause).await;
    }
}

/// What was erased is then in no file of the database. A backup that is being made may be in the way for long.
async fn empty_wal(log: &Log) -> Result<(), Error> {
    for _ in 0..WAL_ATTEMPTS {
        if log.empty_wal().await? {
            return Ok(());
        }
        sleep(WAL_PAUSE).await;
    }
    tracing::warn!(
        "somebody reads the database all the time, a backup perhaps: what was erased may be in the write-ahead log until the \
         next erasure or the next start"
    );
    Ok(())
}

/// What was erased of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedOfCaller {
    /// Of how many records.
    pub records: u64,
    /// The acts that say so.
    pub acts: Vec<u64>,
}

/// Erases the details of all signatures and refusals of a caller, whatever their age, on the record: for an operator at the
/// machine itself, while no service runs on the database.
///
/// # Errors
/// [`Error::NotFound`] where no such caller is registered; [`Error::RecordClosed`]; [`Error::Internal`] where the store
/// cannot be read. What was not erased yet is found by the next try.
pub async fn erase_details_of(log: &Log, reader: &Reader, caller: &Id, reason: &str) -> Result<ErasedOfCaller, Error> {
    let blocking = reader.clone();
    let state = crate::blocking(move || blocking.load_state()).await??;
    let row = state.callers.iter().find(|row| row.id == *caller);
    let uid = row.ok_or_else(|| Error::NotFound { name: format!("callers/{caller}") })?.uid;
    let mut erased = ErasedOfCaller { records: 0, acts: Vec::new() };
    for what in [Erased::Signatures, Erased::Refusals] {
        loop {
            let (reader, caller) = (reader.clone(), caller.clone());
            let due = crate::blocking(move || erasable(&reader, what, None, Some(&caller), RUN)).await??;
            let Some(due) = due else { break };
            let recorded = log.note(state.epoch, details::details_erased_of(what, uid, reason, &due)).await?.recorded;
            erased.records += due.count() as u64;
            erased.acts.push(recorded.index());
            erase(log, recorded, &due, 0).await?;
        }
    }
    remove_leftovers(log, reader, 0).await?;
    empty_wal(log).await?;
    Ok(erased)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_period_is_erased() {
        assert!(!Retention::default().erases());
        let days = NonZeroU16::new(90);
        let retention = Retention { refusal_days: days, ..Retention::default() };
        assert!(retention.erases());
        assert_eq!(retention.rules().collect::<Vec<_>>(), [(Erased::Refusals, days.unwrap())]);
    }
}
