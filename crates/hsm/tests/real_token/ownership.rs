//! One process owns a token; and who may open it.

use crate::support::{
    LABEL, Tokens, is_running, make_key, pin, raw_session, re_exec, run_entry, settings_in, sign, signal, soon,
    wait_for_health, wait_until, worker,
};
use chancery_hsm::{HealthCause, HsmErrorKind, Token, TokenState};
use chancery_model::Algorithm;
use cryptoki::object::{Attribute, ObjectClass};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_holder_waits_and_is_told_who_the_first_is() {
    let tokens = Tokens::new().await;
    let first = tokens.token().await;
    let pid = first.status().worker_pid.unwrap();
    let began = Instant::now();
    let error = Token::start(tokens.settings(), worker()).await.unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::TokenAbsent);
    assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
    assert!(began.elapsed() >= Duration::from_secs(3), "it did not wait");

    let second = tokio::spawn(Token::start(tokens.settings(), worker()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.shutdown().await;
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.status().health.state, TokenState::Up);
    let failure = first.list(soon()).await.unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::Stopping);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pin_is_never_tried_again() {
    // Letters, for the messages hold numbers: a time or a serial number may have the digits of any short PIN in it.
    const WRONG: &str = "wrong-pin-canary";
    let tokens = Tokens::new().await;
    let mut wrong = tokens.settings();
    wrong.pin = pin(WRONG);
    let error = Token::start(wrong.clone(), worker()).await.unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::PinLatched);
    assert!(error.to_string().contains("CKR_PIN_INCORRECT") && !error.to_string().contains(WRONG), "{error}");

    // A token that counts refusals locks after ten of them, for the right PIN too.
    for _ in 0..12 {
        let error = Token::start(wrong.clone(), worker()).await.unwrap_err();
        assert_eq!(error.kind, HsmErrorKind::PinLatched);
    }
    // Even the right PIN is not tried, so the wrong one was not either: the token is not asked at all.
    let error = Token::start(tokens.settings(), worker()).await.unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::PinLatched);
    let latch = fs::read_dir(tokens.directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "pin-latch"))
        .unwrap();
    assert!(error.to_string().contains(latch.to_str().unwrap()), "{error}");
    assert!(!fs::read_to_string(&latch).unwrap().contains(WRONG));

    fs::remove_file(latch).unwrap();
    tokens.token().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leaves_when_its_service_lets_go() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let pid = token.status().worker_pid.unwrap();
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        signal(number, pid);
    }
    make_key(&token, Algorithm::EcdsaP256Sha256).await;
    assert_eq!(token.status().worker_pid, Some(pid), "signals to the whole group must not take the token away");
    drop(token);
    wait_until("the worker's end", Duration::from_secs(60), || !is_running(pid)).await;
}

