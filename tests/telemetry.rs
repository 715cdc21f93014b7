//! The trace of a call as a collector gets it: its spans by the OpenTelemetry conventions, what they say, and what they
//! never say.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::{BTreeMap, BTreeSet};

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding as _};
use chancery_api::v1::{self, Algorithm};
use chancery_client::Client;
use chancery_testkit::{Chancery, Setup};
use chancery_tests::collector::{Collector, attributes};
use chancery_tests::contract::{contains, create, eventually, hex, new_key, records, sha256, sign};
use chancery_tests::metrics_page::Page;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tonic::Request;

const SIGN: &str = "chancery.v1.SigningService/Sign";

/// A service that sends what it has every `delay` milliseconds.
fn exporting(collector: &Collector, delay: &str) -> Setup {
    let endpoint = collector.endpoint();
    Chancery::setup()
        .environment("OTEL_BSP_SCHEDULE_DELAY", delay)
        .environment("OTEL_METRIC_EXPORT_INTERVAL", delay)
        .configure(move |config| {
            let telemetry = config.entry("telemetry").or_insert_with(|| toml::Table::new().into());
            telemetry.as_table_mut().unwrap().insert("otlp_endpoint".to_owned(), endpoint.into());
        })
}

/// A trace of a caller's: its id, and the id of the caller's span.
#[derive(Clone)]
struct CallersSpan {
    trace: String,
    span: String,
}

impl CallersSpan {
    fn new() -> Self {
        let random = |bytes: usize| {
            let mut id = vec![0; bytes];
            aws_lc_rs::rand::fill(&mut id).unwrap();
            hex(&id)
        };
        Self { trace: random(16), span: random(8) }
    }

    /// A request from within the span.
    fn request<T>(&self, message: T, sampled: bool) -> Request<T> {
        let mut request = Request::new(message);
        let traceparent = format!("00-{}-{}-0{}", self.trace, self.span, u8::from(sampled));
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
        request.metadata_mut().insert("tracestate", "vendor=opaque".parse().unwrap());
        request
    }
}

/// The spans of a trace by name, once the call's own, which ends last, is there.
async fn trace(collector: &Collector, trace: &str, method: &str) -> BTreeMap<String, Vec<Span>> {
    let spans = eventually("the trace", async || {
        Some(collector.spans(trace)).filter(|spans| spans.iter().any(|span| span.name == method))
    })
    .await;
    let mut by_name: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for span in spans {
        by_name.entry(span.name.clone()).or_default().push(span);
    }
    by_name
}

