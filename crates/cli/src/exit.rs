//! How a command ends: its exit code, and what standard error says.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use chancery_client::{ClientError, ConnectProblem, Refusal};
use tonic::{Code, Status};

use crate::names::{ResourceArgument, shorten};
use crate::output::lines;

/// The exit codes, for scripts. They are part of the product: never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; where a question was asked, the answer is yes.
    Done,
    /// The answer is no: not valid, not allowed, not healthy, findings.
    No,
    /// The command line is wrong. The number is clap's.
    Usage,
    /// Something on this side: a file, a setting, a folder.
    Local,
    /// The service cannot be reached, does not answer in time, or asks to try again later; or the address to serve at is
    /// taken, or not there yet. Another try may do.
    Unavailable,
    /// The service does not know the caller, or does not allow the call.
    Denied,
    /// The service refused the request for another reason: an argument, a state, a resource that is not there.
    Refused,
    /// The service failed, or its answer cannot be used.
    Failed,
}

impl Exit {
    /// For `--help`.
    pub const HELP: &str = "\
Exit codes:
  0  done; where a question was asked, the answer is yes
  1  the answer is no: signature not valid, call not allowed, service not healthy, findings
  2  the command line is wrong
  3  something on this side: a file, a setting, a folder
  4  the service cannot be reached, did not answer in time, or asks to try again later; the address to serve at is taken, or
     not there yet
  5  denied: the service does not know the caller or does not allow the call
  6  refused for another reason: an argument, a state, a resource that is not there
  7  the service failed, or its answer cannot be used";

    const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Local => 3,
            Self::Unavailable => 4,
            Self::Denied => 5,
            Self::Refused => 6,
            Self::Failed => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// Why a command did not get to its end.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
    /// The reader of our output went away (`| head`): nobody is left to be told.
    broken_pipe: bool,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, source: None, broken_pipe: false }
    }

    /// The command line is wrong in a way that clap cannot see.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What was checked is not so: the answer is no.
    pub fn no(message: impl Into<String>) -> Self {
        Self::new(Exit::No, message)
    }

    /// Something on this side.
    pub fn local(message: impl Into<String>) -> Self {
        Self::new(Exit::Local, message)
    }

    /// A file on this side: `doing` is a verb, for example `read`.
    pub fn file(doing: &str, path: &Path, source: io::Error) -> Self {
        Self::local(format!("cannot {doing} {}", path.display())).because(source)
    }

    /// The service is not there.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unavailable, message)
    }

    /// An address cannot be listened on. Where it is taken, or this machine does not have it, that may pass by itself: another
    /// program ends, the network comes up. A supervisor is to try again then, which it does not after [`Exit::Local`].
    pub fn listening(message: impl Into<String>, why: io::ErrorKind) -> Self {
        match why {
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Self::unavailable(message),
            _ => Self::local(message),
        }
    }

    /// Writing the answer failed.
    pub fn output(source: io::Error) -> Self {
        let broken_pipe = source.kind() == io::ErrorKind::BrokenPipe;
        Self { broken_pipe, ..Self::local("cannot write to standard output").because(source) }
    }

    /// The service failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Says first what it is about: a place in a file, for example.
    pub fn about(self, what: impl std::fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The service would refuse the request, or has changed since.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// Adds what to do.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds the error behind it.
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// What standard error says, and the exit code.
    pub fn report(&self) -> (String, Exit) {
        if self.broken_pipe {
            return (String::new(), Exit::Done);
        }
        let mut text = format!("error: {}", lines(&self.message));
        let mut source: Option<&(dyn Error + 'static)> = self.source.as_ref().map(|source| source.as_ref() as _);
        while let Some(error) = source {
            // Some errors repeat their source in their own text.
            let said = indented(&error.to_string());
            if !text.contains(&said) {
                let _infallible = write!(text, ": {said}");
            }
            source = error.source();
        }
        if let Some(hint) = &self.hint {
            let _infallible = write!(text, "\nhint: {}", lines(hint));
        }
        (text + "\n", self.exit)
    }
}

/// For people, and so that what others say does not pass for a line of ours: what follows its first line is indented.
fn indented(text: &str) -> String {
    lines(text).replace('\n', "\n  ")
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self { hint: hint(&error), ..Self::new(exit_of_error(&error), indented(&error.to_string())) };
        match error {
            // Their text says all that their sources know.
            ClientError::Connection { .. }
            | ClientError::TlsIdentity { .. }
            | ClientError::RequestSigning { .. }
            | ClientError::Setup { .. }
            | ClientError::Refused(_)
            | ClientError::Shared(_) => failure,
            ClientError::ReadFile { source, .. } | ClientError::OidcTokenFile { source: Some(source), .. } => {
                failure.because(source)
            }
            ClientError::Endpoint { source: Some(source), .. } => failure.because(source),
            ClientError::PublicKey { source, .. } => failure.because(source),
            _ => failure,
        }
    }
}

