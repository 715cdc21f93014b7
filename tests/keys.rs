//! Keys and their versions: created, read, listed, rotated, suspended and resumed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::{BTreeMap, HashMap};

use chancery_api::v1::{self, Algorithm, KeyState};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{Fixture, assert_refused, create, eventually, message, new_key, refused, sign, uuid};
use chancery_tests::life_cycle;
use tonic::{Code, Response, Status};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";
const PAGED: &str = "keyRings/paged";

fn setup() -> Setup {
    let keeper = CallerSetup::new("keeper").role("key-administrator").ring("paged");
    Chancery::setup().ring("paged", "dev").with(keeper)
}

fn version(key: &v1::Key, number: u32) -> String {
    format!("{}/versions/{number}", key.name)
}

async fn get(client: &Client, name: &str) -> v1::Key {
    client.keys().get_key(v1::GetKeyRequest { name: name.to_owned() }).await.unwrap().into_inner()
}

async fn get_version(client: &Client, name: &str) -> v1::KeyVersion {
    client.keys().get_key_version(v1::GetKeyVersionRequest { name: name.to_owned() }).await.unwrap().into_inner()
}

async fn versions(client: &Client, key: &v1::Key) -> Vec<v1::KeyVersion> {
    let request = v1::ListKeyVersionsRequest { parent: key.name.clone(), ..v1::ListKeyVersionsRequest::default() };
    client.keys().list_key_versions(request).await.unwrap().into_inner().key_versions
}

async fn rotate(client: &Client, name: &str, etag: &str, request_id: &str) -> Result<Response<v1::KeyVersion>, Status> {
    let (name, etag, request_id) = (name.to_owned(), etag.to_owned(), request_id.to_owned());
    client.keys().rotate_key(v1::RotateKeyRequest { name, etag, request_id }).await
}

async fn suspend(client: &Client, name: &str) -> Result<Response<v1::SuspendKeyVersionResponse>, Status> {
    let request = v1::SuspendKeyVersionRequest { name: name.to_owned(), reason: "a test".to_owned() };
    client.keys().suspend_key_version(request).await
}

async fn resume(client: &Client, name: &str) -> Result<Response<v1::KeyVersion>, Status> {
    let request = v1::ResumeKeyVersionRequest { name: name.to_owned(), reason: "a test".to_owned() };
    client.keys().resume_key_version(request).await
}

fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    let time = time.unwrap();
    time.seconds * 1_000_000 + i64::from(time.nanos / 1000)
}

#[tokio::test]
async fn a_created_key_is_what_was_asked_for_and_reads_the_same_again() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let labels = HashMap::from([("team".to_owned(), "checkout".to_owned()), ("cost-centre".to_owned(), String::new())]);
    let wanted = v1::Key {
        algorithm: Algorithm::EcdsaP256Sha256.into(),
        allow_digest: true,
        labels: labels.clone(),
        ..v1::Key::default()
    };
    let request = v1::CreateKeyRequest { key: Some(wanted), ..new_key(RING, "as-asked", Algorithm::Unspecified) };
    let key = create(&operator, request).await;
    assert_eq!(key.name, "keyRings/dev/keys/as-asked");
    assert_eq!(key.algorithm, i32::from(Algorithm::EcdsaP256Sha256));
    assert!(key.allow_digest);
    assert_eq!(key.labels, labels);
    assert_eq!(key.primary_version, version(&key, 1));
    assert!(!key.etag.is_empty());
    assert!(micros(key.create_time.as_ref()) <= micros(key.update_time.as_ref()));
    assert_eq!(get(&operator, &key.name).await, key);

    let first = get_version(&operator, &key.primary_version).await;
    assert_eq!((first.state, first.algorithm), (KeyState::Active.into(), key.algorithm));
    assert_eq!((first.public_key_sha256.len(), first.token_object_id.len()), (32, 16));
    assert!(micros(first.create_time.as_ref()) <= micros(first.generate_time.as_ref()));
    assert_eq!(versions(&operator, &key).await, [first]);
}

