//! `/.well-known/jwks.json`: what verifiers of JWTs fetch, by HTTP/1.1 and HTTP/2, and only with a name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use chancery_api::v1::{self, Algorithm, RecordKind};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, IdentityFiles, Leaf, Setup};
use chancery_tests::contract::{Fixture, admin_get, create, eventually, new_key, records};
use chancery_tests::jose::{Jws, thumbprint};
use chancery_tests::token_under_test::token_under_test;
use chancery_tests::web::{self, Answer, Web};
use http::Version;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

static CHANCERY: Fixture = Fixture::new(setup);

const PATH: &str = "/.well-known/jwks.json";
const HTTP1: &[&str] = &["http/1.1"];
const HTTP2: &[&str] = &["h2"];

const POLICY: &str = r#"
@id("partners-fetch-public-keys")
@description("Partners fetch the keys that are labelled for them.")
permit (
  principal in Chancery::Group::"partners",
  action == Chancery::Action::"GetPublicKey",
  resource in Chancery::KeyRing::"set"
)
when { resource.hasTag("for") && resource.getTag("for") == "partners" };
"#;

fn setup() -> Setup {
    Chancery::setup()
        .ring("set", "dev")
        .ring("empty", "dev")
        .with(CallerSetup::new("keeper").role("key-administrator").ring("set"))
        .with(CallerSetup::new("issuer").role("signer").ring("set").ring("empty"))
        .with(CallerSetup::new("partner").group("partners"))
        .policy("jwks.cedar", POLICY)
}

fn identity(chancery: &Chancery, id: &str) -> IdentityFiles {
    let file = |kind: &str| chancery.identities().join(format!("{id}.{kind}"));
    IdentityFiles { certificate: file("pem"), private_key: file("key") }
}

fn of(name: &str) -> String {
    format!("{PATH}?name={name}")
}

/// The keys of a set; each is checked for what a verifier needs of it.
fn keys(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), "application/jwk-set+json");
    let set = answer.json();
    assert_eq!(set.as_object().unwrap().len(), 1, "{set}");
    let keys = set["keys"].as_array().unwrap().clone();
    for key in &keys {
        assert_eq!((&key["use"], &key["kid"]), (&json!("sig"), &json!(thumbprint(key))), "{key}");
        assert!(key.get("d").is_none() && key.get("k").is_none(), "nothing secret: {key}");
    }
    keys
}

fn kids(answer: &Answer) -> Vec<String> {
    keys(answer).iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// A refusal, which is a problem by RFC 9457.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, reason: &str) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.headers.get("grpc-status").is_none(), "{:?}", answer.headers);
    let problem = answer.json();
    assert_eq!((&problem["status"], &problem["reason"]), (&json!(status), &json!(reason)), "{text}");
    assert_eq!(problem["type"], "about:blank");
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
    problem["detail"].as_str().unwrap().to_owned()
}

async fn issue(client: &Client, name: &str) -> v1::SignJwtResponse {
    let request =
        v1::SignJwtRequest { name: name.to_owned(), claims: "{}".to_owned(), ..v1::SignJwtRequest::default() };
    client.signing().sign_jwt(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_verifier_finds_the_key_of_a_token_by_either_protocol() {
    let chancery = CHANCERY.get().await;
    let (keeper, issuer) = (chancery.connect_as("keeper").await.unwrap(), chancery.connect_as("issuer").await.unwrap());
    let key = create(&keeper, new_key("keyRings/set", "found", Algorithm::EcdsaP256Sha256)).await.name;
    let token = issue(&issuer, &key).await;
    for (protocols, version) in [(HTTP1, Version::HTTP_11), (HTTP2, Version::HTTP_2), (&[], Version::HTTP_11)] {
        let web = Web::new(&chancery, &identity(&chancery, "issuer"), protocols);
        // Encoded as query strings are, and as people type them.
        for name in [key.clone(), key.replace('/', "%2F")] {
            let answer = web.get(&of(&name)).await;
            assert_eq!(answer.version, version);
            let [jwk] = keys(&answer).try_into().unwrap();
            assert_eq!(jwk["kid"], json!(token.key_id));
            assert!(Jws::parse(&token.token).is_signed_by(&jwk));
            assert_eq!(answer.header("cache-control"), "private, max-age=60");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert!(answer.header("date").ends_with(" GMT"));
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        }
        let ring = web.get(&of("keyRings/set")).await;
        assert!(kids(&ring).contains(&token.key_id));
    }
}

#[tokio::test]
async fn the_set_follows_rotation_and_suspension() {
    let chancery = CHANCERY.get().await;
    let (keeper, issuer) = (chancery.connect_as("keeper").await.unwrap(), chancery.connect_as("issuer").await.unwrap());
    let key = create(&keeper, new_key("keyRings/set", "followed", Algorithm::Ed25519)).await.name;
    let web = Web::new(&chancery, &identity(&chancery, "issuer"), HTTP1);
    let first = issue(&issuer, &key).await;
    let one = web.get(&of(&key)).await;
    assert_eq!(kids(&one), std::slice::from_ref(&first.key_id));
    let etag = one.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "a strong validator: {etag}");

    let same = web.ask("GET", &of(&key), &[("if-none-match", &etag)], b"").await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!((same.header("etag"), same.header("cache-control")), (etag.as_str(), "private, max-age=60"));
    let head = web.ask("HEAD", &of(&key), &[], b"").await;
    assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, etag.as_str()));
    assert_eq!(head.header("content-length"), one.header("content-length"));
    let head = Web::new(&chancery, &identity(&chancery, "issuer"), HTTP2).ask("HEAD", &of(&key), &[], b"").await;
    assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, etag.as_str()));
    assert_eq!(head.header("content-length"), one.header("content-length"));

    let rotate = v1::RotateKeyRequest { name: key.clone(), ..v1::RotateKeyRequest::default() };
    keeper.keys().rotate_key(rotate).await.unwrap();
    let second = issue(&issuer, &key).await;
    let both = web.ask("GET", &of(&key), &[("if-none-match", &etag)], b"").await;
    assert_eq!(
        kids(&both),
        [second.key_id.clone(), first.key_id.clone()],
        "the newest first; old tokens are still good"
    );
    assert_ne!(both.header("etag"), etag);

    let suspend = v1::SuspendKeyVersionRequest { name: first.name, reason: String::new() };
    keeper.keys().suspend_key_version(suspend).await.unwrap();
    let still = web.get(&of(&key)).await;
    assert_eq!(kids(&still).len(), 2, "what a suspended version signed is still verified");
    assert_eq!(still.header("etag"), both.header("etag"), "the same keys are the same bytes");
}

