//! Each state of a key version and each operation, as docs/key-life-cycle.md has them; destruction in the token; what an
//! update changes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use chancery_api::v1::{self, Algorithm, KeyState, Verdict};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{
    Fixture, assert_field, assert_refused, create, eventually, message, new_key, records, refused, sign, uuid,
};
use chancery_tests::life_cycle::{
    cancel, compromise, deactivate, get_key, get_version, resume, schedule, seconds, suspend, update,
};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tonic::{Code, Response, Status};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";
const PROD: &str = "keyRings/prod";
const PAGE: &str = include_str!("../docs/key-life-cycle.md");
const MESSAGE: &[u8] = b"while it was in use";

fn setup() -> Setup {
    Chancery::setup()
        .ring("prod", "prod")
        .with(CallerSetup::new("keeper").environment("prod").role("key-administrator").ring("prod"))
}

/// The table of the page: of each operation, what it comes to in each state.
fn table() -> Vec<(String, BTreeMap<String, String>)> {
    let (_, after) = PAGE.split_once("<!-- states -->\n").unwrap();
    let mut lines = after.lines().take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let states = cells(lines.next().unwrap());
    lines.next();
    lines
        .map(|line| {
            let row = cells(line);
            assert_eq!(row.len(), states.len(), "{line}");
            (row[0].clone(), states.iter().cloned().zip(row).skip(1).collect())
        })
        .collect()
}

/// A version in a state, and a signature that it made in its time (none of one that never signed).
struct Subject {
    name: String,
    signature: Option<Vec<u8>>,
}

/// The answer to a call beside which other keys change all the time: who meets too many changes comes again.
async fn in_changing_state<T>(call: impl AsyncFn() -> Result<Response<T>, Status>) -> T {
    eventually("an answer", async || match call().await {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) => {
            assert_refused::<()>(Err(status), Code::Unavailable, "STATE_CHANGING");
            None
        }
    })
    .await
}

/// Makes a version of its own in this state.
async fn version_in(operator: &Client, caller: &Client, state: &str, algorithm: Algorithm) -> Subject {
    let id = format!("k{}", uuid());
    if state == "PRE_ACTIVE" {
        // Made at once, to take over in an hour.
        let rules = v1::Key { rotation_period: seconds(3600), publish_ahead: seconds(3599), ..v1::Key::default() };
        let key = v1::Key { algorithm: algorithm.into(), ..rules };
        let key = create(operator, v1::CreateKeyRequest { key: Some(key), ..new_key(RING, &id, algorithm) }).await;
        let name = format!("{}/versions/2", key.name);
        eventually("a version that is published ahead", async || {
            let request = v1::GetKeyVersionRequest { name: name.clone() };
            let version = operator.keys().get_key_version(request).await.ok()?.into_inner();
            (version.state == i32::from(KeyState::PreActive)).then_some(())
        })
        .await;
        return Subject { name, signature: None };
    }
    let name = create(operator, new_key(RING, &id, algorithm)).await.primary_version;
    let signature = if algorithm == Algorithm::HmacSha256 {
        let request = v1::MacSignRequest { name: name.clone(), message: MESSAGE.into(), message_crc32c: None };
        in_changing_state(async || caller.signing().mac_sign(request.clone()).await).await.mac
    } else {
        in_changing_state(async || caller.signing().sign(sign(&name, MESSAGE)).await).await.signature
    };
    match state {
        "ACTIVE" => {}
        "SUSPENDED" => drop(suspend(operator, &name).await.unwrap()),
        "DEACTIVATED" => drop(deactivate(operator, &name).await.unwrap()),
        "COMPROMISED" => drop(compromise(operator, &name).await.unwrap()),
        "DESTROY_SCHEDULED" => drop(schedule(operator, &name, None).await.unwrap()),
        "DESTROYED" => {
            schedule(operator, &name, Some(Duration::ZERO)).await.unwrap();
            wait_until_destroyed(operator, &name).await;
        }
        other => panic!("no way to {other}"),
    }
    Subject { name, signature: Some(signature) }
}

