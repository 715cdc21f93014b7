//! `[listener]` and `[admin]`: where the service is reached, and by whom.

use super::{Limits, Oidc, parse};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where callers connect: gRPC over TLS. There is no plaintext.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port to listen on; port 0 takes a free one.
    pub address: SocketAddr,
    /// The service's certificate chain, PEM, its own certificate first. Read again when it changes.
    pub certificate: PathBuf,
    /// The private key of the certificate, PEM (PKCS#8, SEC 1 or PKCS#1), readable by this user alone. Read again when it
    /// changes.
    pub private_key: PathBuf,
    /// Whether a connection needs a client certificate.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// The authorities whose client certificates are accepted.
    #[serde(rename = "client_ca", default)]
    pub client_cas: Vec<ClientCa>,
    /// The OpenID Connect issuers whose tokens are accepted.
    #[serde(default)]
    pub oidc: Vec<Oidc>,
    /// Whether gRPC reflection answers registered callers; it tells them what the proto files tell. Default true.
    #[serde(default = "yes")]
    pub reflection: bool,
    /// Limits of connections and calls.
    #[serde(default)]
    pub limits: Limits,
}

/// Whether a connection needs a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// A connection without a client certificate is refused in the handshake.
    #[default]
    Required,
    /// A connection may come without one; its calls need an API key or an OIDC token, but for those of the health service.
    Optional,
}

/// An authority whose client certificates are accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCa {
    /// The authority's certificate, PEM; several where they replace each other. Read again when it changes.
    pub certificate: PathBuf,
    /// What names a caller in the certificates that it issues.
    #[serde(default)]
    pub identity: IdentityKind,
    /// What it has revoked: its CRL, PEM (also several, with those of authorities below it) or DER. Read again when it
    /// changes. Where one is given, nobody whom the authority certified is let in without a CRL that is in time.
    pub crl: Option<PathBuf>,
    /// For how long before the CRL's `nextUpdate` it is warned of. Default 24 hours.
    #[serde(rename = "crl_warning_seconds", default = "a_day", deserialize_with = "parse::seconds")]
    pub crl_warning: Duration,
}

/// What names a caller in a certificate. Never the common name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityKind {
    /// Exactly one URI SAN, which is a SPIFFE id.
    #[default]
    Spiffe,
    /// Exactly one DNS SAN.
    Dns,
}

/// Where operators' machines look: `/metrics`, `/livez`, `/readyz`; plain HTTP, read-only, without secrets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address and port to listen on; port 0 takes a free one. Default 127.0.0.1:9443. It has no authentication of its
    /// own, so keep it on the machine or in the cluster.
    pub address: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9443) }
    }
}

const fn a_day() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}

const fn yes() -> bool {
    true
}
