//! The policy set at the start: the first one, or the one that is in force.

use chancery_audit::{Act, Log};
use chancery_model::Timestamp;
use chancery_policy::{PolicyDocument, PolicyErrors, PolicyPoint, PolicySet, someone_can_apply};
use chancery_store::{Epoch, PolicySetRow, RowChange};

use super::StartError;
use crate::policies::{policy_documents, stored};
use crate::registry::Callers;
use crate::{Error, details};

/// Applies the first set, on the record, where nobody has applied one.
pub(super) async fn apply_first(
    log: &Log,
    epoch: Epoch,
    documents: &[PolicyDocument],
    callers: &Callers,
) -> Result<(Epoch, PolicyPoint, PolicySetRow), StartError> {
    let documents: Vec<_> = documents.iter().map(stored).collect();
    let point = prepare("first", PolicySet::parse(policy_documents(&documents)), callers)?;
    if !someone_can_apply(&point, &callers.able()) {
        return Err(StartError::Lockout);
    }
    let hash = point.policy_set().hash();
    let applied = Timestamp::now();
    let row = PolicySetRow { version: 1, hash, documents, applied, applied_by: "bootstrap".to_owned() };
    let act = details::first_policy_set(&hash);
    let epoch = commit(log, epoch, vec![RowChange::PutPolicySet(row.clone())], act).await?;
    Ok((epoch, point, row))
}

/// Takes the set in force. Where its hash is another by now, because the version that applied it read policies by an earlier
/// schema, it is applied anew: the hash that decisions name must be one that the record explains. Documents that never had
/// the hash which is stored beside them are not what was applied, and nothing is decided by them.
pub(super) async fn take_stored(
    log: &Log,
    epoch: Epoch,
    row: PolicySetRow,
    callers: &Callers,
) -> Result<(Epoch, PolicyPoint, PolicySetRow), StartError> {
    let point = prepare("stored", PolicySet::parse_in_force(policy_documents(&row.documents)), callers)?;
    let hash = point.policy_set().hash();
    if hash == row.hash {
        return Ok((epoch, point, row));
    }
    if !point.policy_set().had_hash(&row.hash) {
        let what = "the stored policy set is not the one that its hash names: somebody edited the database; restore it";
        return Err(StartError::State(Error::internal(what)));
    }
    for warning in point.policy_set().warnings() {
        tracing::warn!(
            "the policy set in force, as this version reads it: {warning}; calls where this fails are denied"
        );
    }
    let applied_by = "bootstrap".to_owned();
    let row = PolicySetRow { version: row.version + 1, hash, applied: Timestamp::now(), applied_by, ..row };
    let act = details::same_policy_set(&hash);
    let epoch = commit(log, epoch, vec![RowChange::PutPolicySet(row.clone())], act).await?;
    Ok((epoch, point, row))
}

pub(super) fn prepare(
    which: &'static str,
    set: Result<PolicySet, PolicyErrors>,
    callers: &Callers,
) -> Result<PolicyPoint, StartError> {
    set.and_then(|set| PolicyPoint::new(set, &callers.all)).map_err(|errors| StartError::Policy { which, errors })
}

async fn commit(log: &Log, epoch: Epoch, rows: Vec<RowChange>, act: Act) -> Result<Epoch, StartError> {
    Ok(log.change(epoch, rows, act).await.map_err(Error::from)?.epoch)
}
