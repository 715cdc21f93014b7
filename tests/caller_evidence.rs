//! Callers that sign their requests, too: what is taken, what is refused, and what the record then proves. The bytes that are
//! signed are made here a second time, from `docs/caller-evidence.md` alone, and signed by other code than the client's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey};
use chancery_api::v1::{self, Algorithm, RecordKind, SignatureEncoding};
use chancery_audit::{Covers, Details, verify_caller_signature};
use chancery_client::{
    ApiKey, Client, ClientError, ConnectOptions, EcdsaEncoding, JwtRequest, KeyRef, KeyUpdate, NewKey, SignItem, Signed,
};
use chancery_testkit::{Authority, CallerSetup, Chancery, IdentityFiles, KeyKind, Leaf, Setup};
use chancery_tests::contract::{
    Fixture, Shared, assert_field, assert_refused, create, eventually, hex, new_digest_key, new_key, records, sha256,
    sign, sign_digest,
};
use chancery_tests::evidence::{AUDIENCE, Hand, Statement};
use chancery_tests::program;
use serde_json::{Value, json};
use tonic::{Code, Status};
use v1::batch_sign_result::Result as Item;
use x509_cert::der::{Decode as _, Encode as _};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";
const MESSAGE: &[u8] = b"pay 5 to Ada";

fn setup() -> Setup {
    Chancery::setup()
        .with(CallerSetup::new("other").role("signer").ring("dev"))
        .with(CallerSetup::new("stranger").role("signer"))
        .configure(|config| {
            config["listener"].as_table_mut().unwrap().insert("client_auth".to_owned(), "optional".into());
        })
}

/// Waits until the service, which was started a moment ago, takes signatures of callers.
async fn taken(caller: &Client, hand: &Hand, key: &str) {
    eventually("a signature of the caller's is taken", async || {
        match try_sign(caller, hand.request(key, MESSAGE)).await {
            Ok(_) => Some(()),
            Err(status) => {
                assert_refused(Err::<(), _>(status), Code::Unavailable, "CALLER_SIGNATURES_NOT_YET");
                None
            }
        }
    })
    .await;
}

/// The service, which takes signatures of callers by now.
async fn service() -> Shared {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let awaited = v1::GetKeyRequest { name: format!("{RING}/keys/awaited") };
    if operator.keys().get_key(awaited).await.is_err() {
        let key = create(&operator, new_key(RING, "awaited", Algorithm::EcdsaP256Sha256)).await;
        let (caller, hand) = caller_with(&chancery, KeyKind::P256).await;
        taken(&caller, &hand, &key.name).await;
    }
    chancery
}

async fn try_sign(client: &Client, request: v1::SignRequest) -> Result<v1::SignResponse, Status> {
    Ok(client.signing().sign(request).await?.into_inner())
}

/// A caller that `chancery dev` makes, with a certificate of its own kind, and its hand.
async fn caller_with(chancery: &Chancery, kind: KeyKind) -> (Client, Hand) {
    let leaf = Leaf::spiffe("spiffe://chancery.dev/caller").key(kind);
    let files = chancery.issue(leaf, &format!("caller-{kind:?}")).unwrap();
    (chancery.connect(&files).await.unwrap(), Hand::of(&files, kind))
}

/// A client that signs its requests by itself.
async fn signing_client(chancery: &Chancery) -> Client {
    let options = chancery.connect_options(&chancery.caller_identity()).sign_requests(AUDIENCE);
    Client::connect(options).await.unwrap()
}

async fn requiring_key(operator: &Client, id: &str, algorithm: Algorithm) -> String {
    let request = new_key(RING, id, algorithm);
    let key = v1::Key { requires_caller_signature: true, ..request.key.clone().unwrap() };
    let made = create(operator, v1::CreateKeyRequest { key: Some(key), ..request }).await;
    assert!(made.requires_caller_signature);
    made.name
}

async fn details_at(operator: &Client, index: u64) -> Details {
    let record = operator.get_record(index).await.unwrap().unwrap();
    Details::from_json(&record.details_json).unwrap()
}

/// The reasons of the refusals of a resource, once there is one of these.
async fn refused_for(operator: &Client, resource: &str, reason: &str) -> Value {
    eventually(reason, async || {
        let request = v1::ListRecordsRequest {
            kind: RecordKind::Denial.into(),
            resource: resource.to_owned(),
            ..v1::ListRecordsRequest::default()
        };
        let found = records(operator, request).await;
        let details = found.iter().map(|record| serde_json::from_slice::<Value>(&record.details_json).unwrap());
        details.into_iter().find(|details| details["reason"] == reason)
    })
    .await
}

