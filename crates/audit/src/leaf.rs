//! The leaf: what the log commits to for ever. Final; specified in docs/audit-record.md, "The leaf".

mod decode;
mod encode;

pub use decode::LeafError;

use crate::codes::{Decision, DenialReason, Kind};
use crate::record::OutcomeItem;
use chancery_model::{Action, Id, Sha256Hash, Timestamp, Uid};
use chancery_store::{RowId, RowTable};

/// The version of the encoding: a leaf's first byte.
pub(crate) const VERSION: u8 = 1;

/// The most bytes that a leaf may have: the length of an entry of a C2SP tlog-tiles bundle has 16 bits.
pub(crate) const MAX_BYTES: usize = 65_535;

/// The most outcome items and row changes in one leaf. More of either go on in further leaves (`continues`), so
/// that a leaf never exceeds [`MAX_BYTES`].
pub(crate) const MAX_ITEMS: usize = 768;
pub(crate) const MAX_ROWS: usize = 512;

/// A leaf. It does not hold its own index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The state's epoch when the leaf was recorded: after the change, for a leaf that changes rows. From one leaf
    /// to the next it stays, or grows by one where the next changes rows and does not continue another.
    pub epoch: u64,
    /// When it happened; for a denial the second.
    pub time: Timestamp,
    /// The instance of the service that recorded it.
    pub instance: Id,
    /// What happened.
    pub body: Body,
    /// The salted commitment to the details.
    pub commitment: Sha256Hash,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Something was authorised.
    Intent(Subject),
    /// Something ended.
    Outcome {
        /// Whether this leaf goes on with what the leaf before it could not hold.
        continues: bool,
        /// What ended, and how.
        items: Vec<OutcomeItem>,
        /// The rows that changed with it.
        rows: Vec<RowDigest>,
    },
    /// The state was changed.
    Act {
        /// By whom, what.
        subject: Subject,
        /// Whether an outcome will follow.
        opens: bool,
        /// Whether this leaf goes on with what the leaf before it could not hold.
        continues: bool,
        /// The rows that changed.
        rows: Vec<RowDigest>,
    },
    /// Something was refused.
    Denial {
        /// Who asked; [`Uid::NONE`] where that is not known.
        caller: Uid,
        /// On what; [`Uid::NONE`] where there is no such thing.
        resource: Uid,
        /// What; `None` where the method stands for no action, or many are counted together.
        action: Option<Action>,
        /// Why it was refused.
        reason: DenialReason,
        /// How often.
        count: u32,
    },
}

/// Who does what to what, under which policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Who.
    pub caller: Uid,
    /// To what.
    pub resource: Uid,
    /// What; `None` where the service itself acts and no method of the API stands for it. Never in an intent.
    pub action: Option<Action>,
    /// What policy said.
    pub decision: Decision,
    /// The hash of the policy set that said it.
    pub policy_set: Sha256Hash,
}

/// A changed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowDigest {
    /// The kind of row.
    pub table: RowTable,
    /// Which row.
    pub id: RowId,
    /// The salted commitment to the new row; zeros where it was removed.
    pub commitment: Sha256Hash,
}

impl Leaf {
    /// The kind of record.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.body {
            Body::Intent(_) => Kind::Intent,
            Body::Outcome { .. } => Kind::Outcome,
            Body::Act { .. } => Kind::Act,
            Body::Denial { .. } => Kind::Denial,
        }
    }

    /// Who asked; [`Uid::NONE`] for an outcome, whose items lead to their intents.
    #[must_use]
    pub const fn caller(&self) -> Uid {
        match &self.body {
            Body::Intent(subject) | Body::Act { subject, .. } => subject.caller,
            Body::Denial { caller, .. } => *caller,
            Body::Outcome { .. } => Uid::NONE,
        }
    }

    /// On what; [`Uid::NONE`] for an outcome.
    #[must_use]
    pub const fn resource(&self) -> Uid {
        match &self.body {
            Body::Intent(subject) | Body::Act { subject, .. } => subject.resource,
            Body::Denial { resource, .. } => *resource,
            Body::Outcome { .. } => Uid::NONE,
        }
    }

    /// What was asked for; `None` for an outcome.
    #[must_use]
    pub const fn action(&self) -> Option<Action> {
        match &self.body {
            Body::Intent(subject) | Body::Act { subject, .. } => subject.action,
            Body::Denial { action, .. } => *action,
            Body::Outcome { .. } => None,
        }
    }

    /// What policy said; `None` for an outcome.
    #[must_use]
    pub const fn decision(&self) -> Option<Decision> {
        match &self.body {
            Body::Intent(subject) | Body::Act { subject, .. } => Some(subject.decision),
            Body::Denial { .. } => Some(Decision::Deny),
            Body::Outcome { .. } => None,
        }
    }
}

