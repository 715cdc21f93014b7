//! What is signed, with the checksum that goes with it.

use std::fmt;

use chancery_api::v1;
use chancery_crypto::{PublicKey, SignedInput, VerifyError};
use chancery_model::{Digest, EcdsaEncoding};

use crate::KeyRef;
use crate::convert::encoding_to_proto;

/// What is signed or was signed.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// The message; the service hashes it.
    Message(Vec<u8>),
    /// The message's digest: 32, 48 or 64 bytes, as the key's algorithm has it. Sign takes one only from keys that allow
    /// digests.
    Digest(Vec<u8>),
}

impl fmt::Debug for Input {
    /// The length; what is signed is the caller's own business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(bytes) => write!(f, "Message({} bytes)", bytes.len()),
            Self::Digest(bytes) => write!(f, "Digest({} bytes)", bytes.len()),
        }
    }
}

impl From<Vec<u8>> for Input {
    fn from(message: Vec<u8>) -> Self {
        Self::Message(message)
    }
}

impl From<&[u8]> for Input {
    fn from(message: &[u8]) -> Self {
        Self::Message(message.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Input {
    fn from(message: &[u8; N]) -> Self {
        Self::Message(message.to_vec())
    }
}

impl From<&str> for Input {
    fn from(message: &str) -> Self {
        Self::Message(message.as_bytes().to_vec())
    }
}

impl From<Digest> for Input {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest.as_bytes().to_vec())
    }
}

/// One input to sign: an item of a batch or of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignItem {
    /// With which key or version.
    pub name: KeyRef,
    /// What.
    pub input: Input,
    /// How an ECDSA signature is to be written.
    pub encoding: EcdsaEncoding,
    /// Whether to wait for a receipt: see [`Signed::receipt`](crate::Signed::receipt).
    pub receipt: bool,
}

impl SignItem {
    /// ECDSA signatures in DER, no receipt.
    pub fn new(name: impl Into<KeyRef>, input: impl Into<Input>) -> Self {
        Self { name: name.into(), input: input.into(), encoding: EcdsaEncoding::Der, receipt: false }
    }

    /// With a receipt, which takes until the next checkpoint of the log.
    #[must_use]
    pub fn with_receipt(self) -> Self {
        Self { receipt: true, ..self }
    }

    pub(crate) fn into_request(self) -> v1::SignRequest {
        let Self { name, input, encoding, receipt } = self;
        v1::SignRequest { receipt, ..sign_request(name.to_string(), input, encoding) }
    }
}

pub(crate) fn sign_request(name: String, input: Input, encoding: EcdsaEncoding) -> v1::SignRequest {
    let (input, encoding) = (Some(with_checksum(input)), encoding_to_proto(encoding).into());
    // Signed for each attempt anew.
    v1::SignRequest { name, input, encoding, caller_signature: None, receipt: false }
}

pub(crate) fn with_checksum(input: Input) -> v1::SignInput {
    let (Input::Message(bytes) | Input::Digest(bytes)) = &input;
    let crc32c = Some(crc32c::crc32c(bytes));
    let input = match input {
        Input::Message(bytes) => v1::sign_input::Input::Message(bytes.into()),
        Input::Digest(bytes) => v1::sign_input::Input::Digest(bytes.into()),
    };
    v1::SignInput { input: Some(input), crc32c }
}

/// Whether a signature is the key's over what a request asked to sign.
pub(crate) fn verify(key: &PublicKey, request: &v1::SignRequest, signature: &[u8]) -> Result<(), VerifyError> {
    let encoding = match request.encoding() {
        v1::SignatureEncoding::P1363 => EcdsaEncoding::P1363,
        v1::SignatureEncoding::Der | v1::SignatureEncoding::Unspecified => EcdsaEncoding::Der,
    };
    match request.input.as_ref().and_then(|input| input.input.as_ref()) {
        Some(v1::sign_input::Input::Message(message)) => key.verify(SignedInput::Message(message), signature, encoding),
        Some(v1::sign_input::Input::Digest(digest)) => {
            let hash = key.algorithm().hash().ok_or(VerifyError::DigestNotAllowed)?;
            let digest = Digest::new(hash, digest.to_vec()).map_err(|_of_another_length| VerifyError::Invalid)?;
            key.verify(SignedInput::Digest(&digest), signature, encoding)
        }
        None => Err(VerifyError::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_goes_with_its_checksum_and_stays_out_of_debug() {
        let input = with_checksum(Input::from("123456789"));
        assert_eq!(input.crc32c, Some(0xe306_9283)); // the check value of CRC-32C
        assert_eq!(format!("{:?}", Input::Digest(vec![7; 32])), "Digest(32 bytes)");
    }
}
