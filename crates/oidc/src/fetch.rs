//! A key set over HTTPS: one request, bounded in size and time, to an address whose certificate an authority of ours issued.
//! No redirect is followed, and no proxy asked.

use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// From the beginning of the connection to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Larger than any key set, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// An address of HTTPS: `https://host[:port]/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsUrl {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form https://host[:port]/path")]
pub struct InvalidUrl(pub String);

/// Why a key set cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The authorities' file.
    #[error("{path} cannot be read as PEM certificates of authorities; correct the file, its rights or its path")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file with what is shown to whoever answers.
    #[error("{path} cannot be read, or holds no bearer token; correct the file, its rights or its path")]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system says, where it says anything.
        #[source]
        source: Option<io::Error>,
    },
    /// No TLS connection.
    #[error("there is no connection")]
    Connect(#[source] io::Error),
    /// Not HTTP.
    #[error("the conversation broke off")]
    Http(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another answer than 200; a redirect is one.
    #[error("the answer is {0}, not 200 (redirects are not followed)")]
    Status(StatusCode),
    /// Too slow.
    #[error("it took longer than {PATIENCE:?}")]
    Timeout,
}

impl FromStr for HttpsUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl(text.to_owned());
        let uri: Uri = text.parse().or(Err(invalid()))?;
        let authority = uri.authority().ok_or_else(invalid)?;
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') || text.contains('#') {
            return Err(invalid());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        ServerName::try_from(host.as_str()).or(Err(invalid()))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = authority.port_u16().unwrap_or(443);
        Ok(Self { host, port, authority: authority.to_string(), path })
    }
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority, self.path)
    }
}

/// Fetches what is at `url`, and shows who asks where there is a file with a bearer token of ours.
pub(crate) async fn fetch(url: &HttpsUrl, authorities: &Path, token: Option<&Path>) -> Result<Vec<u8>, FetchError> {
    let tls = tls(authorities)?;
    let authorization = token.map(authorization).transpose()?;
    tokio::time::timeout(PATIENCE, get(url, tls, authorization)).await.or(Err(FetchError::Timeout))?
}

/// Read anew for each request, since such files are replaced.
fn authorization(path: &Path) -> Result<HeaderValue, FetchError> {
    let unusable = |source| FetchError::Token { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(Some(error)))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(unusable(None));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).or(Err(unusable(None)))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn get(url: &HttpsUrl, tls: ClientConfig, authorization: Option<HeaderValue>) -> Result<Vec<u8>, FetchError> {
    let http = |error: hyper::Error| FetchError::Http(error.into());
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(FetchError::Connect)?;
    let name = ServerName::try_from(url.host.clone())
        .map_err(|error| FetchError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(FetchError::Connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let mut request = Request::get(url.path.as_str())
        .header(HOST, url.authority.as_str())
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("chancery/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Http(error.into()))?;
    if let Some(authorization) = authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let answer = async {
        let response = sender.send_request(request).await.map_err(http)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await.map_err(FetchError::Http)?;
        Ok(body.to_bytes().to_vec())
    };
    // The connection is driven by this task, and gone with it.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(http(error)),
        },
    }
}

fn tls(authorities: &Path) -> Result<ClientConfig, FetchError> {
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| FetchError::Authorities {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let url: HttpsUrl = "https://issuer.example:8443/keys?x=1".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("issuer.example", 8443, "/keys?x=1"));
        assert_eq!(url.to_string(), "https://issuer.example:8443/keys?x=1");
        let url: HttpsUrl = "https://[::1]/".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 443));
        for text in
            ["", "http://a/", "https://", "/keys", "https://user@a/", "https://a/#b", "https://a b/", "file:///a"]
        {
            assert_eq!(text.parse::<HttpsUrl>(), Err(InvalidUrl(text.to_owned())));
        }
    }
}