impl Body {
    /// Whether the state's epoch grows by one with this leaf: docs/audit-record.md, "Rule of the epoch".
    pub(crate) const fn raises_epoch(&self) -> bool {
        match self {
            Self::Act { continues, .. } => !*continues,
            Self::Outcome { continues, rows, .. } => !*continues && !rows.is_empty(),
            Self::Intent(_) | Self::Denial { .. } => false,
        }
    }

    /// Whether the epoch may stay although [`Body::raises_epoch`]: an act without rows that was recorded before the state was
    /// checked against its seal.
    pub(crate) const fn may_keep_epoch(&self) -> bool {
        matches!(self, Self::Act { rows, .. } if rows.is_empty())
    }
}

/// Bits of the flags of acts and outcomes.
const OPENS: u8 = 1;
const CONTINUES: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::OutcomeResult;

    fn leaf(body: Body) -> Leaf {
        Leaf {
            epoch: u64::MAX,
            time: Timestamp::from_unix_micros(-1),
            instance: Id::parse("the instance", &"a".repeat(63)).unwrap(),
            body,
            commitment: [9; 32],
        }
    }

    fn subject() -> Subject {
        Subject {
            caller: Uid::from_bytes([1; 16]),
            resource: Uid::from_bytes([2; 16]),
            action: Some(Action::Sign),
            decision: Decision::Allow,
            policy_set: [3; 32],
        }
    }

    fn encoded(leaf: &Leaf) -> Vec<u8> {
        let mut bytes = Vec::new();
        leaf.encode(&mut bytes);
        bytes
    }

    fn fullest() -> Leaf {
        let item = OutcomeItem { intent: u64::MAX, result: OutcomeResult::Done, signature_sha256: Some([4; 32]) };
        let row = RowDigest { table: RowTable::Key, id: RowId::from_bytes([5; 16]), commitment: [6; 32] };
        leaf(Body::Outcome { continues: true, items: vec![item; MAX_ITEMS], rows: vec![row; MAX_ROWS] })
    }

    #[test]
    fn the_fullest_leaf_fits_an_entry_of_a_tile() {
        let bytes = encoded(&fullest());
        assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
        assert_eq!(Leaf::decode(&bytes), Ok(fullest()));
    }

    #[test]
    fn a_leaf_cut_short_or_drawn_out_is_no_leaf() {
        let rows = vec![RowDigest { table: RowTable::PolicySet, id: RowId::from_bytes([0; 16]), commitment: [0; 32] }];
        let items = vec![OutcomeItem { intent: 1, result: OutcomeResult::Unknown, signature_sha256: None }];
        let denial = Body::Denial {
            caller: Uid::NONE,
            resource: Uid::NONE,
            action: None,
            reason: DenialReason::Overflow,
            count: 7,
        };
        for body in [
            Body::Intent(subject()),
            Body::Act { subject: subject(), opens: true, continues: false, rows: rows.clone() },
            Body::Outcome { continues: false, items, rows },
            denial,
        ] {
            let leaf = leaf(body);
            let mut bytes = encoded(&leaf);
            assert_eq!(Leaf::decode(&bytes), Ok(leaf));
            for length in 0..bytes.len() {
                assert!(Leaf::decode(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
            }
            bytes.push(0);
            assert_eq!(Leaf::decode(&bytes), Err(LeafError::Length));
        }
    }

    #[test]
    fn unknown_words_are_named() {
        let good = encoded(&leaf(Body::Intent(subject())));
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Leaf::decode(&bytes)
        };
        assert_eq!(changed(0, 2), Err(LeafError::Version(2)));
        assert_eq!(changed(1, 9), Err(LeafError::Word { what: "kind", code: 9 }));
        assert_eq!(changed(19, b'A'), Err(LeafError::Instance));
        let action = 18 + 1 + 63 + 16 + 16;
        assert_eq!(changed(action, 1), Err(LeafError::Word { what: "action", code: 0x101 }));
        assert_eq!(changed(action + 1, 0), Err(LeafError::Word { what: "action of an intent", code: 0 }));
        assert_eq!(changed(action + 2, 0), Err(LeafError::Word { what: "decision", code: 0 }));
    }
}
