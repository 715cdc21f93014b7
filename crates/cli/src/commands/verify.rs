//! `chancery verify`.

use std::io::{self, Write};

use chancery_client::Client;
use clap::Args;
use serde::Serialize;

use super::{Encoding, sign};
use crate::exit::{Exit, Failure};
use crate::input::{Hex, Source};
use crate::names::KeyOrVersionArgument;
use crate::output::{Output, View};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The exit code is 0 where the signature is valid and 1 where it is not. Name the version that signed, unless it is still \
the key's primary one. The signature may be raw bytes or the base64 text that `chancery sign` prints.

Examples:
  chancery verify dev/invoices/1 --in invoice.pdf --signature invoice.sig
  printf 'pay 5 to Ada' | chancery verify dev/invoices --signature invoice.sig
  chancery verify dev/hashes/1 --digest \"$SHA256\" --signature invoice.sig")]
pub struct VerifyCommand {
    /// RING/KEY/VERSION for the version that signed, or RING/KEY for the primary one
    key: KeyOrVersionArgument,
    /// What was signed: a file, or - for standard input
    #[arg(long = "in", value_name = "FILE", default_value = "-", conflicts_with = "digest")]
    message: Source,
    /// The digest of what was signed, in hexadecimal
    #[arg(long, value_name = "HEX")]
    digest: Option<Hex>,
    /// The signature: a file, or - for standard input
    #[arg(long, short, value_name = "FILE")]
    signature: Source,
    /// How an ECDSA signature is written down
    #[arg(long, value_enum, default_value_t)]
    encoding: Encoding,
}

#[derive(Debug, Serialize)]
struct VerdictView {
    valid: bool,
    version: String,
    state: &'static str,
}

impl VerifyCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        if self.digest.is_none() && self.message == Source::Standard && self.signature == Source::Standard {
            return Err(Failure::usage("the message and the signature cannot both come from standard input")
                .hint("give one of them as a file: --in FILE or --signature FILE"));
        }
        let signature = self.signature.read_signature()?;
        let input = sign::input(&self.message, self.digest)?;
        let verdict = client.verify(&self.key.to_string(), input, signature, self.encoding.into()).await?;
        out.show(&VerdictView {
            valid: verdict.valid,
            version: verdict.version.to_string(),
            state: verdict.state.as_str(),
        })?;
        Ok(if verdict.valid { Exit::Done } else { Exit::No })
    }
}

impl View for VerdictView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = if self.valid { "valid" } else { "NOT VALID" };
        writeln!(out, "{verdict}: checked against {} ({})", self.version, self.state)
    }
}
