//! `chancery.decisions`: what policy decided, by key ring, key, action, decision and reason.
//!
//! Keys are many, so the sets of attributes are bounded: the first [`MAX_WITH_KEY`] are kept apart, later ones are
//! counted under the key `_other`, and beyond [`MAX_WITH_RING`] under the key ring `_other` too. Only what exists is ever
//! named: a caller cannot make up attributes.

use super::{NONE, OTHER};
use chancery_audit::DenialReason;
use chancery_model::{Action, Id, KeyName};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// How many sets of attributes may name a key.
pub(super) const MAX_WITH_KEY: usize = 600;

/// How many sets there may be before new ones no longer name a key ring. With those that name neither, which are as many
/// as there are actions and reasons, they stay below the 2,000 at which the SDK would lump them together.
pub(super) const MAX_WITH_RING: usize = 800;

/// The counter, and the attributes of what was seen.
pub(super) struct Decisions {
    counter: Counter<u64>,
    sets: RwLock<Sets>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Decided {
    pub(super) action: Action,
    pub(super) refused: Option<DenialReason>,
}

#[derive(Default)]
struct Sets {
    by_key: HashMap<KeyName, HashMap<Decided, Arc<Attributes>>>,
    by_ring: HashMap<Id, HashMap<Decided, Arc<Attributes>>>,
    without: HashMap<Decided, Arc<Attributes>>,
    /// What found no room.
    other_keys: HashMap<Id, HashMap<Decided, Arc<Attributes>>>,
    other: HashMap<Decided, Arc<Attributes>>,
    count: usize,
}

type Attributes = [KeyValue; 5];

impl Decisions {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = meter
            .u64_counter("chancery.decisions")
            .with_unit("{decision}")
            .with_description("Decisions of policy, by key ring, key, action, decision and reason")
            .build();
        Self { counter, sets: RwLock::default() }
    }

    pub(super) fn count(&self, ring: Option<&Id>, key: Option<&KeyName>, decided: Decided) {
        let known = self.sets.read().unwrap_or_else(PoisonError::into_inner).find(ring, key, decided);
        let attributes =
            known.unwrap_or_else(|| self.sets.write().unwrap_or_else(PoisonError::into_inner).make(ring, key, decided));
        self.counter.add(1, attributes.as_slice());
    }
}

impl Sets {
    fn find(&self, ring: Option<&Id>, key: Option<&KeyName>, decided: Decided) -> Option<Arc<Attributes>> {
        let of = match (ring, key) {
            (_, Some(key)) => self.by_key.get(key),
            (Some(ring), None) => self.by_ring.get(ring),
            (None, None) => Some(&self.without),
        };
        let precise = of.and_then(|sets| sets.get(&decided));
        let lumped = || {
            let of_ring = ring.filter(|_| key.is_some() && self.count >= MAX_WITH_KEY);
            let of_ring = of_ring.and_then(|ring| self.other_keys.get(ring)?.get(&decided));
            of_ring.or_else(|| self.other.get(&decided).filter(|_| ring.is_some() && self.count >= MAX_WITH_RING))
        };
        precise.or_else(lumped).map(Arc::clone)
    }

