//! Which requests of a group are recorded, with which index, and which are refused.

use super::*;
use crate::Details;
use crate::log::{LogSettings, RecordError};
use crate::prepared::Prepared;
use crate::queue::{Background, Delivery, Queue};
use crate::record::{Act, Changed, Intent, Recorded, UsageClaim};
use chancery_model::{Action, Algorithm, KeyRules, LimitKind, Timestamp, Uid, Usage, UsageLimits, UsageOf};
use chancery_store::{CallerRow, Epoch, KeyRow, RowChange};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

const CALLER: Uid = Uid::from_bytes([1; 16]);

fn intents(instance: &Id, epoch: Epoch, count: usize) -> (Request, oneshot::Receiver<Result<Delivery, RecordError>>) {
    let intent = || Intent {
        time: Timestamp::now(),
        caller: CALLER,
        resource: CALLER,
        action: Action::Sign,
        policy_set: [0; 32],
        counts: Vec::new(),
        details: Details::default(),
    };
    let records = (0..count).map(|_| Prepared::intent(instance, intent()).unwrap()).collect();
    let (answer, answered) = oneshot::channel();
    (Request::Intents { epoch, records, answer }, answered)
}

fn change(instance: &Id, epoch: Epoch) -> (Request, oneshot::Receiver<Result<Changed, RecordError>>) {
    let act = Act {
        time: Timestamp::now(),
        caller: CALLER,
        resource: CALLER,
        action: None,
        policy_set: [0; 32],
        details: Details::default(),
        opens: false,
    };
    let records = Prepared::act(instance, &[], act).unwrap();
    let (answer, answered) = oneshot::channel();
    (Request::Change { epoch, rows: Vec::new(), records, answer }, answered)
}

#[test]
fn in_one_group_what_comes_after_a_change_is_stale_and_the_rest_is_recorded() {
    let folder = tempfile::TempDir::new().unwrap();
    let (mut writer, _reader) = chancery_store::open(&folder.path().join("test.db")).unwrap();
    let mut sealing = Sealing::of(&writer, None).unwrap();
    let mut tree = Growing::resume(&mut writer).unwrap();
    let instance = Id::parse("the instance", "one").unwrap();
    let queue = Arc::new(Queue::new(LogSettings::new(instance.clone()), 0));
    let epoch = writer.head().unwrap().epoch;

    let (first, mut first_answer) = intents(&instance, epoch, 2);
    let (second, mut second_answer) = intents(&instance, epoch, 1);
    let (raise, mut raise_answer) = change(&instance, epoch);
    let (late, mut late_answer) = intents(&instance, epoch, 3);
    let (late_raise, mut late_raise_answer) = change(&instance, epoch);
    let requests = vec![first, second, raise, late, late_raise];
    let group = Group { requests, background: Background::default() };
    let answers = commit(&mut writer, &instance, &mut Vec::new(), &mut sealing, &mut tree, group).unwrap();
    assert_eq!(answers.next_index, Some(4));
    answers.give(&queue);

    let indexes = |delivery: Delivery| delivery.accept().iter().map(Recorded::index).collect::<Vec<_>>();
    assert_eq!(first_answer.try_recv().unwrap().map(indexes), Ok(vec![0, 1]));
    assert_eq!(second_answer.try_recv().unwrap().map(indexes), Ok(vec![2]));
    let changed = raise_answer.try_recv().unwrap().unwrap();
    assert_eq!((changed.recorded.index(), changed.epoch.get()), (3, epoch.get() + 1));
    assert_eq!(late_answer.try_recv().unwrap().map(indexes), Err(RecordError::StaleEpoch));
    assert_eq!(late_raise_answer.try_recv().unwrap().map(|_| ()), Err(RecordError::StaleEpoch));
    assert_eq!(writer.head().unwrap().next_index, 4, "what was refused took no index");

    // The new epoch is taken at once.
    let (next, mut next_answer) = intents(&instance, changed.epoch, 1);
    let group = Group { requests: vec![next], background: Background::default() };
    commit(&mut writer, &instance, &mut Vec::new(), &mut sealing, &mut tree, group).unwrap().give(&queue);
    assert_eq!(next_answer.try_recv().unwrap().map(indexes), Ok(vec![4]));

    let (stale, _) = intents(&instance, epoch, 1);
    let group = Group { requests: vec![stale], background: Background::default() };
    assert_eq!(
        commit(&mut writer, &instance, &mut Vec::new(), &mut sealing, &mut tree, group).unwrap().next_index,
        None
    );
}

/// A key with limits, in the store.
fn key_with_limits(writer: &mut Writer, limits: UsageLimits) -> (Uid, Epoch) {
    let uid = Uid::from_bytes([9; 16]);
    let row = KeyRow {
        uid,
        name: "keyRings/r/keys/k".parse().unwrap(),
        algorithm: Algorithm::Ed25519,
        allow_digest: false,
        labels: BTreeMap::new(),
        max_jwt_lifetime_seconds: None,
        rules: KeyRules { limits, ..KeyRules::default() },
        primary_version: None,
        created: Timestamp::from_unix_micros(0),
        updated: Timestamp::from_unix_micros(0),
        request_id: None,
    };
    let epoch = writer.head().unwrap().epoch;
    let mut transaction = writer.begin().unwrap();
    let taken = transaction.raise_epoch(epoch, 0).unwrap().unwrap();
    transaction.apply(&RowChange::PutKey(row)).unwrap();
    transaction.commit().unwrap();
    (uid, taken.epoch)
}

