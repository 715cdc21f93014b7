//! How far the log is signed, and what keeps it from being signed further.

use std::fmt;
use std::sync::Arc;

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::note::KeyName;
use chancery_audit::{ProveError, TreeHead};
use chancery_model::Timestamp;

use super::Checkpoints;
use crate::{Chancery, Error};

/// A checkpoint, the newest of its kind.
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

    /// The tree that it was signed over.
    #[must_use]
    pub const fn tree(&self) -> TreeHead {
        let checkpoint = self.checkpoint.unverified();
        TreeHead { size: checkpoint.size(), root: *checkpoint.root() }
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
    /// The newest that ever counted, with its cosignatures: what is shown to others, and what receipts are made of. The newest,
    /// where no witnesses are required.
    pub counted: Option<Arc<NewestCheckpoint>>,
    /// Whether that one counted by earlier settings, and would not by the present ones.
    pub counted_before: bool,
    /// Why there is no newer one; `None` where nothing is in the way.
    pub trouble: Option<CheckpointTrouble>,
    /// How often it could not be signed since the start: by this, who waits knows that a try has failed.
    pub failures: u64,
    /// The witnesses, in the order of the settings.
    pub witnesses: Vec<WitnessStanding>,
    /// How many of them have to cosign a checkpoint before it counts.
    pub required: usize,
    /// What is kept of the log was seen not to be what was signed, since the start.
    pub damaged: bool,
}

/// How a witness is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessStanding {
    /// Its key's name.
    pub name: KeyName,
    /// Why it does not cosign; `None` where it does, or was not asked yet.
    pub trouble: Option<WitnessTrouble>,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WitnessTrouble {
    /// It does not answer, or not in time.
    Silent,
    /// It does not know the log.
    Unknown,
    /// What it answers is of no use.
    Other,
    /// It has cosigned more than there is.
    Ahead {
        /// How many records.
        seen: u64,
    },
    /// It has cosigned something else.
    Forks,
}

impl WitnessTrouble {
    /// The states of a witness, by the names that metrics use. The first is that of one without trouble.
    pub const STATES: [&str; 4] = ["cosigns", "silent", "refuses", "conflict"];

    /// The state of a witness with this trouble, or none.
    #[must_use]
    pub const fn state(trouble: Option<Self>) -> &'static str {
        let [cosigns, silent, refuses, conflict] = Self::STATES;
        match trouble {
            None => cosigns,
            Some(Self::Silent) => silent,
            Some(Self::Unknown | Self::Other) => refuses,
            Some(Self::Ahead { .. } | Self::Forks) => conflict,
        }
    }

    /// Whether the witness says that there is, or was, another log than this one.
    #[must_use]
    pub const fn is_conflict(self) -> bool {
        matches!(self, Self::Ahead { .. } | Self::Forks)
    }
}

impl fmt::Display for WitnessTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "it does not answer, or not in time; it is asked again",
            Self::Unknown => "it does not know this log, or not by this key; give it the log's verifier key",
            Self::Other => "what it answers is no cosignature; the log says what",
            Self::Ahead { seen } => {
                return write!(
                    f,
                    "it has cosigned {seen} records of this log, and there are not as many: this database is of an earlier \
                     time, or another service signs with the log's key; see docs/operations.md"
                );
            }
            Self::Forks => {
                "it has cosigned another log by this name and key, which this one does not continue: this database is of an \
                 earlier time or was edited, or another service signs with the log's key; see docs/operations.md"
            }
        })
    }
}

impl CheckpointStanding {
    /// This checkpoint counts by the present settings, unless a newer one is shown, or the same with more cosignatures.
    pub(super) fn count(&mut self, checkpoint: &NewestCheckpoint) {
        let newer = |counted: &Arc<NewestCheckpoint>| {
            counted.origin() != checkpoint.origin()
                || counted.size() < checkpoint.size()
                || counted.size() == checkpoint.size()
                    && (self.counted_before || signatures(counted) < signatures(checkpoint))
        };
        if self.counted.as_ref().is_none_or(newer) {
            self.counted = Some(Arc::new(checkpoint.clone()));
            self.counted_before = false;
        }
    }

    /// This checkpoint counted by earlier settings, and was shown: it is still, unless what counts now is as large.
    pub(super) fn show_still(&mut self, shown: Arc<NewestCheckpoint>) {
        if self.counted.as_ref().is_none_or(|counted| counted.size() < shown.size()) {
            self.counted = Some(shown);
            self.counted_before = true;
        }
    }

    /// Whether this very checkpoint counts, with as many signatures or more.
    pub(super) fn counts_with_as_many(&self, checkpoint: &NewestCheckpoint) -> bool {
        let same = |counted: &Arc<NewestCheckpoint>| {
            counted.checkpoint.note().text() == checkpoint.checkpoint.note().text()
                && signatures(counted) >= signatures(checkpoint)
        };
        !self.counted_before && self.counted.as_ref().is_some_and(same)
    }

    /// Whether so few witnesses cosign that no new checkpoint counts.
    #[must_use]
    pub fn too_few_cosign(&self) -> bool {
        self.witnesses.iter().filter(|witness| witness.trouble.is_none()).count() < self.required
    }
}

