//! The rows of the state, as the rest of the house sees them.

use crate::RowChange;
use chancery_model::{
    Adoption, Algorithm, ApiKeyId, ApiKeyScope, CallerLimits, CallerState, Factor, Id, Identity, KeyName, KeyRules,
    KeyState, RingName, RingState, Role, Sha256Hash, Timestamp, Uid, VersionLife,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The number of the state: raised by one with each change of it, in the change's own transaction. Starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub(crate) u64);

impl Epoch {
    /// The epoch with this number. One that the store does not stand at guards against everything: it is stale.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where state and log stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The state's epoch.
    pub epoch: Epoch,
    /// The index that the next leaf gets; also the number of leaves.
    pub next_index: u64,
}

/// What the state is held to: written with each change of it, by who has the key (docs/state-root.md). To the store both
/// are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// One hash over all rows.
    pub root: Sha256Hash,
    /// The MAC over it, the epoch, and which database this is.
    pub mac: [u8; 32],
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// What leaves say instead of the name.
    pub uid: Uid,
    /// The resource name; unique.
    pub name: KeyName,
    /// The one algorithm of all its versions.
    pub algorithm: Algorithm,
    /// Whether callers may have digests signed instead of messages.
    pub allow_digest: bool,
    /// The administrators' own words about the key.
    pub labels: BTreeMap<String, String>,
    /// The longest lifetime of a JWT that the key signs, in seconds; `None` where the key was made before there was such
    /// a setting, or signs no JWTs.
    pub max_jwt_lifetime_seconds: Option<u32>,
    /// What else its administrators have laid down for it.
    pub rules: KeyRules,
    /// The version that signs when none is named; `None` until the first one is made.
    pub primary_version: Option<u32>,
    /// When the row was first written.
    pub created: Timestamp,
    /// When the row was last changed.
    pub updated: Timestamp,
    /// The request id with which the key was created, so that a repeated request finds it.
    pub request_id: Option<String>,
}

/// A version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersionRow {
    /// The CKA_ID in the token, unless the version was adopted; and what leaves say instead of the name.
    pub uid: Uid,
    /// The key.
    pub key_uid: Uid,
    /// The version's number, from 1; unique in its key.
    pub version: u32,
    /// The state.
    pub state: KeyState,
    /// The pinned public key as DER SubjectPublicKeyInfo (RFC 5280); `None` until it is generated.
    pub spki_der: Option<Vec<u8>>,
    /// When the row was first written.
    pub created: Timestamp,
    /// When the token had made the key, or when it was adopted.
    pub generated: Option<Timestamp>,
    /// When `state` was last changed.
    pub state_changed: Timestamp,
    /// The rest of its life.
    pub life: VersionLife,
    /// What is known of a key that was in the token before; `None` where it was made for this version.
    pub adoption: Option<Adoption>,
    /// The request id with which the version was created, so that a repeated request finds it.
    pub request_id: Option<String>,
}

/// The state of a key ring, which is declared in the configuration. There is a row from when it was first frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRingRow {
    /// What leaves say instead of the name.
    pub uid: Uid,
    /// The resource name; unique.
    pub name: RingName,
    /// The state.
    pub state: RingState,
    /// When `state` was last changed.
    pub state_changed: Timestamp,
    /// Why, as who changed it said.
    pub reason: Option<String>,
}

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerRow {
    /// The caller's id; unique.
    pub id: Id,
    /// What leaves say instead of the id.
    pub uid: Uid,
    /// Who it is; `None` where an earlier version wrote the row, which left that to the configuration.
    pub registration: Option<CallerRegistration>,
}

/// Who a caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerRegistration {
    /// The one environment whose key rings it may use.
    pub environment: Id,
    /// How it is recognised; each belongs to one caller.
    pub identities: BTreeSet<Identity>,
    /// Its groups.
    pub groups: BTreeSet<Id>,
    /// Its roles.
    pub roles: BTreeSet<Role>,
    /// The key rings to which the roles extend.
    pub rings: BTreeSet<Id>,
    /// Names and values that policies speak of.
    pub attributes: BTreeMap<String, String>,
    /// What each request must prove.
    pub required_factors: BTreeSet<Factor>,
    /// What it may take of the service.
    pub limits: CallerLimits,
    /// Whether it may ask for anything.
    pub state: CallerState,
    /// When it was registered.
    pub created: Timestamp,
    /// When the row was last changed.
    pub updated: Timestamp,
    /// When `state` was last changed.
    pub state_changed: Timestamp,
    /// The request id with which it was created, so that a repeated request finds it.
    pub request_id: Option<String>,
}