#[test]
fn the_vectors_of_the_page_are_what_it_says() {
    let page = std::fs::read_to_string(program::source_tree().join("docs/caller-evidence.md")).unwrap();
    let (_, block) = page.split_once("<!-- vectors -->\n```json\n").unwrap();
    let block: Value = serde_json::from_str(block.split_once("\n```").unwrap().0).unwrap();
    let vectors = block["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let said = &vector["caller_signature"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let bytes = |value: &Value| unhex(value.as_str().unwrap());
        let request = &said["request"];
        let rest = match request["method"].as_str().unwrap() {
            "Sign" => vec![
                text(&request["input"]).into_bytes(),
                text(&request["hash"]).into_bytes(),
                bytes(&request["digest"]),
                text(&request["encoding"]).into_bytes(),
            ],
            "SignJwt" => {
                let lifetime = request["lifetime_seconds"].as_u64().map(|seconds| seconds.to_be_bytes().to_vec());
                let token_type = text(&request["token_type"]).into_bytes();
                vec![bytes(&request["claims_sha256"]), lifetime.unwrap_or_default(), token_type]
            }
            _ => {
                let names = request["alternative_names"].as_array().unwrap().iter();
                std::iter::once(&request["subject"]).chain(names).map(|name| text(name).into_bytes()).collect()
            }
        };
        let certificate = bytes(&said["certificate"]);
        let statement = Statement {
            audience: text(&said["audience"]),
            certificate_sha256: sha256(&certificate),
            created: said["created"].as_i64().unwrap(),
            nonce: bytes(&said["nonce"]),
            method: text(&request["method"]),
            name: text(&said["name"]),
            rest,
        };
        assert_eq!(hex(&statement.bytes()), text(&vector["signed_bytes"]), "{}", vector["name"]);
        let spki = spki(&certificate);
        let verified = [
            &signature::ED25519 as &dyn signature::VerificationAlgorithm,
            &signature::ECDSA_P256_SHA256_ASN1,
            &signature::RSA_PSS_2048_8192_SHA256,
        ]
        .into_iter()
        .filter(|algorithm| {
            let key = UnparsedPublicKey::new(*algorithm, &spki);
            key.verify(&statement.bytes(), &bytes(&said["signature"])).is_ok()
        })
        .count();
        assert_eq!(verified, 1, "{}", vector["name"]);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn spki(certificate: &[u8]) -> Vec<u8> {
    let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
    certificate.tbs_certificate().subject_public_key_info().to_der().unwrap()
}

#[tokio::test]
async fn what_a_caller_has_signed_is_signed_and_the_record_proves_it() {
    let chancery = service().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "proved", Algorithm::EcdsaP256Sha256)).await;
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa2048] {
        let (caller, hand) = caller_with(&chancery, kind).await;
        let statement = hand.statement(&key.name, MESSAGE);
        let request =
            v1::SignRequest { caller_signature: Some(hand.signature(&statement)), ..sign(&key.name, MESSAGE) };
        let signed = try_sign(&caller, request.clone()).await.unwrap_or_else(|status| panic!("{kind:?}: {status}"));

        let details = details_at(&operator, signed.record_index).await;
        let evidence = verify_caller_signature(&details).unwrap().unwrap();
        assert_eq!(evidence.certificate, hand.certificate, "{kind:?}");
        assert_eq!((evidence.audience.as_str(), evidence.covers), (AUDIENCE, Covers::SignedDigest));
        assert_eq!(evidence.created.unix_micros(), statement.created);
        // The same, with nothing of ours but the page.
        let record = operator.get_record(signed.record_index).await.unwrap().unwrap();
        let said: Value = serde_json::from_slice(&record.details_json).unwrap();
        let kept = &said["caller_signature"];
        assert_eq!(kept["signature"], json!(hex(&request.caller_signature.unwrap().signature)));
        assert_eq!((&kept["nonce"], &kept["name"]), (&json!(hex(&statement.nonce)), &json!(key.name)));
        let asked = json!({"method": "Sign", "input": "message", "hash": "SHA-256", "digest": hex(&sha256(MESSAGE)), "encoding": "DER"});
        assert_eq!(kept["request"], asked);
    }
}

