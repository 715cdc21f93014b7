//! Keys of the service's own that its token does not hold any more: an operator accepts that, on the record, and the service
//! makes others. What stands and falls with the earlier ones is said before, and is so afterwards.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_hsm::Token;
use chancery_model::Uid;
use chancery_testkit::{Chancery, Setup};
use chancery_tests::contract::admin_get;
use chancery_tests::load::until;
use chancery_tests::office::{token_settings, worker};
use chancery_tests::program::{chancery, command, run, succeed};
use serde_json::Value as Json;
use tokio::time::Instant;

/// A service that takes connections without a client certificate.
fn setup() -> Setup {
    Chancery::setup().configure(|config| {
        config["listener"].as_table_mut().unwrap().insert("client_auth".to_owned(), "optional".into());
    })
}

/// A service, and the API keys that it has issued, in files.
struct Service {
    chancery: Chancery,
    key: String,
    place: tempfile::TempDir,
}

impl Service {
    async fn start(setup: Setup) -> Self {
        let chancery = setup.start().await.unwrap();
        let key = chancery.key().await.unwrap().to_string();
        Self { chancery, key, place: tempfile::tempdir().unwrap() }
    }

    fn issue(&self, name: &str) -> PathBuf {
        let file = self.place.path().join(name);
        let mut issue = self.chancery.cli();
        issue.args(["api-keys", "issue", "caller", "--lifetime", "1h", "--read-only", "--key-file"]).arg(&file);
        let _said = succeed(&mut issue);
        file
    }

    /// Calls with an API key and no certificate.
    fn call_with(&self, file: &Path) -> (String, Option<i32>) {
        let mut call = command(chancery());
        call.args(["public-key", &self.key, "--endpoint", self.chancery.endpoint()]);
        run(call.arg("--ca").arg(self.chancery.ca()).arg("--api-key-file").arg(file))
    }

    #[track_caller]
    fn assert_taken(&self, file: &Path) {
        let (said, code) = self.call_with(file);
        assert_eq!(code, Some(0), "{said}");
    }

    #[track_caller]
    fn assert_unknown(&self, file: &Path) {
        let (said, code) = self.call_with(file);
        assert!(said.contains("API_KEY_UNKNOWN") && code != Some(0), "{code:?} {said}");
    }

    /// How the API keys of the caller are, in the order of the alphabet.
    fn states(&self) -> Vec<String> {
        let said = succeed(self.chancery.cli().args(["api-keys", "list", "caller", "-o", "json"]));
        let listed: Json = serde_json::from_str(&said).unwrap();
        let states = listed["api_keys"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap().to_owned());
        let mut states: Vec<String> = states.collect();
        states.sort();
        states
    }

