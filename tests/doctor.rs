//! What `chancery token doctor` finds: on a token that is whole, and on tokens that lie, crash and hang.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::process::Command;

use chancery_pkcs11_fault::{AttributeLie, AttributeValue, Crash, FaultRules, Find, Hang, Rule, Then, Verdict};
use chancery_testkit::Chancery;
use chancery_tests::program::{Running, chancery, command, run};
use chancery_tests::softhsm::{LABEL, SoftHsm, USER_PIN};
use serde_json::Value;

/// `chancery token doctor` with a PIN, in JSON, and quick.
fn doctor(hsm: &SoftHsm, only: &[&str]) -> Command {
    let mut doctor = hsm.token("doctor");
    doctor.args(["--output", "json", "--measure", "20", "--sessions", "6", "--pin-file"]).arg(hsm.path("pin"));
    doctor.args(only.iter().flat_map(|check| ["--only", check]));
    doctor
}

fn report(command: &mut Command) -> (Value, Option<i32>) {
    let (said, code) = run(command);
    assert!(!said.contains(USER_PIN), "{said}");
    // SoftHSM and what runs in the worker write to standard error, too.
    let json = said.find('{').map(|start| &said[start..]).unwrap_or_default();
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
    (values.next().unwrap_or_else(|| panic!("{said}")).unwrap_or_else(|error| panic!("{error}: {said}")), code)
}

/// Whether there is a finding of this level and check that says so.
fn found(report: &Value, level: &str, check: &str, word: &str) -> bool {
    report["findings"].as_array().unwrap().iter().any(|finding| {
        finding["level"] == level && finding["check"] == check && finding["found"].as_str().unwrap().contains(word)
    })
}

fn levels(report: &Value, level: &str) -> Vec<Value> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == level).cloned().collect()
}

#[test]
fn a_whole_token_has_nothing_that_stops_it_and_keeps_nothing() {
    let hsm = SoftHsm::with_token();
    let objects = hsm.objects();
    let (report, code) = report(&mut doctor(&hsm, &[]));
    assert_eq!(levels(&report, "stops"), [Value::Null; 0]);
    assert_eq!(code, Some(0));
    assert_eq!(hsm.objects(), objects, "something was left behind");
    assert_eq!(report["token"]["identity"]["label"], LABEL);
    assert_eq!(report["skipped"].as_array().unwrap().len(), 0, "{report}");

    let algorithms = report["algorithms"].as_array().unwrap();
    let missing = |name: &str| algorithms.iter().find(|offer| offer["algorithm"] == name).unwrap()["missing"].clone();
    assert_eq!(missing("ECDSA_P256_SHA256"), Value::Null);
    assert!(missing("ML_DSA_65").as_str().unwrap().contains("CKM_ML_DSA"), "{report}");

    // What SoftHSM 2.6 is known for.
    assert!(found(&report, "warning", "parameters", "Ed25519ph"), "{report}");
    assert!(found(&report, "note", "parameters", "signs the first 32 on P-256"), "{report}");
    assert!(found(&report, "note", "signatures", "high S"), "{report}");
    assert!(found(&report, "note", "token", "no clock"), "{report}");
    // And what every token has to do.
    for (check, word) in [
        ("module", "CKF_OS_LOCKING_OK"),
        ("signatures", "hold when they are checked in software"),
        ("signatures", "MACs for HMAC_SHA256 are right"),
        ("secrecy", "a private key cannot be read, changed, copied or wrapped"),
        ("secrecy", "a secret cannot be read, changed, copied or wrapped"),
        ("objects", "exactly one private and one public key"),
        ("objects", "is gone"),
        ("sessions", "6 sessions"),
        ("threads", "are right"),
        ("absence", "left nothing"),
    ] {
        assert!(found(&report, "ok", check, word), "{check} {word}: {report}");
    }
    let rates = report["rates"].as_array().unwrap();
    assert!(rates.iter().all(|rate| rate["per_second"].as_u64().unwrap() > 0), "{report}");
    let recommended = report["recommended_signing_threads"].as_u64().unwrap();
    assert!(rates.iter().any(|rate| rate["sessions"].as_u64() == Some(recommended)), "{report}");
}

#[test]
fn the_table_says_the_same_and_warnings_can_count() {
    let hsm = SoftHsm::with_token();
    let mut doctor = hsm.token("doctor");
    doctor.args(["--only", "parameters", "--fail-on", "warning", "--pin-file"]).arg(hsm.path("pin"));
    let (said, code) = run(&mut doctor);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("warning  parameters: asked for Ed25519ph") && said.contains("-> Chancery"), "{said}");
    assert!(said.contains("to be looked into before production"), "{said}");
}

