//! The record from outside: what is on it after each kind of call, how it is listed, and that its leaves are what
//! `docs/audit-record.md` says. They are read by that page alone; no code of the service takes part.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::BTreeSet;
use std::time::Instant;

use aws_lc_rs::digest;
use base64ct::{Base64, Encoding as _};
use chancery_api::v1::{self, Algorithm, RecordKind, SignatureEncoding};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{
    Fixture, assert_refused, contains, create, eventually, hex, message, new_digest_key, new_key, records, refusal,
    sha256, sign, sign_digest, uuid,
};
use chancery_tests::leaf::{Body, Leaf};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Request};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";

fn setup() -> Setup {
    Chancery::setup()
        .ring("live", "prod")
        .with(CallerSetup::new("live-keeper").environment("prod").role("key-administrator").ring("live"))
        .with(CallerSetup::new("verifier").role("verifier").ring("dev"))
        .with(CallerSetup::new("stranger").role("signer").ring("dev").ring("live"))
}

/// Records of one kind on a resource and what is below it, oldest first.
async fn on(operator: &Client, resource: &str, kind: RecordKind) -> Vec<v1::AuditRecord> {
    let request = v1::ListRecordsRequest {
        resource: resource.to_owned(),
        kind: kind.into(),
        oldest_first: true,
        ..v1::ListRecordsRequest::default()
    };
    records(operator, request).await
}

/// The outcome of an intent or act, and its part about it. It is on the record soon after, and nobody waits for it.
async fn outcome_of(operator: &Client, index: u64) -> (v1::AuditRecord, v1::RecordedOutcome) {
    eventually("an outcome", async || {
        let request = v1::ListRecordsRequest { kind: RecordKind::Outcome.into(), ..v1::ListRecordsRequest::default() };
        let mut found = records(operator, request).await.into_iter().filter_map(|record| {
            let item = record.outcomes.iter().find(|item| item.record_index == index).cloned()?;
            Some((record, item))
        });
        let one = found.next()?;
        assert!(found.next().is_none(), "an intent ends once");
        Some(one)
    })
    .await
}

fn details(record: &v1::AuditRecord) -> Value {
    serde_json::from_slice(&record.details_json).unwrap()
}

fn fixed(encoding: v1::SignRequest) -> v1::SignRequest {
    v1::SignRequest { encoding: SignatureEncoding::P1363.into(), ..encoding }
}

