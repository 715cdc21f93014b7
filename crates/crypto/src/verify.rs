//! THE verification: the one that the Verify method and the check before release call.

use crate::hash::backend;
use crate::public_key::Verifier;
use crate::{PublicKey, ecdsa_der_from_fixed, ecdsa_fixed_from_der, hash, secp256k1};
use aws_lc_rs::digest::Digest as ImportedDigest;
use chancery_model::{Curve, Digest, EcdsaEncoding, HashAlgorithm};
use std::borrow::Cow;
use std::fmt;

/// What a signature is over.
#[derive(Clone, Copy)]
pub enum SignedInput<'a> {
    /// A message, which is hashed as the key's algorithm says.
    Message(&'a [u8]),
    /// The digest of a message.
    Digest(&'a Digest),
}

impl fmt::Debug for SignedInput<'_> {
    // What is signed is the caller's business and goes into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "Message({} bytes)", message.len()),
            Self::Digest(digest) => fmt::Debug::fmt(digest, f),
        }
    }
}

/// Why a signature does not hold, or cannot be checked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a signature of this key over this input, or not in the encoding that was named.
    #[error("the signature is not one of this key over this input")]
    Invalid,
    /// Ed25519 and pure ML-DSA read the message itself: nothing can be said about a digest.
    #[error("an Ed25519 or ML-DSA signature can only be verified over the message, not over a digest")]
    DigestNotAllowed,
    /// The digest is of another hash function than the key's.
    #[error("the key's algorithm takes {expected} digests, not {actual}")]
    WrongDigest {
        /// The hash function of the key's algorithm.
        expected: HashAlgorithm,
        /// The hash function of the digest.
        actual: HashAlgorithm,
    },
}

impl PublicKey {
    /// Verifies a signature over a message or a digest.
    ///
    /// - RSASSA-PKCS1-v1_5 and RSASSA-PSS (RFC 8017): as long as the modulus; PSS with a salt exactly as long as
    ///   the hash and MGF1 with the same hash. `encoding` plays no part.
    /// - ECDSA (FIPS 186-5): in `encoding` and no other; strict DER, or r || s of exactly twice a coordinate.
    ///   Both s of a pair (r, s), (r, n - s) are accepted, on secp256k1 as well.
    /// - Ed25519 (RFC 8032, section 5.1.7): 64 bytes, S below the order; messages only. `encoding` plays no part.
    /// - ML-DSA (FIPS 204, algorithm 3): pure, with an empty context; messages only. `encoding` plays no part.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] where the signature does not hold, however malformed it is; the other two
    /// where the input is none that a key of this algorithm takes.
    pub fn verify(&self, input: SignedInput<'_>, signature: &[u8], encoding: EcdsaEncoding) -> Result<(), VerifyError> {
        self.check_input(input)?;
        match self.verifier() {
            Verifier::AwsLc(key) => {
                let signature = match (self.algorithm().curve(), encoding) {
                    (Some(curve), EcdsaEncoding::P1363) => {
                        Cow::Owned(ecdsa_der_from_fixed(curve, signature).or(Err(VerifyError::Invalid))?)
                    }
                    (Some(_), EcdsaEncoding::Der) | (None, _) => Cow::Borrowed(signature),
                };
                match input {
                    SignedInput::Message(message) => key.verify_sig(message, &signature),
                    SignedInput::Digest(digest) => {
                        let backend = backend(digest.algorithm()).ok_or(VerifyError::Invalid)?;
                        ImportedDigest::import_less_safe(digest.as_bytes(), backend)
                            .and_then(|digest| key.verify_digest_sig(&digest, &signature))
                    }
                }
                .or(Err(VerifyError::Invalid))
            }
            Verifier::K256(key) => {
                let fixed = match encoding {
                    EcdsaEncoding::P1363 => Cow::Borrowed(signature),
                    EcdsaEncoding::Der => {
                        Cow::Owned(ecdsa_fixed_from_der(Curve::Secp256k1, signature).or(Err(VerifyError::Invalid))?)
                    }
                };
                let digest = match (input, self.algorithm().hash()) {
                    (SignedInput::Digest(digest), _) => Cow::Borrowed(digest),
                    (SignedInput::Message(message), Some(algorithm)) => Cow::Owned(hash(algorithm, message)),
                    (SignedInput::Message(_), None) => return Err(VerifyError::Invalid),
                };
                if secp256k1::verify(key, &digest, &fixed) { Ok(()) } else { Err(VerifyError::Invalid) }
            }
        }
    }

    /// Whether keys of this algorithm take such input.
    fn check_input(&self, input: SignedInput<'_>) -> Result<(), VerifyError> {
        match (input, self.algorithm().hash()) {
            (SignedInput::Message(_), _) => Ok(()),
            (SignedInput::Digest(_), None) => Err(VerifyError::DigestNotAllowed),
            (SignedInput::Digest(digest), Some(expected)) if digest.algorithm() == expected => Ok(()),
            (SignedInput::Digest(digest), Some(expected)) => {
                Err(VerifyError::WrongDigest { expected, actual: digest.algorithm() })
            }
        }
    }
}
