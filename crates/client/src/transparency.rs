//! The log's checkpoints, and proofs against them. Checking them is `chancery_audit`'s.

use chancery_api::v1;
use chancery_api::v1::audit_service_client::AuditServiceClient;
use chancery_model::{Sha256Hash, Timestamp};

use crate::answer::time;
use crate::retry::Repeat;
use crate::{Client, ClientError};

/// A checkpoint of the log: how many records it has, and the root of their tree, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCheckpoint {
    /// The checkpoint as it is signed: a C2SP tlog-checkpoint. What it says counts once it was verified.
    pub note: String,
    /// The log's name.
    pub origin: String,
    /// How many records it covers.
    pub tree_size: u64,
    /// The root of their tree.
    pub root_hash: Sha256Hash,
    /// When it was signed.
    pub signed: Timestamp,
    /// The log's public key that has signed it, NAME+ID+KEY, as the service says it: compare it over another way before
    /// pinning it.
    pub log_key: String,
    /// All keys of the log, oldest first; none from a service of before they were said.
    pub log_keys: Vec<LogKey>,
}

/// A public key of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    /// NAME+ID+KEY.
    pub verifier_key: String,
    /// Whether the log is signed by it now.
    pub signs: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it signs no more.
    pub retired: Option<Timestamp>,
}

/// Proof that a record is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Index of the record.
    pub record_index: u64,
    /// How many records the tree has.
    pub tree_size: u64,
    /// RFC 6962, section 2.1.1: from the leaf up.
    pub hashes: Vec<Sha256Hash>,
    /// The checkpoint of that tree, where it is the newest's.
    pub checkpoint: Option<LogCheckpoint>,
}

/// Proof that a tree of the log begins with an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// How many records the earlier tree has.
    pub old_tree_size: u64,
    /// How many the later one has.
    pub new_tree_size: u64,
    /// RFC 6962, section 2.1.2.
    pub hashes: Vec<Sha256Hash>,
    /// The checkpoint of the later tree, where it is the newest's.
    pub checkpoint: Option<LogCheckpoint>,
}

impl Client {
    /// The log's newest checkpoint.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn get_checkpoint(&self) -> Result<LogCheckpoint, ClientError> {
        let request = v1::GetCheckpointRequest {};
        self.call(Repeat::Safe, request, |connection, request| async move {
            AuditServiceClient::new(connection).get_checkpoint(request).await
        })
        .await?
        .try_into()
    }

    /// The proof that a record is in the tree of so many records, or of the newest checkpoint, which is waited for.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn get_inclusion_proof(
        &self,
        record_index: u64,
        tree_size: Option<u64>,
    ) -> Result<InclusionProof, ClientError> {
        let request = v1::GetInclusionProofRequest { record_index, tree_size };
        let answer = self
            .call(Repeat::Safe, request, |connection, request| async move {
                AuditServiceClient::new(connection).get_inclusion_proof(request).await
            })
            .await?;
        let v1::InclusionProof { record_index, tree_size, hashes: given, checkpoint } = answer;
        let checkpoint = checkpoint.map(TryInto::try_into).transpose()?;
        Ok(InclusionProof { record_index, tree_size, hashes: hashes(given)?, checkpoint })
    }

    /// The proof that the tree of so many records, or of the newest checkpoint, begins with an earlier one.
    ///
    /// # Errors
    /// As [`Client::sign`].
    pub async fn get_consistency_proof(
        &self,
        old_tree_size: u64,
        new_tree_size: Option<u64>,
    ) -> Result<ConsistencyProof, ClientError> {
        let request = v1::GetConsistencyProofRequest { old_tree_size, new_tree_size };
        let answer = self
            .call(Repeat::Safe, request, |connection, request| async move {
                AuditServiceClient::new(connection).get_consistency_proof(request).await
            })
            .await?;
        let v1::ConsistencyProof { old_tree_size, new_tree_size, hashes: given, checkpoint } = answer;
        let checkpoint = checkpoint.map(TryInto::try_into).transpose()?;
        Ok(ConsistencyProof { old_tree_size, new_tree_size, hashes: hashes(given)?, checkpoint })
    }
}

impl TryFrom<v1::LogCheckpoint> for LogCheckpoint {
    type Error = ClientError;

    fn try_from(answer: v1::LogCheckpoint) -> Result<Self, ClientError> {
        let v1::LogCheckpoint { note, origin, tree_size, root_hash, sign_time, log_key, log_keys } = answer;
        let (root_hash, signed) = (hash(root_hash)?, time("the checkpoint's time", sign_time)?);
        let log_keys = log_keys.into_iter().map(LogKey::try_from).collect::<Result<_, _>>()?;
        Ok(Self { note, origin, tree_size, root_hash, signed, log_key, log_keys })
    }
}

impl TryFrom<v1::LogKey> for LogKey {
    type Error = ClientError;

    fn try_from(answer: v1::LogKey) -> Result<Self, ClientError> {
        let v1::LogKey { verifier_key, signs, create_time, retire_time } = answer;
        let created = time("when the log's key was made", create_time)?;
        let retired = retire_time.map(|at| time("since when the log's key signs no more", Some(at))).transpose()?;
        Ok(Self { verifier_key, signs, created, retired })
    }
}

fn hashes(given: Vec<Vec<u8>>) -> Result<Vec<Sha256Hash>, ClientError> {
    given.into_iter().map(hash).collect()
}

fn hash(given: Vec<u8>) -> Result<Sha256Hash, ClientError> {
    let wrong = |given: Vec<u8>| ClientError::Answer { what: format!("a hash of {} bytes, not 32", given.len()) };
    given.try_into().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_have_their_length() {
        let answer = v1::LogCheckpoint {
            root_hash: vec![7; 32],
            sign_time: Some(prost_types::Timestamp::default()),
            ..v1::LogCheckpoint::default()
        };
        assert_eq!(LogCheckpoint::try_from(answer.clone()).unwrap().root_hash, [7; 32]);
        let short = v1::LogCheckpoint { root_hash: vec![7; 31], ..answer };
        assert!(LogCheckpoint::try_from(short).unwrap_err().to_string().contains("31 bytes"));
    }
}
