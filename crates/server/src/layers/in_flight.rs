//! No more calls at once than the machine can finish.

use super::health::{self, WatchPlace};
use super::room::{Room, is_stream};
use super::{Gate, refuse};
use crate::errors;
use crate::identity::Peer;
use crate::metrics::Metrics;
use chancery_core::{Error, Held};
use http::Request;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;

/// Refuses calls above a number under way. Waiting for room would only make every caller late. Calls of the health service
/// have places of their own, of their connection: nobody needs to be registered for them.
#[derive(Clone)]
pub(crate) struct InFlight {
    room: Arc<Semaphore>,
    limit: usize,
    metrics: Metrics,
}

impl InFlight {
    pub(crate) fn new(limit: NonZeroUsize, metrics: Metrics) -> Self {
        let limit = limit.get().min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(limit)), limit, metrics }
    }

    /// Calls that may be under way at once.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Calls under way now, those that were cancelled and are carried out all the same among them.
    pub(crate) fn now(&self) -> usize {
        self.limit.saturating_sub(self.room.available_permits())
    }

    fn of_health(&self, request: &mut Request<Body>) -> Result<Held, Status> {
        let Some(peer) = request.extensions().get::<Arc<Peer>>() else {
            let fault = errors::fault("a request came without its connection's peer");
            return Err(refuse(&self.metrics, errors::refusal(&fault)));
        };
        let place = health::place(peer);
        let place = place.ok_or_else(|| refuse(&self.metrics, errors::health_limit(health::CALLS_PER_CONNECTION)))?;
        let mut held = Held::default();
        if health::is_watch(request.uri().path()) {
            request.extensions_mut().insert(WatchPlace::new(place));
        } else {
            held.keep(place);
        }
        Ok(held)
    }
}

impl Gate for InFlight {
    /// A stream keeps its place itself, and so does a watch of the health service.
    type Pass = Held;

    fn admit(&self, request: &mut Request<Body>) -> Result<Held, Status> {
        if health::is_health(request.uri().path()) {
            return self.of_health(request);
        }
        // The error says no more than that there is none: the semaphore is never closed.
        let place = Arc::clone(&self.room).try_acquire_owned();
        let place = place.map_err(|_no_room| refuse(&self.metrics, errors::refusal(&Error::Overloaded)))?;
        let mut held = Held::default();
        if is_stream(request.uri().path()) {
            request.extensions_mut().insert(Room::with(place));
        } else {
            held.keep(place);
            // For whatever is done for the call, which does not end when its caller hangs up.
            request.extensions_mut().insert(held.clone());
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;
    use crate::metrics::tests::metrics;
    use tonic::Code;

    #[test]
    fn one_more_than_the_limit_is_refused_until_one_has_ended() {
        let (metrics, scrape, _provider) = metrics();
        let in_flight = InFlight::new(NonZeroUsize::new(2).unwrap(), metrics);
        let request = || Request::new(Body::empty());
        let mut carried_out = request();
        let first = in_flight.admit(&mut carried_out).unwrap();
        let _second = in_flight.admit(&mut request()).unwrap();
        assert_eq!(in_flight.now(), 2);
        let refused = in_flight.admit(&mut request()).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let page = scrape.page(Format::Text).unwrap();
        assert!(page.contains(r#"chancery_refusals_total{chancery_reason="OVERLOADED"} 1"#), "{page}");
        drop(first);
        assert_eq!(in_flight.now(), 2, "the caller has gone, and something is done for him");
        drop(carried_out);
        assert_eq!(in_flight.now(), 1);
        assert!(in_flight.admit(&mut request()).is_ok());
    }
}
