//! The policy decision point: a policy set prepared for deciding the calls of known callers.

use crate::attributes::attributes;
use crate::decision::{Decision, DenialReason, Denied, Permit};
use crate::error::{PolicyError, PolicyErrors};
use crate::explain::Explanation;
use crate::facts::{self, FactsError, Principal};
use crate::generations::Generations;
use crate::request::{AccessRequest, Resource};
use crate::review::Condition;
use crate::schema;
use crate::scope::Target;
use crate::selection::{Selected, Selection, Selector};
use crate::set::PolicySet;
use crate::uids;
use crate::verdict::Verdict;
use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, Request};
use chancery_model::{Action, Caller, Id};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Entries in one generation of each cache. A case with its entities takes about 3 kB.
const SELECTIONS: usize = 4096;
const CASES: usize = 4096;
const SETS: usize = 1024;

/// A policy set prepared for deciding. Share it by `Arc`; make a new one when the policy set or a caller changes.
#[derive(Debug)]
pub struct PolicyPoint {
    set: PolicySet,
    authorizer: Authorizer,
    callers: HashMap<Id, Known>,
    action_entities: HashMap<Action, Entity>,
    /// The condition of each policy of the set, taken apart when a review asks first.
    conditions: OnceLock<Vec<Condition>>,
    selector: Selector,
    selections: Generations<(CallerNumber, Action, Target), Arc<Selection>>,
    cases: Generations<(CallerNumber, Action, EntityUid), Arc<Case>>,
}

type CallerNumber = usize;

/// A caller that this point was made with.
#[derive(Debug)]
struct Known {
    number: CallerNumber,
    caller: Arc<Caller>,
    principal: Arc<Principal>,
}

/// Everything of a call that does not change from one to the next.
#[derive(Debug)]
struct Case {
    /// The facts that the entities were made from: labels, for example, can change.
    resource: Resource,
    principal: EntityUid,
    selected: Arc<Selected>,
    entities: Entities,
}

impl PolicyPoint {
    /// Prepares `set` for the calls of `callers`. Another caller is decided on just as well, but more slowly.
    ///
    /// # Errors
    /// [`PolicyErrors`] where two callers have one id.
    pub fn new(set: PolicySet, callers: &[Arc<Caller>]) -> Result<Self, PolicyErrors> {
        Self::prepare(set, callers, |_| None)
    }

    /// The same set for other callers. What is prepared of those that have not changed is taken over.
    ///
    /// # Errors
    /// [`PolicyErrors`] where two callers have one id.
    pub fn with_callers(&self, callers: &[Arc<Caller>]) -> Result<Self, PolicyErrors> {
        let principal = |caller: &Arc<Caller>| {
            let known = self.callers.get(&caller.id).filter(|known| Arc::ptr_eq(&known.caller, caller));
            known.map(|known| Arc::clone(&known.principal))
        };
        Self::prepare(self.set.clone(), callers, principal)
    }

    fn prepare(
        set: PolicySet,
        callers: &[Arc<Caller>],
        prepared: impl Fn(&Arc<Caller>) -> Option<Arc<Principal>>,
    ) -> Result<Self, PolicyErrors> {
        let mut known = HashMap::with_capacity(callers.len());
        for (number, caller) in callers.iter().enumerate() {
            let principal = match prepared(caller) {
                Some(principal) => principal,
                None => {
                    Arc::new(Principal::new(caller).map_err(|error| refuse(format!("callers/{}: {error}", caller.id)))?)
                }
            };
            let entry = Known { number, caller: Arc::clone(caller), principal };
            if known.insert(caller.id.clone(), entry).is_some() {
                return Err(refuse(format!("two callers have the id {}", caller.id)));
            }
        }
        let schema_actions = schema::PARSED.action_entities().map_err(|error| refuse(error.to_string()))?;
        let action_entity = |action| Some((action, schema_actions.get(&uids::action(action))?.clone()));
        Ok(Self {
            set,
            authorizer: Authorizer::new(),
            callers: known,
            action_entities: Action::ALL.into_iter().filter_map(action_entity).collect(),
            conditions: OnceLock::new(),
            selector: Selector::new(SETS),
            selections: Generations::new(SELECTIONS),
            cases: Generations::new(CASES),
        })
    }

    /// The policy set that decides.
    #[must_use]
    pub fn policy_set(&self) -> &PolicySet {
        &self.set
    }

    /// Decides a call. Evaluates only policies whose scope matches the caller, the action and the resource, prepared
    /// once for each (caller, action, ring).
    pub fn authorize(&self, caller: &Arc<Caller>, request: &AccessRequest) -> Decision {
        let verdict = self.decide(caller, request).unwrap_or_else(|error| Verdict::undecidable(&error));
        let policy_set = self.set.hash();
        match verdict.denial {
            None => Decision::Allowed(Permit::mint(
                Arc::clone(caller),
                request.action,
                request.resource.clone(),
                request.context.clone(),
                verdict.policies,
                policy_set,
            )),
            Some(reason) => Decision::Denied(self.denied(caller, request, reason, verdict)),
        }
    }

    /// Evaluates the whole set for a call, hypothetical or not, and says why it is decided as it is. Mints nothing.
    #[must_use]
    pub fn explain(&self, caller: &Arc<Caller>, request: &AccessRequest) -> Explanation {
        Explanation::of(self, caller, request)
    }

