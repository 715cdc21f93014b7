//! Receipts: one record, disclosed, with the proof that it is in the log, in one text that is checked without the log and
//! without the service. Specified in docs/receipts.md.
//!
//! A receipt is a C2SP tlog-proof whose extra data is the record: its leaf, and the salt and details that the leaf commits
//! to. Nobody vouches for extra data; so nothing of it is believed before the leaf's hash has come out as the one that the
//! log proves, and the details as those that the leaf commits to.

mod outcome;
mod statement;

pub use statement::Mismatch;

use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::commitment::commitment_to_details;
use crate::details::Details;
use crate::leaf::{Body, Leaf, LeafError, MAX_BYTES};
use crate::note::VerifierKey;
use crate::tlog_proof::{MAX_EXTRA_BYTES, TlogProof, TlogProofError};
use crate::tree::leaf_hash;
use chancery_model::Sha256Hash;
use std::fmt;

/// The first byte of the extra data.
const VERSION: u8 = 0x01;

/// What stands before the leaf: version, salt, and the leaf's length.
const HEAD_BYTES: usize = 1 + 32 + 2;

/// A record, disclosed: what whoever has it can read, and check against its leaf.
#[derive(Clone, PartialEq, Eq)]
pub struct DisclosedRecord {
    /// The leaf, byte for byte.
    pub leaf: Vec<u8>,
    /// The salt of its commitments.
    pub salt: [u8; 32],
    /// The details, byte for byte.
    pub details: Vec<u8>,
}

/// A receipt. Not verified: see [`Receipt::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt {
    record: DisclosedRecord,
    proof: TlogProof,
}

