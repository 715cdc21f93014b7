//! A whole log: exported, and verified.

use std::io::{self, Write};
use std::path::Path;

use base64ct::{Base64, Encoding as _};
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::note::VerifierKey;
use chancery_audit::verify::{Fault, Place, Report};
use serde::Serialize;

use crate::output::{View, fields};

/// What a verification came to.
pub type Verified = Result<Report, Fault>;

/// How many open records people are shown.
const SHOWN: usize = 20;

/// An export that was made, or gone on with.
#[derive(Debug, Serialize)]
pub struct ExportView {
    folder: String,
    origin: String,
    records: u64,
    added: u64,
    root: String,
    details: bool,
}

impl ExportView {
    /// Of this folder.
    pub fn new(folder: &Path, checkpoint: &SignedCheckpoint, added: u64, details: bool) -> Self {
        let checkpoint = checkpoint.unverified();
        Self {
            folder: folder.display().to_string(),
            origin: checkpoint.origin().to_owned(),
            records: checkpoint.size(),
            added,
            root: Base64::encode_string(checkpoint.root()),
            details,
        }
    }
}

impl View for ExportView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { folder, origin, records, added, root, details } = self;
        fields(
            out,
            [
                ("folder", folder.clone()),
                ("log", origin.clone()),
                ("records", format!("{records}, {added} of them new")),
                ("root", root.clone()),
                ("details", if *details { "beside the records" } else { "left out" }.to_owned()),
            ],
        )
    }
}

/// A log that was verified, or where it has its first fault.
#[derive(Debug, Serialize)]
pub struct VerifyView {
    /// Whether the log is whole, and a checkpoint vouches for it.
    verified: bool,
    log_keys: Vec<String>,
    log_keys_pinned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<ReportView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<FaultView>,
}

#[derive(Debug, Serialize)]
struct ReportView {
    records: u64,
    root: String,
    /// How many checkpoints were checked.
    checkpoints: u64,
    /// How many records the newest of them vouches for.
    attested: u64,
    /// How many records had their details, which match.
    details: u64,
    /// Intents and acts that have no outcome yet.
    open: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct FaultView {
    /// In words.
    at: String,
    /// The record, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<u64>,
    /// The size of the checkpoint, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<u64>,
    what: String,
    next_step: &'static str,
}

impl VerifyView {
    /// What was found, and by which keys.
    pub fn new(verified: Verified, keys: &[VerifierKey], pinned: bool) -> Self {
        let (report, fault) = match verified {
            Ok(report) => (Some(report.into()), None),
            Err(fault) => (None, Some(fault.into())),
        };
        let attested = |report: &ReportView| report.attested > 0;
        Self {
            verified: report.as_ref().is_some_and(attested),
            log_keys: keys.iter().map(ToString::to_string).collect(),
            log_keys_pinned: pinned,
            report,
            fault,
        }
    }

    /// Whether the log is whole, and a checkpoint vouches for it.
    pub const fn holds(&self) -> bool {
        self.verified
    }
}

impl From<Report> for ReportView {
    fn from(report: Report) -> Self {
        let Report { size, root, open, checkpoints, attested, details } = report;
        Self { records: size, root: Base64::encode_string(&root), checkpoints, attested, details, open }
    }
}

impl From<Fault> for FaultView {
    fn from(Fault { at, check }: Fault) -> Self {
        let (record, checkpoint) = match at {
            Place::Record(index) => (Some(index), None),
            Place::Checkpoint(size) => (None, Some(size)),
            _ => (None, None),
        };
        Self { at: at.to_string(), record, checkpoint, what: check.to_string(), next_step: check.next_step() }
    }
}

impl View for VerifyView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(FaultView { at, what, next_step, .. }) = &self.fault {
            return fields(
                out,
                [
                    ("verified", "no: the log has a fault".to_owned()),
                    ("first fault", format!("{at}: {what}")),
                    ("next", (*next_step).to_owned()),
                ],
            );
        }
        let Some(ReportView { records, root, checkpoints, attested, details, open }) = &self.report else {
            return Ok(());
        };
        let verdict = match (self.verified, records - attested) {
            (false, _) => "no: the log fits together, and no checkpoint vouches for it".to_owned(),
            (true, 0) => "yes".to_owned(),
            (true, rest) => format!("yes, but for the last {rest} records, which no checkpoint vouches for yet"),
        };
        let shown: Vec<String> = open.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = if open.len() > SHOWN { ", ..." } else { "" };
        let open = match open.len() {
            0 => "none".to_owned(),
            count => format!("{count}, without outcome at the end of the log: {}{more}", shown.join(", ")),
        };
        fields(
            out,
            [
                ("verified", verdict),
                ("records", records.to_string()),
                ("root", root.clone()),
                ("checkpoints", checkpoints.to_string()),
                ("details", format!("of {details} records, as committed to")),
                ("open", open),
                ("log key", self.log_keys.join("\n")),
            ],
        )
    }
}
