//! Callers' own signatures of requests, made a second time from `docs/caller-evidence.md` alone, and by other code than the
//! client's.

#![allow(
    clippy::unwrap_used,
    missing_debug_implementations,
    reason = "these functions run inside tests, which stop at the first surprise; keys are not shown"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use chancery_api::v1;
use chancery_testkit::{IdentityFiles, KeyKind};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::contract::{sha256, sign};

/// The audience of `chancery dev`.
pub const AUDIENCE: &str = "chancery-dev";

/// What a caller signs, field by field as the page lists them.
#[derive(Clone)]
pub struct Statement {
    /// For which service.
    pub audience: String,
    /// Of the certificate whose key signs.
    pub certificate_sha256: Vec<u8>,
    /// When, in microseconds since 1970.
    pub created: i64,
    /// Never the same twice.
    pub nonce: Vec<u8>,
    /// Of the API.
    pub method: String,
    /// With what is to be signed.
    pub name: String,
    /// Those of the method.
    pub rest: Vec<Vec<u8>>,
}

impl Statement {
    /// As they are signed.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let created = self.created.to_be_bytes();
        let fields = [
            b"chancery/caller-evidence/v1".as_slice(),
            self.audience.as_bytes(),
            &self.certificate_sha256,
            &created,
            &self.nonce,
            self.method.as_bytes(),
            self.name.as_bytes(),
        ];
        let mut bytes = Vec::new();
        for field in fields.into_iter().chain(self.rest.iter().map(Vec::as_slice)) {
            bytes.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }
}

/// Whoever signs requests: a certificate and its key, as files have them.
pub struct Hand {
    /// In DER.
    pub certificate: Vec<u8>,
    key: Key,
}

enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Hand {
    /// Reads them.
    #[must_use]
    pub fn of(files: &IdentityFiles, kind: KeyKind) -> Self {
        let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap().to_vec();
        let key = PrivatePkcs8KeyDer::from_pem_file(&files.private_key).unwrap();
        let der = key.secret_pkcs8_der();
        let key = match kind {
            KeyKind::P256 => Key::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).unwrap()),
            KeyKind::P384 => Key::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, der).unwrap()),
            KeyKind::Ed25519 => Key::Ed25519(Ed25519KeyPair::from_pkcs8(der).unwrap()),
            KeyKind::Rsa2048 => Key::Rsa(RsaKeyPair::from_pkcs8(der).unwrap()),
        };
        Self { certificate, key }
    }

    /// Signs by the algorithm of the key.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Ecdsa(key) => key.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Key::Ed25519(key) => key.sign(bytes).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PSS_SHA256, &random, bytes, &mut signature).unwrap();
                signature
            }
        }
    }

    /// What is to be said of a request to sign a message with a key whose hash is SHA-256.
    #[must_use]
    pub fn statement(&self, name: &str, message: &[u8]) -> Statement {
        self.statement_of(name, &["message", "SHA-256"], &sha256(message), "DER")
    }

    /// Of what is signed as the words say: a message or digest, and by which hash it is spoken of.
    #[must_use]
    pub fn statement_of(&self, name: &str, words: &[&str; 2], digest: &[u8], encoding: &str) -> Statement {
        let mut nonce = vec![0; 16];
        aws_lc_rs::rand::fill(&mut nonce).unwrap();
        let word = |word: &str| word.as_bytes().to_vec();
        Statement {
            audience: AUDIENCE.to_owned(),
            certificate_sha256: sha256(&self.certificate),
            created: now(),
            nonce,
            method: "Sign".to_owned(),
            name: name.to_owned(),
            rest: vec![word(words[0]), word(words[1]), digest.to_vec(), word(encoding)],
        }
    }

    /// As it goes with the request that the statement speaks of, or another one.
    #[must_use]
    pub fn signature(&self, statement: &Statement) -> v1::CallerSignature {
        v1::CallerSignature {
            certificate_sha256: statement.certificate_sha256.clone(),
            create_time: Some(proto_time(statement.created)),
            nonce: statement.nonce.clone(),
            signature: self.sign(&statement.bytes()),
        }
    }

    /// A whole request to sign a message with a key whose hash is SHA-256.
    #[must_use]
    pub fn request(&self, name: &str, message: &[u8]) -> v1::SignRequest {
        let caller_signature = Some(self.signature(&self.statement(name, message)));
        v1::SignRequest { caller_signature, ..sign(name, message) }
    }
}

/// Microseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// As the API says it.
#[must_use]
pub fn proto_time(micros: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap();
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}
