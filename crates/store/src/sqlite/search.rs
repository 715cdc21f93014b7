//! Which index a page of the record is read by, and how far.
//!
//! No page costs more than a bounded number of looked-at records, whatever is asked for and however long the record is.
//! Every condition that has an index is a *route*: its entries come in the order of the record, but some of them fail the
//! other conditions. So each route is asked how far its next [`SPAN`] entries reach (which reads the index alone), the page
//! is read by the one that reaches furthest, and ends there at the latest: perhaps short, perhaps empty, and with the place
//! from which the next page goes on.

use super::failed;
use super::log::{BLOCK_BITS, key_of, root_of};
use crate::record::SEARCHED_BYTES;
use crate::{Order, RecordQuery, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

/// The most entries of an index that a page looks at; of an index in blocks, the most blocks, too.
pub(super) const SPAN: i64 = 10_000;

const DOING: &str = "searching the record";

/// A part of the `WHERE` of a page, with its values. Columns and operators are ours; only values come from outside.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub sql: &'static str,
    pub values: Vec<Value>,
    /// The index that gives what fulfils it in the order of the record.
    pub index: Option<Index>,
}

/// An index by a column of the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Index {
    pub name: &'static str,
    /// Whether each block of the record has its own part of it. Otherwise it is of the whole record.
    pub in_blocks: bool,
}

impl Condition {
    fn plain(sql: &'static str, value: impl Into<Value>) -> Self {
        Self { sql, values: vec![value.into()], index: None }
    }

    fn indexed(name: &'static str, sql: &'static str, value: impl Into<Value>) -> Self {
        Self { index: Some(Index { name, in_blocks: false }), ..Self::plain(sql, value) }
    }

    fn in_blocks(name: &'static str, sql: &'static str, value: impl Into<Value>) -> Self {
        Self { index: Some(Index { name, in_blocks: true }), ..Self::plain(sql, value) }
    }
}

/// Indexes of records, both ends included; empty where the first is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub low: i64,
    pub high: i64,
}

impl Range {
    pub const fn is_empty(self) -> bool {
        self.low > self.high
    }

    /// What comes before `next` in this order.
    const fn up_to(self, next: i64, order: Order) -> Self {
        match order {
            Order::NewestFirst => Self { low: next.saturating_add(1), ..self },
            Order::OldestFirst => Self { high: next.saturating_sub(1), ..self },
        }
    }

    /// The first index after the next so many, if there is one.
    fn after(self, count: i64, order: Order) -> Option<i64> {
        match order {
            Order::NewestFirst => self.high.checked_sub(count).filter(|next| *next >= self.low),
            Order::OldestFirst => self.low.checked_add(count).filter(|next| *next <= self.high),
        }
    }

    /// The values of a statement's range.
    pub fn values(self, index: Option<Index>) -> Vec<Value> {
        let blocks = [self.low >> BLOCK_BITS, self.high >> BLOCK_BITS];
        let blocks = if index.is_some_and(|index| index.in_blocks) { blocks.as_slice() } else { &[] };
        blocks.iter().copied().chain([self.low, self.high]).map(Value::from).collect()
    }
}

/// What a page is read by, and how far.
#[derive(Debug)]
pub(super) struct Route {
    /// The index; `None`: the record itself.
    pub index: Option<Index>,
    /// What is looked at.
    pub range: Range,
    /// Where the next page begins; `None`: everything that was asked for is looked at.
    pub next: Option<i64>,
}

/// What the details of a record must fulfil; what is likely to leave the fewest comes first.
pub(super) fn conditions(query: &RecordQuery) -> Vec<Condition> {
    let RecordQuery {
        from_time,
        until_time,
        caller,
        resource,
        action,
        kind,
        decision,
        digest,
        trace_id,
        from_index: _,
        since_index: _,
        before_index: _,
        order: _,
        limit: _,
    } = query;
    let mut all = Vec::new();
    if let Some(digest) = digest {
        let searched = digest.get(..SEARCHED_BYTES).unwrap_or(digest).to_vec();
        all.push(Condition::in_blocks("details_by_digest", "d.digest = ?", searched));
    }
    if let Some(trace_id) = trace_id {
        all.push(Condition::in_blocks("details_by_trace", "d.trace_id = ?", trace_id.to_vec()));
    }
    if let Some(resource) = resource {
        within(resource, &mut all);
    }
    if let Some(caller) = caller {
        all.push(Condition::indexed("details_by_caller", "d.caller = ?", caller.as_str().to_owned()));
    }
    // Indexed is what is rare; a partial index is used only where its own condition is said, too.
    if let Some(decision) = decision.map(i64::from) {
        all.push(match decision {
            2.. => Condition::indexed("details_by_decision", "d.decision = ? AND d.decision >= 2", decision),
            _ => Condition::plain("d.decision = ?", decision),
        });
    }
    if let Some(kind) = kind.map(i64::from) {
        all.push(match kind {
            3.. => Condition::indexed("details_by_kind", "d.kind = ? AND d.kind >= 3", kind),
            _ => Condition::plain("d.kind = ?", kind),
        });
    }
    if let Some(action) = action {
        all.push(Condition::indexed("details_by_action", "d.action = ?", action.as_str().to_owned()));
    }
    if let Some(time) = from_time {
        all.push(Condition::plain("d.time >= ?", time.unix_micros()));
    }
    if let Some(time) = until_time {
        all.push(Condition::plain("d.time < ?", time.unix_micros()));
    }
    all
}

