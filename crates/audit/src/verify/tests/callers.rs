//! Callers' own signatures in the details of a log.

use super::*;
use crate::caller_evidence::CallerEvidenceError;
use serde_json::{Value, json};

/// Details as a service records them beside a caller's signature, and when that was made: the first vector of
/// docs/caller-evidence.md.
fn vouched() -> (Value, i64) {
    let page = include_str!("../../../../../docs/caller-evidence.md");
    let (_, block) = page.split_once("<!-- vectors -->\n```json\n").unwrap();
    let vectors: Value = serde_json::from_str(block.split_once("\n```").unwrap().0).unwrap();
    let signed = &vectors["vectors"][0]["caller_signature"];
    let details = json!({
        "authentication": {
            "method": "certificate",
            "identity": "spiffe://example.org/checkout",
            "certificate_sha256": vectors["certificate_sha256"]["ed25519"],
            "certificate_serial": "2a",
        },
        "action": "Sign",
        "resource": format!("{}/versions/1", signed["name"].as_str().unwrap()),
        "signed": {"hash": "SHA-256", "digest": signed["request"]["digest"]},
        "caller_signature": signed,
    });
    (details, signed["created"].as_i64().unwrap())
}

/// Has a record say this, at this time, and commit to it.
fn say(record: &mut LogRecord, details: &str, micros: i64) {
    let (salt, details) = ([7; 32], details.as_bytes().to_vec());
    let leaf = Leaf::decode(&record.leaf).unwrap();
    let commitment = commitment_to_details(&salt, &details);
    record.leaf.clear();
    Leaf { time: Timestamp::from_unix_micros(micros), commitment, ..leaf }.encode(&mut record.leaf);
    record.details = Some((salt, details));
}

/// What comes of a log of which record 1 has a good signature, and record 2 says this.
fn with(details: &str, micros: i64) -> Result<u64, Fault> {
    let (good, made) = vouched();
    let mut records = sound();
    say(&mut records[1], &good.to_string(), made);
    say(&mut records[2], details, micros);
    verified(&records, &[checkpoint_of(&records)]).map(|report| report.caller_signatures)
}

/// What is wrong with the signature in record 2.
fn wrong(details: &str, micros: i64) -> CallerEvidenceError {
    match with(details, micros) {
        Err(Fault { at: Place::Record(2), check: Check::CallerSignature(error) }) => error,
        other => panic!("{details}: {other:?}"),
    }
}

/// The member's name, its underscore written by its number.
fn by_number(details: &str) -> String {
    let text = details.replacen("\"caller_signature\"", "\"caller\\u005Fsignature\"", 1);
    assert_ne!(text, details);
    text
}

#[test]
fn each_signature_that_is_there_is_checked_and_counted() {
    let (good, made) = vouched();
    assert_eq!(verified(&sound(), &[]).unwrap().caller_signatures, 0);
    assert_eq!(with(&good.to_string(), made + 1_000_000), Ok(2));
    assert_eq!(with(&by_number(&good.to_string()), made), Ok(2));
    // Erased with the details.
    let mut erased = sound();
    say(&mut erased[1], &good.to_string(), made);
    erased[1].details = None;
    assert_eq!(verified(&erased, &[]).unwrap().caller_signatures, 0);
    // Words are no signature, nor is it a wrong one that a later version says more.
    for other in [
        r#"{"message":"no caller_signature\u0021"}"#,
        r#"{"later":"caller_signature"}"#,
        r#"{"caller_signature":null}"#,
        "caller",
    ] {
        assert_eq!(with(other, made), Ok(1), "{other}");
    }
}

#[test]
fn one_that_proves_nothing_of_its_record_is_a_fault_there() {
    let (good, made) = vouched();
    let altered = |pointer: &str, value: Value| {
        let mut details = good.clone();
        *details.pointer_mut(pointer).unwrap() = value;
        details.to_string()
    };
    let mut signature = good["caller_signature"]["signature"].as_str().unwrap().to_owned();
    signature.replace_range(..1, if signature.starts_with('0') { "1" } else { "0" });
    let forged = altered("/caller_signature/signature", json!(signature));
    assert_eq!(wrong(&forged, made), CallerEvidenceError::Invalid);
    assert_eq!(wrong(&by_number(&forged), made), CallerEvidenceError::Invalid);
    let digest = altered("/signed/digest", json!("00".repeat(32)));
    assert_eq!(wrong(&digest, made), CallerEvidenceError::OtherRequest("digest"));
    let somebody = altered("/authentication/identity", json!("spiffe://example.org/billing"));
    assert_eq!(wrong(&somebody, made), CallerEvidenceError::OtherIdentity);
    let attached = CallerEvidenceError::OtherTime { seconds: 3600 };
    assert_eq!(wrong(&good.to_string(), made + 3_600_000_000), attached, "to a later record");
    let unread = CallerEvidenceError::Malformed("the details cannot be read");
    for (pointer, value) in [
        ("/caller_signature/signature", json!("no hexadecimal")),
        ("/caller_signature", json!({})),
        ("/caller_signature", json!("signed")),
    ] {
        assert_eq!(wrong(&altered(pointer, value.clone()), made), unread, "{value}");
    }
    let fault = with(&forged, made).unwrap_err().to_string();
    assert!(fault.starts_with("record 2: its details have a signature of its caller that proves nothing"), "{fault}");
}
