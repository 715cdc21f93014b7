//! Which details may be erased, and erasing them. Specified in docs/audit-record.md, "Erasing".
//!
//! A leaf is never touched: the tree, its proofs and its checkpoints are the same after an erasure as before. Never erased are
//! the details of what waits for its outcome, and of what changed the state: their salts are what a state that is refused
//! is held against, row by row (`core::state_root`).

use crate::codes::Kind;
use crate::details::Details;
use crate::leaf::{Body, Leaf};
use crate::record::Recorded;
use chancery_model::{Id, Timestamp, Uid};
use chancery_store::{ErasableQuery, Reader, StoreError};

/// A kind of record whose details may be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Erased {
    /// Intents, and how they ended: outcomes that changed no row of the state.
    Signatures,
    /// Denials.
    Refusals,
}

impl Erased {
    /// As what the details of a record may be erased; `None` where they never are. What waits for its outcome is among the
    /// former, and has to have it first.
    #[must_use]
    pub const fn of(body: &Body) -> Option<Self> {
        match body {
            Body::Intent(_) => Some(Self::Signatures),
            Body::Outcome { rows, .. } if rows.is_empty() => Some(Self::Signatures),
            Body::Denial { .. } => Some(Self::Refusals),
            Body::Outcome { .. } | Body::Act { .. } => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Signatures => "intents and outcomes",
            Self::Refusals => "refusals",
        }
    }

    fn kinds(self) -> Vec<u8> {
        match self {
            Self::Signatures => vec![Kind::Intent.code(), Kind::Outcome.code()],
            Self::Refusals => vec![Kind::Denial.code()],
        }
    }
}

/// Records whose details are to be erased: ascending, and at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToErase {
    indexes: Vec<u64>,
    first: u64,
    last: u64,
}

impl ToErase {
    fn of(indexes: Vec<u64>) -> Option<Self> {
        let (first, last) = (*indexes.first()?, *indexes.last()?);
        Some(Self { indexes, first, last })
    }

    /// The first of them, and the last.
    #[must_use]
    pub const fn range(&self) -> (u64, u64) {
        (self.first, self.last)
    }

    /// How many they are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.indexes.len()
    }

    /// The words of the act that says that these are erased; [`ErasureSaid`] reads them.
    #[must_use]
    pub fn said(&self, what: Erased) -> String {
        let Self { indexes, first, last } = self;
        let (count, records) = (indexes.len(), what.as_str());
        format!("{SAYS}{count} {records}{BETWEEN}{first} and {last}{ERASED}")
    }

    /// In parts that are not larger than this, each worth a transaction.
    pub fn parts(&self, size: usize) -> impl Iterator<Item = &[u64]> {
        self.indexes.chunks(size.max(1))
    }
}

const SAYS: &str = "the details of ";
const BETWEEN: &str = " between the records ";
const ERASED: &str = " are erased, with their salts";
/// How the message of such an act begins: by whom.
const BY: [&str; 2] = ["by rule, ", "by an operator at the machine, "];

/// What an act of the service says that it erases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasureSaid {
    what: Erased,
    count: u64,
    first: u64,
    last: u64,
}

impl ErasureSaid {
    /// What this act says; `None` where it is no such act, of the service itself and without rows.
    #[must_use]
    pub fn of(leaf: &Leaf, details: &Details) -> Option<Self> {
        let Body::Act { subject, opens: false, continues: false, rows } = &leaf.body else { return None };
        let of_the_service = subject.caller == Uid::NONE && subject.action.is_none() && rows.is_empty();
        details.message.as_deref().filter(|_| of_the_service).and_then(Self::read)
    }

    fn read(message: &str) -> Option<Self> {
        let (by, said) = message.split_once(&format!(": {SAYS}"))?;
        let (said, _) = said.split_once(ERASED).filter(|_| BY.iter().any(|whom| by.starts_with(whom)))?;
        let (records, between) = said.split_once(BETWEEN)?;
        let (count, records) = records.split_once(' ')?;
        let (first, last) = between.split_once(" and ")?;
        let what = [Erased::Signatures, Erased::Refusals].into_iter().find(|what| what.as_str() == records)?;
        Some(Self { what, count: count.parse().ok()?, first: first.parse().ok()?, last: last.parse().ok()? })
    }