#[tokio::test]
async fn a_digest_is_spoken_of_by_the_hash_of_the_key() {
    let chancery = service().await;
    let operator = chancery.operator().await.unwrap();
    let (caller, hand) = caller_with(&chancery, KeyKind::P256).await;
    let long = create(&operator, new_digest_key(RING, "long", Algorithm::EcdsaP384Sha384)).await;
    let pure = create(&operator, new_key(RING, "pure", Algorithm::Ed25519)).await;
    let sha384 = digest::digest(&digest::SHA384, MESSAGE).as_ref().to_vec();
    let vouched = |statement: &Statement, request: v1::SignRequest| v1::SignRequest {
        caller_signature: Some(hand.signature(statement)),
        ..request
    };
    let fixed = |request: v1::SignRequest| v1::SignRequest { encoding: SignatureEncoding::P1363.into(), ..request };

    let version = &long.primary_version;
    let by_digest = hand.statement_of(version, &["digest", "SHA-384"], &sha384, "P1363");
    let good = [
        vouched(&by_digest, fixed(sign_digest(version, &sha384))),
        vouched(&hand.statement_of(&long.name, &["message", "SHA-384"], &sha384, "DER"), sign(&long.name, MESSAGE)),
        vouched(&hand.statement(&pure.name, MESSAGE), sign(&pure.name, MESSAGE)),
    ];
    for request in good {
        let signed = try_sign(&caller, request).await.unwrap();
        let details = details_at(&operator, signed.record_index).await;
        assert_eq!(verify_caller_signature(&details).unwrap().unwrap().covers, Covers::SignedDigest);
    }
    // The SHA-256 of it says nothing of what a key with SHA-384 signs.
    let short = vouched(&hand.statement(&long.name, MESSAGE), sign(&long.name, MESSAGE));
    let refusal = assert_refused(try_sign(&caller, short).await, Code::PermissionDenied, "CALLER_SIGNATURE_INVALID");
    assert!(refusal.message.contains("SHA-384") && refusal.message.contains(AUDIENCE), "{refusal}");
}

#[tokio::test]
async fn whatever_is_altered_is_refused_and_on_the_record() {
    let chancery = service().await;
    let operator = chancery.operator().await.unwrap();
    let (caller, hand) = caller_with(&chancery, KeyKind::P256).await;
    let key = create(&operator, new_digest_key(RING, "altered", Algorithm::EcdsaP256Sha256)).await;
    let other = create(&operator, new_digest_key(RING, "altered-other", Algorithm::EcdsaP256Sha256)).await;
    let good = hand.statement(&key.name, MESSAGE);
    let with = |change: &dyn Fn(&mut Statement)| {
        let mut statement = hand.statement(&key.name, MESSAGE);
        change(&mut statement);
        // What goes over the wire beside the signature is as it should be.
        let sent = v1::CallerSignature { signature: hand.sign(&statement.bytes()), ..hand.signature(&good) };
        v1::SignRequest { caller_signature: Some(sent), ..sign(&key.name, MESSAGE) }
    };
    let sent = |change: &dyn Fn(&mut v1::SignRequest, &mut v1::CallerSignature)| {
        let (mut request, mut signature) =
            (sign(&key.name, MESSAGE), hand.signature(&hand.statement(&key.name, MESSAGE)));
        change(&mut request, &mut signature);
        v1::SignRequest { caller_signature: Some(signature), ..request }
    };
    let altered = [
        // Signed otherwise than it is sent.
        with(&|statement| statement.audience = "chancery-prod".to_owned()),
        with(&|statement| statement.certificate_sha256[0] ^= 1),
        with(&|statement| statement.created -= 1),
        with(&|statement| statement.nonce[15] ^= 1),
        with(&|statement| statement.method = "SignJwt".to_owned()),
        with(&|statement| statement.name.clone_from(&key.primary_version)),
        with(&|statement| statement.rest[0] = b"digest".to_vec()),
        with(&|statement| statement.rest[1] = b"SHA-512".to_vec()),
        with(&|statement| statement.rest[2][31] ^= 1),
        with(&|statement| statement.rest[3] = b"P1363".to_vec()),
        with(&|statement| statement.rest.push(Vec::new())),
        // Sent otherwise than it was signed.
        sent(&|request, _| request.name.clone_from(&other.name)),
        sent(&|request, _| request.name.clone_from(&key.primary_version)),
        sent(&|request, _| request.input = sign(&key.name, b"pay 6 to Ada").input),
        sent(&|request, _| request.input = sign_digest(&key.name, &sha256(MESSAGE)).input),
        sent(&|request, _| request.encoding = SignatureEncoding::P1363.into()),
        sent(&|_, signature| signature.create_time.as_mut().unwrap().seconds -= 1),
        sent(&|_, signature| signature.nonce[0] ^= 1),
        sent(&|_, signature| *signature.signature.last_mut().unwrap() ^= 1),
        sent(&|_, signature| signature.signature = vec![0; 64]),
    ];
    for (place, request) in altered.into_iter().enumerate() {
        let answer = try_sign(&caller, request).await;
        let Err(status) = &answer else { panic!("{place} was signed") };
        assert_eq!(status.code(), Code::PermissionDenied, "{place}: {status}");
        assert_refused(answer, Code::PermissionDenied, "CALLER_SIGNATURE_INVALID");
    }
    let denial = refused_for(&operator, &key.name, "CALLER_SIGNATURE_INVALID").await;
    assert_eq!((&denial["caller"], &denial["action"]), (&json!("caller"), &json!("Sign")));
    assert!(denial.get("caller_signature").is_none() && denial["message"].as_str().unwrap().contains("signature"));
    // Nothing of it was signed; what is right still is.
    let request = v1::SignRequest { caller_signature: Some(hand.signature(&good)), ..sign(&key.name, MESSAGE) };
    try_sign(&caller, request).await.unwrap();
    let intents = v1::ListRecordsRequest {
        kind: RecordKind::Intent.into(),
        resource: key.name.clone(),
        action: "Sign".to_owned(),
        ..v1::ListRecordsRequest::default()
    };
    assert_eq!(records(&operator, intents).await.len(), 1);
}