#[tokio::test]
async fn a_ring_s_set_holds_what_the_caller_may_have_and_jose_knows() {
    let chancery = CHANCERY.get().await;
    let (keeper, issuer) = (chancery.connect_as("keeper").await.unwrap(), chancery.connect_as("issuer").await.unwrap());
    let labelled = {
        let key = v1::Key {
            algorithm: Algorithm::EcdsaP256Sha256.into(),
            labels: [("for".to_owned(), "partners".to_owned())].into(),
            ..v1::Key::default()
        };
        let request = new_key("keyRings/set", "for-partners", Algorithm::EcdsaP256Sha256);
        create(&keeper, v1::CreateKeyRequest { key: Some(key), ..request }).await.name
    };
    let inner = create(&keeper, new_key("keyRings/set", "inner", Algorithm::EcdsaP256Sha256)).await.name;
    let mac = create(&keeper, new_key("keyRings/set", "mac", Algorithm::HmacSha256)).await.name;
    let (labelled_kid, inner_kid) = (issue(&issuer, &labelled).await.key_id, issue(&issuer, &inner).await.key_id);

    let own = Web::new(&chancery, &identity(&chancery, "issuer"), HTTP1);
    let all = kids(&own.get(&of("keyRings/set")).await);
    assert!(all.contains(&labelled_kid) && all.contains(&inner_kid));
    assert_problem(&own.get(&of(&mac)).await, 400, "KEY_PURPOSE_MISMATCH");
    if token_under_test().offers(Algorithm::EcdsaSecp256k1Keccak256) {
        let keccak = create(&keeper, new_key("keyRings/set", "keccak", Algorithm::EcdsaSecp256k1Keccak256)).await.name;
        assert_problem(&own.get(&of(&keccak)).await, 400, "ALGORITHM_NOT_IN_JOSE");
        assert_eq!(kids(&own.get(&of("keyRings/set")).await), all, "it is left out of the ring's set");
    }

    let partner = Web::new(&chancery, &identity(&chancery, "partner"), HTTP1);
    assert_eq!(kids(&partner.get(&of("keyRings/set")).await), std::slice::from_ref(&labelled_kid));
    assert_eq!(kids(&partner.get(&of(&labelled)).await), [labelled_kid]);
    assert_problem(&partner.get(&of(&inner)).await, 403, "ACCESS_DENIED");
}

