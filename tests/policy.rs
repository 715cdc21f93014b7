//! Policy from outside: who may do what, and that refusals tell nothing.

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
use chancery_tests::contract::{
    Fixture, assert_field, assert_refused, create, message, new_key, refusal, refused, sha256, sign, sign_digest, uuid,
};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";
const OTHER: &str = "keyRings/vault";
const PROD: &str = "keyRings/live";
const ROLES: [&str; 7] =
    ["signer", "verifier", "key-administrator", "policy-administrator", "approver", "auditor", "caller-administrator"];

/// Keys that carry the label `locked` are nobody's.
const LOCKS: &str = r#"
@id("locked-keys")
forbid (principal, action, resource is Chancery::Key)
when { resource.hasTag("locked") };
"#;

/// Everything to one caller: what then is still denied, is denied by what cannot be removed.
const EVERYTHING: &str = r#"
@id("everything-to-the-crosser")
permit (principal == Chancery::Caller::"crosser", action, resource);
"#;

fn setup() -> Setup {
    let setup = Chancery::setup()
        .ring("vault", "dev")
        .ring("live", "prod")
        .with(CallerSetup::new("vault-keeper").role("key-administrator").ring("vault"))
        .with(CallerSetup::new("live-keeper").environment("prod").role("key-administrator").ring("live"))
        .with(CallerSetup::new("live-signer").environment("prod").role("signer").ring("live").ring("dev"))
        .with(CallerSetup::new("crosser").ring("dev").ring("live"))
        .with(CallerSetup::new("nobody").ring("dev"))
        .with(CallerSetup::new("everybody-but-signing").role("key-administrator").role("signer").ring("dev"))
        .policy("locks.cedar", LOCKS)
        .policy("everything.cedar", EVERYTHING);
    ROLES.iter().fold(setup, |setup, role| setup.with(CallerSetup::new(&format!("only-{role}")).role(role).ring("dev")))
}

/// Each method, and the roles that may call it on what is in their ring.
const MAY: &[(&str, &[&str])] = &[
    ("Sign", &["signer"]),
    ("BatchSign", &["signer"]),
    ("StreamSign", &["signer"]),
    ("SignJwt", &["signer"]),
    ("MacSign", &["signer"]),
    ("Verify", &["signer", "verifier"]),
    ("BatchVerify", &["signer", "verifier"]),
    ("MacVerify", &["signer", "verifier"]),
    ("GenerateRandomBytes", &["signer"]),
    ("GetPublicKey", &["signer", "verifier", "key-administrator"]),
    ("ListKeyRings", &["signer", "verifier", "key-administrator", "approver", "auditor"]),
    ("GetKeyRing", &["signer", "verifier", "key-administrator", "approver", "auditor"]),
    ("FreezeKeyRing", &["key-administrator"]),
    ("UnfreezeKeyRing", &["key-administrator"]),
    ("CreateKey", &["key-administrator"]),
    ("AdoptKey", &["key-administrator"]),
    ("GetKey", &["signer", "verifier", "key-administrator", "approver", "auditor"]),
    ("ListKeys", &["signer", "verifier", "key-administrator", "approver", "auditor"]),
    ("RotateKey", &["key-administrator"]),
    ("ListKeyVersions", &["signer", "verifier", "key-administrator", "approver", "auditor"]),
    ("GetKeyVersion", &["signer", "verifier", "key-administrator", "approver", "auditor"]),
    ("SuspendKeyVersion", &["key-administrator"]),
    ("ResumeKeyVersion", &["key-administrator"]),
    ("UpdateKey", &["key-administrator"]),
    ("CreateCertificateSigningRequest", &["signer"]),
    ("SetCertificateChain", &["key-administrator"]),
    // In an order in which each of them is possible after the one before.
    ("ScheduleKeyVersionDestruction", &["key-administrator"]),
    ("CancelKeyVersionDestruction", &["key-administrator"]),
    ("DeactivateKeyVersion", &["key-administrator"]),
    ("MarkKeyVersionCompromised", &["key-administrator"]),
    ("GetPolicySet", &["policy-administrator", "auditor"]),
    ("ApplyPolicySet", &["policy-administrator"]),
    ("ValidatePolicySet", &["policy-administrator", "auditor"]),
    ("ExplainAuthorization", &["policy-administrator", "auditor"]),
    ("ListEffectiveAccess", &["policy-administrator", "auditor"]),
    // A policy administrator may ask, and not read the record, which is asked for, too.
    ("ReplayPolicySet", &["auditor"]),
    ("ListRecords", &["auditor"]),
    ("WatchRecords", &["auditor"]),
    ("GetCheckpoint", &["auditor"]),
    ("GetInclusionProof", &["auditor"]),
    ("GetConsistencyProof", &["auditor"]),
    ("ListTokens", &["key-administrator", "auditor"]),
    ("GetToken", &["key-administrator", "auditor"]),
    ("ClearPinLatch", &["key-administrator"]),
    ("CreateCaller", &["caller-administrator"]),
    ("GetCaller", &["caller-administrator", "auditor"]),
    ("ListCallers", &["caller-administrator", "auditor"]),
    ("UpdateCaller", &["caller-administrator"]),
    ("SuspendCaller", &["caller-administrator"]),
    ("ResumeCaller", &["caller-administrator"]),
    ("IssueApiKey", &["caller-administrator"]),
    ("ListApiKeys", &["caller-administrator", "auditor"]),
    ("RotateApiKey", &["caller-administrator"]),
    ("RevokeApiKey", &["caller-administrator"]),
];

