//! Signing and what belongs to it: every algorithm, verified by libraries that the service's own verification is not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64ct::{Base64, Encoding as _};
use chancery_api::v1::{self, Algorithm, KeyState, PublicKeyFormat, SignatureEncoding};
use chancery_client::Client;
use chancery_testkit::Chancery;
use chancery_tests::contract::{
    Fixture, assert_field, assert_refused, create, digest_input, field_violation, message, new_digest_key, new_key,
    refusal, sha256, sign, sign_digest,
};
use chancery_tests::token_under_test::token_under_test;
use k256::ecdsa::signature::hazmat::PrehashVerifier as _;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest as _, Keccak256};
use tonic::Code;
use v1::batch_sign_result::Result as Item;

static CHANCERY: Fixture = Fixture::new(Chancery::setup);

const RING: &str = "keyRings/dev";
const MESSAGE: &[u8] = b"pay 5 to Ada";

/// Checks a signature without any of the service's code.
#[derive(Clone, Copy)]
enum Independent {
    /// aws-lc-rs; for ECDSA another algorithm for each encoding.
    Aws {
        der: &'static dyn VerificationAlgorithm,
        p1363: &'static dyn VerificationAlgorithm,
    },
    K256 {
        hash: fn(&[u8]) -> Vec<u8>,
    },
}

