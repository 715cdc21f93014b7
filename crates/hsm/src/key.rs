//! What goes into a token and what comes out of it, as the callers of this crate see it.

use chancery_model::{Algorithm, Digest, TokenObjectId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A key version in a token: where its private half is, and what its signatures must verify under.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// Its CKA_ID.
    pub id: TokenObjectId,
    /// The pinned public key; it also says the algorithm.
    pub public: chancery_crypto::PublicKey,
}

/// A MAC key version in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacKey {
    /// Its CKA_ID.
    pub id: TokenObjectId,
    /// Its algorithm, one of [`chancery_model::KeyPurpose::Mac`].
    pub algorithm: Algorithm,
}

/// What is to be signed.
#[derive(Clone, Copy)]
pub enum SignInput<'a> {
    /// The message. It is hashed here, in the service, and only the digest goes to the token; except for Ed25519
    /// and ML-DSA, where the token reads the message itself: at most [`crate::MAX_DEVICE_MESSAGE_BYTES`].
    Message(&'a [u8]),
    /// The digest of a message, made with the algorithm's hash function. Not for Ed25519 and ML-DSA.
    Digest(&'a Digest),
}

/// A signature that was verified in software under the pinned public key.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceSignature {
    /// RSA: as long as the modulus. ECDSA: r and s, each as long as the curve's coordinate, big-endian; low-S for
    /// secp256k1. Ed25519: 64 bytes. ML-DSA: as FIPS 204 encodes it.
    pub bytes: Vec<u8>,
    /// For secp256k1, which of the four public keys that fit the signature is the right one (SEC 1, section 4.1.6).
    pub recovery_id: Option<u8>,
    /// How often the token was asked: 1, or 2 after a retry.
    pub attempts: u8,
    /// Where the time went.
    pub times: SignTimes,
}

/// How long the stages of a signature or a MAC took, all attempts together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignTimes {
    /// Waiting in the service for a lane of the token.
    pub queue: Duration,
    /// With the worker, until its answer was back.
    pub device: Duration,
    /// Checking the signature in software.
    pub verify: Duration,
}

/// A MAC that the token itself has checked again before it left the worker.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceMac {
    /// The MAC, never truncated: [`Algorithm::mac_bytes`] bytes.
    pub bytes: Vec<u8>,
    /// How often the token was asked: 1, or 2 after a retry.
    pub attempts: u8,
    /// Where the time went; none of it into `verify`, which the worker does.
    pub times: SignTimes,
}

/// What came out of the comparison of a MAC with the one that the token makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceVerdict {
    /// Whether it is the MAC of that message under that key.
    pub valid: bool,
    /// How often the token was asked: 1, or 2 after a retry; 0 for what cannot be a MAC by its length.
    pub attempts: u8,
    /// Where the time went.
    pub times: SignTimes,
}

// What is signed, the signature and the MAC go where they were asked for: not into logs.
impl fmt::Debug for SignInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "Message({} bytes)", message.len()),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Debug for DeviceSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSignature({} bytes, {} attempts)", self.bytes.len(), self.attempts)
    }
}

impl fmt::Debug for DeviceMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceMac({} bytes, {} attempts)", self.bytes.len(), self.attempts)
    }
}

/// A key pair or a secret in a token, as read back from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedKey {
    /// CKA_ID of the secret, or of both halves of the pair.
    pub id: TokenObjectId,
    /// The public key as DER SubjectPublicKeyInfo; `None` for a secret, which has none.
    pub spki_der: Option<Vec<u8>>,
    /// What the private or secret key object says of itself.
    pub attributes: KeyAttributes,
}

/// The attributes of a private or secret key, read back from the token; the PKCS#11 attribute is in each field's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "these are independent PKCS#11 attributes")]
pub struct KeyAttributes {
    /// CKA_CLASS: a private key, or a secret key for MACs.
    pub class: TokenObjectClass,
    /// CKA_TOKEN: outlives the session. Must be true.
    pub token: bool,
    /// CKA_PRIVATE: only seen after login. Must be true.
    pub private: bool,
    /// CKA_SENSITIVE: its value cannot be read. Must be true.
    pub sensitive: bool,
    /// CKA_ALWAYS_SENSITIVE: nor could it ever be. Must be true.
    pub always_sensitive: bool,
    /// CKA_EXTRACTABLE: it can be wrapped. Must be false.
    pub extractable: bool,
    /// CKA_NEVER_EXTRACTABLE: nor could it ever be. Must be true.
    pub never_extractable: bool,
    /// CKA_LOCAL: it was made in this token. Must be true.
    pub local: bool,
    /// CKA_SIGN. Must be true.
    pub sign: bool,
    /// CKA_DECRYPT. Must be false.
    pub decrypt: bool,
    /// CKA_UNWRAP. Must be false.
    pub unwrap: bool,
    /// CKA_DERIVE. Must be false.
    pub derive: bool,
    /// CKA_SIGN_RECOVER. Must be false.
    pub sign_recover: bool,
    /// CKA_VERIFY. Must be true of a secret: the token checks its MACs. A private key has none, which counts as false.
    pub verify: bool,
    /// CKA_ENCRYPT of a secret. Must be false.
    pub encrypt: bool,
    /// CKA_WRAP of a secret. Must be false.
    pub wrap: bool,
}