#[tokio::test]
async fn only_the_certificate_of_the_connection_vouches() {
    let chancery = service().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "whose", Algorithm::EcdsaP256Sha256)).await;
    let (caller, hand) = caller_with(&chancery, KeyKind::P256).await;
    let files = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/other"), "other-hand").unwrap();
    let other = Hand::of(&files, KeyKind::P256);
    let refused = async |request| {
        let answer = try_sign(&caller, request).await;
        assert_refused(answer, Code::PermissionDenied, "CALLER_SIGNATURE_OTHER_CERTIFICATE")
    };
    refused(other.request(&key.name, MESSAGE)).await;
    refused_for(&operator, &key.name, "CALLER_SIGNATURE_OTHER_CERTIFICATE").await;
    // Another certificate of the same caller is another certificate, too.
    let leaf = Leaf::spiffe("spiffe://chancery.dev/caller");
    let renewed = Hand::of(&chancery.issue(leaf, "caller-renewed").unwrap(), KeyKind::P256);
    refused(renewed.request(&key.name, MESSAGE)).await;
    // Who names the connection's certificate and signs with another key is found out.
    let mut statement = other.statement(&key.name, MESSAGE);
    statement.certificate_sha256 = sha256(&hand.certificate);
    let forged = v1::SignRequest { caller_signature: Some(other.signature(&statement)), ..sign(&key.name, MESSAGE) };
    assert_refused(try_sign(&caller, forged).await, Code::PermissionDenied, "CALLER_SIGNATURE_INVALID");

    // Without a certificate there is nothing to check it by.
    let issued = operator
        .callers()
        .issue_api_key(v1::IssueApiKeyRequest {
            parent: "callers/caller".to_owned(),
            lifetime: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            scope: Some(v1::ApiKeyScope { access: v1::ApiKeyAccess::ReadWrite.into(), ..v1::ApiKeyScope::default() }),
            request_id: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    let api_key = || ApiKey::parse(&issued.key).unwrap();
    let options = || ConnectOptions::with_api_key(chancery.endpoint(), chancery.ca(), api_key());
    let bearer = Client::connect(options()).await.unwrap();
    try_sign(&bearer, sign(&key.name, MESSAGE)).await.unwrap();
    let answer = try_sign(&bearer, hand.request(&key.name, MESSAGE)).await;
    let refusal = assert_refused(answer, Code::PermissionDenied, "CALLER_SIGNATURE_OTHER_CERTIFICATE");
    assert!(refusal.message.contains("no client certificate"), "{refusal}");
    let error = Client::connect(options().sign_requests(AUDIENCE)).await.unwrap_err();
    assert!(matches!(error, ClientError::Request { .. }), "{error}");
}

#[tokio::test]
async fn each_is_good_once_and_for_a_minute() {
    let chancery = service().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "once", Algorithm::EcdsaP256Sha256)).await;
    let (caller, hand) = caller_with(&chancery, KeyKind::P256).await;
    let request = hand.request(&key.name, MESSAGE);
    try_sign(&caller, request.clone()).await.unwrap();
    let again = try_sign(&caller, request.clone()).await;
    assert_refused(again, Code::PermissionDenied, "CALLER_SIGNATURE_REPLAYED");
    refused_for(&operator, &key.name, "CALLER_SIGNATURE_REPLAYED").await;
    // Neither does another connection of the same certificate change anything.
    let again = chancery.connect(&files_of(&chancery, "caller-P256")).await.unwrap();
    assert_refused(try_sign(&again, request).await, Code::PermissionDenied, "CALLER_SIGNATURE_REPLAYED");
    // The same nonce over another request is used, too.
    let mut statement = hand.statement(&key.name, MESSAGE);
    let signed = |statement: &Statement, message: &[u8]| v1::SignRequest {
        caller_signature: Some(hand.signature(statement)),
        ..sign(&key.name, message)
    };
    try_sign(&caller, signed(&statement, MESSAGE)).await.unwrap();
    statement.rest[2] = sha256(b"more");
    let answer = try_sign(&caller, signed(&statement, b"more")).await;
    assert_refused(answer, Code::PermissionDenied, "CALLER_SIGNATURE_REPLAYED");

    for seconds in [-120, 120] {
        let mut statement = hand.statement(&key.name, MESSAGE);
        statement.created += seconds * 1_000_000;
        let answer = try_sign(&caller, signed(&statement, MESSAGE)).await;
        assert_refused(answer, Code::PermissionDenied, "CALLER_SIGNATURE_STALE");
    }
    refused_for(&operator, &key.name, "CALLER_SIGNATURE_STALE").await;
}

