//! docs/operations.md, step by step: a backup is taken, everything is lost, and the same keys sign again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use chancery_testkit::client::{EcdsaEncoding, Signed};
use chancery_testkit::{CallerSetup, Chancery};
use chancery_tests::hand;
use chancery_tests::program::{chancery, command, run, succeed};
use serde_json::Value as Json;

/// As an operator copies the folder of a software token.
fn copy_folder(from: &Path, to: &Path) {
    let _said = succeed(Command::new("cp").args(["-a", "--"]).arg(from).arg(to));
}

fn backup(arguments: &[&str], last: &Path) -> Command {
    let mut backup = command(chancery());
    backup.arg("backup").args(arguments).arg(last);
    backup
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_restored_from_database_and_token_and_signs_with_its_old_keys() {
    let mut service =
        Chancery::setup().with(CallerSetup::new("other").role("signer").ring("dev")).start().await.unwrap();
    let key = service.key().await.unwrap().clone();
    let before = service.caller().await.unwrap().sign(&key, "before", EcdsaEncoding::Der).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let (kept, tokens) = (place.path().join("backup"), place.path().join("tokens"));
    let config = service.config().to_owned();

    // The database first, while the service runs; then the token, whose files are copied while nobody writes to them.
    let create = |to: &Path| run(backup(&["create", "-o", "json", "--config"], &config).arg("--to").arg(to));
    let (said, code) = create(&kept);
    assert_eq!(code, Some(0), "{said}");
    let manifest: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (manifest["tokens"][0]["id"].as_str(), manifest["tokens"][0]["system_ring"].as_bool()),
        (Some("main"), Some(true))
    );
    let (said, code) = create(&kept);
    assert!(said.contains("exists already") && code == Some(3), "{said}");
    // What is done afterwards is not in it: a signature, and a suspension, which a restore takes back.
    service.caller().await.unwrap().sign(&key, "after", EcdsaEncoding::Der).await.unwrap();
    let _said = succeed(service.cli().args(["callers", "suspend", "other", "--reason", "gone"]));
    for _ in 0..4 {
        let _said = succeed(service.cli().args(["rings", "freeze", "dev", "--reason", "drill"]));
        let _said = succeed(service.cli().args(["rings", "unfreeze", "dev", "--reason", "over"]));
    }
    service.terminate().await.unwrap();
    let lost = hand::Saved::of(&service.dir());
    copy_folder(&service.token_dir(), &tokens);
    let _said = succeed(&mut backup(&["verify"], &kept));

    // Everything is lost.
    for file in ["chancery.db", "chancery.db-wal", "chancery.db-shm", "chancery.db.anchor"] {
        let _absent = std::fs::remove_file(service.dir().join(file));
    }
    std::fs::remove_dir_all(service.token_dir()).unwrap();

    copy_folder(&tokens, &service.token_dir());
    let _said = succeed(backup(&["restore"], &kept).arg("--config").arg(&config));
    let (said, code) = run(backup(&["restore"], &kept).arg("--config").arg(&config));
    assert!(said.contains("is there already") && code == Some(3), "{said}");

    // It is not taken for the newest state by itself.
    let (said, code) = run(command(chancery()).args(["serve", "--config"]).arg(&config));
    assert!(said.contains("anchor") && said.contains("chancery state accept") && code == Some(3), "{said}");
    let (said, _) = run(command(chancery()).args(["state", "check", "-o", "json", "--config"]).arg(&config));
    let report: Json = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&report["epoch"], &report["root"]),
        (&manifest["epoch"], &manifest["state_root"]),
        "as the manifest says"
    );
    let expected = format!("{}/{}", manifest["epoch"], manifest["state_root"].as_str().unwrap());
    let mut accept = command(chancery());
    accept.args(["state", "accept", "--expect", &expected, "--reason", "restored", "--config"]).arg(&config);
    let _said = succeed(&mut accept);

    service.launch().unwrap();
    service.wait_until_serving().await.unwrap();
    let caller = service.caller().await.unwrap();
    let after = caller.sign(&key, "restored", EcdsaEncoding::Der).await.unwrap();
    assert_eq!(after.version, before.version);
    verify(&service, &before, "before");
    verify(&service, &after, "restored");
    let records = succeed(service.cli().args(["audit", "list", "--kind", "act", "-o", "json"]));
    assert!(records.contains("an operator accepts the state of epoch") && records.contains("restored"), "{records}");

    // What was lost turns up again. It had come further than what was accepted, and is another database all the same.
    service.terminate().await.unwrap();
    lost.put_database(&service.dir());
    let (said, code) = run(command(chancery()).args(["serve", "--config"]).arg(&config));
    assert!(said.contains("that of another database") && code == Some(3), "{said}");
}

fn verify(service: &Chancery, signed: &Signed, message: &str) {
    let place = tempfile::tempdir().unwrap();
    let (file, signature) = (place.path().join("m"), place.path().join("m.sig"));
    std::fs::write(&file, message).unwrap();
    std::fs::write(&signature, &signed.signature).unwrap();
    let version = signed.version.to_string();
    let _said = succeed(service.cli().args(["verify", &version, "--in"]).arg(&file).arg("--signature").arg(&signature));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_damaged_is_not_restored() {
    let mut service = Chancery::start().await.unwrap();
    service.key().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let (kept, config) = (place.path().join("backup"), service.config().to_owned());
    let _said = succeed(backup(&["create", "--config"], &config).arg("--to").arg(&kept));
    service.terminate().await.unwrap();
    let (database, manifest) = (kept.join("chancery.db"), kept.join("manifest.json"));
    let whole = (std::fs::read(&database).unwrap(), std::fs::read_to_string(&manifest).unwrap());
    let mut flipped = whole.0.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let (short, other) = (whole.0[..whole.0.len() - 1].to_vec(), whole.1.replace("\"epoch\": ", "\"epoch\": 9"));
    for (bytes, text) in [(&flipped, &whole.1), (&short, &whole.1), (&whole.0, &other), (&whole.0, &"{}".to_owned())] {
        std::fs::write(&database, bytes).unwrap();
        std::fs::write(&manifest, text).unwrap();
        for command in [&mut backup(&["verify"], &kept), backup(&["restore"], &kept).arg("--config").arg(&config)] {
            let (said, code) = run(command);
            assert_eq!(code, Some(3), "{said}");
        }
    }
    assert!(hand::database(&service.dir()).is_file(), "what was there is there");
}
