//! The life cycle of key versions (NIST SP 800-57 part 1, section 7): which operation leads from which state to which.
//!
//! One table, and the only one: what it refuses is possible nowhere. docs/key-life-cycle.md shows it.

use crate::{KeyState, Timestamp};

/// What is done to a version that exists. How a version comes to be is not here: PENDING_GENERATION ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// It comes into use.
    Activate,
    /// It stops signing for the time being.
    Suspend,
    /// It signs again.
    Resume,
    /// It stops signing for good; what it signed stays good.
    Deactivate,
    /// Somebody else may sign with it: what it signed is in doubt.
    Compromise,
    /// It is to be destroyed, at a time that lets people change their mind.
    ScheduleDestruction,
    /// They have.
    CancelDestruction,
    /// It is gone from the token.
    Destroy,
}

/// Where a transition leads from a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// To this state.
    To(KeyState),
    /// To the state that the version had before its destruction was scheduled.
    Back,
    /// The state stays, and the version is marked as compromised: its destruction takes its course all the same.
    Mark,
    /// Things are as wanted already.
    Nothing,
    /// It is not possible.
    Refused,
}

impl Transition {
    /// Every transition.
    pub const ALL: [Self; 8] = [
        Self::Activate,
        Self::Suspend,
        Self::Resume,
        Self::Deactivate,
        Self::Compromise,
        Self::ScheduleDestruction,
        Self::CancelDestruction,
        Self::Destroy,
    ];
}

impl KeyState {
    /// Where a transition leads from this state.
    #[must_use]
    pub const fn step(self, transition: Transition) -> Step {
        match transition {
            Transition::Activate => match self {
                Self::PreActive => Step::To(Self::Active),
                Self::Active => Step::Nothing,
                Self::PendingGeneration
                | Self::Suspended
                | Self::Deactivated
                | Self::Compromised
                | Self::DestroyScheduled
                | Self::Destroyed => Step::Refused,
            },
            Transition::Suspend => match self {
                Self::Active => Step::To(Self::Suspended),
                Self::Suspended => Step::Nothing,
                Self::PendingGeneration
                | Self::PreActive
                | Self::Deactivated
                | Self::Compromised
                | Self::DestroyScheduled
                | Self::Destroyed => Step::Refused,
            },
            Transition::Resume => match self {
                Self::Suspended => Step::To(Self::Active),
                Self::Active => Step::Nothing,
                Self::PendingGeneration
                | Self::PreActive
                | Self::Deactivated
                | Self::Compromised
                | Self::DestroyScheduled
                | Self::Destroyed => Step::Refused,
            },
            Transition::Deactivate => match self {
                Self::Active | Self::Suspended => Step::To(Self::Deactivated),
                Self::Deactivated => Step::Nothing,
                Self::PendingGeneration
                | Self::PreActive
                | Self::Compromised
                | Self::DestroyScheduled
                | Self::Destroyed => Step::Refused,
            },
            Transition::Compromise => match self {
                Self::PreActive | Self::Active | Self::Suspended | Self::Deactivated => Step::To(Self::Compromised),
                Self::Compromised => Step::Nothing,
                // That a key was in other hands may be found out late.
                Self::DestroyScheduled | Self::Destroyed => Step::Mark,
                Self::PendingGeneration => Step::Refused,
            },
            Transition::ScheduleDestruction => match self {
                Self::PreActive | Self::Active | Self::Suspended | Self::Deactivated | Self::Compromised => {
                    Step::To(Self::DestroyScheduled)
                }
                // A second time would be another time.
                Self::PendingGeneration | Self::DestroyScheduled | Self::Destroyed => Step::Refused,
            },
            Transition::CancelDestruction => match self {
                Self::DestroyScheduled => Step::Back,
                Self::PendingGeneration
                | Self::PreActive
                | Self::Active
                | Self::Suspended
                | Self::Deactivated
                | Self::Compromised
                | Self::Destroyed => Step::Refused,
            },
            Transition::Destroy => match self {
                Self::DestroyScheduled => Step::To(Self::Destroyed),
                Self::Destroyed => Step::Nothing,
                Self::PendingGeneration
                | Self::PreActive
                | Self::Active
                | Self::Suspended
                | Self::Deactivated
                | Self::Compromised => Step::Refused,
            },
        }
    }
}

/// What a version's life is made of beside its state: times, and what it comes from and goes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionLife {
    /// When the version becomes ACTIVE, where that is not when it is generated: of a PRE_ACTIVE version the time that is
    /// planned (none: when somebody rotates the key), of others the time when it did.
    pub activation: Option<Timestamp>,
    /// When it was marked as compromised. Stays when it is destroyed.
    pub compromised: Option<Timestamp>,
    /// When it is to be destroyed, or was to be.
    pub destroy_at: Option<Timestamp>,
    /// The state before its destruction was scheduled. None again once its token is being asked to destroy it: from then on
    /// there is no way back.
    pub before_destruction: Option<KeyState>,
    /// Its certificate (X.509, DER), followed by each one's issuer; empty where none was set.
    pub certificates: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use KeyState::{
        Active, Compromised, Deactivated, DestroyScheduled, Destroyed, PendingGeneration, PreActive, Suspended,
    };
    use Step::{Back, Mark, Nothing, Refused, To};

    /// The table of docs/key-life-cycle.md: a row for each state, in the order of [`Transition::ALL`].
    const TABLE: [(KeyState, [Step; 8]); 8] = [
        (PendingGeneration, [Refused, Refused, Refused, Refused, Refused, Refused, Refused, Refused]),
        (PreActive, [To(Active), Refused, Refused, Refused, To(Compromised), To(DestroyScheduled), Refused, Refused]),
        (
            Active,
            [Nothing, To(Suspended), Nothing, To(Deactivated), To(Compromised), To(DestroyScheduled), Refused, Refused],
        ),
        (
            Suspended,
            [Refused, Nothing, To(Active), To(Deactivated), To(Compromised), To(DestroyScheduled), Refused, Refused],
        ),
        (Deactivated, [Refused, Refused, Refused, Nothing, To(Compromised), To(DestroyScheduled), Refused, Refused]),
        (Compromised, [Refused, Refused, Refused, Refused, Nothing, To(DestroyScheduled), Refused, Refused]),
        (DestroyScheduled, [Refused, Refused, Refused, Refused, Mark, Refused, Back, To(Destroyed)]),
        (Destroyed, [Refused, Refused, Refused, Refused, Mark, Refused, Refused, Nothing]),
    ];

    #[test]
    fn each_state_and_each_transition() {
        assert_eq!(TABLE.map(|(state, _)| state), KeyState::ALL);
        for (state, steps) in TABLE {
            assert_eq!(Transition::ALL.map(|transition| state.step(transition)), steps, "{state}");
        }
    }

    #[test]
    fn what_has_stopped_signing_for_good_never_signs_again() {
        let ended = [Deactivated, Compromised, Destroyed];
        for state in ended {
            for transition in Transition::ALL {
                let step = state.step(transition);
                assert!(!matches!(step, To(next) if next.may_sign()), "{state} {transition:?} {step:?}");
            }
        }
        assert!(
            KeyState::ALL.into_iter().all(|state| state == Destroyed || state.step(Transition::Destroy) != Nothing)
        );
    }
}
