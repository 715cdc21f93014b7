//! Reviews of access say nothing that a decision contradicts.

use crate::agreement::{CONDITIONS, any_request, policy_set, some_caller};
use crate::cases::*;
use chancery_model::{Action, Caller, Role, Timestamp};
use chancery_policy::{
    Access, AccessRequest, Decision, OperationContext, PolicyPoint, PolicySet, Review, SignInputKind,
};
use proptest::prelude::*;
use std::net::IpAddr;
use std::sync::Arc;

/// Conditions that mix what is known of a call beforehand with its circumstances, in all ways that Cedar has.
const MIXED: [&str; 22] = [
    "true",
    "false",
    r#"principal.environment == "dev""#,
    r#"resource is Chancery::Key && resource.hasTag("tier") && resource.getTag("tier") == "gold""#,
    r#"context.authentication == "certificate""#,
    "context has sourceAddress",
    r#"context has sourceAddress && context.sourceAddress.isInRange(ip("10.0.0.0/8"))"#,
    r#"if context has sourceAddress then context.sourceAddress.isLoopback() else true"#,
    r#"context.now.toTime() < duration("12h") || principal.environment == "prod""#,
    r#"context.now.toTime() >= duration("12h") && principal.rings.isEmpty()"#,
    r#"principal.rings.isEmpty() || context.now.toTime() >= duration("6h")"#,
    r#"if principal.rings.isEmpty() then context has sourceAddress else true"#,
    r#"if context has sourceAddress then principal.environment == "dev" else false"#,
    r#"if context has sourceAddress then true else principal.environment == "dev""#,
    r#"!(context.now.toTime() < duration("12h")) && !(principal.environment == "prod")"#,
    r#"(context has sourceAddress) == (principal.environment == "dev")"#,
    r#"[context.authentication, principal.environment].contains("dev")"#,
    r#"action == Chancery::Action::"Sign" && context.input == "message""#,
    r#"action == Chancery::Action::"Sign" && context.inputBytes < 2"#,
    // Fails with an overflow where a message is longer than one byte.
    r#"action == Chancery::Action::"Sign" && context.inputBytes * 9223372036854775807 > 0"#,
    // Fails with an overflow late on any day, whatever is asked.
    r#"context.now.toTime().toHours() * 500000000000000000 > 0"#,
    // Fails always, but is reached only where the left part is false.
    r#"principal.environment == "dev" || 9223372036854775807 + 1 > 0"#,
];

/// Some dozens of circumstances for an action: addresses, times of the day, and what only such a call has.
fn circumstances(request: &AccessRequest) -> Vec<AccessRequest> {
    let sources = [None, Some("10.1.2.3"), Some("192.0.2.9"), Some("::1")];
    let sources = sources.map(|text| text.map(|text| text.parse::<IpAddr>().unwrap()));
    let mut all = Vec::new();
    // Only Sign has a size that these conditions ask for.
    let sizes = if request.action == Action::Sign { 3 } else { 1 };
    for source in sources {
        for hour in [0, 7, 12, 19] {
            for size in 0..sizes {
                let mut request = request.clone();
                request.context.source = source;
                request.context.now = Timestamp::from_unix_micros((1_764_028_800 + hour * 3600) * 1_000_000);
                request.context.operation = operation_for(request.action);
                if let OperationContext::Sign { input, input_bytes, .. } = &mut request.context.operation {
                    *input = if size == 1 { SignInputKind::Message } else { SignInputKind::Digest };
                    *input_bytes = size;
                }
                all.push(request);
            }
        }
    }
    all
}

/// What is decided under each of the circumstances.
fn decisions(point: &PolicyPoint, caller: &Arc<Caller>, request: &AccessRequest) -> Vec<bool> {
    let decide = |request: AccessRequest| matches!(point.authorize(caller, &request), Decision::Allowed(_));
    circumstances(request).into_iter().map(decide).collect()
}

fn contradiction(review: &Review, decided: &[bool]) -> Option<&'static str> {
    match review.access {
        Access::Allowed if decided.contains(&false) => Some("reviewed as allowed, and denied"),
        Access::Denied if decided.contains(&true) => Some("reviewed as denied, and allowed"),
        Access::Allowed | Access::Denied | Access::Conditional => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_circumstances_contradict_a_review(
        set in policy_set(&MIXED),
        shop in some_caller("shop"),
        stranger in some_caller("stranger"),
        requests in prop::collection::vec(any_request(), 1..8),
    ) {
        let point = PolicyPoint::new(set, &[Arc::clone(&shop)]).unwrap();
        for request in &requests {
            for caller in [&shop, &stranger] {
                let review = point.review(caller, request.action, &request.resource);
                let decided = decisions(&point, caller, request);
                prop_assert_eq!(contradiction(&review, &decided), None, "{:?} {:?}", review, request);
                // What is conditional says on what.
                let conditions = !review.conditions.is_empty();
                prop_assert_eq!(conditions, review.access == Access::Conditional, "{:?}", review);
                for condition in &review.conditions {
                    prop_assert!(!condition.parts.is_empty(), "{:?}", review);
                }
            }
        }
    }

    /// Where no policy asks for circumstances, a review knows the decision, and its reasons are those of the decision.
    #[test]
    fn without_questions_about_circumstances_a_review_is_the_decision(
        set in policy_set(CONDITIONS.first_chunk::<8>().unwrap()),
        shop in some_caller("shop"),
        requests in prop::collection::vec(any_request(), 1..16),
    ) {
        let point = PolicyPoint::new(set, &[Arc::clone(&shop)]).unwrap();
        for mut request in requests {
            request.context.operation = operation_for(request.action);
            let review = point.review(&shop, request.action, &request.resource);
            let (access, mut policies) = match point.authorize(&shop, &request) {
                Decision::Allowed(permit) => (Access::Allowed, permit.policies().to_vec()),
                Decision::Denied(denied) => (Access::Denied, denied.policies),
            };
            let mut reviewed = review.policies;
            policies.sort();
            reviewed.sort();
            prop_assert_eq!((review.access, reviewed), (access, policies), "{:?}", request);
        }
    }
}

