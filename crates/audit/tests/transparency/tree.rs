//! Roots and proofs against published vectors, against Go's, and against RFC 6962.

use crate::growing::{Hash, grown, leaves};
use crate::rfc6962;
use chancery_audit::tree::{
    EMPTY_ROOT, MakeProofError, ProofError, check_consistency, check_inclusion, leaf_hash, node_hash,
};
use chancery_crypto::sha256;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hash(text: &str) -> Hash {
    hex(text).try_into().unwrap()
}

fn base64(text: &str) -> Hash {
    use base64ct::{Base64, Encoding};
    Base64::decode_vec(text).unwrap().try_into().unwrap()
}

// The tree of eight leaves of the Certificate Transparency project: leaves, hashes of all complete subtrees, roots of all
// sizes (github.com/transparency-dev/merkle, testonly/constants.go).
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const NODES: [&[&str]; 4] = [
    &[
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7",
        "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "4271a26be0d8a84f0bd54c8c302e7cb3a3b5d1fa6780a40bcce2873477dab658",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "46f6ffadd3d06a09ff3c5860d2755c8b9819db7df44251788c7d8e3180de8eb1",
    ],
    &[
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    ],
    &[
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    &["5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"],
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn the_published_tree_of_eight_leaves_has_its_published_hashes() {
    let leaves: Vec<Vec<u8>> = LEAVES.into_iter().map(hex).collect();
    let mut row: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    for nodes in NODES {
        assert_eq!(row, nodes.iter().map(|node| hash(node)).collect::<Vec<_>>());
        row = row.chunks(2).filter(|pair| pair.len() == 2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    assert_eq!(EMPTY_ROOT, hash(ROOTS[0]));
    for (size, root) in ROOTS.into_iter().enumerate() {
        let (tree, tiles) = grown(&leaves[..size]);
        assert_eq!(tree.root(), hash(root), "{size}");
        assert_eq!(tiles.tree(size as u64).root().unwrap(), hash(root), "{size}");
        assert_eq!(rfc6962::mth(&leaves[..size]), hash(root), "the second implementation, {size}");
    }
}

#[test]
fn the_published_proofs_of_the_tree_of_eight_leaves_are_made_and_hold() {
    // github.com/transparency-dev/merkle, testdata/inclusion and testdata/consistency, "happy path".
    let (l0, l1, l4, l6) = (
        "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=",
        "lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c=",
        "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=",
        "sIaT7C5yFZcTBkHoIR5+7cy0wmQTlj7ubB4u0W/7Gl8=",
    );
    let (n01, n23, n45, n67) = (
        "+sVCA+fMaWzw38tCySodnbr3CtnmIfS9jZhmLwDjwSU=",
        "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=",
        "DrxdNDf74tsVi58Sah0RjjCBgQMdCpSfje3t68VY72o=",
        "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=",
    );
    let (n03, n47) = ("037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=", "a0eq8p7jwq+a+Im8H7klTavTEXfxYjLdaqsDXKOb9uQ=");
    let inclusion: [(u64, u64, &[&str]); 5] =
        [(0, 1, &[]), (0, 8, &[l1, n23, n47]), (5, 8, &[l4, n67, n03]), (2, 3, &[n01]), (1, 5, &[l0, n23, l4])];
    let consistency: [(u64, u64, &[&str]); 5] =
        [(1, 1, &[]), (1, 8, &[l1, n23, n47]), (6, 8, &[n45, n67, n03]), (2, 5, &[n23, l4]), (6, 7, &[n45, l6, n03])];

    let leaves: Vec<Vec<u8>> = LEAVES.into_iter().map(hex).collect();
    let (_, tiles) = grown(&leaves);
    let root = |size: u64| hash(ROOTS[usize::try_from(size).unwrap()]);
    for (index, size, proof) in inclusion {
        let proof: Vec<Hash> = proof.iter().copied().map(base64).collect();
        assert_eq!(tiles.tree(size).inclusion_proof(index).unwrap(), proof, "{index} {size}");
        let leaf = leaf_hash(&leaves[usize::try_from(index).unwrap()]);
        assert_eq!(check_inclusion(&leaf, index, size, &root(size), &proof), Ok(()), "{index} {size}");
    }
    for (older, size, proof) in consistency {
        let proof: Vec<Hash> = proof.iter().copied().map(base64).collect();
        assert_eq!(tiles.tree(size).consistency_proof(older).unwrap(), proof, "{older} {size}");
        assert_eq!(check_consistency(older, &root(older), size, &root(size), &proof), Ok(()), "{older} {size}");
    }
}

#[test]
fn all_roots_and_proofs_of_300_sizes_are_those_of_go() {
    // Made by golang.org/x/mod v0.43.0: SHA-256 over, for each size from 1 to 300 of a log of leaves "leaf 0", "leaf 1" and so
    // on: tlog.TreeHash(size); then for each i below size all hashes of tlog.ProveRecord(size, i) and of
    // tlog.ProveTree(size, i + 1).
    const GO: (usize, &str) = (705_165, "a6915b42198cbd6246f9e602704d996e0323377698b9f4147eb75ac8e19b77a0");
    let (_, tiles) = grown(&leaves(300));
    let mut all = Vec::new();
    let mut count = 0;
    for size in 1..=300 {
        let mut tree = tiles.tree(size);
        all.extend(tree.root().unwrap());
        for index in 0..size {
            for proof in [tree.inclusion_proof(index).unwrap(), tree.consistency_proof(index + 1).unwrap()] {
                count += proof.len();
                all.extend(proof.concat());
            }
        }
    }
    assert_eq!((count, sha256(&all)), (GO.0, hash(GO.1)));
}

#[test]
fn every_proof_of_small_trees_is_that_of_the_rfc_and_proves_only_what_it_says() {
    const SIZE: usize = 40;
    let leaves = leaves(SIZE);
    let (_, tiles) = grown(&leaves);
    let roots: Vec<Hash> = (0..=SIZE).map(|size| rfc6962::mth(&leaves[..size])).collect();
    for size in 1..=SIZE {
        let mut tree = tiles.tree(size as u64);
        for part in 0..=size {
            let consistency = tree.consistency_proof(part as u64).unwrap();
            if part > 0 {
                assert_eq!(consistency, rfc6962::proof(part, &leaves[..size]), "{part} {size}");
            }
            for other in 0..=size {
                let holds = check_consistency(other as u64, &roots[other], size as u64, &roots[size], &consistency);
                // The proof for a power of two and that for a smaller one differ in length; the empty ones are shared.
                let trivial = consistency.is_empty() && (other == 0 || other == size);
                assert_eq!(holds.is_ok(), other == part || trivial, "{other} for {part} of {size}: {holds:?}");
            }
            if part == size {
                continue;
            }
            let inclusion = tree.inclusion_proof(part as u64).unwrap();
            assert_eq!(inclusion, rfc6962::path(part, &leaves[..size]), "{part} {size}");
            let leaf = leaf_hash(leaves[part].as_bytes());
            for other in 0..=size {
                let holds = check_inclusion(&leaf, other as u64, size as u64, &roots[size], &inclusion);
                assert_eq!(holds.is_ok(), other == part, "{other} for {part} of {size}: {holds:?}");
            }
            for other in (0..=SIZE).filter(|other| *other != size) {
                let holds = check_inclusion(&leaf, part as u64, other as u64, &roots[other], &inclusion);
                assert!(holds.is_err(), "{part} of {size} in {other}");
            }
        }
    }
}

/// Each change of one bit, one hash left out, one put in, two exchanged.
fn changes(proof: &[Hash]) -> impl Iterator<Item = Vec<Hash>> + '_ {
    let bits = (0..proof.len() * 256).map(|bit| {
        let mut changed = proof.to_vec();
        changed[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
        changed
    });
    let shorter = (0..proof.len()).map(|at| [&proof[..at], &proof[at + 1..]].concat());
    let longer = (0..=proof.len()).flat_map(|at| {
        [[0; 32], proof.first().copied().unwrap_or([1; 32])].map(|hash| [&proof[..at], &[hash], &proof[at..]].concat())
    });
    let exchanged = (1..proof.len()).map(|at| {
        let mut changed = proof.to_vec();
        changed.swap(at - 1, at);
        changed
    });
    bits.chain(shorter).chain(longer).chain(exchanged)
}

#[test]
fn every_changed_bit_of_a_proof_is_refused() {
    const SIZE: u64 = 7;
    let leaves = leaves(7);
    let (tree, tiles) = grown(&leaves);
    let root = tree.root();
    let (mut refused, mut hashes) = (0, 0);
    let flipped = |hash: &Hash| {
        let hash = *hash;
        (0..256).map(move |bit| {
            let mut changed = hash;
            changed[bit / 8] ^= 1 << (bit % 8);
            changed
        })
    };
    for index in 0..SIZE {
        let proof = tiles.tree(SIZE).inclusion_proof(index).unwrap();
        let leaf = leaf_hash(leaves[usize::try_from(index).unwrap()].as_bytes());
        assert_eq!(check_inclusion(&leaf, index, SIZE, &root, &proof), Ok(()));
        for changed in changes(&proof) {
            assert!(check_inclusion(&leaf, index, SIZE, &root, &changed).is_err());
            refused += 1;
        }
        for changed in flipped(&leaf) {
            assert_eq!(check_inclusion(&changed, index, SIZE, &root, &proof), Err(ProofError::Root));
            refused += 1;
        }
        for changed in flipped(&root) {
            assert_eq!(check_inclusion(&leaf, index, SIZE, &changed, &proof), Err(ProofError::Root));
            refused += 1;
        }
        for bit in 0..64 {
            assert!(check_inclusion(&leaf, index ^ (1 << bit), SIZE, &root, &proof).is_err());
            refused += 1;
        }
        hashes += proof.len();

        let older = index;
        let proof = tiles.tree(SIZE).consistency_proof(older).unwrap();
        let older_root = tiles.tree(older).root().unwrap();
        assert_eq!(check_consistency(older, &older_root, SIZE, &root, &proof), Ok(()));
        for changed in changes(&proof) {
            assert!(check_consistency(older, &older_root, SIZE, &root, &changed).is_err());
            refused += 1;
        }
        for changed in flipped(&older_root) {
            assert_eq!(check_consistency(older, &changed, SIZE, &root, &proof), Err(ProofError::Root));
            refused += 1;
        }
        if older > 0 {
            for changed in flipped(&root) {
                assert_eq!(check_consistency(older, &older_root, SIZE, &changed, &proof), Err(ProofError::Root));
                refused += 1;
            }
        }
        hashes += proof.len();
    }
    // Bits of proofs, of leaves, of roots (none is bound by the empty tree); hashes left out, put in, exchanged; indexes.
    let proofs = 14;
    let exchanged: usize = hashes - (proofs - 1);
    let expected = hashes * 256 + (7 + 7) * 256 + (7 + 6) * 256 + hashes + 2 * (hashes + proofs) + exchanged + 7 * 64;
    assert_eq!(refused, expected);
}

#[test]
fn what_no_tree_has_is_neither_made_nor_believed() {
    let (tree, tiles) = grown(&leaves(5));
    let root = tree.root();
    assert_eq!(tiles.tree(5).inclusion_proof(5), Err(MakeProofError::NoSuchLeaf { index: 5, size: 5 }));
    assert_eq!(tiles.tree(0).inclusion_proof(0), Err(MakeProofError::NoSuchLeaf { index: 0, size: 0 }));
    assert_eq!(tiles.tree(5).consistency_proof(6), Err(MakeProofError::NotOlder { older: 6, size: 5 }));
    let range = |part, size| Err(ProofError::Range { part, size });
    assert_eq!(check_inclusion(&root, 0, 0, &EMPTY_ROOT, &[]), range(0, 0));
    assert_eq!(check_inclusion(&root, u64::MAX, 5, &root, &[]), range(u64::MAX, 5));
    assert_eq!(check_consistency(6, &root, 5, &root, &[]), range(6, 5));
    // The empty tree is the beginning of every tree, and only the empty tree is.
    assert_eq!(tiles.tree(5).consistency_proof(0), Ok(Vec::new()));
    assert_eq!(check_consistency(0, &EMPTY_ROOT, 5, &root, &[]), Ok(()));
    assert_eq!(check_consistency(0, &EMPTY_ROOT, 0, &EMPTY_ROOT, &[]), Ok(()));
    assert_eq!(check_consistency(0, &root, 5, &root, &[]), Err(ProofError::Root));
    assert_eq!(check_consistency(0, &EMPTY_ROOT, 5, &root, &[root]), Err(ProofError::Length { actual: 1 }));
    assert_eq!(check_consistency(5, &root, 5, &root, &[]), Ok(()));
    assert_eq!(check_consistency(5, &root, 5, &EMPTY_ROOT, &[]), Err(ProofError::Root));
    assert_eq!(check_consistency(5, &root, 5, &root, &[root]), Err(ProofError::Length { actual: 1 }));
    assert_eq!(check_consistency(3, &root, 5, &root, &[]), Err(ProofError::Length { actual: 0 }));
    assert_eq!(check_consistency(4, &root, 5, &root, &[]), Err(ProofError::Length { actual: 0 }));
    // As long as any proof can be, and longer.
    let long = vec![[0; 32]; 100];
    assert_eq!(check_inclusion(&root, 1, u64::MAX, &root, &long), Err(ProofError::Length { actual: 100 }));
    let holds = check_consistency(u64::MAX - 1, &root, u64::MAX, &root, &long);
    assert_eq!(holds, Err(ProofError::Length { actual: 100 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn proofs_of_any_tree_are_those_of_the_rfc(size in 1_usize..2_000, index: prop::sample::Index, older: prop::sample::Index) {
        let leaves = leaves(size);
        let (tree, tiles) = grown(&leaves);
        let root = rfc6962::mth(&leaves);
        prop_assert_eq!(tree.root(), root);
        let index = index.index(size);
        let proof = tiles.tree(size as u64).inclusion_proof(index as u64).unwrap();
        prop_assert_eq!(&proof, &rfc6962::path(index, &leaves));
        let leaf = leaf_hash(leaves[index].as_bytes());
        prop_assert_eq!(check_inclusion(&leaf, index as u64, size as u64, &root, &proof), Ok(()));
        let older = older.index(size) + 1;
        let proof = tiles.tree(size as u64).consistency_proof(older as u64).unwrap();
        prop_assert_eq!(&proof, &rfc6962::proof(older, &leaves));
        let older_root = rfc6962::mth(&leaves[..older]);
        prop_assert_eq!(check_consistency(older as u64, &older_root, size as u64, &root, &proof), Ok(()));
    }

    #[test]
    fn nothing_that_is_no_proof_is_believed(
        part: u64, size: u64, shift in 0_u32..64, proof in prop::collection::vec(any::<Hash>(), 0..70), leaf: Hash, root: Hash,
    ) {
        let (part, size) = (part >> shift, size >> shift);
        prop_assert!(check_inclusion(&leaf, part, size, &root, &proof).is_err());
        prop_assert!(check_consistency(part, &leaf, size, &root, &proof).is_err());
    }
}
