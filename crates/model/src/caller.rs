//! Who asks: registered principals, the identities by which they are known, their roles.

use crate::{ApiKeyId, Id, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A registered principal: a service or a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The caller's id; its resource name is `callers/{id}`.
    pub id: Id,
    /// What the record's leaves say instead of the id.
    pub uid: Uid,
    /// The one environment whose key rings the caller may use.
    pub environment: Id,
    /// How the caller is recognised.
    pub identities: BTreeSet<Identity>,
    /// Groups that policies can speak of.
    pub groups: BTreeSet<Id>,
    /// Roles that the shipped policies speak of.
    pub roles: BTreeSet<Role>,
    /// The key rings to which the roles extend.
    pub rings: BTreeSet<Id>,
    /// Names and values that policies can speak of.
    pub attributes: BTreeMap<String, String>,
    /// What each of the caller's requests must prove; empty: any one credential is enough.
    pub required_factors: BTreeSet<Factor>,
    /// Whether the caller may ask for anything at all.
    pub state: CallerState,
}

/// Whether a caller may ask for anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallerState {
    /// What policy allows.
    Active,
    /// Nothing, until it is resumed.
    Suspended,
}

impl CallerState {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Active, Self::Suspended];

    /// The name used in the API, the store and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
        }
    }
}

impl fmt::Display for CallerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no state of a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown state {0:?} of a caller; the states are ACTIVE and SUSPENDED")]
pub struct UnknownCallerState(pub String);

impl FromStr for CallerState {
    type Err = UnknownCallerState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| UnknownCallerState(word.to_owned()))
    }
}

/// A way in which a request proves who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Factor {
    /// A client certificate in the TLS handshake.
    Certificate,
    /// An API key with the request.
    ApiKey,
}

impl Factor {
    /// Every factor.
    pub const ALL: [Self; 2] = [Self::Certificate, Self::ApiKey];

    /// The name used in policies, the store and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::ApiKey => "api-key",
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no factor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown factor {0:?}; the factors are certificate and api-key")]
pub struct UnknownFactor(pub String);

impl FromStr for Factor {
    type Err = UnknownFactor;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|factor| factor.as_str() == word).ok_or_else(|| UnknownFactor(word.to_owned()))
    }
}

/// A name that an authenticated credential carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A SPIFFE id, from a URI SAN: `spiffe://trust-domain/path`.
    SpiffeId(String),
    /// A DNS name, from a DNS SAN; lower case.
    DnsName(String),
}

/// A text that is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// Not a SPIFFE id.
    #[error("a SPIFFE id has the form spiffe://trust-domain/path, in the characters that SPIFFE-ID section 2 allows")]
    SpiffeId,
    /// Not a DNS name.
    #[error("a DNS name has 1 to 253 lower-case letters, digits, hyphens and dots, and no wildcard")]
    DnsName,
    /// Neither of the two.
    #[error("an identity is a SPIFFE id, spiffe://trust-domain/path, or a DNS name, dns:name")]
    Form,
}

impl Identity {
    /// Parses a SPIFFE id (SPIFFE-ID, section 2): lower-case trust domain, path without empty, `.` or `..` segments.
    ///
    /// # Errors
    /// [`InvalidIdentity::SpiffeId`].
    pub fn spiffe_id(text: &str) -> Result<Self, InvalidIdentity> {
        let rest = text.strip_prefix("spiffe://").ok_or(InvalidIdentity::SpiffeId)?;
        let (domain, path) = rest.split_once('/').ok_or(InvalidIdentity::SpiffeId)?;
        let domain_ok = (1..=255).contains(&domain.len())
            && domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
        let path_ok = path.split('/').all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        });
        if domain_ok && path_ok && text.len() <= 2048 {
            Ok(Self::SpiffeId(text.to_owned()))
        } else {
            Err(InvalidIdentity::SpiffeId)
        }
    }

    /// Parses a DNS name; upper-case letters become lower case.
    ///
    /// # Errors
    /// [`InvalidIdentity::DnsName`].
    pub fn dns_name(text: &str) -> Result<Self, InvalidIdentity> {
        let name = text.to_ascii_lowercase();
        let labels_ok = name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        });
        if labels_ok && name.len() <= 253 { Ok(Self::DnsName(name)) } else { Err(InvalidIdentity::DnsName) }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpiffeId(id) => f.write_str(id),
            Self::DnsName(name) => write!(f, "dns:{name}"),
        }
    }
}

