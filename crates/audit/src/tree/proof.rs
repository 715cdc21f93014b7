//! Checking proofs. Nothing is read and nothing is believed: RFC 9162, sections 2.1.3.2 and 2.1.4.2, whose trees are
//! those of RFC 6962 and which spells out the checks that RFC 6962 leaves to the reader.

use crate::tree::hash::{EMPTY_ROOT, node_hash};
use chancery_model::Sha256Hash;

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There can be no such proof.
    #[error("{part} is beyond a tree of {size} leaves")]
    Range {
        /// The leaf's index, or the size of the older tree.
        part: u64,
        /// The size of the tree.
        size: u64,
    },
    /// It has too many hashes, or too few.
    #[error("{actual} hashes are not as many as a proof for trees of these sizes has")]
    Length {
        /// How many.
        actual: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof does not lead to the root: leaf, tree and proof do not belong together")]
    Root,
}

/// Checks that leaf `index` of the tree of `size` leaves under `root` has this hash.
///
/// # Errors
/// [`ProofError`]: that is not shown.
pub fn check_inclusion(
    leaf_hash: &Sha256Hash,
    index: u64,
    size: u64,
    root: &Sha256Hash,
    proof: &[Sha256Hash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range { part: index, size });
    }
    let mut walk = Walk { node: index, last: size - 1 };
    let mut hash = *leaf_hash;
    for sibling in proof {
        hash = match walk.up().ok_or(ProofError::Length { actual: proof.len() })? {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    if walk.last != 0 {
        return Err(ProofError::Length { actual: proof.len() });
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks that the tree of `size` leaves under `root` begins with the tree of `older` leaves under `older_root`.
///
/// # Errors
/// [`ProofError`]: that is not shown.
pub fn check_consistency(
    older: u64,
    older_root: &Sha256Hash,
    size: u64,
    root: &Sha256Hash,
    proof: &[Sha256Hash],
) -> Result<(), ProofError> {
    if older > size {
        return Err(ProofError::Range { part: older, size });
    }
    let length = Err(ProofError::Length { actual: proof.len() });
    if older == 0 || older == size {
        if !proof.is_empty() {
            return length;
        }
        let empty = older != 0 || *older_root == EMPTY_ROOT;
        let same = older != size || older_root == root;
        return if empty && same { Ok(()) } else { Err(ProofError::Root) };
    }
    // From the last leaf of the older tree up to the largest subtree that both trees end it with.
    let complete = older.trailing_zeros();
    let mut walk = Walk { node: (older - 1) >> complete, last: (size - 1) >> complete };
    let (start, rest) = if older.is_power_of_two() {
        (older_root, proof)
    } else {
        let Some((start, rest)) = proof.split_first() else { return length };
        (start, rest)
    };
    let (mut older_hash, mut hash) = (*start, *start);
    for sibling in rest {
        match walk.up() {
            None => return length,
            Some(Side::Left) => {
                older_hash = node_hash(sibling, &older_hash);
                hash = node_hash(sibling, &hash);
            }
            Some(Side::Right) => hash = node_hash(&hash, sibling),
        }
    }
    if walk.last != 0 {
        return length;
    }
    if older_hash == *older_root && hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// The way from a node up to the root.
struct Walk {
    /// The node's place in its row.
    node: u64,
    /// The place of the row's last node.
    last: u64,
}

/// On which side of a node its sibling is.
enum Side {
    Left,
    Right,
}

impl Walk {
    /// To the parent. `None` at the root.
    fn up(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // A last node without a sibling in its row is its own parent, until one has a left sibling.
            let alone = self.node.trailing_zeros();
            self.node >>= alone;
            self.last >>= alone;
            Side::Left
        } else {
            Side::Right
        };
        self.node >>= 1;
        self.last >>= 1;
        Some(side)
    }
}