#[tokio::test]
async fn a_signature_has_its_intent_before_its_outcome_and_the_intent_says_it_all() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "intended", Algorithm::EcdsaP384Sha384)).await;
    let text = b"what is signed";
    let mut request = Request::new(fixed(sign(&key.name, text)));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    request.metadata_mut().insert("traceparent", format!("00-{trace}-00f067aa0ba902b7-01").parse().unwrap());
    let signed = caller.signing().sign(request).await.unwrap().into_inner();

    let intents = on(&operator, &key.name, RecordKind::Intent).await;
    let [intent] = intents.as_slice() else { panic!("one intent: {intents:?}") };
    assert_eq!(intent.index, signed.record_index);
    assert_eq!((intent.caller.as_str(), intent.action.as_str()), ("callers/caller", "Sign"));
    assert_eq!(intent.resource, key.primary_version);
    assert!(intent.outcomes.is_empty());

    let (outcome, item) = outcome_of(&operator, intent.index).await;
    assert!(outcome.index > intent.index);
    assert_eq!(
        (outcome.caller.as_str(), outcome.action.as_str()),
        ("callers/caller", "Sign"),
        "said again, for searches"
    );
    assert_eq!(item.result, "DONE");
    assert_eq!(item.signature_sha256, sha256(&signed.signature), "of the token's own encoding: r and s, fixed width");
    assert_eq!(details(&outcome)["items"][0]["intent"], json!(intent.index));
    assert_eq!(details(&outcome)["items"][0]["result"], json!("DONE"));
    let micros = |record: &v1::AuditRecord| record.time.map(|time| (time.seconds, time.nanos)).unwrap();
    assert!(micros(intent) <= micros(&outcome));

    let said = details(intent);
    assert_eq!(said["caller"], json!("caller"));
    let certificate = certificate(&chancery);
    let authentication = &said["authentication"];
    assert_eq!(authentication["method"], json!("certificate"));
    assert_eq!(authentication["identity"], json!("spiffe://chancery.dev/caller"));
    assert_eq!(authentication["certificate_sha256"], json!(hex(&sha256(&certificate))));
    let serial = authentication["certificate_serial"].as_str().unwrap();
    assert!(contains(&certificate, &unhex(serial)), "the certificate has the serial {serial}");
    let source: std::net::SocketAddr = said["source_address"].as_str().unwrap().parse().expect("address and port");
    assert!(source.ip().is_loopback() && source.port() != 0);
    assert_eq!((&said["action"], &said["resource"]), (&json!("Sign"), &json!(key.primary_version)));
    assert_eq!(said["algorithm"], json!("ECDSA_P384_SHA384"));
    let digest = digest::digest(&digest::SHA384, text);
    assert_eq!(said["signed"], json!({"hash": "SHA-384", "digest": hex(digest.as_ref())}));
    let request = v1::GetPublicKeyRequest { name: key.name.clone(), ..v1::GetPublicKeyRequest::default() };
    let public = caller.signing().get_public_key(request).await.unwrap().into_inner();
    assert_eq!(said["spki_sha256"], json!(hex(&public.sha256)));
    assert_eq!((&said["decision"], &said["policies"]), (&json!("ALLOW"), &json!(["signer"])));
    let set = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    assert_eq!(said["policy_set"], json!(hex(&set.sha256)));
    assert_eq!(said["trace_id"], json!(trace));
    let attributes = &said["attributes"];
    assert!(attributes["principal"].is_object() && attributes["resource"].is_object(), "{attributes}");
    assert_eq!(attributes["context"]["inputBytes"], json!(text.len()), "{attributes}");

    let shown: BTreeSet<_> = intent.details.as_ref().unwrap().fields.keys().cloned().collect();
    let stored: BTreeSet<_> = said.as_object().unwrap().keys().cloned().collect();
    assert_eq!(shown, stored, "details are the details_json, to read with less trouble");
    let compact = serde_json::to_vec(&said).unwrap();
    assert_eq!(compact.len(), intent.details_json.len(), "without white space");
}

/// The caller's certificate, DER.
fn certificate(chancery: &Chancery) -> Vec<u8> {
    let announcement = std::fs::read(chancery.dir().join("dev.json")).unwrap();
    let announcement: Value = serde_json::from_slice(&announcement).unwrap();
    let pem = std::fs::read_to_string(announcement["caller"]["cert"].as_str().unwrap()).unwrap();
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    let (body, _) = rest.split_once("-----END CERTIFICATE-----").unwrap();
    Base64::decode_vec(&body.split_whitespace().collect::<String>()).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn what_is_signed_is_recorded_by_its_digest() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let text = b"some words";
    let given = sha256(b"other words");
    for (id, algorithm, request, hash, expected) in [
        ("by-p256", Algorithm::EcdsaP256Sha256, sign("", text), "SHA-256", sha256(text)),
        ("by-digest", Algorithm::EcdsaP256Sha256, sign_digest("", &given), "SHA-256", given.clone()),
        (
            "by-p521",
            Algorithm::EcdsaP521Sha512,
            sign("", text),
            "SHA-512",
            digest::digest(&digest::SHA512, text).as_ref().to_vec(),
        ),
        // The token hashes it itself, with more than the message.
        ("by-ed25519", Algorithm::Ed25519, sign("", text), "SHA-256", sha256(text)),
    ] {
        let new = if id == "by-digest" { new_digest_key(RING, id, algorithm) } else { new_key(RING, id, algorithm) };
        let key = create(&operator, new).await;
        let request = fixed(v1::SignRequest { name: key.name.clone(), ..request });
        let signed = caller.signing().sign(request).await.unwrap().into_inner();
        let intent = on(&operator, &key.name, RecordKind::Intent).await.remove(0);
        assert_eq!(details(&intent)["signed"], json!({"hash": hash, "digest": hex(&expected)}), "{id}");
        let (_, item) = outcome_of(&operator, signed.record_index).await;
        assert_eq!(item.signature_sha256, sha256(&signed.signature), "{id}");
    }
}

