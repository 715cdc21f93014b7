//! The one place that knows SQLite: connections, migrations, and the SQL of each group of tables.

pub(crate) mod archive;
pub(crate) mod backfill;
pub(crate) mod callers;
pub(crate) mod checkpoint;
pub(crate) mod connect;
pub(crate) mod erase;
pub(crate) mod head;
pub(crate) mod log;
pub(crate) mod migrate;
pub(crate) mod query;
pub(crate) mod rows;
pub(crate) mod search;
pub(crate) mod state;
pub(crate) mod tree;
pub(crate) mod until;
pub(crate) mod usage;

use crate::StoreError;
use rusqlite::types::Type;
use std::fmt;

/// Turns a failure of SQLite into ours; `doing` completes "the database failed while".
pub(crate) fn failed(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |error| StoreError::Database { doing, source: Box::new(error) }
}

/// SQLite counts in signed integers of 64 bits. What does not fit was never written by us.
pub(crate) fn to_sql(number: u64, what: &str) -> Result<i64, StoreError> {
    i64::try_from(number).or_else(|_| damaged(format!("{what} is {number}, beyond what the database can hold")))
}

/// The other way: a count is never negative.
pub(crate) fn from_sql(number: i64, what: &str) -> Result<u64, StoreError> {
    u64::try_from(number).or_else(|_| damaged(format!("{what} is {number}")))
}

/// Rows that hang on a row that is not there, or are out of their order. Only another hand than ours leaves such.
#[derive(Debug)]
struct Stray(&'static str);

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: somebody edited the database", self.0)
    }
}

impl std::error::Error for Stray {}

/// Refuses them, where there are any.
fn no_strays(any: bool, what: &'static str) -> rusqlite::Result<()> {
    if any { Err(rusqlite::Error::FromSqlConversionFailure(0, Type::Null, Box::new(Stray(what)))) } else { Ok(()) }
}

/// Holds a statement that writes one row to having written it: a trigger of another hand passes over a row without an error.
pub(crate) fn wrote_one(written: usize, doing: &'static str) -> Result<(), StoreError> {
    if written == 1 { Ok(()) } else { damaged(format!("{doing} wrote {written} rows, and not one")) }
}

pub(crate) fn damaged<T>(what: String) -> Result<T, StoreError> {
    Err(StoreError::Damaged { what })
}
