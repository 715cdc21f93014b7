//! A caller that floods a token does not starve another: how many of its signatures are made while one of the other's waits,
//! counted in the record and not by a clock.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chancery_api::v1;
use chancery_api::v1::batch_sign_result::Result as Item;
use chancery_client::{Client, Refusal};
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract;
use chancery_tests::load::{Load, Record, failures, sign, token, try_create_key, until};
use tokio::task::JoinSet;

/// Threads that sign, and how many calls each is handed ahead (`LANE_DEPTH` of crates/hsm).
const LANES: usize = 2;
const LANE_DEPTH: usize = 8;
/// So many calls of the flood are under way all the time.
const FLOOD: usize = 360;
/// While one call of the quiet caller waits, so many of the flood's may end: those that the lanes had before it, what the
/// other lane makes until the quiet one's turn in its own comes, and one whose turn it was. Three times that, since a lane may
/// be slower than the other, and the record is written in groups. Without turns it is as many as the flood has under way.
const BOUND: usize = 3 * (2 * LANES * LANE_DEPTH + 1);

fn setup(queue_limit: i64) -> Setup {
    let quiet = CallerSetup::new("quiet").role("signer").ring("dev");
    Chancery::setup().with(quiet).configure(move |config| {
        let token = config["token"][0].as_table_mut().unwrap();
        token.insert("signing_threads".to_owned(), toml::Value::Integer(i64::try_from(LANES).unwrap()));
        token.insert("queue_limit".to_owned(), toml::Value::Integer(queue_limit));
        let listener = config["listener"].as_table_mut().unwrap();
        let limits = [("max_in_flight_per_caller", 600)];
        let limits = limits.map(|(name, value)| (name.to_owned(), toml::Value::Integer(value)));
        listener.insert("limits".to_owned(), toml::Value::Table(limits.into_iter().collect()));
    })
}

/// Keys that are slow enough for the token to be what everybody waits for.
async fn slow_key(operator: &Client, id: &str) -> String {
    try_create_key(operator, id, v1::Algorithm::RsaPkcs14096Sha256).await.unwrap().name
}