    /// What `state check` finds: what is wrong, which of its own keys the token does not hold; and the exit code.
    fn check(&self) -> (Vec<String>, Vec<String>, Option<i32>) {
        let mut check = command(chancery());
        let (said, code) = run(check.args(["state", "check", "-o", "json", "--config"]).arg(self.chancery.config()));
        let report: Json = serde_json::from_str(&said).unwrap();
        let words = |of: &str| -> Vec<String> {
            report[of].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        (words("found"), words("lost"), code)
    }

    fn accept(&self) -> String {
        let mut accept = command(chancery());
        accept.args(["state", "accept", "--yes", "--reason", "ticket 4711", "--config"]);
        succeed(accept.arg(self.chancery.config()))
    }

    async fn launch(&mut self) {
        self.chancery.launch().unwrap();
        self.chancery.wait_until_serving().await.unwrap();
    }

    /// The log is signed again, by a key of this version.
    async fn until_signed_by(&self, version: u32) {
        let name = format!("keyRings/system/keys/log/versions/{version}");
        until("the log is signed by a key of this token", async || {
            let acts =
                succeed(self.chancery.cli().args(["audit", "list", "--kind", "act", "--limit", "1000", "-o", "json"]));
            let (_, words) = admin_get(&self.chancery, "/readyz").await;
            (acts.contains(&name) && !words.contains("log: unsigned")).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_token_was_replaced_the_earlier_api_keys_are_void_and_others_are_issued() {
    let mut service = Service::start(setup().token("second")).await;
    let (revoked, old, other) = (service.issue("revoked"), service.issue("old"), service.issue("other"));
    let id = std::fs::read_to_string(&revoked).unwrap()["chy_dev_".len()..][..12].to_owned();
    let _said = succeed(service.chancery.cli().args(["api-keys", "revoke", &format!("caller/{id}"), "--reason", "x"]));
    service.assert_taken(&old);
    service.chancery.terminate().await.unwrap();
    service.chancery.configure(|config| config["system_ring"]["token"] = "second".into()).unwrap();

    let (found, lost, code) = service.check();
    assert!(found[0].contains("holds no secret of the state") && code == Some(1), "{found:?}");
    let [log, api_keys] = &lost[..] else { panic!("{lost:?}") };
    assert!(log.contains("keyRings/system/keys/log/versions/1"), "{log}");
    assert!(api_keys.contains("keyRings/system/keys/api-keys/versions/1"), "{api_keys}");
    assert!(api_keys.contains("not revoked or expired, 2,"), "{api_keys}");
    let accepted = service.accept();
    assert!(accepted.contains(api_keys.as_str()) && accepted.contains(log.as_str()), "{accepted}");

    service.launch().await;
    for void in [&revoked, &old, &other] {
        service.assert_unknown(void);
    }
    assert_eq!(service.states(), ["REVOKED"; 3]);
    let new = service.issue("new");
    service.assert_taken(&new);
    service.assert_unknown(&old);
    assert_eq!(service.states(), ["ACTIVE", "REVOKED", "REVOKED", "REVOKED"]);
    service.until_signed_by(2).await;
    let acts =
        succeed(service.chancery.cli().args(["audit", "list", "--kind", "act", "--limit", "1000", "-o", "json"]));
    assert!(acts.contains("keyRings/system/keys/api-keys/versions/2"), "it is made and used on the record: {acts}");

    // And so it stays.
    service.chancery.restart().await.unwrap();
    service.assert_taken(&new);
    service.assert_unknown(&old);
    service.chancery.terminate().await.unwrap();
    assert_eq!(service.check(), (Vec::new(), Vec::new(), Some(0)));
}

/// As a database that an earlier version accepted has it, or a token that was restored from a backup of before the first API key.
#[tokio::test(flavor = "multi_thread")]
async fn where_only_they_are_lost_the_state_is_good_and_can_be_accepted_all_the_same() {
    let mut service = Service::start(setup()).await;
    let old = service.issue("old");
    service.chancery.terminate().await.unwrap();
    destroy(&service.chancery, &["api-keys", "log"]).await;

    let (found, lost, code) = service.check();
    assert!(found.is_empty() && lost.len() == 2 && code == Some(0), "{found:?} {lost:?}");
    service.launch().await;
    let (said, code) = service.call_with(&old);
    assert!(said.contains("API_KEYS_UNAVAILABLE") && code != Some(0), "{said}");
    service.chancery.terminate().await.unwrap();

    let accepted = service.accept();
    assert!(lost.iter().all(|lost| accepted.contains(lost.as_str())), "{accepted}");
    service.launch().await;
    service.assert_unknown(&old);
    let new = service.issue("new");
    service.assert_taken(&new);
    assert_eq!(service.states(), ["ACTIVE", "REVOKED"]);
    service.until_signed_by(2).await;
    service.chancery.terminate().await.unwrap();
    let nothing = run(command(chancery())
        .args(["state", "accept", "--yes", "--reason", "x", "--config"])
        .arg(service.chancery.config()));
    assert!(nothing.0.contains("there is nothing to accept") && nothing.1 == Some(3), "{nothing:?}");
}

/// Destroys keys of the service's own in its token, behind its back.
async fn destroy(chancery: &Chancery, keys: &[&str]) {
    let of_the_ring =
        "SELECT v.uid FROM key_versions v JOIN keys k ON k.uid = v.key_uid WHERE k.ring = 'system' AND k.key = ?1";
    let database = rusqlite::Connection::open(chancery.dir().join("chancery.db")).unwrap();
    let uid = |key: &&str| database.query_row(of_the_ring, [key], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let uids: Vec<Vec<u8>> = keys.iter().map(uid).collect();
    drop(database);
    let token = Token::start(token_settings(chancery), worker(chancery)).await.unwrap();
    for uid in uids {
        let uid = Uid::try_from(uid.as_slice()).unwrap();
        token.destroy(uid.into(), Instant::now() + Duration::from_secs(30)).await.unwrap();
    }
    token.shutdown().await;
}
