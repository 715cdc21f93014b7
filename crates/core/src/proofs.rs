//! What an auditor is shown of the log: its newest checkpoint, and proofs against it.

use std::sync::Arc;

use chancery_audit::note::VerifierKey;
use chancery_audit::{ProveError, TreeHead, prove_consistency, prove_inclusion};
use chancery_model::{Action, Sha256Hash};
use chancery_policy::{OperationContext, Resource};
use chancery_store::Reader;
use tokio::time::timeout_at;

use crate::authorize::Asked;
use crate::checkpoints::{LogKey, NewestCheckpoint, Uncovered};
use crate::receipts::in_time;
use crate::{Chancery, Error, Requester, blocking_in, place_in};

/// A checkpoint of the log, and the key that it is verified with.
#[derive(Debug, Clone)]
pub struct LogCheckpoint {
    /// The checkpoint.
    pub newest: Arc<NewestCheckpoint>,
    /// The log's key that has signed it.
    pub log_key: VerifierKey,
    /// All keys that have signed the log, or do, oldest first.
    pub log_keys: Vec<LogKey>,
}

/// A proof, and the tree that it is of.
#[derive(Debug, Clone)]
pub struct LogProof {
    /// How many leaves the tree has.
    pub size: u64,
    /// The hashes, as RFC 6962 has them.
    pub hashes: Vec<Sha256Hash>,
    /// The checkpoint of that tree, where it is the newest's.
    pub checkpoint: Option<LogCheckpoint>,
}

impl Chancery {
    /// The newest checkpoint. Waits for the first one.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::LogNotSigned`]; [`Error::NoCheckpoint`].
    pub async fn get_checkpoint(&self, from: &Requester) -> Result<LogCheckpoint, Error> {
        self.authorize_proof(from, Action::GetCheckpoint)?;
        self.newest_over(from, 0).await
    }

    /// The proof that record `index` is in the tree of the first `size` records, or of the newest checkpoint, which is waited
    /// for.
    ///
    /// # Errors
    /// As of [`Chancery::get_checkpoint`]; [`Error::BeyondLog`] where there is no such record or tree;
    /// [`Error::InvalidField`] for a record that is not in the tree; [`Error::LogDamaged`] where the proof would not hold.
    pub async fn get_inclusion_proof(
        &self,
        from: &Requester,
        index: u64,
        size: Option<u64>,
    ) -> Result<LogProof, Error> {
        self.authorize_proof(from, Action::GetInclusionProof)?;
        self.check_in_log(index.saturating_add(1), || format!("record {index}"))?;
        if let Some(size) = size.filter(|size| *size <= index) {
            let rule = format!("a tree of {size} records has no record {index}; give a larger one, or none");
            return Err(Error::invalid("tree_size", rule));
        }
        self.prove(from, index, size, move |reader, size, signed| prove_inclusion(reader, index, size, signed)).await
    }

    /// The proof that the tree of the first `new` records, or of the newest checkpoint, begins with that of the first `old`.
    ///
    /// # Errors
    /// As of [`Chancery::get_inclusion_proof`].
    pub async fn get_consistency_proof(&self, from: &Requester, old: u64, new: Option<u64>) -> Result<LogProof, Error> {
        self.authorize_proof(from, Action::GetConsistencyProof)?;
        self.check_in_log(old, || format!("tree of {old} records"))?;
        if let Some(new) = new.filter(|new| *new < old) {
            let rule = format!("a tree of {new} records does not begin with one of {old}; give a larger one, or none");
            return Err(Error::invalid("new_tree_size", rule));
        }
        let proof = move |reader: &Reader, size, signed| prove_consistency(reader, old, size, signed);
        self.prove(from, old.saturating_sub(1), new, proof).await
    }

    fn authorize_proof(&self, from: &Requester, action: Action) -> Result<(), Error> {
        let asked = Asked::of(from, action, &"auditLog");
        self.authorize(&self.snapshot(), asked, Resource::AuditLog, OperationContext::Plain)?;
        Ok(())
    }

    /// Nobody waits for a record that is not made yet.
    fn check_in_log(&self, records: u64, what: impl FnOnce() -> String) -> Result<(), Error> {
        let there_are = self.records();
        if records > there_are { Err(Error::BeyondLog { what: what(), records: there_are }) } else { Ok(()) }
    }

    /// The newest checkpoint, once it covers this record.
    async fn newest_over(&self, from: &Requester, index: u64) -> Result<LogCheckpoint, Error> {
        let newest = timeout_at(in_time(from.deadline), self.checkpoint_over(index)).await;
        let newest = newest.unwrap_or(Err(Uncovered::Unsigned)).map_err(|uncovered| match uncovered {
            Uncovered::NotKept => Error::LogNotSigned,
            Uncovered::Unsigned => Error::NoCheckpoint,
        })?;
        let (log_key, log_keys) = self.log_keys_of(&newest)?;
        Ok(LogCheckpoint { newest, log_key, log_keys })
    }

    async fn prove<F>(&self, from: &Requester, index: u64, size: Option<u64>, proof: F) -> Result<LogProof, Error>
    where
        F: FnOnce(&Reader, u64, Option<TreeHead>) -> Result<Vec<Sha256Hash>, ProveError> + Send + 'static,
    {
        let (size, checkpoint) = match size {
            Some(size) => {
                self.check_in_log(size, || format!("tree of {size} records"))?;
                (size, None)
            }
            None => {
                let checkpoint = self.newest_over(from, index).await?;
                (checkpoint.newest.size(), Some(checkpoint))
            }
        };
        let place = place_in(&self.inner.watching, from.deadline).await?;
        // Any tree is held to a signed one, before it or behind it.
        let signed = match &checkpoint {
            Some(checkpoint) => Some(checkpoint.newest.tree()),
            None => self.checkpoints().and_then(|standing| standing.newest).map(|newest| newest.tree()),
        };
        let reader = self.inner.reader.clone();
        let make = move || proof(&reader, size, signed);
        let hashes = blocking_in(place, make).await?.map_err(|error| self.not_proved(error))?;
        Ok(LogProof { size, hashes, checkpoint })
    }
}
