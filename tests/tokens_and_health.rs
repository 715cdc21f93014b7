//! What operators and machines look at: tokens, health, reflection, and the admin address.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::BTreeSet;

use chancery_api::v1::{self, Algorithm, TokenHealth};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, IdentityFiles, Leaf, Setup};
use chancery_tests::contract::{Fixture, admin_get, assert_refused, create, eventually, new_key, refused, sign};
use chancery_tests::token_under_test::token_under_test;
use prost::Message as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

static CHANCERY: Fixture = Fixture::new(setup);

const SERVICES: [&str; 6] = [
    "chancery.v1.AuditService",
    "chancery.v1.CallerService",
    "chancery.v1.KeyService",
    "chancery.v1.PolicyService",
    "chancery.v1.SigningService",
    "chancery.v1.TokenService",
];

fn setup() -> Setup {
    Chancery::setup().ring("other", "dev").with(CallerSetup::new("nobody"))
}

async fn token(client: &Client) -> v1::Token {
    let request = v1::GetTokenRequest { name: "tokens/main".to_owned() };
    client.tokens().get_token(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_token_is_described_as_it_describes_itself() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let config: toml::Table = std::fs::read_to_string(chancery.config()).unwrap().parse().unwrap();
    let configured = |field: &str| config["token"][0][field].as_str().unwrap().to_owned();
    let token = token(&operator).await;
    assert_eq!(token.name, "tokens/main");
    assert_eq!((token.label.clone(), token.serial.clone()), (configured("label"), configured("serial")));
    assert!(token.manufacturer.contains(token_under_test().manufacturer), "{token:?}");
    assert!(!token.model.is_empty() && !token.firmware_version.is_empty() && !token.hardware_version.is_empty());
    assert_eq!((token.health, token.health_reason.as_str()), (TokenHealth::Up.into(), ""));
    assert!(token.signing_threads >= 1);
    assert!(token.open_sessions > token.signing_threads, "a session for each thread, and the anchor: {token:?}");
    assert!(token.max_sessions == 0 || token.max_sessions >= token.open_sessions);
    assert_eq!(token.worker_restarts, 0);
    // Not by /proc/<pid>/exe: only root may look there, since neither process is dumpable.
    let of_worker = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", token.worker_pid)).unwrap();
    let parent = format!("PPid:\t{}\n", chancery.pid());
    assert!(of_worker("status").contains(&parent), "the worker is the service's child");
    assert_eq!(of_worker("cmdline"), "/proc/self/exe\0hsm-worker\0", "and the very same program");
    assert!(token.worker_pid != chancery.pid(), "in a process of its own");
    for mechanism in ["CKM_ECDSA", "CKM_EDDSA", "CKM_RSA_PKCS_KEY_PAIR_GEN"] {
        assert!(token.mechanisms.iter().any(|offered| offered == mechanism), "{mechanism}: {:?}", token.mechanisms);
    }
    token_under_test().assert_offered(&token.algorithms);
    assert_eq!(token.key_rings, ["keyRings/dev", "keyRings/other"]);
}

#[tokio::test]
async fn the_tokens_are_those_of_the_configuration() {
    let chancery = CHANCERY.get().await;
    let operator = chancery.operator().await.unwrap();
    let request = v1::ListTokensRequest { page_size: 1, ..v1::ListTokensRequest::default() };
    let answer = operator.tokens().list_tokens(request).await.unwrap().into_inner();
    assert_eq!(answer.next_page_token, "");
    let [listed] = answer.tokens.as_slice() else { panic!("one token: {answer:?}") };
    let got = token(&operator).await;
    assert_eq!((&listed.name, &listed.serial, listed.worker_pid), (&got.name, &got.serial, got.worker_pid));
    let request = v1::GetTokenRequest { name: "tokens/none".to_owned() };
    assert_refused(operator.tokens().get_token(request).await, Code::PermissionDenied, "ACCESS_DENIED");
}

async fn check(client: &Client, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = client.health().check(request).await.map_err(|status| status.code())?;
    Ok(answer.into_inner().status())
}

#[tokio::test]
async fn health_is_told_as_a_whole_by_service_and_by_token() {
    let chancery = CHANCERY.get().await;
    // Who has no role, and even who is not registered: a probe has nothing to do with keys.
    let unregistered = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/probe"), "probe").unwrap();
    for client in [
        chancery.operator().await.unwrap(),
        chancery.connect_as("nobody").await.unwrap(),
        chancery.connect(&unregistered).await.unwrap(),
    ] {
        for service in SERVICES.iter().copied().chain(["", "tokens/main"]) {
            assert_eq!(check(&client, service).await, Ok(ServingStatus::Serving), "{service:?}");
        }
        for service in ["tokens/none", "chancery.v1.NoService", "main"] {
            assert_eq!(check(&client, service).await, Err(Code::NotFound), "{service:?}");
        }
    }
}

/// On a service of its own: its token is taken away and put back, and then it is stopped.
#[tokio::test]
async fn health_and_readiness_follow_the_token_and_the_stop() {
    let mut chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "gone-and-back", Algorithm::Ed25519)).await.name;
    let request = HealthCheckRequest { service: String::new() };
    let mut watched = operator.health().watch(request).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    // Without its token's files no worker can take over from the one that is killed.
    let (there, away) = (chancery.token_dir().join("tokens"), chancery.token_dir().join("away"));
    std::fs::rename(&there, &away).unwrap();
    let before = token(&operator).await;
    chancery_testkit::signal(before.worker_pid, "KILL").unwrap();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let down = eventually("the news of the token", async || {
        Some(token(&operator).await).filter(|token| token.health == i32::from(TokenHealth::Down))
    })
    .await;
    let folder = chancery.dir().display().to_string();
    let assert_told_outside = |reason: &str| {
        for detail in ["CKR_", "0x", folder.as_str()] {
            assert!(!reason.contains(detail), "{detail} is for the log only: {reason}");
        }
    };
    assert!(!down.health_reason.is_empty());
    assert_told_outside(&down.health_reason);
    for (service, expected) in [
        ("tokens/main", ServingStatus::NotServing),
        ("chancery.v1.SigningService", ServingStatus::NotServing),
        ("chancery.v1.TokenService", ServingStatus::Serving),
    ] {
        assert_eq!(check(&operator, service).await, Ok(expected), "{service}");
    }
    // Between two attempts; during one the token is starting.
    eventually("the reason", async || {
        let (status, words) = admin_get(&chancery, "/readyz").await;
        assert!(status == 503 && words.starts_with("not ready\ntokens/main: "), "{status} {words}");
        assert_told_outside(&words);
        words.contains("tokens/main: down: ").then_some(())
    })
    .await;
    assert_eq!(admin_get(&chancery, "/livez").await.0, 200, "it lives, and a restart would not help");
    let refusal = refused(caller.signing().sign(sign(&key, b"m")).await);
    assert_eq!(refusal.code, Code::Unavailable, "{refusal}");
    assert!(!refusal.to_string().contains("CKR_"), "a return code never reaches a caller: {refusal}");

    std::fs::rename(&away, &there).unwrap();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let after = token(&operator).await;
    assert_eq!(after.health, i32::from(TokenHealth::Up));
    assert!(after.worker_pid != before.worker_pid && after.worker_restarts >= 1, "{after:?}");
    eventually("readiness", async || (admin_get(&chancery, "/readyz").await.0 == 200).then_some(())).await;
    caller.signing().sign(sign(&key, b"m")).await.unwrap();

    let stopping = tokio::spawn(async move { chancery.terminate().await });
    let last = watched.message().await;
    assert_eq!(last.unwrap().unwrap().status(), ServingStatus::NotServing, "the last news, before the stream ends");
    assert!(stopping.await.unwrap().unwrap().success());
}

