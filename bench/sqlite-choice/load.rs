//! The load, the same for each library: so many callers, each of whom waits until his record is durable and comes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A record: 300 bytes of leaf, 600 bytes of details.
pub struct Record {
    pub leaf: Vec<u8>,
    pub details: Vec<u8>,
    pub durable: oneshot::Sender<u64>,
}

pub const SCHEMA: &str = include_str!("schema.sql");
pub const SETTINGS: &str = "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;";
pub const GUARD: &str =
    "UPDATE head SET next_index = next_index + ?1 WHERE id = 1 AND epoch = ?2 RETURNING next_index";
pub const LEAF: &str = "INSERT INTO leaves (idx, leaf) VALUES (?1, ?2)";
pub const DETAILS: &str = "INSERT INTO details (idx, content) VALUES (?1, ?2)";

const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
const IN_FLIGHT: [usize; 3] = [1, 16, 64];
const MAX_GROUP: usize = 256;

/// Measures one way of writing: `start` is given the other end of the queue and a fresh file, for each load.
pub async fn measure<W, F>(name: &str, start: W)
where
    W: Fn(mpsc::Receiver<Record>, std::path::PathBuf) -> F,
    F: Future<Output = ()>,
{
    for in_flight in IN_FLIGHT {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let (queue, records) = mpsc::channel(1_024);
        start(records, folder.path().join("log.db")).await;
        let (measuring, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let last = Arc::new(AtomicU64::new(0));
        let callers: Vec<_> = (0..in_flight)
            .map(|_| {
                let (queue, measuring, stop, last) = (queue.clone(), measuring.clone(), stop.clone(), last.clone());
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let (durable, answer) = oneshot::channel();
                        let begun = Instant::now();
                        let record = Record { leaf: vec![0xa5; 300], details: vec![b'x'; 600], durable };
                        assert!(queue.send(record).await.is_ok(), "the writer has gone");
                        last.fetch_max(answer.await.expect("an answer"), Ordering::Relaxed);
                        if measuring.load(Ordering::Relaxed) {
                            times.push(begun.elapsed());
                        }
                    }
                    times
                })
            })
            .collect();
        tokio::time::sleep(WARM_UP).await;
        measuring.store(true, Ordering::Relaxed);
        let (begun, cpu) = (Instant::now(), cpu());
        tokio::time::sleep(MEASURED).await;
        stop.store(true, Ordering::Relaxed);
        let (elapsed, cpu) = (begun.elapsed(), self::cpu() - cpu);
        let mut times = Vec::new();
        for caller in callers {
            times.extend(caller.await.expect("a caller"));
        }
        times.sort_unstable();
        let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e3;
        let count = times.len() as f64;
        println!(
            "| {name} | {in_flight} | {:.0} | {:.2} | {:.2} | {:.0} |",
            count / elapsed.as_secs_f64(),
            at(0.5),
            at(0.99),
            cpu.as_secs_f64() * 1e6 / count,
        );
        assert!(last.load(Ordering::Relaxed) + 1 >= times.len() as u64, "indexes are dense");
    }
}

/// The first, and all that waits behind it.
pub fn gather(first: Record, records: &mut mpsc::Receiver<Record>) -> Vec<Record> {
    let mut group = vec![first];
    while group.len() < MAX_GROUP
        && let Ok(record) = records.try_recv()
    {
        group.push(record);
    }
    group
}

/// Processor time of this process, user and system.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}