async fn wait_until_destroyed(operator: &Client, name: &str) {
    eventually("the destruction", async || {
        (get_version(operator, name).await.state == i32::from(KeyState::Destroyed)).then_some(())
    })
    .await;
}

/// What an operation comes to, in the words of the table.
async fn outcome(operator: &Client, caller: &Client, operation: &str, subject: &Subject) -> String {
    let name = subject.name.clone();
    let done = |answer: Result<(), Status>| match answer {
        Ok(()) => "yes".to_owned(),
        Err(status) => refusal_of(&name, status),
    };
    let state = |answer: Result<v1::KeyVersion, Status>| match answer {
        Ok(version) => version.state().as_str_name().strip_prefix("KEY_STATE_").unwrap().to_owned(),
        Err(status) => refusal_of(&name, status),
    };
    match operation {
        "Sign, SignJwt, MacSign" => {
            let request =
                v1::SignJwtRequest { name: name.clone(), claims: "{}".to_owned(), ..v1::SignJwtRequest::default() };
            let signed = done(caller.signing().sign(sign(&name, b"m")).await.map(drop));
            assert_eq!(done(caller.signing().sign_jwt(request).await.map(drop)), signed, "{name}");
            signed
        }
        "MacSign" => {
            let request = v1::MacSignRequest { name: name.clone(), message: MESSAGE.into(), message_crc32c: None };
            done(caller.signing().mac_sign(request).await.map(drop))
        }
        "Verify" => {
            let request = v1::VerifyRequest {
                name: name.clone(),
                input: message(MESSAGE),
                signature: subject.signature.clone().unwrap_or_else(|| vec![0; 70]),
                ..v1::VerifyRequest::default()
            };
            match caller.signing().verify(request).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    assert_eq!(answer.valid, answer.verdict() == Verdict::Valid);
                    answer.verdict().as_str_name().strip_prefix("VERDICT_").unwrap().to_owned()
                }
                Err(status) => refusal_of(&name, status),
            }
        }
        "MacVerify" => {
            let request = v1::MacVerifyRequest {
                name: name.clone(),
                message: MESSAGE.into(),
                mac: subject.signature.clone().unwrap_or_else(|| vec![0; 32]).into(),
                ..v1::MacVerifyRequest::default()
            };
            done(caller.signing().mac_verify(request).await.map(|answer| assert!(answer.into_inner().valid)))
        }
        "GetPublicKey" => {
            let request = v1::GetPublicKeyRequest { name: name.clone(), ..v1::GetPublicKeyRequest::default() };
            done(caller.signing().get_public_key(request).await.map(drop))
        }
        "SuspendKeyVersion" => state(suspend(operator, &name).await),
        "ResumeKeyVersion" => state(resume(operator, &name).await),
        "DeactivateKeyVersion" => state(deactivate(operator, &name).await),
        "MarkKeyVersionCompromised" => {
            let answer = compromise(operator, &name).await;
            if let Ok(version) = &answer {
                assert!(version.compromise_time.is_some(), "{version:?}");
            }
            state(answer)
        }
        "ScheduleKeyVersionDestruction" => state(schedule(operator, &name, None).await),
        "CancelKeyVersionDestruction" => state(cancel(operator, &name).await),
        other => panic!("{other} is not tried"),
    }
}

/// Everything that is refused is refused for the version's state, and names it.
fn refusal_of(name: &str, status: Status) -> String {
    let refusal = refused::<()>(Err(status));
    assert_eq!(refusal.code, Code::FailedPrecondition, "{refusal}");
    let reasons = ["KEY_VERSION_NOT_ACTIVE", "KEY_VERSION_STATE", "KEY_HAS_NO_PRIMARY_VERSION"];
    assert!(refusal.reason.as_deref().is_some_and(|reason| reasons.contains(&reason)), "{refusal}");
    assert_eq!(refusal.metadata["resource"], name);
    "refused".to_owned()
}

