//! Which spans are exported: our own, and the inner ones only where somebody will see them.
//!
//! A call has one span at `info`, which its log lines name, too. The spans of its route (identity, policy, record, ...)
//! are at `debug`, and nothing but the exporter looks at them: without an exporter they are never made, which costs the
//! signing path one comparison each, and in a call that is not sampled they are not made either.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

/// The filter of the layer that exports spans.
pub(crate) struct RouteSpans;

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
    metadata.is_span() && *metadata.level() == Level::DEBUG
}

impl<S> Filter<S> for RouteSpans
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        let unseen = || context.lookup_current().is_some_and(|span| span.extensions().get::<NotSampled>().is_some());
        is_ours(metadata) && !(is_inner(metadata) && unseen())
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match (is_ours(metadata), is_inner(metadata)) {
            (false, _) => Interest::never(),
            (true, false) => Interest::always(),
            (true, true) => Interest::sometimes(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }
}
