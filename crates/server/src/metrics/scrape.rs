//! The metrics as they are now, for whoever fetches them. They are the same that are sent to a collector.

use super::exemplars::Exemplars;
use super::exposition::{Format, write};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, Temporality};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What `/metrics` is answered from. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scrape {
    reader: Reader,
    exemplars: Exemplars,
}

impl Scrape {
    pub(crate) fn new(exemplars: Exemplars) -> Self {
        Self { reader: Reader(Arc::new(ManualReader::builder().build())), exemplars }
    }

    /// For the provider of the metrics: exactly one.
    pub(crate) fn reader(&self) -> impl MetricReader + use<> {
        self.reader.clone()
    }

    /// For the instruments.
    pub(crate) fn exemplars(&self) -> &Exemplars {
        &self.exemplars
    }

    /// All metrics.
    ///
    /// # Errors
    /// Once telemetry has ended.
    pub(crate) fn page(&self, format: Format) -> Result<String, OTelSdkError> {
        let mut metrics = ResourceMetrics::default();
        self.reader.collect(&mut metrics)?;
        Ok(write(&metrics, &self.exemplars, format))
    }
}

/// The SDK takes a reader and keeps it; this one is shared.
#[derive(Debug, Clone)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
