//! How far the log is signed, and what keeps it from being signed further.

use std::fmt;
use std::sync::Arc;

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_model::Timestamp;

use super::Checkpoints;
use crate::{Chancery, Error};

/// The newest checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestCheckpoint {
    /// The checkpoint with its signatures, as it is kept.
    pub checkpoint: SignedCheckpoint,
    /// When it was signed.
    pub signed: Timestamp,
}

impl NewestCheckpoint {
    /// How many leaves it covers.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.checkpoint.unverified().size()
    }

    /// The log's name in it.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.checkpoint.unverified().origin()
    }
}

/// How far the log is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointStanding {
    /// The newest checkpoint; `None` before the first.
    pub newest: Option<Arc<NewestCheckpoint>>,
    /// Why there is no newer one; `None` where nothing is in the way.
    pub trouble: Option<CheckpointTrouble>,
    /// How often it could not be signed since the start: by this, who waits knows that a try has failed.
    pub failures: u64,
}

/// Why the log is not signed. Signatures of callers are made all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointTrouble {
    /// The token makes no Ed25519 keys.
    NoEd25519,
    /// The token does not sign.
    Token,
    /// The log has a gap.
    Gap,
    /// The service's log says what.
    Other,
}

impl fmt::Display for CheckpointTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoEd25519 => {
                "the token of the system ring makes no Ed25519 keys, with which the log is signed; name another token in \
                 [system_ring] before it is used, or do without checkpoints"
            }
            Self::Token => "the token of the system ring does not sign; it is asked again until it does",
            Self::Gap => "a leaf of the log is missing; see `chancery state check`, and restore a backup",
            Self::Other => "the log of the service says why",
        })
    }
}

impl From<&Error> for CheckpointTrouble {
    fn from(error: &Error) -> Self {
        match error {
            Error::AlgorithmNotOffered(_) => Self::NoEd25519,
            Error::Device { .. } => Self::Token,
            Error::LogGap => Self::Gap,
            _ => Self::Other,
        }
    }
}

impl Checkpoints {
    pub(super) fn succeeded(&self) {
        let cleared = self.standing.send_if_modified(|standing| standing.trouble.take().is_some());
        if cleared {
            tracing::info!("the log is signed again");
        }
    }

    pub(super) fn failed(&self, error: &Error) {
        // The service stops, or says of the record itself what is amiss.
        if matches!(error, Error::RecordClosed { .. }) {
            return;
        }
        let trouble = Some(CheckpointTrouble::from(error));
        let mut new = false;
        self.standing.send_modify(|standing| {
            new = std::mem::replace(&mut standing.trouble, trouble) != trouble;
            standing.failures += 1;
        });
        if new {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "the log is not signed for now; signing goes on");
        }
    }
}

impl Chancery {
    /// How far the log is signed; `None` where it is not, because no system ring is configured.
    #[must_use]
    pub fn checkpoints(&self) -> Option<CheckpointStanding> {
        self.inner.checkpoints.as_ref().map(|checkpoints| checkpoints.standing().borrow().clone())
    }

    /// How many records there are.
    #[must_use]
    pub fn records(&self) -> u64 {
        *self.inner.log.next_index().borrow()
    }
}