fn only<'a>(spans: &'a BTreeMap<String, Vec<Span>>, name: &str) -> &'a Span {
    match spans.get(name).map(Vec::as_slice) {
        Some([only]) => only,
        other => panic!("one span {name}, not {other:?}"),
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What a span says beside what every test names: port and address of the caller are his own.
fn said(span: &Span) -> BTreeMap<String, String> {
    attributes(&span.attributes)
}

fn assert_within(inner: &Span, outer: &Span) {
    assert_eq!(inner.parent_span_id, outer.span_id, "{} is in {}", inner.name, outer.name);
    assert!(inner.start_time_unix_nano >= outer.start_time_unix_nano, "{} in {}", inner.name, outer.name);
    assert!(inner.end_time_unix_nano <= outer.end_time_unix_nano, "{} in {}", inner.name, outer.name);
}

/// Looks for bytes in everything that was exported: as they are, and in every usual way of writing them down.
fn assert_never_exported(collector: &Collector, what: &str, secret: &[u8]) {
    let exported: Vec<Vec<u8>> = collector.traces().iter().map(prost::Message::encode_to_vec).collect();
    let ways = [
        secret.to_vec(),
        hex(secret).into_bytes(),
        hex(secret).to_uppercase().into_bytes(),
        Base64::encode_string(secret).into_bytes(),
        Base64Unpadded::encode_string(secret).into_bytes(),
        Base64Url::encode_string(secret).into_bytes(),
        Base64UrlUnpadded::encode_string(secret).into_bytes(),
        format!("{secret:?}").into_bytes(),
    ];
    for (way, needle) in ways.iter().enumerate() {
        assert!(!exported.iter().any(|request| contains(request, needle)), "{what} was exported (way {way})");
    }
}

#[tokio::test]
async fn the_route_of_a_signature_is_a_trace() {
    let collector = Collector::start().await;
    let chancery = exporting(&collector, "100").start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "traced", Algorithm::EcdsaP256Sha256)).await.name;
    let mut payload = [0; 48];
    aws_lc_rs::rand::fill(&mut payload).unwrap();
    let here = CallersSpan::new();
    let answer = caller.signing().sign(here.request(sign(&key, &payload), true)).await.unwrap().into_inner();

    let spans = trace(&collector, &here.trace, SIGN).await;
    let names: BTreeSet<&str> = spans.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from([SIGN, "identity", "policy", "record", "token", "queue", "device", "verify"]));

    // The call itself, by the conventions for gRPC servers.
    let call = only(&spans, SIGN);
    assert_eq!(hex(&call.parent_span_id), here.span, "the caller's trace is continued");
    assert_eq!(call.trace_state, "vendor=opaque");
    assert_eq!(call.kind(), SpanKind::Server);
    assert_eq!(call.status.clone().unwrap_or_default().code(), StatusCode::Unset);
    let port = chancery.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let mut own = said(call);
    assert!(own.remove("client.port").unwrap().parse::<u16>().unwrap() > 0);
    assert_eq!(own.remove("trace_id").as_deref(), Some(here.trace.as_str()), "for log lines");
    let expected = map(&[
        ("rpc.system.name", "grpc"),
        ("rpc.method", SIGN),
        ("rpc.response.status_code", "OK"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("client.address", "127.0.0.1"),
        ("network.transport", "tcp"),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "2"),
        ("chancery.caller", "caller"),
    ]);
    assert_eq!(own, expected);

    // Its route.
    for name in ["identity", "policy", "record", "token"] {
        assert_within(only(&spans, name), call);
    }
    let token = only(&spans, "token");
    for name in ["queue", "device", "verify"] {
        assert_within(only(&spans, name), token);
    }
    let ends = |name| only(&spans, name).end_time_unix_nano;
    let begins = |name| only(&spans, name).start_time_unix_nano;
    for (first, then) in
        [("identity", "policy"), ("policy", "record"), ("record", "token"), ("queue", "device"), ("device", "verify")]
    {
        assert!(
            ends(first) <= begins(then),
            "{first} ends before {then} begins: nothing is signed that is not on record"
        );
    }
    assert_eq!(said(only(&spans, "identity")), map(&[("chancery.caller", "caller")]));
    let decision = map(&[
        ("chancery.action", "Sign"),
        ("chancery.resource", &key),
        ("chancery.caller", "caller"),
        ("chancery.decision", "allow"),
    ]);
    assert_eq!(said(only(&spans, "policy")), decision);
    assert_eq!(said(only(&spans, "record")), map(&[("chancery.record.intents", "1")]));
    let asked = map(&[
        ("chancery.token", "main"),
        ("chancery.key_version", &answer.name),
        ("chancery.algorithm", "ECDSA_P256_SHA256"),
        ("chancery.record.index", &answer.record_index.to_string()),
    ]);
    assert_eq!(said(token), asked);

    assert_never_exported(&collector, "the payload", &payload);
    assert_never_exported(&collector, "its digest", &sha256(&payload));
    assert_never_exported(&collector, "the signature", &answer.signature);
    // Before other calls take its place.
    assert_exemplar(&chancery, &here.trace).await;
    assert_on_record(&operator, &key, &here.trace).await;
    chancery.stop().await.unwrap();
}

/// The trace leads to the record.
async fn assert_on_record(operator: &Client, key: &str, trace: &str) {
    let request = v1::ListRecordsRequest { resource: format!("{key}/versions/1"), ..v1::ListRecordsRequest::default() };
    let details = |record: &v1::AuditRecord| serde_json::from_slice::<serde_json::Value>(&record.details_json).unwrap();
    let of_trace = records(operator, request).await.into_iter().filter(|record| details(record)["trace_id"] == trace);
    assert_eq!(of_trace.count(), 1, "the intent names its trace");
}

