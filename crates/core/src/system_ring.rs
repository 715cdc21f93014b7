//! The system ring: the service's own secrets, in the token, beside the keys of callers and out of their reach.
//!
//! Its name is reserved, no policy speaks of it, and no call leads to it: callers' rings are looked up in another table.
//! What is made and used in it is on the record, as acts of the service itself. In it are the secret from which the key is derived
//! under which API keys are hashed, made when the first API key is issued; the secret of the state's seal (`state_root`); and
//! the key that signs the log (`checkpoints`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chancery_audit::Recorded;
use chancery_hsm::{DeviceMac, HsmFailure, MacKey, Token, TokenHealth};
use chancery_model::{Action, Algorithm, Id, KeyName, KeyRules, KeyState, RingName, Timestamp};
use chancery_store::{KeyRow, KeyVersionRow, RowChange};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api_keys::{ApiKeyState, Pepper};
use crate::change::{Done, Plan};
use crate::generate::to_be_made;
use crate::rings::Ring;
use crate::state::{Snapshot, VersionEntry};
use crate::sweep::{Unfinished, Work};
use crate::told::Told;
use crate::{Chancery, Error, details};

/// The id that no ring of callers can have.
pub const SYSTEM_RING: &str = "system";

/// The secret from which the pepper of API keys is derived.
const API_KEYS: &str = "api-keys";
const ALGORITHM: Algorithm = Algorithm::HmacSha256;
/// What is authenticated with it to derive the pepper. Final: another one, and no API key is known any more.
const PEPPER_LABEL: &[u8] = b"chancery/api-key-pepper/v1";

/// How long the token may take to derive it.
const DERIVATION_DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait before a token that serves, and did not derive it, is asked again: the first time, and doubled from
/// there up to the last.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub(crate) fn id(text: &'static str) -> Id {
    #[expect(clippy::expect_used, reason = "the two ids are constants, and a test parses them")]
    Id::parse("the id", text).expect("a constant id is one")
}

/// The system ring on this token. It is of no caller's environment.
pub(crate) fn ring(token: Id) -> Ring {
    Ring { name: RingName { ring: id(SYSTEM_RING) }, environment: id(SYSTEM_RING), token, allow_extractable: false }
}

/// The name of the secret from which the pepper of API keys is derived.
pub(crate) fn api_key_secret_name() -> KeyName {
    KeyName { ring: id(SYSTEM_RING), key: id(API_KEYS) }
}

impl Snapshot {
    /// Whether any API key could be checked: one was issued, and the secret that it is hashed under is in use. Where the token
    /// with the secret was replaced, an operator has put it out of use (`state_root`).
    pub(crate) fn can_have_api_keys(&self) -> bool {
        let secret = self.keys.get(&api_key_secret_name());
        secret.is_some_and(|key| key.primary().is_some()) && self.api_keys.all().next().is_some()
    }
}

impl Chancery {
    /// A ring of callers, or the system ring.
    pub(crate) fn any_ring(&self, id: &Id) -> Option<&Ring> {
        self.inner.rings.get(id).or_else(|| self.inner.system_ring.as_ref().filter(|ring| ring.name.ring == *id))
    }

