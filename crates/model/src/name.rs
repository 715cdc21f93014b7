//! Resource names (AIP-122): `keyRings/{ring}/keys/{key}/versions/{n}`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// An id breaks the rule for ids.
    #[error("{what} must match [a-z][a-z0-9-]{{0,62}} (ASCII)")]
    Id {
        /// Which id, for example `key ring id`.
        what: &'static str,
    },
    /// The segments are not those of this kind of name.
    #[error("the name must have the form {pattern}")]
    Pattern {
        /// The form that was expected.
        pattern: &'static str,
    },
    /// The version is not a positive decimal number.
    #[error("the version must be a decimal number from 1 to 4294967295 without leading zeros")]
    Version,
}

/// The last segment of a resource name: `[a-z][a-z0-9-]{0,62}`, ASCII. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(Arc<str>);

impl Id {
    /// Parses an id; `what` names it in the error, for example `key id`.
    ///
    /// # Errors
    /// [`InvalidName::Id`] where the text does not match `[a-z][a-z0-9-]{0,62}`.
    pub fn parse(what: &'static str, text: &str) -> Result<Self, InvalidName> {
        let mut bytes = text.bytes();
        let well_formed = text.len() <= 63
            && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if well_formed { Ok(Self(Arc::from(text))) } else { Err(InvalidName::Id { what }) }
    }

    /// The id that sorts before every other.
    #[must_use]
    pub fn first() -> Self {
        Self(Arc::from("a"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// `keyRings/{ring}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RingName {
    /// The ring's id.
    pub ring: Id,
}

/// `keyRings/{ring}/keys/{key}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName {
    /// The ring that holds the key.
    pub ring: Id,
    /// The key's id, unique in its ring.
    pub key: Id,
}

/// `keyRings/{ring}/keys/{key}/versions/{n}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyVersionName {
    /// The key.
    pub key: KeyName,
    /// The version's number, from 1.
    pub version: u32,
}

impl RingName {
    const PATTERN: &'static str = "keyRings/{ring}";

    /// The name of a key in this ring.
    #[must_use]
    pub fn key(&self, key: Id) -> KeyName {
        KeyName { ring: self.ring.clone(), key }
    }
}

impl KeyName {
    const PATTERN: &'static str = "keyRings/{ring}/keys/{key}";

    /// The ring's name.
    #[must_use]
    pub fn ring_name(&self) -> RingName {
        RingName { ring: self.ring.clone() }
    }

    /// The name of one version of this key.
    #[must_use]
    pub fn version(&self, version: u32) -> KeyVersionName {
        KeyVersionName { key: self.clone(), version }
    }
}

impl KeyVersionName {
    const PATTERN: &'static str = "keyRings/{ring}/keys/{key}/versions/{version}";
}

impl FromStr for RingName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let segments: Vec<&str> = text.split('/').collect();
        match segments.as_slice() {
            ["keyRings", ring] => Ok(Self { ring: Id::parse("the key ring id", ring)? }),
            _ => Err(InvalidName::Pattern { pattern: Self::PATTERN }),
        }
    }
}

impl FromStr for KeyName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let segments: Vec<&str> = text.split('/').collect();
        match segments.as_slice() {
            ["keyRings", ring, "keys", key] => {
                Ok(Self { ring: Id::parse("the key ring id", ring)?, key: Id::parse("the key id", key)? })
            }
            _ => Err(InvalidName::Pattern { pattern: Self::PATTERN }),
        }
    }
}

impl FromStr for KeyVersionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, version) = text.rsplit_once("/versions/").ok_or(InvalidName::Pattern { pattern: Self::PATTERN })?;
        let key = key.parse::<KeyName>().map_err(|error| match error {
            InvalidName::Pattern { .. } => InvalidName::Pattern { pattern: Self::PATTERN },
            other => other,
        })?;
        let canonical = !version.starts_with(['0', '+']) && !version.is_empty();
        match version.parse::<u32>() {
            Ok(version) if canonical => Ok(Self { key, version }),
            _ => Err(InvalidName::Version),
        }
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keyRings/{}", self.ring)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keyRings/{}/keys/{}", self.ring, self.key)
    }
}

impl fmt::Display for KeyVersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/versions/{}", self.key, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_name_round_trips() {
        let text = "keyRings/payments/keys/jwt-1/versions/12";
        let name: KeyVersionName = text.parse().unwrap();
        assert_eq!(name.to_string(), text);
        assert_eq!(name.key.to_string(), "keyRings/payments/keys/jwt-1");
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = format!("keyRings/{}/keys/k", "a".repeat(64));
        for text in [
            "",
            "keyRings",
            "keyRings/",
            "keyRings/A/keys/k",
            "keyRings/a/keys/",
            "keyRings/a/keys/k/",
            "/keyRings/a/keys/k",
            "keyRings/a/keys/1k",
            "keyRings/ä/keys/k",
            "keyRings/a/keys/k\n",
            "keyRings/a/keys/k k",
            "keys/k",
            &long,
        ] {
            assert!(text.parse::<KeyName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn malformed_versions_are_refused() {
        for version in ["", "0", "01", "+1", "-1", "1.0", "4294967296", "x", "1/"] {
            let text = format!("keyRings/a/keys/k/versions/{version}");
            assert!(text.parse::<KeyVersionName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_longest_id_is_63_characters() {
        assert!(Id::parse("the key id", &"a".repeat(63)).is_ok());
        assert!(Id::parse("the key id", &"a".repeat(64)).is_err());
    }
}
