//! What an operator sees of calls, through the same exporter that serves `/metrics`.

use super::*;
use chancery_core::Error;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tonic::Code;

/// Metrics that can be looked at. The provider must live as long.
pub(crate) fn metrics() -> (Metrics, Scrape, SdkMeterProvider) {
    let scrape = Scrape::new(Exemplars::default());
    let provider = SdkMeterProvider::builder().with_reader(scrape.reader()).build();
    let ring = Id::parse("the key ring id", "payments").unwrap();
    let token = Id::parse("the token id", "main").unwrap();
    let scope = Scope { rings: vec![&ring], tokens: vec![&token], traced: false };
    (Metrics::new(&provider.meter("test"), scrape.exemplars(), scope), scrape, provider)
}

fn shown(scrape: &Scrape) -> String {
    scrape.page(Format::Text).unwrap()
}

const SIGN: &str = "/chancery.v1.SigningService/Sign";

#[test]
fn a_call_is_counted_by_method_and_code() {
    let (metrics, scrape, _provider) = metrics();
    let mut timer = metrics.call(SIGN);
    assert_eq!(timer.method(), "chancery.v1.SigningService/Sign");
    assert_eq!(timer.answered(Code::PermissionDenied, None), "PERMISSION_DENIED");
    drop(timer);
    let shown = shown(&scrape);
    let count = shown.lines().find(|line| line.starts_with("rpc_server_call_duration_seconds_count")).unwrap();
    assert!(count.contains(r#"rpc_method="chancery.v1.SigningService/Sign""#), "{count}");
    assert!(count.contains(r#"rpc_response_status_code="PERMISSION_DENIED""#), "{count}");
    assert!(count.contains(r#"rpc_system_name="grpc""#) && count.ends_with(" 1"), "{count}");
}

#[test]
fn a_call_that_nobody_waits_for_is_cancelled() {
    let (metrics, scrape, _provider) = metrics();
    drop(metrics.call(SIGN));
    assert!(shown(&scrape).contains(r#"rpc_response_status_code="CANCELLED""#));
}

#[test]
fn made_up_paths_make_no_attributes() {
    let (metrics, scrape, _provider) = metrics();
    for path in ["/a/b", "/chancery.v1.SigningService/Made-up", ""] {
        assert_eq!(metrics.call(path).method(), "_OTHER");
    }
    let shown = shown(&scrape);
    assert!(!shown.contains("Made-up"), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.starts_with("rpc_server_call_duration_seconds_count")).count(), 1);
}

#[test]
fn health_and_reflection_are_methods_too() {
    let (metrics, _scrape, _provider) = metrics();
    assert_eq!(metrics.call("/grpc.health.v1.Health/Check").method(), "grpc.health.v1.Health/Check");
    assert!(!metrics.call(SIGN).streams() && metrics.call("/grpc.health.v1.Health/Watch").streams());
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    assert_eq!(metrics.call(reflection).method(), &reflection[1..]);
}

#[test]
fn signatures_and_refusals_are_counted_by_what_is_bounded() {
    let (metrics, scrape, _provider) = metrics();
    let answer = |name: &str| SignAnswer {
        version: name.parse().unwrap(),
        algorithm: Algorithm::Ed25519,
        signature: Vec::new(),
        recovery_id: None,
        record_index: 0,
        receipt: Some(Err(NoReceipt::Unsigned)),
    };
    metrics.signed(&answer("keyRings/payments/keys/a/versions/1"));
    metrics.signed(&answer("keyRings/payments/keys/b/versions/2"));
    metrics.signed(&answer("keyRings/unknown/keys/b/versions/2"));
    metrics.refused(&crate::errors::refusal(&Error::Overloaded));
    let shown = shown(&scrape);
    let signatures: Vec<_> = shown.lines().filter(|line| line.starts_with("chancery_signatures_total")).collect();
    assert_eq!(signatures.len(), 1, "{signatures:?}");
    assert!(signatures[0].contains(r#"chancery_key_ring="payments""#) && signatures[0].ends_with(" 2"));
    assert!(shown.lines().any(|line| line.starts_with("chancery_refusals_total") && line.contains("OVERLOADED")));
    let receipts: Vec<_> = shown.lines().filter(|line| line.starts_with("chancery_receipts_total{")).collect();
    assert_eq!(receipts.len(), 6, "those that never were are there, too: {receipts:?}");
    assert!(receipts.iter().any(|line| line.contains("\"unsigned\"") && line.ends_with(" 3")), "{receipts:?}");
}

#[test]
fn a_connection_is_counted_while_it_is_open() {
    let (metrics, scrape, _provider) = metrics();
    let open = metrics.connection_opened();
    let now = || shown(&scrape).lines().find(|line| line.starts_with("chancery_connections ")).unwrap().to_owned();
    assert!(now().ends_with(" 1"));
    drop(open);
    assert!(now().ends_with(" 0"));
}

#[test]
fn what_happens_in_the_core_is_counted_by_key_token_and_reason() {
    use chancery_audit::{DenialReason, GroupWritten};
    use chancery_core::Observation;
    use chancery_hsm::{HsmErrorKind, SignTimes};
    use chancery_model::{Action, KeyName};
    use std::time::Duration;

    let (metrics, scrape, _provider) = metrics();
    let observer = &metrics.inner.route;
    let key: KeyName = "keyRings/payments/keys/a".parse().unwrap();
    let key_ring = id("payments");
    let took = Duration::from_micros(30);
    let decided =
        |key, refused| Observation::Decided { action: Action::Sign, ring: Some(&key_ring), key, refused, took };
    observer.observe(decided(Some(&key), None));
    observer.observe(decided(Some(&key), Some(DenialReason::Forbidden)));
    let unknown = Some(DenialReason::UnknownResource);
    let nowhere =
        Observation::Decided { action: Action::Sign, ring: None, key: None, refused: unknown, took: Duration::ZERO };
    observer.observe(nowhere);
    let token = id("main");
    let times = SignTimes { queue: took, device: Duration::from_millis(2), verify: took };
    observer.observe(Observation::Asked { token: &token, end: Ok(times) });
    observer.observe(Observation::Asked { token: &token, end: Err(HsmErrorKind::WorkerLost) });
    observer.written(GroupWritten { intents: 3, records: 5, took });
    let shown = shown(&scrape);
    for line in [
        r#"chancery_decisions_total{chancery_action="Sign",chancery_decision="allow",chancery_key="a",chancery_key_ring="payments",chancery_reason="_none"} 1"#,
        r#"chancery_decisions_total{chancery_action="Sign",chancery_decision="deny",chancery_key="a",chancery_key_ring="payments",chancery_reason="FORBIDDEN"} 1"#,
        r#"chancery_decisions_total{chancery_action="Sign",chancery_decision="deny",chancery_key="_none",chancery_key_ring="_none",chancery_reason="UNKNOWN_RESOURCE"} 1"#,
        r#"chancery_policy_duration_seconds_count{chancery_decision="deny"} 1"#,
        r#"chancery_token_stage_duration_seconds_bucket{chancery_stage="device",chancery_token="main",le="0.002"} 1"#,
        r#"chancery_token_failures_total{chancery_kind="worker-lost",chancery_token="main"} 1"#,
        "chancery_record_group_size_sum 3",
        "chancery_record_leaves_total 5",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
}

fn id(text: &str) -> Id {
    Id::parse("the id", text).unwrap()
}
