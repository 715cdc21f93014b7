//! Who can do what.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chancery_api::v1;
use serde::Serialize;

use super::word;
use crate::input::hex;
use crate::names::shorten;
use crate::output::{View, line, rows};

/// A review of access.
#[derive(Debug, Serialize)]
pub struct AccessView {
    policy_set_sha256: String,
    access: Vec<RowView>,
}

/// What a caller can do to a resource.
#[derive(Debug, Serialize)]
pub struct RowView {
    caller: String,
    resource: String,
    action: String,
    access: String,
    policies: Vec<String>,
    conditions: Vec<ConditionView>,
}

/// A policy that applies under some circumstances.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct ConditionView {
    policy_id: String,
    effect: String,
    description: String,
    document: String,
    parts: Vec<String>,
    can_fail: bool,
}

impl AccessView {
    /// The rows that a policy set answered.
    pub fn new(rows: Vec<v1::EffectiveAccess>, policy_set: &[u8]) -> Self {
        Self { policy_set_sha256: hex(policy_set), access: rows.into_iter().map(RowView::from).collect() }
    }
}

impl From<v1::EffectiveAccess> for RowView {
    fn from(access: v1::EffectiveAccess) -> Self {
        use v1::effective_access::Access;
        let v1::EffectiveAccess { caller, action, resource, access, policies, conditions } = access;
        let name = Access::try_from(access).ok().map(|known| known.as_str_name());
        let condition = |condition: v1::AccessCondition| {
            let v1::AccessCondition { policy_id, effect, description, document, parts, can_fail } = condition;
            ConditionView { policy_id, effect, description, document, parts, can_fail }
        };
        Self {
            caller,
            resource,
            action,
            access: word(name, "ACCESS_", access),
            policies,
            conditions: conditions.into_iter().map(condition).collect(),
        }
    }
}

impl RowView {
    /// The access, with what it depends on.
    pub fn in_words(&self) -> String {
        let conditions: Vec<String> = self.conditions.iter().map(ConditionView::in_words).collect();
        let access = &self.access;
        if conditions.is_empty() { access.clone() } else { format!("{access}: {}", conditions.join("; ")) }
    }
}

impl ConditionView {
    fn in_words(&self) -> String {
        let Self { policy_id, effect, description: _, document: _, parts, can_fail } = self;
        let failing = if *can_fail { " (can fail, and then denies)" } else { "" };
        format!("{effect} {policy_id} {}{failing}", parts.join(" "))
    }
}

impl View for AccessView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        // Actions that are allowed alike are one line.
        let mut lines: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for RowView { caller, resource, action, access, policies, conditions } in &self.access {
            lines.entry((caller, resource, access, policies, conditions)).or_default().push(action);
        }
        let mut shown = Vec::with_capacity(lines.len());
        let mut named: BTreeMap<&ConditionView, usize> = BTreeMap::new();
        for ((caller, resource, access, policies, conditions), actions) in lines {
            let numbers = conditions.iter().map(|condition| {
                let next = named.len() + 1;
                format!("[{}]", named.entry(condition).or_insert(next))
            });
            let by: Vec<String> = policies.iter().cloned().chain(numbers).collect();
            let caller = caller.strip_prefix("callers/").unwrap_or(caller).to_owned();
            shown.push([caller, shorten(resource), access.clone(), actions.join(" "), by.join(" ")]);
        }
        rows(out, ["CALLER", "RESOURCE", "ACCESS", "ACTIONS", "BY"], shown)?;
        let mut numbered: Vec<_> = named.into_iter().map(|(condition, number)| (number, condition)).collect();
        numbered.sort_unstable();
        if !numbered.is_empty() {
            writeln!(out, "\nDepends on:")?;
        }
        for (number, condition) in numbered {
            line(out, &format!("  [{number}] {} ({})", condition.in_words(), condition.document))?;
            if !condition.description.is_empty() {
                line(out, &format!("      {}", condition.description))?;
            }
        }
        writeln!(out, "\npolicy set sha256 {}", self.policy_set_sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::effective_access::Access;

    #[test]
    fn actions_that_are_allowed_alike_are_one_line_and_conditions_are_said_once() {
        let condition = v1::AccessCondition {
            policy_id: "office".to_owned(),
            effect: "forbid".to_owned(),
            description: "Only from the office.".to_owned(),
            document: "own.cedar".to_owned(),
            parts: vec!["unless { context has sourceAddress }".to_owned()],
            can_fail: false,
        };
        let row = |action: &str, access: Access, conditions: &[&v1::AccessCondition]| v1::EffectiveAccess {
            caller: "callers/shop".to_owned(),
            action: action.to_owned(),
            resource: "keyRings/dev/keys/k".to_owned(),
            access: access.into(),
            policies: vec!["signer".to_owned()],
            conditions: conditions.iter().copied().cloned().collect(),
        };
        let access = vec![
            row("Sign", Access::Conditional, &[&condition]),
            row("Verify", Access::Allowed, &[]),
            row("GetPublicKey", Access::Allowed, &[]),
            row("SignJwt", Access::Conditional, &[&condition]),
        ];
        let mut out = Vec::new();
        AccessView::new(access, &[0x11]).write_table(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "CALLER  RESOURCE  ACCESS       ACTIONS              BY\n\
             shop    dev/k     ALLOWED      Verify GetPublicKey  signer\n\
             shop    dev/k     CONDITIONAL  Sign SignJwt         signer [1]\n\n\
             Depends on:\n  [1] forbid office unless { context has sourceAddress } (own.cedar)\n      \
             Only from the office.\n\npolicy set sha256 11\n"
        );
    }
}
