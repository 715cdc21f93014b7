//! What people read of a record, and when it does not pass for what was recorded.

use super::*;
use chancery_audit::{Decision, Hex, Kind};
use chancery_model::{Action, Id, Timestamp};

fn record(index: u64, body: Body, details: &[u8]) -> v1::AuditRecord {
    let commitment = commitment_to_details(&[5; 32], details);
    let instance = Id::parse("the instance", "one").unwrap();
    let leaf = Leaf { epoch: 7, time: Timestamp::from_unix_micros(1_000_000), instance, body, commitment };
    let mut bytes = Vec::new();
    leaf.encode(&mut bytes);
    v1::AuditRecord { index, leaf: bytes, details_json: details.to_vec(), salt: vec![5; 32], ..Default::default() }
}

fn intent(details: &[u8]) -> v1::AuditRecord {
    let subject = Subject {
        caller: Uid::from_bytes([1; 16]),
        resource: Uid::from_bytes([2; 16]),
        action: Some(Action::Sign),
        decision: Decision::Allow,
        policy_set: [3; 32],
    };
    record(4, Body::Intent(subject), details)
}

const DETAILS: &[u8] = br#"{"caller":"shop","authentication":{"method":"api_key","api_key":"0aZ9bY8cX7dW"},"resource":"keyRings/r/keys/k/versions/1","policies":["signer-signs"]}"#;

