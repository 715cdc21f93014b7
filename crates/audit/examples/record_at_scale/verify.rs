//! How long it takes to sign the tree, to export the log, and to verify both, and how much memory that needs.

use crate::Measured;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_audit::export::{ExportedLog, export_database};
use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::verify::{Report, Trusted, verify_database, verify_exported};
use chancery_audit::{Log, LogSettings};
use chancery_model::{Id, Timestamp};
use std::convert::Infallible;
use std::future::ready;
use std::path::Path;
use std::time::Instant;

pub fn measure(path: &Path) -> Vec<Measured> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let point = pair.public_key().as_ref().try_into().unwrap();
    let name = KeyName::parse("log.example/bench").unwrap();
    let key = VerifierKey::new(name, SignatureKind::Ed25519, point).unwrap();
    let begun = Instant::now();
    sign(path, &pair, &key);
    let signed = begun.elapsed();
    let reader = chancery_store::look_into(path).unwrap();
    let trusted = || Trusted { log_keys: vec![key.clone()], checkpoints: Vec::new() };
    let folder = path.with_extension("export");
    let keys = std::slice::from_ref(&key);
    let database = || verify_database(&reader, trusted(), |_, _| ()).unwrap();
    let export = || export_database(&reader, keys, &folder, true, |_, _| ()).unwrap().added;
    let exported = || verify_exported(&ExportedLog::open(&folder).unwrap(), trusted(), |_, _| ()).unwrap();
    let whole = |report: &Report| assert!(report.open.is_empty() && report.attested == report.size);
    vec![
        Measured::new("a checkpoint, from opening the database on", format!("{:.1} ms", signed.as_secs_f64() * 1e3)),
        timed("verifying the database", || whole(&database())),
        timed("exporting, with details", || assert!(export() > 0)),
        timed("exporting again, with nothing new", || assert_eq!(export(), 0)),
        timed("verifying the export", || whole(&exported())),
    ]
}

/// Keeps a checkpoint of all that there is, by a key that is in no token.
fn sign(path: &Path, pair: &Ed25519KeyPair, key: &VerifierKey) {
    let (writer, _reader) = chancery_store::open(path).unwrap();
    let log = Log::start(writer, LogSettings::new(Id::parse("the instance", "bench").unwrap())).unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let head = log.tree_head().await.unwrap().unwrap();
        let mut checkpoint = SignedCheckpoint::unsigned(Checkpoint::new(key.name(), head.size, head.root)).unwrap();
        let signer = |text: Vec<u8>| ready(Ok::<_, Infallible>(pair.sign(&text).as_ref().try_into().unwrap()));
        checkpoint.note_mut().sign(key, signer).await.unwrap();
        log.keep_checkpoint(&checkpoint, Timestamp::now()).await.unwrap();
        log.shutdown().await;
    });
}

fn timed(what: &str, work: impl FnOnce()) -> Measured {
    // Linux forgets the highest so far.
    let _other_systems = std::fs::write("/proc/self/clear_refs", "5");
    let begun = Instant::now();
    work();
    let took = begun.elapsed().as_secs_f64();
    let peak = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
    });
    let memory = peak.map_or_else(String::new, |kib| format!(", the process at most {:.0} MiB", kib / 1024.0));
    Measured::new(what, format!("{took:.1} s{memory}"))
}
