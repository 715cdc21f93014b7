//! Sign.

use chancery_api::v1;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_model::{Algorithm, EcdsaEncoding, KeyVersionName};

use crate::answer::{damaged_unless, known_algorithm, version};
use crate::input::sign_request;
use crate::receipt::receipt;
use crate::retry::Repeat;
use crate::{Client, ClientError, Input, KeyRef, ReceiptAnswer, SignItem, name};

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
    /// The receipt, where one was asked for ([`SignItem::with_receipt`]).
    pub receipt: Option<ReceiptAnswer>,
}

impl Client {
    /// Signs a message (or a digest: [`Input::Digest`]) with a key's primary version, or with one version. Repeated by
    /// itself where that can help: each attempt that reached the token is on the record.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for the service's answers, [`ClientError::Damaged`] where a checksum does not fit: then
    /// nothing of the answer may be used, and the call can be made again; [`ClientError::WrongSignature`] and
    /// [`ClientError::NotPinned`] with [`Client::verify_locally`].
    pub async fn sign<N>(
        &self,
        name: N,
        input: impl Into<Input>,
        encoding: EcdsaEncoding,
    ) -> Result<Signed, ClientError>
    where
        N: TryInto<KeyRef, Error: Into<ClientError>>,
    {
        self.sign_request(sign_request(name::text(name)?, input.into(), encoding)).await
    }

    /// Signs an item: as [`Client::sign`], and with a receipt where the item wants one.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn sign_item(&self, item: SignItem) -> Result<Signed, ClientError> {
        self.sign_request(item.into_request()).await
    }

    async fn sign_request(&self, request: v1::SignRequest) -> Result<Signed, ClientError> {
        self.learn_hash(&request.name).await?;
        let answer = self
            .call(Repeat::Safe, request.clone(), |connection, request| {
                let vouched = self.vouched(connection, request);
                async move {
                    let (connection, request) = vouched?;
                    SigningServiceClient::new(connection).sign(request).await
                }
            })
            .await?;
        self.released(&request, Signed::of(request.receipt, answer)?).await
    }
}

impl Signed {
    /// The answer to a request that wanted a receipt or none.
    pub(crate) fn of(with_receipt: bool, mut answer: v1::SignResponse) -> Result<Self, ClientError> {
        let text = std::mem::take(&mut answer.receipt);
        let receipt = receipt(with_receipt, text, answer.receipt_status)?;
        Ok(Self { receipt, ..Self::checked(answer)? })
    }

    /// Takes an answer of Sign, or of an item of BatchSign, whose request carried a checksum and wanted no receipt.
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
            receipt: _,
            receipt_status: _,
        } = answer;
        damaged_unless(verified_input_crc32c, "the input, whose checksum the service did not get")?;
        damaged_unless(crc32c::crc32c(&signature) == signature_crc32c, "the signature")?;
        Ok(Self {
            version: version(&name)?,
            algorithm: known_algorithm(algorithm)?,
            signature,
            recovery_id: recovery_id.map(u8::try_from).transpose().map_err(|_too_large| ClientError::Answer {
                what: format!("the recovery id {recovery_id:?} is none"),
            })?,
            record_index,
            receipt: None,
        })
    }
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
            ..v1::SignResponse::default()
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
    }

    #[test]
    fn words_that_this_client_does_not_know_are_said() {
        let unknown = v1::SignResponse { algorithm: 4711, ..sign_response() };
        let error = Signed::checked(unknown).unwrap_err().to_string();
        assert!(error.contains("algorithm 4711"), "{error}");
        let nameless = v1::SignResponse { name: "keyRings/dev/keys/k".to_owned(), ..sign_response() };
        assert!(matches!(Signed::checked(nameless), Err(ClientError::Answer { .. })));
        let five = v1::SignResponse { recovery_id: Some(256), ..sign_response() };
        assert!(matches!(Signed::checked(five), Err(ClientError::Answer { .. })));
    }
}
