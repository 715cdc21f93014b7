//! A log that signs with a key in memory, and makes proofs by a second implementation.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chancery_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::tree::{EMPTY_ROOT, node_hash};
use chancery_audit::witness::AddCheckpoint;
use chancery_model::Sha256Hash;

pub const ORIGIN: &str = "log.example/chancery";

/// A log of leaves whose hashes are numbers, with proofs by RFC 6962, section 2, to the letter.
pub struct Log {
    pub pair: Ed25519KeyPair,
    pub key: VerifierKey,
    pub leaves: Vec<Sha256Hash>,
}

impl Log {
    pub fn new(name: &str, seed: u8, leaves: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let point = pair.public_key().as_ref().try_into().unwrap();
        let key = VerifierKey::new(KeyName::parse(name).unwrap(), SignatureKind::Ed25519, point).unwrap();
        Self { pair, key, leaves: (0..leaves).map(|number| [number; 32]).collect() }
    }

    pub async fn checkpoint(&self, size: usize) -> SignedCheckpoint {
        self.sign(Checkpoint::new(self.key.name(), size as u64, root(&self.leaves[..size]))).await
    }

    pub async fn sign(&self, checkpoint: Checkpoint) -> SignedCheckpoint {
        let mut checkpoint = SignedCheckpoint::unsigned(checkpoint).unwrap();
        let signer = async |text: Vec<u8>| Ok::<_, ()>(self.pair.sign(&text).as_ref().try_into().unwrap());
        checkpoint.note_mut().sign(&self.key, signer).await.unwrap();
        checkpoint
    }

    pub async fn request(&self, old: usize, size: usize) -> AddCheckpoint {
        let proof = if old == 0 { Vec::new() } else { consistency(old, &self.leaves[..size], true) };
        AddCheckpoint { old_size: old as u64, proof, checkpoint: self.checkpoint(size).await }
    }
}

fn root(leaves: &[Sha256Hash]) -> Sha256Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn consistency(old: usize, leaves: &[Sha256Hash], whole: bool) -> Vec<Sha256Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let middle = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(middle);
    let (mut proof, other) = if old <= middle {
        (consistency(old, left, whole), right)
    } else {
        (consistency(old - middle, right, false), left)
    };
    proof.push(root(other));
    proof
}
