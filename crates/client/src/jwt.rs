//! SignJwt.

use std::fmt;
use std::time::Duration;

use chancery_api::v1;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_model::{KeyVersionName, Timestamp};

use crate::answer::{damaged_unless, time, version};
use crate::receipt::receipt;
use crate::retry::Repeat;
use crate::{Client, ClientError, KeyRef, ReceiptAnswer, name};

/// What a JSON Web Token is to say.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct JwtRequest {
    /// The claims: the text of one JSON object of at most 16 KiB. `iat` and `exp` are the service's to set.
    pub claims: String,
    /// How long it is valid; as long as the key allows where absent. Whole seconds: what is over is cut off.
    pub lifetime: Option<Duration>,
    /// The header's `typ`, for example `at+jwt`; `JWT` where absent.
    pub token_type: Option<String>,
    /// Whether to wait for a receipt: see [`Jwt::receipt`].
    pub receipt: bool,
}

impl JwtRequest {
    /// These claims, for as long as the key allows.
    pub fn new(claims: impl Into<String>) -> Self {
        Self { claims: claims.into(), ..Self::default() }
    }

    /// Sets [`JwtRequest::lifetime`].
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime: Some(lifetime), ..self }
    }

    /// Sets [`JwtRequest::token_type`].
    #[must_use]
    pub fn token_type(self, token_type: impl Into<String>) -> Self {
        Self { token_type: Some(token_type.into()), ..self }
    }
}

impl fmt::Debug for JwtRequest {
    /// The length of the claims; what they say is the caller's own business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtRequest")
            .field("claims", &format_args!("{} bytes", self.claims.len()))
            .field("lifetime", &self.lifetime)
            .field("token_type", &self.token_type)
            .field("receipt", &self.receipt)
            .finish()
    }
}

/// A JSON Web Token, and what made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Jwt {
    /// The version that signed.
    pub version: KeyVersionName,
    /// The token: header, claims and signature in base64url, joined by dots. Whoever has it can use it.
    pub token: String,
    /// The header's `kid`.
    pub key_id: String,
    /// `iat`.
    pub issued: Timestamp,
    /// `exp`.
    pub expires: Timestamp,
    /// Index of the intent's record in the log.
    pub record_index: u64,
    /// The receipt, where one was asked for ([`JwtRequest::receipt`]). What was signed is the token up to its last dot.
    pub receipt: Option<ReceiptAnswer>,
}

impl fmt::Debug for Jwt {
    /// Without the token, which is a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("version", &self.version)
            .field("key_id", &self.key_id)
            .field("issued", &self.issued)
            .field("expires", &self.expires)
            .field("record_index", &self.record_index)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a JSON Web Token. Repeated by itself where that can help: a token that got lost on the way is nobody's.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn sign_jwt<N>(&self, name: N, jwt: JwtRequest) -> Result<Jwt, ClientError>
    where
        N: TryInto<KeyRef, Error: Into<ClientError>>,
    {
        let JwtRequest { claims, lifetime, token_type, receipt } = jwt;
        let request = v1::SignJwtRequest {
            name: name::text(name)?,
            claims,
            lifetime: lifetime.map(|lifetime| prost_types::Duration {
                seconds: i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
                nanos: 0,
            }),
            r#type: token_type.unwrap_or_default(),
            caller_signature: None,
            receipt,
        };
        let answer = self
            .call(Repeat::Safe, request, |connection, request| {
                let vouched = self.vouched(connection, request);
                async move {
                    let (connection, request) = vouched?;
                    SigningServiceClient::new(connection).sign_jwt(request).await
                }
            })
            .await?;
        Jwt::checked(receipt, answer)
    }
}

impl Jwt {
    fn checked(with_receipt: bool, answer: v1::SignJwtResponse) -> Result<Self, ClientError> {
        let v1::SignJwtResponse {
            name,
            token,
            token_crc32c,
            key_id,
            issue_time,
            expire_time,
            record_index,
            receipt: text,
            receipt_status,
        } = answer;
        damaged_unless(crc32c::crc32c(token.as_bytes()) == token_crc32c, "the token")?;
        Ok(Self {
            version: version(&name)?,
            token,
            key_id,
            issued: time("`iat`", issue_time)?,
            expires: time("`exp`", expire_time)?,
            record_index,
            receipt: receipt(with_receipt, text, receipt_status)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_undamaged_and_stays_out_of_debug() {
        let answer = v1::SignJwtResponse {
            name: "keyRings/dev/keys/k/versions/1".to_owned(),
            token: "aaaa.bbbb.cccc".to_owned(),
            token_crc32c: crc32c::crc32c(b"aaaa.bbbb.cccc"),
            key_id: "kid".to_owned(),
            issue_time: Some(prost_types::Timestamp { seconds: 5, nanos: 0 }),
            expire_time: Some(prost_types::Timestamp { seconds: 65, nanos: 0 }),
            record_index: 9,
            ..v1::SignJwtResponse::default()
        };
        let jwt = Jwt::checked(false, answer.clone()).unwrap();
        assert_eq!(jwt.expires.unix_micros(), 65_000_000);
        assert!(!format!("{jwt:?} {:?}", JwtRequest::new("{\"sub\":\"bbbb\"}")).contains("bbbb"));
        let damaged = v1::SignJwtResponse { token: "aaaa.bbbb.cccd".to_owned(), ..answer };
        assert!(matches!(Jwt::checked(false, damaged), Err(ClientError::Damaged { what: "the token" })));
    }
}
