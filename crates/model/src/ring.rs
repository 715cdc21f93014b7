//! States of a key ring.

use std::fmt;
use std::str::FromStr;

/// Whether a key ring's keys are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RingState {
    /// They are, as far as policy and their own states let them.
    #[default]
    Active,
    /// They are not: nothing is signed and no key is made; what was signed is still verified.
    Frozen,
}

impl RingState {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Active, Self::Frozen];

    /// The name used in the API, the store and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Frozen => "FROZEN",
        }
    }
}

impl fmt::Display for RingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no state of a key ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown key ring state {0:?}")]
pub struct UnknownRingState(pub String);

impl FromStr for RingState {
    type Err = UnknownRingState;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| UnknownRingState(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_parses_back() {
        for state in RingState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("frozen".parse::<RingState>(), Err(UnknownRingState("frozen".to_owned())));
    }
}