#[test]
fn without_a_pin_it_tells_what_needs_no_login() {
    let hsm = SoftHsm::with_token();
    let (whole, code) = report(hsm.token("doctor").args(["-o", "json"]));
    assert_eq!(code, Some(0), "{whole}");
    assert!(found(&whole, "ok", "algorithms", "by what it lists"), "{whole}");
    assert!(whole["skipped"].as_array().unwrap().contains(&"secrecy".into()), "{whole}");
    let (module, code) = report(hsm.bare("doctor").args(["-o", "json"]));
    assert_eq!((code, &module["token"]), (Some(0), &Value::Null));
    assert!(module["module"]["description"].is_string(), "{module}");

    let (nowhere, code) =
        report(hsm.bare("doctor").args(["-o", "json", "--label", "nobody", "--lock-dir"]).arg(hsm.path("locks")));
    assert!(code == Some(1) && found(&nowhere, "stops", "token", "no token \"nobody\""), "{nowhere}");
    let mut none = command(chancery());
    none.args(["token", "doctor", "-o", "json", "--module"]).arg(hsm.path("pin"));
    let (none, code) = report(&mut none);
    assert!(code == Some(1) && found(&none, "stops", "module", "loading the module failed"), "{none}");
}

/// A token that does something wrong, examined in one respect; and the finding that there has to be.
fn finds(only: &str, rule: Rule, check: &str, word: &str) -> (SoftHsm, FaultRules, Value) {
    let (hsm, faults) = SoftHsm::with_token().faulty();
    let id = rule.id.clone();
    faults.set(&[rule]).unwrap();
    let before = hsm.objects();
    let (report, code) = report(&mut doctor(&hsm, &[only]));
    assert!(faults.count(&id).unwrap() > 0, "{id} did not happen: {report}");
    assert!(code == Some(1) && found(&report, "stops", check, word), "{id}: {report}");
    faults.clear().unwrap();
    assert_eq!(hsm.objects(), before, "{id}: something was left behind");
    (hsm, faults, report)
}

#[test]
fn wrong_signatures_are_found() {
    finds("threads", Rule::new("flip", Then::FlipBit(3)), "threads", "are wrong");
    finds("signatures", Rule::new("flip", Then::FlipBit(3)), "signatures", "do not hold");
}

#[test]
fn a_nonce_that_is_used_twice_is_found() {
    finds("signatures", Rule::new("nonce", Then::RepeatNonce), "signatures", "their nonce was used twice");
}

#[test]
fn verdicts_that_mean_nothing_are_found() {
    finds("signatures", Rule::new("yes", Then::Verify(Verdict::Yes)), "signatures", "calls a wrong MAC");
    finds("signatures", Rule::new("no", Then::Verify(Verdict::No)), "signatures", "calls its own MAC");
}

#[test]
fn attributes_that_are_not_as_asked_are_found() {
    for (name, value) in [("CKA_EXTRACTABLE", true), ("CKA_NEVER_EXTRACTABLE", false), ("CKA_SENSITIVE", false)] {
        let lie = AttributeLie { name: name.to_owned(), value: AttributeValue::Boolean(value) };
        finds("secrecy", Rule::new("lie", Then::Attribute(lie)), "secrecy", name);
    }
}

#[test]
fn a_key_that_can_be_found_twice_is_found() {
    let twice = Rule::new("twice", Then::Find(Find::Duplicate));
    let (_, _, report) = finds("objects", twice, "objects", "");
    assert!(
        levels(&report, "stops").iter().any(|finding| finding["found"].as_str().unwrap().contains("2")),
        "{report}"
    );
}

#[test]
fn a_crash_is_found_and_the_rest_is_asked() {
    let crash = Rule::new("crash", Then::Crash(Crash::Segv)).on("C_WrapKey").times(1);
    let (hsm, faults) = SoftHsm::with_token().faulty();
    faults.set(&[crash]).unwrap();
    let before = hsm.objects();
    let (report, code) = report(&mut doctor(&hsm, &["secrecy", "threads"]));
    assert_eq!((code, faults.count("crash").unwrap()), (Some(1), 1));
    assert!(found(&report, "stops", "secrecy", "SIGSEGV"), "{report}");
    assert!(found(&report, "stops", "secrecy", "while wrapping a private key"), "{report}");
    assert!(found(&report, "ok", "threads", "are right"), "{report}");
    // The key that the crash left in the token is gone, and that is said.
    assert!(
        found(&report, "note", "threads", "removed 2 objects") || found(&report, "note", "absence", "removed"),
        "{report}"
    );
    assert_eq!(hsm.objects(), before);
}

