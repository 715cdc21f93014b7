//! The store on real files: what is written comes back, what is undone does not, and one database has one service.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests are free to stop at the first surprise"
)]

use chancery_model::{
    Action, Adoption, Algorithm, ApiKeyAccess, ApiKeyScope, CallerLimits, CallerState, Factor, Id, KeyRules, KeyState,
    Pace, RingState, Role, Timestamp, Uid, UsageLimits, VersionLife,
};
use chancery_store::{
    ApiKeyRow, CallerRegistration, CallerRow, KeyRingRow, KeyRow, KeyVersionRow, NewRecord, OpenError, Order,
    PolicyDocument, PolicySetRow, RecordEnd, RecordProgress, RecordQuery, RowChange, SearchColumns, StoreError, Writer,
    open,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("chancery.db");
    (folder, path)
}

fn uid(byte: u8) -> Uid {
    Uid::from_bytes([byte; 16])
}

fn time(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros)
}

fn key(byte: u8, name: &str) -> KeyRow {
    KeyRow {
        uid: uid(byte),
        name: name.parse().unwrap(),
        algorithm: Algorithm::EcdsaP256Sha256,
        allow_digest: true,
        labels: BTreeMap::from([("team".into(), "shop".into()), ("tier".into(), "1".into())]),
        max_jwt_lifetime_seconds: Some(900),
        rules: rules(),
        primary_version: Some(1),
        created: time(1),
        updated: time(2),
        request_id: Some("r-1".into()),
    }
}

fn rules() -> KeyRules {
    KeyRules {
        owner: Some("payments team".into()),
        deletion_protection: true,
        rotation_period_seconds: Some(90),
        next_rotation: Some(time(9)),
        publish_ahead_seconds: Some(30),
        signing_period_seconds: Some(180),
        limits: UsageLimits { total: Some(1_000), daily: Some(10) },
        pace: Pace { per_second: Some(50), burst: Some(100), concurrent: Some(8) },
        requires_caller_signature: true,
    }
}

fn version(byte: u8, key: u8, version: u32) -> KeyVersionRow {
    KeyVersionRow {
        uid: uid(byte),
        key_uid: uid(key),
        version,
        state: KeyState::Active,
        spki_der: Some(vec![0x30, 0]),
        created: time(3),
        generated: Some(time(4)),
        state_changed: time(5),
        life: VersionLife {
            activation: Some(time(6)),
            compromised: Some(time(7)),
            destroy_at: Some(time(8)),
            before_destruction: Some(KeyState::Compromised),
            certificates: vec![vec![0x30, 1], vec![0x30, 2]],
        },
        adoption: Some(Adoption { object_id: "0a0b0c".parse().unwrap(), imported: true, extractable: false }),
        request_id: None,
    }
}

fn policy_set(version: u64) -> PolicySetRow {
    let document = |name: &str| PolicyDocument { name: name.into(), text: format!("// {name}") };
    PolicySetRow {
        version,
        hash: [u8::try_from(version).unwrap(); 32],
        documents: vec![document("z"), document("a")],
        applied: time(6),
        applied_by: "callers/olga".into(),
    }
}

fn id(text: &str) -> Id {
    Id::parse("an id", text).unwrap()
}

fn caller(byte: u8, name: &str) -> CallerRow {
    let registration = CallerRegistration {
        environment: id("dev"),
        identities: [format!("spiffe://chancery.dev/{name}").parse().unwrap(), "dns:a.example".parse().unwrap()].into(),
        groups: [id("shop"), id("till")].into(),
        roles: [Role::Signer, Role::Auditor].into(),
        rings: [id("payments")].into(),
        attributes: BTreeMap::from([("team".to_owned(), "checkout".to_owned())]),
        required_factors: [Factor::Certificate, Factor::ApiKey].into(),
        limits: CallerLimits {
            usage: UsageLimits { total: Some(2_000), daily: Some(20) },
            pace: Pace { per_second: Some(5), burst: Some(10), concurrent: Some(2) },
        },
        state: CallerState::Suspended,
        created: time(1),
        updated: time(2),
        state_changed: time(3),
        request_id: Some("r".to_owned()),
    };
    CallerRow { id: id(name), uid: uid(byte), registration: Some(registration) }
}

