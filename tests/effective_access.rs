//! Who can do what, asked of the service: never more or less sure than the decisions themselves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::BTreeSet;

use chancery_api::v1::{self, Algorithm};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{Fixture, assert_field, assert_refused, create, new_key, sign};
use tonic::Code;
use v1::effective_access::Access;

static CHANCERY: Fixture = Fixture::new(setup);

/// By place, by time and by what is signed; and what no circumstances change.
const OWN: &str = r#"
@id("jobs-sign-in-the-morning")
permit (principal in Chancery::Group::"jobs", action == Chancery::Action::"Sign", resource in Chancery::KeyRing::"dev")
when { context.now.toTime() < duration("12h") };

@id("no-administration-from-outside")
@description("Keys are administered from the office.")
forbid (principal, action in Chancery::Action::"administering-keys", resource)
unless { context has sourceAddress && context.sourceAddress.isInRange(ip("10.0.0.0/8")) };

@id("seals-are-no-blind-signatures")
forbid (principal, action == Chancery::Action::"Sign", resource)
when { resource.hasTag("use") && resource.getTag("use") == "seal" }
unless { context.input == "message" };

@id("locked-keys")
forbid (principal, action, resource is Chancery::Key)
when { resource.hasTag("locked") };
"#;

fn setup() -> Setup {
    callers().policy("own.cedar", OWN)
}

fn callers() -> Setup {
    Chancery::setup()
        .ring("vault", "dev")
        .ring("live", "prod")
        .with(CallerSetup::new("job").group("jobs").ring("dev"))
        .with(CallerSetup::new("keeper").role("key-administrator").ring("dev"))
        .with(CallerSetup::new("auditor").role("auditor"))
        .with(CallerSetup::new("live-signer").environment("prod").role("signer").ring("live").ring("dev"))
        .with(CallerSetup::new("nobody"))
}

fn about(resource: &str) -> v1::ListEffectiveAccessRequest {
    v1::ListEffectiveAccessRequest { resource: resource.to_owned(), ..v1::ListEffectiveAccessRequest::default() }
}

/// All rows of a review, in pages of this size.
async fn review(client: &Client, mut request: v1::ListEffectiveAccessRequest, size: i32) -> Vec<v1::EffectiveAccess> {
    request.page_size = size;
    let mut rows = Vec::new();
    loop {
        let answer = client.policy().list_effective_access(request.clone()).await.unwrap().into_inner();
        assert!(answer.access.len() <= usize::try_from(size).unwrap());
        assert_eq!(answer.policy_set_sha256.len(), 32);
        rows.extend(answer.access);
        if answer.next_page_token.is_empty() {
            return rows;
        }
        request.page_token = answer.next_page_token;
    }
}

/// Of one call.
async fn access(client: &Client, caller: &str, action: &str, resource: &str) -> v1::EffectiveAccess {
    let request = v1::ListEffectiveAccessRequest {
        caller: format!("callers/{caller}"),
        action: action.to_owned(),
        include_denied: true,
        ..about(resource)
    };
    let mut rows = review(client, request, 10).await;
    rows.retain(|row| row.resource == resource);
    assert_eq!(rows.len(), 1, "{caller} {action} {resource}: {rows:?}");
    rows.remove(0)
}

async fn labelled(client: &Client, id: &str, label: (&str, &str)) {
    let mut request = new_key("keyRings/dev", id, Algorithm::EcdsaP256Sha256);
    let key = request.key.as_mut().unwrap();
    key.labels.insert(label.0.to_owned(), label.1.to_owned());
    let _key = create(client, request).await;
}