/// On a service of its own: it reads every file that the service wrote.
#[tokio::test]
async fn a_message_is_nowhere_in_the_record_nor_on_the_disk() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let canary = format!("canary-{}", uuid());
    let canary = canary.as_bytes();
    for (id, algorithm) in [("canary-p256", Algorithm::EcdsaP256Sha256), ("canary-ed25519", Algorithm::Ed25519)] {
        let key = create(&operator, new_key(RING, id, algorithm)).await;
        let signed = caller.signing().sign(sign(&key.name, canary)).await.unwrap().into_inner();
        let (_, item) = outcome_of(&operator, signed.record_index).await;
        assert_eq!(item.result, "DONE");
        let check = v1::VerifyRequest {
            name: key.name.clone(),
            input: message(canary),
            signature: signed.signature,
            ..v1::VerifyRequest::default()
        };
        assert!(caller.signing().verify(check.clone()).await.unwrap().into_inner().valid);
        // Also where it is refused.
        operator.signing().sign(sign(&key.name, canary)).await.unwrap_err();
        operator.signing().verify(check).await.unwrap_err();
        let unknown = format!("{RING}/keys/canary-unknown");
        caller.signing().sign(sign(&unknown, canary)).await.unwrap_err();
    }
    let denied = async || {
        let request = v1::ListRecordsRequest { kind: RecordKind::Denial.into(), ..v1::ListRecordsRequest::default() };
        let found = records(&operator, request).await;
        let counted: u64 = found.iter().map(|record| u64::from(denials(record))).sum();
        (counted >= 6).then_some(())
    };
    eventually("the denials on the record", denied).await;

    let encodings = [canary.to_vec(), hex(canary).into_bytes(), Base64::encode_string(canary).into_bytes()];
    let all = records(&operator, v1::ListRecordsRequest::default()).await;
    assert!(all.len() >= 10);
    for record in &all {
        let bytes = record.encode_to_vec();
        assert!(!encodings.iter().any(|canary| contains(&bytes, canary)), "record {}", record.index);
    }
    let dir = chancery.dir();
    let log = chancery.log();
    let mut files = vec![dir.clone()];
    let mut read = BTreeSet::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!encodings.iter().any(|canary| contains(&bytes, canary)), "{}", path.display());
            read.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    assert!(read.contains("chancery.db"), "{read:?}");
    // The search finds what is there: the key's name is.
    let database: Vec<u8> = ["chancery.db", "chancery.db-wal"]
        .iter()
        .flat_map(|name| std::fs::read(dir.join(name)).unwrap_or_default())
        .collect();
    assert!(contains(&database, b"keyRings/dev/keys/canary-p256"));
    assert!(!encodings.iter().any(|canary| contains(log.as_bytes(), canary)), "the log");
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn a_batch_has_an_intent_for_each_allowed_item_and_one_outcome() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "batched", Algorithm::Ed25519)).await;
    let texts: [&[u8]; 3] = [b"one", b"two", b"three"];
    let mut requests: Vec<_> = texts.iter().map(|text| sign(&key.name, text)).collect();
    requests.insert(1, sign(&format!("{RING}/keys/unbatched"), b"x"));
    let batch = v1::BatchSignRequest { requests };
    let results = caller.signing().batch_sign(batch).await.unwrap().into_inner().results;
    let signed: Vec<v1::SignResponse> = results
        .into_iter()
        .filter_map(|result| match result.result.unwrap() {
            v1::batch_sign_result::Result::Response(response) => Some(response),
            v1::batch_sign_result::Result::Error(_) => None,
        })
        .collect();
    let intents = on(&operator, &key.name, RecordKind::Intent).await;
    assert_eq!(intents.len(), 3);
    for ((intent, signed), text) in intents.iter().zip(&signed).zip(texts) {
        assert_eq!(intent.index, signed.record_index);
        assert_eq!(details(intent)["signed"]["digest"], json!(hex(&sha256(text))));
    }
    let (outcome, _) = outcome_of(&operator, intents[0].index).await;
    let ended: Vec<_> = outcome.outcomes.iter().map(|item| (item.record_index, item.result.as_str())).collect();
    let expected: Vec<_> = intents.iter().map(|intent| (intent.index, "DONE")).collect();
    assert_eq!(ended, expected);
    for (item, signed) in outcome.outcomes.iter().zip(&signed) {
        assert_eq!(item.signature_sha256, sha256(&signed.signature));
    }
}

