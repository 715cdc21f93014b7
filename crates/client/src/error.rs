//! What can go wrong, each with what to do about it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::pem::TlsFile;

/// Why there is no answer, or none that may be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of the TLS identity cannot be read.
    #[error("cannot read the {file} file {}", path.display())]
    ReadFile {
        /// Which file.
        file: TlsFile,
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the TLS identity holds something else.
    #[error("{} holds no {file} in PEM form", path.display())]
    NotPem {
        /// Which file.
        file: TlsFile,
        /// Where it is.
        path: PathBuf,
    },
    /// The certificate and the private key cannot be used, or do not belong together.
    #[error(
        "the client certificate {} and the private key {} cannot be used together ({})",
        certificate.display(), private_key.display(), innermost(source)
    )]
    TlsIdentity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The private key's file.
        private_key: PathBuf,
        /// What rustls says.
        source: tonic::transport::Error,
    },
    /// Not an endpoint.
    #[error("{endpoint:?} is no endpoint; one has the form https://host:port")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it, where the parser says so.
        source: Option<tonic::transport::Error>,
    },
    /// The service was not reached, or the connection broke before the answer.
    #[error("cannot talk to {}: {problem}", endpoint.as_deref().unwrap_or("the service"))]
    Connection {
        /// The endpoint, where it is known.
        endpoint: Option<String>,
        /// What kind of problem.
        problem: ConnectProblem,
        /// What the transport says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer within the time that this client gives a call. The call may have taken effect.
    #[error("{} did not answer in time; what was asked for may still have happened", endpoint.as_deref().unwrap_or("the service"))]
    TimedOut {
        /// The endpoint, where it is known.
        endpoint: Option<String>,
    },
    /// The service answered with an error.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// A checksum does not fit. Nothing of the answer may be used; calling again is safe.
    #[error("damaged on the way: {what}; the answer was discarded, try again")]
    Damaged {
        /// What was damaged.
        what: &'static str,
    },
    /// The answer says what the contract does not allow, or what only a newer client understands.
    #[error("the service's answer makes no sense to this client: {what}")]
    Answer {
        /// What it says.
        what: String,
    },
}

/// What kind of problem a connection has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectProblem {
    /// Nothing listens there.
    NotListening,
    /// Nothing answers there.
    NoAnswer,
    /// The host's name leads nowhere.
    UnknownHost,
    /// The server's certificate is not one that the CA file vouches for; in rustls's words.
    ServerCertificate(String),
    /// The server refused the client's certificate; the TLS alert it sent.
    ClientCertificate(String),
    /// Anything else; in the transport's words.
    Other(String),
}

impl fmt::Display for ConnectProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListening => f.write_str("nothing listens there (connection refused)"),
            Self::NoAnswer => f.write_str("no answer to the attempt to connect"),
            Self::UnknownHost => f.write_str("the host's name cannot be resolved"),
            Self::ServerCertificate(why) => {
                write!(f, "the server's certificate is not accepted ({why})")
            }
            Self::ClientCertificate(alert) => {
                write!(f, "the server does not accept the client's certificate (TLS alert {alert})")
            }
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// An error that the service answered: `google.rpc.Status`, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// For a person.
    pub message: String,
    /// The stable upper-case reason of `google.rpc.ErrorInfo`, for a program; absent where a proxy answered.
    pub reason: Option<String>,
    /// The metadata of `google.rpc.ErrorInfo`.
    pub metadata: BTreeMap<String, String>,
    /// What is wrong with which field of the request (`google.rpc.BadRequest`).
    pub violations: Vec<FieldViolation>,
    /// When a retry can help: how long to wait before it (`google.rpc.RetryInfo`).
    pub retry_after: Option<Duration>,
}

/// What is wrong with a field of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path, as in the proto, for example `input.digest`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl fmt::Display for Refusal {
    /// The message, then what the details add to it, a line each; metadata that the message says already is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.message.is_empty() { self.code.description() } else { &self.message };
        f.write_str(message)?;
        match &self.reason {
            Some(reason) => write!(f, " [{:?}, {reason}]", self.code)?,
            None => write!(f, " [{:?}]", self.code)?,
        }
        for FieldViolation { field, description } in &self.violations {
            write!(f, "\n  {field}: {description}")?;
        }
        let unsaid = self.metadata.iter().filter(|(_, value)| !message.contains(value.as_str()));
        for (name, value) in unsaid {
            write!(f, "\n  {name} = {value}")?;
        }
        if let Some(delay) = self.retry_after {
            write!(f, "\n  try again in {delay:?}")?;
        }
        Ok(())
    }
}

impl Error for Refusal {}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata) = match details.error_info() {
            Some(info) => (Some(info.reason.clone()), info.metadata.clone().into_iter().collect()),
            None => (None, BTreeMap::new()),
        };
        let violations = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason,
            metadata,
            violations: violations
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

