//! What the transparency log costs: a checkpoint, and proofs.

use crate::Measured;
use chancery_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::tree::{check_consistency, check_inclusion, leaf_hash};
use chancery_audit::{Log, LogSettings, kept_tree};
use chancery_crypto::PublicKey;
use chancery_model::{Algorithm, Id, Sha256Hash, Timestamp};
use std::path::Path;
use std::time::{Duration, Instant};

/// How many proofs of each kind, and checkpoints.
const PROOFS: u64 = 1_000;
const CHECKPOINTS: u64 = 200;

/// Proofs of leaves and older trees from everywhere in the log, each made from the database and checked.
pub fn proofs(path: &Path) -> Vec<Measured> {
    let (writer, reader) = chancery_store::open(path).unwrap();
    let size = reader.load_state().unwrap().leaves;
    let root = kept_tree(&reader, size).root().unwrap();
    let (mut made, mut checked, mut longest) = (Vec::new(), Vec::new(), 0);
    for index in spread(size) {
        let leaf = reader.leaves(index, 1).unwrap().remove(0);
        let begun = Instant::now();
        let proof = kept_tree(&reader, size).inclusion_proof(index).unwrap();
        made.push(begun.elapsed());
        let begun = Instant::now();
        check_inclusion(&leaf_hash(&leaf), index, size, &root, &proof).unwrap();
        checked.push(begun.elapsed());
        longest = longest.max(proof.len());
    }
    let mut consistent = Vec::new();
    for older in spread(size) {
        let older_root = kept_tree(&reader, older).root().unwrap();
        let begun = Instant::now();
        let proof = kept_tree(&reader, size).consistency_proof(older).unwrap();
        consistent.push(begun.elapsed());
        check_consistency(older, &older_root, size, &root, &proof).unwrap();
    }
    writer.close().unwrap();
    vec![
        Measured::new(format!("inclusion proof, made; at most {longest} hashes"), times(made)),
        Measured::new("inclusion proof, checked", times(checked)),
        Measured::new("consistency proof, made", times(consistent)),
    ]
}

/// Indexes from 1 on, all over the log.
fn spread(size: u64) -> impl Iterator<Item = u64> {
    (1..=PROOFS).map(move |n| 1 + n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (size - 1))
}

/// A checkpoint: asking the writing thread where the tree stands, signing, and keeping it. With a key in memory: what a token
/// takes to sign is another matter. To be the last that is measured: the service would not know these checkpoints.
pub fn checkpoints(path: &Path) -> Vec<Measured> {
    let (writer, _reader) = chancery_store::open(path).unwrap();
    let log = Log::start(writer, LogSettings::new(Id::parse("the instance", "bench").unwrap())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut asked, mut whole) = (Vec::new(), Vec::new());
    let (key, verifier) = throw_away_key();
    runtime.block_on(async {
        for _ in 0..CHECKPOINTS {
            let begun = Instant::now();
            let head = log.tree_head().await.unwrap().unwrap();
            asked.push(begun.elapsed());
            let checkpoint = Checkpoint::new(verifier.name(), head.size, head.root);
            let mut signed = SignedCheckpoint::unsigned(checkpoint).unwrap();
            let sign =
                async |text: Vec<u8>| Ok::<_, std::convert::Infallible>(key.sign(&text).as_ref().try_into().unwrap());
            signed.note_mut().sign(&verifier, sign).await.unwrap();
            log.keep_checkpoint(&signed, Timestamp::now(), true).await.unwrap();
            whole.push(begun.elapsed());
        }
        log.shutdown().await;
    });
    vec![
        Measured::new("the tree's root, asked of the writing thread", times(asked)),
        Measured::new("a checkpoint, signed in memory and synced", times(whole)),
    ]
}

fn throw_away_key() -> (aws_lc_rs::signature::Ed25519KeyPair, VerifierKey) {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    let seed: Sha256Hash = chancery_crypto::sha256(b"a key of a benchmark");
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    // RFC 8410: what stands before the 32 bytes of an Ed25519 key.
    let mut spki = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    spki.extend_from_slice(pair.public_key().as_ref());
    let public = PublicKey::from_spki_der(Algorithm::Ed25519, &spki).unwrap();
    let name = KeyName::parse("log.example/bench").unwrap();
    (pair, VerifierKey::from_public_key(name, SignatureKind::Ed25519, &public).unwrap())
}

/// Median and worst.
fn times(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let milliseconds = |took: Duration| took.as_secs_f64() * 1e3;
    format!("{:.3} ms, worst {:.2} ms", milliseconds(took[took.len() / 2]), milliseconds(took[took.len() - 1]))
}
