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

/// The version of a key that requires its caller's signature.
const VERSION_5: u8 = 5;

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
        _ if rules.requires_caller_signature => VERSION_5,
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
        (VERSION_3 | VERSION_4 | VERSION_5, seconds) => {
            bytes.optional(seconds.as_ref(), |bytes, seconds| bytes.u32(*seconds));
            bytes.rules(rules);
            if version != VERSION_3 {
                bytes.pace(rules.pace);
            }
            if version == VERSION_5 {
                bytes.u8(u8::from(rules.requires_caller_signature));
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
            requires_caller_signature: _,
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
mod tests;
