//! Bad input: each with its exact code, reason and field, and nothing lost or half done afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::{BTreeMap, HashMap};

use aws_lc_rs::digest;
use chancery_api::v1::{self, Algorithm};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{
    Fixture, assert_field, assert_refused, create, digest_input, message, new_digest_key, new_key, records, sha256,
    sign, sign_digest,
};
use tonic::{Code, Status};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";
/// A ring where every creation is refused.
const EMPTY: &str = "keyRings/empty";
const MIB: usize = 1024 * 1024;

const KEY_FORM: &str = "the name must have the form keyRings/{ring}/keys/{key}";
const VERSION_FORM: &str = "the name must have the form keyRings/{ring}/keys/{key}/versions/{version}";
const KEY_OR_VERSION_FORM: &str =
    "the name must have the form keyRings/{ring}/keys/{key} or keyRings/{ring}/keys/{key}/versions/{version}";
const RING_FORM: &str = "the name must have the form keyRings/{ring}";
const RING_ID: &str = "the key ring id must match [a-z][a-z0-9-]{0,62} (ASCII)";
const KEY_ID: &str = "the key id must match [a-z][a-z0-9-]{0,62} (ASCII)";
const NUMBER: &str = "the version must be a decimal number from 1 to 4294967295 without leading zeros";

fn setup() -> Setup {
    let keeper = CallerSetup::new("keeper").role("key-administrator").ring("empty");
    Chancery::setup().ring("empty", "dev").with(keeper)
}

/// How often a key has signed, by the record.
async fn intents(operator: &Client, name: &str) -> usize {
    let request = v1::ListRecordsRequest {
        kind: v1::RecordKind::Intent.into(),
        resource: name.to_owned(),
        ..v1::ListRecordsRequest::default()
    };
    records(operator, request).await.len()
}

fn verification(name: &str, input: Option<v1::SignInput>) -> v1::VerifyRequest {
    v1::VerifyRequest { name: name.to_owned(), input, signature: vec![0; 64], ..v1::VerifyRequest::default() }
}

#[tokio::test]
async fn a_message_has_1_byte_to_1_mib() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let hashed = create(&operator, new_key(RING, "sized-p256", Algorithm::EcdsaP256Sha256)).await.name;
    let pure = create(&operator, new_key(RING, "sized-ed25519", Algorithm::Ed25519)).await.name;
    for name in [&hashed, &pure] {
        let rule = assert_field(caller.signing().sign(sign(name, b"")).await, "input.message");
        assert_eq!(rule, "the message is empty; give 1 byte or more");
        assert_field(caller.signing().verify(verification(name, message(b""))).await, "input.message");
    }
    for (name, algorithm, limit) in [(&hashed, "ECDSA_P256_SHA256", MIB), (&pure, "ED25519", 64 * 1024)] {
        let long = vec![7; limit + 1];
        let rule = format!("the message has {} bytes; a message for {algorithm} has at most {limit}", limit + 1);
        assert_eq!(assert_field(caller.signing().sign(sign(name, &long)).await, "input.message"), rule);
        let verified = caller.signing().verify(verification(name, message(&long))).await;
        assert_eq!(assert_field(verified, "input.message"), rule);

        let longest = &long[..limit];
        let signed = caller.signing().sign(sign(name, longest)).await.unwrap().into_inner();
        let check = v1::VerifyRequest { signature: signed.signature, ..verification(name, message(longest)) };
        assert!(caller.signing().verify(check).await.unwrap().into_inner().valid);
        assert_eq!(intents(&operator, name).await, 1, "only the one that was signed is on the record");
    }
}

#[tokio::test]
async fn a_digest_is_as_long_as_the_keys_hash() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    for (id, algorithm, length) in [
        ("digest-p256", Algorithm::EcdsaP256Sha256, 32),
        ("digest-p384", Algorithm::EcdsaP384Sha384, 48),
        ("digest-p521", Algorithm::EcdsaP521Sha512, 64),
    ] {
        let name = create(&operator, new_digest_key(RING, id, algorithm)).await.name;
        for wrong in [0, 1, 20, length - 1, length + 1, 128] {
            let digest = vec![1; wrong];
            assert_field(caller.signing().sign(sign_digest(&name, &digest)).await, "input.digest");
            assert_field(caller.signing().verify(verification(&name, digest_input(&digest))).await, "input.digest");
        }
        caller.signing().sign(sign_digest(&name, &vec![1; length])).await.unwrap();
        assert_eq!(intents(&operator, &name).await, 1);
    }
}