#[tokio::test]
async fn administrative_acts_are_on_the_record() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "administered", Algorithm::Ed25519)).await;
    let rotate = v1::RotateKeyRequest { name: key.name.clone(), ..v1::RotateKeyRequest::default() };
    let second = operator.keys().rotate_key(rotate).await.unwrap().into_inner().name;
    let first = key.primary_version.clone();
    let why = "it may have leaked, says Änne";
    let suspend = v1::SuspendKeyVersionRequest { name: first.clone(), reason: why.to_owned() };
    operator.keys().suspend_key_version(suspend.clone()).await.unwrap();
    // What changes nothing is no act.
    operator.keys().suspend_key_version(suspend).await.unwrap();
    let resume = v1::ResumeKeyVersionRequest { name: first.clone(), reason: "it has not".to_owned() };
    operator.keys().resume_key_version(resume).await.unwrap();

    let acts = on(&operator, &key.name, RecordKind::Act).await;
    let seen: Vec<_> = acts.iter().map(|act| (act.action.as_str(), act.resource.as_str())).collect();
    let expected = [
        ("CreateKey", first.as_str()),
        ("RotateKey", second.as_str()),
        ("SuspendKeyVersion", first.as_str()),
        ("ResumeKeyVersion", first.as_str()),
    ];
    assert_eq!(seen, expected);
    for act in &acts {
        let said = details(act);
        assert_eq!((act.caller.as_str(), &said["caller"]), ("callers/operator", &json!("operator")));
        assert_eq!((&said["decision"], &said["policies"]), (&json!("ALLOW"), &json!(["key-administrator"])));
        assert_eq!(said["authentication"]["identity"], json!("spiffe://chancery.dev/operator"));
    }
    assert_eq!(details(&acts[2])["message"], json!(why));
    // Those that wait for the token have an outcome, and it was durable before the call was answered.
    for act in &acts[..2] {
        let (outcome, item) = outcome_of(&operator, act.index).await;
        assert_eq!(item.result, "DONE");
        assert!(outcome.index > act.index && item.signature_sha256.is_empty());
        assert_eq!(details(&outcome)["spki_sha256"].as_str().map(str::len), Some(64));
    }
}

/// On services of their own: the first records, and a replaced policy set.
#[tokio::test]
async fn the_start_and_a_new_policy_set_are_on_the_record() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let set = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    let request = v1::ApplyPolicySetRequest { documents: set.documents.clone(), etag: set.etag };
    let applied = operator.policy().apply_policy_set(request).await.unwrap().into_inner();
    let request = v1::ListRecordsRequest { oldest_first: true, ..v1::ListRecordsRequest::default() };
    let all = records(&operator, request).await;
    let is_act = |record: &&v1::AuditRecord| record.kind == i32::from(RecordKind::Act);
    let ends = all.iter().filter(|record| !is_act(record)).count();
    assert_eq!(ends, 2, "the ends of making the secret of the state and the key of the log");
    let own: Vec<_> = all.iter().filter(is_act).filter(|record| record.caller.is_empty()).collect();
    assert!(own.iter().any(|record| details(record)["message"].as_str().unwrap().contains("callers/operator")));
    let (last, before) = all.split_last().unwrap();
    assert!(before.iter().all(|record| record.caller.is_empty()), "the service itself, from its configuration");
    assert_eq!((last.action.as_str(), last.caller.as_str()), ("ApplyPolicySet", "callers/operator"));
    let leaf = Leaf::read(&last.leaf);
    let Body::Act { policy_set, .. } = leaf.body else { panic!("an act: {leaf:?}") };
    assert_eq!(policy_set, set.sha256, "decided by the set before");
    assert!(details(last)["message"].as_str().unwrap().contains(&hex(&applied.sha256)));
    chancery.stop().await.unwrap();
}

// ---- denials -------------------------------------------------------------------------------------------------------

/// How many calls a denial counts.
fn denials(record: &v1::AuditRecord) -> u32 {
    match Leaf::read(&record.leaf).body {
        Body::Denial { count, .. } => count,
        other => panic!("no denial: {other:?}"),
    }
}

