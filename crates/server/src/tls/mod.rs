//! TLS: what the listener shows, whom it trusts, and how both are replaced without a restart.
//!
//! TLS 1.3 and 1.2 by rustls on aws-lc-rs. Resumption is off: a resumed session would bring back a certificate that was
//! checked long ago. What an authority has revoked is refused in the handshake, and on each call of a connection that was
//! there before: new lists are a new generation of the material.

mod authorities;
mod caller_authorities;
mod crl;
mod handshake;
mod material;
mod reload;

pub(crate) use authorities::{Authorities, Crl, Freshness, Trust};
pub use caller_authorities::{CallerAuthorities, CallerCertificateError};
pub use crl::CrlError;
pub use material::TlsError;
pub(crate) use material::{Material, load, validity};
pub(crate) use reload::Reloader;

use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;

/// The TLS material in force. Cheap to clone; each connection takes what is current when it begins.
#[derive(Clone)]
pub(crate) struct Tls {
    current: Arc<ArcSwap<Material>>,
}

impl Tls {
    pub(crate) fn new(material: Material) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(material)) }
    }

    /// What is in force now.
    pub(crate) fn current(&self) -> Guard<Arc<Material>> {
        self.current.load()
    }

    fn replace(&self, material: Material) {
        self.current.store(Arc::new(material));
    }
}
