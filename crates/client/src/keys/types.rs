//! Rings, keys and versions as the service describes them.

use std::collections::BTreeMap;
use std::time::Duration;

use chancery_api::v1;
use chancery_model::{Algorithm, Id, KeyName, KeyState, KeyVersionName, RingName, RingState, Timestamp};

use super::KeySettings;
use super::settings::whole_seconds;
use crate::ClientError;
use crate::answer::{known_algorithm, known_state, optional_time, resource, time};
use crate::convert::algorithm_from_proto;

/// A named set of keys on one token, in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    /// Its name.
    pub name: RingName,
    /// Its environment, for example `dev`.
    pub environment: String,
    /// The token that holds the keys: `tokens/{token}`.
    pub token: String,
    /// The algorithms that keys can be created with, as far as this client knows them.
    pub algorithms: Vec<Algorithm>,
    /// Whether its keys are used.
    pub state: RingState,
    /// When that changed last; absent where it was never frozen.
    pub state_changed: Option<Timestamp>,
    /// Why, as who changed it said.
    pub state_reason: String,
    /// Whether it adopts keys of which a copy may be outside the token.
    pub allow_extractable: bool,
}

/// Where a key version comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyOrigin {
    /// Made in the token by the service.
    Generated,
    /// Made in the token by somebody else, and adopted.
    Adopted,
    /// Made elsewhere, imported into the token, and adopted.
    Imported,
}

impl KeyOrigin {
    /// The name used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Generated => "GENERATED",
            Self::Adopted => "ADOPTED",
            Self::Imported => "IMPORTED",
        }
    }
}

/// A named key with one algorithm and one or more versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: KeyName,
    /// Fixed at creation.
    pub algorithm: Algorithm,
    /// Whether Sign takes a digest in place of the message.
    pub allow_digest: bool,
    /// Labels that policies can speak of.
    pub labels: BTreeMap<String, String>,
    /// The version that signs where the key is named; absent while the first one is being made.
    pub primary_version: Option<KeyVersionName>,
    /// When it was created.
    pub created: Timestamp,
    /// When it or its primary version changed last.
    pub updated: Timestamp,
    /// Changes with each change of the key.
    pub etag: String,
    /// The longest lifetime of a JWT that it signs; absent for keys that sign none.
    pub max_jwt_lifetime: Option<Duration>,
    /// What else is laid down for it.
    pub settings: KeySettings,
    /// How many signatures were counted in all; 0 for keys without a limit.
    pub signature_count: u64,
    /// How many were counted today (UTC).
    pub daily_signature_count: u64,
}

/// One key pair, or one secret of a MAC key, in the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// Its name.
    pub name: KeyVersionName,
    /// Its state; only ACTIVE signs.
    pub state: KeyState,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// When it was asked for.
    pub created: Timestamp,
    /// When the token had made it; absent while it is being made.
    pub generated: Option<Timestamp>,
    /// When the state changed last.
    pub state_changed: Timestamp,
    /// SHA-256 of the public key's DER SubjectPublicKeyInfo; absent while it is being made, and for MAC keys.
    pub public_key_sha256: Option<Vec<u8>>,
    /// CKA_ID of its objects in the token.
    pub token_object_id: Vec<u8>,
    /// When it became ACTIVE; of a PRE_ACTIVE version when it is to.
    pub activated: Option<Timestamp>,
    /// When it was marked as compromised.
    pub compromised: Option<Timestamp>,
    /// When it is to be destroyed, or was to be.
    pub destroy_at: Option<Timestamp>,
    /// Its certificate (X.509, DER), followed by each one's issuer; empty where none was set.
    pub certificates: Vec<Vec<u8>>,
    /// Where it comes from.
    pub origin: KeyOrigin,
    /// Whether a copy of its private half or secret may be outside the token.
    pub extractable: bool,
}

impl KeyRing {
    /// The name of a key in this ring.
    ///
    /// # Errors
    /// [`ClientError::Request`] where `id` is no id.
    pub fn key(&self, id: &str) -> Result<KeyName, ClientError> {
        Ok(self.name.key(Id::parse("the key id", id)?))
    }
}

impl TryFrom<v1::KeyRing> for KeyRing {
    type Error = ClientError;

