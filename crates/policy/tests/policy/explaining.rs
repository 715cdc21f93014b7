//! Explanations: what people are told.

use crate::cases::*;
use chancery_model::{Action, Role};
use chancery_policy::{ClauseOutcome, DenialReason, PolicySet};

#[test]
fn an_allowed_call() {
    let caller = caller("shop", &[Role::Signer]);
    let explanation = point(&PolicySet::shipped(), &[&caller]).explain(&caller, &sign("payments/jwt"));
    assert!(explanation.allowed && explanation.denial.is_none());
    assert_eq!(
        explanation.reason,
        "Sign on keyRings/payments/keys/jwt by callers/shop is allowed: permitted by \"signer\" (roles.cedar: Signs with, \
         verifies with and reads the keys of its rings, and takes random bytes from their tokens.)."
    );
    assert_eq!(explanation.determining[0].id, "signer");
    assert!(explanation.determining[0].text.starts_with("@id(\"signer\")"));
    assert!(explanation.nearly.is_empty() && explanation.out_of_scope.is_empty());
    assert_eq!(explanation.policy_set, PolicySet::shipped().hash());
    assert_eq!(explanation.attributes["principal"]["id"], "shop");
}

#[test]
fn no_permit_takes_in_the_caller() {
    let caller = caller("shop", &[Role::Verifier]);
    let explanation = point(&PolicySet::shipped(), &[&caller]).explain(&caller, &sign("payments/jwt"));
    assert_eq!(explanation.denial, Some(DenialReason::NoPolicyPermits));
    assert!(explanation.determining.is_empty() && explanation.nearly.is_empty());
    let out: Vec<_> = explanation.out_of_scope.iter().map(|o| (o.policy.id.as_str(), o.mismatches.clone())).collect();
    assert_eq!(out, [("signer", vec!["the caller is not in Chancery::Role::\"signer\"".to_owned()])]);
    assert_eq!(
        explanation.reason,
        "Sign on keyRings/payments/keys/jwt by callers/shop is denied, because no policy permits it. \
         \"signer\" does not: the caller is not in Chancery::Role::\"signer\"."
    );
}

#[test]
fn no_permit_takes_in_the_resource() {
    let caller = caller("shop", &[]);
    let set = only(
        r#"@id("other-ring") permit (principal, action, resource in Chancery::KeyRing::"other");
        @id("other-key") permit (principal, action, resource == Chancery::Key::"payments/rsa");
        @id("tokens") permit (principal, action, resource is Chancery::Token);"#,
    );
    let explanation = point(&set, &[&caller]).explain(&caller, &sign("payments/jwt"));
    let out: Vec<_> =
        explanation.out_of_scope.iter().map(|o| (o.policy.id.as_str(), o.mismatches.join(", "))).collect();
    assert_eq!(
        out,
        [
            ("other-ring", "the resource is not in Chancery::KeyRing::\"other\"".to_owned()),
            ("other-key", "the resource is not Chancery::Key::\"payments/rsa\"".to_owned()),
        ]
    );
}

#[test]
fn no_permit_at_all() {
    let caller = caller("shop", &[Role::Signer]);
    let explanation = point(&parse(vec![]), &[&caller]).explain(&caller, &sign("payments/jwt"));
    assert_eq!(explanation.denial, Some(DenialReason::NoPolicyPermits));
    assert!(explanation.reason.ends_with("no policy permits it. The policy set has no permit for Sign at all."));
}

#[test]
fn a_permit_whose_condition_is_false() {
    let caller = caller("shop", &[Role::Signer]);
    let explanation = point(&PolicySet::shipped(), &[&caller]).explain(&caller, &sign("other/jwt"));
    assert_eq!(explanation.denial, Some(DenialReason::NoPolicyPermits));
    assert_eq!(explanation.nearly.len(), 1);
    assert_eq!(explanation.nearly[0].policy.id, "signer");
    assert_eq!(
        explanation.reason,
        "Sign on keyRings/other/keys/jwt by callers/shop is denied, because no policy permits it. \
         \"signer\" would, but for: when { resource in principal.rings }."
    );
}

