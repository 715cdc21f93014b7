//! The hashes of the tree: RFC 6962, section 2.1.

use chancery_crypto::sha256;
use chancery_model::Sha256Hash;

/// The root of the tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Sha256Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// What is hashed before a leaf and before two nodes, so that the one never passes for the other.
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// SHA-256 of `0x00` and the leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Sha256Hash {
    sha256(&[&[LEAF], leaf].concat())
}

/// SHA-256 of `0x01` and the hashes of the two subtrees.
#[must_use]
pub fn node_hash(left: &Sha256Hash, right: &Sha256Hash) -> Sha256Hash {
    let mut bytes = [NODE; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    sha256(&bytes)
}

/// The root over these subtrees, all of one height but the last, which may be lower: a tree splits at the largest power
/// of two below its size, and so its subtrees group as single leaves would. `None` where there are none.
pub(crate) fn root_over(subtrees: &[Sha256Hash]) -> Option<Sha256Hash> {
    match subtrees {
        [] => None,
        [one] => Some(*one),
        _ => {
            let (left, right) = subtrees.split_at_checked(1 << (subtrees.len() - 1).ilog2())?;
            Some(node_hash(&root_over(left)?, &root_over(right)?))
        }
    }
}

/// Where a tree of `size` leaves, two at least, splits: the largest power of two below its size.
pub(super) const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}
