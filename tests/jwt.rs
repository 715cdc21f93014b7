//! SignJwt: tokens that any verifier takes, within the bounds of key and policy, and on the record without their claims.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use chancery_api::v1::{self, Algorithm, PublicKeyFormat, RecordKind};
use chancery_client::Client;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::contract::{
    Fixture, assert_field, assert_refused, create, eventually, hex, new_key, records, refused, sha256, sign, uuid,
};
use chancery_tests::jose::{Jws, thumbprint};
use chancery_tests::token_under_test::token_under_test;
use prost_types::Duration;
use serde_json::{Value, json};
use tonic::{Code, Status};

static CHANCERY: Fixture = Fixture::new(setup);

const RING: &str = "keyRings/dev";

/// The policies of docs/jwt.md: a caller without roles who may do nothing but make access tokens of one issuer, for its own
/// subjects and audience, for ten minutes; and nobody may sign anything else with the key.
fn policy() -> &'static str {
    let page = include_str!("../docs/jwt.md");
    let blocks: Vec<&str> = page.split("```cedar\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [policies] = blocks[..] else { panic!("docs/jwt.md has one block of policies") };
    policies
}

fn setup() -> Setup {
    Chancery::setup().with(CallerSetup::new("shop").group("shop").ring("dev")).policy("jwt.cedar", policy())
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn asking(name: &str, claims: &Value) -> v1::SignJwtRequest {
    v1::SignJwtRequest { name: name.to_owned(), claims: claims.to_string(), ..v1::SignJwtRequest::default() }
}

async fn issue(client: &Client, request: v1::SignJwtRequest) -> Result<v1::SignJwtResponse, Status> {
    client.signing().sign_jwt(request).await.map(tonic::Response::into_inner)
}

async fn jwk(client: &Client, name: &str) -> Value {
    let request = v1::GetPublicKeyRequest { name: name.to_owned(), format: PublicKeyFormat::Jwk.into() };
    let answer = client.signing().get_public_key(request).await.unwrap().into_inner();
    assert_eq!(answer.data_crc32c, crc32c::crc32c(&answer.data));
    serde_json::from_slice(&answer.data).unwrap()
}

/// A key whose tokens live for at most so many seconds.
fn with_lifetime(id: &str, algorithm: Algorithm, lifetime: Option<Duration>) -> v1::CreateKeyRequest {
    let key = v1::Key { algorithm: algorithm.into(), max_jwt_lifetime: lifetime, ..v1::Key::default() };
    v1::CreateKeyRequest { key: Some(key), ..new_key(RING, id, algorithm) }
}

/// RFC 7518, section 3.1; RFC 8037; RFC 8812; RFC 9964.
const JOSE: [(Algorithm, &str, &str); 16] = [
    (Algorithm::RsaPkcs12048Sha256, "RS256", "RSA"),
    (Algorithm::RsaPkcs13072Sha256, "RS256", "RSA"),
    (Algorithm::RsaPkcs14096Sha256, "RS256", "RSA"),
    (Algorithm::RsaPkcs14096Sha512, "RS512", "RSA"),
    (Algorithm::RsaPss2048Sha256, "PS256", "RSA"),
    (Algorithm::RsaPss3072Sha256, "PS256", "RSA"),
    (Algorithm::RsaPss4096Sha256, "PS256", "RSA"),
    (Algorithm::RsaPss4096Sha512, "PS512", "RSA"),
    (Algorithm::EcdsaP256Sha256, "ES256", "EC"),
    (Algorithm::EcdsaP384Sha384, "ES384", "EC"),
    (Algorithm::EcdsaP521Sha512, "ES512", "EC"),
    (Algorithm::EcdsaSecp256k1Sha256, "ES256K", "EC"),
    (Algorithm::Ed25519, "EdDSA", "OKP"),
    (Algorithm::MlDsa44, "ML-DSA-44", "AKP"),
    (Algorithm::MlDsa65, "ML-DSA-65", "AKP"),
    (Algorithm::MlDsa87, "ML-DSA-87", "AKP"),
];

#[tokio::test]
async fn a_token_of_each_algorithm_is_verified_by_its_jwk() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    for (algorithm, alg, kty) in JOSE.into_iter().filter(|(algorithm, ..)| token_under_test().offers(*algorithm)) {
        let id = format!("jwt-{}", algorithm as i32);
        let key = create(&operator, new_key(RING, &id, algorithm)).await;
        let before = now();
        let request = asking(&key.name, &json!({"iss": "https://issuer.example", "n": 1.5, "ä": ["ö", null]}));
        let made = issue(&caller, request).await.unwrap();
        assert_eq!(made.name, key.primary_version);
        assert_eq!(made.token_crc32c, crc32c::crc32c(made.token.as_bytes()));

        let jwk = jwk(&caller, &made.name).await;
        assert_eq!((&jwk["alg"], &jwk["kty"], &jwk["use"]), (&json!(alg), &json!(kty), &json!("sig")));
        assert_eq!(jwk["kid"], json!(thumbprint(&jwk)));
        let jws = Jws::parse(&made.token);
        let kid = made.key_id.as_str();
        assert_eq!(jws.header, format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT"}}"#));
        assert_eq!(jwk["kid"], json!(kid));
        assert!(jws.is_signed_by(&jwk), "{algorithm:?}");
        let another = issue(&caller, asking(&key.name, &json!({"iss": "https://other.example"}))).await.unwrap().token;
        let spliced = format!("{}.{}", jws.signing_input(), another.rsplit('.').next().unwrap());
        assert!(!Jws::parse(&spliced).is_signed_by(&jwk), "{algorithm:?}: another token's signature");

        let claims = jws.claims();
        assert_eq!(
            (&claims["iss"], &claims["n"], &claims["ä"]),
            (&json!("https://issuer.example"), &json!(1.5), &json!(["ö", null]))
        );
        let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!((before..=now()).contains(&iat) && exp == iat + 3600, "an hour where nothing is said: {claims}");
        assert_eq!((made.issue_time.unwrap().seconds, made.expire_time.unwrap().seconds), (iat, exp));
    }
}

#[tokio::test]
async fn the_claims_are_signed_byte_for_byte() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "verbatim", Algorithm::EcdsaP256Sha256)).await.name;
    let (iat, exp) = (now() - 5, now() + 100);
    let given =
        format!("{{ \"exp\" : {exp},\"b\":1.10, \"a\":\"\\u00e9\",\"iat\":{iat} ,\"big\":12345678901234567890123}}");
    let request = v1::SignJwtRequest { name: key.clone(), claims: given.clone(), ..v1::SignJwtRequest::default() };
    let made = issue(&caller, request).await.unwrap();
    assert_eq!(Jws::parse(&made.token).payload, given);
    let request = v1::SignJwtRequest {
        name: key,
        claims: "\n{\"a\" : 1}\n".to_owned(),
        lifetime: seconds(7),
        r#type: "at+jwt".to_owned(),
        ..v1::SignJwtRequest::default()
    };
    let made = issue(&caller, request).await.unwrap();
    let jws = Jws::parse(&made.token);
    let iat = made.issue_time.unwrap().seconds;
    assert_eq!(jws.payload, format!("{{\"a\" : 1,\"iat\":{iat},\"exp\":{}}}", iat + 7));
    assert_eq!(jws.header()["typ"], "at+jwt");
}

