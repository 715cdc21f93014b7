//! A place in the bounded queue of outcomes.

use crate::queue::Queue;
use crate::shares::Share;
use std::sync::Arc;

/// A place for the outcomes of some intents, taken before they are recorded: so that an outcome never has to wait
/// or be dropped.
///
/// Given back when it is dropped. If that happens after the intents were recorded and handed over, they stay
/// without outcome until the next start closes them as unknown: run what lies between on a task of its own,
/// which a caller who goes away does not cancel.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct OutcomeSlot {
    queue: Arc<Queue>,
    share: Option<Share>,
}

impl OutcomeSlot {
    pub(crate) const fn new(queue: Arc<Queue>, share: Share) -> Self {
        Self { queue, share: Some(share) }
    }

    /// Passes the places on to outcomes that are handed in.
    pub(crate) fn into_share(mut self) -> Option<Share> {
        self.share.take()
    }
}

impl Drop for OutcomeSlot {
    fn drop(&mut self) {
        if let Some(share) = self.share.take() {
            self.queue.give_back(share);
        }
    }
}