    /// At the start: derives the pepper where there are API keys to be checked. A token that is away is asked again until it
    /// is there; until then calls with API keys are refused as UNAVAILABLE.
    pub(crate) async fn derive_pepper_if_needed(&self) {
        if !self.snapshot().can_have_api_keys() {
            return;
        }
        let Err(error) = self.pepper_for_issuing().await else { return };
        let mut told = Told::default();
        told.is_news(&error);
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "API keys cannot be checked yet: the secret in the system ring is not there; where it stayed in a token that was \
             replaced, see `chancery state check`"
        );
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut wait = FIRST_WAIT;
            loop {
                tokio::time::sleep(wait).await;
                // A token that is away is not asked in vain: each time that it is asked is on the record.
                let Some(health) = inner.upgrade().map(|inner| (Self { inner }).health_of_system_token()) else {
                    return;
                };
                if let Some(mut health) = health
                    && !health.borrow().state.serves()
                {
                    wait = FIRST_WAIT;
                    if health.wait_for(|health| health.state.serves()).await.is_err() {
                        return;
                    }
                }
                let Some(inner) = inner.upgrade() else { return };
                match (Self { inner }).pepper_for_issuing().await {
                    Ok(_) => return tracing::info!("API keys are checked from now on"),
                    Err(error @ Error::RecordClosed { .. }) => {
                        return tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "API keys cannot be checked until the next start"
                        );
                    }
                    Err(error) => {
                        wait = (wait * 2).min(LONGEST_WAIT);
                        let (is_news, again_in_seconds) = (told.is_news(&error), wait.as_secs());
                        let error = &error as &dyn std::error::Error;
                        if is_news {
                            tracing::warn!(error, again_in_seconds, "API keys cannot be checked yet");
                        } else {
                            tracing::debug!(error, again_in_seconds, "API keys cannot be checked yet");
                        }
                    }
                }
            }
        });
    }

    /// How the system ring's token is, now and from now on.
    fn health_of_system_token(&self) -> Option<watch::Receiver<TokenHealth>> {
        let token = self.token_of(self.inner.system_ring.as_ref()?).ok()?;
        Some(token.subscribe())
    }

    /// The pepper; derived where it is not there, from a secret that is made where there is none.
    pub(crate) async fn pepper_for_issuing(&self) -> Result<Arc<Pepper>, Error> {
        if let Some(pepper) = self.inner.pepper.load_full() {
            return Ok(pepper);
        }
        let _one_at_a_time = self.inner.deriving.lock().await;
        if let Some(pepper) = self.inner.pepper.load_full() {
            return Ok(pepper);
        }
        let ring = self.inner.system_ring.as_ref().ok_or(Error::NoSystemRing)?;
        let token = self.token_of(ring)?;
        let secret = self.secret_for_api_keys(token).await?;
        let failed = |failure| Error::Device { operation: Action::IssueApiKey, token: ring.token.clone(), failure };
        // What would not reach the token is not recorded as if it did.
        token.check_taking_calls().map_err(failed)?;
        let act = details::own_derivation(&secret.name, secret.uid);
        let done: Done<(), ()> =
            self.change(|_| Ok(Plan::Change { rows: Vec::new(), act: Box::new(act.clone()), then: () })).await?;
        let Done::Changed { recorded, .. } = done else { return Err(Error::internal("a derivation was not recorded")) };
        let derived = derive(recorded, token, &MacKey { id: secret.object_id(), algorithm: ALGORITHM }).await;
        let pepper = Arc::new(Pepper::new(&derived.map_err(failed)?.bytes));
        self.inner.pepper.store(Some(Arc::clone(&pepper)));
        Ok(pepper)
    }

    /// The secret, made where there is none.
    async fn secret_for_api_keys(&self, token: &Token) -> Result<Arc<VersionEntry>, Error> {
        self.own_key(&api_key_secret_name(), ALGORITHM, token, |snapshot| {
            let now = Timestamp::now();
            // Those that it was made for when they were issued, and that nobody has revoked with it.
            if snapshot.api_keys.all().any(|key| key.state(now) == ApiKeyState::Active) {
                return Err(Error::internal("there are API keys, and the secret that they are hashed under is gone"));
            }
            Ok(())
        })
        .await
    }

    /// A key of the service's own, made where there is none and where `may_make` lets it: reserved and recorded first, as keys
    /// of callers are. Where there were only versions that are not used any more, another version.
    pub(crate) async fn own_key(
        &self,
        name: &KeyName,
        algorithm: Algorithm,
        token: &Token,
        may_make: impl Fn(&Snapshot) -> Result<(), Error>,
    ) -> Result<Arc<VersionEntry>, Error> {
        let done: Done<Unfinished> = self
            .change(|snapshot| {
                let there = snapshot.keys.get(name);
                if let Some(primary) = there.and_then(|key| key.primary()) {
                    return Ok(Plan::Nothing(Arc::clone(primary)));
                }
                let mut versions = there.iter().flat_map(|key| key.versions.values());
                if versions.any(|version| version.state == KeyState::PendingGeneration) {
                    // It is being made, or a crash left it and it is being settled.
                    return Err(Error::StateChanging);
                }
                may_make(snapshot)?;
                token.offers(algorithm)?;
                let last = there.and_then(|key| key.versions.keys().next_back().copied());
                let (key, version) = own_rows(there.map(|key| key.to_row()), name, algorithm, last)?;
                let (uid, version_name) = (version.uid, name.version(version.version));
                let act = details::own_secret(&version_name, algorithm, uid);
                // The index is known once it is recorded.
                let work = Work::Generation;
                let then = Unfinished { act: 0, uid, version: version_name, algorithm, work };
                let rows = vec![RowChange::PutKey(key), RowChange::PutKeyVersion(version)];
                Ok(Plan::Change { rows, act: Box::new(act), then })
            })
            .await?;
        match done {
            Done::Nothing(version) => Ok(version),
            Done::Changed { recorded, then, .. } => {
                let unfinished = Unfinished { act: recorded.index(), ..then };
                self.finish_own_generation(recorded, unfinished, token).await
            }
        }
    }
}

/// The rows of a version of one of the service's own keys that is not made yet, and of the key where it is another one's
/// first. `last` is the number of the version before.
pub(crate) fn own_rows(
    key: Option<KeyRow>,
    name: &KeyName,
    algorithm: Algorithm,
    last: Option<u32>,
) -> Result<(KeyRow, KeyVersionRow), Error> {
    let now = Timestamp::now();
    let key = match key {
        Some(key) => KeyRow { updated: now, ..key },
        None => KeyRow {
            uid: chancery_crypto::new_uid()?,
            name: name.clone(),
            algorithm,
            allow_digest: false,
            labels: BTreeMap::new(),
            max_jwt_lifetime_seconds: None,
            rules: KeyRules::default(),
            primary_version: None,
            created: now,
            updated: now,
            request_id: None,
        },
    };
    let version = to_be_made(key.uid, last.unwrap_or(0) + 1, now)?;
    Ok((key, version))
}

/// The only place where a secret of the service's own is used. It takes the recorded act by value.
async fn derive(_recorded: Recorded, token: &Token, key: &MacKey) -> Result<DeviceMac, HsmFailure> {
    token.mac(key, PEPPER_LABEL, Instant::now() + DERIVATION_DEADLINE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_ids_are_ids() {
        assert_eq!(api_key_secret_name().to_string(), "keyRings/system/keys/api-keys");
        let token = Id::parse("the token id", "main").unwrap();
        assert_eq!(ring(token).environment.as_str(), SYSTEM_RING);
    }
}
