//! API keys from outside: shown once, narrowed, rotated, revoked; what is wrong with one is told to nobody who could guess;
//! and the secret is nowhere but in the answer that issues it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::time::{Duration, Instant};

use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_api::v1::{self, Algorithm, ApiKeyAccess, ApiKeyState, AuthenticationFactor};
use chancery_client::{ApiKey, Client, ConnectOptions, Refusal};
use chancery_testkit::{Chancery, Setup};
use chancery_tests::canary::{Canary, found, found_in_folder};
use chancery_tests::collector::Collector;
use chancery_tests::contract::{
    Fixture, PATIENCE, assert_field, assert_refused, create, eventually, message, new_key, records, refused, seen,
    sign, uuid,
};
use chancery_tests::load::{Record, admin_page, details, metric};
use prost_types::FieldMask;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";
const CALLER: &str = "callers/caller";

/// A service that takes connections without a client certificate.
fn setup() -> Setup {
    Chancery::setup().ring("vault", "dev").configure(|config| {
        config["listener"].as_table_mut().unwrap().insert("client_auth".to_owned(), "optional".into());
    })
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn everything() -> v1::ApiKeyScope {
    v1::ApiKeyScope { access: ApiKeyAccess::ReadWrite.into(), ..v1::ApiKeyScope::default() }
}

async fn try_issue(
    operator: &Client,
    lifetime: i64,
    scope: v1::ApiKeyScope,
) -> Result<v1::IssueApiKeyResponse, Status> {
    let request = v1::IssueApiKeyRequest {
        parent: CALLER.to_owned(),
        lifetime: seconds(lifetime),
        scope: Some(scope),
        request_id: String::new(),
    };
    Ok(operator.callers().issue_api_key(request).await?.into_inner())
}

async fn issue(operator: &Client, scope: v1::ApiKeyScope) -> (String, String) {
    let issued = try_issue(operator, 3600, scope).await.unwrap();
    (issued.api_key.unwrap().name, issued.key)
}

async fn revoke(operator: &Client, name: &str) -> v1::ApiKey {
    let request = v1::RevokeApiKeyRequest { name: name.to_owned(), reason: "a test".to_owned() };
    operator.callers().revoke_api_key(request).await.unwrap().into_inner()
}

async fn list(operator: &Client) -> Vec<v1::ApiKey> {
    let request = v1::ListApiKeysRequest { parent: CALLER.to_owned(), page_size: 1000, page_token: String::new() };
    operator.callers().list_api_keys(request).await.unwrap().into_inner().api_keys
}

async fn listed(operator: &Client, name: &str) -> v1::ApiKey {
    list(operator).await.into_iter().find(|key| key.name == name).unwrap()
}

/// Connects with an API key and no certificate.
async fn connect(chancery: &Chancery, key: &str) -> Client {
    let key = ApiKey::parse(key).unwrap();
    Client::connect(ConnectOptions::with_api_key(chancery.endpoint(), chancery.ca(), key)).await.unwrap()
}

/// A connection with or without a certificate, on which each call brings what it likes.
async fn channel(chancery: &Chancery, with_certificate: bool) -> Channel {
    let read = |path: &std::path::Path| std::fs::read(path).unwrap();
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(chancery.ca())));
    if with_certificate {
        let files = chancery.caller_identity();
        tls = tls.identity(Identity::from_pem(read(&files.certificate), read(&files.private_key)));
    }
    let endpoint = Endpoint::from_shared(chancery.endpoint().to_owned()).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