/// Waits until so many denials of a resource are on the record.
async fn denied(operator: &Client, resource: &str, calls: u32) -> Vec<v1::AuditRecord> {
    eventually("the denials on the record", async || {
        let found = on(operator, resource, RecordKind::Denial).await;
        let counted: u32 = found.iter().map(denials).sum();
        assert!(counted <= calls, "{counted} denials of {calls} calls");
        (counted == calls).then_some(found)
    })
    .await
}

#[tokio::test]
async fn denials_are_counted_together_and_none_is_lost() {
    let chancery = CHANCERY.get().await;
    let (operator, verifier) = (chancery.operator().await.unwrap(), chancery.connect_as("verifier").await.unwrap());
    let key = create(&operator, new_key(RING, "refused", Algorithm::Ed25519)).await;
    let began = Instant::now();
    let calls: Vec<_> = (0..100_u32)
        .map(|number| {
            let (client, request) = (verifier.clone(), sign(&key.name, &number.to_be_bytes()));
            tokio::spawn(async move { client.signing().sign(request).await.unwrap_err() })
        })
        .collect();
    for call in calls {
        let refusal = refusal(call.await.unwrap());
        assert_eq!(refusal.reason.as_deref(), Some("ACCESS_DENIED"));
    }
    let seconds = began.elapsed().as_secs();
    let found = denied(&operator, &key.name, 100).await;
    // A record for each second, and one more where a second's count was handed over in its middle.
    let most = usize::try_from(2 * (seconds + 2)).unwrap();
    assert!(found.len() <= most, "{} records for {seconds} seconds", found.len());
    for record in &found {
        assert_eq!((record.caller.as_str(), record.action.as_str()), ("callers/verifier", "Sign"));
        let said = details(record);
        assert_eq!((&said["decision"], &said["reason"]), (&json!("DENY"), &json!("NOT_PERMITTED")));
        assert_eq!(said["resource"], json!(key.name));
        assert_eq!(record.time.unwrap().nanos, 0, "the second");
    }
    assert!(on(&operator, &key.name, RecordKind::Intent).await.is_empty());
}

#[tokio::test]
async fn a_denial_says_for_the_record_what_the_caller_is_not_told() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let (verifier, stranger) =
        (chancery.connect_as("verifier").await.unwrap(), chancery.connect_as("stranger").await.unwrap());
    let keeper = chancery.connect_as("live-keeper").await.unwrap();
    let live = create(&keeper, new_key("keyRings/live", "foreign", Algorithm::Ed25519)).await.name;
    let own = create(&operator, new_key(RING, "unsigned", Algorithm::Ed25519)).await.name;
    let unknown = format!("{RING}/keys/unheard-of");
    for (client, name, reason, code) in [
        (&verifier, &own, "NOT_PERMITTED", 1),
        (&stranger, &live, "OTHER_ENVIRONMENT", 4),
        (&stranger, &unknown, "UNKNOWN_RESOURCE", 5),
    ] {
        let refused = client.signing().sign(sign(name, b"m")).await;
        assert_refused(refused, Code::PermissionDenied, "ACCESS_DENIED");
        let found = denied(&operator, name, 1).await;
        let said = details(&found[0]);
        assert_eq!(said["reason"], json!(reason));
        assert_eq!(said["authentication"]["method"], json!("certificate"));
        let Body::Denial { reason: leaf_reason, resource, caller, .. } = Leaf::read(&found[0].leaf).body else {
            panic!("a denial")
        };
        assert_eq!(leaf_reason, code);
        assert_ne!(caller, [0; 16]);
        assert_eq!(resource == [0; 16], *name == unknown, "what is not there has no uid");
    }
}

