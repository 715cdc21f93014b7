//! Revoking an API key, at once.

use chancery_model::{Action, Caller, Timestamp};
use chancery_policy::OperationContext;
use chancery_store::{ApiKeyRow, RowChange};

use super::ApiKeyName;
use super::read::ApiKeyView;
use crate::change::{Done, Plan};
use crate::{Chancery, Error, Requester, details};

impl Chancery {
    /// Lets a key open nothing any more: a call or stream message that begins after this has answered is refused. Asked
    /// again, it changes nothing and answers.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] on the caller, [`Error::NotFound`], and those of the record.
    pub async fn revoke_api_key(
        &self,
        from: &Requester,
        name: ApiKeyName,
        reason: String,
    ) -> Result<ApiKeyView, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move {
            let done: Done<(), ()> = this
                .change(|snapshot| {
                    let plain = |_: &Caller| OperationContext::Plain;
                    let allowed = this.authorize_caller(snapshot, &from, Action::RevokeApiKey, &name.caller, plain)?;
                    let key = Self::api_key_of(snapshot, &allowed.entry.caller, &name)?;
                    if key.revoked.is_some() {
                        return Ok(Plan::Nothing(()));
                    }
                    let row = ApiKeyRow { revoked: Some(Timestamp::now()), ..key.to_row() };
                    let act = details::Described::new(&from, &allowed.permit, name.to_string())
                        .because(&reason)
                        .act(key.uid, false);
                    Ok(Plan::Change { rows: vec![RowChange::PutApiKey(row)], act: Box::new(act), then: () })
                })
                .await?;
            let snapshot = match done {
                Done::Changed { snapshot, .. } => snapshot,
                Done::Nothing(()) => this.snapshot(),
            };
            let key = snapshot.api_keys.by_id(name.id).ok_or_else(|| Error::NotFound { name: name.to_string() })?;
            Ok(this.api_key_view(&snapshot, &name.caller, key))
        })
        .await
    }
}
