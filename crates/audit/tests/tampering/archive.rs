//! Leaves that are moved to an archive: it all stays verified, and what somebody changes there is found when it is read.

use crate::database::Hand;
use crate::made::{Made, files, verify};
use chancery_audit::archive::{Archive, Copied, CopyError};
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::export::export_database;
use chancery_audit::tree::{Resource, TILE_WIDTH, Tile, leaf_hash};
use chancery_audit::verify::{Check, Fault, Place, VerifyError};
use chancery_audit::{TreeHead, kept_tree, served_entries};
use chancery_model::Timestamp;
use chancery_store::{ArchiveError, ArchivedLeaves as _, Order, Reader, RecordQuery, StoreError, StoredRecord};
use std::path::Path;
use std::sync::Arc;

const LATER: Timestamp = Timestamp::from_unix_micros(i64::MAX);

/// A log of some tiles in which nothing is open, and a checkpoint of it.
async fn made() -> (Made, SignedCheckpoint) {
    let mut made = Made::empty();
    made.act().await;
    made.intents(700, true).await;
    let checkpoint = made.sign().await;
    (made, checkpoint)
}

pub async fn archived(folder: &Path) -> (Made, Archive) {
    let (mut made, checkpoint) = made().await;
    let archive = Archive::at(folder);
    let copied = made.copy(&archive, &checkpoint, LATER).unwrap().unwrap();
    assert_eq!((copied.range(), copied.tiles(), copied.end()), ((0, 511), 2, 512));
    made.empty_leaves(&copied).await;
    made.sign().await;
    made.reader = made.reader.clone().with_archive(Arc::new(archive.clone()));
    (made, archive)
}

fn listed(reader: &Reader) -> Vec<StoredRecord> {
    let query = RecordQuery { order: Order::OldestFirst, limit: u32::MAX, ..RecordQuery::default() };
    reader.list_records(&query).unwrap().records
}

fn fault<T: std::fmt::Debug>(verified: Result<T, VerifyError<StoreError>>) -> Fault {
    match verified.unwrap_err() {
        VerifyError::Fault(fault) => fault,
        error => panic!("{error:?}"),
    }
}

fn head(checkpoint: &SignedCheckpoint) -> TreeHead {
    let checkpoint = checkpoint.unverified();
    TreeHead { size: checkpoint.size(), root: *checkpoint.root() }
}

#[tokio::test]
async fn a_log_with_an_archive_is_the_log_that_it_was() {
    let folder = tempfile::TempDir::new().unwrap();
    let (mut made, checkpoint) = made().await;
    let before = listed(&made.reader);
    let tiles = [0, 1].map(|index| Tile::new(0, index, TILE_WIDTH).unwrap());
    let entries = tiles.map(|tile| served_entries(&made.reader, tile, head(&checkpoint)).unwrap());
    let root = kept_tree(&made.reader, 512).root().unwrap();
    let archive = Archive::at(&folder.path().join("archive"));
    let copied = made.copy(&archive, &checkpoint, LATER).unwrap().unwrap();
    assert_eq!(copied.root(), &root);
    made.empty_leaves(&copied).await;
    let newest = made.sign().await;
    made.reader = made.reader.clone().with_archive(Arc::new(archive.clone()));
    assert_eq!(made.reader.archived().unwrap(), 512);
    let after = listed(&made.reader);
    assert_eq!(after[..before.len()], before[..]);
    for (tile, bundle) in tiles.iter().zip(&entries) {
        assert_eq!(&served_entries(&made.reader, *tile, head(&newest)).unwrap(), bundle);
        let file = archive.folder().join(Resource::Entries(*tile).to_string());
        assert_eq!(&std::fs::read(file).unwrap(), bundle);
    }
    let report = made.verify_with(&archive).unwrap();
    assert_eq!((report.attested, report.details), (report.size, report.size));
    archive.check(&made.reader).unwrap();
    // An export is whole, and what is in the archive is in it byte for byte.
    let export = folder.path().join("export");
    let exported = export_database(&made.reader, &made.keys(), &export, true, |_, _| ()).unwrap();
    assert_eq!(exported.checkpoint, newest);
    assert_eq!(verify(&export, &[]).unwrap().size, report.size);
    let names: Vec<_> = files(archive.folder())
        .into_iter()
        .map(|file| file.strip_prefix(archive.folder()).unwrap().to_str().unwrap().to_owned())
        .collect();
    let kept = format!("checkpoints/{:020}", checkpoint.unverified().size());
    assert_eq!(names, [kept.as_str(), "log-keys", "tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001"]);
    for name in names {
        assert_eq!(std::fs::read(archive.folder().join(&name)).unwrap(), std::fs::read(export.join(&name)).unwrap());
    }
    // Nothing more is due; what was copied is not emptied twice.
    assert_eq!(made.copy(&archive, &newest, LATER).unwrap(), None);
}

