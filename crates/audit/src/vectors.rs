//! The code against docs/audit-record.md: its lists of codes and its test vectors, read from the document itself.

use crate::codes::{Decision, DenialReason, Kind, OutcomeResult, action_code, action_from_code};
use crate::details::Details;
use crate::hex::Hex;
use crate::leaf::{Body, Leaf, RowDigest, Subject};
use crate::record::OutcomeItem;
use crate::{commitment_to_details, commitment_to_row};
use chancery_model::{
    Action, Adoption, ApiKeyScope, CallerLimits, Id, KeyRules, Pace, Timestamp, Uid, UsageLimits, VersionLife,
};
use chancery_store::{
    ApiKeyRow, CallerRegistration, CallerRow, KeyRingRow, KeyRow, KeyVersionRow, PolicyDocument, PolicySetRow,
    RowChange, RowId, RowTable,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

#[derive(Deserialize)]
struct Vectors {
    codes: BTreeMap<String, BTreeMap<String, u16>>,
    rows: Vec<RowVector>,
    leaves: Vec<LeafVector>,
}

#[derive(Deserialize)]
struct RowVector {
    #[serde(flatten)]
    row: Row,
    canonical: Hex,
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

#[derive(Deserialize)]
struct LeafVector {
    name: String,
    kind: String,
    epoch: u64,
    time: i64,
    instance: String,
    body: serde_json::Value,
    salt: Hex,
    details: String,
    commitment: Hex,
    leaf: Hex,
    leaf_sha256: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectVector {
    caller: Hex,
    resource: Hex,
    action: Option<String>,
    decision: Decision,
    policy_set: Hex,
    #[serde(default)]
    opens: bool,
    #[serde(default)]
    continues: bool,
    #[serde(default)]
    rows: Vec<RowReference>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeVector {
    continues: bool,
    items: Vec<ItemVector>,
    rows: Vec<RowReference>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemVector {
    intent: u64,
    result: OutcomeResult,
    signature_sha256: Option<Hex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DenialVector {
    caller: Hex,
    resource: Hex,
    action: Option<String>,
    reason: DenialReason,
    count: u32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RowReference {
    Row { row: usize },
    Removed { table: String, removed: Hex },
}

fn vectors() -> Vectors {
    let document = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit-record.md"));
    let (_, block) = document.split_once("<!-- vectors -->\n```json\n").expect("the document has vectors");
    let (json, _) = block.split_once("\n```").expect("the block ends");
    serde_json::from_str(json).expect("the vectors are JSON of the form that the document says")
}

fn array<const N: usize>(hex: &Hex) -> [u8; N] {
    hex.as_bytes().try_into().expect("as many bytes as the field has")
}

fn uid(hex: &Hex) -> Uid {
    Uid::from_bytes(array(hex))
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros)
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

fn action(name: Option<String>) -> Option<Action> {
    name.map(|name| name.parse().unwrap())
}

fn table_name(table: RowTable) -> &'static str {
    match table {
        RowTable::Key => "KEY",
        RowTable::KeyVersion => "KEY_VERSION",
        RowTable::Caller => "CALLER",
        RowTable::PolicySet => "POLICY_SET",
        RowTable::ApiKey => "API_KEY",
        RowTable::KeyRing => "KEY_RING",
    }
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

fn row_digest(reference: RowReference, salt: &[u8; 32], rows: &[RowChange]) -> RowDigest {
    match reference {
        RowReference::Row { row } => {
            let row = &rows[row];
            let commitment = commitment_to_row(salt, row.canonical_bytes().as_deref());
            RowDigest { table: row.table(), id: row.row_id(), commitment }
        }
        RowReference::Removed { table, removed } => RowDigest {
            table: RowTable::ALL.into_iter().find(|known| table_name(*known) == table).unwrap(),
            id: RowId::from_bytes(array(&removed)),
            commitment: commitment_to_row(salt, None),
        },
    }
}

fn body(kind: &str, body: serde_json::Value, salt: &[u8; 32], rows: &[RowChange]) -> Body {
    let digests =
        |references: Vec<RowReference>| references.into_iter().map(|row| row_digest(row, salt, rows)).collect();
    match kind {
        "INTENT" | "ACT" => {
            let vector: SubjectVector = serde_json::from_value(body).unwrap();
            let subject = Subject {
                caller: uid(&vector.caller),
                resource: uid(&vector.resource),
                action: action(vector.action),
                decision: vector.decision,
                policy_set: array(&vector.policy_set),
            };
            let SubjectVector { opens, continues, rows, .. } = vector;
            match kind {
                "INTENT" => Body::Intent(subject),
                _ => Body::Act { subject, opens, continues, rows: digests(rows) },
            }
        }
        "OUTCOME" => {
            let OutcomeVector { continues, items, rows } = serde_json::from_value(body).unwrap();
            let item = |item: ItemVector| OutcomeItem {
                intent: item.intent,
                result: item.result,
                signature_sha256: item.signature_sha256.as_ref().map(array),
            };
            Body::Outcome { continues, items: items.into_iter().map(item).collect(), rows: digests(rows) }
        }
        "DENIAL" => {
            let vector: DenialVector = serde_json::from_value(body).unwrap();
            Body::Denial {
                caller: uid(&vector.caller),
                resource: uid(&vector.resource),
                action: action(vector.action),
                reason: vector.reason,
                count: vector.count,
            }
        }
        other => panic!("{other} is no kind"),
    }
}

#[test]
fn the_codes_are_those_of_the_document() {
    let mut listed = vectors().codes;
    let mut same = |list: &str, ours: Vec<(&str, u16)>| {
        let ours: BTreeMap<String, u16> = ours.into_iter().map(|(name, code)| (name.to_owned(), code)).collect();
        assert_eq!(listed.remove(list), Some(ours), "{list}");
    };
    same("kind", Kind::ALL.map(|kind| (kind.as_str(), kind.code().into())).into());
    same("decision", Decision::ALL.map(|decision| (decision.as_str(), decision.code().into())).into());
    same("result", OutcomeResult::ALL.map(|result| (result.as_str(), result.code().into())).into());
    same("denial_reason", DenialReason::ALL.map(|reason| (reason.as_str(), reason.code().into())).into());
    same("table", RowTable::ALL.map(|table| (table_name(table), table.code().into())).into());
    same("action", Action::ALL.map(|action| (action.as_str(), action_code(action))).into());
    assert!(listed.is_empty(), "the document lists codes that the program does not have: {:?}", listed.keys());
}

#[test]
fn each_code_leads_back_to_its_word() {
    assert!(Kind::ALL.iter().all(|kind| Kind::from_code(kind.code()) == Some(*kind)));
    assert!(Decision::ALL.iter().all(|decision| Decision::from_code(decision.code()) == Some(*decision)));
    assert!(OutcomeResult::ALL.iter().all(|result| OutcomeResult::from_code(result.code()) == Some(*result)));
    assert!(DenialReason::ALL.iter().all(|reason| DenialReason::from_code(reason.code()) == Some(*reason)));
    assert!(RowTable::ALL.iter().all(|table| RowTable::from_code(table.code()) == Some(*table)));
    assert!(Action::ALL.iter().all(|action| action_from_code(action_code(*action)) == Some(*action)));
    // Words in details are those of the document too.
    for reason in DenialReason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
    for result in OutcomeResult::ALL {
        assert_eq!(serde_json::to_value(result).unwrap(), result.as_str());
    }
}

#[test]
fn rows_have_the_canonical_bytes_of_the_document() {
    let vectors = vectors();
    assert_eq!(vectors.rows.len(), 19);
    for (place, RowVector { row, canonical }) in vectors.rows.into_iter().enumerate() {
        let bytes = change(row).canonical_bytes().unwrap();
        assert_eq!(Hex::from(bytes.as_slice()), canonical, "row {place}");
    }
}

#[test]
fn leaves_are_written_and_read_as_the_document_says() {
    let vectors = vectors();
    assert_eq!(vectors.leaves.len(), 8);
    let rows: Vec<RowChange> = vectors.rows.into_iter().map(|vector| change(vector.row)).collect();
    for vector in vectors.leaves {
        let name = &vector.name;
        let salt = array(&vector.salt);
        let commitment = commitment_to_details(&salt, vector.details.as_bytes());
        assert_eq!(Hex::from(commitment), vector.commitment, "{name}");
        let leaf = Leaf {
            epoch: vector.epoch,
            time: time(vector.time),
            instance: Id::parse("the instance", &vector.instance).unwrap(),
            body: body(&vector.kind, vector.body, &salt, &rows),
            commitment,
        };
        let mut bytes = Vec::new();
        leaf.encode(&mut bytes);
        assert_eq!(Hex::from(bytes.as_slice()), vector.leaf, "{name}");
        assert_eq!(Hex::from(chancery_crypto::sha256(&bytes)), vector.leaf_sha256, "{name}");
        assert_eq!(Leaf::decode(vector.leaf.as_bytes()), Ok(leaf), "{name}");
        assert_eq!(
            Details::from_json(vector.details.as_bytes()).unwrap().to_json(),
            vector.details.as_bytes(),
            "{name}"
        );
    }
}
