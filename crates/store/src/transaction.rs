//! A transaction of the writer.

use crate::sqlite::log::BlockTimes;
use crate::sqlite::tree::CheckpointTable;
use crate::sqlite::{callers, erase, failed, head, log, rows, tree, usage};
use crate::{CheckpointRow, Epoch, Head, NewRecord, RecordEnd, RowChange, Seal, StoreError};
use chancery_model::{Id, Timestamp, Uid, Usage, UsageOf};
use rusqlite::Connection;

/// Indexes taken for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The first of them; the others follow without gaps.
    pub first: u64,
    /// The epoch in which the records are: after the raising, where the epoch was raised.
    pub epoch: Epoch,
}

/// A transaction: all of it is durable when [`Transaction::commit`] returns, or nothing of it ever was. Undone when dropped.
#[derive(Debug)]
pub struct Transaction<'a> {
    connection: &'a Connection,
    /// Noted once for all records of a block.
    times: Option<BlockTimes>,
    done: bool,
}

impl<'a> Transaction<'a> {
    /// Begins one, on a connection that has none under way.
    pub(crate) fn begin(connection: &'a Connection) -> Result<Self, StoreError> {
        execute(connection, "BEGIN IMMEDIATE", "beginning a transaction")?;
        Ok(Self { connection, times: None, done: false })
    }

