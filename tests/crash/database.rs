//! The database that a killed service left, read from a copy by SQLite alone.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::checker::{Checked, violation};
use crate::entry::Entry;

/// What the copy holds.
#[derive(Debug)]
pub struct Copy {
    pub entries: Vec<Entry>,
    /// What waits for an outcome: intents, and acts.
    pub open: (usize, usize),
}

/// Copies the database and its write-ahead log as they lie there, and reads the records from `first` on. Checks what needs
/// no record: that SQLite finds the file whole, and that its head is where the last record is.
pub fn read(dev: &Path, first: u64) -> Checked<Copy> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["chancery.db", "chancery.db-wal"] {
        if dev.join(name).exists() {
            std::fs::copy(dev.join(name), folder.path().join(name)).unwrap();
        }
    }
    let database = folder.path().join("chancery.db");
    // Its own recovery has to write; nothing else does.
    let database = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let whole: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    let references = database.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap();
    if whole != "ok" || references {
        return violation!("SQLite says of the database: {whole}; dangling references: {references}");
    }
    let mut statement = database
        .prepare(
            "SELECT idx, leaf, salt, content FROM leaves LEFT JOIN details USING (idx) WHERE idx >= ?1 ORDER BY idx",
        )
        .unwrap();
    let entry = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Entry> {
        let (leaf, salt, details): (Vec<u8>, Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Entry::read(row.get::<_, i64>(0)?.cast_unsigned(), &leaf, &salt, &details))
    };
    let entries: Vec<Entry> = statement.query_map([first.cast_signed()], entry).unwrap().map(Result::unwrap).collect();
    let head = "SELECT epoch, next_index FROM head";
    let (epoch, next): (i64, i64) = database.query_row(head, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    if let Some(last) = entries.last()
        && (epoch.cast_unsigned(), next.cast_unsigned()) != (last.epoch, last.index + 1)
    {
        return violation!("the head says epoch {epoch} and next index {next}, and the last record is {last:?}");
    }
    let count = |act: i64| -> usize {
        let count = "SELECT count(*) FROM open_intents WHERE act = ?1";
        database.query_row(count, [act], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
    };
    Ok(Copy { entries, open: (count(0), count(1)) })
}
