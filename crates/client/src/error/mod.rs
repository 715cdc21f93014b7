//! What can go wrong, each with what to do about it.

mod connection;
mod refusal;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use chancery_crypto::{PublicKeyError, RandomError, VerifyError};
use chancery_model::KeyVersionName;
use tonic::{Code, Status};

use crate::pem::TlsFile;
use connection::{chain, diagnose, innermost};

pub use connection::ConnectProblem;
pub use refusal::{FieldViolation, Refusal, RefusalKind};

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
    /// The file of an OIDC token cannot be read, or holds none.
    #[error(
        "{} {}", path.display(),
        if source.is_some() { "cannot be read, which should hold an OIDC token" } else { "holds no OIDC token (JWT)" }
    )]
    OidcTokenFile {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be read.
        source: Option<io::Error>,
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
    /// The certificate's key signs no requests.
    #[error("requests cannot be signed with the key of the client certificate {}: {why}", certificate.display())]
    RequestSigning {
        /// The certificate's file.
        certificate: PathBuf,
        /// Why not.
        why: String,
    },
    /// The server's authorities, its name or the user agent cannot be used.
    #[error("the connection to {endpoint} cannot be set up as asked for ({})", innermost(source))]
    Setup {
        /// The endpoint.
        endpoint: String,
        /// What tonic or rustls says.
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
    /// The request cannot be sent, because the service could not take it. Nothing was sent.
    #[error("{what}")]
    Request {
        /// What is wrong with it.
        what: String,
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
    /// The public key in the answer is none.
    #[error("the public key of {version} that the service answered is none")]
    PublicKey {
        /// The version.
        version: KeyVersionName,
        /// What is wrong with it.
        source: PublicKeyError,
    },
    /// Verification on this side found a signature that is not the pinned key's. The signature was discarded.
    #[error(
        "the signature that the service answered for {version} (record {record_index}) is not one of the public key pinned \
         here; it was discarded: either another key was pinned, or somebody on the way or in the service cannot be trusted"
    )]
    WrongSignature {
        /// The version that signed, as the service says.
        version: KeyVersionName,
        /// Index of the intent's record, for whoever looks into it.
        record_index: u64,
        /// What the verification says.
        source: VerifyError,
    },
    /// A version signed whose public key is not pinned here. The signature was discarded.
    #[error("{version} signed, whose public key is not pinned on this side; pin it, once it is known to be right")]
    NotPinned {
        /// The version that signed.
        version: KeyVersionName,
    },
    /// The stream has ended; what was not answered on it may be sent again on another.
    #[error("the stream has ended; open another for what was not answered, signing it again is safe")]
    StreamEnded,
    /// A call that several of the caller's items shared failed.
    #[error(transparent)]
    Shared(Arc<ClientError>),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl ClientError {
    /// The service's own error, where it answered with one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Shared(error) => error.refusal(),
            _ => None,
        }
    }

    /// The gRPC code, where the service answered with one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.refusal().map(|refusal| refusal.code)
    }

    /// The stable reason, where the service gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.refusal()?.reason.as_deref()
    }

    /// Whether the same call can succeed a little later, without anybody changing anything: the service or its connection
    /// was not there, is overloaded, or the answer was damaged. What is safe to repeat was repeated by then, see
    /// [`RetryPolicy`](crate::RetryPolicy). A call that ran out of time is not of this kind: it may have taken effect.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::StreamEnded => true,
            Self::Shared(error) => error.is_transient(),
            other => crate::retry::pushback(other).is_some(),
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn a_port_where_nothing_listens_is_said() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{free}")).unwrap();
        let error = ClientError::from_transport(None, Box::new(endpoint.connect().await.unwrap_err()));
        assert!(matches!(&error, ClientError::Connection { problem: ConnectProblem::NotListening, .. }), "{error:?}");
    }

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let transient = |status: Status| ClientError::from(status).is_transient();
        assert!(transient(Status::unavailable("")));
        assert!(!transient(Status::resource_exhausted("a limit that stays")));
        assert!(!transient(Status::deadline_exceeded("")));
        assert!(!transient(Status::permission_denied("")));
        assert!(ClientError::Shared(Arc::new(ClientError::from(Status::unavailable("")))).is_transient());
    }
}
