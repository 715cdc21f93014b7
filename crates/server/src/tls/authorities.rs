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
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::name::Name;

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
    revocation: Option<Revoked>,
}

/// What an authority with a CRL has beside.
struct Revoked {
    file: PathBuf,
    /// Those of the lists in the file that count for it.
    lists: Vec<Dates>,
    /// Accepts what this authority issued, revoked or not.
    issued: Arc<dyn ClientCertVerifier>,
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
    /// Until when the CRLs say so; for ever where none is configured.
    pub(crate) until: Option<SystemTime>,
    /// From when on a certificate of the chain has run out: then the authorities are to be asked again.
    pub(crate) ask_again: Option<SystemTime>,
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
                let own = Arc::new(own);
                let builder = || WebPkiClientVerifier::builder_with_provider(Arc::clone(&own), Arc::clone(provider));
                let issued = builder().build().map_err(TlsError::Verifier)?;
                let (verifier, revocation) = match &lists {
                    None => (issued, None),
                    Some((file, lists)) => {
                        let Revocation { lists, dates } =
                            lists.of(&certificate, provider).map_err(unusable_crl(file))?;
                        next_update = next_update.into_iter().chain(dates.iter().map(|dates| dates.next_update)).min();
                        // Every certificate of a chain has to be spoken of by a CRL whose time is not over.
                        let verifier = builder().with_crls(lists).enforce_revocation_expiration().build();
                        let verifier = verifier.map_err(Into::into).map_err(unusable_crl(file))?;
                        (verifier, Some(Revoked { file: (*file).clone(), lists: dates, issued }))
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
            let Some(now) = &authority.revocation else { continue };
            let then = before.authorities.iter().filter(|other| other.certificate == authority.certificate);
            let then = then.filter_map(|other| other.revocation.as_ref()).flat_map(|then| &then.lists);
            let older =
                |then: &Dates| now.lists.iter().any(|now| now.same_series(then) && now.this_update < then.this_update);
            if then.into_iter().any(older) {
                return Err(TlsError::Crl { path: now.file.clone(), source: super::CrlError::Older });
            }
        }
        Ok(())
    }

    /// What a chain (end entity first) leads to: what names a caller in its certificate is configured for the authority that
    /// issued it. The signatures decide that, not the names.
    pub(crate) fn trust(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<Trust, Unidentified> {
        let (end_entity, intermediates) = chain.split_first().ok_or(Unidentified::NoCertificate)?;
        let asked = now;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(UnixTime::now(), UnixTime::since_unix_epoch);
        let found = self.verify(end_entity, intermediates, now).map_err(|error| refusal(&error))?;
        let mut kinds = found.iter().map(|authority| authority.identity);
        let kind = kinds.next().ok_or(Unidentified::Untrusted)?;
        if kinds.any(|other| other != kind) {
            return Err(Unidentified::AmbiguousAuthority);
        }
        let links: Vec<Link> = chain.iter().filter_map(Link::read).collect();
        // The list of another authority below the same one may be over: this chain does not need it.
        let lists = found.iter().filter_map(|authority| authority.revocation.as_ref()).flat_map(|it| &it.lists);
        let needed = lists.filter(|list| links.iter().any(|link| link.issuer == list.issuer));
        // What has run out already was not needed, and is sent in vain.
        let over = links.iter().filter_map(|link| link.over).filter(|over| *over > asked);
        Ok(Trust { kind, until: needed.map(|list| list.next_update).min(), ask_again: over.min() })
    }

    /// What names a caller in what those issue who issued this certificate themselves: at least one.
    pub(super) fn issuers_of(
        &self,
        certificate: &CertificateDer<'_>,
        at: UnixTime,
    ) -> Result<Vec<IdentityKind>, rustls::Error> {
        Ok(self.verify(certificate, &[], at)?.iter().map(|authority| authority.identity).collect())
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
    /// whatever another entry for the same authority, or an authority above it, says.
    ///
    /// That it is revoked need not be what the verifier says: of several ways up that all fail, it names the failure that it finds
    /// most telling, and whoever is revoked can send certificates that make ways of their own. So an authority with a CRL
    /// is passed over only where the chain does not lead to it at all.
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
                Err(error) if authority.may_have_issued(end_entity, intermediates, now) => return Err(error),
                // Whoever did not issue it says no more than that.
                Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => refused = error,
            }
        }
        if found.is_empty() { Err(refused) } else { Ok(found) }
    }
}

impl Authority {
    /// For an authority with a CRL: whether a chain leads to it, revoked or not. Also where that takes too much to find out.
    fn may_have_issued(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> bool {
        let Some(Revoked { issued, .. }) = &self.revocation else { return false };
        match issued.verify_client_cert(end_entity, intermediates, now) {
            Ok(_) | Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) => true,
            Err(_no_way_up) => false,
        }
    }
}

/// What counts here of a certificate of a chain.
struct Link {
    issuer: Name,
    /// The first second in which it is no longer valid.
    over: Option<SystemTime>,
}

impl Link {
    /// `None` where it is none: then no way up leads over it.
    fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let over = tbs.validity().not_after.to_system_time().checked_add(Duration::from_secs(1));
        Some(Self { issuer: tbs.issuer().clone(), over })
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
