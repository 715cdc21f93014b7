//! The health service is for anybody, so it takes no place from those who are registered, and each connection has its own.

use crate::identity::Peer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Its methods, which need no registered caller.
const HEALTH: &str = "/grpc.health.v1.Health/";
/// The one that stays open for as long as its caller likes.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// How many of its calls, open watches among them, one connection has at once. There is no number for the service: strangers
/// who used that up would keep others from asking. So all together are bounded by the number of connections.
pub(super) const CALLS_PER_CONNECTION: usize = 16;

/// How long its calls may take to be answered, where the service's own limit is not lower: what is asked for is there.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Whether a path is that of one of its methods.
pub(super) fn is_health(path: &str) -> bool {
    path.starts_with(HEALTH)
}

/// Whether a path is that of the method that stays open.
pub(super) fn is_watch(path: &str) -> bool {
    path == WATCH
}

/// The places of one connection.
#[derive(Debug)]
pub(crate) struct HealthPlaces(Arc<Semaphore>);

impl Default for HealthPlaces {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CALLS_PER_CONNECTION)))
    }
}

/// A place of a watch, which holds it until it ends; among the extensions of its request.
#[derive(Debug, Clone)]
pub(crate) struct WatchPlace {
    _held: Arc<OwnedSemaphorePermit>,
}

impl WatchPlace {
    pub(super) fn new(place: OwnedSemaphorePermit) -> Self {
        Self { _held: Arc::new(place) }
    }
}

/// A place for a call of the health service, where its connection has one left.
pub(super) fn place(peer: &Peer) -> Option<OwnedSemaphorePermit> {
    let HealthPlaces(places) = &peer.health;
    Arc::clone(places).try_acquire_owned().ok()
}
