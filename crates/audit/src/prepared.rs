//! Records made ready: serialised, salted and committed to on the caller's thread, so that the writing thread only
//! adds the epoch and writes.

use crate::codes::{Decision, DenialReason};
use crate::commitment::{commitment_to_details, commitment_to_row};
use crate::details::Details;
use crate::hex::Hex;
use crate::leaf::{Body, Leaf, MAX_ITEMS, MAX_ROWS, RowDigest, Subject};
use crate::record::{Act, Denial, Intent, Outcome, OutcomeItem, RowStatement, UsageClaim};
use chancery_crypto::{RandomError, random_bytes};
use chancery_model::{Action, Id, Timestamp, Uid};
use chancery_store::{NewRecord, RowChange, SEARCHED_BYTES, SearchColumns};

/// A record that lacks only its epoch.
pub(crate) struct Prepared {
    pub leaf: Leaf,
    salt: [u8; 32],
    details: Vec<u8>,
    caller: Option<String>,
    resource: Option<String>,
    action: Option<Action>,
    digest: Option<[u8; SEARCHED_BYTES]>,
    trace_id: Option<[u8; SEARCHED_BYTES]>,
    counts: Vec<UsageClaim>,
}

impl Prepared {
    pub fn intent(instance: &Id, intent: Intent) -> Result<Self, RandomError> {
        let Intent { time, caller, resource, action, policy_set, counts, details } = intent;
        let subject = Subject { caller, resource, action: Some(action), decision: Decision::Allow, policy_set };
        let prepared = Self::new(instance, time, details, |_| Body::Intent(subject))?;
        Ok(Self { counts, ..prepared })
    }

    /// The leaves of an act: one, unless it changes more rows than a leaf holds.
    pub fn act(instance: &Id, rows: &[RowChange], act: Act) -> Result<Vec<Self>, RandomError> {
        Self::act_with(instance, rows, digests, act)
    }

    /// The leaves of an act that says what rows are, and changes none.
    pub fn stating(instance: &Id, rows: &[RowStatement], act: Act) -> Result<Vec<Self>, RandomError> {
        Self::act_with(instance, rows, stated, act)
    }

    fn act_with<T>(
        instance: &Id,
        rows: &[T],
        digests: impl Fn(&[u8; 32], &[T]) -> Vec<RowDigest>,
        act: Act,
    ) -> Result<Vec<Self>, RandomError> {
        let Act { time, caller, resource, action, policy_set, details, opens } = act;
        let subject = Subject { caller, resource, action, decision: Decision::Allow, policy_set };
        pieces(rows, MAX_ROWS, 1)
            .map(|(piece, rows)| {
                let continues = piece > 0;
                Self::new(instance, time, details.clone(), |salt| Body::Act {
                    subject,
                    opens: opens && !continues,
                    continues,
                    rows: digests(salt, rows),
                })
            })
            .collect()
    }

    /// The leaves of an outcome: one, unless it has more items or rows than a leaf holds.
    pub fn outcome(instance: &Id, rows: &[RowChange], outcome: Outcome) -> Result<Vec<Self>, RandomError> {
        Self::outcome_with(instance, rows, digests, outcome)
    }

    /// The leaves of an outcome that changes rows, and says of others what they are.
    pub fn outcome_stating(
        instance: &Id,
        rows: &[RowChange],
        statements: &[RowStatement],
        outcome: Outcome,
    ) -> Result<Vec<Self>, RandomError> {
        let changed =
            |row: &RowChange| RowStatement { table: row.table(), id: row.row_id(), canonical: row.canonical_bytes() };
        let all: Vec<RowStatement> = rows.iter().map(changed).chain(statements.iter().cloned()).collect();
        Self::outcome_with(instance, &all, stated, outcome)
    }

    fn outcome_with<T>(
        instance: &Id,
        rows: &[T],
        digests: impl Fn(&[u8; 32], &[T]) -> Vec<RowDigest>,
        outcome: Outcome,
    ) -> Result<Vec<Self>, RandomError> {
        let Outcome { time, items, details } = outcome;
        let needed = rows.len().div_ceil(MAX_ROWS).max(items.len().div_ceil(MAX_ITEMS)).max(1);
        let rows = pieces(rows, MAX_ROWS, needed);
        let items = pieces(&items, MAX_ITEMS, needed);
        rows.zip(items)
            .map(|((piece, rows), (_, items))| {
                Self::new(instance, time, details.clone(), |salt| Body::Outcome {
                    continues: piece > 0,
                    items: items.to_vec(),
                    rows: digests(salt, rows),
                })
            })
            .collect()
    }

    pub fn denial(instance: &Id, denial: Denial) -> Result<Self, RandomError> {
        let Denial { second, caller, resource, action, reason, count, details } = denial;
        Self::new(instance, second, details, |_| Body::Denial { caller, resource, action, reason, count })
    }

    /// So many calls were refused beside those that are recorded.
    pub fn overflow(instance: &Id, count: u32) -> Result<Self, RandomError> {
        let reason = DenialReason::Overflow;
        let details = Details { decision: Some(Decision::Deny), reason: Some(reason), ..Details::default() };
        let (caller, resource) = (Uid::NONE, Uid::NONE);
        let body = Body::Denial { caller, resource, action: None, reason, count };
        Self::new(instance, Timestamp::now(), details, |_| body)
    }

