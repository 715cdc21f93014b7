//! Finding callers and listing them.

use std::sync::Arc;

use chancery_model::{Action, Caller, Id};
use chancery_policy::{OperationContext, Permit, Resource};
use tokio::time::Instant;

use crate::authorize::Asked;
use crate::paging::Page;
use crate::registry::CallerEntry;
use crate::state::Snapshot;
use crate::usage::CallerView;
use crate::{Chancery, Error, Requester, blocking_in, place_in};

/// A caller whom policy lets somebody act on.
pub(crate) struct AllowedCaller {
    pub entry: Arc<CallerEntry>,
    pub permit: Permit,
}

pub(super) fn name_of(id: &Id) -> String {
    format!("callers/{id}")
}

impl Chancery {
    /// One caller.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], also where there is no such caller.
    pub async fn get_caller(&self, from: &Requester, id: Id) -> Result<CallerView, Error> {
        let snapshot = self.snapshot();
        let plain = |_: &Caller| OperationContext::Plain;
        let allowed = self.authorize_caller(&snapshot, from, Action::GetCaller, &id, plain)?;
        self.view_caller(allowed.entry).await
    }

    /// The callers that the asking one may see, by id.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::DeadlineExceeded`] where too many list.
    pub async fn list_callers(
        &self,
        from: &Requester,
        after: Option<Id>,
        limit: usize,
    ) -> Result<Page<CallerView, Id>, Error> {
        let snapshot = self.snapshot();
        let asked = Asked::of(from, Action::ListCallers, &"callers");
        self.authorize(&snapshot, asked, Resource::Callers, OperationContext::Plain)?;
        let asking = from.clone();
        let look = move || {
            let of = |entry: &CallerEntry| Resource::Caller(Arc::clone(&entry.caller));
            let visible = snapshot
                .callers
                .entries_after(after)
                .take_while(|_| Instant::now() < asking.deadline)
                .filter(|entry| snapshot.would_allow(&asking, Action::GetCaller, of(entry)));
            Page::take(visible.map(Arc::clone), limit, |entry| entry.caller.id.clone())
        };
        let Page { items, next } = blocking_in(place_in(&self.inner.browsing, from.deadline).await?, look).await?;
        from.require_time()?;
        Ok(Page { items: self.view_callers(items).await?, next })
    }

    /// Finds a caller and authorises an action on it. An unknown one answers as one that nobody may act on.
    pub(crate) fn authorize_caller(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        action: Action,
        id: &Id,
        operation: impl FnOnce(&Caller) -> OperationContext,
    ) -> Result<AllowedCaller, Error> {
        let asked = Asked::of(from, action, &name_of(id));
        let Some(entry) = snapshot.callers.entry(id) else { return Err(self.deny_unknown(snapshot, asked)) };
        let asked = Asked { uid: entry.caller.uid, ..asked };
        let operation = operation(&entry.caller);
        let permit = self.authorize(snapshot, asked, Resource::Caller(Arc::clone(&entry.caller)), operation)?;
        Ok(AllowedCaller { entry: Arc::clone(entry), permit })
    }
}