fn api_key(byte: u8, caller: u8) -> ApiKeyRow {
    ApiKeyRow {
        uid: uid(byte),
        id: "0aZ9bY8cX7dW".parse().unwrap(),
        caller_uid: uid(caller),
        secret_hmac: [7; 32],
        scope: ApiKeyScope {
            access: ApiKeyAccess::ReadWrite,
            actions: [Action::Sign, Action::Verify].into(),
            rings: [id("payments")].into(),
            networks: ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()].into(),
        },
        created: time(4),
        expires: time(5),
        revoked: Some(time(6)),
        replaced_by: Some(uid(21)),
        request_id: Some("r".to_owned()),
    }
}

/// Applies rows as one change.
fn change(writer: &mut Writer, rows: &[RowChange]) {
    let epoch = writer.head().unwrap().epoch;
    let mut transaction = writer.begin().unwrap();
    assert!(transaction.raise_epoch(epoch, 0).unwrap().is_some());
    for row in rows {
        transaction.apply(row).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn rows_come_back_as_they_were_written() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    let first = reader.load_state().unwrap();
    assert_eq!((first.epoch.get(), first.keys.len(), first.policy_set), (1, 0, None));

    let pending = KeyVersionRow {
        state: KeyState::PendingGeneration,
        spki_der: None,
        generated: None,
        life: VersionLife::default(),
        adoption: None,
        request_id: Some("r-2".into()),
        ..version(12, 1, 2)
    };
    let bare = KeyRow {
        labels: BTreeMap::new(),
        max_jwt_lifetime_seconds: None,
        rules: KeyRules::default(),
        primary_version: None,
        request_id: None,
        ..key(2, "keyRings/b/keys/k")
    };
    let caller = caller(9, "checkout");
    let bare_caller = CallerRow { id: id("till"), uid: uid(10), registration: None };
    let api_key = api_key(20, 9);
    let bare_api_key = ApiKeyRow {
        uid: uid(21),
        id: "1aZ9bY8cX7dW".parse().unwrap(),
        scope: ApiKeyScope {
            access: ApiKeyAccess::ReadOnly,
            actions: BTreeSet::new(),
            rings: BTreeSet::new(),
            networks: BTreeSet::new(),
        },
        revoked: None,
        replaced_by: None,
        request_id: None,
        ..api_key.clone()
    };
    let ring = |byte, name: &str, state, reason: Option<&str>| KeyRingRow {
        uid: uid(byte),
        name: name.parse().unwrap(),
        state,
        state_changed: time(9),
        reason: reason.map(str::to_owned),
    };
    let rings = [
        ring(30, "keyRings/a", RingState::Frozen, Some("incident 77")),
        ring(31, "keyRings/b", RingState::Active, None),
    ];
    let rows = [
        // A version before its key: within a change the order is free.
        RowChange::PutKeyVersion(version(11, 1, 1)),
        RowChange::PutKeyVersion(pending.clone()),
        RowChange::PutKey(key(1, "keyRings/a/keys/k")),
        RowChange::PutKey(bare.clone()),
        RowChange::PutApiKey(api_key.clone()),
        RowChange::PutApiKey(bare_api_key.clone()),
        RowChange::PutCaller(caller.clone()),
        RowChange::PutCaller(bare_caller.clone()),
        RowChange::PutPolicySet(policy_set(1)),
        RowChange::PutPolicySet(policy_set(2)),
        RowChange::PutKeyRing(rings[1].clone()),
        RowChange::PutKeyRing(rings[0].clone()),
    ];
    change(&mut writer, &rows);
    let state = reader.load_state().unwrap();
    assert_eq!(state.epoch.get(), 2);
    assert_eq!(state.keys, [key(1, "keyRings/a/keys/k"), bare]);
    assert_eq!(state.key_versions, [version(11, 1, 1), pending]);
    assert_eq!(state.key_rings, rings);
    assert_eq!(state.callers, [caller, bare_caller]);
    assert_eq!(state.api_keys, [api_key, bare_api_key]);
    assert_eq!(state.policy_set, Some(policy_set(2)), "the newest one, with its documents in their order");

    // The same after the database was closed and opened.
    drop((writer, reader));
    let (_writer, reader) = open(&path).unwrap();
    assert_eq!(reader.load_state().unwrap(), state);
}

#[test]
fn rows_are_replaced_and_removed() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    let one = RowChange::PutKey(key(1, "keyRings/a/keys/k"));
    change(&mut writer, &[one, RowChange::PutKeyVersion(version(11, 1, 1))]);
    let relabelled = KeyRow { labels: BTreeMap::from([("only".into(), "one".into())]), ..key(1, "keyRings/a/keys/k") };
    let suspended = KeyVersionRow { state: KeyState::Suspended, ..version(11, 1, 1) };
    change(&mut writer, &[RowChange::PutKey(relabelled.clone()), RowChange::PutKeyVersion(suspended.clone())]);
    let state = reader.load_state().unwrap();
    assert_eq!((state.keys, state.key_versions), (vec![relabelled], vec![suspended]));
    change(&mut writer, &[RowChange::DeleteKey(uid(1)), RowChange::DeleteKeyVersion(uid(11))]);
    let state = reader.load_state().unwrap();
    assert_eq!((state.keys, state.key_versions), (vec![], vec![]));
}