impl Independent {
    fn of(algorithm: Algorithm) -> Self {
        use signature as s;
        let same = |only: &'static dyn VerificationAlgorithm| Self::Aws { der: only, p1363: only };
        match algorithm {
            Algorithm::Unspecified => panic!("no algorithm"),
            Algorithm::RsaPkcs12048Sha256 | Algorithm::RsaPkcs13072Sha256 | Algorithm::RsaPkcs14096Sha256 => {
                same(&s::RSA_PKCS1_2048_8192_SHA256)
            }
            Algorithm::RsaPkcs14096Sha512 => same(&s::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::RsaPss4096Sha512 => same(&s::RSA_PSS_2048_8192_SHA512),
            Algorithm::RsaPss2048Sha256 | Algorithm::RsaPss3072Sha256 | Algorithm::RsaPss4096Sha256 => {
                same(&s::RSA_PSS_2048_8192_SHA256)
            }
            Algorithm::EcdsaP256Sha256 => {
                Self::Aws { der: &s::ECDSA_P256_SHA256_ASN1, p1363: &s::ECDSA_P256_SHA256_FIXED }
            }
            Algorithm::EcdsaP384Sha384 => {
                Self::Aws { der: &s::ECDSA_P384_SHA384_ASN1, p1363: &s::ECDSA_P384_SHA384_FIXED }
            }
            Algorithm::EcdsaP521Sha512 => {
                Self::Aws { der: &s::ECDSA_P521_SHA512_ASN1, p1363: &s::ECDSA_P521_SHA512_FIXED }
            }
            Algorithm::EcdsaSecp256k1Sha256 => Self::K256 { hash: sha256 },
            Algorithm::EcdsaSecp256k1Keccak256 => Self::K256 { hash: |message| Keccak256::digest(message).to_vec() },
            Algorithm::Ed25519 => same(&s::ED25519),
            Algorithm::MlDsa44 => same(&s::ML_DSA_44),
            Algorithm::MlDsa65 => same(&s::ML_DSA_65),
            Algorithm::MlDsa87 => same(&s::ML_DSA_87),
            Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 | Algorithm::AesCmac => {
                panic!("{algorithm:?} signs nothing")
            }
        }
    }

    /// The encoding is not guessed: a signature in the other one does not pass.
    fn accepts(self, spki: &[u8], message: &[u8], signature: &[u8], encoding: SignatureEncoding) -> bool {
        match (self, encoding) {
            (Self::Aws { p1363, .. }, SignatureEncoding::P1363) => {
                UnparsedPublicKey::new(p1363, spki).verify(message, signature).is_ok()
            }
            (Self::Aws { der, .. }, _) => UnparsedPublicKey::new(der, spki).verify(message, signature).is_ok(),
            (Self::K256 { hash }, encoding) => {
                let parsed = k256_signature(signature, encoding);
                parsed.is_some_and(|signature| secp256k1_key(spki).verify_prehash(&hash(message), &signature).is_ok())
            }
        }
    }
}

fn k256_signature(bytes: &[u8], encoding: SignatureEncoding) -> Option<Signature> {
    match encoding {
        SignatureEncoding::P1363 => Signature::from_slice(bytes).ok(),
        SignatureEncoding::Der | SignatureEncoding::Unspecified => Signature::from_der(bytes).ok(),
    }
}

/// SEQUENCE { SEQUENCE { id-ecPublicKey, secp256k1 }, BIT STRING of 66 bytes: no unused bits, then the point }.
const SECP256K1_SPKI_HEAD: [u8; 23] = [
    0x30, 0x56, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x0a, 0x03, 0x42, 0x00,
];

fn secp256k1_key(spki: &[u8]) -> VerifyingKey {
    let point = spki.strip_prefix(&SECP256K1_SPKI_HEAD).expect("a SubjectPublicKeyInfo for secp256k1");
    assert_eq!((point.len(), point[0]), (65, 4), "uncompressed");
    VerifyingKey::from_sec1_bytes(point).unwrap()
}

async fn public_key(client: &Client, name: &str, format: PublicKeyFormat) -> v1::PublicKey {
    let request = v1::GetPublicKeyRequest { name: name.to_owned(), format: format.into() };
    client.signing().get_public_key(request).await.unwrap().into_inner()
}

async fn spki(client: &Client, name: &str) -> Vec<u8> {
    public_key(client, name, PublicKeyFormat::Der).await.data
}

async fn signed(client: &Client, name: &str, encoding: SignatureEncoding) -> v1::SignResponse {
    let request = v1::SignRequest { encoding: encoding.into(), ..sign(name, MESSAGE) };
    client.signing().sign(request).await.unwrap().into_inner()
}

async fn verify(
    client: &Client,
    name: &str,
    bytes: &[u8],
    signature: &[u8],
    encoding: SignatureEncoding,
) -> v1::VerifyResponse {
    let request = v1::VerifyRequest {
        name: name.to_owned(),
        input: message(bytes),
        signature: signature.to_vec(),
        encoding: encoding.into(),
        ..v1::VerifyRequest::default()
    };
    client.signing().verify(request).await.unwrap().into_inner()
}

/// The life of a key: made, used, rotated; the old version's signatures stay good.
async fn lives(algorithm: Algorithm) {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let id = format!("life-{}", algorithm.as_str_name().to_ascii_lowercase().replace('_', "-"));
    if !token_under_test().offers(algorithm) {
        let refused = operator.keys().create_key(new_key(RING, &id, algorithm)).await;
        assert_refused(refused, Code::FailedPrecondition, "ALGORITHM_NOT_OFFERED");
        return;
    }
    let key = create(&operator, new_key(RING, &id, algorithm)).await;
    assert_eq!(key.name, format!("{RING}/keys/{id}"));
    let version = |number: u32| format!("{}/versions/{number}", key.name);
    let independent = Independent::of(algorithm);
    let first_spki = spki(&caller, &version(1)).await;

    let mut first = Vec::new();
    for encoding in [SignatureEncoding::Unspecified, SignatureEncoding::Der, SignatureEncoding::P1363] {
        let answer = signed(&caller, &key.name, encoding).await;
        assert_eq!((answer.name.as_str(), answer.algorithm), (version(1).as_str(), i32::from(algorithm)));
        assert_eq!(answer.signature_crc32c, crc32c::crc32c(&answer.signature));
        assert!(!answer.verified_input_crc32c, "no checksum was sent");
        let secp256k1 = [Algorithm::EcdsaSecp256k1Sha256, Algorithm::EcdsaSecp256k1Keccak256].contains(&algorithm);
        assert_eq!(answer.recovery_id.is_some(), secp256k1);
        assert!(independent.accepts(&first_spki, MESSAGE, &answer.signature, encoding), "{encoding:?}");
        assert!(!independent.accepts(&first_spki, b"pay 6 to Ada", &answer.signature, encoding), "{encoding:?}");
        let verdict = verify(&caller, &key.name, MESSAGE, &answer.signature, encoding).await;
        assert!(verdict.valid, "{encoding:?}");
        assert_eq!((verdict.name.as_str(), verdict.state), (version(1).as_str(), KeyState::Active.into()));
        assert!(!verify(&caller, &key.name, b"pay 6 to Ada", &answer.signature, encoding).await.valid);
        first.push((encoding, answer));
    }

    let request = v1::RotateKeyRequest { name: key.name.clone(), ..v1::RotateKeyRequest::default() };
    let rotated = operator.keys().rotate_key(request).await.unwrap().into_inner();
    assert_eq!((rotated.name.as_str(), rotated.state), (version(2).as_str(), KeyState::Active.into()));
    let second_spki = spki(&caller, &key.name).await;
    assert_ne!(first_spki, second_spki);
    let encoding = SignatureEncoding::Der;
    let answer = signed(&caller, &key.name, encoding).await;
    assert_eq!(answer.name, version(2), "the new primary version signs");
    assert!(independent.accepts(&second_spki, MESSAGE, &answer.signature, encoding));
    assert!(!independent.accepts(&first_spki, MESSAGE, &answer.signature, encoding));
    for (encoding, old) in &first {
        let verdict = verify(&caller, &old.name, MESSAGE, &old.signature, *encoding).await;
        assert!(verdict.valid && verdict.name == version(1), "the old version's signature, by the old version's name");
        assert!(!verify(&caller, &key.name, MESSAGE, &old.signature, *encoding).await.valid, "by the new version");
    }
    let again = signed(&caller, &version(1), encoding).await;
    assert_eq!(again.name, version(1), "the old version still signs when it is named");
    assert!(independent.accepts(&first_spki, MESSAGE, &again.signature, encoding));
}

macro_rules! each_algorithm {
    ($($test:ident => $algorithm:ident,)*) => {
        $(#[tokio::test]
        async fn $test() {
            lives(Algorithm::$algorithm).await;
        })*

        #[test]
        fn no_algorithm_is_left_out() {
            let tested = [$(Algorithm::$algorithm),*];
            let macs = [Algorithm::HmacSha256, Algorithm::HmacSha384, Algorithm::HmacSha512, Algorithm::AesCmac];
            let every = (1..64).filter_map(|number| Algorithm::try_from(number).ok());
            let signing: Vec<_> = every.filter(|algorithm| !macs.contains(algorithm)).collect();
            assert_eq!(tested.as_slice(), signing);
        }
    };
}

each_algorithm! {
    rsa_pkcs1_2048_sha256 => RsaPkcs12048Sha256,
    rsa_pkcs1_3072_sha256 => RsaPkcs13072Sha256,
    rsa_pkcs1_4096_sha256 => RsaPkcs14096Sha256,
    rsa_pkcs1_4096_sha512 => RsaPkcs14096Sha512,
    rsa_pss_2048_sha256 => RsaPss2048Sha256,
    rsa_pss_3072_sha256 => RsaPss3072Sha256,
    rsa_pss_4096_sha256 => RsaPss4096Sha256,
    rsa_pss_4096_sha512 => RsaPss4096Sha512,
    ecdsa_p256_sha256 => EcdsaP256Sha256,
    ecdsa_p384_sha384 => EcdsaP384Sha384,
    ecdsa_p521_sha512 => EcdsaP521Sha512,
    ecdsa_secp256k1_sha256 => EcdsaSecp256k1Sha256,
    ed25519 => Ed25519,
    ecdsa_secp256k1_keccak256 => EcdsaSecp256k1Keccak256,
    ml_dsa_44 => MlDsa44,
    ml_dsa_65 => MlDsa65,
    ml_dsa_87 => MlDsa87,
}

#[tokio::test]
async fn the_ring_offers_every_algorithm_that_the_token_has() {
    let chancery = CHANCERY.get().await;
    let request = v1::GetKeyRingRequest { name: RING.to_owned() };
    let ring = chancery.operator().await.unwrap().keys().get_key_ring(request).await.unwrap().into_inner();
    token_under_test().assert_offered(&ring.algorithms);
}

#[tokio::test]
async fn secp256k1_signatures_are_low_s_and_recover_to_exactly_the_public_key() {
    recovers("recovering", Algorithm::EcdsaSecp256k1Sha256, sha256).await;
    recovers("recovering-keccak", Algorithm::EcdsaSecp256k1Keccak256, |text| Keccak256::digest(text).to_vec()).await;
}

async fn recovers(id: &str, algorithm: Algorithm, hash: fn(&[u8]) -> Vec<u8>) {
    if !token_under_test().offers(algorithm) {
        return;
    }
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_digest_key(RING, id, algorithm)).await;
    let public = secp256k1_key(&spki(&caller, &key.name).await);
    // Half of all signatures come out of a token with a high S, and half have an odd R: forty see every case.
    for number in 0_u32..40 {
        let message = number.to_be_bytes();
        let encoding = if number % 2 == 0 { SignatureEncoding::Der } else { SignatureEncoding::P1363 };
        let request = match number % 4 {
            0 | 1 => sign(&key.name, &message),
            _ => sign_digest(&key.name, &hash(&message)),
        };
        let request = v1::SignRequest { encoding: encoding.into(), ..request };
        let answer = caller.signing().sign(request).await.unwrap().into_inner();
        let signature = k256_signature(&answer.signature, encoding).unwrap();
        assert_eq!(signature, signature.normalize_s(), "low S");
        let id = u8::try_from(answer.recovery_id.unwrap()).unwrap();
        let prehash = hash(&message);
        let recovered = |id| VerifyingKey::recover_from_prehash(&prehash, &signature, RecoveryId::from_byte(id)?).ok();
        assert_eq!(recovered(id), Some(public));
        let others = (0..4).filter(|other| *other != id);
        assert!(others.into_iter().all(|other| recovered(other) != Some(public)), "and no other id does");
    }
}