#[tokio::test]
async fn what_no_verifier_should_see_is_refused_whoever_asks_for_it() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let stranger = chancery.connect_as("shop").await.unwrap();
    let key = create(&operator, new_key(RING, "refusing", Algorithm::Ed25519)).await.name;
    let unknown = format!("{RING}/keys/there-is-none");
    let far = now() + 3601 + 60;
    let long = json!({"a": "x".repeat(16 * 1024)}).to_string();
    let cases: Vec<(String, Option<Duration>, &str, &str)> = vec![
        (String::new(), None, "", "claims"),
        ("[]".to_owned(), None, "", "claims"),
        (r#"{"a":1,"a":1}"#.to_owned(), None, "", "claims"),
        (r#"{"a":{"b":1,"\u0062":1}}"#.to_owned(), None, "", "claims"),
        (format!("{{\"a\":{}{}}}", "[".repeat(16), "]".repeat(16)), None, "", "claims"),
        (long, None, "", "claims"),
        (json!({"iss": 1}).to_string(), None, "", "claims"),
        (json!({"aud": [1]}).to_string(), None, "", "claims"),
        (json!({"iat": now() - 3600}).to_string(), None, "", "claims"),
        (json!({"exp": now() - 100}).to_string(), None, "", "claims"),
        (json!({"exp": 1.5}).to_string(), None, "", "claims"),
        (json!({"exp": now() + 1_000}).to_string(), seconds(10), "", "lifetime"),
        ("{}".to_owned(), seconds(0), "", "lifetime"),
        ("{}".to_owned(), seconds(-1), "", "lifetime"),
        ("{}".to_owned(), seconds(3650 * 86_400 + 1), "", "lifetime"),
        ("{}".to_owned(), Some(Duration { seconds: 1, nanos: 1 }), "", "lifetime"),
        ("{}".to_owned(), None, "a\"b", "type"),
    ];
    for (claims, lifetime, token_type, field) in cases {
        let mut said = Vec::new();
        // It is the same answer for a key that he may use, one that he may not, and one that there is not.
        for (client, name) in [(&caller, &key), (&stranger, &key), (&caller, &unknown)] {
            let request = v1::SignJwtRequest {
                name: name.clone(),
                claims: claims.clone(),
                lifetime,
                r#type: token_type.to_owned(),
                ..v1::SignJwtRequest::default()
            };
            said.push(assert_field(issue(client, request).await, field));
        }
        // Of a time, the service's own is said.
        let words = |text: &String| text.split(|c: char| c.is_ascii_digit()).map(str::to_owned).collect::<Vec<_>>();
        assert!(said.iter().all(|one| words(one) == words(&said[0])), "{said:?}");
    }
    // What depends on the key is said to those only who may use it.
    for request in [
        asking(&key, &json!({"exp": far})),
        asking(&key, &json!({"nbf": far})),
        v1::SignJwtRequest { lifetime: seconds(3601), ..asking(&key, &json!({})) },
    ] {
        let refusal = refused(issue(&caller, request.clone()).await);
        assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::InvalidArgument, Some("INVALID_FIELD")));
        assert_refused(issue(&stranger, request.clone()).await, Code::PermissionDenied, "ACCESS_DENIED");
        let request = v1::SignJwtRequest { name: unknown.clone(), ..request };
        assert_refused(issue(&caller, request).await, Code::PermissionDenied, "ACCESS_DENIED");
    }
}

