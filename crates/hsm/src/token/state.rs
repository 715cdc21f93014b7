//! Which state of a token follows which: a pure function, so that it can be looked at and tested as one.
//!
//! ```text
//!               serves                    serves, and something is amiss
//!  STARTING -------------> UP <=======================================> DEGRADED
//!     |                     |                                              |
//!     |                     +----- its worker goes ----> RECOVERING <------+
//!     |                                                   |   ^    |
//!     +--- no worker could take it ---> DOWN <------------+   |    +---> UP, DEGRADED
//!     |                                  |                    |
//!     |                                  +---> UP, DEGRADED   | an operator clears the latch
//!     +--- it refused its PIN ---------> LATCHED -------------+
//! ```
//!
//! A token that is down stays so while the next worker tries: its callers are told at once, and need not wait for it.

use crate::{HealthCause, TokenState};

/// A state and its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: TokenState,
    pub(super) cause: Option<HealthCause>,
}

impl Standing {
    pub(super) const FIRST: Self = Self { state: TokenState::Starting, cause: None };

    const fn because(state: TokenState, cause: HealthCause) -> Self {
        Self { state, cause: Some(cause) }
    }
}

/// What is amiss with a token that serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each of them is or is not, whatever the others are")]
pub(super) struct Conditions {
    pub(super) calls_fail: bool,
    pub(super) fewer_lanes: bool,
    pub(super) worker_near_limit: bool,
    pub(super) keys_cannot_be_made: bool,
}

impl Conditions {
    /// The gravest of them.
    const fn gravest(self) -> Option<HealthCause> {
        match self {
            Self { calls_fail: true, .. } => Some(HealthCause::CallsFail),
            Self { fewer_lanes: true, .. } => Some(HealthCause::FewerLanes),
            Self { worker_near_limit: true, .. } => Some(HealthCause::WorkerNearLimit),
            Self { keys_cannot_be_made: true, .. } => Some(HealthCause::KeysCannotBeMade),
            Self { calls_fail: false, fewer_lanes: false, worker_near_limit: false, keys_cannot_be_made: false } => {
                None
            }
        }
    }
}

/// What happens to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    /// A worker holds it, and this is amiss.
    Serves(Conditions),
    /// Its worker is gone or has to go, and another is started.
    Goes(HealthCause),
    /// A worker could not take it.
    NotTaken(HealthCause),
    /// An operator lets one login be tried.
    LatchCleared,
    /// The service lets it go.
    LetGo,
}

