//! `[log]`: the transparency log.

use super::parse;
use chancery_audit::note::{KeyName, VerifierKey};
use chancery_core::CheckpointSettings;
use chancery_https::Url;
use chancery_model::Id;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// How many witnesses have to cosign a checkpoint before it counts.
    pub required_witnesses: usize,
    /// Who is asked to cosign.
    #[serde(rename = "witness")]
    pub witnesses: Vec<Witness>,
}

/// A witness of the log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Its verifier key, which names it.
    #[serde(deserialize_with = "parse::verifier_key")]
    pub key: VerifierKey,
    /// Where it is: what comes before `/add-checkpoint`.
    #[serde(deserialize_with = "parse::url")]
    pub url: Url,
    /// PEM file of the authorities that may have issued its certificate.
    pub ca: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        let checkpoint_interval = Duration::from_secs(1);
        Self { origin: None, checkpoint_interval, required_witnesses: 0, witnesses: Vec::new() }
    }
}

impl Log {
    /// For the core.
    #[expect(clippy::expect_used, reason = "an id is of the characters that a key's name may have, and shorter")]
    pub(crate) fn settings(&self, instance: &Id) -> CheckpointSettings {
        let Self { origin, checkpoint_interval, required_witnesses, witnesses } = self;
        let named = || KeyName::parse(instance.as_str()).expect("an id is a name of a key");
        let witness = |Witness { key, url, ca }: &Witness| {
            Arc::new(chancery_witness::Witness::new(key.clone(), url.clone(), ca.clone()))
        };
        CheckpointSettings {
            origin: origin.clone().unwrap_or_else(named),
            interval: *checkpoint_interval,
            witnesses: witnesses.iter().map(witness).collect(),
            required: *required_witnesses,
        }
    }
}
