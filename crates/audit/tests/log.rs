//! The log as its users see it: what is durable when, what closes what, who waits and who does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests are free to stop at the first surprise"
)]

mod support;

use chancery_audit::{
    Body, Denial, DenialReason, Details, Kind, Log, LogHealth, LogSettings, OutcomeResult, RecordError, Recorded,
};
use chancery_model::{Action, Algorithm, KeyState, Timestamp, Uid};
use chancery_store::{KeyRow, KeyVersionRow, RecordProgress, RowChange};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::{act, folder, instance, intent, outcome, read, settings, start, start_with, uid, until};

#[tokio::test]
async fn an_intent_is_in_the_database_when_it_is_acknowledged_and_its_outcome_follows() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    let epoch = reader.load_state().unwrap().epoch;
    let slot = log.reserve(Uid::NONE, 2).unwrap();
    let recorded = log.record_intents(epoch, vec![intent(), intent()]).await.unwrap();
    let indexes: Vec<u64> = recorded.iter().map(Recorded::index).collect();
    let seen = read(&reader);
    assert_eq!(seen.iter().map(|(record, _)| record.index).collect::<Vec<_>>(), indexes);
    assert!(seen.iter().all(|(record, leaf)| record.progress == RecordProgress::Open && leaf.kind() == Kind::Intent));
    assert_eq!(seen[0].1.instance, instance("one"));

    log.record_outcome(slot, outcome(&indexes, OutcomeResult::Done));
    // Without a flush and without other intents: it must not wait for company for ever.
    until("the outcome is on the record", || read(&reader).len() == 3).await;
    let seen = read(&reader);
    assert_eq!(seen[2].1.kind(), Kind::Outcome);
    for (record, _) in &seen[..2] {
        let RecordProgress::Ended(end) = record.progress else { panic!("{:?}", record.progress) };
        assert_eq!((end.outcome, end.result), (2, OutcomeResult::Done.code()));
    }
    log.shutdown().await;
}

#[tokio::test]
async fn followers_see_what_is_durable_and_nothing_else() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    let epoch = reader.load_state().unwrap().epoch;
    let mut next = log.next_index();
    assert_eq!(*next.borrow_and_update(), 0);
    let slot = log.reserve(Uid::NONE, 2).unwrap();
    log.record_intents(epoch, vec![intent(), intent()]).await.unwrap();
    assert_eq!(*next.borrow_and_update(), 2, "told before the intents are acknowledged");
    log.record_outcome(slot, outcome(&[0, 1], OutcomeResult::Done));
    next.changed().await.unwrap();
    assert_eq!((*next.borrow_and_update(), read(&reader).len()), (3, 3));
    // What takes no index is no news.
    log.flush().await.unwrap();
    let stale = chancery_store::Epoch::new(epoch.get() + 1);
    assert!(log.record_intents(stale, vec![intent()]).await.is_err());
    assert!(!next.has_changed().unwrap());
    log.shutdown().await;

    let (log, _reader) = start(&path);
    assert_eq!(*log.next_index().borrow(), 3);
    log.shutdown().await;
}

fn key() -> KeyRow {
    KeyRow {
        uid: uid(1),
        name: "keyRings/r/keys/k".parse().unwrap(),
        algorithm: Algorithm::Ed25519,
        allow_digest: false,
        labels: BTreeMap::new(),
        max_jwt_lifetime_seconds: None,
        rules: chancery_model::KeyRules::default(),
        primary_version: None,
        created: Timestamp::from_unix_micros(1),
        updated: Timestamp::from_unix_micros(1),
        request_id: None,
    }
}

fn version(state: KeyState) -> KeyVersionRow {
    KeyVersionRow {
        uid: uid(2),
        key_uid: uid(1),
        version: 1,
        state,
        spki_der: None,
        created: Timestamp::from_unix_micros(1),
        generated: None,
        state_changed: Timestamp::from_unix_micros(1),
        life: chancery_model::VersionLife::default(),
        adoption: None,
        request_id: None,
    }
}

