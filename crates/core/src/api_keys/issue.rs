//! Issuing an API key: the one time that it is shown.

use std::time::Duration;

use chancery_crypto::ApiKeyText;
use chancery_model::{Action, ApiKeyScope, Caller, Id, Timestamp, Uid};
use chancery_policy::OperationContext;
use chancery_store::{ApiKeyRow, RowChange};

use super::read::{ApiKeyName, ApiKeyView};
use crate::change::{Done, Plan};
use crate::state::Snapshot;
use crate::{Chancery, Error, Requester, details};

/// The most networks, actions and rings that a scope names, each.
const MAX_OF_EACH: usize = 64;

/// The most keys of one caller that are of use at the same time.
const MAX_ACTIVE: usize = 32;

/// An API key to issue.
#[derive(Debug, Clone)]
pub struct IssueApiKey {
    /// For whom.
    pub caller: Id,
    /// For how long, whole seconds.
    pub lifetime: Duration,
    /// What it leaves of what its caller may do.
    pub scope: ApiKeyScope,
    /// Makes a retry issue no second one.
    pub request_id: Option<String>,
}

/// An API key that was issued now.
#[derive(Debug)]
pub struct IssuedApiKey {
    /// The key.
    pub view: ApiKeyView,
    /// The key itself, to be shown this once.
    pub text: ApiKeyText,
}

