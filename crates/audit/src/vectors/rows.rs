//! Rows, as the document writes them.

use super::{array, time, uid};
use crate::hex::Hex;
use chancery_model::{Adoption, ApiKeyScope, CallerLimits, Id, KeyRules, Pace, UsageLimits, VersionLife};
use chancery_store::{
    ApiKeyRow, CallerRegistration, CallerRow, KeyRingRow, KeyRow, KeyVersionRow, PolicyDocument, PolicySetRow,
    RowChange,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

#[derive(Deserialize)]
pub(super) struct RowVector {
    #[serde(flatten)]
    row: Row,
    pub canonical: Hex,
}

impl RowVector {
    /// The row that it is.
    pub fn change(self) -> RowChange {
        change(self.row)
    }
}

#[derive(Deserialize)]
#[serde(tag = "table", rename_all = "SCREAMING_SNAKE_CASE")]
enum Row {
    Key {
        uid: Hex,
        name: String,
        algorithm: String,
        allow_digest: bool,
        labels: BTreeMap<String, String>,
        max_jwt_lifetime_seconds: Option<u32>,
        #[serde(default)]
        rules: RulesVector,
        primary_version: Option<u32>,
        created: i64,
        updated: i64,
        request_id: Option<String>,
    },
    KeyVersion {
        uid: Hex,
        key_uid: Hex,
        version: u32,
        state: String,
        spki_der: Option<Hex>,
        created: i64,
        generated: Option<i64>,
        state_changed: i64,
        #[serde(default)]
        life: LifeVector,
        adoption: Option<AdoptionVector>,
        request_id: Option<String>,
    },
    KeyRing {
        uid: Hex,
        name: String,
        state: String,
        state_changed: i64,
        reason: Option<String>,
    },
    Caller {
        uid: Hex,
        id: String,
        registration: Option<RegistrationVector>,
    },
    ApiKey {
        uid: Hex,
        id: String,
        caller_uid: Hex,
        secret_hmac: Hex,
        access: String,
        actions: Vec<String>,
        key_rings: Vec<String>,
        networks: Vec<String>,
        created: i64,
        expires: i64,
        revoked: Option<i64>,
        replaced_by: Option<Hex>,
        request_id: Option<String>,
    },
    PolicySet {
        version: u64,
        hash: Hex,
        documents: Vec<Document>,
        applied: i64,
        applied_by: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesVector {
    owner: Option<String>,
    deletion_protection: bool,
    rotation_period_seconds: Option<u32>,
    next_rotation: Option<i64>,
    publish_ahead_seconds: Option<u32>,
    signing_period_seconds: Option<u32>,
    max_signatures: Option<u64>,
    max_daily_signatures: Option<u64>,
    #[serde(default)]
    pace: PaceVector,
    #[serde(default)]
    requires_caller_signature: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PaceVector {
    max_uses_per_second: Option<u32>,
    max_burst: Option<u32>,
    max_concurrent: Option<u32>,
}

impl From<PaceVector> for Pace {
    fn from(said: PaceVector) -> Self {
        let PaceVector { max_uses_per_second, max_burst, max_concurrent } = said;
        Self { per_second: max_uses_per_second, burst: max_burst, concurrent: max_concurrent }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsVector {
    max_signatures: Option<u64>,
    max_daily_signatures: Option<u64>,
    #[serde(default)]
    pace: PaceVector,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LifeVector {
    activation: Option<i64>,
    compromised: Option<i64>,
    destroy_at: Option<i64>,
    before_destruction: Option<String>,
    certificates: Vec<Hex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdoptionVector {
    object_id: String,
    imported: bool,
    extractable: bool,
}

#[derive(Deserialize)]
struct RegistrationVector {
    environment: String,
    identities: Vec<String>,
    groups: Vec<String>,
    roles: Vec<String>,
    key_rings: Vec<String>,
    attributes: BTreeMap<String, String>,
    required_factors: Vec<String>,
    #[serde(default)]
    limits: LimitsVector,
    state: String,
    created: i64,
    updated: i64,
    state_changed: i64,
    request_id: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    name: String,
    text: String,
}

fn change(row: Row) -> RowChange {
    match row {
        Row::Key {
            uid: id,
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
        } => RowChange::PutKey(KeyRow {
            uid: uid(&id),
            name: name.parse().unwrap(),
            algorithm: algorithm.parse().unwrap(),
            allow_digest,
            labels,
            max_jwt_lifetime_seconds,
            rules: KeyRules {
                owner: rules.owner,
                deletion_protection: rules.deletion_protection,
                rotation_period_seconds: rules.rotation_period_seconds,
                next_rotation: rules.next_rotation.map(time),
                publish_ahead_seconds: rules.publish_ahead_seconds,
                signing_period_seconds: rules.signing_period_seconds,
                limits: UsageLimits { total: rules.max_signatures, daily: rules.max_daily_signatures },
                pace: rules.pace.into(),
                requires_caller_signature: rules.requires_caller_signature,
            },
            primary_version,
            created: time(created),
            updated: time(updated),
            request_id,
        }),
        Row::KeyVersion {
            uid: id,
            key_uid,
            version,
            state,
            spki_der,
            created,
            generated,
            state_changed,
            life,
            adoption,
            request_id,
        } => RowChange::PutKeyVersion(KeyVersionRow {
            uid: uid(&id),
            key_uid: uid(&key_uid),
            version,
            state: state.parse().unwrap(),
            spki_der: spki_der.map(|der| der.as_bytes().to_vec()),
            created: time(created),
            generated: generated.map(time),
            state_changed: time(state_changed),
            life: VersionLife {
                activation: life.activation.map(time),
                compromised: life.compromised.map(time),
                destroy_at: life.destroy_at.map(time),
                before_destruction: life.before_destruction.map(|state| state.parse().unwrap()),
                certificates: life.certificates.iter().map(|der| der.as_bytes().to_vec()).collect(),
            },
            adoption: adoption.map(|said| Adoption {
                object_id: said.object_id.parse().unwrap(),
                imported: said.imported,
                extractable: said.extractable,
            }),
            request_id,
        }),
        Row::KeyRing { uid: id, name, state, state_changed, reason } => RowChange::PutKeyRing(KeyRingRow {
            uid: uid(&id),
            name: name.parse().unwrap(),
            state: state.parse().unwrap(),
            state_changed: time(state_changed),
            reason,
        }),
        Row::Caller { uid: bytes, id, registration } => {
            let registration = registration.map(|said| CallerRegistration {
                environment: self::id(&said.environment),
                identities: words(&said.identities),
                groups: ids(&said.groups),
                roles: words(&said.roles),
                rings: ids(&said.key_rings),
                attributes: said.attributes,
                required_factors: words(&said.required_factors),
                limits: CallerLimits {
                    usage: UsageLimits { total: said.limits.max_signatures, daily: said.limits.max_daily_signatures },
                    pace: said.limits.pace.into(),
                },
                state: said.state.parse().unwrap(),
                created: time(said.created),
                updated: time(said.updated),
                state_changed: time(said.state_changed),
                request_id: said.request_id,
            });
            RowChange::PutCaller(CallerRow { uid: uid(&bytes), id: self::id(&id), registration })
        }
        Row::ApiKey {
            uid: bytes,
            id,
            caller_uid,
            secret_hmac,
            access,
            actions,
            key_rings,
            networks,
            created,
            expires,
            revoked,
            replaced_by,
            request_id,
        } => RowChange::PutApiKey(ApiKeyRow {
            uid: uid(&bytes),
            id: id.parse().unwrap(),
            caller_uid: uid(&caller_uid),
            secret_hmac: array(&secret_hmac),
            scope: ApiKeyScope {
                access: access.parse().unwrap(),
                actions: words(&actions),
                rings: ids(&key_rings),
                networks: words(&networks),
            },
            created: time(created),
            expires: time(expires),
            revoked: revoked.map(time),
            replaced_by: replaced_by.as_ref().map(uid),
            request_id,
        }),
        Row::PolicySet { version, hash, documents, applied, applied_by } => RowChange::PutPolicySet(PolicySetRow {
            version,
            hash: array(&hash),
            documents: documents.into_iter().map(|d| PolicyDocument { name: d.name, text: d.text }).collect(),
            applied: time(applied),
            applied_by,
        }),
    }
}

fn id(text: &str) -> Id {
    Id::parse("an id", text).unwrap()
}

fn ids(texts: &[String]) -> BTreeSet<Id> {
    texts.iter().map(|text| id(text)).collect()
}

fn words<T: FromStr<Err: std::fmt::Debug> + Ord>(texts: &[String]) -> BTreeSet<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
