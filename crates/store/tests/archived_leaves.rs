//! Leaves that move to an archive: nothing else can be emptied, everything reads as before, and the room is given back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests are free to stop at the first surprise"
)]

use chancery_model::{Action, Id, Timestamp};
use chancery_store::{
    ArchiveError, ArchivedLeaves, ErasableQuery, NewRecord, Order, Reader, RecordQuery, SearchColumns, StoreError,
    Writer, open,
};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const RECORDS: u64 = 5 * 256 + 40;
/// Waits for its outcome, in the fourth tile.
const OPEN: u64 = 3 * 256 + 7;

fn leaf(index: u64) -> Vec<u8> {
    // As long as leaves are.
    [&index.to_be_bytes()[..], &[0xa5; 150]].concat()
}

fn hashes(tile: u64) -> Vec<u8> {
    (0..256).flat_map(|place| [u8::try_from(place % 251).unwrap() ^ u8::try_from(tile).unwrap(); 32]).collect()
}

/// An archive that has what it was given, and counts how often it is asked.
#[derive(Debug, Default)]
struct Shelf {
    asked: AtomicUsize,
    away: bool,
    /// How many leaves a tile of it has.
    leaves: Option<u64>,
    /// How long it takes to give a tile.
    takes: Duration,
}

impl ArchivedLeaves for Shelf {
    fn folder(&self) -> &Path {
        Path::new("/mnt/archive")
    }

    fn tile(&self, index: u64, given: &[u8]) -> Result<Vec<Vec<u8>>, ArchiveError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.away {
            return Err(ArchiveError::Away { folder: "/mnt/archive".into() });
        }
        std::thread::sleep(self.takes);
        assert_eq!(given, hashes(index), "what the database has kept");
        Ok((index * 256..index * 256 + self.leaves.unwrap_or(256)).map(leaf).collect())
    }
}

fn id(text: &str) -> Id {
    Id::parse("an id", text).unwrap()
}

fn database() -> (TempDir, PathBuf, Writer, Reader) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("chancery.db");
    let (mut writer, reader) = open(&path).unwrap();
    let mut transaction = writer.begin().unwrap();
    transaction.take_indexes(RECORDS).unwrap();
    for index in 0..RECORDS {
        let caller = format!("caller-{}", index % 7);
        let search = SearchColumns {
            time: Timestamp::from_unix_micros(i64::try_from(index).unwrap()),
            kind: 1,
            caller: Some(&caller),
            resource: None,
            action: Some(Action::Sign),
            decision: Some(1),
            digest: None,
            trace_id: None,
        };
        let record = NewRecord { index, leaf: &leaf(index), salt: &[7; 32], details: b"{}", search };
        transaction.append(&record).unwrap();
    }
    for tile in 0..5 {
        transaction.put_tile(0, tile, &hashes(tile)).unwrap();
    }
    transaction.open_intent(OPEN, &id("one"), false).unwrap();
    transaction.commit().unwrap();
    (folder, path, writer, reader)
}

#[test]
fn nothing_but_an_archived_leaf_that_waits_for_nothing_is_emptied() {
    let (_folder, path, _writer, _reader) = database();
    let hand = Connection::open(&path).unwrap();
    let refused = |sql: &str, why: &str| {
        let error = hand.execute_batch(sql).expect_err(sql).to_string();
        assert!(error.contains(why), "{sql}: {error}");
    };
    let last = OPEN / 256 * 256 + 256;
    for sql in [
        "UPDATE leaves SET leaf = x'' WHERE idx = 0",
        "UPDATE leaves SET leaf = x'00' WHERE idx = 0",
        "DELETE FROM leaves WHERE idx = 0",
    ] {
        refused(sql, "a leaf is final");
    }
    refused("UPDATE archive SET leaves = 100", "CHECK constraint");
    refused("UPDATE archive SET leaves = -256", "stays archived");
    refused("INSERT INTO archive (id, leaves) VALUES (2, 0)", "CHECK constraint");
    hand.execute_batch(&format!("UPDATE archive SET leaves = {last}")).unwrap();
    refused("UPDATE archive SET leaves = 512", "stays archived");
    refused("DELETE FROM archive", "stays archived");
    for sql in [
        "UPDATE leaves SET leaf = x'00' WHERE idx = 0".to_owned(),
        "UPDATE leaves SET idx = 100000, leaf = x'' WHERE idx = 0".to_owned(),
        "DELETE FROM leaves WHERE idx = 0".to_owned(),
        format!("UPDATE leaves SET leaf = x'' WHERE idx = {OPEN}"),
        format!("UPDATE leaves SET leaf = x'' WHERE idx = {last}"),
    ] {
        refused(&sql, "a leaf is final");
    }
    hand.execute_batch("UPDATE leaves SET leaf = x'' WHERE idx = 0").unwrap();
    refused("UPDATE leaves SET leaf = x'00' WHERE idx = 0", "a leaf is final");
    // Without its row nothing is archived.
    hand.execute_batch("DROP TRIGGER archive_is_not_removed; DELETE FROM archive").unwrap();
    refused("UPDATE leaves SET leaf = x'' WHERE idx = 1", "a leaf is final");
    refused("DELETE FROM leaves WHERE idx = 0", "a leaf is final");
}

