//! States of a key version, and how its signatures are written down.

use std::fmt;
use std::str::FromStr;

/// The state of a key version (NIST SP 800-57 part 1, section 7, and what the product needs beside it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Reserved in the store; the token is being asked to make it. Signs and verifies nothing.
    PendingGeneration,
    /// Made and published, not yet in use. Signs nothing but a request for its own certificate.
    PreActive,
    /// In use: signs and verifies.
    Active,
    /// Stopped for the time being: verifies only.
    Suspended,
    /// Retired: verifies only.
    Deactivated,
    /// No longer trusted: signs nothing; what it signed is in doubt.
    Compromised,
    /// Waiting for its destruction: signs nothing.
    DestroyScheduled,
    /// Gone from the token.
    Destroyed,
}

impl KeyState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::PendingGeneration,
        Self::PreActive,
        Self::Active,
        Self::Suspended,
        Self::Deactivated,
        Self::Compromised,
        Self::DestroyScheduled,
        Self::Destroyed,
    ];

    /// The name used in the API, the store and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PendingGeneration => "PENDING_GENERATION",
            Self::PreActive => "PRE_ACTIVE",
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::Deactivated => "DEACTIVATED",
            Self::Compromised => "COMPROMISED",
            Self::DestroyScheduled => "DESTROY_SCHEDULED",
            Self::Destroyed => "DESTROYED",
        }
    }

    /// Whether a version in this state makes signatures: only `ACTIVE` does.
    #[must_use]
    pub const fn may_sign(self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether a version in this state signs a request for its own certificate: proof of possession is what SP 800-57
    /// (part 1, section 7.1) allows a key that is not yet in use.
    #[must_use]
    pub const fn may_prove_possession(self) -> bool {
        matches!(self, Self::PreActive | Self::Active)
    }

    /// Whether signatures of a version in this state are checked as valid ones.
    #[must_use]
    pub const fn may_verify(self) -> bool {
        matches!(self, Self::Active | Self::Suspended | Self::Deactivated)
    }

    /// Whether verifiers are to know the version's public key: also before it signs, so that they have it when it does,
    /// and for as long as what it signed is good.
    #[must_use]
    pub const fn is_published(self) -> bool {
        matches!(self, Self::PreActive) || self.may_verify()
    }

    /// Whether the version has a public key that may be handed out.
    #[must_use]
    pub const fn has_public_key(self) -> bool {
        !matches!(self, Self::PendingGeneration)
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no state of a key version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown key version state {0:?}")]
pub struct UnknownKeyState(pub String);

impl FromStr for KeyState {
    type Err = UnknownKeyState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| UnknownKeyState(word.to_owned()))
    }
}

/// How an ECDSA signature (r, s) is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EcdsaEncoding {
    /// DER `SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279, section 2.2.3); the default.
    #[default]
    Der,
    /// r and s, each as long as the curve's order, big-endian, one after the other (IEEE P1363; RFC 7518, section 3.4).
    P1363,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_signs_and_each_name_parses_back() {
        for state in KeyState::ALL {
            assert_eq!(state.may_sign(), state == KeyState::Active);
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }

    #[test]
    fn what_may_sign_or_verify_is_published_and_what_is_not_trusted_is_not() {
        for state in KeyState::ALL {
            let untrusted = matches!(state, KeyState::Compromised | KeyState::DestroyScheduled | KeyState::Destroyed);
            assert_eq!(state.is_published(), !untrusted && state != KeyState::PendingGeneration, "{state}");
        }
    }
}
