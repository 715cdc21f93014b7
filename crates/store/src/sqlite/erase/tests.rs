//! That what is erased is neither in the database's files nor found, and that nothing else goes with it.

use super::*;
use crate::{NewRecord, Reader, RecordProgress, RecordQuery, SearchColumns, Writer};
use chancery_model::{Action, Id, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

const INTENT: u8 = 1;
const ACT: u8 = 3;
const DENIAL: u8 = 4;

fn kind(n: u64) -> u8 {
    match n {
        _ if n.is_multiple_of(50) => ACT,
        _ if n.is_multiple_of(7) => DENIAL,
        _ => INTENT,
    }
}

fn caller(n: u64) -> String {
    format!("somebody-{}", n % 40)
}

/// 16 bytes that occur nowhere by chance.
fn canary(n: u64, what: u8) -> [u8; 16] {
    let mixed = (n * 5 + u64::from(what) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed.to_be_bytes());
    bytes[8..].copy_from_slice(&mixed.rotate_left(23).to_le_bytes());
    bytes
}

fn salt(n: u64) -> [u8; 32] {
    let mut salt = [0x5a; 32];
    salt[8..24].copy_from_slice(&canary(n, 0));
    salt
}

fn content(n: u64) -> Vec<u8> {
    [&b"{\"secret\":\""[..], &canary(n, 1), &b"................".repeat(usize::try_from(n % 60).unwrap())[..], b"\"}"]
        .concat()
}

fn append(writer: &mut Writer, records: std::ops::Range<u64>) {
    for group in records.collect::<Vec<_>>().chunks(64) {
        let mut transaction = writer.begin().unwrap();
        let count = u64::try_from(group.len()).unwrap();
        assert_eq!(transaction.take_indexes(count).unwrap().first, group[0]);
        for &n in group {
            let (caller, resource) = (caller(n), format!("keyRings/r/keys/k{}/versions/1", n % 90));
            let search = SearchColumns {
                time: time(n),
                kind: kind(n),
                caller: Some(&caller),
                resource: Some(&resource),
                action: Some(Action::Sign),
                decision: Some(if kind(n) == DENIAL { 2 } else { 1 }),
                digest: (kind(n) == INTENT).then_some(canary(n, 2)),
                trace_id: Some(canary(n, 3)),
            };
            let record = NewRecord { index: n, leaf: &n.to_be_bytes(), salt: &salt(n), details: &content(n), search };
            transaction.append(&record).unwrap();
        }
        transaction.commit().unwrap();
    }
}

fn time(n: u64) -> Timestamp {
    Timestamp::from_unix_micros(i64::try_from(n).unwrap() * 1_000_000)
}

fn query(kinds: &[u8], before: u64) -> ErasableQuery {
    ErasableQuery { kinds: kinds.to_vec(), before: Some(time(before)), caller: None, from_index: 0, limit: 10_000 }
}

fn erase(writer: &mut Writer, reader: &Reader, query: &ErasableQuery, act: u64) -> Vec<u64> {
    let indexes: Vec<u64> = reader.erasable(query).unwrap().iter().map(|one| one.index).collect();
    for empty in [true, false] {
        for some in indexes.chunks(100) {
            let mut transaction = writer.begin().unwrap();
            if empty {
                transaction.empty_details(some, act).unwrap();
            } else {
                transaction.remove_emptied(some).unwrap();
            }
            transaction.commit().unwrap();
        }
    }
    indexes
}

/// Which canaries of these records are in the files.
fn found(files: &[PathBuf], records: impl Iterator<Item = u64>) -> Vec<(u64, u8)> {
    let all: HashMap<[u8; 16], (u64, u8)> =
        records.flat_map(|n| (0..4).map(move |what| (canary(n, what), (n, what)))).collect();
    // Most places are none, which a look at two bytes tells.
    let mut begins = vec![false; 1 << 16];
    let begin = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    all.keys().for_each(|canary| begins[begin(canary)] = true);
    let mut found = BTreeSet::new();
    for content in files.iter().filter_map(|file| std::fs::read(file).ok()) {
        for place in content.windows(16).filter(|place| begins[begin(place)]) {
            found.extend(<[u8; 16]>::try_from(place).ok().and_then(|place| all.get(&place)));
        }
    }
    found.into_iter().collect()
}

fn is_committed_to((_, what): &(u64, u8)) -> bool {
    *what < 2
}

#[test]
fn what_is_erased_is_in_no_file_and_the_rest_is_as_it_was() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("test.db");
    let files = [path.clone(), folder.path().join("test.db-wal")];
    let (mut writer, reader) = crate::open(&path).unwrap();
    append(&mut writer, 0..6_000);
    assert!(found(&files, 0..100).len() >= 350, "the canaries can be found at all");
    let before = reader.list_records(&RecordQuery { limit: 10_000, ..RecordQuery::default() }).unwrap().records;

    let signatures = erase(&mut writer, &reader, &query(&[INTENT], 5_000), 5_000);
    assert_eq!(signatures, (0..5_000).filter(|n| kind(*n) == INTENT).collect::<Vec<_>>());
    assert!(writer.empty_wal().unwrap());
    let left = found(&files, signatures.iter().copied());
    assert!(!left.iter().any(is_committed_to), "{left:?}");

    // What has moved meanwhile, to make room, goes as well.
    let refusals = erase(&mut writer, &reader, &query(&[DENIAL], 4_000), 5_050);
    assert_eq!(refusals, (0..4_000).filter(|n| kind(*n) == DENIAL).collect::<Vec<_>>());
    assert!(writer.empty_wal().unwrap());
    let erased = || signatures.iter().chain(&refusals).copied();
    let left = found(&files, erased());
    assert!(!left.iter().any(is_committed_to), "neither salts nor details: {left:?}");
    assert!(left.len() < 20, "and of the indexes what SQLite leaves where it split a page: {left:?}");
    let copy = folder.path().join("copy.db");
    crate::back_up(&path, &copy).unwrap();
    assert_eq!(found(&[copy], erased()), [], "which a backup leaves behind");

    let after = reader.list_records(&RecordQuery { limit: 10_000, ..RecordQuery::default() }).unwrap().records;
    assert_eq!(after.len(), 6_000);
    for (mut was, is) in before.into_iter().zip(after) {
        let act = match (kind(is.index), is.index) {
            (INTENT, ..5_000) => Some(5_000),
            (DENIAL, ..4_000) => Some(5_050),
            _ => None,
        };
        was.erased_by = act;
        was.details = was.details.filter(|_| act.is_none());
        assert_eq!(is, was);
    }
    let of = |caller| RecordQuery { caller: Some(Id::parse("the caller", caller).unwrap()), ..RecordQuery::default() };
    let found = reader.list_records(&RecordQuery { limit: 10_000, ..of("somebody-3") }).unwrap().records;
    assert!(!found.is_empty() && found.iter().all(|record| record.details.is_some()));
    writer.close().unwrap();
    assert!(crate::check_pages(&path).is_ok());
}