#[tokio::test]
async fn verify_accepts_a_high_s_on_secp256k1() {
    if !token_under_test().offers(Algorithm::EcdsaSecp256k1Sha256) {
        return;
    }
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "high-s", Algorithm::EcdsaSecp256k1Sha256)).await;
    let low = signed(&caller, &key.name, SignatureEncoding::P1363).await.signature;
    let low = Signature::from_slice(&low).unwrap();
    let (r, s) = (low.r(), -*low.s());
    let high = Signature::from_scalars(*r, s).unwrap();
    assert_ne!(high, high.normalize_s());
    assert!(verify(&caller, &key.name, MESSAGE, &high.to_bytes(), SignatureEncoding::P1363).await.valid);
}

#[tokio::test]
async fn ecdsa_encodings_differ_and_are_not_taken_for_each_other() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    for (id, algorithm, coordinate) in [
        ("encoded-p256", Algorithm::EcdsaP256Sha256, 32),
        ("encoded-p384", Algorithm::EcdsaP384Sha384, 48),
        ("encoded-p521", Algorithm::EcdsaP521Sha512, 66),
        ("encoded-k256", Algorithm::EcdsaSecp256k1Sha256, 32),
    ] {
        if !token_under_test().offers(algorithm) {
            continue;
        }
        let key = create(&operator, new_key(RING, id, algorithm)).await;
        let der = signed(&caller, &key.name, SignatureEncoding::Der).await.signature;
        let fixed = signed(&caller, &key.name, SignatureEncoding::P1363).await.signature;
        assert_eq!(der[0], 0x30, "a SEQUENCE");
        assert_eq!(fixed.len(), 2 * coordinate, "{id}");
        assert!(!verify(&caller, &key.name, MESSAGE, &der, SignatureEncoding::P1363).await.valid, "{id}");
        assert!(!verify(&caller, &key.name, MESSAGE, &fixed, SignatureEncoding::Der).await.valid, "{id}");
    }
}

