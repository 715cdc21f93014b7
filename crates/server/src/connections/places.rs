//! How many connections there may be at once, how many of them with their handshake still to come, and how many of each that
//! an address has: strangers can take places, and not all of them.

use crate::config::Limits;
use crate::metrics::ConnectionRefusal;
use std::collections::HashMap;
use std::future::pending;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// So long a handshake may take while there is no place for another. Over the longest ways it takes half of that; who says
/// nothing has to come back that often to keep others out.
const PATIENCE_WHEN_FULL: Duration = Duration::from_secs(1);

/// All places.
pub(super) struct Places {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    /// Whether all of the handshakes' places are taken.
    full: watch::Sender<bool>,
    connections_of: Shares,
    handshakes_of: Shares,
}

/// Places for a connection that has not come yet, from wherever it comes.
pub(super) struct Free {
    connection: OwnedSemaphorePermit,
    handshake: OwnedSemaphorePermit,
}

/// A connection's place.
pub(super) struct Place {
    _taken: OwnedSemaphorePermit,
    _of_the_address: Share,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Self {
        let semaphore = |size: NonZeroUsize| Arc::new(Semaphore::new(size.get().min(Semaphore::MAX_PERMITS)));
        Self {
            connections: semaphore(limits.max_connections),
            handshakes: semaphore(limits.max_handshakes),
            full: watch::Sender::new(false),
            connections_of: Shares::new(limits.max_connections_per_address),
            handshakes_of: Shares::new(limits.max_handshakes_per_address),
        }
    }

    /// Waits until there is room for one more connection and its handshake.
    pub(super) async fn free(&self) -> Free {
        let connection = take(&self.connections).await;
        let handshake = match Arc::clone(&self.handshakes).try_acquire_owned() {
            Ok(place) => place,
            Err(_none) => {
                let _until_there_is_one = Full::tell(&self.full);
                take(&self.handshakes).await
            }
        };
        Free { connection, handshake }
    }

    /// Returns once a handshake that begins now has taken so long that it is to give its place to another.
    pub(super) async fn crowded(&self) {
        tokio::time::sleep(PATIENCE_WHEN_FULL).await;
        let mut full = self.full.subscribe();
        // The sender is our own.
        let _told = full.wait_for(|full| *full).await.is_ok();
    }

    /// The places of a connection that has come, and of its handshake; those of each are given back when they are dropped.
    ///
    /// # Errors
    /// Which share its address has used up.
    pub(super) fn take(&self, free: Free, address: IpAddr) -> Result<(Place, Place), ConnectionRefusal> {
        let Free { connection, handshake } = free;
        let network = network(address);
        let of_connections = self.connections_of.take(network).ok_or(ConnectionRefusal::AddressConnections)?;
        let of_handshakes = self.handshakes_of.take(network).ok_or(ConnectionRefusal::AddressHandshakes)?;
        Ok((
            Place { _taken: connection, _of_the_address: of_connections },
            Place { _taken: handshake, _of_the_address: of_handshakes },
        ))
    }
}

/// Says that all places are taken, until dropped.
struct Full<'a>(&'a watch::Sender<bool>);

impl<'a> Full<'a> {
    fn tell(full: &'a watch::Sender<bool>) -> Self {
        full.send_replace(true);
        Self(full)
    }
}

impl Drop for Full<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

async fn take(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(places).acquire_owned().await {
        Ok(place) => place,
        // The semaphore is never closed.
        Err(_closed) => pending().await,
    }
}

/// What counts as one address. Who has one of an IPv6 network of 64 bits has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Who has how many; nobody more than the limit.
#[derive(Clone)]
struct Shares {
    limit: usize,
    /// Those who have any, so there are no more entries than connections.
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of an address's. Given back when dropped.
struct Share {
    shares: Shares,
    of: IpAddr,
}

impl Shares {
    fn new(limit: NonZeroUsize) -> Self {
        Self { limit: limit.get(), taken: Arc::default() }
    }

    fn take(&self, of: IpAddr) -> Option<Share> {
        let mut taken = self.lock();
        let count = taken.entry(of).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Share { shares: self.clone(), of })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Whole at every moment, so that a panic elsewhere does not matter.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_back_what_it_gives_back_and_nothing_is_kept_of_who_has_gone() {
        let shares = Shares::new(NonZeroUsize::new(2).unwrap());
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let (first, second) = (shares.take(one), shares.take(one));
        assert!(first.is_some() && second.is_some() && shares.take(one).is_none());
        let of_another = shares.take(other);
        assert!(of_another.is_some());
        drop(first);
        let third = shares.take(one);
        assert!(third.is_some() && shares.take(one).is_none());
        drop((second, third, of_another));
        assert!(shares.lock().is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_address_is_the_one_that_it_maps() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
