//! How often a key signs: exactly as often as its limits say, whatever happens at the same time or in between.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::time::Duration;

use chancery_api::v1::{self, Algorithm};
use chancery_client::Client;
use chancery_core::{Error, RuleChanges};
use chancery_model::LimitKind;
use chancery_testkit::Chancery;
use chancery_tests::contract::{Fixture, assert_refused, create, message, new_key, records, sign};
use chancery_tests::life_cycle::{get_key, update};
use chancery_tests::office::{DAY, Office};
use tonic::Code;

static CHANCERY: Fixture = Fixture::new(Chancery::setup);

const RING: &str = "keyRings/dev";
const REASON: &str = "KEY_USAGE_LIMIT";

async fn limited(operator: &Client, id: &str, algorithm: Algorithm, total: u64, daily: u64) -> String {
    let key = v1::Key {
        algorithm: algorithm.into(),
        max_signatures: total,
        max_daily_signatures: daily,
        ..v1::Key::default()
    };
    create(operator, v1::CreateKeyRequest { key: Some(key), ..new_key(RING, id, algorithm) }).await.name
}

async fn counted(operator: &Client, key: &str) -> (u64, u64) {
    let key = get_key(operator, key).await;
    (key.signature_count, key.daily_signature_count)
}

/// How many intents of the key are on the record.
async fn intents(operator: &Client, key: &str) -> usize {
    let request = v1::ListRecordsRequest {
        resource: key.to_owned(),
        kind: v1::RecordKind::Intent.into(),
        page_size: 1000,
        ..v1::ListRecordsRequest::default()
    };
    records(operator, request).await.len()
}

#[tokio::test]
async fn a_key_makes_as_many_signatures_as_it_may_and_no_more() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = limited(&operator, "five", Algorithm::Ed25519, 5, 0).await;
    let mut last = None;
    for done in 0..5 {
        assert_eq!(counted(&operator, &key).await.0, done);
        last = Some(caller.signing().sign(sign(&key, b"m")).await.unwrap().into_inner());
    }
    let refusal = assert_refused(caller.signing().sign(sign(&key, b"m")).await, Code::ResourceExhausted, REASON);
    assert_eq!((refusal.metadata["resource"].as_str(), refusal.metadata["limit"].as_str()), (&*key, "max_signatures"));
    assert_eq!(refusal.retry_after, None, "waiting does not help");
    assert_eq!(counted(&operator, &key).await, (5, 5));
    assert_eq!(intents(&operator, &key).await, 5, "what is refused is not on the record as allowed");

    // Rotation gives no new ones; verifying costs none.
    let rotate = v1::RotateKeyRequest { name: key.clone(), ..v1::RotateKeyRequest::default() };
    operator.keys().rotate_key(rotate).await.unwrap();
    assert_refused(caller.signing().sign(sign(&key, b"m")).await, Code::ResourceExhausted, REASON);
    let verify = v1::VerifyRequest {
        name: last.as_ref().unwrap().name.clone(),
        input: message(b"m"),
        signature: last.unwrap().signature,
        ..v1::VerifyRequest::default()
    };
    assert!(caller.signing().verify(verify).await.unwrap().into_inner().valid);

    let raised = v1::Key { name: key.clone(), max_signatures: 6, ..v1::Key::default() };
    update(&operator, raised, &["max_signatures"]).await.unwrap();
    caller.signing().sign(sign(&key, b"m")).await.unwrap();
    assert_refused(caller.signing().sign(sign(&key, b"m")).await, Code::ResourceExhausted, REASON);
    let unlimited = v1::Key { name: key.clone(), ..v1::Key::default() };
    update(&operator, unlimited, &["max_signatures"]).await.unwrap();
    caller.signing().sign(sign(&key, b"m")).await.unwrap();
}

#[tokio::test]
async fn a_daily_limit_says_when_there_is_more() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = limited(&operator, "daily", Algorithm::Ed25519, 0, 1).await;
    // Once more where midnight comes in between.
    for _ in 0..2 {
        if let Err(status) = caller.signing().sign(sign(&key, b"m")).await {
            let refusal = assert_refused::<()>(Err(status), Code::ResourceExhausted, REASON);
            assert_eq!(refusal.metadata["limit"], "max_daily_signatures");
            assert!(refusal.retry_after.is_some_and(|wait| wait <= Duration::from_secs(24 * 3600)), "{refusal}");
            return;
        }
    }
    assert_refused(caller.signing().sign(sign(&key, b"m")).await, Code::ResourceExhausted, REASON);
}

