//! Signatures of independent signers: aws-lc-rs key pairs for all algorithms, secp256k1 with SHA-256 included (which we
//! verify with k256), and k256's own signer, for Keccak-256 too. What they sign verifies, and nothing near it does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, PqdsaKeyPair, PqdsaSigningAlgorithm,
    RsaKeyPair, RsaPssSaltLength, RsaSignatureEncoding,
};
use chancery_crypto::{
    PublicKey, SignedInput, VerifyError, ec_spki, ecdsa_der_from_fixed, ed25519_spki, hash, mldsa_spki, rsa_spki,
};
use chancery_model::EcdsaEncoding::{Der, P1363};
use chancery_model::{Algorithm, Curve, EcdsaEncoding, HashAlgorithm, KeyPurpose, MlDsaParameterSet};
use der::Decode;
use der::asn1::UintRef;
use std::sync::OnceLock;

/// A key pair of one algorithm, made for a test.
enum Signer {
    Rsa(&'static RsaKeyPair, &'static RsaSignatureEncoding),
    Ecdsa(EcdsaKeyPair, Curve),
    /// secp256k1 with Keccak-256, which aws-lc does not have.
    Keccak(k256::ecdsa::SigningKey),
    Ed25519(Ed25519KeyPair),
    MlDsa(PqdsaKeyPair, MlDsaParameterSet),
}

/// The algorithms whose keys sign.
fn algorithms() -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.into_iter().filter(|algorithm| algorithm.purpose() == KeyPurpose::Signature)
}

/// Whose key pair it is.
#[derive(Clone, Copy)]
enum Owner {
    Ours,
    Another,
}

/// RSA keys take long to make, so there is one for each size and owner.
fn rsa_pair(size: KeySize, whose: Owner) -> &'static RsaKeyPair {
    static PAIRS: [OnceLock<RsaKeyPair>; 6] = [const { OnceLock::new() }; 6];
    let index = match size {
        KeySize::Rsa2048 => 0,
        KeySize::Rsa3072 => 1,
        KeySize::Rsa4096 => 2,
        other => unreachable!("no algorithm has keys of {} bits", other.len() * 8),
    };
    PAIRS[2 * index + whose as usize].get_or_init(|| RsaKeyPair::generate(size).unwrap())
}

