//! A layer that lets a request in or refuses it, at once.

use http::{Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Decides whether a request goes on.
pub(crate) trait Gate {
    /// What is held until the call is answered or abandoned; nothing: `()`. What is to be held until nothing is done for the
    /// call any more goes on with the request.
    type Pass;

    /// Lets the request in, perhaps with something added to its extensions, or refuses it.
    fn admit(&self, request: &mut Request<Body>) -> Result<Self::Pass, Status>;
}

/// Puts a gate before a service.
#[derive(Clone)]
pub(crate) struct GateLayer<G> {
    gate: G,
}

impl<G> GateLayer<G> {
    pub(crate) fn new(gate: G) -> Self {
        Self { gate }
    }
}

impl<G: Clone, S> Layer<S> for GateLayer<G> {
    type Service = Gated<G, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated { gate: self.gate.clone(), inner }
    }
}

/// A service behind a gate.
#[derive(Clone)]
pub(crate) struct Gated<G, S> {
    gate: G,
    inner: S,
}

impl<G, S> Service<Request<Body>> for Gated<G, S>
where
    G: Gate,
    G::Pass: Unpin,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = GatedFuture<S::Future, G::Pass>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.gate.admit(&mut request) {
            Ok(pass) => GatedFuture::Admitted { answer: self.inner.call(request), _pass: pass },
            Err(status) => GatedFuture::Refused(Some(status)),
        }
    }
}

/// A call that was let in, or its refusal.
pub(crate) enum GatedFuture<F, P> {
    /// Holds the pass as long as the call lives.
    Admitted { answer: F, _pass: P },
    /// Taken when it is polled.
    Refused(Option<Status>),
}

impl<F, P> Future for GatedFuture<F, P>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
    P: Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Admitted { answer, .. } => Pin::new(answer).poll(cx),
            Self::Refused(status) => match status.take() {
                Some(status) => Poll::Ready(Ok(status.into_http())),
                // Polled again after its answer, which nobody may do.
                None => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tower::ServiceExt;

    /// Lets in requests for `/in`, and counts the passes that are held.
    #[derive(Clone, Default)]
    struct Door(Arc<AtomicUsize>);

    struct Held(Arc<AtomicUsize>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Gate for Door {
        type Pass = Held;

        fn admit(&self, request: &mut Request<Body>) -> Result<Held, Status> {
            if request.uri().path() != "/in" {
                return Err(Status::permission_denied("closed"));
            }
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Held(Arc::clone(&self.0)))
        }
    }

    async fn call(door: &Door, path: &str) -> (Response<Body>, usize) {
        let held = Arc::clone(&door.0);
        let inner = tower::service_fn(move |_request| {
            let held = Arc::clone(&held);
            Box::pin(async move {
                let mut answer = Response::new(Body::empty());
                answer.extensions_mut().insert(held.load(Ordering::SeqCst));
                Ok(answer)
            })
        });
        let gated = GateLayer::new(door.clone()).layer(inner);
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let answer = gated.oneshot(request).await.unwrap();
        let held = answer.extensions().get().copied().unwrap_or(0);
        (answer, held)
    }

    #[tokio::test]
    async fn a_pass_is_held_exactly_as_long_as_the_call() {
        let door = Door::default();
        let (answer, held_during_the_call) = call(&door, "/in").await;
        assert_eq!(held_during_the_call, 1);
        assert_eq!(door.0.load(Ordering::SeqCst), 0);
        assert!(answer.headers().get("grpc-status").is_none());
    }

    #[tokio::test]
    async fn a_refusal_is_a_grpc_status_and_never_reaches_the_service() {
        let door = Door::default();
        let (answer, held) = call(&door, "/out").await;
        assert_eq!(held, 0);
        assert_eq!(answer.headers()["grpc-status"], "7");
        assert_eq!(answer.headers()["content-type"], "application/grpc");
    }
}