/// Office hours are over in the evening, and the office is not everywhere: what a review says holds there, too.
#[tokio::test]
async fn no_decision_contradicts_the_review() {
    let chancery = callers().start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    for (id, label) in [("plain", ("team", "a")), ("seal", ("use", "seal")), ("locked", ("locked", "yes"))] {
        labelled(&operator, id, label).await;
    }
    // Only now, since nobody administers from outside of the office, where the tests are.
    let set = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    let own = v1::PolicyDocument { name: "own.cedar".to_owned(), text: OWN.to_owned() };
    let documents = set.documents.into_iter().chain([own]).collect();
    let request = v1::ApplyPolicySetRequest { documents, etag: set.etag };
    operator.policy().apply_policy_set(request).await.unwrap();
    let everything = v1::ListEffectiveAccessRequest { include_denied: true, ..about("") };
    let rows = review(&operator, everything, 1000).await;
    let callers: BTreeSet<&str> = rows.iter().map(|row| row.caller.as_str()).collect();
    assert_eq!(callers.len(), 7);
    let mut found = BTreeSet::new();
    for row in &rows {
        let mut decided = BTreeSet::new();
        for (address, hour) in [("", 0), ("10.1.2.3", 9), ("192.0.2.1", 9), ("10.1.2.3", 20)] {
            let inputs = if row.action == "Sign" { &[false, true][..] } else { &[false] };
            for digest in inputs.iter().copied() {
                let whole = ["tokens", "policySet", "auditLog", "callers"].contains(&row.resource.as_str());
                let request = v1::ExplainAuthorizationRequest {
                    caller: row.caller.clone(),
                    action: row.action.clone(),
                    resource: if whole { String::new() } else { row.resource.clone() },
                    algorithm: Algorithm::Ed25519.into(),
                    digest,
                    source_address: address.to_owned(),
                    time: Some(prost_types::Timestamp { seconds: hour * 3600, nanos: 0 }),
                    ..v1::ExplainAuthorizationRequest::default()
                };
                let explained = operator.policy().explain_authorization(request).await.unwrap().into_inner();
                decided.insert(explained.allowed);
            }
        }
        let access = row.access();
        found.insert(access.as_str_name());
        match access {
            Access::Allowed => assert_eq!(decided, BTreeSet::from([true]), "{row:?}"),
            Access::Denied => assert_eq!(decided, BTreeSet::from([false]), "{row:?}"),
            // What would be registered is the same in all of these questions.
            Access::Conditional if ["CreateCaller", "UpdateCaller"].contains(&row.action.as_str()) => {}
            // In this set each other condition is one that these circumstances tell apart.
            Access::Conditional => assert_eq!(decided.len(), 2, "{row:?}"),
            Access::Unspecified => panic!("{row:?}"),
        }
        assert_eq!(row.conditions.is_empty(), access != Access::Conditional, "{row:?}");
    }
    assert_eq!(found.len(), 3, "all kinds of access occur: {found:?}");
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn a_review_says_by_which_policies_and_under_which_conditions() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let ring = "keyRings/dev";
    let row = access(&operator, "keeper", "CreateKey", ring).await;
    assert_eq!((row.access(), row.policies.as_slice()), (Access::Conditional, &["key-administrator".to_owned()][..]));
    let condition = &row.conditions[0];
    assert_eq!((condition.policy_id.as_str(), condition.effect.as_str()), ("no-administration-from-outside", "forbid"));
    assert_eq!((condition.document.as_str(), condition.can_fail), ("own.cedar", false));
    assert_eq!(condition.description, "Keys are administered from the office.");
    let part = r#"unless { (context has sourceAddress) && context.sourceAddress.isInRange(ip("10.0.0.0/8")) }"#;
    assert_eq!(condition.parts, [part]);

    let row = access(&operator, "auditor", "ListRecords", "auditLog").await;
    assert_eq!((row.access(), row.policies.as_slice()), (Access::Allowed, &["auditor".to_owned()][..]));
    let row = access(&operator, "live-signer", "ListKeys", ring).await;
    let builtin = "builtin-key-rings-stay-in-their-environment".to_owned();
    assert_eq!((row.access(), row.policies), (Access::Denied, vec![builtin]));
    let row = access(&operator, "nobody", "ListKeys", ring).await;
    assert_eq!((row.access(), row.policies), (Access::Denied, vec![]), "no policy permits it");
}

#[tokio::test]
async fn pages_of_any_size_make_the_same_review() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let all = v1::ListEffectiveAccessRequest { include_denied: true, ..about("") };
    let whole = review(&operator, all.clone(), 1000).await;
    assert!(whole.len() > 100, "{}", whole.len());
    assert_eq!(review(&operator, all.clone(), 7).await, whole);
    let possible: Vec<_> = whole.iter().filter(|row| row.access() != Access::Denied).cloned().collect();
    assert_eq!(review(&operator, about(""), 1).await, possible);
    let places: Vec<_> = whole.iter().map(|row| (&row.caller, &row.resource)).collect();
    assert!(places.is_sorted(), "by caller, then resource");

    // Each field narrows it.
    let caller = v1::ListEffectiveAccessRequest { caller: "callers/auditor".to_owned(), ..all.clone() };
    let of_auditor: Vec<_> = whole.iter().filter(|row| row.caller == "callers/auditor").cloned().collect();
    assert_eq!(review(&operator, caller, 50).await, of_auditor);
    let action = v1::ListEffectiveAccessRequest { action: "GetToken".to_owned(), ..all.clone() };
    let of_action: Vec<_> = whole.iter().filter(|row| row.action == "GetToken").cloned().collect();
    assert_eq!(review(&operator, action, 50).await, of_action);
    let of_tokens =
        review(&operator, v1::ListEffectiveAccessRequest { include_denied: true, ..about("tokens") }, 50).await;
    assert!(!of_tokens.is_empty() && of_tokens.iter().all(|row| row.resource == "tokens"));

    // A token of another question is none.
    let first = v1::ListEffectiveAccessRequest { page_size: 1, ..all };
    let page = operator.policy().list_effective_access(first.clone()).await.unwrap().into_inner();
    let other = v1::ListEffectiveAccessRequest { page_token: page.next_page_token, include_denied: false, ..first };
    assert_field(operator.policy().list_effective_access(other).await, "page_token");
}

