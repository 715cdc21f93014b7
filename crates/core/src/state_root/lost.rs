//! Keys of the service's own that the token does not hold: they stayed in one that was replaced. With an operator's acceptance
//! they go out of use, on the record, and the service makes the next versions. What the earlier ones made stays what it was.

use std::time::Duration;

use chancery_hsm::KeyPresence;
use chancery_model::{KeyName, KeyState, KeyVersionName, Timestamp};
use chancery_store::{ApiKeyRow, KeyRow, KeyVersionRow, RowChange, State};
use tokio::time::Instant;

use super::{StateKeeper, Trouble};
use crate::checkpoints::log_key_name;
use crate::system_ring::api_key_secret_name;

/// How long the token may take to say whether it holds one.
const DEADLINE: Duration = Duration::from_secs(10);

/// A key of the service's own that the token does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LostKey {
    /// The one that signs the log.
    #[error(
        "the token does not hold {0}, which signs the log: with the acceptance it goes out of use, and the next start makes \
         another"
    )]
    Log(KeyVersionName),
    /// The secret under which API keys are hashed.
    #[error(
        "the token does not hold {version}, under which API keys are hashed: with the acceptance it goes out of use, and the API \
         keys that are not revoked or expired, {void}, are revoked, since nothing can check them any more; new ones can be issued"
    )]
    ApiKeys {
        /// The secret.
        version: KeyVersionName,
        /// How many API keys are of no use without it, and would be otherwise.
        void: usize,
    },
}

/// What the token does not hold, and the rows as they are once that is accepted.
#[derive(Default)]
pub(super) struct Lost {
    pub keys: Vec<LostKey>,
    pub rows: Vec<RowChange>,
}

impl StateKeeper {
    /// Which of the service's own keys the token does not hold; the secret of the seal is looked for where the seal is.
    pub(super) async fn lost_keys(&self, state: &State) -> Result<Lost, Trouble> {
        let (mut lost, now) = (Lost::default(), Timestamp::now());
        if let Some(version) = self.lost_key(state, &log_key_name(), now, &mut lost.rows).await? {
            lost.keys.push(LostKey::Log(version));
        }
        if let Some(version) = self.lost_key(state, &api_key_secret_name(), now, &mut lost.rows).await? {
            let void = state.api_keys.iter().filter(|key| key.revoked.is_none() && now < key.expires);
            let revoked = |key: &ApiKeyRow| RowChange::PutApiKey(ApiKeyRow { revoked: Some(now), ..key.clone() });
            let void: Vec<RowChange> = void.map(revoked).collect();
            lost.keys.push(LostKey::ApiKeys { version, void: void.len() });
            lost.rows.extend(void);
        }
        Ok(lost)
    }

    /// The version that is in use of one of these, where the token does not hold it; `rows` gets it, out of use.
    async fn lost_key(
        &self,
        state: &State,
        name: &KeyName,
        now: Timestamp,
        rows: &mut Vec<RowChange>,
    ) -> Result<Option<KeyVersionName>, Trouble> {
        let Some(key) = state.keys.iter().find(|key| key.name == *name) else { return Ok(None) };
        let primary =
            |version: &&KeyVersionRow| version.key_uid == key.uid && Some(version.version) == key.primary_version;
        let Some(version) = state.key_versions.iter().find(primary) else { return Ok(None) };
        let held = self.token.inspect(version.uid.into(), key.algorithm, Instant::now() + DEADLINE).await;
        if !matches!(held.map_err(Trouble::Away)?, KeyPresence::Absent) {
            return Ok(None);
        }
        let key = KeyRow { primary_version: None, updated: now, ..key.clone() };
        let version = KeyVersionRow { state: KeyState::Deactivated, state_changed: now, ..version.clone() };
        let name = name.version(version.version);
        rows.extend([RowChange::PutKey(key), RowChange::PutKeyVersion(version)]);
        Ok(Some(name))
    }
}
