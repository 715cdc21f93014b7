//! What a change of keys is asked with.

use std::collections::BTreeMap;
use std::time::Duration;

use chancery_crypto::random_bytes;
use chancery_model::{Algorithm, KeyName, TokenObjectId};

use super::{KeyRing, KeySettings, KeyVersion};
use crate::ClientError;

/// A key to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its name.
    pub name: KeyName,
    /// Fixed for its life.
    pub algorithm: Algorithm,
    /// Whether Sign takes a digest in place of the message: signing blind.
    pub allow_digest: bool,
    /// Labels that policies can speak of.
    pub labels: BTreeMap<String, String>,
    /// The longest lifetime of a JWT that it signs, in whole seconds; 1 hour where absent.
    pub max_jwt_lifetime: Option<Duration>,
    /// The rules that it starts with.
    pub settings: KeySettings,
    /// A UUID that makes the call safe to repeat; a random one where absent.
    pub request_id: Option<String>,
}

impl NewKey {
    /// A key without labels that signs messages only.
    #[must_use]
    pub const fn new(name: KeyName, algorithm: Algorithm) -> Self {
        Self {
            name,
            algorithm,
            allow_digest: false,
            labels: BTreeMap::new(),
            max_jwt_lifetime: None,
            settings: KeySettings::NONE,
            request_id: None,
        }
    }

    /// Lets Sign take a digest in place of the message: signing blind.
    #[must_use]
    pub fn allow_digest(self) -> Self {
        Self { allow_digest: true, ..self }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Sets [`NewKey::max_jwt_lifetime`].
    #[must_use]
    pub fn max_jwt_lifetime(self, lifetime: Duration) -> Self {
        Self { max_jwt_lifetime: Some(lifetime), ..self }
    }

    /// Sets [`NewKey::settings`].
    #[must_use]
    pub fn settings(self, settings: KeySettings) -> Self {
        Self { settings, ..self }
    }

    /// Sets [`NewKey::request_id`]: keep it, and the key can be asked for again after an error that leaves open whether it
    /// was made.
    #[must_use]
    pub fn request_id(self, request_id: impl Into<String>) -> Self {
        Self { request_id: Some(request_id.into()), ..self }
    }
}

/// Which key of the ring's token is to be adopted: by CKA_ID, by CKA_LABEL, or by both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenObject {
    /// CKA_ID of the private or secret key.
    pub id: Option<TokenObjectId>,
    /// Its CKA_LABEL.
    pub label: Option<String>,
}

/// A ring whose keys sign no more, and what was still under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenRing {
    /// The ring.
    pub ring: KeyRing,
    /// Indexes of what was recorded in this ring before, and had not ended when the service's wait was over. Usually none.
    pub open_intents: Vec<u64>,
}

/// How a key is rotated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Only if the key's etag is still this one.
    pub etag: Option<String>,
    /// A UUID that makes the call safe to repeat; a random one where absent.
    pub request_id: Option<String>,
}

/// A version that no longer signs, and what was still under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The version.
    pub version: KeyVersion,
    /// Indexes of recorded intents of this version that had not ended when the service's wait was over. Usually none.
    pub open_intents: Vec<u64>,
}

/// A random UUID (RFC 9562, version 4) for [`NewKey::request_id`] and [`Rotation::request_id`].
///
/// # Errors
/// [`ClientError::Random`] where the operating system gives no randomness.
pub fn new_request_id() -> Result<String, ClientError> {
    let random = u128::from_be_bytes(random_bytes()?);
    // Version 4 in bits 48 to 51, variant 10 in bits 64 and 65.
    let bits = random & !(0xf << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let digits = format!("{bits:032x}");
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    Ok([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_uuids_of_version_4_and_never_the_same() {
        let ids: std::collections::HashSet<String> = (0..100).map(|_| new_request_id().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            let parts: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(&id[14..15], "4", "{id}");
            assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        }
    }
}