#[tokio::test]
async fn a_digest_is_refused_by_keys_that_allow_none() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let digest = sha256(b"m");
    for (id, algorithm) in [("no-digest-p256", Algorithm::EcdsaP256Sha256), ("no-digest-ed25519", Algorithm::Ed25519)] {
        let name = create(&operator, new_key(RING, id, algorithm)).await.name;
        let refused = caller.signing().sign(sign_digest(&name, &digest)).await;
        let refusal = assert_refused(refused, Code::FailedPrecondition, "DIGEST_NOT_ALLOWED");
        let rule = "signs messages only; send the message as input.message, or create a key with allow_digest";
        assert_eq!(refusal.message, format!("{name} {rule}"));
        assert_eq!(refusal.metadata, BTreeMap::from([("resource".to_owned(), name.clone())]));
        assert_eq!(refusal.violations, []);
        assert_eq!(intents(&operator, &name).await, 0);
    }
    // Verify takes a digest for every key but those of Ed25519.
    let ed25519 = format!("{RING}/keys/no-digest-ed25519");
    let refused = caller.signing().verify(verification(&ed25519, digest_input(&digest))).await;
    assert_refused(refused, Code::FailedPrecondition, "DIGEST_NOT_ALLOWED");
}

#[tokio::test]
async fn ed25519_keys_never_allow_digests() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let request = new_digest_key(RING, "blind-ed25519", Algorithm::Ed25519);
    assert_field(operator.keys().create_key(request).await, "key.allow_digest");
    let request = v1::GetKeyRequest { name: format!("{RING}/keys/blind-ed25519") };
    assert_refused(operator.keys().get_key(request).await, Code::PermissionDenied, "ACCESS_DENIED");
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_before_anything_is_done() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let name = create(&operator, new_digest_key(RING, "damaged", Algorithm::EcdsaP256Sha256)).await.name;
    let given = |input: Option<v1::SignInput>| input.map(|input| v1::SignInput { crc32c: Some(1), ..input });
    // RFC 3720, appendix B.4: 32 bytes of ones have the CRC-32C 62a8ab43.
    let rule = "the CRC-32C of the 32 bytes that arrived is 0x62a8ab43, and 0x00000001 was given";
    for input in [message(&[0xff; 32]), digest_input(&[0xff; 32])] {
        let request = v1::SignRequest { input: given(input.clone()), ..sign(&name, b"") };
        assert!(assert_field(caller.signing().sign(request).await, "input.crc32c").starts_with(rule));
        let refused = caller.signing().verify(verification(&name, given(input))).await;
        assert!(assert_field(refused, "input.crc32c").starts_with(rule));
    }
    let request = v1::VerifyRequest { signature_crc32c: Some(1), ..verification(&name, message(b"m")) };
    assert_field(caller.signing().verify(request).await, "signature_crc32c");
    assert_eq!(intents(&operator, &name).await, 0);
}

#[tokio::test]
async fn an_absent_input_is_refused() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let name = create(&operator, new_key(RING, "no-input", Algorithm::Ed25519)).await.name;
    for input in [None, Some(v1::SignInput::default()), Some(v1::SignInput { input: None, crc32c: Some(0) })] {
        let request = v1::SignRequest { input: input.clone(), ..sign(&name, b"") };
        let rule = assert_field(caller.signing().sign(request).await, "input");
        assert_eq!(rule, "must hold either message or digest");
        assert_field(caller.signing().verify(verification(&name, input)).await, "input");
    }
}

#[tokio::test]
async fn a_signature_to_verify_has_1_byte_to_8_kib() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let name = create(&operator, new_key(RING, "verified", Algorithm::Ed25519)).await.name;
    for length in [0, 8193] {
        let request = v1::VerifyRequest { signature: vec![0; length], ..verification(&name, message(b"m")) };
        let rule = assert_field(caller.signing().verify(request).await, "signature");
        assert_eq!(rule, format!("a signature has 1 to 8192 bytes, not {length}"));
    }
    for length in [1, 63, 64, 65, 8192] {
        let request = v1::VerifyRequest { signature: vec![0; length], ..verification(&name, message(b"m")) };
        assert!(!caller.signing().verify(request).await.unwrap().into_inner().valid, "{length} bytes of nothing");
    }
}

