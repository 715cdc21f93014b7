//! The policy set in force, and its replacement.

use std::sync::Arc;

use chancery_audit::RecordError;
use chancery_model::{Action, Sha256Hash, Timestamp};
use chancery_policy::{
    OperationContext, PolicyDocument, PolicyError, PolicyErrors, PolicyPoint, PolicySet, Resource, someone_can_apply,
};
use chancery_store::{PolicySetRow, RowChange};

use crate::authorize::Asked;
use crate::change::ATTEMPTS;
use crate::details;
use crate::registry::Callers;
use crate::state::{Snapshot, etag};
use crate::{Chancery, Error, Requester};

/// Length of all documents of a set together, in bytes.
const MAX_DOCUMENT_BYTES: usize = 512 * 1024;

/// A policy set as it is shown.
#[derive(Debug, Clone)]
pub struct PolicySetView {
    /// The documents.
    pub documents: Vec<PolicyDocument>,
    /// Counts from 1.
    pub version: u64,
    /// Hash of the content.
    pub hash: Sha256Hash,
    /// When it was applied.
    pub applied: Timestamp,
    /// Who applied it: a caller's resource name, or `bootstrap`.
    pub applied_by: String,
    /// For the next apply.
    pub etag: String,
}

/// What a check of a policy set found.
#[derive(Debug, Clone)]
pub struct PolicyCheck {
    /// The hash that it would have; none where it is refused.
    pub hash: Option<Sha256Hash>,
    /// Why it would be refused.
    pub errors: Vec<PolicyError>,
    /// Whether it would be refused because nobody could apply another one afterwards.
    pub locks_out: bool,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

impl Chancery {
    /// The policy set in force.
    ///
    /// # Errors
    /// [`Error::AccessDenied`].
    pub async fn get_policy_set(&self, from: &Requester) -> Result<PolicySetView, Error> {
        let snapshot = self.snapshot();
        self.authorize_policy(&snapshot, from, Action::GetPolicySet)?;
        Ok(view(&snapshot))
    }

    /// Checks a policy set as applying it would.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::InvalidField`].
    pub async fn validate_policy_set(
        &self,
        from: &Requester,
        documents: Vec<PolicyDocument>,
    ) -> Result<PolicyCheck, Error> {
        let snapshot = self.snapshot();
        self.authorize_policy(&snapshot, from, Action::ValidatePolicySet)?;
        check_documents(&documents)?;
        let (callers, held) = (Arc::clone(&snapshot.callers), from.held.clone());
        crate::blocking(move || {
            // Goes on, and keeps the call's place, also where nobody waits for it any more.
            let _held = held;
            let refused = |errors, locks_out| PolicyCheck { hash: None, errors, locks_out, warnings: Vec::new() };
            Ok(match prepare(documents, &callers) {
                Ok(Some(point)) => {
                    let set = point.policy_set();
                    let (hash, warnings) = (Some(set.hash()), set.warnings().to_vec());
                    PolicyCheck { hash, errors: Vec::new(), locks_out: false, warnings }
                }
                Ok(None) => refused(Vec::new(), true),
                Err(errors) => refused(errors.errors, false),
            })
        })
        .await?
    }

