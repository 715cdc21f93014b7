//! What can be told of the writing itself, for whoever measures it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A group is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupWritten {
    /// Intents in it.
    pub intents: usize,
    /// Leaves in it, intents included.
    pub records: usize,
    /// From the beginning of its transaction until the disk had it.
    pub took: Duration,
}

/// Is told of every group that has records, on the writing thread, once those who wait for it have their answers. Must be quick.
#[derive(Clone)]
pub struct GroupObserver(Arc<dyn Fn(GroupWritten) + Send + Sync>);

impl GroupObserver {
    /// Calls `tell` for every group.
    #[must_use]
    pub fn new(tell: impl Fn(GroupWritten) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, written: GroupWritten) {
        (self.0)(written);
    }
}

impl fmt::Debug for GroupObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupObserver")
    }
}