#[tokio::test]
async fn the_tree_is_made_again_from_the_tiles_of_what_is_archived() {
    let folder = tempfile::TempDir::new().unwrap();
    let (made, archive) = archived(&folder.path().join("archive")).await;
    let size = made.reader.log_end().unwrap().leaves;
    let root = kept_tree(&made.reader, size).root().unwrap();
    let again = folder.path().join("again.db");
    chancery_store::back_up(&made.database(), &again).unwrap();
    rusqlite::Connection::open(&again).unwrap().execute_batch("DELETE FROM tiles WHERE level > 0").unwrap();
    let (log, reader) = crate::support::start(&again);
    let head = log.tree_head().await.unwrap().unwrap();
    assert_eq!((head.size, head.root), (size, root));
    assert_eq!(kept_tree(&reader, size).root().unwrap(), root);
    log.shutdown().await;
    // Without them there is no tree, and none is made of something else.
    rusqlite::Connection::open(&again).unwrap().execute_batch("DELETE FROM tiles").unwrap();
    let (log, _reader) = crate::support::start(&again);
    assert_eq!(log.tree_head().await.unwrap(), None);
    drop(archive);
}

#[tokio::test]
async fn what_is_young_open_or_under_no_checkpoint_stays_where_it_is() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut made = Made::empty();
    made.intents(256, true).await;
    let between = Timestamp::now();
    while Timestamp::now() <= between {}
    made.intents(300, true).await;
    let early = made.sign().await;
    made.intents(256, false).await;
    let late = made.sign().await;
    let count = |name: &str, checkpoint: &SignedCheckpoint, before: Timestamp| {
        let archive = Archive::at(&folder.path().join(name));
        made.copy(&archive, checkpoint, before).unwrap().map(|copied: Copied| copied.tiles())
    };
    assert_eq!(count("young", &early, Timestamp::from_unix_micros(0)), None);
    assert!(!folder.path().join("young").exists(), "nothing is made for nothing");
    assert_eq!(count("some", &early, between), Some(1));
    assert_eq!(count("signed", &early, LATER), Some(2), "up to the checkpoint");
    assert_eq!(count("open", &late, LATER), Some(2), "up to what is open");
}

