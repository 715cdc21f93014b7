//! `[log]`: the transparency log, its witnesses and its archive.

use super::parse;
use chancery_audit::note::{KeyName, VerifierKey};
use chancery_core::{ArchiveSettings, CheckpointSettings};
use chancery_https::Url;
use chancery_model::Id;
use serde::Deserialize;
use std::num::NonZeroU16;
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
    /// Where the leaves of old records go; they stay in the database where it is absent.
    pub archive: Option<Archive>,
}

/// The archive of old leaves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Its folder, made where there is none.
    pub dir: PathBuf,
    /// How old leaves are moved into it; absent: no more are, and those in it are read.
    pub after_days: Option<NonZeroU16>,
}

impl Archive {
    /// For those who read it.
    pub(crate) fn leaves(&self) -> chancery_audit::archive::Archive {
        chancery_audit::archive::Archive::at(&self.dir)
    }

    /// For the core.
    pub(crate) fn settings(&self) -> ArchiveSettings {
        ArchiveSettings { archive: self.leaves(), after_days: self.after_days }
    }
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
        Self { origin: None, checkpoint_interval, required_witnesses: 0, witnesses: Vec::new(), archive: None }
    }
}

impl Log {
    /// For the core.
    #[expect(clippy::expect_used, reason = "an id is of the characters that a key's name may have, and shorter")]
    pub(crate) fn settings(&self, instance: &Id) -> CheckpointSettings {
        let Self { origin, checkpoint_interval, required_witnesses, witnesses, archive: _ } = self;
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
