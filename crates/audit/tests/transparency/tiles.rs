//! Tiles: that they are those of the specification, that trees go on from them, and what happens where they are missing.

use crate::growing::{Hash, Tiles, grown, leaves};
use crate::rfc6962;
use chancery_audit::tree::{Appender, MakeProofError, StoredTree, Tile, TileError, leaf_hash};
use std::convert::Infallible;

#[test]
fn tiles_are_those_of_the_specification() {
    // "The n-th tile at level l is the sequence of MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l])". With the
    // size that the specification takes for its example.
    const SIZE: usize = 70_000;
    let leaves = leaves(SIZE);
    let (tree, tiles) = grown(&leaves);
    assert_eq!(tree.root(), rfc6962::mth(&leaves));
    let expected: Vec<(u8, u64)> = Tile::of_tree(SIZE as u64).map(|tile| (tile.level(), tile.index())).collect();
    assert_eq!(tiles.0.keys().copied().collect::<Vec<_>>(), expected);
    for tile in Tile::of_tree(SIZE as u64) {
        let hashes = tiles.read(tile).unwrap();
        assert_eq!(hashes.len(), usize::from(tile.width()), "{tile}");
        let span = 256_usize.pow(u32::from(tile.level()));
        let first = usize::try_from(tile.index()).unwrap() * 256;
        // All of the short ones; of the others, a sample.
        let sample = if tile.level() == 0 { 1 } else { usize::from(tile.width()).div_ceil(4) };
        for at in (0..hashes.len()).step_by(sample) {
            let range = (first + at) * span..(first + at + 1) * span;
            assert_eq!(hashes[at], rfc6962::mth(&leaves[range]), "{tile} {at}");
        }
    }
    for index in [0, 1, 255, 256, 65_535, 65_536, 65_791, 65_792, 69_887, 69_888, 69_999] {
        let proof = tiles.tree(SIZE as u64).inclusion_proof(index as u64).unwrap();
        assert_eq!(proof, rfc6962::path(index, &leaves), "{index}");
    }
    for older in [1, 255, 256, 257, 65_535, 65_536, 65_537, 69_632, 69_888, 69_999] {
        let proof = tiles.tree(SIZE as u64).consistency_proof(older as u64).unwrap();
        assert_eq!(proof, rfc6962::proof(older, &leaves), "{older}");
    }
}

#[test]
fn a_tree_goes_on_from_its_tiles_as_if_it_had_never_stopped() {
    let leaves: Vec<Hash> = (0..66_000_u32).map(|number| leaf_hash(&number.to_be_bytes())).collect();
    let stops = [0, 1, 2, 255, 256, 257, 511, 512, 513, 4_096, 65_535, 65_536, 65_537, 65_792, 65_999];
    let (mut tree, mut tiles) = (Appender::new(), Tiles::default());
    for (size, leaf) in (0..).zip(&leaves) {
        if stops.contains(&size) {
            tiles.keep_edge(&tree);
            let resumed = Appender::resume(size, |tile| tiles.read(tile)).unwrap();
            assert_eq!(resumed, tree, "{size}");
            assert_eq!(resumed.root(), tiles.tree(size).root().unwrap(), "{size}");
            // From here on, only what was kept counts.
            tree = resumed;
        }
        tree.append(*leaf, |tile, hashes| tiles.keep(tile, hashes));
    }
    tiles.keep_edge(&tree);
    // Older trees are in the tiles of newer ones.
    for size in stops {
        let mut continuous = Appender::new();
        leaves.iter().take(usize::try_from(size).unwrap()).for_each(|leaf| continuous.append(*leaf, |_, _| ()));
        assert_eq!(tiles.tree(size).root().unwrap(), continuous.root(), "{size}");
        assert_eq!(Appender::resume(size, |tile| tiles.read(tile)).unwrap(), continuous, "{size}");
    }
}

#[test]
fn ten_million_leaves_are_resumed_and_proved_with_a_few_tiles() {
    const SIZE: u64 = 10_000_000;
    let read = std::cell::Cell::new(0);
    let reader = |tile: Tile| {
        read.set(read.get() + 1);
        Ok::<_, Infallible>(vec![[7; 32]; usize::from(tile.width())])
    };
    let resumed = Appender::resume(SIZE, reader).unwrap();
    assert_eq!((resumed.size(), read.take()), (SIZE, 3));
    StoredTree::new(SIZE, reader).inclusion_proof(SIZE / 3).unwrap();
    let inclusion = read.take();
    StoredTree::new(SIZE, reader).consistency_proof(SIZE / 3).unwrap();
    let consistency = read.take();
    assert!(inclusion <= 6 && consistency <= 6, "{inclusion} {consistency}");
}

#[test]
fn missing_and_unreadable_tiles_are_named() {
    let (_, mut tiles) = grown(&leaves(600));
    tiles.0.remove(&(0, 1));
    let tile = Tile::in_tree(0, 1, 600).unwrap();
    let short = TileError::Short { tile, actual: 0 };
    assert_eq!(tiles.tree(600).inclusion_proof(300), Err(MakeProofError::Tile(short.clone())));
    assert!(short.to_string().contains("tile/0/001 "), "{short}");
    let edge = Tile::in_tree(0, 2, 600).unwrap();
    tiles.0.get_mut(&(0, 2)).unwrap().pop();
    let resumed = Appender::resume(600, |tile| tiles.read(tile));
    assert_eq!(resumed, Err(TileError::Short { tile: edge, actual: 87 }));
    let mut unreadable = StoredTree::new(600, |_| Err::<Vec<Hash>, _>("no disk"));
    let expected = TileError::Read { tile: Tile::in_tree(1, 0, 600).unwrap(), source: "no disk" };
    assert_eq!(unreadable.root(), Err(expected));
}