#[tokio::test]
async fn a_change_its_record_and_the_epoch_are_one() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    let old = reader.load_state().unwrap().epoch;
    let rows = vec![RowChange::PutKey(key()), RowChange::PutKeyVersion(version(KeyState::PendingGeneration))];
    let changed = log.change(old, rows, act(true)).await.unwrap();
    let state = reader.load_state().unwrap();
    assert_eq!((state.epoch, state.keys.len()), (changed.epoch, 1));

    // What was decided on the old state is not recorded, and changes nothing.
    assert_eq!(log.record_intents(old, vec![intent()]).await.map(|_| ()), Err(RecordError::StaleEpoch));
    let again = log.change(old, vec![RowChange::DeleteKey(uid(1))], act(false)).await;
    assert_eq!(again.map(|_| ()), Err(RecordError::StaleEpoch));
    let late = log.complete(old, vec![], outcome(&[changed.recorded.index()], OutcomeResult::Failed)).await;
    assert_eq!(late.map(|_| ()), Err(RecordError::StaleEpoch));
    assert_eq!(reader.load_state().unwrap(), state);

    let active = vec![RowChange::PutKeyVersion(version(KeyState::Active))];
    let closing = outcome(&[changed.recorded.index()], OutcomeResult::Done);
    let closed = log.complete(changed.epoch, active.clone(), closing).await.unwrap();
    assert!(closed.epoch > changed.epoch);
    assert_eq!(reader.load_state().unwrap().key_versions, [version(KeyState::Active)]);
    let seen = read(&reader);
    assert_eq!(seen.len(), 2, "what was refused is not there");
    assert!(matches!(seen[0].0.progress, RecordProgress::Ended(end) if end.outcome == 1));
    // The leaf commits to the row that is in the database.
    let Body::Outcome { rows, .. } = &seen[1].1.body else { panic!("{:?}", seen[1].1) };
    let salt = seen[1].0.details.as_ref().unwrap().salt;
    let row = active[0].canonical_bytes().unwrap();
    assert_eq!(rows[0].commitment, chancery_audit::commitment_to_row(&salt, Some(&row)));
    log.shutdown().await;
}

#[tokio::test]
async fn the_end_of_an_act_that_changes_no_row_leaves_the_epoch() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    let old = reader.load_state().unwrap().epoch;
    let opened = log.change(old, vec![], act(true)).await.unwrap();
    let closing = || outcome(&[opened.recorded.index()], OutcomeResult::Done);
    let stale = log.complete(old, vec![], closing()).await;
    assert_eq!(stale.map(|_| ()), Err(RecordError::StaleEpoch), "guarded all the same");
    let closed = log.complete(opened.epoch, vec![], closing()).await.unwrap();
    assert_eq!(closed.epoch, opened.epoch);
    assert_eq!(reader.load_state().unwrap().epoch, opened.epoch);
    let seen = read(&reader);
    assert_eq!((seen.len(), closed.recorded.index()), (2, 1));
    assert!(matches!(seen[0].0.progress, RecordProgress::Ended(end) if end.outcome == 1));
    log.shutdown().await;
}

