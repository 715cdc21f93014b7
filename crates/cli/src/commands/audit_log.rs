//! `chancery audit export` and `chancery audit verify`: the whole log, in a folder and checked.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chancery_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_audit::export::{ExportDatabaseError, ExportError, Exported, ExportedLog, Exporter, export_database};
use chancery_audit::note::VerifierKey;
use chancery_audit::verify::{
    DetailsKept, Fault, LogRecord, LogVerifier, Place, Report, Trusted, VerifyError, verify_database, verify_exported,
};
use chancery_client::{Client, Record, RecordQuery};
use chancery_server::KeptLog;
use clap::Args;

use super::log_signer::{beginning, list, not_believed};
use super::witnesses::WitnessArguments;
use crate::connection::{ConnectionArguments, DevIdentity};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::view::log::{ExportView, OfService, Verified, VerifyView};

/// Arguments of `audit export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder: made, or gone on with where an export is in it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// From this database, and not from a running service (which may run beside it)
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Where the leaves of old records are that were moved out of the database (log.archive.dir of the service)
    #[arg(long, value_name = "DIR", requires = "database")]
    archive: Option<PathBuf>,
    /// Leave out the salts and details: names, addresses, digests
    #[arg(long)]
    without_details: bool,
    /// The log's public key, by which its checkpoint is checked; required where a service is asked
    #[arg(long, value_name = "VKEY", value_parser = VerifierKey::parse, required_unless_present = "database")]
    log_key: Vec<VerifierKey>,
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The folder of an export; without it, and without --database, a running service is asked
    #[arg(value_name = "DIR", conflicts_with = "database")]
    folder: Option<PathBuf>,
    /// The log in this database: a copy, or the service's own, beside it
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Where the leaves of old records are that were moved out of the database (log.archive.dir of the service); verified, too
    #[arg(long, value_name = "DIR", requires = "database", conflicts_with = "folder")]
    archive: Option<PathBuf>,
    /// The log's public key, pinned: known from elsewhere than from the log. Again for a log that changed its key
    #[arg(long, value_name = "VKEY", value_parser = VerifierKey::parse, required_unless_present_any = ["folder", "database"])]
    log_key: Vec<VerifierKey>,
    /// A checkpoint that you kept, in a file: the log must still say the same
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    #[command(flatten)]
    witnesses: WitnessArguments,
}

impl Export {
    /// Runs the command.
    pub async fn run(self, connection: &ConnectionArguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { folder, database, archive, without_details, log_key } = self;
        let details = !without_details;
        let readers = if details { other_readers(&folder) } else { None };
        let mut progress = Progress::new("exported");
        let exported = match database {
            Some(database) => {
                let log = open(&database, archive.as_deref())?;
                let what = format!("the log in {} was not exported", database.display());
                let pinned = !log_key.is_empty();
                let keys = if pinned { log_key } else { own_keys(&log, &database)? };
                let exported =
                    export_database(&log.reader, &keys, &folder, details, |done, all| progress.at(done, all));
                exported.map_err(|error| match error {
                    ExportDatabaseError::Export(error) => {
                        let of = archive.map(|archive| format!(" --archive {}", archive.display()));
                        let of = format!("--database {}{}", database.display(), of.unwrap_or_default());
                        not_exported(error, &folder, &of)
                    }
                    error @ ExportDatabaseError::Checkpoint { .. } => {
                        let failure = Failure::no(what).because(error);
                        match own_keys(&log, &database) {
                            Ok(own) if pinned => failure.hint(format!(
                                "--log-key names {}, and the database {} (each the beginning of a verifier key): with the wrong key \
                                 no checkpoint is the log's",
                                list(keys.iter().map(beginning)),
                                list(own.iter().map(beginning)),
                            )),
                            _ => failure,
                        }
                    }
                    error => Failure::local(what).because(error),
                })?
            }
            None => {
                let client = connection.connect(DevIdentity::Operator).await?;
                export_online(&client, &folder, details, &log_key, &mut progress).await?
            }
        };
        drop(progress);
        if let Some(mode) = readers {
            warn(&format!(
                "{} was there before, and others on this machine may get at it (mode {mode:o}): details are names, addresses and \
                 digests; chmod 700 it, or export with --without-details",
                folder.display()
            ));
        }
        out.show(&ExportView::new(&folder, &exported, details))?;
        Ok(Exit::Done)
    }
}

/// The rights of a folder in which an export begins, where it is there already and not its owner's alone. One that is gone on
/// with was decided about.
fn other_readers(folder: &Path) -> Option<u32> {
    let mode = fs::metadata(folder).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0 && !folder.join("checkpoint").exists()).then_some(mode)
}

