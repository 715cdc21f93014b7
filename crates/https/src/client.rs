//! Who asks.

use crate::Url;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

/// What a request may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the beginning of the connection to the last byte of the answer.
    pub patience: Duration,
    /// Of the answer's body.
    pub max_bytes: usize,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The authorities' file.
    #[error("{path} cannot be read as PEM certificates of authorities; correct the file, its rights or its path")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No connection, or no TLS on it.
    #[error("there is no connection")]
    Connect(#[source] io::Error),
    /// Not HTTP, or too long an answer.
    #[error("the conversation broke off")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too slow.
    #[error("it took longer than {0:?}")]
    Timeout(Duration),
}

/// Asks at one address. The connection is kept for the next request where the other side keeps it.
#[derive(Debug)]
pub struct Client {
    url: Url,
    authorities: Option<PathBuf>,
    bounds: Bounds,
    idle: Mutex<Option<Sender>>,
}

type Sender = SendRequest<Full<Bytes>>;

impl Client {
    /// `authorities` is a PEM file of those that may have issued the certificate of whoever answers; it is read at each new
    /// connection, since such files are replaced. An address of HTTPS is not asked without one.
    #[must_use]
    pub fn new(url: Url, authorities: Option<PathBuf>, bounds: Bounds) -> Self {
        Self { url, authorities, bounds, idle: Mutex::default() }
    }

    /// The address.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a request, whose path is the one to be asked for, and reads the whole answer, whatever its status. A request may
    /// come to the other side twice, where a connection that was kept breaks: it must do there what it does once.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Answer, RequestError> {
        let host = HeaderValue::from_str(self.url.authority()).map_err(|error| RequestError::Http(error.into()))?;
        request.headers_mut().insert(HOST, host);
        let agent = HeaderValue::from_static(concat!("chancery/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let Bounds { patience, .. } = self.bounds;
        tokio::time::timeout(patience, self.converse(request)).await.or(Err(RequestError::Timeout(patience)))?
    }

    async fn converse(&self, request: Request<Bytes>) -> Result<Answer, RequestError> {
        // Who is dropped in the middle leaves no connection behind.
        let kept = self.idle.lock().await.take();
        let request = request.map(Full::new);
        let (answer, sender) = match kept {
            Some(sender) if !sender.is_closed() => match self.ask(sender, request.clone()).await {
                // Nobody says when a connection that is not used is closed at the other end.
                Err(RequestError::Http(_)) => self.ask(self.connect().await?, request).await?,
                answered => answered?,
            },
            _ => self.ask(self.connect().await?, request).await?,
        };
        *self.idle.lock().await = Some(sender);
        Ok(answer)
    }

    async fn ask(&self, mut sender: Sender, request: Request<Full<Bytes>>) -> Result<(Answer, Sender), RequestError> {
        let http = |error: hyper::Error| RequestError::Http(error.into());
        sender.ready().await.map_err(http)?;
        let (parts, body) = sender.send_request(request).await.map_err(http)?.into_parts();
        let body = Limited::new(body, self.bounds.max_bytes).collect().await.map_err(RequestError::Http)?;
        Ok((Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() }, sender))
    }

    async fn connect(&self) -> Result<Sender, RequestError> {
        let invalid = |error| RequestError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error));
        let tls = match (self.url.is_https(), &self.authorities) {
            (false, _) => None,
            (true, Some(authorities)) => {
                let authorities = authorities.clone();
                // Beside the runtime: the file may be on a share that does not answer.
                let read = tokio::task::spawn_blocking(move || tls(&authorities)).await;
                Some(read.map_err(|error| RequestError::Connect(io::Error::other(error)))??)
            }
            (true, None) => {
                let error = "no authorities are given whose certificates are to be believed";
                return Err(RequestError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error)));
            }
        };
        let stream = TcpStream::connect((self.url.host(), self.url.port())).await.map_err(RequestError::Connect)?;
        // A request is one write, and waits for nothing.
        stream.set_nodelay(true).map_err(RequestError::Connect)?;
        let Some(tls) = tls else { return handshake(stream).await };
        let name = ServerName::try_from(self.url.host().to_owned()).map_err(invalid)?;
        handshake(TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(RequestError::Connect)?).await
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Sender, RequestError> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| RequestError::Http(error.into()))?;
    // Ends with the sender. How it broke off, who asked is told.
    tokio::spawn(connection);
    Ok(sender)
}

fn tls(authorities: &Path) -> Result<ClientConfig, RequestError> {
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| RequestError::Authorities {
        path: authorities.to_owned(),
        source,
    };
    let pem = |error: pem::Error| unusable(error.into());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities).map_err(pem)? {
        roots.add(certificate.map_err(pem)?).map_err(|error| unusable(error.into()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".into()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    let builder = builder.map_err(|error| unusable(error.into()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
