//! The schema, brought up to date step by step.
//!
//! Each step is a numbered file, runs in one transaction with the note that it ran, and is noted with its whole
//! text: a database made by another text of the same number, or by a newer program, is refused.

use super::connect::APPLICATION_ID;
use crate::OpenError;
use chancery_model::Timestamp;
use rusqlite::{Connection, Row, TransactionBehavior, params};
use std::fmt;
use std::path::Path;

struct Migration {
    name: &'static str,
    sql: &'static str,
}

/// In order; the first is number 1. A step that was released is never edited: add another one.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "state_and_log", sql: include_str!("../../migrations/0001_state_and_log.sql") },
    Migration { name: "jwt_lifetime", sql: include_str!("../../migrations/0002_jwt_lifetime.sql") },
    Migration { name: "life_cycle", sql: include_str!("../../migrations/0003_life_cycle.sql") },
    Migration { name: "callers", sql: include_str!("../../migrations/0004_callers.sql") },
    Migration {
        name: "key_rings_and_adopted_keys",
        sql: include_str!("../../migrations/0005_key_rings_and_adopted_keys.sql"),
    },
    Migration { name: "state_root", sql: include_str!("../../migrations/0006_state_root.sql") },
    Migration { name: "limits", sql: include_str!("../../migrations/0007_limits.sql") },
    Migration { name: "record_search", sql: include_str!("../../migrations/0008_record_search.sql") },
    Migration { name: "transparency_log", sql: include_str!("../../migrations/0009_transparency_log.sql") },
    Migration { name: "caller_evidence", sql: include_str!("../../migrations/0010_caller_evidence.sql") },
    Migration { name: "retention", sql: include_str!("../../migrations/0011_retention.sql") },
    Migration { name: "cosigned_checkpoints", sql: include_str!("../../migrations/0012_cosigned_checkpoints.sql") },
    Migration { name: "archive", sql: include_str!("../../migrations/0013_archive.sql") },
    Migration { name: "shown_checkpoint", sql: include_str!("../../migrations/0014_shown_checkpoint.sql") },
];

/// Runs the steps that the database has not seen.
pub(crate) fn run(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    run_steps(connection, path, MIGRATIONS)
}

/// For tests of what follows a migration: the steps before the one of this name.
#[cfg(test)]
pub(crate) fn run_before(name: &str, connection: &mut Connection) {
    let steps = MIGRATIONS.iter().position(|step| step.name == name).and_then(|place| MIGRATIONS.get(..place));
    run_steps(connection, Path::new("test.db"), steps.unwrap()).unwrap();
}

fn run_steps(connection: &mut Connection, path: &Path, steps: &[Migration]) -> Result<(), OpenError> {
    let applied = applied(connection).map_err(|error| OpenError::Database {
        path: path.to_owned(),
        doing: "reading which migrations it has seen",
        source: Box::new(error),
    })?;
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    if let Some((found, _)) = applied.iter().find(|(number, _)| *number > known) {
        return Err(OpenError::Newer { path: path.to_owned(), found: *found, known });
    }
    let (seen, new) = steps.split_at(applied.len().min(steps.len()));
    for (number, step) in (1..).zip(seen) {
        if !applied.iter().any(|(applied, sql)| *applied == number && sql == step.sql) {
            return Err(OpenError::MigrationDiffers { path: path.to_owned(), number, name: step.name.to_owned() });
        }
    }
    // Before a step runs, which a trigger of another hand would run along with.
    as_made_by(seen, connection, path)?;
    for (number, step) in (1..).zip(steps).skip(seen.len()) {
        apply(connection, number, step).map_err(|error| OpenError::Migration {
            path: path.to_owned(),
            number,
            name: step.name.to_owned(),
            source: Box::new(error),
        })?;
        tracing::info!(number, name = step.name, "migrated the database");
    }
    if new.is_empty() { Ok(()) } else { as_made_by(steps, connection, path) }
}