impl KeyAttributes {
    /// The PKCS#11 names of the attributes that are not as Chancery demands; empty for a good key.
    #[must_use]
    pub fn violations(&self) -> Vec<&'static str> {
        [
            ("CKA_TOKEN", self.token, true),
            ("CKA_PRIVATE", self.private, true),
            ("CKA_SENSITIVE", self.sensitive, true),
            ("CKA_ALWAYS_SENSITIVE", self.always_sensitive, true),
            ("CKA_EXTRACTABLE", self.extractable, false),
            ("CKA_NEVER_EXTRACTABLE", self.never_extractable, true),
            ("CKA_LOCAL", self.local, true),
            ("CKA_SIGN", self.sign, true),
            ("CKA_DECRYPT", self.decrypt, false),
            ("CKA_UNWRAP", self.unwrap, false),
            ("CKA_DERIVE", self.derive, false),
            ("CKA_SIGN_RECOVER", self.sign_recover, false),
            ("CKA_VERIFY", self.verify, self.class == TokenObjectClass::SecretKey),
            ("CKA_ENCRYPT", self.encrypt, false),
            ("CKA_WRAP", self.wrap, false),
        ]
        .into_iter()
        .filter(|(_, actual, demanded)| actual != demanded)
        .map(|(name, _, _)| name)
        .collect()
    }
}

/// What a token holds under one CKA_ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPresence {
    /// Exactly the key pair or the secret that was asked for, with the attributes that Chancery demands.
    Complete(GeneratedKey),
    /// Something else: what a crash during generation leaves behind.
    Partial {
        /// Number of private key objects.
        private: usize,
        /// Number of public key objects.
        public: usize,
        /// Number of secret key objects.
        secret: usize,
    },
    /// A key that is whole and that Chancery will not use: its attributes are not as demanded, its public key cannot be
    /// read, or it does not sign.
    Unfit {
        /// Why, for the log and the record.
        why: String,
    },
    /// Nothing.
    Absent,
}

/// A key object in a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenObject {
    /// Its CKA_ID; 16 bytes if Chancery made it.
    pub id: Vec<u8>,
    /// Its CKA_LABEL; bytes that are not UTF-8 are replaced.
    pub label: String,
    /// What it is.
    pub class: TokenObjectClass,
}

/// Which half of a key pair an object is, or a whole secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenObjectClass {
    /// CKO_PRIVATE_KEY.
    PrivateKey,
    /// CKO_PUBLIC_KEY.
    PublicKey,
    /// CKO_SECRET_KEY.
    SecretKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_attribute_is_named() {
        let good = KeyAttributes {
            class: TokenObjectClass::PrivateKey,
            token: true,
            private: true,
            sensitive: true,
            always_sensitive: true,
            extractable: false,
            never_extractable: true,
            local: true,
            sign: true,
            decrypt: false,
            unwrap: false,
            derive: false,
            sign_recover: false,
            verify: false,
            encrypt: false,
            wrap: false,
        };
        assert!(good.violations().is_empty());
        let bad = KeyAttributes { extractable: true, local: false, ..good };
        assert_eq!(bad.violations(), ["CKA_EXTRACTABLE", "CKA_LOCAL"]);
        let secret = KeyAttributes { class: TokenObjectClass::SecretKey, ..good };
        assert_eq!(secret.violations(), ["CKA_VERIFY"], "a token that cannot check a MAC is of no use");
        assert!(KeyAttributes { verify: true, ..secret }.violations().is_empty());
        let versatile = KeyAttributes { verify: true, encrypt: true, wrap: true, ..secret };
        assert_eq!(versatile.violations(), ["CKA_ENCRYPT", "CKA_WRAP"]);
    }
}
