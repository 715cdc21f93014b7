//! The one writer and its transactions.

use crate::lock::Lock;
use crate::sqlite::checkpoint::{self, WalPages};
use crate::sqlite::log::BlockTimes;
use crate::sqlite::tree::CheckpointTable;
use crate::sqlite::{archive, callers, connect, erase, failed, head, log, query, rows, tree, usage};
use crate::{CheckpointRow, Epoch, Head, NewRecord, OpenIntent, RecordEnd, RowChange, Seal, StoreError};
use chancery_model::{Id, Timestamp, Uid, Usage, UsageOf};
use rusqlite::Connection;

/// The only thing that writes to the database. It belongs to one thread at a time, and holds the lock that
/// keeps other services off.
///
/// Dropped, it leaves the files as they are: whoever drops it may do so because the disk has just failed, and a disk that
/// failed to sync must not be asked again. [`Writer::close`] is the end in good order.
#[derive(Debug)]
pub struct Writer {
    // Before the lock, so that the connection is closed when the lock is let go.
    connection: Connection,
    wal: WalPages,
    _lock: Lock,
}

/// Indexes taken for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The first of them; the others follow without gaps.
    pub first: u64,
    /// The epoch in which the records are: after the raising, where the epoch was raised.
    pub epoch: Epoch,
}

impl Writer {
    pub(crate) const fn new(connection: Connection, wal: WalPages, lock: Lock) -> Self {
        Self { connection, wal, _lock: lock }
    }

    /// Where state and log stand.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn head(&self) -> Result<Head, StoreError> {
        head::read(&self.connection)
    }

    /// Which database this is, and what its state is held to; `None` until it is sealed for the first time.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn seal(&self) -> Result<(Uid, Option<Seal>), StoreError> {
        head::seal(&self.connection)
    }

    /// The records of `instance` that wait for their outcome, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn open_intents(&self, instance: &Id) -> Result<Vec<OpenIntent>, StoreError> {
        query::open_intents(&self.connection, instance)
    }

    /// The hashes of a tile of the log's tree, as many as there are by now; `None` where it is not kept.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        tree::tile(&self.connection, level, index)
    }

    /// How many whole tiles of the lowest level there are, if none before the last is missing.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn whole_tiles(&self) -> Result<u64, StoreError> {
        tree::whole_tiles(&self.connection)
    }

    /// Up to `limit` leaves from `first` on, as many as follow each other without a gap. None of them must be archived.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn leaves(&self, first: u64, limit: u32) -> Result<Vec<Vec<u8>>, StoreError> {
        let leaves = tree::leaves(&self.connection, first, limit)?;
        match (first..).zip(&leaves).find(|(_, leaf)| leaf.is_empty()) {
            Some((index, _)) => Err(StoreError::NoLeaf { index }),
            None => Ok(leaves),
        }
    }

    /// How many leaves, from the first on, are archived.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn archived(&self) -> Result<u64, StoreError> {
        archive::archived(&self.connection)
    }

    /// Empties the leaves of the whole tile that begins at `first`, which are in the archive from then on, and gives back their
    /// room; all of it in one transaction. `false`, and nothing done, where that is not where the archive ends, or where not
    /// all of them are there.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn empty_leaves(&mut self, first: u64) -> Result<bool, StoreError> {
        const DOING: &str = "emptying archived leaves";
        let check_references = |connection: &Connection, check: bool| {
            connection.pragma_update(None, "foreign_keys", check).map_err(failed(DOING))
        };
        // Whatever refers to these rows does so again when they are back. Looking for it would read whole tables.
        check_references(&self.connection, false)?;
        let emptied = self.begin().and_then(|transaction| {
            let emptied = archive::empty_tile(transaction.connection, first)?;
            if emptied {
                transaction.commit()?;
            }
            Ok(emptied)
        });
        check_references(&self.connection, true)?;
        emptied
    }

    /// The log's newest checkpoint; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn newest_checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        tree::newest_checkpoint(&self.connection, CheckpointTable::Signed)
    }

    /// Begins a transaction, which takes the database's write lock.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed.
    pub fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        execute(&self.connection, "BEGIN IMMEDIATE", "beginning a transaction")?;
        Ok(Transaction { connection: &self.connection, times: None, done: false })
    }

    /// Copies the write-ahead log into the database, once it is so long that it is worth it. To be called now and then,
    /// when nobody waits.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed. What is committed is durable in the log all the same; but no more must be
    /// written by this writer: after a failed sync nobody knows what is on the disk, and a second one may seem to succeed.
    pub fn checkpoint_if_due(&mut self) -> Result<(), StoreError> {
        if self.wal.is_due() { checkpoint::passive(&self.connection) } else { Ok(()) }
    }

    /// Copies the write-ahead log into the database and empties it, so that what was erased is in neither. `false` where a
    /// reader is in the way: it is not waited for, and the call is to be made again.
    ///
    /// # Errors
    /// As of [`Writer::checkpoint_if_due`].
    pub fn empty_wal(&mut self) -> Result<bool, StoreError> {
        checkpoint::whole_at_once(&self.connection)
    }

    /// Copies the write-ahead log into the database, empties it and closes the database: the file alone is then the whole
    /// of it.
    ///
    /// # Errors
    /// [`StoreError`]: the database failed; the files are left as they are, and the next opening does the rest.
    pub fn close(self) -> Result<(), StoreError> {
        // Where a reader is in the way, the next opening does the rest, too.
        if checkpoint::whole(&self.connection)? {
            connect::tidy_up_on_close(&self.connection)?;
        }
        Ok(())
    }
}

/// A transaction: all of it is durable when [`Transaction::commit`] returns, or nothing of it ever was. Undone when dropped.
#[derive(Debug)]
pub struct Transaction<'a> {
    connection: &'a Connection,
    /// Noted once for all records of a block.
    times: Option<BlockTimes>,
    done: bool,
}

impl Transaction<'_> {
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