impl Signer {
    /// A key pair of `whose`; of RSA, the one that he has for all algorithms of the size.
    fn generate(algorithm: Algorithm, whose: Owner) -> Self {
        let rsa = |size, padding| Self::Rsa(rsa_pair(size, whose), padding);
        let ecdsa = |signing: &'static EcdsaSigningAlgorithm, curve| {
            Self::Ecdsa(EcdsaKeyPair::generate(signing).unwrap(), curve)
        };
        let mldsa = |signing: &'static PqdsaSigningAlgorithm, parameter_set| {
            Self::MlDsa(PqdsaKeyPair::generate(signing).unwrap(), parameter_set)
        };
        match algorithm {
            Algorithm::RsaPkcs1_2048Sha256 => rsa(KeySize::Rsa2048, &signature::RSA_PKCS1_SHA256),
            Algorithm::RsaPkcs1_3072Sha256 => rsa(KeySize::Rsa3072, &signature::RSA_PKCS1_SHA256),
            Algorithm::RsaPkcs1_4096Sha256 => rsa(KeySize::Rsa4096, &signature::RSA_PKCS1_SHA256),
            Algorithm::RsaPkcs1_4096Sha512 => rsa(KeySize::Rsa4096, &signature::RSA_PKCS1_SHA512),
            Algorithm::RsaPss2048Sha256 => rsa(KeySize::Rsa2048, &signature::RSA_PSS_SHA256),
            Algorithm::RsaPss3072Sha256 => rsa(KeySize::Rsa3072, &signature::RSA_PSS_SHA256),
            Algorithm::RsaPss4096Sha256 => rsa(KeySize::Rsa4096, &signature::RSA_PSS_SHA256),
            Algorithm::RsaPss4096Sha512 => rsa(KeySize::Rsa4096, &signature::RSA_PSS_SHA512),
            Algorithm::EcdsaP256Sha256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, Curve::P256),
            Algorithm::EcdsaP384Sha384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, Curve::P384),
            Algorithm::EcdsaP521Sha512 => ecdsa(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, Curve::P521),
            Algorithm::EcdsaSecp256k1Sha256 => ecdsa(&signature::ECDSA_P256K1_SHA256_FIXED_SIGNING, Curve::Secp256k1),
            Algorithm::EcdsaSecp256k1Keccak256 => {
                let secret = chancery_crypto::random_bytes::<32>().unwrap();
                Self::Keccak(k256::ecdsa::SigningKey::from_slice(&secret).unwrap())
            }
            Algorithm::Ed25519 => Self::Ed25519(Ed25519KeyPair::generate().unwrap()),
            Algorithm::MlDsa44 => mldsa(&signature::ML_DSA_44_SIGNING, MlDsaParameterSet::MlDsa44),
            Algorithm::MlDsa65 => mldsa(&signature::ML_DSA_65_SIGNING, MlDsaParameterSet::MlDsa65),
            Algorithm::MlDsa87 => mldsa(&signature::ML_DSA_87_SIGNING, MlDsaParameterSet::MlDsa87),
            Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 | Algorithm::AesCmac => {
                unreachable!("{algorithm} signs nothing")
            }
        }
    }

    /// The one key pair that the tests of this file share for the algorithm.
    fn shared(algorithm: Algorithm) -> &'static Self {
        static SHARED: [OnceLock<Signer>; Algorithm::ALL.len()] = [const { OnceLock::new() }; Algorithm::ALL.len()];
        let index = Algorithm::ALL.iter().position(|other| *other == algorithm).unwrap();
        SHARED[index].get_or_init(|| Self::generate(algorithm, Owner::Ours))
    }

    /// As a token does: ECDSA in fixed width.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair, padding) => sign_rsa(pair, padding, message),
            Self::Ecdsa(pair, _) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Keccak(key) => {
                let digest = hash(HashAlgorithm::Keccak256, message);
                key.sign_prehash_recoverable(digest.as_bytes()).0.to_bytes().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::MlDsa(pair, parameter_set) => {
                let mut signature = vec![0; parameter_set.signature_bytes()];
                let length = pair.sign(message, &mut signature).unwrap();
                assert_eq!(length, signature.len());
                signature
            }
        }
    }

    /// The signature in each encoding that exists for the algorithm.
    fn sign_in_each_encoding(&self, message: &[u8]) -> Vec<(EcdsaEncoding, Vec<u8>)> {
        let signature = self.sign(message);
        let curve = match self {
            Self::Ecdsa(_, curve) => *curve,
            Self::Keccak(_) => Curve::Secp256k1,
            Self::Rsa(..) | Self::Ed25519(_) | Self::MlDsa(..) => return vec![(Der, signature)],
        };
        vec![(Der, ecdsa_der_from_fixed(curve, &signature).unwrap()), (P1363, signature)]
    }

    /// By our encoders, from the numbers that a token would export.
    fn spki(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair, _) => {
                let (modulus, exponent) = rsa_numbers(pair);
                rsa_spki(&modulus, &exponent).unwrap()
            }
            Self::Ecdsa(pair, curve) => ec_spki(*curve, pair.public_key().as_ref()).unwrap(),
            Self::Keccak(key) => {
                ec_spki(Curve::Secp256k1, key.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
            }
            Self::Ed25519(pair) => ed25519_spki(pair.public_key().as_ref()).unwrap(),
            Self::MlDsa(pair, parameter_set) => mldsa_spki(*parameter_set, pair.public_key().as_ref()).unwrap(),
        }
    }

    /// By aws-lc.
    fn foreign_spki(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair, _) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Ecdsa(pair, _) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Keccak(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let signing = &signature::ECDSA_P256K1_SHA256_FIXED_SIGNING;
                let pair =
                    EcdsaKeyPair::from_private_key_and_public_key(signing, &key.to_bytes(), point.as_bytes()).unwrap();
                pair.public_key().as_der().unwrap().as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::MlDsa(pair, _) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        }
    }

    fn public(&self, algorithm: Algorithm) -> PublicKey {
        PublicKey::from_spki_der(algorithm, &self.spki()).unwrap()
    }
}

