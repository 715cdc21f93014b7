//! Rotating an API key: a new one of the same scope, and the old one for a while beside it.

use std::time::Duration;

use chancery_crypto::ApiKeyText;
use chancery_model::{Action, Caller, Timestamp};
use chancery_policy::OperationContext;
use chancery_store::{ApiKeyRow, RowChange};

use super::issue::{IssuedApiKey, words};
use super::{ApiKeyName, ApiKeyState};
use crate::change::{Done, Plan};
use crate::{Chancery, Error, Requester, details};

/// Which API key to replace, and how.
#[derive(Debug, Clone)]
pub struct RotateApiKey {
    /// The key.
    pub name: ApiKeyName,
    /// For how long the new one is, whole seconds; as long as the old one was issued for, where not given.
    pub lifetime: Option<Duration>,
    /// How long the old one goes on, from now; never beyond its own expiry.
    pub overlap: Duration,
    /// Makes a retry issue no second one.
    pub request_id: Option<String>,
}

impl Chancery {
    /// Issues a key of the same scope for the same caller, and lets the old one expire after the overlap.
    ///
    /// # Errors
    /// As [`Chancery::issue_api_key`]; [`Error::NotFound`]; [`Error::ApiKeyOver`] for one that opens nothing any more, or
    /// was rotated already.
    pub async fn rotate_api_key(&self, from: &Requester, rotate: RotateApiKey) -> Result<IssuedApiKey, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move { this.rotate_api_key_to_the_end(&from, &rotate).await }).await
    }

    async fn rotate_api_key_to_the_end(&self, from: &Requester, rotate: &RotateApiKey) -> Result<IssuedApiKey, Error> {
        let RotateApiKey { name, lifetime, overlap, request_id } = rotate;
        let snapshot = self.snapshot();
        let known = snapshot.api_keys.by_id(name.id).map(|key| issued_for(key.created, key.expires));
        // Of a key that is not there nothing is decided by its lifetime.
        let lifetime = lifetime.or(known).unwrap_or(Duration::from_secs(1));
        let operation = |_: &Caller| OperationContext::ApiKey { lifetime_seconds: lifetime.as_secs() };
        let allowed = self.authorize_caller(&snapshot, from, Action::RotateApiKey, &name.caller, operation)?;
        Self::api_key_of(&snapshot, &allowed.entry.caller, name)?;
        self.check_lifetime(&allowed.entry.caller, lifetime)?;
        let pepper = self.pepper_for_issuing().await?;
        let text = ApiKeyText::generate(&allowed.entry.caller.environment)?;
        let uid = chancery_crypto::new_uid()?;
        let new_name = ApiKeyName { caller: name.caller.clone(), id: text.id() };
        let done: Done<(), ()> = self
            .change(|snapshot| {
                let allowed = self.authorize_caller(snapshot, from, Action::RotateApiKey, &name.caller, operation)?;
                let caller = &allowed.entry.caller;
                let old = Self::api_key_of(snapshot, caller, name)?;
                Self::check_room(snapshot, caller, request_id.as_ref())?;
                let now = Timestamp::now();
                if old.state(now) != ApiKeyState::Active || old.replaced_by.is_some() {
                    return Err(Error::ApiKeyOver { name: name.to_string() });
                }
                let new = ApiKeyRow {
                    uid,
                    id: text.id(),
                    caller_uid: caller.uid,
                    secret_hmac: pepper.hash(&text),
                    scope: old.scope.clone(),
                    created: now,
                    expires: now.after(lifetime),
                    revoked: None,
                    replaced_by: None,
                    request_id: request_id.clone(),
                };
                let until = now.after(*overlap).min(old.expires);
                let old = ApiKeyRow { expires: until, replaced_by: Some(uid), ..old.to_row() };
                let said = format!("replaces {name}, which goes on for {} seconds at most", overlap.as_secs());
                let act = details::Described::new(from, &allowed.permit, new_name.to_string())
                    .because(&format!("{said}; {}", words(&new, lifetime)))
                    .act(uid, false);
                let rows = vec![RowChange::PutApiKey(new), RowChange::PutApiKey(old)];
                Ok(Plan::Change { rows, act: Box::new(act), then: () })
            })
            .await?;
        self.issued(done, uid, &new_name, text)
    }
}

/// How long a key was issued for, in whole seconds.
fn issued_for(created: Timestamp, expires: Timestamp) -> Duration {
    let micros = u64::try_from(expires.unix_micros() - created.unix_micros()).unwrap_or(0);
    Duration::from_secs(micros / 1_000_000)
}
