//! `chancery scan`: secrets that are where they do not belong.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{OutputArguments, View};
use crate::scan::{self, Baseline, Finding, Kind, Place};

/// Arguments of `scan`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Finds Chancery API keys, by their checksum, so that nothing else is taken for one, and PEM private keys. Says file and line and, \
of an API key, the id by which it is revoked; never the secret. Asks no service. Links are not followed, and of a .git folder \
only the history is looked at, with --history.

The exit code is 0 where nothing was found, 1 where something was, 3 where something could not be read.

Examples:
  chancery scan .
  chancery scan . --history --baseline .chancery-scan      # in CI, with what is known already
  chancery scan . --history --write-baseline .chancery-scan
  chancery scan . -o json | jq -r '.findings[].file'")]
pub struct ScanCommand {
    /// A file, or a folder with everything in it
    path: PathBuf,
    /// Look at every commit of every branch, too, by the git program
    #[arg(long)]
    history: bool,
    /// Pass over the fingerprints in this file
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write the fingerprints of all that is found into this file, for --baseline
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    write_baseline: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Serialize)]
struct FindingView {
    file: String,
    line: usize,
    commit: Option<String>,
    kind: &'static str,
    description: String,
    fingerprint: String,
}

#[derive(Debug, Serialize)]
struct ScanView {
    findings: Vec<FindingView>,
    /// How many were passed over.
    known: usize,
}

impl ScanCommand {
    /// Scans.
    pub fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let Self { path, history, baseline, write_baseline, output } = self;
        let baseline = baseline.as_deref().map(Baseline::read).transpose()?.unwrap_or_default();
        let mut findings = scan::tree(&path)?;
        if history {
            findings.extend(scan::history(&path)?);
        }
        if let Some(file) = write_baseline {
            let text = Baseline::of(&findings);
            files::replace(&file, text.as_bytes())?;
        }
        let (known, new): (Vec<Finding>, Vec<Finding>) =
            findings.into_iter().partition(|finding| baseline.knows(finding));
        let view = ScanView { findings: new.into_iter().map(FindingView::from).collect(), known: known.len() };
        let exit = if view.findings.is_empty() { Exit::Done } else { Exit::No };
        output.to(out).show(&view)?;
        Ok(exit)
    }
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        let Finding { place: Place { file, line, commit }, kind, fingerprint } = finding;
        let (kind, description) = match kind {
            Kind::ApiKey { environment, id } => {
                ("API_KEY", format!("Chancery API key {id} of environment {environment}; revoke it"))
            }
            Kind::PrivateKey { label } => ("PRIVATE_KEY", format!("PEM private key ({label}); replace it")),
        };
        Self { file, line, commit, kind, description, fingerprint }
    }
}

impl View for ScanView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        for FindingView { file, line, commit, kind: _, description, fingerprint } in &self.findings {
            let commit = commit.as_ref().map(|commit| format!(" (added by commit {commit})")).unwrap_or_default();
            writeln!(out, "{file}:{line}: {description}{commit} [{fingerprint}]")?;
        }
        let known = if self.known == 0 { String::new() } else { format!(", {} known", self.known) };
        writeln!(out, "{} found{known}", self.findings.len())
    }
}
