//! A certificate authority for tests: real certificates, of any kind a test needs.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its certificates is to stop")]

use crate::config::{ClientAuth, ClientCa, IdentityKind, Limits, Listener};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// An authority and its key.
pub(crate) struct TestAuthority {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// An issued certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

/// Parameters of a client's certificate with these SANs and the common name `checkout`.
pub(crate) fn client(sans: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = sans.to_vec();
    params.distinguished_name.push(DnType::CommonName, "checkout");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = SystemTime::now().checked_sub(Duration::from_secs(60)).unwrap().into();
    params.not_after = SystemTime::now().checked_add(Duration::from_secs(3600)).unwrap().into();
    params
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub(crate) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

impl TestAuthority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        Issued { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }

    /// A certificate for `localhost`.
    pub(crate) fn server(&self) -> Issued {
        let mut params = client(&[dns("localhost")]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }
}

/// Writes a listener's files into a folder: `server.pem`, `server.key` and one `ca-N.pem` for each authority.
pub(crate) fn listener(folder: &Path, server: &Issued, authorities: &[(&TestAuthority, IdentityKind)]) -> Listener {
    let client_cas = authorities.iter().enumerate().map(|(index, (authority, identity))| {
        let path = folder.join(format!("ca-{index}.pem"));
        std::fs::write(&path, authority.certificate.pem()).unwrap();
        ClientCa { certificate: path, identity: *identity }
    });
    let client_cas = client_cas.collect();
    let (certificate, private_key) = write(folder, server);
    Listener {
        address: "127.0.0.1:0".parse().unwrap(),
        certificate,
        private_key,
        client_auth: ClientAuth::Required,
        client_cas,
        reflection: true,
        limits: Limits::default(),
    }
}

/// Writes the service's certificate and key, replacing what is there.
pub(crate) fn write(folder: &Path, server: &Issued) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    std::fs::write(&certificate, server.certificate.pem()).unwrap();
    std::fs::write(&key, server.key.serialize_pem()).unwrap();
    (certificate, key)
}
