//! What every call goes through before a handler sees it, as a list.
//!
//! Each layer is either a [`Gate`], which lets a request in or refuses it at once and never waits, or looks at the call
//! as a whole ([`observe`], [`deadline`]). Nothing queues here: what cannot be served now is refused now.

mod deadline;
mod gate;
mod health;
mod identify;
mod in_flight;
mod observe;
mod per_caller;
mod room;

pub(crate) use deadline::{Deadline, DeadlineLayer, StreamDeadline};
pub(crate) use gate::{Gate, GateLayer};
pub(crate) use health::{HealthPlaces, WatchPlace};
pub(crate) use identify::{Identify, Standing};
pub(crate) use in_flight::InFlight;
pub(crate) use observe::{ObserveLayer, TraceId};
pub(crate) use per_caller::PerCaller;
pub(crate) use room::{Place, Room};

use crate::config::Limits;
use crate::errors::Refusal;
use crate::metrics::Metrics;
use crate::tls::Tls;
use chancery_core::Chancery;
use chancery_oidc::Issuers;
use http::{Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceBuilder};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A call's future, boxed once at the bottom so that the layers above it need no pinning of their own.
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// What lets calls in or does not. One for all that is served: whatever is asked for, the service has one limit, and each
/// caller has one.
#[derive(Clone)]
pub(crate) struct Gates {
    in_flight: InFlight,
    deadline: DeadlineLayer,
    identify: Identify,
    per_caller: PerCaller,
}

impl Gates {
    pub(crate) fn new(
        core: &Chancery,
        tls: &Tls,
        issuers: &Issuers,
        limits: &Limits,
        in_flight: InFlight,
        metrics: &Metrics,
    ) -> Self {
        Self {
            in_flight,
            deadline: DeadlineLayer::new(limits, metrics.clone()),
            identify: Identify::new(core.clone(), tls.clone(), issuers.clone(), metrics.clone()),
            per_caller: PerCaller::new(limits, metrics.clone()),
        }
    }
}

/// A refusal by a layer, on its way to the caller: counted as those of handlers are, and in the span of its call.
fn refuse(metrics: &Metrics, refusal: Refusal) -> Status {
    metrics.refused(&refusal);
    Span::current().set_attribute("chancery.reason", refusal.reason.clone());
    refusal.into_status()
}

/// Puts the gates before a service.
pub(crate) fn gated<S>(
    service: S,
    gates: Gates,
) -> impl Service<
    Request<Body>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + Unpin + use<S>,
> + Clone
+ Send
+ Sync
+ use<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let Gates { in_flight, deadline, identify, per_caller } = gates;
    ServiceBuilder::new()
        // Before anything costs anything: no more calls at once than the machine can finish.
        .layer(GateLayer::new(in_flight))
        // Before the body is read: every call has a deadline, and is cut off where it is not answered by then. A stream
        // is answered with its headers, and goes on: Health.Watch and reflection until the caller or the service ends
        // them, the streams of the contract as their handlers say.
        .layer(deadline)
        // Nobody who is not registered reaches a handler.
        .layer(GateLayer::new(identify))
        // Last, because it needs to know who: no caller takes the whole service.
        .layer(GateLayer::new(per_caller))
        .map_future(|answer| -> Answer { Box::pin(answer) })
        .service(service)
}