/// What a method is called on.
struct On {
    ring: String,
    key: String,
    /// For MacSign and MacVerify.
    mac_key: String,
    version: String,
    /// Another caller than the one who calls.
    caller: String,
    /// One of that caller's API keys, which exists or does not.
    api_key: String,
    /// Of the policy set that is applied again as it is.
    policy_set: v1::PolicySet,
}

impl On {
    fn key(key: &str) -> Self {
        Self {
            ring: key.split("/keys/").next().unwrap().to_owned(),
            key: key.to_owned(),
            mac_key: key.to_owned(),
            version: format!("{key}/versions/1"),
            caller: "callers/crosser".to_owned(),
            api_key: "000000000000".to_owned(),
            policy_set: v1::PolicySet::default(),
        }
    }
}

/// Calls a method. `ListKeyRings` refuses nothing, it leaves out: an answer without the ring counts as a refusal, and so
/// does a batch whose one item is refused.
async fn call(client: &Client, method: &str, on: &On) -> Result<(), Status> {
    let (mut signing, mut keys) = (client.signing(), client.keys());
    let (mut policy, mut tokens, mut callers) = (client.policy(), client.tokens(), client.callers());
    let (ring, key, version) = (on.ring.clone(), on.key.clone(), on.version.clone());
    let documents = on.policy_set.documents.clone();
    match method {
        "Sign" => signing.sign(sign(&key, b"m")).await.map(drop),
        "BatchSign" => {
            let batch = v1::BatchSignRequest { requests: vec![sign(&key, b"m")] };
            let results = signing.batch_sign(batch).await?.into_inner().results;
            match results.into_iter().next().and_then(|result| result.result) {
                Some(v1::batch_sign_result::Result::Response(_)) => Ok(()),
                Some(v1::batch_sign_result::Result::Error(error)) => Err(item_status(&error)),
                None => panic!("an empty result"),
            }
        }
        "StreamSign" => {
            let message = v1::StreamSignRequest { correlation_id: "one".to_owned(), request: Some(sign(&key, b"m")) };
            let mut answers = signing.stream_sign(tokio_stream::iter([message])).await?.into_inner();
            match answers.message().await?.and_then(|answer| answer.result) {
                Some(v1::stream_sign_response::Result::Response(_)) => Ok(()),
                Some(v1::stream_sign_response::Result::Error(error)) => Err(item_status(&error)),
                None => panic!("an empty answer"),
            }
        }
        "SignJwt" => {
            let request = v1::SignJwtRequest { name: key, claims: "{}".to_owned(), ..v1::SignJwtRequest::default() };
            signing.sign_jwt(request).await.map(drop)
        }
        "MacSign" => {
            let request = v1::MacSignRequest { name: on.mac_key.clone(), message: "m".into(), message_crc32c: None };
            signing.mac_sign(request).await.map(drop)
        }
        "MacVerify" => {
            let request = v1::MacVerifyRequest {
                name: on.mac_key.clone(),
                message: "m".into(),
                mac: vec![0; 32].into(),
                ..v1::MacVerifyRequest::default()
            };
            signing.mac_verify(request).await.map(drop)
        }
        "GenerateRandomBytes" => {
            signing.generate_random_bytes(v1::GenerateRandomBytesRequest { name: ring, length: 8 }).await.map(drop)
        }
        "Verify" => signing.verify(verification(key)).await.map(drop),
        "BatchVerify" => {
            let batch = v1::BatchVerifyRequest { requests: vec![verification(key)] };
            let results = signing.batch_verify(batch).await?.into_inner().results;
            match results.into_iter().next().and_then(|result| result.result) {
                Some(v1::batch_verify_result::Result::Response(_)) => Ok(()),
                Some(v1::batch_verify_result::Result::Error(error)) => Err(item_status(&error)),
                None => panic!("an empty result"),
            }
        }
        "GetPublicKey" => signing.get_public_key(v1::GetPublicKeyRequest { name: key, format: 0 }).await.map(drop),
        "ListKeyRings" => {
            let answer = keys.list_key_rings(v1::ListKeyRingsRequest::default()).await?.into_inner();
            let seen = answer.key_rings.iter().any(|shown| shown.name == ring);
            if seen { Ok(()) } else { Err(left_out()) }
        }
        "GetKeyRing" => keys.get_key_ring(v1::GetKeyRingRequest { name: ring }).await.map(drop),
        "FreezeKeyRing" => {
            let request = v1::FreezeKeyRingRequest { name: ring, reason: String::new() };
            keys.freeze_key_ring(request).await.map(drop)
        }
        "UnfreezeKeyRing" => {
            let request = v1::UnfreezeKeyRingRequest { name: ring, reason: String::new() };
            keys.unfreeze_key_ring(request).await.map(drop)
        }
        "AdoptKey" => {
            let v1::CreateKeyRequest { parent, key_id, key, request_id } =
                new_key(&ring, "adopted", Algorithm::Ed25519);
            let (token_object_id, token_object_label) = (vec![0xaa], String::new());
            let request = v1::AdoptKeyRequest { parent, key_id, key, token_object_id, token_object_label, request_id };
            let end = keys.adopt_key(request).await.map(drop);
            // Whoever may is told that the token holds no such key.
            let allowed = |status: &Status| refusal(status.clone()).reason.as_deref() == Some("KEY_NOT_ADOPTABLE");
            end.or_else(|status| if allowed(&status) { Ok(()) } else { Err(status) })
        }
        "CreateKey" => {
            let id = format!("made-{}", &uuid()[..8]);
            keys.create_key(new_key(&ring, &id, Algorithm::Ed25519)).await.map(drop)
        }
        "GetKey" => keys.get_key(v1::GetKeyRequest { name: key }).await.map(drop),
        "ListKeys" => {
            keys.list_keys(v1::ListKeysRequest { parent: ring, ..v1::ListKeysRequest::default() }).await.map(drop)
        }
        "RotateKey" => {
            keys.rotate_key(v1::RotateKeyRequest { name: key, ..v1::RotateKeyRequest::default() }).await.map(drop)
        }
        "ListKeyVersions" => {
            let request = v1::ListKeyVersionsRequest { parent: key, ..v1::ListKeyVersionsRequest::default() };
            keys.list_key_versions(request).await.map(drop)
        }
        "GetKeyVersion" => keys.get_key_version(v1::GetKeyVersionRequest { name: version }).await.map(drop),
        "SuspendKeyVersion" => {
            let request = v1::SuspendKeyVersionRequest { name: version, reason: String::new() };
            keys.suspend_key_version(request).await.map(drop)
        }
        "ResumeKeyVersion" => {
            let request = v1::ResumeKeyVersionRequest { name: version, reason: String::new() };
            keys.resume_key_version(request).await.map(drop)
        }
        "UpdateKey" => {
            let key = v1::Key { name: key, ..v1::Key::default() };
            let update_mask = Some(prost_types::FieldMask { paths: vec!["owner".to_owned()] });
            keys.update_key(v1::UpdateKeyRequest { key: Some(key), update_mask }).await.map(drop)
        }
        "DeactivateKeyVersion" => {
            let request = v1::DeactivateKeyVersionRequest { name: version, reason: String::new() };
            keys.deactivate_key_version(request).await.map(drop)
        }
        "MarkKeyVersionCompromised" => {
            let request = v1::MarkKeyVersionCompromisedRequest { name: version, reason: String::new() };
            keys.mark_key_version_compromised(request).await.map(drop)
        }
        "ScheduleKeyVersionDestruction" => {
            let request = v1::ScheduleKeyVersionDestructionRequest {
                name: version,
                ..v1::ScheduleKeyVersionDestructionRequest::default()
            };
            keys.schedule_key_version_destruction(request).await.map(drop)
        }
        "CancelKeyVersionDestruction" => {
            let request = v1::CancelKeyVersionDestructionRequest { name: version, reason: String::new() };
            keys.cancel_key_version_destruction(request).await.map(drop)
        }
        "CreateCertificateSigningRequest" => {
            let request = v1::CreateCertificateSigningRequestRequest {
                name: key,
                subject: "CN=a".to_owned(),
                ..v1::CreateCertificateSigningRequestRequest::default()
            };
            keys.create_certificate_signing_request(request).await.map(drop)
        }
        "SetCertificateChain" => {
            let request = v1::SetCertificateChainRequest { name: version, certificate_chain: Vec::new() };
            keys.set_certificate_chain(request).await.map(drop)
        }
        "GetPolicySet" => policy.get_policy_set(v1::GetPolicySetRequest {}).await.map(drop),
        "ApplyPolicySet" => {
            let request = v1::ApplyPolicySetRequest { documents, etag: on.policy_set.etag.clone() };
            policy.apply_policy_set(request).await.map(drop)
        }
        "ValidatePolicySet" => policy.validate_policy_set(v1::ValidatePolicySetRequest { documents }).await.map(drop),
        "ExplainAuthorization" => {
            let request = v1::ExplainAuthorizationRequest {
                action: "ListRecords".to_owned(),
                ..v1::ExplainAuthorizationRequest::default()
            };
            policy.explain_authorization(request).await.map(drop)
        }
        "ListEffectiveAccess" => {
            policy.list_effective_access(v1::ListEffectiveAccessRequest::default()).await.map(drop)
        }
        "ReplayPolicySet" => {
            let request = v1::ReplayPolicySetRequest { documents, ..v1::ReplayPolicySetRequest::default() };
            policy.replay_policy_set(request).await.map(drop)
        }
        "ListRecords" => client.audit().list_records(v1::ListRecordsRequest::default()).await.map(drop),
        "WatchRecords" => {
            let request = v1::WatchRecordsRequest::default();
            let mut answers = client.audit().watch_records(request).await?.into_inner();
            answers.message().await.map(drop)
        }
        "GetCheckpoint" => client.audit().get_checkpoint(v1::GetCheckpointRequest {}).await.map(drop),
        "GetInclusionProof" => {
            client.audit().get_inclusion_proof(v1::GetInclusionProofRequest::default()).await.map(drop)
        }
        "GetConsistencyProof" => {
            client.audit().get_consistency_proof(v1::GetConsistencyProofRequest::default()).await.map(drop)
        }
        "ListTokens" => tokens.list_tokens(v1::ListTokensRequest::default()).await.map(drop),
        "GetToken" => tokens.get_token(v1::GetTokenRequest { name: "tokens/main".to_owned() }).await.map(drop),
        "ClearPinLatch" => {
            let request = v1::ClearPinLatchRequest { name: "tokens/main".to_owned(), reason: String::new() };
            let end = tokens.clear_pin_latch(request).await.map(drop);
            // Whoever may is told that there is nothing to clear.
            let allowed = |status: &Status| refusal(status.clone()).reason.as_deref() == Some("TOKEN_NOT_LATCHED");
            end.or_else(|status| if allowed(&status) { Ok(()) } else { Err(status) })
        }
        "CreateCaller" => {
            let caller = v1::Caller { environment: "dev".to_owned(), ..v1::Caller::default() };
            let caller_id = format!("made-{}", &uuid()[..8]);
            let request = v1::CreateCallerRequest { caller_id, caller: Some(caller), request_id: String::new() };
            callers.create_caller(request).await.map(drop)
        }
        "GetCaller" => callers.get_caller(v1::GetCallerRequest { name: on.caller.clone() }).await.map(drop),
        "ListCallers" => callers.list_callers(v1::ListCallersRequest::default()).await.map(drop),
        "UpdateCaller" => {
            let caller =
                v1::Caller { name: on.caller.clone(), groups: vec!["till".to_owned()], ..v1::Caller::default() };
            let update_mask = Some(prost_types::FieldMask { paths: vec!["groups".to_owned()] });
            callers.update_caller(v1::UpdateCallerRequest { caller: Some(caller), update_mask }).await.map(drop)
        }
        "SuspendCaller" => {
            let request = v1::SuspendCallerRequest { name: on.caller.clone(), reason: String::new() };
            callers.suspend_caller(request).await.map(drop)
        }
        "ResumeCaller" => {
            let request = v1::ResumeCallerRequest { name: on.caller.clone(), reason: String::new() };
            callers.resume_caller(request).await.map(drop)
        }
        "IssueApiKey" => callers.issue_api_key(issue(&on.caller)).await.map(drop),
        "ListApiKeys" => {
            let request = v1::ListApiKeysRequest { parent: on.caller.clone(), ..v1::ListApiKeysRequest::default() };
            callers.list_api_keys(request).await.map(drop)
        }
        "RotateApiKey" => {
            let name = format!("{}/apiKeys/{}", on.caller, on.api_key);
            callers
                .rotate_api_key(v1::RotateApiKeyRequest { name, ..v1::RotateApiKeyRequest::default() })
                .await
                .map(drop)
        }
        "RevokeApiKey" => {
            let name = format!("{}/apiKeys/{}", on.caller, on.api_key);
            callers.revoke_api_key(v1::RevokeApiKeyRequest { name, reason: String::new() }).await.map(drop)
        }
        other => panic!("{other} is not called here"),
    }
}

