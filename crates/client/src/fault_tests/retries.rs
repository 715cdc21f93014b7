//! What is sent again: how often, after which wait, and what never is.

use std::time::Duration;

use chancery_model::{Algorithm, EcdsaEncoding};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::service::{Call, Faults, Plan, VERSION};
use crate::{Client, ClientError, NewKey, RetryPolicy, SignItem, Signed};

async fn sign(client: &Client) -> Result<Signed, ClientError> {
    client.sign(VERSION, "pay 5 to Ada", EcdsaEncoding::Der).await
}

fn unavailable() -> Plan {
    Plan::Fail(Status::unavailable("not now"))
}

/// With `RetryInfo`.
fn told_to_wait(code: Code, wait: Duration) -> Plan {
    Plan::Fail(Status::with_error_details(code, "later", ErrorDetails::with_retry_info(Some(wait))))
}

fn gaps(calls: &[Call]) -> Vec<Duration> {
    calls.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[tokio::test(start_paused = true)]
async fn a_service_that_comes_back_is_not_seen_to_have_been_away() {
    let faults = Faults::new([unavailable(), unavailable(), unavailable()]);
    sign(&faults.client(RetryPolicy::default())).await.unwrap();
    let calls = faults.calls();
    assert_eq!(calls.len(), 4);
    for (gap, bound) in gaps(&calls).into_iter().zip([100, 200, 400]) {
        assert!(gap <= Duration::from_millis(bound + 1), "{gap:?} is over {bound} ms");
    }
    // Each attempt tells the service how much of the ten seconds is left.
    let left: Vec<u64> =
        calls.iter().map(|call| call.timeout.as_ref().unwrap().strip_suffix('u').unwrap().parse().unwrap()).collect();
    assert!(left[0] <= 10_000_000 && left[0] > 9_900_000, "{left:?}");
    assert!(left.is_sorted_by(|earlier, later| earlier >= later), "{left:?}");
    let passed = calls[3].at - calls[0].at;
    assert!(u128::from(left[0] - left[3]).abs_diff(passed.as_micros()) <= 2000, "{left:?} {passed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stays_away_is_asked_so_often_and_no_more() {
    let faults = Faults::new((0..20).map(|_| unavailable()));
    let client = faults.client(RetryPolicy { max_attempts: 3, ..RetryPolicy::default() });
    let error = sign(&client).await.unwrap_err();
    assert_eq!((error.code(), error.is_transient(), faults.calls().len()), (Some(Code::Unavailable), true, 3));
    assert!(sign(&client.without_retries()).await.is_err());
    assert_eq!(faults.calls().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_service_asks_for_is_kept() {
    let wait = Duration::from_millis(700);
    let faults = Faults::new([told_to_wait(Code::Unavailable, wait), told_to_wait(Code::ResourceExhausted, wait)]);
    sign(&faults.client(RetryPolicy::default())).await.unwrap();
    let gaps = gaps(&faults.calls());
    assert_eq!(gaps.len(), 2);
    for (gap, jitter) in gaps.into_iter().zip([100, 200]) {
        assert!(gap >= wait && gap <= wait + Duration::from_millis(jitter + 1), "{gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_repetition_cannot_cure_or_may_not_repeat_is_sent_once() {
    for code in [
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::InvalidArgument,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::DeadlineExceeded,
        Code::ResourceExhausted,
        Code::Internal,
        Code::Unknown,
        Code::Unimplemented,
    ] {
        let faults = Faults::new([Plan::Fail(Status::new(code, "no"))]);
        let error = sign(&faults.client(RetryPolicy::default())).await.unwrap_err();
        assert_eq!((error.code(), faults.calls().len()), (Some(code), 1), "{code:?}");
    }
    let faults = Faults::new([unavailable()]);
    let client = faults.client(RetryPolicy::default());
    assert!(client.suspend_key_version(&VERSION.parse().unwrap(), "test").await.is_err());
    assert_eq!(faults.calls().len(), 1, "a suspension");
    let faults = Faults::new([unavailable()]);
    let client = faults.client(RetryPolicy::default());
    assert!(client.signing().sign(chancery_api::v1::SignRequest::default()).await.is_err());
    assert_eq!(faults.calls().len(), 1, "tonic's own client");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_asked_for_again_under_the_same_request_id() {
    let faults = Faults::new([unavailable(), unavailable()]);
    let client = faults.client(RetryPolicy::default());
    let new = || NewKey::new("keyRings/dev/keys/k".parse().unwrap(), Algorithm::Ed25519);
    let key = client.create_key(new()).await.unwrap();
    assert_eq!(key.name.to_string(), "keyRings/dev/keys/k");
    client.create_key(new()).await.unwrap();
    client.create_key(new().request_id("mine")).await.unwrap();
    let ids: Vec<String> = faults.calls().into_iter().map(|call| call.note).collect();
    assert_eq!(ids.len(), 5);
    assert!(!ids[0].is_empty() && ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
    assert!(ids[3] != ids[0] && ids[4] == "mine", "each call has its own: {ids:?}");
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_an_answer_in_time() {
    let faults = Faults::new([Plan::Silence]);
    let client = faults.client(RetryPolicy::default()).with_timeout(Duration::from_secs(3));
    let began = Instant::now();
    assert!(matches!(sign(&client).await, Err(ClientError::TimedOut { .. })));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3) && took <= Duration::from_millis(3010), "{took:?}");
    assert_eq!(faults.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_repetition_that_would_come_too_late() {
    let faults = Faults::new([told_to_wait(Code::Unavailable, Duration::from_secs(60))]);
    let began = Instant::now();
    let error = sign(&faults.client(RetryPolicy::default())).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable), "the service's own word, not a time-out");
    assert!(began.elapsed() < Duration::from_millis(10) && faults.calls().len() == 1);
}

#[tokio::test(start_paused = true)]
async fn repetitions_end_with_the_budget_and_begin_again_when_it_has_filled() {
    let policy = RetryPolicy { budget_tokens: 4, budget_refill: 1000, ..RetryPolicy::default() };
    let faults = Faults::new((0..4).map(|_| unavailable()));
    let client = faults.client(policy);
    assert!(sign(&client).await.is_err());
    assert_eq!(faults.calls().len(), 2, "one token of four is over half");
    let clone = client.with_timeout(Duration::from_secs(5));
    assert!(sign(&clone).await.is_err() && sign(&client).await.is_err());
    assert_eq!(faults.calls().len(), 4, "clones share an empty bucket: each call is sent once");
    for _ in 0..4 {
        sign(&clone).await.unwrap();
    }
    faults.plan([unavailable()]);
    sign(&client).await.unwrap();
    assert_eq!(faults.calls().len(), 10, "four that succeed, and two attempts");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_made_is_tried_again() {
    let faults = Faults::new([]);
    faults.refuse_connections(2);
    sign(&faults.client(RetryPolicy::default())).await.unwrap();
    assert_eq!(faults.calls().len(), 1, "no attempt before arrived");

    faults.refuse_connections(9);
    let error = sign(&faults.client(RetryPolicy { max_attempts: 3, ..RetryPolicy::default() })).await.unwrap_err();
    assert!(matches!(&error, ClientError::Connection { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_split_and_loses_only_the_part_that_failed() {
    let denied = || Plan::Fail(Status::permission_denied("no"));
    let faults = Faults::new([Plan::Answer, unavailable(), Plan::Answer, denied()]);
    let client = faults.client(RetryPolicy::default());
    let key: crate::KeyRef = VERSION.parse().unwrap();
    let items = (0..1000).map(|number: u32| SignItem::new(&key, number.to_string().into_bytes()));
    let answers = client.batch_sign(items).await;
    assert_eq!(answers.len(), 1000);
    for (index, answer) in answers.iter().enumerate() {
        match answer {
            Ok(_) => assert!(!(512..768).contains(&index), "{index}"),
            Err(error) => {
                assert!((512..768).contains(&index), "{index}: {error}");
                assert_eq!(error.code(), Some(Code::PermissionDenied));
            }
        }
    }
    let sizes: Vec<String> = faults.calls().into_iter().map(|call| call.note).collect();
    assert_eq!(sizes, ["256", "", "256", "", "232"], "the second call was repeated, the third was not");
}
