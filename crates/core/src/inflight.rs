//! Which key versions and which callers have intents under way in this instance, so that a change can wait for them to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chancery_model::Uid;
use chancery_store::Epoch;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::{Chancery, Inner, Requester};

/// The intents that are about to be recorded, or are recorded and have not ended.
#[derive(Clone, Default)]
pub(crate) struct InFlight {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    left: Notify,
}

#[derive(Default)]
struct Table {
    next_ticket: u64,
    of: HashMap<Uid, HashMap<u64, Entry>>,
}

struct Entry {
    epoch: Epoch,
    index: Option<u64>,
}

/// A place in the table; leaves it when dropped.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    of: Uid,
    ticket: u64,
}

/// An intent's places: of its key version and of its caller.
pub(crate) struct Places {
    version: Ticket,
    caller: Ticket,
}

impl Places {
    /// Remembers under which index the intent was recorded.
    pub fn recorded_as(&self, index: u64) {
        let Self { version, caller } = self;
        version.recorded_as(index);
        caller.recorded_as(index);
    }
}

impl Chancery {
    /// Enters an intent before it is handed to the record: whoever changes its version or its caller afterwards sees it.
    pub(crate) fn enter(&self, from: &Requester, version: Uid, epoch: Epoch) -> Places {
        let Inner { in_flight, callers_in_flight, .. } = &*self.inner;
        Places { version: in_flight.enter(version, epoch), caller: callers_in_flight.enter(from.caller.uid, epoch) }
    }
}

impl InFlight {
    /// Enters an intent of a version or of a caller.
    pub fn enter(&self, of: Uid, epoch: Epoch) -> Ticket {
        let mut table = self.shared.lock();
        let ticket = table.next_ticket;
        table.next_ticket += 1;
        table.of.entry(of).or_default().insert(ticket, Entry { epoch, index: None });
        Ticket { shared: Arc::clone(&self.shared), of, ticket }
    }

    /// Waits until no intent of this version or caller that was decided before `epoch` is under way. Answers the indexes of those
    /// that still are at the deadline.
    pub async fn wait_for_older(&self, of: Uid, epoch: Epoch, deadline: Instant) -> Vec<u64> {
        loop {
            let left = self.shared.left.notified();
            tokio::pin!(left);
            // Registers for the next departure before the table is read, so that none is missed.
            left.as_mut().enable();
            let (count, open) = self.older(of, epoch);
            if count == 0 {
                return Vec::new();
            }
            if timeout_at(deadline, left).await.is_err() {
                return open;
            }
        }
    }

    fn older(&self, of: Uid, epoch: Epoch) -> (usize, Vec<u64>) {
        let table = self.shared.lock();
        let Some(entries) = table.of.get(&of) else { return (0, Vec::new()) };
        let older = entries.values().filter(|entry| entry.epoch < epoch);
        let mut open: Vec<u64> = older.clone().filter_map(|entry| entry.index).collect();
        open.sort_unstable();
        (older.count(), open)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Remembers under which index the intent was recorded.
    pub fn recorded_as(&self, index: u64) {
        let mut table = self.shared.lock();
        if let Some(entry) = table.of.get_mut(&self.of).and_then(|entries| entries.get_mut(&self.ticket)) {
            entry.index = Some(index);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        {
            let mut table = self.shared.lock();
            if let Some(entries) = table.of.get_mut(&self.of) {
                entries.remove(&self.ticket);
                if entries.is_empty() {
                    table.of.remove(&self.of);
                }
            }
        }
        self.shared.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const VERSION: Uid = Uid::from_bytes([7; 16]);

    #[tokio::test]
    async fn older_intents_are_waited_for_and_younger_ones_are_not() {
        let in_flight = InFlight::default();
        let older = in_flight.enter(VERSION, Epoch::new(1));
        let _younger = in_flight.enter(VERSION, Epoch::new(2));
        older.recorded_as(41);
        let at_once = Instant::now();
        assert_eq!(in_flight.wait_for_older(VERSION, Epoch::new(2), at_once).await, vec![41]);
        let waiting = tokio::spawn({
            let in_flight = in_flight.clone();
            async move { in_flight.wait_for_older(VERSION, Epoch::new(2), Instant::now() + Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        drop(older);
        assert_eq!(waiting.await.unwrap(), Vec::<u64>::new());
    }
}