#[tokio::test]
async fn what_is_reviewed_as_allowed_is_done_and_what_as_denied_is_refused() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key("keyRings/dev", "k", Algorithm::Ed25519)).await.name;
    assert_eq!(access(&operator, "caller", "Sign", &key).await.access(), Access::Allowed);
    chancery.caller().await.unwrap().signing().sign(sign(&key, b"m")).await.unwrap();
    assert_eq!(access(&operator, "operator", "Sign", &key).await.access(), Access::Denied);
    assert_refused(operator.signing().sign(sign(&key, b"m")).await, Code::PermissionDenied, "ACCESS_DENIED");

    // A key is asked only what it is for, and a ring holds its keys.
    let of_ring = review(&operator, about("keyRings/dev"), 100).await;
    let signing: BTreeSet<&str> =
        of_ring.iter().filter(|row| row.resource == key).map(|row| row.action.as_str()).collect();
    assert!(signing.contains("SignJwt") && !signing.contains("MacSign"), "{signing:?}");
    assert!(of_ring.iter().any(|row| row.resource == "keyRings/dev"));
}

#[tokio::test]
async fn a_proposed_set_is_reviewed_and_not_applied() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let before = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    let text = r#"@id("nobody-reads") permit (principal == Chancery::Caller::"nobody", action, resource is Chancery::AuditLog);"#;
    let document = |text: &str| v1::PolicyDocument { name: "proposed.cedar".to_owned(), text: text.to_owned() };
    let proposed = v1::ListEffectiveAccessRequest { documents: vec![document(text)], ..about("") };
    let answer = operator.policy().list_effective_access(proposed).await.unwrap().into_inner();
    let rows: Vec<_> = answer.access.iter().map(|row| (row.caller.as_str(), row.action.as_str())).collect();
    let auditing = ["ListRecords", "WatchRecords", "GetCheckpoint", "GetInclusionProof", "GetConsistencyProof"];
    assert_eq!(rows, auditing.map(|action| ("callers/nobody", action)));
    assert_ne!(answer.policy_set_sha256, before.sha256);
    assert_eq!(operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner(), before);

    let broken = v1::ListEffectiveAccessRequest { documents: vec![document("permit")], ..about("") };
    let refused = operator.policy().list_effective_access(broken).await;
    assert_refused(refused, Code::InvalidArgument, "POLICY_SET_INVALID");
}

#[tokio::test]
async fn what_there_is_not_is_not_reviewed() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    for unknown in ["keyRings/nothing", "keyRings/dev/keys/nothing", "tokens/nothing"] {
        let refused = operator.policy().list_effective_access(about(unknown)).await;
        assert_eq!(refused.unwrap_err().code(), Code::NotFound, "{unknown}");
    }
    let nobody = v1::ListEffectiveAccessRequest { caller: "callers/who".to_owned(), ..about("") };
    assert_eq!(operator.policy().list_effective_access(nobody).await.unwrap_err().code(), Code::NotFound);
    for (field, request) in [
        ("resource", about("keyRings/dev/keys/k/versions/1")),
        ("caller", v1::ListEffectiveAccessRequest { caller: "who".to_owned(), ..about("") }),
        ("action", v1::ListEffectiveAccessRequest { action: "Fly".to_owned(), ..about("") }),
        ("page_size", v1::ListEffectiveAccessRequest { page_size: 1001, ..about("") }),
        ("page_token", v1::ListEffectiveAccessRequest { page_token: "00".to_owned(), ..about("") }),
    ] {
        assert_field(operator.policy().list_effective_access(request).await, field);
    }
    // Who may not, learns nothing of what there is.
    let caller = chancery.caller().await.unwrap();
    for resource in ["", "keyRings/dev", "keyRings/nothing"] {
        let refused = caller.policy().list_effective_access(about(resource)).await;
        assert_refused(refused, Code::PermissionDenied, "ACCESS_DENIED");
    }
}
