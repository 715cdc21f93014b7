//! Metrics as Prometheus reads them: its own text format, version 0.0.4, and OpenMetrics 1.0, which has exemplars.
//!
//! Names by the OpenTelemetry specification's "Prometheus and OpenMetrics compatibility": dots become underscores, the
//! unit is added, and `_total` to counters. Both formats have the same series, whichever is asked for.

use super::exemplars::{Exemplar, Exemplars};
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Histogram, Metric, MetricData, ResourceMetrics};
use std::fmt::{self, Display, Write as _};
use std::time::UNIX_EPOCH;

/// How metrics are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What the values of `Accept` headers ask for. Whoever takes OpenMetrics gets it.
    pub(crate) fn accepted<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let wanted = accept.flat_map(|header| header.split(',')).any(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next() == Some("application/openmetrics-text")
                && !parts.any(|parameter| matches!(parameter.strip_prefix("q="), Some("0" | "0.0" | "0.00" | "0.000")))
        });
        if wanted { Self::OpenMetrics } else { Self::Text }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes everything down.
pub(super) fn write(metrics: &ResourceMetrics, exemplars: &Exemplars, format: Format) -> String {
    let mut page = Page { text: String::with_capacity(1 << 14), exemplars, format };
    page.target(metrics);
    for scope in metrics.scope_metrics() {
        for metric in scope.metrics() {
            page.metric(metric);
        }
    }
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Page<'a> {
    text: String,
    exemplars: &'a Exemplars,
    format: Format,
}

impl Page<'_> {
    /// What is said of the service as a whole.
    fn target(&mut self, metrics: &ResourceMetrics) {
        let about = "What the service says of itself";
        match self.format {
            Format::Text => self.head("target_info", "gauge", about, None),
            Format::OpenMetrics => self.head("target", "info", about, None),
        }
        let labels = metrics.resource().iter().map(|(key, value)| label(key, value)).collect();
        self.sample("target_info", &labels, &1_u8, None);
    }

    fn metric(&mut self, metric: &Metric) {
        match metric.data() {
            AggregatedMetrics::F64(data) => self.data(metric, data),
            AggregatedMetrics::U64(data) => self.data(metric, data),
            AggregatedMetrics::I64(data) => self.data(metric, data),
        }
    }

    fn data<T: Copy + Display>(&mut self, metric: &Metric, data: &MetricData<T>) {
        let unit = unit(metric.unit());
        let mut name = sanitised(metric.name());
        if let Some(unit) = unit
            && !name.ends_with(unit)
        {
            name = format!("{name}_{unit}");
        }
        let about = metric.description();
        match data {
            MetricData::Gauge(gauge) => {
                self.head(&name, "gauge", about, unit);
                for point in gauge.data_points() {
                    self.sample(&name, &labels(point.attributes()), &point.value(), None);
                }
            }
            MetricData::Sum(sum) if sum.is_monotonic() => {
                let total = format!("{name}_total");
                let family = if self.format == Format::Text { &total } else { &name };
                self.head(family, "counter", about, unit);
                for point in sum.data_points() {
                    self.sample(&total, &labels(point.attributes()), &point.value(), None);
                }
            }
            MetricData::Sum(sum) => {
                self.head(&name, "gauge", about, unit);
                for point in sum.data_points() {
                    self.sample(&name, &labels(point.attributes()), &point.value(), None);
                }
            }
            MetricData::Histogram(histogram) => {
                self.head(&name, "histogram", about, unit);
                self.histogram(metric.name(), &name, histogram);
            }
            // We make none.
            MetricData::ExponentialHistogram(_) => {}
        }
    }

    fn histogram<T: Copy + Display>(&mut self, instrument: &str, name: &str, histogram: &Histogram<T>) {
        let (bucket, sum, count) = (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"));
        for point in histogram.data_points() {
            let base = labels(point.attributes());
            let exemplars = self.exemplars.of(instrument, point.attributes());
            let bounds = point.bounds().map(|bound| format!("{bound:?}")).chain(std::iter::once("+Inf".to_owned()));
            let mut below = 0;
            for (place, (bound, count)) in bounds.zip(point.bucket_counts()).enumerate() {
                below += count;
                let mut labels = base.clone();
                labels.push(("le".to_owned(), bound));
                self.sample(&bucket, &labels, &below, exemplars.get(place).copied().flatten());
            }
            self.sample(&sum, &base, &point.sum(), None);
            self.sample(&count, &base, &point.count(), None);
        }
    }

    fn head(&mut self, family: &str, kind: &str, about: &str, unit: Option<&str>) {
        let about = escaped(about);
        self.line(format_args!("# HELP {family} {about}"));
        self.line(format_args!("# TYPE {family} {kind}"));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.line(format_args!("# UNIT {family} {unit}"));
        }
    }

    fn sample(&mut self, name: &str, labels: &Labels, value: &dyn Display, exemplar: Option<Exemplar>) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        match exemplar.filter(|_| self.format == Format::OpenMetrics) {
            None => self.line(format_args!("{name}{labels} {value}")),
            Some(Exemplar { trace, span, value: measured, time }) => {
                let time = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                self.line(format_args!(
                    "{name}{labels} {value} # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {measured} {time:.3}"
                ));
            }
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _infallible = writeln!(self.text, "{line}");
    }
}

