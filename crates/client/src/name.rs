//! What is meant by a key's name: the key (its primary version), or one version.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use chancery_model::{InvalidName, KeyName, KeyVersionName};

use crate::ClientError;

/// A key, for its primary version, or one of its versions. Everything that signs or verifies takes this, or what becomes
/// it: the model's names, or their text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyRef {
    /// `keyRings/{ring}/keys/{key}`: the version that is primary when the service gets the call.
    Key(KeyName),
    /// `keyRings/{ring}/keys/{key}/versions/{n}`.
    Version(KeyVersionName),
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => name.fmt(f),
            Self::Version(name) => name.fmt(f),
        }
    }
}

impl FromStr for KeyRef {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        // By its length, since a ring or a key can be called `versions`.
        if text.split('/').nth(4).is_some() { text.parse().map(Self::Version) } else { text.parse().map(Self::Key) }
    }
}

impl TryFrom<&str> for KeyRef {
    type Error = InvalidName;

    fn try_from(text: &str) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl TryFrom<&String> for KeyRef {
    type Error = InvalidName;

    fn try_from(text: &String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl TryFrom<String> for KeyRef {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<KeyName> for KeyRef {
    fn from(name: KeyName) -> Self {
        Self::Key(name)
    }
}

impl From<&KeyName> for KeyRef {
    fn from(name: &KeyName) -> Self {
        Self::Key(name.clone())
    }
}

impl From<KeyVersionName> for KeyRef {
    fn from(name: KeyVersionName) -> Self {
        Self::Version(name)
    }
}

impl From<&KeyVersionName> for KeyRef {
    fn from(name: &KeyVersionName) -> Self {
        Self::Version(name.clone())
    }
}

impl From<&Self> for KeyRef {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl From<InvalidName> for ClientError {
    fn from(error: InvalidName) -> Self {
        Self::Request { what: error.to_string() }
    }
}

impl From<Infallible> for ClientError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The text of a name that was given in any form, once it is known to be one.
pub(crate) fn text<N>(name: N) -> Result<String, ClientError>
where
    N: TryInto<KeyRef, Error: Into<ClientError>>,
{
    name.try_into().map(|name| name.to_string()).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_text_and_as_the_models_own() {
        let key: KeyName = "keyRings/dev/keys/k".parse().unwrap();
        assert_eq!(text(&key).unwrap(), "keyRings/dev/keys/k");
        assert_eq!(text(key.version(3)).unwrap(), "keyRings/dev/keys/k/versions/3");
        assert_eq!("keyRings/dev/keys/k/versions/3".parse(), Ok(KeyRef::Version(key.version(3))));
        assert_eq!(text("keyRings/dev/keys/k").unwrap(), text(key).unwrap());
    }

    #[test]
    fn a_ring_or_a_key_can_be_called_versions() {
        for key in ["keyRings/versions/keys/k", "keyRings/dev/keys/versions", "keyRings/versions/keys/versions"] {
            let name: KeyName = key.parse().unwrap();
            assert_eq!(key.parse(), Ok(KeyRef::Key(name.clone())), "{key}");
            assert_eq!(format!("{key}/versions/1").parse(), Ok(KeyRef::Version(name.version(1))), "{key}");
        }
    }

    #[test]
    fn what_is_no_name_is_not_sent() {
        for wrong in ["", "dev/k", "keyRings/dev", "keyRings/dev/keys/k/versions/0", "keyRings/dev/keys/K"] {
            let error = text(wrong).unwrap_err();
            assert!(matches!(&error, ClientError::Request { .. }), "{wrong:?}: {error}");
        }
    }
}
