//! Where to connect to, as whom, and how patiently.

use std::path::PathBuf;
use std::time::Duration;

use crate::{ApiKey, RetryPolicy};

/// Where to connect to, as whom, and how patiently. Begin with [`ConnectOptions::new`] (mutual TLS),
/// [`ConnectOptions::with_api_key`] or [`ConnectOptions::with_oidc_token_file`], and change what should be different:
///
/// ```
/// # use std::time::Duration;
/// use chancery_client::{ConnectOptions, RetryPolicy};
///
/// let options = ConnectOptions::new("https://chancery.internal:8443", "ca.pem", "caller.pem", "caller.key")
///     .request_timeout(Duration::from_secs(5))
///     .user_agent("billing/1.4")
///     .retry(RetryPolicy { max_attempts: 3, ..RetryPolicy::default() });
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The service's address, `https://host:port`. Plain text is refused: there is no `http`.
    pub endpoint: String,
    /// More addresses of the same service. Where there are any, calls are spread over all, away from those with many calls
    /// under way (power of two choices); each is connected to when it is first needed.
    pub more_endpoints: Vec<String>,
    /// PEM file of the certificate authorities that may have issued the server's certificate.
    pub ca: PathBuf,
    /// Who calls.
    pub credentials: Credentials,
    /// The name that the server's certificate must bear, where it is not the host of the endpoint.
    pub server_name: Option<String>,
    /// How long the connection may take, TLS handshake included.
    pub connect_timeout: Duration,
    /// How long a call may take, all its attempts and the pauses between them included. The service is told, and stops
    /// working on a call that nobody waits for. Streams have no such limit.
    pub request_timeout: Duration,
    /// How often a connection with calls under way is asked whether it still lives (HTTP/2 PING).
    pub keepalive_interval: Duration,
    /// How long such an answer may take, before the connection counts as broken.
    pub keepalive_timeout: Duration,
    /// How often the files are looked at, to take new certificates without a restart; `None`: never. New calls then use a
    /// new connection; calls under way end on the old one. What cannot be used is left alone, with a warning in the log.
    pub reload_interval: Option<Duration>,
    /// What is asked again by itself, and how often.
    pub retry: RetryPolicy,
    /// Goes before tonic's own words in the `user-agent` header.
    pub user_agent: String,
    /// Whom requests are signed for, with the key of the client certificate; `None`: they are not signed.
    pub request_audience: Option<String>,
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A certificate: mutual TLS.
    Certificate {
        /// PEM file of the client's certificate, with intermediate ones after it.
        certificate: PathBuf,
        /// PEM file of the private key of that certificate (PKCS#8, PKCS#1 or SEC 1).
        private_key: PathBuf,
    },
    /// An API key, for listeners that say `client_auth = "optional"`.
    ApiKey(ApiKey),
    /// File of a token of an OpenID Connect issuer that the service trusts, for such listeners. It is looked at as often as
    /// the files of the TLS identity, since such tokens are replaced long before they expire.
    OidcTokenFile(PathBuf),
}

impl ConnectOptions {
    /// The given endpoint and files; 5 seconds to connect, 30 seconds for a call (an RSA-4096 key takes that long to make
    /// in some devices), files looked at every 10 seconds.
    pub fn new(
        endpoint: impl Into<String>,
        ca: impl Into<PathBuf>,
        certificate: impl Into<PathBuf>,
        private_key: impl Into<PathBuf>,
    ) -> Self {
        let credentials = Credentials::Certificate { certificate: certificate.into(), private_key: private_key.into() };
        Self::with_credentials(endpoint, ca, credentials)
    }

    /// The same for a caller with an API key in place of a certificate.
    pub fn with_api_key(endpoint: impl Into<String>, ca: impl Into<PathBuf>, api_key: ApiKey) -> Self {
        Self::with_credentials(endpoint, ca, Credentials::ApiKey(api_key))
    }

    /// The same for a caller whose OpenID Connect issuer puts tokens into a file, as Kubernetes does for its service accounts.
    pub fn with_oidc_token_file(
        endpoint: impl Into<String>,
        ca: impl Into<PathBuf>,
        token_file: impl Into<PathBuf>,
    ) -> Self {
        Self::with_credentials(endpoint, ca, Credentials::OidcTokenFile(token_file.into()))
    }

    /// The same for any of these.
    pub fn with_credentials(endpoint: impl Into<String>, ca: impl Into<PathBuf>, credentials: Credentials) -> Self {
        Self {
            endpoint: endpoint.into(),
            more_endpoints: Vec::new(),
            ca: ca.into(),
            credentials,
            server_name: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            reload_interval: Some(Duration::from_secs(10)),
            retry: RetryPolicy::default(),
            user_agent: concat!("chancery-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            request_audience: None,
        }
    }

    /// Adds an address of the same service: see [`ConnectOptions::more_endpoints`].
    #[must_use]
    pub fn also(mut self, endpoint: impl Into<String>) -> Self {
        self.more_endpoints.push(endpoint.into());
        self
    }

    /// Sets [`ConnectOptions::server_name`].
    #[must_use]
    pub fn server_name(self, name: impl Into<String>) -> Self {
        Self { server_name: Some(name.into()), ..self }
    }

    /// Sets [`ConnectOptions::connect_timeout`].
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Sets [`ConnectOptions::request_timeout`].
    #[must_use]
    pub fn request_timeout(self, request_timeout: Duration) -> Self {
        Self { request_timeout, ..self }
    }

    /// Sets [`ConnectOptions::keepalive_interval`] and [`ConnectOptions::keepalive_timeout`].
    #[must_use]
    pub fn keepalive(self, keepalive_interval: Duration, keepalive_timeout: Duration) -> Self {
        Self { keepalive_interval, keepalive_timeout, ..self }
    }

    /// Sets [`ConnectOptions::reload_interval`].
    #[must_use]
    pub fn reload_every(self, interval: Duration) -> Self {
        Self { reload_interval: Some(interval), ..self }
    }

    /// Sets [`ConnectOptions::retry`].
    #[must_use]
    pub fn retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// Lets every request for a signature (sign, batch, stream, JWT, certificate request) be signed, too, with the key of the
    /// client certificate: for non-repudiation, and for keys that require it. `audience` is what the service's operator
    /// configured; a signature for one service is of no use at another.
    ///
    /// The client asks for the public key of each key once, to learn by which hash function it speaks of what it signs.
    #[must_use]
    pub fn sign_requests(self, audience: impl Into<String>) -> Self {
        Self { request_audience: Some(audience.into()), ..self }
    }

    /// Sets [`ConnectOptions::user_agent`], for example `billing/1.4`.
    #[must_use]
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        Self { user_agent: user_agent.into(), ..self }
    }
}