    fn denied(&self, caller: &Caller, request: &AccessRequest, reason: DenialReason, verdict: Verdict) -> Denied {
        Denied {
            reason,
            policies: verdict.policies,
            failures: verdict.failures,
            policy_set: self.set.hash(),
            attributes: attributes(caller, &request.resource, &request.context),
        }
    }

    fn decide(&self, caller: &Arc<Caller>, request: &AccessRequest) -> Result<Verdict, FactsError> {
        request.check()?;
        let case = self.case(caller, request)?;
        let context = if case.selected.asks_for_context { facts::context(request)? } else { Context::empty() };
        let cedar = Request::new(
            case.principal.clone(),
            uids::action(request.action),
            facts::resource_uid(&request.resource),
            context,
            None, // checked by `AccessRequest::check`; the property test compares with the schema's own check
        )
        .map_err(Box::new)?;
        Ok(Verdict::of(&self.authorizer.is_authorized(&cedar, &case.selected.policies, &case.entities)))
    }

    /// The prepared case of a call, from the cache where it is there and still true.
    fn case(&self, caller: &Arc<Caller>, request: &AccessRequest) -> Result<Arc<Case>, FactsError> {
        let Some(known) = self.known(caller) else {
            let principal = Principal::new(caller)?;
            let selection = self.select(&principal, request.action, &Target::of(&request.resource))?;
            return Ok(Arc::new(self.build(&principal, &selection, request)?));
        };
        let key = (known.number, request.action, facts::resource_uid(&request.resource));
        if let Some(case) = self.cases.get(&key).filter(|case| case.resource == request.resource) {
            return Ok(case);
        }
        let selection = self.selection(known, request)?;
        let case = Arc::new(self.build(&known.principal, &selection, request)?);
        self.cases.insert(key, Arc::clone(&case));
        Ok(case)
    }

    /// What is prepared for a caller is used only for exactly this caller: one that has changed since, or that shares
    /// an id with another, is never decided on by the other's groups and roles.
    fn known(&self, caller: &Arc<Caller>) -> Option<&Known> {
        self.callers.get(&caller.id).filter(|known| Arc::ptr_eq(&known.caller, caller) || known.caller == *caller)
    }

    fn selection(&self, known: &Known, request: &AccessRequest) -> Result<Arc<Selection>, FactsError> {
        let key = (known.number, request.action, Target::of(&request.resource));
        if let Some(selection) = self.selections.get(&key) {
            return Ok(selection);
        }
        let selection = Arc::new(self.select(&known.principal, request.action, &key.2)?);
        self.selections.insert(key, Arc::clone(&selection));
        Ok(selection)
    }

    fn select(&self, principal: &Principal, action: Action, target: &Target) -> Result<Selection, FactsError> {
        Ok(self.selector.select(self.set.loaded(), principal, action, target)?)
    }

    /// The entities that a validated policy can reach: caller, action, resource, and the ring of a key.
    pub(crate) fn entities(
        &self,
        principal: &Principal,
        action: Action,
        resource: &Resource,
    ) -> Result<Entities, FactsError> {
        let mut entities = facts::entities(principal, resource)?;
        entities.extend(self.action_entities.get(&action).cloned());
        Ok(Entities::from_entities(entities, None).map_err(Box::new)?)
    }

    fn build(&self, principal: &Principal, selection: &Selection, request: &AccessRequest) -> Result<Case, FactsError> {
        Ok(Case {
            resource: request.resource.clone(),
            principal: principal.uid.clone(),
            selected: Arc::clone(selection.policies(&facts::resource_uid(&request.resource))),
            entities: self.entities(principal, request.action, &request.resource)?,
        })
    }

    /// The conditions of the set's policies, in their order.
    pub(crate) fn conditions(&self) -> &[Condition] {
        self.conditions.get_or_init(|| self.set.loaded().iter().map(Condition::of).collect())
    }

    /// The whole set on a request and entities that Cedar itself checked against the schema; shares nothing with the
    /// prepared way but the facts.
    pub(crate) fn evaluate(&self, caller: &Caller, request: &AccessRequest) -> Result<Evaluation, FactsError> {
        request.check()?;
        let schema = Some(&*schema::PARSED);
        let principal = Principal::new(caller)?;
        let entities = facts::entities(&principal, &request.resource)?;
        let entities = Entities::from_entities(entities, schema).map_err(Box::new)?;
        let cedar = Request::new(
            principal.uid.clone(),
            uids::action(request.action),
            facts::resource_uid(&request.resource),
            facts::context(request)?,
            schema,
        )
        .map_err(Box::new)?;
        let verdict = Verdict::of(&self.authorizer.is_authorized(&cedar, self.set.cedar(), &entities));
        Ok(Evaluation { verdict, principal, request: cedar, entities })
    }
}

/// A full evaluation, with what is needed to look closer.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub(crate) verdict: Verdict,
    pub(crate) principal: Principal,
    pub(crate) request: Request,
    pub(crate) entities: Entities,
}

fn refuse(message: String) -> PolicyErrors {
    PolicyErrors {
        errors: vec![PolicyError {
            document: String::new(),
            policy_id: None,
            line: None,
            column: None,
            message,
            help: None,
        }],
    }
}
