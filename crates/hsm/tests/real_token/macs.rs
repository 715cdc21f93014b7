//! Secrets, the MACs that a token makes and checks with them, and its random bytes.

use crate::module_under_test::module_under_test;
use crate::support::{
    PATIENCE, Tokens, make_key, make_mac_key, raw_session, run_entry, sign, signal, soon, wait_until,
    while_keys_are_made,
};
use chancery_hsm::{
    HsmErrorKind, KeyPresence, MAX_MAC_MESSAGE_BYTES, MAX_RANDOM_BYTES, MacKey, Token, TokenObjectClass,
};
use chancery_model::{Algorithm, KeyPurpose, Uid};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn mac_algorithms() -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.into_iter().filter(|algorithm| algorithm.purpose() == KeyPurpose::Mac)
}

async fn is_valid(token: &Token, key: &MacKey, message: &[u8], mac: &[u8]) -> bool {
    token.verify_mac(key, message, mac, soon()).await.unwrap().valid
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mac_algorithm_from_generation_to_destruction() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    for algorithm in mac_algorithms() {
        assert!(module_under_test().offers(algorithm) && token.offers(algorithm).is_ok(), "{algorithm}");
        let (made, key) = make_mac_key(&token, algorithm).await;
        assert_eq!((made.id, &made.spki_der), (key.id, &None), "{algorithm}");
        assert_eq!(made.attributes.class, TokenObjectClass::SecretKey, "{algorithm}");
        assert!(made.attributes.verify && made.attributes.violations().is_empty(), "{algorithm}");

        let message = format!("a message for {algorithm}");
        let mac = token.mac(&key, message.as_bytes(), soon()).await.unwrap();
        assert_eq!((Some(mac.bytes.len()), mac.attempts), (algorithm.mac_bytes(), 1), "{algorithm}");
        let again = token.mac(&key, message.as_bytes(), soon()).await.unwrap();
        assert!(again.bytes == mac.bytes && again.attempts == 1, "{algorithm}");
        let verdict = token.verify_mac(&key, message.as_bytes(), &mac.bytes, soon()).await.unwrap();
        assert_eq!((verdict.valid, verdict.attempts), (true, 1), "{algorithm}");
        assert!(!is_valid(&token, &key, b"another message", &mac.bytes).await, "{algorithm}");
        for bit in 0..8 * mac.bytes.len() {
            let mut flipped = mac.bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let verdict = token.verify_mac(&key, message.as_bytes(), &flipped, soon()).await.unwrap();
            assert_eq!((verdict.valid, verdict.attempts), (false, 1), "{algorithm}, bit {bit}");
        }
        let longer = [mac.bytes.as_slice(), &[0; 200]].concat();
        for length in (0..longer.len()).filter(|length| *length != mac.bytes.len()) {
            let verdict = token.verify_mac(&key, message.as_bytes(), &longer[..length], soon()).await.unwrap();
            assert_eq!((verdict.valid, verdict.attempts), (false, 0), "{algorithm}, {length} bytes");
        }
        assert!(!format!("{mac:?}").contains(&format!("{:?}", mac.bytes)), "{mac:?}");

        let (_, other) = make_mac_key(&token, algorithm).await;
        assert!(!is_valid(&token, &other, message.as_bytes(), &mac.bytes).await, "{algorithm}");

        let present = token.inspect(key.id, algorithm, soon()).await.unwrap();
        assert_eq!(present, KeyPresence::Complete(made), "{algorithm}");
        let objects = token.list(soon()).await.unwrap();
        let ours: Vec<_> = objects.iter().filter(|object| object.id == key.id.as_bytes()).collect();
        assert!(ours.len() == 1 && ours[0].class == TokenObjectClass::SecretKey, "{algorithm}: {ours:?}");
        assert_eq!(ours[0].label, "a secret");

        assert_eq!(token.destroy(key.id, soon()).await, Ok(1), "{algorithm}");
        assert_eq!(token.inspect(key.id, algorithm, soon()).await, Ok(KeyPresence::Absent), "{algorithm}");
        for failure in [
            token.mac(&key, b"m", soon()).await.unwrap_err(),
            token.verify_mac(&key, message.as_bytes(), &mac.bytes, soon()).await.unwrap_err(),
        ] {
            assert_eq!(failure.kind, HsmErrorKind::KeyNotFound, "{algorithm}: {failure}");
        }
    }
    assert_eq!(token.status().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_length_to_the_limit() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let longest = vec![7; MAX_MAC_MESSAGE_BYTES + 1];
    for algorithm in mac_algorithms() {
        let (_, key) = make_mac_key(&token, algorithm).await;
        let mut seen = HashSet::new();
        for length in [0, 1, 15, 16, 17, 127, 128, 129, 4_096, MAX_MAC_MESSAGE_BYTES - 1, MAX_MAC_MESSAGE_BYTES] {
            let mac = token.mac(&key, &longest[..length], soon()).await.unwrap().bytes;
            assert!(is_valid(&token, &key, &longest[..length], &mac).await, "{algorithm}, {length} bytes");
            assert!(seen.insert(mac), "{algorithm}, {length} bytes");
        }
        let failure = token.mac(&key, &longest, soon()).await.unwrap_err();
        assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::InputLength, 0));
        let failure = token.verify_mac(&key, &longest, &[0; 64], soon()).await.unwrap_err();
        assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::InputLength, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_do_only_what_they_are_for() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, secret) = make_mac_key(&token, Algorithm::HmacSha256).await;
    let (_, pair) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    // No algorithm for MACs.
    let failure =
        token.mac(&MacKey { algorithm: Algorithm::Ed25519, ..secret.clone() }, b"m", soon()).await.unwrap_err();
    assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::InputLength, 0));
    // A private key makes no MACs, and a secret no signatures, whatever the caller takes them for.
    let misused = MacKey { id: pair.id, algorithm: Algorithm::HmacSha256 };
    let failure = token.mac(&misused, b"m", soon()).await.unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::Configuration, "{failure}");
    let mut misused = pair.clone();
    misused.id = secret.id;
    let failure = sign(&token, &misused, b"m").await.unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::Configuration, "{failure}");
    // Both still do what they are for.
    token.mac(&secret, b"m", soon()).await.unwrap();
    sign(&token, &pair, b"m").await.unwrap();

    // Asked for as something else, they are not whole keys of that kind.
    let found = token.inspect(secret.id, Algorithm::EcdsaP256Sha256, soon()).await.unwrap();
    assert_eq!(found, KeyPresence::Partial { private: 0, public: 0, secret: 1 });
    let found = token.inspect(pair.id, Algorithm::HmacSha256, soon()).await.unwrap();
    assert_eq!(found, KeyPresence::Partial { private: 1, public: 1, secret: 0 });
    for algorithm in [Algorithm::HmacSha512, Algorithm::AesCmac] {
        let found = token.inspect(secret.id, algorithm, soon()).await.unwrap();
        assert!(matches!(found, KeyPresence::Unfit { .. }), "{found:?}");
    }
    let failure = token
        .generate(Uid::try_from(secret.id.as_bytes()).unwrap(), "again", Algorithm::HmacSha256, soon())
        .await
        .unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::KeyAmbiguous);
    assert_eq!(token.destroy(secret.id, soon()).await, Ok(1));
}

