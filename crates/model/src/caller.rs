//! Who asks: registered principals and their roles.

use crate::{CallerLimits, Factor, Id, Identity, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A registered principal: a service or a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The caller's id; its resource name is `callers/{id}`.
    pub id: Id,
    /// What the record's leaves say instead of the id.
    pub uid: Uid,
    /// The one environment whose key rings the caller may use.
    pub environment: Id,
    /// How the caller is recognised.
    pub identities: BTreeSet<Identity>,
    /// Groups that policies can speak of.
    pub groups: BTreeSet<Id>,
    /// Roles that the shipped policies speak of.
    pub roles: BTreeSet<Role>,
    /// The key rings to which the roles extend.
    pub rings: BTreeSet<Id>,
    /// Names and values that policies can speak of.
    pub attributes: BTreeMap<String, String>,
    /// What each of the caller's requests must prove; empty: any one credential is enough.
    pub required_factors: BTreeSet<Factor>,
    /// What it may take of the service.
    pub limits: CallerLimits,
    /// Whether the caller may ask for anything at all.
    pub state: CallerState,
}

/// Whether a caller may ask for anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallerState {
    /// What policy allows.
    Active,
    /// Nothing, until it is resumed.
    Suspended,
}

impl CallerState {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Active, Self::Suspended];

    /// The name used in the API, the store and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
        }
    }
}

impl fmt::Display for CallerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no state of a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown state {0:?} of a caller; the states are ACTIVE and SUSPENDED")]
pub struct UnknownCallerState(pub String);

impl FromStr for CallerState {
    type Err = UnknownCallerState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| UnknownCallerState(word.to_owned()))
    }
}

/// What a caller may be, in the shipped policies. No administering role can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Signs with, verifies with and reads keys.
    Signer,
    /// Verifies with and reads keys.
    Verifier,
    /// Creates, rotates, suspends and resumes keys.
    KeyAdministrator,
    /// Reads, validates and applies policy sets.
    PolicyAdministrator,
    /// Decides on requests that need approval.
    Approver,
    /// Reads the record.
    Auditor,
    /// Registers, changes, suspends and resumes callers other than itself.
    CallerAdministrator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 7] = [
        Self::Signer,
        Self::Verifier,
        Self::KeyAdministrator,
        Self::PolicyAdministrator,
        Self::Approver,
        Self::Auditor,
        Self::CallerAdministrator,
    ];

    /// The name used in configuration and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signer => "signer",
            Self::Verifier => "verifier",
            Self::KeyAdministrator => "key-administrator",
            Self::PolicyAdministrator => "policy-administrator",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::CallerAdministrator => "caller-administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown role {0:?}; the roles are signer, verifier, key-administrator, policy-administrator, approver, auditor, \
     caller-administrator"
)]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or_else(|| UnknownRole(word.to_owned()))
    }
}