/// Signs with these authorization headers.
async fn sign_with(channel: &Channel, key: &str, authorization: &[&str]) -> Result<Response<v1::SignResponse>, Status> {
    let mut request = Request::new(sign(key, b"m"));
    for value in authorization {
        request.metadata_mut().append("authorization", value.parse().unwrap());
    }
    SigningServiceClient::new(channel.clone()).sign(request).await
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// The same key with another secret, and a checksum that fits.
fn with_other_secret(key: &str) -> String {
    let (body, _) = key.split_at(key.len() - 6);
    let mut body = body.to_owned();
    let last = body.pop().unwrap();
    body.push(if last == 'x' { 'y' } else { 'x' });
    with_checksum(&body)
}

/// A key that nobody issued.
fn with_other_id(key: &str) -> String {
    let (body, _) = key.split_at(key.len() - 6);
    let at = "chy_dev_".len();
    let other = if body.as_bytes()[at] == b'x' { "y" } else { "x" };
    let mut body = body.to_owned();
    body.replace_range(at..=at, other);
    with_checksum(&body)
}

/// The checksum as the documents say it, written down a second time: CRC-32 in six digits of base62.
fn with_checksum(body: &str) -> String {
    let table = |byte: u32| (0..8).fold(byte, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 });
    let crc = body.bytes().fold(!0_u32, |crc, byte| (crc >> 8) ^ table((crc ^ u32::from(byte)) & 0xff));
    let digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".as_bytes();
    let mut rest = !crc;
    let mut checksum = [0_u8; 6];
    for place in checksum.iter_mut().rev() {
        *place = digits[(rest % 62) as usize];
        rest /= 62;
    }
    format!("{body}{}", String::from_utf8(checksum.to_vec()).unwrap())
}

