//! `chancery audit checkpoint` and `log-key`: what the transparency log says of itself, to be kept.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_audit::note::VerifierKey;
use chancery_audit::tree::check_consistency;
use chancery_client::{Client, LogKey};
use clap::Args;
use serde::Serialize;

use super::audit_receipts::{VERIFY, said_key, unusable};
use super::log_signer::{beginning, list, not_believed};
use super::output_file;
use super::witnesses::WitnessArguments;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::input::{Source, hex};
use crate::output::{Format, Output, View, fields, line};
use crate::view::moment;

/// Arguments of `audit checkpoint`.
#[derive(Debug, Args)]
pub struct ShowCheckpoint {
    /// Only if the log still has all that this checkpoint covers, which was kept before (- is standard input)
    #[arg(long, value_name = "FILE", requires = "log_key")]
    continues: Option<Source>,
    /// The log's key, to verify with; several for a log that changed its key
    #[arg(long, value_name = "VKEY", value_parser = VerifierKey::parse)]
    log_key: Vec<VerifierKey>,
    #[command(flatten)]
    witnesses: WitnessArguments,
    /// Write the checkpoint into this file; the one that was kept, where that covers more (too few witnesses have cosigned since)
    #[arg(long, value_name = "FILE", value_parser = output_file::parser())]
    out: Option<PathBuf>,
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
    /// Of how many records the one is that was kept, where that is larger, and the log has all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    continued_by_tree_of: Option<u64>,
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
            Err(error) => {
                let failure = Failure::no("the checkpoint does not hold");
                // Without a key that was given, the service contradicts itself.
                let own = log_key.is_empty();
                return Err(if own { failure.because(error) } else { not_believed(failure, &signed, &keys, error) });
            }
        };
        let cosigned = match witnesses.check(&signed) {
            Ok(cosigned) => cosigned.iter().map(|one| one.key.name().to_string()).collect(),
            Err(error) => {
                return Err(Failure::no(format!("the checkpoint of {} records", checkpoint.size())).because(error));
            }
        };
        let (mut continues_tree_of, mut continued_by_tree_of, mut larger) = (None, None, None);
        if let Some(older) = &older {
            let size = older.unverified().size();
            match check_continues(client, older.unverified(), &checkpoint).await? {
                Continues::Kept => continues_tree_of = Some(size),
                Continues::Shown => (continued_by_tree_of, larger) = (Some(size), Some(older.to_string())),
            }
        }
        if let Some(path) = &path {
            // What was kept never becomes smaller: a log that is cut later would pass for whole.
            files::replace(path, larger.as_ref().unwrap_or(&newest.note).as_bytes())?;
        }
        let view = CheckpointView {
            log: checkpoint.origin().to_owned(),
            tree_size: checkpoint.size(),
            root_hash: hex(checkpoint.root()),
            sign_time: moment(newest.signed),
            log_key: newest.log_key,
            witnesses: cosigned,
            verified: !log_key.is_empty(),
            continues_tree_of,
            continued_by_tree_of,
            note: newest.note,
            file: path.map(|path| path.display().to_string()),
        };
        match (&view.file, out.format()) {
            (None, Format::Table) => {
                out.raw(view.note.as_bytes())?;
                for words in view.in_words(&log_key) {
                    // Standard error may be closed; the checkpoint is out.
                    let _ignored = line(note, &words);
                }
            }
            _ => out.show(&view)?,
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

/// A checkpoint that was kept, verified.
fn kept(file: &Source, keys: &[VerifierKey]) -> Result<SignedCheckpoint, Failure> {
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
    if let Err(error) = older.verify(keys) {
        // A file of the user's that is no checkpoint of this log is no fault of the log.
        let failure = Failure::local(format!("the checkpoint in {file} is not to be believed"));
        return Err(not_believed(failure, &older, keys, error));
    }
    Ok(older)
}

/// Which of two checkpoints the log shows to continue the other.
enum Continues {
    /// That which it shows now, the one that was kept.
    Kept,
    /// The one that was kept, that which it shows now: witnesses are late, and all records are there.
    Shown,
}

/// Whether the log still has all records of the checkpoint that was kept.
///
/// # Errors
/// It does not, or does not show it.
async fn check_continues(client: &Client, kept: &Checkpoint, shown: &Checkpoint) -> Result<Continues, Failure> {
    let (older, newer, which) =
        if shown.size() < kept.size() { (shown, kept, Continues::Shown) } else { (kept, shown, Continues::Kept) };
    let cut = || {
        Failure::no(format!(
            "the log has been cut: its newest checkpoint is over {} records, the one that was kept over {}, and it does not have \
             as many any more",
            shown.size(),
            kept.size()
        ))
        .hint(format!("keep both checkpoints as evidence; {VERIFY}"))
    };
    // Any log continues one without records.
    if older.size() == 0 && newer.size() > 0 && matches!(which, Continues::Shown) {
        return Err(cut());
    }
    let proof = match client.get_consistency_proof(older.size(), Some(newer.size())).await {
        Ok(proof) => proof,
        Err(error) if matches!(which, Continues::Shown) && error.reason() == Some("BEYOND_RECORD") => return Err(cut()),
        Err(error) => return Err(error.into()),
    };
    match check_consistency(older.size(), older.root(), newer.size(), newer.root(), &proof.hashes) {
        Ok(()) => Ok(which),
        Err(error) => Err(Failure::no(format!(
            "the log, whose newest checkpoint is over {} records, is not shown to have the {} of the one that was kept",
            shown.size(),
            kept.size()
        ))
        .because(error)
        .hint(format!("keep both checkpoints, they are evidence if the log was rewritten; {VERIFY}"))),
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
                ("behind", self.behind().unwrap_or_default()),
                ("checkpoint", self.file.clone().unwrap_or_default()),
            ],
        )
    }
}

impl CheckpointView {
    /// That the one that was kept is larger, and that this is no alarm.
    fn behind(&self) -> Option<String> {
        let kept = self.continued_by_tree_of?;
        let stays = if self.file.is_some() { "it is the one in the file" } else { "go on keeping that one" };
        Some(format!(
            "the checkpoint that was kept covers {kept} records, and the log has all of them; the newest one that counts covers only \
             {}, since too few witnesses have cosigned a larger one: {stays}",
            self.tree_size
        ))
    }

    /// What was verified, with these keys, for standard error.
    fn in_words(&self, keys: &[VerifierKey]) -> Vec<String> {
        let mut verified = Vec::new();
        if self.verified {
            verified.push(format!("signed by a key that was given ({})", list(keys.iter().map(beginning))));
        }
        if !self.witnesses.is_empty() {
            verified.push(format!("cosigned by {}", self.witnesses.join(", ")));
        }
        if let Some(size) = self.continues_tree_of {
            verified.push(format!("continues the log of {size} records that was kept"));
        }
        let verified = (!verified.is_empty())
            .then(|| format!("verified: the checkpoint of {} records is {}", self.tree_size, verified.join("; ")));
        verified.into_iter().chain(self.behind()).collect()
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
