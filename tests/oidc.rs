//! Tokens of OpenID Connect issuers from outside: whose they are, what is wrong with one and told to nobody, keys that change,
//! issuers that are away; and no token is written down anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use chancery_api::v1::signing_service_client::SigningServiceClient;
use chancery_api::v1::{self, Algorithm, AuthenticationFactor, RecordKind};
use chancery_client::{Client, ConnectOptions, EcdsaEncoding, Refusal};
use chancery_oidc::JwsAlgorithm;
use chancery_testkit::{CallerSetup, Chancery, Setup};
use chancery_tests::canary::{Canary, found, found_in_folder};
use chancery_tests::collector::Collector;
use chancery_tests::contract::{assert_field, assert_refused, create, eventually, new_key, seen, sha256, sign, uuid};
use chancery_tests::issuer_keys::{Signer, base64, jwks};
use chancery_tests::issuer_server::Server;
use chancery_tests::load::{Record, admin_page, details, metric};
use chancery_tests::program;
use chancery_tests::streams::{SignStream, channel_as};
use prost_types::FieldMask;
use toml::{Table, Value};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};

const RING: &str = "keyRings/dev";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const AUDIENCE: &str = "https://chancery.internal";
const ACCOUNT: &str = "system:serviceaccount:shop:checkout";

fn texts<const N: usize>(texts: [&str; N]) -> Value {
    Value::Array(texts.map(|text| Value::String(text.to_owned())).to_vec())
}