/// Everything that reads leaves, as one sees it.
fn everything(reader: &Reader) -> Vec<String> {
    let mut seen = Vec::new();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for caller in [None, Some(id("caller-3"))] {
            let mut query = RecordQuery { order, caller, limit: 97, ..RecordQuery::default() };
            loop {
                let until = Instant::now() + Duration::from_secs(60);
                let page = reader.list_records_until(&query, until).unwrap();
                assert_eq!(page, reader.list_records(&query).unwrap());
                seen.extend(page.records.iter().map(|record| format!("{record:?}")));
                query.from_index = page.next;
                if page.next.is_none() {
                    break;
                }
            }
        }
    }
    for first in [0, 255, 256, 700, RECORDS - 1] {
        seen.push(format!("{:?}", reader.leaves(first, 300).unwrap()));
        seen.push(format!("{:?}", reader.log_rows(first, 300).unwrap()));
    }
    let erasable = ErasableQuery { kinds: vec![1], before: None, caller: None, from_index: 0, limit: 5_000 };
    seen.push(format!("{:?}", reader.erasable(&erasable).unwrap()));
    seen.push(format!("{:?} {:?}", reader.open_intents(&id("one")).unwrap(), reader.log_end().unwrap()));
    seen
}

#[test]
fn with_its_archive_a_log_reads_as_before() {
    let (_folder, path, mut writer, reader) = database();
    let shelf = Arc::new(Shelf::default());
    let archived = reader.clone().with_archive(Arc::<Shelf>::clone(&shelf));
    let before = everything(&archived);
    assert_eq!(
        (before.len(), shelf.asked.load(Ordering::SeqCst)),
        (everything(&reader).len(), 0),
        "nothing is archived"
    );
    for first in [0, 256, 512] {
        assert_eq!((writer.archived().unwrap(), reader.first_open_intent().unwrap()), (first, Some(OPEN)));
        assert!(writer.empty_leaves(first).unwrap());
        assert_eq!(everything(&archived), before);
    }
    for not_next in [0, 256, 512, 1_024, 700] {
        assert!(!writer.empty_leaves(not_next).unwrap(), "{not_next}");
    }
    assert_eq!((reader.archived().unwrap(), writer.archived().unwrap()), (768, 768));
    let hand = Connection::open(&path).unwrap();
    let count = |sql: &str| hand.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM leaves WHERE length(leaf) = 0"), 768);
    assert_eq!(count("SELECT count(*) FROM leaves"), i64::try_from(RECORDS).unwrap());
    assert_eq!(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert!(writer.leaves(700, 100).is_err() && writer.leaves(768, 100).unwrap()[0] == leaf(768));
    // References are checked again.
    let mut transaction = writer.begin().unwrap();
    assert!(transaction.open_intent(1_000_000, &id("one"), false).is_err());
    drop(transaction);
    // Neighbours are fetched together.
    let asked = shelf.asked.load(Ordering::SeqCst);
    archived.leaves(0, 768).unwrap();
    archived.leaves(0, 768).unwrap();
    assert!(shelf.asked.load(Ordering::SeqCst) <= asked + 3);
}

#[test]
fn an_open_record_keeps_its_tile_where_it_is() {
    let (_folder, path, mut writer, reader) = database();
    for first in [0, 256, 512] {
        assert!(writer.empty_leaves(first).unwrap());
    }
    let error = writer.empty_leaves(768).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("a leaf is final"), "{source}");
    assert_eq!((reader.archived().unwrap(), reader.leaves(768, 1).unwrap()), (768, vec![leaf(768)]), "undone");
    // A leaf is missing: nothing of the tile is emptied.
    let hand = Connection::open(&path).unwrap();
    let remove = "DELETE FROM open_intents; DROP TRIGGER leaves_are_not_removed; DELETE FROM leaves WHERE idx = 800";
    hand.execute_batch(&format!("PRAGMA foreign_keys = OFF; {remove}")).unwrap();
    assert!(!writer.empty_leaves(768).unwrap());
    assert_eq!((reader.archived().unwrap(), reader.leaves(768, 1).unwrap()), (768, vec![leaf(768)]));
}

