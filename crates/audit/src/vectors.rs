//! The code against docs/audit-record.md: its lists of codes and its test vectors, read from the document itself.

mod leaves;
mod rows;

use crate::codes::{Decision, DenialReason, Kind, OutcomeResult, action_code, action_from_code};
use crate::commitment_to_details;
use crate::details::Details;
use crate::hex::Hex;
use crate::leaf::Leaf;
use chancery_model::{Action, Id, Timestamp, Uid};
use chancery_store::{RowChange, RowTable};
use leaves::{LeafVector, body};
use rows::RowVector;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Vectors {
    codes: BTreeMap<String, BTreeMap<String, u16>>,
    rows: Vec<RowVector>,
    leaves: Vec<LeafVector>,
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
    for (place, vector) in vectors.rows.into_iter().enumerate() {
        let canonical = vector.canonical.clone();
        let bytes = vector.change().canonical_bytes().unwrap();
        assert_eq!(Hex::from(bytes.as_slice()), canonical, "row {place}");
    }
}

#[test]
fn leaves_are_written_and_read_as_the_document_says() {
    let vectors = vectors();
    assert_eq!(vectors.leaves.len(), 8);
    let rows: Vec<RowChange> = vectors.rows.into_iter().map(RowVector::change).collect();
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
