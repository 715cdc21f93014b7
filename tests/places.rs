//! Places that are held by who has gone, and by who was never let in: calls that were cancelled while the token works for
//! them, and connections on which nobody is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use chancery_client::Client;
use chancery_pkcs11_fault::{FaultRules, Hang, Rule, Then};
use chancery_testkit::{Chancery, Leaf};
use chancery_tests::faults::before_the_token;
use chancery_tests::load::{Record, create_key, metric, sign, token, until};
use chancery_tests::streams::{SignStream, channel_as};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Sets limits of the listener.
fn limits(config: &mut toml::Table, limits: &[(&str, i64)]) {
    let listener = config.get_mut("listener").unwrap().as_table_mut().unwrap();
    let table = limits.iter().map(|(name, value)| ((*name).to_owned(), toml::Value::Integer(*value))).collect();
    listener.insert("limits".to_owned(), toml::Value::Table(table));
}

/// A service whose token signs, and then holds on to what it is asked for until it is let go.
struct Slow {
    chancery: Chancery,
    operator: Client,
    key: String,
    faults: FaultRules,
    _rules: TempDir,
}

impl Slow {
    async fn start(of_the_listener: &'static [(&'static str, i64)]) -> Self {
        let rules = tempfile::tempdir().unwrap();
        let faults = FaultRules::new(rules.path()).unwrap();
        let setup = before_the_token(Chancery::setup(), &faults);
        let chancery = setup.configure(|config| limits(config, of_the_listener)).start().await.unwrap();
        let operator = chancery.operator().await.unwrap();
        let key = create_key(&operator, "k").await;
        sign(&chancery.caller().await.unwrap(), &key, "the worker has found the key").await.unwrap();
        faults.set(&[Rule::new("slow", Then::Hang(Hang::UntilRemoved)).on("C_Sign")]).unwrap();
        Self { chancery, operator, key, faults, _rules: rules }
    }

    fn metric(&self, name: &str, label: &str) -> f64 {
        metric(self.chancery.admin_endpoint().unwrap(), name, label)
    }

    /// What the token has been asked for and has not answered: in its worker, and waiting for it.
    fn at_the_token(&self) -> f64 {
        self.metric("chancery_token_in_flight{", "") + self.metric("chancery_token_queued{", "")
    }

    /// Calls of Sign that are at the token, each of which is then cancelled.
    async fn cancel(&self, caller: &Client, calls: u32) {
        let mut under_way = JoinSet::new();
        for number in 0..calls {
            let (caller, key) = (caller.clone(), self.key.clone());
            under_way.spawn(async move { sign(&caller, &key, &format!("call {number}")).await });
        }
        until("all are at the token", async || (self.at_the_token() >= f64::from(calls)).then_some(())).await;
        under_way.shutdown().await;
        until("the service has noticed", async || {
            let cancelled = self.metric("rpc_server_call_duration_seconds_count", r#"code="CANCELLED""#);
            (cancelled >= f64::from(calls)).then_some(())
        })
        .await;
    }

    /// Once the token goes on: what was cancelled is carried out, and what it held is free again.
    async fn ends(self, caller: &Client, signatures: usize) {
        self.faults.set(&[]).unwrap();
        until("there is room again", async || sign(caller, &self.key, "afterwards").await.ok()).await;
        until("nothing is under way", async || (self.metric("chancery_calls_in_flight ", "") == 0.0).then_some(()))
            .await;
        let record = Record::read_settled(&self.operator).await;
        assert!(record.ended("DONE").len() >= signatures, "who hangs up takes nothing back");
        self.chancery.stop().await.unwrap();
    }
}