#[test]
fn a_request_that_its_key_has_no_room_for_takes_neither_index_nor_count() {
    let folder = tempfile::TempDir::new().unwrap();
    let (mut writer, _reader) = chancery_store::open(&folder.path().join("test.db")).unwrap();
    let mut sealing = Sealing::of(&writer, None).unwrap();
    let mut tree = Growing::resume(&mut writer).unwrap();
    let instance = Id::parse("the instance", "one").unwrap();
    let limits = UsageLimits { total: Some(5), daily: Some(4) };
    let (key, epoch) = key_with_limits(&mut writer, limits);
    let claiming = |epoch, day, count| {
        let counts = vec![UsageClaim { of: UsageOf::Key(key), limits, day }];
        let (request, answer) = intents(&instance, epoch, count);
        let Request::Intents { epoch, records, answer: to } = request else { unreachable!() };
        let records = records.into_iter().map(|record| record.counting(counts.clone())).collect();
        (Request::Intents { epoch, records, answer: to }, answer)
    };
    let mut ends = Vec::new();
    let first = writer.head().unwrap().next_index;
    let stale = Epoch::new(epoch.get() - 1);
    let plan = [(epoch, 7, 3), (epoch, 7, 2), (epoch, 7, 1), (stale, 7, 1), (epoch, 8, 2), (epoch, 8, 1)];
    let (requests, answers): (Vec<_>, Vec<_>) = plan.into_iter().map(|(epoch, day, n)| claiming(epoch, day, n)).unzip();
    let queue = Arc::new(Queue::new(LogSettings::new(instance.clone()), 0));
    let group = Group { requests, background: Background::default() };
    commit(&mut writer, &instance, &mut Vec::new(), &mut sealing, &mut tree, group).unwrap().give(&queue);
    for mut answer in answers {
        let indexes = |delivery: Delivery| delivery.accept().iter().map(Recorded::index).collect::<Vec<_>>();
        ends.push(answer.try_recv().unwrap().map(indexes));
    }
    let over = |kind, left| Err(RecordError::UsageLimit { of: UsageOf::Key(key), kind, left });
    assert_eq!(
        ends,
        [
            Ok(vec![first, first + 1, first + 2]),
            over(LimitKind::Daily, 1),
            Ok(vec![first + 3]),
            Err(RecordError::StaleEpoch),
            over(LimitKind::Total, 1),
            Ok(vec![first + 4]),
        ]
    );
    assert_eq!(writer.head().unwrap().next_index, first + 5);
    let transaction = writer.begin().unwrap();
    assert_eq!(transaction.usage(UsageOf::Key(key)).unwrap(), Usage { total: 5, day: 8, today: 1 });
}

#[test]
fn what_a_callers_limits_refuse_is_not_counted_for_its_key_either() {
    let folder = tempfile::TempDir::new().unwrap();
    let (mut writer, _reader) = chancery_store::open(&folder.path().join("test.db")).unwrap();
    let mut sealing = Sealing::of(&writer, None).unwrap();
    let mut tree = Growing::resume(&mut writer).unwrap();
    let instance = Id::parse("the instance", "one").unwrap();
    let limits = |total| UsageLimits { total: Some(total), daily: None };
    let (key, epoch) = key_with_limits(&mut writer, limits(10));
    let caller = CallerRow { id: instance.clone(), uid: CALLER, registration: None };
    let mut transaction = writer.begin().unwrap();
    transaction.apply(&RowChange::PutCaller(caller)).unwrap();
    transaction.commit().unwrap();
    let queue = Arc::new(Queue::new(LogSettings::new(instance.clone()), 0));
    let mut record = |count| {
        let (request, mut answer) = intents(&instance, epoch, count);
        let Request::Intents { epoch, records, answer: to } = request else { unreachable!() };
        let claim = |of, total| UsageClaim { of, limits: limits(total), day: 7 };
        let counts = vec![claim(UsageOf::Key(key), 10), claim(UsageOf::Caller(CALLER), 3)];
        let records = records.into_iter().map(|record| record.counting(counts.clone())).collect();
        let requests = vec![Request::Intents { epoch, records, answer: to }];
        let group = Group { requests, background: Background::default() };
        commit(&mut writer, &instance, &mut Vec::new(), &mut sealing, &mut tree, group).unwrap().give(&queue);
        answer.try_recv().unwrap().map(|delivery| delivery.accept().len())
    };
    assert_eq!(record(2), Ok(2));
    let over = RecordError::UsageLimit { of: UsageOf::Caller(CALLER), kind: LimitKind::Total, left: 1 };
    assert_eq!(record(2), Err(over));
    assert_eq!(record(1), Ok(1));
    let transaction = writer.begin().unwrap();
    for of in [UsageOf::Key(key), UsageOf::Caller(CALLER)] {
        assert_eq!(transaction.usage(of).unwrap(), Usage { total: 3, day: 7, today: 3 });
    }
}
