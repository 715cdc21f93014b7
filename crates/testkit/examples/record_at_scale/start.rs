//! How long the store takes to open: what a start of the service waits for because of its record.

use crate::Measured;
use chancery_audit::{Log, LogSettings};
use chancery_model::Id;
use std::path::Path;
use std::time::Instant;

pub fn measure(path: &Path) -> Vec<Measured> {
    let instance = Id::parse("the instance", "bench").unwrap();
    let begun = Instant::now();
    let (writer, reader) = chancery_store::open(path).unwrap();
    reader.load_state().unwrap();
    assert_eq!(reader.open_intents(&instance).unwrap(), [], "everything has ended");
    let log = Log::start(writer, LogSettings::new(instance)).unwrap();
    let took = begun.elapsed();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.shutdown());
    vec![Measured::new("start: opening, state, open intents, the log", format!("{:.1} ms", took.as_secs_f64() * 1e3))]
}