#[tokio::test]
async fn unknown_numbers_of_enumerations_are_refused() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let name = create(&operator, new_key(RING, "enumerated", Algorithm::EcdsaP256Sha256)).await.name;
    for number in [3, 99, -1] {
        let request = v1::SignRequest { encoding: number, ..sign(&name, b"m") };
        assert_field(caller.signing().sign(request).await, "encoding");
        let request = v1::VerifyRequest { encoding: number, ..verification(&name, message(b"m")) };
        assert_field(caller.signing().verify(request).await, "encoding");
    }
    for number in [5, 99, -1] {
        let request = v1::GetPublicKeyRequest { name: name.clone(), format: number };
        assert_field(caller.signing().get_public_key(request).await, "format");
    }
    // 0 is none.
    for number in [0, 22, 99, -1] {
        let key = v1::Key { algorithm: number, ..v1::Key::default() };
        let request = v1::CreateKeyRequest { key: Some(key), ..new_key(RING, "unknowable", Algorithm::Unspecified) };
        assert_field(operator.keys().create_key(request).await, "key.algorithm");
    }
    for number in [22, 99, -1] {
        let request = v1::ExplainAuthorizationRequest {
            action: "Sign".to_owned(),
            resource: name.clone(),
            algorithm: number,
            ..v1::ExplainAuthorizationRequest::default()
        };
        assert_field(operator.policy().explain_authorization(request).await, "algorithm");
        let request = v1::ListRecordsRequest { kind: 5.max(number), ..v1::ListRecordsRequest::default() };
        assert_field(operator.audit().list_records(request).await, "kind");
    }
    assert_eq!(intents(&operator, &name).await, 0);
}

/// Calls each method that takes the name of a key or a version, or of one of both only.
async fn call(client: &Client, method: &str, name: String) -> Result<(), Status> {
    match method {
        "Sign" => client.signing().sign(sign(&name, b"m")).await.map(drop),
        "Verify" => client.signing().verify(verification(&name, message(b"m"))).await.map(drop),
        "GetPublicKey" => {
            let request = v1::GetPublicKeyRequest { name, format: 0 };
            client.signing().get_public_key(request).await.map(drop)
        }
        "GetKey" => client.keys().get_key(v1::GetKeyRequest { name }).await.map(drop),
        "RotateKey" => {
            let request = v1::RotateKeyRequest { name, ..v1::RotateKeyRequest::default() };
            client.keys().rotate_key(request).await.map(drop)
        }
        "ListKeyVersions" => {
            let request = v1::ListKeyVersionsRequest { parent: name, ..v1::ListKeyVersionsRequest::default() };
            client.keys().list_key_versions(request).await.map(drop)
        }
        "GetKeyVersion" => {
            let request = v1::GetKeyVersionRequest { name };
            client.keys().get_key_version(request).await.map(drop)
        }
        "SuspendKeyVersion" => {
            let request = v1::SuspendKeyVersionRequest { name, reason: String::new() };
            client.keys().suspend_key_version(request).await.map(drop)
        }
        "ResumeKeyVersion" => {
            let request = v1::ResumeKeyVersionRequest { name, reason: String::new() };
            client.keys().resume_key_version(request).await.map(drop)
        }
        "UpdateKey" => {
            let key = v1::Key { name, ..v1::Key::default() };
            let update_mask = Some(prost_types::FieldMask { paths: vec!["owner".to_owned()] });
            client.keys().update_key(v1::UpdateKeyRequest { key: Some(key), update_mask }).await.map(drop)
        }
        "DeactivateKeyVersion" => {
            let request = v1::DeactivateKeyVersionRequest { name, reason: String::new() };
            client.keys().deactivate_key_version(request).await.map(drop)
        }
        "MarkKeyVersionCompromised" => {
            let request = v1::MarkKeyVersionCompromisedRequest { name, reason: String::new() };
            client.keys().mark_key_version_compromised(request).await.map(drop)
        }
        "ScheduleKeyVersionDestruction" => {
            let request = v1::ScheduleKeyVersionDestructionRequest {
                name,
                ..v1::ScheduleKeyVersionDestructionRequest::default()
            };
            client.keys().schedule_key_version_destruction(request).await.map(drop)
        }
        "CancelKeyVersionDestruction" => {
            let request = v1::CancelKeyVersionDestructionRequest { name, reason: String::new() };
            client.keys().cancel_key_version_destruction(request).await.map(drop)
        }
        "CreateCertificateSigningRequest" => {
            let request = v1::CreateCertificateSigningRequestRequest {
                name,
                subject: "CN=a".to_owned(),
                ..v1::CreateCertificateSigningRequestRequest::default()
            };
            client.keys().create_certificate_signing_request(request).await.map(drop)
        }
        "SetCertificateChain" => {
            let request = v1::SetCertificateChainRequest { name, certificate_chain: Vec::new() };
            client.keys().set_certificate_chain(request).await.map(drop)
        }
        "GetKeyRing" => {
            let request = v1::GetKeyRingRequest { name };
            client.keys().get_key_ring(request).await.map(drop)
        }
        "ListKeys" => {
            let request = v1::ListKeysRequest { parent: name, ..v1::ListKeysRequest::default() };
            client.keys().list_keys(request).await.map(drop)
        }
        "CreateKey" => {
            let request = new_key(&name, "never-made", Algorithm::Ed25519);
            client.keys().create_key(request).await.map(drop)
        }
        other => panic!("{other} takes no such name"),
    }
}

