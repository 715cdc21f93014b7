//! Plain HTTP to the service's listener, over mutual TLS, by either version.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions run inside tests, which stop at the first surprise"
)]

use std::path::PathBuf;
use std::sync::Arc;

use chancery_testkit::{Chancery, IdentityFiles};
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Who asks, and how.
#[derive(Debug, Clone)]
pub struct Web {
    address: String,
    config: ClientConfig,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The protocol's version.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// A header, which must be there once.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).into_iter();
        let value = values.next().unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        assert!(values.next().is_none(), "{name} twice in {:?}", self.headers);
        value.to_str().unwrap()
    }

    /// The body, which is JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// The certificate of `callers/caller` of every development service.
#[must_use]
pub fn caller(chancery: &Chancery) -> IdentityFiles {
    let announcement: serde_json::Value =
        serde_json::from_slice(&std::fs::read(chancery.dir().join("dev.json")).unwrap()).unwrap();
    let path = |what: &str| PathBuf::from(announcement["caller"][what].as_str().unwrap());
    IdentityFiles { certificate: path("cert"), private_key: path("key") }
}

impl Web {
    /// With a client certificate; `protocols` are offered by ALPN.
    #[must_use]
    pub fn new(chancery: &Chancery, identity: &IdentityFiles, protocols: &[&str]) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(chancery.ca()).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let IdentityFiles { certificate, private_key } = identity;
        let chain = CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(private_key).unwrap();
        let mut config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { address: chancery.endpoint().strip_prefix("https://").unwrap().to_owned(), config }
    }

    /// A connection whose handshake is done.
    pub async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap()
    }

    /// GET without more.
    pub async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[], b"").await
    }

    /// One request on a connection of its own, by the protocol that was agreed on.
    pub async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Answer {
        let stream = self.connect().await;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let uri = if is_http2 { format!("https://{}{target}", self.address) } else { target.to_owned() };
        let mut request = Request::builder().method(method).uri(uri);
        if !is_http2 {
            request = request.header("host", &self.address);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from_static(body))).unwrap();
        let stream = TokioIo::new(stream);
        let answer = if is_http2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status.as_u16(), version: parts.version, headers: parts.headers, body }
    }
}
