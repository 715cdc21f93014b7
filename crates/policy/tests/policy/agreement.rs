//! The prepared way and the full evaluation decide alike: decision, reason, determining policies and failures.

use crate::cases::*;
use chancery_model::{Action, Caller, Role, Timestamp};
use chancery_policy::{Decision, OperationContext, PolicyPoint, PolicySet, Resource, SignInputKind};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeMap;
use std::sync::Arc;

const GROUPS: [&str; 2] = ["till", "ledger"];
const RINGS: [&str; 3] = ["payments", "pay", "other"];
const KEYS: [&str; 4] = ["payments/jwt", "payments/rsa", "pay/jwt", "other/jwt"];
const ENVIRONMENTS: [&str; 2] = ["dev", "prod"];

/// Conditions that are well-typed for every request, true or false or failing depending on it.
pub const CONDITIONS: [&str; 15] = [
    "true",
    r#"principal.environment == "dev""#,
    "principal.rings.isEmpty()",
    r#"resource is Chancery::Key && resource in principal.rings"#,
    r#"resource is Chancery::Key && resource.hasTag("tier") && resource.getTag("tier") == "gold""#,
    r#"resource is Chancery::KeyRing && principal.rings.contains(resource)"#,
    r#"resource is Chancery::Caller && resource == principal"#,
    r#"resource is Chancery::Caller && resource in Chancery::Group::"ledger""#,
    r#"principal.hasTag("team") && principal.getTag("team") == "till""#,
    r#"action in Chancery::Action::"signing""#,
    r#"action in [Chancery::Action::"Verify", Chancery::Action::"auditing"]"#,
    r#"context has sourceAddress && context.sourceAddress.isInRange(ip("10.0.0.0/8"))"#,
    r#"context.now.toTime() < duration("12h")"#,
    // Fails with an overflow where a message is longer than one byte.
    r#"action == Chancery::Action::"Sign" && context.inputBytes * 9223372036854775807 > 0"#,
    // Fails with an overflow late on any day, whatever is asked.
    r#"context.now.toTime().toHours() * 500000000000000000 > 0"#,
];

fn uid(kind: &str, id: &str) -> String {
    format!("Chancery::{kind}::{id:?}")
}

fn principal_scope() -> impl Strategy<Value = String> {
    let role = select(&Role::ALL[..]).prop_map(|role| uid("Role", role.as_str()));
    let group = select(&GROUPS[..]).prop_map(|group| uid("Group", group));
    let caller = select(&["shop", "desk", "nobody"][..]).prop_map(|id| uid("Caller", id));
    let any = prop_oneof![role, group, caller];
    prop_oneof![
        2 => Just("principal".to_owned()),
        3 => any.clone().prop_map(|uid| format!("principal in {uid}")),
        1 => select(&["shop", "desk"][..]).prop_map(|id| format!("principal == {}", uid("Caller", id))),
        1 => Just("principal is Chancery::Caller".to_owned()),
        1 => any.prop_map(|uid| format!("principal is Chancery::Caller in {uid}")),
    ]
}

fn action_scope() -> impl Strategy<Value = String> {
    let action = select(&Action::ALL[..]).prop_map(|action| uid("Action", action.as_str()));
    let group = select(&Action::ALL[..]).prop_map(|action| uid("Action", action.group().as_str()));
    let either = prop_oneof![action.clone(), group];
    prop_oneof![
        2 => Just("action".to_owned()),
        2 => action.prop_map(|uid| format!("action == {uid}")),
        3 => either.clone().prop_map(|uid| format!("action in {uid}")),
        3 => prop::collection::vec(either, 1..4).prop_map(|uids| format!("action in [{}]", uids.join(", "))),
    ]
}

fn resource_scope() -> impl Strategy<Value = String> {
    let ring = select(&RINGS[..]).prop_map(|ring| uid("KeyRing", ring));
    let key = select(&KEYS[..]).prop_map(|key| uid("Key", key));
    const KINDS: [&str; 8] = ["KeyRing", "Key", "PolicySet", "AuditLog", "Token", "Tokens", "Caller", "Callers"];
    let single = prop_oneof![
        Just(uid("PolicySet", "current")),
        Just(uid("AuditLog", "log")),
        Just(uid("Tokens", "all")),
        Just(uid("Token", "soft-1")),
        Just(uid("Callers", "all")),
        Just(uid("Caller", "till")),
        Just(uid("Group", "ledger")),
    ];
    let any = prop_oneof![3 => ring.clone(), 3 => key, 1 => single];
    prop_oneof![
        3 => Just("resource".to_owned()),
        2 => any.clone().prop_map(|uid| format!("resource == {uid}")),
        3 => any.prop_map(|uid| format!("resource in {uid}")),
        2 => select(&KINDS[..]).prop_map(|kind| format!("resource is Chancery::{kind}")),
        1 => ring.prop_map(|uid| format!("resource is Chancery::Key in {uid}")),
    ]
}

fn policy(conditions: &'static [&'static str]) -> impl Strategy<Value = String> {
    let effect = prop_oneof![3 => Just("permit"), 1 => Just("forbid")];
    let clause = (any::<bool>(), select(conditions))
        .prop_map(|(when, condition)| format!("{} {{ {condition} }}", if when { "when" } else { "unless" }));
    let clauses = prop::collection::vec(clause, 0..3);
    (effect, principal_scope(), action_scope(), resource_scope(), clauses).prop_map(
        |(effect, principal, action, resource, clauses)| {
            format!("{effect} ({principal}, {action}, {resource})\n{};", clauses.join("\n"))
        },
    )
}

