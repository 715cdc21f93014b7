//! Writing a group: one transaction, one sync of the disk.

mod answers;
#[cfg(test)]
mod tests;
mod writing;

pub(crate) use answers::Answers;

use crate::growing::Growing;
use crate::queue::{Group, Request};
use crate::seal::Sealing;
use chancery_fail_point::FailPoint;
use chancery_model::Id;
use chancery_store::{StoreError, Writer};
use writing::Writing;

/// Writes a group and makes it durable. On an error nothing of it may be answered: the requests are dropped.
pub(crate) fn commit(
    writer: &mut Writer,
    instance: &Id,
    buffer: &mut Vec<u8>,
    sealing: &mut Sealing,
    tree: &mut Growing,
    group: Group,
) -> Result<Answers, StoreError> {
    let holds = Holds::of(&group);
    let transaction = writer.begin()?;
    let mut writing =
        Writing { transaction, instance, buffer, sealing, tree, answers: Answers::default(), changed: false };
    writing.group(group)?;
    let Writing { mut transaction, sealing, tree, mut answers, changed, .. } = writing;
    tree.keep_edge(&mut transaction)?;
    let next = transaction.next_index()?;
    holds.is_written();
    transaction.commit()?;
    holds.is_committed();
    answers.committed(next, sealing, tree);
    sealing.committed(changed, next, tree);
    Ok(answers)
}

/// What a group holds, for tests that kill the service around its commit.
#[derive(Clone, Copy)]
struct Holds {
    intents: bool,
    changes: bool,
    outcomes: bool,
}

impl Holds {
    fn of(Group { requests, background }: &Group) -> Self {
        Self {
            intents: requests.iter().any(|request| matches!(request, Request::Intents { .. })),
            changes: requests.iter().any(|request| matches!(request, Request::Change { .. })),
            outcomes: background.records.iter().any(|record| !record.closes().is_empty()),
        }
    }

    fn is_written(self) {
        self.pass(FailPoint::IntentWritten, FailPoint::ChangeWritten, FailPoint::OutcomeWritten);
    }

    fn is_committed(self) {
        self.pass(FailPoint::IntentCommitted, FailPoint::ChangeCommitted, FailPoint::OutcomeCommitted);
    }

    fn pass(self, intents: FailPoint, changes: FailPoint, outcomes: FailPoint) {
        for (held, point) in [(self.intents, intents), (self.changes, changes), (self.outcomes, outcomes)] {
            if held {
                point.pass();
            }
        }
    }
}
