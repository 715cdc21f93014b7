//! Files that change under a running service.

use super::*;
use crate::config::IdentityKind;
use crate::test_authority::{Issued, TestAuthority, listener, write};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

struct Ground {
    authority: TestAuthority,
    reloader: Reloader,
    tls: Tls,
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new("one");
        let listener = listener(folder.path(), &authority.server(), &[(&authority, IdentityKind::Spiffe)]);
        let (reloader, tls) = Reloader::start(listener).unwrap();
        Self { authority, reloader, tls, folder }
    }

    /// The certificate that a new connection is shown now, in a real handshake.
    async fn shown(&self) -> CertificateDer<'static> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.certificate.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.tls.current().config));
        let accepting = tokio::spawn(async move { acceptor.accept(far).await.map(drop) });
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let stream = connector.connect("localhost".try_into().unwrap(), near).await.unwrap();
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        assert!(accepting.await.unwrap().is_err(), "no client certificate was sent");
        certificate
    }
}

/// Files that are written within one tick of the file system's clock still differ in their inode.
fn replace(folder: &std::path::Path, server: &Issued) {
    for name in ["server.pem", "server.key"] {
        std::fs::rename(folder.join(name), folder.join(format!("{name}.old"))).unwrap();
    }
    write(folder, server);
}

#[tokio::test]
async fn new_connections_see_a_new_certificate_without_a_restart() {
    let mut ground = Ground::new();
    let before = ground.shown().await;
    assert!(ground.reloader.look().is_none(), "nothing has changed");
    let renewed = ground.authority.server();
    replace(ground.folder.path(), &renewed);
    ground.reloader.look().unwrap().unwrap();
    let after = ground.shown().await;
    assert_ne!(before, after);
    assert_eq!(&after, renewed.certificate.der());
    assert!(ground.reloader.look().is_none());
}

#[tokio::test]
async fn what_cannot_be_used_leaves_the_old_in_force() {
    let mut ground = Ground::new();
    let before = ground.shown().await;
    let path = ground.folder.path();
    // A key that is not the certificate's.
    std::fs::write(path.join("server.key"), ground.authority.server().key.serialize_pem() + "\n").unwrap();
    let error = ground.reloader.look().unwrap().unwrap_err();
    assert!(matches!(error[..], [TlsError::KeyPair { .. }]), "{error:?}");
    assert_eq!(ground.shown().await, before);
    // No certificate at all.
    std::fs::write(path.join("server.pem"), "not PEM").unwrap();
    let error = ground.reloader.look().unwrap().unwrap_err();
    assert!(matches!(error[..], [TlsError::NoCertificate { .. }]), "{error:?}");
    // The authority's file is gone.
    std::fs::remove_file(path.join("ca-0.pem")).unwrap();
    assert!(ground.reloader.look().unwrap().is_err());
    assert_eq!(ground.shown().await, before);
    // Not spoken of again until something changes.
    assert!(ground.reloader.look().is_none());
}

#[tokio::test]
async fn authorities_are_read_again_too() {
    let mut ground = Ground::new();
    let first = ground.tls.current().authorities.generation();
    let other = TestAuthority::new("another, with a longer name");
    std::fs::write(ground.folder.path().join("ca-0.pem"), other.certificate.pem()).unwrap();
    ground.reloader.look().unwrap().unwrap();
    let material = ground.tls.current();
    assert_ne!(material.authorities.generation(), first);
    let server = ground.authority.server();
    let chain = [server.certificate.der().clone()];
    assert!(material.authorities.trust(&chain, SystemTime::now()).is_err(), "the first authority is no longer trusted");
}

#[tokio::test]
async fn a_crl_is_read_again_and_never_an_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new("one");
    let mut listener = listener(folder.path(), &authority.server(), &[(&authority, IdentityKind::Spiffe)]);
    let path = folder.path().join("ca.crl");
    listener.client_cas[0].crl = Some(path.clone());
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let publish = |revoked: &[u64], from: SystemTime| {
        std::fs::write(folder.path().join("new"), authority.crl(revoked, from, now + hour).der()).unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
    };
    publish(&[1, 2], now - 2 * hour);
    let (mut reloader, tls) = Reloader::start(listener).unwrap();
    let mut params = crate::test_authority::client(&[crate::test_authority::uri("spiffe://chancery.dev/a")]);
    params.serial_number = Some(3.into());
    let chain = [authority.issue(&params).certificate.der().clone()];
    let trusted = || tls.current().authorities.trust(&chain, SystemTime::now());
    trusted().unwrap();

    publish(&[1, 2, 3], now - hour);
    reloader.look().unwrap().unwrap();
    assert_eq!(trusted(), Err(crate::identity::Unidentified::Revoked));
    publish(&[1, 2], now - 2 * hour);
    let error = reloader.look().unwrap().unwrap_err();
    assert!(matches!(error[..], [TlsError::Crl { source: crate::tls::CrlError::Older, .. }]), "{error:?}");
    assert_eq!(trusted(), Err(crate::identity::Unidentified::Revoked), "the newer one stays in force");
    std::fs::remove_file(&path).unwrap();
    reloader.look().unwrap().unwrap_err();
    assert_eq!(trusted(), Err(crate::identity::Unidentified::Revoked));
    publish(&[1, 2], now);
    reloader.look().unwrap().unwrap();
    trusted().unwrap();
    // A key that is not the certificate's keeps no new list from being in force.
    std::fs::write(folder.path().join("server.key"), authority.server().key.serialize_pem()).unwrap();
    publish(&[1, 2, 3], now + Duration::from_secs(1));
    let error = reloader.look().unwrap().unwrap_err();
    assert!(matches!(error[..], [TlsError::KeyPair { .. }]), "{error:?}");
    assert_eq!(trusted(), Err(crate::identity::Unidentified::Revoked));
}

#[tokio::test]
async fn what_could_not_be_used_is_tried_again_though_no_file_looks_changed() {
    let mut ground = Ground::new();
    let before = ground.shown().await;
    let renewed = ground.authority.server();
    let right = renewed.key.serialize_pem();
    let key = ground.folder.path().join("server.key");
    std::fs::write(ground.folder.path().join("server.pem"), renewed.certificate.pem()).unwrap();
    std::fs::write(&key, "x".repeat(right.len())).unwrap();
    ground.reloader.look().unwrap().unwrap_err();
    let generation = ground.tls.current().authorities.generation();
    assert!(ground.reloader.look().is_none(), "said once");
    let modified = std::fs::metadata(&key).unwrap().modified().unwrap();
    std::fs::write(&key, right).unwrap();
    std::fs::File::options().write(true).open(&key).unwrap().set_modified(modified).unwrap();
    assert_eq!(ground.shown().await, before);
    ground.reloader.look().unwrap().unwrap();
    assert_eq!(&ground.shown().await, renewed.certificate.der());
    assert!(ground.reloader.look().is_none());
    // The authorities were in force already: their callers' chains are not verified anew each time.
    assert_eq!(ground.tls.current().authorities.generation(), generation);
}