#[tokio::test]
async fn each_operation_in_each_state_is_what_the_page_says() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let table = table();
    let mut cases = Vec::new();
    for (operation, states) in &table {
        // Certificates: tests/certificates.rs.
        if ["CreateCertificateSigningRequest", "SetCertificateChain"].contains(&operation.as_str()) {
            continue;
        }
        // A version in the making: tests/keys.rs.
        for (state, expected) in states.iter().filter(|(state, _)| *state != "PENDING_GENERATION") {
            let expected = match (operation.as_str(), state.as_str()) {
                // No signature of a version that never signed fits it.
                ("Verify", "PRE_ACTIVE") => "INVALID",
                // What cancelling leads back to is tried below, from every state.
                ("CancelKeyVersionDestruction", "DESTROY_SCHEDULED") => "ACTIVE",
                _ => expected,
            };
            let mac = operation == "MacVerify";
            let algorithm = if mac { Algorithm::HmacSha256 } else { Algorithm::EcdsaP256Sha256 };
            cases.push((operation.clone(), state.clone(), algorithm, expected.to_owned()));
        }
    }
    for (state, expected) in table[0].1.iter().filter(|(state, _)| *state != "PENDING_GENERATION") {
        cases.push(("MacSign".to_owned(), state.clone(), Algorithm::HmacSha256, expected.clone()));
    }
    assert_eq!((table.len(), cases.len()), (12, 10 * 7 + 7));
    // Several at the same time: what is published ahead or destroyed is so within a second or two.
    let (together, places) = (LocalSet::new(), Rc::new(Semaphore::new(8)));
    let subjects: Vec<_> = cases
        .iter()
        .map(|(_, state, algorithm, _)| {
            let (operator, caller, state, algorithm) = (operator.clone(), caller.clone(), state.clone(), *algorithm);
            let places = Rc::clone(&places);
            together.spawn_local(async move {
                let _place = places.acquire().await.unwrap();
                version_in(&operator, &caller, &state, algorithm).await
            })
        })
        .collect();
    together.await;
    for ((operation, state, _, expected), subject) in cases.iter().zip(subjects) {
        let subject = subject.await.unwrap();
        let came_to = outcome(&operator, &caller, operation, &subject).await;
        assert_eq!(came_to, *expected, "{operation} of a version that is {state}");
    }
}

#[tokio::test]
async fn a_cancelled_destruction_leads_back_to_where_it_came_from() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    for state in ["PRE_ACTIVE", "ACTIVE", "SUSPENDED", "DEACTIVATED", "COMPROMISED"] {
        let Subject { name, .. } = version_in(&operator, &caller, state, Algorithm::EcdsaP256Sha256).await;
        let before = get_version(&operator, &name).await;
        let scheduled = schedule(&operator, &name, None).await.unwrap();
        let (from, to) = (scheduled.state_change_time.unwrap(), scheduled.destroy_time.unwrap());
        assert_eq!(to.seconds - from.seconds, 30 * 24 * 3600, "30 days where nothing is said");
        let kept = cancel(&operator, &name).await.unwrap();
        assert_eq!(kept.state, before.state, "{state}");
        let as_before = v1::KeyVersion { state_change_time: before.state_change_time, ..kept };
        assert_eq!(as_before, before, "nothing but the time of the change is left of it");
    }
}

#[tokio::test]
async fn a_version_that_is_found_to_be_compromised_while_it_waits_is_compromised_when_it_is_kept() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let Subject { name, signature } =
        version_in(&operator, &caller, "DESTROY_SCHEDULED", Algorithm::EcdsaP256Sha256).await;
    let verify = || v1::VerifyRequest {
        name: name.clone(),
        input: message(MESSAGE),
        signature: signature.clone().unwrap(),
        ..v1::VerifyRequest::default()
    };
    let verdict = caller.signing().verify(verify()).await.unwrap().into_inner();
    assert_eq!((verdict.verdict(), verdict.valid), (Verdict::KeyDestroyed, false));
    compromise(&operator, &name).await.unwrap();
    let verdict = caller.signing().verify(verify()).await.unwrap().into_inner();
    assert_eq!((verdict.verdict(), verdict.state()), (Verdict::KeyCompromised, KeyState::DestroyScheduled));
    assert_eq!(cancel(&operator, &name).await.unwrap().state(), KeyState::Compromised);
    // What does not fit does not fit, whatever the key has become.
    let other = v1::VerifyRequest { input: message(b"something else"), ..verify() };
    assert_eq!(caller.signing().verify(other).await.unwrap().into_inner().verdict(), Verdict::Invalid);
}