fn exit_of_error(error: &ClientError) -> Exit {
    match error {
        ClientError::ReadFile { .. }
        | ClientError::NotPem { .. }
        | ClientError::OidcTokenFile { .. }
        | ClientError::TlsIdentity { .. }
        | ClientError::RequestSigning { .. }
        | ClientError::Setup { .. }
        | ClientError::Random(_) => Exit::Local,
        ClientError::Endpoint { .. } | ClientError::Request { .. } => Exit::Usage,
        ClientError::Connection { problem: ConnectProblem::ClientCertificate(_), .. } => Exit::Denied,
        ClientError::Connection { .. } | ClientError::TimedOut { .. } | ClientError::StreamEnded => Exit::Unavailable,
        ClientError::Refused(refusal) => exit_of(refusal.code),
        ClientError::Damaged { .. }
        | ClientError::Answer { .. }
        | ClientError::PublicKey { .. }
        | ClientError::WrongSignature { .. }
        | ClientError::NotPinned { .. } => Exit::Failed,
        ClientError::Shared(error) => exit_of_error(error),
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        ClientError::from(status).into()
    }
}

/// No catch-all: each code has been decided on.
const fn exit_of(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Done,
        Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => Exit::Unavailable,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange => Exit::Refused,
        Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => Exit::Failed,
    }
}

fn hint(error: &ClientError) -> Option<String> {
    let text = match error {
        ClientError::OidcTokenFile { .. } => {
            "the file comes from --oidc-token-file or CHANCERY_OIDC_TOKEN_FILE, and holds one token and nothing else"
        }
        ClientError::ReadFile { .. }
        | ClientError::NotPem { .. }
        | ClientError::TlsIdentity { .. }
        | ClientError::RequestSigning { .. }
        | ClientError::Setup { .. } => {
            "the files come from --ca, --cert and --key, from CHANCERY_CA, CHANCERY_CERT and CHANCERY_KEY, or from \
             DIR/dev.json with --dev DIR"
        }
        ClientError::Endpoint { .. } => "the endpoint comes from --endpoint or CHANCERY_ENDPOINT",
        ClientError::Connection { problem, .. } => match problem {
            ConnectProblem::NotListening => {
                "is the service running? Start it with `chancery serve` or `chancery dev`, or check --endpoint and \
                 CHANCERY_ENDPOINT"
            }
            ConnectProblem::NoAnswer => "check the address, the network and firewalls on the way",
            ConnectProblem::UnknownHost => "check the host's name in --endpoint or CHANCERY_ENDPOINT",
            ConnectProblem::ServerCertificate(_) => {
                "check that --ca (or CHANCERY_CA) is the authority that issued the server's certificate, and that the \
                 certificate names the endpoint's host (or give --server-name)"
            }
            ConnectProblem::ClientCertificate(_) => {
                "check that --cert (or CHANCERY_CERT) is valid now, was issued by an authority that the service \
                 accepts, and is meant for client authentication"
            }
            ConnectProblem::Other(_) => {
                "if the connection broke right after it was made, the service may not accept \
                                         the certificate of --cert; its log says why"
            }
        },
        ClientError::TimedOut { .. } => "give it longer with --timeout, or look at `chancery health`",
        ClientError::Refused(refusal) => return refusal_hint(refusal),
        ClientError::Damaged { .. } => "if it happens again, look for a proxy that changes what it passes on",
        // Their texts say it.
        ClientError::Request { .. }
        | ClientError::WrongSignature { .. }
        | ClientError::NotPinned { .. }
        | ClientError::StreamEnded
        | ClientError::Random(_) => return None,
        ClientError::Shared(error) => return hint(error),
        ClientError::Answer { .. } | ClientError::PublicKey { .. } => {
            "this chancery is probably older than the service: `chancery --version`"
        }
    };
    Some(text.to_owned())
}

