//! A real HTTPS server in an issuer's place, which answers as it is told. Also used by `tests/oidc.rs` of the workspace.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these functions run inside tests, which stop at the first surprise"
)]

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server that answers every request with the same.
#[derive(Debug)]
pub struct Server {
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
    address: String,
    /// The authority of its certificate, PEM.
    pub ca: PathBuf,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Its certificate is for `name`, and the address that it is asked at has `127.0.0.1`.
    pub async fn start(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}/keys", listener.local_addr().unwrap());
        let (answer, requests) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<AtomicUsize>::default());
        let asked = Arc::<Mutex<String>>::default();
        let (answers, counted, seen) = (Arc::clone(&answer), Arc::clone(&requests), Arc::clone(&asked));
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    request.push(byte);
                }
                assert!(request.starts_with(b"GET /keys HTTP/1.1\r\n"));
                *seen.lock().unwrap() = String::from_utf8(request).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = answers.lock().unwrap().clone();
                let _gone = stream.write_all(&answer).await;
                let _gone = stream.shutdown().await;
            }
        });
        Self { answer, asked, requests, address, ca, _folder: folder }
    }

    /// Where it is asked.
    #[must_use]
    pub fn url<T: std::str::FromStr<Err: std::fmt::Debug>>(&self) -> T {
        self.address.parse().unwrap()
    }

    /// What it answers from now on.
    pub fn answers(&self, status: &str, body: &str) {
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        self.answers_bytes(format!("{head}{body}").as_bytes());
    }

    /// The same, byte for byte.
    pub fn answers_bytes(&self, bytes: &[u8]) {
        *self.answer.lock().unwrap() = bytes.to_vec();
    }

    /// How often it was asked.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// What it was asked last.
    #[must_use]
    pub fn last_request(&self) -> String {
        self.asked.lock().unwrap().clone()
    }
}
