//! Databases that earlier versions made: they come up, and are sealed as they are.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use chancery_testkit::Chancery;
use chancery_testkit::client::EcdsaEncoding;
use chancery_tests::program::{chancery, command, source_tree, succeed};
use rusqlite::{Connection, params};
use serde_json::Value as Json;

/// The steps of the schema, in order: name and text.
fn migrations() -> Vec<(String, String)> {
    let folder = source_tree().join("crates/store/migrations");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let name = |file: &Path| file.file_stem().unwrap().to_str().unwrap().split_once('_').unwrap().1.to_owned();
    files.iter().map(|file| (name(file), std::fs::read_to_string(file).unwrap())).collect()
}

/// A database as the version with so many steps made it, with rows of then.
fn database_of(steps: &[(String, String)], path: &Path) {
    let database = Connection::open(path).unwrap();
    database.pragma_update(None, "application_id", 0x4348_5259).unwrap();
    database
        .execute_batch(
            "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, sql TEXT NOT NULL, applied INTEGER NOT NULL) STRICT",
        )
        .unwrap();
    for (number, (name, sql)) in (1..).zip(steps) {
        database.execute_batch(sql).unwrap();
        database.execute("INSERT INTO migrations VALUES (?1, ?2, ?3, 0)", params![number, name, sql]).unwrap();
    }
    database
        .execute_batch(
            "INSERT INTO keys (uid, ring, key, algorithm, allow_digest, primary_version, created, updated)
             VALUES (x'07070707070707070707070707070707', 'dev', 'old', 'ED25519', 0, 1, 1, 2);
             INSERT INTO key_labels VALUES (x'07070707070707070707070707070707', 'team', 'payments');
             INSERT INTO key_versions (uid, key_uid, version, state, created, state_changed)
             VALUES (x'08080808080808080808080808080808', x'07070707070707070707070707070707', 1, 'SUSPENDED', 1, 2);
             UPDATE head SET epoch = 9;",
        )
        .unwrap();
    let has_environment: bool = database
        .query_row("SELECT count(*) FROM pragma_table_info('callers') WHERE name = 'environment'", [], |row| row.get(0))
        .unwrap();
    let caller = if has_environment {
        "INSERT INTO callers (uid, id, environment, state, created, updated, state_changed)
         VALUES (x'09090909090909090909090909090909', 'operator', 'dev', 'ACTIVE', 1, 1, 1);
         INSERT INTO caller_identities VALUES ('spiffe://chancery.dev/operator', x'09090909090909090909090909090909');
         INSERT INTO caller_memberships VALUES (x'09090909090909090909090909090909', 'role', 'policy-administrator'),
             (x'09090909090909090909090909090909', 'role', 'key-administrator'),
             (x'09090909090909090909090909090909', 'role', 'caller-administrator'),
             (x'09090909090909090909090909090909', 'key_ring', 'dev');
         INSERT INTO callers (uid, id, environment, state, created, updated, state_changed)
         VALUES (x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', 'caller', 'dev', 'ACTIVE', 1, 1, 1);
         INSERT INTO caller_identities VALUES ('spiffe://chancery.dev/caller', x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a');
         INSERT INTO caller_memberships VALUES (x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', 'role', 'signer'),
             (x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', 'key_ring', 'dev');"
    } else {
        "INSERT INTO callers (uid, id) VALUES (x'09090909090909090909090909090909', 'operator')"
    };
    database.execute_batch(caller).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_each_earlier_version_comes_up_and_is_sealed() {
    let migrations = migrations();
    let state_root = migrations.iter().position(|(name, _)| name == "state_root").unwrap();
    for steps in 1..=state_root {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("old.db");
        database_of(&migrations[..steps], &path);
        let old = toml::Value::String(path.to_str().unwrap().to_owned());
        let on_it = |config: &mut toml::Table| config["store"]["path"] = old;
        let mut service = Chancery::setup().configure(on_it).start().await.unwrap();
        assert!(service.log().contains("the state was never sealed"), "{steps}");
        let shown: Json = serde_json::from_str(&succeed(
            command(chancery()).args(["state", "show", "-o", "json", "--config"]).arg(service.config()),
        ))
        .unwrap();
        assert!(shown["root"].is_string() && shown["epoch"].as_u64() > Some(9), "{steps}: {shown}");
        let caller = service.caller().await.unwrap();
        caller.sign(service.key().await.unwrap(), "m", EcdsaEncoding::Der).await.unwrap();
        // And the next start finds what this one left.
        service.restart().await.unwrap();
        service.terminate().await.unwrap();
        let _said = succeed(command(chancery()).args(["state", "check", "--config"]).arg(service.config()));
    }
}
