//! BatchVerify: each item is decided and checked by itself, at its place.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use chancery_api::v1::{self, Algorithm};
use chancery_client::{Client, Refusal};
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{Fixture, assert_field, create, eventually, message, new_key, records, sign};
use chancery_tests::streams::item_refusal;
use chancery_tests::token_under_test::token_under_test;
use tonic::Code;

static CHANCERY: Fixture = Fixture::new(setup);

fn setup() -> Setup {
    Chancery::setup()
        .ring("other", "dev")
        .with(CallerSetup::new("verifier").role("verifier").ring("dev"))
        .with(CallerSetup::new("keeper").role("key-administrator").ring("other"))
}

/// Of these, those that the token has.
const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::EcdsaP256Sha256, Algorithm::EcdsaSecp256k1Sha256, Algorithm::Ed25519, Algorithm::RsaPss2048Sha256];

/// A key of each algorithm, and a signature by each of `b"signed"`.
async fn signatures(chancery: &Chancery, prefix: &str) -> Vec<v1::VerifyRequest> {
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let mut requests = Vec::new();
    let offered = ALGORITHMS.into_iter().filter(|algorithm| token_under_test().offers(*algorithm));
    for (number, algorithm) in offered.enumerate() {
        let key = create(&operator, new_key(chancery.key_ring(), &format!("{prefix}-{number}"), algorithm)).await;
        let signed = caller.signing().sign(sign(&key.name, b"signed")).await.unwrap().into_inner();
        requests.push(v1::VerifyRequest {
            name: signed.name,
            input: message(b"signed"),
            signature_crc32c: Some(signed.signature_crc32c),
            signature: signed.signature,
            encoding: v1::SignatureEncoding::Der.into(),
        });
    }
    requests
}

/// What is said of one item.
#[derive(Debug, PartialEq)]
enum Said {
    Valid(bool),
    Refused(Code, Option<String>),
}

async fn verify(client: &Client, requests: Vec<v1::VerifyRequest>) -> Vec<(Said, Option<v1::VerifyResponse>)> {
    use v1::batch_verify_result::Result as Item;
    let count = requests.len();
    let answer = client.signing().batch_verify(v1::BatchVerifyRequest { requests }).await.unwrap().into_inner();
    assert_eq!(answer.results.len(), count);
    let said = |result: v1::BatchVerifyResult| match result.result.unwrap() {
        Item::Response(response) => (Said::Valid(response.valid), Some(response)),
        Item::Error(error) => {
            let Refusal { code, reason, .. } = item_refusal(&error);
            (Said::Refused(code, reason), None)
        }
    };
    answer.results.into_iter().map(said).collect()
}

#[tokio::test]
async fn each_item_is_checked_at_its_place() {
    let chancery = CHANCERY.get().await;
    let good = signatures(&chancery, "each").await;
    let caller = chancery.caller().await.unwrap();
    let invalid = || Said::Refused(Code::InvalidArgument, Some("INVALID_FIELD".to_owned()));
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    for request in &good {
        let input = v1::SignInput { crc32c: Some(0), ..message(b"signed").unwrap() };
        for (request, said) in [
            (request.clone(), Said::Valid(true)),
            (v1::VerifyRequest { input: message(b"something else"), ..request.clone() }, Said::Valid(false)),
            (v1::VerifyRequest { signature_crc32c: Some(0), ..request.clone() }, invalid()),
            (v1::VerifyRequest { input: Some(input), ..request.clone() }, invalid()),
            (v1::VerifyRequest { input: None, ..request.clone() }, invalid()),
            (
                v1::VerifyRequest { name: "keyRings/dev/keys/none".to_owned(), ..request.clone() },
                Said::Refused(Code::PermissionDenied, Some("ACCESS_DENIED".to_owned())),
            ),
        ] {
            requests.push(request);
            expected.push(said);
        }
    }
    let answers = verify(&caller, requests.clone()).await;
    for ((place, expected), (said, response)) in expected.iter().enumerate().zip(&answers) {
        assert_eq!(said, expected, "item {place}");
        if let Some(response) = response {
            assert_eq!(response.name, requests[place].name);
            assert!(response.verified_signature_crc32c && !response.verified_input_crc32c);
        }
    }
    // One by one they are answered the same.
    for (request, (said, response)) in requests.into_iter().zip(answers) {
        let one = match caller.signing().verify(request).await {
            Ok(answer) => {
                assert_eq!(Some(answer.get_ref()), response.as_ref());
                Said::Valid(answer.get_ref().valid)
            }
            Err(status) => {
                let Refusal { code, reason, .. } = Refusal::from(status);
                Said::Refused(code, reason)
            }
        };
        assert_eq!(one, said);
    }
}

#[tokio::test]
async fn a_batch_has_1_to_256_items_of_3_mib_together() {
    let chancery = CHANCERY.get().await;
    let good = signatures(&chancery, "size").await;
    let caller = chancery.caller().await.unwrap();
    let send = async |requests: Vec<v1::VerifyRequest>| {
        caller.signing().batch_verify(v1::BatchVerifyRequest { requests }).await
    };
    assert_field(send(Vec::new()).await, "requests");
    let full: Vec<_> = good.iter().cycle().take(256).cloned().collect();
    assert!(verify(&caller, full.clone()).await.iter().all(|(said, _)| *said == Said::Valid(true)));
    assert_field(send([full, vec![good[0].clone()]].concat()).await, "requests");
    let long = v1::VerifyRequest { input: message(&vec![7; 1 << 20]), ..good[0].clone() };
    let description = assert_field(send(vec![long; 3]).await, "requests");
    assert!(description.contains("3145728"), "with the signatures it is more: {description}");
}

#[tokio::test]
async fn each_item_is_authorised_by_itself_and_its_denial_recorded() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let good = signatures(&chancery, "denied").await;
    let keeper = chancery.connect_as("keeper").await.unwrap();
    let elsewhere = create(&keeper, new_key("keyRings/other", "elsewhere", Algorithm::Ed25519)).await;
    let verifier = chancery.connect_as("verifier").await.unwrap();
    let denied = v1::VerifyRequest { name: elsewhere.name.clone(), ..good[0].clone() };
    let answers = verify(&verifier, vec![good[0].clone(), denied, good[1].clone()]).await;
    let said: Vec<_> = answers.into_iter().map(|(said, _)| said).collect();
    let refused = Said::Refused(Code::PermissionDenied, Some("ACCESS_DENIED".to_owned()));
    assert_eq!(said, [Said::Valid(true), refused, Said::Valid(true)]);
    let filter = v1::ListRecordsRequest {
        caller: "callers/verifier".to_owned(),
        action: "Verify".to_owned(),
        ..v1::ListRecordsRequest::default()
    };
    let recorded = eventually("the denial is recorded", async || {
        let found = records(&operator, filter.clone()).await;
        (!found.is_empty()).then_some(found)
    })
    .await;
    assert_eq!((recorded.len(), recorded[0].kind()), (1, v1::RecordKind::Denial), "what is allowed is not recorded");
    assert_eq!(recorded[0].resource, elsewhere.name);
}
