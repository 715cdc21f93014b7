//! The keys that sign the log, and those that did, as the state pins them.

use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_model::Timestamp;

use super::{NewestCheckpoint, log_key_name};
use crate::{Chancery, Error};

/// A key of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogKey {
    /// What its signatures are verified with.
    pub verifier_key: VerifierKey,
    /// When it was made.
    pub made: Timestamp,
    /// Since when it signs no more; `None` for the one that signs.
    pub retired: Option<Timestamp>,
}

impl Chancery {
    /// All keys that have signed the log by this name, or do, oldest first.
    pub(crate) fn log_keys(&self, origin: &KeyName) -> Vec<LogKey> {
        let snapshot = self.snapshot();
        let Some(key) = snapshot.keys.get(&log_key_name()) else { return Vec::new() };
        let pinned = key.versions.iter().filter_map(|(number, version)| {
            let public = version.public.as_ref()?;
            let verifier_key = VerifierKey::from_public_key(origin.clone(), SignatureKind::Ed25519, public).ok()?;
            let signs = key.primary_version == Some(*number) && version.state.may_sign();
            let made = version.generated.unwrap_or(version.created);
            Some(LogKey { verifier_key, made, retired: (!signs).then_some(version.state_changed) })
        });
        pinned.collect()
    }

    /// The key that has signed this checkpoint: the present one, or one of before; and all of them.
    pub(crate) fn log_keys_of(&self, checkpoint: &NewestCheckpoint) -> Result<(VerifierKey, Vec<LogKey>), Error> {
        let origin = KeyName::parse(checkpoint.origin()).map_err(|error| Error::internal(error.to_string()))?;
        let all = self.log_keys(&origin);
        let mut keys = all.iter().rev().map(|key| &key.verifier_key);
        let signed = keys.find(|key| checkpoint.checkpoint.verify(std::slice::from_ref(*key)).is_ok()).cloned();
        let signed = signed.ok_or_else(|| Error::internal("the checkpoint is of none of the log's keys"))?;
        Ok((signed, all))
    }
}
