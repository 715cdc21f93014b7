//! How many API keys there are, by how they are: for whoever watches over them from inside the service.

use chancery_model::Timestamp;

use super::{ApiKeyEntry, ApiKeyState};
use crate::Chancery;

/// API keys, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApiKeyCensus {
    /// Of use, and neither dormant nor expiring.
    pub active: u64,
    /// Of use for a short time only.
    pub expiring: u64,
    /// Of use, and not used for long.
    pub dormant: u64,
    /// Their time is over.
    pub expired: u64,
    /// Revoked.
    pub revoked: u64,
}

impl Chancery {
    /// Counts the API keys. One that is expiring and dormant is counted as dormant: it is not missed.
    #[must_use]
    pub fn api_key_census(&self) -> ApiKeyCensus {
        let snapshot = self.snapshot();
        let now = Timestamp::now();
        let mut census = ApiKeyCensus::default();
        for key in snapshot.api_keys.all() {
            let count = match key.state(now) {
                ApiKeyState::Revoked => &mut census.revoked,
                ApiKeyState::Expired => &mut census.expired,
                ApiKeyState::Active if self.is_dormant(key, now) => &mut census.dormant,
                ApiKeyState::Active if self.is_expiring(key, now) => &mut census.expiring,
                ApiKeyState::Active => &mut census.active,
            };
            *count += 1;
        }
        census
    }

    /// Whether a key was not used for long, or, never used, was issued long ago.
    pub(super) fn is_dormant(&self, key: &ApiKeyEntry, now: Timestamp) -> bool {
        let used = self.inner.api_key_uses.last(key.uid).unwrap_or(key.created);
        used.after(self.inner.api_key_settings.dormant_after) <= now
    }

    /// Whether a key has little time left.
    pub(super) fn is_expiring(&self, key: &ApiKeyEntry, now: Timestamp) -> bool {
        now.after(self.inner.api_key_settings.warn_before_expiry) >= key.expires
    }
}
