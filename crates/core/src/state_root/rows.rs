//! Which row is not the one that was sealed: the log tells, whose acts and outcomes commit to each row that they change.
//!
//! Only for the operator's eyes. That something is wrong is known before, and does not depend on it: who edits rows may edit
//! the log, too.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chancery_audit::{Body, Leaf, RowDigest, commitment_to_row};
use chancery_model::Uid;
use chancery_store::{Order, Reader, RecordQuery, RowChange, RowId, RowTable, State, StoreError};

use super::refusal::{RowFinding, Tampering};

/// How many records are read at once.
const CHUNK: u32 = 4_096;
/// How long the log is searched: a start that fails is not to hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of a row so far, from the newest record back.
enum Known {
    /// As the newest record that names it says, or nobody can tell.
    AsRecorded,
    /// Not so; an earlier record may say it.
    Otherwise(Tampering),
}

/// The rows that are not as the log says, as far as that can be told.
pub(super) fn locate(reader: &Reader, state: &State) -> Result<Vec<RowFinding>, StoreError> {
    let until = Instant::now() + PATIENCE;
    let rows: HashMap<(u8, RowId), RowChange> =
        state.rows().map(|row| ((row.table().code(), row.row_id()), row)).collect();
    let mut known: HashMap<(u8, RowId), (RowTable, Known)> = HashMap::new();
    let (mut before, mut since) = (None, None);
    let whole = loop {
        let range = RecordQuery { before_index: before, since_index: since, ..RecordQuery::default() };
        let query = RecordQuery { order: Order::NewestFirst, limit: CHUNK, ..range };
        let records = match reader.list_records_until(&query, until) {
            Err(StoreError::OutOfTime) => break false,
            // The older ones are in an archive that is away: the newer ones tell what they can.
            Err(StoreError::Archived { index, .. }) if since.is_none() => {
                since = Some(index + 1);
                continue;
            }
            page => page?.records,
        };
        let Some(last) = records.last().map(|record| record.index) else { break since.is_none() };
        for record in &records {
            // A leaf that cannot be read tells nothing.
            let Ok(leaf) = Leaf::decode(&record.leaf) else { continue };
            let (Body::Act { rows: changed, .. } | Body::Outcome { rows: changed, .. }) = &leaf.body else { continue };
            let salt = record.details.as_ref().map(|details| &details.salt);
            for digest in changed {
                let name = (digest.table.code(), digest.id);
                let row = rows.get(&name);
                match known.get_mut(&name) {
                    None => {
                        known.insert(name, (digest.table, newest(record.index, digest, row, salt)));
                    }
                    Some((_, Known::Otherwise(found))) => {
                        if let Tampering::Edited { record: newest } = *found
                            && matches(digest, row, salt) == Some(true)
                        {
                            *found = Tampering::PutBack { record: newest, earlier: record.index };
                        }
                    }
                    Some((_, Known::AsRecorded)) => {}
                }
            }
        }
        before = Some(last);
    };
    let mut found: Vec<RowFinding> = known
        .iter()
        .filter_map(|(name, (table, known))| match known {
            Known::AsRecorded => None,
            Known::Otherwise(tampering) => {
                let (table, id, tampering) = (*table, name.1, *tampering);
                Some(RowFinding { table, id, name: name_of(table, id, state), tampering })
            }
        })
        .collect();
    if whole {
        let added = rows.iter().filter(|(name, _)| !known.contains_key(name)).map(|(name, row)| {
            let (table, id) = (row.table(), name.1);
            RowFinding { table, id, name: name_of(table, id, state), tampering: Tampering::Added }
        });
        found.extend(added);
    }
    found.sort_by(|a, b| (a.table.code(), &a.name).cmp(&(b.table.code(), &b.name)));
    Ok(found)
}

/// The rows whose id another one has as well. Hashed, the last of them hides the others; served, it may be any.
pub(super) fn twice(state: &State) -> Vec<RowFinding> {
    let mut seen = HashSet::new();
    let again = state.rows().filter(|row| !seen.insert((row.table().code(), row.row_id())));
    let finding = |row: RowChange| {
        let (table, id) = (row.table(), row.row_id());
        RowFinding { table, id, name: name_of(table, id, state), tampering: Tampering::Twice }
    };
    again.map(finding).collect()
}

fn newest(record: u64, digest: &RowDigest, row: Option<&RowChange>, salt: Option<&[u8; 32]>) -> Known {
    let there = digest.commitment != [0; 32];
    match (row, there) {
        (None, true) => Known::Otherwise(Tampering::Deleted { record }),
        (None, false) => Known::AsRecorded,
        (Some(_), false) => Known::Otherwise(Tampering::Returned { record }),
        (Some(_), true) => match matches(digest, row, salt) {
            Some(false) => Known::Otherwise(Tampering::Edited { record }),
            Some(true) | None => Known::AsRecorded,
        },
    }
}

/// Whether the row is the one that was committed to; `None` where the salt was erased.
fn matches(digest: &RowDigest, row: Option<&RowChange>, salt: Option<&[u8; 32]>) -> Option<bool> {
    let (row, salt) = (row?.canonical_bytes()?, salt?);
    Some(commitment_to_row(salt, Some(&row)) == digest.commitment)
}

fn name_of(table: RowTable, id: RowId, state: &State) -> String {
    let uid = Uid::from_bytes(*id.as_bytes());
    let key_name = |uid: Uid| state.keys.iter().find(|key| key.uid == uid).map(|key| &key.name);
    let caller_id = |uid: Uid| state.callers.iter().find(|caller| caller.uid == uid).map(|caller| &caller.id);
    let name = match table {
        RowTable::Key => key_name(uid).map(ToString::to_string),
        RowTable::KeyVersion => {
            state.key_versions.iter().find(|version| version.uid == uid).map(|row| match key_name(row.key_uid) {
                Some(key) => key.version(row.version).to_string(),
                None => format!("{uid} (version {} of a key that is not there)", row.version),
            })
        }
        RowTable::Caller => caller_id(uid).map(|id| format!("callers/{id}")),
        RowTable::ApiKey => {
            state.api_keys.iter().find(|key| key.uid == uid).map(|key| match caller_id(key.caller_uid) {
                Some(caller) => format!("callers/{caller}/apiKeys/{}", key.id),
                None => format!("{} (of a caller that is not there)", key.id),
            })
        }
        RowTable::KeyRing => state.key_rings.iter().find(|ring| ring.uid == uid).map(|ring| ring.name.to_string()),
        RowTable::PolicySet => Some(format!("version {}", u128::from_be_bytes(*id.as_bytes()))),
    };
    name.unwrap_or_else(|| uid.to_string())
}