#[test]
fn the_part_of_the_condition_that_is_false() {
    let caller = caller("shop", &[]);
    let set = only(
        r#"@id("careful")
        permit (principal, action == Chancery::Action::"Sign", resource)
        when { resource.id == "jwt" && (context has sourceAddress && context.sourceAddress.isInRange(ip("10.0.0.0/8"))) }
        unless { context.input == "digest" || context.batchSize > 10 }
        when { context.version > 3 };"#,
    );
    let point = point(&set, &[&caller]);
    let outcomes = |request| {
        let explanation = point.explain(&caller, &request);
        explanation.nearly[0].clauses.iter().map(|c| c.outcome.clone()).collect::<Vec<_>>()
    };
    use ClauseOutcome::{NotReached, NotSatisfied, Satisfied};
    let version = point.explain(&caller, &sign("payments/jwt"));
    let texts: Vec<&str> = version.nearly[0].clauses.iter().map(|clause| clause.text.as_str()).collect();
    assert_eq!(texts.len(), 6, "{texts:#?}");
    assert_eq!(texts[1], "when { context has sourceAddress }");
    assert!(texts[3].starts_with("unless") && texts[4].starts_with("unless"), "{texts:#?}");
    assert_eq!(version.nearly[0].clauses[5].outcome, NotSatisfied);
    assert!(version.nearly[0].clauses[..5].iter().all(|clause| clause.outcome == Satisfied));
    let mut nowhere = sign("payments/jwt");
    nowhere.context.source = None;
    // What asks for the address is not reached, rather than failed.
    assert_eq!(outcomes(nowhere), [Satisfied, NotSatisfied, NotReached, NotReached, NotReached, NotReached]);
    let mut batch = sign("payments/jwt");
    if let chancery_policy::OperationContext::Sign { batch_size, .. } = &mut batch.context.operation {
        *batch_size = 11;
    }
    assert_eq!(outcomes(batch), [Satisfied, Satisfied, Satisfied, Satisfied, NotSatisfied, NotReached]);
}

#[test]
fn a_forbid() {
    let caller = caller("shop", &[Role::Signer, Role::KeyAdministrator]);
    let explanation = point(&PolicySet::shipped(), &[&caller]).explain(&caller, &sign("payments/jwt"));
    assert_eq!(explanation.denial, Some(DenialReason::ForbiddenBy));
    assert_eq!(explanation.determining[0].id, "builtin-key-administrators-never-sign");
    assert_eq!(
        explanation.reason,
        "Sign on keyRings/payments/keys/jwt by callers/shop is denied: forbidden by \
         \"builtin-key-administrators-never-sign\" (builtin.cedar: Who administers keys does not sign with them.). \
         No permit outweighs a forbid."
    );
}

#[test]
fn a_policy_that_cannot_be_evaluated() {
    let caller = caller("shop", &[Role::Signer]);
    let set = roles_and(
        r#"@id("too-much") permit (principal, action == Chancery::Action::"Sign", resource)
        when { context.version > 0 && context.inputBytes * 9223372036854775807 > 5 };"#,
    );
    let explanation = point(&set, &[&caller]).explain(&caller, &sign("payments/jwt"));
    assert_eq!(explanation.denial, Some(DenialReason::EvaluationError));
    assert_eq!(explanation.determining[0].id, "too-much");
    assert!(
        explanation.reason.contains("policy could not be evaluated: \"too-much\": integer overflow"),
        "{}",
        explanation.reason
    );
    assert!(explanation.nearly.is_empty());
}

#[test]
fn a_question_that_makes_no_sense() {
    let caller = caller("shop", &[Role::Signer]);
    let explanation =
        point(&PolicySet::shipped(), &[&caller]).explain(&caller, &request(Action::Sign, ring("payments", "dev")));
    assert_eq!(explanation.denial, Some(DenialReason::EvaluationError));
    assert!(explanation.reason.contains("Sign cannot be asked of KeyRing"), "{}", explanation.reason);
}