/// Not a test: a service that is killed. Says its worker's pid and a line when it signs, and never ends by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the entry point of a service that gets killed"]
#[allow(clippy::print_stdout, reason = "that is how the test learns of the worker")]
async fn service_entry() {
    let directory = PathBuf::from(std::env::var_os("CHANCERY_TEST_DIRECTORY").unwrap());
    let token = Token::start(settings_in(&directory), worker()).await.unwrap();
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    println!("\nworker {}", token.status().worker_pid.unwrap());
    loop {
        sign(&token, &key, b"m").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_of_a_killed_service_leaves_and_a_new_service_gets_the_token() {
    let tokens = Tokens::new().await;
    let entry = re_exec("ownership::service_entry");
    let mut service = Command::new(entry.program)
        .args(entry.arguments)
        .env("CHANCERY_TEST_DIRECTORY", tokens.directory())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let pid: u32 = lines
        .map(|line| line.unwrap())
        .find_map(|line| line.strip_prefix("worker ").map(|pid| pid.parse().unwrap()))
        .unwrap();
    assert!(is_running(pid));
    service.kill().unwrap();
    service.wait().unwrap();
    let token = tokens.token().await;
    assert!(!is_running(pid), "two workers at once");
    assert_eq!(token.list(soon()).await.unwrap().len(), 2);
}

/// Not a test: a service that is killed while it signs and its worker makes a key, which takes a while.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the entry point of a service that gets killed"]
#[allow(clippy::print_stdout, reason = "that is how the test learns of the worker")]
async fn service_that_makes_a_key_entry() {
    let directory = PathBuf::from(std::env::var_os("CHANCERY_TEST_DIRECTORY").unwrap());
    let token = Token::start(settings_in(&directory), worker()).await.unwrap();
    // A slow signature: both lanes are in the middle of one whenever the end comes.
    let (_, key) = make_key(&token, Algorithm::RsaPkcs1_3072Sha256).await;
    let making = token.clone();
    tokio::spawn(async move { make_key(&making, Algorithm::RsaPkcs1_4096Sha256).await });
    for _ in 0..16 {
        let (token, key) = (token.clone(), key.clone());
        tokio::spawn(async move {
            loop {
                sign(&token, &key, b"m").await.unwrap();
            }
        });
    }
    sign(&token, &key, b"m").await.unwrap();
    println!("\nworker {}", token.status().worker_pid.unwrap());
    std::future::pending().await
}

/// The lanes find their service gone when they answer; the key that is being made must not be torn for that.
#[tokio::test(flavor = "multi_thread")]
async fn the_worker_of_a_killed_service_ends_what_it_writes_to_the_token() {
    let tokens = Tokens::new().await;
    let entry = re_exec("ownership::service_that_makes_a_key_entry");
    let mut service = Command::new(entry.program)
        .args(entry.arguments)
        .env("CHANCERY_TEST_DIRECTORY", tokens.directory())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let pid: u32 = lines
        .map(|line| line.unwrap())
        .find_map(|line| line.strip_prefix("worker ").map(|pid| pid.parse().unwrap()))
        .unwrap();
    service.kill().unwrap();
    service.wait().unwrap();
    wait_until("the worker's end", Duration::from_secs(120), || !is_running(pid)).await;
    let token = tokens.token().await;
    assert_eq!(token.list(soon()).await.unwrap().len(), 4, "two whole pairs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_once_and_found_by_label_and_serial() {
    let tokens = Tokens::new().await;
    let error = tokens.initialise(LABEL).await.unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::Configuration);

    // Not to be seen is no reason to make another.
    let (files, aside) = (tokens.directory().join("tokens"), tokens.directory().join("aside"));
    fs::rename(&files, &aside).unwrap();
    let error = tokens.initialise(LABEL).await.unwrap_err();
    assert!(error.to_string().contains("was made here before"), "{error}");
    let settings = tokens.settings();
    let error = Token::start(settings, worker()).await.unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::TokenAbsent);
    fs::remove_dir_all(&files).unwrap();
    fs::rename(&aside, &files).unwrap();

    // Another of the same label, made from elsewhere.
    fs::remove_file(tokens.directory().join(format!("{LABEL}.initialised"))).unwrap();
    let error = tokens.initialise(LABEL).await.unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    let made = tokens.initialise("other").await.unwrap();
    let mut settings = tokens.settings();
    settings.label = "other".to_owned();
    settings.serial = Some(made.serial.clone());
    let token = Token::start(settings.clone(), worker()).await.unwrap();
    assert_eq!(token.status().serial, made.serial);
    token.shutdown().await;
    settings.serial = Some("0000000000000000".to_owned());
    let error = Token::start(settings, worker()).await.unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::TokenAbsent);
    assert!(error.to_string().contains(&made.serial), "the error lists what is there: {error}");
}