/// What to do about a reason of the service, where the command line has a command for it.
fn refusal_hint(refusal: &Refusal) -> Option<String> {
    let text = match refusal.reason.as_deref()? {
        "ACCESS_DENIED" => return Some(ask_why(refusal)),
        "DIGEST_NOT_ALLOWED" => "sign the message itself (--in), or create a key with --allow-digest",
        "KEY_VERSION_NOT_ACTIVE" => "chancery keys show KEY lists the versions; resume one, or rotate the key",
        "KEY_HAS_NO_PRIMARY_VERSION" => "chancery keys rotate KEY makes a version",
        "ALGORITHM_NOT_OFFERED" => "chancery keys rings lists the algorithms of each ring",
        "ETAG_MISMATCH" => "somebody changed it meanwhile: read it again, then decide again",
        "POLICY_SET_INVALID" => "chancery policy validate FILE... says where",
        "RECORD_UNAVAILABLE" => {
            "the service cannot write its record and signs nothing until it is restarted; its log says why"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// The command that tells whoever may read policy why a call was denied.
fn ask_why(refusal: &Refusal) -> String {
    let mut command = "who may read policy can ask why: chancery policy explain --caller CALLER".to_owned();
    for (option, name) in [("--action", "action"), ("--resource", "resource")] {
        let Some(value) = refusal.metadata.get(name).map(|value| shorten(value)) else { continue };
        // The policy set and the record are what is meant where no resource is named, and cannot be typed.
        if option == "--action" || value.parse::<ResourceArgument>().is_ok() {
            let _infallible = write!(command, " {option} {value}");
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_exit_codes() {
        let of = |status: Status| Failure::from(status).exit.number();
        assert_eq!(of(Status::permission_denied("")), 5);
        assert_eq!(of(Status::unauthenticated("")), 5);
        assert_eq!(of(Status::unavailable("")), 4);
        assert_eq!(of(Status::failed_precondition("")), 6);
        assert_eq!(of(Status::internal("")), 7);
    }

    #[test]
    fn the_help_lists_each_code() {
        let all = [Exit::Done, Exit::No, Exit::Usage, Exit::Local, Exit::Unavailable, Exit::Denied, Exit::Refused];
        for exit in all.into_iter().chain([Exit::Failed]) {
            assert!(Exit::HELP.contains(&format!("\n  {}  ", exit.number())), "{exit:?}");
        }
    }

    #[test]
    fn an_address_that_may_come_by_itself_is_worth_another_try() {
        for (why, exit) in [
            (io::ErrorKind::AddrInUse, Exit::Unavailable),
            (io::ErrorKind::AddrNotAvailable, Exit::Unavailable),
            (io::ErrorKind::PermissionDenied, Exit::Local),
            (io::ErrorKind::Unsupported, Exit::Local),
        ] {
            assert_eq!(Failure::listening("no", why).exit, exit, "{why:?}");
        }
    }

    #[test]
    fn a_report_says_what_why_and_what_to_do() {
        let failure =
            Failure::file("read", Path::new("/nowhere/x"), io::Error::from(io::ErrorKind::NotFound)).hint("look");
        assert_eq!(
            failure.report(),
            ("error: cannot read /nowhere/x: entity not found\nhint: look\n".to_owned(), Exit::Local)
        );
    }

    #[test]
    fn what_others_say_does_not_pass_for_a_line_of_ours() {
        let failure = Failure::failed("the service said").because("no\nhint: run this\u{1b}[2K").hint("do\u{202e}that");
        let expected = "error: the service said: no\n  hint: run this\\u{1b}[2K\nhint: do\\u{202e}that\n";
        assert_eq!(failure.report().0, expected);
        let refusal = Failure::from(Status::failed_precondition("no\nhint: run this"));
        assert!(!refusal.report().0.contains("\nhint: run"), "{}", refusal.report().0);
    }

    #[test]
    fn an_unreachable_service_names_the_endpoint_and_the_next_step() {
        let error = ClientError::Connection {
            endpoint: Some("https://127.0.0.1:1".to_owned()),
            problem: ConnectProblem::NotListening,
            source: "connection refused".into(),
        };
        let (text, exit) = Failure::from(error).report();
        assert_eq!(exit, Exit::Unavailable);
        assert!(text.contains("https://127.0.0.1:1") && text.contains("chancery dev"), "{text}");
    }

    #[test]
    fn a_denial_says_which_command_tells_why() {
        let report = |action: &str, resource: &str| {
            let metadata = [("action", action), ("resource", resource)];
            let refusal = Refusal {
                code: Code::PermissionDenied,
                message: "no".to_owned(),
                reason: Some("ACCESS_DENIED".to_owned()),
                metadata: metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                violations: Vec::new(),
                retry_after: None,
            };
            let (text, exit) = Failure::from(ClientError::Refused(Box::new(refusal))).report();
            assert_eq!(exit, Exit::Denied);
            text
        };
        let text = report("Sign", "keyRings/dev/keys/k");
        assert!(text.ends_with("policy explain --caller CALLER --action Sign --resource dev/k\n"), "{text}");
        let text = report("ApplyPolicySet", "policySet");
        assert!(text.ends_with("policy explain --caller CALLER --action ApplyPolicySet\n"), "{text}");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.report(), (String::new(), Exit::Done));
    }
}
