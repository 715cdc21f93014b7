//! Signing a note, by a function: the private key is in a token, and the note never learns how it is asked.

use crate::note::{MAX_SIGNATURES, NoteSignature, SignatureKind, SignedNote, VerifierKey};
use std::future::Future;

/// Why a note was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError<E> {
    /// The signer failed.
    #[error("the key that signs the log did not sign")]
    Signer(#[source] E),
    /// The signature is not one of the key: a device that lies, or another key than was said.
    #[error("what the signer answered is no signature of {0}: nothing was published")]
    Invalid(String),
    /// The key is for the other kind of signatures.
    #[error("{0} makes signatures of another kind: a log signs with a key of type 01, a witness with one of type 04")]
    Kind(String),
    /// No room.
    #[error("the note has {MAX_SIGNATURES} signatures, the most that a note may have")]
    Full,
}

impl SignedNote {
    /// Adds a log's signature. `signer` is given the bytes to sign and answers an Ed25519 signature, which is verified
    /// before it is added.
    ///
    /// # Errors
    /// [`SignError`]: the note is as it was.
    pub async fn sign<E, F>(&mut self, key: &VerifierKey, signer: impl FnOnce(Vec<u8>) -> F) -> Result<(), SignError<E>>
    where
        F: Future<Output = Result<[u8; 64], E>>,
    {
        self.add(key, SignatureKind::Ed25519, None, signer).await
    }

    /// Adds a witness's cosignature of this time, in seconds since 1970-01-01T00:00:00Z; otherwise as
    /// [`SignedNote::sign`].
    ///
    /// # Errors
    /// [`SignError`]: the note is as it was.
    pub async fn cosign<E, F>(
        &mut self,
        key: &VerifierKey,
        time: u64,
        signer: impl FnOnce(Vec<u8>) -> F,
    ) -> Result<(), SignError<E>>
    where
        F: Future<Output = Result<[u8; 64], E>>,
    {
        self.add(key, SignatureKind::Cosignature, Some(time), signer).await
    }

    async fn add<E, F>(
        &mut self,
        key: &VerifierKey,
        kind: SignatureKind,
        time: Option<u64>,
        signer: impl FnOnce(Vec<u8>) -> F,
    ) -> Result<(), SignError<E>>
    where
        F: Future<Output = Result<[u8; 64], E>>,
    {
        if key.kind() != kind {
            return Err(SignError::Kind(key.to_string()));
        }
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(SignError::Full);
        }
        let signed = signer(key.message(&self.text, time.unwrap_or_default())).await.map_err(SignError::Signer)?;
        let mut signature = time.map(u64::to_be_bytes).map(Vec::from).unwrap_or_default();
        signature.extend_from_slice(&signed);
        if key.verify(&self.text, &signature) != Ok(time) {
            return Err(SignError::Invalid(key.to_string()));
        }
        self.signatures.push(NoteSignature { name: key.name().clone(), key_id: key.id(), signature });
        Ok(())
    }
}
