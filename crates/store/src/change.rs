//! What a change of the state does to rows, and how such a row is named in the log.

use crate::canonical;
use crate::{ApiKeyRow, CallerRow, KeyRingRow, KeyRow, KeyVersionRow, PolicySetRow};
use chancery_model::Uid;
use std::fmt;

/// One row written or removed.
///
/// Rows refer to each other, and the database checks it when the group is committed: within one change the
/// order is free, but a version without its key, or a key removed under its versions, is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// Writes a key: a new one, or all fields of the one with this uid.
    PutKey(KeyRow),
    /// Writes a key version: a new one, or all fields of the one with this uid.
    PutKeyVersion(KeyVersionRow),
    /// Removes a key.
    DeleteKey(Uid),
    /// Removes a key version.
    DeleteKeyVersion(Uid),
    /// Writes the state of a key ring: a new one, or all fields of the one with this uid.
    PutKeyRing(KeyRingRow),
    /// Writes a caller: a new one, or all fields of the one with this uid.
    PutCaller(CallerRow),
    /// Writes an API key: a new one, or all fields of the one with this uid.
    PutApiKey(ApiKeyRow),
    /// Writes a policy set, which must be a new version: policy sets are never changed.
    PutPolicySet(PolicySetRow),
}

/// The kinds of row that the log speaks of. The codes are final: they are in leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowTable {
    /// A key.
    Key,
    /// A key version.
    KeyVersion,
    /// A caller.
    Caller,
    /// A policy set with its documents.
    PolicySet,
    /// An API key.
    ApiKey,
    /// The state of a key ring.
    KeyRing,
}

impl RowTable {
    /// Every table.
    pub const ALL: [Self; 6] =
        [Self::Key, Self::KeyVersion, Self::Caller, Self::PolicySet, Self::ApiKey, Self::KeyRing];

    /// The code in leaves and canonical rows (docs/audit-record.md, "Rows").
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Key => 1,
            Self::KeyVersion => 2,
            Self::Caller => 3,
            Self::PolicySet => 4,
            Self::ApiKey => 5,
            Self::KeyRing => 6,
        }
    }

    /// What a row of it is, in words for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::KeyVersion => "key version",
            Self::Caller => "caller",
            Self::PolicySet => "policy set",
            Self::ApiKey => "API key",
            Self::KeyRing => "key ring",
        }
    }

    /// The table with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.code() == code)
    }
}

/// What names a row in the log: 16 bytes, its uid; for a policy set eight zero bytes and the version, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId([u8; 16]);

impl RowId {
    /// The id with these bytes, as a leaf holds them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uid::from_bytes(self.0).fmt(f)
    }
}

impl RowChange {
    /// The kind of row.
    #[must_use]
    pub const fn table(&self) -> RowTable {
        match self {
            Self::PutKey(_) | Self::DeleteKey(_) => RowTable::Key,
            Self::PutKeyVersion(_) | Self::DeleteKeyVersion(_) => RowTable::KeyVersion,
            Self::PutKeyRing(_) => RowTable::KeyRing,
            Self::PutCaller(_) => RowTable::Caller,
            Self::PutApiKey(_) => RowTable::ApiKey,
            Self::PutPolicySet(_) => RowTable::PolicySet,
        }
    }

    /// Which row.
    #[must_use]
    pub fn row_id(&self) -> RowId {
        match self {
            Self::PutKey(KeyRow { uid, .. })
            | Self::PutKeyVersion(KeyVersionRow { uid, .. })
            | Self::PutKeyRing(KeyRingRow { uid, .. })
            | Self::PutCaller(CallerRow { uid, .. })
            | Self::PutApiKey(ApiKeyRow { uid, .. })
            | Self::DeleteKey(uid)
            | Self::DeleteKeyVersion(uid) => RowId(*uid.as_bytes()),
            Self::PutPolicySet(set) => RowId(u128::from(set.version).to_be_bytes()),
        }
    }

    /// The new row as the log commits to it (docs/audit-record.md, "Rows"); `None` where it is removed.
    #[must_use]
    pub fn canonical_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::PutKey(row) => Some(canonical::key(self, row)),
            Self::PutKeyVersion(row) => Some(canonical::key_version(self, row)),
            Self::PutKeyRing(row) => Some(canonical::key_ring(self, row)),
            Self::PutCaller(row) => Some(canonical::caller(self, row)),
            Self::PutApiKey(row) => Some(canonical::api_key(self, row)),
            Self::PutPolicySet(row) => Some(canonical::policy_set(self, row)),
            Self::DeleteKey(_) | Self::DeleteKeyVersion(_) => None,
        }
    }
}
