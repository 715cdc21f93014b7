//! WatchRecords: what the record holds from an index on, and what is added to it, as fast as the caller takes it.

use super::answers::End;
use super::{Office, Opened};
use crate::connections::stopped;
use crate::convert::record::audit_record;
use crate::errors;
use chancery_api::v1;
use chancery_core::{RecordChunk, RecordWatch};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// A watcher hears at least this often how far the watch has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// And after so many records that its filters left out.
const PROGRESS_RECORDS: u64 = 10_000;

/// Sends records and progress until the connection is asked to go, or the caller may no longer read them.
pub(super) async fn watch(
    office: Office,
    opened: Opened,
    mut watch: RecordWatch,
    answers: mpsc::Sender<v1::WatchRecordsResponse>,
) -> End {
    let mut leaving = opened.standing.leaving();
    tokio::select! {
        biased;
        () = stopped(&mut leaving) => {
            let refusal = errors::connection_ends();
            office.metrics.refused(&refusal);
            Err(refusal.into_status())
        }
        end = follow(&office, &opened, &mut watch, &answers) => end,
    }
}

async fn follow(
    office: &Office,
    opened: &Opened,
    watch: &mut RecordWatch,
    answers: &mpsc::Sender<v1::WatchRecordsResponse>,
) -> End {
    let mut told = Told { index: 0, at: Instant::now() };
    if told.progress(answers, watch.next_index()).await.is_err() {
        return Ok(());
    }
    loop {
        tokio::select! {
            () = watch.grown() => {}
            () = sleep_until(told.at + PROGRESS_INTERVAL) => {}
        }
        // Each chunk, and each word of progress, is for somebody who may have it now.
        let from = opened.standing.requester(Instant::now() + opened.deadline.each)?;
        let RecordChunk { records, next_index } = watch.read(&from).await.map_err(|error| office.refuse(&error))?;
        let last = records.len();
        for (place, record) in (1..).zip(records) {
            let record = audit_record(record).map_err(|error| office.refuse(&error))?;
            // With the last one, also what was passed over after it.
            let next_index = if place == last { next_index } else { record.index.saturating_add(1) };
            let answer = v1::WatchRecordsResponse { record: Some(record), next_index };
            if told.answer(answers, answer).await.is_err() {
                return Ok(());
            }
        }
        let passed_over = next_index.saturating_sub(told.index);
        let tell = passed_over >= PROGRESS_RECORDS || told.at.elapsed() >= PROGRESS_INTERVAL;
        if tell && told.progress(answers, next_index).await.is_err() {
            return Ok(());
        }
    }
}

/// What the watcher knows.
struct Told {
    /// From where it would resume.
    index: u64,
    /// Since when.
    at: Instant,
}

/// Nobody takes the answers any more.
struct Gone;

impl Told {
    async fn progress(
        &mut self,
        answers: &mpsc::Sender<v1::WatchRecordsResponse>,
        next_index: u64,
    ) -> Result<(), Gone> {
        self.answer(answers, v1::WatchRecordsResponse { record: None, next_index }).await
    }

    async fn answer(
        &mut self,
        answers: &mpsc::Sender<v1::WatchRecordsResponse>,
        answer: v1::WatchRecordsResponse,
    ) -> Result<(), Gone> {
        self.index = answer.next_index;
        answers.send(answer).await.map_err(|_unsent| Gone)?;
        self.at = Instant::now();
        Ok(())
    }
}
