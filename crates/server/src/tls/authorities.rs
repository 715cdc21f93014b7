//! The authorities whose client certificates are accepted, which of them issued one, and what they have revoked.

use super::crl::{Dates, Lists, Revocation};
use super::material::{TlsError, certificates};
use crate::config::{ClientCa, IdentityKind};
use crate::identity::Unidentified;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, RootCertStore};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Every authority of the configuration, as it was read at one time.
#[derive(Debug)]
pub(crate) struct Authorities {
    /// One for each certificate.
    authorities: Vec<Authority>,
    crls: Vec<Crl>,
    generation: u64,
}

struct Authority {
    certificate: CertificateDer<'static>,
    identity: IdentityKind,
    /// Accepts what this authority issued and did not revoke, and nothing else.
    verifier: Arc<dyn ClientCertVerifier>,
    revocation: Option<(PathBuf, Dates)>,
}

/// A file with the CRL of a configured authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crl {
    pub(crate) path: PathBuf,
    /// By when another one is to be there.
    pub(crate) next_update: SystemTime,
    warning: Duration,
}

/// How a CRL stands to its `nextUpdate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// Another one is to come soon, and has not.
    Due,
    /// Its time is over: nobody whom its authority certified is let in.
    Stale,
}

impl Crl {
    pub(crate) fn freshness(&self, now: SystemTime) -> Freshness {
        match self.next_update.duration_since(now) {
            Err(_passed) => Freshness::Stale,
            Ok(left) if left.is_zero() => Freshness::Stale,
            Ok(left) if left <= self.warning => Freshness::Due,
            Ok(_left) => Freshness::Fresh,
        }
    }

    /// What is the matter with it and what to do, for whoever runs the service.
    pub(crate) fn shown(&self, now: SystemTime) -> String {
        let path = self.path.display();
        match self.next_update.duration_since(now) {
            Ok(left) if !left.is_zero() => {
                let hours = left.as_secs() / 3600;
                format!(
                    "the CRL {path} is in force for less than {} hours more, and then none of its authority's callers is let \
                     in; put the next one there",
                    hours + 1
                )
            }
            _ => format!(
                "the CRL {path} is past its nextUpdate, so none of its authority's callers is let in; put the next one there"
            ),
        }
    }
}

/// What a chain led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    /// What names a caller in the certificate.
    pub(crate) kind: IdentityKind,
    /// Until when the CRL says so; for ever where none is configured.
    pub(crate) until: Option<SystemTime>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Authorities {
    /// `generation` differs from that of every other time that these authorities are read.
    pub(super) fn load(
        configured: &[ClientCa],
        generation: u64,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut authorities = Vec::with_capacity(configured.len());
        let mut crls = Vec::new();
        for ClientCa { certificate: path, identity, crl, crl_warning } in configured {
            let unusable_crl = |path: &PathBuf| {
                let path = path.clone();
                move |source| TlsError::Crl { path, source }
            };
            let lists = match crl {
                None => None,
                Some(file) => Some((file, Lists::read(file).map_err(unusable_crl(file))?)),
            };
            let mut next_update: Option<SystemTime> = None;
            for certificate in certificates(path)? {
                let mut own = RootCertStore::empty();
                own.add(certificate.clone()).map_err(|source| TlsError::Authority { path: path.clone(), source })?;
                let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(own), Arc::clone(provider));
                let (verifier, revocation) = match &lists {
                    None => (builder.build().map_err(TlsError::Verifier)?, None),
                    Some((file, lists)) => {
                        let Revocation { lists, dates } =
                            lists.of(&certificate, provider).map_err(unusable_crl(file))?;
                        next_update = Some(next_update.map_or(dates.next_update, |it| it.min(dates.next_update)));
                        // Every certificate of a chain has to be spoken of by a CRL whose time is not over.
                        let verifier = builder.with_crls(lists).enforce_revocation_expiration().build();
                        let verifier = verifier.map_err(Into::into).map_err(unusable_crl(file))?;
                        (verifier, Some(((*file).clone(), dates)))
                    }
                };
                authorities.push(Authority { certificate, identity: *identity, verifier, revocation });
            }
            if let (Some(file), Some(next_update)) = (crl, next_update) {
                crls.push(Crl { path: file.clone(), next_update, warning: *crl_warning });
            }
        }
        Ok(Self { authorities, crls, generation })
    }

    /// Which reading of the files this is.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The CRLs, in the order of the configuration.
    pub(crate) fn crls(&self) -> &[Crl] {
        &self.crls
    }

    /// Their names, by which a client chooses among its certificates.
    pub(super) fn names(&self) -> Vec<DistinguishedName> {
        self.authorities.iter().flat_map(|authority| authority.verifier.root_hint_subjects()).cloned().collect()
    }

    /// Refuses to follow `before` where a CRL would go back in time, and something revoked would come back with it.
    pub(super) fn may_follow(&self, before: &Self) -> Result<(), TlsError> {
        for authority in &self.authorities {
            let Some((path, now)) = &authority.revocation else { continue };
            let then = before.authorities.iter().filter(|other| other.certificate == authority.certificate);
            let then = then.filter_map(|other| other.revocation.as_ref());
            if then.into_iter().any(|(_, then)| now.this_update < then.this_update) {
                return Err(TlsError::Crl { path: path.clone(), source: super::CrlError::Older });
            }
        }
        Ok(())
    }

    /// What a chain (end entity first) leads to: what names a caller in its certificate is configured for the authority that
    /// issued it. The signatures decide that, not the names.
    pub(crate) fn trust(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Trust, Unidentified> {
        let (end_entity, intermediates) = chain.split_first().ok_or(Unidentified::NoCertificate)?;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(UnixTime::now(), UnixTime::since_unix_epoch);
        let found = self.verify(end_entity, intermediates, now).map_err(|error| refusal(&error))?;
        let mut kinds = found.iter().map(|authority| authority.identity);
        let kind = kinds.next().ok_or(Unidentified::Untrusted)?;
        if kinds.any(|other| other != kind) {
            return Err(Unidentified::AmbiguousAuthority);
        }
        let until = found.iter().filter_map(|authority| authority.revocation.as_ref());
        Ok(Trust { kind, until: until.map(|(_, dates)| dates.next_update).min() })
    }

    /// For the handshake.
    pub(super) fn verify_client(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now).map(|_issuers| ClientCertVerified::assertion())
    }

    /// The authorities to which a chain leads; at least one. What one of them has revoked, or cannot say of, is refused,
    /// whatever another entry for the same authority says.
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Vec<&Authority>, rustls::Error> {
        let mut found = Vec::new();
        let mut refused = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for authority in &self.authorities {
            match authority.verifier.verify_client_cert(end_entity, intermediates, now) {
                Ok(_) => found.push(authority),
                Err(error) if is_about_revocation(&error) => return Err(error),
                // Whoever did not issue it says no more than that.
                Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => refused = error,
            }
        }
        if found.is_empty() { Err(refused) } else { Ok(found) }
    }
}

fn is_about_revocation(error: &rustls::Error) -> bool {
    !matches!(refusal(error), Unidentified::Untrusted)
}

/// Why a chain is refused.
fn refusal(error: &rustls::Error) -> Unidentified {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Revoked) => Unidentified::Revoked,
        rustls::Error::InvalidCertificate(
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. },
        ) => Unidentified::CrlStale,
        rustls::Error::InvalidCertificate(CertificateError::UnknownRevocationStatus)
        | rustls::Error::InvalidCertRevocationList(_) => Unidentified::RevocationUnknown,
        _ => Unidentified::Untrusted,
    }
}
