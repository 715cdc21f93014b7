//! Checkpoints that witnesses have cosigned: exported, verified, and changed by somebody.

use crate::database::Hand;
use crate::made::{Made, files, policy, verify, verify_witnessed, witnesses};
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::export::{ExportDatabaseError, ExportError, Exported, Exporter, export_database};
use chancery_audit::verify::Witnessed;
use chancery_audit::{kept_tree, witness::WitnessPolicy};
use chancery_store::Reader;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn read(path: &Path) -> SignedCheckpoint {
    SignedCheckpoint::parse(&fs::read(path).unwrap()).unwrap()
}

/// The checkpoint that is kept beside the newest.
fn kept(folder: &Path, size: u64) -> SignedCheckpoint {
    read(&folder.join(format!("checkpoints/{size:020}")))
}

/// Exports up to this checkpoint, as from a service that shows it.
fn export_up_to(made: &Made, checkpoint: &SignedCheckpoint, folder: &Path) -> Result<Exported, ExportError> {
    let mut exporter = Exporter::begin(folder, checkpoint.clone(), true)?;
    let published = exporter.ahead().map(chancery_audit::checkpoint::Checkpoint::size);
    if let Some(published) = published.filter(|size| *size <= made.reader.log_end().unwrap().leaves) {
        let proof = kept_tree(&made.reader, published).consistency_proof(checkpoint.unverified().size()).unwrap();
        exporter.log_shows(&proof)?;
    }
    if let Some(first) = exporter.wants() {
        let count = checkpoint.unverified().size() - first;
        for row in made.reader.log_rows(first, u32::try_from(count).unwrap()).unwrap() {
            let details = row.details.map(|details| (details.salt, details.content));
            exporter.record(&chancery_audit::verify::LogRecord {
                index: row.index,
                leaf: row.leaf,
                details,
                erased_by: None,
            })?;
        }
    }
    exporter.publish(std::iter::empty::<Result<_, ExportError>>(), &made.keys())
}