#[tokio::test]
async fn an_act_of_very_many_rows_goes_on_in_further_leaves_under_one_epoch() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    let epoch = reader.load_state().unwrap().epoch;
    let key = |n: u16| {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        RowChange::PutKey(KeyRow {
            uid: Uid::from_bytes(bytes),
            name: format!("keyRings/r/keys/k{n}").parse().unwrap(),
            ..self::key()
        })
    };
    let changed = log.change(epoch, (0..1_100).map(key).collect(), act(true)).await.unwrap();
    assert_eq!(changed.epoch.get(), epoch.get() + 1);
    let seen = read(&reader);
    let rows: Vec<(bool, bool, usize)> = seen
        .iter()
        .map(|(_, leaf)| match &leaf.body {
            Body::Act { opens, continues, rows, .. } => (*opens, *continues, rows.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(rows, [(true, false, 512), (false, true, 512), (false, true, 76)]);
    assert_eq!(reader.open_intents(&instance("one")).unwrap().len(), 1);
    log.shutdown().await;
}

#[tokio::test]
async fn a_restart_closes_its_own_intents_as_unknown_and_nobody_elses() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    let epoch = reader.load_state().unwrap().epoch;
    let slot = log.reserve(Uid::NONE, 2).unwrap();
    let intents = log.record_intents(epoch, vec![intent(), intent()]).await.unwrap();
    let reserved = log.change(epoch, vec![], act(true)).await.unwrap();
    drop(slot);
    log.shutdown().await;
    drop((log, reader));

    // Another instance leaves them alone, even when it is handed the list.
    let (log, reader) = start_with(&path, LogSettings::new(instance("two")));
    let open = reader.open_intents(&instance("one")).unwrap();
    assert_eq!(open.len(), 3);
    log.close_open_intents(&open).await.unwrap();
    assert_eq!(reader.open_intents(&instance("one")).unwrap(), open);
    log.shutdown().await;
    drop((log, reader));

    let (log, reader) = start(&path);
    log.close_open_intents(&reader.open_intents(&instance("one")).unwrap()).await.unwrap();
    let seen = read(&reader);
    for recorded in &intents {
        let (record, _) = &seen[usize::try_from(recorded.index()).unwrap()];
        let RecordProgress::Ended(end) = record.progress else { panic!("{:?}", record.progress) };
        assert_eq!(end.result, OutcomeResult::Unknown.code());
    }
    // The act is for its owner, who can look into the token.
    let left = reader.open_intents(&instance("one")).unwrap();
    assert_eq!(
        left.iter().map(|intent| (intent.index, intent.act)).collect::<Vec<_>>(),
        [(reserved.recorded.index(), true)]
    );
    // Done once, it is done.
    log.close_open_intents(&left).await.unwrap();
    assert_eq!(read(&reader).len(), seen.len());
    log.shutdown().await;
}

#[tokio::test]
async fn intents_of_a_caller_who_went_away_are_abandoned() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    let epoch = reader.load_state().unwrap().epoch;
    for _ in 0..20 {
        let slot = log.reserve(Uid::NONE, 1).unwrap();
        // Asked once, and then dropped: the writing thread is hardly ever that fast. No timer: on a busy machine it gives the
        // thread all the time that it needs.
        let mut asked = pin!(log.record_intents(epoch, vec![intent()]));
        if let Poll::Ready(recorded) = asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            log.record_outcome(slot, outcome(&[recorded.unwrap()[0].index()], OutcomeResult::Done));
        }
    }
    // Before this the last of them may not be written at all, and so not open either.
    log.flush().await.unwrap();
    until("every intent has ended", || reader.open_intents(&instance("one")).unwrap().is_empty()).await;
    let ends: Vec<u8> = read(&reader)
        .iter()
        .filter_map(|(record, _)| match record.progress {
            RecordProgress::Ended(end) => Some(end.result),
            RecordProgress::Open | RecordProgress::Complete => None,
        })
        .collect();
    assert_eq!(ends.len(), 20);
    assert!(ends.contains(&OutcomeResult::Abandoned.code()), "{ends:?}");
    log.shutdown().await;
}

#[tokio::test]
async fn without_a_place_for_the_outcome_there_is_no_intent() {
    let (_folder, path) = folder();
    let (log, reader) = start_with(&path, LogSettings { outcome_queue_limit: 2, ..settings() });
    let epoch = reader.load_state().unwrap().epoch;
    let slot = log.reserve(Uid::NONE, 2).unwrap();
    assert_eq!(log.reserve(Uid::NONE, 1).map(drop), Err(RecordError::Overloaded));
    drop(slot);
    let slot = log.reserve(Uid::NONE, 2).unwrap();
    let recorded = log.record_intents(epoch, vec![intent()]).await.unwrap();
    log.record_outcome(slot, outcome(&[recorded[0].index()], OutcomeResult::Failed));
    // The place comes back when the outcome is durable.
    log.flush().await.unwrap();
    drop(log.reserve(Uid::NONE, 2).unwrap());
    log.shutdown().await;
}