    /// What it is a transaction of.
    pub(crate) const fn connection(&self) -> &'a Connection {
        self.connection
    }

    /// Takes `count` indexes, whatever the epoch.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn take_indexes(&mut self, count: u64) -> Result<Taken, StoreError> {
        head::take(self.connection, count).map(|head| taken(head, count))
    }

    /// Takes `count` indexes if the state's epoch still is `epoch`; `None`, and nothing done, if it is not.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn take_indexes_at(&mut self, epoch: Epoch, count: u64) -> Result<Option<Taken>, StoreError> {
        Ok(head::take_at(self.connection, epoch, count)?.map(|head| taken(head, count)))
    }

    /// Raises the epoch by one and takes `count` indexes, if the state's epoch still is `from`; `None`, and
    /// nothing done, if it is not.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn raise_epoch(&mut self, from: Epoch, count: u64) -> Result<Option<Taken>, StoreError> {
        Ok(head::raise(self.connection, from, count)?.map(|head| taken(head, count)))
    }

    /// The state's epoch, which stays as it is for the rest of the transaction unless the transaction itself raises it.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn epoch(&self) -> Result<Epoch, StoreError> {
        head::read(self.connection).map(|head| head.epoch)
    }

    /// The index that the next leaf would get after this transaction.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn next_index(&self) -> Result<u64, StoreError> {
        head::read(self.connection).map(|head| head.next_index)
    }

    /// How many signatures of a key or caller were counted; none where it never was counted.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn usage(&self, of: UsageOf) -> Result<Usage, StoreError> {
        usage::read(self.connection, of)
    }

    /// Sets it. The state's epoch stays: a count is no change of the state.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed, or there is no such key or caller.
    pub fn set_usage(&mut self, of: UsageOf, counted: Usage) -> Result<(), StoreError> {
        usage::write(self.connection, of, counted)
    }

    /// Writes or removes a row of the state.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed, or the row is in the way of another.
    pub fn apply(&mut self, change: &RowChange) -> Result<(), StoreError> {
        rows::apply(self.connection, change)
    }

    /// Writes what the state, as this transaction leaves it, is held to.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn set_seal(&mut self, seal: &Seal) -> Result<(), StoreError> {
        head::write_seal(self.connection, seal)
    }

    /// Gives the database another id: what was said of it so far is said of another database from now on.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn set_database(&mut self, database: Uid) -> Result<(), StoreError> {
        head::rename(self.connection, database)
    }

    /// Notes when an API key was used last. No part of the state.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn note_api_key_use(&mut self, key: Uid, used: Timestamp) -> Result<(), StoreError> {
        callers::note_use(self.connection, key, used)
    }

    /// Appends a leaf with its details.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<(), StoreError> {
        let times = BlockTimes::of(record)?;
        match self.times.and_then(|before| before.and(times)) {
            Some(both) => self.times = Some(both),
            None => {
                if let Some(before) = self.times.replace(times) {
                    log::note_times(self.connection, before)?;
                }
            }
        }
        log::append(self.connection, record)
    }

    /// Notes that the record at `index` waits for its outcome from `instance`; `act` as in [`OpenIntent`].
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn open_intent(&mut self, index: u64, instance: &Id, act: bool) -> Result<(), StoreError> {
        log::open(self.connection, index, instance, act)
    }

    /// Removes that note, and keeps how the record at `index` ended. `false`, and nothing done, where there is no
    /// such note: the first end stands.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn close_intent(&mut self, index: u64, end: RecordEnd) -> Result<bool, StoreError> {
        log::close(self.connection, index, end)
    }

    /// Empties the details of these records, their salts and the columns by which they are found, and notes that the record
    /// at `act` says so. The rows stay, and are removed by [`Transaction::remove_emptied`] once all that is erased together is
    /// empty. Records that wait for their outcome are left alone.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn empty_details(&mut self, indexes: &[u64], act: u64) -> Result<(), StoreError> {
        indexes.iter().try_for_each(|index| erase::empty(self.connection, *index, act).map(drop))
    }

    /// Removes the rows of details that were emptied.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn remove_emptied(&mut self, indexes: &[u64]) -> Result<(), StoreError> {
        indexes.iter().try_for_each(|index| erase::remove(self.connection, *index))
    }

    /// Writes a tile of the log's tree, in the place of a narrower one: up to 256 hashes of 32 bytes.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn put_tile(&mut self, level: u8, index: u64, hashes: &[u8]) -> Result<(), StoreError> {
        tree::put_tile(self.connection, level, index, hashes)
    }

    /// The hashes of a tile, as this transaction leaves it; `None` where it is not kept.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        tree::tile(self.connection, level, index)
    }

    /// Removes the tiles of a level from this place on, which the tree does not have; how many there were.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn remove_tiles(&mut self, level: u8, from: u64) -> Result<usize, StoreError> {
        tree::remove_tiles(self.connection, level, from)
    }

    /// Keeps a checkpoint of the log, in the place of one of the same size, and of the newest so far, unless that is the
    /// first of its hour: what covers more says more, and all of them would fill the disk.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn put_checkpoint(&mut self, checkpoint: &CheckpointRow) -> Result<(), StoreError> {
        tree::put_checkpoint(self.connection, CheckpointTable::Signed, checkpoint)
    }

    /// Keeps a checkpoint that enough witnesses have cosigned, beside the others and by the same rule.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn put_cosigned_checkpoint(&mut self, checkpoint: &CheckpointRow) -> Result<(), StoreError> {
        tree::put_checkpoint(self.connection, CheckpointTable::Cosigned, checkpoint)
    }

    /// Keeps a checkpoint as the one that others are shown.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn put_shown_checkpoint(&mut self, checkpoint: &CheckpointRow) -> Result<(), StoreError> {
        tree::put_shown_checkpoint(self.connection, checkpoint)
    }

    /// The checkpoint that others are shown, as this transaction leaves it.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn shown_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        tree::newest_checkpoint(self.connection, CheckpointTable::Shown)
    }

    /// The log's newest checkpoint, as this transaction leaves it.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn newest_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        tree::newest_checkpoint(self.connection, CheckpointTable::Signed)
    }

    /// Removes the checkpoints of these sizes.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn remove_checkpoints(&mut self, sizes: &[u64]) -> Result<(), StoreError> {
        tree::remove_checkpoints(self.connection, CheckpointTable::Signed, sizes)
    }

    /// The same of those that witnesses have cosigned.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn remove_cosigned_checkpoints(&mut self, sizes: &[u64]) -> Result<(), StoreError> {
        tree::remove_checkpoints(self.connection, CheckpointTable::Cosigned, sizes)
    }

    /// The same of the one that others were shown.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn remove_shown_checkpoint(&mut self, sizes: &[u64]) -> Result<(), StoreError> {
        tree::remove_checkpoints(self.connection, CheckpointTable::Shown, sizes)
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed. Whether the transaction will be found at the next start is then
    /// unknown: treat none of it as done, and do not try again on this writer.
    pub fn commit(mut self) -> Result<(), StoreError> {
        if let Some(times) = self.times.take() {
            log::note_times(self.connection, times)?;
        }
        execute(self.connection, "COMMIT", "making records durable")?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // A failed commit may have undone the transaction by itself.
        if !self.done
            && !self.connection.is_autocommit()
            && let Err(error) = execute(self.connection, "ROLLBACK", "undoing a transaction")
        {
            tracing::warn!(%error, "a transaction is left to the closing of the database");
        }
    }
}

const fn taken(head: Head, count: u64) -> Taken {
    Taken { first: head.next_index.saturating_sub(count), epoch: head.epoch }
}

fn execute(connection: &Connection, sql: &str, doing: &'static str) -> Result<(), StoreError> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(failed(doing))?;
    Ok(())
}