fn export(reader: &Reader, made: &Made, folder: &Path) -> Result<Exported, ExportError> {
    export_database(reader, &made.keys(), folder, true, |_, _| ()).map_err(|error| match error {
        ExportDatabaseError::Export(error) => error,
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn an_export_of_a_database_has_its_cosigned_checkpoints() {
    let mut made = Made::empty();
    let pair = witnesses::<2>();
    made.intents(3, false).await;
    let three = made.sign().await;
    let three = made.cosign(&three, &pair).await;
    made.intents(3, false).await;
    let six = made.sign().await;
    let folder = TempDir::new().unwrap();
    let exported = made.export(folder.path(), true);
    assert_eq!((exported.checkpoint.clone(), exported.behind), (six.clone(), None));
    assert_eq!(kept(folder.path(), 3), three, "with its cosignatures");
    // The same again once the newest is cosigned, too.
    let cosigned = made.cosign(&six, &pair).await;
    let again = made.export(folder.path(), true);
    assert_eq!((again.checkpoint, again.added), (cosigned.clone(), 0));
    assert_eq!(read(&folder.path().join("checkpoint")), cosigned);
    // What is there with more is not replaced by less, nor is what is kept.
    assert_eq!(export_up_to(&made, &six, folder.path()).unwrap().checkpoint, cosigned);
    Hand::at(&made).run("DELETE FROM cosigned_checkpoints; DELETE FROM shown_checkpoint");
    assert_eq!(made.export(folder.path(), true).checkpoint, cosigned);
    assert_eq!(kept(folder.path(), 3), three);
    let both = policy(&pair, 2);
    let (report, witnessed) = verify_witnessed(folder.path(), &both).unwrap();
    assert_eq!((report.size, report.checkpoints, witnessed.size, witnessed.checkpoints), (6, 2, 6, 2));
}

#[tokio::test]
async fn an_export_never_goes_back_and_a_log_that_was_cut_is_told_all_the_same() {
    let mut made = Made::empty();
    let [one] = witnesses::<1>();
    made.intents(300, false).await;
    let first = made.sign().await;
    let yesterday = made.database().with_extension("yesterday");
    chancery_store::back_up(&made.database(), &yesterday).unwrap();
    let counted = made.cosign(&first, std::slice::from_ref(&one)).await;
    for count in [30, 260] {
        made.intents(count, false).await;
        made.sign().await;
    }
    // The database has more than counts by now.
    let folder = TempDir::new().unwrap();
    assert_eq!(made.export(folder.path(), true).added, 590);
    let before = fs::read(folder.path().join("checkpoint")).unwrap();
    let exported = export_up_to(&made, &counted, folder.path()).unwrap();
    assert_eq!((exported.checkpoint.unverified().size(), exported.added, exported.behind), (590, 0, Some(300)));
    assert_eq!(fs::read(folder.path().join("checkpoint")).unwrap(), before, "it stays");
    assert_eq!(kept(folder.path(), 300), counted);
    assert_eq!(verify(folder.path(), &[]).unwrap().checkpoints, 3);
    // And goes on from there once more is exported.
    made.intents(10, false).await;
    let newest = made.sign().await;
    assert_eq!(export_up_to(&made, &newest, folder.path()).unwrap().added, 10);
    assert_eq!(verify(folder.path(), &[]).unwrap().checkpoints, 4);

    // The log of yesterday: nothing in it shows more.
    let reader = chancery_store::look_into(&yesterday).unwrap();
    let error = export(&reader, &made, folder.path()).unwrap_err();
    assert!(matches!(error, ExportError::Behind { exported: 600, size: 300, .. }), "{error}");
    assert!(error.to_string().contains("it was cut, or an old copy was put back"), "{error}");
    // Cut, and its checkpoints with it.
    let hand = Hand::at(&made);
    hand.run("DELETE FROM checkpoints WHERE size > 300; DELETE FROM leaves WHERE idx >= 300; UPDATE head SET next_index = 300");
    let error = export(&made.reader, &made, folder.path()).unwrap_err();
    assert!(matches!(error, ExportError::Behind { exported: 600, size: 300, .. }), "{error}");
    // Cut, and grown again otherwise, under a checkpoint of as few as before.
    let mut other = Made::empty();
    other.intents(300, false).await;
    other.sign().await;
    let error = export(&other.reader, &other, folder.path()).unwrap_err();
    assert!(matches!(error, ExportError::Fork { size: 300 }), "{error}");
    assert_eq!(verify(folder.path(), &[]).unwrap().size, 600, "the export is as it was");
}

#[tokio::test]
async fn a_log_that_goes_on_otherwise_behind_what_counts_is_a_fork() {
    let mut made = Made::empty();
    made.intents(3, false).await;
    let counted = made.sign().await;
    let fork = made.database().with_extension("fork");
    chancery_store::back_up(&made.database(), &fork).unwrap();
    made.intents(5, false).await;
    made.sign().await;
    let folder = TempDir::new().unwrap();
    made.export(folder.path(), true);
    // As many records, and others: the leaf of another salt.
    let (log, reader) = crate::support::start(&fork);
    let epoch = reader.load_state().unwrap().epoch;
    let intents = (0..5).map(|_| crate::support::intent()).collect();
    drop(log.record_intents(epoch, intents).await.unwrap());
    let mut exporter = Exporter::begin(folder.path(), counted, true).unwrap();
    let proof = kept_tree(&reader, 8).consistency_proof(3).unwrap();
    let error = exporter.log_shows(&proof).unwrap_err();
    assert!(matches!(error, ExportError::Fork { size: 8 }), "{error}");
    let error = exporter.publish(std::iter::empty::<Result<_, ExportError>>(), &made.keys()).unwrap_err();
    assert!(matches!(error, ExportError::Behind { exported: 8, size: 3, .. }), "nothing is published: {error}");
}

/// Three checkpoints, the first two cosigned by all witnesses, the last by nobody.
async fn cosigned<const N: usize>() -> (Made, WitnessPolicy) {
    let mut made = Made::empty();
    let all = witnesses::<N>();
    for cosigned in [true, true, false] {
        made.intents(2, true).await;
        let checkpoint = made.sign().await;
        if cosigned {
            made.cosign(&checkpoint, &all).await;
        }
    }
    (made, policy(&all, N))
}

#[tokio::test]
async fn what_witnesses_vouch_for_ends_where_too_few_have_cosigned() {
    let (made, both) = cosigned::<2>().await;
    let names = |witnessed: &Witnessed| witnessed.by.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (report, witnessed) = made.verify_witnessed(&both).unwrap();
    assert_eq!((report.size, report.attested, report.checkpoints), (9, 9, 5), "three, and two with cosignatures");
    assert_eq!((witnessed.size, witnessed.checkpoints), (6, 2));
    assert_eq!(names(&witnessed), ["witness.example/w0", "witness.example/w1"]);
    // Another witness has cosigned nothing.
    let three = witnesses::<3>();
    assert_eq!(made.verify_witnessed(&policy(&three, 2)).unwrap().1.size, 6);
    assert_eq!(made.verify_witnessed(&policy(&three, 3)).unwrap().1, Witnessed::default());
    assert_eq!(made.verify(&[]).unwrap().witnessed, None, "nobody asked");
    // The same of the export.
    let folder = TempDir::new().unwrap();
    made.export(folder.path(), false);
    let (report, exported) = verify_witnessed(folder.path(), &both).unwrap();
    assert_eq!((report.checkpoints, exported), (3, witnessed));
    // A checkpoint that was kept elsewhere vouches, too.
    let held = made.cosign(&read(&folder.path().join("checkpoint")), &three[..2]).await;
    Hand::at(&made).run("DELETE FROM cosigned_checkpoints; DELETE FROM shown_checkpoint");
    let trusted = chancery_audit::verify::Trusted { log_keys: made.keys(), checkpoints: vec![held], witnesses: both };
    let report = chancery_audit::verify::verify_database(&made.reader, None, trusted, |_, _| ()).unwrap();
    assert_eq!(report.witnessed.unwrap().size, 9);
}

#[tokio::test]
async fn every_bit_of_a_cosigned_checkpoint_is_vouched_for() {
    let (made, one) = cosigned::<1>().await;
    let whole = made.verify_witnessed(&one).unwrap().1;
    let folder = TempDir::new().unwrap();
    made.export(folder.path(), false);
    let hand = Hand::at(&made);
    // The one that is shown, where it is no other.
    hand.run("UPDATE shown_checkpoint SET note = replace(note, 'log.example', 'log.exampel')");
    let error = made.verify_witnessed(&one).unwrap_err();
    assert!(error.starts_with("the checkpoint of 6 records: "), "{error}");
    hand.run("DELETE FROM shown_checkpoint");
    // Found: a fault, or fewer checkpoints that enough have cosigned, where a witness is not the one that it was.
    let (mut faults, mut fewer, mut bytes) = (0, 0, 0);
    let mut found = |verified: Result<_, String>, what: &str| match verified {
        Err(_) => faults += 1,
        Ok((_, Witnessed { checkpoints: 1, .. })) => fewer += 1,
        Ok((_, other)) => panic!("{what}: {other:?}"),
    };
    let rows = hand.rows("cosigned_checkpoints");
    for row in &rows {
        let original = hand.value("note", "cosigned_checkpoints", *row);
        bytes += original.len();
        for bit in 0..original.len() * 8 {
            let mut changed = original.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            hand.set("note", "cosigned_checkpoints", *row, &changed, true);
            found(made.verify_witnessed(&one), &format!("bit {bit} of row {row}"));
        }
        hand.set("note", "cosigned_checkpoints", *row, &original, true);
    }
    assert_eq!(rows.len(), 2);
    assert_eq!(made.verify_witnessed(&one).unwrap().1, whole);
    let kept: Vec<_> = files(&folder.path().join("checkpoints"));
    assert_eq!(kept.len(), 2);
    for path in kept {
        let original = fs::read(&path).unwrap();
        bytes += original.len();
        for bit in 0..original.len() * 8 {
            let mut changed = original.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, changed).unwrap();
            found(verify_witnessed(folder.path(), &one), &format!("bit {bit} of {}", path.display()));
        }
        fs::write(&path, original).unwrap();
    }
    assert_eq!(verify_witnessed(folder.path(), &one).unwrap().1, whole);
    assert_eq!(faults + fewer, bytes * 8);
    // The witness's name and its key's id, on four notes: 18 bytes, and 4 in base64.
    assert!(fewer > 0 && fewer <= 4 * (18 + 6) * 8, "{fewer} of {}", bytes * 8);
}