#[tokio::test]
async fn keys_are_listed_by_name_page_by_page() {
    let chancery = CHANCERY.get().await;
    let keeper = chancery.connect_as("keeper").await.unwrap();
    for id in ["e", "b", "d", "a", "c"] {
        create(&keeper, new_key(PAGED, id, Algorithm::Ed25519)).await;
    }
    let names = |from: &[v1::Key]| from.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    let all = ["a", "b", "c", "d", "e"].map(|id| format!("{PAGED}/keys/{id}"));
    let first = v1::ListKeysRequest { parent: PAGED.to_owned(), page_size: 2, page_token: String::new() };
    let mut found = Vec::new();
    let mut pages = Vec::new();
    let mut request = first.clone();
    loop {
        let page = keeper.keys().list_keys(request.clone()).await.unwrap().into_inner();
        pages.push(page.keys.len());
        found.extend(names(&page.keys));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!((found.as_slice(), pages.as_slice()), (all.as_slice(), [2, 2, 1].as_slice()));

    // A page that is exactly full is the last one.
    let page =
        keeper.keys().list_keys(v1::ListKeysRequest { page_size: 5, ..first.clone() }).await.unwrap().into_inner();
    assert_eq!((page.keys.len(), page.next_page_token.as_str()), (5, ""));
    let page =
        keeper.keys().list_keys(v1::ListKeysRequest { page_size: 0, ..first.clone() }).await.unwrap().into_inner();
    assert_eq!((page.keys.len(), page.next_page_token.as_str()), (5, ""));
    // The size may change from page to page, and what is listed is what is got.
    let page = keeper.keys().list_keys(first.clone()).await.unwrap().into_inner();
    let rest = v1::ListKeysRequest { page_size: 1000, page_token: page.next_page_token, ..first };
    let rest = keeper.keys().list_keys(rest).await.unwrap().into_inner();
    assert_eq!(names(&rest.keys), all[2..]);
    assert_eq!(rest.keys[0], get(&keeper, &all[2]).await);
}

#[tokio::test]
async fn versions_are_listed_newest_first_page_by_page() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "many-versions", Algorithm::Ed25519)).await;
    for _ in 0..4 {
        rotate(&operator, &key.name, "", "").await.unwrap();
    }
    let mut request = v1::ListKeyVersionsRequest { parent: key.name.clone(), page_size: 2, page_token: String::new() };
    let mut found = Vec::new();
    loop {
        let page = operator.keys().list_key_versions(request.clone()).await.unwrap().into_inner();
        assert!(page.key_versions.len() <= 2);
        found.extend(page.key_versions.into_iter().map(|version| version.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(found, [5, 4, 3, 2, 1].map(|number| version(&key, number)));
}

#[tokio::test]
async fn key_rings_are_those_of_the_configuration_that_the_caller_may_see() {
    let chancery = CHANCERY.get().await;
    for (client, expected) in [
        // An auditor reads every ring of his environment.
        (chancery.operator().await.unwrap(), vec![RING, PAGED]),
        (chancery.connect_as("keeper").await.unwrap(), vec![PAGED]),
        (chancery.caller().await.unwrap(), vec![RING]),
    ] {
        let mut request = v1::ListKeyRingsRequest { page_size: 1, page_token: String::new() };
        let mut rings = Vec::new();
        loop {
            let page = client.keys().list_key_rings(request.clone()).await.unwrap().into_inner();
            rings.extend(page.key_rings);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let names: Vec<_> = rings.iter().map(|ring| ring.name.as_str()).collect();
        assert_eq!(names, expected);
        for ring in rings {
            assert_eq!((ring.environment.as_str(), ring.token.as_str()), ("dev", "tokens/main"));
            let request = v1::GetKeyRingRequest { name: ring.name.clone() };
            assert_eq!(client.keys().get_key_ring(request).await.unwrap().into_inner(), ring);
        }
    }
}

#[tokio::test]
async fn a_name_is_given_once() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "once", Algorithm::Ed25519)).await;
    for request in [
        new_key(RING, "once", Algorithm::Ed25519),
        new_key(RING, "once", Algorithm::EcdsaP256Sha256),
        v1::CreateKeyRequest { request_id: uuid(), ..new_key(RING, "once", Algorithm::Ed25519) },
    ] {
        let refusal =
            assert_refused(operator.keys().create_key(request).await, Code::AlreadyExists, "KEY_ALREADY_EXISTS");
        assert_eq!(refusal.metadata, BTreeMap::from([("resource".to_owned(), key.name.clone())]));
        assert!(refusal.message.starts_with(&format!("{} exists already", key.name)), "{refusal}");
    }
    assert_eq!(get(&operator, &key.name).await, key);
    assert_eq!(versions(&operator, &key).await.len(), 1);
}

