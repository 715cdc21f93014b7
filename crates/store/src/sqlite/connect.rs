//! Connections and their settings.

use crate::OpenError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// Marks the file as ours in SQLite's header: `CHRY`.
pub(crate) const APPLICATION_ID: i64 = 0x4348_5259;

/// How long to wait for a lock of SQLite's own. Only a backup or a curious administrator can hold one against
/// the writer; readers never do in WAL mode.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The WAL is copied into the database when it has so many pages (of 4 KiB): a group of 64 signatures writes
/// about 60. More would pause longer and less often, less would write the same page more often.
const CHECKPOINT_PAGES: i64 = 4_000;

/// After a checkpoint, the WAL's file is cut back to this size in bytes.
const WAL_SIZE_LIMIT: i64 = 64 << 20;

/// Every statement of the writer stays prepared.
const STATEMENT_CACHE: usize = 64;

/// The one writing connection: checked to be ours or new, in WAL mode, durable at each commit.
pub(crate) fn for_writing(path: &Path) -> Result<Connection, OpenError> {
    let failed = |doing| move |error| OpenError::Database { path: path.to_owned(), doing, source: Box::new(error) };
    let connection = open(path).map_err(failed("opening it"))?;
    let (application, objects): (i64, i64) = connection
        .query_row("SELECT (SELECT * FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(failed("reading its header"))?;
    if application != APPLICATION_ID && (application != 0 || objects != 0) {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    let setting = failed("setting it up");
    let journal = (|| {
        connection.pragma_update(None, "synchronous", "FULL")?; // each commit is synced to the disk
        connection.pragma_update(None, "fullfsync", true)?; // on macOS also through the disk's own cache
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update_and_check(None, "journal_size_limit", WAL_SIZE_LIMIT, |_| Ok(()))?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))
    })()
    .map_err(setting)?;
    if journal != "wal" {
        return Err(OpenError::Setting { path: path.to_owned(), setting: "write-ahead logging" });
    }
    Ok(connection)
}

/// A connection that reads beside the writer.
///
/// Closing it touches the files no more than reading does, even if it is the last to close: copying the write-ahead log
/// into the database is the writer's, which leaves it as it is after a failed sync.
pub(crate) fn for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    // No SQLITE_OPEN_CREATE: the file was made before, with its rights. No mutex: a connection is one thread's at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
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
        std::fs::File::create(&path).unwrap();
        let connection = for_writing(&path).unwrap();
        let setting = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(setting("synchronous"), 2, "FULL");
        assert_eq!(setting("foreign_keys"), 1);
        assert_eq!(setting("wal_autocheckpoint"), CHECKPOINT_PAGES);
        assert_eq!(setting("busy_timeout"), 5_000);
        let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(journal, "wal");
        let reading = for_reading(&path).unwrap();
        assert!(reading.execute_batch("CREATE TABLE x (y INTEGER)").is_err(), "a reader never writes");
    }

    #[test]
    fn the_last_reader_to_close_leaves_the_files_as_they_are() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("test.db");
        std::fs::File::create(&path).unwrap();
        let writing = for_writing(&path).unwrap();
        writing.execute_batch("CREATE TABLE x (y INTEGER)").unwrap();
        let reading = for_reading(&path).unwrap();
        let rows = || reading.query_row("SELECT count(*) FROM x", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(rows(), 0);
        writing.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        writing.close().unwrap();
        let files = || ["test.db", "test.db-wal"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
        let before = files();
        reading.close().unwrap();
        assert!(files() == before, "no checkpoint, and the write-ahead log is still there");
    }
}
