//! The state as memory holds it: one immutable snapshot of an epoch, replaced as a whole by each change.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use chancery_crypto::PublicKey;
use chancery_model::{
    Action, Adoption, Algorithm, Id, KeyName, KeyPurpose, KeyRules, KeyState, KeyVersionName, RingName, Timestamp,
    TokenObjectId, Uid, VersionLife,
};
use chancery_policy::PolicyPoint;
use chancery_store::{Epoch, KeyRow, KeyVersionRow, PolicySetRow, RowChange};

use crate::api_keys::ApiKeys;
use crate::error::Error;
use crate::freeze::RingStates;
use crate::keys::KeyOrVersion;
use crate::registry::Callers;
use crate::state_root::needs_no_checked_state;

/// A key with its versions.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// What the record's leaves say instead of the name.
    pub uid: Uid,
    /// The name.
    pub name: KeyName,
    /// Fixed at creation.
    pub algorithm: Algorithm,
    /// Whether digests are signed.
    pub allow_digest: bool,
    /// The caller's labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// As the row says it; what is in force is [`KeyEntry::max_jwt_lifetime`].
    pub(crate) max_jwt_lifetime_seconds: Option<u32>,
    /// What else its administrators have laid down for it.
    pub rules: KeyRules,
    /// The version that the key's name stands for.
    pub primary_version: Option<u32>,
    /// When the key was created.
    pub created: Timestamp,
    /// When the key changed last.
    pub updated: Timestamp,
    /// The request id of its creation.
    pub request_id: Option<String>,
    /// Changes with each change of the row.
    pub etag: String,
    /// All versions.
    pub versions: BTreeMap<u32, Arc<VersionEntry>>,
}

/// One version of a key.
#[derive(Debug, Clone)]
pub struct VersionEntry {
    /// What the record's leaves say instead of the name; the CKA_ID in the token, unless the version was adopted.
    pub uid: Uid,
    /// The key's uid.
    pub key_uid: Uid,
    /// The name.
    pub name: KeyVersionName,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// The state.
    pub state: KeyState,
    /// The pinned public key; none while PENDING_GENERATION, and never for MAC keys.
    pub public: Option<PublicKey>,
    /// When it was asked for.
    pub created: Timestamp,
    /// When the token had made it, or it was adopted.
    pub generated: Option<Timestamp>,
    /// When the state changed last.
    pub state_changed: Timestamp,
    /// The rest of its life.
    pub life: VersionLife,
    /// What is known of it where it was in the token before.
    pub adoption: Option<Adoption>,
    /// The request id of its creation.
    pub request_id: Option<String>,
}

impl KeyEntry {
    /// The version that the key's name stands for.
    #[must_use]
    pub fn primary(&self) -> Option<&Arc<VersionEntry>> {
        self.primary_version.and_then(|number| self.versions.get(&number))
    }

    /// Whether a version of it was adopted of which a copy may be outside the token, and is not destroyed.
    #[must_use]
    pub fn is_extractable(&self) -> bool {
        let copied =
            |version: &Arc<VersionEntry>| version.adoption.as_ref().is_some_and(|adoption| adoption.extractable);
        self.versions.values().any(|version| copied(version) && version.state != KeyState::Destroyed)
    }

    /// When the next version takes over by itself: the one that is published, or the one that is to be made.
    #[must_use]
    pub fn next_rotation(&self) -> Option<Timestamp> {
        self.waiting().and_then(|version| version.life.activation).or(self.rules.next_rotation)
    }

    /// The version that is made and not yet in use; the newest, should there be several. One that is older than the primary
    /// version has been passed by (its destruction was scheduled meanwhile, and cancelled later) and follows on nothing.
    pub(crate) fn waiting(&self) -> Option<&Arc<VersionEntry>> {
        let newest = self.versions.values().rev().find(|version| version.state == KeyState::PreActive)?;
        self.primary_version.is_none_or(|primary| newest.name.version > primary).then_some(newest)
    }

    /// The version for whose taking over there may be a time: the one that waits, or is being made in order to wait.
    pub(crate) fn planned(&self) -> Option<&Arc<VersionEntry>> {
        let to_wait = |version: &&Arc<VersionEntry>| {
            version.state == KeyState::PendingGeneration && version.life.activation.is_some()
        };
        self.waiting().or_else(|| self.versions.values().find(to_wait))
    }

    /// The number of the version that `name`, a name of this key, stands for; 0 where it has no primary version.
    pub(crate) fn version_named(&self, name: &KeyOrVersion) -> u32 {
        match name {
            KeyOrVersion::Key(_) => self.primary_version.unwrap_or(0),
            KeyOrVersion::Version(name) => name.version,
        }
    }

    /// The longest lifetime of a JWT that the key signs; `None` where it signs none, because JOSE does not know its
    /// algorithm.
    #[must_use]
    pub fn max_jwt_lifetime(&self) -> Option<Duration> {
        crate::jwt::lifetime_in_force(self.algorithm, self.max_jwt_lifetime_seconds)
    }