    fn try_from(answer: v1::KeyRing) -> Result<Self, ClientError> {
        let state = match answer.state() {
            v1::KeyRingState::Active => RingState::Active,
            v1::KeyRingState::Frozen => RingState::Frozen,
            v1::KeyRingState::Unspecified => {
                return Err(ClientError::Answer {
                    what: "the key ring's state is not known to this client".to_owned(),
                });
            }
        };
        let v1::KeyRing {
            name,
            environment,
            token,
            algorithms,
            state: _,
            state_change_time,
            state_reason,
            allow_extractable,
        } = answer;
        // A newer service's algorithms are none that this client could ask for.
        let algorithms = algorithms.into_iter().filter_map(algorithm_from_proto).collect();
        Ok(Self {
            name: resource(&name)?,
            environment,
            token,
            algorithms,
            state,
            state_changed: optional_time(state_change_time),
            state_reason,
            allow_extractable,
        })
    }
}

impl TryFrom<v1::Key> for Key {
    type Error = ClientError;

    fn try_from(answer: v1::Key) -> Result<Self, ClientError> {
        let settings = KeySettings::of(&answer);
        let v1::Key {
            name,
            algorithm,
            allow_digest,
            labels,
            primary_version,
            create_time,
            update_time,
            etag,
            max_jwt_lifetime,
            owner: _,
            deletion_protection: _,
            rotation_period: _,
            next_rotation_time: _,
            publish_ahead: _,
            signing_period: _,
            max_signatures: _,
            max_daily_signatures: _,
            max_uses_per_second: _,
            max_burst: _,
            max_concurrent_uses: _,
            requires_caller_signature: _,
            signature_count,
            daily_signature_count,
        } = answer;
        Ok(Self {
            name: resource(&name)?,
            algorithm: known_algorithm(algorithm)?,
            allow_digest,
            labels: labels.into_iter().collect(),
            primary_version: (!primary_version.is_empty()).then(|| resource(&primary_version)).transpose()?,
            created: time("the key's creation time", create_time)?,
            updated: time("the key's update time", update_time)?,
            etag,
            max_jwt_lifetime: max_jwt_lifetime.map(whole_seconds),
            settings,
            signature_count,
            daily_signature_count,
        })
    }
}

impl TryFrom<v1::KeyVersion> for KeyVersion {
    type Error = ClientError;

    fn try_from(answer: v1::KeyVersion) -> Result<Self, ClientError> {
        let origin = match answer.origin() {
            v1::KeyOrigin::Generated => KeyOrigin::Generated,
            v1::KeyOrigin::Adopted => KeyOrigin::Adopted,
            v1::KeyOrigin::Imported => KeyOrigin::Imported,
            v1::KeyOrigin::Unspecified => {
                return Err(ClientError::Answer {
                    what: "the version's origin is not known to this client".to_owned(),
                });
            }
        };
        let v1::KeyVersion {
            name,
            state,
            algorithm,
            create_time,
            generate_time,
            state_change_time,
            public_key_sha256,
            token_object_id,
            activate_time,
            compromise_time,
            destroy_time,
            certificate_chain,
            origin: _,
            extractable,
        } = answer;
        Ok(Self {
            name: resource(&name)?,
            state: known_state(state)?,
            algorithm: known_algorithm(algorithm)?,
            created: time("the version's creation time", create_time)?,
            generated: optional_time(generate_time),
            state_changed: time("the time of the version's state", state_change_time)?,
            public_key_sha256: (!public_key_sha256.is_empty()).then_some(public_key_sha256),
            token_object_id,
            activated: optional_time(activate_time),
            compromised: optional_time(compromise_time),
            destroy_at: optional_time(destroy_time),
            certificates: certificate_chain,
            origin,
            extractable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_primary_version_is_taken_and_one_without_times_is_not() {
        let at = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let answer = v1::Key {
            name: "keyRings/dev/keys/k".to_owned(),
            algorithm: v1::Algorithm::Ed25519.into(),
            create_time: at,
            update_time: at,
            max_jwt_lifetime: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            ..v1::Key::default()
        };
        let key = Key::try_from(answer.clone()).unwrap();
        assert_eq!((key.primary_version, key.max_jwt_lifetime), (None, Some(Duration::from_secs(3600))));
        assert!(Key::try_from(v1::Key { create_time: None, ..answer }).is_err());
    }
}
