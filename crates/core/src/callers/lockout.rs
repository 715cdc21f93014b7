//! Guards against the change of callers after which nobody could govern the service any more.

use chancery_policy::{PolicyPoint, someone_can_apply, someone_can_register};
use chancery_store::CallerRow;

use crate::Error;
use crate::registry::Callers;
use crate::state::Snapshot;

/// Refuses a change after which nobody could apply a policy set, or register a caller, where somebody could before.
pub(super) fn keeps_administrators(snapshot: &Snapshot, row: &CallerRow) -> Result<(), Error> {
    let callers = snapshot.callers.after([row].into_iter());
    let point = snapshot.policy.with_callers(&callers.all).map_err(Error::PolicyInvalid)?;
    let lost =
        |can: fn(&PolicyPoint, &Callers) -> bool| !can(&point, &callers) && can(&snapshot.policy, &snapshot.callers);
    if lost(|point, callers| someone_can_apply(point, &callers.able())) {
        return Err(Error::CallerLockout { what: "apply a policy set" });
    }
    if lost(|point, callers| someone_can_register(point, &callers.able())) {
        return Err(Error::CallerLockout { what: "register a caller" });
    }
    Ok(())
}