async fn a_key(chancery: &Chancery) -> String {
    let operator = chancery.operator().await.unwrap();
    let id = format!("k-{}", &uuid()[..8]);
    create(&operator, new_key(RING, &id, Algorithm::EcdsaP256Sha256)).await.name
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_shown_once_and_signs() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&chancery).await;
    let request = v1::IssueApiKeyRequest {
        parent: CALLER.to_owned(),
        lifetime: seconds(3600),
        scope: Some(everything()),
        request_id: uuid(),
    };
    let issued = operator.callers().issue_api_key(request.clone()).await.unwrap().into_inner();
    let (api_key, text) = (issued.api_key.unwrap(), issued.key);
    let id = api_key.name.strip_prefix("callers/caller/apiKeys/").unwrap();
    assert!(text.starts_with(&format!("chy_dev_{id}")) && text.len() == "chy_dev_".len() + 48, "{}", text.len());
    assert_eq!((api_key.state(), api_key.last_use_time), (ApiKeyState::Active, None));
    let again = operator.callers().issue_api_key(request).await;
    assert_refused(again, Code::AlreadyExists, "API_KEY_SHOWN");

    let client = connect(&chancery, &text).await;
    let signed = client.signing().sign(sign(&key, b"m")).await.unwrap().into_inner();
    let record = Record::read(&operator).await;
    let intent = record.intents().find(|intent| intent.index == signed.record_index).unwrap();
    assert_eq!(intent.caller, CALLER);
    assert_eq!(details(intent)["authentication"], serde_json::json!({ "method": "api_key", "api_key": id }));
    assert_eq!(details(intent)["attributes"]["context"]["authentication"], "api-key");
    assert!(listed(&operator, &api_key.name).await.last_use_time.is_some());
    let said = record.acts("IssueApiKey", &api_key.name).map(|act| details(act)["message"].clone());
    assert_eq!(said.collect::<Vec<_>>(), ["READ_WRITE, for 3600 seconds"]);
    // The service's own secret was made on the record, and no caller reaches it.
    let own = "keyRings/system/keys/api-keys/versions/1";
    let acts: Vec<_> = record.of(v1::RecordKind::Act).filter(|act| act.resource == own).collect();
    assert_eq!(acts.len(), 2, "{acts:?}");
    assert!(acts.iter().all(|act| act.caller.is_empty() && act.action.is_empty()));
    for caller in [&client, &operator] {
        let request = v1::GetKeyRequest { name: "keyRings/system/keys/api-keys".to_owned() };
        assert_refused(caller.keys().get_key(request).await, Code::PermissionDenied, "ACCESS_DENIED");
        let request = v1::MacSignRequest { name: own.to_owned(), message: "m".into(), message_crc32c: None };
        assert_refused(caller.signing().mac_sign(request).await, Code::PermissionDenied, "ACCESS_DENIED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_and_a_wrong_secret_look_alike_and_a_typing_error_is_told() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&chancery).await;
    let (_, text) = issue(&operator, everything()).await;
    let channel = channel(&chancery, false).await;
    let (unknown, wrong) = (bearer(&with_other_id(&text)), bearer(&with_other_secret(&text)));
    let unknown_status = sign_with(&channel, &key, &[&unknown]).await.unwrap_err();
    let wrong_status = sign_with(&channel, &key, &[&wrong]).await.unwrap_err();
    assert_eq!(seen(&unknown_status), seen(&wrong_status));
    let refusal = Refusal::from(unknown_status);
    assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::Unauthenticated, Some("API_KEY_UNKNOWN")));

    // In time, too: taking turns, so that whatever else the machine does meets both. What this can show is coarse: one way that asks
    // a disk or a token and another that does not. That both are hashed and compared once is counted where it is done
    // (core/api_keys/pepper.rs).
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..200 {
        for (authorization, taken) in [&unknown, &wrong].into_iter().zip(&mut taken) {
            let began = Instant::now();
            sign_with(&channel, &key, &[authorization]).await.unwrap_err();
            taken.push(began.elapsed());
        }
    }
    let medians = taken.map(|mut taken| {
        taken.sort_unstable();
        taken[taken.len() / 2]
    });
    let (slower, faster) = (medians[0].max(medians[1]), medians[0].min(medians[1]));
    assert!(slower < faster * 5, "{medians:?}");

    let mut damaged = text.clone();
    damaged.replace_range(20..=20, if &text[20..=20] == "x" { "y" } else { "x" });
    for (authorization, reason) in [
        (vec![bearer(&damaged)], "API_KEY_MALFORMED"),
        (vec![bearer(&text[..40])], "API_KEY_MALFORMED"),
        (vec!["Basic dXNlcjpzZWNyZXQ=".to_owned()], "AUTHORIZATION_NOT_UNDERSTOOD"),
        (vec![bearer(&text), bearer(&text)], "AUTHORIZATION_NOT_UNDERSTOOD"),
        (vec![], "NO_CERTIFICATE"),
    ] {
        let values: Vec<&str> = authorization.iter().map(String::as_str).collect();
        assert_refused(sign_with(&channel, &key, &values).await, Code::Unauthenticated, reason);
    }
    sign_with(&channel, &key, &[&bearer(&text)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_and_an_expired_key_open_nothing_and_say_so_to_who_has_their_secret() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&chancery).await;
    let channel = channel(&chancery, false).await;
    let (name, text) = issue(&operator, everything()).await;
    sign_with(&channel, &key, &[&bearer(&text)]).await.unwrap();
    let revoked = revoke(&operator, &name).await;
    assert_eq!(revoked.state(), ApiKeyState::Revoked);
    assert_eq!(revoke(&operator, &name).await.revoke_time, revoked.revoke_time, "revoking it again changes nothing");
    assert_refused(sign_with(&channel, &key, &[&bearer(&text)]).await, Code::Unauthenticated, "API_KEY_REVOKED");
    let guessed = bearer(&with_other_secret(&text));
    assert_refused(sign_with(&channel, &key, &[&guessed]).await, Code::Unauthenticated, "API_KEY_UNKNOWN");

    let issued = try_issue(&operator, 1, everything()).await.unwrap();
    let text = issued.key;
    // In the very moment it may be let in and then be found wanting, which says less.
    let _moment =
        eventually("the key expires", async || sign_with(&channel, &key, &[&bearer(&text)]).await.err()).await;
    assert_refused(sign_with(&channel, &key, &[&bearer(&text)]).await, Code::Unauthenticated, "API_KEY_EXPIRED");
    assert_eq!(listed(&operator, &issued.api_key.unwrap().name).await.state(), ApiKeyState::Expired);
    let request = v1::RotateApiKeyRequest { name, ..v1::RotateApiKeyRequest::default() };
    assert_refused(operator.callers().rotate_api_key(request).await, Code::FailedPrecondition, "API_KEY_OVER");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_narrows_what_policy_allows_and_never_adds() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&chancery).await;
    let verify = |client: &Client| {
        let mut signing = client.signing();
        let request = v1::VerifyRequest {
            name: key.clone(),
            input: message(b"m"),
            signature: vec![0; 64],
            encoding: v1::SignatureEncoding::P1363.into(),
            ..v1::VerifyRequest::default()
        };
        async move { signing.verify(request).await.map(drop) }
    };
    let signs = async |client: &Client| client.signing().sign(sign(&key, b"m")).await.map(drop);
    let scope = |actions: &[&str], key_rings: &[&str]| v1::ApiKeyScope {
        actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        key_rings: key_rings.iter().map(|ring| (*ring).to_owned()).collect(),
        ..everything()
    };
    let read_only = v1::ApiKeyScope { access: ApiKeyAccess::ReadOnly.into(), ..everything() };
    for (scope, may_sign, may_verify) in [
        (everything(), true, true),
        (read_only, false, true),
        (scope(&["Sign"], &[]), true, false),
        (scope(&["Verify"], &[RING]), false, true),
        (scope(&[], &["keyRings/vault"]), false, false),
    ] {
        let said = format!("{scope:?}");
        let client = connect(&chancery, &issue(&operator, scope).await.1).await;
        for (answer, may) in [(signs(&client).await, may_sign), (verify(&client).await, may_verify)] {
            match answer {
                Ok(()) => assert!(may, "{said}"),
                Err(status) => {
                    assert!(!may, "{said}: {status}");
                    // As of a key that does not exist.
                    assert_refused(Err::<(), _>(status), Code::PermissionDenied, "ACCESS_DENIED");
                }
            }
        }
        // What the caller may not do, no scope gives.
        let records = client.audit().list_records(v1::ListRecordsRequest::default()).await;
        assert_refused(records, Code::PermissionDenied, "ACCESS_DENIED");
        let rings = client.keys().list_key_rings(v1::ListKeyRingsRequest::default()).await.unwrap().into_inner();
        assert!(rings.key_rings.iter().all(|ring| ring.name == RING));
    }
    let denials = eventually("the denials are on the record", async || {
        let request = v1::ListRecordsRequest {
            kind: v1::RecordKind::Denial.into(),
            caller: CALLER.to_owned(),
            ..v1::ListRecordsRequest::default()
        };
        let found = records(&operator, request).await;
        found.iter().any(|denial| details(denial)["reason"] == "OUT_OF_SCOPE").then_some(found)
    });
    assert!(!denials.await.is_empty());
    for (field, wrong) in [
        ("scope.key_rings", scope(&[], &["keyRings/nowhere"])),
        ("scope.actions", scope(&["sign"], &[])),
        ("scope.actions", v1::ApiKeyScope { access: ApiKeyAccess::ReadOnly.into(), ..scope(&["Sign"], &[]) }),
        ("scope.access", v1::ApiKeyScope::default()),
    ] {
        assert_field(try_issue(&operator, 60, wrong).await, field);
    }
    for lifetime in [0, -1, 91 * 24 * 3600] {
        assert_field(try_issue(&operator, lifetime, everything()).await, "lifetime");
    }
}

