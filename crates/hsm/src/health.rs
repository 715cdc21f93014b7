//! The words for how a token is: its state, and the cause of it.

use crate::HsmErrorKind;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::SystemTime;

/// The state of a token. Which one follows which is in `token/state.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenState {
    /// Its first worker since the service started is on its way; calls wait for it.
    Starting,
    /// It does all that it is asked for.
    Up,
    /// It signs, and less well than it should: the cause says what is amiss.
    Degraded,
    /// A worker has held it, and the next one is on its way; calls wait for it, up to their deadlines.
    Recovering,
    /// No worker could take it. It is tried again and again; calls fail at once meanwhile.
    Down,
    /// It has refused its PIN. Nothing is tried until an operator clears the latch.
    Latched,
}

impl TokenState {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::Starting, Self::Up, Self::Degraded, Self::Recovering, Self::Down, Self::Latched];

    /// Whether it signs.
    #[must_use]
    pub const fn serves(self) -> bool {
        match self {
            Self::Up | Self::Degraded => true,
            Self::Starting | Self::Recovering | Self::Down | Self::Latched => false,
        }
    }

    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Recovering => "recovering",
            Self::Down => "down",
            Self::Latched => "latched",
        }
    }
}

impl fmt::Display for TokenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a token is not [`TokenState::Up`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HealthCause {
    /// Degraded: several calls have failed in it lately.
    CallsFail,
    /// Degraded: fewer lanes have a session than were asked for.
    FewerLanes,
    /// Degraded: its worker's memory or threads are near their bound, or above it and it was replaced a moment ago.
    WorkerNearLimit,
    /// Degraded: it makes no keys, not even for a session, although it lists mechanisms for it.
    KeysCannotBeMade,
    /// Recovering: the worker process ended.
    WorkerEnded,
    /// Recovering: the worker did not come back from a call into the module.
    WorkerHung,
    /// Recovering: the worker's memory or threads were above their bound.
    WorkerOverLimit,
    /// Recovering: an operator has cleared the PIN latch, and one login is tried.
    LatchCleared,
    /// It failed in a way that only a new worker can mend.
    TokenFailed,
    /// It is not there.
    TokenAbsent,
    /// In its place there is a token with its label and another serial number, which is not taken.
    OtherToken,
    /// Another process holds it.
    TokenInUse,
    /// Its PKCS#11 module cannot be loaded.
    ModuleNotLoadable,
    /// Its PKCS#11 module does not start, does not come back, or crashes at its start.
    ModuleFailed,
    /// It has no session left for us.
    NoSessions,
    /// It cannot be used as it is configured.
    Misconfigured,
    /// It has refused its PIN.
    PinRefused,
    /// The service is letting it go.
    Stopping,
}

impl HealthCause {
    /// Every cause.
    pub const ALL: [Self; 18] = [
        Self::CallsFail,
        Self::FewerLanes,
        Self::WorkerNearLimit,
        Self::KeysCannotBeMade,
        Self::WorkerEnded,
        Self::WorkerHung,
        Self::WorkerOverLimit,
        Self::LatchCleared,
        Self::TokenFailed,
        Self::TokenAbsent,
        Self::OtherToken,
        Self::TokenInUse,
        Self::ModuleNotLoadable,
        Self::ModuleFailed,
        Self::NoSessions,
        Self::Misconfigured,
        Self::PinRefused,
        Self::Stopping,
    ];

    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallsFail => "calls-fail",
            Self::FewerLanes => "fewer-lanes",
            Self::WorkerNearLimit => "worker-near-limit",
            Self::KeysCannotBeMade => "keys-cannot-be-made",
            Self::WorkerEnded => "worker-ended",
            Self::WorkerHung => "worker-hung",
            Self::WorkerOverLimit => "worker-over-limit",
            Self::LatchCleared => "latch-cleared",
            Self::TokenFailed => "token-failed",
            Self::TokenAbsent => "token-absent",
            Self::OtherToken => "other-token",
            Self::TokenInUse => "token-in-use",
            Self::ModuleNotLoadable => "module-not-loadable",
            Self::ModuleFailed => "module-failed",
            Self::NoSessions => "no-sessions",
            Self::Misconfigured => "misconfigured",
            Self::PinRefused => "pin-refused",
            Self::Stopping => "stopping",
        }
    }

    /// What a failure of this kind says of the token, where nothing closer is known.
    pub(crate) const fn of(kind: HsmErrorKind) -> Self {
        match kind {
            HsmErrorKind::TokenAbsent => Self::TokenAbsent,
            HsmErrorKind::Module | HsmErrorKind::Deadline | HsmErrorKind::WorkerLost => Self::ModuleFailed,
            HsmErrorKind::Capacity => Self::NoSessions,
            HsmErrorKind::Configuration => Self::Misconfigured,
            HsmErrorKind::PinLatched => Self::PinRefused,
            HsmErrorKind::Stopping => Self::Stopping,
            HsmErrorKind::Session
            | HsmErrorKind::LoginLost
            | HsmErrorKind::OutcomeUnknown
            | HsmErrorKind::Memory
            | HsmErrorKind::Overloaded
            | HsmErrorKind::Bug
            | HsmErrorKind::KeyNotFound
            | HsmErrorKind::KeyAmbiguous
            | HsmErrorKind::InputLength
            | HsmErrorKind::WrongSignature => Self::TokenFailed,
        }
    }

    /// Whether it is the configuration that is wrong, so that waiting helps nobody: with it a service does not start.
    pub(crate) const fn is_of_the_configuration(self) -> bool {
        matches!(self, Self::ModuleNotLoadable | Self::Misconfigured)
    }
}

impl fmt::Display for HealthCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHealth {
    /// Its state.
    pub state: TokenState,
    /// Why it is not up; `None` while it is, and while its first worker starts.
    pub cause: Option<HealthCause>,
    /// The cause in full, for the log only: it may hold return codes and paths.
    pub detail: String,
    /// Since when it has been in this state for this cause.
    pub since: SystemTime,
}

impl TokenHealth {
    /// As from now on.
    #[must_use]
    pub fn now(state: TokenState, cause: Option<HealthCause>, detail: impl Into<String>) -> Self {
        Self { state, cause, detail: detail.into(), since: SystemTime::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_state_and_each_cause_has_a_name_of_its_own() {
        let states = TokenState::ALL.map(TokenState::as_str);
        assert_eq!(states.into_iter().collect::<HashSet<_>>().len(), states.len());
        let causes = HealthCause::ALL.map(HealthCause::as_str);
        assert_eq!(causes.into_iter().collect::<HashSet<_>>().len(), causes.len());
    }
}