#[tokio::test]
async fn a_digest_is_signed_where_the_key_allows_it() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    for (id, algorithm, hash) in [
        ("digest-rsa", Algorithm::RsaPkcs12048Sha256, &digest::SHA256),
        ("digest-pss", Algorithm::RsaPss2048Sha256, &digest::SHA256),
        ("digest-p256", Algorithm::EcdsaP256Sha256, &digest::SHA256),
        ("digest-p384", Algorithm::EcdsaP384Sha384, &digest::SHA384),
        ("digest-p521", Algorithm::EcdsaP521Sha512, &digest::SHA512),
        ("digest-k256", Algorithm::EcdsaSecp256k1Sha256, &digest::SHA256),
        ("digest-rsa-512", Algorithm::RsaPkcs14096Sha512, &digest::SHA512),
        ("digest-pss-512", Algorithm::RsaPss4096Sha512, &digest::SHA512),
    ] {
        if !token_under_test().offers(algorithm) {
            continue;
        }
        let key = create(&operator, new_digest_key(RING, id, algorithm)).await;
        assert!(key.allow_digest);
        let hashed = digest::digest(hash, MESSAGE);
        let answer = caller.signing().sign(sign_digest(&key.name, hashed.as_ref())).await.unwrap().into_inner();
        let spki = spki(&caller, &key.name).await;
        let independent = Independent::of(algorithm);
        assert!(independent.accepts(&spki, MESSAGE, &answer.signature, SignatureEncoding::Der), "{id}");
        let request = v1::VerifyRequest {
            name: key.name.clone(),
            input: digest_input(hashed.as_ref()),
            signature: answer.signature.clone(),
            ..v1::VerifyRequest::default()
        };
        assert!(caller.signing().verify(request.clone()).await.unwrap().into_inner().valid, "{id}");
        assert!(verify(&caller, &key.name, MESSAGE, &answer.signature, SignatureEncoding::Der).await.valid, "{id}");
        let mut other = hashed.as_ref().to_vec();
        other[0] ^= 1;
        let wrong = v1::VerifyRequest { input: digest_input(&other), ..request };
        assert!(!caller.signing().verify(wrong).await.unwrap().into_inner().valid, "{id}");
    }
}

