//! Who issued a client certificate that a record keeps, for those who read the record without the service
//! (docs/caller-evidence.md): the verification of the handshake, as of another time.
//!
//! Out of scope: what was revoked then, at which the service has looked, and intermediate certificates, which a record does not
//! keep: where one of these issued a certificate, that one is given as an authority.

use super::{Authorities, TlsError};
use crate::config::{ClientCa, IdentityKind};
use chancery_model::{Identity, Timestamp};
use rustls::CertificateError;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The authorities that somebody trusts who reads a record.
#[derive(Debug)]
pub struct CallerAuthorities(Authorities);

/// Why a certificate shows nobody who its caller was.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallerCertificateError {
    /// Somebody else issued it.
    #[error(
        "none of the authorities that were given has issued the caller's certificate; where an intermediate one has, give that \
         one's certificate, too: the record does not keep it"
    )]
    OtherIssuer,
    /// It had expired, or was to be valid later.
    #[error("the caller's certificate was not valid at the time of the record")]
    NotValid,
    /// What issued it is not trusted with such names.
    #[error(
        "the authority that issued the caller's certificate was given as one for {}, and the record takes the caller for {identity}",
        match .identity {
            Identity::DnsName(_) => "SPIFFE ids",
            _ => "DNS names",
        }
    )]
    OtherKind {
        /// Whom the record takes him for.
        identity: Identity,
    },
    /// The service would not have taken it.
    #[error("the caller's certificate is none for a client: {0}")]
    Unusable(CertificateError),
    /// It cannot be verified at all.
    #[error("the caller's certificate cannot be verified: {0}")]
    Unverified(rustls::Error),
}

impl CallerAuthorities {
    /// Reads PEM files of one certificate or several, each of which is an authority, with what names a caller in the
    /// certificates that it issues.
    ///
    /// # Errors
    /// [`TlsError`]: which file cannot be used, and why.
    pub fn read(files: impl IntoIterator<Item = (PathBuf, IdentityKind)>) -> Result<Self, TlsError> {
        let configured = files.into_iter().map(|(certificate, identity)| ClientCa {
            certificate,
            identity,
            crl: None,
            crl_warning: Duration::ZERO,
        });
        let provider = Arc::new(aws_lc_rs::default_provider());
        Authorities::load(&configured.collect::<Vec<_>>(), 0, &provider).map(Self)
    }

    /// Checks that one of them issued a certificate (DER) to a client with an identity of this kind, and that it was valid when
    /// the request was recorded; or when it was signed, since a call may wait and the service looks at its beginning. That the
    /// certificate names the identity is checked with the signature.
    ///
    /// # Errors
    /// [`CallerCertificateError`].
    pub fn check(
        &self,
        certificate: &[u8],
        identity: &Identity,
        recorded: Timestamp,
        signed: Timestamp,
    ) -> Result<(), CallerCertificateError> {
        let certificate = CertificateDer::from(certificate);
        let kinds = self.0.issuers_of(&certificate, unix(recorded));
        let kinds = kinds.or_else(|error| self.0.issuers_of(&certificate, unix(signed)).or(Err(error)))?;
        let trusted = kinds.iter().any(|kind| match kind {
            IdentityKind::Spiffe => matches!(identity, Identity::SpiffeId(_)),
            IdentityKind::Dns => matches!(identity, Identity::DnsName(_)),
        });
        if trusted { Ok(()) } else { Err(CallerCertificateError::OtherKind { identity: identity.clone() }) }
    }
}

/// No certificate is of before 1970.
fn unix(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_micros(u64::try_from(at.unix_micros()).unwrap_or_default()))
}

impl From<rustls::Error> for CallerCertificateError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                // The signature is not by the key of the authority of that name.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::OtherIssuer,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::NotValid,
                error => Self::Unusable(error),
            },
            error => Self::Unverified(error),
        }
    }
}

#[cfg(test)]
mod tests;
