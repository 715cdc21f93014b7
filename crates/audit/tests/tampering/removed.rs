//! Details that somebody removes: no hash says so, and the acts of erasures do.

use crate::database::Hand;
use crate::made::{Made, verify};
use chancery_audit::Erased;
use chancery_audit::verify::{Check, Fault, Missing, Place};
use std::fs;
use tempfile::TempDir;

const COLUMNS: &str = "idx, salt, content, time, kind, caller, resource, key, action, decision, digest, trace_id";
/// Those of `Made::small` that are acts.
const ACTS: [u64; 2] = [0, 4];

fn removed(first: &[u64]) -> Missing {
    Missing { erased: 0, removed: first.len() as u64, first_removed: first.to_vec() }
}

#[tokio::test]
async fn what_is_removed_from_a_database_is_found_whatever_is_noted_beside_it() {
    let made = Made::small().await;
    let hand = Hand::at(&made);
    assert_eq!(made.verify(&[]).unwrap().missing, Some(Missing::default()));
    hand.run(&format!("CREATE TEMP TABLE kept AS SELECT {COLUMNS} FROM details"));
    let put_back = format!("DELETE FROM details; INSERT INTO details ({COLUMNS}) SELECT {COLUMNS} FROM kept");
    let mut found = 0;
    for index in 0..9 {
        hand.run(&format!("DELETE FROM details WHERE idx = {index}"));
        // No note; then one that names each record, or one that is not there.
        for act in [None, Some(0), Some(3), Some(4), Some(7), Some(8), Some(9), Some(1_000_000)] {
            if let Some(act) = act {
                hand.run(&format!("INSERT OR REPLACE INTO erased (idx, act) VALUES ({index}, {act})"));
            }
            match made.verify(&[]) {
                Err(fault) => {
                    assert!(ACTS.contains(&index), "{fault}");
                    assert!(fault.starts_with(&format!("record {index}: its details are missing")), "{fault}");
                }
                Ok(report) => {
                    assert!(!ACTS.contains(&index), "record {index}, by {act:?}");
                    assert_eq!((report.missing, report.details), (Some(removed(&[index])), 8), "by {act:?}");
                }
            }
            found += 1;
        }
        hand.run(&format!("DELETE FROM erased; {put_back}"));
    }
    assert_eq!(found, 9 * 8);
    hand.run("DELETE FROM details WHERE idx IN (1, 2, 6, 8)");
    assert_eq!(made.verify(&[]).unwrap().missing, Some(removed(&[1, 2, 6, 8])));
    hand.run("DELETE FROM details");
    assert!(made.verify(&[]).unwrap_err().starts_with("record 0: its details are missing"));
    hand.run(&put_back);
    assert_eq!(made.verify(&[]).unwrap().missing, Some(Missing::default()));
}

#[tokio::test]
async fn what_is_erased_on_the_record_is_told_from_what_is_removed_beside_it() {
    let mut made = Made::small().await;
    let (count, act) = made.erase(Erased::Signatures).await;
    assert_eq!((count, act), (6, 9), "intents 1, 2, 5 and 6, and their outcomes; 8 is open");
    let erased = |erased, removed: &[u64]| {
        Some(Missing { erased, removed: removed.len() as u64, first_removed: removed.to_vec() })
    };
    let report = made.verify(&[]).unwrap();
    assert_eq!((report.missing, report.details), (erased(6, &[]), 4));
    made.sign().await;
    assert_eq!(made.verify(&[]).unwrap().missing, erased(6, &[]));

    // Another one is removed, and said to be of that erasure, which does not reach up to it.
    let hand = Hand::at(&made);
    hand.run("DELETE FROM details WHERE idx = 8");
    assert_eq!(made.verify(&[]).unwrap().missing, erased(6, &[8]));
    hand.run("INSERT INTO erased VALUES (8, 9)");
    assert_eq!(made.verify(&[]).unwrap().missing, erased(6, &[8]));
    // An act is nothing that could be erased.
    hand.run("DELETE FROM details WHERE idx = 4; INSERT INTO erased VALUES (4, 9)");
    assert!(made.verify(&[]).unwrap_err().starts_with("record 4: its details are missing"));
}

#[tokio::test]
async fn of_an_export_that_has_details_those_of_acts_are_not_missing() {
    let made = Made::small().await;
    let folder = TempDir::new().unwrap();
    made.export(folder.path(), true);
    let path = folder.path().join("details/000.p/9");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 9);
    for index in 0..9_usize {
        let without: String = (0..9).filter(|line| *line != index).map(|line| lines[line]).collect();
        fs::write(&path, without).unwrap();
        match verify(folder.path(), &[]) {
            Ok(report) => {
                assert!(!ACTS.contains(&(index as u64)), "{index}");
                assert_eq!((report.details, report.missing), (8, None), "it does not say why");
            }
            Err(fault) => {
                assert!(ACTS.contains(&(index as u64)), "{index}");
                assert_eq!(fault, Ok(Fault { at: Place::Record(index as u64), check: Check::DetailsRemoved }));
            }
        }
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(verify(folder.path(), &[]).unwrap_err().unwrap().at, Place::Record(0));
    fs::write(&path, text).unwrap();
    verify(folder.path(), &[]).unwrap();
}
