//! Writing a group: one transaction, one sync of the disk.

use crate::erase::Erasure;
use crate::growing::{Growing, TreeHead};
use crate::log::RecordError;
use crate::prepared::Prepared;
use crate::queue::{Answer, Background, Delivery, Group, KeptAs, Queue, Request, SealRequest};
use crate::record::{Changed, NewSeal, Recorded, UsageClaim};
use crate::seal::{Admitted, Sealing};
use chancery_fail_point::FailPoint;
use chancery_model::{Id, Usage, UsageOf};
use chancery_store::{CheckpointRow, Epoch, RecordEnd, RowChange, StoreError, Taken, Transaction, Writer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Answers that may be given once the group is durable.
pub(crate) struct Answers {
    ready: Vec<Ready>,
    /// The index that the next record will have; `None` where the group had no record.
    pub next_index: Option<u64>,
    /// Tiles whose leaves are to be emptied, in a transaction of their own: each by the first of its leaves.
    pub archive: Vec<(u64, Answer<bool>)>,
    /// Who waits for the tree to be made again from the leaves.
    pub remake_tree: Vec<Answer<u64>>,
    /// Who waits for the write-ahead log to be empty, which it can be once the group is committed.
    pub empty_wal: Vec<Answer<bool>>,
}

enum Ready {
    Intents(Answer<Delivery>, Result<Vec<Recorded>, RecordError>),
    Change(Answer<Changed>, Result<Changed, RecordError>),
    Seal { answer: Answer<Epoch>, result: Result<Epoch, RecordError>, sealed: bool },
    TreeHead(Answer<Option<TreeHead>>, Option<TreeHead>),
    Checkpoint(Answer<()>),
    Erased(Answer<()>),
    Flush(Answer<()>),
}

impl Answers {
    /// Gives them. Who does not listen any more is passed over; what was for him is dropped, which matters for
    /// intents (see [`Delivery`]).
    pub fn give(self, queue: &Arc<Queue>) {
        for ready in self.ready {
            match ready {
                Ready::Intents(answer, result) => {
                    drop(answer.send(result.map(|recorded| Delivery::new(recorded, Arc::clone(queue)))));
                }
                Ready::Change(answer, result) => drop(answer.send(result)),
                Ready::Seal { answer, result, .. } => drop(answer.send(result)),
                Ready::TreeHead(answer, head) => drop(answer.send(Ok(head))),
                Ready::Checkpoint(answer) | Ready::Erased(answer) | Ready::Flush(answer) => {
                    drop(answer.send(Ok(())));
                }
            }
        }
    }
}

/// Writes a group and makes it durable. On an error nothing of it may be answered: the requests are dropped.
pub(crate) fn commit(
    writer: &mut Writer,
    instance: &Id,
    buffer: &mut Vec<u8>,
    sealing: &mut Sealing,
    tree: &mut Growing,
    group: Group,
) -> Result<Answers, StoreError> {
    let holds = Holds::of(&group);
    let Group { requests, background } = group;
    let mut group = Writing {
        transaction: writer.begin()?,
        instance,
        buffer,
        sealing,
        tree,
        answers: Vec::with_capacity(requests.len()),
        next_index: None,
        changed: false,
    };
    let (mut archive, mut remake_tree, mut empty_wal) = (Vec::new(), Vec::new(), Vec::new());
    group.background(background)?;
    let mut run = Run::default();
    for request in requests {
        match request {
            Request::Intents { epoch, records, answer } => {
                if run.epoch != Some(epoch) {
                    group.intents(std::mem::take(&mut run))?;
                    run.epoch = Some(epoch);
                }
                run.requests.push((records, answer));
            }
            Request::Change { epoch, rows, records, answer } => {
                group.intents(std::mem::take(&mut run))?;
                group.change(epoch, &rows, records, answer)?;
            }
            Request::Note { epoch, records, answer } => {
                group.intents(std::mem::take(&mut run))?;
                group.note(epoch, records, answer)?;
            }
            Request::Seal(request) => {
                group.intents(std::mem::take(&mut run))?;
                group.seal(*request)?;
            }
            Request::TreeHead { answer } => group.answers.push(Ready::TreeHead(answer, None)),
            Request::Checkpoint { checkpoint, kept, answer } => {
                group.checkpoint(checkpoint, kept)?;
                group.answers.push(Ready::Checkpoint(answer));
            }
            Request::Erase { erasure, answer } => {
                match erasure {
                    Erasure::Empty { indexes, act } => group.transaction.empty_details(&indexes, act)?,
                    Erasure::Remove { indexes } => group.transaction.remove_emptied(&indexes)?,
                }
                group.answers.push(Ready::Erased(answer));
            }
            Request::Archive { first, answer } => archive.push((first, answer)),
            Request::RemakeTree { answer } => remake_tree.push(answer),
            Request::EmptyWal { answer } => empty_wal.push(answer),
            Request::Flush { answer } => group.answers.push(Ready::Flush(answer)),
        }
    }
    group.intents(run)?;
    let Writing { mut transaction, sealing, tree, mut answers, next_index, changed, .. } = group;
    tree.keep_edge(&mut transaction)?;
    let next = transaction.next_index()?;
    holds.is_written();
    transaction.commit()?;
    holds.is_committed();
    if answers.iter().any(|answer| matches!(answer, Ready::Seal { result: Ok(_), sealed: true, .. })) {
        FailPoint::StateSealed.pass();
    }
    for answer in &mut answers {
        match answer {
            Ready::Seal { result: result @ Ok(_), sealed, .. } => {
                if let Err(error) = sealing.anchored(next, tree, *sealed) {
                    *result = Err(error);
                }
            }
            Ready::TreeHead(_, head) => *head = tree.head(),
            Ready::Intents(..)
            | Ready::Change(..)
            | Ready::Seal { .. }
            | Ready::Checkpoint(_)
            | Ready::Erased(_)
            | Ready::Flush(_) => {}
        }
    }
    sealing.committed(changed, next, tree);
    Ok(Answers { ready: answers, next_index, archive, remake_tree, empty_wal })
}

/// What a group holds, for tests that kill the service around its commit.
#[derive(Clone, Copy)]
struct Holds {
    intents: bool,
    changes: bool,
    outcomes: bool,
}

impl Holds {
    fn of(Group { requests, background }: &Group) -> Self {
        Self {
            intents: requests.iter().any(|request| matches!(request, Request::Intents { .. })),
            changes: requests.iter().any(|request| matches!(request, Request::Change { .. })),
            outcomes: background.records.iter().any(|record| !record.closes().is_empty()),
        }
    }

    fn is_written(self) {
        self.pass(FailPoint::IntentWritten, FailPoint::ChangeWritten, FailPoint::OutcomeWritten);
    }

    fn is_committed(self) {
        self.pass(FailPoint::IntentCommitted, FailPoint::ChangeCommitted, FailPoint::OutcomeCommitted);
    }

    fn pass(self, intents: FailPoint, changes: FailPoint, outcomes: FailPoint) {
        for (held, point) in [(self.intents, intents), (self.changes, changes), (self.outcomes, outcomes)] {
            if held {
                point.pass();
            }
        }
    }
}

/// Requests of one epoch that came one after the other: they take their indexes together.
#[derive(Default)]
struct Run {
    epoch: Option<Epoch>,
    requests: Vec<(Vec<Prepared>, Answer<Delivery>)>,
}

struct Writing<'a> {
    transaction: Transaction<'a>,
    instance: &'a Id,
    buffer: &'a mut Vec<u8>,
    sealing: &'a mut Sealing,
    tree: &'a mut Growing,
    answers: Vec<Ready>,
    next_index: Option<u64>,
    /// Whether the anchor is to know of it at once: the state was changed, or a checkpoint kept.
    changed: bool,
}

