//! The canonical bytes of a row: what the log commits to. Final; specified in docs/audit-record.md, "Rows".
//!
//! Every field is written, in a fixed order, so that two rows with the same bytes are the same row.

use crate::{
    ApiKeyRow, CallerRegistration, CallerRow, KeyRingRow, KeyRow, KeyVersionRow, PolicyDocument, PolicySetRow,
    RowChange,
};
use chancery_model::{Adoption, ApiKeyScope, CallerLimits, KeyRules, Pace, Timestamp, UsageLimits, VersionLife};
use std::collections::{BTreeMap, BTreeSet};

/// The version of this encoding: the first byte of a row.
const VERSION: u8 = 1;

/// The version of a row that has what version 1 had no place for. Rows without it stay in version 1, so that what was
/// recorded before is still what its row comes to.
const VERSION_2: u8 = 2;

/// The version of a key that has rules, of a key version that was adopted, and of a caller that has limits.
const VERSION_3: u8 = 3;

/// The version of a key that has a pace.
const VERSION_4: u8 = 4;

// The rows are destructured whole: a new column does not compile until it is decided on here, with a new version.

pub(crate) fn key(change: &RowChange, row: &KeyRow) -> Vec<u8> {
    let KeyRow {
        uid: _,
        name,
        algorithm,
        allow_digest,
        labels,
        max_jwt_lifetime_seconds,
        rules,
        primary_version,
        created,
        updated,
        request_id,
    } = row;
    let version = match max_jwt_lifetime_seconds {
        _ if rules.pace != Pace::default() => VERSION_4,
        _ if *rules != KeyRules::default() => VERSION_3,
        Some(_) => VERSION_2,
        None => VERSION,
    };
    let mut bytes = Bytes::start(version, change);
    bytes.text(&name.to_string());
    bytes.text(algorithm.as_str());
    bytes.u8(u8::from(*allow_digest));
    bytes.map(labels);
    bytes.optional(primary_version.as_ref(), |bytes, version| bytes.u32(*version));
    bytes.time(*created);
    bytes.time(*updated);
    bytes.optional(request_id.as_ref(), |bytes, id| bytes.text(id));
    match (version, max_jwt_lifetime_seconds) {
        (VERSION_3 | VERSION_4, seconds) => {
            bytes.optional(seconds.as_ref(), |bytes, seconds| bytes.u32(*seconds));
            bytes.rules(rules);
            if version == VERSION_4 {
                bytes.pace(rules.pace);
            }
        }
        (_, Some(seconds)) => bytes.u32(*seconds),
        (_, None) => {}
    }
    bytes.0
}

pub(crate) fn key_version(change: &RowChange, row: &KeyVersionRow) -> Vec<u8> {
    let KeyVersionRow {
        uid: _,
        key_uid,
        version,
        state,
        spki_der,
        created,
        generated,
        state_changed,
        life,
        adoption,
        request_id,
    } = row;
    let version_of_encoding = match adoption {
        Some(_) => VERSION_3,
        None if *life != VersionLife::default() => VERSION_2,
        None => VERSION,
    };
    let mut bytes = Bytes::start(version_of_encoding, change);
    bytes.0.extend_from_slice(key_uid.as_bytes());
    bytes.u32(*version);
    bytes.text(state.as_str());
    bytes.optional(spki_der.as_ref(), |bytes, der| bytes.bytes(der));
    bytes.time(*created);
    bytes.optional(generated.as_ref(), |bytes, time| bytes.time(*time));
    bytes.time(*state_changed);
    bytes.optional(request_id.as_ref(), |bytes, id| bytes.text(id));
    if version_of_encoding != VERSION {
        bytes.life(life);
    }
    if let Some(Adoption { object_id, imported, extractable }) = adoption {
        bytes.bytes(object_id.as_bytes());
        bytes.u8(u8::from(*imported));
        bytes.u8(u8::from(*extractable));
    }
    bytes.0
}

