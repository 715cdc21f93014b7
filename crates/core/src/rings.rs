//! Key rings: declared in the configuration, each on one token, in one environment.

use chancery_hsm::{Flow, Token};
use chancery_model::{Action, Algorithm, Id, KeyName, RingName, RingState, Timestamp, Uid};
use chancery_policy::{OperationContext, Resource, RingFacts};

use crate::authorize::Asked;
use crate::paging::Page;
use crate::state::Snapshot;
use crate::{Chancery, Error, Requester};

/// A key ring as the configuration declares it.
#[derive(Debug, Clone)]
pub struct Ring {
    /// The name.
    pub name: RingName,
    /// The environment; a caller of another one never uses its keys.
    pub environment: Id,
    /// The token that holds its keys.
    pub token: Id,
    /// Whether keys are adopted of which a copy may be outside the token.
    pub allow_extractable: bool,
}

impl Ring {
    /// Whether it is of the environment in which people try things: `dev`.
    pub(crate) fn is_dev(&self) -> bool {
        self.environment.as_str() == "dev"
    }
}

/// A key ring as it is shown.
#[derive(Debug, Clone)]
pub struct RingView {
    /// The name.
    pub name: RingName,
    /// The environment.
    pub environment: Id,
    /// The token.
    pub token: Id,
    /// What its keys can be, because the token offers it.
    pub algorithms: Vec<Algorithm>,
    /// Whether its keys are used.
    pub state: RingState,
    /// When that changed last; never where it was never frozen.
    pub state_changed: Option<Timestamp>,
    /// Why, as who changed it said.
    pub state_reason: Option<String>,
    /// Whether keys are adopted of which a copy may be outside the token.
    pub allow_extractable: bool,
}

impl Chancery {
    /// The key rings that the caller may see, by name.
    ///
    /// # Errors
    /// [`Error::StateUnchecked`]. A ring that the caller may not see is not in the answer, and not a recorded denial either.
    pub async fn list_key_rings(
        &self,
        from: &Requester,
        after: Option<Id>,
        limit: usize,
    ) -> Result<Page<RingView, Id>, Error> {
        let snapshot = self.snapshot();
        if !snapshot.decides(Action::ListKeyRings) {
            return Err(Error::StateUnchecked);
        }
        let visible = self
            .inner
            .rings
            .values()
            .filter(|ring| after.as_ref().is_none_or(|after| ring.name.ring > *after))
            .filter(|ring| snapshot.would_allow(from, Action::ListKeyRings, ring_resource(ring)))
            .map(|ring| self.ring_view(&snapshot, ring));
        Ok(Page::take(visible, limit, |view| view.name.ring.clone()))
    }

    /// One key ring.
    ///
    /// # Errors
    /// [`Error::AccessDenied`].
    pub async fn get_key_ring(&self, from: &Requester, name: RingName) -> Result<RingView, Error> {
        let snapshot = self.snapshot();
        let (ring, _permit) =
            self.authorize_ring(&snapshot, from, Action::GetKeyRing, &name, OperationContext::Plain)?;
        Ok(self.ring_view(&snapshot, &ring))
    }

    /// Finds a ring and authorises an action on it; an unknown ring is decided on like one that nobody may use. Refuses
    /// what a frozen ring does not do.
    pub(crate) fn authorize_ring(
        &self,
        snapshot: &Snapshot,
        from: &Requester,
        action: Action,
        name: &RingName,
        operation: OperationContext,
    ) -> Result<(Ring, chancery_policy::Permit), Error> {
        let asked = Asked { from, action, named: name.to_string(), uid: Uid::NONE };
        match self.inner.rings.get(&name.ring) {
            Some(ring) => {
                let permit = self.authorize(snapshot, asked, ring_resource(ring), operation)?;
                snapshot.refuse_frozen(action, &ring.name)?;
                Ok((ring.clone(), permit))
            }
            None => Err(self.deny_unknown(snapshot, asked)),
        }
    }

    /// The ring of a key that exists; gone only where the configuration does not declare it any more.
    pub(crate) fn ring_of(&self, key: &KeyName) -> Result<&Ring, Error> {
        let missing = || Error::NotFound { name: key.ring_name().to_string() };
        self.inner.rings.get(&key.ring).ok_or_else(missing)
    }

    /// The token of a key that exists.
    pub(crate) fn token_of_key(&self, key: &KeyName) -> Result<&Token, Error> {
        self.token_of(self.ring_of(key)?)
    }

    /// The token of a ring; every ring has one, or the service would not have started.
    pub(crate) fn token_of(&self, ring: &Ring) -> Result<&Token, Error> {
        self.inner.tokens.get(&ring.token).ok_or_else(|| {
            Error::internal(format!("{} is on the token {}, which is not configured", ring.name, ring.token))
        })
    }

    /// The same, asked on behalf of a caller: callers take turns where calls wait.
    pub(crate) fn token_for(&self, from: &Requester, ring: &Ring) -> Result<Token, Error> {
        let flow = Flow::new(u128::from_be_bytes(*from.caller.uid.as_bytes()));
        Ok(self.token_of(ring)?.clone().in_flow(flow))
    }

    pub(crate) fn ring_view(&self, snapshot: &Snapshot, ring: &Ring) -> RingView {
        let state = snapshot.ring_states.get(&ring.name.ring);
        let offered = |algorithm: &Algorithm| {
            self.inner.tokens.get(&ring.token).is_some_and(|token| token.offers(*algorithm).is_ok())
        };
        RingView {
            name: ring.name.clone(),
            environment: ring.environment.clone(),
            token: ring.token.clone(),
            algorithms: Algorithm::ALL.into_iter().filter(offered).collect(),
            state: state.map(|row| row.state).unwrap_or_default(),
            state_changed: state.map(|row| row.state_changed),
            state_reason: state.and_then(|row| row.reason.clone()),
            allow_extractable: ring.allow_extractable,
        }
    }
}

pub(crate) fn ring_resource(ring: &Ring) -> Resource {
    Resource::KeyRing(RingFacts { ring: ring.name.ring.clone(), environment: ring.environment.clone() })
}