#[tokio::test]
async fn a_leaf_that_does_not_fit_its_tile_or_checkpoint_is_not_archived() {
    let folder = tempfile::TempDir::new().unwrap();
    let (made, checkpoint) = made().await;
    let hand = Hand::at(&made);
    hand.run("CREATE TEMP TABLE tile AS SELECT * FROM tiles");
    let of_300 = "SELECT rowid FROM tiles WHERE level = 0 AND idx = 1";
    let of_300 = rusqlite::Connection::open(made.database()).unwrap().query_row(of_300, [], |row| row.get(0)).unwrap();
    let (leaf, tile) = (hand.value("leaf", "leaves", 300), hand.value("hashes", "tiles", of_300));
    let refused = |name: &str| {
        let error = made.copy(&Archive::at(&folder.path().join(name)), &checkpoint, LATER).unwrap_err();
        assert!(matches!(error, CopyError::Leaf { .. }), "{error:?}");
        error.to_string()
    };
    let mut edited = leaf.clone();
    *edited.last_mut().unwrap() ^= 1;
    hand.set("leaf", "leaves", 300, &edited, false);
    assert!(refused("edited").starts_with("record 300 is not the one whose hash is in the tree"));
    // Its hash edited, too: the checkpoint tells.
    let mut hashes = tile.clone();
    hashes[(300 - 256) * 32..][..32].copy_from_slice(&leaf_hash(&edited));
    hand.set("hashes", "tiles", of_300, &hashes, false);
    assert!(refused("both").starts_with("record 256 or one of the 255 behind it is not under the checkpoint"));
    hand.set("hashes", "tiles", of_300, &tile, false);
    hand.set("leaf", "leaves", 300, &[1, 0xff], false);
    assert!(refused("unreadable").starts_with("record 300 cannot be read"));
    hand.set("leaf", "leaves", 300, &leaf, false);
    hand.run("DELETE FROM tiles WHERE level = 0 AND idx = 1");
    assert!(refused("no tile").starts_with("record 256 begins a whole tile that is not kept"));
    hand.run("DELETE FROM tiles; INSERT INTO tiles SELECT * FROM temp.tile");
    let whole = made.copy(&Archive::at(&folder.path().join("whole")), &checkpoint, LATER).unwrap();
    assert_eq!((whole.unwrap().tiles(), made.reader.archived().unwrap()), (2, 0));
}

