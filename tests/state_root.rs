//! The state is held to its seal: whatever another hand changes in the database is found at the start, refused and recorded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use chancery_audit::{Log, LogSettings};
use chancery_core::{StateDesk, StateError, StateRefusal, StateReport, Tampering};
use chancery_hsm::Token;
use chancery_model::{Algorithm, Id, KeyName};
use chancery_pkcs11_fault::Rule;
use chancery_store::OpenError;
use chancery_testkit::Chancery;
use chancery_testkit::client::{EcdsaEncoding, NewKey};
use chancery_tests::contract::admin_get;
use chancery_tests::faults::{Faulty, clear_pin_latch};
use chancery_tests::hand::{self, Column, OTHERS, STATE, Saved};
use chancery_tests::load::{create_key, metric, until};
use chancery_tests::office::{token_settings, worker};
use chancery_tests::program::{chancery, command, run, succeed};
use rusqlite::types::Value;
use serde_json::Value as Json;

/// What a table has: its name, its columns, its rows.
type Content = (&'static str, Vec<Column>, Vec<Vec<Value>>);

/// A service that has stopped, with something in every table of the state.
struct Stopped {
    chancery: Chancery,
    /// As it was before the last changes.
    yesterday: Saved,
    /// As it is.
    today: Saved,
}

impl Stopped {
    async fn with_everything() -> Self {
        let mut chancery = Chancery::start().await.unwrap();
        let operator = chancery.operator().await.unwrap();
        for (id, algorithm) in
            [("a", Algorithm::Ed25519), ("b", Algorithm::EcdsaP256Sha256), ("mac", Algorithm::HmacSha256)]
        {
            let name = format!("keyRings/dev/keys/{id}").parse().unwrap();
            operator.create_key(NewKey::new(name, algorithm)).await.unwrap();
        }
        let cli = |line: &str| succeed(chancery.cli().args(line.split_whitespace()));
        cli("keys update dev/a --label team=payments --owner ada");
        cli("keys update dev/a --max-signatures 1000 --max-uses-per-second 50 --max-burst 60 --max-concurrent-uses 7");
        cli("keys rotate dev/b");
        cli(
            "callers create till --environment dev --identity spiffe://chancery.dev/till --role signer --key-ring dev \
             --group shop --attribute team=payments --require certificate",
        );
        cli(
            "callers update till --max-signatures 1000 --max-uses-per-second 50 --max-burst 60 --max-concurrent-calls 7",
        );
        cli("rings freeze dev --reason drill");
        cli("rings unfreeze dev --reason over");
        cli("api-keys issue till --lifetime 30d --key-ring dev --action Sign --network 10.0.0.0/8 -o json");
        let policy = chancery.dir().join("policy/roles.cedar");
        let text = std::fs::read_to_string(&policy).unwrap();
        std::fs::write(&policy, format!("{text}\n// once more\n")).unwrap();
        cli(&format!("policy apply {} --yes", policy.display()));
        chancery.terminate().await.unwrap();
        // What no command fills so quickly, by hand: then the state is another one, and is accepted as it is.
        let database = hand::open(&hand::database(&chancery.dir()));
        database
            .execute_batch(
                "INSERT INTO key_version_certificates SELECT uid, 0, x'3000' FROM key_versions WHERE version = 2;
                 INSERT INTO key_version_certificates SELECT uid, 1, x'3001' FROM key_versions WHERE version = 2;
                 UPDATE key_versions SET token_id = x'c0ffee', imported = 1, extractable = 0
                 WHERE key_uid = (SELECT uid FROM keys WHERE key = 'mac');",
            )
            .unwrap();
        drop(database);
        let config = chancery.config().to_owned();
        assert_eq!(check(&config).1, Some(1));
        accept(&config);
        chancery.launch().unwrap();
        chancery.wait_until_serving().await.unwrap();
        chancery.terminate().await.unwrap();
        let yesterday = Saved::of(&chancery.dir());
        chancery.launch().unwrap();
        chancery.wait_until_serving().await.unwrap();
        let cli = |line: &str| succeed(chancery.cli().args(line.split_whitespace()));
        cli("keys update dev/a --owner eve");
        cli("keys suspend dev/b/1 --reason lost");
        cli("callers suspend till --reason lost");
        let keys: Json = serde_json::from_str(&cli("api-keys list till -o json")).unwrap();
        let name = keys["api_keys"][0]["name"].as_str().unwrap().to_owned();
        cli(&format!("api-keys revoke {name} --reason lost"));
        cli("rings freeze dev --reason incident");
        cli("rings unfreeze dev --reason resolved");
        chancery.terminate().await.unwrap();
        let today = Saved::of(&chancery.dir());
        Self { chancery, yesterday, today }
    }

    fn dir(&self) -> PathBuf {
        self.chancery.dir()
    }

    /// What the start would find, by the code that it runs, after `edit`.
    async fn found_after(
        &self,
        token: &Token,
        edit: impl FnOnce(&rusqlite::Connection),
    ) -> Result<StateReport, String> {
        self.today.put(&self.dir());
        edit(&hand::open(&hand::database(&self.dir())));
        self.found(token).await
    }

    async fn found(&self, token: &Token) -> Result<StateReport, String> {
        let (writer, reader) = hand::store(&hand::database(&self.dir())).unwrap();
        let anchor = hand::anchor(&self.dir());
        let id = |text| Id::parse("the id", text).unwrap();
        let settings = LogSettings { anchor: Some(anchor.clone()), ..LogSettings::new(id("dev")) };
        // Where the record cannot even begin, or the rows cannot be read, the service does not start, either.
        let log = Log::start(writer, settings).map_err(|error| error.to_string())?;
        let desk = StateDesk::new(id("main"), token.clone(), log.clone(), reader, anchor, None);
        let report = desk.check().await;
        log.shutdown().await;
        report.map_err(|error| match error {
            StateError::State(error) => error.to_string(),
            fault => panic!("the check itself failed: {fault}"),
        })
    }
}

/// `chancery state check`: what it says, and its exit code.
fn check(config: &Path) -> (String, Option<i32>) {
    run(command(chancery()).args(["state", "check", "--config"]).arg(config))
}

/// Looks at the state as an operator does, and accepts it.
fn accept(config: &Path) -> String {
    let (said, _) = run(command(chancery()).args(["state", "check", "-o", "json", "--config"]).arg(config));
    let report: Json = serde_json::from_str(&said).unwrap();
    let expected = format!("{}/{}", report["epoch"], report["root"].as_str().unwrap());
    let mut accept = command(chancery());
    succeed(accept.args(["state", "accept", "--expect", &expected, "--reason", "ticket 4711", "--config"]).arg(config))
}

/// `chancery serve`, which is to refuse.
fn refused_start(config: &Path) -> String {
    let (said, code) = run(command(chancery()).args(["serve", "--config"]).arg(config));
    assert_eq!(code, Some(3), "{said}");
    said
}

fn is_refused(report: &Result<StateReport, String>) -> bool {
    report.as_ref().is_ok_and(|report| !report.found.is_empty()) || report.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_edit_of_the_state_by_another_hand_is_found() {
    let stopped = Stopped::with_everything().await;
    let token = Token::start(token_settings(&stopped.chancery), worker(&stopped.chancery)).await.unwrap();
    let untouched = stopped.found_after(&token, |_| ()).await.unwrap();
    assert_eq!(untouched.found, [], "as the service left it");

    stopped.today.put(&stopped.dir());
    let database = hand::open(&hand::database(&stopped.dir()));
    for table in hand::tables(&database) {
        let known = STATE.contains(&table.as_str()) || OTHERS.contains(&table.as_str());
        assert!(known, "is {table} a part of the state? Say so in tests/support/hand.rs");
    }
    let content: Vec<Content> =
        STATE.iter().map(|table| (*table, hand::columns(&database, table), hand::rows(&database, table))).collect();
    drop(database);

    let (mut tried, mut missed) = (0, Vec::new());
    for (table, columns, rows) in &content {
        assert!(!rows.is_empty(), "{table} is empty");
        for (place, column) in columns.iter().enumerate() {
            if (*table, column.name.as_str()) == ("head", "id") {
                continue; // there is one head, with one id
            }
            let filled = rows.iter().find(|row| row[place] != Value::Null);
            let row = filled.unwrap_or(&rows[0]);
            let mut values = vec![hand::edited(column, &row[place])];
            if column.nullable && filled.is_some() {
                values.push(Value::Null);
            }
            for value in values {
                let what = format!("{table}.{} set to {value:?}", column.name);
                let of = hand::of_row(columns, row);
                let report =
                    stopped.found_after(&token, |database| hand::set(database, table, &column.name, value, of)).await;
                tried += 1;
                if !is_refused(&report) {
                    missed.push(format!("{what}: {report:?}"));
                }
            }
        }
        if *table == "head" {
            continue;
        }
        for row in rows {
            let of = hand::of_row(columns, row);
            let report = stopped.found_after(&token, |database| hand::remove(database, table, of)).await;
            tried += 1;
            if !is_refused(&report) {
                missed.push(format!("{table}: {row:?} deleted: {report:?}"));
            }
        }
    }
    assert_eq!(missed, Vec::<String>::new(), "{tried} edits, {} not found", missed.len());
    // Every column, twice where it can be NULL, and every row.
    let columns: usize = content.iter().map(|(_, columns, _)| columns.len()).sum();
    let rows: usize = content.iter().map(|(_, _, rows)| rows.len()).sum();
    assert!(
        tried >= columns - 1 + rows - 1 && columns >= 80 && rows >= 40,
        "{tried} of {columns} columns, {rows} rows"
    );
    token.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_told_by_the_record() {
    let stopped = Stopped::with_everything().await;
    let token = Token::start(token_settings(&stopped.chancery), worker(&stopped.chancery)).await.unwrap();
    let dir = stopped.dir();

    // Yesterday's rows, each by itself, in the place of today's.
    stopped.yesterday.put_database(&dir);
    let old: Vec<_> = ["keys", "key_versions", "key_rings", "callers", "api_keys"]
        .map(|table| (table, hand::rows(&hand::open(&hand::database(&dir)), table)))
        .into();
    stopped.today.put(&dir);
    let new: Vec<_> = old.iter().map(|(table, _)| hand::rows(&hand::open(&hand::database(&dir)), table)).collect();
    let mut put_back = Vec::new();
    for ((table, old), new) in old.iter().zip(&new) {
        for row in old.iter().filter(|row| !new.contains(row)) {
            let report = stopped.found_after(&token, |database| hand::put(database, table, row)).await.unwrap();
            let [StateRefusal::Rows(rows)] = report.found.as_slice() else { panic!("{table}: {report:?}") };
            assert!(matches!(rows[..], [ref row] if matches!(row.tampering, Tampering::PutBack { .. })), "{rows:?}");
            put_back.push(rows[0].name.clone());
        }
    }
    put_back.sort();
    assert_eq!(put_back.len(), 5, "{put_back:?}");
    let expected = [
        "callers/till",
        "callers/till/apiKeys/",
        "keyRings/dev",
        "keyRings/dev/keys/a",
        "keyRings/dev/keys/b/versions/1",
    ];
    assert!(put_back.iter().zip(expected).all(|(name, expected)| name.starts_with(expected)), "{put_back:?}");

    let rows = async |sql: &'static str| {
        let report = stopped.found_after(&token, |database| database.execute_batch(sql).unwrap()).await.unwrap();
        let Some(StateRefusal::Rows(rows)) = report.found.first() else { panic!("{sql}: {report:?}") };
        rows.iter().map(|row| (row.name.clone(), row.tampering)).collect::<Vec<_>>()
    };
    let edited = rows("UPDATE keys SET allow_digest = 1 WHERE key = 'b'").await;
    assert!(matches!(&edited[..], [(name, Tampering::Edited { .. })] if name == "keyRings/dev/keys/b"), "{edited:?}");
    let deleted = rows("DELETE FROM api_keys; DELETE FROM api_key_scopes").await;
    assert!(matches!(deleted[..], [(_, Tampering::Deleted { .. })]), "{deleted:?}");
    // He makes himself an operator, beside those that there are.
    let added = rows(
        "INSERT INTO callers (uid, id, environment, state, created, updated, state_changed, request_id)
         SELECT x'5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a', 'eve', environment, state, created, updated, state_changed,
             request_id FROM callers WHERE id = 'operator';
         INSERT INTO caller_identities VALUES ('spiffe://chancery.dev/eve', x'5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a');
         INSERT INTO caller_memberships VALUES (x'5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a', 'role', 'policy-administrator');",
    )
    .await;
    assert!(matches!(&added[..], [(name, Tampering::Added)] if name == "callers/eve"), "{added:?}");

    let found = async |sql: &'static str| {
        stopped.found_after(&token, |database| database.execute_batch(sql).unwrap()).await.unwrap().found
    };
    let epoch = found("UPDATE head SET epoch = epoch + 1").await;
    assert!(matches!(epoch[..], [StateRefusal::Mac { .. }]), "{epoch:?}");
    let unsealed = found("UPDATE head SET state_mac = NULL, state_root = NULL").await;
    assert!(matches!(unsealed[..], [StateRefusal::SealRemoved { secret: true, anchor: true }]), "{unsealed:?}");
    // Without the seal the row that was edited is named all the same.
    let both =
        found("UPDATE head SET state_mac = NULL, state_root = NULL; UPDATE keys SET allow_digest = 1 WHERE key = 'b'")
            .await;
    assert!(
        matches!(&both[..], [StateRefusal::SealRemoved { .. }, StateRefusal::Rows(rows)] if rows.len() == 1),
        "{both:?}"
    );
    // Another key of the token, whose MACs a caller may have made, is not taken for the secret of the state.
    let secret = found(
        "DELETE FROM key_versions WHERE key_uid = (SELECT uid FROM keys WHERE key = 'state');
         UPDATE key_versions SET key_uid = (SELECT uid FROM keys WHERE key = 'state')
         WHERE key_uid = (SELECT uid FROM keys WHERE key = 'mac');",
    )
    .await;
    assert!(matches!(secret.first(), Some(StateRefusal::SecretNotThere { .. })), "{secret:?}");

    // The whole of yesterday's file, which is whole in itself.
    stopped.today.put(&dir);
    stopped.yesterday.put_database(&dir);
    let whole = stopped.found(&token).await.unwrap().found;
    assert!(matches!(whole[..], [StateRefusal::Behind { .. }]), "{whole:?}");
    // A table that holds a row twice, and a view that shows other rows than those of the table.
    for sql in [
        "CREATE TABLE k AS SELECT * FROM keys; DROP TABLE keys; ALTER TABLE k RENAME TO keys;
         INSERT INTO keys SELECT * FROM keys WHERE key = 'a'",
        "ALTER TABLE api_key_uses RENAME TO u; CREATE VIEW api_key_uses AS SELECT * FROM u",
        "CREATE TRIGGER t BEFORE INSERT ON leaves BEGIN SELECT RAISE(IGNORE); END",
    ] {
        stopped.today.put(&dir);
        let database = hand::open(&hand::database(&dir));
        database.execute_batch(sql).unwrap();
        drop(database);
        let opened = hand::store(&hand::database(&dir)).map(drop).unwrap_err();
        assert!(matches!(opened, OpenError::SchemaEdited { .. }), "{sql}: {opened}");
    }
    stopped.today.put(&dir);
    // Without an anchor, and with one that is none.
    std::fs::remove_file(hand::anchor(&dir)).unwrap();
    let gone = stopped.found(&token).await.unwrap().found;
    assert!(matches!(gone[..], [StateRefusal::AnchorMissing { .. }]), "{gone:?}");
    std::fs::write(hand::anchor(&dir), "{}").unwrap();
    let odd = stopped.found(&token).await.unwrap().found;
    assert!(matches!(odd[..], [StateRefusal::AnchorUnreadable { .. }]), "{odd:?}");
    let (said, code) = run(command(chancery()).args(["state", "show", "--config"]).arg(stopped.chancery.config()));
    let file = format!("the anchor {} cannot be read: it is damaged, or no anchor", hand::anchor(&dir).display());
    assert!(code == Some(3) && said.contains(&file), "{code:?}: {said}");
    assert!(said.contains("chancery state check") && said.contains("docs/operations.md"), "what to do: {said}");
    token.shutdown().await;
}

/// The same by the service itself: it does not start, says what it found, and records that; what it found is not decided by.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_does_not_start_on_it_and_an_operator_can_accept_it() {
    let mut stopped = Stopped::with_everything().await;
    let (dir, config) = (stopped.dir(), stopped.chancery.config().to_owned());
    for (sql, said) in [
        ("UPDATE keys SET deletion_protection = 1 WHERE key = 'a'", "the key keyRings/dev/keys/a was edited"),
        ("UPDATE key_versions SET state = 'ACTIVE' WHERE state = 'SUSPENDED'", "/keys/b/versions/1 was edited"),
        (
            "INSERT INTO caller_memberships SELECT uid, 'role', 'auditor' FROM callers WHERE id = 'till'",
            "callers/till was edited",
        ),
        ("UPDATE api_keys SET revoked = NULL", "was put back"),
        ("UPDATE policy_documents SET text = text || ' ' WHERE version = 1", "the policy set version 1 was edited"),
        ("UPDATE head SET state_mac = NULL", "it has no seal"),
        ("DELETE FROM key_labels WHERE 1", "the key keyRings/dev/keys/a was edited"),
    ] {
        stopped.today.put(&dir);
        hand::open(&hand::database(&dir)).execute_batch(sql).unwrap();
        let refused = refused_start(&config);
        assert!(refused.contains(said) && refused.contains("chancery state accept"), "{sql}: {refused}");
        let again = check(&config);
        assert!(again.0.contains(said) && again.1 == Some(1), "{sql}: {again:?}");
    }

    // The last of them was meant, and the anchor is damaged. What was looked at is accepted, and nothing else.
    std::fs::write(hand::anchor(&dir), "{").unwrap();
    let again = check(&config);
    assert!(again.1 == Some(1) && again.0.contains("it is damaged, or no anchor"), "{again:?}");
    let wrong = format!("1/{}", "0".repeat(64));
    let mut other = command(chancery());
    other.args(["state", "accept", "--expect", &wrong, "--reason", "none", "--config"]).arg(&config);
    let (said, code) = run(&mut other);
    assert!(said.contains("another one than expected") && code == Some(3), "{said}");
    let accepted = accept(&config);
    assert!(accepted.contains("accepted the state of epoch"), "{accepted}");
    stopped.chancery.launch().unwrap();
    stopped.chancery.wait_until_serving().await.unwrap();
    let caller = stopped.chancery.caller().await.unwrap();
    caller.sign("keyRings/dev/keys/a", "m", EcdsaEncoding::Der).await.unwrap();
    // What was refused, and what was accepted, is on the record.
    let records =
        succeed(stopped.chancery.cli().args(["audit", "list", "--kind", "act", "--limit", "200", "-o", "json"]));
    let of = |word: &str| records.matches(word).count();
    assert!(of("is not the one that was sealed") >= 2, "each refusal of this database is recorded");
    assert_eq!(of("an operator accepts the state of epoch"), 2);
    assert!(records.contains("ticket 4711"), "with its reason");
    // An operator's doing, and not the service's.
    let records: Json = serde_json::from_str(&records).unwrap();
    let accepts = |act: &&Json| {
        act["details"]["message"].as_str().is_some_and(|message| message.starts_with("an operator accepts the state"))
    };
    let accepted = records["records"].as_array().unwrap().iter().find(accepts).unwrap()["index"].to_string();
    let shown = succeed(stopped.chancery.cli().args(["audit", "show", &accepted]));
    assert!(shown.starts_with("An operator accepted the state, with a command on the service's machine."), "{shown}");
    let shown: Json = serde_json::from_str(&succeed(
        command(chancery()).args(["state", "show", "-o", "json", "--config"]).arg(&config),
    ))
    .unwrap();
    assert_eq!(shown["anchor"]["root"], shown["root"], "{shown}");
    stopped.chancery.terminate().await.unwrap();
    let nothing = run(command(chancery()).args(["state", "accept", "--yes", "--reason", "x", "--config"]).arg(&config));
    assert!(nothing.0.contains("there is nothing to accept") && nothing.1 == Some(3), "{nothing:?}");
}

