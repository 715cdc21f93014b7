//! `chancery mac`: message authentication codes.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_client::{Client, Mac};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::output_file;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::input::{Source, base64};
use crate::names::KeyOrVersionArgument;
use crate::output::{Format, Output, View, fields};

/// Message authentication codes.
#[derive(Debug, Subcommand)]
pub enum MacCommand {
    /// Make the MAC of a message of at most 64 KiB
    #[command(after_long_help = "\
Without --mac, a table answer is the MAC alone, in base64, on standard output; which version made it goes to standard \
error. Keep the version with the MAC: once the key is rotated, its name means another one.

Examples:
  chancery keys create dev/webhooks --algorithm HMAC_SHA256
  chancery mac sign dev/webhooks --in body.json --mac body.mac
  printf 'pay 5 to Ada' | chancery mac sign dev/webhooks")]
    Sign(Sign),
    /// Check a MAC, in the token; exit code 0 where it is right, 1 where it is not
    #[command(after_long_help = "\
Name the version that made the MAC, unless it is still the key's primary one. The MAC may be raw bytes or the base64 \
text that `chancery mac sign` prints.

Examples:
  chancery mac verify dev/webhooks/1 --in body.json --mac body.mac")]
    Verify(Verify),
}

/// Arguments of `mac sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// RING/KEY for its primary version, or RING/KEY/VERSION; a MAC key
    key: KeyOrVersionArgument,
    /// The message: a file, or - for standard input
    #[arg(long = "in", value_name = "FILE", default_value = "-")]
    message: Source,
    /// Write the raw MAC into this file
    #[arg(long, short, value_name = "FILE", value_parser = output_file::parser())]
    mac: Option<PathBuf>,
}

/// Arguments of `mac verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// RING/KEY/VERSION for the version that made the MAC, or RING/KEY for the primary one
    key: KeyOrVersionArgument,
    /// The message: a file, or - for standard input
    #[arg(long = "in", value_name = "FILE", default_value = "-")]
    message: Source,
    /// The MAC: a file, or - for standard input
    #[arg(long, short, value_name = "FILE")]
    mac: Source,
}

#[derive(Debug, Serialize)]
struct MacView {
    version: String,
    algorithm: &'static str,
    /// Base64.
    mac: String,
    record_index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

#[derive(Debug, Serialize)]
struct MacVerdictView {
    valid: bool,
    version: String,
    state: &'static str,
    record_index: u64,
}

impl MacCommand {
    /// Runs the command. `note` is standard error.
    pub async fn run(self, client: &Client, out: &mut Output<'_>, note: &mut dyn Write) -> Result<Exit, Failure> {
        match self {
            Self::Sign(arguments) => sign(client, arguments, out, note).await,
            Self::Verify(arguments) => verify(client, arguments, out, note).await,
        }
    }
}

async fn sign(
    client: &Client,
    Sign { key, message, mac: file }: Sign,
    out: &mut Output<'_>,
    note: &mut dyn Write,
) -> Result<Exit, Failure> {
    let Mac { version, algorithm, mac, record_index } = client.mac_sign(key, message.read_mac_message()?).await?;
    if let Some(path) = &file {
        files::replace(path, &mac)
            .map_err(|failure| failure.hint(format!("the MAC was made and is on the record at {record_index}")))?;
    }
    let view = MacView {
        version: version.to_string(),
        algorithm: algorithm.as_str(),
        mac: base64(&mac),
        record_index,
        file: file.map(|path| path.display().to_string()),
    };
    if view.file.is_none() && out.format() == Format::Table {
        out.line(&view.mac)?;
        // Standard error may be closed; the MAC is out.
        let _ignored = writeln!(note, "made by {} (record {})", view.version, view.record_index);
    } else {
        out.show(&view)?;
    }
    Ok(Exit::Done)
}

async fn verify(
    client: &Client,
    Verify { key, message, mac }: Verify,
    out: &mut Output<'_>,
    note: &mut dyn Write,
) -> Result<Exit, Failure> {
    if message == Source::Standard && mac == Source::Standard {
        return Err(Failure::usage("the message and the MAC cannot both come from standard input")
            .hint("give one of them as a file: --in FILE or --mac FILE"));
    }
    let (mac, message) = (mac.read_signature()?, message.read_mac_message()?);
    let verdict = client.mac_verify(key.clone(), message, mac).await?;
    out.show(&MacVerdictView {
        valid: verdict.valid,
        version: verdict.version.to_string(),
        state: verdict.state.as_str(),
        record_index: verdict.record_index,
    })?;
    if !verdict.valid
        && let Some(hint) = key.earlier_versions(&verdict.version)
    {
        // Standard error may be closed; the answer is out.
        let _ignored = writeln!(note, "{hint}");
    }
    Ok(if verdict.valid { Exit::Done } else { Exit::No })
}

impl View for MacView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        fields(
            out,
            [
                ("made by", self.version.clone()),
                ("algorithm", self.algorithm.to_owned()),
                ("record", self.record_index.to_string()),
                ("mac", self.file.clone().unwrap_or_else(|| self.mac.clone())),
            ],
        )
    }
}

impl View for MacVerdictView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = if self.valid { "valid" } else { "NOT VALID" };
        writeln!(out, "{verdict}: checked with {} ({})", self.version, self.state)
    }
}
