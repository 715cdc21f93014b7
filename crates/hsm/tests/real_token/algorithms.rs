//! What a token is there for: each algorithm, from generation to destruction.

use crate::module_under_test::module_under_test;
use crate::support::{LABEL, Tokens, make_key, sign, soon, while_keys_are_made, worker};
use chancery_crypto::{SignedInput, hash, new_uid};
use chancery_hsm::{
    HsmErrorKind, KeyPresence, MAX_DEVICE_MESSAGE_BYTES, SignInput, SigningKey, TokenObjectClass, TokenState, measure,
};
use chancery_model::{Algorithm, Curve, EcdsaEncoding, KeyPurpose, KeyType, Uid};
use std::time::Duration;

fn signature_bytes(algorithm: Algorithm) -> usize {
    match algorithm.key_type() {
        KeyType::Rsa { modulus_bits } => usize::try_from(modulus_bits / 8).unwrap(),
        KeyType::Ec(curve) => 2 * curve.coordinate_bytes(),
        KeyType::Ed25519 => 64,
        KeyType::MlDsa(set) => set.signature_bytes(),
        KeyType::GenericSecret { .. } | KeyType::Aes { .. } => panic!("{algorithm} makes MACs"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signing_algorithm_from_generation_to_destruction() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    for algorithm in Algorithm::ALL {
        assert_eq!(token.offers(algorithm).is_ok(), module_under_test().offers(algorithm), "{algorithm}");
        if token.offers(algorithm).is_err() {
            let refused = token.generate(new_uid().unwrap(), "none", algorithm, soon()).await.unwrap_err();
            assert_eq!(refused.kind, HsmErrorKind::Configuration, "{algorithm}");
            continue;
        }
        if algorithm.purpose() == KeyPurpose::Mac {
            // See macs.rs.
            continue;
        }
        let (made, key) = make_key(&token, algorithm).await;
        assert_eq!(made.attributes.class, TokenObjectClass::PrivateKey, "{algorithm}");
        assert_eq!(made.attributes.violations(), [""; 0], "{algorithm}");

        let message = format!("a message for {algorithm}");
        for _ in 0..8 {
            let signature = sign(&token, &key, message.as_bytes()).await.unwrap();
            assert_eq!((signature.bytes.len(), signature.attempts), (signature_bytes(algorithm), 1), "{algorithm}");
            let is_secp256k1 = algorithm.key_type() == KeyType::Ec(Curve::Secp256k1);
            assert_eq!(signature.recovery_id.is_some(), is_secp256k1, "{algorithm}");
            let verify = |message: &[u8]| {
                key.public.verify(SignedInput::Message(message), &signature.bytes, EcdsaEncoding::P1363)
            };
            assert!(verify(message.as_bytes()).is_ok(), "{algorithm}");
            assert!(verify(b"another message").is_err(), "{algorithm}");
        }
        if let Some(function) = algorithm.hash() {
            let digest = hash(function, message.as_bytes());
            let signature = token.sign(&key, SignInput::Digest(&digest), soon()).await.unwrap();
            let input = SignedInput::Message(message.as_bytes());
            assert!(key.public.verify(input, &signature.bytes, EcdsaEncoding::P1363).is_ok(), "{algorithm}");
        }

        let present = token.inspect(key.id, algorithm, soon()).await.unwrap();
        assert_eq!(present, KeyPresence::Complete(made), "{algorithm}");
        let objects = token.list(soon()).await.unwrap();
        for class in [TokenObjectClass::PrivateKey, TokenObjectClass::PublicKey] {
            let halves = objects.iter().filter(|object| object.class == class && object.id == key.id.as_bytes());
            assert_eq!(halves.map(|half| half.label.as_str()).collect::<Vec<_>>(), ["a key"], "{algorithm}");
        }

        assert_eq!(token.destroy(key.id, soon()).await, Ok(2), "{algorithm}");
        assert_eq!(token.inspect(key.id, algorithm, soon()).await, Ok(KeyPresence::Absent), "{algorithm}");
        let failure = sign(&token, &key, b"m").await.unwrap_err();
        assert_eq!(failure.kind, HsmErrorKind::KeyNotFound, "{algorithm}: {failure}");
    }
    assert_eq!(token.status().restarts, 0);
    token.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_up_to_the_limit_go_to_the_device() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let longest = vec![7; MAX_DEVICE_MESSAGE_BYTES];
    for algorithm in [Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87] {
        if module_under_test().offers(algorithm) {
            let (_, key) = make_key(&token, algorithm).await;
            for message in [[].as_slice(), &longest] {
                sign(&token, &key, message).await.unwrap();
            }
        }
    }
    let (_, key) = make_key(&token, Algorithm::Ed25519).await;
    // More at once than a lane's socket holds.
    let mut calls = tokio::task::JoinSet::new();
    for length in (0..40).map(|step| MAX_DEVICE_MESSAGE_BYTES - step) {
        let (token, key, message) = (token.clone(), key.clone(), longest[..length].to_vec());
        calls.spawn(async move { sign(&token, &key, &message).await.map(|_| ()) });
    }
    for result in calls.join_all().await {
        result.unwrap();
    }
    sign(&token, &key, b"").await.unwrap();
    let failure = sign(&token, &key, &vec![7; MAX_DEVICE_MESSAGE_BYTES + 1]).await.unwrap_err();
    assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::InputLength, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_deadline_the_device_is_not_asked() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    let late = token.sign(&key, SignInput::Message(b"m"), tokio::time::Instant::now()).await.unwrap_err();
    assert_eq!((late.kind, late.attempts), (HsmErrorKind::Deadline, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_pair_that_is_not_as_wanted_is_unfit_and_can_be_destroyed() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    let found = token.inspect(key.id, Algorithm::EcdsaP384Sha384, soon()).await.unwrap();
    assert!(matches!(found, KeyPresence::Unfit { .. }), "{found:?}");
    assert_eq!(token.destroy(key.id, soon()).await, Ok(2));
    assert_eq!(token.inspect(key.id, Algorithm::EcdsaP384Sha384, soon()).await, Ok(KeyPresence::Absent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_another_key_never_leaves() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    for algorithm in
        [Algorithm::EcdsaP256Sha256, Algorithm::EcdsaSecp256k1Keccak256, Algorithm::Ed25519, Algorithm::MlDsa44]
    {
        if !module_under_test().offers(algorithm) {
            continue;
        }
        let (_, key) = make_key(&token, algorithm).await;
        let (_, other) = make_key(&token, algorithm).await;
        let mixed = SigningKey { id: key.id, public: other.public };
        let failure = sign(&token, &mixed, b"m").await.unwrap_err();
        assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::WrongSignature, 2), "{algorithm}");
        assert_eq!(sign(&token, &key, b"m").await.unwrap().attempts, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_taken_makes_no_second_key() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    let taken = Uid::try_from(key.id.as_bytes()).unwrap();
    let failure = token.generate(taken, "again", Algorithm::EcdsaP256Sha256, soon()).await.unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::KeyAmbiguous);
    assert_eq!(token.list(soon()).await.unwrap().len(), 2);
    sign(&token, &key, b"m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_goes_on_while_a_key_is_made() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    let signing = async || drop(sign(&token, &key, b"m").await.unwrap());
    let meanwhile = while_keys_are_made(&token, Algorithm::RsaPkcs1_4096Sha256, signing).await;
    if module_under_test().signs_while_generating {
        assert!(meanwhile > 20, "only {meanwhile} signatures while RSA-4096 keys were made");
    }
    // What had to wait was not lost, and the worker not taken for dead.
    sign(&token, &key, b"m").await.unwrap();
    assert_eq!(token.status().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_the_token_is() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let status = token.status();
    assert_eq!((status.id.as_str(), status.label.as_str()), ("soft", LABEL));
    assert_eq!(status.health.state, TokenState::Up);
    let offered = Algorithm::ALL.into_iter().filter(|algorithm| module_under_test().offers(*algorithm));
    assert_eq!(status.algorithms, offered.collect::<Vec<_>>());
    assert_eq!((status.signing_threads, status.sessions_open, status.restarts), (2, 4, 0));
    assert!(status.serial.len() == 16 && status.manufacturer.contains(module_under_test().manufacturer), "{status:?}");
    assert!(status.mechanisms.iter().any(|name| name == "CKM_ECDSA"), "{status:?}");
    assert!(!format!("{:?}", tokens.settings()).contains(crate::support::PIN));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_raw_rate_is_measured_without_a_stored_key() {
    let tokens = Tokens::new().await;
    for algorithm in [
        Algorithm::EcdsaP256Sha256,
        Algorithm::RsaPss2048Sha256,
        Algorithm::Ed25519,
        Algorithm::MlDsa65,
        Algorithm::HmacSha256,
        Algorithm::AesCmac,
    ] {
        if !module_under_test().offers(algorithm) {
            continue;
        }
        let duration = Duration::from_millis(200);
        let rate = measure(&worker(), &tokens.settings(), algorithm, 2, duration).await.unwrap();
        assert!(rate.signatures > 0 && rate.elapsed >= Duration::from_millis(200), "{rate:?}");
    }
    assert_eq!(tokens.token().await.list(soon()).await, Ok(Vec::new()));
}
