//! No caller takes the whole service.

use super::room::Room;
use super::{Gate, refuse};
use crate::config::Limits;
use crate::errors;
use crate::metrics::Metrics;
use chancery_core::{Held, Requester};
use chancery_model::Id;
use http::Request;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;

/// Refuses calls of a caller above a number of its own under way: the caller's, where it is registered with one, and otherwise
/// everybody's. Calls without a caller (health) pass. A stream is one
/// call for as long as it is open, and keeps its place itself; of streams, which cost nothing to leave open and take up
/// places all the same, a caller has fewer.
#[derive(Clone)]
pub(crate) struct PerCaller {
    calls: usize,
    streams: usize,
    /// One entry for each caller that ever called; only registered callers get here, so there are few.
    places: Arc<RwLock<HashMap<Id, Places>>>,
    metrics: Metrics,
}

/// A caller's places.
#[derive(Clone)]
struct Places {
    calls: Arc<Calls>,
    streams: Arc<Semaphore>,
}

/// Places for calls, as many as the caller's registration says at the time.
struct Calls {
    places: Arc<Semaphore>,
    size: Mutex<Size>,
}

struct Size {
    limit: usize,
    /// Places that are still taken and go with the calls that have them, since the limit was lowered.
    owed: usize,
}

impl Calls {
    fn new(limit: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(limit)), size: Mutex::new(Size { limit, owed: 0 }) }
    }

    /// A place, where one of `limit` is free.
    fn take(&self, limit: usize) -> Option<OwnedSemaphorePermit> {
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = limit.checked_sub(size.limit) {
            let paid = more.min(size.owed);
            size.owed -= paid;
            self.places.add_permits(more - paid);
        } else {
            size.owed += size.limit - limit;
        }
        size.limit = limit;
        if size.owed > 0 {
            size.owed -= self.places.forget_permits(size.owed);
        }
        Arc::clone(&self.places).try_acquire_owned().ok()
    }
}

impl PerCaller {
    pub(crate) fn new(limits: &Limits, metrics: Metrics) -> Self {
        let places = |limit: NonZeroUsize| limit.get().min(Semaphore::MAX_PERMITS);
        Self {
            calls: places(limits.max_in_flight_per_caller),
            streams: places(limits.max_streams_per_caller),
            places: Arc::default(),
            metrics,
        }
    }

    fn places(&self, caller: &Id) -> Places {
        if let Some(places) = self.places.read().unwrap_or_else(PoisonError::into_inner).get(caller) {
            return places.clone();
        }
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        let new =
            || Places { calls: Arc::new(Calls::new(self.calls)), streams: Arc::new(Semaphore::new(self.streams)) };
        places.entry(caller.clone()).or_insert_with(new).clone()
    }
}

impl Gate for PerCaller {
    type Pass = Held;

    fn admit(&self, request: &mut Request<Body>) -> Result<Held, Status> {
        let extensions = request.extensions_mut();
        let Some(requester) = extensions.get::<Requester>() else { return Ok(Held::default()) };
        let caller = requester.caller.id.clone();
        let Places { calls, streams } = self.places(&caller);
        let own = requester.caller.limits.pace.concurrent;
        let limit = own.map_or(self.calls, |own| usize::try_from(own).unwrap_or(Semaphore::MAX_PERMITS));
        let call = calls.take(limit);
        let call = call.ok_or_else(|| refuse(&self.metrics, errors::caller_limit(&caller, limit)))?;
        if let Some(room) = extensions.get_mut::<Room>() {
            let stream = streams.try_acquire_owned();
            let too_many = |_none_left| refuse(&self.metrics, errors::stream_limit(&caller, self.streams));
            room.of_caller(call, stream.map_err(too_many)?);
            return Ok(Held::default());
        }
        let Some(requester) = extensions.get_mut::<Requester>() else { return Ok(Held::default()) };
        requester.held.keep(call);
        Ok(requester.held.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::metrics;
    use chancery_model::{Authentication, Caller, CallerLimits, CallerState, CertificateProof, Identity, Pace, Uid};
    use std::collections::{BTreeMap, BTreeSet};
    use tonic::Code;

    fn request_of(caller: &str) -> Request<Body> {
        request_with(caller, None)
    }

    /// Of a caller whose registration says so many calls.
    fn request_with(caller: &str, concurrent: Option<u32>) -> Request<Body> {
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
            limits: CallerLimits { pace: Pace { concurrent, ..Pace::default() }, ..CallerLimits::default() },
            state: CallerState::Active,
        });
        let authentication = Authentication::Certificate(CertificateProof {
            identity: Identity::dns_name("a.example").unwrap(),
            fingerprint: [0; 32],
            serial: "01".to_owned(),
        });
        let deadline = tokio::time::Instant::now();
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Requester {
            caller,
            authentication,
            certificate: None,
            source: None,
            trace_id: None,
            deadline,
            held: Held::default(),
        });
        request
    }

    fn gate(calls: usize, streams: usize) -> PerCaller {
        let limit = |limit: usize| NonZeroUsize::new(limit).unwrap();
        let limits = Limits {
            max_in_flight_per_caller: limit(calls),
            max_streams_per_caller: limit(streams),
            ..Limits::default()
        };
        PerCaller::new(&limits, metrics().0)
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
        drop(gate.admit(&mut open).unwrap());
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
        let refused = gate.admit(&mut request_of("checkout")).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("callers/checkout"), "{}", refused.message());
        assert!(gate.admit(&mut request_of("billing")).is_ok());
        drop(pass);
        assert!(gate.admit(&mut request_of("checkout")).is_ok());
    }

    #[test]
    fn a_caller_has_as_many_calls_as_its_registration_says_now() {
        let gate = gate(2, 1);
        let call = |limit| gate.admit(&mut request_with("checkout", limit));
        let mut under_way: Vec<_> = (0..4).map(|_| call(Some(4)).unwrap()).collect();
        assert!(call(Some(4)).unwrap_err().message().contains("4 calls"));
        under_way.push(call(Some(5)).unwrap());
        // Lowered: those that are under way end, and their places with them.
        assert!(call(Some(3)).is_err());
        under_way.truncate(3);
        assert!(call(Some(3)).is_err());
        under_way.truncate(2);
        under_way.push(call(Some(3)).unwrap());
        assert!(call(Some(3)).is_err());
        // What is still owed is set off against what is given.
        assert!(call(Some(1)).is_err());
        under_way.push(call(Some(4)).unwrap());
        assert!(call(Some(4)).is_err());
        under_way.clear();
        // No number of its own any more: everybody's.
        let _two = [call(None).unwrap(), call(None).unwrap()];
        assert!(call(None).is_err());
    }

    #[test]
    fn a_call_without_a_caller_is_not_counted() {
        let gate = gate(1, 1);
        let held = [(); 2].map(|()| gate.admit(&mut Request::new(Body::empty())));
        assert!(held.iter().all(Result::is_ok));
    }
}