#[tokio::test]
async fn a_creation_with_a_request_id_can_be_repeated() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let id = uuid();
    let request = v1::CreateKeyRequest { request_id: id.clone(), ..new_key(RING, "repeated", Algorithm::Ed25519) };
    let key = create(&operator, request.clone()).await;
    assert_eq!(create(&operator, request.clone()).await, key);
    let upper = v1::CreateKeyRequest { request_id: id.to_ascii_uppercase(), ..request.clone() };
    assert_eq!(create(&operator, upper).await, key, "a UUID's letter case means nothing");
    assert_eq!(versions(&operator, &key).await.len(), 1, "nothing was made twice");

    let other = |change: fn(&mut v1::Key)| {
        let mut request = request.clone();
        change(request.key.as_mut().unwrap());
        request
    };
    for (what, request) in [
        ("algorithm", other(|key| key.algorithm = Algorithm::EcdsaP256Sha256.into())),
        ("labels", other(|key| drop(key.labels.insert("team".to_owned(), "a".to_owned())))),
        ("key id", v1::CreateKeyRequest { key_id: "repeated-otherwise".to_owned(), ..request.clone() }),
    ] {
        let refusal =
            assert_refused(operator.keys().create_key(request).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        let fields: Vec<_> = refusal.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["request_id"], "{what}");
    }
    let otherwise = v1::GetKeyRequest { name: format!("{RING}/keys/repeated-otherwise") };
    assert_refused(operator.keys().get_key(otherwise).await, Code::PermissionDenied, "ACCESS_DENIED");
    assert_eq!(get(&operator, &key.name).await, key);
}

#[tokio::test]
async fn repetitions_at_the_same_time_make_one_key() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let request = v1::CreateKeyRequest { request_id: uuid(), ..new_key(RING, "at-once", Algorithm::EcdsaP521Sha512) };
    let attempt = async || {
        // While the first call is at work the others are told to come again, and so they do.
        eventually("a key", async || match operator.keys().create_key(request.clone()).await {
            Ok(key) => Some(key.into_inner()),
            Err(status) => {
                let refusal = assert_refused::<()>(Err(status), Code::Unavailable, "STATE_CHANGING");
                assert!(refusal.retry_after.is_some());
                None
            }
        })
        .await
    };
    let keys: [v1::Key; 4] = tokio::join!(attempt(), attempt(), attempt(), attempt()).into();
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(versions(&operator, &keys[0]).await.len(), 1);
}

#[tokio::test]
async fn a_rotation_holds_to_the_etag() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "etagged", Algorithm::Ed25519)).await;
    assert_eq!(rotate(&operator, &key.name, &key.etag, "").await.unwrap().into_inner().name, version(&key, 2));
    let rotated = get(&operator, &key.name).await;
    assert_eq!(rotated.primary_version, version(&key, 2));
    assert_ne!(rotated.etag, key.etag);
    assert!(micros(rotated.update_time.as_ref()) > micros(key.update_time.as_ref()));
    assert_eq!(rotated.create_time, key.create_time);

    for stale in [key.etag.as_str(), "nonsense"] {
        let refusal = assert_refused(rotate(&operator, &key.name, stale, "").await, Code::Aborted, "ETAG_MISMATCH");
        assert_eq!(refusal.metadata["resource"], key.name);
    }
    assert_eq!(get(&operator, &key.name).await, rotated);
    assert_eq!(rotate(&operator, &key.name, "", "").await.unwrap().into_inner().name, version(&key, 3));
}

#[tokio::test]
async fn a_rotation_with_a_request_id_can_be_repeated() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "rotated-once", Algorithm::Ed25519)).await;
    let id = uuid();
    let second = rotate(&operator, &key.name, &key.etag, &id).await.unwrap().into_inner();
    // The retry still carries the etag that it was made with.
    assert_eq!(rotate(&operator, &key.name, &key.etag, &id).await.unwrap().into_inner(), second);
    assert_eq!(rotate(&operator, &key.name, "", &id).await.unwrap().into_inner(), second);
    assert_eq!(versions(&operator, &key).await.len(), 2);
    let third = rotate(&operator, &key.name, "", &uuid()).await.unwrap().into_inner();
    assert_eq!(third.name, version(&key, 3));
    assert_eq!(rotate(&operator, &key.name, "", &id).await.unwrap().into_inner(), second, "still the one it made");
}

#[tokio::test]
async fn the_request_id_of_a_creation_is_none_of_a_rotation() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let id = uuid();
    let request = v1::CreateKeyRequest { request_id: id.clone(), ..new_key(RING, "not-rotated", Algorithm::Ed25519) };
    let key = create(&operator, request).await;
    // To answer version 1 would say that the key was rotated.
    let answer = rotate(&operator, &key.name, "", &id).await;
    assert_refused(answer, Code::InvalidArgument, "REQUEST_ID_REUSED");
    assert_eq!(versions(&operator, &key).await.len(), 1);
}