#[tokio::test]
async fn malformed_names_are_refused_with_the_form_that_is_expected() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let caller = chancery.caller().await.unwrap();
    let long = format!("{RING}/keys/{}", "a".repeat(64));
    let keys = |form: &'static str| {
        vec![
            ("", form),
            ("k", form),
            ("keys/k", form),
            ("keyRings/dev", form),
            ("keyRings/dev/keys", form),
            ("keyRings/dev/keyz/k", form),
            ("KeyRings/dev/keys/k", form),
            ("/keyRings/dev/keys/k", if form == KEY_OR_VERSION_FORM { VERSION_FORM } else { form }),
            ("keyRings//keys/k", RING_ID),
            ("keyRings/Dev/keys/k", RING_ID),
            ("keyRings/dév/keys/k", RING_ID),
            ("keyRings/dev/keys/", KEY_ID),
            ("keyRings/dev/keys/ключ", KEY_ID),
            ("keyRings/dev/keys/k\u{0}", KEY_ID),
            ("keyRings/dev/keys/k k", KEY_ID),
            ("keyRings/dev/keys/1k", KEY_ID),
            ("keyRings/dev/keys/k\u{202e}", KEY_ID),
            (&*long, KEY_ID),
        ]
    };
    let versions = vec![
        ("keyRings/dev/keys/k/versions/", NUMBER),
        ("keyRings/dev/keys/k/versions/0", NUMBER),
        ("keyRings/dev/keys/k/versions/01", NUMBER),
        ("keyRings/dev/keys/k/versions/-1", NUMBER),
        ("keyRings/dev/keys/k/versions/+1", NUMBER),
        ("keyRings/dev/keys/k/versions/one", NUMBER),
        ("keyRings/dev/keys/k/versions/١", NUMBER),
        ("keyRings/dev/keys/k/versions/4294967296", NUMBER),
        ("keyRings/dev/keys/ключ/versions/1", KEY_ID),
    ];
    let mut checked = 0;
    for method in ["Sign", "Verify", "GetPublicKey", "CreateCertificateSigningRequest"] {
        for (name, expected) in keys(KEY_OR_VERSION_FORM).into_iter().chain(versions.clone()) {
            let rule = assert_field(call(&caller, method, name.to_owned()).await, "name");
            assert_eq!(rule, expected, "{method} {name:?}");
            checked += 1;
        }
    }
    for (method, field) in
        [("GetKey", "name"), ("UpdateKey", "key.name"), ("RotateKey", "name"), ("ListKeyVersions", "parent")]
    {
        for (name, expected) in keys(KEY_FORM) {
            let rule = assert_field(call(&operator, method, name.to_owned()).await, field);
            assert_eq!(rule, expected, "{method} {name:?}");
            checked += 1;
        }
    }
    for method in [
        "GetKeyVersion",
        "SuspendKeyVersion",
        "ResumeKeyVersion",
        "DeactivateKeyVersion",
        "MarkKeyVersionCompromised",
        "ScheduleKeyVersionDestruction",
        "CancelKeyVersionDestruction",
        "SetCertificateChain",
    ] {
        for (name, expected) in &versions {
            let rule = assert_field(call(&operator, method, (*name).to_owned()).await, "name");
            assert_eq!(rule, *expected, "{method} {name:?}");
            checked += 1;
        }
    }
    for (method, field) in [("GetKeyRing", "name"), ("ListKeys", "parent"), ("CreateKey", "parent")] {
        for (name, expected) in [
            ("", RING_FORM),
            ("dev", RING_FORM),
            ("keyRings", RING_FORM),
            ("keyRings/dev/", RING_FORM),
            ("keyRings/", RING_ID),
            ("keyRings/дев", RING_ID),
            ("keyRings/DEV", RING_ID),
        ] {
            let rule = assert_field(call(&operator, method, name.to_owned()).await, field);
            assert_eq!(rule, expected, "{method} {name:?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 4 * 27 + 4 * 18 + 8 * 9 + 3 * 7);
    for name in ["", "main", "tokens", "tokens/", "tokens/MAIN", "tokens/main/x", "keyRings/dev"] {
        let request = v1::GetTokenRequest { name: name.to_owned() };
        assert_field(operator.tokens().get_token(request).await, "name");
        let request = v1::ClearPinLatchRequest { name: name.to_owned(), reason: String::new() };
        assert_field(operator.tokens().clear_pin_latch(request).await, "name");
    }
}

#[tokio::test]
async fn names_of_the_wrong_kind_are_refused() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let (ring, key) = (RING, format!("{RING}/keys/k"));
    let version = format!("{key}/versions/1");
    for (method, field, name, expected) in [
        ("Sign", "name", ring, KEY_OR_VERSION_FORM),
        ("Verify", "name", ring, KEY_OR_VERSION_FORM),
        ("GetPublicKey", "name", "tokens/main", KEY_OR_VERSION_FORM),
        ("GetKey", "name", ring, KEY_FORM),
        ("GetKey", "name", &version, KEY_FORM),
        ("RotateKey", "name", &version, KEY_FORM),
        ("ListKeyVersions", "parent", &version, KEY_FORM),
        ("GetKeyVersion", "name", &key, VERSION_FORM),
        ("SuspendKeyVersion", "name", &key, VERSION_FORM),
        ("ResumeKeyVersion", "name", &key, VERSION_FORM),
        ("DeactivateKeyVersion", "name", &key, VERSION_FORM),
        ("MarkKeyVersionCompromised", "name", &key, VERSION_FORM),
        ("ScheduleKeyVersionDestruction", "name", &key, VERSION_FORM),
        ("CancelKeyVersionDestruction", "name", &key, VERSION_FORM),
        ("UpdateKey", "key.name", &version, KEY_FORM),
        ("SetCertificateChain", "name", &key, VERSION_FORM),
        ("CreateCertificateSigningRequest", "name", ring, KEY_OR_VERSION_FORM),
        ("GetKeyRing", "name", &key, RING_FORM),
        ("ListKeys", "parent", &key, RING_FORM),
        ("CreateKey", "parent", &key, RING_FORM),
    ] {
        let rule = assert_field(call(&operator, method, name.to_owned()).await, field);
        assert_eq!(rule, expected, "{method} {name:?}");
    }
}

/// A way to spoil a creation.
type Spoil = fn(&mut v1::CreateKeyRequest);

fn key_of(request: &mut v1::CreateKeyRequest) -> &mut v1::Key {
    request.key.as_mut().unwrap()
}

fn label(request: &mut v1::CreateKeyRequest, name: &str, value: &str) {
    key_of(request).labels.insert(name.to_owned(), value.to_owned());
}

const SPOILT: &[(&str, Spoil)] = &[
    ("key_id", |request| request.key_id.clear()),
    ("key_id", |request| request.key_id = "Upper".to_owned()),
    ("key_id", |request| request.key_id = "schlüssel".to_owned()),
    ("key_id", |request| request.key_id = "a/b".to_owned()),
    ("key_id", |request| request.key_id = "-a".to_owned()),
    ("key_id", |request| request.key_id = "a".repeat(64)),
    ("key", |request| request.key = None),
    ("key.algorithm", |request| key_of(request).algorithm = 0),
    ("key.name", |request| key_of(request).name = format!("{EMPTY}/keys/k")),
    ("key.primary_version", |request| key_of(request).primary_version = format!("{EMPTY}/keys/k/versions/1")),
    ("key.create_time", |request| key_of(request).create_time = Some(prost_types::Timestamp::default())),
    ("key.update_time", |request| key_of(request).update_time = Some(prost_types::Timestamp::default())),
    ("key.etag", |request| key_of(request).etag = "e".to_owned()),
    ("request_id", |request| request.request_id = "1".to_owned()),
    ("request_id", |request| request.request_id = "9f1b7a3e6f0c4a558d5e1c2b3a4d5e6f".to_owned()),
    ("request_id", |request| request.request_id = "{9f1b7a3e-6f0c-4a55-8d5e-1c2b3a4d5e6f}".to_owned()),
    ("request_id", |request| request.request_id = "9f1b7a3e-6f0c-4a55-8d5e-1c2b3a4d5e6g".to_owned()),
    ("request_id", |request| request.request_id = "9f1b7a3e-6f0c-4a55-8d5e-1c2b3a4d5eä".to_owned()),
    ("key.allow_digest", |request| {
        *key_of(request) = v1::Key { algorithm: Algorithm::Ed25519.into(), allow_digest: true, ..v1::Key::default() };
    }),
    ("key.labels", |request| label(request, "", "a")),
    ("key.labels", |request| label(request, "Upper", "a")),
    ("key.labels", |request| label(request, "1st", "a")),
    ("key.labels", |request| label(request, "été", "a")),
    ("key.labels", |request| label(request, &"a".repeat(64), "a")),
    ("key.labels[team]", |request| label(request, "team", "a b")),
    ("key.labels[team]", |request| label(request, "team", "ä")),
    ("key.labels[team]", |request| label(request, "team", &"a".repeat(64))),
    ("key.labels", |request| (0..33).for_each(|number| label(request, &format!("l{number}"), ""))),
];

#[tokio::test]
async fn a_spoilt_creation_names_the_field_and_leaves_no_trace() {
    let chancery = CHANCERY.get().await;
    let (operator, keeper) = (chancery.operator().await.unwrap(), chancery.connect_as("keeper").await.unwrap());
    for (place, (field, spoil)) in SPOILT.iter().enumerate() {
        let mut request = new_key(EMPTY, &format!("spoilt-{place}"), Algorithm::EcdsaP256Sha256);
        spoil(&mut request);
        assert_field(keeper.keys().create_key(request).await, field);
    }
    let request = v1::ListKeysRequest { parent: EMPTY.to_owned(), ..v1::ListKeysRequest::default() };
    assert_eq!(keeper.keys().list_keys(request).await.unwrap().into_inner().keys, []);
    let request = v1::ListRecordsRequest { resource: EMPTY.to_owned(), ..v1::ListRecordsRequest::default() };
    let traces = records(&operator, request).await;
    assert!(traces.is_empty(), "{traces:?}");
}

#[tokio::test]
async fn labels_at_their_limits_are_taken() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let mut labels: HashMap<String, String> = (0..31).map(|n| (format!("l{n}"), "A.1_2-b".to_owned())).collect();
    labels.insert("a".repeat(63), "Z".repeat(63));
    let key = v1::Key { algorithm: Algorithm::Ed25519.into(), labels: labels.clone(), ..v1::Key::default() };
    let request = v1::CreateKeyRequest { key: Some(key), ..new_key(RING, &"k".repeat(63), Algorithm::Unspecified) };
    assert_eq!(create(&operator, request).await.labels, labels);
}

