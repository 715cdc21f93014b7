//! An export that is interrupted, gone on with, and begun where it must not be.

use crate::made::{Made, files, verify};
use chancery_audit::export::{ExportDatabaseError, ExportError, Exporter, export_database};
use chancery_audit::verify::LogRecord;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |path: &Path| path.strip_prefix(folder).unwrap().display().to_string();
    files(folder).iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn an_interrupted_export_goes_on_at_the_last_whole_bundle() {
    let made = Made::of_intents(600).await;
    let (at_once, resumed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let exported = made.export(at_once.path(), true);
    assert_eq!(exported.added, 600);
    let mut exporter = Exporter::begin(resumed.path(), exported.checkpoint.clone(), true).unwrap();
    for row in made.reader.log_rows(0, 400).unwrap() {
        let details = row.details.map(|details| (details.salt, details.content));
        exporter.record(&LogRecord { index: row.index, leaf: row.leaf, details, erased_by: None }).unwrap();
    }
    drop(exporter);
    assert!(verify(resumed.path(), &[]).is_err(), "it is no export before its checkpoint is there");
    let again = Exporter::begin(resumed.path(), exported.checkpoint.clone(), true).unwrap();
    assert_eq!(again.wants(), Some(256));
    assert_eq!(made.export(resumed.path(), true), exported);
    assert_eq!(contents(resumed.path()), contents(at_once.path()));
    verify(resumed.path(), &[]).unwrap();
}

#[tokio::test]
async fn an_export_grows_with_the_log_and_keeps_its_checkpoints() {
    let mut made = Made::of_intents(300).await;
    let folder = TempDir::new().unwrap();
    made.export(folder.path(), true);
    for (more, partial) in [(100, "001.p/144"), (150, "002.p/38"), (0, "002.p/38")] {
        if more > 0 {
            made.intents(more, false).await;
            made.sign().await;
        }
        assert_eq!(made.export(folder.path(), true).added, more as u64);
        let names: Vec<String> = contents(folder.path()).into_keys().collect();
        for place in ["tile/0", "tile/entries", "details"] {
            assert!(names.contains(&format!("{place}/{partial}")), "{names:?}");
        }
        verify(folder.path(), &[]).unwrap();
    }
    let names: Vec<String> = contents(folder.path()).into_keys().collect();
    assert!(!names.iter().any(|name| name.contains("001.p")), "what is whole needs no partial one: {names:?}");
    let report = verify(folder.path(), &[]).unwrap();
    assert_eq!((report.size, report.checkpoints, report.details), (550, 3, 550));
}

#[tokio::test]
async fn an_export_is_begun_in_a_folder_of_its_own_and_stays_what_it_is() {
    let made = Made::small().await;
    let folder = TempDir::new().unwrap();
    let export = |path: &Path, details| {
        let ended = export_database(&made.reader, &made.keys(), path, details, |_, _| ());
        match ended {
            Err(ExportDatabaseError::Export(error)) => Err(error),
            other => Ok(other.unwrap()),
        }
    };
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter"), "dear").unwrap();
    assert!(matches!(export(&other, true), Err(ExportError::Occupied { .. })));
    for (name, details) in [("with", true), ("without", false)] {
        let path = folder.path().join(name);
        export(&path, details).unwrap();
        export(&path, details).unwrap();
        assert!(matches!(export(&path, !details), Err(ExportError::Details { begun, .. }) if begun == name));
    }
    // What is not the log's is not published.
    let stranger = crate::notaries::Notary::log("log.example/chancery", 9);
    let refused = export_database(&made.reader, &[stranger.key], &folder.path().join("new"), true, |_, _| ());
    assert!(matches!(refused, Err(ExportDatabaseError::Checkpoint { size: 9, .. })));
    assert!(matches!(
        export_database(&Made::empty().reader, &made.keys(), &folder.path().join("new"), true, |_, _| ()),
        Err(ExportDatabaseError::Unsigned)
    ));
}

#[tokio::test]
async fn records_that_were_not_signed_are_not_published_nor_in_the_way_of_those_that_were() {
    let made = Made::of_intents(600).await;
    let folder = TempDir::new().unwrap();
    let hand = crate::database::Hand::at(&made);
    hand.run("CREATE TEMP TABLE kept AS SELECT * FROM leaves WHERE idx = 300; UPDATE leaves SET leaf = x'00' WHERE idx = 300");
    let refused = export_database(&made.reader, &made.keys(), folder.path(), true, |_, _| ());
    assert!(matches!(refused, Err(ExportDatabaseError::Export(ExportError::Fork { size: 600 }))));
    assert!(verify(folder.path(), &[]).is_err());
    hand.run("UPDATE leaves SET leaf = (SELECT leaf FROM kept) WHERE idx = 300");
    assert_eq!(made.export(folder.path(), true).added, 600);
    verify(folder.path(), &[]).unwrap();
}

/// Every file of `all` that `published` has not, cut to nothing and to its half, in a copy of both.
fn each_cut(
    all: &BTreeMap<String, Vec<u8>>,
    published: &BTreeMap<String, Vec<u8>>,
    mut then: impl FnMut(&Path, &str),
) -> usize {
    let mut cut = 0;
    for (name, bytes) in all.iter().filter(|(name, _)| !published.contains_key(*name) && *name != "checkpoint") {
        // Not between two lines of details: what is missing behind one may have been erased, and a file that has its name is whole.
        for length in [0, bytes.len() / 2 + 1] {
            let folder = TempDir::new().unwrap();
            for (other, bytes) in published.iter().chain(all.iter().filter(|(name, _)| *name != "checkpoint")) {
                let path = folder.path().join(other);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            fs::write(folder.path().join(name), &bytes[..length]).unwrap();
            then(folder.path(), name);
            cut += 1;
        }
    }
    cut
}

#[tokio::test]
async fn what_a_loss_of_power_leaves_behind_the_published_part_is_made_whole_by_the_next_export() {
    let mut made = Made::of_intents(300).await;
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    made.export(first.path(), true);
    let published = contents(first.path());
    made.intents(700, false).await;
    made.sign().await;
    made.export(second.path(), true);
    let all = contents(second.path());
    let made_whole = |folder: &Path, name: &str, expected: &BTreeMap<String, Vec<u8>>| {
        made.export(folder, true);
        verify(folder, &[]).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert_eq!(contents(folder), *expected, "{name}");
    };
    // Before anything is published, and behind what is: each kind of file.
    let cut = each_cut(&all, &BTreeMap::new(), |folder, name| made_whole(folder, name, &all));
    assert_eq!(cut, 2 * (all.len() - 1));
    // A partial tile of before stays until there is a whole one.
    let partial = "tile/1/000.p/1".to_owned();
    let both = all.clone().into_iter().chain([(partial.clone(), published[&partial].clone())]).collect();
    let cut = each_cut(&all, &published, |folder, name| made_whole(folder, name, &both));
    assert!(all.keys().any(|name| name.starts_with("checkpoints/")) && all.contains_key("log-keys"));
    assert_eq!(cut, 2 * (3 * 3 + 1 + 1), "bundles 1, 2 and 3 in three files each, the tile above, a kept checkpoint");
}

#[tokio::test]
async fn a_whole_tile_above_the_lowest_is_written_again_where_it_was_not_published() {
    let made = Made::of_intents(65_600).await;
    let (at_once, cut) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    made.export(at_once.path(), false);
    let all = contents(at_once.path());
    made.export(cut.path(), false);
    fs::remove_file(cut.path().join("checkpoint")).unwrap();
    fs::write(cut.path().join("tile/1/000"), b"").unwrap();
    made.export(cut.path(), false);
    assert_eq!(contents(cut.path()), all);
    verify(cut.path(), &[]).unwrap();
}

#[tokio::test]
async fn no_record_is_taken_that_the_checkpoint_does_not_cover() {
    let mut made = Made::of_intents(300).await;
    let folder = TempDir::new().unwrap();
    let checkpoint = made.export(&folder.path().join("to-look-at"), false).checkpoint;
    made.intents(300, false).await;
    let mut exporter = Exporter::begin(&folder.path().join("log"), checkpoint, false).unwrap();
    let mut refused = 0;
    for row in made.reader.log_rows(0, 600).unwrap() {
        let record = LogRecord { index: row.index, leaf: row.leaf, details: None, erased_by: None };
        let taken = exporter.record(&record);
        assert_eq!(taken.is_ok(), row.index < 300, "{}: {taken:?}", row.index);
        refused += u64::from(taken.is_err());
    }
    assert_eq!((exporter.wants(), refused), (None, 300));
    assert!(!folder.path().join("log/tile/entries/001").exists(), "nothing of it is on the disk");
    exporter.publish(std::iter::empty::<Result<_, ExportError>>(), &made.keys()).unwrap();
    assert_eq!(verify(&folder.path().join("log"), &[]).unwrap().size, 300);
}

#[tokio::test]
async fn an_export_is_not_gone_on_with_over_a_part_that_somebody_changed() {
    let mut made = Made::of_intents(18 * 256 + 44).await;
    let folder = TempDir::new().unwrap();
    assert_eq!(made.export(folder.path(), true).held_from, 0, "nothing was there");
    made.intents(100, false).await;
    made.sign().await;
    let before = contents(folder.path());
    // The last 16 whole bundles are read again; of those before, `audit verify` has to say it.
    for (name, found) in [
        ("tile/entries/000", false),
        ("details/001", false),
        ("tile/0/000", true),
        ("tile/entries/002", true),
        ("details/002", true),
        ("tile/entries/017", true),
        ("details/017", true),
        ("tile/0/017", true),
    ] {
        let path = folder.path().join(name);
        let original = &before[name];
        let mut changed = original.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 0xFF;
        fs::write(&path, &changed).unwrap();
        if found {
            let refused = export_database(&made.reader, &made.keys(), folder.path(), true, |_, _| ());
            let Err(ExportDatabaseError::Export(error)) = refused else { panic!("{name}: {refused:?}") };
            assert!(matches!(error, ExportError::Damaged { .. }), "{name}: {error}");
            fs::write(&path, original).unwrap();
            assert_eq!(contents(folder.path()), before, "{name}");
        } else {
            assert!(verify(folder.path(), &[]).is_err(), "{name}");
            fs::write(&path, original).unwrap();
        }
    }
    let exported = made.export(folder.path(), true);
    assert_eq!((exported.added, exported.held_from), (100, 512));
    verify(folder.path(), &[]).unwrap();
}
