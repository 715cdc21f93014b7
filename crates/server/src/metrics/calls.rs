//! `rpc.server.call.duration`: how long each call took and how it ended, by the OpenTelemetry conventions for RPC.

use super::exemplars::{Durations, Exemplars, Series};
use super::{Metrics, OTHER_METHOD};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use opentelemetry::trace::SpanContext;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Instant;
use tonic::Code;

/// Bounds in seconds. Finer below 5 ms than the conventions advise, since that is where signatures are.
const BOUNDARIES: [f64; 17] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How many status codes there are: their numbers begin at 0 and have no gaps.
const CODES: usize = 17;

/// The instrument, and the series of every method and code.
pub(super) struct Calls {
    duration: Durations,
    /// By path. The first method is [`OTHER_METHOD`].
    places: HashMap<String, usize>,
    methods: Vec<Method>,
}

struct Method {
    /// Fully qualified: `chancery.v1.SigningService/Sign`.
    name: String,
    /// Whether its answer is a stream, which goes on after its headers.
    streams: bool,
    /// At the number of each code, the series once it was needed.
    by_code: [OnceLock<Series>; CODES],
}

impl Calls {
    pub(super) fn new(meter: &Meter, exemplars: &Exemplars) -> Self {
        let about = "Duration of calls, from the request's headers to the answer's, or to the end of a stream";
        let method = |(name, streams)| Method { name, streams, by_code: std::array::from_fn(|_| OnceLock::new()) };
        let methods: Vec<Method> =
            std::iter::once((OTHER_METHOD.to_owned(), false)).chain(served_methods()).map(method).collect();
        Self {
            duration: Durations::new(meter, exemplars, "rpc.server.call.duration", about, &BOUNDARIES),
            places: methods.iter().enumerate().map(|(place, method)| (format!("/{}", method.name), place)).collect(),
            methods,
        }
    }

    fn series(&self, method: usize, code: Code) -> Option<&Series> {
        let method = self.methods.get(method)?;
        let series = method.by_code.get(usize::try_from(i32::from(code)).ok()?)?;
        Some(series.get_or_init(|| {
            self.duration.series(vec![
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", method.name.clone()),
                KeyValue::new("rpc.response.status_code", word(code)),
            ])
        }))
    }
}

/// The methods of all services that can be served, from their descriptors: `package.Service/Method`, and whether the
/// answer is a stream.
fn served_methods() -> Vec<(String, bool)> {
    let descriptors = [
        chancery_api::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ];
    let files = descriptors.into_iter().filter_map(|bytes| FileDescriptorSet::decode(bytes).ok());
    let mut methods = Vec::new();
    for file in files.flat_map(|set| set.file) {
        for service in &file.service {
            methods.extend(service.method.iter().map(|method| {
                (format!("{}.{}/{}", file.package(), service.name(), method.name()), method.server_streaming())
            }));
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
        let method = metrics.calls().places.get(path).copied().unwrap_or(0);
        Self { metrics: metrics.clone(), method, begun: Instant::now(), answered: false }
    }

    /// The fully qualified method, `_OTHER` for one that is not in the contract.
    pub(crate) fn method(&self) -> &str {
        self.metrics.calls().methods.get(self.method).map_or(OTHER_METHOD, |method| &method.name)
    }

    /// Whether the answer is a stream.
    pub(crate) fn streams(&self) -> bool {
        self.metrics.calls().methods.get(self.method).is_some_and(|method| method.streams)
    }

    /// The call was answered, or its stream has ended; the word for its code. `trace` is its span, where that is sampled.
    pub(crate) fn answered(&mut self, code: Code, trace: Option<&SpanContext>) -> &'static str {
        self.answered = true;
        self.record(code, trace);
        word(code)
    }

    fn record(&self, code: Code, trace: Option<&SpanContext>) {
        if let Some(series) = self.metrics.calls().series(self.method, code) {
            series.record(self.begun.elapsed(), trace);
        }
    }
}

impl Drop for CallTimer {
    fn drop(&mut self) {
        if !self.answered {
            self.record(Code::Cancelled, None);
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