#[tokio::test]
async fn a_rotation_with_a_malformed_request_id_does_nothing() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "not-rotated", Algorithm::Ed25519)).await;
    let request = v1::RotateKeyRequest { name: key.name.clone(), etag: String::new(), request_id: "again".to_owned() };
    assert_field(operator.keys().rotate_key(request).await, "request_id");
    let again = operator.keys().get_key(v1::GetKeyRequest { name: key.name.clone() }).await.unwrap().into_inner();
    assert_eq!(again, key);
}

#[tokio::test]
async fn an_oversized_reason_is_refused_and_the_state_stays() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "reasoned", Algorithm::Ed25519)).await;
    let name = key.primary_version;
    let mut keys = operator.keys();
    // 512 bytes, not characters.
    for reason in ["x".repeat(513), "ä".repeat(257)] {
        let request = v1::SuspendKeyVersionRequest { name: name.clone(), reason: reason.clone() };
        assert_field(keys.suspend_key_version(request).await, "reason");
        let request = v1::ResumeKeyVersionRequest { name: name.clone(), reason };
        assert_field(keys.resume_key_version(request).await, "reason");
    }
    let version = keys.get_key_version(v1::GetKeyVersionRequest { name: name.clone() }).await.unwrap().into_inner();
    assert_eq!(version.state, i32::from(v1::KeyState::Active));
    let longest = v1::SuspendKeyVersionRequest { name, reason: "ä".repeat(256) };
    keys.suspend_key_version(longest).await.unwrap();
}

