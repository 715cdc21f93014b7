//! A policy set after which nobody could apply another is found out.

use crate::cases::{caller, only, parse, point, roles_and};
use chancery_model::Role;
use chancery_policy::{PolicySet, someone_can_apply, someone_can_register};

/// Whether the set can be replaced where there are a signer and a policy administrator.
fn replaceable(set: &PolicySet) -> bool {
    let callers = [caller("shop", &[Role::Signer]), caller("operator", &[Role::PolicyAdministrator])];
    someone_can_apply(&point(set, &[&callers[0], &callers[1]]), &callers)
}

fn applying(condition: &str) -> PolicySet {
    only(&format!(
        r#"@id("apply") permit (principal, action == Chancery::Action::"ApplyPolicySet", resource) when {{ {condition} }};"#
    ))
}

#[test]
fn the_shipped_set_needs_a_policy_administrator() {
    assert!(replaceable(&PolicySet::shipped()));
    let signer = [caller("shop", &[Role::Signer])];
    let set = point(&PolicySet::shipped(), &[&signer[0]]);
    assert!(!someone_can_apply(&set, &signer));
    assert!(!someone_can_apply(&set, &[]));
}

#[test]
fn the_shipped_set_needs_a_caller_administrator_to_register_callers() {
    let can = |callers: &[_]| {
        let known: Vec<_> = callers.iter().collect();
        someone_can_register(&point(&PolicySet::shipped(), &known), callers)
    };
    assert!(can(&[caller("operator", &[Role::CallerAdministrator])]));
    assert!(!can(&[caller("operator", &[Role::PolicyAdministrator])]));
    assert!(!can(&[]));
}

#[test]
fn sets_that_lock_everybody_out() {
    assert!(!replaceable(&parse(vec![])));
    assert!(!replaceable(&roles_and(
        r#"@id("never") forbid (principal, action in Chancery::Action::"administering-policy", resource);"#
    )));
    assert!(!replaceable(&applying(r#"principal in Chancery::Group::"nobody-is-in-it""#)));
    assert!(!replaceable(&applying(r#"context.now < datetime("2024-01-01")"#)));
    assert!(!replaceable(&applying(
        r#"context has sourceAddress && context.sourceAddress.isInRange(ip("10.0.0.0/8")) && context.sourceAddress.isLoopback()"#
    )));
}

#[test]
fn sets_that_ask_for_a_place_or_a_time_only() {
    assert!(replaceable(&applying(
        r#"context has sourceAddress && context.sourceAddress.isInRange(ip("172.20.5.0/28"))"#
    )));
    assert!(replaceable(&applying(r#"context has sourceAddress && context.sourceAddress == ip("2001:db8::7")"#)));
    assert!(replaceable(&applying(
        r#"context.now.toTime() >= duration("3h") && context.now.toTime() < duration("4h")"#
    )));
}
