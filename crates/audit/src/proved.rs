//! What is handed out of the log in a database: proofs, tiles and entries, each held to what was signed before it leaves. What
//! the database keeps of the tree is believed by nobody: whoever takes a wrong tile keeps it for ever.

use crate::growing::TreeHead;
use crate::kept::{KeptTree, hash_of_leaf, kept_tree};
use crate::tree::{
    CheckTileError, MakeProofError, ProofError, TILE_WIDTH, Tile, TileError, check_consistency, check_inclusion,
    leaf_hash, push_entry,
};
use chancery_model::Sha256Hash;
use chancery_store::{Reader, StoreError};

/// Why nothing is handed out.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// There is no such leaf or tree. The caller has to know what there is.
    #[error("{0}")]
    NotThere(String),
    /// What is kept of the tree, or the leaves themselves, are not what was signed.
    #[error("{what}")]
    Damaged {
        /// What was seen.
        what: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TileError<StoreError>> for ProveError {
    fn from(error: TileError<StoreError>) -> Self {
        match error {
            TileError::Read { source, .. } => Self::Store(source),
            short @ TileError::Short { .. } => Self::Damaged { what: short.to_string() },
        }
    }
}

impl From<MakeProofError<StoreError>> for ProveError {
    fn from(error: MakeProofError<StoreError>) -> Self {
        match error {
            MakeProofError::Tile(error) => error.into(),
            other @ (MakeProofError::NoSuchLeaf { .. } | MakeProofError::NotOlder { .. }) => {
                Self::NotThere(other.to_string())
            }
        }
    }
}

impl From<CheckTileError<StoreError>> for ProveError {
    fn from(error: CheckTileError<StoreError>) -> Self {
        match error {
            CheckTileError::Tile(error) => error.into(),
            other @ CheckTileError::NoSuchTile(_) => Self::NotThere(other.to_string()),
            wrong @ CheckTileError::NotOfRoot { .. } => Self::Damaged { what: wrong.to_string() },
        }
    }
}

/// The proof that leaf `index` is in the tree of the first `size` leaves, checked with the leaf itself (one that is archived: with
/// its hash) and with `signed`, a tree that the log has signed. Reading blocks.
///
/// # Errors
/// [`ProveError`]
pub fn prove_inclusion(
    reader: &Reader,
    index: u64,
    size: u64,
    signed: Option<TreeHead>,
) -> Result<Vec<Sha256Hash>, ProveError> {
    let mut tree = kept_tree(reader, size);
    let root = signed_root(reader, &mut tree, size, signed)?;
    let proof = tree.inclusion_proof(index)?;
    let leaf = hash_of_leaf(reader, index)?;
    let leaf = leaf.ok_or_else(|| ProveError::Damaged { what: format!("leaf {index} of the log is missing") })?;
    let checked = check_inclusion(&leaf, index, size, &root, &proof);
    checked.map_err(|error| damaged(&format!("record {index} in the tree of {size} records"), error))?;
    Ok(proof)
}

/// The proof that the tree of the first `size` leaves begins with that of the first `older`, checked likewise.
///
/// # Errors
/// [`ProveError`]
pub fn prove_consistency(
    reader: &Reader,
    older: u64,
    size: u64,
    signed: Option<TreeHead>,
) -> Result<Vec<Sha256Hash>, ProveError> {
    let mut tree = kept_tree(reader, size);
    let root = signed_root(reader, &mut tree, size, signed)?;
    let proof = tree.consistency_proof(older)?;
    let older_root = kept_tree(reader, older).root()?;
    let checked = check_consistency(older, &older_root, size, &root, &proof);
    checked.map_err(|error| damaged(&format!("the tree of {older} records in that of {size}"), error))?;
    Ok(proof)
}

/// What tlog-tiles serves of a signed tree at the path of a tile: its hashes, checked. Of a tile that is wider, the beginning.
/// Reading blocks.
///
/// # Errors
/// [`ProveError`]
pub fn served_tile(reader: &Reader, tile: Tile, signed: TreeHead) -> Result<Vec<u8>, ProveError> {
    let hashes = kept_tree(reader, signed.size).checked_tile(tile, &signed.root)?;
    Ok(hashes.as_flattened().to_vec())
}

/// The same for the bundle of entries of a tile of level 0. All leaves of the tile are read, however narrow a part is asked for:
/// they are checked together.
///
/// # Errors
/// [`ProveError`]
pub fn served_entries(reader: &Reader, tile: Tile, signed: TreeHead) -> Result<Vec<u8>, ProveError> {
    let there = Tile::in_tree(0, tile.index(), signed.size).filter(|there| there.width() >= tile.width());
    let there =
        there.ok_or_else(|| ProveError::NotThere(CheckTileError::<StoreError>::NoSuchTile(tile).to_string()))?;
    let leaves = match reader.leaves(tile.index() * u64::from(TILE_WIDTH), there.width().into()) {
        Err(StoreError::Damaged { what }) => return Err(ProveError::Damaged { what }),
        leaves => leaves?,
    };
    let hashes: Vec<Sha256Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    if hashes.len() < usize::from(there.width()) {
        return Err(TileError::<StoreError>::Short { tile: there, actual: hashes.len() }.into());
    }
    kept_tree(reader, signed.size).check_tile(there, &hashes, &signed.root)?;
    let mut bundle = Vec::new();
    for leaf in leaves.iter().take(tile.width().into()) {
        push_entry(&mut bundle, leaf).map_err(|error| ProveError::Damaged { what: error.to_string() })?;
    }
    Ok(bundle)
}

/// The root of this tree: the signed one, or one of which it is shown that it begins with the signed tree, or the signed tree
/// with it. Before anything was signed, it is what the tiles say.
fn signed_root(
    reader: &Reader,
    tree: &mut KeptTree,
    size: u64,
    signed: Option<TreeHead>,
) -> Result<Sha256Hash, ProveError> {
    let Some(signed) = signed else { return Ok(tree.root()?) };
    if size == signed.size {
        return Ok(signed.root);
    }
    let root = tree.root()?;
    let checked = if size < signed.size {
        let proof = kept_tree(reader, signed.size).consistency_proof(size)?;
        check_consistency(size, &root, signed.size, &signed.root, &proof)
    } else {
        let proof = tree.consistency_proof(signed.size)?;
        check_consistency(signed.size, &signed.root, size, &root, &proof)
    };
    let what = || format!("the tree of {size} records and the checkpoint of {}", signed.size);
    checked.map_err(|error| damaged(&what(), error))?;
    Ok(root)
}

fn damaged(what: &str, error: ProofError) -> ProveError {
    ProveError::Damaged { what: format!("{what}: {error}; the tiles of the log are not those of its leaves") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growing::Growing;
    use crate::growing::tests::{grow, leaf};
    use crate::tree::Appender;
    use chancery_store::Writer;
    use std::path::Path;

    /// Three levels, each with a partial tile.
    const LEAVES: u64 = 65_536 + 2 * 256 + 9;

    fn grown(folder: &Path) -> (Writer, Reader) {
        let (mut writer, reader) = chancery_store::open(&folder.join("test.db")).unwrap();
        grow(&mut writer, LEAVES);
        Growing::resume(&mut writer).unwrap();
        (writer, reader)
    }

    fn head(size: u64) -> TreeHead {
        let mut tree = Appender::new();
        (0..size).for_each(|index| tree.append(leaf_hash(&leaf(index)), |_, _| ()));
        TreeHead { size, root: tree.root() }
    }

    fn is_damage<T: std::fmt::Debug>(result: &Result<T, ProveError>) -> bool {
        matches!(result, Err(ProveError::Damaged { .. }))
    }

    #[test]
    fn every_tile_and_bundle_of_a_whole_log_is_served_at_every_width_of_its_tree() {
        let folder = tempfile::TempDir::new().unwrap();
        let (_writer, reader) = grown(folder.path());
        // The checkpoint is behind the log, so that of a tile that is kept whole a part is asked for.
        for size in [1, 200, 256, 700, 65_536, LEAVES - 11, LEAVES] {
            let signed = head(size);
            for level in 0..3 {
                let last = (0..).map_while(|index| Tile::in_tree(level, index, size)).last();
                for tile in [Tile::in_tree(level, 0, size), last].into_iter().flatten() {
                    for width in [1, tile.width().div_ceil(2), tile.width()] {
                        let part = Tile::new(level, tile.index(), width).unwrap();
                        let hashes = served_tile(&reader, part, signed).unwrap();
                        assert_eq!(hashes.len(), 32 * usize::from(width), "{part} of {size}");
                        if level == 0 {
                            let bundle = served_entries(&reader, part, signed).unwrap();
                            let leaves = crate::tree::read_bundle(&bundle, width).unwrap();
                            let of: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
                            assert_eq!(of.as_flattened(), hashes, "{part} of {size}");
                        }
                    }
                }
            }
            assert!(matches!(
                served_tile(&reader, Tile::new(0, size / 256, 256).unwrap(), signed),
                Err(ProveError::NotThere(_))
            ));
        }
    }

    #[test]
    fn nothing_is_handed_out_that_a_damaged_tile_makes_and_all_else_is() {
        let folder = tempfile::TempDir::new().unwrap();
        let (mut writer, reader) = grown(folder.path());
        let signed = head(LEAVES);
        let zero = |writer: &mut Writer, level, index, length| {
            let mut transaction = writer.begin().unwrap();
            transaction.put_tile(level, index, &vec![0; length]).unwrap();
            transaction.commit().unwrap();
        };
        let whole = |index| Tile::new(0, index, 256).unwrap();
        let right = writer.tile(0, 0).unwrap().unwrap();
        zero(&mut writer, 0, 0, 8192);
        assert!(is_damage(&served_tile(&reader, whole(0), signed)));
        assert!(is_damage(&prove_inclusion(&reader, 3, LEAVES, Some(signed))));
        assert!(is_damage(&prove_inclusion(&reader, 3, 700, Some(signed))), "of an older tree, too");
        assert!(is_damage(&prove_inclusion(&reader, 3, 700, None)), "and where nothing was signed");
        served_tile(&reader, whole(1), signed).unwrap();
        served_entries(&reader, whole(0), signed).unwrap();
        prove_inclusion(&reader, 300, LEAVES, Some(signed)).unwrap();
        prove_consistency(&reader, 700, LEAVES, Some(signed)).unwrap();
        assert!(is_damage(&prove_consistency(&reader, 100, LEAVES, Some(signed))));

        let mut transaction = writer.begin().unwrap();
        transaction.put_tile(0, 0, &right).unwrap();
        transaction.commit().unwrap();
        prove_inclusion(&reader, 3, 700, Some(signed)).unwrap();
        // One of the edge makes every root.
        zero(&mut writer, 1, 1, 64);
        assert!(is_damage(&served_tile(&reader, Tile::new(1, 1, 1).unwrap(), signed)));
        assert!(is_damage(&served_tile(&reader, Tile::new(0, 258, 3).unwrap(), signed)));
        assert!(is_damage(&prove_inclusion(&reader, 65_540, LEAVES - 300, Some(signed))));
    }
}
