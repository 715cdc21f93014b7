//! `[api_keys]`: how long API keys may live, and when to warn.

use super::parse;
use chancery_core::ApiKeySettings;
use chancery_model::Id;
use serde::Deserialize;
use std::num::NonZeroU16;
use std::time::Duration;

/// How long API keys may live, and when to warn.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiKeys {
    /// The longest lifetime of a new API key, in days; default 90.
    pub max_lifetime_days: NonZeroU16,
    /// An API key that was not used for so many days is dormant; default 30.
    pub dormant_after_days: NonZeroU16,
    /// An API key with fewer days left is expiring; default 14.
    pub warn_before_expiry_days: NonZeroU16,
    /// Environments with another longest lifetime.
    #[serde(rename = "environment")]
    pub environments: Vec<ApiKeysOf>,
}

/// How long API keys of callers of one environment may live.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeysOf {
    /// The environment.
    #[serde(deserialize_with = "parse::id")]
    pub id: Id,
    /// The longest lifetime of a new API key, in days.
    pub max_lifetime_days: NonZeroU16,
}

impl Default for ApiKeys {
    fn default() -> Self {
        let days = |days| NonZeroU16::new(days).unwrap_or(NonZeroU16::MIN);
        Self {
            max_lifetime_days: days(90),
            dormant_after_days: days(30),
            warn_before_expiry_days: days(14),
            environments: Vec::new(),
        }
    }
}

impl ApiKeys {
    pub(crate) fn settings(&self) -> ApiKeySettings {
        let days = |days: NonZeroU16| Duration::from_secs(u64::from(days.get()) * 24 * 60 * 60);
        let of = |of: &ApiKeysOf| (of.id.clone(), days(of.max_lifetime_days));
        ApiKeySettings {
            max_lifetime: days(self.max_lifetime_days),
            max_lifetime_of: self.environments.iter().map(of).collect(),
            dormant_after: days(self.dormant_after_days),
            warn_before_expiry: days(self.warn_before_expiry_days),
        }
    }
}