/// Not a test: makes secrets as no Chancery would, and gives a secret and a private key the same CKA_ID.
#[test]
#[ignore = "the entry point of a process that spoils a token"]
fn odd_secrets_entry() {
    let session = raw_session();
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
        let found = session.find_objects(&[Attribute::Class(class)]).unwrap();
        assert_eq!(found.len(), 1);
        session.update_attributes(found[0], &[Attribute::Id(vec![7; 16])]).unwrap();
    }
    // Brought in from outside, so neither local nor ever sensitive; and good for encryption too.
    session
        .create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(cryptoki::object::KeyType::AES),
            Attribute::Value(vec![9; 32]),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            Attribute::Verify(true),
            Attribute::Encrypt(true),
            Attribute::Id(vec![8; 16]),
        ])
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_secrets_are_not_used() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, mut pair) = make_key(&token, Algorithm::EcdsaP256Sha256).await;
    let (_, mut secret) = make_mac_key(&token, Algorithm::HmacSha256).await;
    token.shutdown().await;
    run_entry("macs::odd_secrets_entry", &tokens);

    let token = tokens.token().await;
    pair.id = Uid::from_bytes([7; 16]).into();
    secret.id = pair.id;
    let failure = sign(&token, &pair, b"m").await.unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::KeyAmbiguous, "{failure}");
    let failure = token.mac(&secret, b"m", soon()).await.unwrap_err();
    assert_eq!(failure.kind, HsmErrorKind::KeyAmbiguous, "{failure}");

    let found = token.inspect(Uid::from_bytes([8; 16]).into(), Algorithm::AesCmac, soon()).await.unwrap();
    let KeyPresence::Unfit { why } = found else { panic!("{found:?}") };
    for name in ["CKA_ALWAYS_SENSITIVE", "CKA_NEVER_EXTRACTABLE", "CKA_LOCAL", "CKA_ENCRYPT"] {
        assert!(why.contains(name), "{name}: {why}");
    }
    assert!(!why.contains("CKA_SIGN") && !why.contains("CKA_VERIFY"), "{why}");
}