/// Refuses a schema that is not the one that the steps make: a view in a table's place shows what it likes, a trigger keeps
/// a record from being written, and a table without its keys holds two rows of one id.
fn as_made_by(steps: &[Migration], connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed =
        |error| OpenError::Database { path: path.to_owned(), doing: "comparing its schema", source: Box::new(error) };
    let made = made_by(steps).and_then(|made| schema(&made)).map_err(failed)?;
    let found = schema(connection).map_err(failed)?;
    let odd = found.iter().find(|one| !made.contains(one));
    let what = match (odd, made.iter().find(|one| !found.contains(one))) {
        (None, None) if found.len() == made.len() => return Ok(()),
        (None, None) => "something is in it twice".to_owned(),
        (None, Some(gone)) => format!("{gone} is not there"),
        (Some(odd), _) if made.iter().any(|one| one.name == odd.name) => {
            format!("{odd} is another one than the migrations make")
        }
        (Some(odd), _) => format!("there is {odd}, of no migration"),
    };
    Err(OpenError::SchemaEdited { path: path.to_owned(), what })
}

/// An empty database that the steps have made.
fn made_by(steps: &[Migration]) -> rusqlite::Result<Connection> {
    let mut made = Connection::open_in_memory()?;
    (1..).zip(steps).try_for_each(|(number, step)| apply(&mut made, number, step))?;
    Ok(made)
}

/// Something that a schema has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SchemaObject {
    kind: String,
    name: String,
    table: String,
    sql: Option<String>,
}

impl fmt::Display for SchemaObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {}", self.kind, self.name)
    }
}

fn schema(connection: &Connection) -> rusqlite::Result<Vec<SchemaObject>> {
    let mut statement = connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let object = |row: &Row<'_>| {
        let sql = row.get::<_, Option<String>>(3)?.as_deref().map(without_layout);
        Ok(SchemaObject { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql })
    };
    statement.query_map([], object)?.collect()
}

/// Number and text of each step that ran; the newest first.
fn applied(connection: &Connection) -> rusqlite::Result<Vec<(u32, String)>> {
    let present: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations')",
        [],
        |row| row.get(0),
    )?;
    if !present {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare("SELECT number, sql FROM migrations ORDER BY number DESC")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn apply(connection: &mut Connection, number: u32, step: &Migration) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (
             number INTEGER PRIMARY KEY, name TEXT NOT NULL, sql TEXT NOT NULL, applied INTEGER NOT NULL
         ) STRICT",
    )?;
    transaction.execute_batch(step.sql)?;
    transaction.execute(
        "INSERT INTO migrations (number, name, sql, applied) VALUES (?1, ?2, ?3, ?4)",
        params![number, step.name, step.sql, Timestamp::now().unix_micros()],
    )?;
    transaction.commit()
}

/// SQL as it means the same however it was indented, in this program or in an earlier one.
fn without_layout(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    words.join(" ").replace("( ", "(").replace(" )", ")")
}

#[cfg(test)]
mod tests {
    use super::super::tree::CheckpointTable;
    use super::*;
    use chancery_model::{CallerLimits, KeyRules, Pace, Usage, UsageOf, VersionLife};

    const ONE: Migration =
        Migration { name: "one", sql: "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);" };
    const TWO: Migration = Migration { name: "two", sql: "ALTER TABLE a ADD COLUMN y INTEGER;" };
    const BROKEN: Migration =
        Migration { name: "broken", sql: "DELETE FROM a; CREATE TABLE b (x INTEGER); SELECT nonsense;" };

    fn database() -> (Connection, &'static Path) {
        (Connection::open_in_memory().unwrap(), Path::new("test.db"))
    }

