//! Verifying a log from the outside: leaf by leaf, in one pass, with nothing but the leaves, the checkpoints, and the log's
//! public key. Says where the first fault is.
//!
//! In scope: everything that docs/audit-record.md lets a reader check, the tree, and the checkpoints. Out of scope: where
//! records come from (an export, a database, a server), and the state root (`core`).
//!
//! Memory does not grow with the log: the tree's right edge, the intents that are open, of which a log that Chancery wrote has
//! few ([`MAX_OPEN`] is refused), and the acts of erasures that are still to come, a few an hour.

mod archived;
mod callers;
mod database;
mod ends;
mod exported;
mod fault;
mod found_by;
mod missing;
mod order;
#[cfg(test)]
mod tests;
mod walk;

pub use database::verify_database;
pub use exported::verify_exported;
pub use fault::{Check, Fault, Place};
pub use missing::{DetailsKept, Missing};
pub use order::MAX_OPEN;

use crate::checkpoint::SignedCheckpoint;
use crate::commitment::commitment_to_details;
use crate::leaf::Leaf;
use crate::note::{KeyName, VerifierKey};
use crate::tree::{Appender, Tile, leaf_hash};
use crate::witness::{NotWitnessed, WitnessPolicy};
use chancery_model::Sha256Hash;
use missing::MissingDetails;
use order::Order;
use walk::{Stop, walk};

/// A record as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// The index that the source gives it.
    pub index: u64,
    /// The leaf's bytes.
    pub leaf: Vec<u8>,
    /// Salt and details; `None` where they were erased, or where the source has none.
    pub details: Option<([u8; 32], Vec<u8>)>,
    /// The act that says that they were erased, as the source names it, where it names one.
    pub erased_by: Option<u64>,
}

/// What a log without a fault is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Sha256Hash,
    /// Intents and acts that have no outcome yet, ascending.
    pub open: Vec<u64>,
    /// How many checkpoints were checked.
    pub checkpoints: u64,
    /// How many leaves the last of them vouches for; what comes after them is vouched for by nobody yet.
    pub attested: u64,
    /// What witnesses vouch for; `None` where none were named.
    pub witnessed: Option<Witnessed>,
    /// How many records had their details, which match.
    pub details: u64,
    /// How many of these had their caller's own signature of its request, which holds.
    pub caller_signatures: u64,
    /// What became of the details that are missing; `None` where the source does not say.
    pub missing: Option<Missing>,
}

/// What enough of the witnesses that were named vouch for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnessed {
    /// How many leaves the last checkpoint covers that enough of them have cosigned; 0 where there is none.
    pub size: u64,
    /// Those who have cosigned that one.
    pub by: Vec<KeyName>,
    /// How many checkpoints enough of them have cosigned.
    pub checkpoints: u64,
}

/// What is held against a log, and known from elsewhere than from it.
#[derive(Debug, Clone, Default)]
pub struct Trusted {
    /// The keys of the log; several are for a log that changed its key.
    pub log_keys: Vec<VerifierKey>,
    /// Checkpoints that somebody kept.
    pub checkpoints: Vec<SignedCheckpoint>,
    /// The witnesses, and how many of them have to vouch for the log; without keys nobody asks.
    pub witnesses: WitnessPolicy,
}

/// Why a log was not verified to its end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError<E> {
    /// The log has a fault.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Records or checkpoints could not be read.
    #[error("the log could not be read on after {after} records")]
    Read {
        /// How many records were verified.
        after: u64,
        /// Why.
        source: E,
    },
}

/// The verification of one log, from its first leaf.
#[derive(Debug)]
pub struct LogVerifier {
    log_keys: Vec<VerifierKey>,
    tree: Appender,
    order: Order,
    checkpoints: u64,
    attested: u64,
    witnesses: WitnessPolicy,
    witnessed: Witnessed,
    details: u64,
    caller_signatures: u64,
    missing: MissingDetails,
}

impl LogVerifier {
    /// `log_keys` are pinned: known from elsewhere than from the log. Several are for a log that changed its key.
    #[must_use]
    pub fn new(log_keys: Vec<VerifierKey>) -> Self {
        Self {
            log_keys,
            tree: Appender::new(),
            order: Order::new(),
            checkpoints: 0,
            attested: 0,
            witnesses: WitnessPolicy::default(),
            witnessed: Witnessed::default(),
            details: 0,
            caller_signatures: 0,
            missing: MissingDetails::default(),
        }
    }

    /// The same, and the report says how far enough of these witnesses vouch for the log.
    #[must_use]
    pub fn with_witnesses(self, witnesses: WitnessPolicy) -> Self {
        Self { witnesses, ..self }
    }

    /// The same of a source that says so much of details that are missing.
    #[must_use]
    pub fn with_details(self, kept: DetailsKept) -> Self {
        Self { missing: MissingDetails::new(kept), ..self }
    }

    /// How many records were verified.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Verifies the next record.
    ///
    /// # Errors
    /// [`Fault`]: the first. What comes after it means nothing.
    pub fn record(&mut self, record: &LogRecord) -> Result<(), Fault> {
        self.record_with(record, |_, _| ())
    }

