//! `chancery backup`: copies of the database, with what they are checked by.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_server::backup::{self, Manifest};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::serve::load;
use crate::exit::{Exit, Failure};
use crate::output::{OutputArguments, View, fields};

/// Backs the database up, and restores it.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Copy the database into a folder, with a manifest; the service may run
    #[command(after_long_help = "\
Keys are not in it: they never leave their token. Back the token up by its vendor's means, after this. docs/operations.md has \
the whole procedure.

Examples:
  chancery backup create --config /etc/chancery/chancery.toml --to /backup/2026-01-01")]
    Create(Create),
    /// Check that a backup is whole
    #[command(after_long_help = "\
Examples:
  chancery backup verify /backup/2026-01-01")]
    Verify(Verify),
    /// Put a backup's database in the place of the service's, where there is none
    #[command(after_long_help = "\
The service refuses it until `chancery state accept`: a database of yesterday is not taken for today's unnoticed.

Examples:
  chancery backup restore /backup/2026-01-01 --config /etc/chancery/chancery.toml")]
    Restore(Restore),
}

/// Arguments of `backup create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The configuration file of the service
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// The folder of the backup; made, and with no other backup in it
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// Arguments of `backup verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The folder of the backup
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// Arguments of `backup restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The folder of the backup
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The configuration file of the service, which must not run
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

impl BackupCommand {
    /// Runs the command.
    pub fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        let because = |what: &'static str| move |error: backup::Error| Failure::local(what).because(error);
        let (manifest, output) = match self {
            Self::Create(Create { config, to, output }) => {
                (backup::create(&load(&config)?, &to).map_err(because("there is no backup"))?, output)
            }
            Self::Verify(Verify { folder, output }) => {
                (backup::verify(&folder).map_err(because("the backup cannot be used"))?, output)
            }
            Self::Restore(Restore { folder, config, output }) => {
                (backup::restore(&load(&config)?, &folder).map_err(because("nothing was restored"))?, output)
            }
        };
        output.to(out).show(&ManifestView(manifest))?;
        Ok(Exit::Done)
    }
}

#[derive(Debug, Serialize)]
struct ManifestView(Manifest);

impl View for ManifestView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let Manifest { bytes, sha256, database_id, epoch, next_index, state_root, tokens, made_unix_micros, .. } =
            &self.0;
        let made = crate::view::moment(chancery_model::Timestamp::from_unix_micros(*made_unix_micros));
        let tokens: Vec<String> = tokens.iter().map(|token| format!("{} ({:?})", token.id, token.label)).collect();
        fields(
            out,
            [
                ("made", made),
                ("database", database_id.clone()),
                ("epoch", epoch.to_string()),
                ("next record", next_index.to_string()),
                ("state root", state_root.clone().unwrap_or_default()),
                ("bytes", bytes.to_string()),
                ("sha256", sha256.clone()),
                ("tokens, to be backed up beside it", tokens.join(", ")),
            ],
        )
    }
}
