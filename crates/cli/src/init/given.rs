//! What was typed on the command line, and what is to be assumed where nothing was.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chancery_model::Id;
use chancery_server::config::IdentityKind;
use clap::Args;

use super::entries::{CallerEntry, FilePath, QuietToken, RingEntry, TokenEntry, parse_id};
use super::{ClientAuth, ClientCa, LogFormat, Plan};
use crate::exit::Failure;

/// The instance's name.
pub const INSTANCE: &str = "main";
/// The environment of rings and callers.
pub const ENVIRONMENT: &str = "prod";
/// Where callers connect.
pub const LISTEN: &str = "0.0.0.0:8443";
/// Where machines watch.
pub const ADMIN_LISTEN: &str = "127.0.0.1:9443";
/// The database.
pub const STORE: &str = "/var/lib/chancery/chancery.db";

/// Options of `init`. Everything is optional here: what is missing is asked for, assumed, or named in an error.
#[derive(Debug, Default, Args)]
pub struct Given {
    /// This instance's name in the record; never shared [default: main]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub instance: Option<Id>,
    /// The environment of key rings and callers that name none [default: prod]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub environment: Option<Id>,
    /// Where callers connect [default: 0.0.0.0:8443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The service's certificate chain, PEM
    #[arg(long, value_name = "FILE")]
    pub server_cert: Option<FilePath>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub server_key: Option<FilePath>,
    /// An authority whose clients have a SPIFFE id; may be given several times
    #[arg(long, value_name = "FILE")]
    pub client_ca: Vec<FilePath>,
    /// An authority whose clients have a DNS name; may be given several times
    #[arg(long, value_name = "FILE")]
    pub client_ca_dns: Vec<FilePath>,
    /// Whether each connection needs a client certificate
    #[arg(long, value_enum, default_value_t)]
    pub client_auth: ClientAuth,
    /// Where metrics and probes are served [default: 127.0.0.1:9443]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "no_admin")]
    pub admin_listen: Option<SocketAddr>,
    /// Serve no metrics and probes
    #[arg(long)]
    pub no_admin: bool,
    /// The database file of state and record [default: /var/lib/chancery/chancery.db]
    #[arg(long, value_name = "FILE")]
    pub store: Option<FilePath>,
    /// The folder of locks and PIN latches [default: locks, beside the database]
    #[arg(long, value_name = "DIR")]
    pub lock_dir: Option<FilePath>,
    /// A token: ID,module=FILE,label=TEXT,pin-file=FILE[,serial=TEXT][,env.NAME=VALUE]; may be given several times
    #[arg(long, value_name = "TOKEN", value_parser = QuietToken)]
    pub token: Vec<TokenEntry>,
    /// A key ring: ID[,token=ID][,environment=ID]; may be given several times
    #[arg(long, value_name = "RING")]
    pub ring: Vec<RingEntry>,
    /// A caller: ID,identity=IDENTITY[,role=ROLE][,ring=ID][,group=ID][,environment=ID]; may be given several times
    #[arg(long, value_name = "CALLER")]
    pub caller: Vec<CallerEntry>,
    /// Declare no callers: `chancery bootstrap` registers the first one
    #[arg(long, conflicts_with = "caller")]
    pub no_caller: bool,
    /// An OpenTelemetry collector that takes OTLP over gRPC: http://host:port [default: none]
    #[arg(long, value_name = "URL", value_parser = parse_endpoint)]
    pub otlp_endpoint: Option<String>,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl Given {
    /// The options that have no default and were not given, each with an example.
    pub fn missing(&self) -> Vec<&'static str> {
        let no_authority = self.client_ca.is_empty() && self.client_ca_dns.is_empty();
        [
            (self.server_cert.is_none(), "--server-cert /etc/chancery/tls/server.pem"),
            (self.server_key.is_none(), "--server-key /etc/chancery/tls/server.key"),
            (no_authority, "--client-ca /etc/chancery/tls/clients.pem (or --client-ca-dns)"),
            (
                self.token.is_empty(),
                "--token main,module=/usr/lib/vendor-pkcs11.so,label=signing,pin-file=/etc/chancery/pin",
            ),
            (self.ring.is_empty(), "--ring payments"),
            (
                self.caller.is_empty() && !self.no_caller,
                "--caller operator,identity=spiffe://example.org/operator,role=policy-administrator,role=caller-administrator \
                 (or --no-caller, for `chancery bootstrap`)",
            ),
        ]
        .into_iter()
        .filter_map(|(missing, example)| missing.then_some(example))
        .collect()
    }

