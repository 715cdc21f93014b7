//! Verifies the log in a database: the service's, beside it, or a copy.

use super::archived;
use super::ends::Ends;
use super::found_by;
use super::walk::{Merged, Stop, compare_tile, sorted, walk};
use super::{Check, DetailsKept, Fault, LogRecord, LogVerifier, Place, Report, Trusted, VerifyError};
use crate::archive::Archive;
use crate::checkpoint::SignedCheckpoint;
use crate::kept_checkpoints::KeptCheckpoints;
use crate::leaf::Leaf;
use crate::tree::Tile;
use chancery_model::Sha256Hash;
use chancery_store::{CheckpointRow, LogRow, Reader, StoreError};
use std::collections::VecDeque;
use std::ops::Range;

/// How many records are read at once.
const CHUNK: u32 = 1_024;

/// Verifies the log in a database as it stands now; what a service adds meanwhile is left for the next time. Its tree and its
/// checkpoints, too; and those in the archive, where the reader takes archived leaves from one. `progress` is told how many of how many records are done, now and then.
///
/// # Errors
/// [`VerifyError`]: the first fault, or the database failed.
pub fn verify_database(
    reader: &Reader,
    archive: Option<&Archive>,
    mut trusted: Trusted,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, VerifyError<StoreError>> {
    let failed = |source| VerifyError::Read { after: 0, source };
    let archived = reader.archived().map_err(failed)?;
    if let Some(archive) = archive {
        trusted.checkpoints.extend(archived::checkpoints(archive, archived).map_err(|stop| stop.after(0))?);
    }
    // In this order: what was vouched for before the end is looked for must be there.
    let signed = KeptCheckpoints::signed(reader).map_err(failed)?;
    let cosigned = KeptCheckpoints::cosigned(reader).map_err(failed)?;
    let known = [signed.newest(), cosigned.newest()].map(|row| row.map(|row| row.note.clone()));
    let shown = reader.shown_checkpoint().map_err(failed)?;
    let shown = shown.filter(|shown| !known.iter().flatten().any(|note| *note == shown.note));
    let end = reader.log_end().map_err(failed)?;
    if end.next_index != end.leaves {
        let check = Check::End { next_index: end.next_index, leaves: end.leaves };
        return Err(Fault { at: Place::Record(end.leaves.min(end.next_index)), check }.into());
    }
    let not_searchable = reader.not_searchable().map_err(failed)?.map_or(0..0, |(next, until)| next..until);
    let mut kept = Records::new(reader, end.leaves, not_searchable);
    let records = kept.by_ref().inspect(|record| {
        if let Ok(record) = record
            && record.index.is_multiple_of(CHUNK.into())
        {
            progress(record.index, end.leaves);
        }
    });
    let Trusted { log_keys, checkpoints: held, witnesses } = trusted;
    // All of them, also where two kinds have one of the same size.
    let checkpoints = Merged::new(signed.map(checked), cosigned.map(checked));
    let checkpoints = Merged::new(checkpoints, shown.into_iter().map(|row| checked(Ok(row))));
    let checkpoints = Merged::new(checkpoints, sorted(held));
    let verifier = LogVerifier::new(log_keys).with_witnesses(witnesses).with_details(DetailsKept::WithErasures);
    let mut verifier = walk(verifier, records, checkpoints, |tile, hashes| check_tile(reader, tile, hashes))?;
    kept.ends.finish(reader).map_err(|stop| stop.after(verifier.size()))?;
    // A service may have erased more since the end was looked for.
    for act in verifier.acts_behind() {
        let read = reader.log_rows(act, 1).map_err(|source| VerifyError::Read { after: verifier.size(), source })?;
        read.into_iter().filter(|row| row.index == act).for_each(|row| verifier.act_behind(&record(row)));
    }
    let report = verifier.finish();
    if let Some(archive) = archive {
        archived::check_tiles(reader, archive, archived).map_err(|stop| stop.after(report.size))?;
    }
    Ok(report)
}

fn check_tile(reader: &Reader, tile: Tile, hashes: &[Sha256Hash]) -> Result<(), Stop<StoreError>> {
    match reader.tile(tile.level(), tile.index()).map_err(Stop::Read)? {
        Some(kept) => Ok(compare_tile(tile, hashes, &kept)?),
        // The lowest one is kept when it is whole.
        None if tile.level() == 0 && !tile.is_whole() => Ok(()),
        None => Err(Fault { at: Place::Tile(tile), check: Check::Missing }.into()),
    }
}

/// The records up to an end, a chunk at a time.
struct Records<'a> {
    reader: &'a Reader,
    next: u64,
    end: u64,
    /// Of these the columns for digest and trace id are not there yet.
    not_searchable: Range<u64>,
    read: VecDeque<LogRow>,
    ends: Ends,
    /// What is wrong beside the record that was given out last: told once that record itself was verified.
    beside: Option<Fault>,
}