#[tokio::test]
async fn what_is_destroyed_is_gone_from_the_token_and_on_the_record() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "short-lived", Algorithm::EcdsaP256Sha256)).await;
    let first = key.primary_version.clone();
    caller.signing().sign(sign(&first, b"m")).await.unwrap();
    let before = get_version(&operator, &first).await;
    schedule(&operator, &first, Some(Duration::ZERO)).await.unwrap();
    wait_until_destroyed(&operator, &first).await;
    let gone = get_version(&operator, &first).await;
    assert_eq!(gone.public_key_sha256, before.public_key_sha256, "what it was stays known");
    assert_refused(cancel(&operator, &first).await, Code::FailedPrecondition, "KEY_VERSION_STATE");

    let request =
        v1::ListRecordsRequest { resource: first.clone(), page_size: 100, ..v1::ListRecordsRequest::default() };
    let mut acts = records(&operator, request).await;
    acts.retain(|record| record.kind() == v1::RecordKind::Act && record.action.is_empty());
    let [begun] = acts.as_slice() else { panic!("{acts:?}") };
    assert_eq!(begun.caller, "", "an act of the service itself");
    let details = String::from_utf8(begun.details_json.clone()).unwrap();
    assert!(details.contains("by a rule of the key: its destruction is due"), "{details}");

    // The key goes on with another version.
    let second =
        operator.keys().rotate_key(v1::RotateKeyRequest { name: key.name.clone(), ..Default::default() }).await;
    let second = second.unwrap().into_inner();
    assert_eq!(caller.signing().sign(sign(&key.name, b"m")).await.unwrap().into_inner().name, second.name);
}

#[tokio::test]
async fn a_protected_key_is_not_destroyed() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "protected", Algorithm::Ed25519)).await;
    let first = key.primary_version.clone();
    let protect = |protected| v1::Key { name: key.name.clone(), deletion_protection: protected, ..v1::Key::default() };
    assert!(update(&operator, protect(true), &["deletion_protection"]).await.unwrap().deletion_protection);
    let refusal =
        assert_refused(schedule(&operator, &first, None).await, Code::FailedPrecondition, "DELETION_PROTECTED");
    assert_eq!(refusal.metadata["resource"], key.name);
    assert!(refusal.message.contains("--deletion-protection off"), "{refusal}");
    update(&operator, protect(false), &["deletion_protection"]).await.unwrap();
    schedule(&operator, &first, None).await.unwrap();
}

#[tokio::test]
async fn outside_dev_a_version_waits_a_day_at_least() {
    let chancery = CHANCERY.get().await;
    let keeper = chancery.connect_as("keeper").await.unwrap();
    let name = create(&keeper, new_key(PROD, "kept", Algorithm::Ed25519)).await.primary_version;
    for grace in [0, 60, 24 * 3600 - 1, 366 * 24 * 3600] {
        let answer = schedule(&keeper, &name, Some(Duration::from_secs(grace))).await;
        assert!(assert_field(answer, "grace_period").contains("24 hours to 365 days"));
    }
    assert_eq!(get_version(&keeper, &name).await.state(), KeyState::Active, "what is refused changes nothing");
    let day = schedule(&keeper, &name, Some(Duration::from_secs(24 * 3600))).await.unwrap();
    assert_eq!(day.state(), KeyState::DestroyScheduled);
    // Nor may a rule be quicker than a token can be.
    let key = v1::Key {
        rotation_period: seconds(60),
        ..v1::Key { algorithm: Algorithm::Ed25519.into(), ..v1::Key::default() }
    };
    let request = v1::CreateKeyRequest { key: Some(key), ..new_key(PROD, "hasty", Algorithm::Ed25519) };
    assert_field(keeper.keys().create_key(request).await, "key.rotation_period");
}

