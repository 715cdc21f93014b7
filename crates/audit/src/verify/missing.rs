//! Details that are not there: whether the log says that they were erased (docs/audit-record.md, "Erasing").

use super::Check;
use crate::details::Details;
use crate::erase::{Erased, ErasureSaid};
use crate::leaf::Leaf;
use std::collections::BTreeMap;

/// How many acts that are still to come may be named at once: those of ten years, two an hour, are a fifth of it.
const MAX_NAMED: usize = 1 << 20;
/// How many of the records are named of which details were removed.
const FIRST: usize = 20;
/// How many acts behind the last record that was read are asked for. They are of the time since it was made.
const MAX_BEHIND: usize = 1_000;

/// What a source says of details that are missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DetailsKept {
    /// Nothing: it may have none at all.
    #[default]
    Unknown,
    /// It has all that were not erased, and names of the others the act which says so: a database, a service. Acts behind the
    /// records that are read can be had.
    WithErasures,
    /// The same, and what it names may be behind its end: an export.
    Exported,
}

/// Details that are missing, where the source names the acts that say so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// Of how many records an act of the service behind them says that they were erased.
    pub erased: u64,
    /// Of how many records no act does: somebody removed them.
    pub removed: u64,
    /// The first of these that are known, ascending, and not many.
    pub first_removed: Vec<u64>,
    /// Of how many records the act that is named is behind the end of an export: what it says is not known.
    pub behind: u64,
}

#[derive(Debug, Default)]
pub(super) struct MissingDetails {
    kept: DetailsKept,
    /// What is said to have been erased by an act that was not read yet.
    named: BTreeMap<(u64, Erased), Named>,
    found: Missing,
}

#[derive(Debug)]
struct Named {
    count: u64,
    first: u64,
    last: u64,
}

impl MissingDetails {
    pub fn new(kept: DetailsKept) -> Self {
        Self { kept, ..Self::default() }
    }

    /// Takes the next record.
    pub fn next(
        &mut self,
        index: u64,
        leaf: &Leaf,
        details: Option<&[u8]>,
        erased_by: Option<u64>,
    ) -> Result<(), Check> {
        if self.kept == DetailsKept::Unknown {
            return Ok(());
        }
        if let Some(details) = details {
            self.said_by(index, leaf, details);
            return Ok(());
        }
        let Some(what) = Erased::of(&leaf.body) else { return Err(Check::DetailsRemoved) };
        let key = erased_by.filter(|act| *act > index).map(|act| (act, what));
        match key.filter(|key| self.named.len() < MAX_NAMED || self.named.contains_key(key)) {
            None => self.removed(index, 1),
            Some(key) => {
                let named = self.named.entry(key).or_insert(Named { count: 0, first: index, last: index });
                named.count += 1;
                named.last = index;
            }
        }
        Ok(())
    }

    /// Holds what was said to be erased by this record to what it says.
    pub fn said_by(&mut self, index: u64, leaf: &Leaf, details: &[u8]) {
        for what in [Erased::Signatures, Erased::Refusals] {
            let Some(Named { count, first, last }) = self.named.remove(&(index, what)) else { continue };
            let said = Details::from_json(details).ok().and_then(|details| ErasureSaid::of(leaf, &details));
            let Some(said) = said.filter(|said| said.is_of(what)) else {
                self.removed(first, count);
                continue;
            };
            // Which of too many are not its own cannot be known, but of those outside of what it says.
            let outside = [first, last].into_iter().filter(|index| !said.covers(what, *index, *index));
            let outside: Vec<u64> = outside.take(usize::try_from(count).unwrap_or(usize::MAX)).collect();
            let removed = count.saturating_sub(said.count()).max(outside.len() as u64);
            outside.into_iter().for_each(|index| self.name(index));
            self.found.removed += removed;
            self.found.erased += count - removed;
        }
    }

    /// The acts that are named and have an index of `end` or more: made while the log was read, or made up.
    pub fn named_behind(&self, end: u64) -> Vec<u64> {
        let mut acts: Vec<u64> = self.named.range((end, Erased::Signatures)..).map(|((act, _), _)| *act).collect();
        acts.dedup();
        acts.truncate(MAX_BEHIND);
        acts
    }

    /// What was found in so many records; what names an act that is none was removed. `None` where the source names none.
    pub fn finish(mut self, end: u64) -> Option<Missing> {
        for ((act, _), Named { count, first, last: _ }) in std::mem::take(&mut self.named) {
            if act >= end && self.kept == DetailsKept::Exported {
                self.found.behind += count;
            } else {
                self.removed(first, count);
            }
        }
        (self.kept != DetailsKept::Unknown).then_some(self.found)
    }

    fn removed(&mut self, first: u64, count: u64) {
        self.found.removed += count;
        self.name(first);
    }

    fn name(&mut self, removed: u64) {
        let named = &mut self.found.first_removed;
        named.insert(named.partition_point(|index| *index < removed), removed);
        named.truncate(FIRST);
    }
}