/// `[[listener.oidc]]` of [`ISSUER`].
fn issuer(more: impl IntoIterator<Item = (&'static str, Value)>) -> Table {
    let always = [("issuer", Value::String(ISSUER.to_owned())), ("audiences", texts([AUDIENCE]))];
    always.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn path(path: &Path) -> Value {
    Value::String(path.display().to_string())
}

/// A service that takes connections without a client certificate, and tokens of this issuer.
fn trusting(issuer: Table) -> Setup {
    Chancery::setup().configure(|config| {
        let listener = config["listener"].as_table_mut().unwrap();
        listener.insert("client_auth".to_owned(), "optional".into());
        listener.insert("oidc".to_owned(), Value::Array(vec![Value::Table(issuer)]));
    })
}

/// A folder with a key set, and the file in it.
fn key_file(keys: &[&Signer]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, jwks(keys)).unwrap();
    (folder, file)
}

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Claims of a token for half an hour, with other ones in the place of some.
fn claims(subject: &str, other: &[(&str, &str)]) -> String {
    let now = now();
    let mut claims = vec![
        ("iss", format!("{ISSUER:?}")),
        ("aud", format!("[{AUDIENCE:?}]")),
        ("sub", format!("{subject:?}")),
        ("jti", format!("{:?}", uuid())),
        ("iat", now.to_string()),
        ("nbf", now.to_string()),
        ("exp", (now + 1800).to_string()),
    ];
    for (name, value) in other {
        claims.retain(|(known, _)| known != name);
        claims.push((name, (*value).to_owned()));
    }
    let members: Vec<_> = claims.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn token(signer: &Signer) -> String {
    signer.sign(&claims(ACCOUNT, &[]))
}

/// A connection without a certificate.
async fn channel(chancery: &Chancery) -> Channel {
    let ca = std::fs::read(chancery.ca()).unwrap();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = Endpoint::from_shared(chancery.endpoint().to_owned()).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

async fn sign_with(channel: &Channel, key: &str, token: &str) -> Result<Response<v1::SignResponse>, Status> {
    let mut request = Request::new(sign(key, b"m"));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    SigningServiceClient::new(channel.clone()).sign(request).await
}

async fn a_key(operator: &Client) -> String {
    let id = format!("k-{}", &uuid()[..8]);
    create(operator, new_key(RING, &id, Algorithm::EcdsaP256Sha256)).await.name
}

/// Registers a signer that an issuer's tokens name.
async fn register(operator: &Client, id: &str, subject: &str) {
    let caller = v1::Caller {
        environment: "dev".to_owned(),
        identities: vec![format!("oidc:{ISSUER}#{subject}")],
        roles: vec!["signer".to_owned()],
        key_rings: vec![RING.to_owned()],
        ..v1::Caller::default()
    };
    let request = v1::CreateCallerRequest { caller_id: id.to_owned(), caller: Some(caller), request_id: String::new() };
    operator.callers().create_caller(request).await.unwrap();
}

async fn update(operator: &Client, path: &str, caller: v1::Caller) -> Result<Response<v1::Caller>, Status> {
    let update_mask = Some(FieldMask { paths: vec![path.to_owned()] });
    operator.callers().update_caller(v1::UpdateCallerRequest { caller: Some(caller), update_mask }).await
}

fn named(id: &str) -> v1::Caller {
    v1::Caller { name: format!("callers/{id}"), ..v1::Caller::default() }
}

fn keys_are(chancery: &Chancery, state: &str) -> bool {
    let label = format!(r#"chancery_state="{state}""#);
    metric(chancery.admin_endpoint().unwrap(), "chancery_oidc_keys_state", &label) == 1.0
}

/// Waits until the issuer's keys were read.
async fn fresh(chancery: &Chancery) {
    eventually("the issuer's keys", async || keys_are(chancery, "fresh").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_signs_and_its_token_is_written_down_nowhere() {
    let signers = [JwsAlgorithm::Rs256, JwsAlgorithm::Es256, JwsAlgorithm::EdDsa]
        .map(|algorithm| Signer::new(algorithm, algorithm.as_str()));
    let (_folder, file) = key_file(&signers.iter().collect::<Vec<_>>());
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let chancery = trusting(issuer([("jwks_file", path(&file))]))
        .environment("OTEL_BSP_SCHEDULE_DELAY", "50")
        .configure(move |config| {
            let telemetry = config["telemetry"].as_table_mut().unwrap();
            telemetry.insert("log_filter".to_owned(), "trace".into());
            telemetry.insert("otlp_endpoint".to_owned(), endpoint.into());
        })
        .start()
        .await
        .unwrap();
    fresh(&chancery).await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&operator).await;
    register(&operator, "checkout", ACCOUNT).await;
    let channel = channel(&chancery).await;
    let mut canaries = Vec::new();
    for signer in &signers {
        let claims = claims(ACCOUNT, &[("jti", "\"8a2c6b9e-7d5c\"")]);
        let token = signer.sign(&claims);
        for (number, part) in token.split('.').enumerate().skip(1) {
            canaries.push(Canary::new(&format!("part {number} of {}", signer.algorithm), part.as_bytes()));
        }
        let signed = sign_with(&channel, &key, &token).await.unwrap().into_inner();
        let record = Record::read(&operator).await;
        let intent = record.intents().find(|intent| intent.index == signed.record_index).unwrap();
        assert_eq!(intent.caller, "callers/checkout");
        let hex = |bytes: &[u8]| chancery_tests::contract::hex(&sha256(bytes));
        let expected = serde_json::json!({
            "method": "oidc_token",
            "oidc_identity": format!("oidc:{ISSUER}#{ACCOUNT}"),
            "token_id_sha256": hex(b"8a2c6b9e-7d5c"),
            "key_id_sha256": hex(signer.kid.as_bytes()),
        });
        assert_eq!(details(intent)["authentication"], expected);
        assert_eq!(details(intent)["attributes"]["context"]["authentication"], "oidc-token");
    }
    // Also of what is refused.
    let refused = [
        signers[0].sign(&claims(ACCOUNT, &[("aud", "\"somebody\"")])),
        Signer::new(JwsAlgorithm::Es256, "ES256").sign(&claims(ACCOUNT, &[])),
    ];
    for token in &refused {
        let (_, signature) = token.rsplit_once('.').unwrap();
        canaries.push(Canary::new("a refused token", signature.as_bytes()));
        assert_refused(sign_with(&channel, &key, token).await, Code::Unauthenticated, "OIDC_TOKEN_REFUSED");
    }
    eventually("spans", async || (!collector.all_spans().is_empty()).then_some(())).await;
    let log = chancery.log();
    assert!(log.contains("oidc_token_audience") && log.contains("oidc_token_signature"), "the log says what it was");
    assert_eq!(found(&canaries, log.as_bytes()), BTreeSet::new());
    let exported = format!("{:?}{:?}", collector.traces(), collector.all_metrics());
    assert_eq!(found(&canaries, exported.as_bytes()), BTreeSet::new());
    assert_eq!(found_in_folder(&canaries, &chancery.dir()), []);
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_token_looks_alike_and_is_on_the_record() {
    let (signer, rsa) = (Signer::new(JwsAlgorithm::Es256, "k"), Signer::new(JwsAlgorithm::Rs256, "r"));
    let (_folder, file) = key_file(&[&signer, &rsa]);
    let required: Table =
        [("tier".to_owned(), "gold".into()), ("checked".to_owned(), true.into())].into_iter().collect();
    let chancery = trusting(issuer([
        ("jwks_file", path(&file)),
        ("algorithms", texts(["ES256"])),
        ("max_token_lifetime_seconds", Value::Integer(3600)),
        ("required_claims", Value::Table(required)),
    ]))
    .start()
    .await
    .unwrap();
    fresh(&chancery).await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&operator).await;
    register(&operator, "checkout", ACCOUNT).await;
    let channel = channel(&chancery).await;
    let good: [(&str, &str); 2] = [("tier", "\"gold\""), ("checked", "true")];
    let with = |other: &[(&str, &str)]| claims(ACCOUNT, &[&good, other].concat());
    sign_with(&channel, &key, &signer.sign(&with(&[]))).await.unwrap();

    let at = |offset: i64| (now() + offset).to_string();
    let part = |text: &str| base64(text.as_bytes());
    let unsigned = format!("{}.{}.", part(r#"{"alg":"none","kid":"k"}"#), part(&with(&[])));
    // The public key, which everybody has, as the secret of a MAC.
    let input = format!("{}.{}", part(r#"{"alg":"HS256","kid":"k"}"#), part(&with(&[])));
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, jwks(&[&signer]).as_bytes());
    let tag = aws_lc_rs::hmac::sign(&secret, input.as_bytes());
    let whole = signer.sign(&with(&[]));
    let wrong = [
        ("oidc_token_malformed", whole.replacen('.', "..", 1)),
        ("oidc_token_algorithm", unsigned),
        ("oidc_token_algorithm", format!("{input}.{}", base64(tag.as_ref()))),
        ("oidc_token_algorithm", rsa.sign(&with(&[]))),
        ("oidc_token_issuer", signer.sign(&with(&[("iss", "\"https://elsewhere.example\"")]))),
        ("oidc_token_key_unknown", Signer::new(JwsAlgorithm::Es256, "unheard").sign(&with(&[]))),
        ("oidc_token_signature", Signer::new(JwsAlgorithm::Es256, "k").sign(&with(&[]))),
        ("oidc_token_audience", signer.sign(&with(&[("aud", "\"https://other.internal\"")]))),
        ("oidc_token_expired", signer.sign(&with(&[("iat", &at(-600)), ("nbf", &at(-600)), ("exp", &at(-60))]))),
        ("oidc_token_not_yet_valid", signer.sign(&with(&[("nbf", &at(300))]))),
        ("oidc_token_lifetime", signer.sign(&with(&[("exp", &at(2 * 3600))]))),
        ("oidc_token_required_claim", signer.sign(&with(&[("tier", "\"silver\"")]))),
        ("oidc_token_required_claim", signer.sign(&with(&[("checked", "\"true\"")]))),
        ("oidc_token_claims", signer.sign(&with(&[("sub", "\"\"")]))),
    ];
    let first = sign_with(&channel, &key, &wrong[0].1).await.unwrap_err();
    let refusal = Refusal::from(first.clone());
    assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::Unauthenticated, Some("OIDC_TOKEN_REFUSED")));
    for (reason, token) in &wrong {
        let status = sign_with(&channel, &key, token).await.unwrap_err();
        assert_eq!(seen(&status), seen(&first), "{reason}");
    }
    // Whoever has a good token is told what is missing.
    let stranger = signer.sign(&claims("system:serviceaccount:shop:other", &good));
    assert_refused(sign_with(&channel, &key, &stranger).await, Code::Unauthenticated, "CALLER_NOT_REGISTERED");

    let expected: BTreeSet<&str> = wrong.iter().map(|(reason, _)| *reason).collect();
    let on_record = |record: &Record| -> BTreeSet<String> {
        let denials = record.of(RecordKind::Denial).map(|denial| details(denial)["message"].clone());
        denials.filter_map(|message| message.as_str().map(str::to_owned)).collect()
    };
    Record::read_until(&operator, "each reason", |record| {
        expected.iter().all(|reason| on_record(record).contains(*reason))
    })
    .await;
    for reason in expected {
        let label = format!(r#"chancery_reason="{reason}""#);
        let counted = metric(chancery.admin_endpoint().unwrap(), "chancery_unauthenticated_total", &label);
        assert!(counted >= 1.0, "{reason}");
    }
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_a_certificate_are_of_one_caller() {
    let signer = Signer::new(JwsAlgorithm::EdDsa, "k");
    let (_folder, file) = key_file(&[&signer]);
    let chancery = trusting(issuer([("jwks_file", path(&file))]))
        .with(CallerSetup::new("meshed").role("signer").ring("dev"))
        .start()
        .await
        .unwrap();
    fresh(&chancery).await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&operator).await;
    register(&operator, "checkout", ACCOUNT).await;
    let token = token(&signer);
    let (without, with) = (channel(&chancery).await, channel_as(&chancery, "meshed").await);
    sign_with(&without, &key, &token).await.unwrap();
    let refused = sign_with(&with, &key, &token).await;
    assert_refused(refused, Code::Unauthenticated, "CREDENTIALS_OF_DIFFERENT_CALLERS");
    // One that is no good, over a connection of somebody who is known: theirs.
    let forged = Signer::new(JwsAlgorithm::EdDsa, "k").sign(&claims(ACCOUNT, &[]));
    assert_refused(sign_with(&with, &key, &forged).await, Code::Unauthenticated, "OIDC_TOKEN_REFUSED");
    let record = Record::read_until(&operator, "the refusal is on the record", |record| {
        record.of(RecordKind::Denial).any(|denial| details(denial)["message"] == "oidc_token_signature")
    })
    .await;
    let denial = record.of(RecordKind::Denial).find(|it| details(it)["message"] == "oidc_token_signature").unwrap();
    assert_eq!((denial.caller.as_str(), denial.action.as_str()), ("callers/meshed", "Sign"));
    assert_eq!(details(denial)["reason"], "CREDENTIAL_REFUSED");

    // An identity belongs to one caller: who has it gives it up first.
    let identity = format!("oidc:{ISSUER}#{ACCOUNT}");
    let both =
        v1::Caller { identities: vec![identity.clone(), "spiffe://chancery.dev/meshed".to_owned()], ..named("meshed") };
    assert_field(update(&operator, "identities", both.clone()).await, "caller.identities");
    update(&operator, "identities", named("checkout")).await.unwrap();
    assert_refused(sign_with(&without, &key, &token).await, Code::Unauthenticated, "CALLER_NOT_REGISTERED");
    update(&operator, "identities", both).await.unwrap();
    let signed = sign_with(&with, &key, &token).await.unwrap().into_inner();
    let record = Record::read(&operator).await;
    let intent = record.intents().find(|intent| intent.index == signed.record_index).unwrap();
    let proof = &details(intent)["authentication"];
    assert_eq!(proof["method"], "certificate_and_oidc_token");
    assert_eq!(proof["identity"], "spiffe://chancery.dev/meshed");
    assert_eq!(proof["oidc_identity"], identity.as_str());
    assert_eq!(details(intent)["attributes"]["context"]["authentication"], "certificate-and-oidc-token");

    // Both are required, and a call that cannot bring what is required cannot be asked for.
    let requires = |factors: &[AuthenticationFactor]| v1::Caller {
        required_factors: factors.iter().map(|factor| (*factor).into()).collect(),
        ..named("meshed")
    };
    let (certificate, api_key, oidc_token) =
        (AuthenticationFactor::Certificate, AuthenticationFactor::ApiKey, AuthenticationFactor::OidcToken);
    let field = update(&operator, "required_factors", requires(&[api_key, oidc_token])).await;
    assert_field(field, "caller.required_factors");
    update(&operator, "required_factors", requires(&[certificate, oidc_token])).await.unwrap();
    assert_refused(sign_with(&without, &key, &token).await, Code::Unauthenticated, "FACTOR_MISSING");
    let only = chancery.connect_as("meshed").await.unwrap();
    assert_refused(only.signing().sign(sign(&key, b"m")).await, Code::Unauthenticated, "FACTOR_MISSING");
    sign_with(&with, &key, &token).await.unwrap();

    let request = v1::SuspendCallerRequest { name: "callers/meshed".to_owned(), reason: String::new() };
    operator.callers().suspend_caller(request).await.unwrap();
    for channel in [&with, &without] {
        assert_refused(sign_with(channel, &key, &token).await, Code::PermissionDenied, "CALLER_SUSPENDED");
    }
    chancery.stop().await.unwrap();
}

/// Who administers must be able to come without another service.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_cannot_depend_on_an_issuer() {
    let signer = Signer::new(JwsAlgorithm::EdDsa, "k");
    let (_folder, file) = key_file(&[&signer]);
    // Only a policy administrator changes one; this one may not apply a policy set himself.
    let registrar = CallerSetup::new("registrar").role("caller-administrator").role("policy-administrator");
    let only_the_operator = r#"@id("the-registrar-applies-nothing")
        forbid (principal == Chancery::Caller::"registrar", action == Chancery::Action::"ApplyPolicySet", resource);"#;
    let chancery = trusting(issuer([("jwks_file", path(&file))]))
        .with(registrar)
        .policy("registrar.cedar", only_the_operator)
        .start()
        .await
        .unwrap();
    let registrar = chancery.connect_as("registrar").await.unwrap();
    let by_token = v1::Caller { identities: vec![format!("oidc:{ISSUER}#olga")], ..named("operator") };
    let refused = update(&registrar, "identities", by_token).await;
    assert_refused(refused, Code::FailedPrecondition, "CALLER_CHANGE_LOCKS_OUT");
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_ends_with_the_token_that_opened_it() {
    let (signer, next) = (Signer::new(JwsAlgorithm::Es256, "k"), Signer::new(JwsAlgorithm::Es256, "next"));
    let (_folder, file) = key_file(&[&signer]);
    let issuer = issuer([("jwks_file", path(&file)), ("clock_leeway_seconds", Value::Integer(1))]);
    let chancery = trusting(issuer).start().await.unwrap();
    fresh(&chancery).await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&operator).await;
    register(&operator, "checkout", ACCOUNT).await;
    let channel = channel(&chancery).await;
    let open = async |token: String| SignStream::open_with_authorization(&channel, &format!("Bearer {token}")).await;
    let ends = async |what: &str, mut stream: SignStream| {
        let mut number = 0;
        let status = eventually(what, async || {
            number += 1;
            stream.send(&number.to_string(), &key, b"m").await;
            stream.next().await.err()
        })
        .await;
        assert_refused(Err::<(), _>(status), Code::Unauthenticated, "OIDC_TOKEN_REFUSED");
    };

    let mut other = open(token(&signer)).await;
    // On a busy machine the first message may come when the token's time is over; then it is another one's turn.
    let mut life = 10;
    let (stream, short, expires) = loop {
        let expires = now() + life;
        let short = signer.sign(&claims(ACCOUNT, &[("exp", &expires.to_string())]));
        let first = async {
            let mut stream = SignStream::try_open_with_authorization(&channel, &format!("Bearer {short}")).await?;
            stream.send("first", &key, b"m").await;
            stream.next().await?.expect("the stream goes on").1.signed();
            Ok::<_, tonic::Status>(stream)
        };
        match first.await {
            Ok(stream) => break (stream, short, expires),
            Err(refused) => assert!(now() >= expires && life < 50, "refused before its time: {refused:?}"),
        }
        life += 20;
    };
    ends("the token expires", stream).await;
    assert!(now() >= expires, "and not before its time");
    assert_refused(sign_with(&channel, &key, &short).await, Code::Unauthenticated, "OIDC_TOKEN_REFUSED");
    other.sign("first", &key, b"m").await.signed();

    // What the issuer says no more holds no more, although the token has not expired.
    std::fs::write(&file, jwks(&[&next])).unwrap();
    ends("the issuer takes its key back", other).await;
    let mut stream = open(token(&next)).await;
    stream.sign("first", &key, b"m").await.signed();
    update(&operator, "identities", named("checkout")).await.unwrap();
    stream.send("second", &key, b"m").await;
    assert_refused(stream.next().await.map(drop), Code::Unauthenticated, "CREDENTIAL_REFUSED");
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_and_an_issuer_that_is_away_takes_nobody_else_with_it() {
    // Keys are too old after 8 seconds, and were read some time before the issuer went.
    const SURELY_FRESH: Duration = Duration::from_secs(5);
    let (old, new) = (Signer::new(JwsAlgorithm::Es256, "old"), Signer::new(JwsAlgorithm::EdDsa, "new"));
    let server = Server::start("127.0.0.1").await;
    server.answers("503 Service Unavailable", "");
    let chancery = trusting(issuer([
        ("jwks_url", Value::String(server.url())),
        ("jwks_ca", path(&server.ca)),
        ("refresh_seconds", Value::Integer(1)),
        ("max_stale_seconds", Value::Integer(8)),
    ]))
    .start()
    .await
    .unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&operator).await;
    register(&operator, "checkout", ACCOUNT).await;
    let channel = channel(&chancery).await;
    let caller = chancery.caller().await.unwrap();
    let ready = || admin_page(chancery.admin_endpoint().unwrap(), "/readyz");
    let unavailable = async |what: &str| {
        let status = eventually(what, async || {
            let status = sign_with(&channel, &key, &token(&old)).await.err()?;
            (status.code() == Code::Unavailable).then_some(status)
        });
        let refusal = Refusal::from(status.await);
        assert_eq!(refusal.reason.as_deref(), Some("OIDC_KEYS_UNAVAILABLE"));
        assert!(refusal.retry_after.is_some(), "a retry can help");
        // Others come and go as ever, and no restart is asked for.
        caller.signing().sign(sign(&key, b"m")).await.unwrap();
        let (status, said) = ready();
        assert!(status == 200 && said.contains(&format!("\noidc: missing: the keys of {ISSUER} ")), "{status}: {said}");
        assert!(keys_are(&chancery, "missing"));
    };
    unavailable("no keys were ever there").await;

    server.answers("200 OK", &jwks(&[&old]));
    eventually("the first keys", async || sign_with(&channel, &key, &token(&old)).await.ok()).await;
    fresh(&chancery).await;
    assert!(!ready().1.contains("oidc"), "{}", ready().1);
    assert_refused(sign_with(&channel, &key, &token(&new)).await, Code::Unauthenticated, "OIDC_TOKEN_REFUSED");
    server.answers("200 OK", &jwks(&[&old, &new]));
    eventually("the new key", async || sign_with(&channel, &key, &token(&new)).await.ok()).await;
    sign_with(&channel, &key, &token(&old)).await.unwrap();

    // A redirect is an answer like any other that is none: it is not followed.
    server.answers("302 Found\r\nlocation: https://127.0.0.1:1/keys", "");
    let away = Instant::now();
    let (state, still) = eventually("the keys get old", async || {
        let state = ["old", "missing"].into_iter().find(|state| keys_are(&chancery, state))?;
        Some((state, sign_with(&channel, &key, &token(&old)).await))
    })
    .await;
    // On a machine that stands still for seconds, they are too old already.
    assert!(still.is_ok() || away.elapsed() >= SURELY_FRESH, "{still:?}");
    let (status, said) = ready();
    let expected = format!("\noidc: old: the keys of {ISSUER} ");
    assert!(
        state == "missing" || away.elapsed() >= SURELY_FRESH || (status == 200 && said.contains(&expected)),
        "{said}"
    );
    unavailable("the keys are too old").await;
    server.answers("200 OK", &jwks(&[&new]));
    eventually("the issuer is back", async || sign_with(&channel, &key, &token(&new)).await.ok()).await;
    assert_refused(sign_with(&channel, &key, &token(&old)).await, Code::Unauthenticated, "OIDC_TOKEN_REFUSED");
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_take_the_next_token_from_its_file() {
    let signer = Signer::new(JwsAlgorithm::Rs256, "k");
    let (folder, file) = key_file(&[&signer]);
    let chancery = trusting(issuer([("jwks_file", path(&file))])).start().await.unwrap();
    fresh(&chancery).await;
    let operator = chancery.operator().await.unwrap();
    let key = a_key(&operator).await;
    register(&operator, "checkout", ACCOUNT).await;
    let file = folder.path().join("token");
    let replace = |token: &str| {
        let beside = folder.path().join("next");
        std::fs::write(&beside, token).unwrap();
        std::fs::rename(&beside, &file).unwrap();
    };
    replace(&signer.sign(&claims("system:serviceaccount:shop:other", &[])));
    let options = ConnectOptions::with_oidc_token_file(chancery.endpoint(), chancery.ca(), &file);
    let client = Client::connect(options.reload_every(Duration::from_millis(20))).await.unwrap();
    let signs = async || client.sign(&key.parse::<chancery_client::KeyRef>().unwrap(), "m", EcdsaEncoding::Der).await;
    assert_eq!(signs().await.unwrap_err().reason(), Some("CALLER_NOT_REGISTERED"));
    replace(&format!("{}\n", token(&signer)));
    eventually("the next token", async || signs().await.ok()).await;
    // Half written: the one before is used.
    std::fs::write(&file, "eyJ").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    signs().await.unwrap();

    replace(&token(&signer));
    let message = folder.path().join("message");
    std::fs::write(&message, "m").unwrap();
    let chancery_command = |file: &Path| -> Command {
        let mut command = program::command(program::chancery());
        command.args(["sign", &key, "--endpoint", chancery.endpoint(), "--oidc-token-file"]);
        command.arg(file).arg("--ca").arg(chancery.ca()).arg("--in").arg(&message);
        command
    };
    assert!(!program::succeed(&mut chancery_command(&file)).is_empty());
    let (said, code) = program::run(&mut chancery_command(chancery.ca()));
    assert!(code == Some(3) && said.contains("holds no OIDC token"), "{code:?}: {said}");
    chancery.stop().await.unwrap();
}
