//! What the crate's page promises to users.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests")]

use std::time::{Duration, Instant};

use chancery_testkit::client::model::Algorithm;
use chancery_testkit::client::{ClientError, EcdsaEncoding, RefusalKind};
use chancery_testkit::{CallerSetup, Chancery, Error};

#[tokio::test]
async fn invoices_are_signed() -> Result<(), Error> {
    let chancery = Chancery::start().await?;
    let key = chancery.key().await?;
    let caller = chancery.caller().await?;
    let signed = caller.sign(key, "pay 5 to Ada", EcdsaEncoding::Der).await?;
    assert_eq!(signed.version, key.version(1));
    assert!(caller.verify(&signed.version, "pay 5 to Ada", signed.signature, EcdsaEncoding::Der).await?.valid);
    assert_eq!(chancery.key().await?, key, "it is made once");
    let other = chancery.create_key("other", Algorithm::Ed25519).await?;
    assert_eq!(caller.sign(&other, "pay 5 to Ada", EcdsaEncoding::Der).await?.algorithm, Algorithm::Ed25519);
    assert!(chancery.stop().await?.success());
    Ok(())
}

#[tokio::test]
async fn roles_are_held_apart() -> Result<(), Error> {
    let chancery = Chancery::setup().with(CallerSetup::new("checker").role("verifier").ring("dev")).start().await?;
    let key = chancery.key().await?;
    for client in [chancery.connect_as("checker").await?, chancery.operator().await?] {
        let denied = client.sign(key, "pay 5 to Eve", EcdsaEncoding::Der).await.unwrap_err();
        assert!(matches!(denied, ClientError::Refused(refusal) if refusal.kind() == RefusalKind::Denied));
    }
    Ok(())
}

/// Many processes that initialise SoftHSM at the same moment can see tokens that are not there, or none. Not here: each has
/// a token directory of its own.
#[tokio::test(flavor = "multi_thread")]
async fn eight_start_at_once() {
    let starts = (0..8).map(|number| {
        tokio::spawn(async move {
            let chancery = Chancery::start().await.unwrap();
            let key = chancery.create_key(&format!("k{number}"), Algorithm::EcdsaP256Sha256).await.unwrap();
            let signed = chancery.caller().await.unwrap().sign(&key, "pay 5 to Ada", EcdsaEncoding::Der).await.unwrap();
            (chancery, signed)
        })
    });
    let mut all = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        all.push(start.await.unwrap());
    }
    let mut ports: Vec<_> = all.iter().map(|(chancery, _)| chancery.endpoint().to_owned()).collect();
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 8);
}

/// What the next test kills: a test that has a Chancery.
#[tokio::test]
#[ignore = "a part of the next test"]
#[allow(clippy::print_stdout, reason = "the other test reads it")]
async fn waits_with_a_chancery() {
    let chancery = Chancery::start().await.unwrap();
    println!("service {}", chancery.pid());
    tokio::time::sleep(Duration::from_secs(600)).await;
}

#[test]
fn a_test_that_is_killed_leaves_no_service() {
    use std::io::{BufRead as _, BufReader};
    let mut test = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "waits_with_a_chancery", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let service: u32 =
        lines.map_while(Result::ok).find_map(|line| line.split_once("service ")?.1.parse().ok()).unwrap();
    // Nobody has to reap it: then it stays as a zombie, without a command line.
    let there = || std::fs::read(format!("/proc/{service}/cmdline")).is_ok_and(|line| !line.is_empty());
    assert!(there());
    test.kill().unwrap();
    test.wait().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while there() {
        assert!(Instant::now() < until, "the service outlives its test");
        std::thread::sleep(Duration::from_millis(20));
    }
}
