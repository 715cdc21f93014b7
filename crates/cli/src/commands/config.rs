//! `chancery config`: looks at a configuration without starting anything.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use chancery_server::config::{Finding, Severity};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::serve;
use crate::exit::{Exit, Failure};
use crate::output::{OutputArguments, View};

/// Looks at configuration files.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file: its syntax, its references, the files it names; asks no token and opens no database
    #[command(after_long_help = "\
The exit code is 0 where the service would start with it, 1 where it would refuse to, and 3 where the file cannot be read \
or is no configuration at all.

Examples:
  chancery config check /etc/chancery/chancery.toml
  chancery config check chancery.toml --output json")]
    Check(Check),
}

/// Arguments of `config check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration file
    file: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Serialize)]
struct CheckView {
    ok: bool,
    findings: Vec<FindingView>,
}

/// Something to know about a configuration.
#[derive(Debug, Serialize)]
pub(super) struct FindingView {
    severity: &'static str,
    field: String,
    message: String,
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        let Finding { severity, field, message } = finding;
        let severity = match severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        Self { severity, field, message }
    }
}

impl fmt::Display for FindingView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, field, message } = self;
        write!(f, "{severity}: {field}: {message}")
    }
}

impl ConfigCommand {
    /// Runs the command.
    pub fn run(&self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let Self::Check(Check { file, output }) = self;
        let findings = serve::load(file)?.check();
        let ok = findings.iter().all(|finding| finding.severity != Severity::Error);
        output.to(out).show(&CheckView { ok, findings: findings.into_iter().map(Into::into).collect() })?;
        Ok(if ok { Exit::Done } else { Exit::No })
    }
}

impl View for CheckView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
        match self.ok {
            true => writeln!(out, "ok: the service can be started with this configuration"),
            false => writeln!(out, "not ok: the service would refuse to start"),
        }
    }
}
