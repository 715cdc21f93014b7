//! Each field of each row changes its bytes.

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
        KeyRow { rules: with(|rules| rules.requires_caller_signature = true), ..row() },
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