#[tokio::test]
async fn verify_takes_a_digest_also_where_sign_does_not() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "messages-only", Algorithm::EcdsaP256Sha256)).await;
    let answer = signed(&caller, &key.name, SignatureEncoding::Der).await;
    let request = v1::VerifyRequest {
        name: answer.name,
        input: digest_input(&sha256(MESSAGE)),
        signature: answer.signature,
        ..v1::VerifyRequest::default()
    };
    assert!(caller.signing().verify(request).await.unwrap().into_inner().valid);
}

#[tokio::test]
async fn checksums_are_checked_where_given_and_said_to_be() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "checksummed", Algorithm::Ed25519)).await;
    let with = |crc32c| message(MESSAGE).map(|input| v1::SignInput { crc32c, ..input });
    let right = Some(crc32c::crc32c(MESSAGE));

    let request = v1::SignRequest { input: with(right), ..sign(&key.name, MESSAGE) };
    let answer = caller.signing().sign(request.clone()).await.unwrap().into_inner();
    assert!(answer.verified_input_crc32c);
    assert_eq!(answer.signature_crc32c, crc32c::crc32c(&answer.signature));

    let check = v1::VerifyRequest {
        name: answer.name,
        input: with(None),
        signature: answer.signature.clone(),
        ..v1::VerifyRequest::default()
    };
    for (input, signature) in [(None, None), (right, None), (None, Some(answer.signature_crc32c))] {
        let request = v1::VerifyRequest { input: with(input), signature_crc32c: signature, ..check.clone() };
        let verdict = caller.signing().verify(request).await.unwrap().into_inner();
        assert!(verdict.valid);
        assert_eq!(verdict.verified_input_crc32c, input.is_some());
        assert_eq!(verdict.verified_signature_crc32c, signature.is_some());
    }

    let wrong = right.map(|crc| crc ^ 1);
    let request = v1::SignRequest { input: with(wrong), ..request };
    assert_field(caller.signing().sign(request).await, "input.crc32c");
    let request = v1::VerifyRequest { input: with(wrong), ..check.clone() };
    assert_field(caller.signing().verify(request).await, "input.crc32c");
    let request = v1::VerifyRequest { signature_crc32c: Some(answer.signature_crc32c ^ 1), ..check };
    assert_field(caller.signing().verify(request).await, "signature_crc32c");
}

