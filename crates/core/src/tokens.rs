//! The tokens and how they are.

use std::future::pending;
use std::time::Duration;

use chancery_hsm::{Token, TokenHealth, TokenStatus};
use chancery_model::{Action, Id, RingName};
use chancery_policy::{OperationContext, Resource};
use tokio::sync::watch;

use crate::authorize::Asked;
use crate::paging::Page;
use crate::{Chancery, Error, Requester};

/// A token, and the key rings on it.
#[derive(Debug, Clone)]
pub struct TokenView {
    /// How it is.
    pub status: TokenStatus,
    /// The key rings on it.
    pub rings: Vec<RingName>,
}

impl Chancery {
    /// The tokens, by id.
    ///
    /// # Errors
    /// [`Error::AccessDenied`].
    pub async fn list_tokens(
        &self,
        from: &Requester,
        after: Option<Id>,
        limit: usize,
    ) -> Result<Page<TokenView, Id>, Error> {
        let snapshot = self.snapshot();
        let asked = Asked::of(from, Action::ListTokens, &"tokens");
        self.authorize(&snapshot, asked, Resource::Tokens, OperationContext::Plain)?;
        let tokens = self.inner.tokens.iter().filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after));
        let page = Page::take(tokens, limit, |(id, _)| (*id).clone());
        let items = page.items.into_iter().map(|(id, token)| self.token_view(id, token)).collect();
        Ok(Page { items, next: page.next })
    }

    /// One token.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], also where there is no such token.
    pub async fn get_token(&self, from: &Requester, id: Id) -> Result<TokenView, Error> {
        let snapshot = self.snapshot();
        let asked = Asked::of(from, Action::GetToken, &format!("tokens/{id}"));
        let Some(token) = self.inner.tokens.get(&id) else { return Err(self.deny_unknown(&snapshot, asked)) };
        self.authorize(&snapshot, asked, Resource::Token(id.clone()), OperationContext::Plain)?;
        Ok(self.token_view(&id, token))
    }

    pub(crate) fn token_view(&self, id: &Id, token: &Token) -> TokenView {
        let rings = self.inner.rings.values().filter(|ring| ring.token == *id).map(|ring| ring.name.clone());
        TokenView { status: token.status(), rings: rings.collect() }
    }
}

/// Waits for a while, or until a token that is away is back, whichever comes first. Without a token, or with one that serves,
/// for the while.
pub(crate) async fn back_or_after(health: &mut Option<watch::Receiver<TokenHealth>>, a_while: Duration) {
    let back = async {
        match health {
            Some(health) if !health.borrow().state.serves() => {
                if health.wait_for(|health| health.state.serves()).await.is_err() {
                    pending::<()>().await;
                }
            }
            Some(_) | None => pending().await,
        }
    };
    // An error means that the time was over first.
    let _in_a_while = tokio::time::timeout(a_while, back).await;
}
