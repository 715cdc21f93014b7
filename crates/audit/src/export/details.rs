//! Salts and details beside a bundle: JSON Lines, in a file for each bundle, at `details/` where the bundle is at
//! `tile/entries/`.
//!
//! A record whose details were erased has a line that names the act which says so, and one whose details are gone without an act
//! has none. The text of the details is a string, since the leaf commits to its bytes.

use crate::hex::Hex;
use crate::tree::{Resource, TILE_WIDTH, Tile};
use crate::verify::{Check, Fault, LogRecord, Place};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    index: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erased_by: Option<u64>,
}

/// The path of the details of the bundle of this tile.
pub(crate) fn details_path(tile: Tile) -> String {
    Resource::Entries(tile).to_string().replacen("tile/entries/", "details/", 1)
}

/// Writes the line of a record, if it has details, or an act erased them. An error says why they cannot be written.
pub(super) fn push_details(lines: &mut String, record: &LogRecord) -> Result<(), String> {
    let LogRecord { index, leaf: _, details, erased_by } = record;
    let read = match (details, erased_by) {
        (Some((salt, details)), _) => {
            let details =
                String::from_utf8(details.clone()).map_err(|error| format!("its details are no text: {error}"))?;
            Line { index: *index, salt: Some(Hex::from(*salt)), details: Some(details), erased_by: None }
        }
        (None, Some(act)) => Line { index: *index, salt: None, details: None, erased_by: Some(*act) },
        (None, None) => return Ok(()),
    };
    lines.push_str(&line(&read)?);
    lines.push('\n');
    Ok(())
}

fn line(line: &Line) -> Result<String, String> {
    serde_json::to_string(line).map_err(|error| error.to_string())
}

/// The records of a bundle, before their details are put to them.
pub(crate) fn leaves_of(tile: Tile, leaves: &[&[u8]]) -> impl Iterator<Item = LogRecord> {
    let first = tile.index() * u64::from(TILE_WIDTH);
    let record =
        |(index, leaf): (u64, &&[u8])| LogRecord { index, leaf: leaf.to_vec(), details: None, erased_by: None };
    (first..).zip(leaves).map(record)
}

/// Puts the details of a bundle to its records. Read strictly: what is read is byte for byte what would be written.
pub(crate) fn read_details(tile: Tile, bytes: &[u8], records: &mut [LogRecord]) -> Result<(), Fault> {
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().peekable();
    let mut last = None;
    while let Some((number, bytes)) = lines.next() {
        let fault =
            |why: String| Fault { at: Place::Details(tile), check: Check::DetailsLine { line: number + 1, why } };
        if lines.peek().is_none() {
            // What follows the last newline.
            return if bytes.is_empty() { Ok(()) } else { Err(fault("it does not end in a newline".to_owned())) };
        }
        let read: Line = serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
        if line(&read).map_err(fault)?.as_bytes() != bytes {
            return Err(fault("it is not written as Chancery writes it".to_owned()));
        }
        let Line { index, salt, details, erased_by } = read;
        if last.is_some_and(|last| last >= index) {
            return Err(fault(format!("record {index} comes after {}", last.unwrap_or_default())));
        }
        last = Some(index);
        let place =
            index.checked_sub(tile.index() * u64::from(TILE_WIDTH)).and_then(|place| usize::try_from(place).ok());
        let record = place.and_then(|place| records.get_mut(place));
        let record = record.ok_or_else(|| fault(format!("record {index} is none of this bundle")))?;
        match (salt, details, erased_by) {
            (Some(salt), Some(details), None) => {
                let salt = salt.as_bytes().try_into().map_err(|_length| fault("a salt has 32 bytes".to_owned()))?;
                record.details = Some((salt, details.into_bytes()));
            }
            (None, None, Some(act)) => record.erased_by = Some(act),
            _ => return Err(fault("it has neither salt and details nor the act that erased them".to_owned())),
        }
    }
    Ok(())
}
