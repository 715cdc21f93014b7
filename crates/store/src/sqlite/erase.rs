//! Erasing details: what a leaf commits to goes with the salt of the commitment, and with the columns by which it was found.
//!
//! SQLite overwrites what it deletes with zeros (`secure_delete`), but not what it leaves behind where it moves a row from one
//! page to another; and deleting rows is what makes it move the rows beside them. So erasing has two steps, the first of which
//! moves nothing from page to page: every row is *emptied* in its place. Then the empty rows are *removed*, and what is moved
//! by that, and is to be erased in the same run, is empty already.

use super::search::EARLIER_BLOCKS;
use super::{failed, from_sql, to_sql};
use crate::StoreError;
use crate::record::{Erasable, ErasableQuery};
use rusqlite::{Connection, params};

/// Which index a kind is found by: what is rare has one, what is not is found by reading on.
const RARE_KINDS: u8 = 3;

/// The records that match, ascending: at most as many as asked for, and not those that wait for their outcome.
pub(crate) fn erasable(connection: &Connection, query: &ErasableQuery) -> Result<Vec<Erasable>, StoreError> {
    const DOING: &str = "looking for details to erase";
    let ErasableQuery { kinds, before, caller, from_index, limit } = query;
    let from = to_sql(*from_index, "an index")?;
    let before = before.map_or(i64::MAX, |time| time.unix_micros());
    // A block of which nothing is so old is not looked at.
    let end: Option<i64> = connection
        .prepare_cached(EARLIER_BLOCKS)
        .and_then(|mut statement| statement.query_row([before], |row| row.get(0)))
        .map_err(failed(DOING))?;
    let Some(end) = end else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for kind in kinds {
        let (index, rare) = match (caller, *kind) {
            (Some(_), _) => ("INDEXED BY details_by_caller", ""),
            (None, RARE_KINDS..) => ("INDEXED BY details_by_kind", "AND d.kind >= 3"),
            (None, _) => ("NOT INDEXED", ""),
        };
        let by = if caller.is_some() { "d.caller = ?6" } else { "?6 IS NULL" };
        let sql = format!(
            "SELECT d.idx, l.leaf FROM details d {index} CROSS JOIN leaves l ON l.idx = d.idx
             WHERE {by} AND d.kind = ?1 {rare} AND d.idx >= ?2 AND d.idx <= ?3 AND d.time < ?4 AND length(d.content) > 0
                 AND NOT EXISTS (SELECT 1 FROM open_intents o WHERE o.idx = d.idx)
             ORDER BY d.idx LIMIT ?5"
        );
        let caller = caller.as_ref().map(chancery_model::Id::as_str);
        let mut statement = connection.prepare_cached(&sql).map_err(failed(DOING))?;
        let mut rows =
            statement.query(params![kind, from, end, before, i64::from(*limit), caller]).map_err(failed(DOING))?;
        while let Some(row) = rows.next().map_err(failed(DOING))? {
            let index = from_sql(row.get::<_, i64>(0).map_err(failed(DOING))?, "an index")?;
            found.push(Erasable { index, leaf: row.get(1).map_err(failed(DOING))? });
        }
    }
    found.sort_unstable_by_key(|one| one.index);
    found.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
    Ok(found)
}

/// Empties a record's details in their place, and notes which record says so; `false`, and nothing done, where it waits for
/// its outcome or has none. Time and kind stay until the row goes: the leaf has them, too.
pub(crate) fn empty(connection: &Connection, index: u64, act: u64) -> Result<bool, StoreError> {
    const DOING: &str = "erasing details";
    let (index, act) = (to_sql(index, "an index")?, to_sql(act, "an index")?);
    let emptied = connection
        .prepare_cached(
            "UPDATE details SET salt = zeroblob(32), content = zeroblob(0), caller = NULL, resource = NULL, key = NULL,
                 action = NULL, decision = NULL, digest = NULL, trace_id = NULL
             WHERE idx = ?1 AND NOT EXISTS (SELECT 1 FROM open_intents WHERE idx = ?1)",
        )
        .and_then(|mut statement| statement.execute([index]))
        .map_err(failed(DOING))?;
    if emptied == 1 {
        connection
            .prepare_cached("INSERT INTO erased (idx, act) VALUES (?1, ?2) ON CONFLICT (idx) DO NOTHING")
            .and_then(|mut statement| statement.execute([index, act]))
            .map_err(failed(DOING))?;
    }
    Ok(emptied == 1)
}

/// Records whose details were emptied, and whose rows are still there, ascending.
pub(crate) fn emptied(connection: &Connection, limit: u32) -> Result<Vec<u64>, StoreError> {
    const DOING: &str = "looking for emptied details";
    let mut statement = connection
        .prepare_cached(
            "SELECT idx FROM details INDEXED BY details_emptied WHERE length(content) = 0 ORDER BY idx LIMIT ?1",
        )
        .map_err(failed(DOING))?;
    let rows = statement.query_map([limit], |row| row.get(0)).map_err(failed(DOING))?;
    rows.map(|index| from_sql(index.map_err(failed(DOING))?, "an index")).collect()
}

/// Removes a row that was emptied.
pub(crate) fn remove(connection: &Connection, index: u64) -> Result<(), StoreError> {
    let index = to_sql(index, "an index")?;
    connection
        .prepare_cached("DELETE FROM details WHERE idx = ?1 AND length(content) = 0")
        .and_then(|mut statement| statement.execute([index]))
        .map_err(failed("removing erased details"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