type Labels = Vec<(String, String)>;

fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> Labels {
    let mut labels: Labels = attributes.map(|attribute| label(&attribute.key, &attribute.value)).collect();
    labels.sort();
    labels
}

fn label(key: &Key, value: &Value) -> (String, String) {
    (sanitised(key.as_str()), value.to_string())
}

fn sanitised(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The units that we have, in words. What is counted (`{call}`) has none.
fn unit(unit: &str) -> Option<&'static str> {
    match unit {
        "s" => Some("seconds"),
        "By" => Some("bytes"),
        _ => None,
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::exemplars::Durations;
    use super::super::scrape::Scrape;
    use super::*;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use std::time::Duration;

    #[test]
    fn whoever_takes_openmetrics_gets_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.4,*/*;q=0.1";
        assert_eq!(Format::accepted([prometheus].into_iter()), Format::OpenMetrics);
        for accept in ["text/plain", "*/*", "", "application/openmetrics-text;q=0", "application/openmetrics-text2"] {
            assert_eq!(Format::accepted([accept].into_iter()), Format::Text, "{accept}");
        }
    }

    fn page(format: Format) -> String {
        let scrape = Scrape::new(Exemplars::default());
        let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", "a\"b\\c")).build();
        let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(scrape.reader()).build();
        let meter = provider.meter("test");
        meter.u64_counter("some.calls").with_description("Calls").build().add(3, &[KeyValue::new("rpc.method", "x/Y")]);
        meter.i64_up_down_counter("some.open").with_unit("{connection}").build().add(-2, &[]);
        let durations = Durations::new(&meter, scrape.exemplars(), "some.duration", "How long", &[0.001, 1.0]);
        let trace =
            SpanContext::new(TraceId::from(0xab), SpanId::from(0xcd), TraceFlags::SAMPLED, false, TraceState::NONE);
        durations.series(vec![KeyValue::new("z", "1")]).record(Duration::from_millis(500), Some(&trace));
        scrape.page(format).unwrap()
    }

    #[test]
    fn the_text_format_names_families_by_their_samples() {
        let page = page(Format::Text);
        for line in [
            "target_info{service_name=\"a\\\"b\\\\c\"} 1",
            "# TYPE some_calls_total counter",
            "# HELP some_calls_total Calls",
            "some_calls_total{rpc_method=\"x/Y\"} 3",
            "# TYPE some_open gauge",
            "some_open -2",
            "# TYPE some_duration_seconds histogram",
            "some_duration_seconds_bucket{z=\"1\",le=\"0.001\"} 0",
            "some_duration_seconds_bucket{z=\"1\",le=\"1.0\"} 1",
            "some_duration_seconds_bucket{z=\"1\",le=\"+Inf\"} 1",
            "some_duration_seconds_sum{z=\"1\"} 0.5",
            "some_duration_seconds_count{z=\"1\"} 1",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line}\n{page}");
        }
        assert!(!page.contains("trace_id") && !page.contains("# EOF"));
    }

    #[test]
    fn openmetrics_has_units_exemplars_and_an_end() {
        let page = page(Format::OpenMetrics);
        for line in [
            "# TYPE target info",
            "# TYPE some_calls counter",
            "some_calls_total{rpc_method=\"x/Y\"} 3",
            "# UNIT some_duration_seconds seconds",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line}\n{page}");
        }
        assert!(page.ends_with("# EOF\n"), "{page}");
        let exemplar = "some_duration_seconds_bucket{z=\"1\",le=\"1.0\"} 1 # \
                        {trace_id=\"000000000000000000000000000000ab\",span_id=\"00000000000000cd\"} 0.5 ";
        assert!(page.lines().any(|line| line.starts_with(exemplar)), "{page}");
        assert_eq!(page.matches("trace_id").count(), 1);
    }
}
