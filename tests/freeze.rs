//! A frozen key ring: everything stops but verification, whatever is under way, and the scheduler waits.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::time::Duration;

use chancery_api::v1::{self, Algorithm, KeyRingState, KeyState, Verdict};
use chancery_client::Client;
use chancery_core::{Due, RotateKey, RuleChanges};
use chancery_model::KeyState::{Active, Deactivated, DestroyScheduled, Destroyed, PreActive};
use chancery_model::RingName;
use chancery_testkit::{CallerSetup, Chancery};
use chancery_tests::contract::{admin_get, assert_refused, create, message, new_key, sign};
use chancery_tests::life_cycle::{
    cancel, compromise, deactivate, get_key, get_version, resume, schedule, suspend, update,
};
use chancery_tests::load::{Record, try_create_key, until};
use chancery_tests::office::{DAY, Office};
use chancery_tests::streams::{Answer, SignStream, channel_as};
use tonic::{Code, Status};

const RING: &str = "keyRings/dev";
const MESSAGE: &[u8] = b"signed before the freeze";

async fn freeze(client: &Client, name: &str, reason: &str) -> Result<v1::FreezeKeyRingResponse, Status> {
    let request = v1::FreezeKeyRingRequest { name: name.to_owned(), reason: reason.to_owned() };
    client.keys().freeze_key_ring(request).await.map(tonic::Response::into_inner)
}

async fn unfreeze(client: &Client, name: &str, reason: &str) -> Result<v1::KeyRing, Status> {
    let request = v1::UnfreezeKeyRingRequest { name: name.to_owned(), reason: reason.to_owned() };
    client.keys().unfreeze_key_ring(request).await.map(tonic::Response::into_inner)
}

async fn ring(client: &Client, name: &str) -> v1::KeyRing {
    client.keys().get_key_ring(v1::GetKeyRingRequest { name: name.to_owned() }).await.unwrap().into_inner()
}

async fn verdict(client: &Client, name: &str, signature: &[u8]) -> Verdict {
    let request = v1::VerifyRequest {
        name: name.to_owned(),
        input: message(MESSAGE),
        signature: signature.to_vec(),
        ..v1::VerifyRequest::default()
    };
    client.signing().verify(request).await.unwrap().into_inner().verdict()
}