#[tokio::test]
async fn a_suspended_version_verifies_and_does_not_sign_until_it_is_resumed() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "suspended", Algorithm::EcdsaP256Sha256)).await;
    let first = version(&key, 1);
    let before = get_version(&operator, &first).await;
    let signed = caller.signing().sign(sign(&key.name, b"before")).await.unwrap().into_inner();

    let answer = suspend(&operator, &first).await.unwrap().into_inner();
    assert_eq!(answer.open_intents, [0_u64; 0]);
    let suspended = answer.key_version.unwrap();
    assert_eq!(suspended.state, i32::from(KeyState::Suspended));
    assert!(micros(suspended.state_change_time.as_ref()) > micros(before.state_change_time.as_ref()));
    assert_eq!(get_version(&operator, &first).await, suspended);

    for name in [&key.name, &first] {
        let refusal = assert_refused(
            caller.signing().sign(sign(name, b"during")).await,
            Code::FailedPrecondition,
            "KEY_VERSION_NOT_ACTIVE",
        );
        assert_eq!(
            refusal.message,
            format!(
                "{first} is SUSPENDED, and only an ACTIVE version signs; resume it, name a version that is ACTIVE, or \
                 rotate the key"
            )
        );
        let facts = [("resource".to_owned(), first.clone()), ("state".to_owned(), "SUSPENDED".to_owned())];
        assert_eq!(refusal.metadata, BTreeMap::from(facts));
        assert_eq!(refusal.retry_after, None, "a retry does not help");
    }
    let request = v1::VerifyRequest {
        name: first.clone(),
        input: message(b"before"),
        signature: signed.signature,
        ..v1::VerifyRequest::default()
    };
    let verdict = caller.signing().verify(request).await.unwrap().into_inner();
    assert!(verdict.valid);
    assert_eq!(verdict.state, i32::from(KeyState::Suspended));
    let request = v1::GetPublicKeyRequest { name: first.clone(), ..v1::GetPublicKeyRequest::default() };
    let public = caller.signing().get_public_key(request).await.unwrap().into_inner();
    assert_eq!(public.state, i32::from(KeyState::Suspended));

    let again = suspend(&operator, &first).await.unwrap().into_inner();
    assert_eq!(again.key_version.unwrap(), suspended, "suspending it again changes nothing");

    let resumed = resume(&operator, &first).await.unwrap().into_inner();
    assert_eq!(resumed.state, i32::from(KeyState::Active));
    assert!(micros(resumed.state_change_time.as_ref()) > micros(suspended.state_change_time.as_ref()));
    let after = caller.signing().sign(sign(&key.name, b"after")).await.unwrap().into_inner();
    assert_eq!(after.name, first);
    assert_eq!(resume(&operator, &first).await.unwrap().into_inner(), resumed, "resuming it again changes nothing");
}

#[tokio::test]
async fn an_old_version_is_suspended_alone() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "old-suspended", Algorithm::Ed25519)).await;
    rotate(&operator, &key.name, "", "").await.unwrap();
    suspend(&operator, &version(&key, 1)).await.unwrap();
    let signed = caller.signing().sign(sign(&key.name, b"m")).await.unwrap().into_inner();
    assert_eq!(signed.name, version(&key, 2));
    let refused = caller.signing().sign(sign(&version(&key, 1), b"m")).await;
    assert_refused(refused, Code::FailedPrecondition, "KEY_VERSION_NOT_ACTIVE");
}

#[tokio::test]
async fn a_version_that_is_not_there_is_not_found_by_those_who_may_see_the_key() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "one-version", Algorithm::Ed25519)).await;
    let name = version(&key, 2);
    let verification = v1::VerifyRequest {
        name: name.clone(),
        input: message(b"m"),
        signature: vec![0; 64],
        ..v1::VerifyRequest::default()
    };
    let public = v1::GetPublicKeyRequest { name: name.clone(), ..v1::GetPublicKeyRequest::default() };
    let refusals = [
        refused(caller.signing().sign(sign(&name, b"m")).await),
        refused(caller.signing().verify(verification).await),
        refused(caller.signing().get_public_key(public).await),
        refused(operator.keys().get_key_version(v1::GetKeyVersionRequest { name: name.clone() }).await),
        refused(suspend(&operator, &name).await),
        refused(resume(&operator, &name).await),
    ];
    for refusal in refusals {
        assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::NotFound, Some("RESOURCE_NOT_FOUND")));
        assert_eq!(refusal.message, format!("{name} does not exist; check the name"));
        assert_eq!(refusal.metadata, BTreeMap::from([("resource".to_owned(), name.clone())]));
    }
}