    /// Of how many records.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether it is of records of this kind.
    #[must_use]
    pub fn is_of(&self, what: Erased) -> bool {
        self.what == what
    }

    /// Whether records of this kind may be among them, from the first to the last of these.
    #[must_use]
    pub fn covers(&self, what: Erased, first: u64, last: u64) -> bool {
        self.is_of(what) && self.first <= first && last <= self.last
    }
}

/// A step of an erasure. The second follows once the first is done with all of them: see [`crate::Log::erase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EraseStep {
    /// What is in the details is overwritten, in its place.
    Empty,
    /// The room that it took is given back.
    Remove,
}

/// What the record's thread is asked to do.
pub(crate) enum Erasure {
    /// To empty these, because the record `act` says so.
    Empty { indexes: Vec<u64>, act: u64 },
    /// To remove what is left of these, which were emptied.
    Remove { indexes: Vec<u64> },
}

impl Erasure {
    pub fn new(by: &Recorded, step: EraseStep, indexes: &[u64]) -> Self {
        match step {
            EraseStep::Empty => Self::Empty { indexes: indexes.to_vec(), act: by.index() },
            EraseStep::Remove => Self::leftovers(indexes),
        }
    }

    pub fn leftovers(indexes: &[u64]) -> Self {
        Self::Remove { indexes: indexes.to_vec() }
    }
}

/// The first `limit` records of this kind, of before a time and of a caller where these are given, whose details can be
/// erased; `None` where there is none. Reading blocks, and reads on over what was kept.
///
/// # Errors
/// [`StoreError`]: the database failed.
pub fn erasable(
    reader: &Reader,
    what: Erased,
    before: Option<Timestamp>,
    caller: Option<&Id>,
    limit: usize,
) -> Result<Option<ToErase>, StoreError> {
    const PAGE: u32 = 4_096;
    let mut query = ErasableQuery { kinds: what.kinds(), before, caller: caller.cloned(), from_index: 0, limit: PAGE };
    let mut indexes = Vec::new();
    loop {
        let page = reader.erasable(&query)?;
        indexes.extend(page.iter().filter(|one| may_go(what, &one.leaf)).map(|one| one.index));
        indexes.truncate(limit);
        match page.last() {
            Some(last) if indexes.len() < limit => query.from_index = last.index + 1,
            _ => return Ok(ToErase::of(indexes)),
        }
    }
}

/// Whether the leaf is of this kind, and changed nothing. What cannot be read is left as it is.
fn may_go(what: Erased, leaf: &[u8]) -> bool {
    Leaf::decode(leaf).is_ok_and(|leaf| Erased::of(&leaf.body) == Some(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_act_says_is_erased_is_read_back() {
        let due = ToErase::of(vec![4, 7, 19]).unwrap();
        for (what, by, after) in [
            (Erased::Signatures, "by rule, signature_details_days = 2: ", "; they are 2 days older than this record"),
            (
                Erased::Refusals,
                "by an operator at the machine, of the caller: ",
                "; because: the details of 9 and so on",
            ),
        ] {
            let said = ErasureSaid::read(&format!("{by}{}{after}", due.said(what))).unwrap();
            assert_eq!(said, ErasureSaid { what, count: 3, first: 4, last: 19 });
            assert!(said.covers(what, 4, 19) && !said.covers(what, 3, 19) && !said.covers(what, 4, 20));
            let other = if what == Erased::Refusals { Erased::Signatures } else { Erased::Refusals };
            assert!(!said.covers(other, 4, 19));
            // Somebody else's words, a reason for example, are no erasure.
            assert_eq!(ErasureSaid::read(&format!("changed: {}", due.said(what))), None);
            assert_eq!(ErasureSaid::read(&due.said(what)), None);
        }
    }
}
