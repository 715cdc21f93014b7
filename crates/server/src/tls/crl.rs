//! Certificate revocation lists (RFC 5280, section 5): read, and accepted only where one of an authority's own keys signed
//! them.
//!
//! In scope: what can be said of a list once, when it is read. Whether a certificate is on it is for rustls' verifier, by
//! whom each chain is verified with these lists.

use rustls::CertRevocationListError;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::cmp::Reverse;
use std::io;
use std::path::Path;
use std::time::SystemTime;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::{AnyRef, BitStringRef};
use x509_cert::der::oid::{AssociatedOid as _, ObjectIdentifier};
use x509_cert::der::{self, Decode, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::crl::dp::IssuingDistributionPoint;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, KeyUsage};
use x509_cert::name::Name;

/// Of the extension IssuingDistributionPoint (x509-cert gives it another's).
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

/// Why a file cannot be used as an authority's CRL.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// The file cannot be read.
    #[error("it cannot be read; correct the file, its rights or its path")]
    Unreadable(#[source] io::Error),
    /// The file is neither PEM nor DER.
    #[error("it is neither PEM (X509 CRL) nor DER")]
    Pem(#[source] pem::Error),
    /// Not a list as RFC 5280 has it.
    #[error("it is not a CRL of RFC 5280")]
    Malformed(#[source] der::Error),
    /// A PEM file without a list.
    #[error("it holds no CRL")]
    Empty,
    /// A list that says nothing of when the next one comes could be replayed for ever.
    #[error("it has no nextUpdate, which RFC 5280 demands; have it issued with one")]
    NoNextUpdate,
    /// A delta CRL.
    #[error("it is a delta CRL, which is not supported; take the authority's complete one")]
    Delta,
    /// An indirect CRL.
    #[error("it is an indirect CRL, which is not supported; take the authority's own")]
    Indirect,
    /// A list that may leave out what another one of the same key has: what that one revokes would be let in.
    #[error(
        "it is one part of what the authority revoked (it has an issuingDistributionPoint: of one distribution point, or for one kind \
         of certificates), and only the whole is taken; have the authority issue its complete CRL, without that extension"
    )]
    Partial,
    /// A critical extension, of the list or of one of its entries, that nobody here understands.
    #[error("it has a critical extension that is not understood; have it issued without")]
    CriticalExtension,
    /// Something else that the verifier does not take.
    #[error("{0}; take the authority's complete CRL, of version 2")]
    Unusable(#[source] rustls::server::VerifierBuilderError),
    /// No list of an authority's certificate.
    #[error("it holds no CRL that {issuer} has issued; put one there")]
    OfAnother {
        /// The authority's distinguished name.
        issuer: String,
    },
    /// A list in an authority's name that its key did not sign.
    #[error("the CRL in the name of {issuer} is not signed by its key; take it from the authority itself")]
    Signature {
        /// The authority's distinguished name.
        issuer: String,
    },
    /// The authority's certificate does not let its key sign lists.
    #[error("the certificate of {issuer} has a key usage without cRLSign, so it can issue no CRL")]
    KeyUsage {
        /// The authority's distinguished name.
        issuer: String,
    },
    /// An older list than the one in force.
    #[error("it is older than the CRL in force, and what that revoked stays revoked; put a newer one there")]
    Older,
}

/// The lists of one file, any of which may be of another authority below this one.
pub(super) struct Lists(Vec<List>);

struct List {
    der: CertificateRevocationListDer<'static>,
    content: CertificateList,
}

/// The lists for what one authority's certificate issued, directly or through authorities below it; of each key of each issuer
/// the newest.
pub(super) struct Revocation {
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
    /// One for each of them.
    pub(super) dates: Vec<Dates>,
}

/// Whose list is from when, and by when another one is to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dates {
    /// Who issued it.
    pub(crate) issuer: Name,
    /// By which of its keys, as the list says: the extension AuthorityKeyIdentifier, DER.
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) this_update: SystemTime,
    pub(crate) next_update: SystemTime,
}

impl Dates {
    /// Whether the other one is of the same key of the same issuer.
    pub(crate) fn same_series(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.key == other.key
    }
}

