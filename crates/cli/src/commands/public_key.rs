//! `chancery public-key`.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_client::{Client, PublicKey, PublicKeyFormat};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::input::{base64, hex};
use crate::names::KeyOrVersionArgument;
use crate::output::{Format, Output, View, fields};

/// Arguments of `public-key`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  chancery public-key dev/invoices > invoices.pem
  chancery public-key dev/invoices/1 --format der --out invoices.der
  chancery public-key dev/tokens --format jwk
  chancery public-key dev/hosts --format openssh >> ~/.ssh/authorized_keys
  chancery public-key dev/invoices | openssl pkey -pubin -noout -text")]
pub struct PublicKeyCommand {
    /// RING/KEY for its primary version, or RING/KEY/VERSION
    key: KeyOrVersionArgument,
    /// The form of the public key
    #[arg(long, value_enum, default_value_t)]
    format: KeyFormat,
    /// Write the public key into this file
    #[arg(long, value_name = "FILE", value_parser = super::output_file::parser())]
    out: Option<PathBuf>,
}

/// The form of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum KeyFormat {
    /// PEM of the SubjectPublicKeyInfo
    #[default]
    Pem,
    /// DER SubjectPublicKeyInfo (in base64 where the output is JSON)
    Der,
    /// JSON Web Key, for verifiers of JWTs
    Jwk,
    /// A line of OpenSSH's authorized_keys
    #[value(name = "openssh")]
    OpenSsh,
}

#[derive(Debug, Serialize)]
struct PublicKeyView {
    version: String,
    algorithm: &'static str,
    state: &'static str,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    der: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    openssh: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl PublicKeyCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let format = match self.format {
            KeyFormat::Pem => PublicKeyFormat::Pem,
            KeyFormat::Der => PublicKeyFormat::Der,
            KeyFormat::Jwk => PublicKeyFormat::Jwk,
            KeyFormat::OpenSsh => PublicKeyFormat::OpenSsh,
        };
        let key = client.public_key(&self.key.to_string(), format).await?;
        match &self.out {
            Some(path) => {
                files::replace(path, &key.data)?;
                out.show(&PublicKeyView::new(key, self.format, Some(path.display().to_string())))?;
            }
            None if out.format() == Format::Table => {
                out.raw(&key.data)?;
                if self.format == KeyFormat::Jwk {
                    out.raw(b"\n")?;
                }
            }
            None => out.show(&PublicKeyView::new(key, self.format, None))?,
        }
        Ok(Exit::Done)
    }
}

impl PublicKeyView {
    fn new(key: PublicKey, format: KeyFormat, file: Option<String>) -> Self {
        let mut view = Self {
            version: key.version.to_string(),
            algorithm: key.algorithm.as_str(),
            state: key.state.as_str(),
            sha256: hex(&key.sha256),
            pem: None,
            der: None,
            jwk: None,
            openssh: None,
            file,
        };
        let text = || String::from_utf8_lossy(&key.data).into_owned();
        match format {
            KeyFormat::Pem => view.pem = Some(text()),
            KeyFormat::Der => view.der = Some(base64(&key.data)),
            // The service writes JSON; what is none would be shown as the text that it is.
            KeyFormat::Jwk => view.jwk = Some(serde_json::from_str(&text()).unwrap_or_else(|_| text().into())),
            KeyFormat::OpenSsh => view.openssh = Some(text().trim_end().to_owned()),
        }
        view
    }
}

impl View for PublicKeyView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        fields(
            out,
            [
                ("version", self.version.clone()),
                ("algorithm", self.algorithm.to_owned()),
                ("state", self.state.to_owned()),
                ("sha256", self.sha256.clone()),
                ("file", self.file.clone().unwrap_or_default()),
            ],
        )
    }
}
