//! Whether the service can do its work: the record and the tokens.

use std::collections::BTreeMap;

use chancery_audit::LogHealth;
use chancery_hsm::TokenHealth;
use chancery_model::Id;
use tokio::sync::watch;

use crate::{ArchiveTrouble, Chancery, CheckpointStanding, StateStanding};

/// How the parts are.
#[derive(Debug, Clone)]
pub struct Health {
    /// The record. Where it is closed, nothing is signed.
    pub record: LogHealth,
    /// Each token.
    pub tokens: BTreeMap<Id, TokenHealth>,
    /// Whether the state is the one that was sealed. Until that is known, nothing is decided by it.
    pub state: StateStanding,
    /// Why the anchor cannot be written; `None` while it can. The service signs all the same, and until it is written, a
    /// database of before would not be noticed at a start.
    pub anchor: Option<String>,
    /// What is wrong with the archive; `None` where nothing is. Old records cannot be read then, and calls are served all the same.
    pub archive: Option<ArchiveTrouble>,
    /// How far the log is signed and cosigned; `None` where it is not. Calls are served all the same.
    pub checkpoints: Option<CheckpointStanding>,
}

impl Health {
    /// Whether signing works: calls are decided and recorded, and a token serves.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.decides() && self.tokens.values().any(|token| token.state.serves())
    }

    /// Whether calls are decided and recorded, whatever the tokens do.
    #[must_use]
    pub fn decides(&self) -> bool {
        matches!(self.record, LogHealth::Open) && self.state.decides()
    }
}

/// Tells when a part's health has changed.
pub struct HealthChanges {
    record: watch::Receiver<LogHealth>,
    state: watch::Receiver<StateStanding>,
    anchor: watch::Receiver<Option<String>>,
    tokens: Vec<watch::Receiver<TokenHealth>>,
}

impl HealthChanges {
    /// Waits for the next change of any part.
    pub async fn changed(&mut self) {
        let mut parts: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::new();
        parts.push(Box::pin(next_change(&mut self.record)));
        parts.push(Box::pin(next_change(&mut self.state)));
        parts.push(Box::pin(next_change(&mut self.anchor)));
        parts.extend(self.tokens.iter_mut().map(|token| Box::pin(next_change(token)) as _));
        std::future::poll_fn(|context| {
            if parts.iter_mut().any(|part| part.as_mut().poll(context).is_ready()) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

async fn next_change<T>(part: &mut watch::Receiver<T>) {
    if part.changed().await.is_err() {
        // The part is gone with the service; nothing more will change.
        std::future::pending::<()>().await;
    }
}

impl Chancery {
    /// How the parts are now.
    #[must_use]
    pub fn health(&self) -> Health {
        let tokens = self.inner.tokens.iter().map(|(id, token)| (id.clone(), token.status().health)).collect();
        let state = self.inner.standing.borrow().clone();
        let anchor = self.inner.log.anchor_trouble().borrow().clone();
        let (archive, checkpoints) = (self.archive().trouble, self.checkpoints());
        Health { record: self.inner.log.health(), tokens, state, anchor, archive, checkpoints }
    }

    /// To be told of changes.
    #[must_use]
    pub fn health_changes(&self) -> HealthChanges {
        let tokens = self.inner.tokens.values().map(chancery_hsm::Token::subscribe).collect();
        let (record, anchor) = (self.inner.log.subscribe(), self.inner.log.anchor_trouble());
        HealthChanges { record, state: self.inner.standing.subscribe(), anchor, tokens }
    }
}
