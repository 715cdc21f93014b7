//! MACs: made and checked in the token, on the record, and never confused with signatures.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use chancery_api::v1::{self, Algorithm, KeyState, RecordKind};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{
    Fixture, assert_field, assert_refused, contains, create, eventually, hex, message, new_digest_key, new_key,
    records, refused, sha256, sign,
};
use chancery_tests::token_under_test::token_under_test;
use serde_json::Value;
use tonic::{Code, Status};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";
const MESSAGE: &[u8] = b"the message that is authenticated";
/// NIST SP 800-38B and FIPS 198-1: the lengths of whole MACs, in bytes.
const ALGORITHMS: [(Algorithm, usize); 4] =
    [(Algorithm::HmacSha256, 32), (Algorithm::HmacSha384, 48), (Algorithm::HmacSha512, 64), (Algorithm::AesCmac, 16)];

fn setup() -> Setup {
    Chancery::setup().with(CallerSetup::new("checker").role("verifier").ring("dev"))
}

async fn make(client: &Client, name: &str, message: &[u8]) -> Result<v1::MacSignResponse, Status> {
    let request = v1::MacSignRequest { name: name.to_owned(), message: message.to_vec().into(), message_crc32c: None };
    client.signing().mac_sign(request).await.map(tonic::Response::into_inner)
}

fn check(name: &str, message: &[u8], mac: &[u8]) -> v1::MacVerifyRequest {
    v1::MacVerifyRequest {
        name: name.to_owned(),
        message: message.to_vec().into(),
        mac: mac.to_vec().into(),
        ..v1::MacVerifyRequest::default()
    }
}

async fn verdict(client: &Client, name: &str, message: &[u8], mac: &[u8]) -> v1::MacVerifyResponse {
    client.signing().mac_verify(check(name, message, mac)).await.unwrap().into_inner()
}

fn keyed(prefix: &str, algorithm: Algorithm) -> v1::CreateKeyRequest {
    new_key(RING, &format!("{prefix}-{}", algorithm as i32), algorithm)
}

#[tokio::test]
async fn a_mac_is_whole_repeatable_and_good_for_its_message_key_and_version_alone() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    for (algorithm, length) in ALGORITHMS.into_iter().filter(|(algorithm, _)| token_under_test().offers(*algorithm)) {
        let key = create(&operator, keyed("whole", algorithm)).await.name;
        let other = create(&operator, keyed("other", algorithm)).await.name;
        let first = make(&caller, &key, MESSAGE).await.unwrap();
        assert_eq!((first.name.as_str(), first.mac.len()), (format!("{key}/versions/1").as_str(), length));
        assert_eq!(first.mac_crc32c, crc32c::crc32c(&first.mac));
        assert!(!first.verified_message_crc32c);
        assert_eq!(make(&caller, &key, MESSAGE).await.unwrap().mac, first.mac, "a MAC is a function");
        assert_ne!(make(&caller, &other, MESSAGE).await.unwrap().mac, first.mac, "of the key, too");

        let right = verdict(&caller, &key, MESSAGE, &first.mac).await;
        assert!(right.valid);
        assert_eq!((right.name, right.state), (first.name.clone(), KeyState::Active.into()));
        assert!(!verdict(&caller, &key, b"another message", &first.mac).await.valid);
        assert!(!verdict(&caller, &other, MESSAGE, &first.mac).await.valid);
        for bit in [0, 8 * length / 2, 8 * length - 1] {
            let mut wrong = first.mac.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!verdict(&caller, &key, MESSAGE, &wrong).await.valid, "{algorithm:?} bit {bit}");
        }
        let longer = [first.mac.as_slice(), &[0]].concat();
        for wrong in [&first.mac[..length - 1], &first.mac[..1], &[], &longer, &vec![0; 8 * 1024]] {
            assert!(!verdict(&caller, &key, MESSAGE, wrong).await.valid, "{algorithm:?}, {} bytes", wrong.len());
        }

        let rotate = v1::RotateKeyRequest { name: key.clone(), ..v1::RotateKeyRequest::default() };
        operator.keys().rotate_key(rotate).await.unwrap();
        assert!(!verdict(&caller, &key, MESSAGE, &first.mac).await.valid, "the new version's secret is another");
        assert!(verdict(&caller, &first.name, MESSAGE, &first.mac).await.valid, "the old version still knows its own");
        assert_eq!(make(&caller, &key, MESSAGE).await.unwrap().name, format!("{key}/versions/2"));
    }
}