    /// The attributes for something new, as precise as there is room for.
    fn make(&mut self, ring: Option<&Id>, key: Option<&KeyName>, decided: Decided) -> Arc<Attributes> {
        if let Some(found) = self.find(ring, key, decided) {
            return found;
        }
        let name = |id: Option<&Id>| id.map_or_else(|| NONE.to_owned(), ToString::to_string);
        let (with_key, with_ring) = (self.count < MAX_WITH_KEY, self.count < MAX_WITH_RING);
        let (place, ring, key) = match (ring, key) {
            (ring, Some(key)) if with_key => {
                (self.by_key.entry(key.clone()).or_default(), name(ring), key.key.to_string())
            }
            (Some(ring), Some(_)) if with_ring => {
                (self.other_keys.entry(ring.clone()).or_default(), ring.to_string(), OTHER.to_owned())
            }
            (Some(ring), None) if with_ring => {
                (self.by_ring.entry(ring.clone()).or_default(), ring.to_string(), NONE.to_owned())
            }
            (None, None) => (&mut self.without, NONE.to_owned(), NONE.to_owned()),
            (Some(_) | None, _) => (&mut self.other, OTHER.to_owned(), OTHER.to_owned()),
        };
        let Decided { action, refused } = decided;
        let attributes = Arc::new([
            KeyValue::new("chancery.key_ring", ring),
            KeyValue::new("chancery.key", key),
            KeyValue::new("chancery.action", action.as_str()),
            KeyValue::new("chancery.decision", if refused.is_none() { "allow" } else { "deny" }),
            KeyValue::new("chancery.reason", refused.map_or(NONE, DenialReason::as_str)),
        ]);
        place.insert(decided, Arc::clone(&attributes));
        self.count += 1;
        if self.count == MAX_WITH_KEY {
            tracing::warn!(
                sets = MAX_WITH_KEY,
                "chancery.decisions has as many sets of attributes as it keeps apart; further keys count as {OTHER}"
            );
        }
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        Id::parse("the id", text).unwrap()
    }

    /// At this number the SDK itself stops telling sets apart, without a word of which.
    const SDK_LIMIT: usize = 2_000;

    #[test]
    fn the_sets_are_bounded_whatever_is_done() {
        // Of what policy has allowed, `allow` is counted, whatever becomes of it.
        let reasons: Vec<DenialReason> =
            DenialReason::ALL.into_iter().filter(|reason| !reason.is_of_caller_signature()).collect();
        assert!(MAX_WITH_RING + 2 * Action::ALL.len() * (reasons.len() + 1) < SDK_LIMIT);
        let mut sets = Sets::default();
        let all: Vec<Decided> = Action::ALL
            .into_iter()
            .flat_map(|action| {
                let reasons = reasons.clone().into_iter().map(Some).chain(std::iter::once(None));
                reasons.map(move |refused| Decided { action, refused })
            })
            .collect();
        for number in 0..400 {
            let key: KeyName = format!("keyRings/r{}/keys/k{number}", number % 40).parse().unwrap();
            for decided in &all {
                sets.make(Some(&key.ring), Some(&key), *decided);
                sets.make(Some(&key.ring), None, *decided);
                sets.make(None, None, *decided);
            }
        }
        assert!(sets.count < SDK_LIMIT, "{}", sets.count);
        let late: KeyName = "keyRings/late/keys/late".parse().unwrap();
        let [ring, key, ..] = &*sets.make(Some(&late.ring), Some(&late), all[0]);
        assert_eq!((ring.value.to_string(), key.value.to_string()), (OTHER.to_owned(), OTHER.to_owned()));
    }

    #[test]
    fn a_key_that_finds_no_room_still_counts_for_its_ring() {
        let mut sets = Sets::default();
        let decided = Decided { action: Action::Sign, refused: None };
        let mut last = None;
        for number in 0..=MAX_WITH_KEY {
            let key: KeyName = format!("keyRings/dev/keys/k{number}").parse().unwrap();
            last = Some(sets.make(Some(&key.ring), Some(&key), decided));
        }
        let last = last.unwrap();
        let [ring, key, action, decision, reason] = &*last;
        assert_eq!(ring, &KeyValue::new("chancery.key_ring", "dev"));
        assert_eq!(key, &KeyValue::new("chancery.key", OTHER));
        assert_eq!(action, &KeyValue::new("chancery.action", "Sign"));
        assert_eq!(decision, &KeyValue::new("chancery.decision", "allow"));
        assert_eq!(reason, &KeyValue::new("chancery.reason", NONE));
        let again: KeyName = "keyRings/dev/keys/k0".parse().unwrap();
        let [_, key, ..] = &*sets.make(Some(&id("dev")), Some(&again), decided);
        assert_eq!(key.value.as_str(), "k0", "who was there first keeps its name");
    }
}