pub(crate) fn key_ring(change: &RowChange, row: &KeyRingRow) -> Vec<u8> {
    let KeyRingRow { uid: _, name, state, state_changed, reason } = row;
    let mut bytes = Bytes::start(VERSION, change);
    bytes.text(&name.to_string());
    bytes.text(state.as_str());
    bytes.time(*state_changed);
    bytes.optional(reason.as_ref(), |bytes, reason| bytes.text(reason));
    bytes.0
}

pub(crate) fn caller(change: &RowChange, row: &CallerRow) -> Vec<u8> {
    let CallerRow { id, uid: _, registration } = row;
    let version = match registration {
        None => VERSION,
        Some(registration) if registration.limits == CallerLimits::default() => VERSION_2,
        Some(_) => VERSION_3,
    };
    let mut bytes = Bytes::start(version, change);
    bytes.text(id.as_str());
    let Some(registration) = registration else { return bytes.0 };
    let CallerRegistration {
        environment,
        identities,
        groups,
        roles,
        rings,
        attributes,
        required_factors,
        limits,
        state,
        created,
        updated,
        state_changed,
        request_id,
    } = registration;
    bytes.text(environment.as_str());
    bytes.set(identities);
    bytes.set(groups);
    bytes.set(roles);
    bytes.set(rings);
    bytes.map(attributes);
    bytes.set(required_factors);
    bytes.text(state.as_str());
    bytes.time(*created);
    bytes.time(*updated);
    bytes.time(*state_changed);
    bytes.optional(request_id.as_ref(), |bytes, id| bytes.text(id));
    if version == VERSION_3 {
        let CallerLimits { usage, pace } = limits;
        bytes.usage_limits(*usage);
        bytes.pace(*pace);
    }
    bytes.0
}

pub(crate) fn api_key(change: &RowChange, row: &ApiKeyRow) -> Vec<u8> {
    let ApiKeyRow { uid: _, id, caller_uid, secret_hmac, scope, created, expires, revoked, replaced_by, request_id } =
        row;
    let ApiKeyScope { access, actions, rings, networks } = scope;
    let mut bytes = Bytes::start(VERSION, change);
    bytes.text(id.as_str());
    bytes.0.extend_from_slice(caller_uid.as_bytes());
    bytes.0.extend_from_slice(secret_hmac);
    bytes.text(access.as_str());
    bytes.set(actions);
    bytes.set(rings);
    bytes.set(networks);
    bytes.time(*created);
    bytes.time(*expires);
    bytes.optional(revoked.as_ref(), |bytes, time| bytes.time(*time));
    bytes.optional(replaced_by.as_ref(), |bytes, uid| bytes.0.extend_from_slice(uid.as_bytes()));
    bytes.optional(request_id.as_ref(), |bytes, id| bytes.text(id));
    bytes.0
}

