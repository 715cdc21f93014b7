//! Who asks: registered principals, the identities by which they are known, their roles.

use crate::{Id, Uid};
use std::collections::BTreeSet;
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

/// How one request proved who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// A client certificate in the TLS handshake.
    Certificate {
        /// The identity that was taken from it.
        identity: Identity,
        /// SHA-256 of the certificate's DER.
        fingerprint: crate::Sha256Hash,
        /// The serial number, lower-case hexadecimal.
        serial: String,
    },
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
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Signer,
        Self::Verifier,
        Self::KeyAdministrator,
        Self::PolicyAdministrator,
        Self::Approver,
        Self::Auditor,
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
    "unknown role {0:?}; the roles are signer, verifier, key-administrator, policy-administrator, approver, auditor"
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
    fn dns_names() {
        assert_eq!(Identity::dns_name("Shop.Example"), Ok(Identity::DnsName("shop.example".into())));
        for text in ["", "*.example", "a..b", "-a.example", "a_b.example", "exämple"] {
            assert!(Identity::dns_name(text).is_err(), "{text:?}");
        }
    }
}
