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
        exporter.record(&LogRecord { index: row.index, leaf: row.leaf, details }).unwrap();
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
