//! Why a call is decided as it is, for people.

use crate::attributes::attributes;
use crate::clause::clauses;
use crate::decision::DenialReason;
use crate::point::{Evaluation, PolicyPoint};
use crate::reader::LoadedPolicy;
use crate::request::AccessRequest;
use crate::scope::{Reach, Target};
use crate::set::{Effect, PolicySummary};
use crate::uids;
use crate::verdict::Verdict;
use chancery_model::{Action, Caller, Sha256Hash};

/// How a call is or would be decided, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why not, where it is not.
    pub denial: Option<DenialReason>,
    /// One or two sentences that say it all.
    pub reason: String,
    /// The policies that decided: permits where allowed, forbids where forbidden, those that failed where one did.
    pub determining: Vec<PolicySummary>,
    /// What could not be evaluated.
    pub failures: Vec<EvaluationFailure>,
    /// Where denied: the permits whose scope matches but whose condition is not true, and which part of it.
    pub nearly: Vec<NearlyPermit>,
    /// Where denied: the permits for this action that do not take in this caller or this resource, and why not.
    pub out_of_scope: Vec<OutOfScopePermit>,
    /// The hash of the policy set that decided.
    pub policy_set: Sha256Hash,
    /// What policy saw: an object with `principal`, `resource` and `context`.
    pub attributes: serde_json::Value,
}

/// A policy, or the call itself, that could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EvaluationFailure {
    /// The policy's id; `None` where the call could not be put to policy at all.
    pub policy: Option<String>,
    /// What went wrong.
    pub message: String,
}

/// A permit that would apply if its condition were true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearlyPermit {
    /// The policy.
    pub policy: PolicySummary,
    /// The parts of its condition in the order of evaluation.
    pub clauses: Vec<Clause>,
}

/// A part of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// `when { .. }` or `unless { .. }` in Cedar's syntax.
    pub text: String,
    /// What came of it.
    pub outcome: ClauseOutcome,
}

/// What came of a part of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClauseOutcome {
    /// It is as the policy wants it.
    Satisfied,
    /// It is not: this is why the policy does not apply.
    NotSatisfied,
    /// It could not be evaluated.
    Failed(String),
    /// An earlier part had already decided.
    NotReached,
}

/// A permit for this action, but not for this caller or not for this resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfScopePermit {
    /// The policy.
    pub policy: PolicySummary,
    /// What does not match, for example `the caller is not in Chancery::Role::"signer"`.
    pub mismatches: Vec<String>,
}

impl Explanation {
    pub(crate) fn of(point: &PolicyPoint, caller: &Caller, request: &AccessRequest) -> Self {
        let (verdict, evaluation) = match point.evaluate(caller, request) {
            Ok(evaluation) => (evaluation.verdict.clone(), Some(evaluation)),
            Err(error) => (Verdict::undecidable(&error), None),
        };
        let policies = point.policy_set().loaded();
        let decided = |policy: &&LoadedPolicy| verdict.policies.contains(&policy.id);
        let determining = policies.iter().filter(decided).map(LoadedPolicy::summary).collect();
        let (mut nearly, mut out_of_scope) = (Vec::new(), Vec::new());
        if let Some(evaluation) = evaluation.filter(|_| verdict.denial.is_some()) {
            let permits = policies.iter().filter(|policy| policy.effect() == Effect::Permit);
            for policy in permits.filter(|policy| policy.scope.takes_action(request.action)) {
                let mismatches = mismatches(policy, &evaluation, request);
                if mismatches.is_empty() {
                    nearly.extend(near_miss(policy, &evaluation));
                } else if meant_for(policy, request.action) {
                    out_of_scope.push(OutOfScopePermit { policy: policy.summary(), mismatches });
                }
            }
        }
        let mut explanation = Self {
            allowed: verdict.denial.is_none(),
            denial: verdict.denial,
            reason: String::new(),
            determining,
            failures: verdict.failures,
            nearly,
            out_of_scope,
            policy_set: point.policy_set().hash(),
            attributes: attributes(caller, &request.resource, &request.context),
        };
        explanation.reason = explanation.sentence(caller, request);
        explanation
    }

