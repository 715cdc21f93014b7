//! An export that somebody changes.

use crate::made::{Made, files, verify};
use chancery_audit::export::{ExportDatabaseError, ExportError, export_database};
use chancery_audit::tree::{leaf_hash, push_entry, read_bundle};
use chancery_audit::verify::{Check, Fault, Place};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn change(path: &Path, changed: &[u8]) {
    fs::write(path, changed).unwrap();
}

#[tokio::test]
async fn every_bit_of_an_export_is_vouched_for() {
    let made = Made::small().await;
    let folder = TempDir::new().unwrap();
    made.export(folder.path(), true);
    let report = verify(folder.path(), &[]).unwrap();
    assert_eq!((report.size, report.checkpoints, report.attested, report.details), (9, 2, 9, 9));
    assert_eq!(report.open, [8]);
    let (mut bits, mut bytes) = (0, 0);
    let files = files(folder.path());
    let names: Vec<String> =
        files.iter().map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string()).collect();
    let kept = "checkpoints/00000000000000000004";
    let expected = ["checkpoint", kept, "details/000.p/9", "log-keys", "tile/0/000.p/9", "tile/entries/000.p/9"];
    assert_eq!(names, expected);
    for path in files {
        let original = fs::read(&path).unwrap();
        bytes += original.len();
        for bit in 0..original.len() * 8 {
            let mut changed = original.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            change(&path, &changed);
            assert!(verify(folder.path(), &[]).is_err(), "bit {bit} of {}", path.display());
            bits += 1;
        }
        // Cut, or longer.
        for length in 0..original.len() {
            change(&path, &original[..length]);
            // Details may be missing, where they were erased; not those of the acts, which are records 0 and 4.
            let lines = original[..length].iter().filter(|byte| **byte == b'\n').count();
            let whole_lines =
                path.starts_with(folder.path().join("details")) && lines >= 5 && original[length - 1] == b'\n';
            assert_eq!(verify(folder.path(), &[]).is_ok(), whole_lines, "{} bytes of {}", length, path.display());
        }
        change(&path, &[original.as_slice(), b"\n"].concat());
        assert!(verify(folder.path(), &[]).is_err(), "one byte more in {}", path.display());
        change(&path, &original);
    }
    assert_eq!(bits, bytes * 8);
    verify(folder.path(), &[]).unwrap();
}

#[tokio::test]
async fn what_is_changed_is_named() {
    let made = Made::of_intents(300).await;
    let folder = TempDir::new().unwrap();
    made.export(folder.path(), false);
    let mut found = 0;
    // A leaf's commitment, which the leaf alone does not show to be wrong, and no details beside it. Whoever changes it may
    // change the tile with it, or not.
    for (entries, tile, first, width) in
        [("tile/entries/000", "tile/0/000", 0, 256), ("tile/entries/001.p/44", "tile/0/001.p/44", 256, 44)]
    {
        let (entries, tile) = (folder.path().join(entries), folder.path().join(tile));
        let (bundle, hashes) = (fs::read(&entries).unwrap(), fs::read(&tile).unwrap());
        let leaves = read_bundle(&bundle, width).unwrap();
        for place in 0..usize::from(width) {
            let mut leaf = leaves[place].to_vec();
            let at = leaf.len() - 1 - place % 32;
            leaf[at] ^= 1 << (place % 8);
            let mut changed = Vec::new();
            for (other, bytes) in leaves.iter().enumerate() {
                push_entry(&mut changed, if other == place { &leaf } else { bytes }).unwrap();
            }
            change(&entries, &changed);
            let Fault { at, check } = verify(folder.path(), &[]).unwrap_err().unwrap();
            assert_eq!(at, Place::Record(first + place as u64));
            assert!(matches!(check, Check::TileHash { .. }), "{check}");
            let mut both = hashes.clone();
            both[place * 32..][..32].copy_from_slice(&leaf_hash(&leaf));
            change(&tile, &both);
            let Fault { check, .. } = verify(folder.path(), &[]).unwrap_err().unwrap();
            assert!(matches!(check, Check::TileHash { .. } | Check::Root { since: 0 }), "{check}");
            change(&entries, &bundle);
            // The tile alone.
            let fault = verify(folder.path(), &[]).unwrap_err().unwrap();
            assert_eq!(fault.at, Place::Record(first + place as u64));
            change(&tile, &hashes);
            found += 3;
        }
    }
    assert_eq!(found, 3 * 300);
    // The tile above, and each file missing.
    let above = folder.path().join("tile/1/000.p/1");
    let hash = fs::read(&above).unwrap();
    for bit in 0..256 {
        let mut changed = hash.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        change(&above, &changed);
        let fault = verify(folder.path(), &[]).unwrap_err().unwrap();
        assert_eq!(fault.at.to_string(), "tile/1/000.p/1");
    }
    change(&above, &hash);
    let files = files(folder.path());
    for path in &files {
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        assert!(verify(folder.path(), &[]).is_err(), "without {}", path.display());
        change(path, &bytes);
    }
    assert_eq!(files.len(), 7);
    verify(folder.path(), &[]).unwrap();
}

