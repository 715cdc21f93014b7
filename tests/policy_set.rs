//! The policy set in force: read, tried, replaced, and asked why.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use chancery_api::v1::{self, Algorithm};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{
    Fixture, assert_refused, create, new_digest_key, new_key, refusal, sha256, sign, sign_digest,
};
use tonic::Code;
use v1::policy_finding::Severity;

/// For tests that leave the policy set as it is.
static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";
const OTHER: &str = "keyRings/vault";

/// Keys that carry the label `locked` are nobody's.
const LOCKS: &str = r#"
@id("locked-keys")
forbid (principal, action, resource is Chancery::Key)
when { resource.hasTag("locked") };
"#;

fn setup() -> Setup {
    Chancery::setup()
        .ring("vault", "dev")
        .with(CallerSetup::new("vault-keeper").role("key-administrator").ring("vault"))
        .with(CallerSetup::new("only-verifier").role("verifier").ring("dev"))
        .policy("locks.cedar", LOCKS)
}

async fn explain(client: &Client, caller: &str, action: &str, resource: &str) -> v1::ExplainAuthorizationResponse {
    let request = v1::ExplainAuthorizationRequest {
        caller: format!("callers/{caller}"),
        action: action.to_owned(),
        resource: resource.to_owned(),
        ..v1::ExplainAuthorizationRequest::default()
    };
    client.policy().explain_authorization(request).await.unwrap().into_inner()
}

async fn current(client: &Client) -> v1::PolicySet {
    client.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner()
}

fn with(set: &v1::PolicySet, name: &str, text: &str) -> Vec<v1::PolicyDocument> {
    let more = v1::PolicyDocument { name: name.to_owned(), text: text.to_owned() };
    set.documents.iter().cloned().chain([more]).collect()
}

#[tokio::test]
async fn the_first_policy_set_is_that_of_the_configuration() {
    let chancery = CHANCERY.get().await;
    let set = current(&chancery.operator().await.unwrap()).await;
    let names: Vec<_> = set.documents.iter().map(|document| document.name.as_str()).collect();
    assert_eq!(names, ["roles.cedar", "locks.cedar"]);
    assert_eq!(set.documents[1].text, LOCKS);
    assert_eq!((set.version, set.applied_by.as_str(), set.sha256.len()), (1, "bootstrap", 32));
    assert!(set.apply_time.is_some() && !set.etag.is_empty());
}

#[tokio::test]
async fn a_policy_set_is_tried_without_being_applied() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let before = current(&operator).await;
    let validate = async |documents: Vec<v1::PolicyDocument>| {
        let request = v1::ValidatePolicySetRequest { documents };
        operator.policy().validate_policy_set(request).await.unwrap().into_inner()
    };
    let same = validate(before.documents.clone()).await;
    assert!(same.valid);
    assert_eq!(same.sha256, before.sha256, "the hash is that of the content");
    let other = validate(with(&before, "more.cedar", "// nothing\n")).await;
    assert!(other.valid && other.sha256.len() == 32 && other.sha256 != before.sha256);
    let invalid = validate(with(&before, "more.cedar", "permit")).await;
    assert!(!invalid.valid && invalid.sha256.is_empty());
    assert_eq!(current(&operator).await, before);
}

