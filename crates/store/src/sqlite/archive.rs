//! Emptying leaves that are in the archive, and how far it goes.

use super::{failed, from_sql, to_sql};
use crate::StoreError;
use crate::archive::TILE_LEAVES;
use rusqlite::Connection;

/// How many leaves, from the first on, are archived.
pub(crate) fn archived(connection: &Connection) -> Result<u64, StoreError> {
    let leaves: i64 = connection
        .prepare_cached("SELECT leaves FROM archive WHERE id = 1")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed("reading how many leaves are archived"))?;
    from_sql(leaves, "the number of archived leaves")
}

/// Empties the leaves of the tile that begins at `first`; `false` where they are not the next 256, or not all there: then what
/// was done is to be undone.
///
/// An UPDATE empties rows in their place, and leaves pages that are nearly empty and never used again: only removing rows makes
/// SQLite put pages together. So the empty rows are taken out, and put back. References to them must not be checked meanwhile.
pub(crate) fn empty_tile(connection: &Connection, first: u64) -> Result<bool, StoreError> {
    let (rows, first, end) = (TILE_LEAVES, to_sql(first, "an index")?, to_sql(first + TILE_LEAVES, "an index")?);
    let run = |sql: &str| {
        let changed = connection.prepare_cached(sql).and_then(|mut statement| statement.execute([first, end]));
        changed.map(|rows| rows as u64).map_err(failed("emptying archived leaves"))
    };
    Ok(run("UPDATE archive SET leaves = ?2 WHERE id = 1 AND leaves = ?1")? == 1
        && run("UPDATE leaves SET leaf = x'' WHERE idx >= ?1 AND idx < ?2")? == rows
        && run("DELETE FROM leaves WHERE idx >= ?1 AND idx < ?2")? == rows
        && run("WITH RECURSIVE next (idx) AS (SELECT ?1 UNION ALL SELECT idx + 1 FROM next WHERE idx + 1 < ?2)
                INSERT INTO leaves (idx, leaf) SELECT idx, x'' FROM next")?
            == rows)
}
