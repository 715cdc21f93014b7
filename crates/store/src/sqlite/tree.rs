//! The Merkle tree's tiles, the leaves that it is made of, and its checkpoints. What is in them, `audit` knows.

use super::log::key_of;
use super::query::details;
use super::{failed, from_sql, to_sql};
use crate::{CheckpointRow, FoundBy, LogRow, NotedEnd, StoreError, StoredDetails};
use chancery_model::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

const READING_CHECKPOINTS: &str = "reading a checkpoint of the log";

/// Where checkpoints are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CheckpointTable {
    /// What the log has signed.
    Signed,
    /// What enough witnesses have signed, too.
    Cosigned,
    /// The newest that ever counted: one row.
    Shown,
}

impl CheckpointTable {
    const fn name(self) -> &'static str {
        match self {
            Self::Signed => "checkpoints",
            Self::Cosigned => "cosigned_checkpoints",
            Self::Shown => "shown_checkpoint",
        }
    }
}

/// Writes a tile, in the place of a narrower one.
pub(crate) fn put_tile(connection: &Connection, level: u8, index: u64, hashes: &[u8]) -> Result<(), StoreError> {
    let index = to_sql(index, "the place of a tile")?;
    connection
        .prepare_cached(
            "INSERT INTO tiles (level, idx, hashes) VALUES (?1, ?2, ?3)
             ON CONFLICT (level, idx) DO UPDATE SET hashes = excluded.hashes",
        )
        .and_then(|mut statement| statement.execute(params![level, index, hashes]))
        .map_err(failed("writing a tile of the log"))?;
    Ok(())
}

/// The hashes of a tile, as many as there are by now; `None` where it is not kept.
pub(crate) fn tile(connection: &Connection, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let index = to_sql(index, "the place of a tile")?;
    connection
        .prepare_cached("SELECT hashes FROM tiles WHERE level = ?1 AND idx = ?2")
        .and_then(|mut statement| statement.query_row(params![level, index], |row| row.get(0)).optional())
        .map_err(failed("reading a tile of the log"))
}

/// Removes the tiles of a level from this place on; how many there were.
pub(crate) fn remove_tiles(connection: &Connection, level: u8, from: u64) -> Result<usize, StoreError> {
    let from = to_sql(from, "the place of a tile")?;
    connection
        .prepare_cached("DELETE FROM tiles WHERE level = ?1 AND idx >= ?2")
        .and_then(|mut statement| statement.execute(params![level, from]))
        .map_err(failed("removing tiles of the log"))
}

/// How many whole tiles of the lowest level there are, if none before the last is missing. Others are not kept of this level.
pub(crate) fn whole_tiles(connection: &Connection) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT coalesce(max(idx) + 1, 0) FROM tiles WHERE level = 0")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed("reading how far the tree of the log goes"))?;
    from_sql(count, "the number of tiles")
}

/// Up to `limit` leaves from `first` on: as many as follow each other without a gap.
pub(crate) fn leaves(connection: &Connection, first: u64, limit: u32) -> Result<Vec<Vec<u8>>, StoreError> {
    const DOING: &str = "reading leaves of the log";
    let first = to_sql(first, "an index")?;
    let mut statement = connection
        .prepare_cached("SELECT idx, leaf FROM leaves WHERE idx >= ?1 ORDER BY idx LIMIT ?2")
        .map_err(failed(DOING))?;
    let mut rows = statement.query(params![first, limit]).map_err(failed(DOING))?;
    let mut leaves = Vec::new();
    for expected in first.. {
        let Some(row) = rows.next().map_err(failed(DOING))? else { break };
        if row.get::<_, i64>(0).map_err(failed(DOING))? != expected {
            break;
        }
        leaves.push(row.get(1).map_err(failed(DOING))?);
    }
    Ok(leaves)
}