#[tokio::test]
async fn what_is_wrong_with_a_policy_set_is_located() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let before = current(&operator).await;
    let builtin = r#"@id("builtin-mine") permit (principal, action, resource);"#;
    for (what, text, line, policy) in [
        ("a syntax error", "// one\n// two\npermit (principal, action);\n", 3, ""),
        ("no id", "\npermit (principal, action, resource);\n", 2, ""),
        (
            "an unknown role",
            "\n\n\n@id(\"typo\")\npermit (principal in Chancery::Role::\"singer\", action, resource);\n",
            0,
            "typo",
        ),
        (
            "an unknown attribute",
            "@id(\"typo\")\npermit (principal, action, resource is Chancery::Key)\nwhen { resource.colour == \"red\" };\n",
            0,
            "typo",
        ),
        ("an id that is taken", "@id(\"signer\")\nforbid (principal, action, resource);\n", 0, ""),
        ("an id that is reserved", builtin, 0, ""),
    ] {
        let documents = with(&before, "tried.cedar", text);
        let request = v1::ValidatePolicySetRequest { documents: documents.clone() };
        let answer = operator.policy().validate_policy_set(request).await.unwrap().into_inner();
        assert!(!answer.valid, "{what}");
        let error = v1::PolicyFinding { severity: Severity::Error.into(), ..answer.findings[0].clone() };
        assert_eq!(answer.findings[0], error, "{what} is an error");
        assert_eq!(error.document, "tried.cedar", "{what}: {error:?}");
        assert!(error.line > 0 && error.column > 0 && !error.message.is_empty(), "{what}: {error:?}");
        if line > 0 {
            assert_eq!(error.line, line, "{what}: {error:?}");
        }
        if !policy.is_empty() {
            assert_eq!(error.policy_id, policy, "{what}: {error:?}");
        }
        let apply = v1::ApplyPolicySetRequest { documents, etag: before.etag.clone() };
        let refused = operator.policy().apply_policy_set(apply).await;
        let refusal = assert_refused(refused, Code::InvalidArgument, "POLICY_SET_INVALID");
        assert_eq!(refusal.violations.len(), answer.findings.len(), "{what}");
        assert!(refusal.violations.iter().all(|violation| violation.field == "documents"));
        let place = format!("tried.cedar:{}:{}", error.line, error.column);
        assert!(refusal.violations[0].description.starts_with(&place), "{what}: {refusal}");
    }
    assert_eq!(current(&operator).await, before, "nothing was applied");
}

#[tokio::test]
async fn a_policy_set_that_locks_everybody_out_is_refused() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let before = current(&operator).await;
    let forbid = r#"@id("nobody-applies") forbid (principal, action == Chancery::Action::"ApplyPolicySet", resource);"#;
    for documents in [Vec::new(), with(&before, "more.cedar", forbid), before.documents[1..2].to_vec()] {
        let validate = v1::ValidatePolicySetRequest { documents: documents.clone() };
        let answer = operator.policy().validate_policy_set(validate).await.unwrap().into_inner();
        assert!(!answer.valid && answer.sha256.is_empty(), "ApplyPolicySet would not accept it");
        assert!(answer.findings.iter().any(|finding| finding.severity == i32::from(Severity::Error)));
        let apply = v1::ApplyPolicySetRequest { documents, etag: before.etag.clone() };
        let refused = operator.policy().apply_policy_set(apply).await;
        assert_refused(refused, Code::FailedPrecondition, "POLICY_SET_LOCKS_OUT");
    }
    assert_eq!(current(&operator).await, before);
}

/// On a service of its own: it replaces the policy set.
#[tokio::test]
async fn a_replaced_policy_set_takes_effect_at_once() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "governed", Algorithm::Ed25519)).await.name;
    let first = current(&operator).await;
    let forbid = r#"
        @id("no-signing-today")
        @description("Nobody signs today.")
        forbid (principal, action in Chancery::Action::"signing", resource);
    "#;
    let mut set = first.clone();
    for round in 0..10_u64 {
        let documents = with(&first, "today.cedar", forbid);
        let request = v1::ApplyPolicySetRequest { documents: documents.clone(), etag: set.etag.clone() };
        let applied = operator.policy().apply_policy_set(request).await.unwrap().into_inner();
        assert_eq!((applied.version, applied.applied_by.as_str()), (2 * round + 2, "callers/operator"));
        assert_eq!(applied.documents, documents);
        assert_ne!(applied.sha256, first.sha256);
        assert_refused(caller.signing().sign(sign(&key, b"m")).await, Code::PermissionDenied, "ACCESS_DENIED");

        let request = v1::ApplyPolicySetRequest { documents: first.documents.clone(), etag: applied.etag.clone() };
        set = operator.policy().apply_policy_set(request).await.unwrap().into_inner();
        assert_eq!((set.version, &set.sha256), (2 * round + 3, &first.sha256), "the same content, the same hash");
        assert_ne!(set.etag, first.etag, "but another set");
        caller.signing().sign(sign(&key, b"m")).await.unwrap();
    }
    // Each of the etags before is too old now.
    let request = v1::ApplyPolicySetRequest { documents: first.documents.clone(), etag: first.etag.clone() };
    let refused = operator.policy().apply_policy_set(request).await;
    let refusal = assert_refused(refused, Code::Aborted, "ETAG_MISMATCH");
    assert_eq!(refusal.metadata["resource"], "policySet");
    assert_eq!(current(&operator).await, set);
    chancery.stop().await.unwrap();
}

