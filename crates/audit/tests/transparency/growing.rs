//! A tree that grows, and the tiles that are kept of it.

use chancery_audit::tree::{Appender, StoredTree, Tile, leaf_hash};
use std::collections::BTreeMap;
use std::convert::Infallible;

pub type Hash = [u8; 32];

/// What a store keeps: each tile once, as wide as it is by now.
#[derive(Default, Clone)]
pub struct Tiles(pub BTreeMap<(u8, u64), Vec<Hash>>);

impl Tiles {
    pub fn keep(&mut self, tile: Tile, hashes: &[Hash]) {
        assert_eq!(hashes.len(), usize::from(tile.width()));
        self.0.insert((tile.level(), tile.index()), hashes.to_vec());
    }

    pub fn keep_edge(&mut self, tree: &Appender) {
        for (tile, hashes) in tree.edge() {
            assert!(!tile.is_whole());
            self.keep(tile, hashes);
        }
    }

    pub fn read(&self, tile: Tile) -> Result<Vec<Hash>, Infallible> {
        Ok(self.0.get(&(tile.level(), tile.index())).cloned().unwrap_or_default())
    }

    pub fn tree(&self, size: u64) -> StoredTree<impl FnMut(Tile) -> Result<Vec<Hash>, Infallible> + '_> {
        StoredTree::new(size, |tile| self.read(tile))
    }
}

pub fn grown<L: AsRef<[u8]>>(leaves: &[L]) -> (Appender, Tiles) {
    let (mut tree, mut tiles) = (Appender::new(), Tiles::default());
    for leaf in leaves {
        tree.append(leaf_hash(leaf.as_ref()), |tile, hashes| tiles.keep(tile, hashes));
    }
    tiles.keep_edge(&tree);
    (tree, tiles)
}

pub fn leaves(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("leaf {number}")).collect()
}
