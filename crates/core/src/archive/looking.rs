//! Looks at the archive, so that what is lost or changed in it is known before somebody needs it.

use std::collections::BTreeSet;
use std::time::Duration;

use chancery_audit::archive::Archive;
use chancery_audit::tree::TILE_WIDTH;
use chancery_store::{ArchiveError, Reader, StoreError};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::condition::Condition;
use super::{ArchiveSettings, PATIENCE};
use crate::{Chancery, Error};

/// How many tiles are read at one look beside the newest and those in trouble: by and by all of them.
const TURN: usize = 16;
/// After how long a look reads no further tile. With one that is slow it is still in time.
const ENOUGH: Duration = Duration::from_secs(10);

/// What a look has seen.
struct Looked {
    records: u64,
    newest_is_read: bool,
    /// Where the next turn begins.
    next: u64,
}

/// What is kept from one look to the next.
#[derive(Default)]
pub(super) struct Looks {
    /// One that has no end yet. It is waited for the next time: each one that hangs keeps a thread.
    under_way: Option<JoinHandle<Result<Looked, StoreError>>>,
    next: Option<u64>,
}

impl Chancery {
    /// Whether the newest of what was archived can be read, beside which more can be put. What was found is known from then on.
    pub(super) async fn look_at_archive(&self, looks: &mut Looks) -> bool {
        let next = looks.next;
        let looked = timeout(PATIENCE, looks.under_way.get_or_insert_with(|| self.begin_to_look(next))).await;
        if looked.is_ok() {
            looks.under_way = None;
        }
        let error = match looked {
            Ok(Ok(Ok(Looked { records, newest_is_read, next }))) => {
                looks.next = Some(next);
                self.inner.archive_condition.has(records);
                self.inner.archive_condition.looked();
                return newest_is_read;
            }
            Ok(Ok(Err(error))) => error.into(),
            Ok(Err(error)) => Error::internal(format!("a look at the archive was not completed: {error}")),
            Err(_elapsed) => self.silent(),
        };
        self.inner.archive_condition.not_looked(&error);
        false
    }

    fn begin_to_look(&self, next: Option<u64>) -> JoinHandle<Result<Looked, StoreError>> {
        let (reader, condition) = (self.inner.reader.clone(), self.inner.archive_condition.clone());
        let archive = self.inner.archive.as_ref().map(|ArchiveSettings { archive, .. }| archive.clone());
        // The first turn begins anywhere, so that a service which is started again and again looks at all of it, too.
        let next = next.unwrap_or_else(|| self.inner.clock.now().unix_micros().unsigned_abs() / 1_000_000);
        spawn_blocking(move || look(&reader, archive.as_ref(), &condition, next))
    }
}

/// Reads the newest tile, those in trouble, and some others in turn.
///
/// # Errors
/// The database failed. What is wrong with tiles is in the `condition`.
fn look(reader: &Reader, archive: Option<&Archive>, condition: &Condition, next: u64) -> Result<Looked, StoreError> {
    let begun = std::time::Instant::now();
    let records = reader.archived()?;
    let tiles = records / u64::from(TILE_WIDTH);
    let Some(newest) = tiles.checked_sub(1) else { return Ok(Looked { records, newest_is_read: true, next }) };
    let Some(archive) = archive else {
        condition.not_read(newest, &ArchiveError::NotNamed);
        return Ok(Looked { records, newest_is_read: false, next });
    };
    let read = |tile| {
        let begun = condition.begin();
        let read = archive.check_tile(reader, tile);
        let is_read = read.is_ok();
        match read {
            Ok(()) => condition.read(tile, begun),
            Err(StoreError::Archived { source, .. }) => condition.not_read(tile, &source),
            Err(StoreError::Damaged { what }) => condition.tile_fails(tile, &what),
            Err(error) => return Err(error),
        }
        Ok(is_read)
    };
    let newest_is_read = read(newest)?;
    let (mut next, in_trouble) = (next % tiles, condition.tiles_in_trouble());
    for (tile, in_turn) in behind_the_newest(tiles, &in_trouble, next) {
        if begun.elapsed() > ENOUGH {
            break;
        }
        read(tile)?;
        if in_turn {
            next = (tile + 1) % tiles;
        }
    }
    Ok(Looked { records, newest_is_read, next })
}

/// What is looked at behind the newest tile: those in trouble, and those whose turn it is (`true`). Each once; and all from
/// `next` on, so that where there is time for some only, it is not always for the same.
fn behind_the_newest(tiles: u64, in_trouble: &BTreeSet<u64>, next: u64) -> impl Iterator<Item = (u64, bool)> {
    let newest = tiles.saturating_sub(1);
    let troubled = in_trouble.range(next..).chain(in_trouble.range(..next)).copied();
    let turn = (next..tiles).chain(0..next.min(tiles)).filter(|tile| !in_trouble.contains(tile)).take(TURN);
    let all = troubled.map(|tile| (tile, false)).chain(turn.map(|tile| (tile, true)));
    all.filter(move |(tile, _)| *tile < newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_at(tiles: u64, in_trouble: &[u64], next: u64) -> Vec<u64> {
        let in_trouble = in_trouble.iter().copied().collect();
        behind_the_newest(tiles, &in_trouble, next).map(|(tile, _)| tile).collect()
    }

    #[test]
    fn those_in_trouble_are_looked_at_again_and_all_others_in_turn() {
        assert_eq!(looked_at(1, &[], 0), [0; 0], "the newest is looked at anyway");
        assert_eq!(looked_at(5, &[], 0), [0, 1, 2, 3]);
        assert_eq!(looked_at(5, &[1, 3, 4], 2), [3, 1, 2, 0]);
        assert_eq!(looked_at(5, &[9], 0), [0, 1, 2, 3], "one that is not archived");
        let (mut next, mut seen) = (90, BTreeSet::new());
        for _ in 0..100_usize.div_ceil(TURN) {
            for (tile, _) in behind_the_newest(100, &BTreeSet::from([7]), next).filter(|(_, in_turn)| *in_turn) {
                seen.insert(tile);
                next = (tile + 1) % 100;
            }
        }
        let all_others: BTreeSet<u64> = (0..99).filter(|tile| *tile != 7).collect();
        assert_eq!(seen, all_others);
    }
}
