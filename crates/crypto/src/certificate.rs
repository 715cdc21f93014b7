//! Certificates (X.509, RFC 5280): whether a chain is one, and of this key in a token; and what one says, of which nothing is
//! checked here.

use der::{Decode as _, Encode as _};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

use crate::PublicKey;
use crate::algorithm_identifier::verifier;

/// The most certificates of a chain.
pub const MAX_CHAIN_CERTIFICATES: usize = 10;
/// Length of the longest certificate, in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// Why certificates are no chain of a key. Places count from 0, the key's own certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateChainError {
    /// Too many of them.
    #[error("a chain has at most {MAX_CHAIN_CERTIFICATES} certificates, not {0}")]
    TooMany(usize),
    /// Too long.
    #[error("the certificate at {place} has {bytes} bytes; at most {MAX_CERTIFICATE_BYTES} are kept")]
    TooLong {
        /// Which one.
        place: usize,
        /// How long it is.
        bytes: usize,
    },
    /// Not a certificate.
    #[error("what is at {place} is no X.509 certificate in DER")]
    Malformed {
        /// Which one.
        place: usize,
        /// What is wrong.
        #[source]
        source: der::Error,
    },
    /// Another key's.
    #[error("the first certificate is not of this version's public key")]
    OtherKey,
    /// The chain is broken.
    #[error(
        "the certificate at {place} was not issued by the subject of the next one; give them in order, each followed by its issuer"
    )]
    NotIssuedByNext {
        /// Which one.
        place: usize,
    },
    /// The issuer may issue none.
    #[error("the certificate at {place} may not issue others: it is no CA's")]
    NotACa {
        /// Which one.
        place: usize,
    },
    /// The signature does not hold.
    #[error("the signature of the certificate at {place} is not by the key of the next one")]
    WrongSignature {
        /// Which one.
        place: usize,
    },
    /// This version cannot check such signatures.
    #[error("the signature of the certificate at {place} is of a kind that this version cannot check: {algorithm}")]
    UnknownSignature {
        /// Which one.
        place: usize,
        /// The identifier of the signature's algorithm.
        algorithm: String,
    },
}

/// The public key of a certificate (DER) as DER SubjectPublicKeyInfo; `None` where it is no certificate. Nothing of the
/// certificate is checked: who takes a key from one has it prove itself.
#[must_use]
pub fn certificate_spki(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    certificate.tbs_certificate().subject_public_key_info().to_der().ok()
}

/// The names in a certificate by which callers are known: its alternative names of two kinds, in their order. Never the common
/// name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// The URIs.
    pub uris: Vec<String>,
    /// The DNS names.
    pub dns_names: Vec<String>,
}

/// The names in a certificate (DER); `None` where it is no certificate, or has two lists of them.
#[must_use]
pub fn certificate_names(der: &[u8]) -> Option<CertificateNames> {
    let certificate = Certificate::from_der(der).ok()?;
    // Refuses a certificate with two such extensions.
    let found = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()?;
    let mut names = CertificateNames::default();
    for name in found.map(|(_critical, SubjectAltName(names))| names).unwrap_or_default() {
        match name {
            GeneralName::UniformResourceIdentifier(uri) => names.uris.push(uri.as_str().to_owned()),
            GeneralName::DnsName(name) => names.dns_names.push(name.as_str().to_owned()),
            _ => {}
        }
    }
    Some(names)
}

/// Checks that certificates (DER) are a chain of a key: the first one is of this key, each is issued and signed by the next,
/// and who issues is a CA. Neither validity nor trust is looked at: both are the verifier's to judge, at his time.
///
/// # Errors
/// [`CertificateChainError`].
pub fn check_certificate_chain(public: &PublicKey, chain: &[Vec<u8>]) -> Result<(), CertificateChainError> {
    if chain.len() > MAX_CHAIN_CERTIFICATES {
        return Err(CertificateChainError::TooMany(chain.len()));
    }
    let parse = |(place, der): (usize, &Vec<u8>)| {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateChainError::TooLong { place, bytes: der.len() });
        }
        Certificate::from_der(der).map_err(|source| CertificateChainError::Malformed { place, source })
    };
    let certificates = chain.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
    let own = certificates.first().map(|first| first.tbs_certificate().subject_public_key_info().to_der());
    if own.is_some_and(|own| own.ok().as_deref() != Some(public.spki_der())) {
        return Err(CertificateChainError::OtherKey);
    }
    for (place, (certificate, issuer)) in certificates.iter().zip(certificates.iter().skip(1)).enumerate() {
        check_issued(place, certificate, chain.get(place).map_or(&[], Vec::as_slice), issuer)?;
    }
    Ok(())
}

fn check_issued(
    place: usize,
    certificate: &Certificate,
    der: &[u8],
    issuer: &Certificate,
) -> Result<(), CertificateChainError> {
    if certificate.tbs_certificate().issuer() != issuer.tbs_certificate().subject() {
        return Err(CertificateChainError::NotIssuedByNext { place });
    }
    let constraints = issuer.tbs_certificate().get_extension::<BasicConstraints>();
    if !matches!(constraints, Ok(Some((_, BasicConstraints { ca: true, .. })))) {
        return Err(CertificateChainError::NotACa { place: place + 1 });
    }
    let key = issuer.tbs_certificate().subject_public_key_info();
    let algorithm = certificate.signature_algorithm();
    let Some(verifier) = verifier(algorithm, &key.algorithm) else {
        return Err(CertificateChainError::UnknownSignature { place, algorithm: algorithm.oid.to_string() });
    };
    // The bytes as they came: a certificate need not come out of an encoder as it went into a decoder.
    let wrong = || CertificateChainError::WrongSignature { place };
    let signed = signed_part(der).ok_or_else(wrong)?;
    let (key, signature) = (key.subject_public_key.as_bytes(), certificate.signature().as_bytes());
    let (Some(key), Some(signature)) = (key, signature) else { return Err(wrong()) };
    aws_lc_rs::signature::UnparsedPublicKey::new(verifier, key)
        .verify(signed, signature)
        .map_err(|_unspecified| wrong())
}

/// The bytes of `tbsCertificate`: the first element within the outer sequence.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    use der::{Header, Reader as _, SliceReader};
    let mut reader = SliceReader::new(der).ok()?;
    Header::decode(&mut reader).ok()?;
    reader.tlv_bytes().ok()
}
