//! Rotation on demand: a new version becomes the primary one.

use std::sync::Arc;

use chancery_model::{Action, KeyName, KeyState, Timestamp};
use chancery_policy::OperationContext;
use chancery_store::{KeyVersionRow, RowChange};

use crate::change::Plan;
use crate::generate::Generation;
use crate::keys::KeyOrVersion;
use crate::state::{KeyEntry, VersionEntry};
use crate::{Chancery, Error, Requester};

/// What to rotate.
#[derive(Debug, Clone)]
pub struct RotateKey {
    /// The key.
    pub name: KeyName,
    /// The key's etag as it was read; a key that changed since is left alone.
    pub etag: Option<String>,
    /// Makes a retry safe.
    pub request_id: Option<String>,
}

impl Chancery {
    /// Makes a new version of a key, and makes it the primary one. The version before stays as it is.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::EtagMismatch`], [`Error::RequestIdReused`], [`Error::StateChanging`] while
    /// another version is being made, [`Error::Device`], and those of the record.
    pub async fn rotate_key(&self, from: &Requester, request: RotateKey) -> Result<Arc<VersionEntry>, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move { this.rotate_to_the_end(&from, &request).await }).await
    }

    async fn rotate_to_the_end(&self, from: &Requester, request: &RotateKey) -> Result<Arc<VersionEntry>, Error> {
        let name = KeyOrVersion::Key(request.name.clone());
        let begun = self
            .change(|snapshot| {
                let allowed =
                    self.authorize_key(snapshot, from, Action::RotateKey, &name, |_| OperationContext::Plain)?;
                let key = &allowed.key;
                if let Some(request_id) = request.request_id.as_ref().filter(|id| key.request_id.as_ref() == Some(id)) {
                    // That of the key's creation: to answer the version that it made would say that the key was rotated.
                    return Err(Error::RequestIdReused { request_id: request_id.clone() });
                }
                if let Some(version) = made_by(key, request.request_id.as_ref()) {
                    return match version.state {
                        KeyState::PendingGeneration => Err(Error::StateChanging),
                        _ => Ok(Plan::Nothing(Arc::clone(version))),
                    };
                }
                if request.etag.as_ref().is_some_and(|etag| *etag != key.etag) {
                    return Err(Error::EtagMismatch { name: key.name.to_string() });
                }
                if key.versions.values().any(|version| version.state == KeyState::PendingGeneration) {
                    return Err(Error::StateChanging);
                }
                let last = key.versions.keys().next_back().copied().unwrap_or(0);
                let number = last.checked_add(1).ok_or_else(|| Error::internal("the version numbers are used up"))?;
                let now = Timestamp::now();
                let version = KeyVersionRow {
                    uid: chancery_crypto::new_uid()?,
                    key_uid: key.uid,
                    version: number,
                    state: KeyState::PendingGeneration,
                    spki_der: None,
                    created: now,
                    generated: None,
                    state_changed: now,
                    request_id: request.request_id.clone(),
                };
                let token = self.token_of(&allowed.ring)?.clone();
                let version_name = key.name.version(number);
                let generation = Generation::new(allowed.permit, &version, version_name, key.algorithm, token);
                let act = generation.act(from);
                Ok(Plan::Change { rows: vec![RowChange::PutKeyVersion(version)], act: Box::new(act), then: generation })
            })
            .await?;
        self.finish_generation(from, begun).await
    }
}

fn made_by<'a>(key: &'a KeyEntry, request_id: Option<&String>) -> Option<&'a Arc<VersionEntry>> {
    let request_id = request_id?;
    key.versions.values().find(|version| version.request_id.as_ref() == Some(request_id))
}