/// Not a test: gives every private key the same CKA_ID, as no good program would. In a process of its own, since it
/// loads the module.
#[test]
#[ignore = "the entry point of a process that spoils a token"]
fn duplicate_ids_entry() {
    let session = raw_session();
    let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        session.update_attributes(key, &[Attribute::Id(vec![7; 16])]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_of_one_id_sign_nothing() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, mut key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    make_key(&token, Algorithm::EcdsaP256Sha256).await;
    token.shutdown().await;
    run_entry("ownership::duplicate_ids_entry", &tokens);
    let token = tokens.token().await;
    key.id = chancery_model::Uid::from_bytes([7; 16]).into();
    let failure = sign(&token, &key, b"m").await.unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::KeyAmbiguous, "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_id_that_others_gave_another_key_is_not_destroyed() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let algorithm = Algorithm::EcdsaP256Sha256;
    let (_, key) = make_key(&token, algorithm).await;
    let (_, other) = make_key(&token, algorithm).await;
    let (_, rsa) = make_key(&token, Algorithm::RsaPss2048Sha256).await;
    for (algorithm, adopted) in [(algorithm, &other.public), (Algorithm::RsaPss2048Sha256, &rsa.public)] {
        let failure = token.destroy_adopted(key.id, algorithm, Some(adopted), soon()).await.unwrap_err();
        assert_eq!(failure.kind, HsmErrorKind::KeyAmbiguous, "{failure}");
        assert!(failure.message.contains("its public key is another"), "{failure}");
    }
    sign(&token, &key, b"m").await.unwrap();
    assert_eq!(token.destroy_adopted(key.id, algorithm, Some(&key.public), soon()).await.unwrap(), 2);
    assert_eq!(token.destroy_adopted(key.id, algorithm, Some(&key.public), soon()).await.unwrap(), 0, "again");
    sign(&token, &other, b"m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_of_the_label_is_not_taken_for_the_one_that_was_seen() {
    let (tokens, others) = (Tokens::new().await, Tokens::new().await);
    let token = tokens.token().await;
    let serial = token.status().serial;
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    // Not its own token's files any more: those of one with the same label. No serial is configured.
    let (files, aside) = (tokens.directory().join("tokens"), tokens.directory().join("aside"));
    fs::rename(&files, &aside).unwrap();
    fs::rename(others.directory().join("tokens"), &files).unwrap();
    signal(libc::SIGKILL, token.status().worker_pid.unwrap());
    let other = |health: &chancery_hsm::TokenHealth| health.cause == Some(HealthCause::OtherToken);
    wait_for_health(&token, Duration::from_secs(20), other).await;
    let status = token.status();
    assert_eq!((status.health.state, &status.serial), (TokenState::Down, &serial));
    assert!(status.health.detail.contains("another serial"), "{status:?}");
    wait_until("the next attempt is told", Duration::from_secs(20), || token.status().next_attempt.is_some()).await;
    let failure = sign(&token, &key, b"m").await.unwrap_err();
    assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::TokenAbsent, 0), "{failure}");

    fs::rename(&files, others.directory().join("tokens")).unwrap();
    fs::rename(&aside, &files).unwrap();
    wait_for_health(&token, Duration::from_secs(20), |health| health.state == TokenState::Up).await;
    assert_eq!(token.status().serial, serial);
    sign(&token, &key, b"m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_away_is_held_all_the_same_and_one_that_is_misconfigured_is_not() {
    let tokens = Tokens::new().await;
    let (files, aside) = (tokens.directory().join("tokens"), tokens.directory().join("aside"));
    fs::rename(&files, &aside).unwrap();
    fs::create_dir(&files).unwrap();
    let token = Token::hold(tokens.settings(), worker()).await.unwrap();
    let status = token.status();
    assert_eq!((status.health.state, status.health.cause), (TokenState::Down, Some(HealthCause::TokenAbsent)));
    assert_eq!((status.label.as_str(), status.algorithms.len()), (LABEL, 0));
    token.offers(Algorithm::EcdsaP256Sha256).expect("nobody knows yet what it offers");
    let failure = token.list(soon()).await.unwrap_err();
    assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::TokenAbsent, 0), "{failure}");
    // Kryoptic makes a file where it finds none.
    fs::remove_dir_all(&files).unwrap();
    fs::rename(&aside, &files).unwrap();
    wait_for_health(&token, Duration::from_secs(20), |health| health.state == TokenState::Up).await;
    make_key(&token, Algorithm::EcdsaP256Sha256).await;
    token.shutdown().await;
    assert_eq!(token.status().health.cause, Some(HealthCause::Stopping));

    let mut settings = tokens.settings();
    settings.module = tokens.directory().join("no-such-module.so");
    let error = Token::hold(settings, worker()).await.unwrap_err();
    assert_eq!(error.cause, HealthCause::ModuleNotLoadable, "{error}");
    let mut settings = tokens.settings();
    settings.lock_dir = tokens.directory().join("no-such-folder");
    let error = Token::hold(settings, worker()).await.unwrap_err();
    assert_eq!(error.cause, HealthCause::Misconfigured, "{error}");
}
