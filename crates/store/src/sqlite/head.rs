//! The head row: epoch and next index.

use super::damaged;
use super::{failed, from_sql, to_sql, wrote_one};
use crate::{Epoch, Head, LogEnd, Seal, StoreError};
use chancery_model::Uid;
use rusqlite::{Connection, OptionalExtension, Row, params};

const DOING: &str = "taking indexes for records";

pub(crate) fn read(connection: &Connection) -> Result<Head, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT epoch, next_index FROM head WHERE id = 1")
        .map_err(failed("reading the state's epoch"))?;
    let (epoch, next) = statement.query_row([], pair).map_err(failed("reading the state's epoch"))?;
    head(epoch, next)
}

/// Which database this is, and its seal, where it has one.
pub(crate) fn seal(connection: &Connection) -> Result<(Uid, Option<Seal>), StoreError> {
    const DOING: &str = "reading the seal of the state";
    let columns = |row: &Row<'_>| Ok((row.get::<_, Option<[u8; 16]>>(0)?, row.get(1)?, row.get(2)?));
    let (database, root, mac): (_, Option<[u8; 32]>, Option<[u8; 32]>) = connection
        .prepare_cached("SELECT database_id, state_root, state_mac FROM head WHERE id = 1")
        .and_then(|mut statement| statement.query_row([], columns))
        .map_err(failed(DOING))?;
    let Some(database) = database else { return damaged("it has lost its database id".to_owned()) };
    Ok((Uid::from_bytes(database), root.zip(mac).map(|(root, mac)| Seal { root, mac })))
}

/// Writes the seal.
pub(crate) fn write_seal(connection: &Connection, seal: &Seal) -> Result<(), StoreError> {
    const DOING: &str = "sealing the state";
    let Seal { root, mac } = seal;
    let written = connection
        .prepare_cached("UPDATE head SET state_root = ?1, state_mac = ?2 WHERE id = 1")
        .and_then(|mut statement| statement.execute(params![root, mac]))
        .map_err(failed(DOING))?;
    wrote_one(written, DOING)
}

/// Makes it another database than its copies are.
pub(crate) fn rename(connection: &Connection, database: Uid) -> Result<(), StoreError> {
    const DOING: &str = "giving the database another id";
    let written = connection
        .prepare_cached("UPDATE head SET database_id = ?1 WHERE id = 1")
        .and_then(|mut statement| statement.execute([database.as_bytes()]))
        .map_err(failed(DOING))?;
    wrote_one(written, DOING)
}

/// How many leaves there are, if none is missing: one more than the highest index.
pub(crate) fn leaves(connection: &Connection) -> Result<u64, StoreError> {
    let end: i64 = connection
        .prepare_cached("SELECT coalesce(max(idx) + 1, 0) FROM leaves")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed("reading where the log ends"))?;
    from_sql(end, "the end of the log")
}

/// Where the log ends, by the head and by the leaves, at one moment.
pub(crate) fn log_end(connection: &Connection) -> Result<LogEnd, StoreError> {
    let (next, leaves) = connection
        .prepare_cached("SELECT next_index, (SELECT coalesce(max(idx) + 1, 0) FROM leaves) FROM head WHERE id = 1")
        .and_then(|mut statement| statement.query_row([], pair))
        .map_err(failed("reading where the log ends"))?;
    Ok(LogEnd { next_index: from_sql(next, "the next index")?, leaves: from_sql(leaves, "the end of the log")? })
}

/// Takes `count` indexes; the head afterwards.
pub(crate) fn take(connection: &Connection, count: u64) -> Result<Head, StoreError> {
    let mut statement = connection
        .prepare_cached("UPDATE head SET next_index = next_index + ?1 WHERE id = 1 RETURNING epoch, next_index")
        .map_err(failed(DOING))?;
    let (epoch, next) = statement.query_row([to_sql(count, "a number of records")?], pair).map_err(failed(DOING))?;
    head(epoch, next)
}

/// Takes `count` indexes if the epoch is still `epoch`; the head afterwards, or `None`.
pub(crate) fn take_at(connection: &Connection, epoch: Epoch, count: u64) -> Result<Option<Head>, StoreError> {
    guarded(
        connection,
        "UPDATE head SET next_index = next_index + ?1 WHERE id = 1 AND epoch = ?2 RETURNING epoch, next_index",
        epoch,
        count,
    )
}

/// The same, and raises the epoch by one.
pub(crate) fn raise(connection: &Connection, from: Epoch, count: u64) -> Result<Option<Head>, StoreError> {
    guarded(
        connection,
        "UPDATE head SET epoch = epoch + 1, next_index = next_index + ?1 WHERE id = 1 AND epoch = ?2
         RETURNING epoch, next_index",
        from,
        count,
    )
}

fn guarded(connection: &Connection, sql: &str, epoch: Epoch, count: u64) -> Result<Option<Head>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed(DOING))?;
    let parameters = [to_sql(count, "a number of records")?, to_sql(epoch.get(), "the epoch")?];
    let row = statement.query_row(parameters, pair).optional().map_err(failed(DOING))?;
    row.map(|(epoch, next)| head(epoch, next)).transpose()
}

fn pair(row: &Row<'_>) -> rusqlite::Result<(i64, i64)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn head(epoch: i64, next_index: i64) -> Result<Head, StoreError> {
    Ok(Head { epoch: Epoch(from_sql(epoch, "the epoch")?), next_index: from_sql(next_index, "the next index")? })
}