#[tokio::test]
async fn messages_and_checksums_are_checked_before_the_token_is_asked() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "bounds", Algorithm::HmacSha256)).await.name;
    for length in [1, 64 * 1024] {
        let text = vec![b'x'; length];
        let mac = make(&caller, &key, &text).await.unwrap().mac;
        assert!(verdict(&caller, &key, &text, &mac).await.valid, "{length}");
    }
    for length in [0, 64 * 1024 + 1] {
        let text = vec![b'x'; length];
        assert_field(make(&caller, &key, &text).await, "message");
        assert_field(caller.signing().mac_verify(check(&key, &text, &[0; 32])).await, "message");
    }

    let right = crc32c::crc32c(MESSAGE);
    let request = |crc| v1::MacSignRequest { name: key.clone(), message: MESSAGE.into(), message_crc32c: Some(crc) };
    let made = caller.signing().mac_sign(request(right)).await.unwrap().into_inner();
    assert!(made.verified_message_crc32c);
    assert_field(caller.signing().mac_sign(request(right ^ 1)).await, "message_crc32c");
    let request = |message, mac| v1::MacVerifyRequest {
        message_crc32c: Some(message),
        mac_crc32c: Some(mac),
        ..check(&key, MESSAGE, &made.mac)
    };
    let checked = caller.signing().mac_verify(request(right, made.mac_crc32c)).await.unwrap().into_inner();
    assert!(checked.valid && checked.verified_message_crc32c && checked.verified_mac_crc32c);
    assert_field(caller.signing().mac_verify(request(right ^ 1, made.mac_crc32c)).await, "message_crc32c");
    assert_field(caller.signing().mac_verify(request(right, made.mac_crc32c ^ 1)).await, "mac_crc32c");
}

#[tokio::test]
async fn signing_keys_and_mac_keys_are_not_taken_for_each_other() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let mac = create(&operator, new_key(RING, "a-mac-key", Algorithm::AesCmac)).await.name;
    let pair = create(&operator, new_key(RING, "a-pair", Algorithm::EcdsaP256Sha256)).await.name;
    let verify = v1::VerifyRequest {
        name: mac.clone(),
        input: message(MESSAGE),
        signature: vec![1; 64],
        ..v1::VerifyRequest::default()
    };
    let public = v1::GetPublicKeyRequest { name: mac.clone(), ..v1::GetPublicKeyRequest::default() };
    for refusal in [
        assert_refused(
            caller.signing().sign(sign(&mac, MESSAGE)).await,
            Code::FailedPrecondition,
            "KEY_PURPOSE_MISMATCH",
        ),
        refused(caller.signing().verify(verify).await),
        refused(caller.signing().get_public_key(public).await),
    ] {
        assert_eq!(refusal.reason.as_deref(), Some("KEY_PURPOSE_MISMATCH"));
        assert!(refusal.message.contains("use MacSign and MacVerify"), "{refusal}");
    }
    let refusal = refused(make(&caller, &pair, MESSAGE).await);
    assert_eq!(refusal.reason.as_deref(), Some("KEY_PURPOSE_MISMATCH"));
    assert!(refusal.message.contains("use Sign and Verify"), "{refusal}");
    let refused_verdict = caller.signing().mac_verify(check(&pair, MESSAGE, &[0; 32])).await;
    assert_refused(refused_verdict, Code::FailedPrecondition, "KEY_PURPOSE_MISMATCH");

    let description = assert_field(
        operator.keys().create_key(new_digest_key(RING, "digested", Algorithm::HmacSha256)).await,
        "key.allow_digest",
    );
    assert!(description.contains("HMAC_SHA256"), "{description}");
    let version = v1::GetKeyVersionRequest { name: format!("{mac}/versions/1") };
    let version = operator.keys().get_key_version(version).await.unwrap().into_inner();
    assert!(version.public_key_sha256.is_empty(), "a secret has no public half");
    assert_eq!((version.state, version.token_object_id.len()), (KeyState::Active.into(), 16));
}

