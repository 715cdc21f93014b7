//! Reading beside the writer.

use crate::archive::{Archive, PATIENCE, TILE_LEAVES};
use crate::sqlite::tree::CheckpointTable;
use crate::sqlite::{archive, connect, erase, failed, head, query, state, tree, until, usage};
use crate::{
    ArchiveError, ArchivedLeaves, CheckpointRow, Erasable, ErasableQuery, LogEnd, LogRow, OpenIntent, RecordPage,
    RecordQuery, State, StoreError,
};
use chancery_model::{Id, Usage, UsageOf};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// More readers at once would only fight for the same cores; the next one waits.
const CONNECTIONS: usize = 4;

/// Reads the database. Each call is one short read transaction, so that the write-ahead log can be emptied.
///
/// Calls block: use a thread that may, and never one on the way of a signature. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: Arc<Pool>,
    archive: Option<Arc<Archive>>,
}

impl Reader {
    pub(crate) fn new(path: PathBuf) -> Self {
        let connections = Connections { idle: Vec::new(), to_open: CONNECTIONS };
        let pool = Pool { path, connections: Mutex::new(connections), returned: Condvar::new() };
        Self { pool: Arc::new(pool), archive: None }
    }

    /// Takes archived leaves from there. Without, they are not to be had: [`StoreError::Archived`].
    #[must_use]
    pub fn with_archive(self, leaves: Arc<dyn ArchivedLeaves>) -> Self {
        Self { archive: Some(Arc::new(Archive::new(leaves))), ..self }
    }

