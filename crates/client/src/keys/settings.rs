//! What is laid down for a key, and how it is changed.

use std::collections::BTreeMap;
use std::time::Duration;

use chancery_api::v1;
use chancery_model::{KeyName, Timestamp};

use crate::answer::{optional_time, proto_time};

/// The rules of a key: for those who answer for it, not for those who sign with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// Who answers for the key.
    pub owner: Option<String>,
    /// Whether no version of the key is destroyed.
    pub deletion_protection: bool,
    /// How often a new version takes over, in whole seconds.
    pub rotation_period: Option<Duration>,
    /// When the next one does.
    pub next_rotation: Option<Timestamp>,
    /// How long before it takes over the next version is made and published, in whole seconds.
    pub publish_ahead: Option<Duration>,
    /// How long a version signs, in whole seconds.
    pub signing_period: Option<Duration>,
    /// How many signatures the key makes in all.
    pub max_signatures: Option<u64>,
    /// How many a day (UTC).
    pub max_daily_signatures: Option<u64>,
    /// How many uses the key has in a second.
    pub max_uses_per_second: Option<u32>,
    /// How many at once; as many as in a second where there is no number.
    pub max_burst: Option<u32>,
    /// How many may be under way at the same time.
    pub max_concurrent_uses: Option<u32>,
    /// Whether it signs only what its caller has signed, too.
    pub requires_caller_signature: bool,
}

impl KeySettings {
    /// No rules at all.
    pub const NONE: Self = Self {
        owner: None,
        deletion_protection: false,
        rotation_period: None,
        next_rotation: None,
        publish_ahead: None,
        signing_period: None,
        max_signatures: None,
        max_daily_signatures: None,
        max_uses_per_second: None,
        max_burst: None,
        max_concurrent_uses: None,
        requires_caller_signature: false,
    };

    pub(super) fn into_proto(self) -> v1::Key {
        let Self {
            owner,
            deletion_protection,
            rotation_period,
            next_rotation,
            publish_ahead,
            signing_period,
            max_signatures,
            max_daily_signatures,
            max_uses_per_second,
            max_burst,
            max_concurrent_uses,
            requires_caller_signature,
        } = self;
        v1::Key {
            owner: owner.unwrap_or_default(),
            deletion_protection,
            rotation_period: rotation_period.map(proto_duration),
            next_rotation_time: next_rotation.map(proto_time),
            publish_ahead: publish_ahead.map(proto_duration),
            signing_period: signing_period.map(proto_duration),
            max_signatures: max_signatures.unwrap_or(0),
            max_daily_signatures: max_daily_signatures.unwrap_or(0),
            max_uses_per_second: max_uses_per_second.unwrap_or(0),
            max_burst: max_burst.unwrap_or(0),
            max_concurrent_uses: max_concurrent_uses.unwrap_or(0),
            requires_caller_signature,
            ..v1::Key::default()
        }
    }

    /// Takes them out of an answer.
    pub(super) fn of(key: &v1::Key) -> Self {
        let period = |given: Option<prost_types::Duration>| given.map(whole_seconds);
        let limit = |count| (count > 0).then_some(count);
        let pace = |number| (number > 0).then_some(number);
        Self {
            owner: Some(key.owner.clone()).filter(|owner| !owner.is_empty()),
            deletion_protection: key.deletion_protection,
            rotation_period: period(key.rotation_period),
            next_rotation: optional_time(key.next_rotation_time),
            publish_ahead: period(key.publish_ahead),
            signing_period: period(key.signing_period),
            max_signatures: limit(key.max_signatures),
            max_daily_signatures: limit(key.max_daily_signatures),
            max_uses_per_second: pace(key.max_uses_per_second),
            max_burst: pace(key.max_burst),
            max_concurrent_uses: pace(key.max_concurrent_uses),
            requires_caller_signature: key.requires_caller_signature,
        }
    }
}

/// A change of a key: what is not set here stays as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyUpdate {
    key: v1::Key,
    paths: Vec<&'static str>,
}

impl KeyUpdate {
    /// A change of nothing yet.
    #[must_use]
    pub fn new(name: &KeyName) -> Self {
        Self { key: v1::Key { name: name.to_string(), ..v1::Key::default() }, paths: Vec::new() }
    }