fn sign_rsa(pair: &RsaKeyPair, padding: &'static RsaSignatureEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// Modulus and public exponent.
fn rsa_numbers(pair: &RsaKeyPair) -> (Vec<u8>, Vec<u8>) {
    let numbers = Vec::<UintRef<'_>>::from_der(pair.public_key().as_ref()).unwrap();
    (numbers[0].as_bytes().to_vec(), numbers[1].as_bytes().to_vec())
}

const MESSAGE: &[u8] = b"pay 100 to the bearer";

#[test]
fn our_spki_is_the_one_that_aws_lc_writes() {
    for algorithm in algorithms() {
        let signer = Signer::shared(algorithm);
        assert_eq!(signer.spki(), signer.foreign_spki(), "{algorithm}");
    }
}

#[test]
fn signatures_verify_over_message_and_digest() {
    for algorithm in algorithms() {
        let signer = Signer::shared(algorithm);
        let key = signer.public(algorithm);
        for message in [b"".as_slice(), MESSAGE, &[0xa5; 100_000]] {
            for (encoding, signature) in signer.sign_in_each_encoding(message) {
                assert_eq!(key.verify(SignedInput::Message(message), &signature, encoding), Ok(()), "{algorithm}");
                if let Some(hash_algorithm) = algorithm.hash() {
                    let digest = hash(hash_algorithm, message);
                    assert_eq!(key.verify(SignedInput::Digest(&digest), &signature, encoding), Ok(()), "{algorithm}");
                }
            }
        }
    }
}

#[test]
fn no_bit_of_a_signature_can_be_flipped() {
    for algorithm in algorithms() {
        let signer = Signer::shared(algorithm);
        let key = signer.public(algorithm);
        for (encoding, signature) in signer.sign_in_each_encoding(MESSAGE) {
            // Of a long signature of ML-DSA one bit of each byte, another one from byte to byte: all would take minutes.
            let step = if signature.len() > 1024 { 9 } else { 1 };
            for bit in (0..8 * signature.len()).step_by(step) {
                let mut flipped = signature.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let result = key.verify(SignedInput::Message(MESSAGE), &flipped, encoding);
                assert_eq!(result, Err(VerifyError::Invalid), "{algorithm}, {encoding:?}, bit {bit}");
            }
        }
    }
}

#[test]
fn another_length_is_refused() {
    for algorithm in algorithms() {
        let signer = Signer::shared(algorithm);
        let key = signer.public(algorithm);
        for (encoding, signature) in signer.sign_in_each_encoding(MESSAGE) {
            for wrong in [
                vec![],
                signature[1..].to_vec(),
                signature[..signature.len() - 1].to_vec(),
                [signature.as_slice(), &[0]].concat(),
                [&[0], signature.as_slice()].concat(),
                [signature.as_slice(), signature.as_slice()].concat(),
            ] {
                let result = key.verify(SignedInput::Message(MESSAGE), &wrong, encoding);
                assert_eq!(result, Err(VerifyError::Invalid), "{algorithm}, {encoding:?}, {} bytes", wrong.len());
            }
        }
    }
}

#[test]
fn an_ecdsa_signature_in_the_other_encoding_is_refused() {
    for algorithm in algorithms().filter(|algorithm| algorithm.curve().is_some()) {
        let signer = Signer::shared(algorithm);
        let key = signer.public(algorithm);
        for (encoding, signature) in signer.sign_in_each_encoding(MESSAGE) {
            let other = if encoding == Der { P1363 } else { Der };
            let result = key.verify(SignedInput::Message(MESSAGE), &signature, other);
            assert_eq!(result, Err(VerifyError::Invalid), "{algorithm}, {encoding:?}");
        }
    }
}

#[test]
fn another_message_digest_or_key_is_refused() {
    for algorithm in algorithms() {
        let signer = Signer::shared(algorithm);
        let key = signer.public(algorithm);
        let other_key = Signer::generate(algorithm, Owner::Another).public(algorithm);
        for (encoding, signature) in signer.sign_in_each_encoding(MESSAGE) {
            let over = |key: &PublicKey, input| key.verify(input, &signature, encoding);
            assert_eq!(over(&key, SignedInput::Message(b"pay 900 to the bearer")), Err(VerifyError::Invalid));
            assert_eq!(over(&other_key, SignedInput::Message(MESSAGE)), Err(VerifyError::Invalid));
            if let Some(hash_algorithm) = algorithm.hash() {
                let other = hash(hash_algorithm, b"pay 900 to the bearer");
                assert_eq!(over(&key, SignedInput::Digest(&other)), Err(VerifyError::Invalid), "{algorithm}");
            }
        }
    }
}

#[test]
fn a_digest_of_the_wrong_kind_is_named() {
    for algorithm in algorithms() {
        let key = Signer::shared(algorithm).public(algorithm);
        for actual in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512, HashAlgorithm::Keccak256] {
            let digest = hash(actual, MESSAGE);
            let result = key.verify(SignedInput::Digest(&digest), b"no signature", Der);
            let expected = match algorithm.hash() {
                None => VerifyError::DigestNotAllowed,
                Some(expected) if expected == actual => VerifyError::Invalid,
                Some(expected) => VerifyError::WrongDigest { expected, actual },
            };
            assert_eq!(result, Err(expected), "{algorithm}, {actual}");
        }
    }
}

