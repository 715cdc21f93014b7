//! Tokens that lie. The faulty module stands before the real one; what it says is judged as anything else.
//! What is done about a lie does not depend on the token, so only the module that tests run on by default tells some.

use crate::module_under_test::module_under_test;
use crate::support::{Tokens, make_key, make_mac_key, sign, soon, worker};
use chancery_crypto::new_uid;
use chancery_hsm::{HsmErrorKind, KeyPresence, Token};
use chancery_model::Algorithm;
use chancery_pkcs11_fault::{FaultRules, Rule, Then, Verdict, library};

/// The algorithms that lies are told about: who notices a wrong signature is the service, a wrong MAC the worker.
const MAC: Algorithm = Algorithm::HmacSha256;
const SIGNATURE: Algorithm = Algorithm::EcdsaP256Sha256;

/// The lies that are told here.
const FLIPPED_BIT: Then = Then::FlipBit(4);
const NEVER_VALID: Then = Then::Verify(Verdict::No);
const ALWAYS_VALID: Then = Then::Verify(Verdict::Yes);

/// A token that is taken through the faulty module.
struct Liar {
    token: Token,
    faults: FaultRules,
}

impl Liar {
    /// Tells a lie at most so often.
    async fn telling(tokens: &Tokens, lie: Then, times: Option<u64>) -> Self {
        let faults = FaultRules::new(tokens.directory()).unwrap();
        faults.clear_log().unwrap();
        faults.set(&[Rule::new("lie", lie).when(|when| when.times = times)]).unwrap();
        let mut settings = tokens.settings();
        let behind = std::mem::replace(&mut settings.module, library().unwrap());
        settings.module_environment.extend(faults.environment(&behind));
        Self { token: Token::start(settings, worker()).await.unwrap(), faults }
    }

    /// Stops the token. Answers how many lies were told.
    async fn leave(self) -> usize {
        self.token.shutdown().await;
        self.faults.count("lie").unwrap()
    }
}

const ONCE: Option<u64> = Some(1);
const ALWAYS: Option<u64> = None;

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

    for lie in [FLIPPED_BIT, NEVER_VALID] {
        // Once: the second attempt is whole.
        let liar = Liar::telling(&tokens, lie.clone(), ONCE).await;
        let mac = liar.token.mac(&secret, b"m", soon()).await.unwrap();
        assert_eq!((mac.bytes, mac.attempts), (right.clone(), 2), "{lie:?}");
        assert_eq!(liar.leave().await, 1);
        let liar = Liar::telling(&tokens, lie.clone(), ONCE).await;
        let verdict = liar.token.verify_mac(&secret, b"m", &right, soon()).await.unwrap();
        assert_eq!((verdict.valid, verdict.attempts), (true, 2), "{lie:?}");
        assert_eq!(liar.leave().await, 1);

        // Always: neither a MAC nor a verdict comes out, and that is no lost worker.
        let liar = Liar::telling(&tokens, lie.clone(), ALWAYS).await;
        for failure in [
            liar.token.mac(&secret, b"m", soon()).await.unwrap_err(),
            liar.token.verify_mac(&secret, b"m", &right, soon()).await.unwrap_err(),
        ] {
            assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::WrongSignature, 2), "{lie:?}: {failure}");
        }
        assert_eq!(liar.token.status().restarts, 0);
        assert_eq!(liar.leave().await, 4);
    }

    let liar = Liar::telling(&tokens, FLIPPED_BIT, ONCE).await;
    assert_eq!(sign(&liar.token, &pair, b"m").await.unwrap().attempts, 2);
    assert_eq!(liar.leave().await, 1);
    let liar = Liar::telling(&tokens, FLIPPED_BIT, ALWAYS).await;
    let failure = sign(&liar.token, &pair, b"m").await.unwrap_err();
    assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::WrongSignature, 2), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_yes_to_everything_makes_no_wrong_mac_right() {
    if !module_under_test().is_default {
        return;
    }
    let tokens = Tokens::new().await;
    let liar = Liar::telling(&tokens, ALWAYS_VALID, ALWAYS).await;
    let token = &liar.token;
    let (_, secret) = make_mac_key(token, MAC).await;
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
    let liar = Liar::telling(&tokens, FLIPPED_BIT, ALWAYS).await;
    let token = &liar.token;
    for algorithm in [MAC, SIGNATURE] {
        let uid = new_uid().unwrap();
        let failure = token.generate(uid, "a key", algorithm, soon()).await.unwrap_err();
        assert_eq!(failure.kind, HsmErrorKind::WrongSignature, "{failure}");
        assert!(failure.message.contains("it was destroyed"), "{failure}");
        assert_eq!(token.inspect(uid.into(), algorithm, soon()).await, Ok(KeyPresence::Absent));
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
    let liar = Liar::telling(&tokens, FLIPPED_BIT, ALWAYS).await;
    let token = &liar.token;
    for (id, algorithm) in [(secret.id, MAC), (pair.id, SIGNATURE)] {
        let found = token.inspect(id, algorithm, soon()).await.unwrap();
        assert!(matches!(found, KeyPresence::Unfit { .. }), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_are_not_random() {
    if !module_under_test().is_default {
        return;
    }
    let tokens = Tokens::new().await;
    let liar = Liar::telling(&tokens, Then::Zeros, ONCE).await;
    for length in [1, 64] {
        assert_eq!(liar.token.random(length, soon()).await.unwrap().len(), length);
    }
    assert_eq!(liar.leave().await, 1);
    let liar = Liar::telling(&tokens, Then::Zeros, ALWAYS).await;
    for length in [1, 64] {
        let failure = liar.token.random(length, soon()).await.unwrap_err();
        assert_eq!((failure.kind, failure.attempts), (HsmErrorKind::Bug, 2), "{failure}");
    }
}