#[tokio::test]
async fn reads_and_verifications_are_recorded_only_when_they_are_denied() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "read", Algorithm::Ed25519)).await;
    let everything = v1::ListRecordsRequest { resource: key.name.clone(), ..v1::ListRecordsRequest::default() };
    let before = records(&operator, everything.clone()).await.len();
    let verification = v1::VerifyRequest {
        name: key.name.clone(),
        input: message(b"m"),
        signature: vec![0; 64],
        ..v1::VerifyRequest::default()
    };
    for _ in 0..5 {
        caller.signing().verify(verification.clone()).await.unwrap();
        caller.keys().get_key(v1::GetKeyRequest { name: key.name.clone() }).await.unwrap();
    }
    operator.signing().verify(verification).await.unwrap_err();
    // What was denied last is on the record, so what was allowed before would be, too.
    denied(&operator, &key.name, 1).await;
    assert_eq!(records(&operator, everything).await.len(), before + 1);
}

// ---- listing -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn filters_leave_only_what_matches_all_of_them() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "filtered", Algorithm::Ed25519)).await;
    // Its name begins with the other's, and is not below it.
    let longer = create(&operator, new_key(RING, "filtered-too", Algorithm::Ed25519)).await;
    let rotate = v1::RotateKeyRequest { name: key.name.clone(), ..v1::RotateKeyRequest::default() };
    let second = operator.keys().rotate_key(rotate).await.unwrap().into_inner().name;
    let sign_with = async |name: &str| caller.signing().sign(sign(name, b"m")).await.unwrap().into_inner().record_index;
    let by_first = sign_with(&key.primary_version).await;
    let by_second = sign_with(&key.name).await;
    let by_longer = sign_with(&longer.name).await;

    let base = v1::ListRecordsRequest { oldest_first: true, ..v1::ListRecordsRequest::default() };
    let indexes = async |request: v1::ListRecordsRequest| -> Vec<u64> {
        records(&operator, request).await.iter().map(|record| record.index).collect()
    };
    let intents = v1::ListRecordsRequest { kind: RecordKind::Intent.into(), ..base.clone() };
    let at = |resource: &str| v1::ListRecordsRequest { resource: resource.to_owned(), ..intents.clone() };
    assert_eq!(indexes(at(&key.name)).await, [by_first, by_second]);
    assert_eq!(indexes(at(&key.primary_version)).await, [by_first]);
    assert_eq!(indexes(at(&second)).await, [by_second]);
    assert_eq!(indexes(at(&longer.name)).await, [by_longer]);
    let ring = indexes(at(RING)).await;
    assert!([by_first, by_second, by_longer].iter().all(|index| ring.contains(index)));
    assert_eq!(indexes(at(&format!("{key}/versions/3", key = key.name))).await, [0_u64; 0]);
    assert_eq!(indexes(at("keyRings/de")).await, [0_u64; 0], "not a prefix of the text");

    // Who looks for a caller, a key or an action finds how its signatures ended, too.
    let mut signatures = Vec::new();
    for intent in [by_first, by_second] {
        signatures.extend([intent, outcome_of(&operator, intent).await.0.index]);
    }
    signatures.sort_unstable();
    let all = v1::ListRecordsRequest { resource: key.name.clone(), ..base };
    let with_caller = |caller: &str| v1::ListRecordsRequest { caller: format!("callers/{caller}"), ..all.clone() };
    assert_eq!(indexes(with_caller("caller")).await, signatures);
    assert_eq!(indexes(with_caller("nobody")).await, [0_u64; 0]);
    let acts = v1::ListRecordsRequest { kind: RecordKind::Act.into(), ..with_caller("operator") };
    assert_eq!(indexes(acts).await.len(), 2, "made and rotated");
    let with_action = |action: &str| v1::ListRecordsRequest { action: action.to_owned(), ..all.clone() };
    assert_eq!(indexes(with_action("Sign")).await, signatures);
    let rotations = v1::ListRecordsRequest { kind: RecordKind::Act.into(), ..with_action("RotateKey") };
    assert_eq!(indexes(rotations).await.len(), 1);
    let both = v1::ListRecordsRequest { action: "RotateKey".to_owned(), ..with_caller("caller") };
    assert_eq!(indexes(both).await, [0_u64; 0]);

    let times: Vec<_> = records(&operator, at(&key.name)).await.into_iter().map(|record| record.time).collect();
    let from = |start| v1::ListRecordsRequest { start_time: start, ..at(&key.name) };
    let until = |end| v1::ListRecordsRequest { end_time: end, ..at(&key.name) };
    assert_eq!(indexes(from(times[0])).await, [by_first, by_second], "at or after");
    assert_eq!(indexes(until(times[0])).await, [0_u64; 0], "before");
    if times[0] != times[1] {
        assert_eq!(indexes(from(times[1])).await, [by_second]);
        assert_eq!(indexes(until(times[1])).await, [by_first]);
    }
    let newest = v1::ListRecordsRequest { oldest_first: false, ..at(&key.name) };
    assert_eq!(indexes(newest).await, [by_second, by_first]);
}

