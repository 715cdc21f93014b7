//! Receipts, checkpoints and proofs, checked from the specifications alone: docs/receipts.md, C2SP tlog-proof,
//! tlog-checkpoint and signed-note, RFC 6962. Shares no code with the service and its verifier: what it does not believe,
//! nobody else need who has only those pages.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first text that is not as specified"
)]

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64ct::{Base64, Encoding as _};
use serde_json::Value;

use crate::contract::sha256;

/// A checkpoint whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// Over them.
    pub root: Vec<u8>,
}

/// A receipt that holds.
#[derive(Debug)]
pub struct Receipt {
    /// Of its record.
    pub index: u64,
    /// The record's leaf.
    pub leaf: Vec<u8>,
    /// The record's details.
    pub details: Value,
    /// The checkpoint's text with its signatures.
    pub note: String,
    /// What it says.
    pub checkpoint: Checkpoint,
}

/// A verifier key: its name, the four bytes of its id, and the public key.
fn verifier_key(text: &str) -> (String, Vec<u8>, Vec<u8>) {
    let (name, rest) = text.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    let key = Base64::decode_vec(key).unwrap();
    assert_eq!(key.len(), 33);
    assert_eq!(key[0], 1, "Ed25519");
    let made = sha256(&[name.as_bytes(), b"\n", &key].concat());
    let id_bytes = u32::from_str_radix(id, 16).unwrap().to_be_bytes().to_vec();
    assert_eq!(id_bytes, made[..4], "the id is made of name and key");
    (name.to_owned(), id_bytes, key[1..].to_vec())
}

/// Reads a checkpoint and checks the log's signature.
///
/// # Errors
/// What does not hold.
pub fn checkpoint(note: &str, vkey: &str) -> Result<Checkpoint, &'static str> {
    let (name, id, public) = verifier_key(vkey);
    let (text, signatures) = note.rsplit_once("\n\n").ok_or("no signatures")?;
    let text = format!("{text}\n");
    let prefix = format!("\u{2014} {name} ");
    let of_the_log = |line: &str| {
        let bytes = Base64::decode_vec(line.strip_prefix(&prefix)?).ok()?;
        (bytes.len() == 68 && bytes[..4] == id).then(|| bytes[4..].to_vec())
    };
    let signature = signatures.lines().find_map(of_the_log).ok_or("not signed by the log")?;
    let key = UnparsedPublicKey::new(&ED25519, public);
    key.verify(text.as_bytes(), &signature).ok().ok_or("the signature does not hold")?;
    let lines: Vec<&str> = text.lines().collect();
    let [origin, size, root] = lines.as_slice() else { return Err("not three lines") };
    if *origin != name {
        return Err("another log's");
    }
    let size = size.parse().ok().ok_or("no size")?;
    Ok(Checkpoint { origin: name, size, root: Base64::decode_vec(root).ok().ok_or("no root")? })
}

/// Reads a receipt and checks all of it.
///
/// # Errors
/// What does not hold.
pub fn receipt(text: &str, vkey: &str) -> Result<Receipt, &'static str> {
    let (proof, note) = text.split_once("\n\n").ok_or("no checkpoint")?;
    let mut lines = proof.split('\n');
    if lines.next() != Some("c2sp.org/tlog-proof@v1") {
        return Err("another format");
    }
    let extra = lines.next().and_then(|line| line.strip_prefix("extra ")).ok_or("no record")?;
    let extra = Base64::decode_vec(extra).ok().ok_or("the record is not base64")?;
    let index = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or("no index")?;
    let index: u64 = index.parse().ok().ok_or("no index")?;
    let path: Vec<Vec<u8>> = lines.map(|line| Base64::decode_vec(line).unwrap()).collect();

    // docs/receipts.md: version, salt, length of the leaf, leaf, details.
    if extra.len() < 35 || extra[0] != 1 {
        return Err("another version");
    }
    let salt = &extra[1..33];
    let length = usize::from(extra[33]) << 8 | usize::from(extra[34]);
    let leaf = extra.get(35..35 + length).ok_or("the leaf is cut off")?;
    let details = &extra[35 + length..];
    let commitment = sha256(&[b"chancery/audit-details/v1", salt, details].concat());
    if !leaf.ends_with(&commitment) {
        return Err("the details are not the leaf's");
    }
    let checkpoint = checkpoint(note, vkey)?;
    if index >= checkpoint.size {
        return Err("beyond the tree");
    }
    let root = root_by_path(index, checkpoint.size, leaf_hash(leaf), &path).ok_or("a path of another length")?;
    if root != checkpoint.root {
        return Err("not in the tree");
    }
    let details = serde_json::from_slice(details).ok().ok_or("the details are no JSON")?;
    Ok(Receipt { index, leaf: leaf.to_vec(), details, note: note.to_owned(), checkpoint })
}

/// RFC 6962, section 2.1.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Vec<u8> {
    sha256(&[&[0], leaf].concat())
}

fn node(left: &[u8], right: &[u8]) -> Vec<u8> {
    sha256(&[&[1], left, right].concat())
}

/// The largest power of two below `size`.
fn split(size: u64) -> u64 {
    size.next_power_of_two() / 2
}

/// RFC 6962, section 2.1.1, read backwards: `PATH(m, D[n])` ends with the root of the half in which the leaf is not.
#[must_use]
pub fn root_by_path(index: u64, size: u64, leaf: Vec<u8>, path: &[Vec<u8>]) -> Option<Vec<u8>> {
    if size == 1 {
        return path.is_empty().then_some(leaf);
    }
    let (last, rest) = path.split_last()?;
    let middle = split(size);
    Some(if index < middle {
        node(&root_by_path(index, middle, leaf, rest)?, last)
    } else {
        node(last, &root_by_path(index - middle, size - middle, leaf, rest)?)
    })
}

/// RFC 6962, section 2.1.2, read backwards: the roots of both trees, as the proof has them. `SUBPROOF(m, D[n], whole)`, where
/// `whole` says that the older tree's root, which the verifier has, is left out.
#[must_use]
pub fn roots_by_proof(
    older: u64,
    size: u64,
    old_root: &[u8],
    whole: bool,
    proof: &[Vec<u8>],
) -> Option<(Vec<u8>, Vec<u8>)> {
    if older == size {
        return match (whole, proof) {
            (true, []) => Some((old_root.to_vec(), old_root.to_vec())),
            (false, [only]) => Some((only.clone(), only.clone())),
            _ => None,
        };
    }
    let (last, rest) = proof.split_last()?;
    let middle = split(size);
    if older <= middle {
        let (old, new) = roots_by_proof(older, middle, old_root, whole, rest)?;
        Some((old, node(&new, last)))
    } else {
        let (old, new) = roots_by_proof(older - middle, size - middle, old_root, false, rest)?;
        Some((node(last, &old), node(last, &new)))
    }
}