fn files_of(chancery: &Chancery, name: &str) -> IdentityFiles {
    let path = |end: &str| chancery.identities().join(format!("{name}.{end}"));
    IdentityFiles { certificate: path("pem"), private_key: path("key") }
}

#[tokio::test]
async fn the_items_of_a_batch_and_the_messages_of_a_stream_have_their_own() {
    let chancery = service().await;
    let operator = chancery.operator().await.unwrap();
    let key = requiring_key(&operator, "many", Algorithm::EcdsaP256Sha256).await;
    let (caller, hand) = caller_with(&chancery, KeyKind::Ed25519).await;
    let first = hand.request(&key, b"1");
    let requests = vec![first.clone(), hand.request(&key, b"2"), first, sign(&key, b"3")];
    let answer = caller.signing().batch_sign(v1::BatchSignRequest { requests }).await.unwrap().into_inner();
    let mut indexes = Vec::new();
    let mut refused = Vec::new();
    for result in answer.results {
        match result.result.unwrap() {
            Item::Response(response) => indexes.push(response.record_index),
            Item::Error(error) => refused.push(chancery_client::Refusal::from(error).reason.unwrap()),
        }
    }
    assert_eq!(refused, ["CALLER_SIGNATURE_REPLAYED", "CALLER_SIGNATURE_REQUIRED"]);
    let mut nonces = Vec::new();
    for index in &indexes {
        let details = details_at(&operator, *index).await;
        assert!(verify_caller_signature(&details).unwrap().is_some());
        nonces.push(details.caller_signature.unwrap().nonce);
    }
    assert!(indexes.len() == 2 && nonces[0] != nonces[1], "each record has its own evidence");

    let client = signing_client(&chancery).await;
    let (sender, mut answers) = client.stream_sign().await.unwrap();
    let name: chancery_client::KeyRef = key.parse().unwrap();
    for number in 0..3 {
        sender.send(number.to_string(), SignItem::new(name.clone(), format!("{number}").into_bytes())).await.unwrap();
    }
    drop(sender);
    let mut signed = 0;
    while let Some(answer) = answers.next().await {
        let signature = answer.unwrap().result.unwrap();
        assert!(verify_caller_signature(&details_at(&operator, signature.record_index).await).unwrap().is_some());
        signed += 1;
    }
    assert_eq!(signed, 3);
    let (sender, mut answers) = chancery.caller().await.unwrap().stream_sign().await.unwrap();
    sender.send("unsigned", SignItem::new(name, "m")).await.unwrap();
    let refused = answers.next().await.unwrap().unwrap().result.unwrap_err();
    assert_eq!(refused.reason(), Some("CALLER_SIGNATURE_REQUIRED"));
}