#[tokio::test]
async fn what_is_there_already_has_to_be_the_same() {
    let folder = tempfile::TempDir::new().unwrap();
    let (made, checkpoint) = made().await;
    let copy = |name: &str| made.copy(&Archive::at(&folder.path().join(name)), &checkpoint, LATER);
    // Once more, as after a crash.
    let once = copy("a").unwrap();
    assert_eq!(copy("a").unwrap(), once);
    let mut foreign = 0;
    for file in files(&folder.path().join("a")) {
        let bytes = std::fs::read(&file).unwrap();
        for changed in [bytes[..bytes.len() - 1].to_vec(), [&bytes[..], b"x"].concat(), Vec::new()] {
            std::fs::write(&file, &changed).unwrap();
            copy("a").unwrap_err();
            assert_eq!(std::fs::read(&file).unwrap(), changed, "nothing is written over");
            foreign += 1;
        }
        std::fs::write(&file, &bytes).unwrap();
    }
    assert_eq!((foreign, copy("a").unwrap()), (6 * 3, once));
    // Of another log, by its key; an export.
    let mut other = Made::empty();
    other.notary = crate::notaries::Notary::log("log.example/chancery", 2);
    other.intents(300, true).await;
    let theirs = other.sign().await;
    let error = other.copy(&Archive::at(&folder.path().join("a")), &theirs, LATER).unwrap_err();
    assert!(matches!(error, CopyError::Foreign { .. }), "{error:?}");
    made.export(&folder.path().join("export"), false);
    assert!(matches!(copy("export"), Err(CopyError::Export { .. })));
    // A log that has got another key goes on in its archive, and says so there.
    let mut keys = made.keys();
    keys.insert(0, other.notary.key.clone());
    let mut copying = Archive::at(&folder.path().join("a")).begin(&made.reader, &checkpoint, keys).unwrap();
    while copying.copy_next(LATER).unwrap() {}
    assert_eq!(std::fs::read_to_string(folder.path().join("a/log-keys")).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn nothing_is_written_where_an_archive_has_gone_or_been_taken_meanwhile() {
    let folder = tempfile::TempDir::new().unwrap();
    let (made, checkpoint) = made().await;
    let (here, away) = (folder.path().join("here"), folder.path().join("away"));
    let archive = Archive::at(&here);
    let begun = || archive.begin(&made.reader, &checkpoint, made.keys()).unwrap();
    // An empty folder in its place, as where a share was mounted: between two tiles, and before the end.
    for tiles in [1, 2] {
        let mut copying = begun();
        for _ in 0..tiles {
            assert!(copying.copy_next(LATER).unwrap());
        }
        std::fs::rename(&here, &away).unwrap();
        std::fs::create_dir(&here).unwrap();
        let error =
            if tiles == 1 { copying.copy_next(LATER).map(drop) } else { copying.finish().map(drop) }.unwrap_err();
        assert!(matches!(error, CopyError::Archive(ArchiveError::Away { .. })), "{error:?}");
        assert_eq!(files(&here).len(), 0);
        std::fs::remove_dir(&here).unwrap();
        std::fs::rename(&away, &here).unwrap();
    }
    // Another log has put its keys there.
    let mut copying = begun();
    assert!(copying.copy_next(LATER).unwrap());
    let keys = std::fs::read(here.join("log-keys")).unwrap();
    let other = crate::notaries::Notary::log("log.example/chancery", 2).key;
    std::fs::write(here.join("log-keys"), format!("{other}\n")).unwrap();
    let error = copying.copy_next(LATER).unwrap_err();
    assert!(matches!(error, CopyError::Foreign { .. }), "{error:?}");
    std::fs::write(here.join("log-keys"), keys).unwrap();
    // What is not finished has a name that anybody can guess who may write there: no link by it is followed.
    let victim = folder.path().join("victim");
    std::fs::write(&victim, "as it was").unwrap();
    std::fs::remove_file(here.join("tile/entries/001")).unwrap();
    std::os::unix::fs::symlink(&victim, here.join("tile/entries/001.unfinished")).unwrap();
    assert_eq!(made.copy(&archive, &checkpoint, LATER).unwrap().unwrap().tiles(), 2);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "as it was");
    // Folders above it are made, too.
    let deep = Archive::at(&folder.path().join("a/b/c"));
    assert_eq!(made.copy(&deep, &checkpoint, LATER).unwrap().unwrap().tiles(), 2);
}

#[tokio::test]
async fn whatever_is_changed_in_an_archive_is_found_when_it_is_read() {
    let folder = tempfile::TempDir::new().unwrap();
    let (made, archive) = archived(&folder.path().join("archive")).await;
    let hashes = made.reader.tile(0, 1).unwrap().unwrap();
    let bundle = archive.folder().join("tile/entries/001");
    let bytes = std::fs::read(&bundle).unwrap();
    let (mut found, mut records) = (0, 0);
    // Every byte of the first entries, lengths included, and so many of the others that each place in an entry comes up.
    let begin = bytes.len() / 16;
    let places: Vec<usize> = (0..begin).chain((begin..bytes.len()).step_by(13)).collect();
    for &place in &places {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        std::fs::write(&bundle, changed).unwrap();
        let Err(ArchiveError::Changed { file, what }) = archive.tile(1, &hashes) else { panic!("byte {place}") };
        assert_eq!(file, bundle);
        found += 1;
        records += usize::from(what.starts_with("the leaf of record "));
    }
    assert_eq!(found, places.len());
    assert!(records > found * 9 / 10, "the others are lengths: {records}");
    std::fs::write(&bundle, &bytes).unwrap();

    // All files, as verification finds them: each by its place.
    let mut faults = Vec::new();
    for file in files(archive.folder()) {
        let name = file.strip_prefix(archive.folder()).unwrap().to_str().unwrap().to_owned();
        if name == "log-keys" {
            continue;
        }
        let bytes = std::fs::read(&file).unwrap();
        for place in (0..bytes.len()).step_by(bytes.len() / 3) {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            std::fs::write(&file, changed).unwrap();
            faults.push((name.clone(), fault(made.verify_with(&archive)).at.to_string()));
        }
        std::fs::remove_file(&file).unwrap();
        if !name.starts_with("checkpoints") {
            let Fault { at, check: Check::Archive(what) } = fault(made.verify_with(&archive)) else { panic!("{name}") };
            assert!(what.contains(&format!("{name} is not there, and was")), "{what}");
            faults.push((name.clone(), at.to_string()));
        }
        std::fs::write(&file, &bytes).unwrap();
        made.verify_with(&archive).unwrap();
    }
    assert!(faults.len() > 20, "{}", faults.len());
    for (file, at) in faults {
        let expected = if file.starts_with("checkpoints") { "checkpoint" } else { file.as_str() };
        assert!(at.contains(expected), "{file}: {at}");
    }
}

#[tokio::test]
async fn what_comes_before_it_is_found_first_and_an_archive_that_is_away_is_no_fault() {
    let folder = tempfile::TempDir::new().unwrap();
    let (made, archive) = archived(&folder.path().join("archive")).await;
    let bundle = archive.folder().join("tile/entries/001");
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let hand = Hand::at(&made);
    hand.run("UPDATE details SET salt = zeroblob(32) WHERE idx IN (200, 300, 600)");
    assert_eq!(fault(made.verify_with(&archive)), Fault { at: Place::Record(200), check: Check::Commitment });
    let away = Archive::at(&folder.path().join("away"));
    for error in [made.verify_with(&away).unwrap_err(), {
        let reader = chancery_store::look_into(&made.database()).unwrap();
        let trusted =
            chancery_audit::verify::Trusted { log_keys: made.keys(), checkpoints: Vec::new(), ..Default::default() };
        chancery_audit::verify::verify_database(&reader, None, trusted, |_, _| ()).unwrap_err()
    }] {
        let VerifyError::Read { source: StoreError::Archived { source, .. }, .. } = error else { panic!("{error:?}") };
        assert!(matches!(source, ArchiveError::Away { .. } | ArchiveError::NotNamed), "{source:?}");
    }
    // Nothing is copied beside what is away, be there an empty folder in its place.
    std::fs::create_dir(away.folder()).unwrap();
    let newest = SignedCheckpoint::parse(made.reader.newest_checkpoint().unwrap().unwrap().note.as_bytes()).unwrap();
    let error = made.copy(&away, &newest, LATER).unwrap_err();
    assert!(matches!(error, CopyError::Database(StoreError::Archived { .. })), "{error:?}");
    assert_eq!(files(away.folder()).len(), 0);
}

#[tokio::test]
async fn a_leaf_that_another_hand_emptied_is_a_fault_by_its_place() {
    let folder = tempfile::TempDir::new().unwrap();
    let (made, archive) = archived(&folder.path().join("archive")).await;
    Hand::at(&made).run("UPDATE leaves SET leaf = x'' WHERE idx = 600");
    assert_eq!(fault(made.verify_with(&archive)), Fault { at: Place::Record(600), check: Check::NoLeaf });
}

#[tokio::test]
async fn a_tile_of_tiles_is_archived_when_it_is_whole() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut made = Made::empty();
    for _ in 0..22 {
        made.intents(3_000, true).await;
    }
    let checkpoint = made.sign().await;
    let archive = Archive::at(folder.path());
    let copied = made.copy(&archive, &checkpoint, LATER).unwrap().unwrap();
    assert_eq!(copied.tiles(), checkpoint.unverified().size() / 256);
    let upper = folder.path().join("tile/1/000");
    let hashes = std::fs::read(&upper).unwrap();
    assert_eq!(Some(&hashes), made.reader.tile(1, 0).unwrap().as_ref());
    assert!(!folder.path().join("tile/1/001").exists(), "it is not whole");
    made.empty_leaves(&copied).await;
    made.verify_with(&archive).unwrap();
    let mut changed = hashes.clone();
    changed[8_000] ^= 1;
    std::fs::write(&upper, changed).unwrap();
    assert_eq!(fault(made.verify_with(&archive)).at, Place::Tile(Tile::new(1, 0, TILE_WIDTH).unwrap()));
}
