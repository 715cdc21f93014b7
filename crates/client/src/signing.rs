//! Sign, Verify and GetPublicKey with their checksums: sent with what goes out, compared with what comes back.

use std::str::FromStr as _;

use chancery_api::v1;
use chancery_model::{Algorithm, EcdsaEncoding, KeyState, KeyVersionName};

use crate::convert::{algorithm_from_proto, encoding_to_proto, state_from_proto};
use crate::{Client, ClientError};

/// What is signed or was signed.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// The message; the service hashes it.
    Message(Vec<u8>),
    /// The message's digest: 32, 48 or 64 bytes, as the key's algorithm has it. Sign takes one only from keys that allow
    /// digests.
    Digest(Vec<u8>),
}

impl std::fmt::Debug for Input {
    /// The length; what is signed is the caller's own business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(bytes) => write!(f, "Message({} bytes)", bytes.len()),
            Self::Digest(bytes) => write!(f, "Digest({} bytes)", bytes.len()),
        }
    }
}

/// A signature, and what made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The version that signed. Keep it with the signature: Verify needs it once the key is rotated.
    pub version: KeyVersionName,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The signature, in the encoding that was asked for.
    pub signature: Vec<u8>,
    /// For secp256k1: which of the candidate public keys (0 to 3) the signature recovers to.
    pub recovery_id: Option<u8>,
    /// Index of the intent's record in the log.
    pub record_index: u64,
}

/// Whether a signature is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The version that it was checked against.
    pub version: KeyVersionName,
    /// Whether the signature is that version's over the input.
    pub valid: bool,
    /// The version's state.
    pub state: KeyState,
}

/// How a public key is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublicKeyFormat {
    /// PEM (RFC 7468) of the DER SubjectPublicKeyInfo.
    #[default]
    Pem,
    /// DER SubjectPublicKeyInfo.
    Der,
}

/// A version's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The version.
    pub version: KeyVersionName,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The version's state.
    pub state: KeyState,
    /// The public key in the format that was asked for.
    pub data: Vec<u8>,
    /// SHA-256 of the DER SubjectPublicKeyInfo; 32 bytes.
    pub sha256: Vec<u8>,
}

impl Client {
    /// Signs with `keyRings/{ring}/keys/{key}` (its primary version) or `.../versions/{n}`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for the service's answers, [`ClientError::Damaged`] where a checksum does not fit: then
    /// nothing of the answer may be used, and the call can be made again.
    pub async fn sign(&self, name: &str, input: Input, encoding: EcdsaEncoding) -> Result<Signed, ClientError> {
        let request = v1::SignRequest {
            name: name.to_owned(),
            input: Some(with_checksum(input)),
            encoding: encoding_to_proto(encoding).into(),
        };
        let answer = self.signing().sign(request).await.map_err(|status| self.error(status))?.into_inner();
        Signed::checked(answer)
    }

    /// Checks a signature. One that does not fit is an answer (`valid` is false), not an error.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn verify(
        &self,
        name: &str,
        input: Input,
        signature: Vec<u8>,
        encoding: EcdsaEncoding,
    ) -> Result<Verdict, ClientError> {
        let request = v1::VerifyRequest {
            name: name.to_owned(),
            input: Some(with_checksum(input)),
            signature_crc32c: Some(crc32c::crc32c(&signature)),
            signature,
            encoding: encoding_to_proto(encoding).into(),
        };
        let answer = self.signing().verify(request).await.map_err(|status| self.error(status))?.into_inner();
        Verdict::checked(answer)
    }

    /// Fetches the public key of a version, or of a key's primary version.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn public_key(&self, name: &str, format: PublicKeyFormat) -> Result<PublicKey, ClientError> {
        let wanted = match format {
            PublicKeyFormat::Pem => v1::PublicKeyFormat::Pem,
            PublicKeyFormat::Der => v1::PublicKeyFormat::Der,
        };
        let request = v1::GetPublicKeyRequest { name: name.to_owned(), format: wanted.into() };
        let answer = self.signing().get_public_key(request).await.map_err(|status| self.error(status))?.into_inner();
        PublicKey::checked(answer, wanted)
    }
}

fn with_checksum(input: Input) -> v1::SignInput {
    let (Input::Message(bytes) | Input::Digest(bytes)) = &input;
    let crc32c = Some(crc32c::crc32c(bytes));
    let input = match input {
        Input::Message(bytes) => v1::sign_input::Input::Message(bytes.into()),
        Input::Digest(bytes) => v1::sign_input::Input::Digest(bytes.into()),
    };
    v1::SignInput { input: Some(input), crc32c }
}