fn text(explained: &Explained) -> String {
    let mut out = Vec::new();
    explained.write_table(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_intent_says_who_by_what_and_how_it_ended() {
    let item = OutcomeItem { intent: 4, result: OutcomeResult::Failed, signature_sha256: None };
    let body = Body::Outcome { continues: false, items: vec![item], rows: Vec::new() };
    let said = br#"{"items":[{"intent":4,"result":"FAILED","pkcs11_function":"C_Sign","pkcs11_return_code":"CKR_DEVICE_ERROR","attempts":2}]}"#;
    let explained = Explained::of(intent(DETAILS), Some(record(5, body, said)), None).unwrap();
    let text = text(&explained);
    for part in [
        "The caller shop was allowed Sign on keyRings/r/keys/k/versions/1.",
        "the API key 0aZ9bY8cX7dW",
        "ALLOW, by signer-signs",
        "record 5, 1970-01-01T00:00:01Z: FAILED, it was not done",
        "C_Sign answered CKR_DEVICE_ERROR; the token was asked 2 times",
        "holds: the leaf commits to exactly these details",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(explained.holds());
    assert_eq!(serde_json::to_value(&explained).unwrap()["outcome_names_it"], true);
}

#[test]
fn an_outcome_that_does_not_name_the_record_is_not_its_end() {
    let item = OutcomeItem { intent: 3, result: OutcomeResult::Done, signature_sha256: None };
    let body = Body::Outcome { continues: false, items: vec![item], rows: Vec::new() };
    let denial = Body::Denial {
        caller: Uid::NONE,
        resource: Uid::NONE,
        action: None,
        reason: chancery_audit::DenialReason::Overflow,
        count: 1,
    };
    for body in [body, denial] {
        let explained = Explained::of(intent(DETAILS), Some(record(5, body, b"{}")), None).unwrap();
        let text = text(&explained);
        assert!(!explained.holds(), "{text}");
        assert!(text.contains("NOT by the record that is noted for it, which does not name it: record 5"), "{text}");
        let json = serde_json::to_value(&explained).unwrap();
        assert_eq!((&json["outcome_names_it"], &json["commitment"]), (&false.into(), &"HOLDS".into()));
    }
}

#[test]
fn what_a_record_says_does_not_pass_for_what_was_checked() {
    let details =
        br#"{"caller":"shop\nrecord 9","message":"x\ncommitment  holds: all of it\u001b[2K\u202e","trace_id":"\r"}"#;
    let explained = Explained::of(v1::AuditRecord { salt: vec![6; 32], ..intent(details) }, None, None).unwrap();
    let text = text(&explained);
    assert!(text.starts_with("The caller shop\\nrecord 9 was allowed Sign"), "{text}");
    let verdicts: Vec<&str> = text.lines().filter(|line| line.starts_with("commitment")).collect();
    assert!(matches!(verdicts.as_slice(), [verdict] if verdict.contains("DOES NOT HOLD")), "{text}");
    assert!(text.contains(r"x\ncommitment  holds: all of it\u{1b}[2K\u{202e}"), "{text}");
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["record"]["details"]["trace_id"], "\r", "programs get what there is");
}

#[test]
fn a_caller_s_signature_that_proves_nothing_is_said_to() {
    assert!(
        text(&Explained::of(intent(DETAILS), None, None).unwrap())
            .lines()
            .all(|line| !line.contains("caller's signature"))
    );
    let page = include_str!("../../../../../docs/caller-evidence.md");
    let (_, block) = page.split_once("<!-- vectors -->\n```json\n").unwrap();
    let block: serde_json::Value = serde_json::from_str(block.split_once("\n```").unwrap().0).unwrap();
    let signed = &block["vectors"][0]["caller_signature"];
    let of_key = |resource: &str| {
        serde_json::json!({
            "action": "Sign", "resource": resource, "caller_signature": signed,
            "signed": {"hash": "SHA-256", "digest": signed["request"]["digest"]},
            "authentication": {
                "method": "certificate", "identity": "spiffe://example.org/checkout", "certificate_serial": "2a",
                "certificate_sha256": block["certificate_sha256"]["ed25519"],
            },
        })
    };
    let good = of_key("keyRings/payments/keys/jwt/versions/1").to_string();
    let at = |details: &str, time: i64| {
        let intent = intent(details.as_bytes());
        let leaf = Leaf { time: Timestamp::from_unix_micros(time), ..Leaf::decode(&intent.leaf).unwrap() };
        let mut bytes = Vec::new();
        leaf.encode(&mut bytes);
        Explained::of(v1::AuditRecord { leaf: bytes, ..intent }, None, None).unwrap()
    };
    let signed_at = signed["created"].as_i64().unwrap();
    let explained = at(&good, signed_at);
    assert!(explained.holds() && text(&explained).contains("holds: ED25519 by the key of the certificate"));
    assert_eq!(serde_json::to_value(&explained).unwrap()["caller_signature"]["verdict"], "HOLDS");
    let other = of_key("keyRings/payments/keys/other/versions/1").to_string();
    let explained = at(&other, signed_at);
    assert!(!explained.holds() && text(&explained).contains("DOES NOT HOLD: the caller signed another request"));
    // A year later it is attached to another record of the same digest and key.
    let explained = at(&good, signed_at + 365 * 86_400 * 1_000_000);
    assert!(!explained.holds() && text(&explained).contains("signed 31536000 seconds before the record"));
}

#[test]
fn erased_details_are_said_to_be_and_the_leaf_still_speaks() {
    let erased = v1::AuditRecord { details_json: Vec::new(), salt: Vec::new(), ..intent(DETAILS) };
    let act = |action| Body::Act {
        subject: Subject {
            caller: Uid::NONE,
            resource: Uid::NONE,
            action,
            decision: Decision::Allow,
            policy_set: [0; 32],
        },
        opens: false,
        continues: false,
        rows: Vec::new(),
    };
    let said = |first: u64| {
        let erased = format!("the details of 3 intents and outcomes between the records {first} and 7 are erased");
        format!(r#"{{"message":"by rule, signature_details_days = 2: {erased}, with their salts; and so on"}}"#)
    };
    let by = |index, action, message: &str| {
        Explained::of(erased.clone(), None, Some(record(index, act(action), message.as_bytes()))).unwrap()
    };
    let explained = by(9, None, &said(4));
    let shown = text(&explained);
    assert!(shown.contains("record 9, 1970-01-01T00:00:01Z: by rule, signature_details_days = 2"), "{shown}");
    assert!(shown.contains("the details were erased") && shown.contains("was allowed Sign"), "{shown}");
    assert!(shown.contains("not yet") && explained.holds() && !shown.contains("shop"), "{shown}");
    assert_eq!(serde_json::to_value(&explained).unwrap()["commitment"], "ERASED");

    // Nobody says so; or what is noted is of others, before it, somebody's act, or no erasure.
    let nobody = Explained::of(erased.clone(), None, None).unwrap();
    assert!(text(&nobody).contains("by no record: somebody removed"), "off the record");
    let denial = by(9, None, &said(4).replace("intents and outcomes", "refusals"));
    let other = br#"{"message":"the state is accepted"}"#;
    let forged = v1::AuditRecord { salt: vec![6; 32], ..record(9, act(None), said(4).as_bytes()) };
    let forged = Explained::of(erased.clone(), None, Some(forged)).unwrap();
    let made_up = [
        by(9, None, &said(5)),
        by(3, None, &said(4)),
        by(9, Some(Action::CreateKey), &said(4)),
        by(9, None, std::str::from_utf8(other).unwrap()),
        denial,
        forged,
    ];
    for explained in made_up.iter().chain([&nobody]) {
        let shown = text(explained);
        assert!(!explained.holds() && !shown.contains("the details were erased"), "{shown}");
        assert!(shown.contains("NOT by the record") || shown.contains("by no record"), "{shown}");
        assert_eq!(serde_json::to_value(explained).unwrap()["commitment"], "REMOVED");
    }
}

#[test]
fn what_an_operator_did_at_the_machine_is_not_said_to_be_the_service_s_doing() {
    let of = |caller, action, opens, message: &str| {
        let subject = Subject {
            caller,
            resource: Uid::from_bytes([2; 16]),
            action,
            decision: Decision::Allow,
            policy_set: [0; 32],
        };
        let body = Body::Act { subject, opens, continues: false, rows: Vec::new() };
        let details = serde_json::json!({ "message": message }).to_string();
        text(&Explained::of(record(4, body, details.as_bytes()), None, None).unwrap())
    };
    let accepted = "an operator accepts the state of epoch 7 with root 00: ticket 4711. Found: x";
    for (opens, message, did) in [
        (false, accepted.to_owned(), "accepted the state"),
        (
            true,
            format!("a secret is made, and the state is to be sealed with it: {accepted}"),
            "began to accept the state",
        ),
        (
            false,
            "by an operator at the machine, of the caller with the uid 1: the details".to_owned(),
            "erased details",
        ),
        (false, "registered from bootstrap: callers/admin".to_owned(), "registered the first caller"),
    ] {
        let said = of(Uid::NONE, None, opens, &message);
        assert!(said.starts_with(&format!("An operator {did}, with a command on the service's machine.\n")), "{said}");
    }
    // The service's own doing, and what a caller gave as a reason.
    let own = "by rule, signature_details_days = 2: the details";
    assert!(of(Uid::NONE, None, false, own).starts_with("The service itself did an act of its own"));
    let rule = of(Uid::NONE, Some(Action::CreateKey), false, accepted);
    assert!(rule.starts_with("The service itself did CreateKey"), "{rule}");
    let caller = of(Uid::from_bytes([1; 16]), None, false, accepted);
    assert!(caller.starts_with("The caller with the uid"), "{caller}");
}

#[test]
fn details_that_are_not_the_leaf_s_are_not_believed() {
    let forged = String::from_utf8(DETAILS.to_vec()).unwrap().replace("shop", "till").into_bytes();
    let explained = Explained::of(v1::AuditRecord { details_json: forged, ..intent(DETAILS) }, None, None).unwrap();
    assert!(!explained.holds() && text(&explained).contains("DOES NOT HOLD"));
    let salted = v1::AuditRecord { salt: vec![6; 32], ..intent(DETAILS) };
    assert!(!Explained::of(salted, None, None).unwrap().holds());
    // An outcome's details count, too.
    let item = OutcomeItem { intent: 4, result: OutcomeResult::Done, signature_sha256: Some([9; 32]) };
    let body = Body::Outcome { continues: false, items: vec![item], rows: Vec::new() };
    let end = v1::AuditRecord { salt: vec![6; 32], ..record(5, body, b"{}") };
    let explained = Explained::of(intent(DETAILS), Some(end.clone()), None).unwrap();
    assert!(!explained.holds() && explained.details() == Commitment::Holds, "the record's own are what they were");
    let removed = v1::AuditRecord { details_json: Vec::new(), salt: Vec::new(), ..intent(DETAILS) };
    let explained = Explained::of(removed, Some(end), None).unwrap();
    assert!(text(&explained).contains("DOES NOT HOLD") && explained.details() == Commitment::Removed);
}

#[test]
fn an_outcome_says_what_it_ends() {
    let item = |intent, result| OutcomeItem { intent, result, signature_sha256: None };
    let items = vec![item(7, OutcomeResult::Unknown), item(8, OutcomeResult::Abandoned)];
    let body = Body::Outcome { continues: false, items, rows: Vec::new() };
    let text = text(&Explained::of(record(9, body, b"{}"), None, None).unwrap());
    assert!(text.contains("9, OUTCOME") && text.contains("record 7: UNKNOWN"), "{text}");
    assert!(text.contains("record 8: ABANDONED, the token was never asked"), "{text}");
    assert_eq!(Kind::Outcome.as_str(), "OUTCOME");
    assert_eq!(Hex::from([1]).to_string(), "01");
}
