//! Changing what is laid down for a key: its labels, its rules, how long its tokens live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chancery_model::{Action, KeyName, KeyState, VersionLife};
use chancery_policy::OperationContext;
use chancery_store::{KeyRow, KeyVersionRow, RowChange};

use crate::change::{Done, Plan};
use crate::details;
use crate::jwt::lifetime_of_new_key;
use crate::keys::{KeyOrVersion, check_labels};
use crate::rules::RuleChanges;
use crate::state::KeyEntry;
use crate::usage::KeyView;
use crate::{Chancery, Error, Requester};

/// What of a key to change.
#[derive(Debug, Clone)]
pub struct UpdateKey {
    /// The key.
    pub name: KeyName,
    /// The key's etag as it was read; a key that changed since is left alone.
    pub etag: Option<String>,
    /// All labels, in place of those that it has.
    pub labels: Option<BTreeMap<String, String>>,
    /// The longest lifetime of a JWT that the key signs.
    pub max_jwt_lifetime: Option<Duration>,
    /// The rest.
    pub rules: RuleChanges,
}

impl Chancery {
    /// Changes a key. What is as asked already is left as it is, and not on the record.
    ///
    /// A version that is published and waits to take over does so at the new time of the next rotation; without rotation,
    /// when somebody rotates the key.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::EtagMismatch`], [`Error::InvalidField`], and those of the record.
    pub async fn update_key(&self, from: &Requester, request: UpdateKey) -> Result<KeyView, Error> {
        let (this, from) = (self.clone(), from.clone());
        let key = self.to_the_end(async move { this.update_to_the_end(&from, &request).await }).await?;
        self.view(key).await
    }

    async fn update_to_the_end(&self, from: &Requester, request: &UpdateKey) -> Result<Arc<KeyEntry>, Error> {
        let name = KeyOrVersion::Key(request.name.clone());
        let done = self
            .change(|snapshot| {
                let allowed =
                    self.authorize_key(snapshot, from, Action::UpdateKey, &name, |_| OperationContext::Plain)?;
                let key = &allowed.key;
                if request.etag.as_ref().is_some_and(|etag| *etag != key.etag) {
                    return Err(Error::EtagMismatch { name: key.name.to_string() });
                }
                let now = self.inner.clock.now();
                let before = key.to_row();
                let mut after = before.clone();
                if let Some(labels) = &request.labels {
                    check_labels("key.labels", "label", labels)?;
                    after.labels.clone_from(labels);
                }
                if let Some(lifetime) = request.max_jwt_lifetime {
                    after.max_jwt_lifetime_seconds = lifetime_of_new_key(key.algorithm, Some(lifetime))?;
                }
                after.rules = request.rules.apply(&before.rules, now, allowed.ring.is_dev())?;
                if request.rules.requires_caller_signature.is_some() {
                    self.check_requirement(key.algorithm, &after.rules)?;
                }
                if after == before {
                    return Ok(Plan::Nothing(Arc::clone(key)));
                }
                let act = details::Described::new(from, &allowed.permit, key.name.to_string())
                    .changed(&differences(&before, &after))
                    .act(key.uid, false);
                let rows = rows(key, KeyRow { updated: now, ..after });
                Ok(Plan::Change { rows, act: Box::new(act), then: () })
            })
            .await?;
        match done {
            Done::Nothing(key) => Ok(key),
            Done::Changed { snapshot, .. } => {
                let key = snapshot.keys.get(&request.name);
                key.map(Arc::clone).ok_or_else(|| Error::NotFound { name: request.name.to_string() })
            }
        }
    }
}

fn differences(before: &KeyRow, after: &KeyRow) -> Vec<&'static str> {
    let mut names = Vec::new();
    if before.labels != after.labels {
        names.push("labels");
    }
    if before.max_jwt_lifetime_seconds != after.max_jwt_lifetime_seconds {
        names.push("max_jwt_lifetime");
    }
    names.extend(RuleChanges::differences(&before.rules, &after.rules));
    names
}

/// The key, and with another time of rotation the version that is to take over then. One that is still being made keeps its
/// time where there is none any more: without a time it would take over as soon as it is made.
fn rows(key: &KeyEntry, after: KeyRow) -> Vec<RowChange> {
    let next_rotation = after.rules.next_rotation;
    let mut rows = vec![RowChange::PutKey(after)];
    if let Some(planned) = key.planned().filter(|_| next_rotation != key.rules.next_rotation) {
        let activation = match planned.state {
            KeyState::PendingGeneration => next_rotation.or(planned.life.activation),
            _ => next_rotation,
        };
        let life = VersionLife { activation, ..planned.life.clone() };
        rows.push(RowChange::PutKeyVersion(KeyVersionRow { life, ..planned.to_row() }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Snapshot;
    use chancery_model::{Algorithm, KeyRules, Timestamp, Uid};

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp::from_unix_micros(seconds * 1_000_000))
    }

    /// When the second version takes over, once the next rotation is at `moved`; `activation` is when it would have.
    fn moved(state: KeyState, activation: Option<Timestamp>, moved: Option<Timestamp>) -> Option<Timestamp> {
        let name: KeyName = "keyRings/dev/keys/k".parse().unwrap();
        let rules = KeyRules { rotation_period_seconds: Some(100), next_rotation: at(50), ..KeyRules::default() };
        let now = Timestamp::from_unix_micros(0);
        let row = KeyRow {
            uid: Uid::from_bytes([1; 16]),
            name: name.clone(),
            algorithm: Algorithm::HmacSha256,
            allow_digest: false,
            labels: BTreeMap::new(),
            max_jwt_lifetime_seconds: None,
            rules: rules.clone(),
            primary_version: Some(1),
            created: now,
            updated: now,
            request_id: None,
        };
        let version = |number: u8, state, activation| KeyVersionRow {
            uid: Uid::from_bytes([number + 1; 16]),
            key_uid: row.uid,
            version: number.into(),
            state,
            spki_der: None,
            created: now,
            generated: None,
            state_changed: now,
            life: VersionLife { activation, ..VersionLife::default() },
            adoption: None,
            request_id: None,
        };
        let versions = vec![version(1, KeyState::Active, None), version(2, state, activation)];
        let (keys, _) = Snapshot::keys_from_rows(vec![row.clone()], versions).unwrap();
        let rows = rows(&keys[&name], KeyRow { rules: KeyRules { next_rotation: moved, ..rules }, ..row });
        rows.into_iter().find_map(|row| match row {
            RowChange::PutKeyVersion(version) => Some(version.life.activation),
            _ => None,
        })?
    }

    #[test]
    fn what_is_to_take_over_moves_with_the_rotation_also_while_it_is_being_made() {
        for state in [KeyState::PreActive, KeyState::PendingGeneration] {
            assert_eq!(moved(state, at(60), at(30)), at(30), "{state:?}");
            assert_eq!(moved(state, at(60), at(50)), None, "{state:?}: nothing has moved");
        }
        assert_eq!(moved(KeyState::PreActive, at(60), None), None, "it waits for somebody");
        assert_eq!(
            moved(KeyState::PendingGeneration, at(60), None),
            at(60),
            "without a time it would take over at once"
        );
        assert_eq!(moved(KeyState::PendingGeneration, None, at(30)), None, "somebody rotates the key now");
    }
}
