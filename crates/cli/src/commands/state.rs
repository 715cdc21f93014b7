//! `chancery state`: what the state is held to, and the operator's acceptance of another one.

use std::io::{self, Write};
use std::path::PathBuf;

use chancery_server::config::Config;
use chancery_server::{
    ErasedOfCaller, ExpectedState, Hex, StateActError, StateActs, StateReport, StateShown, erase_details, show_state,
};
use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;

use super::serve::{load, worker_command};
use crate::exit::{Exit, Failure};
use crate::input::reason;
use crate::names::CallerArgument;
use crate::output::{OutputArguments, View, fields, line};

/// Looks at the state and its seal, on the machine of the service.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Show where the database and its anchor stand; checks nothing, and the service may run
    #[command(after_long_help = "\
Examples:
  chancery state show --config /etc/chancery/chancery.toml")]
    Show(Show),
    /// Check the state against its seal, while the service does not run
    #[command(after_long_help = "\
Takes the lock of the database and of the system ring's token, and reads the whole log: seconds for each million records. Exit \
code 0 where the service would go by the state, 1 where it would refuse it; what is wrong is also recorded. Tiles of the log's \
tree that are not those of its leaves, which are the ones that were signed, are made again, on the record. Also says which of \
the service's own keys the token does not hold. docs/operations.md says what to do.

Examples:
  chancery state check --config /etc/chancery/chancery.toml")]
    Check(Check),
    /// Accept the state as it is, on the record, and seal it anew; while the service does not run
    #[command(after_long_help = "\
For a backup that was restored, a token that was replaced, an edit that was meant. Look first with `chancery state check`, and \
give epoch and root that it shows: what was changed in between is then not accepted. Where the token does not hold the secret \
under which API keys are hashed, all of them are revoked, and others can be issued.

Examples:
  chancery state accept --config chancery.toml --expect 12/5f0c... --reason 'restored, ticket 4711'")]
    Accept(Accept),
    /// Erase the details of a caller's signatures and refusals, on the record; while the service does not run
    #[command(after_long_help = "\
For somebody who may ask for it. Names, addresses, digests and the salts that could confirm a guess of them go; leaves, proofs and \
checkpoints stay, and so do the details of acts, by which the caller changed keys or rights. What was interrupted and has no \
outcome yet is passed over: the service's next start gives it one. The reason is kept: name nobody in it. docs/audit-record.md, \
\"Erasing\", says what is then in no file; older backups still have it.

Examples:
  chancery state erase-details --config chancery.toml --caller till --reason 'ticket 4711'")]
    EraseDetails(EraseDetails),
}

/// Arguments of `state erase-details`.
#[derive(Debug, Args)]
pub struct EraseDetails {
    /// The configuration file of the service, which must not run
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// The caller, who is or was registered
    #[arg(long, value_name = "CALLER")]
    caller: CallerArgument,
    /// Why, for the record, where it is kept
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    #[command(flatten)]
    output: OutputArguments,
}

/// Arguments of `state show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The configuration file of the service
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// Arguments of `state check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration file of the service, which must not run
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// Arguments of `state accept`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["expect", "yes"])))]
pub struct Accept {
    /// The configuration file of the service, which must not run
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Epoch and root of the state that was looked at, as `state check` shows them
    #[arg(long, value_name = "EPOCH/ROOT")]
    expect: Option<ExpectedState>,
    /// Accept whatever is found
    #[arg(long)]
    yes: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    #[command(flatten)]
    output: OutputArguments,
}

impl StateCommand {
    /// Runs the command.
    pub async fn run(self, out: &mut dyn Write) -> Result<Exit, Failure> {
        match self {
            Self::Show(Show { config, output }) => {
                let shown = show_state(&load(&config)?);
                let shown = shown.map_err(not_shown)?;
                output.to(out).show(&ShownView::from(shown))?;
                Ok(Exit::Done)
            }
            Self::Check(Check { config, output }) => {
                let acts = begin(&load(&config)?).await?;
                let checked = acts.check().await;
                acts.end().await;
                let view = ReportView::from(checked.map_err(not_done("the state is not checked"))?);
                output.to(out).show(&view)?;
                Ok(if view.found.is_empty() { Exit::Done } else { Exit::No })
            }
            Self::Accept(Accept { config, expect, yes: _, reason, output }) => {
                let acts = begin(&load(&config)?).await?;
                let accepted = acts.accept(expect, &reason).await;
                acts.end().await;
                let accepted = accepted.map_err(not_done("the state is not accepted"))?;
                output.to(out).show(&AcceptedView { accepted: true, state: accepted.into() })?;
                Ok(Exit::Done)
            }
            Self::EraseDetails(EraseDetails { config, caller, reason, output }) => {
                let erased = erase_details(&load(&config)?, &caller.0, &reason).await;
                let ErasedOfCaller { records, acts } = erased.map_err(|error| {
                    match error {
                        StateActError::NoSuchCaller { .. } => Failure::refused("nothing is erased").because(error),
                        // It goes step by step, and what failed before the first has erased nothing.
                        StateActError::Erase(_) => not_done("nothing more is erased")(error),
                        _ => not_done("nothing is erased")(error),
                    }
                })?;
                output.to(out).show(&ErasedView { records, acts })?;
                Ok(Exit::Done)
            }
        }
    }
}

