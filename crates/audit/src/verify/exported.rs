//! Verifies an export: its records, details, tiles and checkpoints.

use super::database::read_kept;
use super::walk::{Merged, Stop, compare_tile, sorted, walk};
use super::{Check, DetailsKept, Fault, LogRecord, LogVerifier, Place, Report, Trusted, VerifyError};
use crate::checkpoint::SignedCheckpoint;
use crate::export::limits::{BUNDLE_BYTES, CHECKPOINT_BYTES, DETAILS_BYTES};
use crate::export::{ExportError, ExportedLog, leaves_of, read_details};
use crate::tree::{Resource, TILE_WIDTH, Tile, read_bundle};
use chancery_model::Sha256Hash;

/// Verifies an export up to its checkpoint. `progress` is told how many of how many records are done, now and then.
///
/// # Errors
/// [`VerifyError`]: the first fault, or a file could not be read.
pub fn verify_exported(
    export: &ExportedLog,
    trusted: Trusted,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, VerifyError<ExportError>> {
    let failed = |source| VerifyError::Read { after: 0, source };
    let fault = |check| Fault { at: Place::NewestCheckpoint, check };
    let note = export.read(Resource::Checkpoint, CHECKPOINT_BYTES).map_err(failed)?;
    let newest = SignedCheckpoint::parse(&note.ok_or(fault(Check::Missing))?).map_err(|error| fault(error.into()))?;
    // Before its size is believed.
    let Trusted { log_keys, checkpoints: held, witnesses } = trusted;
    newest.verify(&log_keys).map_err(|error| fault(error.into()))?;
    let size = newest.unverified().size();
    let kept = export.kept_checkpoints().map_err(failed)?.into_iter().map(|size| {
        let note = export.read_kept(size, CHECKPOINT_BYTES).map_err(Stop::Read)?;
        let missing = Fault { at: Place::Checkpoint(size), check: Check::Missing };
        Ok(read_kept(size, &note.ok_or(missing)?)?)
    });
    let kept = Merged::new(kept, std::iter::once(Ok(newest)));
    let checkpoints = Merged::new(kept, sorted(held));
    let bundles = (0..).map_while(|index| Tile::in_tree(0, index, size));
    let records = bundles.flat_map(|tile| {
        progress(tile.index() * u64::from(TILE_WIDTH), size);
        match read_records(export, tile) {
            Ok(records) => records.into_iter().map(Ok).collect(),
            Err(stop) => vec![Err(stop)],
        }
    });
    let tile = |tile, hashes: &[Sha256Hash]| {
        let kept = export.read(Resource::Tile(tile), hashes.as_flattened().len() as u64).map_err(Stop::Read)?;
        let kept = kept.ok_or(Fault { at: Place::Tile(tile), check: Check::Missing })?;
        if kept.len() > hashes.as_flattened().len() {
            return Err(Fault { at: Place::Tile(tile), check: Check::TileLength { bytes: kept.len() } }.into());
        }
        Ok(compare_tile(tile, hashes, &kept)?)
    };
    let kept = if export.has_details() { DetailsKept::Exported } else { DetailsKept::Unknown };
    let verifier = LogVerifier::new(log_keys).with_witnesses(witnesses).with_details(kept);
    walk(verifier, records, checkpoints, tile).map(LogVerifier::finish)
}

/// The records of a bundle, with their details where they are there.
fn read_records(export: &ExportedLog, tile: Tile) -> Result<Vec<LogRecord>, Stop<ExportError>> {
    let fault = |check| Fault { at: Place::Entries(tile), check };
    let bundle = export.read(Resource::Entries(tile), BUNDLE_BYTES).map_err(Stop::Read)?;
    let bundle = bundle.ok_or(fault(Check::Missing))?;
    let leaves = read_bundle(&bundle, tile.width()).map_err(|error| fault(error.into()))?;
    let mut records: Vec<LogRecord> = leaves_of(tile, &leaves).collect();
    if let Some(details) = export.read_details(tile, DETAILS_BYTES).map_err(Stop::Read)? {
        if details.len() as u64 > DETAILS_BYTES {
            return Err(Fault { at: Place::Details(tile), check: Check::TooLarge }.into());
        }
        read_details(tile, &details, &mut records)?;
    }
    Ok(records)
}
