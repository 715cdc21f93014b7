//! Reading the log.

use super::log::key_of;
use super::{failed, from_sql};
use crate::{OpenIntent, Order, RecordEnd, RecordProgress, RecordQuery, StoreError, StoredDetails, StoredRecord};
use chancery_model::Id;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

/// The records that match, in the order asked for.
pub(crate) fn records(connection: &Connection, query: &RecordQuery) -> Result<Vec<StoredRecord>, StoreError> {
    const DOING: &str = "listing records";
    let (sql, values) = select(query);
    let mut statement = connection.prepare_cached(&sql).map_err(failed(DOING))?;
    let mut rows = statement.query(params_from_iter(values)).map_err(failed(DOING))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next().map_err(failed(DOING))? {
        records.push(record(row).map_err(failed(DOING))?.try_into()?);
    }
    Ok(records)
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
}

const COLUMNS: &str = "l.idx, l.leaf, d.salt, d.content, o.idx IS NOT NULL, e.idx, e.result";

fn record(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok(Columns {
        index: row.get(0)?,
        leaf: row.get(1)?,
        salt: row.get(2)?,
        content: row.get(3)?,
        open: row.get(4)?,
        outcome: row.get(5)?,
        result: row.get(6)?,
    })
}

impl TryFrom<Columns> for StoredRecord {
    type Error = StoreError;

    fn try_from(columns: Columns) -> Result<Self, StoreError> {
        let Columns { index, leaf, salt, content, open, outcome, result } = columns;
        let progress = match (open, outcome, result) {
            (true, ..) => RecordProgress::Open,
            (false, Some(outcome), Some(result)) => {
                RecordProgress::Ended(RecordEnd { outcome: from_sql(outcome, "an index")?, result })
            }
            (false, ..) => RecordProgress::Complete,
        };
        let details = salt.zip(content).map(|(salt, content)| StoredDetails { salt, content });
        Ok(Self { index: from_sql(index, "an index")?, leaf, details, progress })
    }
}

/// The statement and its values. Columns and operators are ours; only values come from outside.
fn select(query: &RecordQuery) -> (String, Vec<Value>) {
    let RecordQuery {
        from_time,
        until_time,
        caller,
        resource,
        action,
        kind,
        decision,
        from_index,
        before_index,
        order,
        limit,
    } = query;
    let mut wanted: Vec<(&str, Value)> = Vec::new();
    if let Some(time) = from_time {
        wanted.push(("d.time >= ?", time.unix_micros().into()));
    }
    if let Some(time) = until_time {
        wanted.push(("d.time < ?", time.unix_micros().into()));
    }
    if let Some(caller) = caller {
        wanted.push(("d.caller = ?", caller.as_str().to_owned().into()));
    }
    if let Some(resource) = resource {
        match key_of(resource) {
            // An index finds a key's records, in order; a version is picked out of them.
            Some(key) => {
                wanted.push(("d.key = ?", key.to_owned().into()));
                if key.len() < resource.len() {
                    wanted.push(("d.resource = ?", resource.clone().into()));
                }
            }
            // The resource and everything under it: '0' is the character after '/'.
            None => {
                wanted.push(("d.resource || '/' >= ?", format!("{resource}/").into()));
                wanted.push(("d.resource || '/' < ?", format!("{resource}0").into()));
            }
        }
    }
    if let Some(action) = action {
        wanted.push(("d.action = ?", action.as_str().to_owned().into()));
    }
    if let Some(kind) = kind {
        wanted.push(("d.kind = ?", i64::from(*kind).into()));
    }
    if let Some(decision) = decision {
        wanted.push(("d.decision = ?", i64::from(*decision).into()));
    }
    // By a column of the details: those whose details were erased are not found. By index alone: they are.
    let join = if wanted.is_empty() { "LEFT JOIN" } else { "JOIN" };
    let (comparison, direction) = match order {
        Order::NewestFirst => ("l.idx <= ?", "DESC"),
        Order::OldestFirst => ("l.idx >= ?", "ASC"),
    };
    if let Some(index) = from_index {
        wanted.push((comparison, i64::try_from(*index).unwrap_or(i64::MAX).into()));
    }
    if let Some(index) = before_index {
        wanted.push(("l.idx < ?", i64::try_from(*index).unwrap_or(i64::MAX).into()));
    }
    let conditions: Vec<&str> = wanted.iter().map(|(condition, _)| *condition).collect();
    let filter = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let sql = format!(
        "SELECT {COLUMNS} FROM leaves l {join} details d ON d.idx = l.idx
         LEFT JOIN open_intents o ON o.idx = l.idx LEFT JOIN outcomes e ON e.intent = l.idx
         {filter} ORDER BY l.idx {direction} LIMIT ?"
    );
    let mut values: Vec<Value> = wanted.into_iter().map(|(_, value)| value).collect();
    values.push(i64::from(*limit).into());
    (sql, values)
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
        open.push(OpenIntent { index: from_sql(index, "an index")?, instance: instance.clone(), act, leaf });
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_written_into_the_statement() {
        let query = RecordQuery { resource: Some("x' OR 1=1 --".into()), ..RecordQuery::default() };
        let (sql, values) = select(&query);
        assert!(!sql.contains("OR 1=1"), "{sql}");
        assert_eq!(sql.matches('?').count(), values.len());
    }
}
