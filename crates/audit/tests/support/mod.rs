//! A log on a real database in a temporary folder.
#![allow(dead_code, reason = "each test file uses its part")]

use chancery_audit::kept_tree;
use chancery_audit::tree::{Appender, leaf_hash};
use chancery_audit::verify::{LogRecord, LogVerifier};
use chancery_audit::{Act, Details, Intent, Leaf, Log, LogSettings, Outcome, OutcomeItem, OutcomeResult};
use chancery_model::{Action, Id, Timestamp, Uid};
use chancery_store::{Order, Reader, RecordProgress, RecordQuery, StoredRecord};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

pub fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("chancery.db");
    (folder, path)
}

pub fn instance(name: &str) -> Id {
    Id::parse("the instance", name).unwrap()
}

pub fn settings() -> LogSettings {
    LogSettings::new(instance("one"))
}

pub fn start(path: &Path) -> (Log, Reader) {
    start_with(path, settings())
}

pub fn start_with(path: &Path, settings: LogSettings) -> (Log, Reader) {
    let (writer, reader) = chancery_store::open(path).unwrap();
    (Log::start(writer, settings).unwrap(), reader)
}

pub fn uid(byte: u8) -> Uid {
    Uid::from_bytes([byte; 16])
}

pub fn intent() -> Intent {
    let details = Details {
        caller: Some("checkout".into()),
        resource: Some("keyRings/r/keys/k/versions/1".into()),
        message: Some("x".repeat(400)),
        ..Details::default()
    };
    Intent {
        time: Timestamp::now(),
        caller: uid(1),
        resource: uid(2),
        action: Action::Sign,
        policy_set: [3; 32],
        counts: Vec::new(),
        details,
    }
}

pub fn act(opens: bool) -> Act {
    Act {
        time: Timestamp::now(),
        caller: uid(1),
        resource: uid(2),
        action: Some(Action::CreateKey),
        policy_set: [3; 32],
        details: Details::default(),
        opens,
    }
}

pub fn outcome(intents: &[u64], result: OutcomeResult) -> Outcome {
    let item = |intent: &u64| OutcomeItem { intent: *intent, result, signature_sha256: Some([9; 32]) };
    Outcome { time: Timestamp::now(), items: intents.iter().map(item).collect(), details: Details::default() }
}

/// The whole log; its indexes are checked to be dense, its commitments to hold, and its epochs to follow the rule
/// of docs/audit-record.md, here and by the verifier, for whom as much is open as the database says.
pub fn read(reader: &Reader) -> Vec<(StoredRecord, Leaf)> {
    let query = RecordQuery { order: Order::OldestFirst, limit: u32::MAX, ..RecordQuery::default() };
    let mut epoch = None;
    let mut log = Vec::new();
    let mut verifier = LogVerifier::new(Vec::new());
    for (place, record) in reader.list_records(&query).unwrap().records.into_iter().enumerate() {
        assert_eq!(record.index, place as u64, "indexes are dense");
        let leaf = Leaf::decode(&record.leaf).unwrap();
        let details = record.details.as_ref().unwrap();
        assert_eq!(chancery_audit::commitment_to_details(&details.salt, &details.content), leaf.commitment);
        let changes = match &leaf.body {
            chancery_audit::Body::Act { continues, .. } => !continues,
            chancery_audit::Body::Outcome { continues, rows, .. } => !continues && !rows.is_empty(),
            chancery_audit::Body::Intent(_) | chancery_audit::Body::Denial { .. } => false,
        };
        if let Some(before) = epoch {
            assert_eq!(leaf.epoch, before + u64::from(changes), "record {place}");
        }
        epoch = Some(leaf.epoch);
        let bytes = record.leaf.clone();
        let details = Some((details.salt, details.content.clone()));
        verifier.record(&LogRecord { index: record.index, leaf: bytes, details, erased_by: None }).unwrap();
        log.push((record, leaf));
    }
    let size = log.len() as u64;
    let mut tree = Appender::new();
    log.iter().for_each(|(record, _)| tree.append(leaf_hash(&record.leaf), |_, _| ()));
    assert_eq!(kept_tree(reader, size).root().unwrap(), tree.root(), "the tree that is kept");
    let open = log.iter().filter(|(record, _)| record.progress == RecordProgress::Open);
    assert_eq!(verifier.finish().open, open.map(|(record, _)| record.index).collect::<Vec<_>>());
    log
}

/// Asks again and again until it is so, for ten seconds.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within ten seconds: {what}");
}
