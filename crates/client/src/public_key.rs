//! GetPublicKey.

use chancery_api::v1;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_model::{Algorithm, KeyState, KeyVersionName};

use crate::answer::{damaged_unless, known_algorithm, known_state, version};
use crate::retry::Repeat;
use crate::{Client, ClientError, KeyRef, name};

/// How a public key is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublicKeyFormat {
    /// PEM (RFC 7468) of the DER SubjectPublicKeyInfo.
    #[default]
    Pem,
    /// DER SubjectPublicKeyInfo.
    Der,
    /// JSON Web Key (RFC 7517), for the algorithms that JOSE knows.
    Jwk,
    /// One line of OpenSSH's `authorized_keys`, for RSA, the NIST curves and Ed25519.
    OpenSsh,
}

impl From<PublicKeyFormat> for v1::PublicKeyFormat {
    fn from(format: PublicKeyFormat) -> Self {
        match format {
            PublicKeyFormat::Pem => Self::Pem,
            PublicKeyFormat::Der => Self::Der,
            PublicKeyFormat::Jwk => Self::Jwk,
            PublicKeyFormat::OpenSsh => Self::Openssh,
        }
    }
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
    /// Fetches the public key of a version, or of a key's primary version.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn public_key<N>(&self, name: N, format: PublicKeyFormat) -> Result<PublicKey, ClientError>
    where
        N: TryInto<KeyRef, Error: Into<ClientError>>,
    {
        let wanted = v1::PublicKeyFormat::from(format);
        let request = v1::GetPublicKeyRequest { name: name::text(name)?, format: wanted.into() };
        let answer = self
            .call(Repeat::Safe, request, |connection, request| async move {
                SigningServiceClient::new(connection).get_public_key(request).await
            })
            .await?;
        PublicKey::checked(answer, wanted)
    }

    /// Fetches the public key, parsed and checked, for verifying signatures on this side: to pin it, see
    /// [`LocalVerification`](crate::LocalVerification), or to verify signatures without the service.
    ///
    /// # Errors
    /// As [`Client::sign`]; [`ClientError::PublicKey`] where what came is no key of its algorithm.
    pub async fn verifying_key<N>(&self, name: N) -> Result<(KeyVersionName, chancery_crypto::PublicKey), ClientError>
    where
        N: TryInto<KeyRef, Error: Into<ClientError>>,
    {
        let PublicKey { version, algorithm, data, sha256, .. } = self.public_key(name, PublicKeyFormat::Der).await?;
        match chancery_crypto::PublicKey::from_spki_der(algorithm, &data) {
            Ok(key) if key.spki_sha256().as_slice() == sha256 => Ok((version, key)),
            Ok(_) => Err(ClientError::Damaged { what: "the public key, whose SHA-256 is another" }),
            Err(source) => Err(ClientError::PublicKey { version, source }),
        }
    }
}

impl PublicKey {
    fn checked(answer: v1::PublicKey, wanted: v1::PublicKeyFormat) -> Result<Self, ClientError> {
        let v1::PublicKey { name, algorithm, state, format, data, data_crc32c, sha256 } = answer;
        damaged_unless(crc32c::crc32c(&data) == data_crc32c, "the public key")?;
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