    /// The plan, with everything assumed that has a default.
    pub fn into_plan(self) -> Result<Plan, Failure> {
        let missing = self.missing();
        let (Some(certificate), Some(private_key), []) = (self.server_cert, self.server_key, missing.as_slice()) else {
            return Err(Failure::usage(format!("these options are missing:\n  {}", missing.join("\n  ")))
                .hint("without --non-interactive, at a terminal, chancery init asks for them"));
        };
        let assumed = |text: &str| parse_id(text).map_err(Failure::failed);
        let address = |text: &str| text.parse().map_err(|error| Failure::failed(format!("{text}: {error}")));
        let ca = |identity| move |FilePath(certificate)| ClientCa { certificate, identity };
        let store = self.store.map_or_else(|| PathBuf::from(STORE), |path| path.0);
        let lock_dir = self.lock_dir.map(|path| path.0);
        let mut plan = Plan {
            instance: self.instance.map_or_else(|| assumed(INSTANCE), Ok)?,
            environment: self.environment.map_or_else(|| assumed(ENVIRONMENT), Ok)?,
            listen: self.listen.map_or_else(|| address(LISTEN), Ok)?,
            certificate: certificate.0,
            private_key: private_key.0,
            client_cas: (self.client_ca.into_iter().map(ca(IdentityKind::Spiffe)))
                .chain(self.client_ca_dns.into_iter().map(ca(IdentityKind::Dns)))
                .collect(),
            client_auth: self.client_auth,
            admin: match self.no_admin {
                true => None,
                false => Some(self.admin_listen.map_or_else(|| address(ADMIN_LISTEN), Ok)?),
            },
            lock_dir: lock_dir.unwrap_or_else(|| store.parent().unwrap_or(Path::new("/")).join("locks")),
            store,
            tokens: self.token,
            rings: self.ring,
            callers: self.caller,
            otlp_endpoint: self.otlp_endpoint,
            log_format: self.log_format,
        };
        plan.settle()
            .map_err(|wrong| Failure::usage(format!("this does not go together:\n  {}", wrong.join("\n  "))))?;
        Ok(plan)
    }
}

/// `http://host:port`: the service sends to a collector nearby, without TLS.
pub fn parse_endpoint(text: &str) -> Result<String, String> {
    let uri: tonic::codegen::http::Uri = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(_)) => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?}: write http://host:port; TLS to a collector is not offered, so run one on this machine"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Given {
        Given {
            server_cert: Some("/s.pem".parse().unwrap()),
            server_key: Some("credential:server.key".parse().unwrap()),
            client_ca: vec!["/ca.pem".parse().unwrap()],
            token: vec!["main,module=/m.so,label=l,pin-file=/pin".parse().unwrap()],
            ring: vec!["payments".parse().unwrap()],
            caller: vec!["ops,identity=dns:ops.example,role=policy-administrator".parse().unwrap()],
            ..Given::default()
        }
    }

    #[test]
    fn everything_else_has_a_default() {
        let plan = given().into_plan().unwrap();
        assert_eq!(plan.listen.to_string(), LISTEN);
        assert_eq!(plan.lock_dir, Path::new("/var/lib/chancery/locks"));
        assert_eq!(plan.admin.unwrap().to_string(), ADMIN_LISTEN);
        assert_eq!((plan.instance.as_str(), plan.environment.as_str()), (INSTANCE, ENVIRONMENT));
        assert!(Given { no_admin: true, ..given() }.into_plan().unwrap().admin.is_none());
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let (said, _) = Given::default().into_plan().unwrap_err().report();
        for option in ["--server-cert", "--server-key", "--client-ca", "--token", "--ring", "--caller"] {
            assert!(said.contains(option), "{option}: {said}");
        }
        let (said, _) = Given { ring: Vec::new(), ..given() }.into_plan().unwrap_err().report();
        assert!(said.contains("--ring") && !said.contains("--token"), "{said}");
    }

    #[test]
    fn nobody_is_declared_only_where_that_is_said() {
        let (said, _) = Given { caller: Vec::new(), ..given() }.into_plan().unwrap_err().report();
        assert!(said.contains("--caller") && said.contains("--no-caller"), "{said}");
        let plan = Given { caller: Vec::new(), no_caller: true, ..given() }.into_plan().unwrap();
        assert!(plan.callers.is_empty());
    }

    #[test]
    fn a_collector_is_reached_in_plain_http() {
        assert!(parse_endpoint("http://collector:4317").is_ok());
        for text in ["https://collector:4317", "collector:4317", ""] {
            assert!(parse_endpoint(text).is_err(), "{text}");
        }
    }
}