/// What comes after `now`. The same as `now` where nothing changes.
pub(super) const fn after(now: Standing, happening: Happening) -> Standing {
    match (now.state, happening) {
        // Nothing comes after the end.
        (TokenState::Down, _) if matches!(now.cause, Some(HealthCause::Stopping)) => now,
        // Only a person helps.
        (TokenState::Latched, Happening::LatchCleared) => {
            Standing::because(TokenState::Recovering, HealthCause::LatchCleared)
        }
        (TokenState::Latched, _) => now,
        (_, Happening::LatchCleared) => now,
        (_, Happening::LetGo) => Standing::because(TokenState::Down, HealthCause::Stopping),
        (_, Happening::Serves(conditions)) => match conditions.gravest() {
            None => Standing { state: TokenState::Up, cause: None },
            Some(cause) => Standing::because(TokenState::Degraded, cause),
        },
        (_, Happening::NotTaken(HealthCause::PinRefused)) => {
            Standing::because(TokenState::Latched, HealthCause::PinRefused)
        }
        (_, Happening::NotTaken(cause)) => Standing::because(TokenState::Down, cause),
        // What was never up has nothing to recover from, and what is down is not better for another worker that went.
        (TokenState::Starting | TokenState::Down, Happening::Goes(_)) => now,
        (TokenState::Up | TokenState::Degraded | TokenState::Recovering, Happening::Goes(cause)) => {
            Standing::because(TokenState::Recovering, cause)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TokenState::{Degraded, Down, Latched, Recovering, Starting, Up};

    const WELL: Conditions =
        Conditions { calls_fail: false, fewer_lanes: false, worker_near_limit: false, keys_cannot_be_made: false };

    fn happenings() -> Vec<Happening> {
        let amiss = [
            Conditions { calls_fail: true, ..WELL },
            Conditions { fewer_lanes: true, ..WELL },
            Conditions { worker_near_limit: true, ..WELL },
            Conditions { keys_cannot_be_made: true, ..WELL },
        ];
        let causes = HealthCause::ALL.into_iter();
        [WELL]
            .into_iter()
            .chain(amiss)
            .map(Happening::Serves)
            .chain(causes.clone().map(Happening::Goes))
            .chain(causes.map(Happening::NotTaken))
            .chain([Happening::LatchCleared, Happening::LetGo])
            .collect()
    }

    fn standings() -> Vec<Standing> {
        let mut found = vec![Standing::FIRST];
        let mut next = 0;
        while let Some(now) = found.get(next).copied() {
            for happening in happenings() {
                let then = after(now, happening);
                if !found.contains(&then) {
                    found.push(then);
                }
            }
            next += 1;
        }
        found
    }

    fn run(happenings: &[Happening]) -> Vec<TokenState> {
        let mut now = Standing::FIRST;
        happenings
            .iter()
            .map(|happening| {
                now = after(now, *happening);
                now.state
            })
            .collect()
    }

    #[test]
    fn every_state_is_reached_and_has_a_cause_where_it_needs_one() {
        let standings = standings();
        for state in TokenState::ALL {
            assert!(standings.iter().any(|standing| standing.state == state), "{state}");
        }
        for Standing { state, cause } in standings {
            assert_eq!(cause.is_none(), matches!(state, Starting | Up), "{state} because of {cause:?}");
        }
    }

    #[test]
    fn a_latch_opens_for_an_operator_and_nothing_else() {
        let latched = Standing::because(Latched, HealthCause::PinRefused);
        for happening in happenings() {
            let expected = if happening == Happening::LatchCleared { Recovering } else { Latched };
            assert_eq!(after(latched, happening).state, expected, "{happening:?}");
        }
        // And a login that is refused again closes it again.
        let again = [Happening::LatchCleared, Happening::NotTaken(HealthCause::PinRefused)];
        assert_eq!(again.into_iter().fold(latched, after), latched);
    }

    #[test]
    fn a_token_that_is_let_go_stays_so() {
        let gone = after(Standing::FIRST, Happening::LetGo);
        assert_eq!(gone, Standing::because(Down, HealthCause::Stopping));
        for happening in happenings() {
            assert_eq!(after(gone, happening), gone, "{happening:?}");
        }
    }

    #[test]
    fn the_life_of_a_token() {
        let fewer = Conditions { fewer_lanes: true, ..WELL };
        let states = run(&[
            Happening::NotTaken(HealthCause::TokenAbsent),
            Happening::Goes(HealthCause::WorkerEnded),
            Happening::NotTaken(HealthCause::OtherToken),
            Happening::Serves(WELL),
            Happening::Serves(fewer),
            Happening::Goes(HealthCause::WorkerHung),
            Happening::Goes(HealthCause::WorkerEnded),
            Happening::Serves(WELL),
        ]);
        assert_eq!(states, [Down, Down, Down, Up, Degraded, Recovering, Recovering, Up]);
    }

    #[test]
    fn the_gravest_condition_is_shown() {
        let all =
            Conditions { calls_fail: true, fewer_lanes: true, worker_near_limit: true, keys_cannot_be_made: true };
        let shown = |conditions| after(Standing::FIRST, Happening::Serves(conditions)).cause;
        assert_eq!(shown(all), Some(HealthCause::CallsFail));
        assert_eq!(shown(Conditions { calls_fail: false, ..all }), Some(HealthCause::FewerLanes));
        let last_two = Conditions { calls_fail: false, fewer_lanes: false, ..all };
        assert_eq!(shown(last_two), Some(HealthCause::WorkerNearLimit));
        assert_eq!(shown(Conditions { worker_near_limit: false, ..last_two }), Some(HealthCause::KeysCannotBeMade));
    }
}