#[tokio::test]
async fn each_item_of_a_batch_counts_and_those_that_there_is_room_for_are_made() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = limited(&operator, "batched", Algorithm::EcdsaP256Sha256, 5, 0).await;
    let other = create(&operator, new_key(RING, "unlimited", Algorithm::EcdsaP256Sha256)).await.name;
    let requests = (0..16).map(|place| sign(if place % 2 == 0 { &key } else { &other }, b"m")).collect();
    let results = caller.signing().batch_sign(v1::BatchSignRequest { requests }).await.unwrap().into_inner().results;
    let made = |place: usize| match results[place].result.as_ref().unwrap() {
        v1::batch_sign_result::Result::Response(_) => true,
        v1::batch_sign_result::Result::Error(error) => {
            assert_eq!(error.code, i32::from(Code::ResourceExhausted), "{error:?}");
            false
        }
    };
    assert_eq!(
        (0..16).map(made).collect::<Vec<_>>(),
        (0..16).map(|place| place % 2 == 1 || place < 10).collect::<Vec<_>>()
    );
    assert_eq!(counted(&operator, &key).await.0, 5);
    assert_eq!((intents(&operator, &key).await, intents(&operator, &other).await), (5, 8));
    assert_eq!(counted(&operator, &other).await, (0, 0), "a key without limits is not counted");
}

#[tokio::test]
async fn macs_count_when_they_are_made_and_not_when_they_are_checked() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = limited(&operator, "mac", Algorithm::HmacSha256, 2, 0).await;
    let make = || v1::MacSignRequest { name: key.clone(), message: "m".into(), message_crc32c: None };
    let mac = caller.signing().mac_sign(make()).await.unwrap().into_inner().mac;
    for _ in 0..3 {
        let (message, mac) = ("m".into(), mac.clone().into());
        let check = v1::MacVerifyRequest { name: key.clone(), message, mac, ..v1::MacVerifyRequest::default() };
        assert!(caller.signing().mac_verify(check).await.unwrap().into_inner().valid);
    }
    caller.signing().mac_sign(make()).await.unwrap();
    assert_refused(caller.signing().mac_sign(make()).await, Code::ResourceExhausted, REASON);
    assert_eq!(counted(&operator, &key).await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_calls_at_once_get_exactly_what_is_left() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = limited(&operator, "crowded", Algorithm::EcdsaP256Sha256, 100, 0).await;
    let calls: Vec<_> = (0..24)
        .map(|_| {
            let (caller, key) = (caller.clone(), key.clone());
            tokio::spawn(async move {
                let mut made = 0;
                for _ in 0..10 {
                    match caller.signing().sign(sign(&key, b"m")).await {
                        Ok(_) => made += 1,
                        Err(status) => drop(assert_refused::<()>(Err(status), Code::ResourceExhausted, REASON)),
                    }
                }
                made
            })
        })
        .collect();
    let mut made = 0;
    for call in calls {
        made += call.await.unwrap();
    }
    assert_eq!(made, 100);
    assert_eq!((counted(&operator, &key).await.0, intents(&operator, &key).await), (100, 100));
}

/// On a service of its own, killed in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crash_gives_nothing_back_and_loses_no_count() {
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = limited(&operator, "crashed", Algorithm::EcdsaP256Sha256, 400, 0).await;
    let mut made = 0;
    for round in 0..3 {
        let caller = chancery.caller().await.unwrap();
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let (caller, key) = (caller.clone(), key.clone());
                tokio::spawn(async move {
                    let mut made = 0;
                    while caller.signing().sign(sign(&key, b"m")).await.is_ok() {
                        made += 1;
                    }
                    made
                })
            })
            .collect();
        if round < 2 {
            // Only the service is killed, while it signs; its worker sees that and leaves.
            let operator = chancery.operator().await.unwrap();
            let begun = counted(&operator, &key).await.0;
            while counted(&operator, &key).await.0 < begun + 40 {}
            chancery.kill().unwrap();
        }
        for call in calls {
            made += call.await.unwrap();
        }
        if round < 2 {
            chancery.restart().await.unwrap();
        }
    }
    let operator = chancery.operator().await.unwrap();
    assert_eq!((counted(&operator, &key).await.0, intents(&operator, &key).await), (400, 400));
    assert!(made <= 400, "{made} signatures were handed out");
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn a_day_begins_at_midnight_and_comes_once() {
    let office = Office::open().await;
    let midnight = office.now();
    office.pass(Duration::from_secs(20 * 3600));
    let rules = RuleChanges { max_daily_signatures: Some(Some(2)), ..RuleChanges::default() };
    let key = office.create("daily", rules).await;
    let refused = async |left: Duration| match office.sign(&key).await.unwrap_err() {
        Error::UsageLimit { kind: LimitKind::Daily, limit: 2, retry_after: Some(wait), .. } => assert_eq!(wait, left),
        error => panic!("{error}"),
    };
    office.sign(&key).await.unwrap();
    office.sign(&key).await.unwrap();
    refused(Duration::from_secs(4 * 3600)).await;
    let office_at = |at| office.set_clock(at);
    office_at(midnight.after(DAY));
    office.sign(&key).await.unwrap();
    // Back to the day before, which is used up, and which the new day's count does not refill.
    office_at(midnight.after(Duration::from_secs(20 * 3600)));
    office.sign(&key).await.unwrap();
    refused(Duration::from_secs(4 * 3600)).await;
    office_at(midnight.after(DAY));
    refused(DAY).await;
    office_at(midnight.after(DAY * 2));
    office.sign(&key).await.unwrap();
}