#[tokio::test]
async fn policy_decides_by_issuer_subject_audience_lifetime_and_type() {
    let chancery = CHANCERY.get().await;
    let (operator, shop) = (chancery.operator().await.unwrap(), chancery.connect_as("shop").await.unwrap());
    let key = create(&operator, new_key(RING, "access-tokens", Algorithm::EcdsaP256Sha256)).await.name;
    let claims = json!({"iss": "https://shop.example", "sub": "customer:7", "aud": "https://api.example"});
    let request = |claims: &Value, lifetime: i64, token_type: &str| v1::SignJwtRequest {
        lifetime: seconds(lifetime),
        r#type: token_type.to_owned(),
        ..asking(&key, claims)
    };
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    assert!(issue(&shop, request(&claims, 600, "at+jwt")).await.is_ok());
    assert!(issue(&shop, request(&with("aud", json!(["https://api.example"])), 600, "at+jwt")).await.is_ok());
    assert!(issue(&shop, request(&with("scope", json!("read")), 1, "at+jwt")).await.is_ok());
    let mut anonymous = claims.clone();
    anonymous.as_object_mut().unwrap().remove("sub");
    for (denied, lifetime, token_type) in [
        (claims.clone(), 601, "at+jwt"),
        (claims.clone(), 600, ""),
        (with("iss", json!("https://evil.example")), 600, "at+jwt"),
        (with("sub", json!("admin:7")), 600, "at+jwt"),
        (with("aud", json!(["https://api.example", "https://evil.example"])), 600, "at+jwt"),
        (with("aud", json!([])), 600, "at+jwt"),
        (anonymous, 600, "at+jwt"),
    ] {
        let answer = issue(&shop, request(&denied, lifetime, token_type)).await;
        assert_refused(answer, Code::PermissionDenied, "ACCESS_DENIED");
    }
    // The lifetime that policy sees is the one that the token has, also where it comes from the key or from exp.
    let whole = v1::SignJwtRequest { r#type: "at+jwt".to_owned(), ..asking(&key, &claims) };
    assert_refused(issue(&shop, whole).await, Code::PermissionDenied, "ACCESS_DENIED");
    let until = |seconds: i64| v1::SignJwtRequest {
        r#type: "at+jwt".to_owned(),
        ..asking(&key, &with("exp", json!(now() + seconds)))
    };
    assert!(issue(&shop, until(590)).await.is_ok());
    assert_refused(issue(&shop, until(660)).await, Code::PermissionDenied, "ACCESS_DENIED");

    // Nobody gets round it: not by signing the text himself, not even with a signer's role.
    let caller = chancery.caller().await.unwrap();
    for client in [&shop, &caller] {
        let answer = client.signing().sign(sign(&key, b"e30.e30")).await;
        assert_refused(answer, Code::PermissionDenied, "ACCESS_DENIED");
    }
}

#[tokio::test]
async fn the_record_says_who_for_whom_and_how_long_and_none_of_the_other_claims() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "on-record", Algorithm::EcdsaP384Sha384)).await;
    let claims = json!({"iss": "i", "sub": "s", "aud": ["a", "b"], "ssn": "claim-that-is-nobodys-business"});
    let request = v1::SignJwtRequest { lifetime: seconds(90), ..asking(&key.name, &claims) };
    let made = issue(&caller, request).await.unwrap();
    let jws = Jws::parse(&made.token);

    let query = v1::ListRecordsRequest {
        resource: key.name.clone(),
        kind: RecordKind::Intent.into(),
        ..v1::ListRecordsRequest::default()
    };
    let intents = records(&operator, query).await;
    let [intent] = intents.as_slice() else { panic!("one intent: {intents:?}") };
    assert_eq!((intent.index, intent.action.as_str()), (made.record_index, "SignJwt"));
    assert_eq!(intent.resource, key.primary_version);
    let said: Value = serde_json::from_slice(&intent.details_json).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, jws.signing_input().as_bytes());
    assert_eq!(said["signed"], json!({"hash": "SHA-384", "digest": hex(digest.as_ref())}));
    let context = &said["attributes"]["context"];
    assert_eq!((&context["issuer"], &context["subject"]), (&json!("i"), &json!("s")));
    assert_eq!((&context["audiences"], &context["lifetime"]), (&json!(["a", "b"]), &json!("90s")));
    assert_eq!((&context["type"], &context["version"]), (&json!("JWT"), &json!(1)));

    let outcome = eventually("the outcome", async || {
        let query = v1::ListRecordsRequest {
            resource: key.name.clone(),
            kind: RecordKind::Outcome.into(),
            ..v1::ListRecordsRequest::default()
        };
        let found = records(&operator, query).await;
        found.into_iter().find(|record| record.outcomes.iter().any(|item| item.record_index == made.record_index))
    })
    .await;
    let item = outcome.outcomes.iter().find(|item| item.record_index == made.record_index).unwrap();
    let signature = chancery_tests::jose::unbase64(made.token.rsplit('.').next().unwrap());
    assert_eq!((item.result.as_str(), item.signature_sha256.as_slice()), ("DONE", sha256(&signature).as_slice()));
    let said: Value = serde_json::from_slice(&outcome.details_json).unwrap();
    assert_eq!(said["action"], json!("SignJwt"));

    for record in records(&operator, v1::ListRecordsRequest::default()).await {
        let text = String::from_utf8(record.details_json).unwrap();
        assert!(!text.contains("nobodys-business"), "{text}");
    }
    assert!(!chancery.log().contains("nobodys-business"));
}