/// The form in which [`Identity`] is displayed: `spiffe://trust-domain/path` or `dns:name`.
impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("dns:") {
            Some(name) => Self::dns_name(name),
            None if text.starts_with("spiffe://") => Self::spiffe_id(text),
            None => Err(InvalidIdentity::Form),
        }
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

impl Authentication {
    /// The certificate, where there is one.
    #[must_use]
    pub const fn certificate(&self) -> Option<&CertificateProof> {
        match self {
            Self::Certificate(certificate) | Self::CertificateAndApiKey(certificate, _) => Some(certificate),
            Self::ApiKey(_) => None,
        }
    }

    /// The API key, where there is one.
    #[must_use]
    pub const fn api_key(&self) -> Option<&ApiKeyProof> {
        match self {
            Self::ApiKey(key) | Self::CertificateAndApiKey(_, key) => Some(key),
            Self::Certificate(_) => None,
        }
    }

    /// Whether it has this factor.
    #[must_use]
    pub const fn has(&self, factor: Factor) -> bool {
        match factor {
            Factor::Certificate => self.certificate().is_some(),
            Factor::ApiKey => self.api_key().is_some(),
        }
    }

    /// The name used in policies: `certificate`, `api-key` or `certificate-and-api-key`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::ApiKey(_) => "api-key",
            Self::CertificateAndApiKey(..) => "certificate-and-api-key",
        }
    }
}

/// What a caller may be, in the shipped policies. No administering role can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Signs with, verifies with and reads keys.
    Signer,
    /// Verifies with and reads keys.
    Verifier,
    /// Creates, rotates, suspends and resumes keys.
    KeyAdministrator,
    /// Reads, validates and applies policy sets.
    PolicyAdministrator,
    /// Decides on requests that need approval.
    Approver,
    /// Reads the record.
    Auditor,
    /// Registers, changes, suspends and resumes callers other than itself.
    CallerAdministrator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 7] = [
        Self::Signer,
        Self::Verifier,
        Self::KeyAdministrator,
        Self::PolicyAdministrator,
        Self::Approver,
        Self::Auditor,
        Self::CallerAdministrator,
    ];

    /// The name used in configuration and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signer => "signer",
            Self::Verifier => "verifier",
            Self::KeyAdministrator => "key-administrator",
            Self::PolicyAdministrator => "policy-administrator",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::CallerAdministrator => "caller-administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown role {0:?}; the roles are signer, verifier, key-administrator, policy-administrator, approver, auditor, \
     caller-administrator"
)]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or_else(|| UnknownRole(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids() {
        assert!(Identity::spiffe_id("spiffe://chancery.dev/ns/shop/sa/checkout").is_ok());
        for text in [
            "",
            "spiffe://",
            "spiffe://td",
            "spiffe://td/",
            "spiffe://TD/a",
            "https://td/a",
            "spiffe://td/a//b",
            "spiffe://td/../b",
            "spiffe://td/a?b",
            "spiffe://td:80/a",
            "spiffe://td/ä",
            "spiffe:///a",
        ] {
            assert!(Identity::spiffe_id(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_identity_is_read_as_it_is_shown() {
        for text in ["spiffe://td/a", "dns:a.example"] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        for text in ["", "a.example", "dns:", "https://td/a"] {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn dns_names() {
        assert_eq!(Identity::dns_name("Shop.Example"), Ok(Identity::DnsName("shop.example".into())));
        for text in ["", "*.example", "a..b", "-a.example", "a_b.example", "exämple"] {
            assert!(Identity::dns_name(text).is_err(), "{text:?}");
        }
    }
}
