//! What a migration cannot do in one transaction of bearable size: columns by which older records are found.
//!
//! The one place where the store reads details: it does it once, for records of versions that handed in no such columns.

use super::checkpoint::{self, WalPages};
use crate::{OpenError, StoreError};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::path::Path;

/// Records in a transaction: some megabytes of the write-ahead log.
const STEP: i64 = 5_000;

/// Fills digest and trace id of the records from before there were such columns. Each step is a transaction that notes how
/// far it came, so that a start that is broken off is gone on with by the next one. Costs nothing once it is done.
pub(crate) fn run(connection: &mut Connection, wal: &WalPages, path: &Path) -> Result<(), OpenError> {
    run_in_steps(connection, wal, STEP).map_err(|source| OpenError::Database {
        path: path.to_owned(),
        doing: "making older records searchable by digest and trace id",
        source: Box::new(source),
    })
}

fn run_in_steps(connection: &mut Connection, wal: &WalPages, records: i64) -> Result<(), StoreError> {
    while step(connection, records).map_err(super::failed("filling columns of older records"))? {
        if wal.is_due() {
            checkpoint::passive(connection)?;
        }
    }
    Ok(())
}

/// Fills the next records; `false` where none are left.
fn step(connection: &mut Connection, records: i64) -> rusqlite::Result<bool> {
    let left = "SELECT next, until FROM record_search_backfill";
    let left = connection.query_row(left, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((next, until)): Option<(i64, i64)> = left else { return Ok(false) };
    let end = until.min(next.saturating_add(records));
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Text that is no JSON was not written by us; who reads the record is told.
    transaction.execute(
        "UPDATE details
         SET digest = unhex(substr(json_extract(CAST(content AS TEXT), '$.signed.digest'), 1, 32)),
             trace_id = unhex(substr(json_extract(CAST(content AS TEXT), '$.trace_id'), 1, 32))
         WHERE idx >= ?1 AND idx < ?2 AND json_valid(CAST(content AS TEXT))",
        params![next, end],
    )?;
    if end < until {
        transaction.execute("UPDATE record_search_backfill SET next = ?1", [end])?;
        tracing::info!(records = end, of = until, "making older records searchable by digest and trace id");
    } else {
        transaction.execute("DELETE FROM record_search_backfill", [])?;
    }
    transaction.commit()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_records_become_searchable_in_steps_and_only_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::migrate::run_before("record_search", &mut connection);
        let insert = |index: i64, content: &str| {
            connection.execute("INSERT INTO leaves (idx, leaf) VALUES (?1, x'00')", [index]).unwrap();
            connection
                .execute(
                    "INSERT INTO details (idx, salt, content, time, kind, resource)
                     VALUES (?1, zeroblob(32), CAST(?2 AS BLOB), ?3, 1, 'keyRings/r/keys/k/versions/1')",
                    params![index, content, index * 10],
                )
                .unwrap();
        };
        let digest = "ab".repeat(32);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for index in 0..7 {
            insert(index, &format!(r#"{{"signed":{{"hash":"SHA-256","digest":"{digest}"}},"trace_id":"{trace}"}}"#));
        }
        insert(7, "{}");
        insert(8, "no JSON");
        connection.execute("UPDATE head SET next_index = 9", []).unwrap();
        super::super::migrate::run(&mut connection, Path::new("test.db")).unwrap();
        let count = |connection: &Connection, condition: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM details WHERE {condition}");
            connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(count(&connection, "root = 'keyRings/r'"), 9, "computed");
        assert_eq!(count(&connection, "digest IS NOT NULL"), 0);
        assert!(step(&mut connection, 4).unwrap());
        assert_eq!(count(&connection, "digest IS NOT NULL"), 4, "a step of the work is a transaction");
        let wal = WalPages::follow(&mut connection).unwrap();
        run_in_steps(&mut connection, &wal, 4).unwrap();
        assert_eq!(count(&connection, &format!("digest = x'{}'", "ab".repeat(16))), 7);
        assert_eq!(count(&connection, &format!("trace_id = x'{trace}'")), 7);
        assert!(!step(&mut connection, 4).unwrap(), "done once and for all");
        let times = connection.query_row("SELECT block, earliest, latest FROM record_times", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        assert_eq!(times.unwrap(), (0, 0, 80));
    }
}
