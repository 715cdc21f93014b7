//! Writing a group: one transaction, one sync of the disk.

use crate::log::RecordError;
use crate::prepared::Prepared;
use crate::queue::{Answer, Background, Delivery, Group, Queue, Request};
use crate::record::{Changed, Recorded};
use chancery_model::Id;
use chancery_store::{Epoch, RecordEnd, RowChange, StoreError, Taken, Transaction, Writer};
use std::sync::Arc;

/// Answers that may be given once the group is durable.
pub(crate) struct Answers(Vec<Ready>);

enum Ready {
    Intents(Answer<Delivery>, Result<Vec<Recorded>, RecordError>),
    Change(Answer<Changed>, Result<Changed, RecordError>),
    Flush(Answer<()>),
}

impl Answers {
    /// Gives them. Who does not listen any more is passed over; what was for him is dropped, which matters for
    /// intents (see [`Delivery`]).
    pub fn give(self, queue: &Arc<Queue>) {
        for ready in self.0 {
            match ready {
                Ready::Intents(answer, result) => {
                    drop(answer.send(result.map(|recorded| Delivery::new(recorded, Arc::clone(queue)))));
                }
                Ready::Change(answer, result) => drop(answer.send(result)),
                Ready::Flush(answer) => drop(answer.send(Ok(()))),
            }
        }
    }
}

/// Writes a group and makes it durable. On an error nothing of it may be answered: the requests are dropped.
pub(crate) fn commit(
    writer: &mut Writer,
    instance: &Id,
    buffer: &mut Vec<u8>,
    group: Group,
) -> Result<Answers, StoreError> {
    let Group { requests, background } = group;
    let mut group =
        Writing { transaction: writer.begin()?, instance, buffer, answers: Vec::with_capacity(requests.len()) };
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
            Request::Flush { answer } => group.answers.push(Ready::Flush(answer)),
        }
    }
    group.intents(run)?;
    let Writing { transaction, answers, .. } = group;
    transaction.commit()?;
    Ok(Answers(answers))
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
    answers: Vec<Ready>,
}

impl Writing<'_> {
    /// Outcomes and denials come first: they belong to what is already on the record, whatever the epoch.
    fn background(&mut self, background: Background) -> Result<(), StoreError> {
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
        let total = run.requests.iter().map(|(records, _)| count(records)).sum();
        let taken = self.transaction.take_indexes_at(epoch, total)?;
        let mut next = taken.map(|taken| taken.first);
        for (mut records, answer) in run.requests {
            let result = match (taken, next) {
                (Some(taken), Some(first)) => {
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

    fn change(
        &mut self,
        epoch: Epoch,
        rows: &[RowChange],
        mut records: Vec<Prepared>,
        answer: Answer<Changed>,
    ) -> Result<(), StoreError> {
        let result = match self.transaction.raise_epoch(epoch, count(&records))? {
            None => Err(RecordError::StaleEpoch),
            Some(taken) => {
                for row in rows {
                    self.transaction.apply(row)?;
                }
                self.append(taken, &mut records)?;
                Ok(Changed { epoch: taken.epoch, recorded: Recorded::new(taken.first) })
            }
        };
        self.answers.push(Ready::Change(answer, result));
        Ok(())
    }

    fn append(&mut self, taken: Taken, records: &mut [Prepared]) -> Result<(), StoreError> {
        for (index, record) in (taken.first..).zip(records) {
            self.transaction.append(&record.row(index, taken.epoch.get(), self.buffer))?;
            if let Some(act) = record.opens() {
                self.transaction.open_intent(index, self.instance, act)?;
            }
            for item in record.closes() {
                let end = RecordEnd { outcome: index, result: item.result.code() };
                if !self.transaction.close_intent(item.intent, end)? {
                    tracing::error!(intent = item.intent, outcome = index, "an outcome for what is not open");
                }
            }
        }
        Ok(())
    }
}

const fn count(records: &[Prepared]) -> u64 {
    records.len() as u64
}
