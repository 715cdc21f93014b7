//! A service that puts on the record what its caller has not signed: the details are those that the leaf commits to, so that
//! nothing but the caller's signature tells.

use crate::database::Hand;
use crate::made::{Made, verify};
use chancery_audit::verify::{Check, Fault, Place};
use chancery_audit::{
    AuthenticationDetails, CallerEvidenceError, CallerSignatureDetails, Details, Hex, Intent, SignedDetails,
};
use chancery_model::Timestamp;

/// The first vector of docs/caller-evidence.md.
fn signed() -> CallerSignatureDetails {
    let page = include_str!("../../../../docs/caller-evidence.md");
    let (_, block) = page.split_once("<!-- vectors -->\n```json\n").unwrap();
    let vectors: serde_json::Value = serde_json::from_str(block.split_once("\n```").unwrap().0).unwrap();
    serde_json::from_value(vectors["vectors"][0]["caller_signature"].clone()).unwrap()
}

/// An intent as a service records it of a request that its caller has signed, a second later.
fn vouched(signed: &CallerSignatureDetails) -> Intent {
    let request = serde_json::to_value(&signed.request).unwrap();
    let digest = Hex::parse(request["digest"].as_str().unwrap()).unwrap();
    let details = Details {
        caller: Some("checkout".to_owned()),
        authentication: Some(AuthenticationDetails::Certificate {
            identity: "spiffe://example.org/checkout".to_owned(),
            certificate_sha256: Hex::from(chancery_crypto::sha256(signed.certificate.as_bytes())),
            certificate_serial: "2a".to_owned(),
        }),
        action: Some("Sign".to_owned()),
        resource: Some(format!("{}/versions/1", signed.name)),
        signed: Some(SignedDetails { hash: "SHA-256".to_owned(), digest }),
        caller_signature: Some(Box::new(signed.clone())),
        ..Details::default()
    };
    let time = Timestamp::from_unix_micros(signed.created + 1_000_000);
    Intent { time, details, ..crate::support::intent() }
}

#[tokio::test]
async fn what_a_caller_has_not_signed_is_found_in_a_database_and_in_an_export() {
    let good = signed();
    let mut signature = good.signature.as_bytes().to_vec();
    signature[40] ^= 1;
    let forged = CallerSignatureDetails { signature: Hex::from(signature.as_slice()), ..good.clone() };

    let mut made = Made::small().await;
    let folder = tempfile::tempdir().unwrap();
    let export = |made: &Made, name: &str, details: bool| {
        let path = folder.path().join(name);
        made.export(&path, details);
        verify(&path, &[])
    };
    for _ in 0..3 {
        made.intent(vouched(&good)).await;
    }
    made.sign().await;
    assert_eq!(made.verify(&[]).unwrap().caller_signatures, 3);
    assert_eq!(export(&made, "good", true).unwrap().caller_signatures, 3);
    // Whoever changes one afterwards breaks the commitment.
    let hand = Hand::at(&made);
    let content = hand.value("content", "details", 10);
    let at = content.windows(11).position(|bytes| bytes == b"\"signature\"").unwrap() + 20;
    let mut changed = content.clone();
    changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
    hand.set("content", "details", 10, &changed, false);
    let fault = made.verify(&[]).unwrap_err();
    assert!(fault.starts_with("record 10: its details and salt are not those that its leaf commits to"), "{fault}");
    hand.set("content", "details", 10, &content, false);

    let index = made.intent(vouched(&forged)).await;
    made.intent(vouched(&good)).await;
    made.intent(vouched(&forged)).await;
    made.sign().await;
    let fault = made.verify(&[]).unwrap_err();
    let expected = Fault { at: Place::Record(index), check: Check::CallerSignature(CallerEvidenceError::Invalid) };
    assert_eq!(fault, expected.to_string());
    assert_eq!(export(&made, "forged", true), Err(Ok(expected)));
    // Without the details nobody knows.
    assert_eq!(export(&made, "without", false).unwrap().caller_signatures, 0);
}
