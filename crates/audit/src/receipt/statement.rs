//! What a proven record says of a signature, held against what somebody has: the signature, the public key, what was
//! signed.

use super::Proven;
use crate::codes::Decision;
use crate::hex::Hex;
use crate::leaf::{Body, Subject};
use chancery_crypto::{PublicKey, PublicKeyError, SignedInput, VerifyError, hash, sha256};
use chancery_model::{Action, Algorithm, Digest, EcdsaEncoding, HashAlgorithm};

/// The hash functions that details name.
const HASHES: [HashAlgorithm; 4] =
    [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512, HashAlgorithm::Keccak256];

/// Why what somebody has is not what the record speaks of.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// No signature was authorised by this record.
    #[error("record {index} is no intent to sign but {what}: it authorised no signature")]
    NotASignature {
        /// The record.
        index: u64,
        /// What it is.
        what: String,
    },
    /// The details leave out what is needed, or name what this program does not know.
    #[error("record {index} does not say, in a way that this program knows, {what}")]
    NotSaid {
        /// The record.
        index: u64,
        /// What.
        what: &'static str,
    },
    /// Something else was signed.
    #[error("the record is of something else: its {hash} is {recorded}, and of what is given it is {given}")]
    Digest {
        /// The hash function.
        hash: HashAlgorithm,
        /// As the record says.
        recorded: Hex,
        /// Of what is given.
        given: Hex,
    },
    /// Another key.
    #[error("the public key is another: the record says SHA-256 {recorded}, and of what is given it is {given}")]
    PublicKey {
        /// As the record says.
        recorded: Hex,
        /// Of what is given.
        given: Hex,
    },
    /// The public key has the right hash, and cannot be used.
    #[error("the public key cannot be used")]
    Unusable(#[from] PublicKeyError),
    /// Another signature, or none, was made.
    #[error("the signature is none of those that record {index} says were made")]
    NotMade {
        /// The record.
        index: u64,
    },
    /// The signature does not fit.
    #[error("the signature is not one of this key over what the record says was signed")]
    Signature,
    /// The key's algorithm reads the message itself.
    #[error("{0} signs the message itself, and the record has only its hash: give the message to check the signature")]
    NeedsMessage(Algorithm),
}

/// Whether an action has the token make what vouches for the input: a signature, or the MAC of a key that has only MACs.
/// MacVerify is an intent, too, since it uses the secret; but it makes nothing, and any input may be asked about.
const fn makes(action: Action) -> bool {
    matches!(action, Action::Sign | Action::SignJwt | Action::CreateCertificateSigningRequest | Action::MacSign)
}

impl Proven {
    /// Whether the record authorised a signature, and which.
    fn signing(&self) -> Result<Algorithm, Mismatch> {
        let index = self.index;
        let what = match &self.leaf.body {
            Body::Intent(subject) if subject.decision != Decision::Allow => "an intent that was refused".to_owned(),
            Body::Intent(Subject { action: Some(action), .. }) if !makes(*action) => format!("one to {action}"),
            Body::Intent(Subject { action: None, .. }) => "one of an action that is not named".to_owned(),
            Body::Intent(_) => {
                let algorithm = self.details.algorithm.as_deref().and_then(|name| name.parse::<Algorithm>().ok());
                return algorithm.ok_or(Mismatch::NotSaid { index, what: "by which algorithm was signed" });
            }
            Body::Outcome { .. } | Body::Act { .. } | Body::Denial { .. } => {
                format!("a record of the kind {}", self.leaf.kind().as_str())
            }
        };
        Err(Mismatch::NotASignature { index, what })
    }

    /// What was signed, by its digest. Of what the token reads itself (Ed25519, ML-DSA), SHA-256.
    fn signed(&self) -> Result<Digest, Mismatch> {
        self.signing()?;
        let missing = || Mismatch::NotSaid { index: self.index, what: "what was signed" };
        let signed = self.details.signed.as_ref().ok_or_else(missing)?;
        let hash = HASHES.into_iter().find(|hash| hash.as_str() == signed.hash).ok_or_else(missing)?;
        Digest::new(hash, signed.digest.as_bytes().to_vec()).map_err(|_of_another_length| missing())
    }

    /// Checks that this is the digest of what was signed.
    ///
    /// # Errors
    /// [`Mismatch::Digest`], or that the record speaks of no signature.
    pub fn check_digest(&self, digest: &[u8]) -> Result<(), Mismatch> {
        let signed = self.signed()?;
        if signed.as_bytes() == digest {
            return Ok(());
        }
        let (recorded, given) = (Hex::from(signed.as_bytes()), Hex::from(digest));
        Err(Mismatch::Digest { hash: signed.algorithm(), recorded, given })
    }

    /// Checks that this is what was signed.
    ///
    /// # Errors
    /// As of [`Proven::check_digest`].
    pub fn check_message(&self, message: &[u8]) -> Result<(), Mismatch> {
        let function = self.signed()?.algorithm();
        self.check_digest(hash(function, message).as_bytes())
    }

    /// The public key of the version that was to sign, if this DER SubjectPublicKeyInfo is the one that the record says.
    ///
    /// # Errors
    /// [`Mismatch::PublicKey`], [`Mismatch::Unusable`], or that the record speaks of no signature.
    pub fn public_key(&self, spki_der: &[u8]) -> Result<PublicKey, Mismatch> {
        let algorithm = self.signing()?;
        let recorded = self.details.spki_sha256.as_ref();
        let recorded = recorded.ok_or(Mismatch::NotSaid { index: self.index, what: "with which public key" })?;
        let given = sha256(spki_der);
        if recorded.as_bytes() != given {
            return Err(Mismatch::PublicKey { recorded: recorded.clone(), given: Hex::from(given) });
        }
        // A key that was adopted may have another exponent.
        Ok(PublicKey::from_spki_der_any_exponent(algorithm, spki_der)?)
    }

    /// Checks that a signature is one of this key, which [`Proven::public_key`] gave, over what the record says was signed.
    /// The message is needed only where the algorithm reads it itself; one that is given is checked to be what was signed.
    ///
    /// # Errors
    /// [`Mismatch::Signature`], [`Mismatch::NeedsMessage`], [`Mismatch::Digest`].
    pub fn check_signature(
        &self,
        key: &PublicKey,
        message: Option<&[u8]>,
        signature: &[u8],
        encoding: EcdsaEncoding,
    ) -> Result<(), Mismatch> {
        let digest = self.signed()?;
        if let Some(message) = message {
            self.check_message(message)?;
        }
        let input = match (key.algorithm().hash(), message) {
            (Some(_), _) => SignedInput::Digest(&digest),
            (None, Some(message)) => SignedInput::Message(message),
            (None, None) => return Err(Mismatch::NeedsMessage(key.algorithm())),
        };
        key.verify(input, signature, encoding).map_err(|error| match error {
            VerifyError::Invalid | VerifyError::WrongDigest { .. } => Mismatch::Signature,
            VerifyError::DigestNotAllowed => Mismatch::NeedsMessage(key.algorithm()),
        })
    }
}