/// Not a test: looks at a secret as whoever has the PIN could.
#[test]
#[ignore = "the entry point of a process that looks for a secret"]
fn value_entry() {
    let session = raw_session();
    let found = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap();
    assert_eq!(found.len(), mac_algorithms().count());
    for secret in found {
        for attribute in session.get_attributes(secret, &[AttributeType::Value]).unwrap() {
            assert_eq!(attribute, Attribute::Value(Vec::new()), "a token that shows secrets");
        }
        // Nor does it become readable by asking for that.
        assert!(session.update_attributes(secret, &[Attribute::Sensitive(false)]).is_err());
        assert!(session.update_attributes(secret, &[Attribute::Extractable(true)]).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_never_leaves_the_token() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    for algorithm in mac_algorithms() {
        make_mac_key(&token, algorithm).await;
    }
    token.shutdown().await;
    run_entry("macs::value_entry", &tokens);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_costs_macs_and_random_bytes_a_retry_and_nothing_else() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_mac_key(&token, Algorithm::HmacSha256).await;
    let mac = token.mac(&key, b"m", soon()).await.unwrap().bytes;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..24 {
        let (token, key, mac) = (token.clone(), key.clone(), mac.clone());
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        callers.spawn(async move {
            let mut retried = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let attempts = match number % 3 {
                    0 => {
                        let made = token.mac(&key, b"m", soon()).await?;
                        assert_eq!(made.bytes, mac);
                        made.attempts
                    }
                    1 => {
                        let verdict = token.verify_mac(&key, b"m", &mac, soon()).await?;
                        assert!(verdict.valid);
                        verdict.attempts
                    }
                    _ => {
                        assert_eq!(token.random(40, soon()).await?.len(), 40);
                        1
                    }
                };
                done.fetch_add(1, Ordering::Relaxed);
                retried += u32::from(attempts > 1);
            }
            Ok::<_, chancery_hsm::HsmFailure>(retried)
        });
    }
    wait_until("work", PATIENCE, || done.load(Ordering::Relaxed) > 200).await;
    signal(libc::SIGKILL, token.status().worker_pid.unwrap());
    wait_until("a new worker", PATIENCE, || token.status().restarts == 1).await;
    let before = done.load(Ordering::Relaxed);
    wait_until("work again", PATIENCE, || done.load(Ordering::Relaxed) > before + 200).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers.join_all().await {
        let retried = caller.expect("a retry hides the death of a worker");
        assert!(retried <= 1, "{retried} retries of one caller for one death");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_come_in_any_number_and_never_twice() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    for length in [1, 2, 31, 32, 33, MAX_RANDOM_BYTES] {
        assert_eq!(token.random(length, soon()).await.unwrap().len(), length);
    }
    let mut seen = HashSet::new();
    let mut bytes = [false; 256];
    for _ in 0..64 {
        let random = token.random(MAX_RANDOM_BYTES, soon()).await.unwrap();
        random.iter().for_each(|byte| bytes[usize::from(*byte)] = true);
        assert!(random.chunks(16).all(|chunk| seen.insert(chunk.to_vec())), "16 random bytes came twice");
    }
    assert!(bytes.iter().all(|seen| *seen), "some byte never came in 65,536");
    for length in [0, MAX_RANDOM_BYTES + 1, usize::MAX] {
        let failure = token.random(length, soon()).await.unwrap_err();
        assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::InputLength, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn macs_go_on_while_a_key_is_made() {
    let tokens = Tokens::new().await;
    let token = tokens.token().await;
    let (_, key) = make_mac_key(&token, Algorithm::AesCmac).await;
    let meanwhile = while_keys_are_made(&token, Algorithm::RsaPss4096Sha512, async || {
        token.mac(&key, b"m", soon()).await.unwrap();
        token.random(32, soon()).await.unwrap();
    })
    .await;
    if module_under_test().signs_while_generating {
        assert!(meanwhile > 20, "only {meanwhile} MACs while RSA-4096 keys were made");
    }
    assert_eq!(token.status().restarts, 0);
}
