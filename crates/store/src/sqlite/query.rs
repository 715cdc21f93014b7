//! Reading the log.

use super::search::{self, Route};
use super::{failed, from_sql};
use crate::{OpenIntent, RecordEnd, RecordPage, RecordProgress, RecordQuery, StoreError, StoredDetails, StoredRecord};
use chancery_model::Id;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

/// The records that match, in the order asked for, as far as the bounded work of a page gets.
pub(crate) fn records(connection: &Connection, query: &RecordQuery) -> Result<RecordPage, StoreError> {
    records_within(connection, query, search::SPAN)
}

/// The same, looking at no more than `span` entries of an index.
pub(super) fn records_within(
    connection: &Connection,
    query: &RecordQuery,
    span: i64,
) -> Result<RecordPage, StoreError> {
    const DOING: &str = "listing records";
    let range = search::range(connection, query)?;
    if range.is_empty() {
        return Ok(RecordPage { records: Vec::new(), next: None });
    }
    let conditions = search::conditions(query);
    let Route { index, range, next } = search::route(connection, &conditions, range, query.order, span)?;
    let sql = search::page_sql(COLUMNS, &conditions, index, query.order);
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let mut values: Vec<Value> = conditions.into_iter().flat_map(|condition| condition.values).collect();
    // One more than asked for, to know whether there is one.
    values.extend(range.values(index));
    values.push(i64::from(query.limit).saturating_add(1).into());
    let mut statement = connection.prepare_cached(&sql).map_err(failed(DOING))?;
    let mut rows = statement.query(params_from_iter(values)).map_err(failed(DOING))?;
    let mut records: Vec<StoredRecord> = Vec::new();
    while let Some(row) = rows.next().map_err(failed(DOING))? {
        let record: StoredRecord = record(row).map_err(failed(DOING))?.try_into()?;
        if records.len() == limit {
            return Ok(RecordPage { records, next: Some(record.index) });
        }
        records.push(record);
    }
    let next = next.map(|next| from_sql(next, "an index")).transpose()?;
    Ok(RecordPage { records, next })
}

/// The columns of one record, as SQLite has them.
struct Columns {
    index: i64,
    leaf: Vec<u8>,
    salt: Option<[u8; 32]>,
    content: Option<Vec<u8>>,
    open: bool,
    outcome: Option<i64>,
    result: Option<u8>,
    erased: Option<i64>,
}

pub(super) const COLUMNS: &str = "l.idx, l.leaf, d.salt, d.content, o.idx IS NOT NULL, e.idx, e.result, r.act";

fn record(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok(Columns {
        index: row.get(0)?,
        leaf: row.get(1)?,
        salt: row.get(2)?,
        content: row.get(3)?,
        open: row.get(4)?,
        outcome: row.get(5)?,
        result: row.get(6)?,
        erased: row.get(7)?,
    })
}

impl TryFrom<Columns> for StoredRecord {
    type Error = StoreError;

    fn try_from(columns: Columns) -> Result<Self, StoreError> {
        let Columns { index, leaf, salt, content, open, outcome, result, erased } = columns;
        let progress = match (open, outcome, result) {
            (true, ..) => RecordProgress::Open,
            (false, Some(outcome), Some(result)) => {
                RecordProgress::Ended(RecordEnd { outcome: from_sql(outcome, "an index")?, result })
            }
            (false, ..) => RecordProgress::Complete,
        };
        let details = details(salt, content);
        let erased_by = erased.map(|act| from_sql(act, "an index")).transpose()?;
        Ok(Self { index: from_sql(index, "an index")?, leaf, details, erased_by, progress })
    }
}

/// The details of a row, where they are there: empty ones are on their way out, since JSON is never empty.
pub(super) fn details(salt: Option<[u8; 32]>, content: Option<Vec<u8>>) -> Option<StoredDetails> {
    salt.zip(content.filter(|content| !content.is_empty())).map(|(salt, content)| StoredDetails { salt, content })
}

/// The first record that waits for its outcome, whoever recorded it.
pub(crate) fn first_open_intent(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(idx) FROM open_intents")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(failed("looking for open intents"))?;
    first.map(|index| from_sql(index, "an index")).transpose()
}

/// The records of `instance` that wait for their outcome, the oldest first.
pub(crate) fn open_intents(connection: &Connection, instance: &Id) -> Result<Vec<OpenIntent>, StoreError> {
    const DOING: &str = "reading the open intents";
    let mut statement = connection
        .prepare_cached(
            "SELECT o.idx, o.act, l.leaf FROM open_intents o JOIN leaves l ON l.idx = o.idx
             WHERE o.instance = ?1 ORDER BY o.idx",
        )
        .map_err(failed(DOING))?;
    let mut rows = statement.query([instance.as_str()]).map_err(failed(DOING))?;
    let mut open = Vec::new();
    while let Some(row) = rows.next().map_err(failed(DOING))? {
        let read = || Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let (index, act, leaf): (i64, bool, Vec<u8>) = read().map_err(failed(DOING))?;
        let index = from_sql(index, "an index")?;
        // What is open is not archived.
        if leaf.is_empty() {
            return Err(StoreError::NoLeaf { index });
        }
        open.push(OpenIntent { index, instance: instance.clone(), act, leaf });
    }
    Ok(open)
}
