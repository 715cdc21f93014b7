//! What every call leaves behind: a span in the caller's trace, and one point in `rpc.server.call.duration`. Both are of
//! the whole call: of a stream, until its last message.

use crate::identity::Peer;
use crate::metrics::{CallTimer, Metrics};
use crate::{route_spans, trace_context};
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use opentelemetry::trace::{SpanContext, Status, TraceContextExt as _};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The W3C trace id of a call, 32 hexadecimal digits; among the extensions of a request that has one.
#[derive(Debug, Clone)]
pub(crate) struct TraceId(pub(crate) String);

/// Observes every call.
#[derive(Clone)]
pub(crate) struct ObserveLayer {
    metrics: Metrics,
    traces: Option<Traces>,
}

/// What spans say of the service, where spans are exported.
#[derive(Clone)]
struct Traces {
    address: Arc<str>,
    port: i64,
}

impl ObserveLayer {
    /// `traced`: the address of the listener, where spans are exported.
    pub(crate) fn new(metrics: Metrics, traced: Option<SocketAddr>) -> Self {
        let traces =
            |address: SocketAddr| Traces { address: address.ip().to_string().into(), port: i64::from(address.port()) };
        Self { metrics, traces: traced.map(traces) }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { layer: self.clone(), inner }
    }
}

/// A service whose calls are observed.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    layer: ObserveLayer,
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
        let timer = self.layer.metrics.call(request.uri().path());
        let method = timer.method();
        let parent = trace_context::extract(request.headers());
        let caller_trace = parent.as_ref().and_then(trace_context::trace_id);
        // The OpenTelemetry conventions for RPC. What is not for the log lines, too, follows where it is exported.
        let span = tracing::info_span!(
            "rpc",
            otel.name = method,
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = method,
            trace_id = caller_trace.as_deref(),
        );
        let exported = self.layer.traces.as_ref().map(|traces| traces.begin(&span, parent, &request));
        let trace_id = caller_trace.or_else(|| exported.as_ref().map(|span| span.trace_id().to_string()));
        if let Some(id) = trace_id {
            request.extensions_mut().insert(TraceId(id));
        }
        let answer = span.in_scope(|| self.inner.call(request));
        let call = Call { span, exported: exported.filter(SpanContext::is_sampled), timer, ended: false };
        ObservedFuture { answer, call: Some(call) }
    }
}

impl Traces {
    /// Continues the caller's trace or begins one, and says who talks to whom.
    fn begin(&self, span: &Span, parent: Option<opentelemetry::Context>, request: &Request<Body>) -> SpanContext {
        if let Some(parent) = parent {
            // Fails only where the span is not exported; then its context, below, says so.
            let _not_exported = span.set_parent(parent);
        }
        let exported = span.context().span().span_context().clone();
        if !exported.is_sampled() {
            route_spans::not_sampled(span);
            return exported;
        }
        span.set_attribute("server.address", self.address.to_string());
        span.set_attribute("server.port", self.port);
        span.set_attribute("network.transport", "tcp");
        span.set_attribute("network.protocol.name", "http");
        span.set_attribute("network.protocol.version", "2");
        if let Some(peer) = request.extensions().get::<Arc<Peer>>() {
            span.set_attribute("client.address", peer.source.ip().to_string());
            span.set_attribute("client.port", i64::from(peer.source.port()));
        }
        exported
    }
}

/// A call under way. Dropped before its end, it counts as cancelled.
struct Call {
    span: Span,
    /// Of the span, where it is sampled.
    exported: Option<SpanContext>,
    timer: CallTimer,
    ended: bool,
}

impl Call {
    /// `ours`: the status is of our own making, and not tonic's word on what was sent.
    fn end(&mut self, code: Code, ours: bool) {
        let Self { span, exported, timer, ended } = self;
        *ended = true;
        let word = timer.answered(code, exported.as_ref());
        if exported.is_some() {
            span.set_attribute("rpc.response.status_code", word);
            if is_error(code) {
                span.set_attribute("error.type", word);
                span.set_status(Status::error(word));
            }
        }
        match code {
            // Ours to look into.
            Code::Unknown | Code::Internal | Code::DataLoss if ours => {
                tracing::warn!(parent: &*span, status = word, "answered");
            }
            // What callers can bring about as often as they like must not fill the log. Metrics count it, denials are on
            // the record, and a closed record or a token that is down is logged once, where it happens.
            _ => tracing::debug!(parent: &*span, status = word, "answered"),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Code::Cancelled, true);
        }
    }
}

/// The codes that are errors of a server, by the conventions; the others are its caller's.
const fn is_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// A call that is observed.
pub(crate) struct ObservedFuture<F> {
    answer: F,
    /// Taken when it is answered.
    call: Option<Call>,
}

impl<F> Future for ObservedFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answer = match &this.call {
            Some(call) => ready!(call.span.in_scope(|| Pin::new(&mut this.answer).poll(cx))),
            // Polled again after its answer, which nobody may do.
            None => return Poll::Pending,
        };
        let Ok(response) = answer;
        let Some(mut call) = this.call.take() else { return Poll::Ready(Ok(response)) };
        match code(response.headers()) {
            // What has no status in its headers ends with trailers. Those of a whole message say that it ended well.
            None if call.timer.streams() => {
                Poll::Ready(Ok(response.map(|body| Body::new(ObservedBody { body, call: Some(call) }))))
            }
            code => {
                call.end(code.unwrap_or(Code::Ok), is_ours(response.headers()));
                Poll::Ready(Ok(response))
            }
        }
    }
}

/// The stream of an answer. Dropped before its trailers, it counts as cancelled.
struct ObservedBody {
    body: Body,
    /// Taken at the end.
    call: Option<Call>,
}

impl http_body::Body for ObservedBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let body = Pin::new(&mut this.body);
        let frame = match &this.call {
            Some(call) => ready!(call.span.in_scope(|| body.poll_frame(cx))),
            None => ready!(body.poll_frame(cx)),
        };
        let ended = match &frame {
            Some(Ok(frame)) => frame.trailers_ref().map(|trailers| match code(trailers) {
                Some(code) => (code, is_ours(trailers)),
                None => (Code::Unknown, true),
            }),
            Some(Err(_)) | None => Some((Code::Unknown, true)),
        };
        if let Some((code, ours)) = ended
            && let Some(mut call) = this.call.take()
        {
            call.end(code, ours);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The status in headers or trailers.
fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

/// Whether the status in headers or trailers is of our own making: those all have details. tonic's have none, and callers bring them
/// about as often as they like: INTERNAL is its word for a message that is not there, or cannot be decoded.
fn is_ours(headers: &HeaderMap) -> bool {
    headers.contains_key("grpc-status-details-bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_refusals_are_told_from_tonics() {
        let ours = crate::errors::status(&crate::errors::fault("a fault of ours")).into_http::<()>();
        assert_eq!((code(ours.headers()), is_ours(ours.headers())), (Some(Code::Internal), true));
        let tonics = tonic::Status::internal("Missing request message.").into_http::<()>();
        assert_eq!((code(tonics.headers()), is_ours(tonics.headers())), (Some(Code::Internal), false));
    }
}
