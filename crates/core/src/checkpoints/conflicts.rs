//! A witness that has seen another history is put on the record: whoever reads the log later finds when it was known, and what
//! was said.
//!
//! It is recorded once, and not each time that the witness is asked. A witness that cosigns in between and contradicts itself
//! again is recorded again, but not before [`AGAIN`]: no witness fills the record.

use std::time::Duration;

use chancery_audit::checkpoint::Checkpoint;
use tokio::time::Instant;

use super::standing::WitnessTrouble;
use crate::{Chancery, Error, details};

/// How long the same is not recorded again.
const AGAIN: Duration = Duration::from_secs(3_600);

/// What of a witness's conflicts is on the record, and what is to be.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    ahead: Option<Noted>,
    forks: Option<Noted>,
    due: Option<Conflict>,
}

/// A conflict that is on the record.
#[derive(Debug)]
struct Noted {
    at: Instant,
    /// Whether the witness has cosigned since.
    over: bool,
}

/// What a witness says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conflict {
    trouble: WitnessTrouble,
    /// How many records it has cosigned, as far as it said so.
    seen: Option<u64>,
}

impl Conflicts {
    /// The witness was asked.
    pub fn asked(&mut self, trouble: Option<WitnessTrouble>, seen: Option<u64>, now: Instant) {
        match trouble {
            None => [&mut self.ahead, &mut self.forks].into_iter().flatten().for_each(|noted| noted.over = true),
            Some(trouble) => {
                let again = |noted: &Noted| noted.over && now.duration_since(noted.at) >= AGAIN;
                if self.place(trouble).is_some_and(|noted| noted.as_ref().is_none_or(again)) {
                    self.due = Some(Conflict { trouble, seen });
                }
            }
        }
    }

    /// What is not on the record yet.
    pub const fn due(&self) -> Option<Conflict> {
        self.due
    }

    /// It is now.
    pub fn recorded(&mut self, now: Instant) {
        if let Some(Conflict { trouble, .. }) = self.due.take()
            && let Some(noted) = self.place(trouble)
        {
            *noted = Some(Noted { at: now, over: false });
        }
    }

    fn place(&mut self, trouble: WitnessTrouble) -> Option<&mut Option<Noted>> {
        match trouble {
            WitnessTrouble::Ahead { .. } => Some(&mut self.ahead),
            WitnessTrouble::Forks => Some(&mut self.forks),
            WitnessTrouble::Silent | WitnessTrouble::Unknown | WitnessTrouble::Other => None,
        }
    }
}

impl Chancery {
    /// Records what a witness said that was asked to cosign this checkpoint.
    pub(super) async fn record_conflict(
        &self,
        witness: &str,
        conflict: Conflict,
        checkpoint: &Checkpoint,
    ) -> Result<(), Error> {
        let Conflict { trouble, seen } = conflict;
        let seen = if let WitnessTrouble::Ahead { seen } = trouble { Some(seen) } else { seen };
        let forks = trouble == WitnessTrouble::Forks;
        self.note(&details::witness_conflict(witness, forks, seen, checkpoint)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_conflict_is_recorded_once_until_the_witness_has_cosigned_and_an_hour_has_passed() {
        let (ahead, forks) = (|seen| Some(WitnessTrouble::Ahead { seen }), Some(WitnessTrouble::Forks));
        let mut conflicts = Conflicts::default();
        let mut due = |trouble, after: u64| {
            conflicts.asked(trouble, Some(9), Instant::now() + Duration::from_secs(after));
            let due = conflicts.due();
            conflicts.recorded(Instant::now() + Duration::from_secs(after));
            due.map(|conflict| conflict.trouble)
        };
        assert_eq!(due(Some(WitnessTrouble::Silent), 0), None);
        assert_eq!(due(ahead(9), 1), ahead(9));
        assert_eq!(due(ahead(10), 2), None, "the same witness goes on with its other log");
        assert_eq!(due(forks, 3), forks, "that is something else");
        assert_eq!(due(ahead(9), 9_000), None, "it has been like this all the time");
        assert_eq!((due(None, 9_001), due(ahead(9), 9_002)), (None, ahead(9)));
        assert_eq!((due(None, 9_003), due(ahead(9), 9_004)), (None, None), "to and fro");
        assert_eq!(due(ahead(9), 12_602), ahead(9));
    }

    #[test]
    fn what_could_not_be_recorded_stays_due() {
        let mut conflicts = Conflicts::default();
        conflicts.asked(Some(WitnessTrouble::Forks), Some(4), Instant::now());
        conflicts.asked(None, Some(5), Instant::now());
        assert_eq!(conflicts.due(), Some(Conflict { trouble: WitnessTrouble::Forks, seen: Some(4) }));
    }
}
