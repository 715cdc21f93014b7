//! A database that somebody changes.

use crate::made::Made;
use chancery_audit::verify::{Check, Fault, Place};
use rusqlite::Connection;
use rusqlite::types::Value;

/// Somebody who can write to the file.
pub struct Hand(Connection);

impl Hand {
    pub fn at(made: &Made) -> Self {
        let connection = Connection::open(made.database()).unwrap();
        let free = "PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF;
             DROP TRIGGER leaves_are_not_changed; DROP TRIGGER leaves_are_not_removed;";
        connection.execute_batch(free).unwrap();
        Self(connection)
    }

    pub fn run(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap();
    }

    pub fn value(&self, column: &str, table: &str, row: i64) -> Vec<u8> {
        let sql = format!("SELECT CAST({column} AS BLOB) FROM {table} WHERE rowid = ?1");
        self.0.query_row(&sql, [row], |row| row.get(0)).unwrap()
    }

    pub fn set(&self, column: &str, table: &str, row: i64, value: &[u8], text: bool) {
        let cast = if text { "CAST(?1 AS TEXT)" } else { "?1" };
        let sql = format!("UPDATE {table} SET {column} = {cast} WHERE rowid = ?2");
        let changed = self.0.execute(&sql, (Value::Blob(value.to_vec()), row)).unwrap();
        assert_eq!(changed, 1);
    }