/// The resource and everything in it.
fn within(resource: &str, all: &mut Vec<Condition>) {
    if let Some(key) = key_of(resource) {
        all.push(Condition::indexed("details_by_key", "d.key = ?", key.to_owned()));
        if key.len() < resource.len() {
            all.push(Condition::plain("d.resource = ?", resource.to_owned()));
        }
        return;
    }
    let root = root_of(resource);
    all.push(Condition::indexed("details_by_root", "d.root = ?", root.to_owned()));
    if root.len() < resource.len() {
        // '0' is the character after '/'.
        let values = vec![format!("{resource}/").into(), format!("{resource}0").into()];
        let sql = "d.resource || '/' >= ? AND d.resource || '/' < ?";
        all.push(Condition { sql, values, index: None });
    }
}

/// The indexes that a query asks for, as far as its bounds and times say.
pub(super) fn range(connection: &Connection, query: &RecordQuery) -> Result<Range, StoreError> {
    let bound = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
    let last = connection
        .prepare_cached("SELECT max(idx) FROM leaves")
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, Option<i64>>(0)))
        .map_err(failed(DOING))?;
    let mut range = Range { low: query.since_index.map_or(0, bound), high: last.unwrap_or(-1) };
    if let Some(before) = query.before_index {
        range.high = range.high.min(bound(before).saturating_sub(1));
    }
    match (query.order, query.from_index.map(bound)) {
        (Order::NewestFirst, Some(from)) => range.high = range.high.min(from),
        (Order::OldestFirst, Some(from)) => range.low = range.low.max(from),
        (_, None) => {}
    }
    if range.is_empty() || (query.from_time.is_none() && query.until_time.is_none()) {
        return Ok(range);
    }
    let from = query.from_time.map_or(i64::MIN, |time| time.unix_micros());
    let until = query.until_time.map_or(i64::MAX, |time| time.unix_micros());
    let block = |sql: &str| {
        let blocks = (range.low >> BLOCK_BITS, range.high >> BLOCK_BITS, from, until);
        let mut statement = connection.prepare_cached(sql)?;
        statement.query_row(blocks, |row| row.get::<_, i64>(0)).optional()
    };
    let (first, last) = block(FIRST_BLOCK).and_then(|first| Ok((first, block(LAST_BLOCK)?))).map_err(failed(DOING))?;
    Ok(match first.zip(last) {
        Some((first, last)) => {
            Range { low: range.low.max(first << BLOCK_BITS), high: range.high.min(((last + 1) << BLOCK_BITS) - 1) }
        }
        None => Range { low: 0, high: -1 },
    })
}

// One row for 4,096 records: at ten million records, at worst 2,442 small rows are passed over.
const FIRST_BLOCK: &str = "SELECT block FROM record_times
    WHERE block BETWEEN ?1 AND ?2 AND latest >= ?3 AND earliest < ?4 ORDER BY block LIMIT 1";
const LAST_BLOCK: &str = "SELECT block FROM record_times
    WHERE block BETWEEN ?1 AND ?2 AND latest >= ?3 AND earliest < ?4 ORDER BY block DESC LIMIT 1";

/// The last index of the last block with a record of before a time; the records after it are all of later.
pub(super) const EARLIER_BLOCKS: &str = "SELECT ((max(block) + 1) << 12) - 1 FROM record_times WHERE earliest < ?1";

