//! How the archive is: what looks at it have found, and what those found who read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use chancery_audit::archive::Archive;
use chancery_audit::tree::TILE_WIDTH;
use chancery_store::{ArchiveError, ArchivedLeaves};
use tokio::sync::watch;

use super::why;

/// How many tiles that are not read well are remembered, each of which is read again at every look.
pub(super) const KNOWN: usize = 16;

/// How the archive is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveStanding {
    /// How many records, from the first on, have their leaves in it.
    pub records: u64,
    /// What is wrong with it; `None` where nothing is.
    pub trouble: Option<ArchiveTrouble>,
}

/// What is wrong with the archive. Signatures are made all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveTrouble {
    /// What is in it cannot be read, or a part of that.
    Unreadable,
    /// What is old enough could not be moved into it.
    NotMoved,
}

impl ArchiveTrouble {
    /// In one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NotMoved => "behind",
        }
    }
}

impl fmt::Display for ArchiveTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => {
                "leaves of old records are in it, and cannot be read: who lists or exports these records is refused; the log of \
                 the service says why"
            }
            Self::NotMoved => "old records are not moved into it, although they should be; the log of the service says why",
        })
    }
}

/// What is known of the archive. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    found: Arc<watch::Sender<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    records: u64,
    /// Those that were not read well the last time. Only the same tile clears itself: what one caller reads well says nothing of
    /// what another one could not have.
    tiles: BTreeMap<u64, u64>,
    /// How many reads have failed. Each has a number by that, which `tiles` has of the last one.
    failures: u64,
    /// Whether the last look came to no end.
    no_look: bool,
    not_moved: bool,
}

/// When a read began: by how many had failed before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun(u64);

impl Found {
    fn unreadable(&self) -> bool {
        self.no_look || !self.tiles.is_empty()
    }
}

impl Condition {
    /// In short.
    pub fn standing(&self) -> ArchiveStanding {
        let found = self.found.borrow();
        let unreadable = found.unreadable().then_some(ArchiveTrouble::Unreadable);
        let trouble = unreadable.or(found.not_moved.then_some(ArchiveTrouble::NotMoved));
        ArchiveStanding { records: found.records, trouble }
    }

    /// Those that were not read well the last time.
    pub fn tiles_in_trouble(&self) -> BTreeSet<u64> {
        self.found.borrow().tiles.keys().copied().collect()
    }

    /// A read begins.
    pub fn begin(&self) -> Begun {
        Begun(self.found.borrow().failures)
    }

    /// Returns once something cannot be read. Does not keep the service alive.
    pub fn until_unreadable(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut found = self.found.subscribe();
        async move { drop(found.wait_for(Found::unreadable).await) }
    }

    /// So many records are archived.
    pub fn has(&self, records: u64) {
        self.found.send_modify(|found| found.records = records);
    }

    /// What is old enough was moved, or could not be.
    pub fn moved(&self, moved: bool) {
        self.found.send_modify(|found| found.not_moved = !moved);
    }

    /// A tile is not read well.
    pub fn not_read(&self, tile: u64, error: &ArchiveError) {
        self.tile_fails(tile, &why(error));
    }

    /// The same for another reason than the archive's.
    pub fn tile_fails(&self, tile: u64, error: &str) {
        let known = |found: &Found| found.tiles.contains_key(&tile);
        let place = |found: &Found| found.tiles.len() < KNOWN;
        let news = |found: &Found| !known(found) && place(found);
        // First, so that who reads of it in /readyz finds it in the log.
        if news(&self.found.borrow()) {
            let first = tile * u64::from(TILE_WIDTH);
            let last = first + u64::from(TILE_WIDTH) - 1;
            tracing::error!(first, last, error, "leaves of old records cannot be read; signing goes on");
        }
        self.found.send_modify(|found| {
            found.failures += 1;
            if known(found) || place(found) {
                found.tiles.insert(tile, found.failures);
            }
        });
    }

    /// A tile was read well. Of what has failed since that read `begun` it says nothing.
    pub fn read(&self, tile: u64, begun: Begun) {
        let failed_before = |found: &Found| found.tiles.get(&tile).is_some_and(|failure| *failure <= begun.0);
        // Every read comes by here: nothing is changed where nothing is to be.
        if failed_before(&self.found.borrow()) {
            self.better(|found| failed_before(found) && found.tiles.remove(&tile).is_some());
        }
    }

    /// A look had its end.
    pub fn looked(&self) {
        self.better(|found| std::mem::take(&mut found.no_look));
    }

