//! How a key is found in its token, and what is known of one that Chancery did not make.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::Uid;

/// Length of the longest CKA_ID that Chancery works with, in bytes.
const MOST_BYTES: usize = 64;

/// CKA_ID of a key's objects in a token: 1 to 64 bytes. Of a key that Chancery made it is the version's uid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenObjectId {
    length: u8,
    /// Zeros behind the length.
    bytes: [u8; MOST_BYTES],
}

impl TokenObjectId {
    /// Length of the longest one, in bytes.
    pub const MOST_BYTES: usize = MOST_BYTES;

    /// The bytes, 1 to 64 of them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl Hash for TokenObjectId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl From<Uid> for TokenObjectId {
    fn from(uid: Uid) -> Self {
        let mut bytes = [0; MOST_BYTES];
        let uid = uid.as_bytes();
        bytes.iter_mut().zip(uid).for_each(|(to, from)| *to = *from);
        Self { length: 16, bytes }
    }
}

/// Not a CKA_ID that Chancery works with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the id of an object in a token has 1 to 64 bytes, written as pairs of hexadecimal digits")]
pub struct InvalidTokenObjectId;

impl TryFrom<&[u8]> for TokenObjectId {
    type Error = InvalidTokenObjectId;

    fn try_from(given: &[u8]) -> Result<Self, Self::Error> {
        let mut bytes = [0; MOST_BYTES];
        let place = bytes.get_mut(..given.len()).filter(|place| !place.is_empty()).ok_or(InvalidTokenObjectId)?;
        place.copy_from_slice(given);
        Ok(Self { length: u8::try_from(given.len()).or(Err(InvalidTokenObjectId))?, bytes })
    }
}

impl fmt::Display for TokenObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TokenObjectId {
    type Err = InvalidTokenObjectId;

    /// Takes upper-case digits, too: the tools of vendors write them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Option<Vec<u8>> = text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
        let digits = digits.filter(|digits| digits.len().is_multiple_of(2)).ok_or(InvalidTokenObjectId)?;
        let bytes: Vec<u8> =
            digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        Self::try_from(bytes.as_slice())
    }
}

/// What is known of a key that was in the token before Chancery managed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Under which CKA_ID it is there.
    pub object_id: TokenObjectId,
    /// It was made elsewhere and put into the token.
    pub imported: bool,
    /// It can be taken out of the token, or the token does not vouch that it never could: somebody may have a copy.
    pub extractable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_anything_else_is_refused() {
        for text in ["00", "0aff", &"ab".repeat(64)] {
            assert_eq!(text.parse::<TokenObjectId>().unwrap().to_string(), text);
        }
        assert_eq!("0AfF".parse::<TokenObjectId>().unwrap().as_bytes(), [0x0a, 0xff]);
        for text in ["", "0", "0x0a", "0g", "+a", "é0", "0a 0b", &"ab".repeat(65)] {
            assert_eq!(text.parse::<TokenObjectId>(), Err(InvalidTokenObjectId), "{text:?}");
        }
    }

    #[test]
    fn ids_of_other_lengths_are_other_ids() {
        let id = |bytes: &[u8]| TokenObjectId::try_from(bytes).unwrap();
        assert_ne!(id(&[1]), id(&[1, 0]));
        assert_eq!(TokenObjectId::from(Uid::from_bytes([7; 16])), id(&[7; 16]));
    }
}
