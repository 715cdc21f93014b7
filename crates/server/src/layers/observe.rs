//! What every call leaves behind: a span in the caller's trace, and one point in `rpc.server.call.duration`.

use crate::metrics::{CallTimer, Metrics};
use crate::trace_context;
use http::{Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The W3C trace id of a call, 32 hexadecimal digits; among the extensions of a request that has one.
#[derive(Debug, Clone)]
pub(crate) struct TraceId(pub(crate) String);

/// Observes every call.
#[derive(Clone)]
pub(crate) struct ObserveLayer {
    metrics: Metrics,
}

impl ObserveLayer {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { metrics: self.metrics.clone(), inner }
    }
}

/// A service whose calls are observed.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    metrics: Metrics,
    inner: S,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ObservedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let timer = self.metrics.call(request.uri().path());
        let method = timer.method();
        let parent = trace_context::extract(request.headers());
        let caller_trace = parent.as_ref().and_then(trace_context::trace_id);
        // The OpenTelemetry conventions for RPC. `trace_id` is for the log lines.
        let span = tracing::info_span!(
            "rpc",
            otel.name = method,
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = method,
            trace_id = caller_trace.as_deref(),
        );
        if let Some(parent) = parent {
            // Fails where spans are not exported, and then there is nothing to continue.
            let _not_exported = span.set_parent(parent);
        }
        if let Some(id) = caller_trace.or_else(|| trace_context::trace_id(&span.context())) {
            request.extensions_mut().insert(TraceId(id));
        }
        let answer = span.in_scope(|| self.inner.call(request));
        ObservedFuture { answer, span, timer }
    }
}

/// A call that is observed. Dropped before its answer, it counts as cancelled.
pub(crate) struct ObservedFuture<F> {
    answer: F,
    span: Span,
    timer: CallTimer,
}

impl<F> Future for ObservedFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let span = &this.span;
        let answer = ready!(span.in_scope(|| Pin::new(&mut this.answer).poll(cx)));
        let code = match &answer {
            Ok(response) => code(response),
            Err(never) => match *never {},
        };
        let word = this.timer.answered(code);
        span.set_attribute("rpc.response.status_code", word);
        if matches!(code, Code::Unknown | Code::Internal | Code::DataLoss | Code::Unavailable | Code::DeadlineExceeded)
        {
            span.set_status(opentelemetry::trace::Status::error(word));
        }
        match code {
            // Ours to look into.
            Code::Unknown | Code::Internal | Code::DataLoss => {
                tracing::warn!(parent: span, status = word, "answered");
            }
            // What callers can bring about as often as they like must not fill the log. Metrics count it, denials are on
            // the record, and a closed record or a token that is down is logged once, where it happens.
            _ => tracing::debug!(parent: span, status = word, "answered"),
        }
        Poll::Ready(answer)
    }
}

/// The status of an answer. Errors come in the headers; what has none there ends well, as handlers answer whole messages.
fn code(response: &Response<Body>) -> Code {
    response.headers().get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}
