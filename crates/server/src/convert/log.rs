//! AuditService: the transparency log, its checkpoints and proofs.

use super::fields::timestamp;
use chancery_api::v1;
use chancery_core::{LogCheckpoint, LogKey, LogProof, NewestCheckpoint};

pub(crate) fn log_checkpoint(checkpoint: LogCheckpoint) -> v1::LogCheckpoint {
    let LogCheckpoint { newest, log_key, log_keys } = checkpoint;
    let NewestCheckpoint { checkpoint, signed } = &*newest;
    let said = checkpoint.unverified();
    v1::LogCheckpoint {
        note: checkpoint.to_string(),
        origin: said.origin().to_owned(),
        tree_size: said.size(),
        root_hash: said.root().to_vec(),
        sign_time: Some(timestamp(*signed)),
        log_key: log_key.to_string(),
        log_keys: log_keys.into_iter().map(pinned_log_key).collect(),
    }
}

fn pinned_log_key(key: LogKey) -> v1::LogKey {
    let LogKey { verifier_key, made, retired } = key;
    v1::LogKey {
        verifier_key: verifier_key.to_string(),
        signs: retired.is_none(),
        create_time: Some(timestamp(made)),
        retire_time: retired.map(timestamp),
    }
}

pub(crate) fn inclusion_proof(record_index: u64, proof: LogProof) -> v1::InclusionProof {
    let LogProof { size, hashes, checkpoint } = proof;
    let hashes = hashes.into_iter().map(Vec::from).collect();
    v1::InclusionProof { record_index, tree_size: size, hashes, checkpoint: checkpoint.map(log_checkpoint) }
}

pub(crate) fn consistency_proof(old_tree_size: u64, proof: LogProof) -> v1::ConsistencyProof {
    let LogProof { size, hashes, checkpoint } = proof;
    let hashes = hashes.into_iter().map(Vec::from).collect();
    v1::ConsistencyProof { old_tree_size, new_tree_size: size, hashes, checkpoint: checkpoint.map(log_checkpoint) }
}
