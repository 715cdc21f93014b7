//! `chancery verify`.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_client::{Client, Finding};
use clap::Args;
use serde::Serialize;

use super::verify_receipt::{Beside, ReceiptArguments};
use super::{Encoding, several, sign};
use crate::exit::{Exit, Failure};
use crate::input::{Hex, Source};
use crate::names::KeyOrVersionArgument;
use crate::output::{Output, View};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The exit code is 0 where the signature is valid and 1 where it is not. Name the version that signed, unless it is still \
the key's primary one. The signature may be raw bytes or the base64 text that `chancery sign` prints.

With --receipt no service is asked, and no KEY is named: the receipt is verified with the log's key, and whatever is \
given beside it (--in or --digest, --public-key, --signature) is held against the record in it. The receipt of an \
outcome, which is the record after the fact, knows the signature alone: --signature then needs no key.

Examples:
  chancery verify dev/invoices/1 --in invoice.pdf --signature invoice.sig
  printf 'pay 5 to Ada' | chancery verify dev/invoices --signature invoice.sig
  chancery verify dev/hashes/1 --digest \"$SHA256\" --signature invoice.sig
  chancery verify dev/releases/1 build/*.tar.gz    # each signature comes from FILE.sig
  chancery verify --receipt invoice.receipt --log-key \"$LOG_KEY\" \\\n    --in invoice.pdf --signature invoice.sig --public-key invoices.pem")]
pub struct VerifyCommand {
    /// RING/KEY/VERSION for the version that signed, or RING/KEY for the primary one
    #[arg(required_unless_present = "receipt")]
    key: Option<KeyOrVersionArgument>,
    /// Files to check, each against its signature in FILE.sig
    #[arg(value_name = "FILE", conflicts_with_all = ["message", "digest", "signature"])]
    files: Vec<PathBuf>,
    /// What was signed: a file, or - for standard input [default: standard input, without --receipt]
    #[arg(long = "in", value_name = "FILE", conflicts_with = "digest")]
    message: Option<Source>,
    /// The digest of what was signed, in hexadecimal
    #[arg(long, value_name = "HEX")]
    digest: Option<Hex>,
    /// The signature: a file, or - for standard input
    #[arg(long, short, value_name = "FILE", required_unless_present_any = ["files", "receipt"])]
    signature: Option<Source>,
    /// How an ECDSA signature is written down
    #[arg(long, value_enum, default_value_t)]
    encoding: Encoding,
    #[command(flatten)]
    receipts: ReceiptArguments,
}

#[derive(Debug, Serialize)]
struct VerdictView {
    valid: bool,
    verdict: &'static str,
    version: String,
    state: &'static str,
}

impl VerifyCommand {
    /// Whether it is a receipt that is to be verified.
    pub fn is_of_receipt(&self) -> bool {
        self.receipts.receipt.is_some()
    }

    /// Verifies a receipt, and what there is beside it.
    pub fn verify_receipt(self, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { key, files, message, digest, signature, encoding, receipts } = self;
        // Not said to clap, which lets an option that belongs to --receipt pass where KEY and --receipt exclude each other.
        if key.is_some() || !files.is_empty() {
            return Err(Failure::usage("a receipt says itself which key was to sign: name no KEY with --receipt")
                .hint("give the key that you expect with --public-key FILE"));
        }
        receipts.run(Beside { message, digest, signature, encoding: encoding.into() }, out)
    }

    /// Runs the command. `note` is standard error.
    pub async fn run(self, client: &Client, out: &mut Output<'_>, note: &mut dyn Write) -> Result<Exit, Failure> {
        let key = self.key.ok_or_else(|| Failure::usage("name the key that signed"))?;
        let Some(signature) = self.signature else {
            return several::verify(client, key.into(), &self.files, self.encoding.into(), out, note).await;
        };
        let message = self.message.unwrap_or(Source::Standard);
        if self.digest.is_none() && message == Source::Standard && signature == Source::Standard {
            return Err(Failure::usage("the message and the signature cannot both come from standard input")
                .hint("give one of them as a file: --in FILE or --signature FILE"));
        }
        let signature = signature.read_signature()?;
        let input = sign::input(&message, self.digest)?;
        let verdict = client.verify(key.clone(), input, signature, self.encoding.into()).await?;
        out.show(&VerdictView {
            valid: verdict.valid,
            verdict: word(verdict.finding),
            version: verdict.version.to_string(),
            state: verdict.state.as_str(),
        })?;
        if let Some(explanation) = verdict.finding.explanation() {
            // Standard error may be closed; the answer is out.
            let _ignored = writeln!(note, "{}: {explanation}", verdict.version);
        }
        if verdict.finding == Finding::Invalid
            && let Some(hint) = key.earlier_versions(&verdict.version)
        {
            let _ignored = writeln!(note, "{hint}");
        }
        Ok(if verdict.valid { Exit::Done } else { Exit::No })
    }
}

/// The word of the API.
const fn word(finding: Finding) -> &'static str {
    match finding {
        Finding::Valid => "VALID",
        Finding::Invalid => "INVALID",
        Finding::KeyCompromised => "KEY_COMPROMISED",
        Finding::KeyNotYetActive => "KEY_NOT_YET_ACTIVE",
        Finding::KeyDestroyed => "KEY_DESTROYED",
    }
}

impl View for VerdictView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = if self.valid { "valid" } else { "NOT VALID" };
        writeln!(out, "{verdict}: checked against {} ({})", self.version, self.state)
    }
}
