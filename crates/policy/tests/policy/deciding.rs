//! Decisions: what is built in, what fails closed, what a permit says.

use crate::cases::*;
use chancery_model::{Action, Role};
use chancery_policy::{DenialReason, OperationContext, PolicyPoint, PolicySet, Resource, SignInputKind};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const EVERYTHING: &str = r#"@id("everything") permit (principal, action, resource);"#;

#[test]
fn environments_are_apart_whatever_is_permitted() {
    let caller = caller_in("dev", "shop", &[], &[Role::Signer], &["payments"]);
    let point = point(&roles_and(EVERYTHING), &[&caller]);
    let denial = denied(point.authorize(&caller, &request(Action::Sign, key("payments/jwt", "prod"))));
    assert_eq!(denial.reason, DenialReason::ForbiddenBy);
    assert_eq!(names(&denial.policies), ["builtin-keys-stay-in-their-environment"]);
    let denial = denied(point.authorize(&caller, &request(Action::CreateKey, ring("payments", "prod"))));
    assert_eq!(names(&denial.policies), ["builtin-key-rings-stay-in-their-environment"]);
    let permit = allowed(point.authorize(&caller, &sign("payments/jwt")));
    assert_eq!(names(permit.policies()), ["everything", "signer"]);
}

#[test]
fn administering_roles_never_sign_whatever_is_permitted() {
    for (role, policy) in [
        (Role::KeyAdministrator, "builtin-key-administrators-never-sign"),
        (Role::PolicyAdministrator, "builtin-policy-administrators-never-sign"),
        (Role::CallerAdministrator, "builtin-caller-administrators-never-sign"),
    ] {
        let caller = caller("admin", &[role]);
        let point = point(&only(EVERYTHING), &[&caller]);
        let denial = denied(point.authorize(&caller, &sign("payments/jwt")));
        assert_eq!((denial.reason, names(&denial.policies)), (DenialReason::ForbiddenBy, vec![policy]));
        let verify = request(Action::Verify, key("payments/jwt", "dev"));
        assert_eq!(names(allowed(point.authorize(&caller, &verify)).policies()), ["everything"]);
    }
}

#[test]
fn nothing_is_permitted_by_an_empty_set() {
    let caller = caller("shop", &Role::ALL);
    let point = point(&parse(vec![]), &[&caller]);
    let denial = denied(point.authorize(&caller, &request(Action::Verify, key("payments/jwt", "dev"))));
    assert_eq!((denial.reason, denial.policies.len()), (DenialReason::NoPolicyPermits, 0));
}

#[test]
fn a_forbid_that_cannot_be_evaluated_denies() {
    let caller = caller("shop", &[Role::Signer]);
    let set = roles_and(
        r#"@id("too-much")
        forbid (principal, action == Chancery::Action::"Sign", resource)
        when { context.inputBytes * 9223372036854775807 > 5 };"#,
    );
    let point = point(&set, &[&caller]);
    let denial = denied(point.authorize(&caller, &sign("payments/jwt")));
    assert_eq!((denial.reason, names(&denial.policies)), (DenialReason::EvaluationError, vec!["too-much"]));
    assert_eq!(denial.failures[0].policy.as_deref(), Some("too-much"));
    assert!(denial.failures[0].message.contains("overflow"), "{:?}", denial.failures);
    let verify = request(Action::Verify, key("payments/jwt", "dev"));
    allowed(point.authorize(&caller, &verify));
}

#[test]
fn a_permit_that_cannot_be_evaluated_denies_although_another_permits() {
    let caller = caller("shop", &[Role::Signer]);
    let set = roles_and(
        r#"@id("also")
        permit (principal, action == Chancery::Action::"Sign", resource)
        when { context.inputBytes * 9223372036854775807 > 5 };"#,
    );
    let denial = denied(point(&set, &[&caller]).authorize(&caller, &sign("payments/jwt")));
    assert_eq!((denial.reason, names(&denial.policies)), (DenialReason::EvaluationError, vec!["also"]));
}

