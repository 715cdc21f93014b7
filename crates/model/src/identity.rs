//! The identities by which callers are known.

use std::fmt;
use std::str::FromStr;

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
    fn dns_names() {
        assert_eq!(Identity::dns_name("Shop.Example"), Ok(Identity::DnsName("shop.example".into())));
        for text in ["", "*.example", "a..b", "-a.example", "a_b.example", "exämple"] {
            assert!(Identity::dns_name(text).is_err(), "{text:?}");
        }
    }
}
