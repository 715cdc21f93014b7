//! How many signatures keys and callers with limits have made.

use super::{failed, from_sql, rows, to_sql};
use crate::StoreError;
use chancery_model::{Uid, Usage, UsageOf};
use rusqlite::{Connection, OptionalExtension, params};

const DOING: &str = "counting signatures";

/// What is counted; nothing where it was never counted.
pub(crate) fn read(connection: &Connection, of: UsageOf) -> Result<Usage, StoreError> {
    let (sql, uid) = match &of {
        UsageOf::Key(uid) => ("SELECT signatures, day, day_signatures FROM key_usage WHERE key_uid = ?1", uid),
        UsageOf::Caller(uid) => ("SELECT signatures, day, day_signatures FROM caller_usage WHERE caller_uid = ?1", uid),
    };
    let row = connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, i64>(2)?));
            statement.query_row([uid.as_bytes()], row).optional()
        })
        .map_err(failed(DOING))?;
    let Some((total, day, today)) = row else { return Ok(Usage::default()) };
    let count = |number| from_sql(number, "a number of signatures");
    Ok(Usage { total: count(total)?, day, today: count(today)? })
}

/// Writes it.
pub(crate) fn write(connection: &Connection, of: UsageOf, usage: Usage) -> Result<(), StoreError> {
    let Usage { total, day, today } = usage;
    let count = |number| to_sql(number, "a number of signatures");
    let (total, today) = (count(total)?, count(today)?);
    let (sql, uid): (_, &Uid) = match &of {
        UsageOf::Key(uid) => (
            "INSERT INTO key_usage (key_uid, signatures, day, day_signatures) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (key_uid) DO UPDATE SET
                 signatures = excluded.signatures, day = excluded.day, day_signatures = excluded.day_signatures",
            uid,
        ),
        UsageOf::Caller(uid) => (
            "INSERT INTO caller_usage (caller_uid, signatures, day, day_signatures) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (caller_uid) DO UPDATE SET
                 signatures = excluded.signatures, day = excluded.day, day_signatures = excluded.day_signatures",
            uid,
        ),
    };
    rows::put(connection, sql, params![uid.as_bytes(), total, day, today], DOING)
}
