//! What a token's health says, and how a token heals: one that is away comes back, sessions are kept alive, a worker that
//! hangs or grows is replaced without a call being lost, and replacing is not overdone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use chancery_api::v1::{self, TokenHealth, TokenHealthCause};
use chancery_client::{Client, ConnectOptions};
use chancery_pkcs11_fault::{Hang, Rule, Then};
use chancery_testkit::signal;
use chancery_tests::contract::admin_get;
use chancery_tests::faults::Faulty;
use chancery_tests::load::{Call, Record, details, failures, sign, token, try_create_key, until};
use chancery_tests::metrics_page::Page;
use chancery_tests::program::{chancery, command, succeed};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

/// A rule's name in the log.
const FAULT: &str = "fault";

/// A service whose faulty token is configured so.
async fn configured(settings: &'static [(&'static str, i64)]) -> Faulty {
    let mut faulty = Faulty::start().await;
    let change = |config: &mut toml::Table| {
        for (name, value) in settings {
            config["token"][0].as_table_mut().unwrap().insert((*name).to_owned(), toml::Value::Integer(*value));
        }
    };
    faulty.chancery.configure(change).unwrap();
    faulty.restart().await.unwrap();
    faulty
}

async fn until_health(operator: &Client, health: TokenHealth) -> v1::Token {
    until(&format!("the token is {}", health.as_str_name()), async || {
        Some(token(operator).await).filter(|token| token.health() == health)
    })
    .await
}

async fn serving(client: &Client, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    client.health().check(request).await.unwrap().into_inner().status()
}

/// The worker dies while signatures are asked for: past its login, where a kill could cost SoftHSM its token.
async fn kill_worker(faulty: &Faulty, key: &str) {
    assert!(faulty.sign(key).await.end.is_ok());
    let worker = token(&faulty.operator).await.worker_pid;
    assert_ne!(worker, 0);
    signal(worker, "KILL").unwrap();
}