/// Each refusal is on the record of the database that is refused, which so comes to the index of its anchor, and past it. It is
/// refused all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_before_is_refused_however_often_it_is_started() {
    let mut chancery = Chancery::start().await.unwrap();
    let key = chancery.create_key("k", Algorithm::Ed25519).await.unwrap().to_string();
    chancery.terminate().await.unwrap();
    let (dir, config) = (chancery.dir(), chancery.config().to_owned());
    let yesterday = Saved::of(&dir);
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
    let caller = chancery.caller().await.unwrap();
    for message in ["a", "b"] {
        caller.sign(&key, message, EcdsaEncoding::Der).await.unwrap();
    }
    chancery.terminate().await.unwrap();
    let today = Saved::of(&dir);
    let show = || -> Json {
        let mut show = command(self::chancery());
        serde_json::from_str(&succeed(show.args(["state", "show", "-o", "json", "--config"]).arg(&config))).unwrap()
    };

    // With the checkpoint in its anchor; and without one, as while the token that signs the log was away.
    for signed in [true, false] {
        today.put(&dir);
        yesterday.put_database(&dir);
        let path = hand::anchor(&dir);
        let mut anchor: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(anchor["log_root"].is_string() && anchor["checkpoint"].is_string(), "{anchor}");
        if !signed {
            anchor.as_object_mut().unwrap().remove("checkpoint");
            std::fs::write(&path, anchor.to_string()).unwrap();
        }
        let shown = show();
        assert_eq!(shown["epoch"], shown["anchor"]["epoch"], "no change tells the two apart: {shown}");
        let known = shown["anchor"]["next_index"].as_u64().unwrap();
        assert!(shown["next_index"].as_u64() < Some(known), "{shown}");
        let mut starts = 0;
        while show()["next_index"].as_u64() < Some(known + 4) {
            let refused = refused_start(&config);
            assert!(
                refused.contains("the database is of an earlier time") || refused.contains("The database is of an")
            );
            assert!(!refused.contains("forks"), "{refused}");
            starts += 1;
        }
        let (said, code) = check(&config);
        assert!(code == Some(1) && said.contains("its first") && said.contains("records are others"), "{said}");
        assert!(starts > 2, "{starts}");
        assert_eq!(show()["anchor"]["next_index"].as_u64(), Some(known), "the anchor stays as it was");
    }

    // The right one is taken as it was; the wrong one, once an operator has accepted it.
    today.put(&dir);
    assert_eq!(check(&config).1, Some(0));
    today.put(&dir);
    yesterday.put_database(&dir);
    refused_start(&config);
    accept(&config);
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
    chancery.caller().await.unwrap().sign(&key, "c", EcdsaEncoding::Der).await.unwrap();
}

