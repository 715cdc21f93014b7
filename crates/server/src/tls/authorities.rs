//! The authorities whose client certificates are accepted, and which of them issued one.

use super::material::{TlsError, certificates};
use crate::config::{ClientCa, IdentityKind};
use crate::identity::Unidentified;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::fmt;
use std::sync::Arc;

/// Every authority of the configuration, as it was read at one time.
#[derive(Debug)]
pub(crate) struct Authorities {
    authorities: Vec<Authority>,
    /// All of them, for the handshake.
    roots: Arc<RootCertStore>,
    generation: u64,
}

struct Authority {
    identity: IdentityKind,
    /// Accepts what this authority issued, and nothing else.
    verifier: Arc<dyn ClientCertVerifier>,
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
        let mut all = RootCertStore::empty();
        let mut authorities = Vec::with_capacity(configured.len());
        for ClientCa { certificate: path, identity } in configured {
            let mut own = RootCertStore::empty();
            for certificate in certificates(path)? {
                let unusable = |source| TlsError::Authority { path: path.clone(), source };
                own.add(certificate.clone()).map_err(unusable)?;
                all.add(certificate).map_err(unusable)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(own), Arc::clone(provider))
                .build()
                .map_err(TlsError::Verifier)?;
            authorities.push(Authority { identity: *identity, verifier });
        }
        Ok(Self { authorities, roots: Arc::new(all), generation })
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }

    /// Which reading of the files this is.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// What names a caller in a certificate of this chain (end entity first): as configured for the authority that it
    /// leads to. The signatures decide that, not the names.
    pub(crate) fn kind_of(&self, chain: &[CertificateDer<'_>]) -> Result<IdentityKind, Unidentified> {
        let (end_entity, intermediates) = chain.split_first().ok_or(Unidentified::NoCertificate)?;
        let now = UnixTime::now();
        let mut kinds = self
            .authorities
            .iter()
            .filter(|authority| authority.verifier.verify_client_cert(end_entity, intermediates, now).is_ok())
            .map(|authority| authority.identity);
        let kind = kinds.next().ok_or(Unidentified::Untrusted)?;
        if kinds.any(|other| other != kind) { Err(Unidentified::AmbiguousAuthority) } else { Ok(kind) }
    }
}