#[tokio::test]
async fn a_public_key_comes_as_pem_and_as_der_with_its_hash() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "published", Algorithm::EcdsaP384Sha384)).await;
    let der = public_key(&caller, &key.name, PublicKeyFormat::Der).await;
    assert_eq!(der.format, i32::from(PublicKeyFormat::Der));
    assert_eq!(der.name, key.primary_version);
    assert_eq!((der.algorithm, der.state), (Algorithm::EcdsaP384Sha384.into(), KeyState::Active.into()));
    assert_eq!(der.sha256, sha256(&der.data));
    assert_eq!(der.data_crc32c, crc32c::crc32c(&der.data));
    for format in [PublicKeyFormat::Pem, PublicKeyFormat::Unspecified] {
        let pem = public_key(&caller, &key.primary_version, format).await;
        assert_eq!(pem.format, i32::from(PublicKeyFormat::Pem), "{format:?}");
        assert_eq!(pem.data_crc32c, crc32c::crc32c(&pem.data));
        assert_eq!(pem.sha256, der.sha256);
        let text = String::from_utf8(pem.data).unwrap();
        let body = text.strip_prefix("-----BEGIN PUBLIC KEY-----\n").unwrap();
        let body = body.strip_suffix("\n-----END PUBLIC KEY-----\n").unwrap();
        assert!(body.lines().rev().skip(1).all(|line| line.len() == 64), "RFC 7468, section 2");
        assert_eq!(Base64::decode_vec(&body.replace('\n', "")).unwrap(), der.data);
    }
    let request = v1::GetKeyVersionRequest { name: key.primary_version };
    let version = operator.keys().get_key_version(request).await.unwrap().into_inner();
    assert_eq!(version.public_key_sha256, der.sha256);
}

