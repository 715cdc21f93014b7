//! That no search reads more than it may, and that bounded pages together find everything once.

use super::super::log::{self, BlockTimes};
use super::super::query::{COLUMNS, records_within};
use super::*;
use crate::{NewRecord, SearchColumns};
use chancery_model::{Action, Id, Timestamp};
use rusqlite::params;
use std::collections::BTreeSet;
use std::path::Path;

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    super::super::migrate::run(&mut connection, Path::new("test.db")).unwrap();
    connection
}

const KEYS: [&str; 3] = ["keyRings/a/keys/k", "keyRings/a/keys/kk", "keyRings/ab/keys/k"];
const DIGEST: [u8; 32] = [7; 32];
const TRACE: [u8; 16] = [9; 16];

/// Record `n`: every seventh a denial, every fiftieth an act; times that go back now and then, as clocks do.
fn append(connection: &Connection, n: u64) {
    let number = i64::try_from(n).unwrap();
    let (kind, decision, action) = match n {
        _ if n.is_multiple_of(50) => (3, 1, Action::RotateKey),
        _ if n.is_multiple_of(7) => (4, 2, Action::Sign),
        _ => (1, 1, Action::Sign),
    };
    let resource = format!("{}/versions/{}", KEYS[usize::try_from(n % 3).unwrap()], 1 + n % 2);
    let search = SearchColumns {
        time: time(if n.is_multiple_of(11) { number - 300 } else { number }),
        kind,
        caller: Some(if n % 5 < 4 { "alice" } else { "bob" }),
        resource: Some(&resource),
        action: Some(action),
        decision: Some(decision),
        digest: n.is_multiple_of(13).then_some([7; 16]),
        trace_id: n.is_multiple_of(17).then_some(TRACE),
    };
    let record = NewRecord { index: n, leaf: &n.to_be_bytes(), salt: &[0; 32], details: b"{}", search };
    log::append(connection, &record).unwrap();
    log::note_times(connection, BlockTimes::of(&record).unwrap()).unwrap();
}

fn time(number: i64) -> Timestamp {
    Timestamp::from_unix_micros(number * 10)
}

/// Every filter, alone.
fn filters() -> Vec<(&'static str, RecordQuery)> {
    let all = RecordQuery::default;
    vec![
        ("from_time", RecordQuery { from_time: Some(time(400)), ..all() }),
        ("until_time", RecordQuery { until_time: Some(time(700)), ..all() }),
        ("caller", RecordQuery { caller: Some(Id::parse("the caller id", "bob").unwrap()), ..all() }),
        ("ring", RecordQuery { resource: Some("keyRings/a".into()), ..all() }),
        ("key", RecordQuery { resource: Some("keyRings/a/keys/k".into()), ..all() }),
        ("version", RecordQuery { resource: Some("keyRings/a/keys/k/versions/1".into()), ..all() }),
        ("action", RecordQuery { action: Some(Action::RotateKey), ..all() }),
        ("kind", RecordQuery { kind: Some(1), ..all() }),
        ("rare kind", RecordQuery { kind: Some(3), ..all() }),
        ("allowed", RecordQuery { decision: Some(1), ..all() }),
        ("denied", RecordQuery { decision: Some(2), ..all() }),
        ("digest", RecordQuery { digest: Some(DIGEST.to_vec()), ..all() }),
        ("trace_id", RecordQuery { trace_id: Some(TRACE), ..all() }),
        ("indexes", RecordQuery { since_index: Some(100), before_index: Some(900), ..all() }),
    ]
}

/// Every filter alone, and every pair that can be asked for, in both orders.
fn queries() -> Vec<(String, RecordQuery)> {
    let mut all = Vec::new();
    for (one, first) in filters() {
        for (other, second) in filters() {
            let RecordQuery {
                from_time, until_time, caller, resource, action, kind, decision, digest, trace_id, ..
            } = second;
            for order in [Order::NewestFirst, Order::OldestFirst] {
                let query = RecordQuery {
                    from_time: first.from_time.or(from_time),
                    until_time: first.until_time.or(until_time),
                    caller: first.caller.clone().or_else(|| caller.clone()),
                    resource: first.resource.clone().or_else(|| resource.clone()),
                    action: first.action.or(action),
                    kind: first.kind.or(kind),
                    decision: first.decision.or(decision),
                    digest: first.digest.clone().or_else(|| digest.clone()),
                    trace_id: first.trace_id.or(trace_id),
                    order,
                    ..first.clone()
                };
                all.push((format!("{one} and {other}, {order:?}"), query));
            }
        }
    }
    all
}

fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|error| {
        panic!("{error}: {sql}");
    });
    let rows = statement.raw_query().mapped(|row| row.get::<_, String>(3)).collect::<Result<_, _>>();
    rows.unwrap()
}

/// Whether both ends of the range are sought in the index, not passed over; of an index in blocks, in each block.
fn is_sought(plan: &[String], index: Option<Index>) -> bool {
    let steps = if index.is_some_and(|index| index.in_blocks) { 2 } else { 1 };
    let by = index.map_or("PRIMARY KEY", |index| index.name);
    plan[steps - 1].contains(by) && plan[..steps].iter().all(|step| step.contains("rowid>? AND rowid<?"))
}

fn opcodes(connection: &Connection, sql: &str) -> BTreeSet<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
    statement.raw_query().mapped(|row| row.get::<_, String>(1)).collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_search_goes_by_an_index_that_has_the_order_of_the_record() {
    let connection = database();
    let check = |name: &str, sql: &str| {
        let plan = plan(&connection, sql);
        let whole = plan.join("\n");
        assert!(!whole.contains("SCAN") && !whole.contains("TEMP B-TREE"), "{name}:\n{whole}\n{sql}");
        plan
    };
    for (name, query) in queries() {
        let wanted = conditions(&query);
        let mut routes: Vec<Option<Index>> = wanted.iter().filter_map(|condition| condition.index).map(Some).collect();
        routes.push(None);
        for index in routes {
            let sql = page_sql(COLUMNS, &wanted, index, query.order);
            let plan = check(&name, &sql);
            assert!(is_sought(&plan, index), "{name}: {plan:?}");
        }
        for condition in &wanted {
            let Some(index) = condition.index else { continue };
            let sql = span_sql(condition.sql, index, query.order);
            let plan = check(&name, &sql);
            assert!(is_sought(&plan, Some(index)), "{name}: {plan:?}");
            // SQLite calls no index covering that is of something computed; but it reads no row either.
            let alone = plan[0].contains("COVERING INDEX") || !opcodes(&connection, &sql).contains("Column");
            assert!(alone, "{name}: the index alone is read: {plan:?}");
        }
    }
    for sql in [FIRST_BLOCK, LAST_BLOCK] {
        check("blocks", sql);
    }
}

/// What a query must find, found by looking at everything.
fn expected(connection: &Connection, query: &RecordQuery) -> Vec<u64> {
    let wanted = conditions(query);
    let bound = |index: u64| i64::try_from(index).unwrap();
    let mut sql = "SELECT d.idx FROM details d WHERE d.idx >= ? AND d.idx < ?".to_owned();
    let mut values: Vec<Value> =
        vec![query.since_index.map_or(0, bound).into(), query.before_index.map_or(i64::MAX, bound).into()];
    for condition in &wanted {
        sql = format!("{sql} AND {}", condition.sql);
        values.extend(condition.values.clone());
    }
    let mut statement = connection.prepare(&format!("{sql} ORDER BY d.idx {}", direction(query.order))).unwrap();
    let found = statement.query_map(params_from_iter(values), |row| row.get::<_, i64>(0)).unwrap();
    found.map(|index| u64::try_from(index.unwrap()).unwrap()).collect()
}

#[test]
fn pages_of_bounded_work_find_everything_once_while_records_are_added() {
    const FIRST: u64 = 1_500;
    let connection = database();
    for n in 0..FIRST {
        append(&connection, n);
    }
    let mut short = 0;
    for (name, query) in queries() {
        let expected = expected(&connection, &query);
        let mut query = RecordQuery { limit: 40, ..query };
        let (mut found, mut added) = (Vec::new(), FIRST);
        connection.execute_batch("BEGIN").unwrap();
        loop {
            let page = records_within(&connection, &query, 60).unwrap();
            short += usize::from(page.records.len() < 40 && page.next.is_some());
            found.extend(page.records.iter().map(|record| record.index));
            for _ in 0..10 {
                append(&connection, added);
                added += 1;
            }
            match page.next {
                Some(next) => query.from_index = Some(next),
                None => break,
            }
        }
        connection.execute_batch("ROLLBACK").unwrap();
        // Oldest first, what was added comes behind; newest first it is not in the way.
        if query.order == Order::OldestFirst {
            assert!(found.is_sorted());
            found.retain(|index| *index < FIRST);
        }
        assert_eq!(found, expected, "{name}");
    }
    assert!(short > 100, "{short}: pages that look at no more than they may are often short");
}

