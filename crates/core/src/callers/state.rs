//! Stopping a caller at once, and letting it in again.

use std::sync::Arc;

use chancery_model::{Action, Caller, CallerState, Id, Timestamp};
use chancery_policy::OperationContext;
use chancery_store::RowChange;
use tokio::time::Instant;

use super::lockout::keeps_administrators;
use super::read::name_of;
use crate::change::Plan;
use crate::registry::CallerEntry;
use crate::usage::CallerView;
use crate::{Chancery, Error, Requester, details};

/// A caller that is let in no more, and what of it was still under way.
#[derive(Debug, Clone)]
pub struct SuspendedCaller {
    /// The caller.
    pub caller: CallerView,
    /// Indexes of intents of this caller that had not ended when the wait was over.
    pub open_intents: Vec<u64>,
}

impl Chancery {
    /// Lets a caller do nothing any more, and waits for the intents that were recorded of it before. Asked again, it
    /// changes nothing and answers.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::CallerLockout`], and those of the record.
    pub async fn suspend_caller(&self, from: &Requester, id: Id, reason: String) -> Result<SuspendedCaller, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let entry = this.turn_caller(&from, Action::SuspendCaller, &id, &reason, CallerState::Suspended).await?;
            let deadline = Instant::now() + this.inner.limits.suspend_wait;
            let epoch = this.snapshot().epoch;
            let open_intents = this.inner.callers_in_flight.wait_for_older(entry.caller.uid, epoch, deadline).await;
            Ok(SuspendedCaller { caller: this.view_caller(entry).await?, open_intents })
        })
        .await
    }

    /// Lets a suspended caller in again. Asked again, it changes nothing and answers.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], and those of the record.
    pub async fn resume_caller(&self, from: &Requester, id: Id, reason: String) -> Result<CallerView, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let entry = this.turn_caller(&from, Action::ResumeCaller, &id, &reason, CallerState::Active).await?;
            this.view_caller(entry).await
        })
        .await
    }

    async fn turn_caller(
        &self,
        from: &Requester,
        action: Action,
        id: &Id,
        reason: &str,
        next: CallerState,
    ) -> Result<Arc<CallerEntry>, Error> {
        let done = self
            .change(|snapshot| {
                let plain = |_: &Caller| OperationContext::Plain;
                let allowed = self.authorize_caller(snapshot, from, action, id, plain)?;
                if allowed.entry.caller.state == next {
                    return Ok(Plan::Nothing(allowed.entry));
                }
                let mut row = allowed.entry.to_row();
                let now = Timestamp::now();
                if let Some(registration) = &mut row.registration {
                    registration.state = next;
                    registration.state_changed = now;
                    registration.updated = now;
                }
                keeps_administrators(snapshot, &row)?;
                let act = details::Described::new(from, &allowed.permit, name_of(id))
                    .because(reason)
                    .act(allowed.entry.caller.uid, false);
                Ok(Plan::Change { rows: vec![RowChange::PutCaller(row)], act: Box::new(act), then: () })
            })
            .await?;
        self.entry_after(done, id)
    }
}