    /// Whether nothing is set, in which case the service refuses it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Only if the key's etag is still this one.
    #[must_use]
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.key.etag = etag.into();
        self
    }

    /// All labels, in place of those that it has.
    #[must_use]
    pub fn labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.key.labels = labels.into_iter().collect();
        self.sets("labels")
    }

    /// The longest lifetime of a JWT that the key signs.
    #[must_use]
    pub fn max_jwt_lifetime(mut self, lifetime: Duration) -> Self {
        self.key.max_jwt_lifetime = Some(proto_duration(lifetime));
        self.sets("max_jwt_lifetime")
    }

    /// Who answers for the key; `None`: nobody in particular.
    #[must_use]
    pub fn owner(mut self, owner: Option<String>) -> Self {
        self.key.owner = owner.unwrap_or_default();
        self.sets("owner")
    }

    /// Whether no version of the key is destroyed.
    #[must_use]
    pub fn deletion_protection(mut self, protected: bool) -> Self {
        self.key.deletion_protection = protected;
        self.sets("deletion_protection")
    }

    /// How often a new version takes over; `None`: never by itself.
    #[must_use]
    pub fn rotation_period(mut self, period: Option<Duration>) -> Self {
        self.key.rotation_period = period.map(proto_duration);
        self.sets("rotation_period")
    }

    /// When the next one does.
    #[must_use]
    pub fn next_rotation(mut self, at: Timestamp) -> Self {
        self.key.next_rotation_time = Some(proto_time(at));
        self.sets("next_rotation_time")
    }

    /// How long before it takes over the next version is made and published; `None`: not before.
    #[must_use]
    pub fn publish_ahead(mut self, ahead: Option<Duration>) -> Self {
        self.key.publish_ahead = ahead.map(proto_duration);
        self.sets("publish_ahead")
    }

    /// How long a version signs; `None`: without end.
    #[must_use]
    pub fn signing_period(mut self, period: Option<Duration>) -> Self {
        self.key.signing_period = period.map(proto_duration);
        self.sets("signing_period")
    }

    /// How many signatures the key makes in all; `None`: without end.
    #[must_use]
    pub fn max_signatures(mut self, limit: Option<u64>) -> Self {
        self.key.max_signatures = limit.unwrap_or(0);
        self.sets("max_signatures")
    }

    /// How many a day (UTC); `None`: without end.
    #[must_use]
    pub fn max_daily_signatures(mut self, limit: Option<u64>) -> Self {
        self.key.max_daily_signatures = limit.unwrap_or(0);
        self.sets("max_daily_signatures")
    }

    /// How many uses the key has in a second; `None`: without limit.
    #[must_use]
    pub fn max_uses_per_second(mut self, limit: Option<u32>) -> Self {
        self.key.max_uses_per_second = limit.unwrap_or(0);
        self.sets("max_uses_per_second")
    }

    /// How many at once; `None`: as many as in a second.
    #[must_use]
    pub fn max_burst(mut self, limit: Option<u32>) -> Self {
        self.key.max_burst = limit.unwrap_or(0);
        self.sets("max_burst")
    }

    /// How many may be under way at the same time; `None`: without limit.
    #[must_use]
    pub fn max_concurrent_uses(mut self, limit: Option<u32>) -> Self {
        self.key.max_concurrent_uses = limit.unwrap_or(0);
        self.sets("max_concurrent_uses")
    }

    /// Whether it signs only what its caller has signed, too: see [`ConnectOptions::sign_requests`].
    ///
    /// [`ConnectOptions::sign_requests`]: crate::ConnectOptions::sign_requests
    #[must_use]
    pub fn requires_caller_signature(mut self, required: bool) -> Self {
        self.key.requires_caller_signature = required;
        self.sets("requires_caller_signature")
    }

    fn sets(mut self, path: &'static str) -> Self {
        self.paths.push(path);
        self
    }

    pub(super) fn into_request(self) -> v1::UpdateKeyRequest {
        let paths = self.paths.into_iter().map(str::to_owned).collect();
        v1::UpdateKeyRequest { key: Some(self.key), update_mask: Some(prost_types::FieldMask { paths }) }
    }
}

pub(super) fn proto_duration(duration: Duration) -> prost_types::Duration {
    let nanos = i32::try_from(duration.subsec_nanos()).unwrap_or_default();
    prost_types::Duration { seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), nanos }
}

pub(super) fn whole_seconds(duration: prost_types::Duration) -> Duration {
    Duration::from_secs(u64::try_from(duration.seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_go_there_and_back() {
        let settings = KeySettings {
            owner: Some("payments".to_owned()),
            deletion_protection: true,
            rotation_period: Some(Duration::from_secs(7_776_000)),
            next_rotation: Some(Timestamp::from_unix_micros(1_775_001_600_000_000)),
            publish_ahead: Some(Duration::from_secs(86_400)),
            signing_period: Some(Duration::from_secs(15_552_000)),
            max_signatures: Some(1),
            max_daily_signatures: Some(2),
            max_uses_per_second: Some(3),
            max_burst: Some(4),
            max_concurrent_uses: Some(5),
            requires_caller_signature: true,
        };
        assert_eq!(KeySettings::of(&settings.clone().into_proto()), settings);
        assert_eq!(KeySettings::of(&v1::Key::default()), KeySettings::NONE);
        assert_eq!(KeySettings::default(), KeySettings::NONE);
    }

    #[test]
    fn an_update_names_what_it_sets() {
        let name: KeyName = "keyRings/dev/keys/k".parse().unwrap();
        assert!(KeyUpdate::new(&name).etag("e").is_empty());
        let request = KeyUpdate::new(&name).owner(None).max_signatures(Some(3)).into_request();
        assert_eq!(request.update_mask.unwrap().paths, ["owner", "max_signatures"]);
        assert_eq!(request.key.unwrap().max_signatures, 3);
    }
}