impl Lists {
    /// Reads a file: PEM with one list or more, or DER with one.
    pub(super) fn read(path: &Path) -> Result<Self, CrlError> {
        let bytes = std::fs::read(path).map_err(CrlError::Unreadable)?;
        // DER begins with the tag of a SEQUENCE, which no PEM file does.
        let lists = if bytes.first() == Some(&0x30) {
            vec![CertificateRevocationListDer::from(bytes)]
        } else {
            CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(CrlError::Pem)?
        };
        if lists.is_empty() {
            return Err(CrlError::Empty);
        }
        let parse = |der: CertificateRevocationListDer<'static>| {
            let content = CertificateList::from_der(&der).map_err(CrlError::Malformed)?;
            if content.tbs_cert_list.next_update.is_none() {
                return Err(CrlError::NoNextUpdate);
            }
            is_whole(&content)?;
            Ok(List { der, content })
        };
        lists.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Those that `authority` signed, and with them those in other names: a chain may lead through authorities below it,
    /// and the lists of those are verified with the chain.
    pub(super) fn of(&self, authority: &CertificateDer<'_>, provider: &CryptoProvider) -> Result<Revocation, CrlError> {
        let certificate = Certificate::from_der(authority).map_err(CrlError::Malformed)?;
        let tbs = certificate.tbs_certificate();
        let issuer = tbs.subject();
        let (own, others): (Vec<&List>, Vec<&List>) =
            self.0.iter().partition(|list| list.content.tbs_cert_list.issuer == *issuer);
        if own.is_empty() {
            return Err(CrlError::OfAnother { issuer: issuer.to_string() });
        }
        let usage = tbs.get_extension::<KeyUsage>().map_err(CrlError::Malformed)?;
        if usage.is_some_and(|(_critical, usage)| !usage.crl_sign()) {
            return Err(CrlError::KeyUsage { issuer: issuer.to_string() });
        }
        // While an authority changes its key, there are two lists in its name, each signed by one of the keys.
        let mut signed = Vec::new();
        for list in own {
            if is_signed_by(&list.der, &certificate, provider).map_err(CrlError::Malformed)? {
                signed.push(list);
            }
        }
        if signed.is_empty() {
            return Err(CrlError::Signature { issuer: issuer.to_string() });
        }
        let lists = signed.into_iter().chain(others).map(|list| Some((list, list.dates()?)));
        let mut lists = lists.collect::<Option<Vec<_>>>().ok_or(CrlError::NoNextUpdate)?;
        // The verifier takes the first one in an issuer's name; and what has been followed by a newer one is not needed.
        lists.sort_by_key(|(_, dates)| Reverse(dates.this_update));
        let mut newest = Revocation { lists: Vec::new(), dates: Vec::new() };
        for (list, dates) in lists {
            if !newest.dates.iter().any(|newer| newer.same_series(&dates)) {
                newest.lists.push(list.der.clone());
                newest.dates.push(dates);
            }
        }
        Ok(newest)
    }
}

impl List {
    fn dates(&self) -> Option<Dates> {
        let list = &self.content.tbs_cert_list;
        let next_update = list.next_update?.to_system_time();
        let extensions = list.crl_extensions.iter().flatten();
        let mut key = extensions.filter(|extension| extension.extn_id == AuthorityKeyIdentifier::OID);
        let key = key.next().map(|extension| extension.extn_value.as_bytes().to_vec());
        Some(Dates { issuer: list.issuer.clone(), key, this_update: list.this_update.to_system_time(), next_update })
    }
}

/// Refuses a list that says of itself that it does not speak of all that its issuer revoked.
fn is_whole(list: &CertificateList) -> Result<(), CrlError> {
    let mut extensions = list.tbs_cert_list.crl_extensions.iter().flatten();
    let Some(extension) = extensions.find(|extension| extension.extn_id == ISSUING_DISTRIBUTION_POINT) else {
        return Ok(());
    };
    let scope = IssuingDistributionPoint::from_der(extension.extn_value.as_bytes()).map_err(CrlError::Malformed)?;
    Err(if scope.indirect_crl { CrlError::Indirect } else { CrlError::Partial })
}

/// Whether the key of a certificate signed a list. The bytes as they are, not as somebody else would encode them, are what
/// was signed.
fn is_signed_by(list: &[u8], authority: &Certificate, provider: &CryptoProvider) -> Result<bool, der::Error> {
    let mut reader = SliceReader::new(list)?;
    let (signed, algorithm, signature) = reader.sequence(|list| {
        Ok::<_, der::Error>((list.tlv_bytes()?, AnyRef::decode(list)?, BitStringRef::decode(list)?))
    })?;
    reader.finish()?;
    let key = authority.tbs_certificate().subject_public_key_info();
    let key_algorithm = key.algorithm.to_der()?;
    let key_algorithm = AnyRef::from_der(&key_algorithm)?;
    let (Some(key), Some(signature)) = (key.subject_public_key.as_bytes(), signature.as_bytes()) else {
        return Ok(false);
    };
    let verified = provider
        .signature_verification_algorithms
        .all
        .iter()
        .filter(|candidate| candidate.signature_alg_id().as_ref() == algorithm.value())
        .filter(|candidate| candidate.public_key_alg_id().as_ref() == key_algorithm.value())
        .any(|candidate| candidate.verify_signature(key, signed, signature).is_ok());
    Ok(verified)
}

impl From<rustls::server::VerifierBuilderError> for CrlError {
    fn from(error: rustls::server::VerifierBuilderError) -> Self {
        use rustls::server::VerifierBuilderError::InvalidCrl;
        match error {
            InvalidCrl(CertRevocationListError::UnsupportedDeltaCrl) => Self::Delta,
            InvalidCrl(CertRevocationListError::UnsupportedIndirectCrl) => Self::Indirect,
            InvalidCrl(CertRevocationListError::UnsupportedCriticalExtension) => Self::CriticalExtension,
            other => Self::Unusable(other),
        }
    }
}

#[cfg(test)]
mod tests;
