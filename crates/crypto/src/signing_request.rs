//! Requests for certificates: PKCS #10 (RFC 2986), but for their signatures, which tokens make.

use std::net::IpAddr;
use std::str::FromStr as _;

use chancery_model::Algorithm;
use der::asn1::{BitString, Ia5String, OctetString};
use der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};

use crate::PublicKey;
use crate::algorithm_identifier::signature_algorithm;

/// A name beside the subject (RFC 5280, section 4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    /// A DNS name; `*` as its whole first label stands for any.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, for example a SPIFFE ID.
    Uri(String),
    /// An e-mail address.
    Email(String),
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub enum SigningRequestError {
    /// The subject is no distinguished name.
    #[error("the subject is no distinguished name as RFC 4514 writes it, for example CN=checkout,O=Example")]
    Subject(#[source] der::Error),
    /// Neither subject nor alternative name.
    #[error("there is neither a subject nor an alternative name: nobody would be certified")]
    Nobody,
    /// An alternative name is not of its kind.
    #[error("{0} is not a well-formed name of its kind")]
    AlternativeName(String),
    /// X.509 has no name for the algorithm.
    #[error("X.509 knows no signatures of {0}")]
    NotInX509(Algorithm),
    /// It cannot be written as DER.
    #[error("the request cannot be written")]
    Der(#[source] der::Error),
}

impl std::fmt::Display for AlternativeName {
    /// With its kind: `dns:shop.example`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::Email(address) => write!(f, "email:{address}"),
        }
    }
}

impl AlternativeName {
    fn to_general_name(&self) -> Result<GeneralName, SigningRequestError> {
        let refused = || SigningRequestError::AlternativeName(self.to_string());
        let ia5 = |text: &str| Ia5String::new(text).map_err(|_not_ascii| refused());
        let visible = |text: &str| !text.is_empty() && text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic());
        match self {
            Self::Dns(name) if is_dns_name(name) => Ok(GeneralName::DnsName(ia5(name)?)),
            Self::Ip(address) => {
                let octets = match address {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                Ok(GeneralName::IpAddress(OctetString::new(octets).map_err(SigningRequestError::Der)?))
            }
            Self::Uri(uri) if visible(uri) && has_scheme(uri) => Ok(GeneralName::UniformResourceIdentifier(ia5(uri)?)),
            Self::Email(address)
                if visible(address) && address.split('@').filter(|part| !part.is_empty()).count() == 2 =>
            {
                Ok(GeneralName::Rfc822Name(ia5(address)?))
            }
            Self::Dns(_) | Self::Uri(_) | Self::Email(_) => Err(refused()),
        }
    }
}

fn is_dns_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && rest.split('.').all(label)
}

/// RFC 3986, section 3.1.
fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// Whether X.509 has a name for the algorithm's signatures, so that there can be certificates of its keys.
#[must_use]
pub fn is_in_x509(algorithm: Algorithm) -> bool {
    signature_algorithm(algorithm).is_some()
}

/// What is signed of a request: DER `CertificationRequestInfo` (RFC 2986, section 4.1).
///
/// # Errors
/// [`SigningRequestError`]: what is asked for is not well-formed, or X.509 does not know the key's algorithm.
pub fn signing_request_info(
    public: &PublicKey,
    subject: &str,
    names: &[AlternativeName],
) -> Result<Vec<u8>, SigningRequestError> {
    signature_algorithm(public.algorithm()).ok_or(SigningRequestError::NotInX509(public.algorithm()))?;
    let subject = Name::from_str(subject).map_err(SigningRequestError::Subject)?;
    if subject.is_empty() && names.is_empty() {
        return Err(SigningRequestError::Nobody);
    }
    let mut info = CertReqInfo {
        version: Version::V1,
        public_key: spki::SubjectPublicKeyInfoOwned::from_der(public.spki_der()).map_err(SigningRequestError::Der)?,
        subject,
        attributes: Default::default(),
    };
    if !names.is_empty() {
        let names = names.iter().map(AlternativeName::to_general_name).collect::<Result<Vec<_>, _>>()?;
        // Critical where the subject is empty (RFC 5280, section 4.2.1.6): `to_extension` sees to it.
        let extension = SubjectAltName(names).to_extension(&info.subject, &[]).map_err(SigningRequestError::Der)?;
        let extensions: Vec<Extension> = vec![extension];
        let attribute = ExtensionReq(extensions).try_into().map_err(SigningRequestError::Der)?;
        info.attributes.insert(attribute).map_err(SigningRequestError::Der)?;
    }
    info.to_der().map_err(SigningRequestError::Der)
}

/// The whole request: DER `CertificationRequest`. An ECDSA signature is given in DER, as X.509 has it.
///
/// # Errors
/// [`SigningRequestError`].
pub fn signing_request(algorithm: Algorithm, info: &[u8], signature: &[u8]) -> Result<Vec<u8>, SigningRequestError> {
    let request = CertReq {
        info: CertReqInfo::from_der(info).map_err(SigningRequestError::Der)?,
        algorithm: signature_algorithm(algorithm).ok_or(SigningRequestError::NotInX509(algorithm))?,
        signature: BitString::from_bytes(signature).map_err(SigningRequestError::Der)?,
    };
    request.to_der().map_err(SigningRequestError::Der)
}

/// The request as PEM (RFC 7468, section 7), lines ending in LF.
///
/// # Errors
/// [`SigningRequestError::Der`].
pub fn signing_request_pem(request: &[u8]) -> Result<String, SigningRequestError> {
    let written = der::pem::encode_string("CERTIFICATE REQUEST", der::pem::LineEnding::LF, request);
    written.map_err(|error| SigningRequestError::Der(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_by_their_kind() {
        let fits = |name: AlternativeName| name.to_general_name().is_ok();
        for name in ["shop.example", "*.shop.example", "a", "xn--bcher-kva.example", "_dmarc.example"] {
            assert!(fits(AlternativeName::Dns(name.to_owned())), "{name}");
        }
        for name in ["", ".", "shop..example", "-a.example", "a b", "*", "b.*.example", "bücher.example", "a\0b"] {
            assert!(!fits(AlternativeName::Dns(name.to_owned())), "{name:?}");
        }
        for uri in ["spiffe://example.org/shop", "urn:x"] {
            assert!(fits(AlternativeName::Uri(uri.to_owned())), "{uri}");
        }
        for uri in ["", "shop", ":x", "1a:x", "spiffe://example.org/a b", "a:"] {
            assert!(!fits(AlternativeName::Uri(uri.to_owned())), "{uri:?}");
        }
        assert!(fits(AlternativeName::Email("a@example.org".to_owned())));
        for address in ["", "a", "@example.org", "a@", "a@b@c", "a b@example.org"] {
            assert!(!fits(AlternativeName::Email(address.to_owned())), "{address:?}");
        }
    }
}