#[test]
fn an_index_in_blocks_is_looked_into_block_after_block() {
    let connection = database();
    // Digest and trace id come together at every 221st record; here at 80 of them, in five blocks.
    let all: Vec<u64> = (0..80).map(|n| n * 221).collect();
    for index in &all {
        append(&connection, *index);
    }
    for order in [Order::NewestFirst, Order::OldestFirst] {
        for (span, pages) in [(1, 80), (3, 27), (1_000, 1)] {
            let mut query = RecordQuery {
                digest: Some(DIGEST.to_vec()),
                trace_id: Some(TRACE),
                since_index: Some(1),
                order,
                ..RecordQuery::default()
            };
            let (mut found, mut count) = (Vec::new(), 0);
            loop {
                let page = records_within(&connection, &query, span).unwrap();
                found.extend(page.records.iter().map(|record| record.index));
                count += 1;
                match page.next {
                    Some(next) => query.from_index = Some(next),
                    None => break,
                }
            }
            found.sort_unstable();
            assert_eq!(found, all[1..], "{order:?}, {span}");
            assert!(count <= pages, "{count} pages of {span}");
        }
        // A digest alone: its entries are all wanted, but no more blocks are looked into than may be.
        let query = RecordQuery { digest: Some(DIGEST.to_vec()), order, ..RecordQuery::default() };
        let page = records_within(&connection, &query, 2).unwrap();
        let blocks: BTreeSet<u64> = page.records.iter().map(|record| record.index >> BLOCK_BITS).collect();
        assert!(page.next.is_some() && blocks.len() <= 3, "{blocks:?}");
        let rest = RecordQuery { from_index: page.next, ..query };
        let rest = records_within(&connection, &rest, 1_000).unwrap();
        assert_eq!((page.records.len() + rest.records.len(), rest.next), (80, None));
    }
}

#[test]
fn what_was_erased_is_found_by_nothing_but_its_index() {
    let connection = database();
    for n in 0..100 {
        append(&connection, n);
    }
    connection.execute("DELETE FROM details WHERE idx >= 0", []).unwrap();
    for (name, query) in filters().into_iter().filter(|(name, _)| *name != "indexes") {
        let found = records_within(&connection, &query, 60).unwrap().records.len();
        assert_eq!(found, 0, "{name}");
    }
    let all = records_within(&connection, &RecordQuery::default(), 60).unwrap();
    let indexes: BTreeSet<u64> = all.records.iter().map(|record| record.index).collect();
    assert_eq!(indexes.len(), 100);
    assert!(all.records.iter().all(|record| record.details.is_none()) && all.next.is_none());
}

#[test]
fn a_root_is_a_ring_or_a_caller_for_sqlite_as_for_us() {
    let connection = database();
    let names = [
        "keyRings/r/keys/k/versions/1",
        "keyRings/r/keys/k",
        "keyRings/r",
        "callers/c/apiKeys/x",
        "auditLog",
        "",
        "a/",
    ];
    for (n, name) in (0_i64..).zip(names) {
        connection.execute("INSERT INTO leaves (idx, leaf) VALUES (?1, x'00')", [n]).unwrap();
        connection
            .execute(
                "INSERT INTO details (idx, salt, content, time, kind, resource) VALUES (?1, zeroblob(32), x'', 0, 1, ?2)",
                params![n, name],
            )
            .unwrap();
        let root: String =
            connection.query_row("SELECT root FROM details WHERE idx = ?1", [n], |row| row.get(0)).unwrap();
        assert_eq!(root, root_of(name), "{name}");
    }
}

#[test]
fn no_value_is_written_into_the_statement() {
    let query = RecordQuery { resource: Some("x' OR 1=1 --".into()), ..RecordQuery::default() };
    let wanted = conditions(&query);
    let sql = page_sql(COLUMNS, &wanted, None, query.order);
    assert!(!sql.contains("OR 1=1"), "{sql}");
    let values: usize = wanted.iter().map(|condition| condition.values.len()).sum();
    assert_eq!(sql.matches('?').count(), values + 3);
}
