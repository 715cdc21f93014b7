//! `chancery sign`.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_client::{Client, Input, SignItem, Signed};
use clap::Args;
use serde::Serialize;

use super::{Encoding, output_file, receipt_files, several};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::input::{Hex, Source, base64};
use crate::names::KeyOrVersionArgument;
use crate::output::{Format, Output, View, fields};

/// Arguments of `sign`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Without --signature, a table answer is the signature alone, in base64, on standard output; which version made it goes to \
standard error. Keep the version with the signature: once the key is rotated, its name means another one. A message has at most 1 MiB; of \
what is longer, sign the digest, with a key made with --allow-digest.

A receipt shows without the service that the signature is on the record: chancery verify --receipt. Where it cannot be had \
now, the signature is made all the same, and the command ends with 1.

Examples:
  chancery sign dev/invoices --in invoice.pdf --signature invoice.sig
  printf 'pay 5 to Ada' | chancery sign dev/invoices
  chancery sign dev/hashes --digest \"$(sha256sum invoice.pdf | cut -d' ' -f1)\"
  chancery sign dev/invoices/2 --in token.txt --encoding p1363 --output json
  chancery sign dev/releases build/*.tar.gz    # each signature goes into FILE.sig
  chancery sign dev/invoices --in invoice.pdf --signature invoice.sig --receipt invoice.receipt")]
pub struct SignCommand {
    /// RING/KEY for its primary version, or RING/KEY/VERSION
    key: KeyOrVersionArgument,
    /// Files to sign, each by itself; their signatures go into FILE.sig
    #[arg(value_name = "FILE", conflicts_with_all = ["message", "digest", "signature", "receipt"])]
    files: Vec<PathBuf>,
    /// The message: a file, or - for standard input
    #[arg(long = "in", value_name = "FILE", default_value = "-", conflicts_with = "digest")]
    message: Source,
    /// The message's digest, in hexadecimal, in place of the message; for keys that allow digests
    #[arg(long, value_name = "HEX")]
    digest: Option<Hex>,
    /// How an ECDSA signature is written down
    #[arg(long, value_enum, default_value_t)]
    encoding: Encoding,
    /// Write the raw signature into this file
    #[arg(long, short, value_name = "FILE", value_parser = output_file::parser())]
    signature: Option<PathBuf>,
    /// Wait for the receipt, and write it into this file
    #[arg(long, value_name = "FILE", value_parser = output_file::parser())]
    receipt: Option<PathBuf>,
    /// With several files: wait for their receipts, and write each into FILE.receipt
    #[arg(long)]
    receipts: bool,
}

/// A signature, for people and programs.
#[derive(Debug, Serialize)]
struct SignatureView {
    version: String,
    algorithm: &'static str,
    /// Base64.
    signature: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_id: Option<u8>,
    record_index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    /// Whether a receipt was made, where one was asked for, and why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt_status: Option<&'static str>,
}

impl SignCommand {
    /// Runs the command. `note` is standard error.
    pub async fn run(self, client: &Client, out: &mut Output<'_>, note: &mut dyn Write) -> Result<Exit, Failure> {
        if !self.files.is_empty() {
            let Self { key, files, encoding, receipts, .. } = self;
            return several::sign(client, key.into(), &files, encoding.into(), receipts, out, note).await;
        }
        if self.receipts {
            // clap lets it pass beside --in, which excludes the files that it would require.
            return Err(Failure::usage("--receipts goes with the files that are signed: chancery sign KEY FILE...")
                .hint("of one message, name the receipt's file: --receipt FILE"));
        }
        output_file::check_apart(&[
            ("the message", self.message.path()),
            ("the signature", self.signature.as_deref()),
            ("the receipt", self.receipt.as_deref()),
        ])?;
        let input = input(&self.message, self.digest)?;
        let item = SignItem { encoding: self.encoding.into(), ..SignItem::new(self.key, input) };
        let item = if self.receipt.is_some() { item.with_receipt() } else { item };
        let mut signed = client.sign_item(item).await?;
        if let Some(path) = &self.signature {
            files::replace(path, &signed.signature).map_err(|failure| {
                failure.hint(format!("the signature was made and is on the record at index {}", signed.record_index))
            })?;
        }
        let receipt = signed.receipt.take();
        let receipt_status = receipt_files::status(receipt.as_ref());
        let kept = self.receipt.as_deref().map(|path| receipt_files::keep(path, receipt, signed.record_index, note));
        let receipt = self.receipt.filter(|_| matches!(kept, Some(Ok(Exit::Done))));
        let [file, receipt] = [self.signature, receipt].map(|path| path.map(|path| path.display().to_string()));
        let view = SignatureView { receipt_status, ..SignatureView::new(&signed, file, receipt) };
        if view.file.is_none() && out.format() == Format::Table {
            out.line(&view.signature)?;
            // Standard error may be closed; the signature is out.
            let _ignored = writeln!(note, "signed by {} (record {})", view.version, view.record_index);
        } else {
            out.show(&view)?;
        }
        // Last: the signature may be nowhere but in the answer.
        kept.unwrap_or(Ok(Exit::Done))
    }
}

/// The message, or the digest in its place.
pub(super) fn input(message: &Source, digest: Option<Hex>) -> Result<Input, Failure> {
    match digest {
        Some(Hex(digest)) => Ok(Input::Digest(digest)),
        None => message.read_message().map(Input::Message),
    }
}

impl SignatureView {
    fn new(signed: &Signed, file: Option<String>, receipt: Option<String>) -> Self {
        Self {
            version: signed.version.to_string(),
            algorithm: signed.algorithm.as_str(),
            signature: base64(&signed.signature),
            recovery_id: signed.recovery_id,
            record_index: signed.record_index,
            file,
            receipt,
            receipt_status: None,
        }
    }
}

impl View for SignatureView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        fields(
            out,
            [
                ("signed by", self.version.clone()),
                ("algorithm", self.algorithm.to_owned()),
                ("record", self.record_index.to_string()),
                ("recovery id", self.recovery_id.map(|id| id.to_string()).unwrap_or_default()),
                ("signature", self.file.clone().unwrap_or_else(|| self.signature.clone())),
                ("receipt", self.receipt.clone().unwrap_or_default()),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::Algorithm;

    #[test]
    fn a_signature_in_json_has_base64_and_no_empty_fields() {
        let signed = Signed {
            version: "keyRings/dev/keys/k/versions/1".parse().unwrap(),
            algorithm: Algorithm::Ed25519,
            signature: vec![0xff; 64],
            recovery_id: None,
            record_index: 12,
            receipt: None,
        };
        let json = serde_json::to_value(SignatureView::new(&signed, None, None)).unwrap();
        assert_eq!(json["algorithm"], "ED25519");
        assert_eq!(json["record_index"], 12);
        assert!(json["signature"].as_str().unwrap().ends_with("w=="), "{json}");
        assert!(json.get("recovery_id").is_none() && json.get("file").is_none());
        assert!(json.get("receipt_status").is_none());
    }
}
