//! The code against docs/caller-evidence.md: its test vectors, read from the page itself.

use super::*;
use crate::codes::Decision;
use crate::details::SignedDetails;
use crate::leaf::{Body, Subject};
use chancery_model::{Action, Id, Uid};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    signed_bytes: Hex,
    caller_signature: CallerSignatureDetails,
}

/// Whom the certificates of the vectors name.
const IDENTITIES: [&str; 3] =
    ["spiffe://example.org/checkout", "spiffe://example.org/issuer", "spiffe://example.org/registrar"];

/// Whom this one names: its name stands in it as it is written.
fn identity_in(certificate: &[u8]) -> String {
    let stands_there = |name: &&str| certificate.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    IDENTITIES.into_iter().find(stands_there).unwrap().to_owned()
}

fn vectors() -> Vec<Vector> {
    let page = include_str!("../../../../docs/caller-evidence.md");
    let (_, block) = page.split_once("<!-- vectors -->\n```json\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    serde_json::from_str::<Vectors>(block).unwrap().vectors
}

/// Details as the service writes them beside a caller's signature.
fn details(signed: &CallerSignatureDetails) -> Details {
    let certificate_sha256 = Hex::from(chancery_crypto::sha256(signed.certificate.as_bytes()));
    let certificate_serial = "2a".to_owned();
    let identity = identity_in(signed.certificate.as_bytes());
    let of_version = signed.name.split('/').nth(4).is_some();
    Details {
        authentication: Some(AuthenticationDetails::Certificate { identity, certificate_sha256, certificate_serial }),
        action: Some(signed.request.method().to_owned()),
        resource: Some(if of_version { signed.name.clone() } else { format!("{}/versions/7", signed.name) }),
        signed: Some(match &signed.request {
            CallerRequestDetails::Sign { hash, digest, .. } => {
                SignedDetails { hash: hash.clone(), digest: digest.clone() }
            }
            _ => SignedDetails { hash: "SHA-256".to_owned(), digest: Hex::from([9; 32]) },
        }),
        caller_signature: Some(Box::new(signed.clone())),
        ..Details::default()
    }
}

#[test]
fn the_vectors_verify_with_nothing_but_the_details() {
    let mut algorithms = Vec::new();
    for Vector { name, signed_bytes, caller_signature } in vectors() {
        // As they come out of a database, to the byte.
        let json = details(&caller_signature).to_json();
        let read = Details::from_json(&json).unwrap();
        assert_eq!(read.to_json(), json, "{name}");
        let evidence = verify_caller_signature(&read).unwrap_or_else(|error| panic!("{name}: {error}")).unwrap();
        assert_eq!(evidence.audience, "chancery.prod.example", "{name}");
        assert_eq!(evidence.identity.to_string(), identity_in(caller_signature.certificate.as_bytes()), "{name}");
        let sign = matches!(caller_signature.request, CallerRequestDetails::Sign { .. });
        assert_eq!(evidence.covers, if sign { Covers::SignedDigest } else { Covers::WhatWasAskedFor }, "{name}");
        assert!(signed_bytes.as_bytes().starts_with(b"\0\0\0\x1bchancery/caller-evidence/v1"), "{name}");
        algorithms.push(evidence.algorithm);
    }
    let (ed25519, p256) = (Algorithm::Ed25519, Algorithm::EcdsaP256Sha256);
    assert_eq!(algorithms, [ed25519, p256, p256, ed25519, Algorithm::RsaPss2048Sha256]);
    assert_eq!(verify_caller_signature(&Details::default()), Ok(None));
}

/// Flips a bit of hexadecimal digits, or changes the last letter of other text.
fn altered(text: &str) -> String {
    let mut text = text.to_owned();
    let last = text.pop().unwrap();
    text.push(if last == '0' { '1' } else { '0' });
    text
}

/// Every place of a JSON value that holds text or a number, changed, one at a time.
fn each_altered(value: &serde_json::Value) -> Vec<serde_json::Value> {
    use serde_json::Value;
    match value {
        Value::String(text) => vec![Value::String(altered(text))],
        Value::Number(number) => vec![Value::from(number.as_i64().unwrap() + 1)],
        Value::Array(items) => (0..items.len())
            .flat_map(|at| {
                each_altered(&items[at]).into_iter().map(move |changed| {
                    let mut items = items.clone();
                    items[at] = changed;
                    Value::Array(items)
                })
            })
            .collect(),
        Value::Object(members) => members
            .keys()
            .flat_map(|name| {
                each_altered(&members[name]).into_iter().map(move |changed| {
                    let mut members = members.clone();
                    members[name] = changed;
                    Value::Object(members)
                })
            })
            .collect(),
        Value::Null | Value::Bool(_) => Vec::new(),
    }
}

#[test]
fn no_part_of_the_evidence_can_be_changed() {
    let mut count = 0;
    for Vector { name, caller_signature, .. } in vectors() {
        let json = serde_json::to_value(&caller_signature).unwrap();
        for changed in each_altered(&json) {
            assert_ne!(changed, json);
            count += 1;
            // Not read at all, or not verified.
            if let Ok(changed) = serde_json::from_value::<CallerSignatureDetails>(changed.clone()) {
                assert!(changed.verify().is_err(), "{name}: {changed:?}");
                assert!(verify_caller_signature(&details(&changed)).is_err(), "{name}");
            }
        }
    }
    assert_eq!(count, 51, "every field of every vector");
}

#[test]
fn evidence_of_another_request_is_none_of_this_record() {
    let signed = &vectors()[0].caller_signature;
    let good = details(signed);
    assert!(verify_caller_signature(&good).unwrap().is_some());
    let resource = |text: &str| Details { resource: Some(text.to_owned()), ..good.clone() };
    let other = SignedDetails { hash: "SHA-256".to_owned(), digest: Hex::from([1; 32]) };
    let api_key = AuthenticationDetails::ApiKey { api_key: "0aZ9bY8cX7dW".to_owned() };
    for (part, details) in [
        ("method", Details { action: Some("SignJwt".to_owned()), ..good.clone() }),
        ("method", Details { action: None, ..good.clone() }),
        ("key", resource("keyRings/payments/keys/jwt2/versions/1")),
        ("key", resource("keyRings/payments/keys/jwt/versions/1/versions/2")),
        ("key", Details { resource: None, ..good.clone() }),
        ("digest", Details { signed: Some(other), ..good.clone() }),
        ("digest", Details { signed: None, ..good.clone() }),
        ("certificate", Details { authentication: Some(api_key), ..good.clone() }),
        ("certificate", Details { authentication: None, ..good.clone() }),
    ] {
        assert_eq!(verify_caller_signature(&details), Err(CallerEvidenceError::OtherRequest(part)));
    }
    // A version that was named is that version and no other.
    let of_version = details(&vectors()[1].caller_signature);
    let next = Details { resource: Some("keyRings/payments/keys/reports/versions/3".to_owned()), ..of_version };
    assert_eq!(verify_caller_signature(&next), Err(CallerEvidenceError::OtherRequest("key")));
}

#[test]
fn the_certificate_names_whom_the_record_takes_the_caller_for() {
    for Vector { name, caller_signature, .. } in vectors() {
        let good = details(&caller_signature);
        let own = identity_in(caller_signature.certificate.as_bytes());
        let others = ["spiffe://example.org/checkout/2", "dns:example.org", "checkout", ""];
        for other in IDENTITIES.into_iter().filter(|other| *other != own).chain(others) {
            let mut details = good.clone();
            match &mut details.authentication {
                Some(AuthenticationDetails::Certificate { identity, .. }) => other.clone_into(identity),
                other => panic!("{other:?}"),
            }
            let found = verify_caller_signature(&details);
            assert_eq!(found, Err(CallerEvidenceError::OtherIdentity), "{name}: {other:?}");
        }
    }
}

#[test]
fn a_request_that_was_signed_for_an_earlier_record_is_none_of_this_one() {
    let signed = &vectors()[0].caller_signature;
    let good = details(signed);
    let at = |micros: i64| {
        let subject = Subject {
            caller: Uid::from_bytes([1; 16]),
            resource: Uid::from_bytes([2; 16]),
            action: Some(Action::Sign),
            decision: Decision::Allow,
            policy_set: [3; 32],
        };
        let time = Timestamp::from_unix_micros(signed.created + micros);
        let instance = Id::parse("the instance", "one").unwrap();
        let leaf = Leaf { epoch: 1, time, instance, body: Body::Intent(subject), commitment: [0; 32] };
        verify_recorded_caller_signature(&leaf, &good)
    };
    // As the service takes it: a minute old, five seconds ahead; and the longest that a call may wait.
    for micros in [0, 60_000_000, 180_000_000, -5_000_000] {
        assert!(at(micros).unwrap().is_some(), "{micros}");
    }
    for micros in [180_000_001, 365 * 86_400 * 1_000_000, i64::MAX - signed.created, -5_000_001, -86_400_000_000] {
        let refused = at(micros).unwrap_err();
        assert_eq!(refused, CallerEvidenceError::OtherTime { seconds: micros.div_euclid(1_000_000) }, "{micros}");
    }
    let late = at(86_400_000_000).unwrap_err().to_string();
    assert!(late.contains("signed 86400 seconds before the record"), "{late}");
    assert!(at(-86_400_000_000).unwrap_err().to_string().contains("signed 86400 seconds after the record"));
}
