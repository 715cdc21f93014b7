//! `chancery witness`: a small witness of transparency logs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use chancery_audit::note::{KeyName, VerifierKey};
use chancery_witness::{Desk, Tls};
use clap::Args;
use tokio::net::TcpListener;

use crate::exit::{Exit, Failure};

/// Arguments of `witness`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
For tests and demonstrations: its key is in a file in DIR. A witness that stops the operator of a log is run by somebody \
else, on another machine. It speaks C2SP tlog-witness (POST /add-checkpoint, GET /HASH/checkpoint), and cosigns what \
continues what it has cosigned before; that is kept in DIR, and must not be lost or put back: begin anew with a new DIR, \
and so with a new key.

It prints its verifier key, which is the key of a [[log.witness]] in the configuration of the service, and listens. \
Without a certificate it serves its own machine only.

Examples:
  chancery witness --dir w1 --name witness.example/w1 --prepare
  chancery witness --dir w1 --name witness.example/w1 --listen 127.0.0.1:8081 \\
    --log log.example/chancery+fe94a607+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c")]
pub struct WitnessCommand {
    /// Its folder; made, with a new key, where there is none
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The name that it signs by: an address without its scheme is usual. Always the same for a folder
    #[arg(long, value_name = "NAME", value_parser = key_name)]
    name: KeyName,
    /// Verifier key of a log that it cosigns; once for each log, and for each key of a log that has changed its key
    #[arg(long = "log", value_name = "VKEY", value_parser = verifier_key, required_unless_present = "prepare")]
    logs: Vec<VerifierKey>,
    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// PEM file with its TLS certificate, and those between it and its authority
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// PEM file with the private key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Make the folder complete, print the verifier key, and do not serve
    #[arg(long)]
    prepare: bool,
}

impl WitnessCommand {
    /// Serves until a signal comes.
    pub async fn run(self, out: &mut (dyn Write + Send)) -> Result<Exit, Failure> {
        let Self { dir, name, logs, listen, tls_certificate, tls_key, prepare } = self;
        let tls = match (&tls_certificate, &tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::read(certificate, key).map_err(unusable)?),
            _ => None,
        };
        if tls.is_none() && !listen.ip().is_loopback() && !prepare {
            let failure =
                Failure::usage(format!("{listen} is reachable from other machines, and nothing is said of TLS"));
            return Err(failure.hint("give --tls-certificate and --tls-key, or a loopback address"));
        }
        let desk = Desk::open(&dir, name, logs).map_err(unusable)?;
        let mut say = |line: String| writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::output);
        say(format!("verifier key: {}", desk.key()))?;
        if prepare {
            return Ok(Exit::Done);
        }
        tracing_subscriber::fmt().with_writer(std::io::stderr).init();
        let cannot =
            |error: io::Error| Failure::listening(format!("cannot listen on {listen}"), error.kind()).because(error);
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        say(format!("listening: {scheme}://{bound}"))?;
        tokio::select! {
            () = chancery_server::exit_on_signal() => {}
            () = chancery_witness::serve(Arc::new(desk), listener, tls) => {}
        }
        Ok(Exit::Done)
    }
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::local("the witness cannot begin").because(error)
}

fn key_name(text: &str) -> Result<KeyName, String> {
    KeyName::parse(text).map_err(|error| error.to_string())
}

fn verifier_key(text: &str) -> Result<VerifierKey, String> {
    VerifierKey::parse(text).map_err(|error| error.to_string())
}
