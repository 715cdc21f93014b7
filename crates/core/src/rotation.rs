//! Rotation on demand, and what it is to take over: a new version becomes the primary one.

use std::sync::Arc;

use chancery_model::{Action, KeyName, KeyState, Timestamp, VersionLife};
use chancery_policy::OperationContext;
use chancery_store::{KeyRow, KeyVersionRow, RowChange};

use crate::change::{Done, Plan};
use crate::details;
use crate::generate::{Generation, Warrant, to_be_made};
use crate::keys::KeyOrVersion;
use crate::rules::rotation_after;
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
    /// Makes a new version of a key, and makes it the primary one. A version that is made and published already takes over
    /// in its place. The version before stays as it is.
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
                let now = self.inner.clock.now();
                if let Some(waiting) = key.waiting() {
                    let rows = rows_of_take_over(key, waiting, request.request_id.as_ref(), now);
                    let act = details::Described::new(from, &allowed.permit, waiting.name.to_string())
                        .algorithm(key.algorithm)
                        .act(waiting.uid, false);
                    return Ok(Plan::Change { rows, act: Box::new(act), then: Begun::TakenOver(waiting.name.version) });
                }
                let number = number_of_next(key)?;
                let version =
                    KeyVersionRow { request_id: request.request_id.clone(), ..to_be_made(key.uid, number, now)? };
                let token = self.token_of(&allowed.ring)?.clone();
                let version_name = key.name.version(number);
                let act = details::generation(from, &allowed.permit, &version_name, version.uid, key.algorithm);
                let warrant = Warrant::Permit(Box::new(allowed.permit));
                let place = self.inner.in_flight.enter(version.uid, snapshot.epoch);
                let generation = Generation::new(warrant, &version, version_name, key.algorithm, token, place);
                let then = Begun::Making(Box::new(generation));
                Ok(Plan::Change { rows: vec![RowChange::PutKeyVersion(version)], act: Box::new(act), then })
            })
            .await?;
        match begun {
            Done::Nothing(version) => Ok(version),
            Done::Changed { recorded, then: Begun::Making(generation), .. } => {
                self.finish_generation(recorded, *generation).await
            }
            Done::Changed { snapshot, then: Begun::TakenOver(number), .. } => {
                let version = snapshot.keys.get(&request.name).and_then(|key| key.versions.get(&number));
                version.map(Arc::clone).ok_or_else(|| Error::NotFound { name: request.name.to_string() })
            }
        }
    }
}

/// How a rotation goes on once it is recorded.
enum Begun {
    /// The new version is to be made.
    Making(Box<Generation>),
    /// It was there already.
    TakenOver(u32),
}

/// The number of the version that is made next.
pub(crate) fn number_of_next(key: &KeyEntry) -> Result<u32, Error> {
    let last = key.versions.keys().next_back().copied().unwrap_or(0);
    last.checked_add(1).ok_or_else(|| Error::internal("the version numbers are used up"))
}

/// A PRE_ACTIVE version becomes ACTIVE and the primary one.
pub(crate) fn rows_of_take_over(
    key: &KeyEntry,
    version: &VersionEntry,
    request_id: Option<&String>,
    now: Timestamp,
) -> Vec<RowChange> {
    let row = version.to_row();
    let version = KeyVersionRow {
        state: KeyState::Active,
        state_changed: now,
        life: VersionLife { activation: Some(now), ..row.life },
        request_id: row.request_id.or_else(|| request_id.cloned()),
        ..version.to_row()
    };
    let key = taken_over(key.to_row(), version.version, now);
    vec![RowChange::PutKeyVersion(version), RowChange::PutKey(key)]
}

/// The key once a version has taken over.
pub(crate) fn taken_over(key: KeyRow, version: u32, now: Timestamp) -> KeyRow {
    let mut key = KeyRow { primary_version: Some(version), updated: now, ..key };
    key.rules.next_rotation = rotation_after(&key.rules, now);
    key
}

fn made_by<'a>(key: &'a KeyEntry, request_id: Option<&String>) -> Option<&'a Arc<VersionEntry>> {
    let request_id = request_id?;
    key.versions.values().find(|version| version.request_id.as_ref() == Some(request_id))
}