#[tokio::test]
async fn each_item_of_a_batch_is_answered_by_itself_and_in_order() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let a = create(&operator, new_key(RING, "batch-a", Algorithm::Ed25519)).await;
    let b = create(&operator, new_key(RING, "batch-b", Algorithm::EcdsaP256Sha256)).await;
    let unknown = format!("{RING}/keys/batch-none");
    let damaged = v1::SignRequest {
        input: message(b"two").map(|input| v1::SignInput { crc32c: Some(crc32c::crc32c(b"2")), ..input }),
        ..sign(&a.name, b"two")
    };
    let requests = vec![
        sign(&a.name, b"zero"),
        sign(&unknown, b"one"),
        damaged,
        sign(&b.name, b"three"),
        v1::SignRequest { input: None, ..sign(&a.name, b"") },
        sign(&a.name, b"five"),
        sign_digest(&a.name, &sha256(b"six")),
    ];
    let batch = v1::BatchSignRequest { requests: requests.clone() };
    let results = caller.signing().batch_sign(batch).await.unwrap().into_inner().results;
    assert_eq!(results.len(), requests.len());
    let mut indexes = Vec::new();
    for (place, result) in results.into_iter().enumerate() {
        match (place, result.result.unwrap()) {
            (0 | 3 | 5, Item::Response(answer)) => {
                let (key, algorithm) =
                    if place == 3 { (&b, Algorithm::EcdsaP256Sha256) } else { (&a, Algorithm::Ed25519) };
                assert_eq!(answer.name, key.primary_version);
                let text: &[u8] = [&b"zero"[..], b"", b"", b"three", b"", b"five"][place];
                let spki = spki(&caller, &key.name).await;
                let fits = Independent::of(algorithm).accepts(&spki, text, &answer.signature, SignatureEncoding::Der);
                assert!(fits, "item {place}");
                assert_eq!(answer.signature_crc32c, crc32c::crc32c(&answer.signature));
                indexes.push(answer.record_index);
            }
            (1 | 2 | 4 | 6, Item::Error(error)) => {
                // What the item says is what Sign would have failed with.
                let alone = refusal(caller.signing().sign(requests[place].clone()).await.unwrap_err());
                let item = refusal(item_status(error));
                assert_eq!(item, alone, "item {place}");
                match place {
                    1 => assert_eq!(item.code, Code::PermissionDenied),
                    2 => drop(field_violation(&item, "input.crc32c")),
                    4 => drop(field_violation(&item, "input")),
                    _ => assert_eq!(item.reason.as_deref(), Some("DIGEST_NOT_ALLOWED")),
                }
            }
            (place, other) => panic!("item {place}: {other:?}"),
        }
    }
    assert_eq!(indexes.len(), 3);
    assert!(indexes.windows(2).all(|pair| pair[0] < pair[1]), "each has its own intent: {indexes:?}");
}

/// `ItemStatus` is `google.rpc.Status` on the wire, and so are a gRPC status's details.
fn item_status(item: v1::ItemStatus) -> tonic::Status {
    use prost::Message as _;
    let (code, message) = (Code::from_i32(item.code), item.message.clone());
    tonic::Status::with_details(code, message, item.encode_to_vec().into())
}

#[tokio::test]
async fn a_batch_where_nothing_is_allowed_is_still_answered_item_by_item() {
    let chancery = CHANCERY.get().await;
    let caller = chancery.caller().await.unwrap();
    let requests = vec![sign(&format!("{RING}/keys/no-such-a"), b"a"), sign("nonsense", b"b")];
    let results = caller.signing().batch_sign(v1::BatchSignRequest { requests }).await.unwrap().into_inner().results;
    let errors: Vec<i32> = results
        .into_iter()
        .map(|result| match result.result {
            Some(Item::Error(error)) => error.code,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(errors, [Code::PermissionDenied as i32, Code::InvalidArgument as i32]);
}

#[tokio::test]
async fn a_batch_has_1_to_256_items() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "batch-limits", Algorithm::Ed25519)).await;
    let batch = |count: u32| v1::BatchSignRequest {
        requests: (0..count).map(|number| sign(&key.name, &number.to_be_bytes())).collect(),
    };
    let none = assert_field(caller.signing().batch_sign(batch(0)).await, "requests");
    assert_eq!(none, "a batch has 1 to 256 requests, not 0");
    let many = assert_field(caller.signing().batch_sign(batch(257)).await, "requests");
    assert_eq!(many, "a batch has 1 to 256 requests, not 257");

    let results = caller.signing().batch_sign(batch(256)).await.unwrap().into_inner().results;
    let spki = spki(&caller, &key.name).await;
    let ed25519 = Independent::of(Algorithm::Ed25519);
    let mut signed = 0_u32;
    for (result, number) in results.into_iter().zip(0_u32..) {
        let Some(Item::Response(answer)) = result.result else { panic!("item {number} is not signed") };
        assert!(ed25519.accepts(&spki, &number.to_be_bytes(), &answer.signature, SignatureEncoding::Der), "{number}");
        signed += 1;
    }
    assert_eq!(signed, 256);
}
