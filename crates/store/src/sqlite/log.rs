//! Writing rows of the log.

use super::{failed, to_sql};
use crate::{NewRecord, RecordEnd, SearchColumns, StoreError};
use chancery_model::{Action, Id};
use rusqlite::{Connection, params};

/// Appends a leaf and, beside it, its details.
pub(crate) fn append(connection: &Connection, record: &NewRecord<'_>) -> Result<(), StoreError> {
    const DOING: &str = "appending a record";
    let NewRecord { index, leaf, salt, details, search } = record;
    let SearchColumns { time, kind, caller, resource, action, decision } = search;
    let index = to_sql(*index, "an index")?;
    connection
        .prepare_cached("INSERT INTO leaves (idx, leaf) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute(params![index, leaf]))
        .map_err(failed(DOING))?;
    connection
        .prepare_cached(
            "INSERT INTO details (idx, salt, content, time, kind, caller, resource, key, action, decision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                index,
                salt,
                details,
                time.unix_micros(),
                kind,
                caller,
                resource,
                resource.and_then(key_of),
                action.map(Action::as_str),
                decision,
            ])
        })
        .map_err(failed(DOING))?;
    Ok(())
}

/// Notes that a record waits for its outcome.
pub(crate) fn open(connection: &Connection, index: u64, instance: &Id, act: bool) -> Result<(), StoreError> {
    let index = to_sql(index, "an index")?;
    connection
        .prepare_cached("INSERT INTO open_intents (idx, instance, act) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute(params![index, instance.as_str(), act]))
        .map_err(failed("noting an open intent"))?;
    Ok(())
}

/// Removes the note and keeps the end; whether there was a note. The first end stands.
pub(crate) fn close(connection: &Connection, index: u64, end: RecordEnd) -> Result<bool, StoreError> {
    const DOING: &str = "closing an intent";
    let (index, outcome) = (to_sql(index, "an index")?, to_sql(end.outcome, "an index")?);
    let removed = connection
        .prepare_cached("DELETE FROM open_intents WHERE idx = ?1")
        .and_then(|mut statement| statement.execute([index]))
        .map_err(failed(DOING))?;
    if removed == 1 {
        connection
            .prepare_cached("INSERT INTO outcomes (intent, idx, result) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![index, outcome, end.result]))
            .map_err(failed(DOING))?;
    }
    Ok(removed == 1)
}

/// The key's name in the name of a key or of anything in one: its first four segments.
pub(super) fn key_of(resource: &str) -> Option<&str> {
    let mut slashes = resource.match_indices('/').map(|(at, _)| at);
    slashes.nth(2)?;
    match slashes.next() {
        Some(end) => resource.get(..end),
        None => Some(resource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_resource() {
        assert_eq!(key_of("keyRings/r/keys/k/versions/1"), Some("keyRings/r/keys/k"));
        assert_eq!(key_of("keyRings/r/keys/k"), Some("keyRings/r/keys/k"));
        assert_eq!(key_of("keyRings/r"), None);
        assert_eq!(key_of("tokens/t"), None);
        assert_eq!(key_of(""), None);
    }
}
