//! No more calls at once than the machine can finish.

use super::Gate;
use super::health::{self, WatchPlace};
use super::room::{Room, is_stream};
use crate::errors;
use crate::identity::Peer;
use chancery_core::Error;
use http::Request;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

/// Refuses calls above a number under way. Waiting for room would only make every caller late. Calls of the health service
/// have places of their own, of their connection: nobody needs to be registered for them.
#[derive(Clone)]
pub(crate) struct InFlight {
    room: Arc<Semaphore>,
    limit: usize,
}

impl InFlight {
    pub(crate) fn new(limit: NonZeroUsize) -> Self {
        let limit = limit.get().min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(limit)), limit }
    }

    /// Calls that may be under way at once.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Calls under way now.
    pub(crate) fn now(&self) -> usize {
        self.limit.saturating_sub(self.room.available_permits())
    }
}

impl Gate for InFlight {
    /// A stream keeps its place itself, and so does a watch of the health service.
    type Pass = Option<OwnedSemaphorePermit>;

    fn admit(&self, request: &mut Request<Body>) -> Result<Self::Pass, Status> {
        if health::is_health(request.uri().path()) {
            return of_health(request);
        }
        // The error says no more than that there is none: the semaphore is never closed.
        let place =
            Arc::clone(&self.room).try_acquire_owned().map_err(|_no_room| errors::status(&Error::Overloaded))?;
        if !is_stream(request.uri().path()) {
            return Ok(Some(place));
        }
        request.extensions_mut().insert(Room::with(place));
        Ok(None)
    }
}

fn of_health(request: &mut Request<Body>) -> Result<Option<OwnedSemaphorePermit>, Status> {
    let Some(peer) = request.extensions().get::<Arc<Peer>>() else {
        return Err(errors::status(&errors::fault("a request came without its connection's peer")));
    };
    let place = health::place(peer).ok_or_else(|| errors::health_limit(health::CALLS_PER_CONNECTION))?;
    if !health::is_watch(request.uri().path()) {
        return Ok(Some(place));
    }
    request.extensions_mut().insert(WatchPlace::new(place));
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn one_more_than_the_limit_is_refused_until_one_has_ended() {
        let in_flight = InFlight::new(NonZeroUsize::new(2).unwrap());
        let mut request = Request::new(Body::empty());
        let first = in_flight.admit(&mut request).unwrap();
        let _second = in_flight.admit(&mut request).unwrap();
        assert_eq!(in_flight.now(), 2);
        let refused = in_flight.admit(&mut request).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        drop(first);
        assert_eq!(in_flight.now(), 1);
        assert!(in_flight.admit(&mut request).is_ok());
    }
}