/// Up to `limit` leaves with an index of `first` or more, with their details.
pub(crate) fn log_rows(connection: &Connection, first: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
    const DOING: &str = "reading the log";
    type Columns = (i64, Vec<u8>, Option<StoredDetails>, Option<i64>, Option<FoundBy>, NotedEnd);
    let first = to_sql(first, "an index")?;
    let mut statement = connection
        .prepare_cached(
            "SELECT l.idx, l.leaf, d.salt, d.content, r.act, d.kind, d.caller, d.resource, d.key, d.action, d.decision,
                 d.digest, d.trace_id, o.instance, o.act, e.idx, e.result
             FROM leaves l LEFT JOIN details d ON d.idx = l.idx LEFT JOIN erased r ON r.idx = l.idx
                 LEFT JOIN open_intents o ON o.idx = l.idx LEFT JOIN outcomes e ON e.intent = l.idx
             WHERE l.idx >= ?1 ORDER BY l.idx LIMIT ?2",
        )
        .map_err(failed(DOING))?;
    let columns = |row: &Row<'_>| {
        let details = details(row.get(2)?, row.get(3)?);
        Ok((row.get(0)?, row.get(1)?, details, row.get(4)?, found_by(row)?, end(row)?))
    };
    let rows = statement.query_map(params![first, limit], columns).map_err(failed(DOING))?;
    let read = |row: rusqlite::Result<Columns>| {
        let (index, leaf, details, act, found_by, end) = row.map_err(failed(DOING))?;
        let erased_by = act.map(|act| from_sql(act, "an index")).transpose()?;
        Ok(LogRow { index: from_sql(index, "an index")?, leaf, details, found_by, erased_by, end })
    };
    rows.map(read).collect()
}

/// The columns by which a record is found; `None` where there is no row.
fn found_by(row: &Row<'_>) -> rusqlite::Result<Option<FoundBy>> {
    let Some(kind) = row.get(5)? else { return Ok(None) };
    let (resource, key): (Option<String>, Option<String>) = (row.get(7)?, row.get(8)?);
    let key_is_the_resources = resource.as_deref().and_then(key_of) == key.as_deref();
    Ok(Some(FoundBy {
        kind,
        caller: row.get(6)?,
        resource,
        key_is_the_resources,
        action: row.get(9)?,
        decision: row.get(10)?,
        digest: row.get(11)?,
        trace_id: row.get(12)?,
    }))
}

/// How a record ended, as it is noted.
fn end(row: &Row<'_>) -> rusqlite::Result<NotedEnd> {
    let (instance, act): (Option<String>, Option<bool>) = (row.get(13)?, row.get(14)?);
    let (outcome, result): (Option<i64>, Option<i64>) = (row.get(15)?, row.get(16)?);
    Ok(NotedEnd { waits: instance.zip(act), ended: outcome.zip(result) })
}

