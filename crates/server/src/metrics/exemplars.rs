//! The last sampled call in each bucket of each histogram, so that a person can go from a slow bucket to a trace.
//!
//! The OpenTelemetry SDK for Rust keeps none; these are shown on `/metrics` only. Without exported traces nothing is
//! kept.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The exemplars of all histograms. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Exemplars {
    series: Arc<Mutex<HashMap<SeriesName, Arc<Buckets>>>>,
}

/// An instrument's name, and its attributes in the order of their names.
type SeriesName = (String, Vec<(String, String)>);

/// One for each bucket, the last being that without upper bound.
struct Buckets {
    bounds: &'static [f64],
    last: Vec<Mutex<Option<Exemplar>>>,
}

/// One measurement, and the span in which it was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exemplar {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) value: f64,
    pub(super) time: SystemTime,
}

impl Exemplars {
    /// The exemplars of a series, bucket by bucket; empty where it has none.
    pub(super) fn of<'a>(
        &self,
        instrument: &str,
        attributes: impl Iterator<Item = &'a KeyValue>,
    ) -> Vec<Option<Exemplar>> {
        let name = series_name(instrument, attributes);
        let buckets = self.series.lock().unwrap_or_else(PoisonError::into_inner).get(&name).map(Arc::clone);
        let last = |bucket: &Mutex<Option<Exemplar>>| *bucket.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.map_or_else(Vec::new, |buckets| buckets.last.iter().map(last).collect())
    }

    fn buckets(&self, instrument: &str, attributes: &[KeyValue], bounds: &'static [f64]) -> Arc<Buckets> {
        let name = series_name(instrument, attributes.iter());
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let last = || (0..=bounds.len()).map(|_| Mutex::default()).collect();
        Arc::clone(series.entry(name).or_insert_with(|| Arc::new(Buckets { bounds, last: last() })))
    }
}

fn series_name<'a>(instrument: &str, attributes: impl Iterator<Item = &'a KeyValue>) -> SeriesName {
    let mut attributes: Vec<_> =
        attributes.map(|attribute| (attribute.key.to_string(), attribute.value.to_string())).collect();
    attributes.sort();
    (instrument.to_owned(), attributes)
}

/// A histogram of durations in seconds, with exemplars.
#[derive(Clone)]
pub(super) struct Durations {
    name: &'static str,
    histogram: Histogram<f64>,
    bounds: &'static [f64],
    exemplars: Exemplars,
}

/// A histogram with one set of attributes.
pub(super) struct Series {
    histogram: Histogram<f64>,
    attributes: Vec<KeyValue>,
    buckets: Arc<Buckets>,
}

impl Durations {
    pub(super) fn new(
        meter: &Meter,
        exemplars: &Exemplars,
        name: &'static str,
        description: &'static str,
        bounds: &'static [f64],
    ) -> Self {
        let histogram = meter
            .f64_histogram(name)
            .with_unit("s")
            .with_description(description)
            .with_boundaries(bounds.to_vec())
            .build();
        Self { name, histogram, bounds, exemplars: exemplars.clone() }
    }

    /// The series with these attributes.
    pub(super) fn series(&self, attributes: Vec<KeyValue>) -> Series {
        let buckets = self.exemplars.buckets(self.name, &attributes, self.bounds);
        Series { histogram: self.histogram.clone(), attributes, buckets }
    }
}

impl Series {
    /// Counts a duration; `trace` is the span that it is of, where that is sampled.
    pub(super) fn record(&self, took: Duration, trace: Option<&SpanContext>) {
        let value = took.as_secs_f64();
        self.histogram.record(value, &self.attributes);
        if let Some(trace) = trace {
            let bucket = self.buckets.bounds.partition_point(|bound| *bound < value);
            if let Some(last) = self.buckets.last.get(bucket) {
                let exemplar =
                    Exemplar { trace: trace.trace_id(), span: trace.span_id(), value, time: SystemTime::now() };
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(exemplar);
            }
        }
    }
}

/// The present span, where it is exported.
pub(super) fn sampled_span() -> Option<SpanContext> {
    let context = Span::current().context();
    let span = context.span().span_context().clone();
    span.is_sampled().then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry::trace::{TraceFlags, TraceState};

    #[test]
    fn each_bucket_keeps_its_last_sampled_call() {
        let provider = opentelemetry_sdk::metrics::SdkMeterProvider::builder().build();
        let exemplars = Exemplars::default();
        let durations = Durations::new(&provider.meter("test"), &exemplars, "d", "", &[0.001, 0.01]);
        let (a, b) = (KeyValue::new("a", "1"), KeyValue::new("b", "2"));
        let series = durations.series(vec![b.clone(), a.clone()]);
        let span = |trace: u128| {
            SpanContext::new(TraceId::from(trace), SpanId::from(7), TraceFlags::SAMPLED, false, TraceState::NONE)
        };
        series.record(Duration::from_micros(500), Some(&span(1)));
        series.record(Duration::from_micros(600), Some(&span(2)));
        series.record(Duration::from_micros(700), None);
        series.record(Duration::from_secs(1), Some(&span(3)));
        let kept = exemplars.of("d", [&a, &b].into_iter());
        let traces: Vec<_> = kept.iter().map(|kept| kept.map(|kept| kept.trace)).collect();
        assert_eq!(traces, [Some(TraceId::from(2)), None, Some(TraceId::from(3))]);
        assert!(exemplars.of("d", std::iter::once(&a)).is_empty());
    }
}
