//! What an operator sees of calls, through the same exporter that serves `/metrics`.

use super::*;
use chancery_core::Error;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::Registry;
use tonic::Code;

/// Metrics that can be looked at. The provider must live as long.
pub(crate) fn metrics() -> (Metrics, Registry, SdkMeterProvider) {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();
    let ring = Id::parse("the key ring id", "payments").unwrap();
    (Metrics::new(&provider.meter("test"), std::iter::once(&ring)), registry, provider)
}

fn shown(registry: &Registry) -> String {
    prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

const SIGN: &str = "/chancery.v1.SigningService/Sign";

#[test]
fn a_call_is_counted_by_method_and_code() {
    let (metrics, registry, _provider) = metrics();
    let mut timer = metrics.call(SIGN);
    assert_eq!(timer.method(), "chancery.v1.SigningService/Sign");
    assert_eq!(timer.answered(Code::PermissionDenied), "PERMISSION_DENIED");
    drop(timer);
    let shown = shown(&registry);
    let count = shown.lines().find(|line| line.starts_with("rpc_server_call_duration_seconds_count")).unwrap();
    assert!(count.contains(r#"rpc_method="chancery.v1.SigningService/Sign""#), "{count}");
    assert!(count.contains(r#"rpc_response_status_code="PERMISSION_DENIED""#), "{count}");
    assert!(count.contains(r#"rpc_system_name="grpc""#) && count.ends_with(" 1"), "{count}");
}

#[test]
fn a_call_that_nobody_waits_for_is_cancelled() {
    let (metrics, registry, _provider) = metrics();
    drop(metrics.call(SIGN));
    assert!(shown(&registry).contains(r#"rpc_response_status_code="CANCELLED""#));
}

#[test]
fn made_up_paths_make_no_attributes() {
    let (metrics, registry, _provider) = metrics();
    for path in ["/a/b", "/chancery.v1.SigningService/Made-up", ""] {
        assert_eq!(metrics.call(path).method(), "_OTHER");
    }
    let shown = shown(&registry);
    assert!(!shown.contains("Made-up"), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.starts_with("rpc_server_call_duration_seconds_count")).count(), 1);
}

#[test]
fn health_and_reflection_are_methods_too() {
    let (metrics, _registry, _provider) = metrics();
    assert_eq!(metrics.call("/grpc.health.v1.Health/Check").method(), "grpc.health.v1.Health/Check");
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    assert_eq!(metrics.call(reflection).method(), &reflection[1..]);
}

#[test]
fn signatures_and_refusals_are_counted_by_what_is_bounded() {
    let (metrics, registry, _provider) = metrics();
    let answer = |name: &str| SignAnswer {
        version: name.parse().unwrap(),
        algorithm: Algorithm::Ed25519,
        signature: Vec::new(),
        recovery_id: None,
        record_index: 0,
    };
    metrics.signed(&answer("keyRings/payments/keys/a/versions/1"));
    metrics.signed(&answer("keyRings/payments/keys/b/versions/2"));
    metrics.signed(&answer("keyRings/unknown/keys/b/versions/2"));
    metrics.refused(&crate::errors::refusal(&Error::Overloaded));
    let shown = shown(&registry);
    let signatures: Vec<_> = shown.lines().filter(|line| line.starts_with("chancery_signatures_total")).collect();
    assert_eq!(signatures.len(), 1, "{signatures:?}");
    assert!(signatures[0].contains(r#"chancery_key_ring="payments""#) && signatures[0].ends_with(" 2"));
    assert!(shown.lines().any(|line| line.starts_with("chancery_refusals_total") && line.contains("OVERLOADED")));
}

#[test]
fn a_connection_is_counted_while_it_is_open() {
    let (metrics, registry, _provider) = metrics();
    let open = metrics.connection_opened();
    let now = || shown(&registry).lines().find(|line| line.starts_with("chancery_connections{")).unwrap().to_owned();
    assert!(now().ends_with(" 1"));
    drop(open);
    assert!(now().ends_with(" 0"));
}