/// A token that is busy with a key for as long as the test wants: its worker is stopped. On a service of its own.
#[tokio::test]
async fn a_version_in_the_making_signs_and_verifies_nothing() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let token = v1::GetTokenRequest { name: "tokens/main".to_owned() };
    let worker = operator.tokens().get_token(token).await.unwrap().into_inner().worker_pid;
    chancery_tests::load::stop(worker).await;
    let request = v1::CreateKeyRequest { request_id: uuid(), ..new_key(RING, "in-making", Algorithm::EcdsaP256Sha256) };
    let name = format!("{RING}/keys/in-making");
    let first = format!("{name}/versions/1");
    let making = {
        let (operator, request) = (operator.clone(), request.clone());
        tokio::spawn(async move { operator.keys().create_key(request).await })
    };
    let pending = eventually("the version's reservation", async || {
        let request = v1::GetKeyVersionRequest { name: first.clone() };
        operator.keys().get_key_version(request).await.ok().map(Response::into_inner)
    })
    .await;
    assert_eq!(pending.state, i32::from(KeyState::PendingGeneration));
    assert_eq!((pending.generate_time, pending.public_key_sha256.len()), (None, 0));
    assert_eq!(get(&operator, &name).await.primary_version, "");

    let precondition = Code::FailedPrecondition;
    let by_key = caller.signing().sign(sign(&name, b"m")).await;
    assert_refused(by_key, precondition, "KEY_HAS_NO_PRIMARY_VERSION");
    let by_version = caller.signing().sign(sign(&first, b"m")).await;
    let refusal = assert_refused(by_version, precondition, "KEY_VERSION_NOT_ACTIVE");
    assert_eq!(refusal.metadata["state"], "PENDING_GENERATION");
    let verification = v1::VerifyRequest {
        name: first.clone(),
        input: message(b"m"),
        signature: vec![0; 64],
        ..v1::VerifyRequest::default()
    };
    assert_refused(caller.signing().verify(verification).await, precondition, "KEY_VERSION_STATE");
    let public = v1::GetPublicKeyRequest { name: first.clone(), ..v1::GetPublicKeyRequest::default() };
    assert_refused(caller.signing().get_public_key(public).await, precondition, "KEY_VERSION_STATE");
    assert_refused(suspend(&operator, &first).await, precondition, "KEY_VERSION_STATE");
    assert_refused(resume(&operator, &first).await, precondition, "KEY_VERSION_STATE");
    for answer in [
        life_cycle::deactivate(&operator, &first).await,
        life_cycle::compromise(&operator, &first).await,
        life_cycle::schedule(&operator, &first, None).await,
        life_cycle::cancel(&operator, &first).await,
    ] {
        assert_refused(answer, precondition, "KEY_VERSION_STATE");
    }
    let subject = "CN=a".to_owned();
    let csr = v1::CreateCertificateSigningRequestRequest { name: first.clone(), subject, ..Default::default() };
    let asked = caller.keys().create_certificate_signing_request(csr).await;
    assert_refused(asked, precondition, "KEY_VERSION_NOT_ACTIVE");
    let chain = v1::SetCertificateChainRequest { name: first.clone(), certificate_chain: Vec::new() };
    assert_refused(operator.keys().set_certificate_chain(chain).await, precondition, "KEY_VERSION_STATE");
    let repeated = operator.keys().create_key(request).await;
    assert!(assert_refused(repeated, Code::Unavailable, "STATE_CHANGING").retry_after.is_some());
    let rotated = rotate(&operator, &name, "", "").await;
    assert!(assert_refused(rotated, Code::Unavailable, "STATE_CHANGING").retry_after.is_some());
    assert_eq!(get_version(&operator, &first).await, pending, "none of this changed anything");

    chancery_testkit::signal(worker, "CONT").unwrap();
    let key = making.await.unwrap().unwrap().into_inner();
    assert_eq!(key.primary_version, first);
    assert_eq!(get_version(&operator, &first).await.state, i32::from(KeyState::Active));
    caller.signing().sign(sign(&name, b"m")).await.unwrap();
    chancery.stop().await.unwrap();
}