    /// How many leaves, from the first on, are archived.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn archived(&self) -> Result<u64, StoreError> {
        archive::archived(self.pool.take()?.connection())
    }

    /// The whole state at its present epoch.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed, or a row holds what this program does not know.
    pub fn load_state(&self) -> Result<State, StoreError> {
        state::load(self.pool.take()?.connection())
    }

    /// Records, as asked for. Looks at a bounded number of them, however few match: [`RecordPage::next`] says where to go
    /// on.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn list_records(&self, query: &RecordQuery) -> Result<RecordPage, StoreError> {
        let mut page = query::records(self.pool.take()?.connection(), query)?;
        self.fill(page.records.iter_mut().map(|record| (record.index, &mut record.leaf)))?;
        Ok(page)
    }

    /// The same, given up at `until`: the disk may be slow. Where half of the time has gone by and leaves are still to be read from
    /// the archive, or one of them takes long, the page ends before them, though never before its first record: nobody could page
    /// past it.
    ///
    /// # Errors
    /// [`StoreError::OutOfTime`]; others: the database failed.
    pub fn list_records_until(&self, query: &RecordQuery, until: Instant) -> Result<RecordPage, StoreError> {
        let begun = Instant::now();
        let parts = until.saturating_duration_since(begun) / 4;
        let (enough, late) = (begun + parts * 2, begun + parts * 3);
        let mut page = {
            let mut lent = self.pool.take()?;
            until::within(lent.connection(), until, |connection| query::records(connection, query))?
        };
        let mut ends = None;
        for (place, record) in page.records.iter_mut().enumerate().filter(|(_, record)| record.leaf.is_empty()) {
            let leaf = match self.at_hand(record.index) {
                Some(leaf) => Ok(leaf),
                None if place > 0 && Instant::now() > enough => Err(StoreError::OutOfTime),
                None => self.archived_leaf(record.index, Some(if place > 0 { late } else { until })),
            };
            match leaf {
                Ok(leaf) => record.leaf = leaf,
                Err(StoreError::OutOfTime) if place > 0 => {
                    ends = Some((place, record.index));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some((place, next)) = ends {
            page.records.truncate(place);
            page.next = Some(next);
        }
        Ok(page)
    }

    /// How many signatures of these keys and callers were counted, in their order.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn usage(&self, of: &[UsageOf]) -> Result<Vec<Usage>, StoreError> {
        let mut lent = self.pool.take()?;
        let connection = lent.connection();
        of.iter().map(|of| usage::read(connection, *of)).collect()
    }

    /// The records of `instance` that wait for their outcome, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn open_intents(&self, instance: &Id) -> Result<Vec<OpenIntent>, StoreError> {
        query::open_intents(self.pool.take()?.connection(), instance)
    }

    /// The first record that waits for its outcome, whichever instance recorded it.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn first_open_intent(&self) -> Result<Option<u64>, StoreError> {
        query::first_open_intent(self.pool.take()?.connection())
    }

    /// The records whose details may be erased, as far as the store can tell, ascending. Where none of them is rare, all
    /// that are old enough and still there are looked at.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn erasable(&self, query: &ErasableQuery) -> Result<Vec<Erasable>, StoreError> {
        let mut erasable = erase::erasable(self.pool.take()?.connection(), query)?;
        self.fill(erasable.iter_mut().map(|one| (one.index, &mut one.leaf)))?;
        Ok(erasable)
    }

    /// Up to `limit` records whose details were emptied, and whose rows are still there: an erasure is under way, or one was
    /// interrupted.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn emptied(&self, limit: u32) -> Result<Vec<u64>, StoreError> {
        erase::emptied(self.pool.take()?.connection(), limit)
    }

    /// The hashes of a tile of the log's tree, as many as there are by now; `None` where it is not kept.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        tree::tile(self.pool.take()?.connection(), level, index)
    }

    /// Up to `limit` leaves from `first` on, as many as follow each other without a gap.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn leaves(&self, first: u64, limit: u32) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut leaves = tree::leaves(self.pool.take()?.connection(), first, limit)?;
        self.fill((first..).zip(&mut leaves))?;
        Ok(leaves)
    }

    /// Up to `limit` leaves with an index of `first` or more, with their details; not held to follow each other without a gap.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn log_rows(&self, first: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        let mut rows = tree::log_rows(self.pool.take()?.connection(), first, limit)?;
        self.fill(rows.iter_mut().map(|row| (row.index, &mut row.leaf)))?;
        Ok(rows)
    }

    /// The records that are not found by digest and trace id yet, from one on and below another: they are of versions that did
    /// not search, and a service that starts reads their details step by step.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn not_searchable(&self) -> Result<Option<(u64, u64)>, StoreError> {
        tree::not_searchable(self.pool.take()?.connection())
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn log_end(&self) -> Result<LogEnd, StoreError> {
        head::log_end(self.pool.take()?.connection())
    }

    /// The log's newest checkpoint; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn newest_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        tree::newest_checkpoint(self.pool.take()?.connection(), CheckpointTable::Signed)
    }

    /// The newest of the log's checkpoints that enough witnesses had cosigned; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn newest_cosigned_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        tree::newest_checkpoint(self.pool.take()?.connection(), CheckpointTable::Cosigned)
    }

    /// The newest of the log's checkpoints that ever counted, which is what others were shown; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn shown_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        tree::newest_checkpoint(self.pool.take()?.connection(), CheckpointTable::Shown)
    }

    /// Up to `limit` checkpoints of more than `after` leaves, or from the first on, the smallest first.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn checkpoints_after(&self, after: Option<u64>, limit: u32) -> Result<Vec<CheckpointRow>, StoreError> {
        tree::checkpoints_after(self.pool.take()?.connection(), CheckpointTable::Signed, after, limit)
    }

    /// The same of those that enough witnesses had cosigned.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn cosigned_checkpoints_after(&self, after: Option<u64>, limit: u32) -> Result<Vec<CheckpointRow>, StoreError> {
        tree::checkpoints_after(self.pool.take()?.connection(), CheckpointTable::Cosigned, after, limit)
    }

    /// Puts the archived leaves in their places, which are empty in the database: everything that reads leaves goes through here,
    /// or does the same in its time.
    fn fill<'a>(&self, rows: impl Iterator<Item = (u64, &'a mut Vec<u8>)>) -> Result<(), StoreError> {
        for (index, leaf) in rows.filter(|(_, leaf)| leaf.is_empty()) {
            *leaf = self.archived_leaf(index, None)?;
        }
        Ok(())
    }

    fn at_hand(&self, index: u64) -> Option<Vec<u8>> {
        self.archive.as_ref()?.at_hand(index)
    }

    /// Holds no connection while it reads the archive, which may be slow.
    fn archived_leaf(&self, index: u64, until: Option<Instant>) -> Result<Vec<u8>, StoreError> {
        if let Some(leaf) = self.at_hand(index) {
            return Ok(leaf);
        }
        if index >= self.archived()? {
            return Err(StoreError::NoLeaf { index });
        }
        let failed = |source| StoreError::Archived { index, source };
        let archive = self.archive.as_ref().ok_or_else(|| failed(ArchiveError::NotNamed))?;
        let hashes = self.tile(0, index / TILE_LEAVES)?.ok_or_else(|| StoreError::Damaged {
            what: format!(
                "the tile of the log's tree is missing by which the archived leaf of record {index} is checked"
            ),
        })?;
        let patience = Instant::now() + PATIENCE;
        let until = until.filter(|until| *until < patience);
        if until.is_some_and(|until| Instant::now() > until) {
            return Err(StoreError::OutOfTime);
        }
        let fetched = archive.fetch(index, hashes, until.unwrap_or(patience));
        match (fetched, until) {
            (Err(ArchiveError::Silent { .. }), Some(until)) if Instant::now() >= until => Err(StoreError::OutOfTime),
            (fetched, _) => fetched.map_err(failed)?.ok_or(StoreError::NoLeaf { index }),
        }
    }
}

#[derive(Debug)]
struct Pool {
    path: PathBuf,
    connections: Mutex<Connections>,
    returned: Condvar,
}

#[derive(Debug)]
struct Connections {
    idle: Vec<Connection>,
    /// How many more may be opened.
    to_open: usize,
}

impl Pool {
    fn take(&self) -> Result<Lent<'_>, StoreError> {
        let mut connections = self.lock();
        loop {
            if let Some(connection) = connections.idle.pop() {
                return Ok(Lent { pool: self, connection: Some(connection) });
            }
            if connections.to_open > 0 {
                connections.to_open -= 1;
                break;
            }
            connections = self.returned.wait(connections).unwrap_or_else(PoisonError::into_inner);
        }
        drop(connections);
        // Counted from here on, so that a failure to open gives the place back.
        let mut lent = Lent { pool: self, connection: None };
        lent.connection = Some(connect::for_reading(&self.path).map_err(failed("opening it for reading"))?);
        Ok(lent)
    }

    /// What is inside is whole at every moment, so that a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on loan, or a place for one.
struct Lent<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Lent<'_> {
    #[expect(clippy::expect_used, reason = "`take` fills the place before it hands it out")]
    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a lent connection")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut connections = self.pool.lock();
        match self.connection.take() {
            Some(connection) => connections.idle.push(connection),
            None => connections.to_open += 1,
        }
        drop(connections);
        self.pool.returned.notify_one();
    }
}
