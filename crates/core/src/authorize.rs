//! Asking policy, and recording its refusals.

use chancery_model::{Action, Timestamp, Uid};
use chancery_policy::{AccessRequest, Decision, OperationContext, Permit, RequestContext, Resource};

use crate::denials::Refused;
use crate::state::Snapshot;
use crate::{Chancery, Error, Requester};

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
    let authentication = match from.authentication {
        chancery_model::Authentication::Certificate { .. } => "certificate",
    };
    let context = RequestContext {
        source: from.source.map(|source| source.ip()),
        authentication,
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
        let request = access_request(asked.from, asked.action, resource, operation);
        match snapshot.policy.authorize(&asked.from.caller, &request) {
            Decision::Allowed(permit) => Ok(permit),
            Decision::Denied(denied) => Err(self.deny(asked, Refused::ByPolicy(denied))),
        }
    }

    /// Refuses what does not exist just as policy refuses what does.
    pub(crate) fn deny_unknown(&self, snapshot: &Snapshot, asked: Asked<'_>) -> Error {
        self.deny(asked, Refused::Unknown { policy_set: snapshot.policy.policy_set().hash() })
    }

    fn deny(&self, asked: Asked<'_>, refused: Refused) -> Error {
        let Asked { from, action, named, uid } = asked;
        self.inner.denials.add(from, action, &named, uid, refused);
        Error::AccessDenied { action, resource: named }
    }
}

impl Snapshot {
    /// Whether policy would allow this; for what a list shows. A list that leaves something out denies nothing.
    pub fn would_allow(&self, from: &Requester, action: Action, resource: Resource) -> bool {
        let request = access_request(from, action, resource, OperationContext::Plain);
        matches!(self.policy.authorize(&from.caller, &request), Decision::Allowed(_))
    }
}