    /// The same; `whole` is given each tile that the record completes.
    fn record_with(&mut self, record: &LogRecord, whole: impl FnMut(Tile, &[Sha256Hash])) -> Result<(), Fault> {
        let size = self.size();
        self.check_record(record, whole).map_err(|check| Fault { at: Place::Record(size), check })
    }

    fn check_record(&mut self, record: &LogRecord, whole: impl FnMut(Tile, &[Sha256Hash])) -> Result<(), Check> {
        let LogRecord { index, leaf: bytes, details, erased_by } = record;
        if *index != self.size() {
            return Err(Check::Index { found: *index });
        }
        let leaf = Leaf::decode(bytes)?;
        if let Some((salt, details)) = details {
            if commitment_to_details(salt, details) != leaf.commitment {
                return Err(Check::Commitment);
            }
            self.details += 1;
            self.caller_signatures += u64::from(callers::check(&leaf, details)?);
        }
        let content = details.as_ref().map(|(_, content)| content.as_slice());
        self.missing.next(*index, &leaf, content, *erased_by)?;
        self.order.next(*index, leaf)?;
        self.tree.append(leaf_hash(bytes), whole);
        Ok(())
    }

    /// Verifies a checkpoint of as many leaves as there have been records: signed by the log, and of the same root. Since
    /// all checkpoints are held against the same leaves, they are consistent with each other, too. What is said to be the
    /// cosignature of a witness must be one; how many there are is said at the end.
    ///
    /// # Errors
    /// [`Fault`], as [`LogVerifier::record`].
    pub fn checkpoint(&mut self, checkpoint: &SignedCheckpoint) -> Result<(), Fault> {
        let at = Place::Checkpoint(checkpoint.unverified().size());
        self.check_checkpoint(checkpoint).map_err(|check| Fault { at, check })
    }

    fn check_checkpoint(&mut self, signed: &SignedCheckpoint) -> Result<(), Check> {
        let checkpoint = signed.verify(&self.log_keys)?;
        let records = self.size();
        if checkpoint.size() > records {
            return Err(Check::Truncated { records });
        }
        if checkpoint.size() < records {
            return Err(Check::Backwards { records });
        }
        if *checkpoint.root() != self.tree.root() {
            return Err(Check::Root { since: self.attested });
        }
        match self.witnesses.check(signed) {
            Ok(by) => {
                let by = by.iter().map(|one| one.key.name().clone()).collect();
                self.witnessed = Witnessed { size: records, by, checkpoints: self.witnessed.checkpoints + 1 };
            }
            Err(NotWitnessed::TooFew { .. }) => {}
            Err(NotWitnessed::Note(error)) => return Err(Check::Cosignature(error)),
        }
        self.checkpoints += 1;
        self.attested = records;
        Ok(())
    }

    /// The acts behind the last record that was verified which are said to have erased details before it. Those that are had
    /// from the source are given to [`LogVerifier::act_behind`]; of the others nothing is believed.
    #[must_use]
    pub fn acts_behind(&self) -> Vec<u64> {
        self.missing.named_behind(self.size())
    }

    /// Takes an act behind the last record. It has to be one by its own words; that it is in the log is not verified.
    pub fn act_behind(&mut self, act: &LogRecord) {
        let LogRecord { index, leaf, details, erased_by: _ } = act;
        if let (Ok(leaf), Some((salt, details))) = (Leaf::decode(leaf), details)
            && commitment_to_details(salt, details) == leaf.commitment
        {
            self.missing.said_by(*index, &leaf, details);
        }
    }

    /// The end of the log: what was found.
    #[must_use]
    pub fn finish(self) -> Report {
        let Self {
            log_keys: _,
            tree,
            order,
            checkpoints,
            attested,
            witnesses,
            witnessed,
            details,
            caller_signatures,
            missing,
        } = self;
        let witnessed = (!witnesses.keys().is_empty()).then_some(witnessed);
        let missing = missing.finish(tree.size());
        Report {
            size: tree.size(),
            root: tree.root(),
            open: order.into_open(),
            checkpoints,
            attested,
            witnessed,
            details,
            caller_signatures,
            missing,
        }
    }
}

/// Verifies a whole log: records from index 0 on, and checkpoints in the order of their sizes, read as they are needed.
///
/// # Errors
/// [`VerifyError`]: the first fault, or the first error of the source.
pub fn verify_log<E>(
    log_keys: Vec<VerifierKey>,
    records: impl IntoIterator<Item = Result<LogRecord, E>>,
    checkpoints: impl IntoIterator<Item = Result<SignedCheckpoint, E>>,
) -> Result<Report, VerifyError<E>> {
    let records = records.into_iter().map(|record| record.map_err(Stop::Read));
    let checkpoints = checkpoints.into_iter().map(|checkpoint| checkpoint.map_err(Stop::Read));
    walk(LogVerifier::new(log_keys), records, checkpoints, |_, _| Ok(())).map(LogVerifier::finish)
}