impl Iterator for Records<'_> {
    type Item = Result<LogRecord, Stop<StoreError>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(fault) = self.beside.take() {
            return Some(Err(fault.into()));
        }
        if self.read.is_empty() && self.next < self.end {
            match self.read_on() {
                Ok(rows) => self.read = rows.into(),
                Err(error) => return Some(Err(archived::leaf_not_had(error))),
            }
        }
        let row = self.read.pop_front().filter(|row| row.index < self.end)?;
        self.next = row.index + 1;
        self.beside = self.check_beside(&row).err();
        Some(Ok(record(row)))
    }
}

fn record(row: LogRow) -> LogRecord {
    let LogRow { index, leaf, details, found_by: _, erased_by, end: _ } = row;
    LogRecord { index, leaf, details: details.map(|details| (details.salt, details.content)), erased_by }
}

impl<'a> Records<'a> {
    fn new(reader: &'a Reader, end: u64, not_searchable: Range<u64>) -> Self {
        Self { reader, next: 0, end, not_searchable, read: VecDeque::new(), ends: Ends::default(), beside: None }
    }

    /// Holds what a database keeps beside a record to it. A leaf that cannot be read, the verifier names.
    fn check_beside(&mut self, row: &LogRow) -> Result<(), Fault> {
        let LogRow { index, leaf, details, found_by, erased_by: _, end } = row;
        let Ok(leaf) = Leaf::decode(leaf) else { return Ok(()) };
        if let Some((details, columns)) = details.as_ref().zip(found_by.as_ref()) {
            let searchable = !self.not_searchable.contains(index);
            found_by::check(&leaf, &details.content, columns, searchable)
                .map_err(|check| Fault { at: Place::Record(*index), check })?;
        }
        self.ends.next(*index, &leaf, end)
    }

    fn read_on(&self) -> Result<Vec<LogRow>, StoreError> {
        let first = self.next;
        match self.reader.log_rows(first, CHUNK) {
            // What stands before the leaf that is not to be had comes first.
            Err(StoreError::Archived { index, .. } | StoreError::NoLeaf { index }) if index > first => {
                self.reader.log_rows(first, u32::try_from(index - first).unwrap_or(CHUNK))
            }
            read => read,
        }
    }
}

fn checked(row: Result<CheckpointRow, StoreError>) -> Result<SignedCheckpoint, Stop<StoreError>> {
    let row = row.map_err(Stop::Read)?;
    Ok(read_kept(row.size, row.note.as_bytes())?)
}

/// A checkpoint that is kept as that of so many records.
pub(super) fn read_kept(size: u64, note: &[u8]) -> Result<SignedCheckpoint, Fault> {
    let fault = |check| Fault { at: Place::Checkpoint(size), check };
    let checkpoint = SignedCheckpoint::parse(note).map_err(|error| fault(error.into()))?;
    match checkpoint.unverified().size() {
        found if found == size => Ok(checkpoint),
        found => Err(fault(Check::OtherSize { found })),
    }
}