fn issue(caller: &str) -> v1::IssueApiKeyRequest {
    let scope = v1::ApiKeyScope { access: v1::ApiKeyAccess::ReadOnly.into(), ..v1::ApiKeyScope::default() };
    let lifetime = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    v1::IssueApiKeyRequest { parent: caller.to_owned(), lifetime, scope: Some(scope), request_id: String::new() }
}

fn verification(key: String) -> v1::VerifyRequest {
    v1::VerifyRequest { name: key, input: message(b"m"), signature: vec![0; 64], ..v1::VerifyRequest::default() }
}

/// `ItemStatus` is `google.rpc.Status` on the wire, and so are a gRPC status's details.
fn item_status(error: &v1::ItemStatus) -> Status {
    Status::with_details(Code::from_i32(error.code), error.message.clone(), error.encode_to_vec().into())
}

/// Stands for what a list left out.
fn left_out() -> Status {
    let details = tonic_types::ErrorDetails::with_error_info("ACCESS_DENIED", "chancery", []);
    Status::with_error_details(Code::PermissionDenied, "left out", details)
}

#[test]
fn every_method_of_the_contract_is_in_the_table() {
    let descriptors = prost_types::FileDescriptorSet::decode(chancery_api::FILE_DESCRIPTOR_SET).unwrap();
    let services =
        descriptors.file.iter().filter(|file| file.package() == "chancery.v1").flat_map(|file| &file.service);
    let contract: BTreeSet<&str> = services.flat_map(|service| &service.method).map(|method| method.name()).collect();
    let table: BTreeSet<&str> = MAY.iter().map(|(method, _)| *method).collect();
    assert_eq!(table, contract);
}