    pub fn is_other(&self, sql: &str) -> bool {
        self.0.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub fn rows(&self, table: &str) -> Vec<i64> {
        let mut statement = self.0.prepare(&format!("SELECT rowid FROM {table} ORDER BY rowid")).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }
}

#[tokio::test]
async fn every_bit_of_leaves_details_and_checkpoints_is_vouched_for() {
    let made = Made::small().await;
    let report = made.verify(&[]).unwrap();
    assert_eq!((report.size, report.checkpoints, report.attested, report.details), (9, 2, 9, 9));
    let hand = Hand::at(&made);
    let (mut bits, mut bytes) = (0, 0);
    for (column, table, text) in [
        ("leaf", "leaves", false),
        ("salt", "details", false),
        ("content", "details", false),
        ("note", "checkpoints", true),
    ] {
        for row in hand.rows(table) {
            let original = hand.value(column, table, row);
            bytes += original.len();
            for bit in 0..original.len() * 8 {
                let mut changed = original.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                hand.set(column, table, row, &changed, text);
                assert!(made.verify(&[]).is_err(), "bit {bit} of {column} in row {row} of {table}");
                bits += 1;
            }
            hand.set(column, table, row, &original, text);
        }
    }
    assert_eq!(bits, bytes * 8);
    made.verify(&[]).unwrap();
    // A checkpoint is that of its size.
    for change in ["size = 5 WHERE size = 4", "size = 8 WHERE size = 9", "size = 10 WHERE size = 9"] {
        let (set, back) = change.split_once(" WHERE ").unwrap();
        hand.run(&format!("UPDATE checkpoints SET {change}"));
        let fault = made.fault();
        assert!(matches!(fault.check, Check::OtherSize { .. }), "{change}: {fault}");
        assert!(fault.check.next_step().contains("restore"), "{}", fault.check.next_step());
        hand.run(&format!("UPDATE checkpoints SET {back} WHERE {set}"));
    }
    made.verify(&[]).unwrap();
}

#[tokio::test]
async fn records_that_are_deleted_or_exchanged_and_a_log_that_is_cut_are_found() {
    let mut made = Made::small().await;
    let hand = Hand::at(&made);
    let mut found = 0;
    let mut changed = |made: &Made, what: &str, change: &str, back: &str| {
        hand.run(change);
        assert!(made.verify(&[]).is_err(), "{what}");
        found += 1;
        hand.run(back);
    };
    hand.run("CREATE TEMP TABLE kept AS SELECT * FROM leaves");
    for at in 0..9 {
        let put_back = format!("INSERT INTO leaves SELECT * FROM kept WHERE idx = {at}");
        changed(&made, &format!("record {at} deleted"), &format!("DELETE FROM leaves WHERE idx = {at}"), &put_back);
        for other in 0..at {
            let leaf = |of: i64, from: i64| {
                format!("UPDATE leaves SET leaf = (SELECT leaf FROM kept WHERE idx = {from}) WHERE idx = {of};")
            };
            let exchange = leaf(at, other) + &leaf(other, at);
            changed(&made, &format!("{at} and {other} exchanged"), &exchange, &(leaf(at, at) + &leaf(other, other)));
        }
        // Cut there, the head made to fit.
        let cut = format!("DELETE FROM leaves WHERE idx >= {at}; UPDATE head SET next_index = {at}");
        let put_back =
            format!("INSERT INTO leaves SELECT * FROM kept WHERE idx >= {at}; UPDATE head SET next_index = 9");
        changed(&made, &format!("cut at {at}"), &cut, &put_back);
        let cut = format!("DELETE FROM leaves WHERE idx >= {at}");
        changed(&made, &format!("cut at {at}, the head left as it was"), &cut, &put_back);
    }
    assert_eq!(found, 9 + 36 + 9 + 9);
    made.verify(&[]).unwrap();

    // Yesterday's database is whole in itself; who kept today's checkpoint knows.
    let yesterday = made.database().with_extension("yesterday");
    chancery_store::back_up(&made.database(), &yesterday).unwrap();
    made.intents(2, true).await;
    let today = made.sign().await;
    assert_eq!(made.verify(std::slice::from_ref(&today)).unwrap().size, 12);
    let reader = chancery_store::look_into(&yesterday).unwrap();
    let verify = |held: Vec<_>| {
        let trusted =
            chancery_audit::verify::Trusted { log_keys: made.keys(), checkpoints: held, ..Default::default() };
        chancery_audit::verify::verify_database(&reader, None, trusted, |_, _| ())
    };
    assert_eq!(verify(Vec::new()).unwrap().attested, 9);
    let error = verify(vec![today]).unwrap_err().to_string();
    assert!(error.starts_with("the checkpoint of 12 records: the log has only 9 records"), "{error}");
}

#[tokio::test]
async fn every_hash_of_the_tree_as_it_is_kept_is_compared() {
    let made = Made::of_intents(600).await;
    let report = made.verify(&[]).unwrap();
    assert_eq!((report.size, report.open.len()), (600, 600));
    let hand = Hand::at(&made);
    let tiles = hand.rows("tiles");
    assert_eq!(tiles.len(), 3, "two whole ones, and the one above them");
    let mut hashes = 0;
    for row in tiles {
        let original = hand.value("hashes", "tiles", row);
        for hash in 0..original.len() / 32 {
            let mut changed = original.clone();
            changed[hash * 32 + hash % 32] ^= 1 << (hash % 8);
            hand.set("hashes", "tiles", row, &changed, false);
            let error = made.verify(&[]).unwrap_err();
            assert!(error.contains("the tree as it is kept, in tile/"), "{error}");
            hashes += 1;
        }
        hand.set("hashes", "tiles", row, &original[..original.len() - 32], false);
        assert!(original.len() == 32 || made.verify(&[]).is_err(), "a tile that was cut");
        hand.set("hashes", "tiles", row, &original, false);
        hand.run(&format!(
            "CREATE TEMP TABLE kept AS SELECT * FROM tiles WHERE rowid = {row}; DELETE FROM tiles WHERE rowid = {row}"
        ));
        let error = made.verify(&[]).unwrap_err();
        assert!(error.ends_with("it is missing"), "{error}");
        hand.run("INSERT INTO tiles SELECT * FROM temp.kept; DROP TABLE temp.kept");
    }
    assert_eq!(hashes, 2 * 256 + 2);
    made.verify(&[]).unwrap();
}

#[tokio::test]
async fn a_record_that_is_found_by_something_else_than_it_says_is_named() {
    let made = Made::small().await;
    let hand = Hand::at(&made);
    let mut found = 0;
    for (column, other) in [
        ("kind", "4"),
        ("caller", "'somebody'"),
        ("resource", "'keyRings/r/keys/other'"),
        ("key", "'keyRings/r/keys/other'"),
        ("action", "'DestroyKeyVersion'"),
        ("decision", "3"),
        ("digest", "zeroblob(16)"),
        ("trace_id", "zeroblob(16)"),
    ] {
        for row in hand.rows("details") {
            hand.run(&format!("CREATE TEMP TABLE kept AS SELECT {column} AS kept FROM details WHERE idx = {row}"));
            for changed in [other, "NULL"] {
                if changed == "NULL" && column == "kind" {
                    continue;
                }
                hand.run(&format!("UPDATE details SET {column} = {changed} WHERE idx = {row}"));
                let was: bool = hand.is_other(&format!(
                    "SELECT {column} IS NOT (SELECT kept FROM kept) FROM details WHERE idx = {row}"
                ));
                let verified = made.verify(&[]);
                assert_eq!(verified.is_err(), was, "{column} of {row}: {verified:?}");
                if let Err(fault) = verified {
                    let place = format!("record {row}: it is found by another {column} than");
                    assert!(fault.starts_with(&place), "{fault}");
                    found += 1;
                }
            }
            hand.run(&format!(
                "UPDATE details SET {column} = (SELECT kept FROM kept) WHERE idx = {row}; DROP TABLE kept"
            ));
        }
    }
    assert!(found >= 8 * 9, "{found}");
    made.verify(&[]).unwrap();
    // What was changed in the details themselves is not called a changed column.
    hand.run("CREATE TEMP TABLE kept AS SELECT content FROM details WHERE idx = 8");
    hand.run("UPDATE details SET content = CAST(replace(CAST(content AS TEXT), 'checkout', 'checkin2') AS BLOB) WHERE idx = 8");
    assert!(hand.is_other("SELECT content IS NOT (SELECT content FROM kept) FROM details WHERE idx = 8"));
    assert_eq!(made.fault(), Fault { at: Place::Record(8), check: Check::Commitment });
    hand.run("UPDATE details SET content = (SELECT content FROM kept) WHERE idx = 8");
    made.verify(&[]).unwrap();
    // Records of older versions get digest and trace id when a service starts.
    hand.run("UPDATE details SET trace_id = zeroblob(16) WHERE idx = 3");
    hand.run("INSERT INTO record_search_backfill (id, next, until) VALUES (1, 3, 4)");
    made.verify(&[]).unwrap();
    hand.run("UPDATE record_search_backfill SET next = 2, until = 3");
    assert!(made.verify(&[]).unwrap_err().starts_with("record 3: it is found by another trace_id"));
}
