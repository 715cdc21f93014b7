//! A small OpenTelemetry collector: takes OTLP over gRPC, as any collector does, and keeps what it got.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chancery_testkit::Chancery;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

use crate::contract::hex;

/// A collector that runs until the test ends.
#[derive(Debug, Clone)]
pub struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Got>>,
}

#[derive(Debug, Default)]
struct Got {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
}

impl Collector {
    /// Starts one at a free port.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Self { address: listener.local_addr().unwrap(), got: Arc::default() };
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        collector
    }

    /// For `telemetry.otlp_endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that it got of traces, as it came over the wire.
    #[must_use]
    pub fn traces(&self) -> Vec<ExportTraceServiceRequest> {
        self.got.lock().unwrap().traces.clone()
    }

    /// The spans of a trace, by its id in hexadecimal, in the order of their beginning.
    #[must_use]
    pub fn spans(&self, trace: &str) -> Vec<Span> {
        let mut spans: Vec<Span> = self.all_spans();
        spans.retain(|span| hex(&span.trace_id) == trace);
        spans
    }

    /// All spans, in the order of their beginning.
    #[must_use]
    pub fn all_spans(&self) -> Vec<Span> {
        let scopes =
            self.traces().into_iter().flat_map(|request| request.resource_spans).flat_map(|spans| spans.scope_spans);
        let mut spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }

    /// All that it got of metrics, as it came over the wire.
    #[must_use]
    pub fn all_metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        self.got.lock().unwrap().metrics.clone()
    }

    /// The names of all metrics that it ever got.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        let got = self.got.lock().unwrap();
        let resources = got.metrics.iter().flat_map(|request| &request.resource_metrics);
        let metrics = resources.flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
        let mut names: Vec<String> = metrics.map(|metric| metric.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.got.lock().unwrap().traces.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.got.lock().unwrap().metrics.push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// A channel of the development caller, for methods that no client knows.
pub async fn channel(chancery: &Chancery) -> Channel {
    let announced: serde_json::Value =
        serde_json::from_slice(&std::fs::read(chancery.dir().join("dev.json")).unwrap()).unwrap();
    let read = |path: &serde_json::Value| std::fs::read_to_string(path.as_str().unwrap()).unwrap();
    let (certificate, key) = (announced.pointer("/caller/cert").unwrap(), announced.pointer("/caller/key").unwrap());
    let authority = std::fs::read_to_string(chancery.ca()).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .identity(Identity::from_pem(read(certificate), read(key)));
    let endpoint = Endpoint::from_shared(chancery.endpoint().to_owned()).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.unwrap()
}

/// Attributes as text, by name.
#[must_use]
pub fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => panic!("{}: {other:?} is no value of ours", attribute.key),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}
