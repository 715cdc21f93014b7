//! A whole log: exported, and verified.

use std::io::{self, Write};
use std::path::Path;

use chancery_audit::export::Exported;
use chancery_audit::note::VerifierKey;
use chancery_audit::verify::{Fault, Missing, Place, Report, Witnessed};
use chancery_audit::witness::WitnessPolicy;
use serde::Serialize;

use crate::input::hex;
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
    root_hash: String,
    /// How many records the newest checkpoint covers, where one of more was exported before.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
    /// From which record on what was there before was read again.
    held_from: u64,
    details: bool,
}

impl ExportView {
    /// Of this folder.
    pub fn new(folder: &Path, exported: &Exported, details: bool) -> Self {
        let Exported { checkpoint, added, behind, held_from } = exported;
        let (checkpoint, added, behind) = (checkpoint.unverified(), *added, *behind);
        Self {
            folder: folder.display().to_string(),
            origin: checkpoint.origin().to_owned(),
            records: checkpoint.size(),
            added,
            root_hash: hex(checkpoint.root()),
            behind,
            held_from: *held_from,
            details,
        }
    }
}

impl View for ExportView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { folder, origin, records, added, root_hash, behind, held_from, details } = self;
        let unread = match held_from {
            0 => String::new(),
            unread => format!("the first {unread} records in the folder; chancery audit verify {folder} reads all"),
        };
        let behind = behind.map(|size| {
            format!(
                "the newest checkpoint that counts covers {size} records, and is kept beside the one that was exported before: \
                 the log still has all of these records"
            )
        });
        fields(
            out,
            [
                ("folder", folder.clone()),
                ("log", origin.clone()),
                ("records", format!("{records}, {added} of them new")),
                ("root", root_hash.clone()),
                ("behind", behind.unwrap_or_default()),
                ("not read again", unread),
                ("details", if *details { "beside the records" } else { "left out" }.to_owned()),
            ],
        )
    }
}

/// What a service says of its log, beside the records.
#[derive(Debug, Clone, Copy, Default)]
pub struct OfService {
    /// How many records there are that were not read.
    pub beyond: u64,
    /// How many the newest checkpoint covers that it shows.
    pub shown: Option<u64>,
}

/// A log that was verified, or where it has its first fault.
#[derive(Debug, Serialize)]
pub struct VerifyView {
    /// Whether the log is whole, a checkpoint vouches for it, and one that enough witnesses have cosigned, where any are named,
    /// and no details were removed off the record, or erased by an act that is not there.
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
    root_hash: String,
    /// How many checkpoints were checked.
    checkpoints: u64,
    /// How many records the newest of them vouches for.
    attested: u64,
    /// How many records come behind these: of a service, too, which are not read.
    uncovered: u64,
    /// How many records the newest checkpoint covers that a service shows, where one that was kept covers more.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
    /// What the named witnesses vouch for.
    #[serde(skip_serializing_if = "Option::is_none")]
    witnessed: Option<WitnessedView>,
    /// How many records had their details, which match.
    details: u64,
    /// How many of these had their caller's own signature of its request, which holds.
    caller_signatures: u64,
    /// What became of the details that are missing, where the source says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<MissingView>,
    /// Intents and acts that have no outcome yet.
    open: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct WitnessedView {
    /// How many of the witnesses have to have cosigned a checkpoint.
    required: usize,
    /// How many records the newest checkpoint covers that they have; 0 where there is none.
    records: u64,
    /// Who has cosigned that one.
    by: Vec<String>,
    /// How many checkpoints they have.
    checkpoints: u64,
    #[serde(skip)]
    witnesses: usize,
}

#[derive(Debug, Serialize)]
struct MissingView {
    /// Of how many records they were erased by an act of the service.
    erased: u64,
    /// Of how many they were removed by somebody else.
    removed: u64,
    /// The first of these.
    first_removed: Vec<u64>,
    /// Of how many an act is named that is behind the end of an export.
    #[serde(skip_serializing_if = "is_none")]
    behind: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_none(number: &u64) -> bool {
    *number == 0
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
    /// What was found, and by which keys; `of_service`: what a service says besides.
    pub fn new(
        verified: Verified,
        of_service: OfService,
        keys: &[VerifierKey],
        pinned: bool,
        witnesses: &WitnessPolicy,
    ) -> Self {
        let (report, fault) = match verified {
            Ok(report) => (Some(ReportView::new(report, of_service, witnesses)), None),
            Err(fault) => (None, Some(fault.into())),
        };
        let attested = |report: &ReportView| {
            report.attested > 0
                && report.witnessed.as_ref().is_none_or(|witnessed| witnessed.records > 0)
                && report.missing.as_ref().is_none_or(|missing| missing.removed == 0 && missing.behind == 0)
        };
        Self {
            verified: report.as_ref().is_some_and(attested),
            log_keys: keys.iter().map(ToString::to_string).collect(),
            log_keys_pinned: pinned,
            report,
            fault,
        }
    }

    /// Whether the log is whole, and vouched for.
    pub const fn holds(&self) -> bool {
        self.verified
    }
}

impl ReportView {
    fn new(report: Report, OfService { beyond, shown }: OfService, witnesses: &WitnessPolicy) -> Self {
        let Report { size, root, open, checkpoints, attested, witnessed, details, caller_signatures, missing } = report;
        let missing = missing.map(|Missing { erased, removed, first_removed, behind }| MissingView {
            erased,
            removed,
            first_removed,
            behind,
        });
        let uncovered = (size - attested).saturating_add(beyond);
        let witnessed = witnessed.map(|Witnessed { size, by, checkpoints }| WitnessedView {
            required: witnesses.required(),
            records: size,
            by: by.iter().map(ToString::to_string).collect(),
            checkpoints,
            witnesses: witnesses.keys().len(),
        });
        Self {
            records: size,
            root_hash: hex(&root),
            checkpoints,
            attested,
            uncovered,
            behind: shown.filter(|shown| *shown < attested),
            witnessed,
            details,
            caller_signatures,
            missing,
            open,
        }
    }

