//! What may be answered once a group is durable.

use crate::growing::{Growing, TreeHead};
use crate::log::RecordError;
use crate::queue::{Answer, Delivery, Queue};
use crate::record::{Changed, Recorded};
use crate::seal::Sealing;
use chancery_fail_point::FailPoint;
use chancery_store::Epoch;
use std::sync::Arc;

/// Answers that may be given once the group is durable.
#[derive(Default)]
pub(crate) struct Answers {
    pub(super) ready: Vec<Ready>,
    /// The index that the next record will have; `None` where the group had no record.
    pub next_index: Option<u64>,
    /// Tiles whose leaves are to be emptied, in a transaction of their own: each by the first of its leaves.
    pub archive: Vec<(u64, Answer<bool>)>,
    /// Who waits for the tree to be made again from the leaves.
    pub remake_tree: Vec<Answer<u64>>,
    /// Who waits for the write-ahead log to be empty, which it can be once the group is committed.
    pub empty_wal: Vec<Answer<bool>>,
}

/// One answer.
pub(super) enum Ready {
    Intents(Answer<Delivery>, Result<Vec<Recorded>, RecordError>),
    Change(Answer<Changed>, Result<Changed, RecordError>),
    Seal { answer: Answer<Epoch>, result: Result<Epoch, RecordError>, sealed: bool },
    TreeHead(Answer<Option<TreeHead>>, Option<TreeHead>),
    Checkpoint(Answer<()>),
    Erased(Answer<()>),
    Mended(Answer<()>),
    Flush(Answer<()>),
}

impl Answers {
    /// Adds what is known only once the group is committed, with `next` the index of the record after it: where the tree
    /// stands, and whether the anchor has what was sealed.
    pub(super) fn committed(&mut self, next: u64, sealing: &mut Sealing, tree: &Growing) {
        if self.ready.iter().any(|ready| matches!(ready, Ready::Seal { result: Ok(_), sealed: true, .. })) {
            FailPoint::StateSealed.pass();
        }
        for ready in &mut self.ready {
            match ready {
                Ready::Seal { result: result @ Ok(_), sealed, .. } => {
                    if let Err(error) = sealing.anchored(next, tree, *sealed) {
                        *result = Err(error);
                    }
                }
                Ready::TreeHead(_, head) => *head = tree.head(),
                Ready::Intents(..)
                | Ready::Change(..)
                | Ready::Seal { .. }
                | Ready::Checkpoint(_)
                | Ready::Erased(_)
                | Ready::Mended(_)
                | Ready::Flush(_) => {}
            }
        }
    }

    /// Gives them. Who does not listen any more is passed over; what was for him is dropped, which matters for
    /// intents (see [`Delivery`]).
    pub fn give(self, queue: &Arc<Queue>) {
        for ready in self.ready {
            match ready {
                Ready::Intents(answer, result) => {
                    drop(answer.send(result.map(|recorded| Delivery::new(recorded, Arc::clone(queue)))));
                }
                Ready::Change(answer, result) => drop(answer.send(result)),
                Ready::Seal { answer, result, .. } => drop(answer.send(result)),
                Ready::TreeHead(answer, head) => drop(answer.send(Ok(head))),
                Ready::Checkpoint(answer) | Ready::Erased(answer) | Ready::Mended(answer) | Ready::Flush(answer) => {
                    drop(answer.send(Ok(())));
                }
            }
        }
    }
}
