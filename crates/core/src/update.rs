//! Changing what is laid down for a key: its labels, its rules, how long its tokens live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chancery_model::{Action, KeyName, VersionLife};
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

/// The key, and with another time of rotation the version that waits for it.
fn rows(key: &KeyEntry, after: KeyRow) -> Vec<RowChange> {
    let next_rotation = after.rules.next_rotation;
    let mut rows = vec![RowChange::PutKey(after)];
    if let Some(waiting) = key.waiting().filter(|_| next_rotation != key.rules.next_rotation) {
        let life = VersionLife { activation: next_rotation, ..waiting.life.clone() };
        rows.push(RowChange::PutKeyVersion(KeyVersionRow { life, ..waiting.to_row() }));
    }
    rows
}
