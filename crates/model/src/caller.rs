//! Who asks: registered principals, the identities by which they are known, their roles.

use crate::{ApiKeyId, Id, Timestamp, Uid};
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

/// A name that an authenticated credential carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A SPIFFE id, from a URI SAN: `spiffe://trust-domain/path`.
    SpiffeId(String),
    /// A DNS name, from a DNS SAN; lower case.
    DnsName(String),
    /// Whom an OpenID Connect issuer names in its tokens.
    Oidc {
        /// The issuer, to the letter (`iss`).
        issuer: String,
        /// Whom it names, to the letter (`sub`).
        subject: String,
    },
}

/// Length of the longest issuer, in bytes.
const MAX_ISSUER_BYTES: usize = 512;
/// Length of the longest subject, in bytes. (OpenID Connect allows 255; a Kubernetes service account may have more.)
const MAX_SUBJECT_BYTES: usize = 1024;

/// A text that is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// Not a SPIFFE id.
    #[error("a SPIFFE id has the form spiffe://trust-domain/path, in the characters that SPIFFE-ID section 2 allows")]
    SpiffeId,
    /// Not a DNS name.
    #[error("a DNS name has 1 to 253 lower-case letters, digits, hyphens and dots, and no wildcard")]
    DnsName,
    /// Not an issuer of OpenID Connect.
    #[error("an issuer has the form https://host/path, in printable ASCII, without query and fragment")]
    OidcIssuer,
    /// Not a subject of one.
    #[error(
        "a subject of an OIDC issuer has 1 to {MAX_SUBJECT_BYTES} characters of printable ASCII, without blanks around it"
    )]
    OidcSubject,
    /// None of the three.
    #[error(
        "an identity is a SPIFFE id, spiffe://trust-domain/path, a DNS name, dns:name, or the subject of an OIDC issuer, \
         oidc:https://issuer#subject"
    )]
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

    /// Whom an issuer of OpenID Connect names. The issuer is an HTTPS URL without query and fragment (OpenID Connect Core,
    /// section 2), so that the first `#` in the displayed form ends it. Both are printable ASCII, so that what looks alike is
    /// alike.
    ///
    /// # Errors
    /// [`InvalidIdentity::OidcIssuer`], [`InvalidIdentity::OidcSubject`].
    pub fn oidc(issuer: &str, subject: &str) -> Result<Self, InvalidIdentity> {
        let rest = issuer.strip_prefix("https://").ok_or(InvalidIdentity::OidcIssuer)?;
        let issuer_ok = !rest.is_empty()
            && !rest.starts_with('/')
            && rest.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
        if !issuer_ok || issuer.len() > MAX_ISSUER_BYTES {
            return Err(InvalidIdentity::OidcIssuer);
        }
        let subject_ok = (1..=MAX_SUBJECT_BYTES).contains(&subject.len())
            && subject.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
            && !subject.starts_with(' ')
            && !subject.ends_with(' ');
        if !subject_ok {
            return Err(InvalidIdentity::OidcSubject);
        }
        Ok(Self::Oidc { issuer: issuer.to_owned(), subject: subject.to_owned() })
    }

    /// Whether a client certificate can carry it.
    #[must_use]
    pub const fn is_of_certificate(&self) -> bool {
        match self {
            Self::SpiffeId(_) | Self::DnsName(_) => true,
            Self::Oidc { .. } => false,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpiffeId(id) => f.write_str(id),
            Self::DnsName(name) => write!(f, "dns:{name}"),
            Self::Oidc { issuer, subject } => write!(f, "oidc:{issuer}#{subject}"),
        }
    }
}

/// The form in which [`Identity`] is displayed: `spiffe://trust-domain/path`, `dns:name` or `oidc:https://issuer#subject`.
impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix("dns:") {
            Self::dns_name(name)
        } else if let Some(named) = text.strip_prefix("oidc:") {
            let (issuer, subject) = named.split_once('#').ok_or(InvalidIdentity::Form)?;
            Self::oidc(issuer, subject)
        } else if text.starts_with("spiffe://") {
            Self::spiffe_id(text)
        } else {
            Err(InvalidIdentity::Form)
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
        let account = "oidc:https://kubernetes.default.svc#system:serviceaccount:shop:checkout";
        for text in ["spiffe://td/a", "dns:a.example", account, "oidc:https://i.example/a#b#c d"] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        let account = Identity::oidc("https://kubernetes.default.svc", "system:serviceaccount:shop:checkout").unwrap();
        assert!(!account.is_of_certificate() && "dns:a.example".parse::<Identity>().unwrap().is_of_certificate());
        for text in ["", "a.example", "dns:", "https://td/a", "oidc:", "oidc:https://i.example", "OIDC:https://i#s"] {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn oidc_subjects() {
        let (issuer, subject) = (InvalidIdentity::OidcIssuer, InvalidIdentity::OidcSubject);
        let long = "s".repeat(MAX_SUBJECT_BYTES);
        assert!(Identity::oidc("https://i.example", &long).is_ok());
        // The first # ends the issuer, so no two pairs are displayed alike.
        assert!(
            Identity::oidc("https://i.example", "a#b").is_ok() && Identity::oidc("https://i.example#a", "b").is_err()
        );
        for text in
            ["", "i.example", "http://i.example", "https://", "https:///a", "https://i?a=b", "https://ï", "https://i a"]
        {
            assert_eq!(Identity::oidc(text, "s"), Err(issuer.clone()), "{text:?}");
        }
        assert_eq!(Identity::oidc(&format!("https://{long}"), "s"), Err(issuer));
        for text in ["", " s", "s ", "a\nb", "a\u{202e}b", "ä", &format!("{long}s")] {
            assert_eq!(Identity::oidc("https://i", text), Err(subject.clone()), "{text:?}");
        }
    }

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

    #[test]
    fn dns_names() {
        assert_eq!(Identity::dns_name("Shop.Example"), Ok(Identity::DnsName("shop.example".into())));
        for text in ["", "*.example", "a..b", "-a.example", "a_b.example", "exämple"] {
            assert!(Identity::dns_name(text).is_err(), "{text:?}");
        }
    }
}
