//! The tree, growing with the log: each leaf of a group goes into it, and the tiles that become whole are written in the
//! group's own transaction.
//!
//! The lowest tile is not written before it is whole: its hashes are those of at most 255 leaves, which are there. What a
//! group costs the disk is therefore nothing, 255 times of 256, and two or three tiles the 256th time.

use crate::kept::{damage, leaf_hashes, read_tile};
use crate::tree::{Appender, MAX_LEVEL, TILE_WIDTH, Tile, leaf_hash};
use chancery_model::Sha256Hash;
use chancery_store::{StoreError, Transaction, Writer};

/// How many leaves are read, and put into the tree in one transaction, where the tree is behind the log.
pub(crate) const CHUNK: u32 = 16_384;

/// A tree, as a checkpoint says it: how many leaves, and the root over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// How many leaves.
    pub size: u64,
    /// The root.
    pub root: Sha256Hash,
}

/// The tree of the log.
pub(crate) struct Growing {
    /// None where the log has a gap: of such a log there is no tree.
    appender: Option<Appender>,
    /// Whether a tile has become whole since the edge was written.
    widened: bool,
}

impl Growing {
    /// Takes it up where the log stands. A database of before the tree, or one whose tiles were cut, gets its tiles here, in
    /// memory that does not grow with the log.
    pub fn resume(writer: &mut Writer) -> Result<Self, StoreError> {
        let next_index = writer.head()?.next_index;
        let size = writer.whole_tiles()?.saturating_mul(TILE_WIDTH.into()).min(next_index);
        let kept = Appender::resume(size - size % u64::from(TILE_WIDTH), |tile| read_tile(writer, tile));
        let appender = match kept.map_err(damage) {
            Ok(appender) => appender,
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%error, "the tree of the log is made again from its leaves");
                Appender::new()
            }
            Err(error) => return Err(error),
        };
        let mut growing = Self { appender: Some(appender), widened: false };
        growing.catch_up(writer, next_index)?;
        Ok(growing)
    }

    fn catch_up(&mut self, writer: &mut Writer, next_index: u64) -> Result<(), StoreError> {
        let behind = |growing: &Self| next_index - growing.appender.as_ref().map_or(next_index, Appender::size);
        if behind(self) > CHUNK.into() {
            tracing::info!(leaves = behind(self), "the tree over the log is being made");
        }
        let archived = writer.archived()?;
        while behind(self) > 0 {
            let first = next_index - behind(self);
            let limit = u32::try_from(behind(self)).unwrap_or(CHUNK).min(CHUNK);
            let hashes = leaf_hashes(writer, first, limit, archived)?;
            if hashes.is_empty() {
                self.give_up(first);
                return Ok(());
            }
            let mut transaction = writer.begin()?;
            for (index, hash) in (first..).zip(hashes) {
                self.append_hash(index, hash, &mut transaction)?;
            }
            self.keep_edge(&mut transaction)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// Makes the tree again from the leaves: what was kept of it is believed in nothing but the hashes of archived leaves. Tiles that
    /// are not those of the leaves are replaced, and removed where the tree has none; how many there were. In memory that does
    /// not grow with the log.
    pub fn remake(&mut self, writer: &mut Writer) -> Result<u64, StoreError> {
        let next_index = writer.head()?.next_index;
        if next_index > CHUNK.into() {
            tracing::info!(leaves = next_index, "the tree over the log is being made again from its leaves");
        }
        let (mut tree, mut remade, archived) = (Appender::new(), 0, writer.archived()?);
        self.widened = false;
        while tree.size() < next_index {
            let read = leaf_hashes(writer, tree.size(), CHUNK, archived)?;
            if read.is_empty() {
                break;
            }
            let mut transaction = writer.begin()?;
            let mut written = Ok(());
            for hash in read {
                tree.append(hash, |tile, hashes| {
                    if written.is_ok() {
                        written = correct(&mut transaction, tile, hashes).map(|wrong| remade += u64::from(wrong));
                    }
                });
            }
            written?;
            transaction.commit()?;
        }
        let mut transaction = writer.begin()?;
        for (tile, hashes) in tree.edge().filter(|(tile, _)| tile.level() > 0) {
            remade += u64::from(correct(&mut transaction, tile, hashes)?);
        }
        let size = tree.size();
        // Behind a gap there may be hashes of archived leaves, which are kept nowhere else in the database.
        if size == next_index {
            for level in 0..=MAX_LEVEL {
                remade += transaction.remove_tiles(level, tiles_kept(level, size))? as u64;
            }
        }
        transaction.commit()?;
        self.appender = Some(tree);
        if size < next_index {
            self.give_up(size);
        }
        Ok(remade)
    }

    /// The tree; `None` where the log has a gap.
    pub const fn appender(&self) -> Option<&Appender> {
        self.appender.as_ref()
    }

    /// Adds a leaf, which the transaction writes.
    pub fn append(&mut self, index: u64, leaf: &[u8], transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        self.append_hash(index, leaf_hash(leaf), transaction)
    }

    fn append_hash(
        &mut self,
        index: u64,
        hash: Sha256Hash,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), StoreError> {
        let Some(appender) = &mut self.appender else { return Ok(()) };
        if appender.size() != index {
            let gap = appender.size();
            self.give_up(gap);
            return Ok(());
        }
        let mut written = Ok(());
        appender.append(hash, |tile, hashes| {
            self.widened = true;
            if written.is_ok() {
                written = write(transaction, tile, hashes);
            }
        });
        written
    }

    /// Writes the tiles above the lowest that are not whole, where they have changed. To be called before the commit.
    pub fn keep_edge(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        if !std::mem::take(&mut self.widened) {
            return Ok(());
        }
        let edge = self.appender.iter().flat_map(Appender::edge);
        edge.filter(|(tile, _)| tile.level() > 0).try_for_each(|(tile, hashes)| write(transaction, tile, hashes))
    }

    /// Where it stands; `None` where the log has a gap. Hashes a few hundred times, and so is not asked for each group.
    pub fn head(&self) -> Option<TreeHead> {
        self.appender.as_ref().map(|appender| TreeHead { size: appender.size(), root: appender.root() })
    }

    fn give_up(&mut self, gap: u64) {
        tracing::error!(leaf = gap, "the log has no such leaf, and so no tree and no checkpoints from now on");
        self.appender = None;
    }
}

/// How many tiles of a level are kept of a tree of so many leaves: of the lowest only those that are whole.
fn tiles_kept(level: u8, size: u64) -> u64 {
    let hashes = size >> (8 * u32::from(level));
    let width = u64::from(TILE_WIDTH);
    if level == 0 { hashes / width } else { hashes.div_ceil(width) }
}

/// Writes a tile, unless it is kept as it should be; whether it was not.
fn correct(transaction: &mut Transaction<'_>, tile: Tile, hashes: &[Sha256Hash]) -> Result<bool, StoreError> {
    let right = transaction.tile(tile.level(), tile.index())?.is_some_and(|kept| kept == hashes.as_flattened());
    if !right {
        write(transaction, tile, hashes)?;
    }
    Ok(!right)
}

fn write(transaction: &mut Transaction<'_>, tile: Tile, hashes: &[Sha256Hash]) -> Result<(), StoreError> {
    transaction.put_tile(tile.level(), tile.index(), hashes.as_flattened())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kept::{WalkedLeaves, kept_tree, walk_leaves};
    use crate::tree::EMPTY_ROOT;
    use chancery_model::Timestamp;
    use chancery_store::{NewRecord, Reader, SearchColumns};
    use std::path::Path;

    /// More than a whole tile of level 1, so that there are partial tiles in three levels.
    const LEAVES: u64 = 65_536 + 3 * 256 + 17;

    pub(crate) fn leaf(index: u64) -> Vec<u8> {
        format!("the leaf {index}").into_bytes()
    }

    /// A database of before the tree, with so many more leaves.
    pub(crate) fn grow(writer: &mut Writer, count: u64) {
        let mut transaction = writer.begin().unwrap();
        let first = transaction.take_indexes(count).unwrap().first;
        for index in first..first + count {
            let search = SearchColumns {
                time: Timestamp::from_unix_micros(1),
                kind: 1,
                caller: None,
                resource: None,
                action: None,
                decision: None,
                digest: None,
                trace_id: None,
            };
            let record = NewRecord { index, leaf: &leaf(index), salt: &[0; 32], details: b"{}", search };
            transaction.append(&record).unwrap();
        }
        transaction.commit().unwrap();
    }

    fn root(size: u64) -> Sha256Hash {
        let mut appender = Appender::new();
        (0..size).for_each(|index| appender.append(leaf_hash(&leaf(index)), |_, _| ()));
        appender.root()
    }

    fn database(folder: &Path) -> (Writer, Reader) {
        chancery_store::open(&folder.join("test.db")).unwrap()
    }

    #[test]
    fn a_database_of_before_the_tree_gets_its_tiles_and_goes_on() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mut writer, reader) = database(folder.path());
        assert_eq!(Growing::resume(&mut writer).unwrap().head(), Some(TreeHead { size: 0, root: EMPTY_ROOT }));
        grow(&mut writer, LEAVES);
        assert_eq!(writer.whole_tiles().unwrap(), 0);
        let whole = root(LEAVES);
        let mut growing = Growing::resume(&mut writer).unwrap();
        assert_eq!(growing.head(), Some(TreeHead { size: LEAVES, root: whole }));
        assert_eq!(writer.whole_tiles().unwrap(), LEAVES / 256);
        for size in [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, LEAVES - 1, LEAVES] {
            assert_eq!(kept_tree(&reader, size).root().unwrap(), root(size), "{size}");
        }
        assert!(kept_tree(&reader, LEAVES + 1).root().is_err(), "there is no such leaf");

        // One group after the other, as the record's thread does it; then from the tiles again.
        for _ in 0..3 {
            let first = writer.head().unwrap().next_index;
            grow(&mut writer, 100);
            let mut transaction = writer.begin().unwrap();
            for index in first..first + 100 {
                growing.append(index, &leaf(index), &mut transaction).unwrap();
            }
            growing.keep_edge(&mut transaction).unwrap();
            transaction.commit().unwrap();
            let size = first + 100;
            assert_eq!(growing.head(), Some(TreeHead { size, root: root(size) }));
            assert_eq!(Growing::resume(&mut writer).unwrap().head(), growing.head());
            assert_eq!(kept_tree(&reader, size).root().unwrap(), root(size));
        }
    }

    #[test]
    fn a_log_with_a_gap_has_no_tree() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mut writer, _reader) = database(folder.path());
        grow(&mut writer, 300);
        let mut transaction = writer.begin().unwrap();
        transaction.take_indexes(1).unwrap();
        transaction.commit().unwrap();
        grow(&mut writer, 300);
        let mut growing = Growing::resume(&mut writer).unwrap();
        assert_eq!(growing.head(), None);
        let mut transaction = writer.begin().unwrap();
        growing.append(601, &leaf(601), &mut transaction).unwrap();
        assert_eq!(growing.head(), None);
    }

    #[test]
    fn tiles_that_are_missing_are_made_again() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mut writer, _reader) = database(folder.path());
        grow(&mut writer, 1_000);
        let head = Growing::resume(&mut writer).unwrap().head();
        let mut transaction = writer.begin().unwrap();
        // Narrower than three whole tiles make it.
        transaction.put_tile(1, 0, &[7; 32]).unwrap();
        transaction.commit().unwrap();
        assert_eq!(Growing::resume(&mut writer).unwrap().head(), head);
    }

    /// How a tile is damaged: by another hand, or by the disk.
    fn damage(writer: &mut Writer, level: u8, index: u64) {
        let mut kept = writer.tile(level, index).unwrap().unwrap();
        kept[8] ^= 1;
        let mut transaction = writer.begin().unwrap();
        transaction.put_tile(level, index, &kept).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn a_tree_that_is_made_again_is_that_of_the_leaves_whatever_was_kept_of_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mut writer, reader) = database(folder.path());
        grow(&mut writer, LEAVES);
        let whole = Growing::resume(&mut writer).unwrap().head();
        let mut growing = Growing::resume(&mut writer).unwrap();
        assert_eq!(growing.remake(&mut writer).unwrap(), 0, "nothing is wrong with it");
        for (level, index) in [(0, 7), (1, 0), (1, 1), (2, 0)] {
            damage(&mut writer, level, index);
        }
        // What is taken up from the edge believes it, and goes on with it.
        let mut growing = Growing::resume(&mut writer).unwrap();
        assert_ne!(growing.head(), whole);
        assert_ne!(kept_tree(&reader, LEAVES).root().unwrap(), root(LEAVES));
        let walk = |sizes: [u64; 3]| walk_leaves(&reader, LEAVES, &sizes.into()).unwrap();
        let roots = [(0, Some(EMPTY_ROOT)), (700, Some(root(700))), (LEAVES + 1, None)].into();
        assert_eq!(walk([0, 700, LEAVES + 1]), WalkedLeaves { roots, wrong_tiles: 4 });
        assert_eq!(growing.remake(&mut writer).unwrap(), 4);
        assert_eq!(walk([0, 700, LEAVES]).wrong_tiles, 0);
        assert_eq!(growing.head(), whole);
        assert_eq!(Growing::resume(&mut writer).unwrap().head(), whole);
        for size in [256 * 8, 65_536, LEAVES] {
            assert_eq!(kept_tree(&reader, size).root().unwrap(), root(size), "{size}");
        }
        assert_eq!(growing.remake(&mut writer).unwrap(), 0);
    }

    /// The archive is checked by them, and they cannot be made again from leaves that are in it.
    #[test]
    fn the_hashes_of_archived_leaves_stay_where_one_tile_of_them_is_lost() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mut writer, _reader) = database(folder.path());
        grow(&mut writer, 1_000);
        let mut growing = Growing::resume(&mut writer).unwrap();
        assert!(writer.empty_leaves(0).unwrap() && writer.empty_leaves(256).unwrap());
        let second = writer.tile(0, 1).unwrap().unwrap();
        let mut transaction = writer.begin().unwrap();
        transaction.put_tile(0, 0, &[7; 32]).unwrap();
        transaction.commit().unwrap();
        growing.remake(&mut writer).unwrap();
        assert_eq!(growing.head(), None, "there is no tree over what is not known");
        assert_eq!(writer.tile(0, 1).unwrap().unwrap(), second);
    }

    #[test]
    fn tiles_of_leaves_that_were_cut_off_go_when_the_tree_is_made_again() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mut writer, reader) = database(folder.path());
        grow(&mut writer, 900);
        drop(Growing::resume(&mut writer).unwrap());
        // As if there had been 1,100, with others from the 900th on.
        let mut tree = Appender::new();
        let mut tiles = Vec::new();
        for index in 0..1_100 {
            let index = if index < 900 { index } else { index + 1 };
            tree.append(leaf_hash(&leaf(index)), |tile, hashes| tiles.push((tile, hashes.to_vec())));
        }
        tiles.extend(tree.edge().filter(|(tile, _)| tile.level() > 0).map(|(tile, hashes)| (tile, hashes.to_vec())));
        let mut transaction = writer.begin().unwrap();
        tiles.iter().for_each(|(tile, hashes)| write(&mut transaction, *tile, hashes).unwrap());
        transaction.commit().unwrap();
        assert_ne!(kept_tree(&reader, 900 + 4).root().ok(), None, "what is whole is believed");
        assert_eq!(writer.whole_tiles().unwrap(), 4, "one more than the leaves make");
        let mut growing = Growing::resume(&mut writer).unwrap();
        // The whole tile that went, and the edge above it, which had a hash more.
        assert_eq!(growing.remake(&mut writer).unwrap(), 2);
        assert_eq!(writer.whole_tiles().unwrap(), 3);
        assert_eq!(growing.head(), Some(TreeHead { size: 900, root: root(900) }));
        assert_eq!(kept_tree(&reader, 900).root().unwrap(), root(900));
    }
}
