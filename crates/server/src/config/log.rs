//! `[log]`: the transparency log.

use super::parse;
use chancery_audit::note::KeyName;
use chancery_core::CheckpointSettings;
use chancery_model::Id;
use serde::Deserialize;
use std::time::Duration;

/// How the log is signed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The log's name, by which its key signs; the instance's where it is absent. Whoever pins the log's key pins this
    /// name, too.
    #[serde(deserialize_with = "parse::optional_origin")]
    pub origin: Option<KeyName>,
    /// How often a checkpoint is signed while records come.
    #[serde(rename = "checkpoint_interval_seconds", deserialize_with = "parse::seconds")]
    pub checkpoint_interval: Duration,
}

impl Default for Log {
    fn default() -> Self {
        Self { origin: None, checkpoint_interval: Duration::from_secs(1) }
    }
}

impl Log {
    /// For the core.
    #[expect(clippy::expect_used, reason = "an id is of the characters that a key's name may have, and shorter")]
    pub(crate) fn settings(&self, instance: &Id) -> CheckpointSettings {
        let named = || KeyName::parse(instance.as_str()).expect("an id is a name of a key");
        CheckpointSettings { origin: self.origin.clone().unwrap_or_else(named), interval: self.checkpoint_interval }
    }
}
