//! The answer: a permit, which only policy can make, or a denial.

use crate::attributes::attributes;
use crate::explain::EvaluationFailure;
use crate::request::{RequestContext, Resource};
use chancery_model::{Action, Caller, Sha256Hash};
use std::fmt;
use std::sync::Arc;

/// Whether a call is allowed.
#[derive(Debug)]
#[must_use = "a call goes on only with the permit"]
pub enum Decision {
    /// It is; the permit says so.
    Allowed(Permit),
    /// It is not.
    Denied(Denied),
}

/// The value that policy returns when it allows a call, and takes to ask the HSM for anything. Made only by
/// [`PolicyPoint::authorize`](crate::PolicyPoint::authorize), good for one call: it cannot be cloned.
///
/// ```compile_fail
/// fn twice(permit: chancery_policy::Permit) -> (chancery_policy::Permit, chancery_policy::Permit) {
///     (permit.clone(), permit)
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    caller: Arc<Caller>,
    action: Action,
    resource: Resource,
    context: RequestContext,
    policies: Vec<Arc<str>>,
    policy_set: Sha256Hash,
}

impl Permit {
    pub(crate) fn mint(
        caller: Arc<Caller>,
        action: Action,
        resource: Resource,
        context: RequestContext,
        policies: Vec<Arc<str>>,
        policy_set: Sha256Hash,
    ) -> Self {
        Self { caller, action, resource, context, policies, policy_set }
    }

    /// What is allowed.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// To what; its `Display` is the resource's name.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The circumstances under which it was allowed.
    #[must_use]
    pub fn context(&self) -> &RequestContext {
        &self.context
    }

    /// To whom.
    #[must_use]
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// The ids of the policies that allowed it, sorted.
    #[must_use]
    pub fn policies(&self) -> &[Arc<str>] {
        &self.policies
    }

    /// The hash of the policy set that allowed it.
    #[must_use]
    pub fn policy_set(&self) -> Sha256Hash {
        self.policy_set
    }

    /// What policy saw, for the record: an object with the attributes of `principal`, `resource` and `context` by the
    /// names that policies use. Built at each call.
    #[must_use]
    pub fn attributes(&self) -> serde_json::Value {
        attributes(&self.caller, &self.resource, &self.context)
    }
}

/// A denial.
#[derive(Debug, Clone, PartialEq)]
pub struct Denied {
    /// Why.
    pub reason: DenialReason,
    /// The ids of the policies that forbid, or that failed, sorted; empty where no policy permits.
    pub policies: Vec<Arc<str>>,
    /// What failed; empty unless the reason is [`DenialReason::EvaluationError`], or a policy failed beside one that
    /// forbids.
    pub failures: Vec<EvaluationFailure>,
    /// The hash of the policy set that denied it.
    pub policy_set: Sha256Hash,
    /// What policy saw, as [`Permit::attributes`] has it.
    pub attributes: serde_json::Value,
}

/// Why a call is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenialReason {
    /// No policy permits it.
    NoPolicyPermits,
    /// A policy forbids it.
    ForbiddenBy,
    /// A policy could not be evaluated, or the call could not be put to policy.
    EvaluationError,
}

impl DenialReason {
    /// The word used in the record: `NO_POLICY_PERMITS`, `FORBIDDEN` or `EVALUATION_ERROR`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPolicyPermits => "NO_POLICY_PERMITS",
            Self::ForbiddenBy => "FORBIDDEN",
            Self::EvaluationError => "EVALUATION_ERROR",
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
