//! No caller takes the whole service.

use super::Gate;
use super::room::Room;
use crate::config::Limits;
use crate::errors;
use chancery_core::Requester;
use chancery_model::Id;
use http::Request;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

/// Refuses calls of a caller above a number of its own under way. Calls without a caller (health) pass. A stream is one
/// call for as long as it is open, and keeps its place itself; of streams, which cost nothing to leave open and take up
/// places all the same, a caller has fewer.
#[derive(Clone)]
pub(crate) struct PerCaller {
    calls: usize,
    streams: usize,
    /// One entry for each caller that ever called; only registered callers get here, so there are few.
    places: Arc<RwLock<HashMap<Id, Places>>>,
}

/// A caller's places.
#[derive(Clone)]
struct Places {
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl PerCaller {
    pub(crate) fn new(limits: &Limits) -> Self {
        let places = |limit: NonZeroUsize| limit.get().min(Semaphore::MAX_PERMITS);
        Self {
            calls: places(limits.max_in_flight_per_caller),
            streams: places(limits.max_streams_per_caller),
            places: Arc::default(),
        }
    }

    fn places(&self, caller: &Id) -> Places {
        if let Some(places) = self.places.read().unwrap_or_else(PoisonError::into_inner).get(caller) {
            return places.clone();
        }
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        let new =
            || Places { calls: Arc::new(Semaphore::new(self.calls)), streams: Arc::new(Semaphore::new(self.streams)) };
        places.entry(caller.clone()).or_insert_with(new).clone()
    }
}

impl Gate for PerCaller {
    type Pass = Option<OwnedSemaphorePermit>;

    fn admit(&self, request: &mut Request<Body>) -> Result<Self::Pass, Status> {
        let Some(requester) = request.extensions().get::<Requester>() else { return Ok(None) };
        let caller = &requester.caller.id;
        let Places { calls, streams } = self.places(caller);
        let Ok(call) = calls.try_acquire_owned() else { return Err(errors::caller_limit(caller, self.calls)) };
        if request.extensions().get::<Room>().is_none() {
            return Ok(Some(call));
        }
        let Ok(stream) = streams.try_acquire_owned() else { return Err(errors::stream_limit(caller, self.streams)) };
        if let Some(room) = request.extensions_mut().get_mut::<Room>() {
            room.of_caller(call, stream);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::{Authentication, Caller, CallerState, CertificateProof, Identity, Uid};
    use std::collections::{BTreeMap, BTreeSet};
    use tonic::Code;

    fn request_of(caller: &str) -> Request<Body> {
        let id = Id::parse("the caller id", caller).unwrap();
        let caller = Arc::new(Caller {
            id,
            uid: Uid::NONE,
            environment: Id::parse("the environment", "dev").unwrap(),
            identities: BTreeSet::new(),
            groups: BTreeSet::new(),
            roles: BTreeSet::new(),
            rings: BTreeSet::new(),
            attributes: BTreeMap::new(),
            required_factors: BTreeSet::new(),
            state: CallerState::Active,
        });
        let authentication = Authentication::Certificate(CertificateProof {
            identity: Identity::dns_name("a.example").unwrap(),
            fingerprint: [0; 32],
            serial: "01".to_owned(),
        });
        let deadline = tokio::time::Instant::now();
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Requester { caller, authentication, source: None, trace_id: None, deadline });
        request
    }

    fn gate(calls: usize, streams: usize) -> PerCaller {
        let limit = |limit: usize| NonZeroUsize::new(limit).unwrap();
        PerCaller::new(&Limits {
            max_in_flight_per_caller: limit(calls),
            max_streams_per_caller: limit(streams),
            ..Limits::default()
        })
    }

    #[test]
    fn of_streams_a_caller_has_fewer() {
        let service = Arc::new(Semaphore::new(8));
        let stream = || {
            let mut request = request_of("checkout");
            request.extensions_mut().insert(Room::with(Arc::clone(&service).try_acquire_owned().unwrap()));
            request
        };
        let gate = gate(3, 1);
        let mut open = stream();
        assert!(gate.admit(&mut open).unwrap().is_none(), "it keeps its place itself");
        let refused = gate.admit(&mut stream()).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("1 open stream"), "{}", refused.message());
        let _two = [gate.admit(&mut request_of("checkout")).unwrap(), gate.admit(&mut request_of("checkout")).unwrap()];
        assert!(gate.admit(&mut request_of("checkout")).is_err(), "the stream is one of three calls");
        drop(open);
        assert_eq!(service.available_permits(), 8);
        assert!(gate.admit(&mut stream()).is_ok());
    }

    #[test]
    fn one_caller_at_its_limit_does_not_stop_another() {
        let gate = gate(1, 1);
        let pass = gate.admit(&mut request_of("checkout")).unwrap();
        assert!(pass.is_some());
        let refused = gate.admit(&mut request_of("checkout")).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("callers/checkout"), "{}", refused.message());
        assert!(gate.admit(&mut request_of("billing")).is_ok());
        drop(pass);
        assert!(gate.admit(&mut request_of("checkout")).is_ok());
    }

    #[test]
    fn a_call_without_a_caller_is_not_counted() {
        let gate = gate(1, 1);
        assert!(gate.admit(&mut Request::new(Body::empty())).unwrap().is_none());
    }
}