#[tokio::test]
async fn bad_pages_are_refused_by_every_list() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "paged-a", Algorithm::Ed25519)).await;
    create(&operator, new_key(RING, "paged-b", Algorithm::Ed25519)).await;
    let first = v1::ListKeysRequest { parent: RING.to_owned(), page_size: 1, page_token: String::new() };
    let keys_token = operator.keys().list_keys(first).await.unwrap().into_inner().next_page_token;
    assert!(!keys_token.is_empty());

    let list = async |list: &str, page_size: i32, page_token: &str| {
        let (operator, page_token) = (&operator, page_token.to_owned());
        match list {
            "key rings" => {
                let request = v1::ListKeyRingsRequest { page_size, page_token };
                operator.keys().list_key_rings(request).await.map(drop)
            }
            "keys" => {
                let request = v1::ListKeysRequest { parent: RING.to_owned(), page_size, page_token };
                operator.keys().list_keys(request).await.map(drop)
            }
            "keys of another ring" => {
                let request = v1::ListKeysRequest { parent: EMPTY.to_owned(), page_size, page_token };
                operator.keys().list_keys(request).await.map(drop)
            }
            "versions" => {
                let request = v1::ListKeyVersionsRequest { parent: key.name.clone(), page_size, page_token };
                operator.keys().list_key_versions(request).await.map(drop)
            }
            "records" => {
                let request = v1::ListRecordsRequest { page_size, page_token, ..v1::ListRecordsRequest::default() };
                operator.audit().list_records(request).await.map(drop)
            }
            "tokens" => {
                let request = v1::ListTokensRequest { page_size, page_token };
                operator.tokens().list_tokens(request).await.map(drop)
            }
            other => panic!("{other}"),
        }
    };
    for what in ["key rings", "keys", "keys of another ring", "versions", "records", "tokens"] {
        for size in [-1, 1001, i32::MIN, i32::MAX] {
            let rule = assert_field(list(what, size, "").await, "page_size");
            assert_eq!(rule, "must be from 1 to 1000, or 0 for 100", "{what}");
        }
        for token in ["x", "00", "zz", "ä", "deadbeefdeadbeef", &"00".repeat(100)] {
            assert_field(list(what, 1, token).await, "page_token");
        }
        if what != "keys" {
            assert_field(list(what, 1, &keys_token).await, "page_token");
        }
        list(what, 1000, "").await.unwrap();
    }
    list("keys", 1, &keys_token).await.unwrap();
}

