//! Every call has a deadline: the caller's, bounded by ours.

use super::health::{self, is_health};
use super::refuse;
use super::room::is_stream;
use crate::config::Limits;
use crate::errors;
use crate::metrics::Metrics;
use chancery_core::Error;
use http::{HeaderMap, Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tower::{Layer, Service};

/// When a call's answer is no longer of use; among the extensions of every request behind this layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(pub(crate) Instant);

/// The deadlines of an open stream; among the extensions of a stream's request behind this layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamDeadline {
    /// When the whole stream ends; never by itself where its caller named no time.
    pub(crate) whole: Option<Instant>,
    /// How long each message may take, from its arrival.
    pub(crate) each: Duration,
}

/// How long after the deadline a call is cut off. The core keeps the deadline itself and answers what it knows, for
/// example which record was left open; this is for what never got there, such as a body that does not end.
const GRACE: Duration = Duration::from_millis(250);

/// Gives every call its deadline and holds it to it.
#[derive(Clone)]
pub(crate) struct DeadlineLayer {
    deadlines: Deadlines,
    metrics: Metrics,
}

impl DeadlineLayer {
    pub(crate) fn new(limits: &Limits, metrics: Metrics) -> Self {
        let deadlines = Deadlines { default: limits.default_deadline, maximum: limits.max_deadline };
        Self { deadlines, metrics }
    }
}

#[derive(Debug, Clone, Copy)]
struct Deadlines {
    default: Duration,
    maximum: Duration,
}

impl Deadlines {
    fn deadline(self, path: &str, headers: &HeaderMap) -> Result<Instant, Error> {
        // Whoever asks how the service is need not be registered, and is not waited for.
        let maximum = if is_health(path) { self.maximum.min(health::DEADLINE) } else { self.maximum };
        Ok(Instant::now() + given(headers)?.unwrap_or(self.default).min(maximum))
    }

    /// A stream lives as long as its caller says, or until he ends it; the limits are those of each message. Its headers
    /// are answered at once.
    fn stream(self, headers: &HeaderMap) -> Result<StreamDeadline, Error> {
        // What is too far away to be a time is as good as never.
        let whole = given(headers)?.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(StreamDeadline { whole, each: self.default.min(self.maximum) })
    }
}

/// What the caller said, if anything.
fn given(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(parse).ok_or_else(|| Error::InvalidField {
        field: GRPC_TIMEOUT.to_owned(),
        description: "must be 1 to 8 digits and a unit, one of H, M, S, m, u and n (gRPC over HTTP/2)".to_owned(),
    })?;
    Ok(Some(timeout))
}

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The `Timeout` of gRPC over HTTP/2.
fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { layer: self.clone(), inner }
    }
}

/// A service whose calls end.
#[derive(Clone)]
pub(crate) struct Bounded<S> {
    layer: DeadlineLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoundedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Self { layer: DeadlineLayer { deadlines, metrics }, inner } = self;
        let refused = |error| BoundedFuture { step: Step::Refused(error), metrics: metrics.clone() };
        if is_stream(request.uri().path()) {
            match deadlines.stream(request.headers()) {
                Ok(deadline) => request.extensions_mut().insert(deadline),
                Err(error) => return refused(error),
            };
        }
        match deadlines.deadline(request.uri().path(), request.headers()) {
            Ok(deadline) => {
                request.extensions_mut().insert(Deadline(deadline));
                let cut_off = Box::pin(tokio::time::sleep_until(deadline + GRACE));
                let step = Step::Running { answer: inner.call(request), cut_off };
                BoundedFuture { step, metrics: metrics.clone() }
            }
            Err(error) => refused(error),
        }
    }
}

/// A call that ends.
pub(crate) struct BoundedFuture<F> {
    step: Step<F>,
    metrics: Metrics,
}

enum Step<F> {
    Running { answer: F, cut_off: Pin<Box<Sleep>> },
    Refused(Error),
}