/// A channel without our client, for services that it does not know.
async fn channel(chancery: &Chancery, identity: &IdentityFiles) -> Channel {
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(chancery.ca())))
        .identity(Identity::from_pem(read(&identity.certificate), read(&identity.private_key)));
    let endpoint = Endpoint::from_shared(chancery.endpoint().to_owned()).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

async fn reflect(channel: Channel, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let answers = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::once(request)).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    answer.message_response.unwrap()
}

#[tokio::test]
async fn reflection_lists_every_service_and_describes_it() {
    let chancery = CHANCERY.get().await;
    let identity = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/caller"), "reflecting").unwrap();
    let channel = channel(&chancery, &identity).await;
    let MessageResponse::ListServicesResponse(list) =
        reflect(channel.clone(), MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list")
    };
    let listed: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(listed.contains(service), "{service}: {listed:?}");
    }
    let unknown: Vec<_> =
        listed.iter().filter(|name| !SERVICES.contains(&name.as_str()) && !name.starts_with("grpc.")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");

    for service in SERVICES {
        let question = MessageRequest::FileContainingSymbol(service.to_owned());
        let MessageResponse::FileDescriptorResponse(files) = reflect(channel.clone(), question).await else {
            panic!("no description of {service}")
        };
        let described = files.file_descriptor_proto.iter().any(|file| {
            let file = prost_types::FileDescriptorProto::decode(file.as_slice()).unwrap();
            let names = file.service.iter().map(|found| format!("{}.{}", file.package(), found.name()));
            names.into_iter().any(|name| name == service)
        });
        assert!(described, "{service}");
    }
}