/// On a service of its own: the policy administrator applies policy sets, and each apply changes the etag.
#[tokio::test]
async fn each_role_may_do_what_it_is_for_and_nothing_else() {
    let chancery = setup().start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "tried", Algorithm::Ed25519)).await.name;
    let mac_key = create(&operator, new_key(RING, "tried-mac", Algorithm::HmacSha256)).await.name;
    for role in ROLES.into_iter().map(Some).chain([None]) {
        let caller = role.map_or_else(|| "nobody".to_owned(), |role| format!("only-{role}"));
        let client = chancery.connect_as(&caller).await.unwrap();
        for (method, roles) in MAY {
            let policy_set = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
            let issued = operator.callers().issue_api_key(issue("callers/crosser")).await.unwrap().into_inner();
            let api_key = issued.api_key.unwrap().name;
            let api_key = api_key.rsplit('/').next().unwrap().to_owned();
            let on = On { policy_set, mac_key: mac_key.clone(), api_key: api_key.clone(), ..On::key(&key) };
            // What is suspended by one call is to be resumed by the next, whoever makes it.
            let answer = call(&client, method, &on).await;
            let expected = role.is_some_and(|role| roles.contains(&role));
            match answer {
                Ok(()) => assert!(expected, "{caller} may not {method}, and did"),
                Err(status) => {
                    let refusal = refusal(status);
                    assert!(!expected, "{caller} may {method}: {refusal}");
                    assert_eq!(refusal.code, Code::PermissionDenied, "{caller} {method}: {refusal}");
                    assert_eq!(refusal.reason.as_deref(), Some("ACCESS_DENIED"), "{caller} {method}");
                }
            }
            let name = format!("callers/crosser/apiKeys/{api_key}");
            let request = v1::RevokeApiKeyRequest { name, reason: String::new() };
            operator.callers().revoke_api_key(request).await.unwrap();
        }
    }
    chancery.stop().await.unwrap();
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

