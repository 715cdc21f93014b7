//! How fast old leaves are moved to the archive, without the pauses that a service makes so that signing does not notice, and
//! what room that gives back.

use crate::Measured;
use chancery_audit::archive::Archive;
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::{Log, LogSettings};
use chancery_model::{Id, Timestamp};
use std::path::Path;
use std::time::Instant;

/// Of how many tiles: 256,000 records, or as many as there are.
const TILES: u64 = 1_000;

pub fn measure(path: &Path) -> Vec<Measured> {
    let key = crate::verify::log_key(path);
    let (writer, reader) = chancery_store::open(path).unwrap();
    let newest = SignedCheckpoint::parse(reader.newest_checkpoint().unwrap().unwrap().note.as_bytes()).unwrap();
    let archive = Archive::at(&path.with_extension("archive"));
    let free = || {
        let connection = rusqlite::Connection::open(path).unwrap();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        (pragma("page_count") * pragma("page_size"), pragma("freelist_count") * pragma("page_size"))
    };
    let before = free();
    let begun = Instant::now();
    let mut copying = archive.begin(&reader, &newest, vec![key]).unwrap();
    let later = Timestamp::from_unix_micros(i64::MAX);
    while copying.tiles() < TILES && copying.copy_next(later).unwrap() {}
    let copied = copying.finish().unwrap().unwrap();
    let copying = begun.elapsed().as_secs_f64();
    let epoch = writer.head().unwrap().epoch;
    let log = Log::start(writer, LogSettings::new(Id::parse("the instance", "bench").unwrap())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let mut slowest = 0.0_f64;
    runtime.block_on(async {
        let by = log.note(epoch, crate::synthetic::act(0)).await.unwrap().recorded;
        for first in copied.firsts() {
            let begun = Instant::now();
            assert!(log.archive(&by, &copied, first).await.unwrap());
            slowest = slowest.max(begun.elapsed().as_secs_f64());
        }
        assert!(log.empty_wal().await.unwrap(), "nobody reads");
        log.shutdown().await;
    });
    let emptying = begun.elapsed().as_secs_f64();
    let (after, count) = (free(), copied.end() as f64);
    std::fs::remove_dir_all(archive.folder()).unwrap();
    let mib = |bytes: i64| bytes as f64 / 1_048_576.0;
    vec![
        Measured::new(
            format!("archiving the leaves of {} old records", copied.end()),
            format!(
                "copied {:.0} records/s, each tile synced; emptied {:.0} records/s, the slowest tile in {:.1} ms",
                count / copying,
                count / emptying,
                slowest * 1e3
            ),
        ),
        Measured::new(
            "what the archive gives back",
            format!(
                "{:.0} bytes/record free for others; the file of {:.0} MiB stays as it is (before: {:.0} MiB)",
                (after.1 - before.1) as f64 / count,
                mib(after.0),
                mib(before.0)
            ),
        ),
    ]
}