#[test]
fn only_what_was_asked_for_is_erasable_and_never_what_waits_for_its_outcome() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("test.db");
    let (mut writer, reader) = crate::open(&path).unwrap();
    append(&mut writer, 0..200);
    let instance = Id::parse("the instance", "one").unwrap();
    let mut transaction = writer.begin().unwrap();
    transaction.open_intent(9, &instance, false).unwrap();
    transaction.commit().unwrap();
    let indexes =
        |query: ErasableQuery| -> Vec<u64> { reader.erasable(&query).unwrap().iter().map(|one| one.index).collect() };
    let of = |caller: &str| Some(Id::parse("the caller", caller).unwrap());
    assert_eq!(indexes(query(&[INTENT], 12)), [1, 2, 3, 4, 5, 6, 8, 10, 11]);
    assert_eq!(indexes(query(&[DENIAL, INTENT], 9)), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(indexes(ErasableQuery { from_index: 4, limit: 3, ..query(&[INTENT, DENIAL], 200) }), [4, 5, 6]);
    let hers = ErasableQuery { caller: of("somebody-7"), before: None, ..query(&[INTENT, DENIAL], 0) };
    assert_eq!(indexes(hers), [7, 47, 87, 127, 167]);
    assert_eq!(indexes(query(&[INTENT, DENIAL, ACT], 0)), []);

    let mut transaction = writer.begin().unwrap();
    transaction.empty_details(&[8, 9, 1_000], 50).unwrap();
    transaction.remove_emptied(&[8, 9, 10, 1_000]).unwrap();
    transaction.commit().unwrap();
    let one = |index| {
        let query = RecordQuery { since_index: Some(index), before_index: Some(index + 1), ..RecordQuery::default() };
        reader.list_records(&query).unwrap().records.remove(0)
    };
    assert_eq!((one(8).details, one(8).erased_by), (None, Some(50)));
    assert!(one(9).details.is_some() && one(9).erased_by.is_none() && one(9).progress == RecordProgress::Open);
    assert!(one(10).details.is_some(), "what was not emptied is not removed");
}

#[test]
fn emptied_details_are_erased_ones_and_their_rows_are_found_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("test.db");
    let (mut writer, reader) = crate::open(&path).unwrap();
    append(&mut writer, 0..10);
    let mut transaction = writer.begin().unwrap();
    transaction.empty_details(&[1, 2], 7).unwrap();
    transaction.commit().unwrap();
    // The service stopped here.
    let records = reader.list_records(&RecordQuery::default()).unwrap().records;
    assert!(records.iter().filter(|record| record.details.is_none()).all(|record| record.erased_by == Some(7)));
    let rows = reader.log_rows(0, 10).unwrap();
    assert!(rows.iter().all(|row| row.details.is_none() == [1, 2].contains(&row.index)), "{rows:?}");
    assert_eq!(erase(&mut writer, &reader, &query(&[INTENT], 4), 8), [3]);
    assert_eq!(reader.emptied(10).unwrap(), [1, 2]);
    let mut transaction = writer.begin().unwrap();
    transaction.remove_emptied(&[1, 2]).unwrap();
    transaction.commit().unwrap();
    assert!(reader.emptied(10).unwrap().is_empty());
    let records = reader.list_records(&RecordQuery::default()).unwrap().records;
    let by: Vec<_> = records.iter().filter_map(|record| record.erased_by).collect();
    assert_eq!(by, [8, 7, 7], "the first erasure is the one");
}

#[test]
fn a_reader_in_the_way_is_not_waited_for() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("test.db");
    let (mut writer, _reader) = crate::open(&path).unwrap();
    append(&mut writer, 0..10);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM leaves").unwrap();
    append(&mut writer, 10..20);
    let begun = std::time::Instant::now();
    assert!(!writer.empty_wal().unwrap());
    assert!(begun.elapsed() < super::super::connect::BUSY_TIMEOUT);
    other.execute_batch("COMMIT").unwrap();
    assert!(writer.empty_wal().unwrap());
    assert_eq!(std::fs::metadata(format!("{}-wal", path.display())).unwrap().len(), 0);
}
