//! The record: what was authorised, how it ended, what was changed and what was refused.
//!
//! In scope: the encoding of leaves (final: docs/audit-record.md), salted commitments to details, and the group
//! commit, on the one thread that writes to the database. On these leaves stands the transparency log
//! (docs/transparency-log.md): the Merkle tree ([`tree`]), signed [`checkpoint`]s, proofs to keep ([`TlogProof`]),
//! [`Receipt`]s, the [`export`] of a log to a folder, the [`archive`] of its old leaves, the verification of a whole log ([`verify`]), and what is asked of
//! witnesses ([`witness`]). Out of scope: how rows are stored (`store`), what is allowed (`policy`), what is recorded when
//! (`core`), whose key seals the state (it takes a [`Sealer`]), how witnesses are reached, and private keys: who signs a
//! checkpoint hands in a function.
//!
//! An intent is durable when [`Log::record_intents`] returns, and [`Recorded`] is the proof of it, made nowhere
//! else. It is guarded by the state's epoch: what was decided on an older state is not recorded. If the database
//! refuses a write, the log closes and stays closed until a restart: nothing is signed that is not on the record.

mod anchor;
pub mod archive;
mod caller_evidence;
pub mod checkpoint;
mod codes;
mod commitment;
mod decimal;
mod details;
mod erase;
pub mod export;
mod group;
mod growing;
mod health;
mod hex;
mod kept;
mod kept_checkpoints;
mod leaf;
mod log;
pub mod note;
mod observer;
mod prepared;
mod proved;
mod queue;
mod receipt;
mod record;
mod seal;
mod shares;
mod slot;
mod state_root;
mod thread;
mod tlog_proof;
pub mod tree;
#[cfg(test)]
mod vectors;
pub mod verify;
pub mod witness;

pub use anchor::Anchor;
pub use caller_evidence::{
    CALLER_SIGNATURE_AHEAD, CALLER_SIGNATURE_WINDOW, CallerEncoding, CallerEvidence, CallerEvidenceError, CallerInput,
    CallerRequestDetails, CallerSignatureDetails, Covers, verify_caller_signature, verify_recorded_caller_signature,
};
/// The kind of a row that a leaf says has changed.
pub use chancery_store::RowTable;
pub use codes::{Decision, DenialReason, Kind, OutcomeResult, action_code, action_from_code};
pub use commitment::{commitment_to_details, commitment_to_row};
pub use details::{AuthenticationDetails, Details, ItemDetails, SignedDetails};
pub use erase::{EraseStep, Erased, ErasureSaid, ToErase, erasable};
pub use growing::TreeHead;
pub use health::LogHealth;
pub use hex::{Hex, NotHex};
pub use kept::{KeptTree, WalkedLeaves, kept_tree, walk_leaves};
pub use leaf::{Body, Leaf, LeafError, RowDigest, Subject};
pub use log::{Log, LogSettings, RecordError, StartError};
pub use observer::{GroupObserver, GroupWritten};
pub use proved::{ProveError, prove_consistency, prove_inclusion, served_entries, served_tile};
pub use receipt::{DisclosedRecord, Mismatch, Proven, Receipt, ReceiptError};
pub use record::{
    Act, Changed, Denial, Intent, NewSeal, Outcome, OutcomeItem, Recorded, RowStatement, UsageClaim, VoidCheckpoints,
};
pub use seal::{Sealer, sealed};
pub use slot::OutcomeSlot;
pub use state_root::StateRoot;
pub use tlog_proof::{MAX_EXTRA_BYTES, TlogProof, TlogProofError};
