//! What must be true of leaves that follow each other: the rules of docs/audit-record.md.

use crate::leaf::{Body, Leaf, Subject};
use crate::verify::Check;
use std::collections::BTreeSet;

/// The most intents and acts that may be open at once. A service has as many as calls are in flight, and those of crashes
/// until the next start; a log with more is refused, so that none can take all memory.
pub const MAX_OPEN: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Order {
    /// The leaf before, but for what differs between a leaf and the one that continues it.
    last: Option<Last>,
    open: BTreeSet<u64>,
}

#[derive(Debug)]
struct Last {
    epoch: u64,
    body: Kind,
}

/// What a leaf must be like for another to continue it.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Act(Subject),
    Outcome,
    /// Nothing continues it.
    Other,
}

impl Order {
    pub const fn new() -> Self {
        Self { last: None, open: BTreeSet::new() }
    }

    /// Intents and acts without outcome, ascending.
    pub fn into_open(self) -> Vec<u64> {
        self.open.into_iter().collect()
    }

    /// Takes the next leaf.
    pub fn next(&mut self, index: u64, leaf: Leaf) -> Result<(), Check> {
        let Leaf { epoch, body, .. } = leaf;
        let (kind, continues) = match &body {
            Body::Act { subject, continues, .. } => (Kind::Act(*subject), *continues),
            Body::Outcome { continues, .. } => (Kind::Outcome, *continues),
            Body::Intent(_) | Body::Denial { .. } => (Kind::Other, false),
        };
        if continues {
            match &self.last {
                None => return Err(Check::Continues("there is none")),
                Some(last) if last.body != kind => return Err(Check::Continues("that is of another kind or subject")),
                Some(last) if last.epoch != epoch => return Err(Check::Continues("that has another epoch")),
                Some(_) => {}
            }
        }
        if let Some(Last { epoch: before, .. }) = self.last
            && before.checked_add(u64::from(body.raises_epoch())) != Some(epoch)
            && !(body.may_keep_epoch() && before == epoch)
        {
            return Err(Check::Epoch { before, epoch });
        }
        self.last = Some(Last { epoch, body: kind });
        match body {
            Body::Act { opens: true, continues: true, .. } => {
                return Err(Check::Continues("opens an act, which only the first of such records does"));
            }
            Body::Intent(_) | Body::Act { opens: true, .. } => {
                if self.open.len() >= MAX_OPEN {
                    return Err(Check::TooManyOpen);
                }
                self.open.insert(index);
            }
            Body::Outcome { items, .. } => {
                for item in items {
                    if !self.open.remove(&item.intent) {
                        return Err(Check::Outcome { ended: item.intent });
                    }
                }
            }
            Body::Act { opens: false, .. } | Body::Denial { .. } => {}
        }
        Ok(())
    }
}
