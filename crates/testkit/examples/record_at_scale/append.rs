//! How fast records are made, and what they take on the disk.

use crate::{Measured, synthetic};
use chancery_audit::{Log, LogSettings};
use chancery_model::Id;
use chancery_store::Epoch;
use std::path::Path;
use std::time::{Duration, Instant};

/// Calls under way at once.
const CALLS: u64 = 64;
/// Signatures of a call: a small batch.
const BATCH: u64 = 16;
/// Signatures between two rounds, in which a refusal is recorded, and every few rounds an act.
const ROUND: u64 = CALLS * BATCH;
const ROUNDS_TO_AN_ACT: u64 = 50;

pub fn measure(path: &Path, records: u64) -> Vec<Measured> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (writer, _reader) = chancery_store::open(path).unwrap();
    let epoch = writer.head().unwrap().epoch;
    let log = Log::start(writer, LogSettings::new(Id::parse("the instance", "bench").unwrap())).unwrap();
    let begun = Instant::now();
    let slowest = runtime.block_on(fill(&log, epoch, records));
    let took = begun.elapsed();
    drop((log, runtime));
    let bytes = std::fs::metadata(path).unwrap().len();
    let (count, took) = (records as f64, took.as_secs_f64());
    vec![
        Measured::new(
            "appending, salted, committed to, in the tree and synced",
            format!("{:.0} records/s", count / took),
        ),
        Measured::new("the slowest of the calls, 16 intents each", format!("{:.0} ms", slowest.as_secs_f64() * 1e3)),
        Measured::new("disk", format!("{:.0} bytes/record, {:.2} GiB", bytes as f64 / count, bytes as f64 / GIB)),
    ]
}

const GIB: f64 = 1_073_741_824.0;

/// Records in rounds: every signature an intent and an outcome. The longest that a call waited for its intents.
async fn fill(log: &Log, epoch: Epoch, records: u64) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut n = 0;
    let mut progress = Progress::new(records);
    for round in 0.. {
        let next = *log.next_index().borrow();
        progress.show(next);
        if next >= records {
            break;
        }
        let calls = (0..CALLS).map(|call| tokio::spawn(batch(log.clone(), epoch, n + call * BATCH)));
        for call in calls.collect::<Vec<_>>() {
            slowest = slowest.max(call.await.unwrap());
        }
        n += ROUND;
        log.record_denials(vec![synthetic::denial(n)]);
        if round % ROUNDS_TO_AN_ACT == 0 {
            // The epoch stays: it is sealed, and only the service that sealed it can raise it.
            log.note(epoch, synthetic::act(n)).await.unwrap();
        }
    }
    log.shutdown().await;
    slowest
}

/// A place for each outcome, the intents together, and then each outcome by itself, as signing does it.
async fn batch(log: Log, epoch: Epoch, first: u64) -> Duration {
    let begun = Instant::now();
    let slots: Vec<_> =
        (first..first + BATCH).map(|n| log.reserve(synthetic::uid(n % synthetic::CALLERS), 1).unwrap()).collect();
    let intents = (first..first + BATCH).map(synthetic::intent).collect();
    let recorded = log.record_intents(epoch, intents).await.unwrap();
    let took = begun.elapsed();
    for ((n, recorded), slot) in (first..).zip(recorded).zip(slots) {
        log.record_outcome(slot, synthetic::outcome(n, recorded.index()));
    }
    took
}

/// How far it is, on standard error, every ten seconds.
struct Progress {
    records: u64,
    begun: Instant,
    shown: Instant,
}

impl Progress {
    fn new(records: u64) -> Self {
        Self { records, begun: Instant::now(), shown: Instant::now() }
    }

    fn show(&mut self, next: u64) {
        if self.shown.elapsed() < Duration::from_secs(10) {
            return;
        }
        self.shown = Instant::now();
        let rate = next as f64 / self.begun.elapsed().as_secs_f64();
        eprintln!("{next} of {} records, {rate:.0}/s, {:.0} s left", self.records, (self.records - next) as f64 / rate);
    }
}