/// Random sets of policies with these conditions.
pub fn policy_set(conditions: &'static [&'static str]) -> impl Strategy<Value = PolicySet> {
    prop::collection::vec(policy(conditions), 0..14).prop_map(|policies| {
        let text: String =
            policies.iter().enumerate().map(|(n, policy)| format!("@id(\"p{n}\")\n{policy}\n")).collect();
        PolicySet::parse(vec![document("random.cedar", &text)]).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    })
}

pub fn some_caller(name: &'static str) -> impl Strategy<Value = Arc<Caller>> {
    let sets = (subsequence(&GROUPS[..], 0..=2), subsequence(&Role::ALL[..], 0..=3), subsequence(&RINGS[..], 0..=3));
    (select(&ENVIRONMENTS[..]), sets)
        .prop_map(move |(environment, (groups, roles, rings))| caller_in(environment, name, &groups, &roles, &rings))
}

pub fn resource() -> impl Strategy<Value = Resource> {
    let environment = select(&ENVIRONMENTS[..]);
    let labels = prop_oneof![Just(None), Just(Some("gold")), Just(Some("lead"))];
    let key = (select(&KEYS[..]), environment.clone(), any::<bool>(), labels).prop_map(|(name, env, digest, tier)| {
        let mut facts = key_facts(name, env);
        facts.allow_digest = digest;
        facts.labels =
            Arc::new(tier.map(|t| ("tier".to_owned(), t.to_owned())).into_iter().collect::<BTreeMap<_, _>>());
        Resource::Key(facts)
    });
    prop_oneof![
        6 => key,
        3 => (select(&RINGS[..]), environment).prop_map(|(name, environment)| ring(name, environment)),
        1 => Just(Resource::PolicySet),
        1 => Just(Resource::AuditLog),
        1 => Just(Resource::Tokens),
        1 => select(&["soft-1", "soft-2"][..]).prop_map(|token| Resource::Token(id(token))),
        1 => Just(Resource::Callers),
        // Others, and whoever asks.
        1 => select(&["till", "desk"][..]).prop_flat_map(some_caller).prop_map(Resource::Caller),
    ]
}

/// Mostly requests that make sense; one in eight pairs any action with any resource.
pub fn any_request() -> impl Strategy<Value = chancery_policy::AccessRequest> {
    let source = prop_oneof![Just(None), Just(Some("10.1.2.3")), Just(Some("192.0.2.9")), Just(Some("::1"))];
    let sensible =
        (select(&Action::ALL[..]), resource(), prop::bool::weighted(0.875)).prop_map(|(action, resource, sensible)| {
            let fitting = match &resource {
                Resource::Key(facts) => resource_for(action, facts.name.ring.as_str(), facts.environment.as_str()),
                Resource::KeyRing(facts) => resource_for(action, facts.ring.as_str(), facts.environment.as_str()),
                _ => resource_for(action, "payments", "dev"),
            };
            // Keep the random key where it fits: its name, labels and flags are the point.
            let same_kind = std::mem::discriminant(&fitting) == std::mem::discriminant(&resource);
            request(action, if sensible && !same_kind { fitting } else { resource })
        });
    (sensible, source, 0..24i64, 0..3u64, prop::bool::weighted(0.95)).prop_map(
        |(mut request, source, hour, bytes, own_operation)| {
            request.context.source = source.map(|text| text.parse().unwrap());
            request.context.now = Timestamp::from_unix_micros((1_764_028_800 + hour * 3600) * 1_000_000);
            if let OperationContext::Sign { input, input_bytes, .. } = &mut request.context.operation {
                *input = if hour % 2 == 0 { SignInputKind::Message } else { SignInputKind::Digest };
                *input_bytes = bytes;
            }
            if !own_operation {
                request.context.operation = OperationContext::Plain;
            }
            request
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn prepared_and_full_evaluation_agree(
        set in policy_set(&CONDITIONS),
        shop in some_caller("shop"),
        desk in some_caller("desk"),
        // Not registered at the point, or registered otherwise.
        stranger in some_caller("stranger"),
        other_shop in some_caller("shop"),
        requests in prop::collection::vec(any_request(), 1..24),
    ) {
        let point = PolicyPoint::new(set, &[Arc::clone(&shop), Arc::clone(&desk)]).unwrap();
        for request in &requests {
            for caller in [&shop, &desk, &stranger, &other_shop] {
                let explanation = point.explain(caller, request);
                let determining: Vec<&str> = explanation.determining.iter().map(|policy| policy.id.as_str()).collect();
                let (denial, mut policies, failures) = match point.authorize(caller, request) {
                    Decision::Allowed(permit) => (None, permit.policies().to_vec(), Vec::new()),
                    Decision::Denied(denied) => (Some(denied.reason), denied.policies, denied.failures),
                };
                prop_assert_eq!(denial, explanation.denial);
                prop_assert_eq!(explanation.allowed, denial.is_none());
                prop_assert_eq!(&failures, &explanation.failures);
                let order = |id: &str| point.policy_set().policies().iter().position(|policy| policy.id == id);
                policies.sort_by_key(|id| order(id));
                prop_assert_eq!(names(&policies), determining);
            }
        }
    }
}
