//! What every call goes through before a handler sees it, as a list.
//!
//! Each layer is either a [`Gate`], which lets a request in or refuses it at once and never waits, or looks at the call
//! as a whole ([`observe`], [`deadline`]). Nothing queues here: what cannot be served now is refused now.

mod deadline;
mod gate;
mod identify;
mod in_flight;
mod observe;
mod per_caller;

pub(crate) use deadline::{Deadline, DeadlineLayer};
pub(crate) use gate::{Gate, GateLayer};
pub(crate) use identify::Identify;
pub(crate) use in_flight::InFlight;
pub(crate) use observe::{ObserveLayer, TraceId};
pub(crate) use per_caller::PerCaller;

use crate::config::Limits;
use crate::metrics::Metrics;
use crate::tls::Tls;
use chancery_core::Chancery;
use http::{Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use tonic::body::Body;
use tower::{Service, ServiceBuilder};

/// A call's future, boxed once at the bottom so that the layers above it need no pinning of their own.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Puts the layers around the routes.
pub(crate) fn around<S>(
    routes: S,
    core: &Chancery,
    tls: &Tls,
    limits: &Limits,
    in_flight: InFlight,
    metrics: &Metrics,
) -> impl Service<
    Request<Body>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<S>,
> + Clone
+ Send
+ Sync
+ use<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    ServiceBuilder::new()
        // First, so that what the others refuse is seen too: a span that continues the caller's trace, and the metric.
        .layer(ObserveLayer::new(metrics.clone()))
        // Before anything costs anything: no more calls at once than the machine can finish.
        .layer(GateLayer::new(in_flight))
        // Before the body is read: no call lives longer than its deadline, and every call has one.
        .layer(DeadlineLayer::new(limits.default_deadline, limits.max_deadline))
        // Nobody who is not registered reaches a handler.
        .layer(GateLayer::new(Identify::new(core.clone(), tls.clone(), metrics.clone())))
        // Last, because it needs to know who: no caller takes the whole service.
        .layer(GateLayer::new(PerCaller::new(limits.max_in_flight_per_caller)))
        .map_future(|answer| -> Answer { Box::pin(answer) })
        .service(routes)
}