#[track_caller]
fn assert_refused(end: Result<chancery_client::Signed, chancery_client::ClientError>, reason: &str) {
    let refusal = end.expect_err("it is not let in");
    assert_eq!(refusal.reason(), Some(reason), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_keeps_its_place_in_the_service_until_its_work_has_ended() {
    let slow = Slow::start(&[("max_in_flight", 4)]).await;
    let caller = slow.chancery.caller().await.unwrap();
    slow.cancel(&caller, 4).await;
    for number in 0..20 {
        assert_refused(sign(&caller, &slow.key, &format!("one more {number}")).await, "OVERLOADED");
    }
    assert!(slow.at_the_token() <= 4.0, "no more than the limit");
    assert!((slow.metric("chancery_calls_in_flight ", "") - 4.0).abs() < f64::EPSILON);
    slow.ends(&caller, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_keeps_its_callers_place_until_its_work_has_ended() {
    let slow = Slow::start(&[("max_in_flight_per_caller", 3)]).await;
    let caller = slow.chancery.caller().await.unwrap();
    slow.cancel(&caller, 3).await;
    for number in 0..20 {
        assert_refused(sign(&caller, &slow.key, &format!("one more {number}")).await, "CALLER_LIMIT");
    }
    assert!(slow.at_the_token() <= 3.0, "no more than the limit");
    // Another caller is not concerned.
    token(&slow.operator).await;
    slow.ends(&caller, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_stream_that_is_cancelled_keep_their_places_until_their_work_has_ended() {
    let slow = Slow::start(&[("max_in_flight_per_caller", 3)]).await;
    let caller = slow.chancery.caller().await.unwrap();
    let stream = SignStream::open(&channel_as(&slow.chancery, "caller").await).await;
    for number in 0..3 {
        stream.send(&number.to_string(), &slow.key, b"m").await;
    }
    until("all are at the token", async || (slow.at_the_token() >= 3.0).then_some(())).await;
    drop(stream);
    until("the service has noticed", async || {
        let ended = slow.metric("rpc_server_call_duration_seconds_count", "StreamSign");
        (ended >= 1.0).then_some(())
    })
    .await;
    for number in 0..20 {
        assert_refused(sign(&caller, &slow.key, &format!("one more {number}")).await, "CALLER_LIMIT");
    }
    assert!(slow.at_the_token() <= 3.0, "no more than the limit");
    slow.ends(&caller, 4).await;
}

/// Until the other end closes it; whether something was sent before does not matter.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = Vec::new();
    let _end = timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await.expect("it is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_its_share_of_the_connections_and_those_of_others_are_theirs() {
    let of_the_listener =
        &[("max_connections", 6), ("max_connections_per_address", 3), ("handshake_timeout_seconds", 60)];
    let chancery = Chancery::setup().configure(|config| limits(config, of_the_listener)).start().await.unwrap();
    let address = chancery.endpoint().strip_prefix("https://").unwrap().parse().unwrap();
    // They say nothing, and would be waited for a minute.
    let mut strangers = Vec::new();
    for _ in 0..10 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        strangers.push(socket.connect(address).await.unwrap());
    }
    let caller = chancery.caller().await.unwrap();
    sign(&caller, &create_key(&chancery.operator().await.unwrap(), "k").await, "all the same").await.unwrap();
    for stranger in strangers.split_off(3) {
        closed(stranger).await;
    }
    let admin = chancery.admin_endpoint().unwrap();
    let refused = metric(admin, "chancery_connections_refused_total", r#"reason="address_connections""#);
    assert!((refused - 7.0).abs() < f64::EPSILON, "{refused}");
    drop(strangers);
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_registered_caller_is_closed_and_one_with_a_caller_stays() {
    let setup = Chancery::setup().configure(|config| limits(config, &[("unused_timeout_seconds", 2)]));
    let chancery = setup.start().await.unwrap();
    let (caller, operator) = (chancery.caller().await.unwrap(), chancery.operator().await.unwrap());
    let key = create_key(&operator, "k").await;
    sign(&caller, &key, "before").await.unwrap();
    // Of the authority, and not registered; it asks how the service is, which anybody may, and watches it.
    let nobody = Leaf::spiffe("spiffe://chancery.dev/nobody");
    let nobody = chancery_tests::streams::channel(&chancery, &chancery.issue(nobody, "nobody").unwrap()).await;
    let mut watch = HealthClient::new(nobody).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let ended = timeout(Duration::from_secs(30), async { while let Ok(Some(_)) = watch.message().await {} }).await;
    ended.expect("the connection goes, and the watch with it");
    let admin = chancery.admin_endpoint().unwrap();
    until("it is counted", async || {
        (metric(admin, "chancery_connections_refused_total", r#"reason="unused""#) >= 1.0).then_some(())
    })
    .await;
    // Older than that, and still there: it was used.
    let two = || (metric(admin, "chancery_connections ", "") - 2.0).abs() < f64::EPSILON;
    until("the caller's and the operator's are left", async || two().then_some(())).await;
    sign(&caller, &key, "after").await.unwrap();
    assert!(two(), "no other connection was made");
    chancery.stop().await.unwrap();
}
