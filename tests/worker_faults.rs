//! Workers and services that die or hang in the middle of load.
//!
//! A worker is only ever killed while it signs: a kill during login or key generation can destroy a SoftHSM token.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chancery_api::v1;
use chancery_client::{Client, ClientError, ConnectOptions};
use chancery_testkit::{Chancery, Leaf, signal};
use chancery_tests::load::{Load, Record, create_key, details, failures, is_alive, sign, stop, token, until};
use tokio::sync::{Mutex, MutexGuard};
use tonic::Code;

/// These tests measure times: one after the other.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

async fn callers(chancery: &Chancery) -> Vec<Client> {
    vec![chancery.caller().await.unwrap(), chancery.caller().await.unwrap()]
}

/// The token, once a worker other than `old` serves it.
async fn replaced(operator: &Client, old: u32) -> v1::Token {
    until("the worker is replaced", async || {
        let token = token(operator).await;
        (token.worker_pid != 0 && token.worker_pid != old && token.health() == v1::TokenHealth::Up).then_some(token)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_costs_a_retry_and_not_a_call() {
    let _alone = alone().await;
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let load = Load::start(&callers(&chancery).await, 8, &key);
    let mut recoveries = Vec::new();
    for _ in 0..3 {
        // Signing flows, so the worker is past its login.
        load.wait_for_signatures(100).await;
        let before = token(&operator).await;
        let killed = Instant::now();
        signal(before.worker_pid, "KILL").unwrap();
        let after = replaced(&operator, before.worker_pid).await;
        assert!(after.worker_restarts > before.worker_restarts);
        load.wait_for_signatures(1).await;
        recoveries.push(killed);
    }
    let calls = load.stop().await;
    assert_eq!(failures(&calls).map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    // What began after the kill was signed by the next worker.
    let times = recoveries.iter().map(|killed| {
        let signed_after = calls.iter().filter(|call| call.began > *killed).map(|call| call.ended - *killed);
        signed_after.min().unwrap()
    });
    let times: Vec<Duration> = times.collect();
    assert!(times.iter().min().unwrap() < &Duration::from_secs(10), "{times:?}");

    let record = Record::read_settled(&operator).await;
    record.assert_holds(&calls);
    assert_eq!(record.ended("DONE").len(), calls.len());
    let retried = record.of(v1::RecordKind::Outcome).filter(|outcome| details(outcome)["items"][0]["attempts"] == 2);
    let retried = retried.count();
    // Only what was in the lanes: at most 8 in each, once for each kill, and no more than were under way.
    assert!((1..=3 * 16).contains(&retried), "{retried} calls were tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stands_still_is_replaced_and_deadlines_hold() {
    let _alone = alone().await;
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let identity = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/caller"), "hasty").unwrap();
    let deadline = Duration::from_millis(500);
    let options = ConnectOptions { request_timeout: deadline, ..chancery.connect_options(&identity) };
    let clients = [Client::connect(options.clone()).await.unwrap(), Client::connect(options).await.unwrap()];
    let load = Load::start(&clients, 4, &key);
    load.wait_for_signatures(50).await;
    let before = token(&operator).await;
    stop(before.worker_pid).await;
    let after = replaced(&operator, before.worker_pid).await;
    load.wait_for_signatures(50).await;
    let calls = load.stop().await;

    assert!(failures(&calls).next().is_some(), "the worker was stopped before it could answer");
    for failure in failures(&calls) {
        let in_time = matches!(failure, ClientError::TimedOut { .. }) || failure.code() == Some(Code::DeadlineExceeded);
        let lost = failure.code() == Some(Code::Unavailable) && failure.reason() == Some("TOKEN_OUTCOME_UNKNOWN");
        assert!(in_time || lost, "{failure:?}");
    }
    let slowest = calls.iter().map(|call| call.ended - call.began).max().unwrap();
    assert!(slowest < deadline + Duration::from_secs(20), "a call with a deadline of {deadline:?} took {slowest:?}");
    until("the old worker is gone", async || (!is_alive(before.worker_pid)).then_some(())).await;
    assert!(is_alive(after.worker_pid));
    let record = Record::read_settled(&operator).await;
    record.assert_holds(&calls);
    assert!(!record.ended("UNKNOWN").is_empty(), "what the stopped worker had is not known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_leaves_nothing_behind_and_nothing_unsaid() {
    let _alone = alone().await;
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let load = Load::start(&callers(&chancery).await, 8, &key);
    load.wait_for_signatures(100).await;
    let worker = token(&operator).await.worker_pid;
    chancery.kill().unwrap();
    until("the worker of the killed service leaves", async || (!is_alive(worker)).then_some(())).await;
    let calls = load.stop().await;
    assert!(failures(&calls).all(|failure| matches!(failure, ClientError::Connection { .. })));

    chancery.restart().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    assert_ne!(token(&operator).await.worker_pid, worker);
    // At once after the start: closing what was left open is a part of it.
    let record = Record::read(&operator).await;
    record.assert_holds(&calls);
    let mut open = record.intents().filter(|intent| record.end(intent.index).is_none());
    assert!(open.next().is_none(), "an intent of the killed run has no outcome");
    let unknown: BTreeSet<u64> = record.ended("UNKNOWN").into_iter().collect();
    assert!(!unknown.is_empty(), "with sixteen calls under way some intents were open");
    let caller = chancery.caller().await.unwrap();
    let signed = sign(&caller, &key, "with the key of before").await.unwrap();
    assert_eq!(signed.version.to_string(), format!("{key}/versions/1"));
    let last = Record::read_settled(&operator).await;
    assert_eq!(last.end(signed.record_index).unwrap().result, "DONE");
}
