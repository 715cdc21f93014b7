//! Finding API keys and listing them; never their secrets.

use std::fmt;
use std::sync::Arc;

use chancery_model::{Action, ApiKeyId, Caller, Id, Timestamp};
use chancery_policy::OperationContext;

use super::{ApiKeyEntry, ApiKeyState};
use crate::paging::Page;
use crate::state::Snapshot;
use crate::{Chancery, Error, Requester};

/// `callers/{caller}/apiKeys/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyName {
    /// Whose it is.
    pub caller: Id,
    /// Its public part.
    pub id: ApiKeyId,
}

impl fmt::Display for ApiKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "callers/{}/apiKeys/{}", self.caller, self.id)
    }
}

/// An API key as it is shown.
#[derive(Debug, Clone)]
pub struct ApiKeyView {
    /// Its name.
    pub name: ApiKeyName,
    /// The key.
    pub entry: Arc<ApiKeyEntry>,
    /// Whether it opens anything.
    pub state: ApiKeyState,
    /// When it was used last.
    pub last_used: Option<Timestamp>,
    /// Of use, and not used for long.
    pub dormant: bool,
    /// Of use for a short time only.
    pub expiring: bool,
    /// The key that took its place.
    pub replaced_by: Option<ApiKeyName>,
}

impl Chancery {
    /// The API keys of a caller, by id; also those that are expired or revoked.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] on the caller.
    pub async fn list_api_keys(
        &self,
        from: &Requester,
        caller: Id,
        after: Option<ApiKeyId>,
        limit: usize,
    ) -> Result<Page<ApiKeyView, ApiKeyId>, Error> {
        let snapshot = self.snapshot();
        let plain = |_: &Caller| OperationContext::Plain;
        let entry = self.authorize_caller(&snapshot, from, Action::ListApiKeys, &caller, plain)?.entry;
        let keys = snapshot.api_keys.of(entry.caller.uid).filter(|key| after.is_none_or(|after| key.id > after));
        let page = Page::take(keys, limit, |key| key.id);
        let items = page.items.into_iter().map(|key| self.api_key_view(&snapshot, &caller, key)).collect();
        Ok(Page { items, next: page.next })
    }

    pub(super) fn api_key_view(&self, snapshot: &Snapshot, caller: &Id, key: &Arc<ApiKeyEntry>) -> ApiKeyView {
        let now = Timestamp::now();
        let state = key.state(now);
        let active = state == ApiKeyState::Active;
        let replaced_by = key.replaced_by.and_then(|uid| snapshot.api_keys.by_uid(uid));
        ApiKeyView {
            name: ApiKeyName { caller: caller.clone(), id: key.id },
            entry: Arc::clone(key),
            state,
            last_used: self.inner.api_key_uses.last(key.uid),
            dormant: active && self.is_dormant(key, now),
            expiring: active && self.is_expiring(key, now),
            replaced_by: replaced_by.map(|key| ApiKeyName { caller: caller.clone(), id: key.id }),
        }
    }

    /// A key of a caller, where it is the caller's.
    pub(super) fn api_key_of<'a>(
        snapshot: &'a Snapshot,
        caller: &Caller,
        name: &ApiKeyName,
    ) -> Result<&'a Arc<ApiKeyEntry>, Error> {
        let key = snapshot.api_keys.by_id(name.id).filter(|key| key.caller_uid == caller.uid);
        key.ok_or_else(|| Error::NotFound { name: name.to_string() })
    }
}
