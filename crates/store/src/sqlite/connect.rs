//! Connections and their settings.

use super::checkpoint::{self, WalPages};
use super::failed;
use crate::{OpenError, StoreError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// Marks the file as ours in SQLite's header: `CHRY`.
pub(crate) const APPLICATION_ID: i64 = 0x4348_5259;

/// How long to wait for a lock of SQLite's own. Only a backup or a curious administrator can hold one against
/// the writer; readers never do in WAL mode.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// After a checkpoint, the WAL's file is cut back to this size in bytes.
const WAL_SIZE_LIMIT: i64 = 64 << 20;

/// Every statement of the writer stays prepared.
const STATEMENT_CACHE: usize = 64;

/// The one writing connection: checked to be ours or new, in WAL mode, durable at each commit.
pub(crate) fn for_writing(path: &Path) -> Result<(Connection, WalPages), OpenError> {
    let broken = |doing| move |error| OpenError::Database { path: path.to_owned(), doing, source: Box::new(error) };
    let mut connection = open(path).map_err(broken("opening it"))?;
    let (application, objects): (i64, i64) = connection
        .query_row("SELECT (SELECT * FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(broken("reading its header"))?;
    if application != APPLICATION_ID && (application != 0 || objects != 0) {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    let setting = broken("setting it up");
    let journal = (|| {
        connection.pragma_update(None, "synchronous", "FULL")?; // each commit is synced to the disk
        connection.pragma_update(None, "fullfsync", true)?; // on macOS also through the disk's own cache
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?; // what is deleted is overwritten
        connection.pragma_update_and_check(None, "journal_size_limit", WAL_SIZE_LIMIT, |_| Ok(()))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))
    })()
    .map_err(setting)?;
    if journal != "wal" {
        return Err(OpenError::Setting { path: path.to_owned(), setting: "write-ahead logging" });
    }
    sync_folder(path)?;
    take_in(&connection, path)?;
    let wal = WalPages::follow(&mut connection).map_err(broken("setting it up"))?;
    Ok((connection, wal))
}

/// Makes the files' names durable: a write-ahead log that is new, and not in its folder after a power failure, would take
/// every record with it. SQLite syncs the folder too, but passes over an error.
fn sync_folder(path: &Path) -> Result<(), OpenError> {
    let folder = path.parent().unwrap_or(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| OpenError::Folder { path: path.to_owned(), folder: folder.to_owned(), source })
}

/// Copies what an earlier run left in the write-ahead log into the database, before anything is added to it.
///
/// If that run ended because the log could not be synced, the system may show pages of it that never reached the disk, and
/// will not write them again. What is added behind them would be synced, acknowledged, and lost with them when the power
/// fails. Copied, all of it is written anew; and the log begins anew, in pages that are written again.
fn take_in(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let taken = checkpoint::at_start(connection).map_err(|error| OpenError::Database {
        path: path.to_owned(),
        doing: "taking in the write-ahead log of the run before",
        source: Box::new(error),
    })?;
    if taken { Ok(()) } else { Err(OpenError::Read { path: path.to_owned() }) }
}

/// A connection that reads beside the writer.
pub(crate) fn for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Has a connection that is closed remove the write-ahead log, which is empty, if it is the last one.
pub(crate) fn tidy_up_on_close(connection: &Connection) -> Result<(), StoreError> {
    let set = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    set.map(drop).map_err(failed("closing it"))
}

pub(crate) fn open(path: &Path) -> rusqlite::Result<Connection> {
    // No SQLITE_OPEN_CREATE: the file was made before, with its rights. No mutex: a connection is one thread's at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Closing touches the files no more than reading does, even if it is the last connection that closes: the disk may just
    // have failed. Copying the write-ahead log into the database is what the writer does, when it says so.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_synced_and_references_checked() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("test.db");
        File::create(&path).unwrap();
        let (connection, _wal) = for_writing(&path).unwrap();
        let setting = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(setting("synchronous"), 2, "FULL");
        assert_eq!(setting("foreign_keys"), 1);
        assert_eq!(setting("secure_delete"), 1);
        assert_eq!(setting("wal_autocheckpoint"), 0, "SQLite does not copy the log by itself");
        assert_eq!(setting("busy_timeout"), 5_000);
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(journal, "wal");
        let reading = for_reading(&path).unwrap();
        assert!(reading.execute_batch("CREATE TABLE x (y INTEGER)").is_err(), "a reader never writes");
    }

    #[test]
    fn the_last_to_close_leaves_the_files_as_they_are() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("test.db");
        File::create(&path).unwrap();
        let (writing, _wal) = for_writing(&path).unwrap();
        writing.execute_batch("CREATE TABLE x (y INTEGER)").unwrap();
        let reading = for_reading(&path).unwrap();
        let rows = || reading.query_row("SELECT count(*) FROM x", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(rows(), 0);
        let files = || ["test.db", "test.db-wal"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
        let before = files();
        writing.close().unwrap();
        reading.close().unwrap();
        assert!(files() == before, "no checkpoint, and the write-ahead log is still there");
    }

    #[test]
    fn what_the_log_holds_is_in_the_database_before_anything_is_added() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("test.db");
        File::create(&path).unwrap();
        let (writing, _wal) = for_writing(&path).unwrap();
        writing.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        writing.execute_batch("CREATE TABLE x (y INTEGER); INSERT INTO x VALUES (7)").unwrap();
        writing.close().unwrap();
        let log = || std::fs::metadata(folder.path().join("test.db-wal")).unwrap().len();
        assert!(log() > 0);
        let (writing, _wal) = for_writing(&path).unwrap();
        assert_eq!(log(), 0);
        let alone = folder.path().join("alone.db");
        std::fs::copy(&path, &alone).unwrap();
        for path in [path, alone] {
            let reading = for_reading(&path).unwrap();
            assert_eq!(reading.query_row("SELECT y FROM x", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
        }
        drop(writing);
    }

    #[test]
    fn a_reader_that_keeps_the_log_from_being_taken_in_is_named() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("test.db");
        File::create(&path).unwrap();
        let (writing, _wal) = for_writing(&path).unwrap();
        writing.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        writing.execute_batch("CREATE TABLE x (y INTEGER); INSERT INTO x VALUES (7)").unwrap();
        let reading = for_reading(&path).unwrap();
        reading.execute_batch("BEGIN; SELECT * FROM x").unwrap();
        writing.close().unwrap();
        let error = for_writing(&path).unwrap_err();
        assert!(matches!(error, OpenError::Read { .. }), "{error}");
        reading.execute_batch("COMMIT").unwrap();
        for_writing(&path).unwrap();
    }
}