pub(crate) fn policy_set(change: &RowChange, row: &PolicySetRow) -> Vec<u8> {
    let PolicySetRow { version: _, hash, documents, applied, applied_by } = row;
    let mut bytes = Bytes::start(VERSION, change);
    bytes.0.extend_from_slice(hash);
    bytes.length(documents.len());
    for PolicyDocument { name, text } in documents {
        bytes.text(name);
        bytes.text(text);
    }
    bytes.time(*applied);
    bytes.text(applied_by);
    bytes.0
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn start(version: u8, change: &RowChange) -> Self {
        let mut bytes = Self(Vec::with_capacity(256));
        bytes.u8(version);
        bytes.u8(change.table().code());
        bytes.0.extend_from_slice(change.row_id().as_bytes());
        bytes
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// A count or length; what the database takes in one row is far below four gigabytes.
    fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn time(&mut self, time: Timestamp) {
        self.0.extend_from_slice(&time.unix_micros().to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Ascending by the bytes of the key, which is the order of a `BTreeMap<String, _>`.
    fn map(&mut self, map: &BTreeMap<String, String>) {
        self.length(map.len());
        for (key, value) in map {
            self.text(key);
            self.text(value);
        }
    }

    /// Ascending by the bytes of the words, whatever their order as values.
    fn set<T: ToString>(&mut self, values: &BTreeSet<T>) {
        let words: BTreeSet<String> = values.iter().map(ToString::to_string).collect();
        self.length(words.len());
        for word in words {
            self.text(&word);
        }
    }

    fn rules(&mut self, rules: &KeyRules) {
        let KeyRules {
            owner,
            deletion_protection,
            rotation_period_seconds,
            next_rotation,
            publish_ahead_seconds,
            signing_period_seconds,
            limits,
            // Written apart, since rows of version 3 have none.
            pace: _,
        } = rules;
        self.optional(owner.as_ref(), |bytes, owner| bytes.text(owner));
        self.u8(u8::from(*deletion_protection));
        self.optional(rotation_period_seconds.as_ref(), |bytes, seconds| bytes.u32(*seconds));
        self.optional(next_rotation.as_ref(), |bytes, time| bytes.time(*time));
        self.optional(publish_ahead_seconds.as_ref(), |bytes, seconds| bytes.u32(*seconds));
        self.optional(signing_period_seconds.as_ref(), |bytes, seconds| bytes.u32(*seconds));
        self.usage_limits(*limits);
    }

    fn usage_limits(&mut self, limits: UsageLimits) {
        let UsageLimits { total, daily } = limits;
        self.optional(total.as_ref(), |bytes, count| bytes.u64(*count));
        self.optional(daily.as_ref(), |bytes, count| bytes.u64(*count));
    }

    fn pace(&mut self, pace: Pace) {
        let Pace { per_second, burst, concurrent } = pace;
        for number in [per_second, burst, concurrent] {
            self.optional(number.as_ref(), |bytes, number| bytes.u32(*number));
        }
    }

    fn life(&mut self, life: &VersionLife) {
        let VersionLife { activation, compromised, destroy_at, before_destruction, certificates } = life;
        self.optional(activation.as_ref(), |bytes, time| bytes.time(*time));
        self.optional(compromised.as_ref(), |bytes, time| bytes.time(*time));
        self.optional(destroy_at.as_ref(), |bytes, time| bytes.time(*time));
        self.optional(before_destruction.as_ref(), |bytes, state| bytes.text(state.as_str()));
        self.length(certificates.len());
        for certificate in certificates {
            self.bytes(certificate);
        }
    }

    fn optional<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::{Action, Algorithm, ApiKeyAccess, CallerState, Factor, Id, KeyState, RingState, Role, Uid};

    fn row() -> KeyRow {
        KeyRow {
            uid: Uid::from_bytes([7; 16]),
            name: "keyRings/r/keys/k".parse().unwrap(),
            algorithm: Algorithm::Ed25519,
            allow_digest: false,
            labels: BTreeMap::new(),
            max_jwt_lifetime_seconds: None,
            rules: KeyRules::default(),
            primary_version: None,
            created: Timestamp::from_unix_micros(1),
            updated: Timestamp::from_unix_micros(2),
            request_id: None,
        }
    }

    fn with(set: fn(&mut KeyRules)) -> KeyRules {
        let mut rules = KeyRules::default();
        set(&mut rules);
        rules
    }

    #[test]
    fn each_field_of_a_key_changes_its_bytes() {
        let bytes = |row: KeyRow| RowChange::PutKey(row).canonical_bytes().unwrap();
        let variants = [
            row(),
            KeyRow { uid: Uid::from_bytes([8; 16]), ..row() },
            KeyRow { name: "keyRings/r/keys/l".parse().unwrap(), ..row() },
            KeyRow { algorithm: Algorithm::EcdsaP256Sha256, ..row() },
            KeyRow { allow_digest: true, ..row() },
            KeyRow { labels: BTreeMap::from([("a".into(), "b".into())]), ..row() },
            KeyRow { labels: BTreeMap::from([("ab".into(), String::new())]), ..row() },
            KeyRow { max_jwt_lifetime_seconds: Some(1), ..row() },
            KeyRow { max_jwt_lifetime_seconds: Some(2), ..row() },
            KeyRow { max_jwt_lifetime_seconds: Some(2), rules: with(|rules| rules.owner = Some("o".into())), ..row() },
            KeyRow { rules: with(|rules| rules.owner = Some("o".into())), ..row() },
            KeyRow { rules: with(|rules| rules.owner = Some(String::new())), ..row() },
            KeyRow { rules: with(|rules| rules.deletion_protection = true), ..row() },
            KeyRow { rules: with(|rules| rules.rotation_period_seconds = Some(1)), ..row() },
            KeyRow { rules: with(|rules| rules.publish_ahead_seconds = Some(1)), ..row() },
            KeyRow { rules: with(|rules| rules.signing_period_seconds = Some(1)), ..row() },
            KeyRow { rules: with(|rules| rules.next_rotation = Some(Timestamp::from_unix_micros(1))), ..row() },
            KeyRow { rules: with(|rules| rules.limits.total = Some(1)), ..row() },
            KeyRow { rules: with(|rules| rules.limits.daily = Some(1)), ..row() },
            KeyRow { rules: with(|rules| rules.pace.per_second = Some(1)), ..row() },
            KeyRow { rules: with(|rules| rules.pace.burst = Some(1)), ..row() },
            KeyRow { rules: with(|rules| rules.pace.concurrent = Some(1)), ..row() },
            KeyRow { primary_version: Some(1), ..row() },
            KeyRow { created: Timestamp::from_unix_micros(3), ..row() },
            KeyRow { updated: Timestamp::from_unix_micros(3), ..row() },
            KeyRow { request_id: Some(String::new()), ..row() },
            KeyRow { request_id: Some("x".into()), ..row() },
        ];
        let all: std::collections::BTreeSet<Vec<u8>> = variants.iter().cloned().map(bytes).collect();
        assert_eq!(all.len(), variants.len());
    }

    fn registration() -> CallerRegistration {
        CallerRegistration {
            environment: id("dev"),
            identities: BTreeSet::new(),
            groups: BTreeSet::new(),
            roles: BTreeSet::new(),
            rings: BTreeSet::new(),
            attributes: BTreeMap::new(),
            required_factors: BTreeSet::new(),
            limits: CallerLimits::default(),
            state: CallerState::Active,
            created: Timestamp::from_unix_micros(1),
            updated: Timestamp::from_unix_micros(2),
            state_changed: Timestamp::from_unix_micros(3),
            request_id: None,
        }
    }

    fn limited(set: fn(&mut CallerLimits)) -> CallerLimits {
        let mut limits = CallerLimits::default();
        set(&mut limits);
        limits
    }

    fn id(text: &str) -> Id {
        Id::parse("an id", text).unwrap()
    }

    #[test]
    fn each_field_of_a_caller_changes_its_bytes() {
        let row = |registration| CallerRow { id: id("shop"), uid: Uid::from_bytes([7; 16]), registration };
        let of = |registration| row(Some(registration));
        let time = Timestamp::from_unix_micros(9);
        let variants = [
            row(None),
            of(registration()),
            CallerRow { id: id("till"), ..of(registration()) },
            CallerRow { uid: Uid::from_bytes([8; 16]), ..of(registration()) },
            of(CallerRegistration { environment: id("prod"), ..registration() }),
            of(CallerRegistration { identities: ["dns:a.example".parse().unwrap()].into(), ..registration() }),
            of(CallerRegistration { groups: [id("signer")].into(), ..registration() }),
            of(CallerRegistration { roles: [Role::Signer].into(), ..registration() }),
            of(CallerRegistration { rings: [id("signer")].into(), ..registration() }),
            of(CallerRegistration { attributes: [("a".into(), "b".into())].into(), ..registration() }),
            of(CallerRegistration { required_factors: [Factor::ApiKey].into(), ..registration() }),
            of(CallerRegistration { limits: limited(|limits| limits.usage.total = Some(1)), ..registration() }),
            of(CallerRegistration { limits: limited(|limits| limits.usage.daily = Some(1)), ..registration() }),
            of(CallerRegistration { limits: limited(|limits| limits.pace.per_second = Some(1)), ..registration() }),
            of(CallerRegistration { limits: limited(|limits| limits.pace.burst = Some(1)), ..registration() }),
            of(CallerRegistration { limits: limited(|limits| limits.pace.concurrent = Some(1)), ..registration() }),
            of(CallerRegistration { state: CallerState::Suspended, ..registration() }),
            of(CallerRegistration { created: time, ..registration() }),
            of(CallerRegistration { updated: time, ..registration() }),
            of(CallerRegistration { state_changed: time, ..registration() }),
            of(CallerRegistration { request_id: Some(String::new()), ..registration() }),
        ];
        let bytes = |row: &CallerRow| RowChange::PutCaller(row.clone()).canonical_bytes().unwrap();
        let all: BTreeSet<Vec<u8>> = variants.iter().map(bytes).collect();
        assert_eq!(all.len(), variants.len());
        assert_eq!(bytes(&variants[0])[0], 1, "the version in which an earlier program recorded it");
        assert_eq!(bytes(&variants[1])[0], 2, "the version in which an earlier program recorded it");
    }

    #[test]
    fn each_field_of_an_api_key_changes_its_bytes() {
        let scope = || ApiKeyScope {
            access: ApiKeyAccess::ReadOnly,
            actions: BTreeSet::new(),
            rings: BTreeSet::new(),
            networks: BTreeSet::new(),
        };
        let row = || ApiKeyRow {
            uid: Uid::from_bytes([7; 16]),
            id: "0aZ9bY8cX7dW".parse().unwrap(),
            caller_uid: Uid::from_bytes([8; 16]),
            secret_hmac: [9; 32],
            scope: scope(),
            created: Timestamp::from_unix_micros(1),
            expires: Timestamp::from_unix_micros(2),
            revoked: None,
            replaced_by: None,
            request_id: None,
        };
        let time = Timestamp::from_unix_micros(9);
        let variants = [
            row(),
            ApiKeyRow { uid: Uid::from_bytes([1; 16]), ..row() },
            ApiKeyRow { id: "0aZ9bY8cX7dX".parse().unwrap(), ..row() },
            ApiKeyRow { caller_uid: Uid::from_bytes([1; 16]), ..row() },
            ApiKeyRow { secret_hmac: [1; 32], ..row() },
            ApiKeyRow { scope: ApiKeyScope { access: ApiKeyAccess::ReadWrite, ..scope() }, ..row() },
            ApiKeyRow { scope: ApiKeyScope { actions: [Action::Sign].into(), ..scope() }, ..row() },
            ApiKeyRow { scope: ApiKeyScope { rings: [id("r")].into(), ..scope() }, ..row() },
            ApiKeyRow { scope: ApiKeyScope { networks: ["10.0.0.0/8".parse().unwrap()].into(), ..scope() }, ..row() },
            ApiKeyRow { created: time, ..row() },
            ApiKeyRow { expires: time, ..row() },
            ApiKeyRow { revoked: Some(time), ..row() },
            ApiKeyRow { replaced_by: Some(Uid::NONE), ..row() },
            ApiKeyRow { request_id: Some(String::new()), ..row() },
        ];
        let bytes = |row: &ApiKeyRow| RowChange::PutApiKey(row.clone()).canonical_bytes().unwrap();
        let all: BTreeSet<Vec<u8>> = variants.iter().map(bytes).collect();
        assert_eq!(all.len(), variants.len());
    }

    fn version_row(life: VersionLife, adoption: Option<Adoption>) -> KeyVersionRow {
        KeyVersionRow {
            uid: Uid::from_bytes([8; 16]),
            key_uid: Uid::from_bytes([7; 16]),
            version: 1,
            state: KeyState::Active,
            spki_der: None,
            created: Timestamp::from_unix_micros(1),
            generated: None,
            state_changed: Timestamp::from_unix_micros(1),
            life,
            adoption,
            request_id: None,
        }
    }

    #[test]
    fn each_field_of_an_adoption_changes_the_bytes_of_its_version() {
        let adopted = |object_id: &str, imported, extractable| {
            Some(Adoption { object_id: object_id.parse().unwrap(), imported, extractable })
        };
        let compromised = VersionLife { compromised: Some(Timestamp::from_unix_micros(1)), ..VersionLife::default() };
        let variants = [
            version_row(VersionLife::default(), None),
            version_row(VersionLife::default(), adopted("01", false, false)),
            version_row(VersionLife::default(), adopted("0100", false, false)),
            version_row(VersionLife::default(), adopted("01", true, false)),
            version_row(VersionLife::default(), adopted("01", false, true)),
            version_row(compromised.clone(), adopted("01", false, false)),
            version_row(compromised, None),
        ];
        let bytes = |row: &KeyVersionRow| RowChange::PutKeyVersion(row.clone()).canonical_bytes().unwrap();
        let all: BTreeSet<Vec<u8>> = variants.iter().map(bytes).collect();
        assert_eq!(all.len(), variants.len());
    }

    #[test]
    fn each_field_of_a_key_ring_changes_its_bytes() {
        let row = || KeyRingRow {
            uid: Uid::from_bytes([7; 16]),
            name: "keyRings/r".parse().unwrap(),
            state: RingState::Frozen,
            state_changed: Timestamp::from_unix_micros(1),
            reason: None,
        };
        let variants = [
            row(),
            KeyRingRow { uid: Uid::from_bytes([8; 16]), ..row() },
            KeyRingRow { name: "keyRings/s".parse().unwrap(), ..row() },
            KeyRingRow { state: RingState::Active, ..row() },
            KeyRingRow { state_changed: Timestamp::from_unix_micros(2), ..row() },
            KeyRingRow { reason: Some(String::new()), ..row() },
            KeyRingRow { reason: Some("incident 77".to_owned()), ..row() },
        ];
        let bytes = |row: &KeyRingRow| RowChange::PutKeyRing(row.clone()).canonical_bytes().unwrap();
        let all: BTreeSet<Vec<u8>> = variants.iter().map(bytes).collect();
        assert_eq!(all.len(), variants.len());
    }

    #[test]
    fn each_field_of_a_version_s_life_changes_its_bytes() {
        let bytes = |set: fn(&mut VersionLife)| {
            let mut life = VersionLife::default();
            set(&mut life);
            RowChange::PutKeyVersion(version_row(life, None)).canonical_bytes().unwrap()
        };
        let variants: [fn(&mut VersionLife); 10] = [
            |_| {},
            |life| life.activation = Some(Timestamp::from_unix_micros(1)),
            |life| life.compromised = Some(Timestamp::from_unix_micros(1)),
            |life| life.destroy_at = Some(Timestamp::from_unix_micros(1)),
            |life| life.destroy_at = Some(Timestamp::from_unix_micros(2)),
            |life| life.before_destruction = Some(KeyState::Active),
            |life| life.before_destruction = Some(KeyState::Suspended),
            |life| life.certificates = vec![vec![]],
            |life| life.certificates = vec![vec![1]],
            |life| life.certificates = vec![vec![], vec![1]],
        ];
        let all: std::collections::BTreeSet<Vec<u8>> = variants.iter().map(|set| bytes(*set)).collect();
        assert_eq!(all.len(), variants.len());
        assert_eq!(bytes(|_| {})[0], VERSION, "what it was recorded in before there was such a thing");
    }

    #[test]
    fn a_removed_row_has_no_bytes_and_keeps_its_id() {
        let change = RowChange::DeleteKey(Uid::from_bytes([7; 16]));
        assert_eq!(change.canonical_bytes(), None);
        assert_eq!(change.row_id(), RowChange::PutKey(row()).row_id());
    }
}