#[tokio::test]
async fn an_update_changes_what_it_names_under_the_etag_and_is_recorded() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "updated", Algorithm::Ed25519)).await;
    let wanted = v1::Key {
        name: key.name.clone(),
        etag: key.etag.clone(),
        owner: "billing".to_owned(),
        labels: [("team".to_owned(), "billing".to_owned())].into(),
        rotation_period: seconds(90 * 24 * 3600),
        publish_ahead: seconds(24 * 3600),
        signing_period: seconds(180 * 24 * 3600),
        max_signatures: 1_000,
        ..v1::Key::default()
    };
    let paths = ["owner", "labels", "rotation_period", "publish_ahead", "signing_period"];
    let changed = update(&operator, wanted.clone(), &paths).await.unwrap();
    assert_eq!((changed.owner.as_str(), &changed.labels), ("billing", &wanted.labels));
    assert_eq!((changed.rotation_period, changed.publish_ahead), (wanted.rotation_period, wanted.publish_ahead));
    assert!(changed.next_rotation_time.is_some(), "a period from now");
    assert_eq!(changed.max_signatures, 0, "the mask did not name it");
    assert_ne!(changed.etag, key.etag);
    assert_eq!(get_key(&operator, &key.name).await, changed);

    let stale = update(&operator, wanted.clone(), &["owner"]).await;
    assert_refused(stale, Code::Aborted, "ETAG_MISMATCH");
    let same = v1::Key { etag: changed.etag.clone(), ..wanted };
    let acts = async || {
        let (resource, action) = (key.name.clone(), "UpdateKey".to_owned());
        records(&operator, v1::ListRecordsRequest { resource, action, ..Default::default() }).await.len()
    };
    assert_eq!(acts().await, 1);
    assert_eq!(update(&operator, same, &paths).await.unwrap(), changed, "the same again changes nothing");
    assert_eq!(acts().await, 1, "and is not on the record");

    let bare = v1::Key { name: key.name.clone(), ..v1::Key::default() };
    let paths = ["owner", "labels", "rotation_period", "publish_ahead", "signing_period"];
    let emptied = update(&operator, bare.clone(), &paths).await.unwrap();
    assert_eq!((emptied.owner.as_str(), emptied.rotation_period, emptied.next_rotation_time), ("", None, None));
    assert_field(update(&operator, bare.clone(), &[]).await, "update_mask");
    assert_field(update(&operator, bare.clone(), &["algorithm"]).await, "update_mask");
    let alone = v1::Key { publish_ahead: seconds(60), ..bare };
    assert_field(update(&operator, alone, &["publish_ahead"]).await, "key.publish_ahead");
}

#[tokio::test]
async fn a_rotation_on_demand_takes_the_version_that_is_published_already() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let Subject { name, .. } = version_in(&operator, &caller, "PRE_ACTIVE", Algorithm::EcdsaP256Sha256).await;
    let key = name.strip_suffix("/versions/2").unwrap().to_owned();
    let planned = get_version(&operator, &name).await;
    assert_eq!(planned.activate_time, get_key(&operator, &key).await.next_rotation_time);
    let request_id = uuid();
    let request = v1::RotateKeyRequest { name: key.clone(), request_id, ..v1::RotateKeyRequest::default() };
    let rotated = operator.keys().rotate_key(request.clone()).await.unwrap().into_inner();
    assert_eq!((rotated.name.as_str(), rotated.state()), (name.as_str(), KeyState::Active));
    assert!(rotated.activate_time.unwrap().seconds < planned.activate_time.unwrap().seconds);
    assert_eq!(operator.keys().rotate_key(request).await.unwrap().into_inner().name, name, "once, for one request id");
    assert_eq!(caller.signing().sign(sign(&key, b"m")).await.unwrap().into_inner().name, name);
}