/// The records of which digest and trace id are still to be read from their details: from one on, below another.
pub(crate) fn not_searchable(connection: &Connection) -> Result<Option<(u64, u64)>, StoreError> {
    let left: Option<(i64, i64)> = connection
        .query_row("SELECT next, until FROM record_search_backfill", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(failed("looking for records that are not searchable yet"))?;
    left.map(|(next, until)| Ok((from_sql(next, "an index")?, from_sql(until, "an index")?))).transpose()
}

/// Keeps a checkpoint. One of this size is replaced: the same with more signatures. The newest one so far goes, unless it is
/// the first of its hour.
pub(crate) fn put_checkpoint(
    connection: &Connection,
    table: CheckpointTable,
    checkpoint: &CheckpointRow,
) -> Result<(), StoreError> {
    const HOUR: i64 = 3_600_000_000;
    let CheckpointRow { size, time, note } = checkpoint;
    let size = to_sql(*size, "the size of a checkpoint")?;
    let table = table.name();
    connection
        .prepare_cached(&format!(
            "DELETE FROM {table} WHERE size = (SELECT max(size) FROM {table}) AND time / ?1 =
             (SELECT time / ?1 FROM {table} ORDER BY size DESC LIMIT 1 OFFSET 1)"
        ))
        .and_then(|mut statement| statement.execute([HOUR]))
        .map_err(failed("keeping a checkpoint of the log"))?;
    connection
        .prepare_cached(&format!("INSERT OR REPLACE INTO {table} (size, time, note) VALUES (?1, ?2, ?3)"))
        .and_then(|mut statement| statement.execute(params![size, time.unix_micros(), note]))
        .map_err(failed("keeping a checkpoint of the log"))?;
    Ok(())
}

/// Keeps a checkpoint as the one that others are shown.
pub(crate) fn put_shown_checkpoint(connection: &Connection, checkpoint: &CheckpointRow) -> Result<(), StoreError> {
    let CheckpointRow { size, time, note } = checkpoint;
    let size = to_sql(*size, "the size of a checkpoint")?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO shown_checkpoint (id, size, time, note) VALUES (1, ?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute(params![size, time.unix_micros(), note]))
        .map_err(failed("keeping the checkpoint that is shown"))?;
    Ok(())
}

/// Removes the checkpoints of these sizes from one table; the other has its own.
pub(crate) fn remove_checkpoints(
    connection: &Connection,
    table: CheckpointTable,
    sizes: &[u64],
) -> Result<(), StoreError> {
    for size in sizes {
        let size = to_sql(*size, "the size of a checkpoint")?;
        connection
            .prepare_cached(&format!("DELETE FROM {} WHERE size = ?1", table.name()))
            .and_then(|mut statement| statement.execute([size]))
            .map_err(failed("removing checkpoints of the log"))?;
    }
    Ok(())
}

/// The newest checkpoint; `None` where there is none.
pub(crate) fn newest_checkpoint(
    connection: &Connection,
    table: CheckpointTable,
) -> Result<Option<CheckpointRow>, StoreError> {
    let row = connection
        .prepare_cached(&format!("SELECT size, time, note FROM {} ORDER BY size DESC LIMIT 1", table.name()))
        .and_then(|mut statement| statement.query_row([], columns).optional())
        .map_err(failed(READING_CHECKPOINTS))?;
    row.map(checkpoint).transpose()
}

/// Up to `limit` checkpoints of more than `after` leaves, the smallest first.
pub(crate) fn checkpoints_after(
    connection: &Connection,
    table: CheckpointTable,
    after: Option<u64>,
    limit: u32,
) -> Result<Vec<CheckpointRow>, StoreError> {
    let failed = || failed(READING_CHECKPOINTS);
    let after = after.map_or(Ok(-1), |after| to_sql(after, "the size of a checkpoint"))?;
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT size, time, note FROM {} WHERE size > ?1 ORDER BY size LIMIT ?2",
            table.name()
        ))
        .map_err(failed())?;
    let rows = statement.query_map(params![after, limit], columns).map_err(failed())?;
    rows.map(|row| row.map_err(failed()).and_then(checkpoint)).collect()
}