#[tokio::test]
async fn a_key_bounds_the_lifetime_of_its_tokens() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let made = create(&operator, with_lifetime("quarter", Algorithm::Ed25519, seconds(900))).await;
    assert_eq!(made.max_jwt_lifetime, seconds(900));
    let request = v1::GetKeyRequest { name: made.name.clone() };
    let shown = operator.keys().get_key(request).await.unwrap().into_inner();
    assert_eq!(shown.max_jwt_lifetime, seconds(900));
    let token = issue(&caller, asking(&made.name, &json!({}))).await.unwrap();
    assert_eq!(token.expire_time.unwrap().seconds - token.issue_time.unwrap().seconds, 900);
    let longer = v1::SignJwtRequest { lifetime: seconds(901), ..asking(&made.name, &json!({})) };
    let said = assert_field(issue(&caller, longer).await, "lifetime");
    assert!(said.contains("901") && said.contains("900"), "{said}");

    let unsaid = create(&operator, with_lifetime("unsaid", Algorithm::Ed25519, None)).await;
    assert_eq!(unsaid.max_jwt_lifetime, seconds(3600));
    let longest = create(&operator, with_lifetime("longest", Algorithm::Ed25519, seconds(3650 * 86_400))).await;
    let token = issue(&caller, asking(&longest.name, &json!({}))).await.unwrap();
    assert_eq!(token.expire_time.unwrap().seconds - token.issue_time.unwrap().seconds, 315_360_000);
    for wrong in [seconds(0), seconds(3650 * 86_400 + 1), Some(Duration { seconds: 1, nanos: 5 }), seconds(-1)] {
        let answer = operator.keys().create_key(with_lifetime("wrong", Algorithm::Ed25519, wrong)).await;
        assert_field(answer, "key.max_jwt_lifetime");
    }

    let once = v1::CreateKeyRequest { request_id: uuid(), ..with_lifetime("once", Algorithm::Ed25519, seconds(60)) };
    let first = create(&operator, once.clone()).await;
    assert_eq!(create(&operator, once.clone()).await.primary_version, first.primary_version);
    let other =
        v1::CreateKeyRequest { request_id: once.request_id, ..with_lifetime("once", Algorithm::Ed25519, seconds(61)) };
    assert_refused(operator.keys().create_key(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn what_jose_does_not_know_makes_no_tokens() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    for (algorithm, reason) in [
        (Algorithm::HmacSha256, "KEY_PURPOSE_MISMATCH"),
        (Algorithm::AesCmac, "KEY_PURPOSE_MISMATCH"),
        (Algorithm::EcdsaSecp256k1Keccak256, "ALGORITHM_NOT_IN_JOSE"),
    ] {
        if !token_under_test().offers(algorithm) {
            continue;
        }
        let id = format!("no-jwt-{}", algorithm as i32);
        let key = create(&operator, new_key(RING, &id, algorithm)).await;
        assert_eq!(key.max_jwt_lifetime, None, "{algorithm:?}");
        let answer = operator.keys().create_key(with_lifetime("no-jwt", algorithm, seconds(60))).await;
        assert_field(answer, "key.max_jwt_lifetime");
        let answer = issue(&caller, asking(&key.name, &json!({}))).await;
        assert_refused(answer, Code::FailedPrecondition, reason);
    }
}

#[tokio::test]
async fn the_primary_version_issues_and_a_named_one_while_it_is_active() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "rotated", Algorithm::EcdsaP256Sha256)).await.name;
    let first = issue(&caller, asking(&key, &json!({}))).await.unwrap();
    let request = v1::RotateKeyRequest { name: key.clone(), ..v1::RotateKeyRequest::default() };
    operator.keys().rotate_key(request).await.unwrap();
    let second = issue(&caller, asking(&key, &json!({}))).await.unwrap();
    assert_eq!(second.name, format!("{key}/versions/2"));
    assert_ne!(second.key_id, first.key_id);
    let old = issue(&caller, asking(&first.name, &json!({}))).await.unwrap();
    assert_eq!((old.name.as_str(), &old.key_id), (first.name.as_str(), &first.key_id));
    assert!(Jws::parse(&old.token).is_signed_by(&jwk(&caller, &first.name).await));
    let request = v1::SuspendKeyVersionRequest { name: first.name.clone(), reason: String::new() };
    operator.keys().suspend_key_version(request).await.unwrap();
    let answer = issue(&caller, asking(&first.name, &json!({}))).await;
    assert_refused(answer, Code::FailedPrecondition, "KEY_VERSION_NOT_ACTIVE");
}

