//! Cedar's answer, read the strict way.

use crate::decision::DenialReason;
use crate::explain::EvaluationFailure;
use crate::facts::FactsError;
use cedar_policy::{AuthorizationError, Decision, Response};
use std::sync::Arc;

/// What follows from an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `None` where the call is allowed.
    pub(crate) denial: Option<DenialReason>,
    /// The policies that decided, sorted: permits where allowed, forbids where forbidden, those that failed where one
    /// did, none where none permits.
    pub(crate) policies: Vec<Arc<str>>,
    /// What failed, sorted.
    pub(crate) failures: Vec<EvaluationFailure>,
}

impl Verdict {
    /// Cedar skips a policy whose condition fails, and an allow in spite of a skipped `forbid` would be wrong: where
    /// anything failed, the call is denied.
    pub(crate) fn of(response: &Response) -> Self {
        let mut failures: Vec<EvaluationFailure> = response.diagnostics().errors().map(failure).collect();
        failures.sort();
        let mut policies: Vec<Arc<str>> = response.diagnostics().reason().map(|id| Arc::from(id.as_ref())).collect();
        let denial = match response.decision() {
            Decision::Deny if !policies.is_empty() => Some(DenialReason::ForbiddenBy),
            Decision::Allow | Decision::Deny if !failures.is_empty() => {
                policies = failures.iter().filter_map(|failure| failure.policy.as_deref().map(Arc::from)).collect();
                Some(DenialReason::EvaluationError)
            }
            Decision::Deny => Some(DenialReason::NoPolicyPermits),
            Decision::Allow => None,
        };
        policies.sort();
        Self { denial, policies, failures }
    }

    /// What could not even be asked is denied.
    pub(crate) fn undecidable(error: &FactsError) -> Self {
        Self {
            denial: Some(DenialReason::EvaluationError),
            policies: Vec::new(),
            failures: vec![EvaluationFailure { policy: None, message: error.to_string() }],
        }
    }
}

fn failure(error: &AuthorizationError) -> EvaluationFailure {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => {
            EvaluationFailure { policy: Some(error.policy_id().to_string()), message: error.inner().to_string() }
        }
    }
}
