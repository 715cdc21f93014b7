//! GenerateRandomBytes.

use chancery_api::v1;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_model::RingName;
use zeroize::Zeroizing;

use crate::answer::damaged_unless;
use crate::retry::Repeat;
use crate::{Client, ClientError};

/// How many bytes a call answers.
const MAX_LENGTH: usize = 1024;

impl Client {
    /// Any number of bytes from the random generator of the ring's token, in calls of 1,024 bytes; wiped from memory when
    /// they are dropped.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn random_bytes(&self, ring: &RingName, length: usize) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let deadline = self.deadline();
        // Never grown: that would leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        while bytes.len() < length {
            let wanted = (length - bytes.len()).min(MAX_LENGTH);
            let request = v1::GenerateRandomBytesRequest {
                name: ring.to_string(),
                length: i32::try_from(wanted).unwrap_or(i32::MAX),
            };
            let v1::GenerateRandomBytesResponse { data, data_crc32c } = self
                .call_until(deadline, Repeat::Safe, request, |connection, request| async move {
                    SigningServiceClient::new(connection).generate_random_bytes(request).await
                })
                .await?;
            let data = Zeroizing::new(data);
            damaged_unless(crc32c::crc32c(&data) == data_crc32c, "the random bytes")?;
            if data.len() != wanted {
                return Err(ClientError::Answer { what: format!("{} random bytes, not {wanted}", data.len()) });
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}