/// On a service of its own: nothing else is recorded meanwhile.
#[tokio::test]
async fn pages_stay_stable_while_records_are_added() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "paged", Algorithm::Ed25519)).await;
    let add = async || {
        let index = caller.signing().sign(sign(&key.name, b"m")).await.unwrap().into_inner().record_index;
        outcome_of(&operator, index).await;
    };
    for _ in 0..5 {
        add().await;
    }
    for (oldest_first, page_size) in [(false, 3), (true, 3), (false, 1), (true, 1)] {
        let newest = operator.audit().list_records(v1::ListRecordsRequest::default()).await.unwrap().into_inner();
        let head = newest.records[0].index;
        let mut request = v1::ListRecordsRequest { page_size, oldest_first, ..v1::ListRecordsRequest::default() };
        let mut found = Vec::new();
        let mut pages = 0;
        loop {
            let page = operator.audit().list_records(request.clone()).await.unwrap().into_inner();
            assert!(page.records.len() <= usize::try_from(page_size).unwrap());
            found.extend(page.records.into_iter().map(|record| record.index));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
            // For as long as there can be no end without it.
            if pages < 3 {
                add().await;
            }
            pages += 1;
        }
        if oldest_first {
            let expected: Vec<u64> = (0..=head + 6).collect();
            assert_eq!(found, expected, "those that were added come last");
        } else {
            let expected: Vec<u64> = (0..=head).rev().collect();
            assert_eq!(found, expected, "those that were added are newer than the first page");
        }
    }
    chancery.stop().await.unwrap();
}

// ---- the leaf, as docs/audit-record.md specifies it ------------------------------------------------------------------

const RESULTS: [&str; 5] = ["", "DONE", "FAILED", "UNKNOWN", "ABANDONED"];