/// Why something is no receipt, or a receipt proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The proof around the record: its form, the checkpoint, or the way from the leaf to the checkpoint's root.
    #[error("the receipt's proof does not hold")]
    Proof(#[from] TlogProofError),
    /// The bytes that should disclose the record.
    #[error("the receipt discloses no record: {0}")]
    Record(&'static str),
    /// The leaf.
    #[error("the leaf in the receipt cannot be read")]
    Leaf(#[from] LeafError),
    /// Details or salt.
    #[error("the details in the receipt are not those that its leaf commits to: they were changed, or their salt was")]
    Commitment,
    /// The details, which are what was committed to.
    #[error("the details in the receipt cannot be read; a newer version of this program may know them")]
    Details(#[source] serde_json::Error),
    /// Leaf and details say different things, or of an intent the details leave out what the leaf says: whoever recorded them
    /// did not tell the truth in one of them.
    #[error("the leaf and the details in the receipt do not say the same of the {0}")]
    Contradiction(&'static str),
}

/// A record that a log is shown to hold.
#[derive(Debug, Clone)]
pub struct Proven {
    /// Its index in the log.
    pub index: u64,
    /// The leaf.
    pub leaf: Leaf,
    /// The details, which the leaf commits to.
    pub details: Details,
    /// The checkpoint that the log has signed.
    pub checkpoint: Checkpoint,
}

impl Receipt {
    /// Puts a receipt together. `hashes` is the inclusion proof of record `index` in the tree of `checkpoint`. Nothing is
    /// verified here.
    ///
    /// # Errors
    /// [`ReceiptError::Record`] for a record that is too long to be disclosed.
    pub fn new(
        record: DisclosedRecord,
        index: u64,
        hashes: Vec<Sha256Hash>,
        checkpoint: SignedCheckpoint,
    ) -> Result<Self, ReceiptError> {
        let extra = record.encode()?;
        Ok(Self { record, proof: TlogProof { extra, index, hashes, checkpoint } })
    }

    /// Reads a receipt, strictly: writing it again gives the same bytes.
    ///
    /// # Errors
    /// [`ReceiptError`] says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let proof = TlogProof::parse(bytes)?;
        Ok(Self { record: DisclosedRecord::decode(&proof.extra)?, proof })
    }

    /// The index of its record.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.proof.index
    }

    /// The checkpoint, to have its cosignatures checked, too ([`SignedCheckpoint::cosignatures`]).
    #[must_use]
    pub const fn checkpoint(&self) -> &SignedCheckpoint {
        &self.proof.checkpoint
    }

    /// Checks that the log, by one of its keys, says that it holds this record, and that the details are the record's.
    ///
    /// # Errors
    /// [`ReceiptError`] says what does not fit.
    pub fn verify(&self, log_keys: &[VerifierKey]) -> Result<Proven, ReceiptError> {
        let DisclosedRecord { leaf: bytes, salt, details } = &self.record;
        let checkpoint = self.proof.verify(&leaf_hash(bytes), log_keys)?.clone();
        let leaf = Leaf::decode(bytes)?;
        if commitment_to_details(salt, details) != leaf.commitment {
            return Err(ReceiptError::Commitment);
        }
        let details = Details::from_json(details).map_err(ReceiptError::Details)?;
        let proven = Proven { index: self.proof.index, leaf, details, checkpoint };
        proven.check_consistent()?;
        Ok(proven)
    }
}

impl Proven {
    /// What the leaf says, the details say again: of an intent all of it; of an act, which may be the service's own, what
    /// they say at all.
    fn check_consistent(&self) -> Result<(), ReceiptError> {
        let Self { leaf, details, .. } = self;
        let (subject, whole) = match &leaf.body {
            Body::Intent(subject) => (subject, true),
            Body::Act { subject, .. } => (subject, false),
            Body::Outcome { .. } | Body::Denial { .. } => return Ok(()),
        };
        let agree = |said: Option<bool>| said.unwrap_or(!whole);
        let action = subject.action.map(|action| action.as_str());
        let said = details.action.as_deref().map(|said| action.map_or(!whole, |action| said == action));
        if !agree(said) {
            return Err(ReceiptError::Contradiction("action"));
        }
        if !agree(details.decision.map(|said| said == subject.decision)) {
            return Err(ReceiptError::Contradiction("decision"));
        }
        if !agree(details.policy_set.as_ref().map(|said| said.as_bytes() == subject.policy_set)) {
            return Err(ReceiptError::Contradiction("policy set"));
        }
        Ok(())
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.proof.fmt(f)
    }
}

impl fmt::Debug for Receipt {
    // Names, addresses and digests do not go into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt(record {})", self.proof.index)
    }
}

impl fmt::Debug for DisclosedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DisclosedRecord(..)")
    }
}

impl DisclosedRecord {
    fn encode(&self) -> Result<Vec<u8>, ReceiptError> {
        let Self { leaf, salt, details } = self;
        let length = u16::try_from(leaf.len()).or(Err(ReceiptError::Record("its leaf is longer than any")))?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + leaf.len() + details.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(salt);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(leaf);
        bytes.extend_from_slice(details);
        if bytes.len() > MAX_EXTRA_BYTES {
            return Err(ReceiptError::Record("leaf and details are longer than a receipt may be"));
        }
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, ReceiptError> {
        const { assert!(MAX_BYTES <= u16::MAX as usize, "a leaf's length has two bytes") }
        let short = ReceiptError::Record("its extra data ends too early");
        let (version, rest) = bytes.split_first().ok_or(ReceiptError::Record("it has no extra data"))?;
        if *version != VERSION {
            return Err(ReceiptError::Record("its extra data has a version that this program does not know"));
        }
        let Some((salt, rest)) = rest.split_first_chunk::<32>() else { return Err(short) };
        let Some((length, rest)) = rest.split_first_chunk::<2>() else { return Err(short) };
        let Some((leaf, details)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else {
            return Err(short);
        };
        Ok(Self { leaf: leaf.to_vec(), salt: *salt, details: details.to_vec() })
    }
}

#[cfg(test)]
mod tests;
