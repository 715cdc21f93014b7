//! Copying the write-ahead log into the database.
//!
//! SQLite would do it by itself after a commit, and keep to itself whether it succeeded: a database that fails to sync would
//! be synced again at the next commit, until that seems to succeed. The system forgets pages that it failed to write, so
//! that then means nothing. Hence it is done here, where an error is one.

use super::connect::BUSY_TIMEOUT;
use super::failed;
use crate::StoreError;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, Row};
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// The log is copied when it has so many pages (of 4 KiB): a group of 64 signatures writes about 60. More would pause longer
/// and less often, less would write the same page more often.
const DUE_PAGES: c_int = 4_000;

const DOING: &str = "copying the write-ahead log into the database";

/// How long the write-ahead log is, as of the last commit.
#[derive(Debug)]
pub(crate) struct WalPages(Arc<AtomicI32>);

impl WalPages {
    /// Follows the commits of a connection, which no longer copies the log by itself.
    pub(crate) fn follow(connection: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicI32::new(0));
        let told = Arc::clone(&pages);
        // This takes the place of the hook by which SQLite would do it.
        connection.wal_hook(Some(move |_: &mut Wal, length: c_int| {
            told.store(length, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self(pages))
    }

    /// Whether it is worth copying.
    pub(crate) fn is_due(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= DUE_PAGES
    }
}

/// Copies what no reader is in the way of; the rest comes with the next time.
pub(crate) fn passive(connection: &Connection) -> Result<(), StoreError> {
    run(connection, "PRAGMA wal_checkpoint(PASSIVE)").map(drop).map_err(failed(DOING))
}

/// Copies all of it and empties it. `false` where a reader was in the way.
pub(crate) fn whole(connection: &Connection) -> Result<bool, StoreError> {
    run(connection, TRUNCATE).map_err(failed(DOING))
}

/// The same, without waiting for anybody.
pub(crate) fn whole_at_once(connection: &Connection) -> Result<bool, StoreError> {
    let patience = |timeout| connection.busy_timeout(timeout).map_err(failed(DOING));
    patience(Duration::ZERO)?;
    let emptied = whole(connection);
    patience(BUSY_TIMEOUT)?;
    emptied
}

/// The same while the database is being opened.
pub(crate) fn at_start(connection: &Connection) -> rusqlite::Result<bool> {
    run(connection, TRUNCATE)
}

const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// `false` where somebody else was in the way: that is no error of the disk.
fn run(connection: &Connection, pragma: &str) -> rusqlite::Result<bool> {
    let busy = |row: &Row<'_>| row.get::<_, bool>(0);
    connection.prepare_cached(pragma)?.query_row([], busy).map(|busy| !busy)
}
