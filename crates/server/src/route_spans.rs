//! Which spans are exported: our own, and the inner ones only where somebody will see them.
//!
//! A call has one span at `info`, which its log lines name, too. The spans of its route (identity, policy, record, ...)
//! are at `debug`, and nothing but the exporter looks at them: without an exporter they are never made, which costs the
//! signing path one comparison each, and in a call that is not sampled they are not made either.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// The filter of the layer that exports spans.
pub(crate) struct OurSpans;

/// The layer that keeps inner spans from being made at all in a call that is not sampled: one layer's filter could only
/// hide them from that layer. Only where there is an exporter.
pub(crate) struct OnlySampled;

/// Marks a call's span whose trace is not sampled.
struct NotSampled;

/// Says that nobody will see what happens within a span.
pub(crate) fn not_sampled(span: &Span) {
    span.with_subscriber(|(id, subscriber)| {
        if let Some(span) = subscriber.downcast_ref::<Registry>().and_then(|registry| registry.span(id)) {
            span.extensions_mut().replace(NotSampled);
        }
    });
}

/// Of the exporter's own transport nothing is exported, or it would be exported in turn; and what is logged at `debug` is
/// not for traces.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let finest = if metadata.is_span() { Level::DEBUG } else { Level::INFO };
    metadata.target().starts_with("chancery") && *metadata.level() <= finest
}

/// Whether it is a span of a route.
fn is_inner(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() == Level::DEBUG && metadata.target().starts_with("chancery")
}

impl<S> Filter<S> for OurSpans {
    fn enabled(&self, metadata: &Metadata<'_>, _context: &Context<'_, S>) -> bool {
        is_ours(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }
}

impl<S> Layer<S> for OnlySampled
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_inner(metadata) { Interest::sometimes() } else { Interest::always() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        let unseen = || context.lookup_current().is_some_and(|span| span.extensions().get::<NotSampled>().is_some());
        !(is_inner(metadata) && unseen())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::Context as OtelContext;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span as SdkSpan, SpanData, SpanProcessor};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};
    use tracing::subscriber::with_default;
    use tracing::{debug_span, info_span};
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// Keeps the names of the spans that an exporter would get.
    #[derive(Debug, Clone, Default)]
    struct Names(Arc<Mutex<Vec<String>>>);

    impl SpanProcessor for Names {
        fn on_start(&self, _span: &mut SdkSpan, _context: &OtelContext) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span.name.to_string());
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    /// As `telemetry` puts it together: log lines at `info`, and spans to an exporter if there is one.
    fn subscriber(exporter: Option<(Sampler, Names)>) -> impl Subscriber + Send + Sync {
        let log =
            tracing_subscriber::fmt::layer().json().with_writer(std::io::sink).with_filter(EnvFilter::new("info"));
        let exported = exporter.map(|(sampler, names)| {
            let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(names).build();
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
            layer.with_location(false).with_threads(false).with_tracked_inactivity(false).with_filter(OurSpans)
        });
        let sampled = exported.is_some().then_some(OnlySampled);
        tracing_subscriber::registry().with(log).with(exported).with(sampled)
    }

    /// The spans of one Sign, made as they are made there; says how many of the inner ones there were.
    fn route(sampled: bool) -> usize {
        let call = info_span!("rpc", rpc.method = "m", trace_id = tracing::field::Empty);
        if !sampled {
            not_sampled(&call);
        }
        let _call = call.entered();
        let mut made = 0;
        for span in
            [debug_span!("identity", a = 1), debug_span!("policy", a = 1, b = "b"), debug_span!("record", a = 1)]
        {
            made += usize::from(!span.entered().is_disabled());
        }
        let token = debug_span!("token", a = 1, b = "b", c = "c").entered();
        for span in [debug_span!("queue"), debug_span!("device"), debug_span!("verify")] {
            made += usize::from(!span.is_disabled());
        }
        made + usize::from(!token.is_disabled())
    }

    #[test]
    fn the_inner_spans_are_made_only_where_they_are_exported() {
        let names = Names::default();
        with_default(subscriber(None), || assert_eq!(route(true), 0, "nobody exports"));
        with_default(subscriber(Some((Sampler::AlwaysOn, names.clone()))), || {
            assert_eq!(route(true), 7);
            let exported = std::mem::take(&mut *names.0.lock().unwrap());
            assert_eq!(exported, ["identity", "policy", "record", "queue", "device", "verify", "token", "rpc"]);
            assert_eq!(route(false), 0, "this call is not sampled");
            assert_eq!(*names.0.lock().unwrap(), ["rpc"], "and the next is decided on by itself");
            tracing::debug!("not for traces");
            drop(info_span!(target: "h2", "transport").entered());
            assert_eq!(names.0.lock().unwrap().len(), 1, "the exporter's own is not exported");
        });
    }

    /// `cargo test -p chancery-server --lib route_spans -- --ignored --nocapture`, with the profile that is asked about.
    #[test]
    #[ignore = "measures; asserts nothing"]
    #[allow(clippy::print_stdout, reason = "it is what it is run for")]
    fn what_a_route_costs() {
        const ROUTES: u32 = 20_000;
        let time = |what: &str, work: &dyn Fn()| {
            work();
            let begun = Instant::now();
            for _ in 0..ROUTES {
                work();
            }
            println!("{what}: {:?} a call", begun.elapsed() / ROUTES);
        };
        let only_the_call = || drop(info_span!("rpc", rpc.method = "m", trace_id = tracing::field::Empty).entered());
        with_default(subscriber(None), || {
            time("no exporter, the call's span alone", &only_the_call);
            time("no exporter, the whole route", &|| {
                route(true);
            });
        });
        with_default(subscriber(Some((Sampler::AlwaysOff, Names::default()))), || {
            time("not sampled, the whole route", &|| {
                route(false);
            });
        });
        with_default(subscriber(Some((Sampler::AlwaysOn, Names::default()))), || {
            time("sampled, the call's span alone", &only_the_call);
            time("sampled, the whole route", &|| {
                route(true);
            });
        });
    }
}
