//! Verify and BatchVerify: checked by the service, against the public key that it pinned.

use chancery_api::v1;
use chancery_api::v1::batch_verify_result::Result as ItemResult;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_model::{EcdsaEncoding, KeyState, KeyVersionName};

use crate::answer::{damaged_unless, known_state, version};
use crate::convert::encoding_to_proto;
use crate::input::with_checksum;
use crate::retry::Repeat;
use crate::{Client, ClientError, Input, KeyRef, batch, name};

/// Whether a signature is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The version that it was checked against.
    pub version: KeyVersionName,
    /// Whether the signature is that version's over the input, and stands.
    pub valid: bool,
    /// What came of it.
    pub finding: Finding,
    /// The version's state.
    pub state: KeyState,
}

/// What came of checking a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It is the version's, and stands.
    Valid,
    /// It is not the version's signature over the input; from a service that is older than the others, also one of those.
    Invalid,
    /// It was made with the version's key, which is marked as compromised: it may be anybody's.
    KeyCompromised,
    /// It was made with the version's key, which is not in use yet.
    KeyNotYetActive,
    /// It was made with the version's key, whose destruction is scheduled or done.
    KeyDestroyed,
}

impl Finding {
    fn of(verdict: v1::Verdict, valid: bool) -> Self {
        match verdict {
            v1::Verdict::Unspecified if valid => Self::Valid,
            v1::Verdict::Valid => Self::Valid,
            v1::Verdict::Unspecified | v1::Verdict::Invalid => Self::Invalid,
            v1::Verdict::KeyCompromised => Self::KeyCompromised,
            v1::Verdict::KeyNotYetActive => Self::KeyNotYetActive,
            v1::Verdict::KeyDestroyed => Self::KeyDestroyed,
        }
    }

    /// In a few words; nothing to add to a signature that is valid.
    #[must_use]
    pub const fn explanation(self) -> Option<&'static str> {
        match self {
            Self::Valid => None,
            Self::Invalid => Some("it is not this version's signature over this input"),
            Self::KeyCompromised => Some("made with this key, which is compromised: it may be anybody's"),
            Self::KeyNotYetActive => Some("made with this key, which is not in use yet"),
            Self::KeyDestroyed => Some("made with this key, whose destruction is scheduled or done"),
        }
    }
}

/// One signature to check: an item of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyItem {
    /// Against which key or version.
    pub name: KeyRef,
    /// What was signed.
    pub input: Input,
    /// The signature.
    pub signature: Vec<u8>,
    /// How an ECDSA signature is written.
    pub encoding: EcdsaEncoding,
}

impl VerifyItem {
    /// ECDSA signatures in DER.
    pub fn new(name: impl Into<KeyRef>, input: impl Into<Input>, signature: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), input: input.into(), signature: signature.into(), encoding: EcdsaEncoding::Der }
    }

    fn into_request(self) -> v1::VerifyRequest {
        verify_request(self.name.to_string(), self.input, self.signature, self.encoding)
    }
}

fn verify_request(name: String, input: Input, signature: Vec<u8>, encoding: EcdsaEncoding) -> v1::VerifyRequest {
    v1::VerifyRequest {
        name,
        input: Some(with_checksum(input)),
        signature_crc32c: Some(crc32c::crc32c(&signature)),
        signature,
        encoding: encoding_to_proto(encoding).into(),
    }
}

impl Client {
    /// Checks a signature. One that does not fit is an answer (`valid` is false), not an error.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn verify<N>(
        &self,
        name: N,
        input: impl Into<Input>,
        signature: impl Into<Vec<u8>>,
        encoding: EcdsaEncoding,
    ) -> Result<Verdict, ClientError>
    where
        N: TryInto<KeyRef, Error: Into<ClientError>>,
    {
        let request = verify_request(name::text(name)?, input.into(), signature.into(), encoding);
        let answer = self
            .call(Repeat::Safe, request, |connection, request| async move {
                SigningServiceClient::new(connection).verify(request).await
            })
            .await?;
        Verdict::checked(answer)
    }

    /// Checks any number of signatures, in as few calls as the service's limits allow. One answer for each item, in their
    /// order; a call that failed is the error of each of its items ([`ClientError::Shared`]).
    pub async fn batch_verify(&self, items: impl IntoIterator<Item = VerifyItem>) -> Vec<Result<Verdict, ClientError>> {
        let deadline = self.deadline();
        let requests: Vec<v1::VerifyRequest> = items.into_iter().map(VerifyItem::into_request).collect();
        let mut answers = Vec::with_capacity(requests.len());
        for chunk in batch::chunks(requests) {
            let count = chunk.len();
            let request = v1::BatchVerifyRequest { requests: chunk };
            let results = self
                .call_until(deadline, Repeat::Safe, request, |connection, request| async move {
                    SigningServiceClient::new(connection).batch_verify(request).await
                })
                .await
                .map(|answer| answer.results);
            batch::distribute(results, count, |result| answers.push(result.and_then(Verdict::of_item)));
        }
        answers
    }
}

impl Verdict {
    fn of_item(v1::BatchVerifyResult { result }: v1::BatchVerifyResult) -> Result<Self, ClientError> {
        match result {
            Some(ItemResult::Response(response)) => Self::checked(response),
            Some(ItemResult::Error(status)) => Err(ClientError::Refused(Box::new(status.into()))),
            None => Err(batch::no_result()),
        }
    }

    fn checked(answer: v1::VerifyResponse) -> Result<Self, ClientError> {
        let finding = Finding::of(answer.verdict(), answer.valid);
        let v1::VerifyResponse { name, valid, state, verified_input_crc32c, verified_signature_crc32c, verdict: _ } =
            answer;
        damaged_unless(
            verified_input_crc32c && verified_signature_crc32c,
            "the input or the signature, whose checksum the service did not get",
        )?;
        Ok(Self { version: version(&name)?, valid, finding, state: known_state(state)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_over_what_may_be_damaged_is_none() {
        let verdict = v1::VerifyResponse {
            name: "keyRings/dev/keys/k/versions/2".to_owned(),
            valid: true,
            state: v1::KeyState::Active.into(),
            verified_input_crc32c: true,
            verified_signature_crc32c: false,
            verdict: v1::Verdict::Valid.into(),
        };
        assert!(matches!(Verdict::checked(verdict.clone()), Err(ClientError::Damaged { .. })));
        let whole = v1::VerifyResponse { verified_signature_crc32c: true, ..verdict };
        assert!(Verdict::checked(whole).unwrap().valid);
    }
}