#[tokio::test]
async fn reflection_answers_registered_callers_only() {
    let chancery = CHANCERY.get().await;
    let identity = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/unheard-of"), "unheard-of").unwrap();
    let channel = channel(&chancery, &identity).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let refused = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::once(request)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_admin_address_answers_probes() {
    let chancery = CHANCERY.get().await;
    assert_eq!(admin_get(&chancery, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(admin_get(&chancery, "/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(admin_get(&chancery, "/").await.0, 404);
    assert_eq!(admin_get(&chancery, "/metrics/").await.0, 404);
}

/// The samples of a metric: what is in the braces, and the value.
fn samples<'a>(metrics: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            labels.is_empty().then_some("").or(labels.strip_prefix('{')).map(|labels| (labels, value.parse().unwrap()))
        })
        .collect()
}

/// The sum of the samples whose labels hold all of these.
fn sum(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let matching = samples(metrics, name).into_iter().filter(|(all, _)| labels.iter().all(|label| all.contains(label)));
    matching.map(|(_, value)| value).sum()
}

/// On a service of its own: it counts.
#[tokio::test]
async fn metrics_count_what_was_done_and_what_was_refused() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "counted", Algorithm::Ed25519)).await.name;
    for _ in 0..7 {
        caller.signing().sign(sign(&key, b"m")).await.unwrap();
    }
    let secret_name = "keyRings/dev/keys/never-in-metrics";
    for _ in 0..3 {
        caller.signing().sign(sign(secret_name, b"m")).await.unwrap_err();
    }
    let mut unregistered = Request::new(v1::GetPolicySetRequest {});
    unregistered.set_timeout(std::time::Duration::from_secs(10));
    let identity = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/unheard-of"), "unheard-of").unwrap();
    let nobody = chancery.connect(&identity).await.unwrap();
    assert_eq!(nobody.policy().get_policy_set(unregistered).await.unwrap_err().code(), Code::Unauthenticated);

    // A call is counted when it has ended, which may be after its answer has arrived.
    let metrics = eventually("the counts", async || {
        let (status, metrics) = admin_get(&chancery, "/metrics").await;
        assert_eq!(status, 200);
        let signatures = sum(&metrics, "chancery_signatures_total", &["dev", "ED25519"]);
        let refusals = sum(&metrics, "chancery_refusals_total", &["ACCESS_DENIED"]);
        let strangers = sum(&metrics, "chancery_unauthenticated_total", &[]);
        assert!(signatures <= 7.0 && refusals <= 3.0 && strangers <= 1.0, "{metrics}");
        (signatures == 7.0 && refusals == 3.0 && strangers == 1.0).then_some(metrics)
    })
    .await;
    assert!(!metrics.contains("never-in-metrics"), "no caller's text: {metrics}");
    let decisions = |labels: &[&str]| sum(&metrics, "chancery_decisions_total", labels);
    assert_eq!(
        decisions(&["chancery_key=\"counted\"", "chancery_action=\"Sign\"", "chancery_decision=\"allow\""]),
        7.0
    );
    assert_eq!(decisions(&["chancery_key=\"_none\"", "chancery_reason=\"UNKNOWN_RESOURCE\""]), 3.0);
    chancery.stop().await.unwrap();
}