#[test]
fn what_does_not_fit_the_schema_is_denied_whatever_is_permitted() {
    let caller = caller("shop", &[]);
    let point = point(&only(EVERYTHING), &[&caller]);
    let mut bare = sign("payments/jwt");
    bare.context.operation = OperationContext::Plain;
    let mut foreign = request(Action::Verify, key("payments/jwt", "dev"));
    foreign.context.operation = operation_for(Action::Sign);
    for request in
        [bare, foreign, request(Action::Sign, ring("payments", "dev")), request(Action::GetToken, Resource::Tokens)]
    {
        let denial = denied(point.authorize(&caller, &request));
        assert_eq!(denial.reason, DenialReason::EvaluationError, "{request:?}");
        assert!(denial.failures[0].message.contains("no policy can decide it"), "{:?}", denial.failures);
        assert_eq!(point.explain(&caller, &request).failures, denial.failures);
    }
}

#[test]
fn every_attribute_of_the_schema_can_be_asked_for() {
    let conditions = [
        r#"principal.id == "shop" && principal.environment == "dev""#,
        r#"principal.rings.contains(resource.ring) && principal in Chancery::Group::"till""#,
        r#"principal in [Chancery::Role::"verifier", Chancery::Role::"signer"]"#,
        r#"principal in Chancery::Callers::"all" && principal.hasTag("team") && principal.getTag("team") == "till""#,
        r#"resource.id == "jwt" && resource.ring.id == "payments" && resource.ring.environment == resource.environment"#,
        r#"resource.algorithm == "ECDSA_P256_SHA256" && !resource.allowDigest"#,
        r#"resource.hasTag("tier") && resource.getTag("tier") == "gold" && !resource.hasTag("owner")"#,
        r#"resource == Chancery::Key::"payments/jwt" && resource in Chancery::KeyRing::"payments""#,
        r#"context.authentication == "certificate" && context.input == "message" && context.inputBytes == 100"#,
        r#"context.batchSize == 1 && context.version == 1"#,
        r#"context has sourceAddress && context.sourceAddress.isInRange(ip("10.1.0.0/16"))"#,
        r#"context.now.toTime() >= duration("8h") && context.now.toTime() < duration("18h")"#,
        r#"context.now > datetime("2025-11-25T11:59:59Z") && context.now < datetime("2025-11-26")"#,
    ];
    let caller = caller_in("dev", "shop", &["till"], &[Role::Signer], &["payments"]);
    for condition in conditions {
        let set = only(&format!(
            r#"@id("asks") permit (principal, action == Chancery::Action::"Sign", resource) when {{ {condition} }};"#
        ));
        assert_eq!(set.warnings(), &[] as &[String], "{condition}");
        allowed(point(&set, &[&caller]).authorize(&caller, &sign("payments/jwt")));
    }
}

#[test]
fn an_unknown_source_address_is_absent_and_a_mapped_one_is_an_ipv4_address() {
    let caller = caller("shop", &[]);
    let set = only(
        r#"@id("office") permit (principal, action, resource)
        when { context has sourceAddress && context.sourceAddress.isInRange(ip("10.0.0.0/8")) };"#,
    );
    let point = point(&set, &[&caller]);
    for (source, expected) in [
        (None, false),
        (Some("::ffff:10.1.2.3"), true),
        (Some("10.9.9.9"), true),
        (Some("11.0.0.1"), false),
        (Some("::1"), false),
    ] {
        let mut request = request(Action::ListTokens, Resource::Tokens);
        request.context.source = source.map(|text| text.parse().unwrap());
        assert_eq!(point.explain(&caller, &request).allowed, expected, "{source:?}");
        assert_eq!(
            matches!(point.authorize(&caller, &request), chancery_policy::Decision::Allowed(_)),
            expected,
            "{source:?}"
        );
    }
}

