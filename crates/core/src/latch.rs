//! The way back from a refused PIN: an operator has put it right, and lets one login be tried.
//!
//! Recorded first, as every administrative change is, and its outcome afterwards. The token is asked at most once for each
//! record: how often a PIN may be wrong before a device is lost is not ours to try out.

use chancery_audit::{Outcome, OutcomeItem, OutcomeResult, RecordError, Recorded};
use chancery_fail_point::FailPoint;
use chancery_hsm::{ClearLatchError, Token, TokenState};
use chancery_model::{Action, Id, Timestamp, Uid};
use chancery_policy::{OperationContext, Permit, Resource};

use crate::authorize::Asked;
use crate::change::{ATTEMPTS, Done, Plan};
use crate::tokens::TokenView;
use crate::{Chancery, Error, Requester, details};

impl Chancery {
    /// Has a token that refused its PIN try one login, with the PIN as its file has it now. Where the token takes it, the
    /// latch is open and the token serves again; otherwise it stays closed.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], also where there is no such token; [`Error::TokenNotLatched`];
    /// [`Error::TokenStillLatched`], and those of the record.
    pub async fn clear_pin_latch(&self, from: &Requester, id: Id, reason: String) -> Result<TokenView, Error> {
        let (this, from) = (self.clone(), from.clone());
        self.to_the_end(async move { this.clear_to_the_end(&from, &id, &reason).await }).await
    }

    async fn clear_to_the_end(&self, from: &Requester, id: &Id, reason: &str) -> Result<TokenView, Error> {
        let named = format!("tokens/{id}");
        let Some(token) = self.inner.tokens.get(id) else {
            let asked = Asked::of(from, Action::ClearPinLatch, &named);
            return Err(self.deny_unknown(&self.snapshot(), asked));
        };
        let begun: Done<Permit, ()> = self
            .change(|snapshot| {
                let asked = Asked::of(from, Action::ClearPinLatch, &named);
                let permit = self.authorize(snapshot, asked, Resource::Token(id.clone()), OperationContext::Plain)?;
                if token.status().health.state != TokenState::Latched {
                    return Err(Error::TokenNotLatched { token: id.clone() });
                }
                let act = details::Described::new(from, &permit, named.clone()).because(reason).act(Uid::NONE, true);
                Ok(Plan::Change { rows: Vec::new(), act: Box::new(act), then: permit })
            })
            .await?;
        let (recorded, permit) = match begun {
            Done::Changed { recorded, then, .. } => (recorded, then),
            Done::Nothing(_) => return Err(Error::internal("clearing a latch changed nothing")),
        };
        let act = recorded.index();
        let end = try_login(permit, recorded, token).await;
        self.close_clearing(act, &named, &end).await?;
        match end {
            Ok(()) => Ok(self.token_view(id, token)),
            Err(ClearLatchError::NotLatched) => Err(Error::TokenNotLatched { token: id.clone() }),
            Err(why @ (ClearLatchError::Pin(_) | ClearLatchError::Failed(_))) => {
                Err(Error::TokenStillLatched { token: id.clone(), why })
            }
        }
    }

    /// Writes the outcome of an act that let a login be tried. Where that fails the next start does it.
    async fn close_clearing(&self, act: u64, named: &str, end: &Result<(), ClearLatchError>) -> Result<(), Error> {
        let result = if end.is_ok() { OutcomeResult::Done } else { OutcomeResult::Failed };
        self.close_act(act, result, details::clearing_end(act, named, end)).await
    }

    /// Closes an open act that changes no rows.
    pub(crate) async fn close_act(
        &self,
        act: u64,
        result: OutcomeResult,
        details: chancery_audit::Details,
    ) -> Result<(), Error> {
        let _one_at_a_time = self.inner.changing.lock().await;
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot();
            let item = OutcomeItem { intent: act, result, signature_sha256: None };
            let outcome = Outcome { time: Timestamp::now(), items: vec![item], details: details.clone() };
            match self.inner.log.complete(snapshot.epoch, Vec::new(), outcome).await {
                Ok(changed) => {
                    self.install(snapshot.after(changed.epoch, &[])?);
                    return Ok(());
                }
                Err(RecordError::StaleEpoch) => self.reload().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::StateChanging)
    }
}

/// The only place where a refused PIN is tried again. It takes the permit and the recorded act by value.
async fn try_login(_permit: Permit, _recorded: Recorded, token: &Token) -> Result<(), ClearLatchError> {
    FailPoint::LatchClearing.pass();
    let end = token.clear_pin_latch().await;
    FailPoint::LoginTried.pass();
    end
}