#[tokio::test]
async fn no_administering_role_signs() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "administered", Algorithm::Ed25519)).await.name;
    // Both a signer and a key administrator: the latter decides.
    let both = chancery.connect_as("everybody-but-signing").await.unwrap();
    for method in ["Sign", "BatchSign", "StreamSign", "SignJwt", "MacSign"] {
        assert_refused(call(&both, method, &On::key(&key)).await, Code::PermissionDenied, "ACCESS_DENIED");
    }
    let explained = explain(&operator, "everybody-but-signing", "Sign", &key).await;
    assert!(!explained.allowed);
    let by: Vec<_> = explained.determining_policies.iter().map(|policy| policy.policy_id.as_str()).collect();
    assert_eq!(by, ["builtin-key-administrators-never-sign"]);
}

/// A refusal, as bytes and headers would show it, with the name that the caller sent taken out.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    code: Code,
    message: String,
    info: (String, String, Vec<(String, String)>),
    /// What else the details hold.
    others: bool,
    headers: Vec<(String, String)>,
}

impl Seen {
    fn of(status: &Status, sent: &str) -> Self {
        let without_name = |text: &str| text.replace(sent, "{name}");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        let mut metadata: Vec<_> =
            info.metadata.iter().map(|(name, value)| (name.clone(), without_name(value))).collect();
        metadata.sort();
        let headers = status.metadata().clone().into_headers();
        let mut headers: Vec<_> = headers
            .iter()
            // The time of the answer, and the details that are looked at above.
            .filter(|(name, _)| !["date", "grpc-status-details-bin"].contains(&name.as_str()))
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        headers.sort();
        Self {
            code: status.code(),
            message: without_name(status.message()),
            info: (info.reason.clone(), info.domain.clone(), metadata),
            others: details.bad_request().is_some() || details.retry_info().is_some() || details.help().is_some(),
            headers,
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_and_what_is_not_allowed_look_alike() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let mut locked = new_key(RING, "locked", Algorithm::Ed25519);
    locked.key.as_mut().unwrap().labels.insert("locked".to_owned(), "yes".to_owned());
    create(&operator, locked).await;
    let vault_keeper = chancery.connect_as("vault-keeper").await.unwrap();
    create(&vault_keeper, new_key(OTHER, "there", Algorithm::Ed25519)).await;
    let live_keeper = chancery.connect_as("live-keeper").await.unwrap();
    create(&live_keeper, new_key(PROD, "there", Algorithm::EcdsaP256Sha256)).await;

    let unknown = format!("{RING}/keys/not-there");
    let hidden = [
        format!("{RING}/keys/locked"),
        format!("{OTHER}/keys/there"),
        format!("{OTHER}/keys/not-there"),
        format!("{PROD}/keys/there"),
        format!("{PROD}/keys/not-there"),
        "keyRings/nowhere/keys/not-there".to_owned(),
    ];
    let caller = chancery.connect_as("only-signer").await.unwrap();
    let mut compared = 0;
    for method in [
        "Sign",
        "BatchSign",
        "StreamSign",
        "SignJwt",
        "MacSign",
        "MacVerify",
        "Verify",
        "BatchVerify",
        "GetPublicKey",
        "GetKey",
        "RotateKey",
        "ListKeyVersions",
        "GetKeyVersion",
        "SuspendKeyVersion",
        "ResumeKeyVersion",
        "UpdateKey",
        "DeactivateKeyVersion",
        "MarkKeyVersionCompromised",
        "ScheduleKeyVersionDestruction",
        "CancelKeyVersionDestruction",
        "CreateCertificateSigningRequest",
        "SetCertificateChain",
    ] {
        let seen = async |key: &str| {
            let status = call(&caller, method, &On::key(key)).await.unwrap_err();
            assert_eq!(refusal(status.clone()).reason.as_deref(), Some("ACCESS_DENIED"), "{method} {key}");
            Seen::of(&status, key)
        };
        let expected = seen(&unknown).await;
        assert_eq!(expected.code, Code::PermissionDenied);
        assert!(expected.message.contains("{name}") && !expected.others, "{expected:?}");
        for key in &hidden {
            assert_eq!(seen(key).await, expected, "{method} {key}");
            compared += 1;
        }
    }
    for method in ["GetKeyRing", "ListKeys", "CreateKey", "GenerateRandomBytes"] {
        let seen = async |ring: &str| {
            let on = On { ring: ring.to_owned(), ..On::key(&unknown) };
            Seen::of(&call(&caller, method, &on).await.unwrap_err(), ring)
        };
        let expected = seen("keyRings/nowhere").await;
        assert_eq!((expected.code, expected.info.0.as_str()), (Code::PermissionDenied, "ACCESS_DENIED"));
        for ring in [OTHER, PROD] {
            assert_eq!(seen(ring).await, expected, "{method} {ring}");
            compared += 1;
        }
    }
    for method in [
        "GetCaller",
        "UpdateCaller",
        "SuspendCaller",
        "ResumeCaller",
        "IssueApiKey",
        "ListApiKeys",
        "RotateApiKey",
        "RevokeApiKey",
    ] {
        let seen = async |name: &str| {
            let on = On { caller: name.to_owned(), ..On::key(&unknown) };
            Seen::of(&call(&caller, method, &on).await.unwrap_err(), name)
        };
        let expected = seen("callers/nowhere").await;
        assert_eq!((expected.code, expected.info.0.as_str()), (Code::PermissionDenied, "ACCESS_DENIED"));
        for name in ["callers/crosser", "callers/live-signer"] {
            assert_eq!(seen(name).await, expected, "{method} {name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 22 * 6 + 4 * 2 + 8 * 2);
}

/// Nothing that depends on the key is said to those who may not use it: not its algorithm, not its state, not whether it
/// takes digests.
#[tokio::test]
async fn a_hidden_key_is_not_betrayed_by_what_is_wrong_with_the_call() {
    let chancery = CHANCERY.get().await;
    let keeper = chancery.connect_as("vault-keeper").await.unwrap();
    let key = create(&keeper, new_key(OTHER, "silent", Algorithm::Ed25519)).await;
    let request = v1::SuspendKeyVersionRequest { name: key.primary_version.clone(), reason: String::new() };
    keeper.keys().suspend_key_version(request).await.unwrap();
    let unknown = format!("{OTHER}/keys/silence");
    let caller = chancery.caller().await.unwrap();
    let long = vec![1; 64 * 1024 + 1];
    let requests = |name: &str| {
        [
            sign(name, b"m"),
            sign(name, b""),
            sign(name, &long),
            sign_digest(name, &sha256(b"m")),
            sign_digest(name, b"short"),
            sign(&format!("{name}/versions/7"), b"m"),
        ]
    };
    for (there, not_there) in requests(&key.name).into_iter().zip(requests(&unknown)) {
        let there = caller.signing().sign(there).await.unwrap_err();
        let not_there = caller.signing().sign(not_there).await.unwrap_err();
        assert_eq!(Seen::of(&there, &key.name), Seen::of(&not_there, &unknown));
        assert_eq!(there.code(), Code::PermissionDenied);
    }
    let verification = |name: &str, signature: Vec<u8>| v1::VerifyRequest {
        name: name.to_owned(),
        input: message(b"m"),
        signature,
        ..v1::VerifyRequest::default()
    };
    for signature in [vec![0; 64], vec![], vec![0; 2000]] {
        let there = caller.signing().verify(verification(&key.name, signature.clone())).await.unwrap_err();
        let not_there = caller.signing().verify(verification(&unknown, signature)).await.unwrap_err();
        assert_eq!(Seen::of(&there, &key.name), Seen::of(&not_there, &unknown));
    }
}

#[tokio::test]
async fn lists_leave_out_what_the_caller_may_not_see() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    create(&operator, new_key(RING, "listed", Algorithm::Ed25519)).await;
    let mut locked = new_key(RING, "unlisted", Algorithm::Ed25519);
    locked.key.as_mut().unwrap().labels.insert("locked".to_owned(), "yes".to_owned());
    create(&operator, locked).await;
    let request = v1::ListKeysRequest { parent: RING.to_owned(), page_size: 1000, page_token: String::new() };
    let listed = chancery.caller().await.unwrap().keys().list_keys(request).await.unwrap().into_inner();
    let names: BTreeSet<_> = listed.keys.iter().map(|key| key.name.as_str()).collect();
    assert!(names.contains("keyRings/dev/keys/listed"));
    assert!(!names.contains("keyRings/dev/keys/unlisted"));
}

#[tokio::test]
async fn a_caller_of_one_environment_never_uses_a_key_of_another() {
    let chancery = CHANCERY.get().await;
    let (operator, keeper) = (chancery.operator().await.unwrap(), chancery.connect_as("live-keeper").await.unwrap());
    let live = create(&keeper, new_key(PROD, "isolated", Algorithm::Ed25519)).await.name;
    let dev = create(&operator, new_key(RING, "isolated", Algorithm::Ed25519)).await.name;

    // The one is permitted everything by the policy set, the other has the ring and the role; both stay outside.
    let crosser = chancery.connect_as("crosser").await.unwrap();
    crosser.signing().sign(sign(&dev, b"m")).await.unwrap();
    let live_signer = chancery.connect_as("live-signer").await.unwrap();
    live_signer.signing().sign(sign(&live, b"m")).await.unwrap();
    for (client, caller, key) in [(&crosser, "crosser", &live), (&live_signer, "live-signer", &dev)] {
        for method in ["Sign", "BatchSign", "Verify", "GetPublicKey", "GetKey", "RotateKey", "SuspendKeyVersion"] {
            let refusal = refusal(call(client, method, &On::key(key)).await.unwrap_err());
            assert_eq!(refusal.reason.as_deref(), Some("ACCESS_DENIED"), "{caller} {method} {key}");
        }
        for method in ["ListKeyRings", "GetKeyRing", "ListKeys", "CreateKey"] {
            let refusal = refusal(call(client, method, &On::key(key)).await.unwrap_err());
            assert_eq!(refusal.reason.as_deref(), Some("ACCESS_DENIED"), "{caller} {method} {key}");
        }
        let explained = explain(&operator, caller, "Sign", key).await;
        let by: Vec<_> = explained.determining_policies.iter().map(|policy| policy.policy_id.as_str()).collect();
        assert_eq!(by, ["builtin-keys-stay-in-their-environment"]);
        assert_eq!(explained.determining_policies[0].document, "builtin.cedar");
    }
}

#[tokio::test]
async fn a_refusal_says_whom_to_ask_and_no_policy() {
    let chancery = CHANCERY.get().await;
    let caller = chancery.caller().await.unwrap();
    let refusal = refused(caller.policy().get_policy_set(v1::GetPolicySetRequest {}).await);
    assert_eq!(refusal.metadata["action"], "GetPolicySet");
    assert!(refusal.message.contains("chancery policy explain"), "{refusal}");
    assert!(refusal.violations.is_empty() && refusal.retry_after.is_none());
    // Bad input of somebody without rights is still bad input: nothing is learned from it.
    let request = v1::GetTokenRequest { name: "nonsense".to_owned() };
    assert_field(caller.tokens().get_token(request).await, "name");
}
