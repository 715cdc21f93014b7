//! What the transport takes and for how long, and that a stop loses no answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chancery_api::v1;
use chancery_client::{Client, ClientError, ConnectOptions};
use chancery_testkit::{Chancery, Leaf};
use chancery_tests::load::{Call, Load, PATIENCE, Record, create_key, failures, metric, sign, stop, token, until};
use chancery_tests::streams::channel_as;
use http::uri::PathAndQuery;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Sets limits of the listener.
fn limits(config: &mut toml::Table, limits: &[(&str, i64)]) {
    let listener = config.get_mut("listener").unwrap().as_table_mut().unwrap();
    let table = limits.iter().map(|(name, value)| ((*name).to_owned(), toml::Value::Integer(*value))).collect();
    listener.insert("limits".to_owned(), toml::Value::Table(table));
}

fn sign_request(key: &str, message: Vec<u8>) -> v1::SignRequest {
    let input = v1::sign_input::Input::Message(message.into());
    v1::SignRequest {
        name: key.to_owned(),
        input: Some(v1::SignInput { input: Some(input), crc32c: None }),
        encoding: v1::SignatureEncoding::Der.into(),
        caller_signature: None,
        receipt: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_4_mib_is_refused_and_the_connection_lives() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let caller = chancery.caller().await.unwrap();
    let refused = caller.signing().sign(sign_request(&key, vec![0; 4 * 1024 * 1024])).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert!(refused.message().contains("4194304"), "says how much is allowed: {refused:?}");
    assert_eq!(Record::read(&operator).await.intents().count(), 0);
    sign(&caller, &key, "small").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_compressed() {
    let chancery = Chancery::start().await.unwrap();
    let key = create_key(&chancery.operator().await.unwrap(), "k").await;
    let caller = chancery.caller().await.unwrap();
    let with = |name: &'static str, value: &'static str| {
        let mut request = Request::new(sign_request(&key, vec![7; 64 * 1024]));
        request.metadata_mut().insert(name, value.parse().unwrap());
        request
    };
    let refused = caller.signing().sign(with("grpc-encoding", "gzip")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    let answer = caller.signing().sign(with("grpc-accept-encoding", "gzip,deflate,zstd")).await.unwrap();
    let encoding = answer.metadata().get("grpc-encoding").map(|encoding| encoding.to_str().unwrap().to_owned());
    assert!(encoding.is_none_or(|encoding| encoding == "identity"));
    assert!(answer.metadata().get("grpc-accept-encoding").is_none(), "no encoding is offered");
}

/// Stops the token's worker: no call of Sign ends by itself until it is replaced.
async fn stop_worker(operator: &Client) {
    stop(token(operator).await.worker_pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_deadline_is_the_services() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let caller = chancery.caller().await.unwrap();
    sign(&caller, &key, "the worker has done all that it does before it signs").await.unwrap();
    stop_worker(&operator).await;
    let mut request = Request::new(sign_request(&key, b"late".to_vec()));
    request.set_timeout(Duration::from_secs(3));
    caller.signing().sign(request).await.unwrap_err();
    // The client's own timer may be faster than the answer, so the record has to say when the service gave up.
    let record =
        Record::read_until(&operator, "the call is given up", |record| !record.ended("UNKNOWN").is_empty()).await;
    let intent = record.intents().last().unwrap();
    let outcome = record
        .of(v1::RecordKind::Outcome)
        .find(|outcome| outcome.outcomes.iter().any(|end| end.record_index == intent.index && end.result == "UNKNOWN"));
    let waited = outcome.unwrap().time.unwrap().seconds - intent.time.unwrap().seconds;
    // The client's 3 seconds, less what the way took; without them it would have been 30.
    assert!((0..20).contains(&waited), "gave up after {waited} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_has_a_longest_deadline_and_answers_at_it() {
    let chancery = Chancery::setup()
        .configure(|config| limits(config, &[("max_deadline_seconds", 4), ("default_deadline_seconds", 4)]))
        .start()
        .await
        .unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let caller = chancery.caller().await.unwrap();
    sign(&caller, &key, "the worker has done all that it does before it signs").await.unwrap();
    stop_worker(&operator).await;
    let began = Instant::now();
    let refused = sign(&caller, &key, "late").await.unwrap_err();
    assert_eq!((refused.code(), refused.reason()), (Some(Code::DeadlineExceeded), Some("DEADLINE_EXCEEDED")));
    assert!(began.elapsed() >= Duration::from_millis(3_900), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(25), "before the client's 30 seconds: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let chancery = Chancery::setup()
        .configure(|config| limits(config, &[("handshake_timeout_seconds", 1)]))
        .start()
        .await
        .unwrap();
    let began = Instant::now();
    let mut silent = TcpStream::connect(chancery.endpoint().strip_prefix("https://").unwrap()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let closed = tokio::task::spawn_blocking(move || silent.read(&mut [0; 16])).await.unwrap();
    assert_eq!(closed.unwrap(), 0, "the service hangs up");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    let admin = chancery.admin_endpoint().unwrap();
    let counted = || metric(admin, "chancery_connections_refused", r#"reason="handshake_timeout""#);
    until("it is counted", async || (counted() >= 1.0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_wait_until_another_goes() {
    let chancery =
        Chancery::setup().configure(|config| limits(config, &[("max_connections", 2)])).start().await.unwrap();
    let first = chancery.operator().await.unwrap();
    let key = create_key(&first, "k").await;
    let second = chancery.caller().await.unwrap();
    sign(&second, &key, "two connections are allowed").await.unwrap();
    let identity = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/caller"), "third").unwrap();
    let options = |seconds| ConnectOptions {
        connect_timeout: Duration::from_secs(seconds),
        ..chancery.connect_options(&identity)
    };
    let refused = Client::connect(options(1)).await.unwrap_err();
    assert!(matches!(refused, ClientError::Connection { .. }), "{refused:?}");
    sign(&second, &key, "those that are open are served").await.unwrap();
    drop(first);
    let third = Client::connect(options(20)).await.unwrap();
    sign(&third, &key, "there is room again").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_too_many_calls_is_refused_at_once() {
    let chancery = Chancery::setup()
        .configure(|config| {
            limits(
                config,
                &[("max_in_flight_per_caller", 3), ("max_deadline_seconds", 4), ("default_deadline_seconds", 4)],
            )
        })
        .start()
        .await
        .unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let caller = chancery.caller().await.unwrap();
    sign(&caller, &key, "the worker has done all that it does before it signs").await.unwrap();
    stop_worker(&operator).await;
    let over_limit = |call: &Call| call.end.as_ref().is_err_and(|error| error.reason() == Some("CALLER_LIMIT"));
    let load = Load::start(std::slice::from_ref(&caller), 4, &key);
    load.wait_for(1, "were refused", over_limit).await;
    // Another caller is not concerned.
    token(&operator).await;
    let calls = load.stop().await;
    let refused: Vec<&Call> = calls.iter().filter(|call| over_limit(call)).collect();
    assert!(refused.iter().all(|call| call.end.as_ref().unwrap_err().code() == Some(Code::ResourceExhausted)));
    let fastest = refused.iter().map(|call| call.ended - call.began).min().unwrap();
    assert!(fastest < Duration::from_secs(2), "at once, not when the others end: {fastest:?}");
    // The others were let in, and waited for the worker.
    assert!(calls.iter().filter(|call| !over_limit(call)).count() >= 3);
    let counted = metric(chancery.admin_endpoint().unwrap(), "chancery_refusals", r#"reason="CALLER_LIMIT""#);
    assert!(counted >= f64::from(u32::try_from(refused.len()).unwrap()), "{counted}");
}

/// Begins a call of the health service whose message never comes; answers what it was answered.
async fn ask_without_asking(channel: Channel) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::pending::<HealthCheckRequest>());
    request.set_timeout(Duration::from_secs(120));
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<_, HealthCheckResponse>::default();
    grpc.client_streaming(request, path, codec).await.unwrap_err()
}

/// How many calls of the health service one connection may have under way.
const HEALTH_CALLS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_health_service_take_no_place_from_callers() {
    let chancery = Chancery::setup()
        .configure(|config| limits(config, &[("max_in_flight", 8), ("max_in_flight_per_caller", 8)]))
        .start()
        .await
        .unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let caller = chancery.caller().await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        let channel = channel_as(&chancery, "nobody").await;
        for _ in 0..HEALTH_CALLS + 4 {
            waiting.spawn(ask_without_asking(channel.clone()));
        }
    }
    let admin = chancery.admin_endpoint().unwrap();
    let above = || metric(admin, "chancery_refusals", r#"reason="HEALTH_LIMIT""#);
    until("those above the limit are answered", async || (above() >= 12.0).then_some(())).await;
    sign(&caller, &key, "while they wait").await.unwrap();
    let mut other = HealthClient::new(channel_as(&chancery, "somebody").await);
    other.check(HealthCheckRequest::default()).await.expect("another connection's places are its own");
    let mut ends: Vec<Code> = waiting.join_all().await.iter().map(Status::code).collect();
    ends.sort_unstable_by_key(|code| i32::from(*code));
    // Not after the two minutes that they asked for.
    let (late, above) = ([Code::DeadlineExceeded; 3 * HEALTH_CALLS], [Code::ResourceExhausted; 12]);
    assert_eq!(ends, [late.as_slice(), &above].concat());

    // Watches keep their places until they end.
    let mut open = Vec::new();
    for _ in 0..HEALTH_CALLS {
        let mut watch = other.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        watch.message().await.unwrap().expect("how it is");
        open.push(watch);
    }
    let refused = other.watch(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    open.pop();
    until("a place is free again", async || other.watch(HealthCheckRequest::default()).await.ok()).await;
    sign(&caller, &key, "while they watch").await.unwrap();
    let counted = metric(chancery.admin_endpoint().unwrap(), "chancery_refusals", r#"reason="HEALTH_LIMIT""#);
    assert!(counted >= 13.0, "{counted}");
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_no_answer() {
    let mut chancery = Chancery::start().await.unwrap();
    let key = create_key(&chancery.operator().await.unwrap(), "k").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(chancery.caller().await.unwrap());
    }
    let load = Load::start(&clients, 8, &key);
    load.wait_for_signatures(200).await;
    let status = chancery.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    let calls = load.stop().await;
    assert!(failures(&calls).next().is_some(), "the load went on while the service stopped");
    for failure in failures(&calls) {
        let refused = matches!(failure, ClientError::Connection { .. }) || failure.code() == Some(Code::Unavailable);
        assert!(refused, "neither answered nor refused: {failure:?}");
    }

    chancery.restart().await.unwrap();
    let record = Record::read(&chancery.operator().await.unwrap()).await;
    record.assert_holds(&calls);
    // Each signature that the token made reached who had asked for it.
    let received: BTreeSet<u64> = calls.iter().filter_map(|call| Some(call.end.as_ref().ok()?.record_index)).collect();
    let made: BTreeSet<u64> = record.ended("DONE").into_iter().collect();
    assert_eq!(made, received);
    assert_eq!(record.intents().count(), made.len(), "no intent was left without its signature");
}
