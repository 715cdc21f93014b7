//! How long it takes to export the log and to verify it, and how much memory that needs.

use crate::{Measured, memory};
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::export::{ExportedLog, export_database};
use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::verify::{Report, Trusted, verify_database, verify_exported};
use chancery_crypto::PublicKey;
use chancery_model::Algorithm;
use std::path::Path;
use std::time::Instant;

/// With the details, and held to the checkpoints that the service has signed.
pub fn measure(path: &Path) -> Vec<Measured> {
    let reader = chancery_store::look_into(path).unwrap();
    let key = log_key(path);
    let trusted = || Trusted { log_keys: vec![key.clone()], ..Trusted::default() };
    let folder = path.with_extension("export");
    let keys = std::slice::from_ref(&key);
    let database = || verify_database(&reader, None, trusted(), |_, _| ()).unwrap();
    let export = || export_database(&reader, keys, &folder, true, |_, _| ()).unwrap().added;
    let exported = || verify_exported(&ExportedLog::open(&folder).unwrap(), trusted(), |_, _| ()).unwrap();
    let whole = |report: &Report| assert!(report.open.is_empty() && report.attested == report.size);
    let rows = vec![
        timed("verifying the database", || whole(&database())),
        timed("exporting, with details", || assert!(export() > 0)),
        timed("exporting again, with nothing new", || assert_eq!(export(), 0)),
        timed("verifying the export", || whole(&exported())),
    ];
    std::fs::remove_dir_all(folder).unwrap();
    rows
}

/// The key by which the service has signed.
pub fn log_key(path: &Path) -> VerifierKey {
    let reader = chancery_store::look_into(path).unwrap();
    let state = reader.load_state().unwrap();
    let named = state.keys.iter().find(|key| key.name.to_string() == "keyRings/system/keys/log").unwrap();
    let version = state.key_versions.iter().find(|version| version.key_uid == named.uid).unwrap();
    let public = PublicKey::from_spki_der(Algorithm::Ed25519, version.spki_der.as_deref().unwrap()).unwrap();
    let newest = SignedCheckpoint::parse(reader.newest_checkpoint().unwrap().unwrap().note.as_bytes()).unwrap();
    let origin = KeyName::parse(newest.unverified().origin()).unwrap();
    VerifierKey::from_public_key(origin, SignatureKind::Ed25519, &public).unwrap()
}

fn timed(what: &str, work: impl FnOnce()) -> Measured {
    let _before = memory::forget_peak();
    let begun = Instant::now();
    work();
    let took = begun.elapsed().as_secs_f64();
    let mib = memory::peak_of(std::process::id()) as f64 / 1_048_576.0;
    Measured::new(what, format!("{took:.1} s, the process at most {mib:.0} MiB"))
}
