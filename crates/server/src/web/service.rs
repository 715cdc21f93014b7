//! Telling gRPC from plain HTTP, and what every plain request has: a span, a metric, an answer in HTTP's words.

use super::LOG_PREFIX;
use super::pages::Page;
use super::problem::Problem;
use crate::identity::Peer;
use crate::layers::TraceId;
use crate::metrics::{HttpRequest, Metrics};
use crate::{route_spans, trace_context};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use opentelemetry::trace::{SpanContext, Status as SpanStatus, TraceContextExt as _};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Sends gRPC to one service and plain HTTP to the other.
#[derive(Clone)]
pub(crate) struct Split<G, W> {
    pub(crate) grpc: G,
    pub(crate) web: W,
}

/// gRPC is POST over HTTP/2 (gRPC over HTTP/2, "Requests"), and never on a path of the web.
fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2
        && *request.method() == Method::POST
        && !["/.well-known/", LOG_PREFIX].iter().any(|prefix| request.uri().path().starts_with(prefix))
}

impl<G, W> Service<Request<Body>> for Split<G, W>
where
    G: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    G::Future: Unpin,
    W: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = SplitFuture<G::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.grpc.poll_ready(cx) {
            Poll::Ready(_infallible) => self.web.poll_ready(cx),
            Poll::Pending => Poll::Pending,
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_grpc(&request) {
            SplitFuture::Grpc(self.grpc.call(request))
        } else {
            SplitFuture::Web(self.web.call(request))
        }
    }
}

/// An answer of either.
pub(crate) enum SplitFuture<G> {
    Grpc(G),
    Web(Answer),
}

impl<G> Future for SplitFuture<G>
where
    G: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = G::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Grpc(answer) => Pin::new(answer).poll(cx),
            Self::Web(answer) => answer.as_mut().poll(cx),
        }
    }
}

/// Plain HTTP: observed, and answered in its words, whatever `gated`, which speaks gRPC where it refuses, says.
#[derive(Clone)]
pub(crate) struct Web<S> {
    pub(crate) gated: S,
    pub(crate) metrics: Metrics,
}

impl<S> Service<Request<Body>> for Web<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // What is gated refuses rather than makes wait.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Answer {
        let Self { gated, metrics } = self.clone();
        let begun = Instant::now();
        let asked = HttpRequest::of(&request);
        let (span, exported) = begin(&asked, &mut request);
        let is_head = *request.method() == Method::HEAD;
        let answer = async move {
            let answer = if speaks_grpc(&request) {
                Problem::grpc_needs_http2().into_response()
            } else {
                let Ok(answer) = gated.oneshot(request).await;
                in_http_words(answer)
            };
            let answer = finished(answer, is_head);
            let status = answer.status();
            end(status, exported.is_some());
            metrics.http_answered(&asked, status, begun.elapsed(), exported.as_ref());
            Ok(answer)
        };
        Box::pin(answer.instrument(span))
    }
}

/// Whether somebody speaks gRPC where it cannot be answered.
fn speaks_grpc(request: &Request<Body>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    request.version() != Version::HTTP_2 && content_type.is_some_and(|it| it.starts_with(b"application/grpc"))
}

/// The gates refuse with a gRPC status.
fn in_http_words(answer: Response<Body>) -> Response<Body> {
    match Status::from_header_map(answer.headers()) {
        Some(status) => Problem::from_status(&status).into_response(),
        None => answer,
    }
}

/// What every answer has, by any protocol.
fn finished(answer: Response<Body>, is_head: bool) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    let headers = &mut parts.headers;
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Caches count from it (RFC 9111, section 4.2.3). HTTP/2 connections set none, since gRPC has no use for it.
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(DATE, date);
    }
    let length = body.size_hint().exact().filter(|_| parts.status != StatusCode::NOT_MODIFIED);
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, if is_head { Body::empty() } else { body })
}

/// The span of a request, by the OpenTelemetry conventions for HTTP, and its context where it is sampled.
fn begin(asked: &HttpRequest, request: &mut Request<Body>) -> (Span, Option<SpanContext>) {
    let parent = trace_context::extract(request.headers());
    let caller_trace = parent.as_ref().and_then(trace_context::trace_id);
    let span = tracing::info_span!(
        "http",
        otel.name = asked.name(),
        otel.kind = "server",
        http.request.method = asked.method(),
        http.route = asked.route(),
        trace_id = caller_trace.as_deref(),
    );
    if let Some(parent) = parent {
        // Fails where spans are not exported, and then there is nothing to continue.
        let _not_exported = span.set_parent(parent);
    }
    let exported = span.context().span().span_context().clone();
    let trace_id = caller_trace.or_else(|| exported.is_valid().then(|| exported.trace_id().to_string()));
    if let Some(id) = trace_id {
        request.extensions_mut().insert(TraceId(id));
    }
    if !exported.is_sampled() {
        route_spans::not_sampled(&span);
        return (span, None);
    }
    span.set_attribute("url.scheme", "https");
    // Its query names a key, and is with the decision of policy.
    if let Some(route) = asked.route() {
        span.set_attribute("url.path", route);
    }
    span.set_attribute("network.protocol.version", if request.version() == Version::HTTP_2 { "2" } else { "1.1" });
    if let Some(peer) = request.extensions().get::<Arc<Peer>>() {
        span.set_attribute("client.address", peer.source.ip().to_string());
        span.set_attribute("client.port", i64::from(peer.source.port()));
    }
    (span, Some(exported))
}

/// Within the span.
fn end(status: StatusCode, exported: bool) {
    if exported {
        let span = Span::current();
        span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.set_attribute("error.type", status.as_u16().to_string());
            span.set_status(SpanStatus::error(status.canonical_reason().unwrap_or_default()));
        }
    }
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::warn!(status = status.as_u16(), "answered");
    } else {
        tracing::debug!(status = status.as_u16(), "answered");
    }
}

impl HttpRequest {
    fn of<B>(request: &Request<B>) -> Self {
        Self::new(request.method(), Page::at(request.uri().path()).map(Page::route))
    }
}