#[test]
fn a_caller_loses_what_it_no_longer_has_and_its_identity_is_free_for_another() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    change(&mut writer, &[RowChange::PutCaller(caller(9, "shop")), RowChange::PutApiKey(api_key(20, 9))]);
    let mut less = caller(9, "shop");
    let registration = less.registration.as_mut().unwrap();
    let freed = registration.identities.pop_first();
    registration.groups.clear();
    registration.roles.clear();
    registration.attributes.clear();
    let mut other = caller(10, "other");
    other.registration.as_mut().unwrap().identities = freed.into_iter().collect();
    change(&mut writer, &[RowChange::PutCaller(less.clone()), RowChange::PutCaller(other.clone())]);
    assert_eq!(reader.load_state().unwrap().callers, [other, less]);
}

#[test]
fn the_last_use_of_an_api_key_is_kept_beside_the_state() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    change(&mut writer, &[RowChange::PutCaller(caller(9, "shop")), RowChange::PutApiKey(api_key(20, 9))]);
    let before = reader.load_state().unwrap();
    assert!(before.api_key_uses.is_empty());
    for used in [50, 70, 60] {
        let mut transaction = writer.begin().unwrap();
        transaction.note_api_key_use(uid(20), time(used)).unwrap();
        transaction.commit().unwrap();
    }
    let state = reader.load_state().unwrap();
    assert_eq!(state.api_key_uses, BTreeMap::from([(uid(20), time(70))]));
    assert_eq!(state.epoch, before.epoch);
}

#[test]
fn a_version_without_its_key_is_refused_at_the_commit() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    let mut transaction = writer.begin().unwrap();
    transaction.apply(&RowChange::PutKeyVersion(version(11, 1, 1))).unwrap();
    assert!(transaction.commit().is_err());
    assert_eq!(reader.load_state().unwrap().key_versions, []);
}

/// What another hand puts into the schema while the service runs lets a row vanish, and SQLite reports no error.
#[test]
fn a_row_that_is_passed_over_is_no_row_that_was_written() {
    let (_folder, path) = folder();
    let (mut writer, _reader) = open(&path).unwrap();
    for table in ["leaves", "details", "open_intents", "callers"] {
        let by_hand = rusqlite::Connection::open(&path).unwrap();
        by_hand
            .execute_batch(&format!("CREATE TRIGGER gone BEFORE INSERT ON {table} BEGIN SELECT RAISE(IGNORE); END"))
            .unwrap();
        let mut transaction = writer.begin().unwrap();
        let first = transaction.take_indexes(1).unwrap().first;
        let search = SearchColumns {
            time: time(1),
            kind: 0,
            caller: None,
            resource: None,
            action: None,
            decision: None,
            digest: None,
            trace_id: None,
        };
        let record = NewRecord { index: first, leaf: b"leaf", salt: &[7; 32], details: b"{}", search };
        let written = transaction
            .append(&record)
            .and_then(|()| transaction.open_intent(first, &id("one"), false))
            .and_then(|()| transaction.apply(&RowChange::PutCaller(caller(3, "till"))));
        assert!(matches!(written, Err(StoreError::Damaged { .. })), "{table}: {written:?}");
        drop(transaction);
        by_hand.execute_batch("DROP TRIGGER gone").unwrap();
    }
}

