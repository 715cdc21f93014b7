//! Exports the log of a database.

use super::{ExportError, Exported, Exporter};
use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::kept::{damage, kept_tree};
use crate::kept_checkpoints::KeptCheckpoints;
use crate::note::VerifierKey;
use crate::tree::{MakeProofError, TileError};
use crate::verify::LogRecord;
use chancery_store::{CheckpointRow, LogRow, Reader, StoreError};
use std::path::Path;

/// How many records are read at once.
const CHUNK: u32 = 1_024;

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

/// Exports the log of a database up to the newest checkpoint that the log has signed, or goes on with an export. Of each size,
/// the checkpoint with the most cosignatures is published and kept. `progress` is told how many of how many records are
/// there, now and then.
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
    let (signed, cosigned) = (KeptCheckpoints::signed(reader)?, KeptCheckpoints::cosigned(reader)?);
    let shown = reader.shown_checkpoint()?;
    let checkpoint = newest(keys, [signed.newest(), cosigned.newest()])?;
    let size = checkpoint.unverified().size();
    let mut exporter = Exporter::begin(folder, checkpoint, details)?;
    if let Some(published) = exporter.ahead().map(Checkpoint::size) {
        still_has(reader, size, published, &mut exporter)?;
    }
    while let Some(first) = exporter.wants() {
        progress(first, size);
        let limit = u32::try_from(size - first).unwrap_or(CHUNK).min(CHUNK);
        let rows = reader.log_rows(first, limit)?;
        if rows.is_empty() {
            break;
        }
        for LogRow { index, leaf, details, found_by: _, erased_by, end: _ } in rows {
            let details = details.map(|details| (details.salt, details.content));
            exporter.record(&LogRecord { index, leaf, details, erased_by })?;
        }
    }
    let kept = signed.chain(cosigned).chain(shown.map(Ok));
    exporter.publish(kept.map(|row| read(keys, &row?)), keys)
}

/// The newest of these checkpoints; of two of one size, the one with more signatures.
fn newest<'a>(
    keys: &[VerifierKey],
    rows: impl IntoIterator<Item = Option<&'a CheckpointRow>>,
) -> Result<SignedCheckpoint, ExportDatabaseError> {
    let read: Result<Vec<_>, _> = rows.into_iter().flatten().map(|row| read(keys, row)).collect();
    let extent = |one: &SignedCheckpoint| (one.unverified().size(), one.note().signatures().len());
    read?.into_iter().max_by_key(extent).ok_or(ExportDatabaseError::Unsigned)
}

/// More was published in the folder before than the newest checkpoint is over: whether the log still has it, its tree shows.
fn still_has(reader: &Reader, size: u64, published: u64, exporter: &mut Exporter) -> Result<(), ExportDatabaseError> {
    if reader.log_end()?.leaves < published {
        return Ok(());
    }
    match kept_tree(reader, published).consistency_proof(size) {
        Ok(proof) => Ok(exporter.log_shows(&proof)?),
        // The log was cut.
        Err(MakeProofError::Tile(TileError::Short { .. })) => Ok(()),
        Err(MakeProofError::Tile(error)) => Err(damage(error).into()),
        Err(error) => Err(StoreError::Damaged { what: error.to_string() }.into()),
    }
}

fn read(keys: &[VerifierKey], row: &CheckpointRow) -> Result<SignedCheckpoint, ExportDatabaseError> {
    let parsed = SignedCheckpoint::parse(row.note.as_bytes()).and_then(|checkpoint| {
        checkpoint.verify(keys)?;
        Ok(checkpoint)
    });
    parsed.map_err(|source| ExportDatabaseError::Checkpoint { size: row.size, source })
}