#[track_caller]
fn assert_frozen<T: std::fmt::Debug>(answer: Result<T, Status>) {
    assert_refused(answer, Code::FailedPrecondition, "KEY_RING_FROZEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_stops_but_verification() {
    let chancery = Chancery::setup()
        .ring("other", "dev")
        .with(CallerSetup::new("keeper").role("key-administrator").ring("dev").ring("other"))
        .with(CallerSetup::new("till").role("signer").ring("dev").ring("other"))
        .start()
        .await
        .unwrap();
    let (keeper, till) = (chancery.connect_as("keeper").await.unwrap(), chancery.connect_as("till").await.unwrap());
    let key = create(&keeper, new_key(RING, "k", Algorithm::EcdsaP256Sha256)).await;
    let mac_key = create(&keeper, new_key(RING, "m", Algorithm::HmacSha256)).await;
    let elsewhere = create(&keeper, new_key("keyRings/other", "k", Algorithm::EcdsaP256Sha256)).await;
    let rotate = |key: &str| v1::RotateKeyRequest { name: key.to_owned(), ..v1::RotateKeyRequest::default() };
    for _ in 2..=6 {
        keeper.keys().rotate_key(rotate(&key.name)).await.unwrap();
    }
    let version = |number: u32| format!("{}/versions/{number}", key.name);
    let signature = till.signing().sign(sign(&version(1), MESSAGE)).await.unwrap().into_inner().signature;
    let mac_request = v1::MacSignRequest { name: mac_key.name.clone(), message: MESSAGE.into(), ..Default::default() };
    let mac = till.signing().mac_sign(mac_request.clone()).await.unwrap().into_inner().mac;
    suspend(&keeper, &version(2)).await.unwrap();
    schedule(&keeper, &version(3), None).await.unwrap();
    let mut stream = SignStream::open(&channel_as(&chancery, "till").await).await;
    assert!(matches!(stream.sign("before", &key.name, MESSAGE).await, Answer::Signed(_)));

    // Who may not freeze a ring learns nothing of it.
    for name in [RING, "keyRings/nowhere"] {
        assert_refused(freeze(&till, name, "").await, Code::PermissionDenied, "ACCESS_DENIED");
        assert_refused(unfreeze(&till, name, "").await, Code::PermissionDenied, "ACCESS_DENIED");
    }
    let before = ring(&keeper, RING).await;
    assert_eq!(
        (before.state(), before.state_change_time, before.state_reason.as_str()),
        (KeyRingState::Active, None, "")
    );
    let frozen = freeze(&keeper, RING, "incident 77").await.unwrap();
    assert_eq!(frozen.open_intents, Vec::<u64>::new(), "it waited for what was under way");
    let shown = ring(&till, RING).await;
    assert_eq!(frozen.key_ring.as_ref(), Some(&shown));
    assert_eq!((shown.state(), shown.state_reason.as_str()), (KeyRingState::Frozen, "incident 77"));
    assert!(shown.state_change_time.is_some());
    let (_, page) = admin_get(&chancery, "/metrics").await;
    assert!(page.contains(r#"chancery_key_ring_frozen{chancery_key_ring="dev"} 1"#), "{page}");
    assert!(page.contains(r#"chancery_key_ring_frozen{chancery_key_ring="other"} 0"#), "{page}");

    // What uses a secret, makes keys, or takes a stop back.
    let mut signing = till.signing();
    assert_frozen(signing.sign(sign(&key.name, MESSAGE)).await);
    let jwt = v1::SignJwtRequest { name: key.name.clone(), claims: "{}".to_owned(), ..v1::SignJwtRequest::default() };
    assert_frozen(signing.sign_jwt(jwt).await);
    assert_frozen(signing.mac_sign(mac_request.clone()).await);
    let random = v1::GenerateRandomBytesRequest { name: RING.to_owned(), length: 8 };
    assert_frozen(signing.generate_random_bytes(random).await);
    let batch = v1::BatchSignRequest { requests: vec![sign(&key.name, MESSAGE), sign(&elsewhere.name, MESSAGE)] };
    let answers = signing.batch_sign(batch).await.unwrap().into_inner().results;
    let reasons = answers.into_iter().map(|item| match item.result.unwrap() {
        v1::batch_sign_result::Result::Response(_) => None,
        v1::batch_sign_result::Result::Error(error) => chancery_tests::streams::item_refusal(&error).reason,
    });
    assert_eq!(
        reasons.collect::<Vec<_>>(),
        [Some("KEY_RING_FROZEN".to_owned()), None],
        "the other ring's item is signed"
    );
    let Answer::Refused(refusal) = stream.sign("frozen", &key.name, MESSAGE).await else {
        panic!("signed on a stream")
    };
    assert_eq!(refusal.reason.as_deref(), Some("KEY_RING_FROZEN"));
    assert!(
        matches!(stream.sign("elsewhere", &elsewhere.name, MESSAGE).await, Answer::Signed(_)),
        "the stream is open"
    );
    let csr = v1::CreateCertificateSigningRequestRequest {
        name: key.name.clone(),
        subject: "CN=x".to_owned(),
        subject_alternative_names: Vec::new(),
        ..v1::CreateCertificateSigningRequestRequest::default()
    };
    assert_frozen(till.keys().create_certificate_signing_request(csr).await);
    assert_frozen(keeper.keys().create_key(new_key(RING, "new", Algorithm::EcdsaP256Sha256)).await);
    assert_frozen(keeper.keys().rotate_key(rotate(&key.name)).await);
    let v1::CreateKeyRequest { parent, key_id, key: wanted, request_id } =
        new_key(RING, "adopted", Algorithm::EcdsaP256Sha256);
    let adopt = v1::AdoptKeyRequest {
        parent,
        key_id,
        key: wanted,
        token_object_id: vec![1],
        token_object_label: String::new(),
        request_id,
    };
    assert_frozen(keeper.keys().adopt_key(adopt).await);
    assert_frozen(resume(&keeper, &version(2)).await);
    assert_frozen(schedule(&keeper, &version(4), None).await);

    // What was signed is verified; what is laid down can be read and changed; what stops for longer goes on.
    assert_eq!(verdict(&till, &version(1), &signature).await, Verdict::Valid);
    let verify = v1::MacVerifyRequest {
        name: mac_key.name.clone(),
        message: MESSAGE.into(),
        mac: mac.clone().into(),
        ..Default::default()
    };
    assert!(till.signing().mac_verify(verify).await.unwrap().into_inner().valid);
    let public = v1::GetPublicKeyRequest { name: key.name.clone(), format: v1::PublicKeyFormat::Der.into() };
    till.signing().get_public_key(public).await.unwrap();
    let named = v1::Key { name: key.name.clone(), owner: "the watch".to_owned(), ..v1::Key::default() };
    assert_eq!(update(&keeper, named, &["owner"]).await.unwrap().owner, "the watch");
    assert_eq!(suspend(&keeper, &version(4)).await.unwrap().state(), KeyState::Suspended);
    assert_eq!(deactivate(&keeper, &version(5)).await.unwrap().state(), KeyState::Deactivated);
    assert_eq!(compromise(&keeper, &version(6)).await.unwrap().state(), KeyState::Compromised);
    assert_eq!(cancel(&keeper, &version(3)).await.unwrap().state(), KeyState::Active);
    assert_eq!(get_key(&till, &key.name).await.primary_version, version(6));
    // A version that is not there is told to who may see the key, as ever: the ring comes after policy and before all else.
    assert_frozen(till.signing().sign(sign(&version(99), MESSAGE)).await);
    assert_refused(keeper.signing().sign(sign(&key.name, MESSAGE)).await, Code::PermissionDenied, "ACCESS_DENIED");

    // Asked again, it changes nothing.
    let again = freeze(&keeper, RING, "another reason").await.unwrap();
    assert_eq!(again.key_ring, frozen.key_ring);
    let open = unfreeze(&keeper, RING, "false alarm").await.unwrap();
    assert_eq!((open.state(), open.state_reason.as_str()), (KeyRingState::Active, "false alarm"));
    assert_eq!(unfreeze(&keeper, RING, "").await.unwrap(), open);
    till.signing().sign(sign(&version(1), MESSAGE)).await.unwrap();
    till.signing().mac_sign(mac_request).await.unwrap();
    assert!(matches!(stream.sign("after", &version(3), MESSAGE).await, Answer::Signed(_)));

    let record = Record::read_settled(&chancery.operator().await.unwrap()).await;
    for (action, reason) in [("FreezeKeyRing", "incident 77"), ("UnfreezeKeyRing", "false alarm")] {
        let acts: Vec<_> = record.acts(action, RING).collect();
        assert_eq!(acts.len(), 1, "{action}");
        assert!(chancery_tests::load::details(acts[0])["message"].as_str().unwrap().contains(reason));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_is_still_frozen_after_a_restart() {
    let mut chancery = Chancery::start().await.unwrap();
    let key = chancery.key().await.unwrap().to_string();
    freeze(&chancery.operator().await.unwrap(), RING, "night").await.unwrap();
    chancery.restart().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    assert_eq!(ring(&operator, RING).await.state_reason, "night");
    assert_frozen(chancery.caller().await.unwrap().signing().sign(sign(&key, MESSAGE)).await);
    unfreeze(&operator, RING, "day").await.unwrap();
    chancery.restart().await.unwrap();
    chancery.caller().await.unwrap().signing().sign(sign(&key, MESSAGE)).await.unwrap();
}

/// A key that was being made when its ring was frozen is made, and the freeze waits for it, or names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_waits_for_keys_in_the_making_or_names_them() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let creation = tokio::spawn({
        let operator = chancery.operator().await.unwrap();
        async move { try_create_key(&operator, "slow", Algorithm::RsaPkcs14096Sha256).await }
    });
    let version = format!("{RING}/keys/slow/versions/1");
    let act = until("the creation is on the record", async || {
        Record::read(&operator).await.acts("CreateKey", &version).next().map(|act| act.index)
    })
    .await;
    let open = freeze(&operator, RING, "").await.unwrap().open_intents;
    if open.is_empty() {
        let ended = Record::read(&operator).await;
        assert_eq!(ended.end(act).map(|end| end.result.as_str()), Some("DONE"), "the freeze answered before its end");
    } else {
        assert_eq!(open, [act]);
    }
    creation.await.unwrap().unwrap();
    assert_eq!(get_version(&operator, &version).await.state(), KeyState::Active, "it was recorded, so it is made");
    let signed = chancery.caller().await.unwrap().signing().sign(sign(&version, MESSAGE)).await;
    assert_frozen(signed);
}

#[tokio::test]
async fn the_scheduler_passes_a_frozen_ring_by_and_catches_up_once() {
    let office = Office::open().await;
    let days = |days: u32| Some(Some(DAY * days));
    let rotated = RuleChanges { rotation_period: days(30), publish_ahead: days(7), ..RuleChanges::default() };
    let rotating = office.create("rotating", rotated).await;
    let ending = office.create("ending", RuleChanges { signing_period: days(40), ..RuleChanges::default() }).await;
    let going = office.create("going", RuleChanges::default()).await;
    let keeper = office.requester("keeper");
    let ring: RingName = RING.parse().unwrap();
    let grace = Some(Duration::from_secs(3600));
    office.core.schedule_key_version_destruction(&keeper, going.version(1), grace, String::new()).await.unwrap();
    office.live(0).await;
    office.core.freeze_key_ring(&keeper, ring.clone(), "audit".to_owned()).await.unwrap();
    office.live(50).await;
    assert_eq!(office.states(&rotating).await, [Active], "none is made");
    assert_eq!(office.states(&going).await, [DestroyScheduled], "none is destroyed");
    assert_eq!(office.objects_of(&office.versions(&going).await[0]).await, 2);
    assert_eq!(office.states(&ending).await, [Deactivated], "what ends the signing goes on");
    let request = RotateKey { name: rotating.clone(), etag: None, request_id: None };
    assert!(office.core.rotate_key(&keeper, request).await.is_err());

    office.core.unfreeze_key_ring(&keeper, ring.clone(), String::new()).await.unwrap();
    let mut done = office.look().await;
    done.sort();
    assert_eq!(done, ["destroy going", "make-next rotating"], "once, and not for each period that went by");
    assert_eq!(office.states(&going).await, [Destroyed]);
    assert_eq!(office.states(&rotating).await, [Active, PreActive]);
    // A version that is published waits, too.
    office.core.freeze_key_ring(&keeper, ring.clone(), String::new()).await.unwrap();
    office.live(10).await;
    assert_eq!(office.states(&rotating).await, [Active, PreActive]);
    office.core.unfreeze_key_ring(&keeper, ring, String::new()).await.unwrap();
    assert_eq!(office.look().await, [format!("{} rotating", Due::TakeOver(2).as_str())]);
    assert_eq!(office.states(&rotating).await, [Active, Active]);
}
