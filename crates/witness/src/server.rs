//! The small witness at the network: HTTP/1.1, over TLS or for its own machine.

use crate::asking::SIZE_TYPE;
use crate::desk::{Desk, Refusal};
use bytes::Bytes;
use chancery_audit::witness::MAX_ADD_CHECKPOINT_BYTES;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Connections at the same time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// For a TLS handshake, from a connection or the last answer to the next request's headers, and for its body.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection lives no longer, whatever it does.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// Pause after the system refused to accept a connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Whom the witness says that it is.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// Why a witness does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Certificate or key.
    #[error("{certificate} and {key} cannot be used as a certificate and its private key, both PEM")]
    Tls {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Tls {
    /// Reads a certificate, with those between it and its authority, and its private key.
    ///
    /// # Errors
    /// [`ServeError::Tls`].
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, ServeError> {
        let read = || -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
            let key = PrivateKeyDer::from_pem_file(key)?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
            let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
            Ok(builder.with_no_client_auth().with_single_cert(chain, key)?)
        };
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        match read() {
            Ok(config) => Ok(Self(TlsAcceptor::from(Arc::new(config)))),
            Err(source) => Err(ServeError::Tls { certificate, key, source }),
        }
    }
}

/// Serves until dropped.
pub async fn serve(desk: Arc<Desk>, listener: TcpListener, tls: Option<Tls>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (desk, tls) = (Arc::clone(&desk), tls.clone());
                tokio::spawn(async move {
                    let _slot = slot;
                    // A connection that breaks off is the other end's matter.
                    let _ended = tokio::time::timeout(MAX_AGE, connection(desk, stream, tls)).await;
                });
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn connection(desk: Arc<Desk>, stream: TcpStream, tls: Option<Tls>) {
    let _latency = stream.set_nodelay(true);
    match tls {
        None => converse(desk, stream).await,
        Some(Tls(acceptor)) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                converse(desk, stream).await;
            }
        }
    }
}

async fn converse(desk: Arc<Desk>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(answer(desk, request).await) }
    });
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let _ended = protocol.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(desk: Arc<Desk>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::POST, "/add-checkpoint") => add_checkpoint(desk, request.into_body()).await,
        (_, "/add-checkpoint") => text(StatusCode::METHOD_NOT_ALLOWED, "only POST is answered\n"),
        (&Method::GET | &Method::HEAD, path) => {
            let hash = path.strip_prefix('/').and_then(|path| path.strip_suffix("/checkpoint"));
            let newest = match hash {
                Some(hash) => desk.newest(hash).await,
                None => None,
            };
            newest.map_or_else(nothing_there, |newest| text(StatusCode::OK, newest))
        }
        _ => nothing_there(),
    }
}

fn nothing_there() -> Response<Full<Bytes>> {
    text(StatusCode::NOT_FOUND, "there are /add-checkpoint, and /HASH/checkpoint of each log that was cosigned\n")
}

async fn add_checkpoint(desk: Arc<Desk>, body: Incoming) -> Response<Full<Bytes>> {
    let body = tokio::time::timeout(PATIENCE, Limited::new(body, MAX_ADD_CHECKPOINT_BYTES).collect());
    let Ok(Ok(body)) = body.await else {
        return text(StatusCode::BAD_REQUEST, "the body is longer than any checkpoint with a proof, or too slow\n");
    };
    let body = body.to_bytes();
    // On a task of its own: who hangs up in the middle does not leave something kept and not known to be.
    let added = tokio::spawn(async move { desk.add_checkpoint(&body).await }).await;
    let refusal = match added {
        Ok(Ok(line)) => return text(StatusCode::OK, line),
        Ok(Err(refusal)) => refusal,
        Err(error) => Refusal::Keeping(std::io::Error::other(error)),
    };
    let status = match &refusal {
        Refusal::Malformed(_) | Refusal::Backwards { .. } => StatusCode::BAD_REQUEST,
        Refusal::UnknownLog(_) => StatusCode::NOT_FOUND,
        Refusal::NotSigned(_) => StatusCode::FORBIDDEN,
        Refusal::Conflict(_) => StatusCode::CONFLICT,
        Refusal::NotEmpty | Refusal::Proof(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Keeping(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    tracing::warn!(error = &refusal as &dyn std::error::Error, %status, "a checkpoint was not cosigned");
    if let Refusal::Conflict(size) = refusal {
        let mut response = text(status, format!("{size}\n"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(SIZE_TYPE));
        return response;
    }
    text(status, format!("{refusal}\n"))
}

fn text(status: StatusCode, words: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(words.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