#[test]
fn the_paddings_of_rsa_are_told_apart() {
    const LONGEST_SALT: RsaSignatureEncoding = signature::RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
    const NO_SALT: RsaSignatureEncoding = signature::RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(0));
    const SALT_OF_31: RsaSignatureEncoding =
        signature::RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(31));
    let pair = rsa_pair(KeySize::Rsa2048, Owner::Ours);
    let (modulus, exponent) = rsa_numbers(pair);
    let spki = rsa_spki(&modulus, &exponent).unwrap();
    let pkcs1 = PublicKey::from_spki_der(Algorithm::RsaPkcs1_2048Sha256, &spki).unwrap();
    let pss = PublicKey::from_spki_der(Algorithm::RsaPss2048Sha256, &spki).unwrap();
    // Which of the two keys takes a signature that was made so?
    let cases: [(&str, &'static RsaSignatureEncoding, bool, bool); 7] = [
        ("PKCS#1", &signature::RSA_PKCS1_SHA256, true, false),
        ("PSS", &signature::RSA_PSS_SHA256, false, true),
        ("PKCS#1 with SHA-512", &signature::RSA_PKCS1_SHA512, false, false),
        ("PSS with SHA-512", &signature::RSA_PSS_SHA512, false, false),
        ("PSS with the longest salt", &LONGEST_SALT, false, false),
        ("PSS without salt", &NO_SALT, false, false),
        ("PSS with 31 bytes of salt", &SALT_OF_31, false, false),
    ];
    for (what, padding, is_pkcs1, is_pss) in cases {
        let signature = sign_rsa(pair, padding, MESSAGE);
        let takes = |key: &PublicKey| key.verify(SignedInput::Message(MESSAGE), &signature, Der).is_ok();
        assert_eq!((takes(&pkcs1), takes(&pss)), (is_pkcs1, is_pss), "{what}");
    }
}

#[test]
fn both_s_of_a_secp256k1_signature_verify() {
    let signing = k256::ecdsa::SigningKey::from_slice(&[0x42; 32]).unwrap();
    let point = signing.verifying_key().to_sec1_point(false);
    let spki = ec_spki(Curve::Secp256k1, point.as_bytes()).unwrap();
    let key = PublicKey::from_spki_der(Algorithm::EcdsaSecp256k1Sha256, &spki).unwrap();
    let digest = hash(HashAlgorithm::Sha256, MESSAGE);
    let (low, _) = signing.sign_prehash_recoverable(digest.as_bytes());
    let high = k256::ecdsa::Signature::from_scalars(low.r().to_bytes(), (-low.s()).to_bytes()).unwrap();
    assert_ne!(low, high);
    for signature in [low, high] {
        let fixed = signature.to_bytes();
        assert_eq!(key.verify(SignedInput::Message(MESSAGE), &fixed, P1363), Ok(()));
        // k256 writes the DER here.
        assert_eq!(key.verify(SignedInput::Digest(&digest), signature.to_der().as_bytes(), Der), Ok(()));
    }
}