/// The metrics lead to the trace.
async fn assert_exemplar(chancery: &Chancery, trace: &str) {
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let (kind, page) = Page::fetch(chancery, accept).await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let led = |name: &str, label: (&str, &str)| {
        let of_series = |sample: &&chancery_tests::metrics_page::Sample| {
            sample.name == name && sample.labels.get(label.0).map(String::as_str) == Some(label.1)
        };
        page.samples
            .iter()
            .filter(of_series)
            .any(|sample| sample.exemplar.get("trace_id").is_some_and(|id| id == trace))
    };
    assert!(led("rpc_server_call_duration_seconds_bucket", ("rpc_method", SIGN)), "the call's duration");
    for stage in ["queue", "device", "verify"] {
        assert!(led("chancery_token_stage_duration_seconds_bucket", ("chancery_stage", stage)), "{stage}");
    }
    assert!(led("chancery_policy_duration_seconds_bucket", ("chancery_decision", "allow")), "policy");
}

#[tokio::test]
async fn refusals_and_what_is_not_sampled() {
    let collector = Collector::start().await;
    let chancery = exporting(&collector, "100").start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "traced", Algorithm::Ed25519)).await.name;

    // First what nobody wants to see, so that it would be there before what follows.
    let unseen = CallersSpan::new();
    caller.signing().sign(unseen.request(sign(&key, b"m"), false)).await.unwrap();

    let denied = CallersSpan::new();
    operator.signing().sign(denied.request(sign(&key, b"m"), true)).await.unwrap_err();
    let spans = trace(&collector, &denied.trace, SIGN).await;
    let call = only(&spans, SIGN);
    let own = said(call);
    assert_eq!(own["rpc.response.status_code"], "PERMISSION_DENIED");
    assert_eq!(own["chancery.caller"], "operator");
    assert_eq!(own["chancery.reason"], "ACCESS_DENIED", "as the caller was told");
    assert_eq!(own.get("error.type"), None, "the caller's mistake is none of the server's");
    assert_eq!(call.status.clone().unwrap_or_default().code(), StatusCode::Unset);
    let decision = said(only(&spans, "policy"));
    assert_eq!((decision["chancery.decision"].as_str(), decision["chancery.reason"].as_str()), ("deny", "FORBIDDEN"));
    assert!(!spans.contains_key("record") && !spans.contains_key("token"), "{:?}", spans.keys());

    // No such method: an error of the server by the conventions, and no name that a caller made up.
    let lost = CallersSpan::new();
    let mut raw = tonic::client::Grpc::new(chancery_tests::collector::channel(&chancery).await);
    raw.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<v1::GetPolicySetRequest, v1::PolicySet>::default();
    let path = "/chancery.v1.SigningService/MadeUp".parse().unwrap();
    let answer = raw.unary(lost.request(v1::GetPolicySetRequest {}, true), path, codec).await;
    assert_eq!(answer.unwrap_err().code(), tonic::Code::Unimplemented);
    let spans = trace(&collector, &lost.trace, "_OTHER").await;
    let call = only(&spans, "_OTHER");
    let own = said(call);
    assert_eq!((own["rpc.method"].as_str(), own["error.type"].as_str()), ("_OTHER", "UNIMPLEMENTED"));
    assert_eq!(call.status.clone().unwrap().code(), StatusCode::Error);

    assert!(collector.spans(&unseen.trace).is_empty(), "the caller decided that this trace is not sampled");
    let (_, page) = Page::fetch(&chancery, "text/plain").await;
    assert!(page.sum("rpc_server_call_duration_seconds_count", &[("rpc_method", SIGN)]) >= 2.0, "it is counted");
    assert_on_record(&operator, &key, &unseen.trace).await;
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn each_item_of_a_batch_has_its_own_way_through_the_token() {
    let collector = Collector::start().await;
    let chancery = exporting(&collector, "100").start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "traced", Algorithm::Ed25519)).await.name;
    let here = CallersSpan::new();
    let batch = v1::BatchSignRequest { requests: vec![sign(&key, b"a"), sign(&key, b"b"), sign(&key, b"c")] };
    caller.signing().batch_sign(here.request(batch, true)).await.unwrap();
    let method = "chancery.v1.SigningService/BatchSign";
    let spans = trace(&collector, &here.trace, method).await;
    let call = only(&spans, method);
    assert_within(only(&spans, "record"), call);
    assert_eq!(said(only(&spans, "record"))["chancery.record.intents"], "3");
    for name in ["policy", "token", "queue", "device", "verify"] {
        assert_eq!(spans[name].len(), 3, "{name}");
    }
    for token in &spans["token"] {
        assert_within(token, call);
        for name in ["queue", "device", "verify"] {
            assert_eq!(spans[name].iter().filter(|span| span.parent_span_id == token.span_id).count(), 1, "{name}");
        }
    }
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn a_mac_goes_the_same_way_and_is_not_verified_by_the_service() {
    let collector = Collector::start().await;
    let chancery = exporting(&collector, "100").start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "traced", Algorithm::HmacSha256)).await.name;
    let here = CallersSpan::new();
    let payload = b"a message that is nobody else's to read";
    let request = v1::MacSignRequest { name: key, message: payload.to_vec().into(), ..v1::MacSignRequest::default() };
    let answer = caller.signing().mac_sign(here.request(request, true)).await.unwrap().into_inner();
    let method = "chancery.v1.SigningService/MacSign";
    let spans = trace(&collector, &here.trace, method).await;
    let names: BTreeSet<&str> = spans.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from([method, "identity", "policy", "record", "token", "queue", "device"]));
    assert_eq!(said(only(&spans, "token"))["chancery.key_version"], answer.name);
    assert_never_exported(&collector, "the payload", payload);
    assert_never_exported(&collector, "the MAC", &answer.mac);
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn each_message_of_a_stream_has_its_own_route() {
    let collector = Collector::start().await;
    let chancery = exporting(&collector, "100").start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "traced", Algorithm::Ed25519)).await.name;
    let here = CallersSpan::new();
    let (messages, stream) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let message =
        |number: u32| v1::StreamSignRequest { correlation_id: number.to_string(), request: Some(sign(&key, b"m")) };
    messages.send(message(0)).await.unwrap();
    let mut answers = caller.signing().stream_sign(here.request(stream, true)).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    messages.send(message(1)).await.unwrap();
    answers.message().await.unwrap().unwrap();
    let method = "chancery.v1.SigningService/StreamSign";
    let (_, page) = Page::fetch(&chancery, "text/plain").await;
    let counted = |page: &Page| page.sum("rpc_server_call_duration_seconds_count", &[("rpc_method", method)]);
    assert!(counted(&page) == 0.0, "the call goes on as long as its stream");
    drop(messages);
    assert!(answers.message().await.unwrap().is_none());

    let spans = trace(&collector, &here.trace, method).await;
    let call = only(&spans, method);
    assert_eq!(said(call)["rpc.response.status_code"], "OK", "from the trailers");
    assert_eq!(spans["message"].len(), 2);
    for message in &spans["message"] {
        assert_within(message, call);
        for name in ["policy", "record", "token"] {
            assert_eq!(spans[name].iter().filter(|span| span.parent_span_id == message.span_id).count(), 1, "{name}");
        }
    }
    let (_, page) = Page::fetch(&chancery, "text/plain").await;
    assert!(counted(&page) == 1.0);
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn metrics_sent_are_those_shown() {
    let collector = Collector::start().await;
    let chancery = exporting(&collector, "100").start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "counted", Algorithm::Ed25519)).await.name;
    caller.signing().sign(sign(&key, b"m")).await.unwrap();
    // Of what is shown, the dots and the units are lost; so the names that were sent are turned into those shown.
    eventually("every metric that is shown", async || {
        let (_, page) = Page::fetch(&chancery, "text/plain").await;
        let sent: BTreeSet<String> = collector.metrics().iter().map(|name| name.replace('.', "_")).collect();
        let shown = page.types.keys().filter(|family| *family != "target_info");
        let bare = |family: &String| {
            let name = family.trim_end_matches("_total");
            name.trim_end_matches("_seconds").trim_end_matches("_bytes").to_owned()
        };
        let shown: BTreeSet<String> = shown.map(bare).collect();
        (shown == sent && shown.contains("chancery_decisions")).then_some(())
    })
    .await;
    chancery.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_left_is_sent_at_the_stop() {
    let collector = Collector::start().await;
    // It would send after ten minutes.
    let chancery = exporting(&collector, "600000").start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key("keyRings/dev", "traced", Algorithm::Ed25519)).await.name;
    let here = CallersSpan::new();
    caller.signing().sign(here.request(sign(&key, b"m"), true)).await.unwrap();
    assert!(collector.all_spans().is_empty() && collector.metrics().is_empty());
    drop((operator, caller));
    assert!(chancery.stop().await.unwrap().success());
    let names: BTreeSet<String> = collector.spans(&here.trace).into_iter().map(|span| span.name).collect();
    assert!(names.contains(SIGN) && names.contains("verify"), "{names:?}");
    assert!(collector.metrics().contains(&"chancery.signatures".to_owned()));
}
