//! Opaque identifiers: what the record says instead of names, and what finds a key in its token.

use std::fmt;
use std::str::FromStr;

/// 16 random bytes that mean nothing to anybody else. A key version's uid is its CKA_ID, unless it was adopted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid([u8; 16]);

impl Uid {
    /// All zeros: nobody and nothing, for example the caller of a request that was not authenticated.
    pub const NONE: Self = Self([0; 16]);

    /// Takes 16 bytes, which should come from a cryptographic random generator.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Not the text or bytes of a uid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a uid is 16 bytes, written as 32 lower-case hexadecimal digits")]
pub struct InvalidUid;

impl TryFrom<&[u8]> for Uid {
    type Error = InvalidUid;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).or(Err(InvalidUid))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uid {
    type Err = InvalidUid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(number) if hex => Ok(Self(number.to_be_bytes())),
            _ => Err(InvalidUid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_anything_else_is_refused() {
        let uid = Uid::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(uid.to_string().parse(), Ok(uid));
        for text in ["", "00", &"G".repeat(32), &"A".repeat(32), &"0".repeat(33), "+000000000000000000000000000000f"] {
            assert_eq!(text.parse::<Uid>(), Err(InvalidUid), "{text}");
        }
    }
}
