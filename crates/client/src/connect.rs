//! The client: a connection, the typed clients over it, and what its calls share.

use std::sync::Arc;
use std::time::Duration;

use chancery_api::v1::audit_service_client::AuditServiceClient;
use chancery_api::v1::caller_service_client::CallerServiceClient;
use chancery_api::v1::key_service_client::KeyServiceClient;
use chancery_api::v1::policy_service_client::PolicyServiceClient;
use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_api::v1::token_service_client::TokenServiceClient;
use tonic::Status;
use tonic_health::pb::health_client::HealthClient;

use crate::caller_signature::Evidence;
use crate::retry::Budget;
use crate::transport::{self, CurrentChannel};
use crate::{ClientError, ConnectOptions, Connection, LocalVerification, RetryPolicy, pem, reload};

/// A connection to Chancery. Cheap to clone; clones share the connection, which is made anew when it breaks and when the
/// files of the TLS identity change.
///
/// [`Client::sign`] and its like are the calls to use: they check checksums, keep the deadline, repeat what is safe to
/// repeat and answer with the words of `chancery_model`. [`Client::signing`] and its like are tonic's clients of the
/// generated messages, for what the former do not offer: each of their calls is sent once, and nothing is checked.
#[derive(Debug, Clone)]
pub struct Client {
    connection: Connection,
    endpoint: Arc<str>,
    request_timeout: Duration,
    retry: RetryPolicy,
    budget: Arc<Budget>,
    local: LocalVerification,
    /// That requests are signed, where they are.
    evidence: Option<Arc<Evidence>>,
}

impl Client {
    /// Connects and completes the TLS handshake; with several endpoints, connections are made when they are needed. Must be
    /// called within a tokio runtime, which the connection then lives on.
    ///
    /// With TLS 1.3 a server says only after the handshake that it does not accept the client's certificate: such an
    /// error may come from the first call instead.
    ///
    /// # Errors
    /// [`ClientError`]: a file that cannot be read or used, an endpoint that is none, a server that is not reached or
    /// not the right one.
    pub async fn connect(options: ConnectOptions) -> Result<Self, ClientError> {
        let material = pem::read(&options)?;
        let opened = transport::open(&options, &material).await?;
        let current = Arc::new(CurrentChannel::new(opened, material.authorization.clone()));
        let connection = Connection::new(Arc::clone(&current), options.request_timeout);
        let evidence = options.request_audience.clone().map(|audience| Arc::new(Evidence::new(audience)));
        let client = Self::over(connection, &options.endpoint, options.request_timeout, options.retry);
        let client = Self { evidence, ..client };
        if let Some(interval) = options.reload_interval {
            reload::watch(options, interval, material.fingerprint(), &current);
        }
        Ok(client)
    }

    pub(crate) fn over(connection: Connection, endpoint: &str, request_timeout: Duration, retry: RetryPolicy) -> Self {
        Self {
            connection,
            endpoint: Arc::from(endpoint),
            request_timeout,
            retry,
            budget: Arc::new(Budget::new(&retry)),
            local: LocalVerification::off(),
            evidence: None,
        }
    }

    /// The same client with another time for each call.
    #[must_use]
    pub fn with_timeout(&self, request_timeout: Duration) -> Self {
        Self { connection: self.connection.with_timeout(request_timeout), request_timeout, ..self.clone() }
    }

    /// The same client, whose calls are sent once.
    #[must_use]
    pub fn without_retries(&self) -> Self {
        Self { retry: RetryPolicy::off(), ..self.clone() }
    }

    /// The same client, which checks every signature against a public key on this side before it hands it out.
    #[must_use]
    pub fn verify_locally(&self, local: LocalVerification) -> Self {
        Self { local, ..self.clone() }
    }

    /// The (first) endpoint, as it was given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How long a call may take, all its attempts included.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// SigningService, unchecked; [`Client::sign`] and its like check the checksums.
    #[must_use]
    pub fn signing(&self) -> SigningServiceClient<Connection> {
        SigningServiceClient::new(self.connection())
    }

    /// KeyService.
    #[must_use]
    pub fn keys(&self) -> KeyServiceClient<Connection> {
        KeyServiceClient::new(self.connection())
    }

    /// CallerService.
    #[must_use]
    pub fn callers(&self) -> CallerServiceClient<Connection> {
        CallerServiceClient::new(self.connection())
    }

    /// PolicyService.
    #[must_use]
    pub fn policy(&self) -> PolicyServiceClient<Connection> {
        PolicyServiceClient::new(self.connection())
    }

    /// AuditService.
    #[must_use]
    pub fn audit(&self) -> AuditServiceClient<Connection> {
        AuditServiceClient::new(self.connection())
    }

    /// TokenService.
    #[must_use]
    pub fn tokens(&self) -> TokenServiceClient<Connection> {
        TokenServiceClient::new(self.connection())
    }

    /// grpc.health.v1.
    #[must_use]
    pub fn health(&self) -> HealthClient<Connection> {
        HealthClient::new(self.connection())
    }

    /// What a status of one of the typed clients means; names this connection's endpoint where it broke.
    #[must_use]
    pub fn error(&self, status: Status) -> ClientError {
        ClientError::from_status(Some(&self.endpoint), status)
    }

    pub(crate) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    pub(crate) fn retry_policy(&self) -> &RetryPolicy {
        &self.retry
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_deref()
    }

    pub(crate) fn local(&self) -> &LocalVerification {
        &self.local
    }
}