#[tokio::test]
async fn records_that_are_deleted_doubled_or_exchanged_are_found_though_the_tiles_were_made_anew() {
    let made = Made::small().await;
    let folder = TempDir::new().unwrap();
    made.export(folder.path(), false);
    let (entries, tile) = (folder.path().join("tile/entries/000.p/9"), folder.path().join("tile/0/000.p/9"));
    let bundle = fs::read(&entries).unwrap();
    let leaves: Vec<Vec<u8>> = read_bundle(&bundle, 9).unwrap().into_iter().map(<[u8]>::to_vec).collect();
    let mut found = 0;
    let mut forged = |leaves: &[Vec<u8>], what: &str| {
        let mut bundle = Vec::new();
        leaves.iter().for_each(|leaf| push_entry(&mut bundle, leaf).unwrap());
        change(&entries, &bundle);
        change(&tile, leaves.iter().map(|leaf| leaf_hash(leaf)).collect::<Vec<_>>().as_flattened());
        assert!(verify(folder.path(), &[]).is_err(), "{what}");
        found += 1;
    };
    for at in 0..9 {
        let mut without = leaves.clone();
        without.remove(at);
        forged(&without, &format!("record {at} deleted"));
        // As many as there were.
        without.push(leaves[8].clone());
        if at < 8 {
            forged(&without, &format!("record {at} deleted, and the last one doubled"));
        }
        for other in 0..at {
            let mut exchanged = leaves.clone();
            exchanged.swap(at, other);
            forged(&exchanged, &format!("records {at} and {other} exchanged"));
        }
    }
    assert_eq!(found, 9 + 8 + 36);
}

#[tokio::test]
async fn another_log_and_an_older_one_are_found_by_who_kept_a_checkpoint() {
    let mut made = Made::small().await;
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    made.export(old.path(), true);
    made.intents(3, true).await;
    let newest = made.sign().await;
    made.export(new.path(), true);
    // Each is whole in itself; the old one has fewer records than a checkpoint that somebody kept.
    assert_eq!(verify(new.path(), std::slice::from_ref(&newest)).unwrap().checkpoints, 4);
    verify(old.path(), &[]).unwrap();
    let fault = verify(old.path(), std::slice::from_ref(&newest)).unwrap_err().unwrap();
    assert_eq!(fault, Fault { at: Place::Checkpoint(13), check: Check::Truncated { records: 9 } });

    // A fork that the log's own key has signed.
    let mut fork = Made::small().await;
    fork.intents(3, true).await;
    fork.sign().await;
    let forked = TempDir::new().unwrap();
    fork.export(forked.path(), true);
    verify(forked.path(), &[]).unwrap();
    let fault = verify(forked.path(), &[newest]).unwrap_err().unwrap();
    assert_eq!(fault.at, Place::Checkpoint(13));
    assert!(matches!(fault.check, Check::Root { .. }), "{fault}");
    // Nor is it the continuation of what was exported, whether that is shorter or as long.
    for folder in [&old, &new] {
        let error = export_database(&fork.reader, &fork.keys(), folder.path(), true, |_, _| ()).unwrap_err();
        let ExportDatabaseError::Export(error) = error else { panic!("{error}") };
        assert!(matches!(error, ExportError::Fork { size: 13 } | ExportError::Damaged { .. }), "{error}");
        verify(folder.path(), &[]).unwrap();
    }
    // A shorter log that is another one.
    let error = export_database(&Made::small().await.reader, &fork.keys(), new.path(), true, |_, _| ()).unwrap_err();
    assert!(matches!(error, ExportDatabaseError::Export(ExportError::Fork { size: 9 })), "{error}");
}