#[tokio::test]
async fn a_public_key_is_handed_out_in_each_form_that_it_has() {
    let chancery = CHANCERY.get().await;
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let ask = async |name: &str, format: PublicKeyFormat| {
        let request = v1::GetPublicKeyRequest { name: name.to_owned(), format: format.into() };
        caller.signing().get_public_key(request).await.map(tonic::Response::into_inner)
    };
    let key = create(&operator, new_key(RING, "forms", Algorithm::Ed25519)).await;
    let line = ask(&key.name, PublicKeyFormat::Openssh).await.unwrap();
    assert_eq!(line.format(), PublicKeyFormat::Openssh);
    let line = String::from_utf8(line.data).unwrap();
    let [kind, blob, comment] = line.trim_end().split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    assert_eq!((kind, comment), ("ssh-ed25519", key.primary_version.as_str()));
    // RFC 8709, section 4: the type and the point, each after its length.
    let blob = <base64ct::Base64 as base64ct::Encoding>::decode_vec(blob).unwrap();
    let jwk = jwk(&caller, &key.name).await;
    let point = chancery_tests::jose::unbase64(jwk["x"].as_str().unwrap());
    assert_eq!(blob, [b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(), &point].concat());

    if token_under_test().offers(Algorithm::EcdsaSecp256k1Keccak256) {
        let key = create(&operator, new_key(RING, "few-forms", Algorithm::EcdsaSecp256k1Keccak256)).await.name;
        for format in [PublicKeyFormat::Jwk, PublicKeyFormat::Openssh] {
            let said = assert_field(ask(&key, format).await, "format");
            assert!(said.ends_with("ask for one of PEM, DER"), "{said}");
        }
        assert!(ask(&key, PublicKeyFormat::Der).await.is_ok());
    }
}
