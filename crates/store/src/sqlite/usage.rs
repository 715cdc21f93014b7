//! How many signatures keys with limits have made.

use super::{failed, from_sql, to_sql};
use crate::StoreError;
use chancery_model::{Uid, Usage};
use rusqlite::{Connection, OptionalExtension, params};

const DOING: &str = "counting signatures";

/// What is counted of a key; nothing where it was never counted.
pub(crate) fn read(connection: &Connection, key: Uid) -> Result<Usage, StoreError> {
    let row = connection
        .prepare_cached("SELECT signatures, day, day_signatures FROM key_usage WHERE key_uid = ?1")
        .and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, i64>(2)?));
            statement.query_row([key.as_bytes()], row).optional()
        })
        .map_err(failed(DOING))?;
    let Some((total, day, today)) = row else { return Ok(Usage::default()) };
    let count = |number| from_sql(number, "a number of signatures");
    Ok(Usage { total: count(total)?, day, today: count(today)? })
}

/// Writes it.
pub(crate) fn write(connection: &Connection, key: Uid, usage: Usage) -> Result<(), StoreError> {
    let Usage { total, day, today } = usage;
    let count = |number| to_sql(number, "a number of signatures");
    let (total, today) = (count(total)?, count(today)?);
    connection
        .prepare_cached(
            "INSERT INTO key_usage (key_uid, signatures, day, day_signatures) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (key_uid) DO UPDATE SET
                 signatures = excluded.signatures, day = excluded.day, day_signatures = excluded.day_signatures",
        )
        .and_then(|mut statement| statement.execute(params![key.as_bytes(), total, day, today]))
        .map_err(failed(DOING))?;
    Ok(())
}
