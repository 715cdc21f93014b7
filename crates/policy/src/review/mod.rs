//! What a caller can do to a resource, whatever the circumstances: for reviews of access.
//!
//! The answer is sound: [`Access::Allowed`] only where no circumstances deny the call, [`Access::Denied`] only where none
//! allow it. In between it is [`Access::Conditional`], also for some calls that are in truth always decided alike: two
//! conditions that ask for circumstances are never weighed against each other.

mod condition;
mod outcomes;

use crate::facts::{self, FactsError, Principal};
use crate::point::PolicyPoint;
use crate::reader::LoadedPolicy;
use crate::request::Resource;
use crate::scope::{Reach, Target};
use crate::set::{Effect, PolicySummary};
use crate::uids;
use cedar_policy::{Context, Entities, EntityUid, Request};
use chancery_model::{Action, Caller};
use std::sync::Arc;

pub(crate) use condition::Condition;
use outcomes::Outcomes;

/// Whether a caller may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Under all circumstances.
    Allowed,
    /// It depends on the circumstances: the address, the time, what is signed.
    Conditional,
    /// Under no circumstances.
    Denied,
}

/// What a caller can do to a resource, and by which policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The answer.
    pub access: Access,
    /// The ids of the policies that apply under all circumstances, in the order of the set: permits where it is allowed or
    /// depends, forbids (and those that always fail) where it is denied.
    pub policies: Vec<Arc<str>>,
    /// Where it depends: the policies that apply under some circumstances only.
    pub conditions: Vec<ReviewCondition>,
}

/// A policy that applies under some circumstances only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewCondition {
    /// The policy.
    pub policy: PolicySummary,
    /// The parts of its condition that ask for circumstances, in Cedar's syntax: `when { .. }` or `unless { .. }`. It
    /// applies where all of them hold.
    pub parts: Vec<String>,
    /// Whether some circumstances make it fail, which denies the call.
    pub can_fail: bool,
}

/// A policy that concerns the call, and what its condition can come to.
struct Concerned<'a> {
    policy: &'a LoadedPolicy,
    judged: condition::Judged,
}

impl PolicyPoint {
    /// Says whether `caller` may do `action` to `resource` under all, some or no circumstances. An action that is never
    /// asked of such a resource is denied.
    #[must_use]
    pub fn review(&self, caller: &Arc<Caller>, action: Action, resource: &Resource) -> Review {
        match self.concerned(caller, action, resource) {
            Ok(concerned) => conclude(&concerned),
            // What cannot even be asked is denied, as in a decision.
            Err(_undecidable) => Review { access: Access::Denied, policies: Vec::new(), conditions: Vec::new() },
        }
    }

    fn concerned(
        &self,
        caller: &Arc<Caller>,
        action: Action,
        resource: &Resource,
    ) -> Result<Vec<Concerned<'_>>, FactsError> {
        resource.check(action)?;
        let principal = Principal::new(caller)?;
        let entities = self.entities(&principal, action, resource)?;
        let uid = facts::resource_uid(resource);
        // No circumstances: only what does not ask for them is evaluated.
        let request = Request::new(principal.uid.clone(), uids::action(action), uid.clone(), Context::empty(), None)
            .map_err(Box::new)?;
        let target = Target::of(resource);
        let over = resource.caller().map(AsRef::as_ref).map(Principal::new).transpose()?;
        let concerned = self.policy_set().loaded().iter().zip(self.conditions());
        let concerned = concerned.filter(|(policy, _)| {
            takes(policy, &principal, action, &target, &uid)
                && over.as_ref().is_none_or(|caller| policy.scope.takes_caller(caller))
        });
        Ok(concerned.map(|(policy, condition)| judge(policy, condition, &request, &entities)).collect())
    }
}

/// Whether the scope of a policy takes in the call.
fn takes(policy: &LoadedPolicy, principal: &Principal, action: Action, target: &Target, uid: &EntityUid) -> bool {
    policy.scope.takes_action(action)
        && policy.scope.takes_principal(principal)
        && match policy.scope.reach(target) {
            Reach::All => true,
            Reach::None => false,
            Reach::Only(key) => key == *uid,
        }
}

fn judge<'a>(policy: &'a LoadedPolicy, condition: &Condition, request: &Request, entities: &Entities) -> Concerned<'a> {
    Concerned { policy, judged: condition.judge(request, entities) }
}

impl Concerned<'_> {
    fn can_be(&self, outcome: Outcomes) -> bool {
        self.judged.outcomes.can_be(outcome)
    }

    /// Applies whatever the circumstances.
    fn surely(&self) -> bool {
        self.judged.outcomes == Outcomes::TRUE
    }

    /// Leaves no circumstances under which the call is allowed.
    fn rules_out(&self) -> bool {
        match self.policy.effect() {
            Effect::Permit => self.judged.outcomes == Outcomes::FAILURE,
            Effect::Forbid => !self.can_be(Outcomes::FALSE),
        }
    }

    /// Makes a difference between circumstances.
    fn depends(&self) -> bool {
        ![Outcomes::TRUE, Outcomes::FALSE].contains(&self.judged.outcomes)
    }
}

/// Whatever fails denies; a forbid that applies denies; without a permit that applies the call is denied.
fn conclude(concerned: &[Concerned<'_>]) -> Review {
    let of = |effect| concerned.iter().filter(move |policy| policy.policy.effect() == effect);
    let names = |some: &mut dyn Iterator<Item = &Concerned<'_>>| -> Vec<Arc<str>> {
        some.map(|policy| Arc::clone(&policy.policy.id)).collect()
    };
    let never =
        concerned.iter().any(Concerned::rules_out) || !of(Effect::Permit).any(|policy| policy.can_be(Outcomes::TRUE));
    if never {
        let policies = names(&mut concerned.iter().filter(|policy| policy.rules_out()));
        return Review { access: Access::Denied, policies, conditions: Vec::new() };
    }
    let policies = names(&mut of(Effect::Permit).filter(|policy| policy.surely()));
    let always = !policies.is_empty()
        && !concerned.iter().any(|policy| policy.can_be(Outcomes::FAILURE))
        && !of(Effect::Forbid).any(|policy| policy.can_be(Outcomes::TRUE));
    if always {
        return Review { access: Access::Allowed, policies, conditions: Vec::new() };
    }
    let condition = |policy: &Concerned<'_>| ReviewCondition {
        policy: policy.policy.summary(),
        parts: policy.judged.open.clone(),
        can_fail: policy.can_be(Outcomes::FAILURE),
    };
    let conditions = concerned.iter().filter(|policy| policy.depends()).map(condition).collect();
    Review { access: Access::Conditional, policies, conditions }
}