impl<F> Future for BoundedFuture<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { step, metrics } = self.get_mut();
        let error = match step {
            Step::Running { answer, cut_off } => {
                if let Poll::Ready(answer) = Pin::new(answer).poll(cx) {
                    return Poll::Ready(answer);
                }
                ready!(cut_off.as_mut().poll(cx));
                &Error::DeadlineExceeded { record_index: None }
            }
            Step::Refused(error) => &*error,
        };
        Poll::Ready(Ok(refuse(metrics, errors::refusal(error)).into_http()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;
    use crate::metrics::tests::metrics;
    use std::future::pending;
    use tower::ServiceExt;

    const LAYER: Deadlines = Deadlines { default: Duration::from_secs(30), maximum: Duration::from_secs(120) };

    fn granted(header: Option<&str>) -> Result<Duration, Error> {
        granted_to("/chancery.v1.SigningService/Sign", header)
    }

    fn granted_to(path: &str, header: Option<&str>) -> Result<Duration, Error> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(GRPC_TIMEOUT, value.parse().unwrap());
        }
        Ok(LAYER.deadline(path, &headers)?.duration_since(Instant::now()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_deadline_counts_up_to_the_maximum() {
        assert_eq!(granted(None).unwrap(), Duration::from_secs(30));
        assert_eq!(granted(Some("250m")).unwrap(), Duration::from_millis(250));
        assert_eq!(granted(Some("5S")).unwrap(), Duration::from_secs(5));
        assert_eq!(granted(Some("2M")).unwrap(), Duration::from_secs(120));
        assert_eq!(granted(Some("99999999H")).unwrap(), Duration::from_secs(120));
        assert_eq!(granted(Some("1u")).unwrap(), Duration::from_micros(1));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_long_who_asks_how_the_service_is() {
        let check = "/grpc.health.v1.Health/Check";
        for (header, granted) in [(None, 5000), (Some("120S"), 5000), (Some("250m"), 250)] {
            assert_eq!(granted_to(check, header).unwrap(), Duration::from_millis(granted), "{header:?}");
        }
        let strict = Deadlines { default: Duration::from_secs(2), maximum: Duration::from_secs(2) };
        let deadline = strict.deadline(check, &HeaderMap::new()).unwrap();
        assert_eq!(deadline.duration_since(Instant::now()), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_lives_as_long_as_its_caller_says_and_each_message_as_long_as_a_call() {
        let stream = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (http::HeaderName::from_static(GRPC_TIMEOUT), value.parse().unwrap())));
            LAYER.stream(&headers)
        };
        let StreamDeadline { whole, each } = stream(None).unwrap();
        assert_eq!((whole, each), (None, Duration::from_secs(30)));
        let hour = stream(Some("1H")).unwrap().whole.unwrap().duration_since(Instant::now());
        assert_eq!(hour, Duration::from_secs(3600), "not shortened to the longest deadline of a call");
        assert!(matches!(stream(Some("1 H")), Err(Error::InvalidField { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_malformed_deadline_is_refused() {
        for value in ["", "S", "5", "-5S", "+5S", "5s", "123456789S", "5 S", "0x5S"] {
            let error = granted(Some(value)).unwrap_err();
            assert!(
                matches!(&error, Error::InvalidField { field, .. } if field == "grpc-timeout"),
                "{value:?}: {error}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_does_not_end_is_cut_off_after_its_deadline() {
        let never = tower::service_fn(|_request| Box::pin(pending::<Result<Response<Body>, Infallible>>()));
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert(GRPC_TIMEOUT, "2S".parse().unwrap());
        let begun = Instant::now();
        let (metrics, scrape, _provider) = metrics();
        let layer = DeadlineLayer { deadlines: LAYER, metrics };
        let answer = layer.layer(never).oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "4", "DEADLINE_EXCEEDED");
        let page = scrape.page(Format::Text).unwrap();
        assert!(page.contains(r#"chancery_refusals_total{chancery_reason="DEADLINE_EXCEEDED"} 1"#), "{page}");
        let passed = begun.elapsed();
        assert!(passed >= Duration::from_secs(2) && passed < Duration::from_millis(2300), "{passed:?}");
    }
}
