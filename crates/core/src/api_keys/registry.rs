//! The API keys as memory holds them: part of a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chancery_model::{ApiKeyId, ApiKeyScope, Timestamp, Uid};
use chancery_store::ApiKeyRow;

/// An API key, without its secret.
#[derive(Clone)]
pub struct ApiKeyEntry {
    /// What the record's leaves say instead of the id.
    pub uid: Uid,
    /// The public part.
    pub id: ApiKeyId,
    /// Whose it is.
    pub caller_uid: Uid,
    /// What it leaves of what its caller may do.
    pub scope: ApiKeyScope,
    /// When it was issued.
    pub created: Timestamp,
    /// From when on it is refused.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// The key that took its place.
    pub replaced_by: Option<Uid>,
    pub(crate) request_id: Option<String>,
    pub(super) secret_hmac: [u8; 32],
}

impl std::fmt::Debug for ApiKeyEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKeyEntry").field("id", &self.id).field("uid", &self.uid).finish_non_exhaustive()
    }
}

/// Whether a key opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyState {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl ApiKeyEntry {
    /// Whether it opens anything at this time. Who revoked a key meant it: that is said also when its time is over.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> ApiKeyState {
        match self.revoked {
            Some(_) => ApiKeyState::Revoked,
            None if now >= self.expires => ApiKeyState::Expired,
            None => ApiKeyState::Active,
        }
    }

    fn from_row(row: ApiKeyRow) -> Self {
        let ApiKeyRow { uid, id, caller_uid, secret_hmac, scope, created, expires, revoked, replaced_by, request_id } =
            row;
        Self { uid, id, caller_uid, scope, created, expires, revoked, replaced_by, request_id, secret_hmac }
    }

    /// The row that the store keeps of this key.
    pub(super) fn to_row(&self) -> ApiKeyRow {
        let Self { uid, id, caller_uid, scope, created, expires, revoked, replaced_by, request_id, secret_hmac } =
            self.clone();
        ApiKeyRow { uid, id, caller_uid, secret_hmac, scope, created, expires, revoked, replaced_by, request_id }
    }
}

/// All API keys, by what they are looked for.
#[derive(Clone, Default)]
pub(crate) struct ApiKeys {
    by_id: HashMap<ApiKeyId, Arc<ApiKeyEntry>>,
    by_uid: HashMap<Uid, Arc<ApiKeyEntry>>,
    /// Of each caller, by id.
    of: HashMap<Uid, BTreeMap<ApiKeyId, Arc<ApiKeyEntry>>>,
}

impl ApiKeys {
    pub fn from_rows(rows: Vec<ApiKeyRow>) -> Self {
        let mut keys = Self::default();
        for row in rows {
            keys.put(row);
        }
        keys
    }

    pub fn put(&mut self, row: ApiKeyRow) {
        let entry = Arc::new(ApiKeyEntry::from_row(row));
        self.by_id.insert(entry.id, Arc::clone(&entry));
        self.by_uid.insert(entry.uid, Arc::clone(&entry));
        self.of.entry(entry.caller_uid).or_default().insert(entry.id, entry);
    }

    pub fn by_id(&self, id: ApiKeyId) -> Option<&Arc<ApiKeyEntry>> {
        self.by_id.get(&id)
    }

    pub fn by_uid(&self, uid: Uid) -> Option<&Arc<ApiKeyEntry>> {
        self.by_uid.get(&uid)
    }

    /// A caller's keys, by id.
    pub fn of(&self, caller: Uid) -> impl Iterator<Item = &Arc<ApiKeyEntry>> {
        self.of.get(&caller).into_iter().flat_map(BTreeMap::values)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<ApiKeyEntry>> {
        self.by_id.values()
    }
}
