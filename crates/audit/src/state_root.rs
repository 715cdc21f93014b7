//! The state root: one hash over all rows of the state (docs/state-root.md).
//!
//! Rows are spread over 256 buckets by the last byte of their id, so that a change costs one row, its bucket and the list of
//! buckets, whatever the number of rows.

use chancery_crypto::sha256;
use chancery_model::Sha256Hash;
use chancery_store::{RowChange, RowId, RowTable};
use std::collections::BTreeMap;

/// Separate the three uses of the hash from each other and from any other.
const ROW: &[u8] = b"chancery/state-row/v1";
const BUCKET: &[u8] = b"chancery/state-bucket/v1";
const ROOT: &[u8] = b"chancery/state-root/v1";

const BUCKETS: usize = 256;

/// The hashes of all rows, kept so that the root after a change is cheap.
#[derive(Debug, Clone)]
pub struct StateRoot {
    buckets: Vec<Bucket>,
}

#[derive(Debug, Clone)]
struct Bucket {
    /// By the table's code and the row's id, which is their order in the hash.
    rows: BTreeMap<(u8, RowId), Sha256Hash>,
    /// `None` where a row has changed since it was made.
    hash: Option<Sha256Hash>,
}

impl Default for StateRoot {
    /// Of no rows.
    fn default() -> Self {
        Self { buckets: vec![Bucket { rows: BTreeMap::new(), hash: None }; BUCKETS] }
    }
}

impl StateRoot {
    /// Of these rows.
    #[must_use]
    pub fn of(rows: impl IntoIterator<Item = RowChange>) -> Self {
        let mut root = Self::default();
        rows.into_iter().for_each(|row| root.apply(&row));
        root
    }

    /// Follows a change of a row.
    pub fn apply(&mut self, change: &RowChange) {
        self.set(change.table(), change.row_id(), change.canonical_bytes().as_deref());
    }

    fn set(&mut self, table: RowTable, id: RowId, canonical: Option<&[u8]>) {
        let place = usize::from(id.as_bytes()[15]);
        let Some(bucket) = self.buckets.get_mut(place) else { return };
        let name = (table.code(), id);
        match canonical {
            Some(row) => bucket.rows.insert(name, sha256(&[ROW, row].concat())),
            None => bucket.rows.remove(&name),
        };
        bucket.hash = None;
    }

    /// The root.
    pub fn root(&mut self) -> Sha256Hash {
        let mut text = Vec::with_capacity(ROOT.len() + BUCKETS * 32);
        text.extend_from_slice(ROOT);
        for bucket in &mut self.buckets {
            text.extend_from_slice(&bucket.hash());
        }
        sha256(&text)
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.rows.len()).sum()
    }
}

impl Bucket {
    fn hash(&mut self) -> Sha256Hash {
        let Self { rows, hash } = self;
        *hash.get_or_insert_with(|| {
            let mut text = Vec::with_capacity(BUCKET.len() + rows.len() * 49);
            text.extend_from_slice(BUCKET);
            for ((table, id), row) in rows {
                text.push(*table);
                text.extend_from_slice(id.as_bytes());
                text.extend_from_slice(row);
            }
            sha256(&text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::Hex;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Vectors {
        roots: Vec<RootVector>,
        sealed: Vec<SealedVector>,
    }

    #[derive(Deserialize)]
    struct RootVector {
        rows: Vec<String>,
        root: String,
    }

    #[derive(Deserialize)]
    struct SealedVector {
        key: String,
        database: String,
        epoch: u64,
        root: String,
        sealed: String,
        mac: String,
    }

    fn vectors() -> Vectors {
        let page = include_str!("../../../docs/state-root.md");
        let (_, json) = page.split_once("```json\n").unwrap();
        serde_json::from_str(json.split_once("```").unwrap().0).unwrap()
    }

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        unhex(hex).try_into().unwrap()
    }

    fn unhex(hex: &str) -> Vec<u8> {
        let digits = |place| u8::from_str_radix(&hex[place..place + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digits).collect()
    }

    /// A canonical row names its own table and id.
    fn set(root: &mut StateRoot, row: &[u8]) {
        let id = RowId::from_bytes(row[2..18].try_into().unwrap());
        root.set(RowTable::from_code(row[1]).unwrap(), id, Some(row));
    }

    #[test]
    fn the_roots_of_the_document() {
        for RootVector { rows, root: expected } in vectors().roots {
            let rows: Vec<Vec<u8>> = rows.iter().map(|row| unhex(row)).collect();
            let mut root = StateRoot::default();
            rows.iter().for_each(|row| set(&mut root, row));
            assert_eq!(Hex::from(root.root()).to_string(), expected);
            // In another order it is the same; a row that comes and goes leaves nothing.
            let mut again = StateRoot::default();
            rows.iter().rev().for_each(|row| set(&mut again, row));
            assert_eq!(again.root(), root.root());
            let passing = RowId::from_bytes([0xee; 16]);
            again.set(RowTable::Key, passing, Some(b"x"));
            assert_ne!(again.root(), root.root());
            again.set(RowTable::Key, passing, None);
            assert_eq!((again.root(), again.rows()), (root.root(), rows.len()));
        }
    }

    #[test]
    fn what_is_sealed_is_as_in_the_document() {
        for SealedVector { key, database, epoch, root, sealed, mac } in vectors().sealed {
            let database = chancery_model::Uid::from_bytes(bytes(&database));
            let text = crate::seal::sealed(database, chancery_store::Epoch::new(epoch), &bytes(&root));
            assert_eq!(Hex::from(text).to_string(), sealed);
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &unhex(&key));
            assert_eq!(Hex::from(aws_lc_rs::hmac::sign(&key, &text).as_ref()).to_string(), mac);
        }
    }

    /// The same row in another table, at another id, or with other content is another root.
    #[test]
    fn table_id_and_content_count() {
        let root = |table, id: u8, row: &[u8]| {
            let mut root = StateRoot::default();
            root.set(table, RowId::from_bytes([id; 16]), Some(row));
            root.root()
        };
        let roots = [
            StateRoot::default().root(),
            root(RowTable::Key, 1, b"a"),
            root(RowTable::Caller, 1, b"a"),
            root(RowTable::Key, 2, b"a"),
            root(RowTable::Key, 1, b"b"),
        ];
        assert_eq!(roots.iter().collect::<std::collections::BTreeSet<_>>().len(), roots.len());
    }
}
