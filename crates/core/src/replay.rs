//! Which of the recorded decisions another policy set would have made otherwise.
//!
//! Each call is decided again from what its record holds: who asked, with the groups, roles and rings of then, the resource
//! as it was, and the circumstances. Nothing is taken from the state of now. What the record does not hold whole is not
//! decided, and counted.

use std::time::Duration;

use chancery_audit::{Details, Kind, Leaf};
use chancery_model::{Action, Timestamp};
use chancery_policy::{Decision, PolicyDocument, PolicyPoint, PolicySet, RecordedCall};
use chancery_store::{RecordPage, RecordQuery, StoredRecord};
use tokio::time::Instant;

use crate::policies::check_documents;
use crate::{Chancery, Error, Requester, blocking_in, place_in};

/// The time that one page takes, about: it may so be short, and yet not the last.
const MAX_TIME: Duration = Duration::from_secs(1);

/// A part of the record, decided again.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    /// The decisions that would be others, in the order of the records.
    pub changes: Vec<ChangedDecision>,
    /// How many were decided again.
    pub replayed: u64,
    /// How many cannot be: their details are erased, were never decided by policy, or are of another version.
    pub not_replayed: u64,
    /// The index of the record with which the next page begins.
    pub next: Option<u64>,
}

/// A decision that would be another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedDecision {
    /// Index of the record.
    pub record_index: u64,
    /// When it was recorded.
    pub time: Timestamp,
    /// The caller's id.
    pub caller: String,
    /// What was asked for.
    pub action: Action,
    /// On what.
    pub resource: String,
    /// Whether it was allowed then.
    pub was_allowed: bool,
    /// Why the other set would decide otherwise.
    pub reason: String,
}

impl Chancery {
    /// Decides the calls of at most `size` records again, under a policy set that is proposed. Of `query`, what says which
    /// records match, where to begin and in which order is used.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], also where the caller may not read the record; [`Error::InvalidField`] and
    /// [`Error::PolicyInvalid`] for the set; [`Error::DeadlineExceeded`].
    pub async fn replay_policy_set(
        &self,
        from: &Requester,
        documents: Vec<PolicyDocument>,
        query: RecordQuery,
        size: usize,
    ) -> Result<Replayed, Error> {
        self.authorize_policy(&self.snapshot(), from, Action::ReplayPolicySet)?;
        if documents.is_empty() {
            return Err(Error::invalid("documents", "must be the policy set under which the calls are decided again"));
        }
        check_documents(&documents)?;
        // One more than a page has, to know whether there is another page. Asks whether the record may be read.
        let limit = u32::try_from(size).unwrap_or(u32::MAX).saturating_add(1);
        let page = self.list_records(from, RecordQuery { limit, ..query }).await?;
        let deadline = from.deadline;
        let replay = move || {
            let set = PolicySet::parse(documents).and_then(|set| PolicyPoint::new(set, &[]));
            replay(&set.map_err(Error::PolicyInvalid)?, page, size, deadline)
        };
        blocking_in(place_in(&self.inner.publishing, deadline).await?, replay).await?
    }
}

fn replay(point: &PolicyPoint, page: RecordPage, size: usize, deadline: Instant) -> Result<Replayed, Error> {
    let begun = Instant::now();
    let RecordPage { records, next } = page;
    let mut replayed = Replayed { next, ..Replayed::default() };
    for (place, record) in records.into_iter().enumerate() {
        if place == size || (place > 0 && begun.elapsed() >= MAX_TIME) {
            replayed.next = Some(record.index);
            break;
        }
        if Instant::now() >= deadline {
            return Err(Error::DeadlineExceeded { record_index: None });
        }
        replayed.ask(point, &record)?;
    }
    Ok(replayed)
}

impl Replayed {
    /// Decides one record again.
    fn ask(&mut self, point: &PolicyPoint, record: &StoredRecord) -> Result<(), Error> {
        let leaf = Leaf::decode(&record.leaf)
            .map_err(|error| Error::internal(format!("the leaf of record {}: {error}", record.index)))?;
        let was_allowed = match leaf.kind() {
            Kind::Intent | Kind::Act => true,
            Kind::Denial => false,
            // An outcome decides nothing.
            Kind::Outcome => return Ok(()),
        };
        let details = record.details.as_ref().and_then(|details| Details::from_json(&details.content).ok());
        let details = details.unwrap_or_default();
        let call = details
            .attributes
            .as_ref()
            .zip(leaf.action())
            .and_then(|(attributes, action)| RecordedCall::from_attributes(action, attributes).ok());
        let Some(RecordedCall { caller: then, request }) = call else {
            self.not_replayed += 1;
            return Ok(());
        };
        self.replayed += 1;
        let allowed = matches!(point.authorize(&then, &request), Decision::Allowed(_));
        if allowed != was_allowed {
            self.changes.push(ChangedDecision {
                record_index: record.index,
                time: leaf.time,
                caller: then.id.to_string(),
                action: request.action,
                resource: details.resource.unwrap_or_default(),
                was_allowed,
                reason: point.explain(&then, &request).reason,
            });
        }
        Ok(())
    }
}