/// A way to read leaves.
type Ask = fn(&Reader) -> Result<(), StoreError>;

#[test]
fn an_empty_leaf_never_goes_out_as_one() {
    let (_folder, path, mut writer, reader) = database();
    assert!(writer.empty_leaves(0).unwrap());
    let asks: [Ask; 4] = [
        |reader| reader.leaves(250, 10).map(drop),
        |reader| reader.log_rows(250, 10).map(drop),
        |reader| {
            let query = RecordQuery { since_index: Some(250), before_index: Some(260), ..RecordQuery::default() };
            reader.list_records(&query).map(drop)
        },
        |reader| {
            let query = ErasableQuery { kinds: vec![1], before: None, caller: None, from_index: 250, limit: 10 };
            reader.erasable(&query).map(drop)
        },
    ];
    let away = reader.clone().with_archive(Arc::new(Shelf { away: true, ..Shelf::default() }));
    for ask in asks {
        let error = ask(&reader).unwrap_err();
        assert!(matches!(error, StoreError::Archived { source: ArchiveError::NotNamed, .. }), "{error:?}");
        let error = ask(&away).unwrap_err();
        let StoreError::Archived { index: 250..=255, source } = error else { panic!("{error:?}") };
        assert!(source.to_string().contains("/mnt/archive; mount it"), "{source}");
    }
    // What is not archived needs no archive.
    assert_eq!(away.leaves(256, 2).unwrap(), [leaf(256), leaf(257)]);
    // An archive that gives too little, a tile that is gone, a leaf that another hand emptied.
    let short = reader.clone().with_archive(Arc::new(Shelf { leaves: Some(252), ..Shelf::default() }));
    assert!(matches!(short.leaves(250, 10), Err(StoreError::NoLeaf { index: 252 })));
    let whole = || reader.clone().with_archive(Arc::new(Shelf::default()));
    let hand = Connection::open(&path).unwrap();
    hand.execute_batch("DROP TRIGGER leaves_are_not_changed; UPDATE leaves SET leaf = x'' WHERE idx = 300").unwrap();
    assert!(matches!(whole().leaves(290, 20), Err(StoreError::NoLeaf { index: 300 })));
    assert!(matches!(writer.leaves(290, 20), Err(StoreError::NoLeaf { index: 300 })));
    hand.execute_batch(&format!("UPDATE leaves SET leaf = x'' WHERE idx = {OPEN}")).unwrap();
    assert!(matches!(whole().open_intents(&id("one")), Err(StoreError::NoLeaf { index: OPEN })));
    hand.execute_batch("DELETE FROM tiles WHERE idx = 0").unwrap();
    assert!(matches!(whole().leaves(0, 1), Err(StoreError::Damaged { .. })));
}

#[test]
fn what_is_late_is_given_up() {
    let (_folder, _path, mut writer, reader) = database();
    assert!(writer.empty_leaves(0).unwrap());
    let archived = reader.with_archive(Arc::new(Shelf::default()));
    let query = RecordQuery { before_index: Some(100), ..RecordQuery::default() };
    let late = archived.list_records_until(&query, Instant::now());
    assert!(matches!(late, Err(StoreError::OutOfTime)), "{late:?}");
}