#[tokio::test]
async fn a_page_token_of_other_filters_is_refused() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    create(&operator, new_key(RING, "filtered", Algorithm::Ed25519)).await;
    let first = v1::ListRecordsRequest { page_size: 1, ..v1::ListRecordsRequest::default() };
    let page = operator.audit().list_records(first.clone()).await.unwrap().into_inner();
    let next = v1::ListRecordsRequest { page_token: page.next_page_token, ..first };
    operator.audit().list_records(next.clone()).await.unwrap();
    for other in [
        v1::ListRecordsRequest { oldest_first: true, ..next.clone() },
        v1::ListRecordsRequest { kind: v1::RecordKind::Intent.into(), ..next.clone() },
        v1::ListRecordsRequest { caller: "callers/caller".to_owned(), ..next.clone() },
        v1::ListRecordsRequest { resource: RING.to_owned(), ..next.clone() },
        v1::ListRecordsRequest { action: "Sign".to_owned(), ..next.clone() },
        v1::ListRecordsRequest { start_time: Some(prost_types::Timestamp::default()), ..next.clone() },
    ] {
        assert_field(operator.audit().list_records(other).await, "page_token");
    }
}

#[tokio::test]
async fn bad_filters_of_the_record_are_refused() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let none = v1::ListRecordsRequest::default();
    let bad_time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    for (field, request) in [
        ("caller", v1::ListRecordsRequest { caller: "caller".to_owned(), ..none.clone() }),
        ("caller", v1::ListRecordsRequest { caller: "callers/Ä".to_owned(), ..none.clone() }),
        ("resource", v1::ListRecordsRequest { resource: "dev".to_owned(), ..none.clone() }),
        ("resource", v1::ListRecordsRequest { resource: format!("{RING}/keys/k/versions/0"), ..none.clone() }),
        ("action", v1::ListRecordsRequest { action: "sign".to_owned(), ..none.clone() }),
        ("start_time", v1::ListRecordsRequest { start_time: bad_time(0, -1), ..none.clone() }),
        ("end_time", v1::ListRecordsRequest { end_time: bad_time(0, 1_000_000_000), ..none.clone() }),
        ("end_time", v1::ListRecordsRequest { end_time: bad_time(i64::MAX, 0), ..none }),
    ] {
        assert_field(operator.audit().list_records(request).await, field);
    }
}