    /// A look had no end.
    pub fn not_looked(&self, error: &dyn fmt::Display) {
        if !self.found.borrow().no_look {
            tracing::error!(%error, "leaves of old records cannot be read; signing goes on");
        }
        self.found.send_modify(|found| found.no_look = true);
    }

    fn better(&self, change: impl FnOnce(&mut Found) -> bool) {
        let mut again = false;
        self.found.send_if_modified(|found| {
            let changed = change(found);
            again = changed && !found.unreadable();
            changed
        });
        if again {
            tracing::info!("the archive of the log can be read again");
        }
    }
}

/// The archive, for all who read leaves: what they find there is known from then on.
#[derive(Debug)]
pub(crate) struct Watched {
    archive: Archive,
    condition: Condition,
}

impl Watched {
    pub fn new(archive: Archive, condition: Condition) -> Self {
        Self { archive, condition }
    }
}

impl ArchivedLeaves for Watched {
    fn tile(&self, index: u64, hashes: &[u8]) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let begun = self.condition.begin();
        let read = self.archive.tile(index, hashes);
        match &read {
            Ok(_) => self.condition.read(index, begun),
            Err(error) => self.condition.not_read(index, error),
        }
        read
    }

    fn folder(&self) -> &Path {
        self.archive.folder()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> ArchiveError {
        ArchiveError::Missing { file: "tile/entries/000".into() }
    }

    fn trouble(condition: &Condition) -> Option<ArchiveTrouble> {
        condition.standing().trouble
    }

    fn well(condition: &Condition, tile: u64) {
        condition.read(tile, condition.begin());
    }

    #[test]
    fn a_tile_is_in_trouble_until_it_is_read_well_itself() {
        let condition = Condition::default();
        assert_eq!(condition.standing(), ArchiveStanding::default());
        condition.not_read(3, &lost());
        condition.not_read(5, &lost());
        well(&condition, 4);
        condition.looked();
        well(&condition, 5);
        assert_eq!(trouble(&condition), Some(ArchiveTrouble::Unreadable));
        assert_eq!(condition.tiles_in_trouble(), BTreeSet::from([3]));
        well(&condition, 3);
        assert_eq!(trouble(&condition), None);
    }

    #[test]
    fn what_was_read_before_it_failed_for_another_one_takes_nothing_back() {
        let condition = Condition::default();
        let before = condition.begin();
        condition.not_read(3, &lost());
        condition.read(3, before);
        let between = condition.begin();
        condition.not_read(3, &lost());
        condition.read(3, between);
        assert_eq!(trouble(&condition), Some(ArchiveTrouble::Unreadable));
        well(&condition, 3);
        assert_eq!(trouble(&condition), None);
    }

    #[test]
    fn a_look_without_an_end_is_over_with_one_that_has_one() {
        let condition = Condition::default();
        condition.not_looked(&"silent");
        well(&condition, 0);
        assert_eq!(trouble(&condition), Some(ArchiveTrouble::Unreadable));
        condition.looked();
        assert_eq!(trouble(&condition), None);
    }

    #[test]
    fn what_cannot_be_read_is_said_before_what_is_not_moved_and_neither_hides_the_other() {
        let condition = Condition::default();
        condition.has(512);
        condition.moved(false);
        assert_eq!(condition.standing(), ArchiveStanding { records: 512, trouble: Some(ArchiveTrouble::NotMoved) });
        condition.not_read(0, &lost());
        assert_eq!(trouble(&condition), Some(ArchiveTrouble::Unreadable));
        condition.moved(true);
        assert_eq!(trouble(&condition), Some(ArchiveTrouble::Unreadable));
        condition.moved(false);
        well(&condition, 0);
        assert_eq!(trouble(&condition), Some(ArchiveTrouble::NotMoved));
    }

    #[test]
    fn who_reads_all_of_an_archive_that_is_away_fills_no_memory() {
        let condition = Condition::default();
        (0..1_000).for_each(|tile| condition.not_read(tile, &lost()));
        assert_eq!(condition.tiles_in_trouble().len(), KNOWN);
        (0..1_000).for_each(|tile| well(&condition, tile));
        assert_eq!(trouble(&condition), None);
    }

    #[tokio::test]
    async fn who_waits_for_trouble_is_woken_by_it_and_when_the_service_is_gone() {
        let condition = Condition::default();
        let waiting = tokio::spawn(condition.until_unreadable());
        condition.not_read(0, &lost());
        waiting.await.unwrap();
        well(&condition, 0);
        let waiting = tokio::spawn(condition.until_unreadable());
        drop(condition);
        waiting.await.unwrap();
    }
}