type Columns = (i64, i64, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn checkpoint((size, time, note): Columns) -> Result<CheckpointRow, StoreError> {
    Ok(CheckpointRow {
        size: from_sql(size, "the size of a checkpoint")?,
        time: Timestamp::from_unix_micros(time),
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::migrate::run(&mut connection, Path::new("test.db")).unwrap();
        connection
    }

    #[test]
    fn of_checkpoints_the_first_of_each_hour_and_the_newest_stay() {
        let connection = database();
        let keep = |size: u64, minute: i64| {
            let (time, note) = (Timestamp::from_unix_micros(minute * 60_000_000), format!("{size}"));
            put_checkpoint(&connection, CheckpointTable::Signed, &CheckpointRow { size, time, note }).unwrap();
        };
        let sizes = || -> Vec<u64> {
            checkpoints_after(&connection, CheckpointTable::Signed, None, 100)
                .unwrap()
                .iter()
                .map(|checkpoint| checkpoint.size)
                .collect()
        };
        for (size, minute) in [(0, 1), (10, 2), (20, 59), (30, 60), (40, 61), (50, 119), (60, 200), (70, 201)] {
            keep(size, minute);
        }
        assert_eq!(sizes(), [0, 30, 60, 70]);
        keep(70, 202);
        assert_eq!(
            newest_checkpoint(&connection, CheckpointTable::Signed).unwrap().unwrap().time,
            Timestamp::from_unix_micros(202 * 60_000_000)
        );
        assert_eq!(checkpoints_after(&connection, CheckpointTable::Signed, Some(30), 2).unwrap().len(), 2);
        remove_checkpoints(&connection, CheckpointTable::Signed, &[30, 50, 70]).unwrap();
        assert_eq!(sizes(), [0, 60]);
    }

    #[test]
    fn cosigned_checkpoints_are_kept_apart_and_removed_apart() {
        let connection = database();
        let newest = |table| newest_checkpoint(&connection, table).unwrap().map(|checkpoint| checkpoint.size);
        let keep = |table, size: u64| {
            let row = CheckpointRow { size, time: Timestamp::from_unix_micros(1), note: String::new() };
            put_checkpoint(&connection, table, &row).unwrap();
        };
        for (table, size) in [
            (CheckpointTable::Signed, 1),
            (CheckpointTable::Signed, 2),
            (CheckpointTable::Cosigned, 2),
            (CheckpointTable::Signed, 3),
            (CheckpointTable::Signed, 4),
        ] {
            keep(table, size);
        }
        let both = || (newest(CheckpointTable::Signed), newest(CheckpointTable::Cosigned));
        assert_eq!(both(), (Some(4), Some(2)));
        remove_checkpoints(&connection, CheckpointTable::Cosigned, &[2, 4]).unwrap();
        assert_eq!(both(), (Some(4), None), "what is void of the one is not of the other");
        remove_checkpoints(&connection, CheckpointTable::Signed, &[4]).unwrap();
        assert_eq!(both(), (Some(1), None), "those between were not kept");
    }

    #[test]
    fn one_checkpoint_is_shown_until_it_is_void() {
        let connection = database();
        let shown =
            || newest_checkpoint(&connection, CheckpointTable::Shown).unwrap().map(|checkpoint| checkpoint.size);
        assert_eq!(shown(), None);
        for size in [4, 9] {
            let row = CheckpointRow { size, time: Timestamp::from_unix_micros(1), note: String::new() };
            put_shown_checkpoint(&connection, &row).unwrap();
            assert_eq!(shown(), Some(size));
        }
        remove_checkpoints(&connection, CheckpointTable::Shown, &[10]).unwrap();
        assert_eq!(shown(), Some(9));
        remove_checkpoints(&connection, CheckpointTable::Shown, &[9]).unwrap();
        assert_eq!(shown(), None);
    }

    #[test]
    fn leaves_end_at_a_gap() {
        let connection = database();
        for index in [0, 1, 2, 4] {
            connection.execute("INSERT INTO leaves VALUES (?1, x'00')", [index]).unwrap();
        }
        let count = |first, limit| leaves(&connection, first, limit).unwrap().len();
        assert_eq!((count(0, 10), count(1, 1), count(3, 10), count(4, 10)), (3, 1, 0, 1));
    }

    #[test]
    fn a_tile_takes_the_place_of_a_narrower_one() {
        let connection = database();
        put_tile(&connection, 1, 7, &[1; 32]).unwrap();
        put_tile(&connection, 1, 7, &[2; 64]).unwrap();
        assert_eq!(tile(&connection, 1, 7).unwrap(), Some(vec![2; 64]));
        assert_eq!((tile(&connection, 1, 8).unwrap(), whole_tiles(&connection).unwrap()), (None, 0));
        put_tile(&connection, 0, 0, &[3; 8192]).unwrap();
        put_tile(&connection, 1, 0, &[3; 64]).unwrap();
        assert_eq!(whole_tiles(&connection).unwrap(), 1, "those of the lowest level");
        assert!(put_tile(&connection, 0, 2, &[3; 33]).is_err());
        assert_eq!(remove_tiles(&connection, 1, 1).unwrap(), 1);
        assert_eq!((tile(&connection, 1, 7).unwrap(), tile(&connection, 1, 0).unwrap()), (None, Some(vec![3; 64])));
    }
}
