//! RFC 6962, section 2.1, as it is written there: recursive, over the leaves themselves, without tiles. The second
//! implementation that the first is held against; it shares no code with it but SHA-256.

use chancery_crypto::sha256;

pub type Hash = [u8; 32];

/// MTH(D[n]).
pub fn mth<L: AsRef<[u8]>>(leaves: &[L]) -> Hash {
    match leaves {
        [] => sha256(b""),
        [leaf] => sha256(&[&[0], leaf.as_ref()].concat()),
        _ => {
            let (left, right) = leaves.split_at(k(leaves.len()));
            sha256(&[[1].as_slice(), &mth(left), &mth(right)].concat())
        }
    }
}

/// PATH(m, D[n]).
pub fn path<L: AsRef<[u8]>>(m: usize, leaves: &[L]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(k(leaves.len()));
    let (mut path, sibling) =
        if m < left.len() { (path(m, left), mth(right)) } else { (path(m - left.len(), right), mth(left)) };
    path.push(sibling);
    path
}

/// PROOF(m, D[n]), 0 < m < n; and nothing for m = n.
pub fn proof<L: AsRef<[u8]>>(m: usize, leaves: &[L]) -> Vec<Hash> {
    subproof(m, leaves, true)
}

fn subproof<L: AsRef<[u8]>>(m: usize, leaves: &[L], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![mth(leaves)] };
    }
    let (left, right) = leaves.split_at(k(leaves.len()));
    let (mut proof, sibling) = if m <= left.len() {
        (subproof(m, left, whole), mth(right))
    } else {
        (subproof(m - left.len(), right, false), mth(left))
    };
    proof.push(sibling);
    proof
}

/// "Let k be the largest power of two smaller than n."
fn k(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}