#[tokio::test]
async fn who_is_alone_does_not_wait_and_who_is_not_waits_for_the_others() {
    let (_folder, path) = folder();
    let (log, reader) = start_with(&path, LogSettings { max_wait: Duration::from_secs(3_600), ..settings() });
    let epoch = reader.load_state().unwrap().epoch;
    let slot = log.reserve(Uid::NONE, 1).unwrap();
    let alone = tokio::time::timeout(Duration::from_secs(10), log.record_intents(epoch, vec![intent()]));
    let index = alone.await.expect("who is alone does not wait").unwrap()[0].index();

    // The first is between intent and outcome now: the second waits for it to come back.
    let other = log.reserve(Uid::NONE, 1).unwrap();
    let second = {
        let log = log.clone();
        tokio::spawn(async move { log.record_intents(epoch, vec![intent()]).await.map(|recorded| recorded[0].index()) })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!second.is_finished());
    log.record_outcome(slot, outcome(&[index], OutcomeResult::Done));
    assert_eq!(second.await.unwrap(), Ok(2), "after the outcome that it waited for, in one group");
    drop(other);

    // A change waits for nobody.
    let _busy = log.reserve(Uid::NONE, 5).unwrap();
    let change = tokio::time::timeout(Duration::from_secs(10), log.change(epoch, vec![], act(false)));
    assert!(change.await.expect("a change does not wait").is_ok());
    log.shutdown().await;
}

fn denial(count: u32) -> Denial {
    Denial {
        second: Timestamp::from_unix_micros(1_000_000),
        caller: uid(1),
        resource: Uid::NONE,
        action: Some(Action::Sign),
        reason: DenialReason::UnknownResource,
        count,
        details: Details { reason: Some(DenialReason::UnknownResource), ..Details::default() },
    }
}

#[tokio::test]
async fn denials_are_recorded_and_a_flood_of_them_is_counted() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    log.record_denials(vec![denial(3)]);
    log.flush().await.unwrap();
    let seen = read(&reader);
    assert!(matches!(seen[0].1.body, Body::Denial { reason: DenialReason::UnknownResource, count: 3, .. }));

    log.record_denials((0..2_000).map(denial).collect());
    log.flush().await.unwrap();
    let seen = read(&reader);
    assert_eq!(seen.len(), 1 + 1_024 + 1);
    let last = &seen[seen.len() - 1].1;
    assert!(
        matches!(last.body, Body::Denial { reason: DenialReason::Overflow, count: 976, action: None, .. }),
        "{last:?}"
    );
    log.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_loses_nothing_and_takes_nothing_more() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    let epoch = reader.load_state().unwrap().epoch;
    let slot = log.reserve(Uid::NONE, 1).unwrap();
    let recorded = log.record_intents(epoch, vec![intent()]).await.unwrap();
    log.record_outcome(slot, outcome(&[recorded[0].index()], OutcomeResult::Done));
    log.shutdown().await;
    assert!(matches!(log.health(), LogHealth::Closed { .. }));
    assert!(matches!(log.record_intents(epoch, vec![intent()]).await, Err(RecordError::Closed { .. })));
    assert!(matches!(log.reserve(Uid::NONE, 1).map(drop), Err(RecordError::Closed { .. })));
    log.shutdown().await;
    drop(reader);
    // The database is free, whole in one file, and has the outcome.
    // A reader that closes last leaves the write-ahead log where it is; the writer has emptied it.
    let left = std::fs::metadata(path.with_extension("db-wal")).map_or(0, |log| log.len());
    assert_eq!(left, 0, "bytes in the write-ahead log");
    let (_writer, reader) = chancery_store::open(&path).unwrap();
    assert_eq!(read(&reader).len(), 2);
}

#[tokio::test]
async fn dropping_the_log_writes_what_was_handed_in() {
    let (_folder, path) = folder();
    let (log, reader) = start(&path);
    let second: Log = log.clone();
    log.record_denials(vec![denial(1)]);
    drop((log, second));
    until("the denial is on the record", || read(&reader).len() == 1).await;
}
