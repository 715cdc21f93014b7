//! Certificate revocation lists: what an authority has revoked is refused in the handshake, on the next call of an open
//! connection and on the next message of an open stream; a list that is out of date lets nobody in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::time::Instant;

use chancery_api::v1;
use chancery_client::{Client, ClientError};
use chancery_testkit::{Authority, Chancery, Crl, IdentityFiles, Leaf, signal};
use chancery_tests::contract::admin_get;
use chancery_tests::load::{Call, Load, Record, create_key, details, failures, metric, sign, until};
use chancery_tests::program::{command, run};
use chancery_tests::streams::{SignStream, channel};
use time::{Duration, OffsetDateTime};
use tonic::Code;

const CALLER: &str = "spiffe://chancery.dev/caller";

/// A certificate of the caller's with this serial number.
fn certificate(chancery: &Chancery, serial: u64) -> IdentityFiles {
    chancery.issue(Leaf::spiffe(CALLER).serial(serial), &format!("serial-{serial}")).unwrap()
}

/// Puts a list in its place and tells the service.
fn publish(chancery: &Chancery, crl: &Crl) {
    chancery.publish_crl(crl).unwrap();
    signal(chancery.pid(), "HUP").unwrap();
}

/// Waits until a client's calls are refused, and answers with what.
async fn refusal(client: &Client, key: &str) -> ClientError {
    until("the call is refused", async || sign(client, key, "refuse me").await.err()).await
}

/// Waits until a client's calls are answered.
async fn allowed(client: &Client, key: &str) {
    until("the call is allowed", async || sign(client, key, "allow me").await.ok()).await;
}

/// Connects with a certificate that the handshake is to refuse. With TLS 1.3 the client hears of that when it first reads.
async fn assert_no_entrance(chancery: &Chancery, identity: &IdentityFiles, key: &str) {
    let entered = async {
        let client = Client::connect(chancery.connect_options(identity)).await?;
        sign(&client, key, "let me in").await
    };
    let refused = entered.await.unwrap_err();
    assert!(matches!(refused, ClientError::Connection { .. }), "{refused:?}");
}

#[track_caller]
fn assert_refused(refused: &ClientError, reason: &str) {
    assert_eq!((refused.code(), refused.reason()), (Some(Code::Unauthenticated), Some(reason)), "{refused:?}");
}

