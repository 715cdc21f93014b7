//! Takes the condition of a policy apart, to find which part of it was false.

use crate::explain::{Clause, ClauseOutcome};
use cedar_policy::pst::{
    ActionConstraint, BinaryOp, Clause as Part, Effect, Expr, Policy as Tree, PrincipalConstraint,
    PstConstructionError, ResourceConstraint, StaticPolicy, Template,
};
use cedar_policy::{Authorizer, Decision, Entities, Policy, PolicySet, Request};
use std::sync::Arc;

/// The parts of the condition in the order in which Cedar evaluates them, each with its outcome. Cedar stops at the
/// first part that is not satisfied, and so does this: a later part may make sense only after an earlier one
/// (`context has sourceAddress && ...`).
pub(crate) fn clauses(policy: &Policy, request: &Request, entities: &Entities) -> Vec<Clause> {
    let Ok(parts) = parts(policy) else { return Vec::new() };
    let mut stopped = false;
    let judge = |part: Part| {
        let outcome = if stopped { ClauseOutcome::NotReached } else { outcome(part.clone(), request, entities) };
        stopped |= outcome != ClauseOutcome::Satisfied;
        Clause { text: part.to_string(), outcome }
    };
    parts.into_iter().map(judge).collect()
}

/// The parts of the condition in the order of evaluation.
pub(crate) fn parts(policy: &Policy) -> Result<Vec<Part>, PstConstructionError> {
    let tree = policy.to_pst()?;
    let mut parts = Vec::new();
    tree.body().clauses().iter().for_each(|clause| split(clause, &mut parts));
    Ok(parts)
}

/// `when { a && b }` is `when { a } when { b }`; `unless { a || b }` is `unless { a } unless { b }`. No recursion: a chain
/// may be as long as its document.
fn split(clause: &Part, into: &mut Vec<Part>) {
    let (expr, link, part): (_, _, fn(Arc<Expr>) -> Part) = match clause {
        Part::When(expr) => (expr, BinaryOp::And, Part::When),
        Part::Unless(expr) => (expr, BinaryOp::Or, Part::Unless),
    };
    let mut waiting = vec![expr];
    while let Some(expr) = waiting.pop() {
        match expr.as_ref() {
            Expr::BinaryOp { op, left, right } if *op == link => waiting.extend([right, left]),
            _ => into.push(part(Arc::clone(expr))),
        }
    }
}

fn outcome(part: Part, request: &Request, entities: &Entities) -> ClauseOutcome {
    Probe::new(part)
        .map_or_else(|error| ClauseOutcome::Failed(error.to_string()), |probe| probe.outcome(request, entities))
}

/// One part alone, as the condition of a policy that permits everything else.
#[derive(Debug)]
pub(crate) struct Probe(PolicySet);

impl Probe {
    pub(crate) fn new(part: Part) -> Result<Self, Box<dyn std::error::Error>> {
        let template = Template::new(
            "probe",
            Effect::Permit,
            PrincipalConstraint::Any,
            ActionConstraint::Any,
            ResourceConstraint::Any,
        )
        .try_with_clauses([part])?;
        let policy = Policy::from_pst(Tree::Static(StaticPolicy::try_from(template)?))?;
        Ok(Self(PolicySet::from_policies([policy])?))
    }

    /// Evaluates the part: satisfied, not satisfied, or failed.
    pub(crate) fn outcome(&self, request: &Request, entities: &Entities) -> ClauseOutcome {
        let response = Authorizer::new().is_authorized(request, &self.0, entities);
        if let Some(cedar_policy::AuthorizationError::PolicyEvaluationError(error)) =
            response.diagnostics().errors().next()
        {
            return ClauseOutcome::Failed(error.inner().to_string());
        }
        match response.decision() {
            Decision::Allow => ClauseOutcome::Satisfied,
            Decision::Deny => ClauseOutcome::NotSatisfied,
        }
    }
}
