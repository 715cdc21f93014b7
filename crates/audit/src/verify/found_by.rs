//! The columns by which a database finds records, held to what the records say (docs/audit-record.md, "By what records are
//! found"). Nothing commits to them: whoever changes one hides a record from a search.

use super::Check;
use crate::codes::Decision;
use crate::hex::Hex;
use crate::leaf::Leaf;
use chancery_model::Action;
use chancery_store::{FoundBy, SEARCHED_BYTES};
use serde::Deserialize;

/// What the details say of it; the rest is passed over.
#[derive(Deserialize)]
struct Said {
    caller: Option<String>,
    resource: Option<String>,
    action: Option<String>,
    signed: Option<SaidSigned>,
    trace_id: Option<String>,
}

#[derive(Deserialize)]
struct SaidSigned {
    digest: String,
}

/// Holds the columns of a record to it. What cannot be read is for those to say who hold it to its commitment. `searchable`:
/// whether digest and trace id are there yet, which older records get step by step.
pub(super) fn check(leaf: &Leaf, details: &[u8], found_by: &FoundBy, searchable: bool) -> Result<(), Check> {
    let Ok(said) = serde_json::from_slice::<Said>(details) else { return Ok(()) };
    let Said { caller, resource, action, signed, trace_id } = said;
    let action = leaf.action().or_else(|| action?.parse().ok());
    let first = |text: &str| Hex::parse(text)?.as_bytes().first_chunk::<SEARCHED_BYTES>().copied();
    let digest = signed.and_then(|signed| first(&signed.digest));
    let trace_id = trace_id.and_then(|text| first(&text));
    let same = [
        ("kind", found_by.kind == leaf.kind().code()),
        ("caller", found_by.caller == caller),
        ("resource", found_by.resource == resource),
        ("key", found_by.key_is_the_resources),
        ("action", found_by.action.as_deref() == action.map(Action::as_str)),
        ("decision", found_by.decision == leaf.decision().map(Decision::code)),
        ("digest", !searchable || found_by.digest.as_deref() == digest.as_ref().map(<[u8; SEARCHED_BYTES]>::as_slice)),
        (
            "trace_id",
            !searchable || found_by.trace_id.as_deref() == trace_id.as_ref().map(<[u8; SEARCHED_BYTES]>::as_slice),
        ),
    ];
    same.iter().find(|(_, same)| !same).map_or(Ok(()), |(column, _)| Err(Check::FoundBy { column }))
}