    fn count(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn each_step_runs_once() {
        let (mut connection, path) = database();
        run_steps(&mut connection, path, &[ONE]).unwrap();
        run_steps(&mut connection, path, &[ONE, TWO]).unwrap();
        run_steps(&mut connection, path, &[ONE, TWO]).unwrap();
        assert_eq!(count(&connection, "SELECT count(*) FROM a WHERE y IS NULL"), 1);
        assert_eq!(count(&connection, "SELECT count(*) FROM migrations"), 2);
    }

    /// What the record says of a key that was made by an earlier version must still be what its row comes to.
    #[test]
    fn a_key_made_before_jwt_lifetimes_keeps_its_canonical_bytes() {
        let (mut connection, path) = database();
        run_steps(&mut connection, path, &MIGRATIONS[..1]).unwrap();
        connection
            .execute(
                "INSERT INTO keys (uid, ring, key, algorithm, allow_digest, created, updated)
                 VALUES (?1, 'r', 'k', 'ED25519', 0, 1, 2)",
                [[7_u8; 16]],
            )
            .unwrap();
        run(&mut connection, path).unwrap();
        let state = super::super::state::load(&mut connection).unwrap();
        let [row] = state.keys.as_slice() else { panic!("{:?}", state.keys) };
        assert_eq!(row.max_jwt_lifetime_seconds, None);
        let bytes = crate::RowChange::PutKey(row.clone()).canonical_bytes().unwrap();
        assert_eq!(bytes[0], 1, "the version that it was recorded in");
    }

    /// The same of a caller whom an earlier version knew by id alone.
    #[test]
    fn a_caller_of_the_configuration_alone_keeps_its_canonical_bytes() {
        let (mut connection, path) = database();
        run_steps(&mut connection, path, &MIGRATIONS[..2]).unwrap();
        connection.execute("INSERT INTO callers (uid, id) VALUES (?1, 'shop')", [[7_u8; 16]]).unwrap();
        run(&mut connection, path).unwrap();
        let state = super::super::state::load(&mut connection).unwrap();
        let [row] = state.callers.as_slice() else { panic!("{:?}", state.callers) };
        assert_eq!((row.id.as_str(), &row.registration), ("shop", &None));
        let bytes = crate::RowChange::PutCaller(row.clone()).canonical_bytes().unwrap();
        assert_eq!(bytes[0], 1, "the version that it was recorded in");
    }

    /// The same for a version, and for a key with what the version before this one knew.
    #[test]
    fn rows_made_before_life_cycles_keep_their_canonical_bytes() {
        let (mut connection, path) = database();
        run_steps(&mut connection, path, &MIGRATIONS[..2]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO keys (uid, ring, key, algorithm, allow_digest, created, updated, max_jwt_lifetime)
                 VALUES (x'07070707070707070707070707070707', 'r', 'k', 'ED25519', 0, 1, 2, 900);
                 INSERT INTO key_versions (uid, key_uid, version, state, created, state_changed)
                 VALUES (x'08080808080808080808080808080808', x'07070707070707070707070707070707', 1, 'ACTIVE', 1, 2);",
            )
            .unwrap();
        run(&mut connection, path).unwrap();
        let state = super::super::state::load(&mut connection).unwrap();
        let [key] = state.keys.as_slice() else { panic!("{:?}", state.keys) };
        assert_eq!(key.rules, KeyRules::default());
        assert_eq!(crate::RowChange::PutKey(key.clone()).canonical_bytes().unwrap()[0], 2);
        let [version] = state.key_versions.as_slice() else { panic!("{:?}", state.key_versions) };
        assert_eq!(version.life, VersionLife::default());
        assert_eq!(crate::RowChange::PutKeyVersion(version.clone()).canonical_bytes().unwrap()[0], 1);
    }

    /// The same for a version that was made before any could be adopted.
    #[test]
    fn a_version_made_before_adoption_keeps_its_canonical_bytes() {
        let (mut connection, path) = database();
        run_steps(&mut connection, path, &MIGRATIONS[..4]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO keys (uid, ring, key, algorithm, allow_digest, created, updated)
                 VALUES (x'07070707070707070707070707070707', 'r', 'k', 'ED25519', 0, 1, 2);
                 INSERT INTO key_versions (uid, key_uid, version, state, created, state_changed, compromised)
                 VALUES (x'08080808080808080808080808080808', x'07070707070707070707070707070707', 1, 'COMPROMISED', 1, 2,
                         3);",
            )
            .unwrap();
        run(&mut connection, path).unwrap();
        let state = super::super::state::load(&mut connection).unwrap();
        let [version] = state.key_versions.as_slice() else { panic!("{:?}", state.key_versions) };
        assert_eq!((&version.adoption, state.key_rings.len()), (&None, 0));
        assert_eq!(crate::RowChange::PutKeyVersion(version.clone()).canonical_bytes().unwrap()[0], 2);
    }

    /// The same for keys with rules and for callers, of a version that knew of no limits but those of signatures.
    #[test]
    fn rows_made_before_limits_keep_their_canonical_bytes() {
        let (mut connection, path) = database();
        run_steps(&mut connection, path, &MIGRATIONS[..4]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO keys (uid, ring, key, algorithm, allow_digest, created, updated, max_signatures)
                 VALUES (x'07070707070707070707070707070707', 'r', 'k', 'ED25519', 0, 1, 2, 5);
                 INSERT INTO key_usage (key_uid, signatures, day, day_signatures)
                 VALUES (x'07070707070707070707070707070707', 4, 20000, 3);
                 INSERT INTO callers (uid, id, environment, state, created, updated, state_changed)
                 VALUES (x'08080808080808080808080808080808', 'shop', 'dev', 'ACTIVE', 1, 2, 3);",
            )
            .unwrap();
        run(&mut connection, path).unwrap();
        let state = super::super::state::load(&mut connection).unwrap();
        let [key] = state.keys.as_slice() else { panic!("{:?}", state.keys) };
        assert_eq!((key.rules.limits.total, key.rules.pace), (Some(5), Pace::default()));
        assert_eq!(crate::RowChange::PutKey(key.clone()).canonical_bytes().unwrap()[0], 3);
        let [caller] = state.callers.as_slice() else { panic!("{:?}", state.callers) };
        assert_eq!(caller.registration.as_ref().unwrap().limits, CallerLimits::default());
        assert_eq!(crate::RowChange::PutCaller(caller.clone()).canonical_bytes().unwrap()[0], 2);
        let counted = |of| super::super::usage::read(&connection, of).unwrap();
        assert_eq!(counted(UsageOf::Key(key.uid)), Usage { total: 4, day: 20_000, today: 3 });
        assert_eq!(counted(UsageOf::Caller(caller.uid)), Usage::default());
    }

    /// The same for a key with a pace, of a version that knew of no signatures of callers.
    #[test]
    fn a_key_made_before_caller_signatures_requires_none_and_keeps_its_canonical_bytes() {
        let (mut connection, path) = database();
        run_before("caller_evidence", &mut connection);
        connection
            .execute_batch(
                "INSERT INTO keys (uid, ring, key, algorithm, allow_digest, created, updated, max_uses_per_second)
                 VALUES (x'07070707070707070707070707070707', 'r', 'k', 'ED25519', 0, 1, 2, 5);",
            )
            .unwrap();
        run(&mut connection, path).unwrap();
        let state = super::super::state::load(&mut connection).unwrap();
        let [key] = state.keys.as_slice() else { panic!("{:?}", state.keys) };
        assert!(!key.rules.requires_caller_signature);
        assert_eq!(crate::RowChange::PutKey(key.clone()).canonical_bytes().unwrap()[0], 4);
        let odd = connection.execute("UPDATE keys SET requires_caller_signature = 2", []);
        assert!(odd.is_err(), "it is a yes or a no");
    }

    /// The leaves of a database of before there was an archive are final, all of them.
    #[test]
    fn of_a_database_of_before_the_archive_nothing_is_archived() {
        let (mut connection, path) = database();
        run_before("archive", &mut connection);
        connection.execute("INSERT INTO leaves (idx, leaf) VALUES (0, x'00')", []).unwrap();
        run(&mut connection, path).unwrap();
        assert_eq!(super::super::archive::archived(&connection).unwrap(), 0);
        for forgery in ["UPDATE leaves SET leaf = x''", "DELETE FROM leaves"] {
            let error = connection.execute(forgery, []).unwrap_err();
            assert!(error.to_string().contains("a leaf is final"), "{error}");
        }
    }

    /// What had counted with cosignatures was shown, and is still.
    #[test]
    fn the_newest_checkpoint_that_was_cosigned_before_is_the_one_that_is_shown() {
        let (mut connection, path) = database();
        run_before("shown_checkpoint", &mut connection);
        connection
            .execute_batch(
                "INSERT INTO checkpoints VALUES (9, 9, 'signed');
                 INSERT INTO cosigned_checkpoints VALUES (3, 30, 'three'), (7, 70, 'seven');",
            )
            .unwrap();
        run(&mut connection, path).unwrap();
        let shown = super::super::tree::newest_checkpoint(&connection, CheckpointTable::Shown).unwrap().unwrap();
        assert_eq!((shown.size, shown.time.unix_micros(), shown.note.as_str()), (7, 70, "seven"));
    }

    #[test]
    fn a_failed_step_leaves_nothing_behind() {
        let (mut connection, path) = database();
        let error = run_steps(&mut connection, path, &[ONE, BROKEN]).unwrap_err();
        assert!(matches!(error, OpenError::Migration { number: 2, .. }), "{error}");
        assert_eq!(count(&connection, "SELECT count(*) FROM a"), 1, "the deletion was undone");
        assert_eq!(count(&connection, "SELECT count(*) FROM sqlite_schema WHERE name = 'b'"), 0);
        assert_eq!(count(&connection, "SELECT count(*) FROM migrations"), 1);
        run_steps(&mut connection, path, &[ONE, TWO]).unwrap();
    }

    #[test]
    fn a_schema_that_another_hand_edited_is_refused() {
        for (sql, said) in [
            (
                "CREATE TRIGGER t BEFORE INSERT ON leaves BEGIN SELECT RAISE(IGNORE); END",
                "the trigger t, of no migration",
            ),
            ("CREATE VIEW v AS SELECT 1", "the view v, of no migration"),
            ("CREATE TABLE x (y INTEGER)", "the table x, of no migration"),
            ("CREATE INDEX i ON keys (owner)", "the index i, of no migration"),
            ("ALTER TABLE keys ADD COLUMN z INTEGER", "the table keys is another one"),
            (
                "ALTER TABLE key_usage RENAME TO u; CREATE VIEW key_usage AS SELECT * FROM u",
                "the table u, of no migration",
            ),
            ("DROP TABLE key_usage", "the table key_usage is not there"),
        ] {
            let (mut connection, path) = database();
            run(&mut connection, path).unwrap();
            connection.execute_batch(sql).unwrap();
            let error = run(&mut connection, path).unwrap_err();
            assert!(matches!(&error, OpenError::SchemaEdited { what, .. } if what.contains(said)), "{sql}: {error}");
        }
    }

    #[test]
    fn another_hand_s_trigger_does_not_run_along_with_a_step() {
        let (mut connection, path) = database();
        run_steps(&mut connection, path, &[ONE]).unwrap();
        connection.execute_batch("CREATE TRIGGER t AFTER INSERT ON migrations BEGIN DELETE FROM a; END").unwrap();
        let error = run_steps(&mut connection, path, &[ONE, TWO]).unwrap_err();
        assert!(matches!(error, OpenError::SchemaEdited { .. }), "{error}");
        assert_eq!(count(&connection, "SELECT count(*) FROM a"), 1);
    }

    #[test]
    fn a_newer_database_is_refused() {
        let (mut connection, path) = database();
        run_steps(&mut connection, path, &[ONE, TWO]).unwrap();
        let error = run_steps(&mut connection, path, &[ONE]).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    }

    #[test]
    fn another_text_of_the_same_step_is_refused() {
        let (mut connection, path) = database();
        run_steps(&mut connection, path, &[ONE]).unwrap();
        let error = run_steps(&mut connection, path, &[TWO]).unwrap_err();
        assert!(matches!(error, OpenError::MigrationDiffers { number: 1, .. }), "{error}");
    }
}
