//! Which key versions have intents under way in this instance, so that a change can wait for them to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chancery_model::Uid;
use chancery_store::Epoch;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

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
    versions: HashMap<Uid, HashMap<u64, Entry>>,
}

struct Entry {
    epoch: Epoch,
    index: Option<u64>,
}

/// A place in the table; leaves it when dropped.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    version: Uid,
    ticket: u64,
}

impl InFlight {
    /// Enters before the intent is handed to the record: whoever changes the version afterwards sees it.
    pub fn enter(&self, version: Uid, epoch: Epoch) -> Ticket {
        let mut table = self.shared.lock();
        let ticket = table.next_ticket;
        table.next_ticket += 1;
        table.versions.entry(version).or_default().insert(ticket, Entry { epoch, index: None });
        Ticket { shared: Arc::clone(&self.shared), version, ticket }
    }

    /// Waits until no intent of `version` that was decided before `epoch` is under way. Answers the indexes of those
    /// that still are at the deadline.
    pub async fn wait_for_older(&self, version: Uid, epoch: Epoch, deadline: Instant) -> Vec<u64> {
        loop {
            let left = self.shared.left.notified();
            tokio::pin!(left);
            // Registers for the next departure before the table is read, so that none is missed.
            left.as_mut().enable();
            let (count, open) = self.older(version, epoch);
            if count == 0 {
                return Vec::new();
            }
            if timeout_at(deadline, left).await.is_err() {
                return open;
            }
        }
    }

    fn older(&self, version: Uid, epoch: Epoch) -> (usize, Vec<u64>) {
        let table = self.shared.lock();
        let Some(entries) = table.versions.get(&version) else { return (0, Vec::new()) };
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
        if let Some(entry) = table.versions.get_mut(&self.version).and_then(|entries| entries.get_mut(&self.ticket)) {
            entry.index = Some(index);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        {
            let mut table = self.shared.lock();
            if let Some(entries) = table.versions.get_mut(&self.version) {
                entries.remove(&self.ticket);
                if entries.is_empty() {
                    table.versions.remove(&self.version);
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
