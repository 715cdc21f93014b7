//! Another hand than the service's in its database: SQL on the file while the service does not run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions run inside tests, which stop at the first surprise"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chancery_audit::note::VerifierKey;
use chancery_store::{OpenError, Reader, Writer};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::contract::PATIENCE;

/// Opens the database of a service that has stopped as a service does. What another test forks in this process holds the lock
/// as well, until it runs its own program: that is waited for.
///
/// # Errors
/// Those of [`chancery_store::open`].
pub fn store(path: &Path) -> Result<(Writer, Reader), OpenError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match chancery_store::open(path) {
            Err(OpenError::InUse { .. }) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            opened => return opened,
        }
    }
}

/// The tables whose rows are the state, and the row that says what it is held to.
pub const STATE: [&str; 14] = [
    "keys",
    "key_labels",
    "key_versions",
    "key_version_certificates",
    "key_rings",
    "callers",
    "caller_identities",
    "caller_memberships",
    "caller_attributes",
    "api_keys",
    "api_key_scopes",
    "policy_sets",
    "policy_documents",
    "head",
];

/// Tables whose rows are no part of it: the log, which proves itself, counters, and SQLite's own notes.
pub const OTHERS: [&str; 16] = [
    "leaves",
    "details",
    "open_intents",
    "outcomes",
    "key_usage",
    "caller_usage",
    "api_key_uses",
    "record_times",
    "record_search_backfill",
    "erased",
    "tiles",
    "checkpoints",
    "cosigned_checkpoints",
    "archive",
    "shown_checkpoint",
    "migrations",
];

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its place in the primary key, from 1; 0: it is not in it.
    pub key: i64,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Its type.
    pub kind: String,
}

/// Opens the database so that it lets itself be written to against its own rules.
#[must_use]
pub fn open(database: &Path) -> Connection {
    let connection = Connection::open(database).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
    connection
}

