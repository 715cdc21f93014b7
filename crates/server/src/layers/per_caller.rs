//! No caller takes the whole service.

use super::Gate;
use super::room::Room;
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
/// call for as long as it is open, and keeps its place itself.
#[derive(Clone)]
pub(crate) struct PerCaller {
    limit: usize,
    /// One entry for each caller that ever called; only registered callers get here, so there are few.
    rooms: Arc<RwLock<HashMap<Id, Arc<Semaphore>>>>,
}

impl PerCaller {
    pub(crate) fn new(limit: NonZeroUsize) -> Self {
        Self { limit: limit.get().min(Semaphore::MAX_PERMITS), rooms: Arc::default() }
    }

    fn room(&self, caller: &Id) -> Arc<Semaphore> {
        if let Some(room) = self.rooms.read().unwrap_or_else(PoisonError::into_inner).get(caller) {
            return Arc::clone(room);
        }
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(rooms.entry(caller.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.limit))))
    }
}

impl Gate for PerCaller {
    type Pass = Option<OwnedSemaphorePermit>;

    fn admit(&self, request: &mut Request<Body>) -> Result<Self::Pass, Status> {
        let Some(requester) = request.extensions().get::<Requester>() else { return Ok(None) };
        let caller = &requester.caller.id;
        match self.room(caller).try_acquire_owned() {
            Ok(pass) => match request.extensions_mut().get_mut::<Room>() {
                None => Ok(Some(pass)),
                Some(room) => {
                    room.hold(pass);
                    Ok(None)
                }
            },
            Err(_no_room) => Err(errors::caller_limit(caller, self.limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::{Authentication, Caller, Identity, Uid};
    use std::collections::BTreeSet;
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
        });
        let authentication = Authentication::Certificate {
            identity: Identity::dns_name("a.example").unwrap(),
            fingerprint: [0; 32],
            serial: "01".to_owned(),
        };
        let deadline = tokio::time::Instant::now();
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Requester { caller, authentication, source: None, trace_id: None, deadline });
        request
    }

    #[test]
    fn one_caller_at_its_limit_does_not_stop_another() {
        let gate = PerCaller::new(NonZeroUsize::MIN);
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
        let gate = PerCaller::new(NonZeroUsize::MIN);
        assert!(gate.admit(&mut Request::new(Body::empty())).unwrap().is_none());
    }
}
