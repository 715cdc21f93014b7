//! Rules: how they are written, what they mean, and which calls they fire on.

mod check;
mod count;
mod file;

pub(crate) use check::{Effect, Other};
pub use file::{
    At, AttributeLie, AttributeValue, Choice, Crash, Find, Functions, Hang, Rule, Rules, Then, Verdict, When,
};

use crate::function::{COUNT, Function};
use count::Counter;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// The rules of a file, ready to be followed.
#[derive(Debug)]
pub(crate) struct RuleSet {
    /// Those about what happens to calls, by function.
    events: [Vec<Arc<Active>>; COUNT],
    /// Those about what the device is like.
    conditions: Vec<Arc<Active>>,
    all: Vec<Arc<Active>>,
}

/// A rule that is followed.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) rule: Rule,
    pub(crate) effect: Effect,
    pub(crate) object_id: Option<Vec<u8>>,
    functions: Vec<Function>,
    counter: Counter,
    /// When this process began to follow it.
    pub(crate) since: Instant,
}

impl Active {
    pub(crate) fn id(&self) -> &str {
        &self.rule.id
    }

    /// Whether it is about calls with a place for what they make, whatever its conditions say.
    pub(crate) fn effect_needs_room(&self) -> Option<bool> {
        matches!(self.effect, Effect::FlipBit(_) | Effect::RepeatNonce).then_some(true)
    }

    /// Counts a call that meets all other conditions, and says whether this is one to fire on.
    pub(crate) fn counts(&self) -> bool {
        self.counter.count(&self.rule.when)
    }

    /// What its counts on disk go by: they are its own, and those of no other rule that had its name before.
    pub(crate) fn state_name(&self) -> String {
        // FNV-1a, 64 bits.
        let content = toml::to_string(&self.rule).unwrap_or_default();
        let hash = content
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{}-{hash:016x}", self.rule.id)
    }
}

impl RuleSet {
    pub(crate) fn none() -> Self {
        Self { events: std::array::from_fn(|_| Vec::new()), conditions: Vec::new(), all: Vec::new() }
    }

    /// Reads rules. One that stood in the file before just as it does now goes on counting where it is.
    ///
    /// # Errors
    /// What is wrong, and with which rule.
    pub(crate) fn parse(text: &str, before: &Self) -> Result<Self, String> {
        let mut set = Self::none();
        for rule in parse(text)? {
            let active = match before.all.iter().find(|active| active.rule == rule) {
                Some(same) => Arc::clone(same),
                None => Arc::new(activate(rule)?),
            };
            if active.effect.is_condition() {
                set.conditions.push(Arc::clone(&active));
            }
            for function in &active.functions {
                if let Some(events) = set.events.get_mut(*function as usize) {
                    events.push(Arc::clone(&active));
                }
            }
            set.all.push(active);
        }
        Ok(set)
    }

    pub(crate) fn events(&self, function: Function) -> &[Arc<Active>] {
        self.events.get(function as usize).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn conditions(&self) -> &[Arc<Active>] {
        &self.conditions
    }

    pub(crate) fn all(&self) -> &[Arc<Active>] {
        &self.all
    }

    /// Whether this very rule stands here still.
    pub(crate) fn contains(&self, active: &Active) -> bool {
        self.all.iter().any(|other| other.rule == active.rule)
    }
}

/// The rules of a text, each with an id.
pub(crate) fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let Rules { mut rules } = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut taken = HashSet::new();
    for (place, rule) in rules.iter_mut().enumerate() {
        if rule.id.is_empty() {
            rule.id = format!("rule-{}", place + 1);
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if rule.id.len() > 64 || !rule.id.bytes().all(is_plain) {
            return Err(format!("rule {:?}: an id has 1 to 64 letters, digits, '-', '_' and '.'", rule.id));
        }
        if !taken.insert(rule.id.clone()) {
            return Err(format!("rule {:?}: another rule has this id", rule.id));
        }
    }
    Ok(rules)
}

fn activate(rule: Rule) -> Result<Active, String> {
    let with_id = |error: String| format!("rule {:?}: {error}", rule.id);
    let (functions, effect) = check::understand(&rule).map_err(with_id)?;
    let object_id = rule.when.id.as_deref().map(check::from_hex).transpose().map_err(with_id)?;
    Ok(Active { effect, object_id, functions, counter: Counter::default(), since: Instant::now(), rule })
}

#[cfg(test)]
mod tests;