impl ClientError {
    /// The gRPC code, where the service answered with one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// The stable reason, where the service gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.reason.as_deref(),
            _ => None,
        }
    }

    /// What a status means. The service's own carry no source; those that this side makes up carry the transport's.
    pub(crate) fn from_status(endpoint: Option<&str>, mut status: Status) -> Self {
        if status.source().is_none() {
            return Self::Refused(Box::new(Refusal::from(status)));
        }
        if chain(&status).any(|error| error.is::<tonic::TimeoutExpired>()) {
            return Self::TimedOut { endpoint: endpoint.map(str::to_owned) };
        }
        // Metadata and details are the answer's; without an answer there are none to keep.
        status.metadata_mut().clear();
        Self::from_transport(endpoint, Box::new(status))
    }

    pub(crate) fn from_transport(endpoint: Option<&str>, source: Box<dyn Error + Send + Sync>) -> Self {
        let problem = diagnose(source.as_ref());
        Self::Connection { endpoint: endpoint.map(str::to_owned), problem, source }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::from_status(None, status)
    }
}

/// The error and its sources, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// What the deepest source says: the layers above it only say that something went wrong.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn diagnose(error: &(dyn Error + 'static)) -> ConnectProblem {
    for error in chain(error) {
        // rustls's errors arrive inside I/O errors, and after the handshake inside those of HTTP/2, which hides them from
        // `source`: only the text comes through everywhere.
        let text = error.to_string();
        if let Some((_, why)) = text.split_once("invalid peer certificate: ") {
            return ConnectProblem::ServerCertificate(why.to_owned());
        }
        if let Some((_, alert)) = text.split_once("received fatal alert: ") {
            // The alert's name; after it, what is left of the `Debug` text of the layers around it.
            return ConnectProblem::ClientCertificate(alert.chars().take_while(char::is_ascii_alphanumeric).collect());
        }
        if text.contains("failed to lookup address") {
            return ConnectProblem::UnknownHost;
        }
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return ConnectProblem::NotListening,
            Some(io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                return ConnectProblem::NoAnswer;
            }
            _ => {}
        }
    }
    ConnectProblem::Other(innermost(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn the_details_of_a_refusal_are_unpacked() {
        let mut details = ErrorDetails::with_bad_request_violation("input.digest", "must have 32 bytes");
        details.set_error_info(
            "INVALID_FIELD",
            "chancery",
            [("limit".to_owned(), "32".to_owned()), ("what".to_owned(), "request".to_owned())],
        );
        details.set_retry_info(Some(Duration::from_millis(250)));
        let status = Status::with_error_details(Code::InvalidArgument, "the request is not valid", details);
        let ClientError::Refused(refusal) = ClientError::from(status) else { panic!("an answer") };
        assert_eq!(refusal.reason.as_deref(), Some("INVALID_FIELD"));
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(250)));
        assert_eq!(
            refusal.to_string(),
            "the request is not valid [InvalidArgument, INVALID_FIELD]\n  input.digest: must have 32 bytes\n  \
             limit = 32\n  try again in 250ms"
        );
    }

    #[test]
    fn a_refusal_without_details_still_says_its_code() {
        let error = ClientError::from(Status::permission_denied("no"));
        assert_eq!(error.to_string(), "no [PermissionDenied]");
        assert_eq!((error.code(), error.reason()), (Some(Code::PermissionDenied), None));
    }

    #[test]
    fn a_broken_transport_is_told_from_an_answer() {
        let refused = Status::from_error(Box::new(tonic::ConnectError(Box::new(io::Error::from(
            io::ErrorKind::ConnectionRefused,
        )))));
        let error = ClientError::from_status(Some("https://localhost:1"), refused);
        assert_eq!(error.to_string(), "cannot talk to https://localhost:1: nothing listens there (connection refused)");

        let late = Status::from_error(Box::new(tonic::TimeoutExpired(())));
        assert!(matches!(ClientError::from(late), ClientError::TimedOut { endpoint: None }));
    }

    #[test]
    fn tls_alerts_and_certificates_are_told_apart() {
        let problem = |text: &str| diagnose(&io::Error::other(text.to_owned()));
        assert_eq!(
            problem("invalid peer certificate: UnknownIssuer"),
            ConnectProblem::ServerCertificate("UnknownIssuer".to_owned())
        );
        assert_eq!(
            problem("received fatal alert: CertificateExpired"),
            ConnectProblem::ClientCertificate("CertificateExpired".to_owned())
        );
        assert_eq!(
            problem(r#"Custom { kind: InvalidData, error: "received fatal alert: UnknownCA" }))"#),
            ConnectProblem::ClientCertificate("UnknownCA".to_owned())
        );
        assert_eq!(
            problem(r#"Error { kind: Io(Custom { error: "received fatal alert: UnknownCA" }) }"#),
            ConnectProblem::ClientCertificate("UnknownCA".to_owned())
        );
        assert_eq!(problem("broken pipe"), ConnectProblem::Other("broken pipe".to_owned()));
    }

    #[tokio::test]
    async fn a_port_where_nothing_listens_is_said() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{free}")).unwrap();
        let error = ClientError::from_transport(None, Box::new(endpoint.connect().await.unwrap_err()));
        assert!(matches!(&error, ClientError::Connection { problem: ConnectProblem::NotListening, .. }), "{error:?}");
    }
}