/// On a service of its own: it replaces the policy set.
#[tokio::test]
async fn of_two_who_replace_the_same_policy_set_one_is_told_so() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let first = current(&operator).await;
    let attempts: Vec<_> = (0..8)
        .map(|number| {
            let documents = with(&first, "more.cedar", &format!("// {number}\n"));
            let request = v1::ApplyPolicySetRequest { documents, etag: first.etag.clone() };
            let operator = operator.clone();
            tokio::spawn(async move { operator.policy().apply_policy_set(request).await })
        })
        .collect();
    let mut applied = Vec::new();
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(set) => applied.push(set.into_inner()),
            Err(status) => assert_eq!(refusal(status).reason.as_deref(), Some("ETAG_MISMATCH")),
        }
    }
    assert_eq!(applied, [current(&operator).await]);
    assert_eq!(applied[0].version, 2);
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn an_allowed_call_is_explained_by_the_permit() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "explained", Algorithm::Ed25519)).await.name;
    for resource in [key.clone(), format!("{key}/versions/1")] {
        let explained = explain(&operator, "caller", "Sign", &resource).await;
        assert!(explained.allowed);
        let [permit] = explained.determining_policies.as_slice() else { panic!("{explained:?}") };
        assert_eq!((permit.policy_id.as_str(), permit.effect.as_str()), ("signer", "permit"));
        assert_eq!(permit.document, "roles.cedar");
        assert_eq!(
            permit.description,
            "Signs with, verifies with and reads the keys of its rings, and takes random bytes from their tokens."
        );
        assert!(permit.text.contains("resource in principal.rings"));
        assert!(explained.unmet_policies.is_empty() && explained.errors.is_empty());
        assert_eq!(explained.policy_set_sha256, current(&operator).await.sha256);
        assert!(explained.reason.contains("callers/caller") && explained.reason.contains("\"signer\""));
    }
    chancery.caller().await.unwrap().signing().sign(sign(&key, b"m")).await.unwrap();
}

#[tokio::test]
async fn a_denial_is_explained_by_what_is_missing() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let keeper = chancery.connect_as("vault-keeper").await.unwrap();
    let other = create(&keeper, new_key(OTHER, "explained", Algorithm::Ed25519)).await.name;
    // The role is there, the ring is not.
    let explained = explain(&operator, "caller", "Sign", &other).await;
    assert!(!explained.allowed && explained.determining_policies.is_empty());
    let signer = explained.unmet_policies.iter().find(|policy| policy.policy_id == "signer").unwrap();
    assert!(signer.unmet.contains("resource in principal.rings"), "{signer:?}");
    assert!(explained.reason.contains("no policy permits it"), "{}", explained.reason);
    // The ring is there, the role is not.
    let own = create(&operator, new_key(RING, "explained-too", Algorithm::Ed25519)).await.name;
    let explained = explain(&operator, "only-verifier", "Sign", &own).await;
    assert!(!explained.allowed && explained.determining_policies.is_empty());
    let signer = explained.unmet_policies.iter().find(|policy| policy.policy_id == "signer").unwrap();
    assert!(signer.unmet.contains("Chancery::Role::\"signer\""), "{signer:?}");
}

#[tokio::test]
async fn a_forbidden_call_is_explained_by_the_forbid() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let mut locked = new_key(RING, "explained-locked", Algorithm::Ed25519);
    locked.key.as_mut().unwrap().labels.insert("locked".to_owned(), "yes".to_owned());
    let key = create(&operator, locked).await.name;
    let explained = explain(&operator, "caller", "Sign", &key).await;
    assert!(!explained.allowed);
    let [forbid] = explained.determining_policies.as_slice() else { panic!("{explained:?}") };
    assert_eq!((forbid.policy_id.as_str(), forbid.effect.as_str()), ("locked-keys", "forbid"));
    assert_eq!(forbid.document, "locks.cedar");
}

