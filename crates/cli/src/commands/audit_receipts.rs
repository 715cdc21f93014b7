//! `chancery audit receipt`, `checkpoint` and `log-key`: what the transparency log says of itself, to be kept.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_audit::note::VerifierKey;
use chancery_audit::tree::check_consistency;
use chancery_audit::{DisclosedRecord, Receipt};
use chancery_client::{Client, LogCheckpoint, LogKey, Record};
use clap::Args;
use serde::Serialize;

use super::output_file;
use super::witnesses::WitnessArguments;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::input::{Source, hex};
use crate::output::{Format, Output, View, fields, line};
use crate::view::moment;

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

/// Arguments of `audit checkpoint`.
#[derive(Debug, Args)]
pub struct ShowCheckpoint {
    /// Only if the log still begins as this checkpoint says, which was kept before (- is standard input)
    #[arg(long, value_name = "FILE", requires = "log_key")]
    continues: Option<Source>,
    /// The log's key, to verify with; several for a log that changed its key
    #[arg(long, value_name = "VKEY", value_parser = VerifierKey::parse)]
    log_key: Vec<VerifierKey>,
    #[command(flatten)]
    witnesses: WitnessArguments,
    /// Write the checkpoint into this file
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

#[derive(Debug, Serialize)]
struct CheckpointView {
    log: String,
    tree_size: u64,
    root_hash: String,
    sign_time: String,
    log_key: String,
    /// Those of the given witnesses that have cosigned it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    witnesses: Vec<String>,
    /// Whether it was verified with a key that was given, and not with the one that the service says.
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    continues_tree_of: Option<u64>,
    note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

#[derive(Debug, Serialize)]
struct LogKeysView {
    log: String,
    /// The one that has signed the newest checkpoint that counts.
    log_key: String,
    /// All, the one that signs first, and then from the newest to the oldest.
    log_keys: Vec<LogKeyView>,
}

#[derive(Debug, Serialize)]
struct LogKeyView {
    verifier_key: String,
    signs: bool,
    create_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retire_time: Option<String>,
}

impl MakeReceipt {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { index, out: path } = self;
        let record = client.get_record(index).await?.ok_or_else(|| {
            Failure::refused(format!("there is no record {index}")).hint("the newest ones: chancery audit list")
        })?;
        let Record { leaf, details_json: details, salt, .. } = record;
        let salt: [u8; 32] = salt.try_into().map_err(|_erased| {
            Failure::refused(format!("the details of record {index} were erased, and a receipt discloses them"))
        })?;
        let proof = client.get_inclusion_proof(index, None).await?;
        let checkpoint = proof.checkpoint.ok_or_else(|| unusable("it holds no checkpoint"))?;
        let log_key = said_key(&checkpoint)?;
        let record = DisclosedRecord { leaf, salt, details };
        let signed = SignedCheckpoint::parse(checkpoint.note.as_bytes());
        let signed = signed.map_err(|error| unusable("its checkpoint").because(error))?;
        let receipt = Receipt::new(record, index, proof.hashes, signed);
        let receipt = receipt.map_err(|error| Failure::refused(format!("record {index}")).because(error))?;
        // By the key that the service says: whoever gets the receipt has his own. A receipt that proves nothing is not written.
        receipt.verify(&[log_key]).map_err(|error| unusable("it proves nothing").because(error))?;
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

impl ShowCheckpoint {
    /// Runs the command. `note` is standard error.
    pub async fn run(self, client: &Client, out: &mut Output<'_>, note: &mut dyn Write) -> Result<Exit, Failure> {
        let Self { continues, log_key, witnesses, out: path } = self;
        let witnesses = witnesses.policy()?;
        let older = match &continues {
            Some(file) => Some(kept(file, &log_key)?),
            None => None,
        };
        let newest = client.get_checkpoint().await?;
        let signed = SignedCheckpoint::parse(newest.note.as_bytes());
        let signed = signed.map_err(|error| unusable("its checkpoint").because(error))?;
        let keys = if log_key.is_empty() { vec![said_key(&newest)?] } else { log_key.clone() };
        let checkpoint = match signed.verify(&keys) {
            Ok(checkpoint) => checkpoint.clone(),
            Err(error) => return no(note, &format!("the checkpoint does not hold: {error}")),
        };
        let cosigned = match witnesses.check(&signed) {
            Ok(cosigned) => cosigned.iter().map(|one| one.key.name().to_string()).collect(),
            Err(error) => return no(note, &format!("the checkpoint of {} records: {error}", checkpoint.size())),
        };
        if let Some(older) = &older
            && let Err(why) = check_continues(client, older, &checkpoint).await?
        {
            return no(note, &why);
        }
        if let Some(path) = &path {
            files::replace(path, newest.note.as_bytes())?;
        }
        match (&path, out.format()) {
            (None, Format::Table) => out.raw(newest.note.as_bytes())?,
            _ => out.show(&CheckpointView {
                log: checkpoint.origin().to_owned(),
                tree_size: checkpoint.size(),
                root_hash: hex(checkpoint.root()),
                sign_time: moment(newest.signed),
                log_key: newest.log_key,
                witnesses: cosigned,
                verified: !log_key.is_empty(),
                continues_tree_of: older.map(|older| older.size()),
                note: newest.note,
                file: path.map(|path| path.display().to_string()),
            })?,
        }
        Ok(Exit::Done)
    }
}

/// `audit log-key`. `note` is standard error.
pub async fn show_log_keys(client: &Client, out: &mut Output<'_>, note: &mut dyn Write) -> Result<Exit, Failure> {
    let newest = client.get_checkpoint().await?;
    let key = said_key(&newest)?;
    let signed = SignedCheckpoint::parse(newest.note.as_bytes());
    let signed = signed.map_err(|error| unusable("its checkpoint").because(error))?;
    signed.verify(&[key]).map_err(|error| unusable("the key is not the one that signs the log").because(error))?;
    let mut log_keys: Vec<LogKeyView> = Vec::new();
    for LogKey { verifier_key, signs, created, retired } in newest.log_keys.into_iter().rev() {
        VerifierKey::parse(&verifier_key).map_err(|error| unusable("a key of the log").because(error))?;
        let (create_time, retire_time) = (moment(created), retired.map(moment));
        log_keys.push(LogKeyView { verifier_key, signs, create_time, retire_time });
    }
    log_keys.sort_by_key(|key| !key.signs);
    let view = LogKeysView { log: newest.origin, log_key: newest.log_key, log_keys };
    out.show(&view)?;
    if view.log_keys.len() > 1 && matches!(out.format(), Format::Table) {
        for key in &view.log_keys {
            // Standard error may be closed; the keys are out.
            let _ignored = writeln!(note, "{}", key.in_words());
        }
    }
    Ok(Exit::Done)
}

/// A checkpoint that was kept.
fn kept(file: &Source, keys: &[VerifierKey]) -> Result<Checkpoint, Failure> {
    let begin = |failure: Failure| {
        match file.path() {
        // Not taken as a beginning: who has lost what he kept should know it.
        Some(path) if !path.exists() => failure.hint(format!(
            "to begin, keep the checkpoint of today: chancery audit checkpoint --log-key VKEY --out {file}; if one was kept here \
             before, it is gone"
        )),
        _ => failure,
    }
    };
    let older = SignedCheckpoint::parse(&file.read_checkpoint().map_err(begin)?);
    let older = older.map_err(|error| Failure::local(format!("{file} holds no checkpoint")).because(error))?;
    let verified = older.verify(keys).cloned();
    verified.map_err(|error| Failure::local(format!("the checkpoint in {file} is not to be believed")).because(error))
}

/// Whether the log of `newest` begins with that of `older`, and why not.
async fn check_continues(
    client: &Client,
    older: &Checkpoint,
    newest: &Checkpoint,
) -> Result<Result<(), String>, Failure> {
    if newest.size() < older.size() {
        return Ok(Err(format!(
            "the log has been cut: its newest checkpoint is over {} records, and the one that was kept over {}",
            newest.size(),
            older.size()
        )));
    }
    let proof = client.get_consistency_proof(older.size(), Some(newest.size())).await?;
    let checked = check_consistency(older.size(), older.root(), newest.size(), newest.root(), &proof.hashes);
    Ok(checked.map_err(|error| {
        format!(
            "the log of {} records is not shown to begin with the {} that were kept: {error}; keep both checkpoints, they \
             are evidence if the log was rewritten",
            newest.size(),
            older.size()
        )
    }))
}

fn no(note: &mut dyn Write, why: &str) -> Result<Exit, Failure> {
    // Standard error may be closed; the exit code says it then.
    let _ignored = line(note, why);
    Ok(Exit::No)
}

/// The key that the service says to be the log's.
fn said_key(checkpoint: &LogCheckpoint) -> Result<VerifierKey, Failure> {
    VerifierKey::parse(&checkpoint.log_key).map_err(|error| unusable("the log's key").because(error))
}

fn unusable(what: &str) -> Failure {
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

impl View for CheckpointView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let witnesses = self.witnesses.join(", ");
        let verified = if self.verified { "with the key that was given" } else { "" };
        fields(
            out,
            [
                ("log", self.log.clone()),
                ("records", self.tree_size.to_string()),
                ("root", self.root_hash.clone()),
                ("signed", self.sign_time.clone()),
                ("verified", verified.to_owned()),
                ("witnesses", witnesses),
                (
                    "continues",
                    self.continues_tree_of.map(|size| format!("the log of {size} records")).unwrap_or_default(),
                ),
                ("checkpoint", self.file.clone().unwrap_or_default()),
            ],
        )
    }
}

impl LogKeyView {
    fn in_words(&self) -> String {
        let Self { verifier_key, signs: _, create_time, retire_time } = self;
        match retire_time {
            None => format!("{verifier_key} signs, since {create_time}"),
            Some(until) => format!("{verifier_key} signed from {create_time} to {until}"),
        }
    }
}

impl View for LogKeysView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        // A service of before says one.
        if self.log_keys.is_empty() {
            return writeln!(out, "{}", self.log_key);
        }
        self.log_keys.iter().try_for_each(|key| writeln!(out, "{}", key.verifier_key))
    }
}
