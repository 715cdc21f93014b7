//! What the service tells of itself: logs, traces and metrics.
//!
//! Logs go to standard error. Traces and metrics go to an OpenTelemetry collector where one is configured; metrics can
//! also be fetched from the admin address. None of them holds a payload, a digest or a PIN: nothing that does is ever
//! given to a log line, a span or an attribute, and the types that carry them show nothing in `Debug`.

use crate::config::{LogFormat, Telemetry as Settings};
use crate::metrics::{Exemplars, Scrape};
use crate::route_spans::{OnlySampled, OurSpans};
use chancery_model::Id;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal;
use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// The instrumentation's name in traces and metrics.
const SCOPE: &str = "chancery";

/// Logs, traces and metrics, set up.
pub(crate) struct Telemetry {
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
    /// What `/metrics` shows.
    scrape: Scrape,
}

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `telemetry.log_filter` is no filter.
    #[error("telemetry.log_filter is no filter; write for example info, or info,chancery_hsm=debug")]
    Filter(#[source] ParseError),
    /// The exporter to the collector cannot be made.
    #[error("nothing can be sent to telemetry.otlp_endpoint; write it as http://host:port")]
    Otlp(#[source] ExporterBuildError),
}

impl Telemetry {
    /// Sets everything up. Must be called in a tokio runtime, which the exporters use. The first call in a process sets
    /// its logs up; a process that has done so itself keeps its own.
    pub(crate) fn start(settings: &Settings, instance: &Id) -> Result<Self, TelemetryError> {
        let resource = Resource::builder()
            .with_service_name("chancery")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_string()))
            .build();
        let scrape = Scrape::new(Exemplars::default());
        let mut meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(scrape.reader());
        let mut tracers = None;
        if let Some(endpoint) = &settings.otlp_endpoint {
            let metrics = MetricExporter::builder().with_tonic().with_endpoint(endpoint).build();
            meters = meters.with_periodic_exporter(metrics.map_err(TelemetryError::Otlp)?);
            let spans = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
            let spans = spans.map_err(TelemetryError::Otlp)?;
            tracers = Some(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(spans).build());
        }
        let telemetry = Self { meters: meters.build(), tracers, scrape };
        telemetry.install_logs(settings)?;
        Ok(telemetry)
    }

    fn install_logs(&self, settings: &Settings) -> Result<(), TelemetryError> {
        let filter = EnvFilter::try_new(&settings.log_filter).map_err(TelemetryError::Filter)?;
        let logs = log_layer(settings.log_format).with_filter(filter);
        let spans = self.tracers.as_ref().map(|tracers| {
            tracing_opentelemetry::layer()
                .with_tracer(tracers.tracer(SCOPE))
                // What the conventions do not ask for costs time on every span.
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_target(false)
                .with_filter(OurSpans)
        });
        let sampled = spans.is_some().then_some(OnlySampled);
        let subscriber = tracing_subscriber::registry().with(logs).with(spans).with(sampled);
        if subscriber.try_init().is_err() {
            tracing::debug!("this process has set up its own logs; they are kept");
        }
        Ok(())
    }

    /// For the instruments.
    pub(crate) fn meter(&self) -> Meter {
        self.meters.meter(SCOPE)
    }

    /// What `/metrics` shows.
    pub(crate) fn scrape(&self) -> Scrape {
        self.scrape.clone()
    }

    /// Whether spans are exported.
    pub(crate) const fn traced(&self) -> bool {
        self.tracers.is_some()
    }

    /// Sends what is left. What cannot be sent within a few seconds is given up.
    pub(crate) async fn shutdown(self) {
        let Self { meters, tracers, scrape: _ } = self;
        let sent = tokio::task::spawn_blocking(move || {
            let traces = tracers.map_or(Ok(()), |tracers| tracers.shutdown());
            (traces, meters.shutdown())
        });
        match sent.await {
            Ok((Ok(()), Ok(()))) => {}
            Ok((traces, metrics)) => {
                for error in [traces.err(), metrics.err()].into_iter().flatten() {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the last telemetry was not sent");
                }
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "telemetry did not end well"),
        }
    }
}

fn log_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn metrics_name_the_service_and_its_instance() {
        let instance = Id::parse("the instance", "main").unwrap();
        let telemetry = Telemetry::start(&Settings::default(), &instance).unwrap();
        telemetry.meter().u64_counter("chancery.test").build().add(1, &[]);
        let shown = telemetry.scrape().page(Format::Text).unwrap();
        assert!(shown.contains(r#"service_name="chancery""#), "{shown}");
        assert!(shown.contains(r#"service_instance_id="main""#), "{shown}");
        assert!(shown.lines().any(|line| line.starts_with("chancery_test_total") && line.ends_with(" 1")), "{shown}");
        telemetry.shutdown().await;
    }

    #[tokio::test]
    async fn a_bad_filter_is_refused() {
        let settings = Settings { log_filter: "chancery=loud".to_owned(), ..Settings::default() };
        let instance = Id::parse("the instance", "main").unwrap();
        assert!(matches!(Telemetry::start(&settings, &instance), Err(TelemetryError::Filter(_))));
    }

    #[test]
    fn the_fields_of_a_span_are_in_its_log_lines() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let layer = layer.json().flatten_event(true).with_current_span(true).with_span_list(false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("rpc", rpc.method = "m", trace_id = Some("4bf9"));
            span.in_scope(|| tracing::info!(token = "main", "the token failed"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&line["message"], &line["token"]), (&"the token failed".into(), &"main".into()));
        assert_eq!((&line["span"]["rpc.method"], &line["span"]["trace_id"]), (&"m".into(), &"4bf9".into()));
    }
}
