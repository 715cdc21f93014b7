//! How long the pages of searches take: the first, and one from the middle of the record.

use crate::{Measured, synthetic};
use chancery_audit::{Decision, Hex, Kind};
use chancery_model::{Action, Id};
use chancery_store::{Reader, RecordQuery};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often each search is made; the median and the worst are shown.
const TIMES: usize = 21;

pub fn measure(path: &Path, records: u64) -> Vec<Measured> {
    let (writer, reader) = chancery_store::open(path).unwrap();
    let table = searches(records).into_iter().map(|(what, query)| searched(&reader, what, &query, records)).collect();
    writer.close().unwrap();
    table
}

fn searches(records: u64) -> Vec<(&'static str, RecordQuery)> {
    let all = RecordQuery::default;
    let caller = |name: &str| Some(Id::parse("the caller id", name).unwrap());
    let trace = |n| Hex::parse(&synthetic::trace_id(n)).unwrap().as_bytes().try_into().ok();
    let on = |resource: &str| RecordQuery { resource: Some(resource.to_owned()), ..all() };
    // Two records for each signature.
    let middle = records / 4;
    let (from, until) = (Some(synthetic::time(middle)), Some(synthetic::time(middle + 1_000)));
    vec![
        ("everything", all()),
        ("a time", RecordQuery { from_time: from, until_time: until, ..all() }),
        (
            "a time and a kind",
            RecordQuery { from_time: from, until_time: until, kind: Some(Kind::Denial.code()), ..all() },
        ),
        ("a caller of half the record", RecordQuery { caller: caller("caller-0"), ..all() }),
        ("a rare caller", RecordQuery { caller: caller("caller-150"), ..all() }),
        ("no such caller", RecordQuery { caller: caller("nobody"), ..all() }),
        ("a key of half the record", on("keyRings/ring-0/keys/key-0")),
        ("a rare key", on("keyRings/ring-3/keys/key-123")),
        ("a key ring", on("keyRings/ring-3")),
        ("no such key ring", on("keyRings/nothing")),
        ("the action Sign", RecordQuery { action: Some(Action::Sign), ..all() }),
        ("a rare action", RecordQuery { action: Some(Action::RotateKey), ..all() }),
        ("an action never made", RecordQuery { action: Some(Action::FreezeKeyRing), ..all() }),
        ("what was refused", RecordQuery { decision: Some(Decision::Deny.code()), ..all() }),
        ("what was allowed", RecordQuery { decision: Some(Decision::Allow.code()), ..all() }),
        ("acts", RecordQuery { kind: Some(Kind::Act.code()), ..all() }),
        ("intents", RecordQuery { kind: Some(Kind::Intent.code()), ..all() }),
        ("a digest", RecordQuery { digest: Some(synthetic::digest(middle).to_vec()), ..all() }),
        ("no such digest", RecordQuery { digest: Some(vec![1; 32]), ..all() }),
        ("a trace id", RecordQuery { trace_id: trace(middle), ..all() }),
        ("no such trace id", RecordQuery { trace_id: Some([1; 16]), ..all() }),
        (
            "a caller of half the record and a rare key",
            RecordQuery { caller: caller("caller-0"), ..on("keyRings/ring-3/keys/key-123") },
        ),
        (
            "a caller and an action of most of the record, and a kind that they never have together",
            RecordQuery {
                caller: caller("caller-0"),
                action: Some(Action::Sign),
                kind: Some(Kind::Outcome.code()),
                decision: Some(Decision::Allow.code()),
                ..all()
            },
        ),
    ]
}

fn searched(reader: &Reader, what: &str, query: &RecordQuery, records: u64) -> Measured {
    let first = times(reader, query, |_| None);
    let deep = times(reader, query, |time| Some(records / 2 + 1_009 * time));
    Measured::new(format!("searching: {what}"), format!("{first}; from the middle {deep}"))
}

/// Median and worst, and how many records a page had at most.
fn times(reader: &Reader, query: &RecordQuery, from: impl Fn(u64) -> Option<u64>) -> String {
    let mut found = 0;
    let mut took: Vec<Duration> = (0..TIMES)
        .map(|time| {
            let query = RecordQuery { from_index: from(u64::try_from(time).unwrap()), ..query.clone() };
            let begun = Instant::now();
            let page = reader.list_records(&query).unwrap();
            found = found.max(page.records.len());
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    let milliseconds = |took: Duration| took.as_secs_f64() * 1e3;
    format!("{:.2} ms, worst {:.2} ms ({found})", milliseconds(took[TIMES / 2]), milliseconds(took[TIMES - 1]))
}