/// The route that gets furthest.
pub(super) fn route(
    connection: &Connection,
    conditions: &[Condition],
    range: Range,
    order: Order,
    span: i64,
) -> Result<Route, StoreError> {
    let to =
        |index, next: Option<i64>| Route { index, range: next.map_or(range, |next| range.up_to(next, order)), next };
    // Where all that an index finds is wanted, the page's own limit is the bound.
    match conditions {
        [] => return Ok(to(None, None)),
        [Condition { index: Some(index), .. }] => {
            return Ok(to(Some(*index), end_of_blocks(*index, range, order, span)));
        }
        _ => {}
    }
    let mut best = None;
    for condition in conditions {
        let Some(index) = condition.index else { continue };
        let Some(next) = end_of_span(connection, condition, index, range, order, span)? else {
            return Ok(to(Some(index), None));
        };
        let further = |best: i64| if order == Order::NewestFirst { next < best } else { next > best };
        if best.is_none_or(|(_, best)| further(best)) {
            best = Some((index, next));
        }
    }
    Ok(match best {
        Some((index, next)) => to(Some(index), Some(next)),
        None => to(None, range.after(span, order)),
    })
}

/// The first record beyond the next `span` blocks, of an index in blocks.
fn end_of_blocks(index: Index, range: Range, order: Order, span: i64) -> Option<i64> {
    if index.in_blocks { range.after(span << BLOCK_BITS, order) } else { None }
}

/// The first record beyond the next `span` entries of an index; `None` where it has no more.
fn end_of_span(
    connection: &Connection,
    condition: &Condition,
    index: Index,
    range: Range,
    order: Order,
    span: i64,
) -> Result<Option<i64>, StoreError> {
    let end = end_of_blocks(index, range, order, span);
    let range = end.map_or(range, |end| range.up_to(end, order));
    let mut values = condition.values.clone();
    values.extend(range.values(Some(index)));
    values.push(span.into());
    let next = connection
        .prepare_cached(&span_sql(condition.sql, index, order))
        .and_then(|mut statement| statement.query_row(params_from_iter(values), |row| row.get(0)).optional())
        .map_err(failed(DOING))?;
    Ok(next.or(end))
}

/// Conditions, then the range, then how many entries to pass over.
fn span_sql(condition: &str, index: Index, order: Order) -> String {
    let (details, within, by) = by_index(Some(index), order);
    format!("SELECT d.idx FROM {details} WHERE {condition} AND {within} ORDER BY {by} LIMIT 1 OFFSET ?")
}

/// Where details come from, within what, and in which order.
fn by_index(index: Option<Index>, order: Order) -> (String, &'static str, String) {
    let direction = direction(order);
    let plain = ("d.idx >= ? AND d.idx <= ?", format!("d.idx {direction}"));
    let (details, (within, by)) = match index {
        None => ("details d NOT INDEXED".to_owned(), plain),
        Some(Index { name, in_blocks: false }) => (format!("details d INDEXED BY {name}"), plain),
        // `+`: a column's affinity would keep SQLite from an index of something computed, which has none.
        Some(Index { name, in_blocks: true }) => (
            format!("record_times t CROSS JOIN details d INDEXED BY {name} ON d.idx >> {BLOCK_BITS} = +t.block"),
            (
                "t.block >= ? AND t.block <= ? AND d.idx >= ? AND d.idx <= ?",
                format!("t.block {direction}, d.idx {direction}"),
            ),
        ),
    };
    (details, within, by)
}

/// The statement of a page: conditions, then the range, then the limit.
pub(super) fn page_sql(columns: &str, conditions: &[Condition], index: Option<Index>, order: Order) -> String {
    if conditions.is_empty() {
        let direction = direction(order);
        return format!(
            "SELECT {columns} FROM leaves l LEFT JOIN details d ON d.idx = l.idx
             LEFT JOIN open_intents o ON o.idx = l.idx LEFT JOIN outcomes e ON e.intent = l.idx
             LEFT JOIN erased r ON r.idx = l.idx
             WHERE l.idx >= ? AND l.idx <= ? ORDER BY l.idx {direction} LIMIT ?"
        );
    }
    let (details, within, by) = by_index(index, order);
    let wanted: Vec<&str> = conditions.iter().map(|condition| condition.sql).collect();
    // CROSS JOIN: SQLite keeps the order of the tables, and so that of the index.
    format!(
        "SELECT {columns} FROM {details} CROSS JOIN leaves l ON l.idx = d.idx
         LEFT JOIN open_intents o ON o.idx = d.idx LEFT JOIN outcomes e ON e.intent = d.idx
         LEFT JOIN erased r ON r.idx = d.idx
         WHERE {} AND {within} ORDER BY {by} LIMIT ?",
        wanted.join(" AND ")
    )
}

const fn direction(order: Order) -> &'static str {
    match order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    }
}

#[cfg(test)]
mod tests;