#[test]
fn registrations_are_decided_by_what_they_would_give() {
    let admin = caller("admin", &[Role::CallerAdministrator]);
    let set = roles_and(
        r#"@id("no-key-administrators")
        forbid (principal, action in Chancery::Action::"administering-callers", resource)
        when { action in [Chancery::Action::"CreateCaller", Chancery::Action::"UpdateCaller"] &&
               context.roles.contains(Chancery::Role::"key-administrator") };
        @id("no-ledger")
        forbid (principal, action == Chancery::Action::"CreateCaller", resource)
        when { context.groups.contains(Chancery::Group::"ledger") ||
               context.rings.contains(Chancery::KeyRing::"ledger") };
        @id("leave-ledger-alone")
        forbid (principal, action == Chancery::Action::"SuspendCaller", resource in Chancery::Group::"ledger");"#,
    );
    let point = point(&set, &[&admin]);
    let register = |action, operation| {
        let mut request = request(action, resource_for(action, "payments", "dev"));
        request.context.operation = operation;
        assert_eq!(
            point.explain(&admin, &request).allowed,
            matches!(point.authorize(&admin, &request), chancery_policy::Decision::Allowed(_))
        );
        point.explain(&admin, &request).determining.iter().map(|policy| policy.id.clone()).collect::<Vec<_>>()
    };
    let with = |roles: &[Role]| registration("dev", roles);
    assert_eq!(register(Action::CreateCaller, with(&[Role::Signer])), ["caller-administrator-registers"]);
    assert_eq!(register(Action::UpdateCaller, with(&[])), ["caller-administrator"]);
    for action in [Action::CreateCaller, Action::UpdateCaller] {
        assert_eq!(register(action, with(&[Role::KeyAdministrator])), ["no-key-administrators"]);
    }
    let OperationContext::Registration { environment, roles, rings, .. } = with(&[]) else { unreachable!() };
    let ledger = OperationContext::Registration { environment, groups: ids(&["ledger"]), roles, rings };
    assert_eq!(register(Action::CreateCaller, ledger), ["no-ledger"]);
    assert_eq!(register(Action::SuspendCaller, OperationContext::Plain), ["leave-ledger-alone"]);
}

#[test]
fn other_callers_are_decided_by_what_they_are_now() {
    let (shop, desk) = (caller("shop", &[Role::Signer]), caller("desk", &[]));
    let before = point(&PolicySet::shipped(), &[&shop, &desk]);
    let promoted = caller("desk", &[Role::Signer]);
    let after = before.with_callers(&[Arc::clone(&shop), Arc::clone(&promoted)]).unwrap();
    assert_eq!(after.policy_set().hash(), before.policy_set().hash());
    denied(before.authorize(&desk, &sign("payments/jwt")));
    allowed(after.authorize(&promoted, &sign("payments/jwt")));
    allowed(after.authorize(&shop, &sign("payments/jwt")));
}

#[test]
fn a_changed_key_is_decided_by_what_it_is_now() {
    let caller = caller("shop", &[]);
    let set = only(
        r#"@id("gold") permit (principal, action, resource is Chancery::Key)
        when { resource.hasTag("tier") && resource.getTag("tier") == "gold" };"#,
    );
    let point = point(&set, &[&caller]);
    let mut facts = key_facts("payments/jwt", "dev");
    allowed(point.authorize(&caller, &request(Action::Verify, Resource::Key(facts.clone()))));
    facts.labels = Arc::new(BTreeMap::from([("tier".to_owned(), "lead".to_owned())]));
    denied(point.authorize(&caller, &request(Action::Verify, Resource::Key(facts.clone()))));
    facts.labels = key_facts("payments/jwt", "dev").labels;
    allowed(point.authorize(&caller, &request(Action::Verify, Resource::Key(facts))));
}

