//! How a request proves who sent it.

use crate::{ApiKeyId, Identity, Timestamp, Uid};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A way in which a request proves who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Factor {
    /// A client certificate in the TLS handshake.
    Certificate,
    /// An API key with the request.
    ApiKey,
    /// A token of an OpenID Connect issuer with the request.
    OidcToken,
}

impl Factor {
    /// Every factor.
    pub const ALL: [Self; 3] = [Self::Certificate, Self::ApiKey, Self::OidcToken];

    /// The name used in policies, the store and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::ApiKey => "api-key",
            Self::OidcToken => "oidc-token",
        }
    }

    /// Whether one request can bring all of these: API key and OIDC token come in the same header.
    #[must_use]
    pub fn go_together(factors: &BTreeSet<Self>) -> bool {
        !(factors.contains(&Self::ApiKey) && factors.contains(&Self::OidcToken))
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no factor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown factor {0:?}; the factors are certificate, api-key and oidc-token")]
pub struct UnknownFactor(pub String);

impl FromStr for Factor {
    type Err = UnknownFactor;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|factor| factor.as_str() == word).ok_or_else(|| UnknownFactor(word.to_owned()))
    }
}

/// How one request proved who sent it: by one factor, or by two that name the same caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// By a client certificate.
    Certificate(CertificateProof),
    /// By an API key.
    ApiKey(ApiKeyProof),
    /// By both.
    CertificateAndApiKey(CertificateProof, ApiKeyProof),
    /// By a token of an OpenID Connect issuer.
    OidcToken(OidcProof),
    /// By a certificate and such a token.
    CertificateAndOidcToken(CertificateProof, OidcProof),
}

/// A client certificate in the TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateProof {
    /// The identity that was taken from it.
    pub identity: Identity,
    /// SHA-256 of the certificate's DER.
    pub fingerprint: crate::Sha256Hash,
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
}

/// An API key whose secret was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiKeyProof {
    /// Its public part.
    pub id: ApiKeyId,
    /// What the record's leaves say instead of the id.
    pub uid: Uid,
}

/// A token of an OpenID Connect issuer that was verified. Nothing of the token itself is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcProof {
    /// Whom it names, and who says so.
    pub identity: Identity,
    /// From when on it proves nothing any more.
    pub expires: Timestamp,
    /// SHA-256 of the token's id (`jti`), where it has one.
    pub token_id: Option<crate::Sha256Hash>,
    /// SHA-256 of the id of the key that signed it (`kid`), where it names one.
    pub key_id: Option<crate::Sha256Hash>,
}

impl Authentication {
    /// The names used in policies: those of [`Authentication::as_str`].
    pub const NAMES: [&'static str; 5] =
        ["certificate", "api-key", "certificate-and-api-key", "oidc-token", "certificate-and-oidc-token"];

    /// The certificate, where there is one.
    #[must_use]
    pub const fn certificate(&self) -> Option<&CertificateProof> {
        match self {
            Self::Certificate(certificate)
            | Self::CertificateAndApiKey(certificate, _)
            | Self::CertificateAndOidcToken(certificate, _) => Some(certificate),
            Self::ApiKey(_) | Self::OidcToken(_) => None,
        }
    }

    /// The API key, where there is one.
    #[must_use]
    pub const fn api_key(&self) -> Option<&ApiKeyProof> {
        match self {
            Self::ApiKey(key) | Self::CertificateAndApiKey(_, key) => Some(key),
            Self::Certificate(_) | Self::OidcToken(_) | Self::CertificateAndOidcToken(..) => None,
        }
    }

    /// The OIDC token, where there is one.
    #[must_use]
    pub const fn oidc_token(&self) -> Option<&OidcProof> {
        match self {
            Self::OidcToken(token) | Self::CertificateAndOidcToken(_, token) => Some(token),
            Self::Certificate(_) | Self::ApiKey(_) | Self::CertificateAndApiKey(..) => None,
        }
    }

    /// Whether it has this factor.
    #[must_use]
    pub const fn has(&self, factor: Factor) -> bool {
        match factor {
            Factor::Certificate => self.certificate().is_some(),
            Factor::ApiKey => self.api_key().is_some(),
            Factor::OidcToken => self.oidc_token().is_some(),
        }
    }

    /// The name used in policies; one of [`Authentication::NAMES`].
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::ApiKey(_) => "api-key",
            Self::CertificateAndApiKey(..) => "certificate-and-api-key",
            Self::OidcToken(_) => "oidc-token",
            Self::CertificateAndOidcToken(..) => "certificate-and-oidc-token",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_authenticate_has_a_name_and_its_factors() {
        let certificate = CertificateProof {
            identity: Identity::dns_name("a.example").unwrap(),
            fingerprint: [0; 32],
            serial: "1".to_owned(),
        };
        let key = ApiKeyProof { id: "0aZ9bY8cX7dW".parse().unwrap(), uid: Uid::from_bytes([1; 16]) };
        let token = OidcProof {
            identity: Identity::oidc("https://i", "s").unwrap(),
            expires: Timestamp::from_unix_micros(1),
            token_id: None,
            key_id: None,
        };
        let all = [
            Authentication::Certificate(certificate.clone()),
            Authentication::ApiKey(key),
            Authentication::CertificateAndApiKey(certificate.clone(), key),
            Authentication::OidcToken(token.clone()),
            Authentication::CertificateAndOidcToken(certificate, token),
        ];
        assert_eq!(all.each_ref().map(Authentication::as_str), Authentication::NAMES);
        for authentication in all {
            let has: BTreeSet<_> = Factor::ALL.into_iter().filter(|factor| authentication.has(*factor)).collect();
            assert_eq!(
                has.iter().map(|factor| factor.as_str()).collect::<Vec<_>>().join("-and-"),
                authentication.as_str()
            );
            assert!(Factor::go_together(&has));
        }
        assert!(!Factor::go_together(&[Factor::ApiKey, Factor::OidcToken].into()));
    }
}