    fn new(
        instance: &Id,
        time: Timestamp,
        details: Details,
        body: impl FnOnce(&[u8; 32]) -> Body,
    ) -> Result<Self, RandomError> {
        let salt = random_bytes()?;
        Ok(Self::salted(instance, time, details, salt, body))
    }

    pub(crate) fn salted(
        instance: &Id,
        time: Timestamp,
        details: Details,
        salt: [u8; 32],
        body: impl FnOnce(&[u8; 32]) -> Body,
    ) -> Self {
        let json = details.to_json();
        let commitment = commitment_to_details(&salt, &json);
        let leaf = Leaf { epoch: 0, time, instance: instance.clone(), body: body(&salt), commitment };
        let action = leaf.action().or_else(|| details.action.as_deref()?.parse().ok());
        let digest = details.signed.and_then(|signed| signed.digest.as_bytes().first_chunk().copied());
        let trace_id = details.trace_id.and_then(|text| Hex::parse(&text)?.as_bytes().first_chunk().copied());
        let (caller, resource) = (details.caller, details.resource);
        Self { leaf, salt, details: json, caller, resource, action, digest, trace_id, counts: Vec::new() }
    }

    /// The same record, counted against these limits.
    #[cfg(test)]
    pub fn counting(self, counts: Vec<UsageClaim>) -> Self {
        Self { counts, ..self }
    }

    /// The limits that this record counts against.
    pub fn counts(&self) -> &[UsageClaim] {
        &self.counts
    }

    /// What open intents this record closes.
    pub fn closes(&self) -> &[OutcomeItem] {
        match &self.leaf.body {
            Body::Outcome { items, .. } => items,
            Body::Intent(_) | Body::Act { .. } | Body::Denial { .. } => &[],
        }
    }

    /// Whether this record waits for an outcome, and if so whether it is an act.
    pub const fn opens(&self) -> Option<bool> {
        match self.leaf.body {
            Body::Intent(_) => Some(false),
            Body::Act { opens: true, .. } => Some(true),
            Body::Act { opens: false, .. } | Body::Outcome { .. } | Body::Denial { .. } => None,
        }
    }

    /// The rows to write; `buffer` is for the leaf's bytes.
    pub fn row<'a>(&'a mut self, index: u64, epoch: u64, buffer: &'a mut Vec<u8>) -> NewRecord<'a> {
        self.leaf.epoch = epoch;
        buffer.clear();
        self.leaf.encode(buffer);
        NewRecord {
            index,
            leaf: buffer,
            salt: &self.salt,
            details: &self.details,
            search: SearchColumns {
                time: self.leaf.time,
                kind: self.leaf.kind().code(),
                caller: self.caller.as_deref(),
                resource: self.resource.as_deref(),
                action: self.action,
                decision: self.leaf.decision().map(Decision::code),
                digest: self.digest,
                trace_id: self.trace_id,
            },
        }
    }
}

/// `all` in pieces of `size`, filled up with empty ones to at least `count`.
fn pieces<T>(all: &[T], size: usize, count: usize) -> impl Iterator<Item = (usize, &[T])> {
    let count = all.len().div_ceil(size).max(count);
    all.chunks(size).chain(std::iter::repeat(&[] as &[T])).take(count).enumerate()
}

fn digests(salt: &[u8; 32], rows: &[RowChange]) -> Vec<RowDigest> {
    rows.iter()
        .map(|row| RowDigest {
            table: row.table(),
            id: row.row_id(),
            commitment: commitment_to_row(salt, row.canonical_bytes().as_deref()),
        })
        .collect()
}

fn stated(salt: &[u8; 32], rows: &[RowStatement]) -> Vec<RowDigest> {
    rows.iter()
        .map(|RowStatement { table, id, canonical }| RowDigest {
            table: *table,
            id: *id,
            commitment: commitment_to_row(salt, canonical.as_deref()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::OutcomeResult;

    #[test]
    fn what_one_leaf_cannot_hold_goes_on_in_the_next() {
        let instance = Id::parse("the instance", "one").unwrap();
        let item = |intent| OutcomeItem { intent, result: OutcomeResult::Done, signature_sha256: Some([1; 32]) };
        let items: Vec<OutcomeItem> = (0..2_000).map(item).collect();
        let row = |byte| RowChange::DeleteKey(Uid::from_bytes([byte; 16]));
        let rows: Vec<RowChange> = (0..200).map(row).collect();
        let outcome = Outcome { time: Timestamp::now(), items: items.clone(), details: Details::default() };
        let records = Prepared::outcome(&instance, &rows, outcome).unwrap();
        assert_eq!(records.len(), 3);
        let together: Vec<OutcomeItem> = records.iter().flat_map(|record| record.closes().to_vec()).collect();
        assert_eq!(together, items);
        for (place, record) in records.iter().enumerate() {
            let Body::Outcome { continues, rows, .. } = &record.leaf.body else { panic!("{:?}", record.leaf) };
            assert_eq!(*continues, place > 0);
            assert_eq!(rows.len(), if place == 0 { 200 } else { 0 });
        }
    }

    #[test]
    fn an_outcome_of_nothing_is_still_a_record() {
        let instance = Id::parse("the instance", "one").unwrap();
        let outcome = Outcome { time: Timestamp::now(), items: Vec::new(), details: Details::default() };
        assert_eq!(Prepared::outcome(&instance, &[], outcome).unwrap().len(), 1);
    }
}