    /// Replaces the policy set. A call that begins after this has answered is decided by the new one.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::InvalidField`], [`Error::EtagMismatch`], [`Error::PolicyInvalid`],
    /// [`Error::PolicyLockout`], and those of the record.
    pub async fn apply_policy_set(
        &self,
        from: &Requester,
        documents: Vec<PolicyDocument>,
        etag: String,
    ) -> Result<PolicySetView, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move { this.apply_to_the_end(&from, documents, &etag).await }).await
    }

    async fn apply_to_the_end(
        &self,
        from: &Requester,
        documents: Vec<PolicyDocument>,
        expected: &str,
    ) -> Result<PolicySetView, Error> {
        // The work is done before the state is locked, and only for who may ask for it; decided is under the lock.
        let snapshot = self.snapshot();
        self.may_apply(&snapshot, from, expected)?;
        check_documents(&documents)?;
        let callers = Arc::clone(&snapshot.callers);
        let rows: Vec<_> = documents.iter().map(stored).collect();
        let prepared = {
            let callers = Arc::clone(&callers);
            crate::blocking(move || prepare(documents, &callers)).await?
        };
        let prepared = Arc::new(prepared.map_err(Error::PolicyInvalid)?.ok_or(Error::PolicyLockout)?);
        let _one_at_a_time = self.inner.changing.lock().await;
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot();
            let permit = self.may_apply(&snapshot, from, expected)?;
            let point = if Arc::ptr_eq(&callers, &snapshot.callers) {
                Arc::clone(&prepared)
            } else {
                // Callers have changed since it was prepared.
                let point = prepared.with_callers(&snapshot.callers.all).map_err(Error::PolicyInvalid)?;
                if !someone_can_apply(&point, &snapshot.callers.able()) {
                    return Err(Error::PolicyLockout);
                }
                Arc::new(point)
            };
            let row = PolicySetRow {
                version: snapshot.policy_row.version.saturating_add(1),
                hash: point.policy_set().hash(),
                documents: rows.clone(),
                applied: Timestamp::now(),
                applied_by: format!("callers/{}", from.caller.id),
            };
            let change = vec![RowChange::PutPolicySet(row.clone())];
            let act = details::Described::new(from, &permit, "policySet".to_owned())
                .new_policy_set(&row.hash)
                .act(chancery_model::Uid::NONE, false);
            match self.inner.log.change(snapshot.epoch, change, act).await {
                Ok(changed) => {
                    let (policy, policy_row) = (point, Arc::new(row));
                    let next = Snapshot { epoch: changed.epoch, policy, policy_row, ..(*snapshot).clone() };
                    return Ok(view(&self.install(next)));
                }
                Err(RecordError::StaleEpoch) => self.reload().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::StateChanging)
    }

    /// The policy set that a question is about: the proposed one, or where there is none, the one in force.
    pub(crate) async fn policy_of(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        proposed: Vec<PolicyDocument>,
    ) -> Result<Arc<PolicyPoint>, Error> {
        if proposed.is_empty() {
            return Ok(Arc::clone(&snapshot.policy));
        }
        check_documents(&proposed)?;
        let (callers, held) = (Arc::clone(&snapshot.callers), from.held.clone());
        let prepare = move || {
            // As above.
            let _held = held;
            PolicyPoint::new(PolicySet::parse(proposed)?, &callers.all)
        };
        let point = crate::blocking(prepare).await?;
        point.map(Arc::new).map_err(Error::PolicyInvalid)
    }

    fn may_apply(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        expected: &str,
    ) -> Result<chancery_policy::Permit, Error> {
        let permit = self.authorize_policy(snapshot, from, Action::ApplyPolicySet)?;
        if view(snapshot).etag == expected {
            Ok(permit)
        } else {
            Err(Error::EtagMismatch { name: "policySet".to_owned() })
        }
    }

    pub(crate) fn authorize_policy(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        action: Action,
    ) -> Result<chancery_policy::Permit, Error> {
        let asked = Asked::of(from, action, &"policySet");
        self.authorize(snapshot, asked, Resource::PolicySet, OperationContext::Plain)
    }
}

/// Makes documents ready for deciding; none where afterwards nobody could apply another set. Takes a while: not for the
/// runtime's threads.
fn prepare(documents: Vec<PolicyDocument>, callers: &Callers) -> Result<Option<PolicyPoint>, PolicyErrors> {
    let point = PolicyPoint::new(PolicySet::parse(documents)?, &callers.all)?;
    Ok(someone_can_apply(&point, &callers.able()).then_some(point))
}

fn view(snapshot: &Snapshot) -> PolicySetView {
    let PolicySetRow { version, hash, documents, applied, applied_by } = (*snapshot.policy_row).clone();
    let etag = etag(&RowChange::PutPolicySet((*snapshot.policy_row).clone()));
    let documents = documents.into_iter().map(|document| PolicyDocument { name: document.name, text: document.text });
    PolicySetView { documents: documents.collect(), version, hash, applied, applied_by, etag }
}

/// The same document in the store's words.
pub(crate) fn stored(document: &PolicyDocument) -> chancery_store::PolicyDocument {
    chancery_store::PolicyDocument { name: document.name.clone(), text: document.text.clone() }
}

/// The documents of a stored set in policy's words.
pub(crate) fn policy_documents(stored: &[chancery_store::PolicyDocument]) -> Vec<PolicyDocument> {
    stored.iter().map(|document| PolicyDocument { name: document.name.clone(), text: document.text.clone() }).collect()
}

pub(crate) fn check_documents(documents: &[PolicyDocument]) -> Result<(), Error> {
    for (place, document) in documents.iter().enumerate() {
        if !document.has_valid_name() {
            let field = format!("documents[{place}].name");
            return Err(Error::invalid(&field, "a document's name must match [A-Za-z0-9][A-Za-z0-9._-]{0,63} (ASCII)"));
        }
    }
    let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
    if bytes > MAX_DOCUMENT_BYTES {
        let rule = format!("the documents have {bytes} bytes together; at most {MAX_DOCUMENT_BYTES} are allowed");
        return Err(Error::invalid("documents", rule));
    }
    Ok(())
}
