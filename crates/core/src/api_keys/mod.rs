//! API keys: the credential of callers without a certificate, or beside one. Issued, listed, rotated, revoked; and checked.
//!
//! A key is shown once, in the answer that issues it. The store has its HMAC-SHA256 under a pepper that is derived from a
//! secret in the system ring, in the device, and is in no file and no database: who has the database cannot try out keys.

mod authenticate;
mod census;
mod issue;
mod pepper;
mod read;
mod registry;
mod revoke;
mod rotate;
mod uses;

pub use census::ApiKeyCensus;
pub use issue::{IssueApiKey, IssuedApiKey};
pub(crate) use pepper::Pepper;
pub use read::{ApiKeyName, ApiKeyView};
pub(crate) use registry::ApiKeys;
pub use registry::{ApiKeyEntry, ApiKeyState};
pub use rotate::RotateApiKey;
pub(crate) use uses::Uses;

use std::collections::BTreeMap;
use std::time::Duration;

use chancery_model::Id;

/// What the configuration says of API keys.
#[derive(Debug, Clone)]
pub struct ApiKeySettings {
    /// The longest lifetime of a new key, where its environment has none of its own.
    pub max_lifetime: Duration,
    /// The longest lifetime by environment.
    pub max_lifetime_of: BTreeMap<Id, Duration>,
    /// A key that was not used for so long is dormant.
    pub dormant_after: Duration,
    /// A key with less than this left is expiring.
    pub warn_before_expiry: Duration,
}

/// One day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for ApiKeySettings {
    fn default() -> Self {
        Self {
            max_lifetime: 90 * DAY,
            max_lifetime_of: BTreeMap::new(),
            dormant_after: 30 * DAY,
            warn_before_expiry: 14 * DAY,
        }
    }
}

impl ApiKeySettings {
    /// The longest lifetime of a new key of a caller of this environment.
    fn max_lifetime_in(&self, environment: &Id) -> Duration {
        self.max_lifetime_of.get(environment).copied().unwrap_or(self.max_lifetime)
    }
}