async fn begin(config: &Config) -> Result<StateActs, Failure> {
    StateActs::begin(config, &worker_command()).await.map_err(not_done("the state cannot be looked at"))
}

fn not_shown(error: StateActError) -> Failure {
    let damaged = matches!(&error, StateActError::Anchor { source, .. } if source.kind() == io::ErrorKind::InvalidData);
    let failure = Failure::local("the state cannot be shown").because(error);
    if damaged {
        failure.hint(
            "a service that runs writes it again with its next record; without one, chancery state check says what else is amiss \
             (docs/operations.md, \"The service refuses its state\")",
        )
    } else {
        failure
    }
}

fn not_done(what: &'static str) -> impl FnOnce(StateActError) -> Failure {
    move |error| Failure::local(what).because(error)
}

/// What was erased.
#[derive(Debug, Serialize)]
struct ErasedView {
    /// Of how many records.
    records: u64,
    /// The acts that say so.
    acts: Vec<u64>,
}

impl View for ErasedView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let acts = self.acts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        fields(out, [("records erased", self.records.to_string()), ("on the record as", acts)])
    }
}

#[derive(Debug, Serialize)]
struct ShownView {
    database_id: String,
    epoch: u64,
    next_index: u64,
    /// Epoch and root, as `--expect` takes them; none where the state was never sealed.
    root: Option<String>,
    anchor: Option<AnchorView>,
}

#[derive(Debug, Serialize)]
struct AnchorView {
    database_id: String,
    epoch: u64,
    next_index: u64,
    root: String,
}

impl From<StateShown> for ShownView {
    fn from(shown: StateShown) -> Self {
        let StateShown { database, anchor } = shown;
        Self {
            database_id: database.database.to_string(),
            epoch: database.epoch.get(),
            next_index: database.next_index,
            root: database.seal.map(|seal| Hex::from(seal.root).to_string()),
            anchor: anchor.map(|anchor| AnchorView {
                database_id: anchor.database.to_string(),
                epoch: anchor.epoch,
                next_index: anchor.next_index,
                root: Hex::from(anchor.root).to_string(),
            }),
        }
    }
}

impl View for ShownView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { database_id, epoch, next_index, root, anchor } = self;
        let anchor = match anchor {
            None => "none".to_owned(),
            Some(AnchorView { database_id: of, epoch, next_index, .. }) if of == database_id => {
                format!("epoch {epoch}, next record {next_index}")
            }
            Some(AnchorView { database_id, .. }) => format!("of another database, {database_id}"),
        };
        fields(
            out,
            [
                ("database", database_id.clone()),
                ("epoch", epoch.to_string()),
                ("next record", next_index.to_string()),
                ("sealed root", root.clone().unwrap_or_else(|| "never sealed".to_owned())),
                ("anchor", anchor),
            ],
        )
    }
}

#[derive(Debug, Serialize)]
struct ReportView {
    epoch: u64,
    /// Of the rows as they are.
    root: String,
    rows: usize,
    next_index: u64,
    sealed: bool,
    /// What is wrong, in words.
    found: Vec<String>,
    /// Which of the service's own keys the token does not hold, in words.
    lost: Vec<String>,
    /// How many tiles of the log's tree were not those of its leaves, and were made again.
    tiles_remade: u64,
}

impl From<StateReport> for ReportView {
    fn from(report: StateReport) -> Self {
        let StateReport { epoch, root, rows, next_index, sealed, found, lost, tiles_remade } = report;
        let found = found.iter().map(ToString::to_string).collect();
        let lost = lost.iter().map(ToString::to_string).collect();
        Self { epoch, root: Hex::from(root).to_string(), rows, next_index, sealed, found, lost, tiles_remade }
    }
}

impl View for ReportView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { epoch, root, rows, next_index, sealed, found, lost, tiles_remade } = self;
        let verdict = match (found.is_empty(), sealed) {
            (true, true) => "the state that was sealed",
            (true, false) => "never sealed",
            (false, _) => "NOT the state that was sealed",
        };
        fields(
            out,
            [
                ("state", verdict.to_owned()),
                ("epoch/root", format!("{epoch}/{root}")),
                ("rows", rows.to_string()),
                ("next record", next_index.to_string()),
            ],
        )?;
        found.iter().chain(lost).try_for_each(|found| line(out, &format!("- {found}")))?;
        tiles(out, *tiles_remade)
    }
}

/// What was done to the log's tree, if anything.
fn tiles(out: &mut dyn Write, remade: u64) -> io::Result<()> {
    if remade == 0 {
        return Ok(());
    }
    writeln!(out, "tiles of the log's tree that were not those of its leaves, and were made again: {remade}")
}

#[derive(Debug, Serialize)]
struct AcceptedView {
    accepted: bool,
    #[serde(flatten)]
    state: ReportView,
}

impl View for AcceptedView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let ReportView { epoch, root, found, lost, tiles_remade, .. } = &self.state;
        writeln!(out, "accepted the state of epoch {epoch} with root {root}, and sealed it anew, although")?;
        found.iter().chain(lost).try_for_each(|found| line(out, &format!("- {found}")))?;
        tiles(out, *tiles_remade)
    }
}
