//! What is written for each request of a group, in its order.

use super::answers::{Answers, Ready};
use crate::archive::MendedTile;
use crate::erase::Erasure;
use crate::growing::Growing;
use crate::log::RecordError;
use crate::prepared::Prepared;
use crate::queue::{Answer, Background, Delivery, Group, KeptAs, Request, SealRequest};
use crate::record::{Changed, NewSeal, Recorded, UsageClaim};
use crate::seal::{Admitted, Sealing};
use chancery_model::{Id, Usage, UsageOf};
use chancery_store::{CheckpointRow, Epoch, RecordEnd, RowChange, StoreError, Taken, Transaction};
use std::collections::BTreeMap;

/// Requests of one epoch that came one after the other: they take their indexes together.
#[derive(Default)]
struct Run {
    epoch: Option<Epoch>,
    requests: Vec<(Vec<Prepared>, Answer<Delivery>)>,
}

/// A group that is being written.
pub(super) struct Writing<'a> {
    pub transaction: Transaction<'a>,
    pub instance: &'a Id,
    pub buffer: &'a mut Vec<u8>,
    pub sealing: &'a mut Sealing,
    pub tree: &'a mut Growing,
    pub answers: Answers,
    /// Whether the anchor is to know of it at once: the state was changed, or a checkpoint kept.
    pub changed: bool,
}

impl Writing<'_> {
    /// Writes all that the group holds.
    pub fn group(&mut self, group: Group) -> Result<(), StoreError> {
        let Group { requests, background } = group;
        self.answers.ready.reserve(requests.len());
        self.background(background)?;
        let mut run = Run::default();
        for request in requests {
            match request {
                Request::Intents { epoch, records, answer } => {
                    if run.epoch != Some(epoch) {
                        self.intents(std::mem::take(&mut run))?;
                        run.epoch = Some(epoch);
                    }
                    run.requests.push((records, answer));
                }
                Request::Change { epoch, rows, records, answer } => {
                    self.intents(std::mem::take(&mut run))?;
                    self.change(epoch, &rows, records, answer)?;
                }
                Request::Note { epoch, records, answer } => {
                    self.intents(std::mem::take(&mut run))?;
                    self.note(epoch, records, answer)?;
                }
                Request::Seal(request) => {
                    self.intents(std::mem::take(&mut run))?;
                    self.seal(*request)?;
                }
                Request::TreeHead { answer } => self.answers.ready.push(Ready::TreeHead(answer, None)),
                Request::Checkpoint { checkpoint, kept, answer } => {
                    self.checkpoint(checkpoint, kept)?;
                    self.answers.ready.push(Ready::Checkpoint(answer));
                }
                Request::Erase { erasure, answer } => {
                    match erasure {
                        Erasure::Empty { indexes, act } => self.transaction.empty_details(&indexes, act)?,
                        Erasure::Remove { indexes } => self.transaction.remove_emptied(&indexes)?,
                    }
                    self.answers.ready.push(Ready::Erased(answer));
                }
                Request::Mend { tiles, answer } => {
                    for MendedTile { index, hashes } in tiles {
                        self.transaction.put_tile(0, index, &hashes)?;
                    }
                    self.answers.ready.push(Ready::Mended(answer));
                }
                Request::Archive { first, answer } => self.answers.archive.push((first, answer)),
                Request::RemakeTree { answer } => self.answers.remake_tree.push(answer),
                Request::EmptyWal { answer } => self.answers.empty_wal.push(answer),
                Request::Flush { answer } => self.answers.ready.push(Ready::Flush(answer)),
            }
        }
        self.intents(run)
    }

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
            self.answers.ready.push(Ready::Intents(answer, result));
        }
        Ok(())
    }

    /// Counts the intents of a run against the limits of their keys and callers: of each request all, or none and why. What
    /// was decided on a state that has changed since is counted nowhere. Costs nothing where nobody has limits.
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
        self.answers.ready.push(Ready::Change(answer, result.map(changed)));
        Ok(())
    }

    /// Records what changes nothing, if the epoch is still the one that it was decided at.
    fn note(&mut self, epoch: Epoch, mut records: Vec<Prepared>, answer: Answer<Changed>) -> Result<(), StoreError> {
        let taken = self.transaction.take_indexes_at(epoch, count(&records))?;
        if let Some(taken) = taken {
            self.append(taken, &mut records)?;
        }
        self.answers.ready.push(Ready::Change(answer, taken.map(changed).ok_or(RecordError::StaleEpoch)));
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
        self.answers.ready.push(Ready::Seal { answer, result, sealed: !records.is_empty() });
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
            self.answers.next_index = Some(index + 1);
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
