//! Exports the log of a database.

use super::{ExportError, Exporter};
use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::note::VerifierKey;
use crate::verify::LogRecord;
use chancery_store::{LogRow, Reader, StoreError};
use std::path::Path;

/// How many records are read at once.
const CHUNK: u32 = 1_024;

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The checkpoint that was published.
    pub checkpoint: SignedCheckpoint,
    /// How many records were not there before.
    pub added: u64,
}

/// Why the log of a database was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportDatabaseError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] StoreError),
    /// The folder.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Nothing was signed yet.
    #[error("the log has no checkpoint yet: an export is what was signed; the service signs once it has a system ring")]
    Unsigned,
    /// A checkpoint in the database is not the log's.
    #[error("a checkpoint of the log, of {size} records, is not to be believed; see `chancery state check`")]
    Checkpoint {
        /// Its size.
        size: u64,
        /// Why.
        source: CheckpointError,
    },
}

/// Exports the log of a database up to its newest checkpoint, or goes on with an export. `progress` is told how many of how
/// many records are there, now and then.
///
/// # Errors
/// [`ExportDatabaseError`].
pub fn export_database(
    reader: &Reader,
    keys: &[VerifierKey],
    folder: &Path,
    details: bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<Exported, ExportDatabaseError> {
    let newest = reader.newest_checkpoint()?.ok_or(ExportDatabaseError::Unsigned)?;
    let checkpoint = read(keys, newest.size, &newest.note)?;
    let size = checkpoint.unverified().size();
    let mut exporter = Exporter::begin(folder, checkpoint.clone(), details)?;
    while let Some(first) = exporter.wants() {
        progress(first, size);
        let limit = u32::try_from(size - first).unwrap_or(CHUNK).min(CHUNK);
        let rows = reader.log_rows(first, limit)?;
        if rows.is_empty() {
            break;
        }
        for LogRow { index, leaf, details } in rows {
            let details = details.map(|details| (details.salt, details.content));
            exporter.record(&LogRecord { index, leaf, details })?;
        }
    }
    let mut after = None;
    let kept = std::iter::from_fn(|| {
        let row = reader.checkpoints_after(after, 1).map(|mut rows| rows.pop()).transpose()?;
        Some(row.map_err(ExportDatabaseError::from).and_then(|row| {
            after = Some(row.size);
            read(keys, row.size, &row.note)
        }))
    });
    let added = exporter.publish(kept, keys)?;
    Ok(Exported { checkpoint, added })
}

fn read(keys: &[VerifierKey], size: u64, note: &str) -> Result<SignedCheckpoint, ExportDatabaseError> {
    let parsed = SignedCheckpoint::parse(note.as_bytes()).and_then(|checkpoint| {
        checkpoint.verify(keys)?;
        Ok(checkpoint)
    });
    parsed.map_err(|source| ExportDatabaseError::Checkpoint { size, source })
}