impl Chancery {
    /// Issues an API key for a caller.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::InvalidField`], [`Error::ApiKeyShown`] for a request that was answered before,
    /// [`Error::NoSystemRing`], [`Error::TooManyApiKeys`], [`Error::Device`] where the secret under which keys are hashed
    /// cannot be made or used, and those of the record.
    pub async fn issue_api_key(&self, from: &Requester, issue: IssueApiKey) -> Result<IssuedApiKey, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move { this.issue_to_the_end(&from, &issue).await }).await
    }

    async fn issue_to_the_end(&self, from: &Requester, issue: &IssueApiKey) -> Result<IssuedApiKey, Error> {
        let operation = |_: &Caller| OperationContext::ApiKey { lifetime_seconds: issue.lifetime.as_secs() };
        // Asked before the device is, so that nobody who may not makes it work.
        let snapshot = self.snapshot();
        let allowed = self.authorize_caller(&snapshot, from, Action::IssueApiKey, &issue.caller, operation)?;
        self.check_scope(&allowed.entry.caller, &issue.scope)?;
        self.check_lifetime(&allowed.entry.caller, issue.lifetime)?;
        let pepper = self.pepper_for_issuing().await?;
        let text = ApiKeyText::generate(&allowed.entry.caller.environment)?;
        let uid = chancery_crypto::new_uid()?;
        let name = ApiKeyName { caller: issue.caller.clone(), id: text.id() };
        let done: Done<(), ()> = self
            .change(|snapshot| {
                let allowed = self.authorize_caller(snapshot, from, Action::IssueApiKey, &issue.caller, operation)?;
                let caller = &allowed.entry.caller;
                Self::check_room(snapshot, caller, issue.request_id.as_ref())?;
                let now = Timestamp::now();
                let row = ApiKeyRow {
                    uid,
                    id: text.id(),
                    caller_uid: caller.uid,
                    secret_hmac: pepper.hash(&text),
                    scope: issue.scope.clone(),
                    created: now,
                    expires: now.after(issue.lifetime),
                    revoked: None,
                    replaced_by: None,
                    request_id: issue.request_id.clone(),
                };
                let act = details::Described::new(from, &allowed.permit, name.to_string())
                    .because(&words(&row, issue.lifetime))
                    .act(uid, false);
                Ok(Plan::Change { rows: vec![RowChange::PutApiKey(row)], act: Box::new(act), then: () })
            })
            .await?;
        self.issued(done, uid, &name, text)
    }

    /// A key as the change that made it left it.
    pub(super) fn issued<N>(
        &self,
        done: Done<(), N>,
        uid: Uid,
        name: &ApiKeyName,
        text: ApiKeyText,
    ) -> Result<IssuedApiKey, Error> {
        let snapshot = match done {
            Done::Changed { snapshot, .. } => snapshot,
            Done::Nothing(_) => self.snapshot(),
        };
        let entry = snapshot.api_keys.by_uid(uid);
        let entry = entry.ok_or_else(|| Error::internal(format!("{name} was written and is not there")))?;
        Ok(IssuedApiKey { view: self.api_key_view(&snapshot, &name.caller, entry), text })
    }

    /// Whether a caller may get another key, and whether this request did not get one already.
    pub(super) fn check_room(snapshot: &Snapshot, caller: &Caller, request_id: Option<&String>) -> Result<(), Error> {
        let shown =
            |key: &&std::sync::Arc<super::ApiKeyEntry>| request_id.is_some() && key.request_id.as_ref() == request_id;
        if let Some(key) = snapshot.api_keys.of(caller.uid).find(shown) {
            let name = ApiKeyName { caller: caller.id.clone(), id: key.id };
            return Err(Error::ApiKeyShown { name: name.to_string() });
        }
        let now = Timestamp::now();
        let active = snapshot.api_keys.of(caller.uid).filter(|key| key.state(now) == super::ApiKeyState::Active);
        if active.count() >= MAX_ACTIVE {
            return Err(Error::TooManyApiKeys { caller: caller.id.clone(), limit: MAX_ACTIVE });
        }
        Ok(())
    }

    /// A scope narrows what the caller's environment has; it cannot name what is not there.
    fn check_scope(&self, caller: &Caller, scope: &ApiKeyScope) -> Result<(), Error> {
        let ApiKeyScope { access, actions, rings, networks } = scope;
        for (field, count) in
            [("scope.actions", actions.len()), ("scope.key_rings", rings.len()), ("scope.networks", networks.len())]
        {
            if count > MAX_OF_EACH {
                return Err(Error::invalid(field, format!("a scope names at most {MAX_OF_EACH}, not {count}")));
            }
        }
        for ring in rings {
            if self.inner.rings.get(ring).is_none_or(|ring| ring.environment != caller.environment) {
                let why = format!("there is no key ring keyRings/{ring} of environment {}", caller.environment);
                return Err(Error::invalid("scope.key_rings", why));
            }
        }
        let useless = |action: &&Action| !scope.takes(**action, None);
        if let Some(action) = actions.iter().find(useless) {
            return Err(Error::invalid("scope.actions", format!("{action} is not possible with {access} access")));
        }
        Ok(())
    }

    /// Every key expires, and soon enough.
    pub(super) fn check_lifetime(&self, caller: &Caller, lifetime: Duration) -> Result<(), Error> {
        let longest = self.inner.api_key_settings.max_lifetime_in(&caller.environment);
        if lifetime.is_zero() || lifetime > longest {
            let why = format!(
                "must be from 1 second to {} seconds, the longest lifetime of an API key in environment {}",
                longest.as_secs(),
                caller.environment
            );
            return Err(Error::invalid("lifetime", why));
        }
        Ok(())
    }
}

/// What a record says of a new key.
pub(super) fn words(row: &ApiKeyRow, lifetime: Duration) -> String {
    let ApiKeyScope { access, actions, rings, networks } = &row.scope;
    fn part<T: ToString>(what: &str, values: impl Iterator<Item = T>) -> String {
        let values: Vec<String> = values.map(|value| value.to_string()).collect();
        if values.is_empty() { String::new() } else { format!("; {what}: {}", values.join(", ")) }
    }
    format!(
        "{access}, for {} seconds{}{}{}",
        lifetime.as_secs(),
        part("actions", actions.iter()),
        part("key rings", rings.iter()),
        part("networks", networks.iter())
    )
}