#[test]
fn a_caller_is_decided_by_what_it_is_not_by_what_one_of_its_id_was() {
    let signer = caller("shop", &[Role::Signer]);
    let point = point(&PolicySet::shipped(), &[&signer]);
    let demoted = caller("shop", &[Role::Verifier]);
    let stranger = caller("stranger", &[Role::Signer]);
    allowed(point.authorize(&signer, &sign("payments/jwt")));
    denied(point.authorize(&demoted, &sign("payments/jwt")));
    allowed(point.authorize(&stranger, &sign("payments/jwt")));
    allowed(point.authorize(&Arc::new((*signer).clone()), &sign("payments/jwt")));
}

#[test]
fn two_callers_with_one_id_are_refused() {
    let callers = [caller("shop", &[Role::Signer]), caller("shop", &[])];
    let errors = PolicyPoint::new(PolicySet::shipped(), &callers).unwrap_err();
    assert_eq!(errors.to_string(), "the policy set is refused: two callers have the id shop");
}

#[test]
fn a_permit_and_a_denial_say_what_policy_saw() {
    let caller = caller_in("dev", "shop", &["till"], &[Role::Signer], &["payments"]);
    let set = PolicySet::shipped();
    let point = point(&set, &[&caller]);
    let seen = |name: &str, ring: &str| {
        json!({
            "principal": {
                "type": "Caller", "id": "shop", "environment": "dev",
                "groups": ["till"], "roles": ["signer"], "rings": ["payments"], "attributes": { "team": "till" },
            },
            "resource": {
                "type": "Key", "id": name, "ring": ring, "environment": "dev",
                "algorithm": "ECDSA_P256_SHA256", "allowDigest": false, "labels": { "tier": "gold" },
                "extractable": false,
            },
            "context": {
                "authentication": "certificate", "now": "2025-11-25T12:00:00.000Z", "sourceAddress": "10.1.2.3",
                "input": "digest", "inputBytes": i64::MAX, "batchSize": 3, "version": 7,
            },
        })
    };
    let mut request = sign("payments/jwt");
    request.context.operation =
        OperationContext::Sign { input: SignInputKind::Digest, input_bytes: u64::MAX, batch_size: 3, version: 7 };
    let permit = allowed(point.authorize(&caller, &request));
    assert_eq!(permit.attributes(), seen("jwt", "payments"));
    assert_eq!(permit.action(), Action::Sign);
    assert_eq!(permit.resource(), &request.resource);
    assert_eq!(permit.resource().to_string(), "keyRings/payments/keys/jwt");
    assert_eq!(permit.context(), &request.context);
    assert_eq!(permit.caller(), &caller);
    assert_eq!(permit.policy_set(), set.hash());
    assert_eq!(names(permit.policies()), ["signer"]);
    request.resource = key("other/jwt", "dev");
    let denial = denied(point.authorize(&caller, &request));
    assert_eq!(denial.attributes, seen("jwt", "other"));
    assert_eq!(denial.policy_set, set.hash());
}

/// A set that was valid under the schema before SignJwt: `batchSize` is an attribute of Sign alone.
#[test]
fn a_set_in_force_is_kept_where_the_schema_has_grown_and_denies_what_it_cannot_decide() {
    let small = r#"@id("small") forbid (principal, action in Chancery::Action::"signing", resource)
                   when { context.batchSize > 100 };"#;
    let documents = vec![document("extra.cedar", &format!("{EVERYTHING} {small}"))];
    assert!(PolicySet::parse(documents.clone()).is_err(), "nobody could apply it now");
    let set = PolicySet::parse_in_force(documents).unwrap();
    assert!(set.warnings().iter().any(|warning| warning.contains("SignJwt")), "{:?}", set.warnings());
    let caller = caller("shop", &[]);
    let point = point(&set, &[&caller]);
    allowed(point.authorize(&caller, &sign("payments/jwt")));
    for action in [Action::SignJwt, Action::MacSign] {
        let denial = denied(point.authorize(&caller, &request(action, key("payments/jwt", "dev"))));
        assert_eq!(denial.reason, DenialReason::EvaluationError, "{action}");
    }
    let malformed = vec![document("extra.cedar", "permit (principal, action, resource)")];
    assert!(PolicySet::parse_in_force(malformed).is_err());
}
