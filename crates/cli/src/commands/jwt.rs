//! `chancery jwt`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use chancery_client::{Client, JwtRequest};
use clap::{Args, Subcommand};

use super::{output_file, receipt_files};
use crate::duration;
use crate::exit::{Exit, Failure};
use crate::input::Source;
use crate::names::KeyOrVersionArgument;
use crate::output::{Format, Output};
use crate::view::jwt::JwtView;

/// JSON Web Tokens.
#[derive(Debug, Subcommand)]
pub enum JwtCommand {
    /// Make a JSON Web Token and print it; which version made it goes to standard error
    #[command(after_long_help = "\
The claims are signed as they are given; iat and exp are added. Verifiers find the key by the token's kid in the \
key set that the service answers at its own address (docs/jwt.md):
  /.well-known/jwks.json?name=keyRings/RING/keys/KEY

Examples:
  chancery jwt sign dev/tokens --claims '{\"sub\":\"ada\",\"aud\":\"https://api.example\"}' --lifetime 5m
  chancery jwt sign dev/tokens --claims-file claims.json --type at+jwt
  echo '{\"iss\":\"me\"}' | chancery jwt sign dev/tokens/2 --claims-file - --output json")]
    Sign(Sign),
}

/// Arguments of `jwt sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// RING/KEY for its primary version, or RING/KEY/VERSION
    key: KeyOrVersionArgument,
    /// The claims, a JSON object; every user of this machine can see them: see --claims-file
    #[arg(long, value_name = "JSON", default_value = "{}", conflicts_with = "claims_file")]
    claims: String,
    /// The claims from a file, or - for standard input
    #[arg(long, value_name = "FILE")]
    claims_file: Option<Source>,
    /// From iat to exp, for example 5m [default: the longest that the key allows]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    lifetime: Option<Duration>,
    /// The header's typ, for example at+jwt [default: JWT]
    #[arg(long = "type", value_name = "TYPE")]
    token_type: Option<String>,
    /// Wait for the receipt, and write it into this file
    #[arg(long, value_name = "FILE", value_parser = output_file::parser())]
    receipt: Option<PathBuf>,
}

impl JwtCommand {
    /// Runs the command. `note` is standard error.
    pub async fn run(self, client: &Client, out: &mut Output<'_>, note: &mut dyn Write) -> Result<Exit, Failure> {
        let Self::Sign(Sign { key, claims, claims_file, lifetime, token_type, receipt: path }) = self;
        let claims = match claims_file {
            Some(file) => file.read_claims()?,
            None => claims,
        };
        let request = JwtRequest { claims, lifetime, token_type, receipt: path.is_some() };
        let mut jwt = client.sign_jwt(&key.to_string(), request).await?;
        let (receipt, record_index) = (jwt.receipt.take(), jwt.record_index);
        let mut view = JwtView::from(jwt);
        view.receipt_status = receipt_files::status(receipt.as_ref());
        if out.format() == Format::Table {
            out.line(&view.token)?;
            let JwtView { version, expire_time, record_index, .. } = view;
            // Standard error may be closed; the token is out.
            let _ignored = writeln!(note, "signed by {version}, expires {expire_time} (record {record_index})");
        } else {
            out.show(&view)?;
        }
        match path {
            Some(path) => receipt_files::keep(&path, receipt, record_index, note),
            None => Ok(Exit::Done),
        }
    }
}
