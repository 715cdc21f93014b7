//! `http.server.request.duration`: plain HTTP beside gRPC, by the OpenTelemetry conventions for HTTP.

use super::exemplars::{Durations, Exemplars};
use super::{Metrics, OTHER_METHOD};
use http::{Method, StatusCode};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use opentelemetry::trace::SpanContext;
use std::time::Duration;

/// Bounds in seconds, as the conventions advise.
const BOUNDARIES: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// What of a request may be an attribute: nothing that a caller could make up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpRequest {
    method: &'static str,
    route: Option<&'static str>,
}

impl HttpRequest {
    /// `route` is none for a path at which there is nothing.
    pub(crate) fn new(method: &Method, route: Option<&'static str>) -> Self {
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::POST => "POST",
            _ => OTHER_METHOD,
        };
        Self { method, route }
    }

    /// The request method, `_OTHER` for the rare ones.
    pub(crate) const fn method(&self) -> &'static str {
        self.method
    }

    /// The path, where there is something.
    pub(crate) const fn route(&self) -> Option<&'static str> {
        self.route
    }

    /// What its span is called.
    pub(crate) fn name(&self) -> String {
        // The conventions call a method that is not known HTTP.
        let method = if self.method == OTHER_METHOD { "HTTP" } else { self.method };
        self.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
    }
}

pub(super) fn durations(meter: &Meter, exemplars: &Exemplars) -> Durations {
    let about = "Duration of plain HTTP requests, from the request's headers to the answer's";
    Durations::new(meter, exemplars, "http.server.request.duration", about, &BOUNDARIES)
}

impl Metrics {
    /// A plain request was answered. `trace` is its span, where that is sampled.
    pub(crate) fn http_answered(
        &self,
        request: &HttpRequest,
        status: StatusCode,
        took: Duration,
        trace: Option<&SpanContext>,
    ) {
        let mut attributes = vec![
            KeyValue::new("http.request.method", request.method),
            KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
            KeyValue::new("url.scheme", "https"),
        ];
        attributes.extend(request.route.map(|route| KeyValue::new("http.route", route)));
        self.inner.http.series(attributes).record(took, trace);
    }
}