#[tokio::test]
async fn bad_questions_about_policy_are_refused() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = format!("{RING}/keys/imagined");
    let good = v1::ExplainAuthorizationRequest {
        caller: "callers/caller".to_owned(),
        action: "Sign".to_owned(),
        resource: key.clone(),
        algorithm: Algorithm::Ed25519.into(),
        ..v1::ExplainAuthorizationRequest::default()
    };
    operator.policy().explain_authorization(good.clone()).await.unwrap();
    let with_action = |action: &str| v1::ExplainAuthorizationRequest { action: action.to_owned(), ..good.clone() };
    let with_caller = |caller: &str| v1::ExplainAuthorizationRequest { caller: caller.to_owned(), ..good.clone() };
    let on = |action: &str, resource: &str| v1::ExplainAuthorizationRequest {
        resource: resource.to_owned(),
        ..with_action(action)
    };
    for (field, request) in [
        ("action", with_action("")),
        ("action", with_action("sign")),
        ("action", with_action("Frobnicate")),
        ("action", with_action("BatchSign")),
        ("caller", with_caller("caller")),
        ("caller", with_caller("callers/")),
        ("caller", with_caller("callers/Ä")),
        ("resource", on("Sign", "keyRings")),
        ("resource", on("Sign", "policySet")),
        ("resource", on("Sign", "keyRings/dev/keys/k/versions/0")),
        // Of another kind than the action is asked on.
        ("resource", on("Sign", "")),
        ("resource", on("Sign", RING)),
        ("resource", on("CreateKey", &key)),
        ("resource", on("GetPolicySet", RING)),
        ("resource", on("ListTokens", "tokens/main")),
        ("resource", on("GetToken", "")),
        ("algorithm", v1::ExplainAuthorizationRequest { algorithm: 0, ..good.clone() }),
        (
            "source_address",
            v1::ExplainAuthorizationRequest { source_address: "127.0.0.1:80".to_owned(), ..good.clone() },
        ),
        ("source_address", v1::ExplainAuthorizationRequest { source_address: "localhost".to_owned(), ..good.clone() }),
    ] {
        assert_field(operator.policy().explain_authorization(request).await, field);
    }
    for (name, request) in
        [("callers/nobody", with_caller("callers/nobody")), ("keyRings/nowhere", on("Sign", "keyRings/nowhere/keys/k"))]
    {
        let refused = operator.policy().explain_authorization(request).await;
        let refusal = assert_refused(refused, Code::NotFound, "RESOURCE_NOT_FOUND");
        assert_eq!(refusal.metadata["resource"], name);
    }
}

#[tokio::test]
async fn bad_policy_documents_are_refused_by_name_and_size() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let mut policy = operator.policy();
    let current = policy.get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    let document = |name: &str, text: String| v1::PolicyDocument { name: name.to_owned(), text };
    for (field, more) in [
        ("documents[1].name", document("", String::new())),
        ("documents[1].name", document("a b.cedar", String::new())),
        ("documents[1].name", document("ä.cedar", String::new())),
        ("documents[1].name", document("../roles.cedar", String::new())),
        ("documents[1].name", document(&"a".repeat(65), String::new())),
        ("documents", document("large.cedar", " ".repeat(512 * 1024))),
    ] {
        let documents: Vec<_> = current.documents.iter().cloned().chain([more]).collect();
        let validate = v1::ValidatePolicySetRequest { documents: documents.clone() };
        assert_field(policy.validate_policy_set(validate).await, field);
        let apply = v1::ApplyPolicySetRequest { documents, etag: current.etag.clone() };
        assert_field(policy.apply_policy_set(apply).await, field);
    }
    let apply = v1::ApplyPolicySetRequest { documents: current.documents.clone(), etag: String::new() };
    assert_field(policy.apply_policy_set(apply).await, "etag");
    let after = policy.get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    assert_eq!(after, current, "nothing was applied");
}

#[tokio::test]
async fn inputs_of_a_batch_have_3_mib_together() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let name = create(&operator, new_key(RING, "heavy", Algorithm::EcdsaP256Sha256)).await.name;
    let batch = |last: usize| {
        let lengths = [MIB, MIB, MIB - 1, last];
        let requests = lengths.iter().map(|length| sign(&name, &vec![1; *length])).collect();
        v1::BatchSignRequest { requests }
    };
    let rule = assert_field(caller.signing().batch_sign(batch(2)).await, "requests");
    assert_eq!(rule, format!("the inputs have {} bytes together; at most {} are taken", 3 * MIB + 1, 3 * MIB));
    assert_eq!(intents(&operator, &name).await, 0);
    let results = caller.signing().batch_sign(batch(1)).await.unwrap().into_inner().results;
    let signed =
        |result: &v1::BatchSignResult| matches!(result.result, Some(v1::batch_sign_result::Result::Response(_)));
    assert!(results.len() == 4 && results.iter().all(signed), "{results:?}");
}

#[tokio::test]
async fn a_request_larger_than_any_good_one_is_refused_by_the_transport() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let name = create(&operator, new_key(RING, "huge", Algorithm::EcdsaP256Sha256)).await.name;
    let refused = caller.signing().sign(sign(&name, &vec![1; 5 * MIB])).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    // The connection is as good as before.
    caller.signing().sign(sign(&name, digest::digest(&digest::SHA256, b"m").as_ref())).await.unwrap();
}