#[test]
fn a_hang_is_found_and_the_rest_is_asked() {
    let hang = Rule::new("hang", Then::Hang(Hang::ForEver)).on("C_Sign").times(1);
    let (hsm, faults) = SoftHsm::with_token().faulty();
    faults.set(&[hang]).unwrap();
    let (report, code) = report(doctor(&hsm, &["objects", "threads"]).args(["--patience", "30"]));
    assert_eq!((code, faults.count("hang").unwrap()), (Some(1), 1), "{report}");
    assert!(found(&report, "stops", "objects", "did not come back within 30 s, while signing"), "{report}");
    assert!(found(&report, "ok", "threads", "are right"), "{report}");
    assert!(found(&report, "ok", "absence", "left nothing"), "{report}");
}

#[test]
fn fewer_sessions_than_are_told_are_found() {
    let (hsm, faults) = SoftHsm::with_token().faulty();
    faults.set(&[Rule::new("cap", Then::SessionCap(4))]).unwrap();
    let (report, code) = report(&mut doctor(&hsm, &["sessions", "threads"]));
    assert_eq!((code, report["sessions_found"].as_u64()), (Some(0), Some(4)), "{report}");
    assert!(found(&report, "warning", "sessions", "no more than 4 sessions"), "{report}");
    assert!(found(&report, "ok", "threads", "made by 2 threads"), "{report}");
}

#[test]
fn a_wrong_pin_is_tried_once() {
    let (hsm, faults) = SoftHsm::with_token().faulty();
    faults.set(&[Rule::new("login", Then::DelayMs(0)).on("C_Login")]).unwrap();
    hsm.pin_file("pin", "wrong-canary");
    for (round, word) in ["PIN_INCORRECT", "is not tried again"].into_iter().enumerate() {
        let (report, code) = report(&mut doctor(&hsm, &[]));
        assert_eq!(code, Some(1), "{report}");
        assert!(found(&report, "stops", "token", word), "{round}: {report}");
        assert!(found(&report, "ok", "algorithms", "by what it lists"), "{report}");
        assert_eq!(faults.count("login").unwrap(), 1, "{round}");
    }
}

#[test]
fn who_breaks_it_off_finds_nothing_of_it_in_the_token() {
    let (hsm, faults) = SoftHsm::with_token().faulty();
    faults.set(&[Rule::new("slow", Then::DelayMs(5_000)).on("C_WrapKey")]).unwrap();
    let before = hsm.objects();
    let log = hsm.path("doctor.log");
    let mut running = Running::start(&mut doctor(&hsm, &["secrecy", "rates"]), &log);
    running.until("a key in the token", |_| (faults.count("slow").unwrap_or(0) > 0).then_some(()));
    assert!(hsm.objects() > before, "it is interrupted with a key in the token");
    chancery_testkit::signal(running.pid(), "INT").unwrap();
    let status = running.stop();
    assert_eq!(status.code(), Some(3), "{}", running.log());
    assert!(running.log().contains("broken off"), "{}", running.log());
    assert_eq!(hsm.objects(), before);
}

#[test]
fn what_a_killed_examination_leaves_its_worker_removes() {
    let (hsm, faults) = SoftHsm::with_token().faulty();
    faults.set(&[Rule::new("slow", Then::DelayMs(1_500)).on("C_WrapKey")]).unwrap();
    let before = hsm.objects();
    let mut running = Running::start(&mut doctor(&hsm, &["secrecy", "rates"]), &hsm.path("doctor.log"));
    running.until("a key in the token", |_| (faults.count("slow").unwrap_or(0) > 0).then_some(()));
    chancery_testkit::signal(running.pid(), "KILL").unwrap();
    assert!(!running.stop().success());
    faults.clear().unwrap();
    // The lock waits for the worker, which clears up before it leaves.
    let (report, code) = report(&mut doctor(&hsm, &["absence"]));
    assert!(code == Some(0) && found(&report, "ok", "absence", "left nothing"), "{report}");
    assert_eq!(hsm.objects(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_a_service_holds_is_left_alone() {
    let service = Chancery::start().await.unwrap();
    let doctor = || {
        let mut doctor = command(chancery());
        doctor.args(["token", "doctor", "-o", "json", "--only", "token", "--config"]).arg(service.config());
        doctor
    };
    let (said, code) = run(&mut doctor());
    assert!(code == Some(3) && said.contains("held by") && said.contains("stop the service"), "{code:?} {said}");
}
