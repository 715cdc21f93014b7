//! Certificates of keys.

use std::net::IpAddr;

use chancery_api::v1;
use chancery_api::v1::key_service_client::KeyServiceClient;
use chancery_model::KeyVersionName;

use super::KeyVersion;
use crate::answer::version;
use crate::retry::Repeat;
use crate::{Client, ClientError, KeyRef, name};

/// A name beside the subject of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    /// A DNS name in ASCII.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, for example a SPIFFE ID.
    Uri(String),
    /// An e-mail address.
    Email(String),
}

/// A request for a certificate (PKCS #10), signed by the key that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The version that signed.
    pub version: KeyVersionName,
    /// In DER.
    pub der: Vec<u8>,
    /// In PEM.
    pub pem: String,
    /// Index of the intent in the record.
    pub record_index: u64,
}

impl Client {
    /// Makes a request for a certificate of a key's primary version or of one version. `subject` is written as in RFC 4514,
    /// for example `CN=checkout,O=Example`.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn create_certificate_signing_request<N>(
        &self,
        key: N,
        subject: &str,
        alternative_names: &[AlternativeName],
    ) -> Result<CertificateRequest, ClientError>
    where
        N: TryInto<KeyRef, Error: Into<ClientError>>,
    {
        use v1::subject_alternative_name::Name;
        let name_of = |given: &AlternativeName| match given.clone() {
            AlternativeName::Dns(name) => Name::Dns(name),
            AlternativeName::Ip(address) => Name::Ip(address.to_string()),
            AlternativeName::Uri(uri) => Name::Uri(uri),
            AlternativeName::Email(address) => Name::Email(address),
        };
        let names = alternative_names.iter().map(|given| v1::SubjectAlternativeName { name: Some(name_of(given)) });
        let request = v1::CreateCertificateSigningRequestRequest {
            name: name::text(key)?,
            subject: subject.to_owned(),
            subject_alternative_names: names.collect(),
            caller_signature: None,
        };
        let v1::CreateCertificateSigningRequestResponse { name, der, pem, record_index } = self
            .call(Repeat::Safe, request, |connection, request| {
                let vouched = self.vouched(connection, request);
                async move {
                    let (connection, request) = vouched?;
                    KeyServiceClient::new(connection).create_certificate_signing_request(request).await
                }
            })
            .await?;
        Ok(CertificateRequest { version: version(&name)?, der, pem, record_index })
    }

    /// Keeps the certificates of a version with it: DER, the version's own first, then each one's issuer. None takes them
    /// away. Sent once.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn set_certificate_chain(
        &self,
        name: &KeyVersionName,
        chain: Vec<Vec<u8>>,
    ) -> Result<KeyVersion, ClientError> {
        let request = v1::SetCertificateChainRequest { name: name.to_string(), certificate_chain: chain };
        self.call(Repeat::Never, request, |connection, request| async move {
            KeyServiceClient::new(connection).set_certificate_chain(request).await
        })
        .await?
        .try_into()
    }
}