/// A page of many archived tiles whose files are slow to read would meet its deadline again and again.
#[test]
fn a_page_ends_early_where_the_archive_is_slow_and_all_pages_get_through() {
    let (_folder, _path, mut writer, reader) = database();
    for first in [0, 256, 512] {
        assert!(writer.empty_leaves(first).unwrap());
    }
    let takes = Duration::from_secs(1);
    // Of three tiles the first two take longer than half of it.
    let time = takes * 3;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let slow = reader.clone().with_archive(Arc::new(Shelf { takes, ..Shelf::default() }));
        let mut query = RecordQuery { order, before_index: Some(768), limit: 1_000, ..RecordQuery::default() };
        let (mut pages, mut listed) = (0, Vec::new());
        loop {
            let page = match slow.list_records_until(&query, Instant::now() + time) {
                // On a slow machine; what was read is at hand.
                Err(StoreError::OutOfTime) => continue,
                page => page.unwrap(),
            };
            assert!(!page.records.is_empty(), "it would be asked for again for ever");
            pages += 1;
            listed.extend(page.records.into_iter().map(|record| (record.index, record.leaf)));
            query.from_index = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert!(pages > 1, "the first one ends early");
        let mut expected: Vec<_> = (0..768).map(|index| (index, leaf(index))).collect();
        if order == Order::NewestFirst {
            expected.reverse();
        }
        assert!(listed == expected, "each record once, in order: {} of {}", listed.len(), expected.len());
    }
    // However little time there is, what was read once is had the next time.
    let slow = reader.with_archive(Arc::new(Shelf { takes, ..Shelf::default() }));
    let mut query =
        RecordQuery { order: Order::OldestFirst, before_index: Some(768), limit: 1_000, ..RecordQuery::default() };
    let mut listed = 0;
    loop {
        match slow.list_records_until(&query, Instant::now() + takes / 4) {
            Err(StoreError::OutOfTime) => {}
            page => {
                let page = page.unwrap();
                listed += page.records.len();
                query.from_index = page.next;
                if page.next.is_none() {
                    break;
                }
            }
        }
    }
    assert_eq!(listed, 768);
}

/// As a share does whose server has gone.
#[test]
fn an_archive_that_never_answers_holds_nobody_longer_than_he_has_time() {
    let (_folder, _path, mut writer, reader) = database();
    assert!(writer.empty_leaves(0).unwrap());
    let shelf = Arc::new(Shelf { takes: Duration::from_secs(86_400), ..Shelf::default() });
    let hangs = reader.with_archive(Arc::<Shelf>::clone(&shelf));
    let query = RecordQuery { order: Order::OldestFirst, ..RecordQuery::default() };
    let error = loop {
        match hangs.list_records_until(&query, Instant::now() + Duration::from_millis(50)) {
            Err(StoreError::OutOfTime) => {}
            other => break other.unwrap_err(),
        }
    };
    // It is not asked by ever more threads, and who has no deadline is told as well.
    for error in [error, hangs.leaves(3, 1).unwrap_err()] {
        let StoreError::Archived { source: source @ ArchiveError::Silent { .. }, .. } = error else {
            panic!("{error:?}")
        };
        assert!(source.to_string().contains("/mnt/archive does not answer"), "{source}");
    }
    let asked = || shelf.asked.load(Ordering::SeqCst);
    while asked() < 16 {
        std::thread::yield_now();
    }
    assert_eq!(asked(), 16);
    // A page ends before it, and what is not archived is had as ever.
    let newest =
        RecordQuery { order: Order::NewestFirst, before_index: Some(300), limit: 100, ..RecordQuery::default() };
    let page = hangs.list_records_until(&newest, Instant::now() + Duration::from_secs(60));
    assert!(matches!(page, Err(StoreError::Archived { .. })), "known to hang: {page:?}");
    assert_eq!(hangs.leaves(256, 2).unwrap(), [leaf(256), leaf(257)]);
    let hangs = hangs.with_archive(Arc::new(Shelf { takes: Duration::from_secs(86_400), ..Shelf::default() }));
    let page = hangs.list_records_until(&newest, Instant::now() + Duration::from_secs(4)).unwrap();
    assert_eq!((page.records.len(), page.next), (44, Some(255)));
}

#[test]
fn the_room_of_archived_leaves_is_given_back() {
    let (_folder, path, mut writer, _reader) = database();
    let hand = Connection::open(&path).unwrap();
    let pragma = |name: &str| hand.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let (pages, free, size) = (pragma("page_count"), pragma("freelist_count"), pragma("page_size"));
    for first in [0, 256, 512] {
        assert!(writer.empty_leaves(first).unwrap());
    }
    let given_back = (pragma("freelist_count") - free) * size;
    let leaves = 768 * i64::try_from(leaf(0).len()).unwrap();
    assert_eq!(pragma("page_count"), pages, "the file stays as long as it was");
    assert!(given_back > leaves * 8 / 10, "{given_back} of {leaves} bytes");
}