/// Rotation hands out a key with the scope of the old one, so a narrow key must not get at a wide one by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_may_rotate_his_keys_rotates_with_each_key_only_that_key() {
    let chancery = setup().start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let policy = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    let mut documents = policy.documents;
    documents.push(v1::PolicyDocument {
        name: "own-keys.cedar".to_owned(),
        text: r#"@id("own-keys-are-rotated")
            permit (principal, action == Chancery::Action::"RotateApiKey", resource is Chancery::Caller)
            when { resource == principal };"#
            .to_owned(),
    });
    let request = v1::ApplyPolicySetRequest { documents, etag: policy.etag };
    operator.policy().apply_policy_set(request).await.unwrap();
    let rotating = v1::ApiKeyScope { actions: vec!["RotateApiKey".to_owned()], ..everything() };
    let (narrow, text) = issue(&operator, rotating).await;
    let (wide, _) = issue(&operator, everything()).await;
    let client = connect(&chancery, &text).await;
    let rotate = async |name: &str| {
        let request = v1::RotateApiKeyRequest { name: name.to_owned(), ..v1::RotateApiKeyRequest::default() };
        client.callers().rotate_api_key(request).await.map(|answer| answer.into_inner().api_key.unwrap())
    };
    assert_refused(rotate(&wide).await, Code::PermissionDenied, "ACCESS_DENIED");
    assert_eq!(listed(&operator, &wide).await.state(), ApiKeyState::Active, "and nothing happened to it");
    assert_eq!(rotate(&narrow).await.unwrap().scope.unwrap().actions, ["RotateApiKey"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_of_use_from_its_networks_only() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&chancery).await;
    let channel = channel(&chancery, false).await;
    let bound = |networks: &[&str]| v1::ApiKeyScope {
        networks: networks.iter().map(|network| (*network).to_owned()).collect(),
        ..everything()
    };
    let (_, elsewhere) = issue(&operator, bound(&["10.20.0.0/16", "2001:db8::/32"])).await;
    assert_refused(sign_with(&channel, &key, &[&bearer(&elsewhere)]).await, Code::PermissionDenied, "API_KEY_SOURCE");
    let (_, here) = issue(&operator, bound(&["10.20.0.0/16", "127.0.0.0/8", "::1"])).await;
    sign_with(&channel, &key, &[&bearer(&here)]).await.unwrap();
    assert_field(try_issue(&operator, 60, bound(&["10.1.2.3/8"])).await, "scope.networks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_goes_on_for_the_overlap() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&chancery).await;
    let channel = channel(&chancery, false).await;
    let scope = v1::ApiKeyScope { actions: vec!["Sign".to_owned()], ..everything() };
    let (name, old) = issue(&operator, scope.clone()).await;
    let rotate = async |name: &str, overlap| {
        let request = v1::RotateApiKeyRequest { name: name.to_owned(), overlap, ..v1::RotateApiKeyRequest::default() };
        operator.callers().rotate_api_key(request).await.map(Response::into_inner)
    };
    let rotated = rotate(&name, seconds(600)).await.unwrap();
    let (new_name, new) = (rotated.api_key.clone().unwrap().name, rotated.key);
    assert_eq!(rotated.api_key.unwrap().scope, Some(scope));
    for text in [&old, &new] {
        sign_with(&channel, &key, &[&bearer(text)]).await.unwrap();
    }
    let before = listed(&operator, &name).await;
    assert_eq!((before.state(), &before.replaced_by), (ApiKeyState::Active, &new_name));
    let left = before.expire_time.unwrap().seconds - before.create_time.unwrap().seconds;
    assert!(left < 3600, "{left}");
    assert_refused(rotate(&name, None).await, Code::FailedPrecondition, "API_KEY_OVER");
    // Without an overlap the old one ends at once.
    let third = rotate(&new_name, None).await.unwrap().key;
    assert_refused(sign_with(&channel, &key, &[&bearer(&new)]).await, Code::Unauthenticated, "API_KEY_EXPIRED");
    sign_with(&channel, &key, &[&bearer(&third)]).await.unwrap();
    // And never longer than it would have lived.
    let issued = try_issue(&operator, 60, everything()).await.unwrap().api_key.unwrap();
    rotate(&issued.name, seconds(3600)).await.unwrap();
    assert_eq!(listed(&operator, &issued.name).await.expire_time, issued.expire_time);
    let missing = rotate("callers/caller/apiKeys/000000000000", None).await;
    assert_refused(missing, Code::NotFound, "RESOURCE_NOT_FOUND");
    let others = rotate(&name.replace("callers/caller", "callers/operator"), None).await;
    assert_refused(others, Code::PermissionDenied, "ACCESS_DENIED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_key_are_of_one_caller_and_both_where_both_are_required() {
    // On a service of its own: its callers are changed.
    let chancery = setup().start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&chancery).await;
    let other = v1::CreateCallerRequest {
        caller_id: "other".to_owned(),
        caller: Some(v1::Caller {
            environment: "dev".to_owned(),
            roles: vec!["signer".to_owned()],
            key_rings: vec![RING.to_owned()],
            ..v1::Caller::default()
        }),
        request_id: String::new(),
    };
    let other = operator.callers().create_caller(other).await.unwrap().into_inner();
    let request = v1::IssueApiKeyRequest {
        parent: other.name,
        lifetime: seconds(60),
        scope: Some(everything()),
        request_id: String::new(),
    };
    let others = bearer(&operator.callers().issue_api_key(request).await.unwrap().into_inner().key);
    let (name, own) = issue(&operator, everything()).await;
    let own = bearer(&own);
    let (with, without) = (channel(&chancery, true).await, channel(&chancery, false).await);
    sign_with(&without, &key, &[&others]).await.unwrap();
    let refused = sign_with(&with, &key, &[&others]).await;
    assert_refused(refused, Code::Unauthenticated, "CREDENTIALS_OF_DIFFERENT_CALLERS");
    let signed = sign_with(&with, &key, &[&own]).await.unwrap().into_inner();
    let record = Record::read(&operator).await;
    let intent = record.intents().find(|intent| intent.index == signed.record_index).unwrap();
    let proof = &details(intent)["authentication"];
    assert_eq!(
        (&proof["method"], &proof["identity"]),
        (&"certificate_and_api_key".into(), &"spiffe://chancery.dev/caller".into())
    );

    let required = vec![AuthenticationFactor::Certificate.into(), AuthenticationFactor::ApiKey.into()];
    let caller = v1::Caller { name: CALLER.to_owned(), required_factors: required, ..v1::Caller::default() };
    let update_mask = Some(FieldMask { paths: vec!["required_factors".to_owned()] });
    operator.callers().update_caller(v1::UpdateCallerRequest { caller: Some(caller), update_mask }).await.unwrap();
    assert_refused(sign_with(&with, &key, &[]).await, Code::Unauthenticated, "FACTOR_MISSING");
    assert_refused(sign_with(&without, &key, &[&own]).await, Code::Unauthenticated, "FACTOR_MISSING");
    sign_with(&with, &key, &[&own]).await.unwrap();
    // A key that is revoked is none, also beside a certificate.
    revoke(&operator, &name).await;
    assert_refused(sign_with(&with, &key, &[&own]).await, Code::Unauthenticated, "API_KEY_REVOKED");
    // A suspended caller is suspended with every credential.
    let request = v1::SuspendCallerRequest { name: "callers/other".to_owned(), reason: String::new() };
    operator.callers().suspend_caller(request).await.unwrap();
    assert_refused(sign_with(&without, &key, &[&others]).await, Code::PermissionDenied, "CALLER_SUSPENDED");
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_last_over_a_restart_and_are_counted_by_how_they_are() {
    let mut chancery = setup()
        .configure(|config| {
            let days = |days: i64| toml::Value::Integer(days);
            let api_keys: toml::Table = [("max_lifetime_days", 20), ("warn_before_expiry_days", 7)]
                .map(|(name, n)| (name.to_owned(), days(n)))
                .into_iter()
                .collect();
            config.insert("api_keys".to_owned(), api_keys.into());
        })
        .start()
        .await
        .unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&chancery).await;
    assert_field(try_issue(&operator, 21 * 24 * 3600, everything()).await, "lifetime");
    let long = try_issue(&operator, 20 * 24 * 3600, everything()).await.unwrap();
    let short = try_issue(&operator, 6 * 24 * 3600, everything()).await.unwrap();
    let gone = issue(&operator, everything()).await;
    revoke(&operator, &gone.0).await;
    connect(&chancery, &long.key).await.signing().sign(sign(&key, b"m")).await.unwrap();
    let used = listed(&operator, &long.api_key.clone().unwrap().name).await.last_use_time;
    assert!(used.is_some());
    chancery.restart().await.unwrap();

    let operator = chancery.operator().await.unwrap();
    let client = connect(&chancery, &long.key).await;
    assert_eq!(listed(&operator, &long.api_key.unwrap().name).await.last_use_time, used, "it was written at the end");
    client.signing().sign(sign(&key, b"m")).await.unwrap();
    let short = listed(&operator, &short.api_key.unwrap().name).await;
    assert!(short.expiring && !short.dormant, "{short:?}");
    let count =
        |state: &str| metric(chancery.admin_endpoint().unwrap(), "chancery_api_keys", &format!("state=\"{state}\""));
    assert_eq!(["active", "expiring", "dormant", "expired", "revoked"].map(count), [1.0, 1.0, 0.0, 0.0, 1.0]);
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_system_ring_no_key_is_issued() {
    let without = |config: &mut toml::Table| {
        config.remove("system_ring");
        config["store"].as_table_mut().unwrap().insert("state_root".to_owned(), false.into());
    };
    let chancery = setup().configure(without).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    assert_refused(try_issue(&operator, 60, everything()).await, Code::FailedPrecondition, "SYSTEM_RING_MISSING");
    let unknown = with_checksum(&format!("chy_dev_{}", "a".repeat(42)));
    let channel = channel(&chancery, false).await;
    let answer = sign_with(&channel, "keyRings/dev/keys/k", &[&bearer(&unknown)]).await;
    assert_refused(answer, Code::Unauthenticated, "API_KEY_UNKNOWN");
    chancery.stop().await.unwrap();
}

/// The key itself, its secret alone and the hash's pepper: looked for in the log at its loudest, in spans, metrics, records
/// and every file of the service.
#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_nowhere() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let mut chancery = setup()
        .environment("OTEL_BSP_SCHEDULE_DELAY", "50")
        .configure(move |config| {
            let telemetry = config["telemetry"].as_table_mut().unwrap();
            telemetry.insert("log_filter".to_owned(), "trace".into());
            telemetry.insert("otlp_endpoint".to_owned(), endpoint.into());
        })
        .start()
        .await
        .unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&chancery).await;
    let (name, text) = issue(&operator, everything()).await;
    let client = connect(&chancery, &text).await;
    client.signing().sign(sign(&key, b"m")).await.unwrap();
    refused(client.audit().list_records(v1::ListRecordsRequest::default()).await);
    let channel = channel(&chancery, false).await;
    let wrong = with_other_secret(&text);
    sign_with(&channel, &key, &[&bearer(&wrong)]).await.unwrap_err();
    sign_with(&channel, &key, &[&bearer(&text[..text.len() - 1])]).await.unwrap_err();
    sign_with(&channel, &key, &["Basic c2VjcmV0LXNlY3JldC1zZWNyZXQ="]).await.unwrap_err();
    revoke(&operator, &name).await;
    sign_with(&channel, &key, &[&bearer(&text)]).await.unwrap_err();

    let secret = &text["chy_dev_".len() + 12..text.len() - 6];
    let canaries = [
        Canary::new("the key", text.as_bytes()),
        Canary::new("its secret", secret.as_bytes()),
        Canary::new("a guess", &wrong.as_bytes()["chy_dev_".len() + 12..wrong.len() - 6]),
        Canary::new("another credential", b"c2VjcmV0LXNlY3JldC1zZWNyZXQ="),
    ];
    let pages = ["/metrics", "/readyz"].map(|page| admin_page(chancery.admin_endpoint().unwrap(), page).1);
    let everything = records(&operator, v1::ListRecordsRequest::default()).await;
    for record in &everything {
        assert!(found(&canaries, format!("{record:?}").as_bytes()).is_empty(), "record {}", record.index);
        assert!(found(&canaries, &record.details_json).is_empty(), "record {}", record.index);
    }
    // What is said at the end is said, too; and the database is one file then.
    chancery.terminate().await.unwrap();
    assert!(chancery.log().contains("TRACE"), "the log says all it can say");
    assert!(found(&canaries, chancery.log().as_bytes()).is_empty());
    assert!(pages.iter().all(|page| found(&canaries, page.as_bytes()).is_empty()));
    assert_eq!(found_in_folder(&canaries, &chancery.dir()), []);
    let until = Instant::now() + PATIENCE;
    while collector.all_spans().is_empty() {
        assert!(Instant::now() < until, "no span came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for span in collector.all_spans() {
        assert!(found(&canaries, format!("{span:?}").as_bytes()).is_empty(), "{span:?}");
    }
}
