//! Writing rows of the log.

use super::{failed, to_sql, wrote_one};
use crate::{NewRecord, RecordEnd, SearchColumns, StoreError};
use chancery_model::{Action, Id};
use rusqlite::{Connection, params};

/// Appends a leaf and, beside it, its details.
pub(crate) fn append(connection: &Connection, record: &NewRecord<'_>) -> Result<(), StoreError> {
    const DOING: &str = "appending a record";
    let NewRecord { index, leaf, salt, details, search } = record;
    let SearchColumns { time, kind, caller, resource, action, decision, digest, trace_id } = search;
    let index = to_sql(*index, "an index")?;
    let written = connection
        .prepare_cached("INSERT INTO leaves (idx, leaf) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute(params![index, leaf]))
        .map_err(failed(DOING))?;
    wrote_one(written, DOING)?;
    let written = connection
        .prepare_cached(
            "INSERT INTO details (idx, salt, content, time, kind, caller, resource, key, action, decision, digest,
                                  trace_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
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
                digest,
                trace_id,
            ])
        })
        .map_err(failed(DOING))?;
    wrote_one(written, DOING)
}

/// Blocks of 4,096 records, of which the earliest and the latest time are kept, and which have digests and trace ids in an
/// order of their own.
pub(super) const BLOCK_BITS: u32 = 12;

/// The earliest and the latest time of records of one block that are still to be noted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockTimes {
    block: i64,
    earliest: i64,
    latest: i64,
}

impl BlockTimes {
    pub fn of(record: &NewRecord<'_>) -> Result<Self, StoreError> {
        let time = record.search.time.unix_micros();
        Ok(Self { block: to_sql(record.index, "an index")? >> BLOCK_BITS, earliest: time, latest: time })
    }

    /// Takes another in; `None` where it is of another block.
    pub fn and(self, other: Self) -> Option<Self> {
        let (earliest, latest) = (self.earliest.min(other.earliest), self.latest.max(other.latest));
        (self.block == other.block).then_some(Self { block: self.block, earliest, latest })
    }
}

/// Widens the times of a block. They outlive the details: the leaves have them, too.
pub(crate) fn note_times(connection: &Connection, times: BlockTimes) -> Result<(), StoreError> {
    let BlockTimes { block, earliest, latest } = times;
    connection
        .prepare_cached(
            "INSERT INTO record_times (block, earliest, latest) VALUES (?1, ?2, ?3)
             ON CONFLICT (block) DO UPDATE SET earliest = min(earliest, ?2), latest = max(latest, ?3)
             WHERE ?2 < earliest OR ?3 > latest",
        )
        .and_then(|mut statement| statement.execute([block, earliest, latest]))
        .map_err(failed("noting the times of records"))?;
    Ok(())
}

/// Notes that a record waits for its outcome.
pub(crate) fn open(connection: &Connection, index: u64, instance: &Id, act: bool) -> Result<(), StoreError> {
    const DOING: &str = "noting an open intent";
    let index = to_sql(index, "an index")?;
    let written = connection
        .prepare_cached("INSERT INTO open_intents (idx, instance, act) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute(params![index, instance.as_str(), act]))
        .map_err(failed(DOING))?;
    wrote_one(written, DOING)
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
        let written = connection
            .prepare_cached("INSERT INTO outcomes (intent, idx, result) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![index, outcome, end.result]))
            .map_err(failed(DOING))?;
        wrote_one(written, DOING)?;
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

/// What a resource is in: the first two segments of its name. As the column `root` has it.
pub(super) fn root_of(resource: &str) -> &str {
    let end = resource.match_indices('/').nth(1).map(|(at, _)| at);
    end.and_then(|end| resource.get(..end)).unwrap_or(resource)
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
