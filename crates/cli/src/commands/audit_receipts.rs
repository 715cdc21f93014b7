//! `chancery audit receipt`: the proof of one record, to be kept.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::note::VerifierKey;
use chancery_audit::{DisclosedRecord, Receipt, ReceiptError};
use chancery_client::{Client, LogCheckpoint, Record};
use clap::Args;
use serde::Serialize;

use super::audit_show::{explain, there_is_none};
use super::output_file;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{Format, Output, View, fields};
use crate::view::explained::Commitment;

/// Arguments of `audit receipt`.
#[derive(Debug, Args)]
pub struct MakeReceipt {
    /// The record's index, as `chancery sign` and `chancery audit list` say it
    #[arg(value_name = "INDEX")]
    index: u64,
    /// Write the receipt into this file
    #[arg(long, value_name = "FILE", value_parser = output_file::parser())]
    out: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct ReceiptView {
    record_index: u64,
    tree_size: u64,
    log: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl MakeReceipt {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { index, out: path } = self;
        let record = client.get_record(index).await?.ok_or_else(|| there_is_none(index))?;
        let Record { leaf, details_json: details, salt, .. } = record;
        let Ok(salt) = <[u8; 32]>::try_from(salt) else { return Err(undisclosed(client, index).await?) };
        let proof = client.get_inclusion_proof(index, None).await?;
        let checkpoint = proof.checkpoint.ok_or_else(|| unusable("it holds no checkpoint"))?;
        let log_key = said_key(&checkpoint)?;
        let record = DisclosedRecord { leaf, salt, details };
        let signed = SignedCheckpoint::parse(checkpoint.note.as_bytes());
        let signed = signed.map_err(|error| unusable("its checkpoint").because(error))?;
        let receipt = Receipt::new(record, index, proof.hashes, signed);
        let receipt = receipt.map_err(|error| Failure::refused(format!("record {index}")).because(error))?;
        // By the key that the service says: whoever gets the receipt has his own. A receipt that proves nothing is not written.
        receipt.verify(&[log_key]).map_err(|error| match error {
            ReceiptError::Commitment => changed(index),
            error => unusable(&format!("it proves nothing of record {index}")).because(error).hint(VERIFY),
        })?;
        let text = receipt.to_string();
        if let Some(path) = &path {
            files::replace(path, text.as_bytes())?;
        }
        match (path, out.format()) {
            (None, Format::Table) => out.raw(text.as_bytes())?,
            (path, _) => out.show(&ReceiptView {
                record_index: index,
                tree_size: proof.tree_size,
                log: checkpoint.origin,
                receipt: path.is_none().then_some(text),
                file: path.map(|path| path.display().to_string()),
            })?,
        }
        Ok(Exit::Done)
    }
}

/// What to run where the service answers what proves nothing.
pub const VERIFY: &str = "chancery audit verify --log-key VKEY reads the whole log, and says where its first fault is";

/// Why there is no receipt of a record without its details.
async fn undisclosed(client: &Client, index: u64) -> Result<Failure, Failure> {
    let failure = match explain(client, index).await?.details() {
        Commitment::Erased => {
            Failure::refused(format!("the details of record {index} were erased, and a receipt discloses them"))
                .hint(format!("chancery audit show {index} says by which act, and what is left"))
        }
        Commitment::Removed => Failure::no(format!(
            "somebody removed the details of record {index}: they are not there, and no act of the service says that they were \
             erased"
        ))
        .hint(format!("chancery audit show {index} shows what is left; {VERIFY}")),
        Commitment::Broken | Commitment::Holds => changed(index),
    };
    Ok(failure)
}

fn changed(index: u64) -> Failure {
    Failure::no(format!(
        "the details of record {index} are not those that its leaf commits to: somebody changed them, or their salt, and a \
         receipt would prove nothing"
    ))
    .hint(format!("chancery audit show {index} shows what is there; {VERIFY}"))
}

/// The key that the service says to be the log's.
pub fn said_key(checkpoint: &LogCheckpoint) -> Result<VerifierKey, Failure> {
    VerifierKey::parse(&checkpoint.log_key).map_err(|error| unusable("the log's key").because(error))
}

pub fn unusable(what: &str) -> Failure {
    Failure::failed(format!("the service's answer cannot be used: {what}"))
}

impl View for ReceiptView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        fields(
            out,
            [
                ("record", self.record_index.to_string()),
                ("log", self.log.clone()),
                ("in the tree of", self.tree_size.to_string()),
                ("receipt", self.file.clone().unwrap_or_default()),
            ],
        )
    }
}