async fn flood(chancery: &Chancery, key: &str) -> Load {
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(chancery.caller().await.unwrap());
    }
    Load::start(&clients, FLOOD / clients.len(), key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_goes_before_a_quiet_caller_by_a_bounded_number_of_places() {
    let chancery = setup(1024).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let (crowded, calm) = (slow_key(&operator, "crowded").await, slow_key(&operator, "calm").await);
    let quiet = chancery.connect_as("quiet").await.unwrap();
    let load = flood(&chancery, &crowded).await;
    // Until the queue holds most of what the flood has under way, there is nothing to get past.
    let long = chancery_tests::load::until("the flood waits for the token", async || {
        (token(&operator).await.queued as usize > FLOOD / 2).then_some(())
    });
    long.await;
    let mut signed = Vec::new();
    for number in 0..12 {
        signed.push(sign(&quiet, &calm, &format!("quiet {number}")).await.unwrap().record_index);
    }
    let still = token(&operator).await.queued as usize;
    assert!(still > FLOOD / 2, "the flood went on: {still} waiting");
    let calls = load.stop().await;
    assert_eq!(failures(&calls).count(), 0, "the flood was not refused either");

    let record = Record::read_settled(&operator).await;
    let caller_of: HashMap<u64, &str> = record.intents().map(|intent| (intent.index, intent.caller.as_str())).collect();
    let ended_at: HashMap<u64, u64> = record
        .of(v1::RecordKind::Outcome)
        .flat_map(|outcome| outcome.outcomes.iter().map(|end| (end.record_index, outcome.index)))
        .collect();
    let mut passed: Vec<usize> = signed
        .iter()
        .map(|intent| {
            let ended = ended_at[intent];
            let of_the_flood = |(other, at): &(&u64, &u64)| {
                caller_of.get(other) == Some(&"callers/caller") && (*intent..ended).contains(*at)
            };
            ended_at.iter().filter(of_the_flood).count()
        })
        .collect();
    passed.sort_unstable();
    // Each of them, were it not that a disk that is slow for once keeps an intent from the queue while the token goes on.
    let usual = passed[passed.len() / 2];
    assert!(
        usual <= BOUND && passed.iter().all(|passed| *passed < FLOOD),
        "{passed:?} went before, not {BOUND} at most"
    );
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_fills_its_share_of_the_queue_is_refused_and_a_quiet_caller_is_not() {
    let chancery = setup(20).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let (crowded, calm) = (slow_key(&operator, "crowded").await, slow_key(&operator, "calm").await);
    let quiet = chancery.connect_as("quiet").await.unwrap();
    let load = flood(&chancery, &crowded).await;
    let overloaded =
        |call: &chancery_tests::load::Call| call.end.as_ref().is_err_and(|error| error.reason() == Some("OVERLOADED"));
    load.wait_for(FLOOD, "were refused", overloaded).await;
    for number in 0..20 {
        sign(&quiet, &calm, &format!("quiet {number}")).await.unwrap();
    }
    let calls = load.stop().await;
    assert!(failures(&calls).all(|error| error.reason() == Some("OVERLOADED")));
    assert!(calls.iter().any(|call| call.end.is_ok()), "the flood has its share");
    chancery.stop().await.unwrap();
}

/// Batches that are handed in at once: more items than there are places for outcomes in the record.
const BATCHES: usize = 24;
const BATCH: usize = 256;

/// A batch keeps its places until its last item has ended, and so they are what runs out first.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_batches_is_refused_where_the_record_has_no_places_left_for_it_and_a_quiet_caller_is_not() {
    let chancery = setup(1024).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let rsa = v1::Algorithm::RsaPkcs12048Sha256;
    let crowded = try_create_key(&operator, "crowded", rsa).await.unwrap().name;
    let calm = try_create_key(&operator, "calm", rsa).await.unwrap().name;
    let quiet = chancery.connect_as("quiet").await.unwrap();
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let client = chancery.caller().await.unwrap();
    let mut flood = JoinSet::new();
    for _ in 0..BATCHES {
        let (client, stop, refused, crowded) = (client.clone(), stop.clone(), refused.clone(), crowded.clone());
        flood.spawn(async move {
            let mut made = 0;
            while !stop.load(Ordering::SeqCst) {
                let requests = vec![contract::sign(&crowded, b"m"); BATCH];
                match client.signing().batch_sign(v1::BatchSignRequest { requests }).await {
                    Ok(answer) => made += answer.into_inner().results.len(),
                    // A batch may also be too late; on a slow machine it waits for long.
                    Err(status) => {
                        let overloaded = Refusal::from(status).reason.as_deref() == Some("OVERLOADED");
                        refused.fetch_add(usize::from(overloaded), Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
            made
        });
    }
    let count = || refused.load(Ordering::SeqCst);
    until("the flood has all places that it may have", async || (count() >= BATCHES).then_some(())).await;
    for number in 0..12 {
        let before = count();
        sign(&quiet, &calm, &format!("quiet {number}")).await.unwrap();
        until("the flood goes on", async || (count() > before).then_some(())).await;
    }
    stop.store(true, Ordering::SeqCst);
    let made: usize = flood.join_all().await.into_iter().sum();
    assert!(made > 0, "the flood has its share");
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_queue_has_no_room_for_is_one_line_in_the_log() {
    let chancery = setup(20).start().await.unwrap();
    let crowded = slow_key(&chancery.operator().await.unwrap(), "crowded").await;
    let requests = vec![contract::sign(&crowded, b"m"); 128];
    let client = chancery.caller().await.unwrap();
    let answer = client.signing().batch_sign(v1::BatchSignRequest { requests }).await.unwrap().into_inner();
    let refused = answer.results.iter().filter(|result| matches!(result.result, Some(Item::Error(_)))).count();
    assert!(refused > 10, "{refused} of 128");
    let log = chancery.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("the token failed")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(&format!("items={refused}")), "{lines:?}");
    chancery.stop().await.unwrap();
}
