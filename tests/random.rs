//! Random bytes of a token.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::BTreeSet;

use chancery_api::v1;
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{Fixture, assert_field, assert_refused};
use tonic::{Code, Status};

static CHANCERY: Fixture = Fixture::new(setup);

fn setup() -> Setup {
    Chancery::setup()
        .with(CallerSetup::new("checker").role("verifier").ring("dev"))
        .with(CallerSetup::new("dicer").group("dicers"))
        .policy(
            "dice.cedar",
            r#"@id("dicers-take-little")
               permit (
                 principal in Chancery::Group::"dicers",
                 action == Chancery::Action::"GenerateRandomBytes",
                 resource == Chancery::KeyRing::"dev"
               )
               when { context.length <= 16 };"#,
        )
}

async fn random(client: &Client, ring: &str, length: i32) -> Result<Vec<u8>, Status> {
    let request = v1::GenerateRandomBytesRequest { name: ring.to_owned(), length };
    let answer = client.signing().generate_random_bytes(request).await?.into_inner();
    assert_eq!(answer.data_crc32c, crc32c::crc32c(&answer.data));
    Ok(answer.data)
}

#[tokio::test]
async fn as_many_bytes_as_asked_for_and_never_the_same() {
    let chancery = CHANCERY.get().await;
    let caller = chancery.caller().await.unwrap();
    for length in [1, 2, 32, 1023, 1024] {
        let bytes = random(&caller, "keyRings/dev", length).await.unwrap();
        assert_eq!(bytes.len(), usize::try_from(length).unwrap());
    }
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        assert!(seen.insert(random(&caller, "keyRings/dev", 16).await.unwrap()));
    }
    // 1024 bytes: each bit position set in some byte and clear in another, or the generator is stuck.
    let bytes = random(&caller, "keyRings/dev", 1024).await.unwrap();
    assert_eq!(bytes.iter().fold(0, |all, byte| all | byte), 0xff);
    assert_eq!(bytes.iter().fold(0xff, |all, byte| all & byte), 0);
}

#[tokio::test]
async fn lengths_out_of_bounds_are_refused() {
    let chancery = CHANCERY.get().await;
    let caller = chancery.caller().await.unwrap();
    for length in [0, -1, 1025, i32::MAX, i32::MIN] {
        let description = assert_field(random(&caller, "keyRings/dev", length).await, "length");
        assert_eq!(description, format!("must be 1 to 1024, not {length}"));
    }
    assert_field(random(&caller, "keyRings/dev/keys/x", 8).await, "name");
}

#[tokio::test]
async fn policy_decides_by_ring_and_length() {
    let chancery = CHANCERY.get().await;
    let dicer = chancery.connect_as("dicer").await.unwrap();
    assert_eq!(random(&dicer, "keyRings/dev", 16).await.unwrap().len(), 16);
    for (ring, length) in [("keyRings/dev", 17), ("keyRings/none", 16)] {
        assert_refused(random(&dicer, ring, length).await, Code::PermissionDenied, "ACCESS_DENIED");
    }
    let checker = chancery.connect_as("checker").await.unwrap();
    assert_refused(random(&checker, "keyRings/dev", 16).await, Code::PermissionDenied, "ACCESS_DENIED");
    // Who may not, learns nothing of what would have been refused otherwise.
    assert_refused(random(&checker, "keyRings/dev", 0).await, Code::PermissionDenied, "ACCESS_DENIED");
}