    /// Refuses what keys of this algorithm are not for.
    pub(crate) fn require(&self, purpose: KeyPurpose, action: Action) -> Result<(), Error> {
        if self.algorithm.purpose() == purpose {
            return Ok(());
        }
        Err(Error::WrongPurpose { key: self.name.clone(), algorithm: self.algorithm, action })
    }

    fn from_row(row: KeyRow, versions: BTreeMap<u32, Arc<VersionEntry>>) -> Self {
        let etag = etag(&RowChange::PutKey(row.clone()));
        let KeyRow {
            uid,
            name,
            algorithm,
            allow_digest,
            labels,
            max_jwt_lifetime_seconds,
            rules,
            primary_version,
            created,
            updated,
            request_id,
        } = row;
        let labels = Arc::new(labels);
        Self {
            uid,
            name,
            algorithm,
            allow_digest,
            labels,
            max_jwt_lifetime_seconds,
            rules,
            primary_version,
            created,
            updated,
            request_id,
            etag,
            versions,
        }
    }

    /// The row that the store keeps of this key.
    pub(crate) fn to_row(&self) -> KeyRow {
        KeyRow {
            uid: self.uid,
            name: self.name.clone(),
            algorithm: self.algorithm,
            allow_digest: self.allow_digest,
            labels: (*self.labels).clone(),
            max_jwt_lifetime_seconds: self.max_jwt_lifetime_seconds,
            rules: self.rules.clone(),
            primary_version: self.primary_version,
            created: self.created,
            updated: self.updated,
            request_id: self.request_id.clone(),
        }
    }
}

impl VersionEntry {
    /// The public half of the key pair that signs, where the version's state lets it.
    pub(crate) fn signs_with(&self) -> Result<&PublicKey, Error> {
        match &self.public {
            Some(public) if self.state.may_sign() => Ok(public),
            _ => Err(Error::NotActive { version: self.name.clone(), state: self.state }),
        }
    }

    /// Since when it has been in use; `None` before that.
    #[must_use]
    pub fn activated(&self) -> Option<Timestamp> {
        match self.state {
            KeyState::PendingGeneration | KeyState::PreActive => None,
            KeyState::Active
            | KeyState::Suspended
            | KeyState::Deactivated
            | KeyState::Compromised
            | KeyState::DestroyScheduled
            | KeyState::Destroyed => self.life.activation.or(self.generated),
        }
    }

    /// The CKA_ID of its objects in the token.
    #[must_use]
    pub fn object_id(&self) -> TokenObjectId {
        self.adoption.as_ref().map_or_else(|| self.uid.into(), |adoption| adoption.object_id)
    }

    fn from_row(row: KeyVersionRow, key: &KeyEntry) -> Result<Self, Error> {
        let name = key.name.version(row.version);
        let public = row
            .spki_der
            .map(|spki| PublicKey::from_spki_der(key.algorithm, &spki))
            .transpose()
            .map_err(|error| Error::internal(format!("the stored public key of {name} is damaged: {error}")))?;
        Ok(Self {
            uid: row.uid,
            key_uid: row.key_uid,
            name,
            algorithm: key.algorithm,
            state: row.state,
            public,
            created: row.created,
            generated: row.generated,
            state_changed: row.state_changed,
            life: row.life,
            adoption: row.adoption,
            request_id: row.request_id,
        })
    }

    /// The row that the store keeps of this version.
    pub(crate) fn to_row(&self) -> KeyVersionRow {
        KeyVersionRow {
            uid: self.uid,
            key_uid: self.key_uid,
            version: self.name.version,
            state: self.state,
            spki_der: self.public.as_ref().map(|key| key.spki_der().to_vec()),
            created: self.created,
            generated: self.generated,
            state_changed: self.state_changed,
            life: self.life.clone(),
            adoption: self.adoption.clone(),
            request_id: self.request_id.clone(),
        }
    }
}

/// An etag: part of the hash of the row as the record knows it.
pub(crate) fn etag(row: &RowChange) -> String {
    let hash = chancery_crypto::sha256(&row.canonical_bytes().unwrap_or_default());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) type KeysByName = BTreeMap<KeyName, Arc<KeyEntry>>;
pub(crate) type NamesByUid = BTreeMap<Uid, KeyName>;

/// Everything that decisions are made from, as of one epoch.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub epoch: Epoch,
    pub keys: KeysByName,
    pub key_names: NamesByUid,
    pub ring_states: RingStates,
    pub policy: Arc<PolicyPoint>,
    pub policy_row: Arc<PolicySetRow>,
    pub callers: Arc<Callers>,
    pub api_keys: Arc<ApiKeys>,
    /// Whether it is known to be the state that was sealed, or no seal is wanted.
    pub checked: bool,
}

