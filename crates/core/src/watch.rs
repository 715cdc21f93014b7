//! Following the record: what is on it from some index on, and then what is added, without loss or duplicate.
//!
//! Nothing is held between two chunks but an index: each chunk is one short read transaction, so a watcher who hangs does
//! not keep the store's write-ahead log from being emptied, and one who is slow just lags. Nobody polls the store: a
//! watcher who has seen everything sleeps until the record says that a group is durable.

use std::sync::Arc;
use std::time::Duration;

use chancery_model::Action;
use chancery_policy::{OperationContext, Resource};
use chancery_store::{Order, RecordPage, RecordQuery, StoredRecord};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::authorize::Asked;
use crate::{Chancery, Error, Requester, blocking_in};

/// Most records in a chunk.
const CHUNK: u32 = 256;
/// How many records a chunk looks at, matching or not: what bounds its read transaction.
const SPAN: u64 = 4_096;
/// How long reading a chunk may take, which proofs wait for, too. Only an archive on a slow share takes so long.
const READING: Duration = Duration::from_secs(5);
/// A watcher at the end of the record reads no more often than this, so that one who follows a busy record costs one read
/// for many groups.
const PAUSE: Duration = Duration::from_millis(20);

/// A place in the record, moving forward.
pub struct RecordWatch {
    core: Chancery,
    filter: RecordQuery,
    next: u64,
    durable: watch::Receiver<u64>,
    not_before: Instant,
}

/// The next records of a watch.
#[derive(Debug)]
pub struct RecordChunk {
    /// Those that match, the oldest first; perhaps none.
    pub records: Vec<StoredRecord>,
    /// Everything below this index is in this chunk or in an earlier one, or does not match.
    pub next_index: u64,
}

impl Chancery {
    /// Begins to follow the record: from `start` on, or with what comes from now on. Of `filter`, what says which records
    /// match is used; where it begins, its order and its limit are the watch's own.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::BeyondRecord`] where the record does not reach up to `start`.
    pub fn watch_records(
        &self,
        from: &Requester,
        filter: RecordQuery,
        start: Option<u64>,
    ) -> Result<RecordWatch, Error> {
        self.authorize_watching(from)?;
        let durable = self.inner.log.next_index();
        let end = *durable.borrow();
        let next = match start {
            Some(start_index) if start_index > end => {
                return Err(Error::BeyondRecord { start_index, next_index: end });
            }
            Some(start) => start,
            None => end,
        };
        Ok(RecordWatch { core: self.clone(), filter, next, durable, not_before: Instant::now() })
    }

    async fn read_chunk(&self, query: RecordQuery) -> Result<RecordPage, Error> {
        let place = Arc::clone(&self.inner.watching).acquire_owned().await;
        let place = place.map_err(|closed| Error::internal(closed.to_string()))?;
        let reader = self.inner.reader.clone();
        let read = move || reader.list_records_until(&query, std::time::Instant::now() + READING);
        Ok(blocking_in(place, read).await??)
    }

    fn authorize_watching(&self, from: &Requester) -> Result<(), Error> {
        let asked = Asked::of(from, Action::WatchRecords, &"auditLog");
        self.authorize(&self.snapshot(), asked, Resource::AuditLog, OperationContext::Plain)?;
        Ok(())
    }
}

impl RecordWatch {
    /// The index from which this watch goes on.
    #[must_use]
    pub const fn next_index(&self) -> u64 {
        self.next
    }

    /// Waits until the record has grown beyond what was read. May be dropped at any time, and begun again.
    pub async fn grown(&mut self) {
        let next = self.next;
        if self.durable.wait_for(|durable| *durable > next).await.is_err() {
            // The record has gone, and the service with it.
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.not_before).await;
    }

    /// The next records, if the caller may (still) read them. Does not wait: without anything new it has none.
    ///
    /// Dropped before its end, it has read nothing.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::Internal`] where the store cannot be read.
    pub async fn read(&mut self, from: &Requester) -> Result<RecordChunk, Error> {
        self.core.authorize_watching(from)?;
        let end = *self.durable.borrow();
        if self.next >= end {
            return Ok(RecordChunk { records: Vec::new(), next_index: self.next });
        }
        let before = end.min(self.next.saturating_add(SPAN));
        let query = RecordQuery {
            from_index: Some(self.next),
            before_index: Some(before),
            order: Order::OldestFirst,
            limit: CHUNK,
            ..self.filter.clone()
        };
        let RecordPage { records, next } = match self.core.read_chunk(query).await {
            // It is asked for again, once others have had their turn. What comes from the archive meanwhile is at hand then.
            Err(Error::DeadlineExceeded { .. }) => RecordPage { records: Vec::new(), next: Some(self.next) },
            page => page?,
        };
        self.next = next.unwrap_or(before);
        if self.next >= end {
            self.not_before = Instant::now() + PAUSE;
        }
        Ok(RecordChunk { records, next_index: self.next })
    }
}
