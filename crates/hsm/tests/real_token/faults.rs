//! Workers that die, hang or lose their token, in the middle of signing.

use crate::module_under_test::module_under_test;
use crate::support::{PATIENCE, Tokens, make_key, sign, signal, soon, stop, wait_for_health, wait_until};
use chancery_hsm::{HsmErrorKind, SignInput, TokenState};
use chancery_model::Algorithm;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_costs_a_retry_and_nothing_else() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    let stop = Arc::new(AtomicBool::new(false));
    let signed = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (token, key, stop, signed) = (token.clone(), key.clone(), Arc::clone(&stop), Arc::clone(&signed));
        callers.spawn(async move {
            let mut retried = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let signature = sign(&token, &key, b"under load").await?;
                signed.fetch_add(1, Ordering::Relaxed);
                retried += u64::from(signature.attempts > 1);
            }
            Ok::<_, chancery_hsm::HsmFailure>(retried)
        });
    }
    for round in 1..=3 {
        // Up, and signing: never while it logs in.
        wait_for_health(&token, PATIENCE, |health| health.state == TokenState::Up).await;
        let before = signed.load(Ordering::Relaxed);
        wait_until("signing", PATIENCE, || signed.load(Ordering::Relaxed) > before + 100).await;
        let at_kill = signed.load(Ordering::Relaxed);
        signal(libc::SIGKILL, token.status().worker_pid.unwrap());
        wait_until("a new worker", PATIENCE, || token.status().restarts == round).await;
        wait_until("signing again", PATIENCE, || signed.load(Ordering::Relaxed) > at_kill + 100).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut retried = 0;
    for caller in callers.join_all().await {
        retried += caller.expect("a retry hides the death of a worker");
    }
    assert!(retried > 0, "calls were in flight and yet nothing was retried");
    assert!(retried <= 3 * 2 * 8, "{retried} retries: more than can have been in flight");
    token.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_misses_the_deadline_and_is_replaced() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    sign(&token, &key, b"m").await.unwrap();
    let first = token.status().worker_pid.unwrap();
    let _stopped = stop(first).await;
    let began = Instant::now();
    let deadline = began + Duration::from_millis(250);
    let failure = token.sign(&key, SignInput::Message(b"m"), deadline).await.unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::Deadline);
    assert!(began.elapsed() < Duration::from_secs(10), "the deadline was held after {:?}", began.elapsed());
    let signature = sign(&token, &key, b"m").await.unwrap();
    assert!(signature.attempts <= 2);
    assert_ne!(token.status().worker_pid, Some(first));
    assert!(!crate::support::is_running(first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tiny_deadline_does_not_cost_the_worker() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_key(&token, Algorithm::RsaPss4096Sha256).await;
    let pid = token.status().worker_pid;
    let mut late = 0;
    for _ in 0..40 {
        let deadline = Instant::now() + Duration::from_micros(200);
        // A timer may be slower than a token.
        if let Err(failure) = token.sign(&key, SignInput::Message(b"m"), deadline).await {
            assert_eq!(failure.kind, HsmErrorKind::Deadline);
            late += 1;
        }
    }
    assert!(late > 0, "no signature took as long as its deadline");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    sign(&token, &key, b"m").await.unwrap();
    // Unless the machine gave the worker no time for a whole second: then it has to count as hung, once.
    let status = token.status();
    assert!(status.worker_pid == pid || status.restarts == 1, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_service_is_bounded_and_not_lost() {
    let tokens = Tokens::new().await;
    let mut settings = tokens.settings();
    settings.signing_threads = 1;
    settings.queue_limit = 3;
    let token = chancery_hsm::Token::start(settings, crate::support::worker()).await.unwrap();
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    let pid = token.status().worker_pid.unwrap();
    let _stopped = stop(pid).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 + 3 {
        let (token, key) = (token.clone(), key.clone());
        calls.spawn(async move { sign(&token, &key, b"m").await });
    }
    wait_until("lane and queue full", Duration::from_secs(5), || {
        let status = token.status();
        (status.in_flight, status.queued) == (8, 3)
    })
    .await;
    let failure = sign(&token, &key, b"m").await.unwrap_err();
    assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::Overloaded, 0));
    signal(libc::SIGKILL, pid);
    for result in calls.join_all().await {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_storage_is_gone_is_no_missing_key_and_comes_back() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    let (files, aside) = (tokens.directory().join("tokens"), tokens.directory().join("aside"));
    fs::rename(&files, &aside).unwrap();
    fs::create_dir(&files).unwrap();
    if !module_under_test().notices_lost_files {
        sign(&token, &key, b"m").await.unwrap();
        signal(libc::SIGKILL, token.status().worker_pid.unwrap());
    }
    let deadline = Instant::now() + Duration::from_secs(6);
    let failure = loop {
        match sign(&token, &key, b"m").await {
            Err(failure) => break failure,
            // The module may still have the key in memory.
            Ok(_) => assert!(Instant::now() < deadline, "the worker never noticed"),
        }
    };
    assert_ne!(failure.kind, HsmErrorKind::KeyNotFound, "{failure}");
    wait_for_health(&token, Duration::from_secs(10), |health| health.state == TokenState::Down).await;
    let began = Instant::now();
    let failure = sign(&token, &key, b"m").await.unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::TokenAbsent, "{failure}");
    assert!(began.elapsed() < Duration::from_secs(10), "a token that is down fails at once");

    fs::remove_dir_all(&files).unwrap();
    fs::rename(&aside, &files).unwrap();
    wait_for_health(&token, Duration::from_secs(20), |health| health.state == TokenState::Up).await;
    sign(&token, &key, b"m").await.unwrap();
    assert_eq!(token.list(soon()).await.unwrap().len(), 2);
}
