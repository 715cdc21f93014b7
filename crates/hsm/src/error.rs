//! How calls to a token end when they do not end well.

use crate::HealthCause;
use chancery_model::{Algorithm, Id};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fmt;

/// What went wrong, as far as a caller of this crate has to tell it apart. Which PKCS#11 return code leads to which
/// kind is in one table, `return_codes.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HsmErrorKind {
    /// The session or a cached handle was no longer good; both have been renewed.
    Session,
    /// The token, logged in and whole, has no such private or secret key: the key version should be quarantined.
    KeyNotFound,
    /// More than one object has the id: nothing is signed, nobody knows with which.
    KeyAmbiguous,
    /// The token had lost its login, or shows none of its private objects.
    LoginLost,
    /// The token refused the PIN once, so it is never tried again until somebody puts it right.
    PinLatched,
    /// The token has no more sessions to give.
    Capacity,
    /// Too many requests wait for this token already.
    Overloaded,
    /// Something that only a mistake of ours or of the vendor explains.
    Bug,
    /// The token failed without saying what it did: the operation may or may not have happened.
    OutcomeUnknown,
    /// The token is not there for us: not seen, removed, or held by another process.
    TokenAbsent,
    /// The PKCS#11 module cannot be loaded, initialised or talked to.
    Module,
    /// The token or the machine is out of memory.
    Memory,
    /// The token cannot do what is asked, however often: mechanism, key type, permissions, settings.
    Configuration,
    /// The input does not fit the algorithm: wrong length or wrong kind.
    InputLength,
    /// No answer by the deadline. The outcome is unknown.
    Deadline,
    /// The worker process ended in the middle of the call. The outcome is unknown.
    WorkerLost,
    /// The token's signature does not verify under the pinned public key, or it does not recognise a MAC of its own; it
    /// was thrown away.
    WrongSignature,
    /// The token is being let go.
    Stopping,
}

impl HsmErrorKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Session,
        Self::KeyNotFound,
        Self::KeyAmbiguous,
        Self::LoginLost,
        Self::PinLatched,
        Self::Capacity,
        Self::Overloaded,
        Self::Bug,
        Self::OutcomeUnknown,
        Self::TokenAbsent,
        Self::Module,
        Self::Memory,
        Self::Configuration,
        Self::InputLength,
        Self::Deadline,
        Self::WorkerLost,
        Self::WrongSignature,
        Self::Stopping,
    ];

    /// Whether the same signature may be asked for again with a chance that it works. Never true of generation.
    #[must_use]
    pub const fn retryable(self) -> bool {
        match self {
            Self::Session
            | Self::LoginLost
            | Self::Capacity
            | Self::Overloaded
            | Self::OutcomeUnknown
            | Self::TokenAbsent
            | Self::Module
            | Self::Memory
            | Self::Deadline
            | Self::WorkerLost
            | Self::WrongSignature
            | Self::Stopping => true,
            Self::KeyNotFound
            | Self::KeyAmbiguous
            | Self::PinLatched
            | Self::Bug
            | Self::Configuration
            | Self::InputLength => false,
        }
    }

    /// A short, stable name for logs and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::KeyNotFound => "key-not-found",
            Self::KeyAmbiguous => "key-ambiguous",
            Self::LoginLost => "login-lost",
            Self::PinLatched => "pin-latched",
            Self::Capacity => "capacity",
            Self::Overloaded => "overloaded",
            Self::Bug => "bug",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::TokenAbsent => "token-absent",
            Self::Module => "module",
            Self::Memory => "memory",
            Self::Configuration => "configuration",
            Self::InputLength => "input-length",
            Self::Deadline => "deadline",
            Self::WorkerLost => "worker-lost",
            Self::WrongSignature => "wrong-signature",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for HsmErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one call to a token failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmFailure {
    /// What went wrong.
    pub kind: HsmErrorKind,
    /// The PKCS#11 function that failed, for example `C_Sign`.
    pub function: Option<&'static str>,
    /// Its return code, for the log and the record; never for callers.
    pub return_code: Option<u64>,
    /// How often the token was asked; 0 if it was not.
    pub attempts: u8,
    /// What happened, to which token, and what to do.
    pub message: String,
}

impl HsmFailure {
    pub(crate) fn new(kind: HsmErrorKind, message: impl Into<String>) -> Self {
        Self { kind, function: None, return_code: None, attempts: 0, message: message.into() }
    }

    pub(crate) fn with_attempts(self, attempts: u8) -> Self {
        Self { attempts, ..self }
    }
}

impl fmt::Display for HsmFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match (self.function, self.return_code) {
            (Some(function), Some(code)) => write!(f, " ({function} returned {code:#x})"),
            (Some(function), None) => write!(f, " ({function})"),
            (None, _) => Ok(()),
        }
    }
}

impl Error for HsmFailure {}

/// Why a token could not be taken, set up or measured.
#[derive(Debug)]
pub struct HsmError {
    /// What went wrong.
    pub kind: HsmErrorKind,
    /// The same, as the token's health says it.
    pub cause: HealthCause,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl HsmError {
    pub(crate) fn new(kind: HsmErrorKind, message: impl Into<String>) -> Self {
        Self { kind, cause: HealthCause::of(kind), message: message.into(), source: None }
    }

    pub(crate) fn caused(
        kind: HsmErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, cause: HealthCause::of(kind), message: message.into(), source: Some(source.into()) }
    }

    pub(crate) fn failure(what: &str, failure: HsmFailure) -> Self {
        let message = format!("{what}: {failure}");
        Self::caused(failure.kind, message, failure)
    }

    pub(crate) fn because(self, cause: HealthCause) -> Self {
        Self { cause, ..self }
    }
}

impl fmt::Display for HsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for HsmError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Why a PIN latch is still closed. The text is for the log: it may hold return codes and paths.
#[derive(Debug, thiserror::Error)]
pub enum ClearLatchError {
    /// The token is not latched, so no login is tried.
    #[error("the token is not latched")]
    NotLatched,
    /// The PIN file was not taken, so no login was tried.
    #[error(transparent)]
    Pin(#[from] crate::PinError),
    /// The login was tried and refused, or could not be tried: the failure says which by its kind.
    #[error(transparent)]
    Failed(HsmFailure),
}

/// A token lacks what an algorithm needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("token {token} (label {label:?}) lacks {missing}, which {algorithm} needs")]
pub struct MissingMechanism {
    /// Our name for the token.
    pub token: Id,
    /// The token's label.
    pub label: String,
    /// The algorithm that was asked for.
    pub algorithm: Algorithm,
    /// What is missing: a mechanism, a key size under a mechanism, or a curve.
    pub missing: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_kind_has_a_name_of_its_own() {
        assert_eq!(HsmErrorKind::ALL.map(HsmErrorKind::as_str).into_iter().collect::<HashSet<_>>().len(), 18);
    }

    #[test]
    fn a_failure_names_the_function_and_the_code() {
        let mut failure = HsmFailure::new(HsmErrorKind::OutcomeUnknown, "token soft failed");
        failure.function = Some("C_Sign");
        failure.return_code = Some(5);
        assert_eq!(failure.to_string(), "token soft failed (C_Sign returned 0x5)");
    }
}