fn signatures(checkpoint: &NewestCheckpoint) -> usize {
    checkpoint.checkpoint.note().signatures().len()
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
    /// Nothing is handed out of the log in answer to a call. That it is damaged is said loudly, and once.
    pub(crate) fn not_proved(&self, error: ProveError) -> Error {
        let what = match error {
            ProveError::Damaged { what } => what,
            ProveError::Store(error) => return error.into(),
            missing @ ProveError::NotThere(_) => return Error::internal(format!("of the log: {missing}")),
        };
        let standing = self.inner.checkpoints.as_ref().map(Checkpoints::standing);
        let first = standing.is_none_or(|standing| {
            standing.send_if_modified(|standing| !std::mem::replace(&mut standing.damaged, true))
        });
        if first {
            tracing::error!(
                what,
                "what the database keeps of the log is not what was signed, and is not handed out: the disk is damaged, or \
                 somebody edited the database; see docs/operations.md"
            );
        }
        Error::LogDamaged { what }
    }
}

impl Checkpoints {
    /// A witness was asked. What has changed is said, and loudest that it has seen another log.
    pub(super) fn witness_is(
        &self,
        name: &KeyName,
        trouble: Option<WitnessTrouble>,
        error: Option<&(dyn std::error::Error + 'static)>,
    ) {
        let mut before = None;
        let new = self.standing.send_if_modified(|standing| {
            let Some(witness) = standing.witnesses.iter_mut().find(|witness| witness.name == *name) else {
                return false;
            };
            before = std::mem::replace(&mut witness.trouble, trouble);
            before != trouble
        });
        let witness = name.as_str();
        match trouble {
            _ if !new => {}
            None if before.is_some_and(WitnessTrouble::is_conflict) => {
                tracing::error!(
                    witness,
                    "the witness that had seen another log cosigns this one: it has forgotten what it saw"
                );
            }
            None => tracing::info!(witness, "the witness cosigns again"),
            Some(trouble) if trouble.is_conflict() => {
                tracing::error!(
                    witness,
                    error,
                    "a witness has seen another history of this log: {trouble}. Signing goes on; what it is asked to cosign \
                     does not count with it"
                );
            }
            Some(trouble) => tracing::warn!(witness, error, "a witness does not cosign: {trouble}"),
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

#[cfg(test)]
mod tests {
    use chancery_audit::checkpoint::Checkpoint;

    use super::*;

    /// A checkpoint with so many signature lines; whose they are is the policy's question.
    fn checkpoint(origin: &str, size: u64, signatures: usize) -> NewestCheckpoint {
        let text = Checkpoint::new(&KeyName::parse(origin).unwrap(), size, [7; 32]).to_string();
        let line = |number| format!("\u{2014} w{number} AAAAAAAA\n");
        let note = format!("{text}\n{}", (0..signatures).map(line).collect::<String>());
        let checkpoint = SignedCheckpoint::parse(note.as_bytes()).unwrap();
        NewestCheckpoint { checkpoint, signed: Timestamp::from_unix_micros(1) }
    }

    fn shown(standing: &CheckpointStanding) -> (u64, usize) {
        let counted = standing.counted.as_ref().unwrap();
        (counted.size(), signatures(counted))
    }

    #[test]
    fn what_is_shown_becomes_larger_and_never_smaller() {
        let mut standing = CheckpointStanding::default();
        for (size, signatures, expected) in
            [(5, 2, (5, 2)), (4, 9, (5, 2)), (5, 1, (5, 2)), (5, 3, (5, 3)), (6, 1, (6, 1)), (5, 9, (6, 1))]
        {
            standing.count(&checkpoint("log", size, signatures));
            assert_eq!(shown(&standing), expected);
        }
        assert!(standing.counts_with_as_many(&checkpoint("log", 6, 1)));
        assert!(!standing.counts_with_as_many(&checkpoint("log", 6, 2)));
        assert!(!standing.counts_with_as_many(&checkpoint("log", 7, 1)));
        standing.count(&checkpoint("other", 1, 1));
        assert_eq!(shown(&standing), (1, 1), "that is another log");
    }

    #[test]
    fn what_counted_by_earlier_settings_is_shown_until_as_much_counts_by_the_present_ones() {
        let mut standing = CheckpointStanding::default();
        standing.count(&checkpoint("log", 5, 3));
        standing.show_still(Arc::new(checkpoint("log", 4, 2)));
        assert_eq!((shown(&standing), standing.counted_before), ((5, 3), false));
        standing.show_still(Arc::new(checkpoint("log", 9, 4)));
        assert_eq!((shown(&standing), standing.counted_before), ((9, 4), true));
        assert!(!standing.counts_with_as_many(&checkpoint("log", 9, 2)), "it is to be kept");
        standing.count(&checkpoint("log", 8, 9));
        assert_eq!((shown(&standing), standing.counted_before), ((9, 4), true));
        standing.count(&checkpoint("log", 9, 2));
        assert_eq!((shown(&standing), standing.counted_before), ((9, 2), false));
    }
}