#[tokio::test]
async fn a_suspended_version_checks_and_makes_no_more() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "stopped", Algorithm::HmacSha512)).await.name;
    let made = make(&caller, &key, MESSAGE).await.unwrap();
    let suspend = v1::SuspendKeyVersionRequest { name: made.name.clone(), ..v1::SuspendKeyVersionRequest::default() };
    operator.keys().suspend_key_version(suspend).await.unwrap();
    assert_refused(make(&caller, &key, MESSAGE).await, Code::FailedPrecondition, "KEY_VERSION_NOT_ACTIVE");
    let still = verdict(&caller, &key, MESSAGE, &made.mac).await;
    assert!(still.valid);
    assert_eq!(still.state, i32::from(KeyState::Suspended));
}

#[tokio::test]
async fn who_may_only_verify_makes_none_and_who_may_nothing_learns_nothing() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let checker = chancery.connect_as("checker").await.unwrap();
    let key = create(&operator, new_key(RING, "guarded", Algorithm::HmacSha256)).await.name;
    let mac = make(&caller, &key, MESSAGE).await.unwrap().mac;
    assert!(verdict(&checker, &key, MESSAGE, &mac).await.valid);
    assert_refused(make(&checker, &key, MESSAGE).await, Code::PermissionDenied, "ACCESS_DENIED");
    assert_refused(make(&operator, &key, MESSAGE).await, Code::PermissionDenied, "ACCESS_DENIED");
    let there = refused(make(&checker, &key, &[]).await);
    let absent = refused(make(&checker, &format!("{RING}/keys/guarded-not"), &[]).await);
    assert_eq!(there.message.replace("guarded", "x"), absent.message.replace("guarded-not", "x"));
}

#[tokio::test]
async fn each_use_of_the_secret_is_on_the_record_and_its_message_is_not() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "recorded", Algorithm::HmacSha256)).await.name;
    let text = b"a message that must not be on the record";
    let made = make(&caller, &key, text).await.unwrap();
    let right = verdict(&caller, &key, text, &made.mac).await;
    let wrong = verdict(&caller, &key, text, &[0; 32]).await;

    let list = |kind: RecordKind, action: &str| v1::ListRecordsRequest {
        resource: key.clone(),
        kind: kind.into(),
        action: action.to_owned(),
        oldest_first: true,
        ..v1::ListRecordsRequest::default()
    };
    let details = |record: &v1::AuditRecord| -> Value { serde_json::from_slice(&record.details_json).unwrap() };
    let mut all = Vec::new();
    for (action, indexes) in
        [("MacSign", vec![made.record_index]), ("MacVerify", vec![right.record_index, wrong.record_index])]
    {
        let intents = records(&operator, list(RecordKind::Intent, action)).await;
        assert_eq!(intents.iter().map(|record| record.index).collect::<Vec<_>>(), indexes);
        for intent in &intents {
            let details = details(intent);
            assert_eq!(details["signed"]["digest"], hex(&sha256(text)));
            assert_eq!(details["algorithm"], "HMAC_SHA256");
            assert_eq!(details["attributes"]["context"]["inputBytes"], text.len());
        }
        let outcomes = eventually("the outcomes", async || {
            let found = records(&operator, list(RecordKind::Outcome, action)).await;
            (found.len() == indexes.len()).then_some(found)
        })
        .await;
        let ended: Vec<_> = outcomes.iter().flat_map(|record| &record.outcomes).collect();
        assert!(ended.iter().all(|outcome| outcome.result == "DONE"));
        all.extend(intents);
        all.extend(outcomes);
    }
    let verdicts: Vec<_> =
        all.iter().filter_map(|record| details(record)["items"][0]["message"].as_str().map(str::to_owned)).collect();
    assert_eq!(verdicts, ["the MAC is valid", "the MAC is not valid"]);
    let hashed = all.iter().flat_map(|record| &record.outcomes).any(|end| end.signature_sha256 == sha256(&made.mac));
    assert!(hashed, "the outcome says which MAC was made");
    for record in &all {
        assert!(!contains(&record.details_json, text) && !contains(&record.leaf, text));
        assert!(!contains(&record.details_json, hex(&made.mac).as_bytes()) && !contains(&record.leaf, &made.mac));
    }
}