    /// The explanation in plain words.
    fn sentence(&self, caller: &Caller, request: &AccessRequest) -> String {
        let call = format!("{} on {} by callers/{}", request.action, request.resource, caller.id);
        match self.denial {
            None => format!("{call} is allowed: {}.", self.determining_in_words("permitted by")),
            Some(DenialReason::ForbiddenBy) => {
                format!(
                    "{call} is denied: {}. No permit outweighs a forbid.",
                    self.determining_in_words("forbidden by")
                )
            }
            Some(DenialReason::EvaluationError) => {
                let failures: Vec<String> = self.failures.iter().map(EvaluationFailure::in_words).collect();
                format!("{call} is denied, because policy could not be evaluated: {}.", failures.join("; "))
            }
            Some(DenialReason::NoPolicyPermits) => {
                format!("{call} is denied, because no policy permits it. {}", self.missing_in_words(request.action))
            }
        }
    }

    fn determining_in_words(&self, how: &str) -> String {
        let name = |policy: &PolicySummary| match &policy.description {
            Some(description) => format!("{how} {:?} ({}: {description})", policy.id, policy.document),
            None => format!("{how} {:?} ({})", policy.id, policy.document),
        };
        self.determining.iter().map(name).collect::<Vec<_>>().join("; ")
    }

    /// What would have to change for a permit to apply.
    fn missing_in_words(&self, action: Action) -> String {
        let near = |miss: &NearlyPermit| {
            let culprit = miss.clauses.iter().find(|clause| clause.outcome != ClauseOutcome::Satisfied);
            let clause = culprit.map_or("its condition", |clause| clause.text.as_str());
            format!("{:?} would, but for: {clause}", miss.policy.id)
        };
        let far = |miss: &OutOfScopePermit| format!("{:?} does not: {}", miss.policy.id, miss.mismatches.join(", "));
        // The nearest misses say most; the others only where there are none.
        let misses: Vec<String> = if self.nearly.is_empty() {
            self.out_of_scope.iter().map(far).collect()
        } else {
            self.nearly.iter().map(near).collect()
        };
        if misses.is_empty() {
            format!("The policy set has no permit for {action} at all.")
        } else {
            format!("{}.", misses.join("; "))
        }
    }
}

impl EvaluationFailure {
    fn in_words(&self) -> String {
        match &self.policy {
            Some(policy) => format!("{policy:?}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

/// What of the policy's scope does not match, apart from the action.
fn mismatches(policy: &LoadedPolicy, evaluation: &Evaluation, request: &AccessRequest) -> Vec<String> {
    let scope = &policy.scope;
    let principal = if scope.takes_principal(&evaluation.principal) { None } else { scope.principal_demand() };
    let reached = match scope.reach(&Target::of(&request.resource)) {
        Reach::All => true,
        Reach::None => false,
        Reach::Only(key) => evaluation.request.resource() == Some(&key),
    };
    let resource = if reached { None } else { scope.resource_demand() };
    principal.into_iter().chain(resource).collect()
}

/// Whether a policy whose resource does not match can speak of the action's resources at all: a permit for everything
/// done to tokens is no news to who asks about keys.
fn meant_for(policy: &LoadedPolicy, action: Action) -> bool {
    let schema = &*crate::schema::PARSED;
    policy.cedar.get_valid_request_envs(schema).any(|env| *env.action() == uids::action(action))
}

/// A permit whose scope matches, with its condition taken apart; `None` where the condition is true or failed.
fn near_miss(policy: &LoadedPolicy, evaluation: &Evaluation) -> Option<NearlyPermit> {
    let clauses = clauses(&policy.cedar, &evaluation.request, &evaluation.entities);
    let missed = clauses.iter().any(|clause| clause.outcome == ClauseOutcome::NotSatisfied);
    missed.then(|| NearlyPermit { policy: policy.summary(), clauses })
}
