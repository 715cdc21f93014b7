//! The head row: epoch and next index.

use super::{failed, from_sql, to_sql};
use crate::{Epoch, Head, StoreError};
use rusqlite::{Connection, OptionalExtension, Row};

const DOING: &str = "taking indexes for records";

pub(crate) fn read(connection: &Connection) -> Result<Head, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT epoch, next_index FROM head WHERE id = 1")
        .map_err(failed("reading the state's epoch"))?;
    let (epoch, next) = statement.query_row([], pair).map_err(failed("reading the state's epoch"))?;
    head(epoch, next)
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
