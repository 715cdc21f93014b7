//! Asking policy, and recording its refusals.

use chancery_audit::DenialReason;
use chancery_model::{Action, Timestamp, Uid};
use chancery_policy::{AccessRequest, Decision, OperationContext, Permit, RequestContext, Resource};
use std::time::{Duration, Instant};
use tracing::{Span, debug_span, field};

use crate::callers::Unfit;
use crate::denials::Refused;
use crate::state::Snapshot;
use crate::{Chancery, Error, Observation, Requester};

/// What is asked for, as the caller put it: what a refusal says and records.
pub(crate) struct Asked<'a> {
    pub from: &'a Requester,
    pub action: Action,
    /// The resource as the caller named it.
    pub named: String,
    /// The resource's uid; NONE where there is none, or the caller is not to learn of it.
    pub uid: Uid,
}

impl<'a> Asked<'a> {
    pub fn of(from: &'a Requester, action: Action, named: &impl ToString) -> Self {
        Self { from, action, named: named.to_string(), uid: Uid::NONE }
    }
}

fn access_request(from: &Requester, action: Action, resource: Resource, operation: OperationContext) -> AccessRequest {
    let context = RequestContext {
        source: from.source.map(|source| source.ip()),
        authentication: from.authentication.as_str(),
        now: Timestamp::now(),
        operation,
    };
    AccessRequest { action, resource, context }
}

impl Chancery {
    /// Asks policy; a refusal is on its way to the record when this returns.
    pub(crate) fn authorize(
        &self,
        snapshot: &Snapshot,
        asked: Asked<'_>,
        resource: Resource,
        operation: OperationContext,
    ) -> Result<Permit, Error> {
        if !snapshot.decides(asked.action) {
            return Err(Error::StateUnchecked);
        }
        let span = span(&asked).entered();
        let caller = match snapshot.standing(asked.from) {
            Ok(caller) => caller,
            Err(unfit) => return Err(self.deny(asked, Some(&resource), Refused::Unfit(unfit), Duration::ZERO)),
        };
        if !snapshot.is_in_scope(asked.from, asked.action, &resource) {
            return Err(self.deny(asked, Some(&resource), Refused::OutOfScope, Duration::ZERO));
        }
        let request = access_request(asked.from, asked.action, resource, operation);
        let begun = Instant::now();
        let decision = snapshot.policy.authorize(caller, &request);
        let took = begun.elapsed();
        match decision {
            Decision::Allowed(permit) => {
                span.record("chancery.decision", "allow");
                self.observe_decision(asked.action, Some(&request.resource), None, took);
                Ok(permit)
            }
            Decision::Denied(denied) => Err(self.deny(asked, Some(&request.resource), Refused::ByPolicy(denied), took)),
        }
    }

    /// Refuses what does not exist just as policy refuses what does.
    pub(crate) fn deny_unknown(&self, snapshot: &Snapshot, asked: Asked<'_>) -> Error {
        if !snapshot.decides(asked.action) {
            return Error::StateUnchecked;
        }
        let _span = span(&asked).entered();
        let refused = Refused::Unknown { policy_set: snapshot.policy.policy_set().hash() };
        self.deny(asked, None, refused, Duration::ZERO)
    }

    /// Refuses what policy allows the caller, and not with the API key that he came with.
    pub(crate) fn deny_out_of_scope(&self, asked: Asked<'_>, resource: &Resource) -> Error {
        let _span = span(&asked).entered();
        self.deny(asked, Some(resource), Refused::OutOfScope, Duration::ZERO)
    }

    /// Within the span of the decision.
    fn deny(&self, asked: Asked<'_>, resource: Option<&Resource>, refused: Refused, took: Duration) -> Error {
        let reason = refused.reason();
        Span::current().record("chancery.decision", "deny").record("chancery.reason", reason.as_str());
        self.observe_decision(asked.action, resource, Some(reason), took);
        self.refuse(asked, refused)
    }

    /// Words a refusal, which is on its way to the record when this returns.
    pub(crate) fn refuse(&self, asked: Asked<'_>, refused: Refused) -> Error {
        let Asked { from, action, named, uid } = asked;
        let error = match &refused {
            Refused::ByPolicy(_) | Refused::Unknown { .. } | Refused::OutOfScope => {
                Error::AccessDenied { action, resource: named.clone() }
            }
            Refused::Unvouched(fault) => {
                Error::CallerSignature { action, resource: named.clone(), fault: fault.clone() }
            }
            Refused::Unfit(Unfit::Suspended) => Error::CallerSuspended { caller: from.caller.id.clone() },
            Refused::Unfit(Unfit::Credential) => Error::CredentialRefused { caller: from.caller.id.clone() },
        };
        self.inner.denials.add(from, action, &named, uid, refused);
        error
    }

    fn observe_decision(
        &self,
        action: Action,
        resource: Option<&Resource>,
        refused: Option<DenialReason>,
        took: Duration,
    ) {
        let (ring, key) = match resource {
            Some(Resource::Key(key)) => (Some(&key.name.ring), Some(&key.name)),
            Some(Resource::KeyRing(ring)) => (Some(&ring.ring), None),
            Some(
                Resource::PolicySet
                | Resource::AuditLog
                | Resource::Token(_)
                | Resource::Tokens
                | Resource::Caller(_)
                | Resource::Callers,
            )
            | None => (None, None),
        };
        self.observe(Observation::Decided { action, ring, key, refused, took });
    }
}

/// The span of a decision. The resource is shown as it was named; a name is ids and numbers, and holds nothing else.
fn span(asked: &Asked<'_>) -> Span {
    debug_span!(
        "policy",
        chancery.action = asked.action.as_str(),
        chancery.resource = asked.named,
        chancery.caller = %asked.from.caller.id,
        chancery.decision = field::Empty,
        chancery.reason = field::Empty,
    )
}

impl Snapshot {
    /// Whether policy would allow this; for what a list shows. A list that leaves something out denies nothing.
    pub fn would_allow(&self, from: &Requester, action: Action, resource: Resource) -> bool {
        let request = access_request(from, action, resource, OperationContext::Plain);
        let allows = |caller| matches!(self.policy.authorize(caller, &request), Decision::Allowed(_));
        self.decides(action)
            && self.is_in_scope(from, action, &request.resource)
            && self.standing(from).is_ok_and(allows)
    }

    /// Whether the API key that a call came with, if it did, leaves this to it. Never more than policy allows.
    fn is_in_scope(&self, from: &Requester, action: Action, resource: &Resource) -> bool {
        let Some(proof) = from.authentication.api_key() else { return true };
        let ring = match resource {
            Resource::Key(key) => Some(&key.name.ring),
            Resource::KeyRing(ring) => Some(&ring.ring),
            Resource::PolicySet
            | Resource::AuditLog
            | Resource::Token(_)
            | Resource::Tokens
            | Resource::Caller(_)
            | Resource::Callers => None,
        };
        self.api_keys.by_uid(proof.uid).is_some_and(|key| key.scope.takes(action, ring))
    }
}