#[test]
fn what_is_not_committed_never_was() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    let head = writer.head().unwrap();
    let mut transaction = writer.begin().unwrap();
    transaction.raise_epoch(head.epoch, 3).unwrap().unwrap();
    transaction.apply(&RowChange::PutKey(key(1, "keyRings/a/keys/k"))).unwrap();
    drop(transaction);
    assert_eq!(writer.head().unwrap(), head);
    assert_eq!(reader.load_state().unwrap().keys, []);
}

#[test]
fn indexes_are_dense_and_guarded_by_the_epoch() {
    let (_folder, path) = folder();
    let (mut writer, _reader) = open(&path).unwrap();
    let old = writer.head().unwrap().epoch;
    let mut transaction = writer.begin().unwrap();
    assert_eq!(transaction.take_indexes(2).unwrap().first, 0);
    assert_eq!(transaction.take_indexes_at(old, 3).unwrap().unwrap().first, 2);
    let raised = transaction.raise_epoch(old, 1).unwrap().unwrap();
    assert_eq!((raised.first, raised.epoch.get()), (5, old.get() + 1));
    // From here on nothing that was decided on the old state is taken, in the same transaction or later.
    assert_eq!(transaction.take_indexes_at(old, 1).unwrap(), None);
    assert_eq!(transaction.raise_epoch(old, 1).unwrap(), None);
    transaction.commit().unwrap();
    let mut transaction = writer.begin().unwrap();
    assert_eq!(transaction.take_indexes_at(old, 1).unwrap(), None);
    assert_eq!(transaction.take_indexes_at(raised.epoch, 1).unwrap().unwrap().first, 6);
    transaction.commit().unwrap();
    assert_eq!(writer.head().unwrap().next_index, 7);
}

#[test]
fn a_second_service_is_refused_by_whatever_path_it_comes() {
    let (folder, path) = folder();
    let (writer, _reader) = open(&path).unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for other in [&path, &link] {
        match open(other).unwrap_err() {
            OpenError::InUse { holder, .. } => assert_eq!(holder, format!("process {}", std::process::id())),
            error => panic!("{error}"),
        }
    }
    drop(writer);
    open(&link).unwrap();
}

#[test]
fn a_database_of_a_newer_program_is_refused() {
    let (_folder, path) = folder();
    drop(open(&path).unwrap());
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute("INSERT INTO migrations VALUES (99, 'of tomorrow', '', 0)", []).unwrap();
    drop(database);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let (folder, path) = folder();
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("CREATE TABLE theirs (x INTEGER)").unwrap();
    drop(database);
    let before = std::fs::read(&path).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "not a database, but long enough to look at. ".repeat(50)).unwrap();
    assert!(matches!(open(&text).unwrap_err(), OpenError::Database { .. }));
    let nowhere = folder.path().join("no/such/folder/chancery.db");
    assert!(matches!(open(&nowhere).unwrap_err(), OpenError::Path { .. }));
}

#[test]
fn the_files_are_for_the_service_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = folder();
    let (mut writer, _reader) = open(&path).unwrap();
    change(&mut writer, &[]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_extension("db-wal")), 0o600);
}

/// Index, time, kind, caller, resource and action of a record; its leaf is its index.
type Line = (u64, i64, u8, Option<&'static str>, Option<&'static str>, Option<Action>);

