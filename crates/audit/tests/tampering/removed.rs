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
    Missing { removed: first.len() as u64, first_removed: first.to_vec(), ..Missing::default() }
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
    let erased = |erased, removed: &[u64]| Some(Missing { erased, ..self::removed(removed) });
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
async fn what_is_removed_from_an_export_is_found_whatever_is_noted_in_its_place() {
    let made = Made::small().await;
    let folder = TempDir::new().unwrap();
    made.export(folder.path(), true);
    assert_eq!(verify(folder.path(), &[]).unwrap().missing, Some(Missing::default()));
    let path = folder.path().join("details/000.p/9");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 9);
    let mut found = 0;
    for index in 0..9_u64 {
        for act in [None, Some(0), Some(3), Some(4), Some(7), Some(8), Some(9), Some(1_000_000)] {
            let note = act.map(|act| format!("{{\"index\":{index},\"erased_by\":{act}}}\n")).unwrap_or_default();
            let line = |(at, line): (u64, &&str)| if at == index { note.clone() } else { (*line).to_owned() };
            fs::write(&path, (0..).zip(&lines).map(line).collect::<String>()).unwrap();
            match verify(folder.path(), &[]) {
                Ok(report) => {
                    assert!(!ACTS.contains(&index), "{index}");
                    // What is not in the export may say so, and is asked for.
                    let behind = act.is_some_and(|act| act >= 9);
                    let missing = if behind { Missing { behind: 1, ..Missing::default() } } else { removed(&[index]) };
                    assert_eq!((report.missing, report.details), (Some(missing), 8), "{index}, by {act:?}");
                }
                Err(fault) => {
                    assert!(ACTS.contains(&index), "{index}");
                    assert_eq!(fault, Ok(Fault { at: Place::Record(index), check: Check::DetailsRemoved }));
                }
            }
            found += 1;
        }
    }
    assert_eq!(found, 9 * 8);
    fs::remove_file(&path).unwrap();
    assert_eq!(verify(folder.path(), &[]).unwrap_err().unwrap().at, Place::Record(0));
    fs::write(&path, text).unwrap();
    verify(folder.path(), &[]).unwrap();
}

#[tokio::test]
async fn an_export_tells_what_was_erased_from_what_was_removed() {
    let mut made = Made::small().await;
    let (before, after) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    made.export(before.path(), true);
    assert_eq!(made.erase(Erased::Signatures).await, (6, 9));
    let erased = |erased| Some(Missing { erased, ..Missing::default() });

    // No checkpoint covers the act yet.
    made.export(after.path(), true);
    let report = verify(after.path(), &[]).unwrap();
    assert_eq!((report.missing, report.details), (Some(Missing { behind: 6, ..Missing::default() }), 3));
    made.sign().await;
    made.export(after.path(), true);
    let report = verify(after.path(), &[]).unwrap();
    assert_eq!((report.missing, report.details), (erased(6), 4));

    // Another one is taken out: without a note, with one of that erasure, and in the place of one that was erased.
    let path = after.path().join("details/000.p/10");
    let text = fs::read_to_string(&path).unwrap();
    let (kept, others): (Vec<&str>, Vec<&str>) =
        text.split_inclusive('\n').partition(|line| !line.starts_with("{\"index\":8,"));
    assert_eq!((kept.len(), others.len()), (9, 1));
    let edited = |note: &str| {
        let (first, last) = kept.split_at(8);
        fs::write(&path, [first.concat().as_str(), note, last.concat().as_str()].concat()).unwrap();
        verify(after.path(), &[])
    };
    for note in ["", "{\"index\":8,\"erased_by\":9}\n"] {
        let missing = Some(Missing { erased: 6, ..removed(&[8]) });
        assert_eq!(edited(note).unwrap().missing, missing, "{note}");
    }
    // A line says one thing, and as it would be written.
    for note in [
        "{\"index\":8}\n",
        "{\"index\":8,\"erased_by\":null}\n",
        "{\"index\":8,\"erased_by\": 9}\n",
        "{\"index\":8,\"salt\":\"00\",\"erased_by\":9}\n",
    ] {
        let fault = edited(note).unwrap_err().unwrap();
        assert!(matches!(fault.check, Check::DetailsLine { line: 9, .. }), "{fault}");
    }
    assert_eq!(edited(others[0]).unwrap().missing, erased(6));
    // Nor is another act believed, or another record.
    let line = kept.iter().find(|line| line.contains("erased_by")).unwrap();
    let at = text.find(line).unwrap();
    for bit in at * 8..(at + line.len()) * 8 {
        let mut changed = text.clone().into_bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &changed).unwrap();
        assert!(verify(after.path(), &[]).map_or(true, |report| report.missing != erased(6)), "bit {bit}");
    }
    fs::write(&path, &text).unwrap();

    // What was exported before keeps its details; the next partial bundle says what became of them.
    made.export(before.path(), true);
    let report = verify(before.path(), &[]).unwrap();
    assert_eq!((report.missing, report.details), (erased(6), 4));
}
