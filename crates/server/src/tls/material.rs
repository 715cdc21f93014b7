//! Certificate, key and authorities: from files to a rustls configuration.

use super::handshake::Handshake;
use super::{Authorities, CrlError};
use crate::config::{ClientAuth, Listener};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use x509_cert::der::Decode;

/// What a connection begins with.
#[derive(Debug)]
pub(crate) struct Material {
    /// For the handshake.
    pub(crate) config: Arc<ServerConfig>,
    /// For the identity of the peer.
    pub(crate) authorities: Arc<Authorities>,
    /// When the service's own certificate expires.
    pub(crate) not_after: SystemTime,
    /// What the service shows.
    pub(super) pair: Pair,
}

/// The service's own certificate, with its key.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    shown: Arc<dyn ResolvesServerCert>,
    not_after: SystemTime,
}

/// Why TLS cannot be set up from the configured files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read, or holds no such thing.
    #[error("{path} cannot be read as PEM {what} ({source}); correct the file, its rights or its path")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What went wrong.
        #[source]
        source: pem::Error,
    },
    /// A certificate file without a certificate.
    #[error("{path} holds no PEM certificate; put one there")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The service's own certificate is not X.509.
    #[error("{path}: the first certificate cannot be read as X.509; have it issued anew")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Where it breaks.
        #[source]
        source: x509_cert::der::Error,
    },
    /// Certificate and key do not go together, or the key is of no supported type.
    #[error(
        "certificate {certificate} and private key {private_key} cannot be used together; replace both at the same time"
    )]
    KeyPair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        private_key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// A client CA that is no trust anchor.
    #[error("{path} holds a certificate that cannot be a trust anchor; put the authority's own certificate there")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// A CRL that cannot be used.
    #[error("{path} cannot be used as a CRL: {source}")]
    Crl {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: CrlError,
    },
    /// No verifier can be built.
    #[error("client certificates cannot be verified; configure at least one [[listener.client_ca]]")]
    Verifier(#[source] VerifierBuilderError),
    /// The provider lacks something; cannot happen with the one built in.
    #[error("TLS 1.3 and 1.2 are not available")]
    Versions(#[source] rustls::Error),
}

/// Reads all files anew. `generation` tells this reading from every other one.
pub(crate) fn load(listener: &Listener, generation: u64) -> Result<Material, TlsError> {
    let pair = Pair::load(listener)?;
    Material::new(listener, pair, load_authorities(listener, generation)?)
}

/// Reads the files of authorities anew.
pub(super) fn load_authorities(listener: &Listener, generation: u64) -> Result<Arc<Authorities>, TlsError> {
    if listener.client_cas.is_empty() {
        return Err(TlsError::Verifier(VerifierBuilderError::NoRootAnchors));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(Arc::new(Authorities::load(&listener.client_cas, generation, &provider)?))
}

impl Pair {
    /// Reads certificate and key anew.
    pub(super) fn load(listener: &Listener) -> Result<Self, TlsError> {
        let chain = certificates(&listener.certificate)?;
        let (_, not_after) = validity_of(&chain, &listener.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&listener.private_key).map_err(|source| TlsError::Pem {
            path: listener.private_key.clone(),
            what: "private key",
            source,
        })?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let certified = certified.map_err(|source| TlsError::KeyPair {
            certificate: listener.certificate.clone(),
            private_key: listener.private_key.clone(),
            source,
        })?;
        Ok(Self { shown: Arc::new(SingleCertAndKey::from(certified)), not_after })
    }
}

impl Material {
    pub(super) fn new(listener: &Listener, pair: Pair, authorities: Arc<Authorities>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mandatory = match listener.client_auth {
            ClientAuth::Required => true,
            ClientAuth::Optional => false,
        };
        let verifier = Arc::new(Handshake::new(Arc::clone(&authorities), &provider, mandatory));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&pair.shown));
        // gRPC, and key sets for whoever speaks HTTP/1.1 only.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // No resumption of any kind: no session ids, no tickets.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), authorities, not_after: pair.not_after, pair })
    }
}

/// The certificates of a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Pem { path: path.to_owned(), what: "certificates", source };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(certificates) }
}

/// From when until when the first certificate of a PEM file is valid.
pub(crate) fn validity(path: &Path) -> Result<(SystemTime, SystemTime), TlsError> {
    validity_of(&certificates(path)?, path)
}

fn validity_of(chain: &[CertificateDer<'_>], path: &Path) -> Result<(SystemTime, SystemTime), TlsError> {
    let first = chain.first().ok_or_else(|| TlsError::NoCertificate { path: path.to_owned() })?;
    let certificate = x509_cert::Certificate::from_der(first)
        .map_err(|source| TlsError::Certificate { path: path.to_owned(), source })?;
    let validity = certificate.tbs_certificate().validity();
    Ok((validity.not_before.to_system_time(), validity.not_after.to_system_time()))
}
