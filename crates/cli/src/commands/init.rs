//! `chancery init`: the configuration of a service in production.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::config::FindingView;
use crate::exit::{Exit, Failure};
use crate::init::ask::Dialogue;
use crate::init::{Given, file, next, render};
use crate::output::{OutputArguments, View};

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Asks for what is not given, at a terminal; elsewhere, or with --non-interactive, names what is missing. The file holds no \
secrets: PINs and private keys stay in files of their own, mode 600, or come as systemd credentials (credential:NAME). \
What it names need not be there yet: `chancery config check` says what is still missing, and warns of what is weak.

Nothing is overwritten without --force. Tokens are not made here: `chancery token init` makes one.

Examples:
  chancery init --config /etc/chancery/chancery.toml
  chancery init --non-interactive --config chancery.toml \\
    --server-cert tls/server.pem --server-key tls/server.key --client-ca tls/clients.pem \\
    --token main,module=/usr/lib/vendor-pkcs11.so,label=signing,pin-file=pin \\
    --ring payments \\
    --caller operator,identity=spiffe://example.org/operator,role=policy-administrator \\
    --caller registrar,identity=spiffe://example.org/registrar,role=caller-administrator \\
    --caller checkout,identity=spiffe://example.org/checkout,role=signer,ring=payments")]
pub struct InitCommand {
    /// The configuration file to write
    #[arg(long, short, value_name = "FILE", default_value = "/etc/chancery/chancery.toml")]
    config: PathBuf,
    /// Replace the file where there is one
    #[arg(long)]
    force: bool,
    /// Ask nothing: take what is given, and name what is missing
    #[arg(long)]
    non_interactive: bool,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Serialize)]
struct InitView {
    file: PathBuf,
    findings: Vec<FindingView>,
    next: Vec<String>,
}

impl InitCommand {
    /// Asks, writes the file, says what is to be done next.
    pub fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let Self { config: path, force, non_interactive, mut given, output } = self;
        file::refuse_existing(&path, force)?;
        if !non_interactive && io::stdin().is_terminal() {
            Dialogue::new(&mut io::stdin().lock(), &mut io::stderr()).complete(&mut given)?;
        }
        let plan = given.into_plan()?;
        let config = file::write(&path, &render::render(&plan), force)?;
        let findings = config.check().into_iter().map(Into::into).collect();
        output.to(out).show(&InitView { findings, next: next::steps(&plan, &path), file: path })?;
        Ok(Exit::Done)
    }
}

impl View for InitView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "wrote {}", self.file.display())?;
        if !self.findings.is_empty() {
            writeln!(out, "\nStill open, as `chancery config check` says:")?;
            self.findings.iter().try_for_each(|finding| writeln!(out, "  {finding}"))?;
        }
        writeln!(out, "\nNext:")?;
        self.next.iter().try_for_each(|step| writeln!(out, "  {step}"))
    }
}
