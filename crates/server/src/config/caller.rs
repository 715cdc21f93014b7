//! `[[caller]]`: who may ask at all, in an empty store.

use super::parse;
use chancery_model::{Factor, Id, Identity, Role};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A caller, a service or a person, that is registered where the store knows no caller yet. What it may do is for policy to
/// say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// The caller's name: `callers/{id}`. Keep it: the record refers to it.
    #[serde(deserialize_with = "parse::id")]
    pub id: Id,
    /// The one environment whose key rings the caller may use.
    #[serde(deserialize_with = "parse::id")]
    pub environment: Id,
    /// What names the caller in its certificates: `spiffe://trust-domain/path`, or `dns:name` for authorities with
    /// `identity = "dns"`; or in tokens, `oidc:https://issuer#subject`. An identity belongs to one caller.
    #[serde(deserialize_with = "parse::identities")]
    pub identities: BTreeSet<Identity>,
    /// Groups that policies can speak of.
    #[serde(default, deserialize_with = "parse::ids")]
    pub groups: BTreeSet<Id>,
    /// Roles of the shipped policies: signer, verifier, key-administrator, policy-administrator,
    /// caller-administrator, approver, auditor.
    #[serde(default, deserialize_with = "parse::roles")]
    pub roles: BTreeSet<Role>,
    /// The key rings to which the roles extend.
    #[serde(default, deserialize_with = "parse::ids")]
    pub key_rings: BTreeSet<Id>,
    /// Names and values that policies can speak of.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// What each call must bring: certificate, api-key, oidc-token.
    #[serde(default, deserialize_with = "parse::factors")]
    pub required_factors: BTreeSet<Factor>,
}
