//! The one writer.

use crate::lock::Lock;
use crate::sqlite::checkpoint::{self, WalPages};
use crate::sqlite::tree::CheckpointTable;
use crate::sqlite::{archive, connect, failed, head, query, tree};
use crate::{CheckpointRow, Head, OpenIntent, Seal, StoreError, Transaction};
use chancery_model::{Id, Uid};
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
            let emptied = archive::empty_tile(transaction.connection(), first)?;
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
        Transaction::begin(&self.connection)
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