#[track_caller]
fn assert_all_signed(calls: &[Call]) {
    assert_eq!(failures(calls).map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
}

#[track_caller]
fn refused_as(call: &Call) -> (Option<Code>, Option<&str>) {
    let failure = call.end.as_ref().unwrap_err();
    (failure.code(), failure.reason())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_away_at_the_start_is_said_to_be_and_comes_back_in_another_slot() {
    let mut faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    // A key is made and nobody hears of it, nor can anybody look.
    faulty.rules(&[
        Rule::returning("made", "C_GenerateKeyPair", "CKR_FUNCTION_FAILED").after_the_call().times(1),
        Rule::returning("blind", "C_GetAttributeValue", "CKR_DEVICE_ERROR"),
    ]);
    let lost = try_create_key(&faulty.operator, "waits", v1::Algorithm::EcdsaP256Sha256).await.unwrap_err();
    assert_eq!(lost.code(), Some(Code::Aborted), "{lost}");
    faulty.rules(&[Rule::new(FAULT, Then::Absent)]);
    faulty.restart().await.unwrap();

    let down = until_health(&faulty.operator, TokenHealth::Down).await;
    assert_eq!(down.health_cause(), TokenHealthCause::TokenAbsent);
    assert!(down.health_reason.contains("not there") && down.health_change_time.is_some(), "{down:?}");
    assert_eq!((down.label.as_str(), down.worker_pid, down.worker_memory_bytes), ("chancery-dev", 0, 0));
    until("the next attempt is told", async || token(&faulty.operator).await.next_attempt_time).await;
    let bystander = faulty.bystander().await;
    assert_eq!(refused_as(&faulty.sign(&key).await), (Some(Code::Unavailable), Some("TOKEN_UNAVAILABLE")));
    let refused = try_create_key(&faulty.operator, "no", v1::Algorithm::EcdsaP256Sha256).await.unwrap_err();
    assert_eq!(refused.reason(), Some("TOKEN_UNAVAILABLE"), "nobody knows what such a token offers: {refused}");
    for (service, expected) in [
        ("tokens/main", ServingStatus::NotServing),
        ("tokens/second", ServingStatus::Serving),
        ("", ServingStatus::Serving),
    ] {
        assert_eq!(serving(&faulty.operator, service).await, expected, "{service:?}");
    }
    let (status, words) = admin_get(&faulty.chancery, "/readyz").await;
    assert!(status == 200 && words.contains("tokens/main: down: the token is not there"), "{status} {words}");

    let slot = Rule::new("slot", Then::SlotNumber(77)).when(|when| when.token = Some("chancery-dev".to_owned()));
    faulty.rules(&[slot]);
    let up = until_health(&faulty.operator, TokenHealth::Up).await;
    assert_eq!((up.health_cause(), up.health_reason.as_str()), (TokenHealthCause::Unspecified, ""));
    assert!(up.next_attempt_time.is_none(), "{up:?}");
    let signed = faulty.burst(&key, 10).await;
    assert_all_signed(&signed);
    public.assert_verifies(&signed);
    let waits = "keyRings/dev/keys/waits";
    until("the key that was lost is found", async || faulty.keys().await.remove(waits).filter(|objects| *objects == 2))
        .await;
    assert!(faulty.sign(waits).await.end.is_ok());
    bystander.assert_unaffected().await;
}

/// The service's own secrets are in the token that is away: they are asked for when it is back, and each time that they are
/// asked for is on the record, so nothing is asked and recorded meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_in_a_token_that_is_away_are_asked_for_once_it_is_back() {
    let mut faulty = Faulty::start().await;
    let move_ring = |config: &mut toml::Table| config["system_ring"]["token"] = "main".into();
    faulty.chancery.configure(move_ring).unwrap();
    faulty.chancery.terminate().await.unwrap();
    let mut accept = command(chancery());
    accept.args(["state", "accept", "--yes", "--reason", "another token", "--config"]).arg(faulty.chancery.config());
    let _said = succeed(&mut accept);
    faulty.chancery.launch().unwrap();
    faulty.chancery.wait_until_serving().await.unwrap();
    faulty.restart().await.unwrap();
    // The key that signs the log stayed in the other token, too.
    until("the log is signed by a key of this token", async || {
        let record = Record::read(&faulty.operator).await;
        let made = record.of(v1::RecordKind::Act).any(|act| act.resource == "keyRings/system/keys/log/versions/2");
        let (_, words) = admin_get(&faulty.chancery, "/readyz").await;
        (made && !words.contains("log: unsigned")).then_some(())
    })
    .await;
    // Whoever verifies needs both: the one that signs now, and the one that did.
    let keys = ["audit", "log-key", "-o", "json"];
    let said: serde_json::Value = serde_json::from_str(&succeed(faulty.chancery.cli().args(keys))).unwrap();
    let [new, old] = said["log_keys"].as_array().unwrap().as_slice() else { panic!("two keys: {said}") };
    assert!(new["signs"] == true && new["retire_time"].is_null() && new["verifier_key"] == said["log_key"], "{said}");
    assert!(old["signs"] == false && old["retire_time"].is_string(), "{said}");
    assert!(old["create_time"].as_str() < new["create_time"].as_str(), "{said}");
    let printed = succeed(faulty.chancery.cli().args(["audit", "log-key"]));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!((Some(lines[0]), Some(lines[1])), (new["verifier_key"].as_str(), old["verifier_key"].as_str()));
    assert!(lines[2].contains(" signs, since ") && lines[3].contains(" signed from "), "{printed}");
    let scope = v1::ApiKeyScope { access: v1::ApiKeyAccess::ReadOnly.into(), ..v1::ApiKeyScope::default() };
    let request = v1::IssueApiKeyRequest {
        parent: "callers/caller".to_owned(),
        lifetime: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        scope: Some(scope),
        request_id: String::new(),
    };
    faulty.operator.callers().issue_api_key(request.clone()).await.unwrap();
    // Acts that speak of the secret of API keys, and of the one that seals the state: their making, then each derivation.
    let acts = async |operator: &Client| {
        let record = Record::read(operator).await;
        ["api-keys", "state"].map(|secret| {
            let prefix = format!("keyRings/system/keys/{secret}/");
            record.of(v1::RecordKind::Act).filter(|act| act.resource.starts_with(&prefix)).count()
        })
    };
    let before = acts(&faulty.operator).await;
    faulty.rules(&[Rule::new(FAULT, Then::Absent)]);
    faulty.restart().await.unwrap();
    until_health(&faulty.operator, TokenHealth::Down).await;
    let refused = faulty.operator.callers().issue_api_key(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    // Longer than the wait between two attempts, twice.
    tokio::time::sleep(Duration::from_secs(11)).await;
    faulty.rules(&[]);
    until("API keys are issued", async || faulty.operator.callers().issue_api_key(request.clone()).await.ok()).await;
    assert_eq!(acts(&faulty.operator).await, before.map(|acts| acts + 1), "each was asked for once");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_are_kept_alive() {
    let idle = Duration::from_secs(7);
    let mut faulty = configured(&[("keepalive_seconds", 1)]).await;
    let (key, _) = faulty.key("k").await;
    let expiry = Rule::new(FAULT, Then::IdleExpiryMs(5_000));
    faulty.rules(std::slice::from_ref(&expiry));
    assert_all_signed(&faulty.burst(&key, 8).await);
    faulty.faults.clear_log().unwrap();
    tokio::time::sleep(idle).await;
    let kept = faulty.burst(&key, 8).await;
    assert_all_signed(&kept);
    assert_eq!(faulty.logins(), 0, "no session was lost, so nobody had to log in again");
    let attempts = attempts_of(&faulty, &kept).await;
    assert!(attempts.iter().all(|attempts| *attempts == 1), "{attempts:?}");

    // The same without: so it is the keepalive that does it.
    faulty.rules(&[]);
    let far = |config: &mut toml::Table| config["token"][0]["keepalive_seconds"] = toml::Value::Integer(3_600);
    faulty.chancery.configure(far).unwrap();
    faulty.restart().await.unwrap();
    faulty.rules(&[expiry]);
    assert_all_signed(&faulty.burst(&key, 8).await);
    faulty.faults.clear_log().unwrap();
    tokio::time::sleep(idle).await;
    let lost = faulty.burst(&key, 8).await;
    assert_all_signed(&lost);
    assert!(attempts_of(&faulty, &lost).await.contains(&2), "the sessions were dead, and a retry hid it");
}

/// How often the token was asked for each of these signatures, by the record.
async fn attempts_of(faulty: &Faulty, calls: &[Call]) -> Vec<u64> {
    let record = Record::read_settled(&faulty.operator).await;
    let ours: Vec<u64> = calls.iter().map(|call| call.end.as_ref().unwrap().record_index).collect();
    let items = record.of(v1::RecordKind::Outcome).map(|outcome| details(outcome)["items"][0].clone());
    let items = items.filter(|item| item["intent"].as_u64().is_some_and(|intent| ours.contains(&intent)));
    let attempts: Vec<u64> = items.map(|item| item["attempts"].as_u64().unwrap()).collect();
    assert_eq!(attempts.len(), ours.len());
    attempts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_call_that_hangs_is_signed_in_another_lane() {
    let faulty = configured(&[("signing_threads", 2)]).await;
    let (key, public) = faulty.key("k").await;
    assert_all_signed(&faulty.burst(&key, 4).await);
    let before = token(&faulty.operator).await.worker_pid;
    faulty.rules(&[Rule::new(FAULT, Then::Hang(Hang::ForEver)).on("C_Sign").times(1)]);
    // All with one deadline: what waited for the worker to be replaced would miss it.
    let deadline = Duration::from_secs(20);
    let options = faulty.chancery.connect_options(&faulty.chancery.caller_identity());
    let client = Client::connect(ConnectOptions { request_timeout: deadline, ..options }).await.unwrap();
    let mut running = JoinSet::new();
    for number in 0..40 {
        let (client, key) = (client.clone(), key.clone());
        running.spawn(async move {
            let (began, message) = (std::time::Instant::now(), format!("beside a call that hangs {number}"));
            let end = sign(&client, &key, &message).await;
            Call { began, ended: std::time::Instant::now(), message, end }
        });
    }
    let calls = running.join_all().await;
    assert_eq!(faulty.faults.count(FAULT).unwrap(), 1);
    let failed: Vec<_> = failures(&calls).collect();
    assert_eq!(failed.len(), 1, "more than the one that hung: {failed:?}");
    public.assert_verifies(&calls);
    until("the worker is replaced", async || {
        let now = token(&faulty.operator).await;
        (now.worker_pid != 0 && now.worker_pid != before).then_some(())
    })
    .await;
    assert_all_signed(&faulty.burst(&key, 10).await);
    let (_, page) = Page::fetch(&faulty.chancery, "").await;
    let hung = [("chancery_state", "recovering"), ("chancery_cause", "worker-hung")];
    assert!(page.sum("chancery_token_transitions_total", &hung) >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_grows_is_replaced_without_a_call_being_lost() {
    const LIMIT: i64 = 256 << 20;
    let faulty = configured(&[("max_worker_memory_bytes", LIMIT)]).await;
    let (key, public) = faulty.key("k").await;
    let before = until("the worker is measured", async || {
        Some(token(&faulty.operator).await).filter(|token| token.worker_memory_bytes > 0)
    })
    .await;
    assert_eq!(before.worker_memory_limit_bytes, u64::try_from(LIMIT).unwrap());
    assert!(before.worker_memory_bytes < before.worker_memory_limit_bytes, "{before:?}");
    assert!(before.worker_threads > before.signing_threads, "those that sign, and the main one: {before:?}");
    assert_eq!(before.open_sessions, before.signing_threads + 2);

    let leak = |times| Rule::new(FAULT, Then::LeakBytes(64 << 20)).on("C_SignInit").times(times);
    faulty.rules(&[leak(5)]);
    let mut calls = Vec::new();
    until("the worker is replaced", async || {
        calls.extend(faulty.burst(&key, 4).await);
        let now = token(&faulty.operator).await;
        (now.worker_pid != 0 && now.worker_pid != before.worker_pid).then_some(())
    })
    .await;
    assert_all_signed(&calls);
    public.assert_verifies(&calls);
    let (_, page) = Page::fetch(&faulty.chancery, "").await;
    let grown = [("chancery_state", "recovering"), ("chancery_cause", "worker-over-limit")];
    assert_eq!(page.sum("chancery_token_transitions_total", &grown), 1.0);
    assert!(page.sum("chancery_token_worker_memory_bytes", &[("chancery_token", "main")]) > 0.0);

    // Again at once: a worker a second would help nobody. It is told, and goes on.
    faulty.rules(&[]);
    faulty.rules(&[leak(6)]);
    assert_all_signed(&faulty.burst(&key, 12).await);
    // Measured in the middle of it, the worker is near its limit before it is above it.
    let degraded = until("a replacement is held back", async || {
        Some(token(&faulty.operator).await).filter(|token| token.replacements_held_back > 0)
    })
    .await;
    assert_eq!(degraded.health(), TokenHealth::Degraded);
    assert_eq!(degraded.health_cause(), TokenHealthCause::WorkerNearLimit);
    assert!(degraded.next_attempt_time.is_some(), "{degraded:?}");
    assert_eq!(serving(&faulty.operator, "tokens/main").await, ServingStatus::Serving);
    assert_all_signed(&faulty.burst(&key, 4).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_sessions_are_fewer_lanes_until_there_are_more() {
    let faulty = configured(&[("signing_threads", 3)]).await;
    let (key, public) = faulty.key("k").await;
    until_health(&faulty.operator, TokenHealth::Up).await;
    // Two of them are for everything but signing.
    faulty.rules(&[Rule::new(FAULT, Then::SessionCap(3))]);
    kill_worker(&faulty, &key).await;
    let degraded = until_health(&faulty.operator, TokenHealth::Degraded).await;
    assert_eq!(degraded.health_cause(), TokenHealthCause::FewerLanes);
    assert_eq!((degraded.signing_threads, degraded.configured_signing_threads), (1, 3));
    let signed = faulty.burst(&key, 20).await;
    assert_all_signed(&signed);
    public.assert_verifies(&signed);

    faulty.rules(&[]);
    // Nobody signs meanwhile: lanes without a session ask by themselves.
    let up = until_health(&faulty.operator, TokenHealth::Up).await;
    assert_eq!((up.signing_threads, up.open_sessions >= 3), (3, true));

    // And less than there were, while the worker lives: what lost its session and gets none leaves its calls to others.
    let lost = Rule::new("lost", Then::CloseSessions).on("C_SignInit").times(1);
    faulty.rules(&[Rule::new(FAULT, Then::SessionCap(3)), lost]);
    let signed = faulty.burst(&key, 20).await;
    assert_all_signed(&signed);
    public.assert_verifies(&signed);
    faulty.rules(&[]);
    until_health(&faulty.operator, TokenHealth::Up).await;
    assert_all_signed(&faulty.burst(&key, 20).await);
}

/// Nobody signs, so that nobody waits for it, and nobody's deadline shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_hangs_when_it_is_only_asked_how_it_is_has_its_worker_replaced() {
    let faulty = configured(&[("signing_threads", 3)]).await;
    let (key, public) = faulty.key("k").await;
    until_health(&faulty.operator, TokenHealth::Up).await;
    faulty.rules(&[Rule::new(FAULT, Then::SessionCap(3))]);
    kill_worker(&faulty, &key).await;
    let before = until_health(&faulty.operator, TokenHealth::Degraded).await.worker_pid;
    // Lanes without a session ask by themselves whether there is one now; one of them gets no answer.
    faulty.rules(&[Rule::new("hang", Then::Hang(Hang::ForEver)).on("C_OpenSession").times(1)]);
    until("the worker is replaced", async || {
        let now = token(&faulty.operator).await;
        (now.health() == TokenHealth::Up && ![0, before].contains(&now.worker_pid)).then_some(())
    })
    .await;
    assert_eq!(faulty.faults.count("hang").unwrap(), 1);
    let signed = faulty.burst(&key, 20).await;
    assert_all_signed(&signed);
    public.assert_verifies(&signed);
}

/// Where one lane has a session, those without can wait. Where none has, nothing is signed until one of them asks again.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_that_have_all_lost_their_sessions_sign_soon_after_there_are_some_again() {
    let faulty = configured(&[("signing_threads", 2)]).await;
    let (key, public) = faulty.key("k").await;
    // A worker is replaced, so that the one after it, which is no better for a successor, is kept.
    let before = token(&faulty.operator).await.worker_pid;
    faulty.rules(&[Rule::returning("memory", "C_SignInit", "CKR_DEVICE_MEMORY").times(1)]);
    let _refused = faulty.sign(&key).await;
    until("the worker is replaced", async || {
        let now = token(&faulty.operator).await;
        (now.health() == TokenHealth::Up && ![0, before].contains(&now.worker_pid)).then_some(())
    })
    .await;
    faulty.faults.clear_log().unwrap();
    faulty.rules(&[
        Rule::returning("lost", "C_SignInit", "CKR_SESSION_HANDLE_INVALID"),
        Rule::returning(FAULT, "C_OpenSession", "CKR_SESSION_COUNT"),
    ]);
    let waiting = {
        let (token, key) = ((*faulty).clone(), key.clone());
        tokio::spawn(async move { token.burst(&key, 8).await })
    };
    // So long does the trouble last: long enough for a lane's rest to have been doubled four times.
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(token(&faulty.operator).await.signing_threads, 0, "no lane has a session");
    let (took, signed) = faulty.recover(&key).await;
    // 5 seconds, and what a busy machine needs.
    assert!(took < Duration::from_secs(20), "signing again only after {took:?}");
    public.assert_verifies(&signed);
    public.assert_verifies(&waiting.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_which_calls_fail_is_degraded_until_they_do_not() {
    let faulty = Faulty::start().await;
    let (key, public) = faulty.key("k").await;
    faulty.rules(&[Rule::returning(FAULT, "C_SignInit", "CKR_OPERATION_ACTIVE").when(|when| when.every = Some(3))]);
    let mut calls = Vec::new();
    let degraded = until("the token is degraded", async || {
        calls.extend(faulty.burst(&key, 12).await);
        Some(token(&faulty.operator).await).filter(|token| token.health() == TokenHealth::Degraded)
    })
    .await;
    assert_eq!(degraded.health_cause(), TokenHealthCause::CallsFail);
    assert_eq!(serving(&faulty.operator, "tokens/main").await, ServingStatus::Serving);
    assert_eq!(serving(&faulty.operator, "").await, ServingStatus::Serving);
    public.assert_verifies(&calls);
    faulty.rules(&[]);
    let up = until_health(&faulty.operator, TokenHealth::Up).await;
    assert!(up.health_change_time.unwrap().seconds >= degraded.health_change_time.unwrap().seconds);
    let (_, page) = Page::fetch(&faulty.chancery, "").await;
    let count = |state, cause| {
        let labels = [("chancery_token", "main"), ("chancery_state", state), ("chancery_cause", cause)];
        page.sum("chancery_token_transitions_total", &labels)
    };
    assert_eq!((count("starting", "_none"), count("degraded", "calls-fail"), count("up", "_none")), (1.0, 1.0, 2.0));
    assert_eq!(page.sum("chancery_token_state", &[("chancery_token", "main")]), 1.0, "one state at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_replaced_on_request_once_in_a_while_and_always_where_it_is_of_no_use() {
    let faulty = Faulty::start().await;
    let (key, _) = faulty.key("k").await;
    let bystander = faulty.bystander().await;
    let removed = || Rule::returning(FAULT, "C_SignInit", "CKR_DEVICE_REMOVED").times(1);
    let first = token(&faulty.operator).await;
    faulty.rules(&[removed()]);
    assert!(faulty.sign(&key).await.end.is_err());
    let second = until("the worker is replaced", async || {
        let now = token(&faulty.operator).await;
        (now.worker_pid != first.worker_pid && now.health() == TokenHealth::Up).then_some(now)
    })
    .await;
    assert_eq!(second.replacements_held_back, 0);
    assert!(second.next_attempt_time.is_some(), "until when the next one is held back: {second:?}");

    // Again: it is well apart from that, and stays.
    faulty.rules(&[]);
    faulty.rules(&[removed()]);
    assert!(faulty.sign(&key).await.end.is_err());
    assert!(faulty.sign(&key).await.end.is_ok());
    let held = token(&faulty.operator).await;
    assert_eq!((held.worker_pid, held.replacements_held_back), (second.worker_pid, 1));
    let (_, page) = Page::fetch(&faulty.chancery, "").await;
    assert_eq!(page.sum("chancery_token_breaker_open", &[("chancery_token", "main")]), 1.0);
    assert_eq!(page.sum("chancery_token_breaker_open", &[("chancery_token", "second")]), 0.0);

    // A module that has lost its footing for good is of no use to anybody, and then its successor does not wait.
    let gone = Rule::returning(FAULT, "C_SignInit", "CKR_CRYPTOKI_NOT_INITIALIZED");
    let gone = gone.on_each(&["C_SignInit", "C_GetSessionInfo", "C_OpenSession"]);
    faulty.rules(&[gone]);
    assert!(faulty.sign(&key).await.end.is_err());
    until("the worker is given up", async || {
        (token(&faulty.operator).await.worker_pid != second.worker_pid).then_some(())
    })
    .await;
    let (recovered, _) = faulty.recover(&key).await;
    assert!(recovered < Duration::from_secs(20), "long before the breaker would close: {recovered:?}");
    bystander.assert_unaffected().await;
}