    fn verdict(&self) -> String {
        if let Some(MissingView { removed: removed @ 1.., .. }) = self.missing {
            return format!(
                "no: the log fits together, and the details of {removed} of its records were removed, which no act says"
            );
        }
        if let Some(MissingView { behind: behind @ 1.., .. }) = self.missing {
            return format!(
                "not yet: the log fits together, and the details of {behind} of its records are said to be erased by acts that \
                 are not in the export"
            );
        }
        match (&self.witnessed, self.attested, self.uncovered) {
            (_, 0, _) => "no: the log fits together, and no checkpoint vouches for it".to_owned(),
            (Some(WitnessedView { records: 0, required, witnesses, .. }), _, _) => format!(
                "no: the log fits together, and no checkpoint has the cosignatures of {required} of the {witnesses} witnesses"
            ),
            (_, _, 0) => "yes".to_owned(),
            (_, _, rest) => format!("yes, but for the last {rest} records, which no checkpoint vouches for yet"),
        }
    }
}

/// How many callers' own signatures there are, for people.
fn signed_by_callers(count: u64) -> String {
    match count {
        0 => "none".to_owned(),
        count => format!("{count}, and each holds; who issued their certificates was not checked"),
    }
}

impl MissingView {
    /// For people.
    fn in_words(&self) -> String {
        let Self { erased, removed, first_removed, behind } = self;
        let mut words = Vec::new();
        if *erased > 0 {
            words.push(format!("of {erased} records erased, as acts behind them say"));
        }
        if *removed > 0 {
            let mut which: Vec<String> = first_removed.iter().map(ToString::to_string).collect();
            if *removed > first_removed.len() as u64 {
                which.push("...".to_owned());
            }
            let which = which.join(", ");
            words.push(format!(
                "of {removed} records REMOVED by somebody, and no act says so: {which}; keep this copy as evidence, and look \
                 for them in a backup or an export"
            ));
        }
        if *behind > 0 {
            words.push(format!(
                "of {behind} records said to be erased by acts behind the end of this export: go on with it (chancery audit \
                 export), and verify it again"
            ));
        }
        words.join("\n")
    }
}

impl WitnessedView {
    /// For people, of a log of so many records.
    fn in_words(&self, of: u64) -> String {
        let Self { required, records, by, checkpoints: _, witnesses } = self;
        let by = by.join(", ");
        match (*records, of - records) {
            (0, _) => format!("fewer than {required} of the {witnesses} have cosigned any checkpoint"),
            (records, 0) => format!("{by} vouch for all {records} records"),
            (records, rest) => format!(
                "{by} vouch for the first {records} records; for the last {rest} fewer than {required} of the {witnesses} do yet"
            ),
        }
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
        let Some(report) = &self.report else { return Ok(()) };
        let ReportView {
            records,
            root_hash,
            checkpoints,
            attested: _,
            uncovered: _,
            behind,
            witnessed,
            details,
            caller_signatures,
            missing,
            open,
        } = report;
        let missing = missing.as_ref().map(MissingView::in_words);
        let behind = behind.map(|shown| {
            format!(
                "the newest checkpoint that counts covers {shown} records, and one that you kept more: the log has all of them \
                 (witnesses are late, or were)"
            )
        });
        let witnessed = witnessed.as_ref().map(|witnessed| witnessed.in_words(*records));
        let shown: Vec<String> = open.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = if open.len() > SHOWN { ", ..." } else { "" };
        let open = match open.len() {
            0 => "none".to_owned(),
            count => format!("{count}, without outcome at the end of the log: {}{more}", shown.join(", ")),
        };
        fields(
            out,
            [
                ("verified", report.verdict()),
                ("records", records.to_string()),
                ("root", root_hash.clone()),
                ("checkpoints", checkpoints.to_string()),
                ("behind", behind.unwrap_or_default()),
                ("witnesses", witnessed.unwrap_or_default()),
                ("details", format!("of {details} records, as committed to")),
                ("caller signatures", signed_by_callers(*caller_signatures)),
                ("missing details", missing.unwrap_or_default()),
                ("open", open),
                ("log key", self.log_keys.join(" ")),
            ],
        )
    }
}
