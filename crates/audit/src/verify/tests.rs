//! Logs with a fault, one for each check, and every small change of a log with checkpoints.

mod callers;

use super::*;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::codes::{Decision, DenialReason, OutcomeResult};
use crate::leaf::{Body, LeafError, RowDigest, Subject};
use crate::note::{KeyName, NoteError, SignatureKind};
use crate::record::OutcomeItem;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_model::{Action, Id, Timestamp, Uid};
use chancery_store::{RowId, RowTable};
use std::convert::Infallible;
use std::future::ready;

struct LogKey {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

fn log_key(name: &str) -> LogKey {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let point = pair.public_key().as_ref().try_into().unwrap();
    LogKey { key: VerifierKey::new(KeyName::parse(name).unwrap(), SignatureKind::Ed25519, point).unwrap(), pair }
}

fn sign(log: &LogKey, size: u64, root: Sha256Hash) -> SignedCheckpoint {
    let mut checkpoint = SignedCheckpoint::unsigned(Checkpoint::new(log.key.name(), size, root)).unwrap();
    let signer = |message: Vec<u8>| ready(Ok::<_, Infallible>(log.pair.sign(&message).as_ref().try_into().unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(checkpoint.note_mut().sign(&log.key, signer)).unwrap();
    checkpoint
}

fn subject(resource: u8) -> Subject {
    Subject {
        caller: Uid::from_bytes([1; 16]),
        resource: Uid::from_bytes([resource; 16]),
        action: Some(Action::Sign),
        decision: Decision::Allow,
        policy_set: [3; 32],
    }
}

fn rows(count: usize) -> Vec<RowDigest> {
    vec![RowDigest { table: RowTable::Key, id: RowId::from_bytes([5; 16]), commitment: [6; 32] }; count]
}

fn intent() -> Body {
    Body::Intent(subject(2))
}

fn outcome(ended: &[u64]) -> Body {
    outcome_with(ended, 0, false)
}

fn outcome_with(ended: &[u64], count: usize, continues: bool) -> Body {
    let item = |intent: &u64| OutcomeItem { intent: *intent, result: OutcomeResult::Done, signature_sha256: None };
    Body::Outcome { continues, items: ended.iter().map(item).collect(), rows: rows(count) }
}

fn act(opens: bool, continues: bool) -> Body {
    Body::Act { subject: subject(4), opens, continues, rows: rows(1) }
}

fn denial() -> Body {
    Body::Denial { caller: Uid::NONE, resource: Uid::NONE, action: None, reason: DenialReason::Overflow, count: 7 }
}

/// The records of a log with these epochs and bodies.
fn log(leaves: &[(u64, Body)]) -> Vec<LogRecord> {
    let record = |(index, (epoch, body)): (u64, &(u64, Body))| {
        let salt = [u8::try_from(index % 251).unwrap(); 32];
        let details = format!("{{\"message\":\"record {index}\"}}").into_bytes();
        let leaf = Leaf {
            epoch: *epoch,
            time: Timestamp::from_unix_micros(0),
            instance: Id::parse("the instance", "one").unwrap(),
            body: body.clone(),
            commitment: commitment_to_details(&salt, &details),
        };
        let mut bytes = Vec::new();
        leaf.encode(&mut bytes);
        LogRecord { index, leaf: bytes, details: Some((salt, details)), erased_by: None }
    };
    (0..).zip(leaves).map(record).collect()
}

/// A log with everything that a log may have, and nothing open at its end.
fn sound() -> Vec<LogRecord> {
    log(&[
        (5, act(false, false)),
        (5, intent()),
        (5, intent()),
        (5, denial()),
        (5, outcome(&[2, 1])),
        (6, act(true, false)),
        (6, act(false, true)),
        (6, act(false, true)),
        (6, intent()),
        (7, outcome_with(&[5], 1, false)),
        (7, outcome_with(&[8], 1, true)),
        (8, act(false, false)),
        (9, act(false, false)),
    ])
}

fn root(records: &[LogRecord]) -> Sha256Hash {
    let mut tree = Appender::new();
    records.iter().for_each(|record| tree.append(leaf_hash(&record.leaf), |_, _| ()));
    tree.root()
}

fn checkpoint_of(records: &[LogRecord]) -> SignedCheckpoint {
    sign(&log_key("log.example"), records.len() as u64, root(records))
}

fn verified(records: &[LogRecord], checkpoints: &[SignedCheckpoint]) -> Result<Report, Fault> {
    let (records, checkpoints) = (records.to_vec(), checkpoints.to_vec());
    let keys = vec![log_key("log.example").key];
    match verify_log(keys, records.into_iter().map(Ok::<_, Infallible>), checkpoints.into_iter().map(Ok)) {
        Ok(report) => Ok(report),
        Err(VerifyError::Fault(fault)) => Err(fault),
        Err(VerifyError::Read { source, .. }) => match source {},
    }
}

fn fault(leaves: &[(u64, Body)]) -> Option<Fault> {
    verified(&log(leaves), &[]).err()
}

#[test]
fn a_sound_log_is_verified() {
    let records = sound();
    let checkpoints: Vec<SignedCheckpoint> =
        [0, 1, 4, 4, 9, 13].into_iter().map(|size| checkpoint_of(&records[..size])).collect();
    let expected = Report {
        size: 13,
        root: root(&records),
        open: Vec::new(),
        checkpoints: 6,
        attested: 13,
        witnessed: None,
        details: 13,
        caller_signatures: 0,
        missing: None,
    };
    assert_eq!(verified(&records, &checkpoints), Ok(expected));

    // Without its last records, some intents are open; without details, there is nothing to check of them.
    let mut erased = records[..9].to_vec();
    erased.iter_mut().step_by(2).for_each(|record| record.details = None);
    let report = verified(&erased, &checkpoints[..3]).unwrap();
    assert_eq!((report.open, report.attested, report.details), (vec![5, 8], 4, 4));
    let nothing = Report {
        size: 0,
        root: crate::tree::EMPTY_ROOT,
        open: vec![],
        checkpoints: 0,
        attested: 0,
        witnessed: None,
        details: 0,
        caller_signatures: 0,
        missing: None,
    };
    assert_eq!(verified(&[], &[]), Ok(nothing));
}

#[test]
fn each_rule_of_the_record_is_checked_and_the_place_is_named() {
    let at = |index, check| Some(Fault { at: Place::Record(index), check });
    // The epoch: grows by one with an act and with an outcome that changes rows, and with nothing else.
    let changing = outcome_with(&[0], 1, false);
    for (body, allowed) in
        [(intent(), 5), (denial(), 5), (outcome(&[0]), 5), (changing, 6), (act(false, false), 6), (act(true, false), 6)]
    {
        for epoch in [0, 4, 5, 6, 7, u64::MAX] {
            let expected = (epoch != allowed).then_some(Check::Epoch { before: 5, epoch });
            let found = fault(&[(5, intent()), (epoch, body.clone())]);
            assert_eq!(found, expected.and_then(|check| at(1, check)), "{body:?}");
        }
    }
    let wrapped = Check::Epoch { before: u64::MAX, epoch: 0 };
    assert_eq!(fault(&[(u64::MAX, intent()), (0, act(false, false))]), at(1, wrapped));

    // What continues a record is like it.
    let other = Body::Act { subject: subject(9), opens: false, continues: true, rows: rows(1) };
    let kind = Check::Continues("that is of another kind or subject");
    assert_eq!(fault(&[(5, act(false, true))]), at(0, Check::Continues("there is none")));
    assert_eq!(fault(&[(5, act(false, false)), (5, act(false, true))]), None);
    assert_eq!(fault(&[(5, act(false, false)), (5, other)]), at(1, kind.clone()));
    assert_eq!(fault(&[(5, intent()), (5, act(false, true))]), at(1, kind.clone()));
    assert_eq!(fault(&[(5, intent()), (5, outcome_with(&[0], 0, true))]), at(1, kind.clone()));
    assert_eq!(fault(&[(5, act(false, false)), (5, intent()), (5, act(false, true))]), at(2, kind.clone()));
    assert_eq!(fault(&[(5, act(false, false)), (5, outcome_with(&[], 1, true))]), at(1, kind));
    let epoch = Check::Continues("that has another epoch");
    assert_eq!(fault(&[(5, act(false, false)), (6, act(false, true))]), at(1, epoch));
    let opens = Check::Continues("opens an act, which only the first of such records does");
    assert_eq!(fault(&[(5, act(true, false)), (5, act(true, true))]), at(1, opens));

    // What ends was open, once.
    let not_open = |ended| Check::Outcome { ended };
    assert_eq!(fault(&[(5, outcome(&[0]))]), at(0, not_open(0)));
    assert_eq!(fault(&[(5, outcome(&[1])), (5, intent())]), at(0, not_open(1)));
    assert_eq!(fault(&[(5, intent()), (5, outcome(&[0])), (5, outcome(&[0]))]), at(2, not_open(0)));
    assert_eq!(fault(&[(5, intent()), (5, outcome(&[0, 0]))]), at(1, not_open(0)));
    assert_eq!(fault(&[(5, act(false, false)), (5, outcome(&[0]))]), at(1, not_open(0)));
    assert_eq!(fault(&[(5, denial()), (5, outcome(&[0]))]), at(1, not_open(0)));
    assert_eq!(fault(&[(5, act(true, false)), (5, act(false, true)), (5, outcome(&[1]))]), at(2, not_open(1)));
    assert_eq!(fault(&[(5, act(true, false)), (5, outcome(&[0]))]), None);
    assert_eq!(fault(&[(5, outcome(&[]))]), None, "an outcome of nothing is still a record");
}

#[test]
fn memory_is_bounded_whatever_the_log_says() {
    let mut order = Order::new();
    let leaf = Leaf::decode(&log(&[(5, intent())])[0].leaf).unwrap();
    for index in 0..MAX_OPEN as u64 {
        order.next(index, leaf.clone()).unwrap();
    }
    assert_eq!(order.next(MAX_OPEN as u64, leaf), Err(Check::TooManyOpen));
}

#[test]
fn leaves_details_and_indexes_are_checked() {
    let at = |index, check| Err(Fault { at: Place::Record(index), check });
    let mut changed = sound();
    changed[3].leaf[0] = 2;
    assert_eq!(verified(&changed, &[]), at(3, Check::Leaf(LeafError::Version(2))));
    for (place, byte) in [(0, 0), (1, 9)] {
        let mut changed = sound();
        let (salt, details) = changed[4].details.as_mut().unwrap();
        if place == 0 {
            salt[0] ^= 1
        } else {
            details[byte] ^= 1
        }
        assert_eq!(verified(&changed, &[]), at(4, Check::Commitment));
    }
    let mut swapped = sound();
    let other = swapped[5].details.clone();
    swapped[4].details = other;
    assert_eq!(verified(&swapped, &[]), at(4, Check::Commitment));
    let mut gap = sound();
    gap.remove(2);
    assert_eq!(verified(&gap, &[]), at(2, Check::Index { found: 3 }));
    let mut late = sound();
    late.remove(0);
    assert_eq!(verified(&late, &[]), at(0, Check::Index { found: 1 }));
    let mut twice = sound();
    twice.insert(3, twice[2].clone());
    assert_eq!(verified(&twice, &[]), at(3, Check::Index { found: 2 }));
}

#[test]
fn checkpoints_are_checked() {
    let records = sound();
    let of = |size: usize| checkpoint_of(&records[..size]);
    let at = |size, check| Err(Fault { at: Place::Checkpoint(size), check });
    assert_eq!(verified(&records, &[of(5), of(4)]), at(4, Check::Backwards { records: 5 }));
    assert_eq!(verified(&records[..6], &[of(5), of(9), of(13)]), at(9, Check::Truncated { records: 6 }));
    assert_eq!(verified(&[], &[of(1)]), at(1, Check::Truncated { records: 0 }));
    let other_root = sign(&log_key("log.example"), 5, [0; 32]);
    assert_eq!(verified(&records, &[other_root]), at(5, Check::Root { since: 0 }));
    let empty = sign(&log_key("log.example"), 0, [0; 32]);
    assert_eq!(verified(&records, &[empty]), at(0, Check::Root { since: 0 }));
    let other_log = sign(&log_key("other.example"), 5, root(&records[..5]));
    let untrusted = CheckpointError::Note(NoteError::NotTrusted);
    assert_eq!(verified(&records, &[other_log]), at(5, Check::Checkpoint(untrusted)));
    let fault = verified(&records[..6], &[of(9)]).unwrap_err().to_string();
    assert!(fault.starts_with("the checkpoint of 9 records: the log has only 6 records"), "{fault}");
}

#[test]
fn errors_of_the_source_are_no_faults_of_the_log() {
    let mut records: Vec<Result<LogRecord, std::io::Error>> = sound().into_iter().map(Ok).collect();
    records[4] = Err(std::io::Error::other("no disk"));
    let end = verify_log(vec![], records, std::iter::empty());
    assert!(matches!(end, Err(VerifyError::Read { after: 4, .. })), "{end:?}");
    for (records, after) in [(sound(), 0), (Vec::new(), 0)] {
        let checkpoints = [Err(std::io::Error::other("no disk"))];
        let end = verify_log(vec![], records.into_iter().map(Ok), checkpoints);
        assert!(matches!(end, Err(VerifyError::Read { after: found, .. }) if found == after), "{end:?}");
    }
}

/// Renumbers, as who tampers would.
fn renumbered(mut records: Vec<LogRecord>) -> Vec<LogRecord> {
    (0..).zip(&mut records).for_each(|(index, record)| record.index = index);
    records
}

#[test]
fn every_small_change_of_a_log_is_found() {
    let records = sound();
    let checkpoints = [checkpoint_of(&records[..4]), checkpoint_of(&records)];
    verified(&records, &checkpoints).unwrap();
    let mut found = 0;
    let mut changed = |records: &[LogRecord], checkpoints: &[SignedCheckpoint], what: &str| {
        assert!(verified(records, checkpoints).is_err(), "{what}");
        found += 1;
    };
    // Each bit of each leaf, salt and details.
    let mut bits = 0;
    for at in 0..records.len() {
        let (salt, details) = records[at].details.clone().unwrap();
        for (part, length) in [records[at].leaf.len(), salt.len(), details.len()].into_iter().enumerate() {
            for bit in 0..length * 8 {
                let mut records = records.clone();
                let LogRecord { leaf, details, .. } = &mut records[at];
                let (salt, details) = details.as_mut().unwrap();
                let bytes = [leaf.as_mut_slice(), salt, details].into_iter().nth(part).unwrap();
                bytes[bit / 8] ^= 1 << (bit % 8);
                changed(&records, &checkpoints, &format!("bit {bit} of part {part} of record {at}"));
                bits += 1;
            }
        }
    }
    // Each record deleted, with and without new numbers; each doubled; each two exchanged; each end cut off.
    let count = records.len();
    for at in 0..count {
        let mut without = records.clone();
        without.remove(at);
        changed(&without, &checkpoints, &format!("record {at} deleted"));
        changed(&renumbered(without), &checkpoints, &format!("record {at} deleted, the rest renumbered"));
        // Behind the last one, it would be a record that no checkpoint vouches for yet.
        if at + 1 < count {
            let mut doubled = records.clone();
            doubled.insert(at, records[at].clone());
            changed(&renumbered(doubled), &checkpoints, &format!("record {at} doubled"));
        }
        changed(&records[..at], &checkpoints, &format!("cut at {at}"));
        for other in 0..at {
            let mut exchanged = records.clone();
            exchanged.swap(other, at);
            changed(&renumbered(exchanged), &checkpoints, &format!("records {other} and {at} exchanged"));
        }
    }
    let structural = 4 * count - 1 + count * (count - 1) / 2;
    // Forked: the same log up to the first checkpoint, and then another, sound in itself.
    let mut fork = records[..4].to_vec();
    fork.extend(log(&vec![(5, denial()); 13])[4..].iter().cloned());
    assert!(verified(&fork, &checkpoints[..1]).is_ok());
    changed(&fork, &checkpoints, "forked");
    // Each bit of each checkpoint.
    let mut texts = 0;
    for at in 0..checkpoints.len() {
        let text = checkpoints[at].to_string().into_bytes();
        for bit in 0..text.len() * 8 {
            let mut text = text.clone();
            text[bit / 8] ^= 1 << (bit % 8);
            texts += 1;
            let Ok(checkpoint) = SignedCheckpoint::parse(&text) else { continue };
            let mut checkpoints = checkpoints.to_vec();
            checkpoints[at] = checkpoint;
            let what = format!("bit {bit} of checkpoint {at}");
            assert!(verified(&records, &checkpoints).is_err(), "{what}");
        }
    }
    assert_eq!(found, bits + structural + 1);
    let bytes = |record: &LogRecord| record.leaf.len() + 32 + record.details.as_ref().unwrap().1.len();
    assert_eq!(bits, records.iter().map(bytes).sum::<usize>() * 8);
    assert_eq!(texts, checkpoints.iter().map(|checkpoint| checkpoint.to_string().len() * 8).sum::<usize>());
}
