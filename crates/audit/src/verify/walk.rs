//! The walk over a log: records, and the checkpoints and tiles that are due after each.

use super::{Check, Fault, LogRecord, LogVerifier, Place, VerifyError};
use crate::checkpoint::SignedCheckpoint;
use crate::tree::{TILE_WIDTH, Tile};
use chancery_model::Sha256Hash;
use std::iter::Peekable;

/// Why nothing more comes of a source.
pub(super) enum Stop<E> {
    /// What it has is at fault.
    Fault(Fault),
    /// It cannot be read.
    Read(E),
}

impl<E> From<Fault> for Stop<E> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<E> Stop<E> {
    pub(super) fn after(self, after: u64) -> VerifyError<E> {
        match self {
            Self::Fault(fault) => fault.into(),
            Self::Read(source) => VerifyError::Read { after, source },
        }
    }
}

/// Verifies records from index 0 on, and checkpoints in the order of their sizes, which are read as they are needed. `tile`
/// is given each tile when it is whole, and at the end those that are not. The verifier stands at the end of the log then.
pub(super) fn walk<E>(
    mut verifier: LogVerifier,
    mut records: impl Iterator<Item = Result<LogRecord, Stop<E>>>,
    mut checkpoints: impl Iterator<Item = Result<SignedCheckpoint, Stop<E>>>,
    mut tile: impl FnMut(Tile, &[Sha256Hash]) -> Result<(), Stop<E>>,
) -> Result<LogVerifier, VerifyError<E>> {
    let mut due = read_on(checkpoints.next(), &verifier)?;
    loop {
        while let Some(checkpoint) = due.take_if(|due| due.unverified().size() <= verifier.size()) {
            if let Err(fault) = verifier.checkpoint(&checkpoint) {
                return Err(located(&verifier, fault, &mut tile).into());
            }
            due = read_on(checkpoints.next(), &verifier)?;
        }
        let Some(record) = read_on(records.next(), &verifier)? else { break };
        let mut kept = Ok(());
        verifier.record_with(&record, |whole, hashes| {
            if kept.is_ok() {
                kept = tile(whole, hashes);
            }
        })?;
        kept.map_err(|stop| stop.after(verifier.size()))?;
    }
    // What is left vouches for more leaves than there are: a fault.
    if let Some(checkpoint) = due {
        verifier.checkpoint(&checkpoint)?;
    }
    for (edge, hashes) in verifier.tree.edge() {
        tile(edge, hashes).map_err(|stop| stop.after(verifier.size()))?;
    }
    Ok(verifier)
}

/// Where the root is another, the tiles that are not whole may say from which record on.
fn located<E>(
    verifier: &LogVerifier,
    fault: Fault,
    tile: &mut impl FnMut(Tile, &[Sha256Hash]) -> Result<(), Stop<E>>,
) -> Fault {
    if !matches!(fault.check, Check::Root { .. }) {
        return fault;
    }
    let differs = verifier.tree.edge().find_map(|(edge, hashes)| match tile(edge, hashes) {
        Err(Stop::Fault(at @ Fault { check: Check::TileHash { .. }, .. })) => Some(at),
        _ => None,
    });
    differs.unwrap_or(fault)
}

fn read_on<T, E>(next: Option<Result<T, Stop<E>>>, verifier: &LogVerifier) -> Result<Option<T>, VerifyError<E>> {
    next.transpose().map_err(|stop| stop.after(verifier.size()))
}

/// Holds a tile as it is kept against the hashes that the records have. Of a tile that was kept later, the first hashes count.
pub(super) fn compare_tile(tile: Tile, hashes: &[Sha256Hash], kept: &[u8]) -> Result<(), Fault> {
    let (kept_hashes, rest) = kept.as_chunks();
    if kept_hashes.len() < hashes.len() || !rest.is_empty() {
        return Err(Fault { at: Place::Tile(tile), check: Check::TileLength { bytes: kept.len() } });
    }
    let first = tile.index() * u64::from(TILE_WIDTH);
    for ((index, hash), kept) in (first..).zip(hashes).zip(kept_hashes) {
        if hash != kept {
            let at = if tile.level() == 0 { Place::Record(index) } else { Place::Tile(tile) };
            return Err(Fault { at, check: Check::TileHash { tile } });
        }
    }
    Ok(())
}

/// Two sequences of checkpoints as one, by their sizes.
pub(super) struct Merged<A: Iterator, B: Iterator> {
    one: Peekable<A>,
    other: Peekable<B>,
}

impl<A: Iterator, B: Iterator> Merged<A, B> {
    pub fn new(one: A, other: B) -> Self {
        Self { one: one.peekable(), other: other.peekable() }
    }
}

impl<E, A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = Result<SignedCheckpoint, Stop<E>>>,
    B: Iterator<Item = Result<SignedCheckpoint, Stop<E>>>,
{
    type Item = Result<SignedCheckpoint, Stop<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        let size = |checkpoint: &SignedCheckpoint| checkpoint.unverified().size();
        match (self.one.peek(), self.other.peek()) {
            (Some(Ok(one)), Some(Ok(other))) if size(other) < size(one) => self.other.next(),
            // A fault ends the walk.
            (Some(Ok(_)), Some(Err(_))) | (None, _) => self.other.next(),
            (Some(_), _) => self.one.next(),
        }
    }
}

/// In the order of their sizes.
pub(super) fn sorted<E>(
    mut checkpoints: Vec<SignedCheckpoint>,
) -> impl Iterator<Item = Result<SignedCheckpoint, Stop<E>>> {
    checkpoints.sort_by_key(|checkpoint| checkpoint.unverified().size());
    checkpoints.into_iter().map(Ok)
}
