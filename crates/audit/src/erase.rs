//! Which details may be erased, and erasing them. Specified in docs/audit-record.md, "Erasing".
//!
//! A leaf is never touched: the tree, its proofs and its checkpoints are the same after an erasure as before. Never erased are
//! the details of what waits for its outcome, and of what changed the state: their salts are what a state that is refused
//! is held against, row by row (`core::state_root`).

use crate::codes::Kind;
use crate::leaf::{Body, Leaf};
use crate::record::Recorded;
use chancery_model::{Id, Timestamp};
use chancery_store::{ErasableQuery, Reader, StoreError};

/// A kind of record whose details may be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Erased {
    /// Intents, and how they ended: outcomes that changed no row of the state.
    Signatures,
    /// Denials.
    Refusals,
}

impl Erased {
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

    /// In parts that are not larger than this, each worth a transaction.
    pub fn parts(&self, size: usize) -> impl Iterator<Item = &[u64]> {
        self.indexes.chunks(size.max(1))
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
    match (what, Leaf::decode(leaf).map(|leaf| leaf.body)) {
        (Erased::Signatures, Ok(Body::Intent(_))) | (Erased::Refusals, Ok(Body::Denial { .. })) => true,
        (Erased::Signatures, Ok(Body::Outcome { rows, .. })) => rows.is_empty(),
        _ => false,
    }
}
