//! What the use cases tell of themselves as it happens, for whoever measures it. They know of no metrics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chancery_audit::DenialReason;
use chancery_hsm::{HsmErrorKind, SignTimes};
use chancery_model::{Action, Id, KeyName};

use crate::sign::Ended;
use crate::{Chancery, Due};

/// Something that has happened.
#[derive(Debug, Clone, Copy)]
pub enum Observation<'a> {
    /// Whether a caller may do something was decided.
    Decided {
        /// What he asked for.
        action: Action,
        /// The key ring, where it is about one that exists.
        ring: Option<&'a Id>,
        /// The key, where it is about one that exists.
        key: Option<&'a KeyName>,
        /// Why he may not; `None`: he may.
        refused: Option<DenialReason>,
        /// How long policy took; zero where it was not asked, because there is no such resource.
        took: Duration,
    },
    /// Intents are on the record.
    Recorded {
        /// How long the call waited for it.
        took: Duration,
    },
    /// What a key's rule asks for was done, or was not.
    ByRule {
        /// What.
        due: Due,
        /// Whether it could not be done.
        failed: bool,
    },
    /// It was looked for details that are old enough to be erased.
    Retention {
        /// Whether something that is to be erased was not.
        failed: bool,
    },
    /// It was looked for leaves that are old enough to be archived.
    Archive {
        /// Whether something that is to be archived was not.
        failed: bool,
    },
    /// A token has made a signature, or has not.
    Asked {
        /// The token.
        token: &'a Id,
        /// Where the time went, or what went wrong.
        end: Result<SignTimes, HsmErrorKind>,
    },
}

/// Is told of everything that happens, on the task to which it happens. Must be quick.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Observation<'_>) + Send + Sync>);

impl Observer {
    /// Calls `tell` for everything.
    #[must_use]
    pub fn new(tell: impl Fn(Observation<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl Chancery {
    pub(crate) fn observe(&self, observation: Observation<'_>) {
        (self.inner.observer.0)(observation);
    }

    /// How the items of a call ended in their tokens.
    pub(crate) fn observe_ends(&self, ends: &[Ended]) {
        for Ended { version, end, .. } in ends {
            if let Some(ring) = self.inner.rings.get(&version.key.ring) {
                let end = end.as_ref().map(|signature| signature.times).map_err(|failure| failure.kind);
                self.observe(Observation::Asked { token: &ring.token, end });
            }
        }
    }
}
