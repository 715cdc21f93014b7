//! What carries the calls: channels, replaced when files change, with each call's deadline and credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use tonic::body::Body;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tower::util::Oneshot;
use tower::{Service, ServiceExt as _};

use crate::caller_signature::RequestSigner;
use crate::pem::Material;
use crate::{ClientError, ConnectOptions, Credentials};

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The methods that stay open for as long as the caller likes: a deadline would end them.
const UNBOUNDED: [&str; 3] = [
    "/chancery.v1.SigningService/StreamSign",
    "/chancery.v1.AuditService/WatchRecords",
    "/grpc.health.v1.Health/Watch",
];

/// A channel, and what signs requests with the key of the certificate that it was opened with.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) channel: Channel,
    pub(crate) signer: Option<Arc<RequestSigner>>,
}

/// The channel in force, and what calls on it bring. New calls take them; calls under way keep what they began with.
#[derive(Debug)]
pub(crate) struct CurrentChannel {
    channel: ArcSwap<Opened>,
    generation: AtomicU64,
    authorization: ArcSwapOption<HeaderValue>,
}

impl CurrentChannel {
    pub(crate) fn new(opened: Opened, authorization: Option<HeaderValue>) -> Self {
        let authorization = ArcSwapOption::from_pointee(authorization);
        Self { channel: ArcSwap::from_pointee(opened), generation: AtomicU64::new(0), authorization }
    }

    /// Lets new calls bring this from now on; says whether it is another than before.
    pub(crate) fn authorize(&self, authorization: Option<HeaderValue>) -> bool {
        let other = self.authorization.load().as_deref() != authorization.as_ref();
        if other {
            self.authorization.store(authorization.map(Arc::new));
        }
        other
    }

    pub(crate) fn replace(&self, opened: Opened) {
        self.channel.store(Arc::new(opened));
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it was replaced.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }
}

/// Carries calls of tonic's typed clients: tells the service how long the caller waits (`grpc-timeout`), unless the request
/// already says so or the method is a stream that stays open, and who calls, where that is not the connection's matter.
#[derive(Debug, Clone)]
pub struct Connection {
    current: Arc<CurrentChannel>,
    timeout: Option<HeaderValue>,
}

impl Connection {
    pub(crate) fn new(current: Arc<CurrentChannel>, timeout: Duration) -> Self {
        Self { current, timeout: timeout_header(timeout) }
    }

    /// The same with another deadline.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout: timeout_header(timeout), ..self.clone() }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.current.generation()
    }

    /// The same, kept to the channel that is in force now, and what signs requests on it.
    pub(crate) fn with_signer(&self) -> (Self, Option<Arc<RequestSigner>>) {
        let opened = self.current.channel.load();
        let signer = opened.signer.clone();
        let authorization = self.current.authorization.load().as_deref().cloned();
        let kept = CurrentChannel::new(Opened::clone(&opened), authorization);
        (Self { current: Arc::new(kept), timeout: self.timeout.clone() }, signer)
    }

    fn prepare(&self, request: &mut http::Request<Body>) {
        let bounded = !UNBOUNDED.contains(&request.uri().path());
        let headers = request.headers_mut();
        if let Some(timeout) = self.timeout.as_ref().filter(|_| bounded && !headers.contains_key(GRPC_TIMEOUT)) {
            headers.insert(GRPC_TIMEOUT, timeout.clone());
        }
        if let Some(authorization) = self.current.authorization.load().as_deref() {
            headers.insert(http::header::AUTHORIZATION, authorization.clone());
        }
    }
}

/// As tonic writes it: at most eight digits, in the finest unit that has room.
fn timeout_header(timeout: Duration) -> Option<HeaderValue> {
    let mut request = tonic::Request::new(());
    request.set_timeout(timeout);
    request.into_parts().0.into_headers().remove(GRPC_TIMEOUT)
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Oneshot<Channel, http::Request<Body>>;

    /// Always: readiness is the channel's, which is taken with the call.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        self.prepare(&mut request);
        self.current.channel.load().channel.clone().oneshot(request)
    }
}

/// A channel over the options' endpoints. With one endpoint the connection is made now, TLS handshake included; with several
/// each is made when it is first needed.
pub(crate) async fn open(options: &ConnectOptions, material: &Material) -> Result<Opened, ClientError> {
    let signer = request_signer(options, material)?.map(Arc::new);
    Ok(Opened { channel: open_channel(options, material).await?, signer })
}

/// What signs requests, where they are to be signed.
fn request_signer(options: &ConnectOptions, material: &Material) -> Result<Option<RequestSigner>, ClientError> {
    if options.request_audience.is_none() {
        return Ok(None);
    }
    match (&material.identity, &options.credentials) {
        (Some(identity), Credentials::Certificate { certificate, .. }) => RequestSigner::of(identity)
            .map(Some)
            .map_err(|why| ClientError::RequestSigning { certificate: certificate.clone(), why }),
        _ => {
            let what = "requests are signed with the key of a client certificate, and these credentials have none";
            Err(ClientError::Request { what: what.to_owned() })
        }
    }
}