#[tokio::test]
async fn unknown_and_denied_look_alike_and_are_on_the_record() {
    let chancery = CHANCERY.get().await;
    let (keeper, operator) = (chancery.connect_as("keeper").await.unwrap(), chancery.operator().await.unwrap());
    let key = create(&keeper, new_key("keyRings/set", "hidden", Algorithm::Ed25519)).await.name;
    let partner = Web::new(&chancery, &identity(&chancery, "partner"), HTTP1);
    let caller = Web::new(&chancery, &web::caller(&chancery), HTTP2);
    let mut said = Vec::new();
    for (web, name) in [
        (&partner, key.as_str()),
        (&partner, "keyRings/set/keys/there-is-none"),
        (&caller, "keyRings/set"),
        (&caller, "keyRings/empty"),
        (&caller, "keyRings/there-is-none"),
    ] {
        let detail = assert_problem(&web.get(&of(name)).await, 403, "ACCESS_DENIED");
        said.push(detail.replace(name, "NAME"));
    }
    assert!(said.iter().all(|one| *one == said[0]), "{said:?}");
    for (resource, reason) in [
        (key.as_str(), "NOT_PERMITTED"),
        ("keyRings/set/keys/there-is-none", "UNKNOWN_RESOURCE"),
        ("keyRings/set", "NOT_PERMITTED"),
        ("keyRings/there-is-none", "UNKNOWN_RESOURCE"),
    ] {
        eventually("the denial's record", async || {
            let query = v1::ListRecordsRequest {
                resource: resource.to_owned(),
                kind: RecordKind::Denial.into(),
                ..v1::ListRecordsRequest::default()
            };
            records(&operator, query).await.into_iter().find(|record| {
                let details: Value = serde_json::from_slice(&record.details_json).unwrap();
                record.resource == resource && record.action == "GetPublicKey" && details["reason"] == json!(reason)
            })
        })
        .await;
    }
}

#[tokio::test]
async fn nobody_is_anonymous() {
    let chancery = CHANCERY.get().await;
    let nobody = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/nobody"), "nobody").unwrap();
    for protocols in [HTTP1, HTTP2] {
        let answer = Web::new(&chancery, &nobody, protocols).get(&of("keyRings/set")).await;
        let detail = assert_problem(&answer, 401, "CALLER_NOT_REGISTERED");
        assert!(detail.contains("spiffe://chancery.dev/nobody"), "{detail}");
        assert!(!answer.header("www-authenticate").is_empty());
    }
}

#[tokio::test]
async fn mistakes_are_named() {
    let chancery = CHANCERY.get().await;
    for protocols in [HTTP1, HTTP2] {
        let web = Web::new(&chancery, &web::caller(&chancery), protocols);
        for query in ["", "?name=", "?name=keyRings/DEV", "?key=keyRings/dev", "?name=keyRings/dev/keys/k/versions/1"] {
            let detail = assert_problem(&web.get(&format!("{PATH}{query}")).await, 400, "INVALID_FIELD");
            assert!(detail.contains("name=keyRings/{ring}"), "{detail}");
        }
        for path in ["/", "/.well-known/", "/.well-known/openid-configuration", "/.well-known/jwks.json/"] {
            assert_problem(&web.get(path).await, 404, "PATH_NOT_FOUND");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = web.ask(method, &of("keyRings/dev"), &[], b"").await;
            assert_problem(&answer, 405, "METHOD_NOT_ALLOWED");
            assert_eq!(answer.header("allow"), "GET, HEAD");
        }
    }
}

#[tokio::test]
async fn grpc_over_http_1_1_is_told_what_it_needs() {
    let chancery = CHANCERY.get().await;
    let web = Web::new(&chancery, &web::caller(&chancery), HTTP1);
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let answer = web.ask("POST", "/chancery.v1.SigningService/Sign", &headers, b"\0\0\0\0\0").await;
    let detail = assert_problem(&answer, 505, "HTTP2_REQUIRED");
    assert!(detail.contains("h2"), "{detail}");
    // gRPC itself is what it was.
    let grpc = Web::new(&chancery, &web::caller(&chancery), HTTP2);
    let answer = grpc.ask("POST", "/chancery.v1.SigningService/Sign", &headers, b"\0\0\0\0\0").await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "3"), "{answer:?}");
}

#[tokio::test]
async fn http_1_1_connections_are_bounded() {
    let chancery = Chancery::setup()
        .configure(|config| {
            let limits = toml::toml! { keepalive_timeout_seconds = 5 };
            config["listener"].as_table_mut().unwrap().insert("limits".to_owned(), limits.into());
        })
        .start()
        .await
        .unwrap();
    let web = Web::new(&chancery, &web::caller(&chancery), HTTP1);
    // Headers that never end.
    let mut slow = web.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(chancery_tests::contract::PATIENCE, slow.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "the connection is closed");
    // Headers that are too long.
    let long = "x".repeat(64 * 1024);
    let mut large = web.connect().await;
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n");
    let mut rest = Vec::new();
    // It may hang up while it is still being told.
    let _told = large.write_all(request.as_bytes()).await;
    let _read = large.read_to_end(&mut rest).await;
    let said = String::from_utf8_lossy(&rest);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
    // Several requests on one connection.
    let mut kept = web.connect().await;
    for _ in 0..2 {
        kept.write_all(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(kept.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&head));
    }
    let (_, metrics) = admin_get(&chancery, "/metrics").await;
    let counted = metrics.lines().find(|line| line.starts_with("http_server_request_duration_seconds_count"));
    let counted = counted.unwrap_or_else(|| panic!("no http.server.request.duration in {metrics}"));
    assert!(
        counted.contains(r#"http_response_status_code="404""#) && counted.contains(r#"http_request_method="HEAD""#)
    );
}
