//! Whether calls have failed in a token lately. Times are handed in: nothing here waits.

use crate::HsmErrorKind;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// So many attempts that failed within so much time are more than a session that died.
const MANY: usize = 3;
const LATELY: Duration = Duration::from_secs(10);

/// The last failures of a worker.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failed: VecDeque<Instant>,
}

impl Trouble {
    /// An attempt failed.
    pub(super) fn note(&mut self, kind: HsmErrorKind, now: Instant) {
        if !is_the_tokens(kind) {
            return;
        }
        if self.failed.len() == MANY {
            self.failed.pop_front();
        }
        self.failed.push_back(now);
    }

    /// Whether there were many of them lately.
    pub(super) fn is_lasting(&self, now: Instant) -> bool {
        self.failed.len() == MANY
            && self.failed.front().is_some_and(|first| now.saturating_duration_since(*first) < LATELY)
    }

    /// A new worker begins anew.
    pub(super) fn forget(&mut self) {
        self.failed.clear();
    }
}

/// Whether a failure says something of the token, and not of a call, a key or the load.
const fn is_the_tokens(kind: HsmErrorKind) -> bool {
    match kind {
        HsmErrorKind::Session
        | HsmErrorKind::LoginLost
        | HsmErrorKind::OutcomeUnknown
        | HsmErrorKind::TokenAbsent
        | HsmErrorKind::Module
        | HsmErrorKind::Memory
        | HsmErrorKind::WrongSignature
        | HsmErrorKind::Capacity
        | HsmErrorKind::Bug => true,
        // Of a deadline nobody knows whose fault it is; what ends a worker has a state of its own.
        HsmErrorKind::Deadline
        | HsmErrorKind::WorkerLost
        | HsmErrorKind::PinLatched
        | HsmErrorKind::Overloaded
        | HsmErrorKind::KeyNotFound
        | HsmErrorKind::KeyAmbiguous
        | HsmErrorKind::Configuration
        | HsmErrorKind::InputLength
        | HsmErrorKind::Stopping => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_failures_in_a_short_time_last_until_they_are_old() {
        let mut trouble = Trouble::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        for second in [0, 1] {
            trouble.note(HsmErrorKind::OutcomeUnknown, at(second));
        }
        trouble.note(HsmErrorKind::InputLength, at(1));
        trouble.note(HsmErrorKind::Deadline, at(1));
        assert!(!trouble.is_lasting(at(1)), "two, and what is not the token's");
        trouble.note(HsmErrorKind::Session, at(2));
        assert!(trouble.is_lasting(at(2)) && trouble.is_lasting(at(9)));
        assert!(!trouble.is_lasting(at(10)));
        trouble.note(HsmErrorKind::Session, at(10));
        assert!(trouble.is_lasting(at(10)), "of four, the last three");
        trouble.forget();
        assert!(!trouble.is_lasting(at(10)));
    }

    #[test]
    fn failures_far_apart_are_no_trouble() {
        let mut trouble = Trouble::default();
        let begin = Instant::now();
        for number in 0..20 {
            let now = begin + Duration::from_secs(6 * number);
            trouble.note(HsmErrorKind::Session, now);
            assert!(!trouble.is_lasting(now));
        }
    }
}