async fn open_channel(options: &ConnectOptions, material: &Material) -> Result<Channel, ClientError> {
    let first = endpoint(options, &options.endpoint, material)?;
    if options.more_endpoints.is_empty() {
        let failed = |error| ClientError::from_transport(Some(&options.endpoint), Box::new(error));
        return first.connect().await.map_err(failed);
    }
    let more = options.more_endpoints.iter().map(|text| endpoint(options, text, material));
    let all: Vec<Endpoint> = std::iter::once(Ok(first)).chain(more).collect::<Result<_, _>>()?;
    Ok(Channel::balance_list(all.into_iter()))
}

/// Everything that can be checked before a packet is sent.
fn endpoint(options: &ConnectOptions, text: &str, material: &Material) -> Result<Endpoint, ClientError> {
    let invalid = |source| ClientError::Endpoint { endpoint: text.to_owned(), source };
    if !text.starts_with("https://") {
        return Err(invalid(None));
    }
    let endpoint = Endpoint::from_shared(text.to_owned()).map_err(|error| invalid(Some(error)))?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(invalid(None));
    }
    let mut tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&material.ca)).timeout(options.connect_timeout);
    if let Some(identity) = &material.identity {
        tls = tls.identity(Identity::from_pem(&identity.certificate, identity.private_key.as_slice()));
    }
    if let Some(name) = &options.server_name {
        tls = tls.domain_name(name);
    }
    let setup = |source| match &options.credentials {
        Credentials::Certificate { certificate, private_key } => {
            ClientError::TlsIdentity { certificate: certificate.clone(), private_key: private_key.clone(), source }
        }
        Credentials::ApiKey(_) | Credentials::OidcTokenFile(_) => {
            ClientError::Setup { endpoint: text.to_owned(), source }
        }
    };
    endpoint
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(60)))
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .user_agent(options.user_agent.as_str())
        .map_err(|source| ClientError::Setup { endpoint: text.to_owned(), source })?
        .tls_config(tls)
        .map_err(setup)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ApiKey;
    use crate::pem;

    fn refused(endpoint_text: &str) -> ClientError {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, label: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")).unwrap();
            path
        };
        let options = ConnectOptions::new(
            endpoint_text,
            write("ca.pem", "CERTIFICATE"),
            write("client.pem", "CERTIFICATE"),
            write("client.key", "PRIVATE KEY"),
        );
        endpoint(&options, endpoint_text, &pem::read(&options).unwrap()).unwrap_err()
    }

    #[test]
    fn plain_text_and_nonsense_are_no_endpoints() {
        for text in ["http://127.0.0.1:8443", "127.0.0.1:8443", "https://", "https://a b", ""] {
            assert!(matches!(refused(text), ClientError::Endpoint { .. }), "{text:?}: {}", refused(text));
        }
    }

    #[test]
    fn a_key_that_is_none_names_both_files() {
        let error = refused("https://127.0.0.1:8443").to_string();
        assert!(error.contains("client.pem") && error.contains("client.key"), "{error}");
    }

    fn prepared(connection: &Connection, request: http::request::Builder) -> http::HeaderMap {
        let mut request = request.body(Body::empty()).unwrap();
        connection.prepare(&mut request);
        request.headers().clone()
    }

    #[tokio::test]
    async fn each_request_carries_the_deadline_but_keeps_its_own() {
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let current = Arc::new(CurrentChannel::new(Opened { channel, signer: None }, None));
        let connection = Connection::new(Arc::clone(&current), Duration::from_secs(30));
        let to = |path: &str| http::Request::post(format!("https://h{path}"));
        let sign = "/chancery.v1.SigningService/Sign";
        let headers = prepared(&connection, to(sign));
        assert_eq!(headers.get(GRPC_TIMEOUT).unwrap(), "30000000u");
        assert!(headers.get("authorization").is_none());
        assert_eq!(prepared(&connection, to(sign).header(GRPC_TIMEOUT, "1S")).get(GRPC_TIMEOUT).unwrap(), "1S");
        for stream in UNBOUNDED {
            assert!(prepared(&connection, to(stream)).get(GRPC_TIMEOUT).is_none(), "{stream}");
        }

        let key = ApiKey::parse("chy_dev_secret").unwrap();
        assert!(current.authorize(Some(key.authorization())) && !current.authorize(Some(key.authorization())));
        assert_eq!(prepared(&connection, to(sign)).get("authorization").unwrap(), "Bearer chy_dev_secret");
        assert!(!format!("{connection:?}").contains("secret"), "{connection:?}");
    }
}