/// An API key, without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// What leaves say instead of the id.
    pub uid: Uid,
    /// The public part; unique.
    pub id: ApiKeyId,
    /// Whose it is.
    pub caller_uid: Uid,
    /// HMAC-SHA256 of id and secret, 32 bytes, under a key that is in no database.
    pub secret_hmac: [u8; 32],
    /// What it leaves of what its caller may do.
    pub scope: ApiKeyScope,
    /// When it was issued.
    pub created: Timestamp,
    /// From when on it is refused.
    pub expires: Timestamp,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
    /// The key that took its place when it was rotated.
    pub replaced_by: Option<Uid>,
    /// The request id with which it was issued.
    pub request_id: Option<String>,
}

impl fmt::Debug for ApiKeyRow {
    // What the secret is checked against stays out of logs, although it opens nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyRow").field("id", &self.id).field("uid", &self.uid).finish_non_exhaustive()
    }
}

/// A version of the policy set. Never changed once written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySetRow {
    /// The version's number, from 1.
    pub version: u64,
    /// The hash by which records name the set.
    pub hash: Sha256Hash,
    /// The texts, in the order in which they were given.
    pub documents: Vec<PolicyDocument>,
    /// When it was applied.
    pub applied: Timestamp,
    /// Who applied it.
    pub applied_by: String,
}

/// What the log said of itself, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    /// How many leaves it speaks of.
    pub size: u64,
    /// When it was signed.
    pub time: Timestamp,
    /// The signed note.
    pub note: String,
}

/// One text of a policy set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDocument {
    /// The document's name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// The whole state at one epoch, read in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The epoch that it was read at.
    pub epoch: Epoch,
    /// Which database this is: made with it, and another one's never.
    pub database: Uid,
    /// What the state is held to; `None` until it is sealed for the first time.
    pub seal: Option<Seal>,
    /// The index that the next leaf gets.
    pub next_index: u64,
    /// One more than the highest index that a leaf has: the same number, unless somebody edited the database.
    pub leaves: u64,
    /// Every key, by uid.
    pub keys: Vec<KeyRow>,
    /// Every version of every key, by key and version.
    pub key_versions: Vec<KeyVersionRow>,
    /// Every key ring that was ever frozen, by name.
    pub key_rings: Vec<KeyRingRow>,
    /// Every caller, by id.
    pub callers: Vec<CallerRow>,
    /// Every API key, by id; also those that are expired or revoked.
    pub api_keys: Vec<ApiKeyRow>,
    /// When API keys were used last, by uid; those that never were are not here.
    pub api_key_uses: BTreeMap<Uid, Timestamp>,
    /// The newest policy set; `None` before the first.
    pub policy_set: Option<PolicySetRow>,
    /// Those that it followed on, the oldest first.
    pub earlier_policy_sets: Vec<PolicySetRow>,
}

impl State {
    /// Every row of the state, as the change that writes it.
    pub fn rows(&self) -> impl Iterator<Item = RowChange> + '_ {
        // Whole: what a new field holds is either a row, and comes here, or no part of the state.
        let Self {
            epoch: _,
            database: _,
            seal: _,
            next_index: _,
            leaves: _,
            keys,
            key_versions,
            key_rings,
            callers,
            api_keys,
            api_key_uses: _,
            policy_set,
            earlier_policy_sets,
        } = self;
        let keys = keys.iter().cloned().map(RowChange::PutKey);
        let versions = key_versions.iter().cloned().map(RowChange::PutKeyVersion);
        let rings = key_rings.iter().cloned().map(RowChange::PutKeyRing);
        let callers = callers.iter().cloned().map(RowChange::PutCaller);
        let api_keys = api_keys.iter().cloned().map(RowChange::PutApiKey);
        let policy_sets = earlier_policy_sets.iter().chain(policy_set).cloned().map(RowChange::PutPolicySet);
        keys.chain(versions).chain(rings).chain(callers).chain(api_keys).chain(policy_sets)
    }
}
