//! Recorded intents on their way to who asked for them, who may have gone.

use super::Queue;
use crate::prepared::Prepared;
use crate::record::{Outcome, OutcomeItem, Recorded};
use crate::{Details, OutcomeResult};
use chancery_model::Timestamp;
use std::sync::Arc;

/// Recorded intents on their way to who asked for them.
///
/// If that one has gone, nobody will ever ask the token for them: then their outcome is recorded here.
pub(crate) struct Delivery {
    recorded: Vec<Recorded>,
    queue: Arc<Queue>,
}

impl Delivery {
    pub const fn new(recorded: Vec<Recorded>, queue: Arc<Queue>) -> Self {
        Self { recorded, queue }
    }

    /// Hands them over.
    pub fn accept(mut self) -> Vec<Recorded> {
        std::mem::take(&mut self.recorded)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.recorded.is_empty() {
            return;
        }
        let item = |recorded: &Recorded| OutcomeItem {
            intent: recorded.index(),
            result: OutcomeResult::Abandoned,
            signature_sha256: None,
        };
        let items: Vec<OutcomeItem> = self.recorded.iter().map(item).collect();
        let message = Some("the caller had gone before the token was asked".to_owned());
        let outcome = Outcome { time: Timestamp::now(), items, details: Details { message, ..Details::default() } };
        // A log that is closed cannot be told; the next start closes these intents as unknown.
        if let Ok(records) = Prepared::outcome(&self.queue.settings.instance, &[], outcome)
            && let Err(error) = self.queue.outcomes(records, None)
        {
            tracing::warn!(%error, intents = self.recorded.len(), "abandoned intents stay open");
        }
    }
}