/// Runs SQL as somebody does who takes the triggers out of the way, and leaves the schema as it was.
pub fn edit(database: &Path, sql: &str) {
    let connection = open(database);
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let trigger = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let triggers: Vec<(String, String)> = statement.query_map([], trigger).unwrap().map(Result::unwrap).collect();
    triggers.iter().for_each(|(name, _)| connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    connection.execute_batch(sql).unwrap();
    triggers.iter().for_each(|(_, sql)| connection.execute_batch(sql).unwrap());
}

/// The names of all tables.
#[must_use]
pub fn tables(connection: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The columns of a table, all of them.
#[must_use]
pub fn columns(connection: &Connection, table: &str) -> Vec<Column> {
    let mut statement =
        connection.prepare(&format!("SELECT name, pk, \"notnull\", type FROM pragma_table_info('{table}')")).unwrap();
    let column = |row: &rusqlite::Row<'_>| {
        let (name, key, not_null, kind) = (row.get(0)?, row.get(1)?, row.get::<_, bool>(2)?, row.get(3)?);
        Ok(Column { name, key, nullable: !not_null && key == 0, kind })
    };
    statement.query_map([], column).unwrap().map(Result::unwrap).collect()
}

/// The rows of a table.
#[must_use]
pub fn rows(connection: &Connection, table: &str) -> Vec<Vec<Value>> {
    let count = columns(connection, table).len();
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let row = |row: &rusqlite::Row<'_>| (0..count).map(|place| row.get(place)).collect();
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// Which row it is: a condition on its primary key, and the values for it.
#[must_use]
pub fn of_row(columns: &[Column], row: &[Value]) -> (String, Vec<Value>) {
    let keys = columns.iter().zip(row).filter(|(column, _)| column.key > 0);
    let (names, values): (Vec<_>, Vec<_>) =
        keys.map(|(column, value)| (format!("{} = ?", column.name), value.clone())).unzip();
    (names.join(" AND "), values)
}

/// Sets one column of a row.
pub fn set(connection: &Connection, table: &str, column: &str, value: Value, of: (String, Vec<Value>)) {
    let sql = format!("UPDATE {table} SET {column} = ? WHERE {}", of.0);
    let values = std::iter::once(value).chain(of.1);
    assert_eq!(connection.execute(&sql, params_from_iter(values)).unwrap(), 1, "{sql}");
}

/// Removes a row.
pub fn remove(connection: &Connection, table: &str, of: (String, Vec<Value>)) {
    let sql = format!("DELETE FROM {table} WHERE {}", of.0);
    assert_eq!(connection.execute(&sql, params_from_iter(of.1)).unwrap(), 1, "{sql}");
}

/// Writes a whole row, in the place of the one with its primary key where there is one.
pub fn put(connection: &Connection, table: &str, row: &[Value]) {
    let places = vec!["?"; row.len()].join(", ");
    connection.execute(&format!("REPLACE INTO {table} VALUES ({places})"), params_from_iter(row.iter())).unwrap();
}

/// The columns that take 0 and 1 alone.
const BOOLEANS: [&str; 5] =
    ["allow_digest", "deletion_protection", "requires_caller_signature", "imported", "extractable"];

/// Another value of the same kind, that no other row has.
#[must_use]
pub fn edited(column: &Column, value: &Value) -> Value {
    match (value, column.kind.as_str()) {
        (Value::Integer(number @ (0 | 1)), _) if BOOLEANS.contains(&column.name.as_str()) => Value::Integer(1 - number),
        (Value::Integer(number), _) => Value::Integer(number + 100),
        (Value::Text(text), _) => Value::Text(match text.as_str() {
            "ACTIVE" => "SUSPENDED".to_owned(),
            "SUSPENDED" => "ACTIVE".to_owned(),
            "ED25519" => "ECDSA_P256_SHA256".to_owned(),
            "READ_ONLY" => "READ_WRITE".to_owned(),
            other => format!("{other}x"),
        }),
        (Value::Blob(bytes), _) => {
            let mut bytes = bytes.clone();
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            Value::Blob(bytes)
        }
        (Value::Null, "INTEGER") => Value::Integer(1),
        (Value::Null, "TEXT") => Value::Text("ACTIVE".to_owned()),
        (Value::Null, _) => Value::Blob(vec![0x5a; 16]),
        (Value::Real(_), kind) => panic!("no column of the state is a {kind}"),
    }
}

/// What a database is on the disk, with its anchor.
#[derive(Debug, Clone)]
pub struct Saved {
    database: Vec<u8>,
    anchor: Option<Vec<u8>>,
}

/// The database of a folder of `chancery dev`.
#[must_use]
pub fn database(folder: &Path) -> PathBuf {
    folder.join("chancery.db")
}

/// Its anchor.
#[must_use]
pub fn anchor(folder: &Path) -> PathBuf {
    folder.join("chancery.db.anchor")
}

/// SQL that makes all records older in what is found by their time, as if the service had stood still for so many days. The
/// leaves are as they were.
#[must_use]
pub fn older(days: i64) -> String {
    let micros = days * 86_400_000_000;
    format!(
        "UPDATE details SET time = time - {micros};
         UPDATE record_times SET earliest = earliest - {micros}, latest = latest - {micros};"
    )
}

/// The one key of the log in a folder's database.
///
/// # Panics
/// Where it has none, or several.
#[must_use]
pub fn log_key(folder: &Path) -> VerifierKey {
    let reader = chancery_store::look_into(&database(folder)).unwrap();
    let [key] = chancery_core::kept_log_keys(&reader).unwrap().try_into().unwrap();
    key
}

impl Saved {
    /// Reads both, of a service that was stopped in good order: the file alone is then the whole database.
    ///
    /// # Panics
    /// Where it is not.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let log = std::fs::metadata(folder.join("chancery.db-wal")).map(|log| log.len()).unwrap_or_default();
        assert_eq!(log, 0, "the database was closed in good order");
        Self { database: std::fs::read(database(folder)).unwrap(), anchor: std::fs::read(anchor(folder)).ok() }
    }

    /// Puts the database back, and nothing else.
    pub fn put_database(&self, folder: &Path) {
        for suffix in ["-wal", "-shm"] {
            let _absent = std::fs::remove_file(folder.join(format!("chancery.db{suffix}")));
        }
        std::fs::write(database(folder), &self.database).unwrap();
    }

    /// Puts both back.
    pub fn put(&self, folder: &Path) {
        self.put_database(folder);
        match &self.anchor {
            Some(anchor) => std::fs::write(self::anchor(folder), anchor).unwrap(),
            None => drop(std::fs::remove_file(self::anchor(folder))),
        }
    }
}