#[tokio::test]
async fn keys_that_do_not_exist_yet_and_other_resources_can_be_asked_about() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let imagined = v1::ExplainAuthorizationRequest {
        caller: "callers/caller".to_owned(),
        action: "Sign".to_owned(),
        resource: format!("{RING}/keys/imagined"),
        algorithm: Algorithm::EcdsaP256Sha256.into(),
        allow_digest: true,
        digest: true,
        source_address: "2001:db8::1".to_owned(),
        ..v1::ExplainAuthorizationRequest::default()
    };
    assert!(operator.policy().explain_authorization(imagined).await.unwrap().into_inner().allowed);
    for (caller, action, resource, allowed) in [
        ("operator", "CreateKey", RING, true),
        ("caller", "CreateKey", RING, false),
        ("operator", "ListKeys", RING, true),
        ("operator", "ApplyPolicySet", "", true),
        ("caller", "ListRecords", "", false),
        ("operator", "GetToken", "tokens/main", true),
        ("caller", "ListTokens", "", false),
    ] {
        let request = v1::ExplainAuthorizationRequest {
            caller: format!("callers/{caller}"),
            action: action.to_owned(),
            resource: resource.to_owned(),
            algorithm: if action == "CreateKey" { Algorithm::Ed25519.into() } else { 0 },
            ..v1::ExplainAuthorizationRequest::default()
        };
        let explained = operator.policy().explain_authorization(request).await.unwrap().into_inner();
        assert_eq!(explained.allowed, allowed, "{caller} {action} {resource}: {}", explained.reason);
    }
    // Nobody named: the one who asks.
    let me = v1::ExplainAuthorizationRequest {
        action: "ApplyPolicySet".to_owned(),
        ..v1::ExplainAuthorizationRequest::default()
    };
    let explained = operator.policy().explain_authorization(me).await.unwrap().into_inner();
    assert!(explained.allowed && explained.reason.contains("callers/operator"), "{}", explained.reason);
}

/// On a service of its own: it replaces the policy set with conditions on the call.
#[tokio::test]
async fn conditions_on_input_and_address_are_met_as_explained() {
    let chancery = Chancery::setup()
        .policy(
            "careful.cedar",
            r#"
            @id("no-blind-signing")
            forbid (principal, action == Chancery::Action::"Sign", resource)
            when { context.input == "digest" };
            @id("small-batches")
            forbid (principal, action == Chancery::Action::"Sign", resource)
            when { context.batchSize > 2 };
            "#,
        )
        .start()
        .await
        .unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let request = new_digest_key(RING, "careful", Algorithm::EcdsaP256Sha256);
    let key = create(&operator, request).await.name;
    caller.signing().sign(sign(&key, b"m")).await.unwrap();
    let digest = caller.signing().sign(sign_digest(&key, &sha256(b"m"))).await;
    assert_refused(digest, Code::PermissionDenied, "ACCESS_DENIED");
    let batch = |count| v1::BatchSignRequest { requests: vec![sign(&key, b"m"); count] };
    let refusals = async |count| {
        let results = caller.signing().batch_sign(batch(count)).await.unwrap().into_inner().results;
        let refused =
            |item: &&v1::BatchSignResult| matches!(item.result, Some(v1::batch_sign_result::Result::Error(_)));
        results.iter().filter(refused).count()
    };
    assert_eq!((refusals(2).await, refusals(3).await), (0, 3));
    let mut question = v1::ExplainAuthorizationRequest {
        caller: "callers/caller".to_owned(),
        action: "Sign".to_owned(),
        resource: key,
        ..v1::ExplainAuthorizationRequest::default()
    };
    assert!(operator.policy().explain_authorization(question.clone()).await.unwrap().into_inner().allowed);
    question.digest = true;
    let explained = operator.policy().explain_authorization(question).await.unwrap().into_inner();
    assert!(!explained.allowed);
    assert_eq!(explained.determining_policies[0].policy_id, "no-blind-signing");
    chancery.stop().await.unwrap();
}