const LOG: [Line; 6] = [
    (0, 10, 1, Some("alice"), Some("keyRings/a/keys/k/versions/1"), Some(Action::Sign)),
    (1, 20, 2, None, None, None),
    (2, 30, 3, Some("olga"), Some("keyRings/a/keys/k/versions/2"), Some(Action::RotateKey)),
    (3, 25, 1, Some("bob"), Some("keyRings/a/keys/kk/versions/1"), Some(Action::Sign)),
    (4, 40, 4, Some("alice"), Some("keyRings/a"), Some(Action::GetKeyRing)),
    (5, 50, 1, Some("alice"), Some("keyRings/ab/keys/k/versions/1"), Some(Action::Sign)),
];

fn write_log(writer: &mut Writer) {
    let instance = Id::parse("the instance", "one").unwrap();
    let mut transaction = writer.begin().unwrap();
    transaction.take_indexes(6).unwrap();
    for (index, at, kind, caller, resource, action) in LOG {
        let decision = if kind == 4 { Some(2) } else { Some(1) };
        let search =
            SearchColumns { time: time(at), kind, caller, resource, action, decision, digest: None, trace_id: None };
        let (leaf, details) = (index.to_be_bytes(), format!("{{\"n\":{index}}}"));
        let record = NewRecord { index, leaf: &leaf, salt: &[7; 32], details: details.as_bytes(), search };
        transaction.append(&record).unwrap();
    }
    transaction.open_intent(0, &instance, false).unwrap();
    transaction.open_intent(2, &instance, true).unwrap();
    transaction.open_intent(3, &instance, false).unwrap();
    assert!(transaction.close_intent(0, RecordEnd { outcome: 1, result: 1 }).unwrap());
    assert!(!transaction.close_intent(0, RecordEnd { outcome: 4, result: 2 }).unwrap(), "the first end stands");
    transaction.commit().unwrap();
}

#[test]
fn records_are_found_by_what_they_are_about() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    write_log(&mut writer);
    let all = RecordQuery::default;
    let found = |query: RecordQuery| -> Vec<u64> {
        reader.list_records(&query).unwrap().records.iter().map(|record| record.index).collect()
    };
    let on = |resource: &str| RecordQuery { resource: Some(resource.into()), ..all() };
    assert_eq!(found(all()), [5, 4, 3, 2, 1, 0]);
    assert_eq!(found(RecordQuery { order: Order::OldestFirst, limit: 2, ..all() }), [0, 1]);
    assert_eq!(found(RecordQuery { order: Order::OldestFirst, from_index: Some(4), ..all() }), [4, 5]);
    assert_eq!(found(RecordQuery { from_index: Some(1), ..all() }), [1, 0]);
    assert_eq!(found(RecordQuery { before_index: Some(2), ..all() }), [1, 0]);
    let between = RecordQuery { from_index: Some(1), before_index: Some(4), order: Order::OldestFirst, ..all() };
    assert_eq!(found(between.clone()), [1, 2, 3]);
    assert_eq!(found(RecordQuery { action: Some(Action::Sign), ..between }), [3]);
    assert_eq!(found(RecordQuery { from_time: Some(time(25)), until_time: Some(time(40)), ..all() }), [3, 2]);
    assert_eq!(found(RecordQuery { caller: Some(Id::parse("the caller id", "alice").unwrap()), ..all() }), [5, 4, 0]);
    assert_eq!(found(RecordQuery { action: Some(Action::Sign), ..all() }), [5, 3, 0]);
    assert_eq!(found(RecordQuery { kind: Some(2), ..all() }), [1]);
    assert_eq!(found(RecordQuery { decision: Some(2), ..all() }), [4]);
    assert_eq!(found(on("keyRings/a")), [4, 3, 2, 0]);
    assert_eq!(found(on("keyRings/a/keys/k")), [2, 0]);
    assert_eq!(found(on("keyRings/a/keys/k/versions/2")), [2]);
    assert_eq!(found(on("keyRings/nothing")), []);
    assert_eq!(found(on("%")), []);
    assert_eq!(
        found(RecordQuery { action: Some(Action::Sign), from_index: Some(4), limit: 1, ..on("keyRings/a") }),
        [3]
    );
}

