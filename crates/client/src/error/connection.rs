//! What kind of problem a connection has.

use std::error::Error;
use std::fmt;
use std::io;

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

/// The error and its sources, outermost first.
pub(super) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// What the deepest source says: the layers above it only say that something went wrong.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

pub(super) fn diagnose(error: &(dyn Error + 'static)) -> ConnectProblem {
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
}
