//! Leaves, as the document writes them.

use super::{array, table_name, uid};
use crate::codes::{Decision, DenialReason, OutcomeResult};
use crate::commitment_to_row;
use crate::hex::Hex;
use crate::leaf::{Body, RowDigest, Subject};
use crate::record::OutcomeItem;
use chancery_model::Action;
use chancery_store::{RowChange, RowId, RowTable};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct LeafVector {
    pub name: String,
    pub kind: String,
    pub epoch: u64,
    pub time: i64,
    pub instance: String,
    pub body: serde_json::Value,
    pub salt: Hex,
    pub details: String,
    pub commitment: Hex,
    pub leaf: Hex,
    pub leaf_sha256: Hex,
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

fn action(name: Option<String>) -> Option<Action> {
    name.map(|name| name.parse().unwrap())
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

/// What a leaf says, as a vector tells it. `rows` are those that it may refer to.
pub(super) fn body(kind: &str, body: serde_json::Value, salt: &[u8; 32], rows: &[RowChange]) -> Body {
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