async fn export_online(
    client: &Client,
    folder: &Path,
    details: bool,
    keys: &[VerifierKey],
    progress: &mut Progress,
) -> Result<Exported, Failure> {
    let checkpoint = newest_checkpoint(client).await?;
    let believed = checkpoint.verify(keys).map_err(|error| {
        let failure = Failure::no("the service's checkpoint is not one of the log's key");
        not_believed(failure, &checkpoint, keys, error)
    })?;
    let size = believed.size();
    let not_exported = |error| not_exported(error, folder, "--log-key VKEY");
    let mut exporter = Exporter::begin(folder, checkpoint, details).map_err(not_exported)?;
    if let Some(published) = exporter.ahead().map(Checkpoint::size) {
        // More was exported before: from a database, while witnesses are late. Whether the log still has it, it can show.
        match client.get_consistency_proof(size, Some(published)).await {
            Ok(proof) => exporter.log_shows(&proof.hashes).map_err(not_exported)?,
            Err(error) if error.reason() == Some("BEYOND_RECORD") => {}
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(first) = exporter.wants() {
        let mut records = client.list_records(range(first, size));
        // However much more the service gives.
        while exporter.wants().is_some()
            && let Some(record) = records.next().await
        {
            let record = log_record(record?)?;
            progress.at(record.index, size);
            exporter.record(&record).map_err(not_exported)?;
        }
    }
    // The service hands out its newest checkpoint only.
    exporter.publish(std::iter::empty::<Result<_, ExportError>>(), keys).map_err(not_exported)
}

/// `of` says to `audit verify` which log it was. That it is another than the one that was exported before, or not the one that was
/// signed, is an answer; the rest are troubles of this side.
fn not_exported(error: ExportError, folder: &Path, of: &str) -> Failure {
    const WHAT: &str = "the log was not exported";
    match error {
        ExportError::Fork { .. } | ExportError::Behind { .. } => {
            let published = ExportedLog::open(folder).is_ok();
            let folder = folder.display();
            let hint = if published {
                format!(
                    "keep the export and the log as evidence; chancery audit verify {of} --checkpoint {folder}/checkpoint holds \
                     the log to what was exported before, chancery audit verify {folder} says whether the export is whole"
                )
            } else {
                format!("chancery audit verify {of} says where")
            };
            Failure::no(WHAT).because(error).hint(hint)
        }
        error => Failure::local(WHAT).because(error),
    }
}

impl Verify {
    /// Runs the command.
    pub async fn run(self, connection: &ConnectionArguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
        let Self { folder, database, archive, log_key, checkpoint, witnesses } = self;
        let witnesses = witnesses.policy()?;
        let kept = checkpoint.iter().map(|path| read_checkpoint(path)).collect::<Result<Vec<_>, _>>()?;
        let pinned = !log_key.is_empty();
        let trusted = |keys: Vec<VerifierKey>| {
            // A file of the user's that is no checkpoint of this log is no fault of the log.
            for (path, checkpoint) in checkpoint.iter().zip(&kept) {
                check_kept(path, checkpoint, &keys)?;
            }
            Ok::<_, Failure>(Trusted { log_keys: keys, checkpoints: kept, witnesses: witnesses.clone() })
        };
        let mut progress = Progress::new("verified");
        let step = |done, all| progress.at(done, all);
        let mut of_service = OfService::default();
        let (keys, verified) = match (folder, database) {
            (Some(folder), _) => {
                let because = |error: ExportError| Failure::local("the export cannot be verified").because(error);
                let export = ExportedLog::open(&folder).map_err(because)?;
                let keys = if pinned { log_key } else { export.log_keys().map_err(because)? };
                let verified = verify_exported(&export, trusted(keys.clone())?, step);
                (keys, or_fault(verified, &folder.display())?)
            }
            (None, Some(database)) => {
                let log = open(&database, archive.as_deref())?;
                let keys = if pinned { log_key } else { own_keys(&log, &database)? };
                let verified = verify_database(&log.reader, log.archive.as_ref(), trusted(keys.clone())?, step);
                (keys, or_fault(verified, &database.display())?)
            }
            (None, None) => {
                let client = connection.connect(DevIdentity::Operator).await?;
                let newest = newest_checkpoint(&client).await?;
                let shown = newest.unverified().size();
                let verified = verify_online(&client, newest, trusted(log_key.clone())?, step).await?;
                if let Ok(report) = &verified {
                    // What no checkpoint covers is not read, but that it is there.
                    let newest = client.newest_record().await?;
                    let beyond = newest.map_or(0, |newest| newest.index.saturating_add(1).saturating_sub(report.size));
                    of_service = OfService { beyond, shown: Some(shown) };
                }
                (log_key, verified)
            }
        };
        drop(progress);
        if !pinned {
            warn(
                "the log's key was taken from the same place as the log, which shows that the log is whole, and not whose it \
                  is; pin it with --log-key",
            );
        }
        let view = VerifyView::new(verified, of_service, &keys, pinned, &witnesses);
        out.show(&view)?;
        Ok(if view.holds() { Exit::Done } else { Exit::No })
    }
}

/// A fault is an answer; what cannot be read is none.
fn or_fault<E>(verified: Result<Report, VerifyError<E>>, what: &dyn std::fmt::Display) -> Result<Verified, Failure>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match verified {
        Ok(report) => Ok(Ok(report)),
        Err(VerifyError::Fault(fault)) => Ok(Err(fault)),
        Err(error @ VerifyError::Read { .. }) => Err(Failure::local(format!("{what}")).because(error)),
    }
}

/// A service is asked for the records up to its newest checkpoint, or to one that was kept and covers more: it shows only what
/// enough witnesses have cosigned, and has all records.
async fn verify_online(
    client: &Client,
    newest: SignedCheckpoint,
    trusted: Trusted,
    mut step: impl FnMut(u64, u64),
) -> Result<Verified, Failure> {
    let Trusted { log_keys, mut checkpoints, witnesses } = trusted;
    if let Err(error) = newest.verify(&log_keys) {
        return Ok(Err(Fault { at: Place::NewestCheckpoint, check: error.into() }));
    }
    checkpoints.push(newest);
    checkpoints.sort_by_key(|checkpoint| checkpoint.unverified().size());
    let size = checkpoints.last().map_or(0, |largest| largest.unverified().size());
    let mut checkpoints = checkpoints.into_iter().peekable();
    let mut verifier = LogVerifier::new(log_keys).with_witnesses(witnesses).with_details(DetailsKept::WithErasures);
    let mut records = client.list_records(range(0, size));
    loop {
        while let Some(due) = checkpoints.next_if(|due| due.unverified().size() <= verifier.size()) {
            if let Err(fault) = verifier.checkpoint(&due) {
                return Ok(Err(fault));
            }
        }
        // However much more the service gives.
        if verifier.size() == size {
            break;
        }
        let Some(record) = records.next().await else { break };
        let record = log_record(record?)?;
        step(record.index, size);
        if let Err(fault) = verifier.record(&record) {
            return Ok(Err(fault));
        }
    }
    if let Some(Err(fault)) = checkpoints.next().map(|left| verifier.checkpoint(&left)) {
        return Ok(Err(fault));
    }
    // What was erased by acts that no checkpoint covers yet.
    for act in verifier.acts_behind() {
        if let Some(record) = client.get_record(act).await? {
            verifier.act_behind(&log_record(record)?);
        }
    }
    Ok(Ok(verifier.finish()))
}

async fn newest_checkpoint(client: &Client) -> Result<SignedCheckpoint, Failure> {
    let bytes = client.log_resource("checkpoint").await?;
    SignedCheckpoint::parse(&bytes)
        .map_err(|error| Failure::failed("the service's checkpoint cannot be read").because(error))
}

fn range(start: u64, end: u64) -> RecordQuery {
    RecordQuery { start_index: Some(start), end_index: Some(end), oldest_first: true, ..RecordQuery::default() }
}

fn log_record(record: Record) -> Result<LogRecord, Failure> {
    let Record { index, leaf, details_json, salt, erasure_index, .. } = record;
    let details = match salt.as_slice() {
        [] => None,
        salt => {
            let salt = salt.try_into().map_err(|_length| {
                Failure::failed(format!("the service's record {index} has a salt of {} bytes", salt.len()))
            })?;
            Some((salt, details_json))
        }
    };
    Ok(LogRecord { index, leaf, details, erased_by: erasure_index })
}

fn open(database: &Path, archive: Option<&Path>) -> Result<KeptLog, Failure> {
    KeptLog::open(database, archive).map_err(|error| Failure::local("the log cannot be read").because(error))
}

fn own_keys(log: &KeptLog, database: &Path) -> Result<Vec<VerifierKey>, Failure> {
    log.log_keys().map_err(|error| {
        Failure::local(format!("the log's key cannot be read from {}", database.display()))
            .because(error)
            .hint("name it with --log-key")
    })
}

fn read_checkpoint(path: &Path) -> Result<SignedCheckpoint, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::file("read", path, error))?;
    SignedCheckpoint::parse(&bytes)
        .map_err(|error| Failure::local(format!("{} holds no checkpoint", path.display())).because(error))
}

/// That a checkpoint which somebody kept is one of the log's.
fn check_kept(path: &Path, kept: &SignedCheckpoint, keys: &[VerifierKey]) -> Result<(), Failure> {
    kept.verify(keys).map(drop).map_err(|error| {
        Failure::local(format!("the checkpoint in {} is not one of this log's", path.display()))
            .because(error)
            .hint("if the log had another key or another name then, give that key, too: --log-key once more")
    })
}

fn warn(what: &str) {
    // Where standard error is closed, there is nobody to be warned.
    let _ignored = writeln!(io::stderr(), "warning: {what}");
}
