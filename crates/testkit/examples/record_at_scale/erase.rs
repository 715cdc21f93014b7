//! How fast details are erased, without the pauses that a service makes so that signing does not notice.

use crate::Measured;
use chancery_audit::{EraseStep, Erased, Log, LogSettings, erasable};
use chancery_model::Id;
use std::path::Path;
use std::time::Instant;

const RECORDS: usize = 20_000;
/// As many as the service erases in a transaction.
const STEP: usize = 64;

pub fn measure(path: &Path) -> Vec<Measured> {
    let (writer, reader) = chancery_store::open(path).unwrap();
    let begun = Instant::now();
    let due = erasable(&reader, Erased::Signatures, None, None, RECORDS).unwrap().unwrap();
    let found = begun.elapsed().as_secs_f64();
    let epoch = writer.head().unwrap().epoch;
    let log = Log::start(writer, LogSettings::new(Id::parse("the instance", "bench").unwrap())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    runtime.block_on(async {
        let by = log.note(epoch, crate::synthetic::act(0)).await.unwrap().recorded;
        for step in [EraseStep::Empty, EraseStep::Remove] {
            for part in due.parts(STEP) {
                log.erase(&by, step, part).await.unwrap();
            }
        }
        assert!(log.empty_wal().await.unwrap(), "nobody reads");
        log.shutdown().await;
    });
    let took = begun.elapsed().as_secs_f64();
    let count = due.count() as f64;
    vec![Measured::new(
        format!("erasing the details of {} old records", due.count()),
        format!("{:.0} records/s; finding them took {found:.2} s", count / took),
    )]
}
