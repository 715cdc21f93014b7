//! AuditService: a record as callers are shown it.

use super::fields::timestamp;
use crate::errors::fault;
use chancery_api::v1;
use chancery_audit::{Body, Details, Kind, Leaf, OutcomeItem};
use chancery_core::Error;
use chancery_store::{RecordEnd, RecordProgress, StoredDetails, StoredRecord};
use prost_types::value::Kind as Json;
use prost_types::{ListValue, Struct, Value};

pub(crate) fn audit_record(record: StoredRecord) -> Result<v1::AuditRecord, Error> {
    let StoredRecord { index, leaf: bytes, details, erased_by, progress } = record;
    let broken = |what: &str, error: &dyn std::error::Error| fault(&format!("{what} of record {index}: {error}"));
    let leaf = Leaf::decode(&bytes).map_err(|error| broken("the leaf", &error))?;
    let (details_json, salt) = match details {
        Some(StoredDetails { salt, content }) => (content, salt.to_vec()),
        None => (Vec::new(), Vec::new()),
    };
    let (words, shown) = if details_json.is_empty() {
        (Details::default(), None)
    } else {
        let words = Details::from_json(&details_json).map_err(|error| broken("the details", &error))?;
        let shown = serde_json::from_slice(&details_json).map_err(|error| broken("the details", &error))?;
        (words, Some(json_struct(shown)))
    };
    Ok(v1::AuditRecord {
        index,
        kind: kind_number(leaf.kind()),
        time: Some(timestamp(leaf.time)),
        caller: words.caller.map(|caller| format!("callers/{caller}")).unwrap_or_default(),
        // An outcome's leaf has none, its details say it again; and what was erased is still in the leaf.
        action: leaf.action().map(|action| action.to_string()).or(words.action).unwrap_or_default(),
        resource: words.resource.unwrap_or_default(),
        outcomes: outcomes(&leaf.body),
        details: shown,
        leaf: bytes,
        details_json,
        salt,
        // The store's own note of where the end is; how it ended is said by that leaf.
        outcome_index: match progress {
            RecordProgress::Ended(RecordEnd { outcome, result: _ }) => Some(outcome),
            RecordProgress::Open | RecordProgress::Complete => None,
        },
        erasure_index: erased_by,
    })
}

const fn kind_number(kind: Kind) -> i32 {
    (match kind {
        Kind::Intent => v1::RecordKind::Intent,
        Kind::Outcome => v1::RecordKind::Outcome,
        Kind::Act => v1::RecordKind::Act,
        Kind::Denial => v1::RecordKind::Denial,
    }) as i32
}

/// How the intents and acts of an outcome ended; none of other kinds.
fn outcomes(body: &Body) -> Vec<v1::RecordedOutcome> {
    let items = match body {
        Body::Outcome { items, .. } => items.as_slice(),
        Body::Intent(_) | Body::Act { .. } | Body::Denial { .. } => &[],
    };
    let outcome = |OutcomeItem { intent, result, signature_sha256 }: &OutcomeItem| v1::RecordedOutcome {
        record_index: *intent,
        result: result.as_str().to_owned(),
        signature_sha256: signature_sha256.map(Vec::from).unwrap_or_default(),
    };
    items.iter().map(outcome).collect()
}

fn json_struct(members: serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: members.into_iter().map(|(name, value)| (name, json_value(value))).collect() }
}

fn json_value(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Json::NullValue(0),
        serde_json::Value::Bool(value) => Json::BoolValue(value),
        // As everywhere in JSON; `details_json` has the exact digits.
        serde_json::Value::Number(number) => Json::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Json::StringValue(text),
        serde_json::Value::Array(items) => {
            Json::ListValue(ListValue { values: items.into_iter().map(json_value).collect() })
        }
        serde_json::Value::Object(members) => Json::StructValue(json_struct(members)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_audit::OutcomeResult;

    #[test]
    fn an_outcome_says_how_each_of_its_items_ended() {
        let item = |intent, result, signature_sha256| OutcomeItem { intent, result, signature_sha256 };
        let items = vec![item(7, OutcomeResult::Done, Some([9; 32])), item(8, OutcomeResult::Abandoned, None)];
        let found = outcomes(&Body::Outcome { continues: false, items, rows: Vec::new() });
        let words: Vec<_> = found.iter().map(|outcome| (outcome.record_index, outcome.result.as_str())).collect();
        assert_eq!(words, [(7, "DONE"), (8, "ABANDONED")]);
        assert_eq!((found[0].signature_sha256.len(), found[1].signature_sha256.len()), (32, 0));
    }

    #[test]
    fn details_keep_their_structure() {
        let json = serde_json::from_str(r#"{"a":[1,true,null,{"b":"c"}]}"#).unwrap();
        let Some(Json::ListValue(list)) = json_struct(json).fields.remove("a").unwrap().kind else { panic!("no list") };
        let kinds: Vec<_> = list.values.into_iter().map(|value| value.kind.unwrap()).collect();
        assert_eq!(kinds[..3], [Json::NumberValue(1.0), Json::BoolValue(true), Json::NullValue(0)]);
        assert!(matches!(&kinds[3], Json::StructValue(inner) if inner.fields.contains_key("b")));
    }

    #[test]
    fn a_leaf_that_cannot_be_read_is_a_fault_of_ours() {
        let record =
            StoredRecord { index: 3, leaf: vec![0xff], details: None, erased_by: None, progress: RecordProgress::Open };
        let error = audit_record(record).unwrap_err();
        assert!(matches!(&error, Error::Internal { what } if what.contains("record 3")), "{error}");
    }
}