#[test]
fn a_condition_on_circumstances_is_named_and_what_is_known_is_left_out() {
    let set = roles_and(
        r#"
        @id("settlement-at-night")
        permit (principal in Chancery::Group::"settlement", action == Chancery::Action::"Sign", resource)
        when { resource in principal.rings && context.now.toTime() >= duration("22h") };

        @id("no-blind-seals")
        forbid (principal, action == Chancery::Action::"Sign", resource)
        when { resource.hasTag("tier") && resource.getTag("tier") == "gold" }
        unless { context.input == "message" };
        "#,
    );
    let job = caller_in("dev", "job", &["settlement"], &[], &["payments"]);
    let shop = caller("shop", &[Role::Signer]);
    let point = point(&set, &[&job, &shop]);
    let gold = key("payments/jwt", "dev");
    let parts = |review: &Review| -> Vec<(String, Vec<String>)> {
        review.conditions.iter().map(|open| (open.policy.id.clone(), open.parts.clone())).collect()
    };

    let review = point.review(&job, Action::Sign, &gold);
    assert_eq!((review.access, review.policies.as_slice()), (Access::Conditional, &[][..]));
    let expected = [
        ("settlement-at-night", r#"when { context.now.toTime() >= duration("22h") }"#),
        ("no-blind-seals", r#"unless { context.input == "message" }"#),
    ];
    let expected = expected.map(|(id, part)| (id.to_owned(), vec![part.to_owned()]));
    assert_eq!(parts(&review), expected);

    // The signer's permit is sure; only the forbid depends.
    let review = point.review(&shop, Action::Sign, &gold);
    assert_eq!((review.access, names(&review.policies)), (Access::Conditional, vec!["signer"]));
    assert_eq!(parts(&review), expected[1..]);

    // A key that is not of the tier is no matter of the forbid, and in another ring there is no permit.
    let mut plain = key_facts("payments/plain", "dev");
    plain.labels = Arc::default();
    let review = point.review(&shop, Action::Sign, &chancery_policy::Resource::Key(plain));
    assert_eq!((review.access, names(&review.policies)), (Access::Allowed, vec!["signer"]));
    let review = point.review(&job, Action::Sign, &key("other/jwt", "dev"));
    assert_eq!((review.access, review.conditions.as_slice()), (Access::Denied, &[][..]));
}

#[test]
fn what_is_always_in_force_shows_as_the_reason_of_a_denial() {
    let both = caller("both", &[Role::Signer, Role::KeyAdministrator]);
    let point = point(&PolicySet::shipped(), &[&both]);
    let review = point.review(&both, Action::Sign, &key("payments/jwt", "dev"));
    assert_eq!(
        (review.access, names(&review.policies)),
        (Access::Denied, vec!["builtin-key-administrators-never-sign"])
    );
}

#[test]
fn an_action_that_is_never_asked_of_such_a_resource_is_denied() {
    let auditor = caller("auditor", &[Role::Auditor]);
    let point = point(&PolicySet::shipped(), &[&auditor]);
    assert_eq!(point.review(&auditor, Action::ListRecords, &ring("payments", "dev")).access, Access::Denied);
}

/// A set from before an action joined its group: what asks for an attribute that the action has not may fail.
#[test]
fn a_policy_that_the_schema_no_longer_allows_is_never_taken_for_sure() {
    let text = r#"@id("small-batches") permit (principal, action in Chancery::Action::"signing", resource)
                  unless { context.batchSize > 10 };"#;
    let documents = vec![document("old.cedar", text)];
    assert!(PolicySet::parse(documents.clone()).is_err());
    let set = PolicySet::parse_in_force(documents).unwrap();
    let shop = caller("shop", &[]);
    let point = point(&set, &[&shop]);
    for action in [Action::Sign, Action::SignJwt] {
        let review = point.review(&shop, action, &key("payments/jwt", "dev"));
        assert_eq!((review.access, review.conditions[0].can_fail), (Access::Conditional, true), "{action}");
    }
}
