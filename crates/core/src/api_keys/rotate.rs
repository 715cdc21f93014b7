//! Rotating an API key: a new one of the same scope, and the old one for a while beside it.

use std::sync::Arc;
use std::time::Duration;

use chancery_crypto::ApiKeyText;
use chancery_model::{Action, Caller, Timestamp};
use chancery_policy::{OperationContext, Resource};
use chancery_store::{ApiKeyRow, RowChange};

use super::issue::{IssuedApiKey, words};
use super::{ApiKeyEntry, ApiKeyName, ApiKeyState};
use crate::authorize::Asked;
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
        let old = Self::api_key_of(&snapshot, &allowed.entry.caller, name)?;
        self.require_no_other_of_his_own(from, &allowed.entry.caller, old)?;
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
                self.require_no_other_of_his_own(from, caller, old)?;
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

    /// Who comes with an API key rotates none of his own but that one: the new key has the scope of the old one, and a narrow
    /// key must not get at a wide one.
    fn require_no_other_of_his_own(
        &self,
        from: &Requester,
        owner: &Arc<Caller>,
        old: &ApiKeyEntry,
    ) -> Result<(), Error> {
        let another = from.authentication.api_key().is_some_and(|key| key.uid != old.uid);
        if from.caller.uid != owner.uid || !another {
            return Ok(());
        }
        let asked = Asked { uid: owner.uid, ..Asked::of(from, Action::RotateApiKey, &format!("callers/{}", owner.id)) };
        Err(self.deny_out_of_scope(asked, &Resource::Caller(Arc::clone(owner))))
    }
}

/// How long a key was issued for, in whole seconds.
fn issued_for(created: Timestamp, expires: Timestamp) -> Duration {
    let micros = u64::try_from(expires.unix_micros() - created.unix_micros()).unwrap_or(0);
    Duration::from_secs(micros / 1_000_000)
}