#[tokio::test]
async fn a_key_may_require_it_of_everything_that_it_signs() {
    let chancery = service().await;
    let (operator, plain) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = requiring_key(&operator, "strict", Algorithm::EcdsaP384Sha384).await;
    let name: chancery_client::model::KeyName = key.parse().unwrap();
    let required = |error: ClientError| {
        assert_eq!((error.code(), error.reason()), (Some(Code::PermissionDenied), Some("CALLER_SIGNATURE_REQUIRED")));
    };
    required(plain.sign(&key, MESSAGE, EcdsaEncoding::Der).await.unwrap_err());
    required(plain.sign_jwt(&key, JwtRequest::new(r#"{"sub":"ada"}"#)).await.unwrap_err());
    required(plain.create_certificate_signing_request(&key, "CN=a", &[]).await.unwrap_err());
    for action in ["Sign", "SignJwt", "CreateCertificateSigningRequest"] {
        eventually(action, async || {
            let request = v1::ListRecordsRequest {
                kind: RecordKind::Denial.into(),
                resource: key.clone(),
                action: action.to_owned(),
                ..v1::ListRecordsRequest::default()
            };
            let found = records(&operator, request).await;
            found.iter().any(|record| String::from_utf8_lossy(&record.details_json).contains("REQUIRED")).then_some(())
        })
        .await;
    }
    // Whoever may not use the key learns nothing of what it requires.
    let stranger = chancery.connect_as("stranger").await.unwrap();
    assert_refused(try_sign(&stranger, sign(&key, MESSAGE)).await, Code::PermissionDenied, "ACCESS_DENIED");

    let client = signing_client(&chancery).await;
    let signed = client.sign(&key, MESSAGE, EcdsaEncoding::P1363).await.unwrap();
    let evidence = verify_caller_signature(&details_at(&operator, signed.record_index).await).unwrap().unwrap();
    assert_eq!(evidence.covers, Covers::SignedDigest);
    let batch = client.batch_sign([SignItem::new(name.clone(), "1"), SignItem::new(name.clone(), "2")]).await;
    assert!(batch.iter().all(Result::is_ok), "{batch:?}");
    for request in [
        JwtRequest::new(r#"{"sub":"ada"}"#),
        JwtRequest::new(r#"{"sub":"ada"}"#).lifetime(Duration::from_secs(60)).token_type("at+jwt"),
    ] {
        let token = client.sign_jwt(&key, request).await.unwrap();
        let details = details_at(&operator, token.record_index).await;
        let evidence = verify_caller_signature(&details).unwrap().unwrap();
        assert_eq!(evidence.covers, Covers::WhatWasAskedFor);
    }
    let names = [chancery_client::AlternativeName::Dns("a.example".to_owned())];
    let made = client.create_certificate_signing_request(&key, "CN=a", &names).await.unwrap();
    let details = details_at(&operator, made.record_index).await;
    assert_eq!(verify_caller_signature(&details).unwrap().unwrap().covers, Covers::WhatWasAskedFor);

    // It goes as it came, and is no matter for MAC keys.
    let change = KeyUpdate::new(&name).requires_caller_signature(false);
    assert!(!operator.update_key(change).await.unwrap().settings.requires_caller_signature);
    plain.sign(&key, MESSAGE, EcdsaEncoding::Der).await.unwrap();
    let change = KeyUpdate::new(&name).requires_caller_signature(true);
    assert!(operator.update_key(change).await.unwrap().settings.requires_caller_signature);
    required(plain.sign(&key, MESSAGE, EcdsaEncoding::Der).await.unwrap_err());
    let mac = new_key(RING, "no-mac", Algorithm::HmacSha256);
    let mac_key = v1::Key { requires_caller_signature: true, ..mac.key.clone().unwrap() };
    let answer = operator.keys().create_key(v1::CreateKeyRequest { key: Some(mac_key), ..mac }).await;
    assert_field(answer, "key.requires_caller_signature");
}

#[tokio::test]
async fn the_command_line_signs_requests_and_shows_that_they_were() {
    let chancery = service().await;
    let operator = chancery.operator().await.unwrap();
    let said = program::succeed(chancery.cli().args([
        "keys",
        "create",
        "dev/by-hand",
        "--algorithm",
        "ECDSA_P256_SHA256",
        "--requires-caller-signature",
    ]));
    assert!(said.contains("requires caller signature") && said.contains("yes"), "{said}");
    let file = chancery.dir().join("invoice.txt");
    std::fs::write(&file, MESSAGE).unwrap();
    let sign = |more: &[&str]| {
        let mut command = chancery.cli();
        command.args(["sign", "dev/by-hand", "--output", "json", "--in"]).arg(&file).args(more);
        program::run(&mut command)
    };
    let (said, code) = sign(&[]);
    assert!(code != Some(0) && said.contains("--caller-signature"), "{said}");
    let (said, code) = sign(&["--caller-signature", AUDIENCE]);
    assert_eq!(code, Some(0), "{said}");
    let index = serde_json::from_str::<Value>(&said).unwrap()["record_index"].as_u64().unwrap();
    let shown = program::succeed(chancery.cli().args(["audit", "show", &index.to_string()]));
    assert!(shown.contains("caller's signature") && shown.contains("holds: ECDSA_P256_SHA256"), "{shown}");
    let receipt = chancery.dir().join("invoice.receipt");
    let make = ["audit", "receipt", &index.to_string(), "--out", receipt.to_str().unwrap()];
    let _said = program::succeed(chancery.cli().args(make));
    let log_key = program::succeed(chancery.cli().args(["audit", "log-key"])).trim().to_owned();
    let verify = |audience: &str| {
        let mut verify = program::command(program::chancery());
        verify.args(["verify", "--log-key", &log_key, "--audience", audience, "--receipt"]).arg(&receipt);
        program::run(&mut verify)
    };
    let (said, code) = verify(AUDIENCE);
    assert!(code == Some(0) && said.contains("holds: ECDSA_P256_SHA256"), "{said}");
    let (said, code) = verify("chancery.elsewhere.example");
    assert!(code == Some(1) && said.contains("NOT PROVEN: the caller's own signature is for chancery-dev"), "{said}");
    assert!(verify_caller_signature(&details_at(&operator, index).await).unwrap().is_some());
}

#[tokio::test]
async fn who_issued_the_certificate_is_held_to_the_authorities_that_a_reader_trusts() {
    let chancery = service().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "issued", Algorithm::EcdsaP256Sha256)).await;
    let item = || SignItem::new(key.name.parse::<KeyRef>().unwrap(), MESSAGE).with_receipt();
    let receipt = |name: &str, signed: Signed| {
        let path = chancery.dir().join(name);
        std::fs::write(&path, signed.receipt.unwrap().unwrap()).unwrap();
        path
    };
    let signed = receipt("issued.receipt", signing_client(&chancery).await.sign_item(item()).await.unwrap());
    let unsigned = receipt("plain.receipt", chancery.caller().await.unwrap().sign_item(item()).await.unwrap());
    let log_key = program::succeed(chancery.cli().args(["audit", "log-key"])).trim().to_owned();
    let (own, stranger) = (chancery.ca().to_str().unwrap(), chancery.dir().join("stranger.pem"));
    std::fs::write(&stranger, Authority::unknown().unwrap().certificate()).unwrap();
    let stranger = stranger.to_str().unwrap();
    let verify = |receipt: &Path, more: &[&str]| {
        let mut verify = program::command(program::chancery());
        verify.args(["verify", "--log-key", &log_key, "--receipt"]).arg(receipt).args(more);
        program::run(&mut verify)
    };
    let verdict = |receipt: &Path, more: &[&str]| {
        let (said, code) = verify(receipt, &[more, &["--output", "json"]].concat());
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(said["proven"], code == Some(0), "{said}");
        let issuer = said["record"]["caller_signature"]["issuer"].as_str().map(str::to_owned);
        (issuer, said["fault"]["part"].as_str().map(str::to_owned), code)
    };
    let word = |word: &str| Some(word.to_owned());
    for (authorities, issuer) in [
        (&[][..], "NOT_CHECKED"),
        (&["--client-ca", own], "TRUSTED"),
        (&["--client-ca", stranger, "--client-ca", own], "TRUSTED"),
    ] {
        assert_eq!(verdict(&signed, authorities), (word(issuer), None, Some(0)), "{authorities:?}");
    }
    // An authority of DNS names is none of SPIFFE ids.
    for authorities in [["--client-ca", stranger], ["--client-ca-dns", own]] {
        let refused = (word("NOT_TRUSTED"), word("CALLER_CERTIFICATE"), Some(1));
        assert_eq!(verdict(&signed, &authorities), refused, "{authorities:?}");
    }
    assert_eq!(verdict(&unsigned, &[]), (None, None, Some(0)));
    assert_eq!(verdict(&unsigned, &["--client-ca", own]), (None, word("CALLER_SIGNATURE"), Some(1)));
    // For people.
    let (said, _) = verify(&signed, &[]);
    assert!(said.contains("of spiffe://chancery.dev/caller over this very digest"), "{said}");
    assert!(said.contains("who issued the certificate was not checked") && said.contains("(--client-ca)"), "{said}");
    let (said, _) = verify(&signed, &["--client-ca", own]);
    assert!(
        said.contains("the certificate is by an authority that was given") && !said.contains("--client-ca"),
        "{said}"
    );
    let (said, _) = verify(&signed, &["--client-ca", stranger]);
    assert!(said.starts_with("NOT PROVEN: none of the authorities that were given has issued"), "{said}");
    // What cannot be used.
    let (said, code) = verify(&signed, &["--client-ca", signed.to_str().unwrap()]);
    assert!(code == Some(3) && said.contains("holds no PEM certificate"), "{said}");
    let online = ["verify", "dev/issued", "--signature", "none", "--client-ca", own];
    let (said, code) = program::run(chancery.cli().args(online));
    assert!(code == Some(2) && said.contains("--receipt"), "{said}");

    // A whole log: each signature that is there is checked, of a service and of its database.
    let database = chancery.dir().join("chancery.db");
    for source in [&[][..], &["--database", database.to_str().unwrap()]] {
        let mut whole = chancery.cli();
        whole.args(["audit", "verify", "--log-key", &log_key]).args(source);
        let (said, code) = program::run(&mut whole);
        assert!(code == Some(0) && said.contains(", and each holds; who issued their certificates"), "{said}");
        let said = program::succeed(whole.args(["--output", "json"]));
        let said: Value = serde_json::from_str(&said).unwrap();
        assert!(said["report"]["caller_signatures"].as_u64().unwrap() > 0, "{said}");
    }
}

#[tokio::test]
async fn a_restart_lets_no_signature_be_used_twice() {
    let mut chancery = setup().start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "restarted", Algorithm::EcdsaP256Sha256)).await;
    let (caller, hand) = caller_with(&chancery, KeyKind::P256).await;
    taken(&caller, &hand, &key.name).await;
    let used = hand.request(&key.name, MESSAGE);
    try_sign(&caller, used.clone()).await.unwrap();
    // Signed by a clock that is ahead.
    let ahead = {
        let mut statement = hand.statement(&key.name, MESSAGE);
        statement.created += 4_500_000;
        v1::SignRequest { caller_signature: Some(hand.signature(&statement)), ..sign(&key.name, MESSAGE) }
    };
    try_sign(&caller, ahead.clone()).await.unwrap();
    chancery.restart().await.unwrap();
    let caller = chancery.connect(&files_of(&chancery, "caller-P256")).await.unwrap();
    for used in [used, ahead] {
        // A machine that takes a minute for the restart finds it stale.
        let Err(status) = try_sign(&caller, used).await else { panic!("it was used twice") };
        let reason = chancery_client::Refusal::from(status).reason.unwrap();
        assert!(["CALLER_SIGNATURES_NOT_YET", "CALLER_SIGNATURE_STALE"].contains(&reason.as_str()), "{reason}");
    }
    // The client waits for as long as it is told to.
    let client = signing_client(&chancery).await;
    client.sign(&key.name, MESSAGE, EcdsaEncoding::Der).await.unwrap();
    taken(&caller, &hand, &key.name).await;
}

#[tokio::test]
async fn a_service_without_an_audience_takes_none() {
    let chancery =
        Chancery::setup().configure(|config| drop(config.remove("caller_signatures"))).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "plain", Algorithm::EcdsaP256Sha256)).await;
    let (caller, hand) = caller_with(&chancery, KeyKind::P256).await;
    try_sign(&caller, sign(&key.name, MESSAGE)).await.unwrap();
    let not_taken = "CALLER_SIGNATURES_NOT_TAKEN";
    let answer = try_sign(&caller, hand.request(&key.name, MESSAGE)).await;
    assert_refused(answer, Code::FailedPrecondition, not_taken);
    let name: chancery_client::model::KeyName = key.name.parse().unwrap();
    let required = KeyUpdate::new(&name).requires_caller_signature(true);
    assert_eq!(operator.update_key(required).await.unwrap_err().reason(), Some(not_taken));
    let strict = format!("{RING}/keys/strict").parse().unwrap();
    let mut new = NewKey::new(strict, chancery_client::model::Algorithm::Ed25519);
    new.settings.requires_caller_signature = true;
    assert_eq!(operator.create_key(new).await.unwrap_err().reason(), Some(not_taken));
}
