//! `rpc.server.call.duration`: how long each call took and how it ended, by the OpenTelemetry conventions for RPC.

use super::Metrics;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::collections::HashMap;
use std::time::Instant;
use tonic::Code;

/// The method of a path that is not in the contract, so that nobody can make up attributes.
const OTHER: &str = "_OTHER";

/// Bounds in seconds. Finer below 5 ms than the conventions advise, since that is where signatures are.
const BOUNDARIES: [f64; 17] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Every status code, at the place of its number.
const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

/// The instrument, and the attributes of every method and code.
pub(super) struct Calls {
    duration: Histogram<f64>,
    /// By path. The first method is [`OTHER`].
    methods: HashMap<String, usize>,
    attributes: Vec<Method>,
}

struct Method {
    /// Fully qualified: `chancery.v1.SigningService/Sign`.
    name: String,
    by_code: HashMap<Code, [KeyValue; 3]>,
}

impl Calls {
    pub(super) fn new(meter: &Meter) -> Self {
        let names: Vec<String> = std::iter::once(OTHER.to_owned()).chain(served_methods()).collect();
        Self {
            duration: meter
                .f64_histogram("rpc.server.call.duration")
                .with_unit("s")
                .with_description("Duration of calls, from the request's headers to the answer's")
                .with_boundaries(BOUNDARIES.to_vec())
                .build(),
            methods: names.iter().enumerate().map(|(index, name)| (format!("/{name}"), index)).collect(),
            attributes: names.into_iter().map(Method::new).collect(),
        }
    }
}

impl Method {
    fn new(name: String) -> Self {
        let attributes = |code: Code| {
            [
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", name.clone()),
                KeyValue::new("rpc.response.status_code", word(code)),
            ]
        };
        Self { by_code: CODES.into_iter().map(|code| (code, attributes(code))).collect(), name }
    }
}

/// The methods of all services that can be served, from their descriptors: `package.Service/Method`.
fn served_methods() -> Vec<String> {
    let descriptors = [
        chancery_api::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ];
    let files = descriptors.into_iter().filter_map(|bytes| FileDescriptorSet::decode(bytes).ok());
    let mut methods = Vec::new();
    for file in files.flat_map(|set| set.file) {
        for service in &file.service {
            let method = |name: &str| format!("{}.{}/{name}", file.package(), service.name());
            methods.extend(service.method.iter().map(|found| method(found.name())));
        }
    }
    methods
}

/// Measures one call. Dropped before it was answered, it counts as cancelled.
pub(crate) struct CallTimer {
    metrics: Metrics,
    method: usize,
    begun: Instant,
    answered: bool,
}

impl CallTimer {
    pub(super) fn begin(metrics: &Metrics, path: &str) -> Self {
        let method = metrics.calls().methods.get(path).copied().unwrap_or(0);
        Self { metrics: metrics.clone(), method, begun: Instant::now(), answered: false }
    }

    /// The fully qualified method, `_OTHER` for one that is not in the contract.
    pub(crate) fn method(&self) -> &str {
        self.metrics.calls().attributes.get(self.method).map_or(OTHER, |method| &method.name)
    }

    /// The call was answered; the word for its code.
    pub(crate) fn answered(&mut self, code: Code) -> &'static str {
        self.answered = true;
        self.record(code);
        word(code)
    }

    fn record(&self, code: Code) {
        let calls = self.metrics.calls();
        let attributes = calls.attributes.get(self.method).and_then(|method| method.by_code.get(&code));
        if let Some(attributes) = attributes {
            calls.duration.record(self.begun.elapsed().as_secs_f64(), attributes);
        }
    }
}

impl Drop for CallTimer {
    fn drop(&mut self) {
        if !self.answered {
            self.record(Code::Cancelled);
        }
    }
}

/// A status code as the conventions write it.
const fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