/// Records of one transaction in two blocks of 4,096, whose times cross: each is found by its time, in the record's order.
#[test]
fn records_are_found_by_times_that_do_not_follow_the_indexes() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    let mut transaction = writer.begin().unwrap();
    transaction.take_indexes(4_100).unwrap();
    for index in 0..4_100_u64 {
        let at = if index == 4_098 { 5 } else { 100 + i64::try_from(index).unwrap() };
        let search = SearchColumns {
            time: time(at),
            kind: 1,
            caller: None,
            resource: None,
            action: None,
            decision: None,
            digest: None,
            trace_id: None,
        };
        let leaf = index.to_be_bytes();
        transaction.append(&NewRecord { index, leaf: &leaf, salt: &[7; 32], details: b"{}", search }).unwrap();
    }
    transaction.commit().unwrap();
    let found = |from: i64, until: i64| -> Vec<u64> {
        let query =
            RecordQuery { from_time: Some(time(from)), until_time: Some(time(until)), ..RecordQuery::default() };
        let page = reader.list_records(&query).unwrap();
        assert_eq!(page.next, None);
        page.records.iter().map(|record| record.index).collect()
    };
    assert_eq!(found(0, 102), [4_098, 1, 0]);
    assert_eq!(found(4_197, 5_000), [4_099, 4_097]);
    assert_eq!(found(4_195, 4_197), [4_096, 4_095]);
    assert_eq!(found(10, 20), []);
}

#[test]
fn a_record_says_whether_it_has_ended() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    write_log(&mut writer);
    let records =
        reader.list_records(&RecordQuery { order: Order::OldestFirst, ..RecordQuery::default() }).unwrap().records;
    let progress: Vec<RecordProgress> = records.iter().map(|record| record.progress).collect();
    use RecordProgress::{Complete, Ended, Open};
    assert_eq!(progress, [Ended(RecordEnd { outcome: 1, result: 1 }), Complete, Open, Open, Complete, Complete]);
    let one = Id::parse("the instance", "one").unwrap();
    let open: Vec<(u64, bool)> =
        reader.open_intents(&one).unwrap().iter().map(|intent| (intent.index, intent.act)).collect();
    assert_eq!(open, [(2, true), (3, false)]);
    assert_eq!(writer.open_intents(&Id::parse("the instance", "two").unwrap()).unwrap(), []);
    let details = records[3].details.as_ref().unwrap();
    assert_eq!((details.salt, details.content.as_slice()), ([7; 32], b"{\"n\":3}".as_slice()));
    assert_eq!(records[3].leaf, 3_u64.to_be_bytes());
}

#[test]
fn details_can_be_erased_and_leaves_cannot_be_touched() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    write_log(&mut writer);
    let database = rusqlite::Connection::open(&path).unwrap();
    for forgery in ["UPDATE leaves SET leaf = x'00' WHERE idx = 5", "DELETE FROM leaves WHERE idx = 5"] {
        let error = database.execute(forgery, []).unwrap_err();
        assert!(error.to_string().contains("a leaf is final"), "{error}");
    }
    database.execute("DELETE FROM details WHERE idx = 5", []).unwrap();
    let records = reader.list_records(&RecordQuery::default()).unwrap().records;
    assert_eq!((records[0].index, records[0].leaf.clone()), (5, 5_u64.to_be_bytes().to_vec()));
    assert_eq!(records[0].details, None);
    // By its content it is found no more.
    let signs = RecordQuery { action: Some(Action::Sign), ..RecordQuery::default() };
    assert_eq!(reader.list_records(&signs).unwrap().records.len(), 2);
}

#[test]
fn readers_work_side_by_side_and_see_whole_changes() {
    let (_folder, path) = folder();
    let (mut writer, reader) = open(&path).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let reader = reader.clone();
            scope.spawn(move || {
                let mut last = 0;
                while last < 100 {
                    let state = reader.load_state().unwrap();
                    // Change n writes key n - 1: the number of keys belongs to the epoch.
                    assert_eq!(state.keys.len() as u64, state.epoch.get() - 1);
                    assert!(state.epoch.get() >= last);
                    last = state.epoch.get();
                }
            });
        }
        for byte in 0..100 {
            change(&mut writer, &[RowChange::PutKey(key(byte, &format!("keyRings/a/keys/k{byte}")))]);
        }
    });
}
