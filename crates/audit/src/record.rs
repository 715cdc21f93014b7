//! What is handed in to be recorded, and what is handed back.

use crate::codes::{DenialReason, OutcomeResult};
use crate::details::Details;
use crate::seal::Sealer;
use crate::state_root::StateRoot;
use chancery_model::{Action, Sha256Hash, Timestamp, Uid, UsageLimits, UsageOf};
use chancery_store::{Epoch, RowId, RowTable};

/// What was authorised and is about to be done.
#[derive(Debug, Clone)]
pub struct Intent {
    /// When it was authorised.
    pub time: Timestamp,
    /// Who asked.
    pub caller: Uid,
    /// On what: for Sign the key version.
    pub resource: Uid,
    /// What.
    pub action: Action,
    /// The hash of the policy set that allowed it.
    pub policy_set: Sha256Hash,
    /// The limits that it counts against: of its key and of its caller, where they have any.
    pub counts: Vec<UsageClaim>,
    /// The rest.
    pub details: Details,
}

/// One signature of a key, or for a caller, that has limits: recorded only where they leave room for it, and then counted,
/// whatever becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageClaim {
    /// Whose signature.
    pub of: UsageOf,
    /// The limits, as of the epoch of the decision.
    pub limits: UsageLimits,
    /// The day: days since 1970-01-01, UTC.
    pub day: i64,
}

/// A change of the state.
#[derive(Debug, Clone)]
pub struct Act {
    /// When it was authorised.
    pub time: Timestamp,
    /// Who asked; [`Uid::NONE`] for the service itself.
    pub caller: Uid,
    /// On what.
    pub resource: Uid,
    /// What; none (code 0) where the service itself acts and no method of the API stands for it, as when it
    /// registers the callers of its configuration.
    pub action: Option<Action>,
    /// The hash of the policy set that allowed it.
    pub policy_set: Sha256Hash,
    /// The rest.
    pub details: Details,
    /// Whether it stays open until an outcome: the key is recorded first and then made.
    pub opens: bool,
}

/// A row as an act says that it is: where an operator accepts a row that nobody has recorded.
#[derive(Debug, Clone)]
pub struct RowStatement {
    /// The kind of row.
    pub table: RowTable,
    /// Which row.
    pub id: RowId,
    /// Its canonical bytes; `None` where it is not there.
    pub canonical: Option<Vec<u8>>,
}

/// A state that is sealed, whatever it was held to before.
#[derive(Debug)]
pub struct NewSeal {
    /// The root of the state as it is at the epoch that is named with it.
    pub root: StateRoot,
    /// Makes the seal, this one and those of the changes that follow.
    pub sealer: Sealer,
    /// The database's id from now on, where it is another one: files of before are then no files of this database, however
    /// far they had come.
    pub database: Option<Uid>,
    /// Checkpoints in the database that are not the log's.
    pub void_checkpoints: VoidCheckpoints,
}

/// Checkpoints that are not the log's, by their sizes, of each kind its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoidCheckpoints {
    /// Of those that the log has signed.
    pub signed: Vec<u64>,
    /// Of those that witnesses have cosigned.
    pub cosigned: Vec<u64>,
    /// The one that others were shown.
    pub shown: Vec<u64>,
}

impl VoidCheckpoints {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.signed.is_empty() && self.cosigned.is_empty() && self.shown.is_empty()
    }
}

/// How intents or an open act ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// When they ended.
    pub time: Timestamp,
    /// Each of them.
    pub items: Vec<OutcomeItem>,
    /// The rest.
    pub details: Details,
}

/// How one intent or act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeItem {
    /// Index of the intent or act.
    pub intent: u64,
    /// How it ended.
    pub result: OutcomeResult,
    /// SHA-256 of the signature, in the token's own encoding (fixed-length r and s for ECDSA), where there is one.
    pub signature_sha256: Option<Sha256Hash>,
}

/// Calls of one caller that were refused for one reason in one second.
#[derive(Debug, Clone)]
pub struct Denial {
    /// The second.
    pub second: Timestamp,
    /// Who asked; [`Uid::NONE`] where that is not known.
    pub caller: Uid,
    /// On what; [`Uid::NONE`] where there is no such thing.
    pub resource: Uid,
    /// What; none (code 0) where the method stands for no action, such as a health check.
    pub action: Option<Action>,
    /// Why it was refused.
    pub reason: DenialReason,
    /// How often in that second.
    pub count: u32,
    /// The rest, of the first of them.
    pub details: Details,
}

/// The proof that an intent or an act is on the record: made only here, when it is durable.
#[derive(Debug)]
pub struct Recorded {
    index: u64,
}

impl Recorded {
    pub(crate) const fn new(index: u64) -> Self {
        Self { index }
    }

    /// The leaf's index.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }
}

/// A change that was made.
#[derive(Debug)]
pub struct Changed {
    /// The state's epoch after it.
    pub epoch: Epoch,
    /// Its record.
    pub recorded: Recorded,
}
