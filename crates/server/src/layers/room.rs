//! The places that an open stream holds among the calls under way, and those of its messages.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The methods whose calls stay open for as long as their callers like. They keep their places among the calls under way
/// themselves, have deadlines of their own, and look at their callers again and again.
const STREAMS: [&str; 2] = ["/chancery.v1.SigningService/StreamSign", "/chancery.v1.AuditService/WatchRecords"];

/// Whether a path is that of such a method.
pub(super) fn is_stream(path: &str) -> bool {
    STREAMS.contains(&path)
}

/// A stream's room among the calls under way; among the extensions of its request behind the layers that count.
///
/// The stream is one call, in the service and of its caller, until this and its messages' places are dropped. One of its messages under way at a time
/// is that call; each other one takes a place as another call would, and waits for it where another call would be refused.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    /// The stream's places: first in the service, then of the caller.
    held: Vec<Arc<OwnedSemaphorePermit>>,
    /// Among the caller's streams.
    stream: Option<Arc<OwnedSemaphorePermit>>,
    /// Taken while a message uses them.
    own: Arc<Semaphore>,
}

/// A message's place. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _taken: Vec<OwnedSemaphorePermit>,
    /// The stream's, where this is the message that has them: a message that is carried out outlasts a stream that breaks off.
    _of_the_stream: Vec<Arc<OwnedSemaphorePermit>>,
}

impl Room {
    /// The room of a stream that has its place in the service.
    pub(super) fn with(place: OwnedSemaphorePermit) -> Self {
        Self { held: vec![Arc::new(place)], stream: None, own: Arc::new(Semaphore::new(1)) }
    }

    /// Keeps the caller's places, among its calls and among its streams.
    pub(super) fn of_caller(&mut self, call: OwnedSemaphorePermit, stream: OwnedSemaphorePermit) {
        self.held.push(Arc::new(call));
        self.stream = Some(Arc::new(stream));
    }

    /// Waits for a message's place.
    pub(crate) async fn enter(&self) -> Place {
        tokio::select! {
            biased;
            own = take(&self.own) => Place { _taken: own.into_iter().collect(), _of_the_stream: self.held.clone() },
            taken = self.take_more() => Place { _taken: taken, _of_the_stream: Vec::new() },
        }
    }

    /// The caller's place first: who waits for his own limit takes nothing from others meanwhile.
    async fn take_more(&self) -> Vec<OwnedSemaphorePermit> {
        let mut taken = Vec::with_capacity(self.held.len());
        for place in self.held.iter().rev() {
            taken.extend(take(place.semaphore()).await);
        }
        taken
    }
}

/// `None` where the semaphore is closed, which none of ours ever is.
async fn take(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use tokio::time::{Duration, timeout};

    #[test]
    fn the_streams_are_those_of_the_contract() {
        let files = prost_types::FileDescriptorSet::decode(chancery_api::FILE_DESCRIPTOR_SET).unwrap();
        let mut streams = Vec::new();
        for file in &files.file {
            for service in &file.service {
                let streaming = service.method.iter().filter(|method| method.server_streaming());
                let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                streams.extend(streaming.map(|method| path(method.name())));
            }
        }
        streams.sort_unstable();
        let mut known = STREAMS.map(str::to_owned);
        known.sort_unstable();
        assert_eq!(streams, known);
    }

    fn room(service: &Arc<Semaphore>, caller: &Arc<Semaphore>) -> Room {
        let place = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned().unwrap();
        let mut room = Room::with(place(service));
        room.of_caller(place(caller), place(&Arc::new(Semaphore::new(1))));
        room
    }

    async fn waits(room: &Room) -> bool {
        timeout(Duration::from_secs(1), room.enter()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_is_the_stream_itself_and_each_other_one_takes_a_place() {
        let (service, caller) = (Arc::new(Semaphore::new(3)), Arc::new(Semaphore::new(2)));
        let room = room(&service, &caller);
        assert_eq!((service.available_permits(), caller.available_permits()), (2, 1));
        let first = room.enter().await;
        assert_eq!((service.available_permits(), caller.available_permits()), (2, 1));
        let second = room.enter().await;
        assert_eq!((service.available_permits(), caller.available_permits()), (1, 0));
        assert!(waits(&room).await);
        assert_eq!(service.available_permits(), 1, "who waits for his own limit takes nothing from others");
        drop(first);
        let third = room.enter().await;
        assert!(waits(&room).await);
        drop((second, room));
        assert_eq!((service.available_permits(), caller.available_permits()), (2, 1), "a message is under way");
        drop(third);
        assert_eq!((service.available_permits(), caller.available_permits()), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn open_streams_that_fill_the_limit_go_on_one_message_at_a_time() {
        let (service, caller) = (Arc::new(Semaphore::new(8)), Arc::new(Semaphore::new(2)));
        let (one, other) = (room(&service, &caller), room(&service, &caller));
        let (_first, _second) = (one.enter().await, other.enter().await);
        assert!(waits(&one).await && waits(&other).await);
    }
}
