//! What keys there are, for whoever watches over them from inside the service. Not for callers: nobody is asked whether
//! he may see it.

use chancery_model::{KeyName, Timestamp};

use crate::Chancery;

impl Chancery {
    /// Every key that has a primary version, with the time at which a token had made that version, in no order.
    #[must_use]
    pub fn primary_versions(&self) -> Vec<(KeyName, Timestamp)> {
        let snapshot = self.snapshot();
        let primaries = snapshot.keys.values().filter_map(|key| key.primary());
        primaries.map(|version| (version.name.key.clone(), version.generated.unwrap_or(version.created))).collect()
    }
}