/// An edit while the service runs decides nothing then, and is found when the state is loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_loaded_again_is_checked_again() {
    let chancery = Chancery::start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = chancery.key().await.unwrap().clone();
    caller.sign(&key, "m", EcdsaEncoding::Der).await.unwrap();
    let database = hand::open(&hand::database(&chancery.dir()));
    database.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    database.execute_batch("UPDATE keys SET allow_digest = 1").unwrap();
    caller.sign(&key, "m", EcdsaEncoding::Der).await.unwrap();
    assert!(!operator.key(&key).await.unwrap().allow_digest);
    // Another epoch than the service knows: it loads what another instance would have changed, and believes none of it.
    database.execute_batch("UPDATE head SET epoch = epoch + 1").unwrap();
    let refused = caller.sign(&key, "m", EcdsaEncoding::Der).await.unwrap_err();
    assert_eq!(refused.reason(), Some("RECORD_UNAVAILABLE"), "{refused}");
    let (_, words) = admin_get(&chancery, "/readyz").await;
    assert!(words.starts_with("not ready\nrecord: closed"), "{words}");
    assert!(chancery.log().contains("somebody changed it while the service ran"));
}

/// The token of the system ring is latched when the service starts: it comes up, decides on nothing but tokens, and on
/// everything as soon as the token is back.
#[tokio::test(flavor = "multi_thread")]
async fn until_the_token_answers_nothing_is_decided_by_the_state() {
    let mut faulty = Faulty::start().await;
    let (key, _) = faulty.key("k").await;
    let move_ring = |config: &mut toml::Table| config["system_ring"]["token"] = "main".into();
    faulty.chancery.configure(move_ring).unwrap();
    faulty.chancery.terminate().await.unwrap();
    accept(faulty.chancery.config());
    faulty.chancery.launch().unwrap();
    faulty.chancery.wait_until_serving().await.unwrap();
    faulty.rules(&[Rule::returning("refused", "C_Login", "CKR_PIN_INCORRECT")]);
    faulty.restart().await.unwrap();
    let words = admin_get(&faulty.chancery, "/readyz").await.1;
    assert!(words.starts_with("not ready\nstate: unchecked"), "{words}");
    let operator = faulty.chancery.operator().await.unwrap();
    let admin = faulty.chancery.admin_endpoint().unwrap().to_owned();
    let standing = |state: &str| metric(&admin, "chancery_state_standing{", &format!(r#"state="{state}""#)) > 0.0;
    assert!(standing("unchecked") && !standing("checked") && !standing("not-sealed"));
    let name: KeyName = key.parse().unwrap();
    let unchecked = |refused: chancery_testkit::client::ClientError| {
        assert_eq!(refused.reason(), Some("STATE_UNCHECKED"), "{refused}");
    };
    unchecked(faulty.chancery.caller().await.unwrap().sign(&name, "m", EcdsaEncoding::Der).await.unwrap_err());
    unchecked(operator.key(&name).await.unwrap_err());
    let (rings, code) = run(faulty.chancery.cli().args(["rings", "list"]));
    assert!(code != Some(0) && rings.contains("is checked with"), "not an empty list: {rings}");
    let nobody: KeyName = "keyRings/none/keys/none".parse().unwrap();
    unchecked(operator.key(&nobody).await.unwrap_err());
    let tokens = succeed(faulty.chancery.cli().args(["token", "list"]));
    assert!(tokens.contains("LATCHED"), "{tokens}");
    // It is tried again every 5 seconds, and told of once.
    let told = || faulty.chancery.log().matches("the state cannot be checked yet").count();
    until("it is told of", async || (told() > 0).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    assert_eq!(told(), 1);
    faulty.rules(&[]);
    clear_pin_latch(&faulty.operator, "main").await.unwrap();
    until("the state is checked", async || {
        let (_, words) = admin_get(&faulty.chancery, "/readyz").await;
        words.starts_with("ready").then_some(())
    })
    .await;
    assert!(standing("checked") && !standing("unchecked"));
    faulty.chancery.caller().await.unwrap().sign(&name, "m", EcdsaEncoding::Der).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_cannot_be_written_is_measured_until_it_can() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let admin = chancery.admin_endpoint().unwrap();
    let written = || metric(admin, "chancery_anchor_written ", "") > 0.0;
    create_key(&operator, "before").await;
    assert!(written());
    // What is in its place cannot be replaced by a file, whoever the service runs as.
    let anchor = hand::anchor(&chancery.dir());
    until("nobody has written it again in between", async || {
        std::fs::remove_file(&anchor).unwrap();
        std::fs::create_dir(&anchor).ok()
    })
    .await;
    create_key(&operator, "meanwhile").await;
    until("it is told of", async || (!written()).then_some(())).await;
    std::fs::remove_dir(&anchor).unwrap();
    until("it is written again", async || written().then_some(())).await;
    assert!(anchor.is_file());
    chancery.stop().await.unwrap();
}
