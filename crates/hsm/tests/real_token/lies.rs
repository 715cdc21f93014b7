//! Tokens that lie. `examples/lying_module.rs` stands before the real module; what it says is judged as anything else.
//! What is done about a lie does not depend on the token, so only the module that tests run on by default tells some.

use crate::module_under_test::module_under_test;
use crate::support::{Tokens, make_key, make_mac_key, sign, soon, worker};
use chancery_crypto::new_uid;
use chancery_hsm::{HsmErrorKind, KeyPresence, Token};
use chancery_model::Algorithm;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};

/// The algorithms that lies are told about: who notices a wrong signature is the service, a wrong MAC the worker.
const MAC: Algorithm = Algorithm::HmacSha256;
const SIGNATURE: Algorithm = Algorithm::EcdsaP256Sha256;

/// Takes the token through the lying module.
async fn lying(tokens: &Tokens, lie: &str, times: u64) -> Token {
    let mut settings = tokens.settings();
    let behind = settings.module.to_str().unwrap().to_owned();
    // Beside target/<profile>/deps/<this program>.
    let name = format!("{DLL_PREFIX}lying_module{DLL_SUFFIX}");
    settings.module = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(settings.module.is_file(), "run cargo build -p chancery-hsm --example lying_module first");
    for (name, value) in [("BEHIND", behind), ("LIE", lie.to_owned()), ("TIMES", times.to_string())] {
        settings.module_environment.insert(format!("LYING_MODULE_{name}"), value);
    }
    Token::start(settings, worker()).await.unwrap()
}

const ALWAYS: u64 = u64::MAX;

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_costs_a_retry_and_never_leaves() {
    if !module_under_test().is_default {
        return;
    }
    let tokens = Tokens::new().await;
    let honest = tokens.token().await;
    let (_, secret) = make_mac_key(&honest, MAC).await;
    let (_, pair) = make_key(&honest, SIGNATURE).await;
    let right = honest.mac(&secret, b"m", soon()).await.unwrap().bytes;
    honest.shutdown().await;

    for lie in ["sign", "verify-no"] {
        // Once: the second attempt is whole.
        let token = lying(&tokens, lie, 1).await;
        let mac = token.mac(&secret, b"m", soon()).await.unwrap();
        assert_eq!((mac.bytes, mac.attempts), (right.clone(), 2), "{lie}");
        token.shutdown().await;
        let token = lying(&tokens, lie, 1).await;
        let verdict = token.verify_mac(&secret, b"m", &right, soon()).await.unwrap();
        assert_eq!((verdict.valid, verdict.attempts), (true, 2), "{lie}");
        token.shutdown().await;

        // Always: neither a MAC nor a verdict comes out, and that is no lost worker.
        let token = lying(&tokens, lie, ALWAYS).await;
        for failure in [
            token.mac(&secret, b"m", soon()).await.unwrap_err(),
            token.verify_mac(&secret, b"m", &right, soon()).await.unwrap_err(),
        ] {
            assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::WrongSignature, 2), "{lie}: {failure}");
        }
        assert_eq!(token.status().restarts, 0);
        token.shutdown().await;
    }

    let token = lying(&tokens, "sign", 1).await;
    assert_eq!(sign(&token, &pair, b"m").await.unwrap().attempts, 2);
    token.shutdown().await;
    let token = lying(&tokens, "sign", ALWAYS).await;
    let failure = sign(&token, &pair, b"m").await.unwrap_err();
    assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::WrongSignature, 2), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_yes_to_everything_makes_no_wrong_mac_right() {
    if !module_under_test().is_default {
        return;
    }
    let tokens = Tokens::new().await;
    let token = lying(&tokens, "verify-yes", ALWAYS).await;
    let (_, secret) = make_mac_key(&token, MAC).await;
    let mut mac = token.mac(&secret, b"m", soon()).await.unwrap().bytes;
    assert!(token.verify_mac(&secret, b"m", &mac, soon()).await.unwrap().valid);
    mac[31] ^= 1;
    assert!(!token.verify_mac(&secret, b"m", &mac, soon()).await.unwrap().valid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_does_not_prove_itself_is_destroyed() {
    if !module_under_test().is_default {
        return;
    }
    let tokens = Tokens::new().await;
    let token = lying(&tokens, "sign", ALWAYS).await;
    for algorithm in [MAC, SIGNATURE] {
        let uid = new_uid().unwrap();
        let failure = token.generate(uid, "a key", algorithm, soon()).await.unwrap_err();
        assert_eq!(failure.kind, HsmErrorKind::WrongSignature, "{failure}");
        assert!(failure.message.contains("it was destroyed"), "{failure}");
        assert_eq!(token.inspect(uid, algorithm, soon()).await, Ok(KeyPresence::Absent));
    }
    assert_eq!(token.list(soon()).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_longer_proves_itself_is_unfit() {
    if !module_under_test().is_default {
        return;
    }
    let tokens = Tokens::new().await;
    let honest = tokens.token().await;
    let (_, secret) = make_mac_key(&honest, MAC).await;
    let (_, pair) = make_key(&honest, SIGNATURE).await;
    honest.shutdown().await;
    let token = lying(&tokens, "sign", ALWAYS).await;
    for (uid, algorithm) in [(secret.uid, MAC), (pair.uid, SIGNATURE)] {
        let found = token.inspect(uid, algorithm, soon()).await.unwrap();
        assert!(matches!(found, KeyPresence::Unfit { .. }), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_are_not_random() {
    if !module_under_test().is_default {
        return;
    }
    let tokens = Tokens::new().await;
    let token = lying(&tokens, "random", 1).await;
    for length in [1, 64] {
        assert_eq!(token.random(length, soon()).await.unwrap().len(), length);
    }
    token.shutdown().await;
    let token = lying(&tokens, "random", ALWAYS).await;
    for length in [1, 64] {
        let failure = token.random(length, soon()).await.unwrap_err();
        assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::Bug, 2), "{failure}");
    }
}
