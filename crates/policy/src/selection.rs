//! The policies of a set whose scope can match one caller, one action and one ring: the only ones worth evaluating.

use crate::facts::Principal;
use crate::generations::Generations;
use crate::reader::LoadedPolicy;
use crate::scope::{Reach, Target};
use cedar_policy::{EntityUid, PolicySet};
use chancery_model::Action;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Policies selected for a target. What a policy's scope leaves out it could never have decided, and no condition is
/// evaluated whose scope does not match, so a selection decides exactly as its whole set does.
#[derive(Debug)]
pub(crate) struct Selection {
    /// For every resource of the target that is not listed below.
    general: Arc<Selected>,
    /// For keys that a policy names: the general policies and those that name the key.
    keys: HashMap<EntityUid, Arc<Selected>>,
}

/// The policies that decide on a resource.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) policies: PolicySet,
    /// Whether any of them says `context`, if only in a comment. To those that do not, the circumstances of a call need not be
    /// shown: most policies do not, and time and address are dear, since Cedar parses them from text for each call.
    pub(crate) asks_for_context: bool,
}

/// Selections for different callers are mostly the same few policies: each such set is built once.
#[derive(Debug)]
pub(crate) struct Selector {
    sets: Generations<Vec<usize>, Arc<Selected>>,
}

impl Selection {
    /// The policies for one resource.
    pub(crate) fn policies(&self, resource: &EntityUid) -> &Arc<Selected> {
        self.keys.get(resource).unwrap_or(&self.general)
    }
}

impl Selector {
    pub(crate) fn new(generation: usize) -> Self {
        Self { sets: Generations::new(generation) }
    }

    pub(crate) fn select(
        &self,
        all: &[LoadedPolicy],
        principal: &Principal,
        action: Action,
        target: &Target,
    ) -> Result<Selection, Box<cedar_policy::PolicySetError>> {
        let mut general = BTreeSet::new();
        let mut named: HashMap<EntityUid, BTreeSet<usize>> = HashMap::new();
        for (index, policy) in all.iter().enumerate() {
            if !policy.scope.takes_action(action) || !policy.scope.takes_principal(principal) {
                continue;
            }
            match policy.scope.reach(target) {
                Reach::None => {}
                Reach::All => drop(general.insert(index)),
                Reach::Only(key) => drop(named.entry(key).or_default().insert(index)),
            }
        }
        let mut keys = HashMap::with_capacity(named.len());
        for (key, own) in named {
            keys.insert(key, self.set(all, own.union(&general).copied().collect())?);
        }
        Ok(Selection { general: self.set(all, general.into_iter().collect())?, keys })
    }

    /// The policies at these (sorted) indexes as one set.
    fn set(
        &self,
        all: &[LoadedPolicy],
        indexes: Vec<usize>,
    ) -> Result<Arc<Selected>, Box<cedar_policy::PolicySetError>> {
        if let Some(set) = self.sets.get(&indexes) {
            return Ok(set);
        }
        let policies = || indexes.iter().filter_map(|index| all.get(*index));
        let set = Arc::new(Selected {
            policies: PolicySet::from_policies(policies().map(|policy| policy.cedar.clone()))?,
            asks_for_context: policies().any(|policy| policy.text.contains("context")),
        });
        self.sets.insert(indexes, Arc::clone(&set));
        Ok(set)
    }
}