impl Signed {
    /// Takes an answer of Sign, or of an item of BatchSign, whose request carried a checksum.
    ///
    /// # Errors
    /// [`ClientError::Damaged`] and [`ClientError::Answer`].
    pub fn checked(answer: v1::SignResponse) -> Result<Self, ClientError> {
        let v1::SignResponse {
            name,
            algorithm,
            signature,
            signature_crc32c,
            verified_input_crc32c,
            recovery_id,
            record_index,
        } = answer;
        if !verified_input_crc32c {
            return Err(ClientError::Damaged { what: "the input, whose checksum the service did not get" });
        }
        if crc32c::crc32c(&signature) != signature_crc32c {
            return Err(ClientError::Damaged { what: "the signature" });
        }
        Ok(Self {
            version: version(&name)?,
            algorithm: known_algorithm(algorithm)?,
            signature,
            recovery_id: recovery_id.map(u8::try_from).transpose().map_err(|_too_large| ClientError::Answer {
                what: format!("the recovery id {recovery_id:?} is none"),
            })?,
            record_index,
        })
    }
}

impl Verdict {
    fn checked(answer: v1::VerifyResponse) -> Result<Self, ClientError> {
        let v1::VerifyResponse { name, valid, state, verified_input_crc32c, verified_signature_crc32c } = answer;
        if !verified_input_crc32c || !verified_signature_crc32c {
            return Err(ClientError::Damaged {
                what: "the input or the signature, whose checksum the service did not get",
            });
        }
        Ok(Self { version: version(&name)?, valid, state: known_state(state)? })
    }
}

impl PublicKey {
    fn checked(answer: v1::PublicKey, wanted: v1::PublicKeyFormat) -> Result<Self, ClientError> {
        let v1::PublicKey { name, algorithm, state, format, data, data_crc32c, sha256 } = answer;
        if crc32c::crc32c(&data) != data_crc32c {
            return Err(ClientError::Damaged { what: "the public key" });
        }
        if format != i32::from(wanted) {
            return Err(ClientError::Answer { what: format!("the public key's format is {format}, not {wanted:?}") });
        }
        Ok(Self {
            version: version(&name)?,
            algorithm: known_algorithm(algorithm)?,
            state: known_state(state)?,
            data,
            sha256,
        })
    }
}

fn version(name: &str) -> Result<KeyVersionName, ClientError> {
    KeyVersionName::from_str(name)
        .map_err(|error| ClientError::Answer { what: format!("the name {name:?} is no key version's: {error}") })
}

fn known_algorithm(number: i32) -> Result<Algorithm, ClientError> {
    algorithm_from_proto(number)
        .ok_or_else(|| ClientError::Answer { what: format!("algorithm {number} is not known to this client") })
}

fn known_state(number: i32) -> Result<KeyState, ClientError> {
    state_from_proto(number)
        .ok_or_else(|| ClientError::Answer { what: format!("key state {number} is not known to this client") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_response() -> v1::SignResponse {
        v1::SignResponse {
            name: "keyRings/dev/keys/k/versions/2".to_owned(),
            algorithm: v1::Algorithm::EcdsaSecp256k1Sha256.into(),
            signature: b"123456789".to_vec(),
            signature_crc32c: 0xe306_9283, // the check value of CRC-32C
            verified_input_crc32c: true,
            recovery_id: Some(1),
            record_index: 7,
        }
    }

    #[test]
    fn a_whole_answer_is_taken() {
        let signed = Signed::checked(sign_response()).unwrap();
        assert_eq!(signed.version.to_string(), "keyRings/dev/keys/k/versions/2");
        assert_eq!((signed.recovery_id, signed.record_index), (Some(1), 7));
    }

    #[test]
    fn damage_is_found() {
        let mut flipped = sign_response();
        flipped.signature[3] ^= 1;
        assert!(matches!(Signed::checked(flipped), Err(ClientError::Damaged { what: "the signature" })));
        let unchecked = v1::SignResponse { verified_input_crc32c: false, ..sign_response() };
        assert!(matches!(Signed::checked(unchecked), Err(ClientError::Damaged { .. })));

        let verdict = v1::VerifyResponse {
            name: "keyRings/dev/keys/k/versions/2".to_owned(),
            valid: true,
            state: v1::KeyState::Active.into(),
            verified_input_crc32c: true,
            verified_signature_crc32c: false,
        };
        assert!(matches!(Verdict::checked(verdict.clone()), Err(ClientError::Damaged { .. })));
        let whole = v1::VerifyResponse { verified_signature_crc32c: true, ..verdict };
        assert!(Verdict::checked(whole).unwrap().valid);
    }

    #[test]
    fn words_that_this_client_does_not_know_are_said() {
        let unknown = v1::SignResponse { algorithm: 4711, ..sign_response() };
        let error = Signed::checked(unknown).unwrap_err().to_string();
        assert!(error.contains("algorithm 4711"), "{error}");
        let nameless = v1::SignResponse { name: "keyRings/dev/keys/k".to_owned(), ..sign_response() };
        assert!(matches!(Signed::checked(nameless), Err(ClientError::Answer { .. })));
    }

    #[test]
    fn the_input_goes_with_its_checksum_and_stays_out_of_debug() {
        let input = with_checksum(Input::Message(b"123456789".to_vec()));
        assert_eq!(input.crc32c, Some(0xe306_9283));
        assert_eq!(format!("{:?}", Input::Digest(vec![7; 32])), "Digest(32 bytes)");
    }
}