impl Writing<'_> {
    /// Outcomes and denials come first: they belong to what is already on the record, whatever the epoch.
    fn background(&mut self, background: Background) -> Result<(), StoreError> {
        for (key, used) in background.uses {
            self.transaction.note_api_key_use(key, used)?;
        }
        let mut records = background.records;
        if background.dropped > 0 {
            tracing::warn!(count = background.dropped, "more calls were refused than could be recorded one by one");
            // Without a salt there is no record, and every other record fails and closes the log.
            records.extend(Prepared::overflow(self.instance, background.dropped).ok());
        }
        if records.is_empty() {
            return Ok(());
        }
        let taken = self.transaction.take_indexes(count(&records))?;
        self.append(taken, &mut records)
    }

    fn intents(&mut self, run: Run) -> Result<(), StoreError> {
        let Some(epoch) = run.epoch else { return Ok(()) };
        let over = self.count_usage(epoch, &run)?;
        let within = run.requests.iter().zip(&over).filter(|(_, over)| over.is_none());
        let total = within.map(|((records, _), _)| count(records)).sum();
        let taken = self.transaction.take_indexes_at(epoch, total)?;
        let mut next = taken.map(|taken| taken.first);
        for ((mut records, answer), over) in run.requests.into_iter().zip(over) {
            let result = match (over, taken, next) {
                (Some(over), _, _) => Err(over),
                (None, Some(taken), Some(first)) => {
                    self.append(Taken { first, ..taken }, &mut records)?;
                    let end = first + count(&records);
                    next = Some(end);
                    Ok((first..end).map(Recorded::new).collect())
                }
                _ => Err(RecordError::StaleEpoch),
            };
            self.answers.push(Ready::Intents(answer, result));
        }
        Ok(())
    }

    /// Counts the intents of a run against the limits of their keys and callers: of each request all, or none and why. What was decided
    /// on a state that has changed since is counted nowhere. Costs nothing where nobody has limits.
    fn count_usage(&mut self, epoch: Epoch, run: &Run) -> Result<Vec<Option<RecordError>>, StoreError> {
        let claims =
            |(records, _): &(Vec<Prepared>, Answer<Delivery>)| records.iter().any(|one| !one.counts().is_empty());
        if !run.requests.iter().any(claims) || self.transaction.epoch()? != epoch {
            return Ok(run.requests.iter().map(|_| None).collect());
        }
        run.requests.iter().map(|(records, _)| self.count_request(records)).collect()
    }

    fn count_request(&mut self, records: &[Prepared]) -> Result<Option<RecordError>, StoreError> {
        let mut wanted: BTreeMap<UsageOf, (UsageClaim, u64)> = BTreeMap::new();
        for claim in records.iter().flat_map(Prepared::counts) {
            wanted.entry(claim.of).or_insert((*claim, 0)).1 += 1;
        }
        let mut counted = Vec::with_capacity(wanted.len());
        for (of, (UsageClaim { limits, day, .. }, number)) in wanted {
            let usage = self.transaction.usage(of)?.on(day);
            if let Some((left, kind)) = usage.left(limits).filter(|(left, _)| *left < number) {
                return Ok(Some(RecordError::UsageLimit { of, kind, left }));
            }
            let (total, today) = (usage.total.saturating_add(number), usage.today.saturating_add(number));
            counted.push((of, Usage { total, today, ..usage }));
        }
        for (of, usage) in counted {
            self.transaction.set_usage(of, usage)?;
        }
        Ok(None)
    }

    fn change(
        &mut self,
        epoch: Epoch,
        rows: &[RowChange],
        mut records: Vec<Prepared>,
        answer: Answer<Changed>,
    ) -> Result<(), StoreError> {
        // An outcome that changes no row is guarded by the epoch, and leaves it as it is. So does an act before the state was
        // checked: the epoch is sealed.
        let raises = records.iter().any(|record| record.leaf.body.raises_epoch());
        let result = match (self.sealing.admits(rows), raises) {
            (Admitted::Nothing, _) => Err(RecordError::Unchecked),
            (Admitted::Record, _) | (Admitted::Whole, false) => return self.note(epoch, records, answer),
            (Admitted::Whole, true) => self.raise(epoch, rows, &mut records)?.ok_or(RecordError::StaleEpoch),
        };
        self.answers.push(Ready::Change(answer, result.map(changed)));
        Ok(())
    }

    /// Records what changes nothing, if the epoch is still the one that it was decided at.
    fn note(&mut self, epoch: Epoch, mut records: Vec<Prepared>, answer: Answer<Changed>) -> Result<(), StoreError> {
        let taken = self.transaction.take_indexes_at(epoch, count(&records))?;
        if let Some(taken) = taken {
            self.append(taken, &mut records)?;
        }
        self.answers.push(Ready::Change(answer, taken.map(changed).ok_or(RecordError::StaleEpoch)));
        Ok(())
    }

    /// Keeps a checkpoint, and one that counts as what others are shown: that never becomes smaller, by whichever rule it
    /// counted.
    fn checkpoint(&mut self, checkpoint: CheckpointRow, kept: KeptAs) -> Result<(), StoreError> {
        if kept != KeptAs::Signed {
            let of = |row: &CheckpointRow| row.note.lines().next().map(str::to_owned);
            let shown = self.transaction.shown_checkpoint()?.filter(|shown| of(shown) == of(&checkpoint));
            if shown.is_none_or(|shown| shown.size <= checkpoint.size) {
                self.transaction.put_shown_checkpoint(&checkpoint)?;
            }
        }
        if kept == KeptAs::Cosigned {
            return self.transaction.put_cosigned_checkpoint(&checkpoint);
        }
        self.transaction.put_checkpoint(&checkpoint)?;
        self.sealing.checkpointed(Some(checkpoint));
        self.changed = true;
        Ok(())
    }

    fn seal(&mut self, request: SealRequest) -> Result<(), StoreError> {
        let SealRequest { epoch, new, rows, mut records, answer } = request;
        let announced = if records.is_empty() || self.transaction.epoch()? != epoch {
            Ok(())
        } else {
            let next_index = self.transaction.next_index()? + count(&records);
            self.sealing.announce(epoch, &new, &rows, next_index)
        };
        let NewSeal { root, sealer, database, void_checkpoints } = new;
        let result = if let Err(error) = announced {
            Err(error)
        } else if self.transaction.epoch()? == epoch {
            if let Some(database) = database {
                self.transaction.set_database(database)?;
                self.sealing.rename(database);
            }
            self.sealing.arm(epoch, root, sealer);
            if records.is_empty() {
                Ok(epoch)
            } else {
                let taken = self.raise(epoch, &rows, &mut records)?;
                if !void_checkpoints.is_empty() {
                    self.transaction.remove_checkpoints(&void_checkpoints.signed)?;
                    self.transaction.remove_cosigned_checkpoints(&void_checkpoints.cosigned)?;
                    self.transaction.remove_shown_checkpoint(&void_checkpoints.shown)?;
                    self.sealing.checkpointed(self.transaction.newest_checkpoint()?);
                }
                taken.map(|taken| taken.epoch).ok_or(RecordError::StaleEpoch)
            }
        } else {
            Err(RecordError::StaleEpoch)
        };
        self.answers.push(Ready::Seal { answer, result, sealed: !records.is_empty() });
        Ok(())
    }

    /// Changes rows, in the next epoch, and seals what it comes to; `None`, and nothing done, where the epoch is another.
    fn raise(
        &mut self,
        epoch: Epoch,
        rows: &[RowChange],
        records: &mut [Prepared],
    ) -> Result<Option<Taken>, StoreError> {
        let Some(taken) = self.transaction.raise_epoch(epoch, count(records))? else { return Ok(None) };
        for row in rows {
            self.transaction.apply(row)?;
        }
        self.append(taken, records)?;
        self.sealing.changed(&mut self.transaction, taken, rows)?;
        self.changed = true;
        Ok(Some(taken))
    }

    fn append(&mut self, taken: Taken, records: &mut [Prepared]) -> Result<(), StoreError> {
        for (index, record) in (taken.first..).zip(records) {
            self.transaction.append(&record.row(index, taken.epoch.get(), self.buffer))?;
            // The row was made in the buffer: it holds the leaf.
            self.tree.append(index, self.buffer, &mut self.transaction)?;
            if let Some(act) = record.opens() {
                self.transaction.open_intent(index, self.instance, act)?;
            }
            for item in record.closes() {
                let end = RecordEnd { outcome: index, result: item.result.code() };
                if !self.transaction.close_intent(item.intent, end)? {
                    tracing::error!(intent = item.intent, outcome = index, "an outcome for what is not open");
                }
            }
            self.next_index = Some(index + 1);
        }
        Ok(())
    }
}

fn changed(taken: Taken) -> Changed {
    Changed { epoch: taken.epoch, recorded: Recorded::new(taken.first) }
}

const fn count(records: &[Prepared]) -> u64 {
    records.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogSettings;
    use crate::{Act, Details, Intent};
    use chancery_model::{Action, Algorithm, KeyRules, LimitKind, Timestamp, Uid, UsageLimits};
    use chancery_store::{CallerRow, KeyRow};
    use tokio::sync::oneshot;

    const CALLER: Uid = Uid::from_bytes([1; 16]);

    fn intents(
        instance: &Id,
        epoch: Epoch,
        count: usize,
    ) -> (Request, oneshot::Receiver<Result<Delivery, RecordError>>) {
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
        let (requests, answers): (Vec<_>, Vec<_>) =
            plan.into_iter().map(|(epoch, day, n)| claiming(epoch, day, n)).unzip();
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
}
