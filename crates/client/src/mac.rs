//! MacSign and MacVerify.

use bytes::Bytes;
use chancery_api::v1;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_model::{Algorithm, KeyState, KeyVersionName};

use crate::answer::{damaged_unless, known_algorithm, known_state, version};
use crate::retry::Repeat;
use crate::{Client, ClientError, KeyRef, name};

/// A message authentication code, and what made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mac {
    /// The version that made it. Keep it with the MAC: MacVerify needs it once the key is rotated.
    pub version: KeyVersionName,
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The MAC, whole.
    pub mac: Vec<u8>,
    /// Index of the intent's record in the log.
    pub record_index: u64,
}

/// Whether a message authentication code is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacVerdict {
    /// The version that it was checked with.
    pub version: KeyVersionName,
    /// Whether the MAC is that version's over the message.
    pub valid: bool,
    /// The version's state.
    pub state: KeyState,
    /// Index of the intent's record in the log.
    pub record_index: u64,
}

impl Client {
    /// Makes a message authentication code of a message of at most 64 KiB with a MAC key. Repeated by itself where that
    /// can help: the same message has the same MAC.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn mac_sign<N>(&self, name: N, message: impl Into<Vec<u8>>) -> Result<Mac, ClientError>
    where
        N: TryInto<KeyRef, Error: Into<ClientError>>,
    {
        let message = Bytes::from(message.into());
        let message_crc32c = Some(crc32c::crc32c(&message));
        let request = v1::MacSignRequest { name: name::text(name)?, message, message_crc32c };
        let answer = self
            .call(Repeat::Safe, request, |connection, request| async move {
                SigningServiceClient::new(connection).mac_sign(request).await
            })
            .await?;
        Mac::checked(answer)
    }

    /// Checks a message authentication code, in the token. One that does not fit is an answer (`valid` is false), not an
    /// error.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn mac_verify<N>(
        &self,
        name: N,
        message: impl Into<Vec<u8>>,
        mac: impl Into<Vec<u8>>,
    ) -> Result<MacVerdict, ClientError>
    where
        N: TryInto<KeyRef, Error: Into<ClientError>>,
    {
        let (message, mac) = (Bytes::from(message.into()), Bytes::from(mac.into()));
        let request = v1::MacVerifyRequest {
            name: name::text(name)?,
            message_crc32c: Some(crc32c::crc32c(&message)),
            message,
            mac_crc32c: Some(crc32c::crc32c(&mac)),
            mac,
        };
        let answer = self
            .call(Repeat::Safe, request, |connection, request| async move {
                SigningServiceClient::new(connection).mac_verify(request).await
            })
            .await?;
        MacVerdict::checked(answer)
    }
}

impl Mac {
    fn checked(answer: v1::MacSignResponse) -> Result<Self, ClientError> {
        let v1::MacSignResponse { name, algorithm, mac, mac_crc32c, verified_message_crc32c, record_index } = answer;
        damaged_unless(verified_message_crc32c, "the message, whose checksum the service did not get")?;
        damaged_unless(crc32c::crc32c(&mac) == mac_crc32c, "the MAC")?;
        let algorithm = known_algorithm(algorithm)?;
        if algorithm.mac_bytes() != Some(mac.len()) {
            return Err(ClientError::Answer { what: format!("a MAC of {} bytes by {algorithm}", mac.len()) });
        }
        Ok(Self { version: version(&name)?, algorithm, mac, record_index })
    }
}

impl MacVerdict {
    fn checked(answer: v1::MacVerifyResponse) -> Result<Self, ClientError> {
        let v1::MacVerifyResponse { name, valid, state, verified_message_crc32c, verified_mac_crc32c, record_index } =
            answer;
        damaged_unless(
            verified_message_crc32c && verified_mac_crc32c,
            "the message or the MAC, whose checksum the service did not get",
        )?;
        Ok(Self { version: version(&name)?, valid, state: known_state(state)?, record_index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_whole_and_undamaged_or_an_error() {
        let answer = v1::MacSignResponse {
            name: "keyRings/dev/keys/m/versions/1".to_owned(),
            algorithm: v1::Algorithm::AesCmac.into(),
            mac: vec![7; 16],
            mac_crc32c: crc32c::crc32c(&[7; 16]),
            verified_message_crc32c: true,
            record_index: 3,
        };
        assert_eq!(Mac::checked(answer.clone()).unwrap().mac, [7; 16]);
        let other = v1::MacSignResponse { mac_crc32c: 0, ..answer.clone() };
        assert!(matches!(Mac::checked(other), Err(ClientError::Damaged { what: "the MAC" })));
        let truncated = v1::MacSignResponse { mac: vec![7; 8], mac_crc32c: crc32c::crc32c(&[7; 8]), ..answer.clone() };
        assert!(matches!(Mac::checked(truncated), Err(ClientError::Answer { .. })));
        let unchecked = v1::MacSignResponse { verified_message_crc32c: false, ..answer };
        assert!(matches!(Mac::checked(unchecked), Err(ClientError::Damaged { .. })));
    }
}
