//! One mutual-TLS connection, and the typed clients over it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chancery_api::v1::audit_service_client::AuditServiceClient;
use chancery_api::v1::key_service_client::KeyServiceClient;
use chancery_api::v1::policy_service_client::PolicyServiceClient;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_api::v1::token_service_client::TokenServiceClient;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_health::pb::health_client::HealthClient;

use crate::ClientError;
use crate::pem::{self, TlsFile};

/// Where to connect to, and as whom.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The service's address, `https://host:port`. Plain text is refused: there is no `http`.
    pub endpoint: String,
    /// PEM file of the certificate authorities that may have issued the server's certificate.
    pub ca: PathBuf,
    /// PEM file of the client's certificate, with intermediate ones after it.
    pub certificate: PathBuf,
    /// PEM file of the private key of that certificate (PKCS#8, PKCS#1 or SEC 1).
    pub private_key: PathBuf,
    /// The name that the server's certificate must bear, where it is not the host of the endpoint.
    pub server_name: Option<String>,
    /// How long the connection may take, TLS handshake included.
    pub connect_timeout: Duration,
    /// How long a call may take. The service is told, and stops working on a call that nobody waits for.
    pub request_timeout: Duration,
}

impl ConnectOptions {
    /// The given endpoint and files; 5 seconds to connect, 30 seconds for a call (an RSA-4096 key takes that long to make
    /// in some devices).
    pub fn new(
        endpoint: impl Into<String>,
        ca: impl Into<PathBuf>,
        certificate: impl Into<PathBuf>,
        private_key: impl Into<PathBuf>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            ca: ca.into(),
            certificate: certificate.into(),
            private_key: private_key.into(),
            server_name: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// What carries the calls: the channel, with each call's deadline in its metadata.
pub type Connection = InterceptedService<Channel, Deadline>;

/// Tells the service how long the caller waits (`grpc-timeout`), unless the request already says so.
#[derive(Debug, Clone)]
pub struct Deadline {
    request_timeout: Duration,
}

impl Interceptor for Deadline {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if request.metadata().get("grpc-timeout").is_none() {
            request.set_timeout(self.request_timeout);
        }
        Ok(request)
    }
}

/// A connection to Chancery. Cheap to clone; clones share the connection, which is made anew when it breaks.
#[derive(Debug, Clone)]
pub struct Client {
    connection: Connection,
    endpoint: Arc<str>,
}

impl Client {
    /// Connects and completes the TLS handshake.
    ///
    /// With TLS 1.3 a server says only after the handshake that it does not accept the client's certificate: such an
    /// error may come from the first call instead.
    ///
    /// # Errors
    /// [`ClientError`]: a file that cannot be read or used, an endpoint that is none, a server that is not reached or
    /// not the right one.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ClientError> {
        let endpoint = endpoint(&options)?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| ClientError::from_transport(Some(&options.endpoint), Box::new(error)))?;
        let deadline = Deadline { request_timeout: options.request_timeout };
        Ok(Self { connection: InterceptedService::new(channel, deadline), endpoint: Arc::from(options.endpoint) })
    }

    /// The endpoint, as it was given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// SigningService, unchecked; [`Client::sign`] and its like check the checksums.
    #[must_use]
    pub fn signing(&self) -> SigningServiceClient<Connection> {
        SigningServiceClient::new(self.connection.clone())
    }

    /// KeyService.
    #[must_use]
    pub fn keys(&self) -> KeyServiceClient<Connection> {
        KeyServiceClient::new(self.connection.clone())
    }

    /// PolicyService.
    #[must_use]
    pub fn policy(&self) -> PolicyServiceClient<Connection> {
        PolicyServiceClient::new(self.connection.clone())
    }

    /// AuditService.
    #[must_use]
    pub fn audit(&self) -> AuditServiceClient<Connection> {
        AuditServiceClient::new(self.connection.clone())
    }

    /// TokenService.
    #[must_use]
    pub fn tokens(&self) -> TokenServiceClient<Connection> {
        TokenServiceClient::new(self.connection.clone())
    }

    /// grpc.health.v1.
    #[must_use]
    pub fn health(&self) -> HealthClient<Connection> {
        HealthClient::new(self.connection.clone())
    }

    /// What a status of one of the typed clients means; names this connection's endpoint where it broke.
    #[must_use]
    pub fn error(&self, status: Status) -> ClientError {
        ClientError::from_status(Some(&self.endpoint), status)
    }
}

/// Everything that can be checked before a packet is sent.
fn endpoint(options: &ConnectOptions) -> Result<Endpoint, ClientError> {
    let ca = pem::read_certificates(TlsFile::Ca, &options.ca)?;
    let certificate = pem::read_certificates(TlsFile::Certificate, &options.certificate)?;
    let private_key = pem::read_private_key(&options.private_key)?;
    let invalid = |source| ClientError::Endpoint { endpoint: options.endpoint.clone(), source };
    if !options.endpoint.starts_with("https://") {
        return Err(invalid(None));
    }
    let endpoint = Endpoint::from_shared(options.endpoint.clone()).map_err(|error| invalid(Some(error)))?;
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(invalid(None));
    }
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca))
        .identity(Identity::from_pem(certificate, private_key))
        .timeout(options.connect_timeout);
    if let Some(name) = &options.server_name {
        tls = tls.domain_name(name);
    }
    endpoint
        .connect_timeout(options.connect_timeout)
        .timeout(options.request_timeout)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(60)))
        .tls_config(tls)
        .map_err(|source| ClientError::TlsIdentity {
            certificate: options.certificate.clone(),
            private_key: options.private_key.clone(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        endpoint(&options).unwrap_err()
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

    #[test]
    fn each_request_carries_the_deadline_but_keeps_its_own() {
        let mut deadline = Deadline { request_timeout: Duration::from_secs(30) };
        let request = deadline.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("grpc-timeout").unwrap(), "30000000u");
        let mut own = Request::new(());
        own.set_timeout(Duration::from_secs(1));
        let request = deadline.call(own).unwrap();
        assert_eq!(request.metadata().get("grpc-timeout").unwrap(), "1000000u");
    }
}