impl Snapshot {
    /// Builds the keys from the rows of the store.
    pub fn keys_from_rows(keys: Vec<KeyRow>, versions: Vec<KeyVersionRow>) -> Result<(KeysByName, NamesByUid), Error> {
        let mut entries: BTreeMap<Uid, KeyEntry> =
            keys.into_iter().map(|row| (row.uid, KeyEntry::from_row(row, BTreeMap::new()))).collect();
        for row in versions {
            let key = entries
                .get_mut(&row.key_uid)
                .ok_or_else(|| Error::internal(format!("key version {} belongs to no key", row.uid)))?;
            let number = row.version;
            let entry = VersionEntry::from_row(row, key)?;
            key.versions.insert(number, Arc::new(entry));
        }
        let names = entries.iter().map(|(uid, key)| (*uid, key.name.clone())).collect();
        let keys = entries.into_values().map(|key| (key.name.clone(), Arc::new(key))).collect();
        Ok((keys, names))
    }

    /// The snapshot after `rows` were committed with `epoch`. Policy sets are prepared by who applies them.
    pub fn after(&self, epoch: Epoch, rows: &[RowChange]) -> Result<Self, Error> {
        let mut next = Self { epoch, ..self.clone() };
        let mut callers = Vec::new();
        for row in rows {
            match row {
                RowChange::PutKey(row) => {
                    let versions = next.keys.get(&row.name).map(|key| key.versions.clone()).unwrap_or_default();
                    next.key_names.insert(row.uid, row.name.clone());
                    next.keys.insert(row.name.clone(), Arc::new(KeyEntry::from_row(row.clone(), versions)));
                }
                RowChange::PutKeyVersion(row) => {
                    let number = row.version;
                    next.change_key(row.key_uid, |key| {
                        let entry = VersionEntry::from_row(row.clone(), key)?;
                        key.versions.insert(number, Arc::new(entry));
                        Ok(())
                    })?;
                }
                RowChange::DeleteKey(uid) => {
                    if let Some(name) = next.key_names.remove(uid) {
                        next.keys.remove(&name);
                    }
                }
                RowChange::DeleteKeyVersion(uid) => {
                    let owner = next.keys.values().find(|key| key.versions.values().any(|version| version.uid == *uid));
                    if let Some(key_uid) = owner.map(|key| key.uid) {
                        next.change_key(key_uid, |key| {
                            key.versions.retain(|_, version| version.uid != *uid);
                            Ok(())
                        })?;
                    }
                }
                RowChange::PutKeyRing(row) => {
                    Arc::make_mut(&mut next.ring_states).insert(row.name.ring.clone(), Arc::new(row.clone()));
                }
                RowChange::PutCaller(row) => callers.push(row),
                RowChange::PutApiKey(row) => Arc::make_mut(&mut next.api_keys).put(row.clone()),
                RowChange::PutPolicySet(_) => {}
            }
        }
        if !callers.is_empty() {
            next.callers = Arc::new(next.callers.after(callers.into_iter()));
            let policy = next.policy.with_callers(&next.callers.all).map_err(Error::PolicyInvalid)?;
            next.policy = Arc::new(policy);
        }
        Ok(next)
    }

    /// Whether such calls may be decided by it: see [`StateStanding`](crate::StateStanding).
    pub const fn decides(&self, action: Action) -> bool {
        self.checked || needs_no_checked_state(action)
    }

    /// The version of this uid, with its key.
    pub fn version(&self, uid: Uid) -> Result<(&Arc<KeyEntry>, &Arc<VersionEntry>), Error> {
        let found = self.keys.values().find_map(|key| {
            let entry = key.versions.values().find(|entry| entry.uid == uid)?;
            Some((key, entry))
        });
        found.ok_or_else(|| Error::internal(format!("the key version {uid} is gone")))
    }

    /// The keys of a ring, by name, from a place on.
    pub fn keys_of(&self, ring: &RingName, start: Bound<Id>) -> impl Iterator<Item = &Arc<KeyEntry>> {
        let first = Id::first();
        let start = match start {
            Bound::Unbounded => Bound::Included(ring.key(first)),
            Bound::Included(id) => Bound::Included(ring.key(id)),
            Bound::Excluded(id) => Bound::Excluded(ring.key(id)),
        };
        let ring = ring.ring.clone();
        self.keys.range((start, Bound::Unbounded)).map(|(_, key)| key).take_while(move |key| key.name.ring == ring)
    }

    fn change_key(&mut self, uid: Uid, change: impl FnOnce(&mut KeyEntry) -> Result<(), Error>) -> Result<(), Error> {
        let key = self
            .key_names
            .get(&uid)
            .and_then(|name| self.keys.get_mut(name))
            .ok_or_else(|| Error::internal(format!("a change names the key {uid}, which does not exist")))?;
        change(Arc::make_mut(key))
    }
}