/// On a service of its own: it reads the whole log.
#[tokio::test]
async fn the_log_is_what_its_specification_says() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "specified", Algorithm::EcdsaP256Sha256)).await;
    let set = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    let mut last = 0;
    for number in 0..3_u8 {
        last = caller.signing().sign(sign(&key.name, &[number])).await.unwrap().into_inner().record_index;
    }
    outcome_of(&operator, last).await;
    let batch = v1::BatchSignRequest { requests: vec![sign(&key.name, b"m"); 5] };
    caller.signing().batch_sign(batch).await.unwrap();
    let rotate = v1::RotateKeyRequest { name: key.name.clone(), ..v1::RotateKeyRequest::default() };
    operator.keys().rotate_key(rotate).await.unwrap();
    let suspend = v1::SuspendKeyVersionRequest { name: key.primary_version.clone(), reason: "enough".to_owned() };
    operator.keys().suspend_key_version(suspend).await.unwrap();
    let apply = v1::ApplyPolicySetRequest { documents: set.documents.clone(), etag: set.etag };
    operator.policy().apply_policy_set(apply).await.unwrap();
    operator.signing().sign(sign(&key.name, b"m")).await.unwrap_err();
    denied(&operator, &key.name, 1).await;

    // Everything that was opened is closed soon.
    let request = v1::ListRecordsRequest { oldest_first: true, page_size: 7, ..v1::ListRecordsRequest::default() };
    let all = eventually("the outcomes of all intents and acts", async || {
        let all = records(&operator, request.clone()).await;
        let opened = all.iter().filter(|record| match Leaf::read(&record.leaf).body {
            Body::Intent { .. } => true,
            Body::Act { opens, .. } => opens,
            Body::Outcome { .. } | Body::Denial { .. } => false,
        });
        let closed: BTreeSet<_> =
            all.iter().flat_map(|record| record.outcomes.iter().map(|item| item.record_index)).collect();
        opened.map(|record| record.index).all(|index| closed.contains(&index)).then_some(all)
    })
    .await;

    let indexes: Vec<u64> = all.iter().map(|record| record.index).collect();
    let dense: Vec<u64> = (0..u64::try_from(all.len()).unwrap()).collect();
    assert_eq!(indexes, dense, "from 0, without gaps");
    let mut salts = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    let mut epoch = None;
    for record in &all {
        let leaf = Leaf::read(&record.leaf);
        let index = record.index;
        let prefix: &[u8] = b"chancery/audit-details/v1";
        assert_eq!(record.salt.len(), 32);
        let committed = [prefix, &record.salt, &record.details_json].concat();
        assert_eq!(leaf.commitment, sha256(&committed), "record {index} commits to its details");
        assert!(salts.insert(record.salt.clone()), "record {index} has a salt of its own");
        assert_eq!(leaf.instance, "dev");
        let time = record.time.unwrap();
        assert_eq!(time.seconds * 1_000_000 + i64::from(time.nanos / 1000), leaf.time, "record {index}");

        let (kind, grows) = match &leaf.body {
            Body::Intent { .. } => (RecordKind::Intent, false),
            Body::Outcome { continues, rows, .. } => (RecordKind::Outcome, *rows > 0 && !continues),
            Body::Act { continues, .. } => (RecordKind::Act, !continues),
            Body::Denial { .. } => (RecordKind::Denial, false),
        };
        assert_eq!(record.kind, i32::from(kind));
        kinds.insert(record.kind);
        if let Some(before) = epoch {
            // What concerns the seal of the state leaves the epoch, which is sealed, as it is.
            let may_stay = matches!(leaf.body, Body::Act { rows: 0, .. }) && leaf.epoch == before;
            assert!(may_stay || leaf.epoch == before + u64::from(grows), "record {index}: the rule of the epoch");
        }
        epoch = Some(leaf.epoch);
        let said = details(record);
        match &leaf.body {
            Body::Intent { caller, resource, action, decision, policy_set } => {
                assert_eq!((*action, *decision), (1, 1), "Sign, ALLOW");
                assert!(*caller != [0; 16] && *resource != [0; 16]);
                assert_eq!(hex(policy_set), said["policy_set"].as_str().unwrap());
                assert_eq!(*policy_set, set.sha256);
            }
            Body::Act { caller, action, decision, policy_set, opens, rows, .. } => {
                assert_eq!(*decision, 1, "ALLOW");
                assert_eq!(*caller == [0; 16], record.caller.is_empty());
                let known =
                    [(0, ""), (6, "CreateKey"), (9, "RotateKey"), (12, "SuspendKeyVersion"), (15, "ApplyPolicySet")];
                assert!(known.contains(&(*action, record.action.as_str())), "{action} {}", record.action);
                // What the service does with a secret of its own changes no row by itself.
                let own_secret = *action == 0 && said["resource"] == "keyRings/system/keys/state/versions/1";
                let own_key = *action == 0 && said["resource"] == "keyRings/system/keys/log/versions/1";
                assert_eq!(
                    *opens && !own_secret && !own_key,
                    ["CreateKey", "RotateKey"].contains(&record.action.as_str())
                );
                assert!(*rows > 0 || own_secret, "record {index}: an act changes something");
                if !record.caller.is_empty() {
                    assert_eq!(hex(policy_set), said["policy_set"].as_str().unwrap());
                }
            }
            Body::Outcome { items, .. } => {
                let shown: Vec<_> = record
                    .outcomes
                    .iter()
                    .map(|item| (item.record_index, item.result.as_str(), item.signature_sha256.clone()))
                    .collect();
                let read: Vec<_> = items
                    .iter()
                    .map(|(index, result, hash)| (*index, RESULTS[usize::from(*result)], hash.clone()))
                    .collect();
                assert_eq!(shown, read);
                assert!(items.iter().all(|(of, ..)| *of < index), "an outcome comes after what it ends");
            }
            Body::Denial { action, reason, count, .. } => {
                assert_eq!((*action, *reason, *count), (1, 2, 1), "Sign, FORBIDDEN: who administers does not sign");
            }
        }
    }
    assert_eq!(kinds.len(), 4, "every kind was there to look at");
    chancery.stop().await.unwrap();
}