fn failed_reloads(chancery: &Chancery) -> f64 {
    metric(chancery.admin_endpoint().unwrap(), "chancery_tls_reloads", r#"result="failed""#)
}

fn state(chancery: &Chancery, state: &str) -> f64 {
    metric(chancery.admin_endpoint().unwrap(), "chancery_tls_crl_state", &format!(r#"chancery_state="{state}""#))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_ends_in_the_handshake() {
    let chancery = Chancery::setup().crl(Crl::new().revoke(13)).start().await.unwrap();
    let key = create_key(&chancery.operator().await.unwrap(), "k").await;
    assert_no_entrance(&chancery, &certificate(&chancery, 13), &key).await;
    let client = chancery.connect(&certificate(&chancery, 14)).await.unwrap();
    sign(&client, &key, "not revoked").await.unwrap();
    assert!(chancery.log().contains("Revoked"), "the log says why: {}", chancery.log());
    assert_eq!(admin_get(&chancery, "/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!((state(&chancery, "fresh"), state(&chancery, "due"), state(&chancery, "stale")), (1.0, 0.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_open_connections_and_open_streams() {
    let chancery = Chancery::setup().crl(Crl::new()).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let (revoked, kept) = (certificate(&chancery, 13), certificate(&chancery, 14));
    let client = chancery.connect(&revoked).await.unwrap();
    let other = chancery.connect(&kept).await.unwrap();
    let mut stream = SignStream::open(&channel(&chancery, &revoked).await).await;
    let mut other_stream = SignStream::open(&channel(&chancery, &kept).await).await;
    sign(&client, &key, "before").await.unwrap();
    stream.sign("before", &key, b"before").await.signed();
    other_stream.sign("before", &key, b"before").await.signed();

    // Nobody tells the service; it sees the file change.
    chancery.publish_crl(&Crl::new().revoke(13)).unwrap();
    assert_refused(&refusal(&client, &key).await, "CERTIFICATE_REVOKED");
    stream.send("after", &key, b"after").await;
    let end = chancery_client::Refusal::from(stream.next().await.unwrap_err());
    assert_eq!((end.code, end.reason.as_deref()), (Code::Unauthenticated, Some("CERTIFICATE_REVOKED")), "{end}");
    assert_no_entrance(&chancery, &revoked, &key).await;
    sign(&other, &key, "another certificate of the same caller").await.unwrap();
    other_stream.sign("after", &key, b"after").await.signed();
    Record::read_until(&operator, "the refusal is on the record", |record| {
        record.of(v1::RecordKind::Denial).any(|denial| details(denial)["message"] == "certificate_revoked")
    })
    .await;

    // A certificate that was on hold, and no longer is: the connection is still the one from before.
    publish(&chancery, &Crl::new());
    allowed(&client, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_out_of_date_lets_nobody_in_until_there_is_another() {
    let chancery = Chancery::setup().crl(Crl::new()).start().await.unwrap();
    let key = create_key(&chancery.operator().await.unwrap(), "k").await;
    let caller = chancery.caller().await.unwrap();
    let mut stream = SignStream::open(&channel(&chancery, &certificate(&chancery, 14)).await).await;
    stream.sign("before", &key, b"before").await.signed();
    let now = OffsetDateTime::now_utc();
    // X.509 counts in seconds: this one has 3 to 4 left.
    publish(&chancery, &Crl::new().valid(now - Duration::minutes(30), now + Duration::seconds(4)));
    until("it is warned of", async || (state(&chancery, "due") + state(&chancery, "stale") > 0.0).then_some(())).await;
    assert_refused(&refusal(&caller, &key).await, "CERTIFICATE_CRL_STALE");
    assert!(OffsetDateTime::now_utc() >= now + Duration::seconds(3), "refused before its time");
    stream.send("after", &key, b"after").await;
    let end = chancery_client::Refusal::from(stream.next().await.unwrap_err());
    assert_eq!(end.reason.as_deref(), Some("CERTIFICATE_CRL_STALE"), "{end}");
    assert_no_entrance(&chancery, &certificate(&chancery, 15), &key).await;
    let (status, ready) = admin_get(&chancery, "/readyz").await;
    assert_eq!(status, 200);
    assert!(ready.contains("\ncrl: stale: the CRL ") && ready.contains("put the next one there"), "{ready}");
    assert_eq!((state(&chancery, "due"), state(&chancery, "stale")), (0.0, 1.0));

    publish(&chancery, &Crl::new().valid(now - Duration::minutes(20), now + Duration::hours(20)));
    allowed(&caller, &key).await;
    let client = chancery.connect(&certificate(&chancery, 15)).await.unwrap();
    sign(&client, &key, "a new connection").await.unwrap();
    // Less than the 24 hours from which on it is warned of.
    let (status, ready) = admin_get(&chancery, "/readyz").await;
    assert_eq!(status, 200);
    assert!(ready.contains("\ncrl: due: the CRL "), "{ready}");
    assert_eq!((state(&chancery, "due"), state(&chancery, "stale")), (1.0, 0.0));
    publish(&chancery, &Crl::new().valid(now - Duration::minutes(10), now + Duration::days(7)));
    until("it is in time again", async || (state(&chancery, "fresh") > 0.0).then_some(())).await;
    assert_eq!(admin_get(&chancery, "/readyz").await, (200, "ready\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_leaves_the_list_before_in_force() {
    let chancery = Chancery::setup().crl(Crl::new()).start().await.unwrap();
    let key = create_key(&chancery.operator().await.unwrap(), "k").await;
    let revoked = chancery.connect(&certificate(&chancery, 13)).await.unwrap();
    let kept = chancery.connect(&certificate(&chancery, 14)).await.unwrap();
    publish(&chancery, &Crl::new().revoke(13));
    assert_refused(&refusal(&revoked, &key).await, "CERTIFICATE_REVOKED");

    let path = chancery.dir().join("tls/ca.crl");
    let now = OffsetDateTime::now_utc();
    let older = Crl::new().valid(now - Duration::days(1), now + Duration::days(7));
    for (what, content, said) in [
        ("of another authority", Authority::unknown().unwrap().revocation_list(&Crl::new()).unwrap(), "has issued"),
        ("no list", "nothing".to_owned(), "holds no CRL"),
        ("older", Authority::of_dev(&chancery.dir()).unwrap().revocation_list(&older).unwrap(), "older than the CRL"),
    ] {
        let failed = failed_reloads(&chancery);
        std::fs::write(path.with_extension("new"), content).unwrap();
        std::fs::rename(path.with_extension("new"), &path).unwrap();
        until(what, async || (failed_reloads(&chancery) > failed).then_some(())).await;
        assert_refused(&sign(&revoked, &key, what).await.unwrap_err(), "CERTIFICATE_REVOKED");
        sign(&kept, &key, what).await.unwrap();
        until("the log says why", async || chancery.log().contains(said).then_some(())).await;
    }
    let failed = failed_reloads(&chancery);
    std::fs::remove_file(&path).unwrap();
    until("it is missed", async || (failed_reloads(&chancery) > failed).then_some(())).await;
    assert_refused(&sign(&revoked, &key, "no list at all").await.unwrap_err(), "CERTIFICATE_REVOKED");
    sign(&kept, &key, "no list at all").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_of_a_configuration_speaks_of_the_list() {
    let now = OffsetDateTime::now_utc();
    let stale = Crl::new().valid(now - Duration::days(2), now - Duration::days(1));
    // It starts: authorities beside this one may be in order.
    let chancery = Chancery::setup().crl(stale).start().await.unwrap();
    let check = || run(command(chancery_tests::program::chancery()).args(["config", "check"]).arg(chancery.config()));
    assert_no_entrance(&chancery, &chancery.caller_identity(), "keyRings/dev/keys/none").await;
    let (said, code) = check();
    assert!(
        said.contains("warning: listener.client_ca.crl: the CRL ") && said.contains("past its nextUpdate"),
        "{said}"
    );
    assert_eq!(code, Some(0));
    chancery.publish_crl(&Crl::new().valid(now, now + Duration::hours(5))).unwrap();
    let (said, code) = check();
    assert!(said.contains("is in force for less than 5 hours more"), "{said}");
    assert_eq!(code, Some(0));
    chancery.publish_crl(&Crl::new()).unwrap();
    let (said, _) = check();
    assert!(!said.contains("listener.client_ca.crl"), "{said}");
    std::fs::write(chancery.dir().join("tls/ca.crl"), "nothing").unwrap();
    let (said, code) = check();
    assert!(said.contains("cannot be used as a CRL: it holds no CRL"), "{said}");
    assert_eq!(code, Some(1));
    std::fs::remove_file(chancery.dir().join("tls/ca.crl")).unwrap();
    let (said, code) = check();
    assert!(said.contains("error: listener.client_ca.crl: ") && said.contains("cannot be read"), "{said}");
    assert_eq!(code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_that_begins_after_a_revocation_was_seen_signs() {
    let chancery = Chancery::setup().crl(Crl::new()).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let identity = certificate(&chancery, 13);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(chancery.connect(&identity).await.unwrap());
    }
    let probe = clients.pop().unwrap();
    let load = Load::start(&clients, 6, &key);
    let mut closed = Vec::new();
    for _ in 0..5 {
        load.wait_for_signatures(200).await;
        publish(&chancery, &Crl::new().revoke(13));
        assert_refused(&refusal(&probe, &key).await, "CERTIFICATE_REVOKED");
        let from = Instant::now();
        load.wait_for(100, "ended after the revocation", |call| call.began > from).await;
        closed.push((from, Instant::now()));
        publish(&chancery, &Crl::new());
    }
    load.wait_for_signatures(200).await;
    let calls = load.stop().await;
    for failure in failures(&calls) {
        assert_refused(failure, "CERTIFICATE_REVOKED");
    }
    for (from, until) in closed {
        let within: Vec<&Call> = calls.iter().filter(|call| call.began > from && call.ended < until).collect();
        assert!(!within.is_empty());
        let allowed: Vec<_> = within.iter().filter_map(|call| call.end.as_ref().ok()).collect();
        assert!(allowed.is_empty(), "began after the revocation was seen, and was allowed: {allowed:?}");
    }
    assert!(calls.len() >= 5 * 300, "{} calls", calls.len());
    Record::read_settled(&operator).await.assert_holds(&calls);
}
