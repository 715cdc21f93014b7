//! The transparency log: checkpoints are signed while records come, and a log that is not the one that was signed is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::kept_tree;
use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::tree::{leaf_hash, node_hash};
use chancery_crypto::PublicKey;
use chancery_model::Algorithm;
use chancery_pkcs11_fault::{FaultRules, Rule, Then};
use chancery_testkit::Chancery;
use chancery_testkit::client::EcdsaEncoding;
use chancery_tests::contract::admin_get;
use chancery_tests::faults::{before_the_token, with_a_ring_on_a_token};
use chancery_tests::hand::{self, Saved};
use chancery_tests::load::until;
use chancery_tests::program::{chancery as program, command, run, succeed};
use serde_json::Value as Json;
use toml::Value;

/// The log of a service that has stopped.
struct Kept {
    leaves: Vec<Vec<u8>>,
    key: PublicKey,
    /// Oldest first.
    checkpoints: Vec<String>,
    /// In the anchor.
    anchored: Option<String>,
}

impl Kept {
    fn of(folder: &Path) -> Self {
        let (_writer, reader) = hand::store(&hand::database(folder)).unwrap();
        let state = reader.load_state().unwrap();
        let named = state.keys.iter().find(|key| key.name.to_string() == "keyRings/system/keys/log").unwrap();
        let mut versions = state.key_versions.iter().filter(|version| version.key_uid == named.uid);
        let spki = versions.next().unwrap().spki_der.as_deref().unwrap();
        let checkpoints = reader.checkpoints_after(None, u32::MAX).unwrap();
        let anchor: Json = serde_json::from_slice(&std::fs::read(hand::anchor(folder)).unwrap()).unwrap();
        let leaves = reader.leaves(0, u32::MAX).unwrap();
        for checkpoint in &checkpoints {
            let leaves = &leaves[..usize::try_from(checkpoint.size).unwrap()];
            assert_eq!(kept_tree(&reader, checkpoint.size).root().unwrap(), root(leaves));
        }
        Self {
            leaves,
            key: PublicKey::from_spki_der(Algorithm::Ed25519, spki).unwrap(),
            checkpoints: checkpoints.into_iter().map(|checkpoint| checkpoint.note).collect(),
            anchored: anchor["checkpoint"].as_str().map(str::to_owned),
        }
    }

    /// Checks every checkpoint, and that the newest says all that there is.
    fn assert_signed(&self, origin: &str) {
        let name = KeyName::parse(origin).unwrap();
        let key = [VerifierKey::from_public_key(name, SignatureKind::Ed25519, &self.key).unwrap()];
        let mut size = 0;
        for note in &self.checkpoints {
            let checkpoint = SignedCheckpoint::parse(note.as_bytes()).unwrap();
            let checkpoint = checkpoint.verify(&key).unwrap();
            size = usize::try_from(checkpoint.size()).unwrap();
            assert_eq!(*checkpoint.root(), root(&self.leaves[..size]));
        }
        assert_eq!(size, self.leaves.len(), "the last one is signed when the service stops");
        assert_eq!(self.anchored.as_deref(), self.checkpoints.last().map(String::as_str));
    }
}

/// RFC 6962, section 2.1, to the letter.
fn root(leaves: &[Vec<u8>]) -> [u8; 32] {
    match leaves {
        [] => panic!("no log is empty"),
        [leaf] => leaf_hash(leaf),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

/// Records that no checkpoint covers, as the metric says.
async fn unsigned(chancery: &Chancery) -> Option<u64> {
    let (_, metrics) = admin_get(chancery, "/metrics").await;
    let line = metrics.lines().find(|line| line.starts_with("chancery_log_unsigned"))?;
    line.rsplit(' ').next()?.parse::<f64>().ok().map(|number| number as u64)
}

async fn until_signed(chancery: &Chancery) {
    until("a checkpoint covers every record", async || (unsigned(chancery).await == Some(0)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_signed_while_records_come_and_when_the_service_stops() {
    let setup = Chancery::setup().configure(|config| {
        config.insert("log".to_owned(), toml::toml! { origin = "log.example/chancery" }.into());
    });
    let mut chancery = setup.start().await.unwrap();
    let key = chancery.create_key("k", Algorithm::EcdsaP256Sha256).await.unwrap().to_string();
    let caller = chancery.caller().await.unwrap();
    // More leaves than a tile has.
    for number in 0..140 {
        caller.sign(&key, format!("message {number}").as_str(), EcdsaEncoding::Der).await.unwrap();
    }
    until_signed(&chancery).await;
    let (status, said) = admin_get(&chancery, "/readyz").await;
    assert!(status == 200 && !said.contains("log:"), "{said}");
    caller.sign(&key, "one more", EcdsaEncoding::Der).await.unwrap();
    let acts = succeed(chancery.cli().args(["audit", "list", "--kind", "act", "--limit", "200", "-o", "json"]));
    assert_eq!(acts.matches("a key of the service's own is made, which signs the log").count(), 1);
    chancery.terminate().await.unwrap();
    let first = Kept::of(&chancery.dir());
    first.assert_signed("log.example/chancery");
    assert!(first.leaves.len() > 256, "{}", first.leaves.len());

    // Started again, it goes on from its tiles, with the same key, here under another name.
    chancery.configure(|config| config["log"]["origin"] = Value::String("log.example/other".to_owned())).unwrap();
    chancery.restart().await.unwrap();
    until_signed(&chancery).await;
    let warned = |log: &str| {
        log.lines().any(|line| line.contains("WARN") && line.contains("the log has another name from now on"))
    };
    assert!(warned(&chancery.log()), "{}", chancery.log());
    chancery.terminate().await.unwrap();
    let second = Kept::of(&chancery.dir());
    assert_eq!(second.key.spki_der(), first.key.spki_der());
    assert!(second.leaves.starts_with(&first.leaves) && second.leaves.len() > first.leaves.len());
    let newest = second.checkpoints.last().unwrap();
    assert!(newest.starts_with("log.example/other\n"), "{newest}");
    assert_eq!(second.anchored.as_ref(), Some(newest));
}

/// `chancery state check`: what it says, and its exit code.
fn check(config: &Path) -> (String, Option<i32>) {
    run(command(program()).args(["state", "check", "--config"]).arg(config))
}

/// The anchor as somebody edits it who also cuts the log.
fn cut_anchor(folder: &Path) {
    let path = hand::anchor(folder);
    let mut anchor: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    anchor["next_index"] = (anchor["next_index"].as_u64().unwrap() - 1).into();
    anchor.as_object_mut().unwrap().remove("log_root");
    std::fs::write(path, anchor.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_the_one_that_was_signed_is_refused_and_an_operator_can_accept_it() {
    const CUT: &str = "DELETE FROM details WHERE idx = (SELECT max(idx) FROM leaves); DELETE FROM leaves WHERE idx = (SELECT max(idx) FROM leaves);
        UPDATE head SET next_index = next_index - 1;";
    const EDITED: &str = "UPDATE leaves SET leaf = CAST(substr(leaf, 1, length(leaf) - 1) || CASE substr(leaf, -1) WHEN x'78' THEN x'79' ELSE x'78' END AS BLOB) WHERE idx = 3;";
    let mut chancery = Chancery::start().await.unwrap();
    let key = chancery.create_key("k", Algorithm::Ed25519).await.unwrap().to_string();
    chancery.caller().await.unwrap().sign(&key, "m", EcdsaEncoding::Der).await.unwrap();
    chancery.terminate().await.unwrap();
    let (dir, config) = (chancery.dir(), chancery.config().to_owned());
    Kept::of(&dir).assert_signed("dev");
    let today = Saved::of(&dir);
    assert_eq!(check(&config).1, Some(0), "as the service left it");

    let forks_in_database = "are not those that the checkpoint in the database was signed over";
    let anchors_log = format!(
        "the log is not the one that the anchor {} knows",
        hand::anchor(&dir).canonicalize().unwrap().display()
    );
    let other = "UPDATE checkpoints SET note = replace(note, 'dev', 'dew')";
    let forged = "UPDATE checkpoints SET note = (SELECT substr(note, 1, 10) FROM checkpoints)";
    type Case<'a> = (&'a str, String, bool, Vec<&'a str>);
    let cases: [Case<'_>; 6] = [
        ("a leaf edited", EDITED.to_owned(), false, vec![forks_in_database, &anchors_log]),
        ("and its checkpoints", format!("{EDITED} DELETE FROM checkpoints"), false, vec![&anchors_log]),
        (
            "the log cut",
            CUT.to_owned(),
            false,
            vec!["the database is of an earlier time", "and the checkpoint in the database says"],
        ),
        (
            "and the anchor",
            CUT.to_owned(),
            true,
            vec!["and the checkpoint in the database says", "and the checkpoint in the anchor"],
        ),
        (
            "another log's",
            other.to_owned(),
            false,
            vec!["the checkpoint in the database is not one that this log's key signed"],
        ),
        (
            "no checkpoint",
            forged.to_owned(),
            false,
            vec!["the checkpoint in the database is not one that this log's key signed"],
        ),
    ];
    for (what, sql, anchor, words) in &cases {
        today.put(&dir);
        hand::edit(&hand::database(&dir), sql);
        if *anchor {
            cut_anchor(&dir);
        }
        let (said, code) = check(&config);
        assert_eq!(code, Some(1), "{what}: {said}");
        for word in words {
            assert!(said.contains(word), "{what}: {word}: {said}");
        }
    }

    // The service does not start on it, until it is accepted.
    today.put(&dir);
    hand::edit(&hand::database(&dir), EDITED);
    let (said, code) = run(command(program()).args(["serve", "--config"]).arg(&config));
    assert!(code == Some(3) && said.contains(forks_in_database) && said.contains("chancery state accept"), "{said}");
    let mut accept = command(program());
    let accepted =
        succeed(accept.args(["state", "accept", "--yes", "--reason", "ticket 4711", "--config"]).arg(&config));
    assert!(accepted.contains("accepted the state of epoch"), "{accepted}");
    assert_eq!(check(&config).1, Some(0));
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
    until_signed(&chancery).await;
    let acts = succeed(chancery.cli().args(["audit", "list", "--kind", "act", "--limit", "200", "-o", "json"]));
    assert!(acts.contains("ticket 4711") && acts.contains("the checkpoint in the database was signed over"), "{acts}");
    chancery.terminate().await.unwrap();
    Kept::of(&dir).assert_signed("dev");
}

/// Nothing is decided while the token is away, and so nothing needs a checkpoint: the service comes up, and refuses the state
/// with all that is to be said once the token can be asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_read_is_refused_once_the_token_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultRules::new(folder.path()).unwrap();
    faults.set(&[]).unwrap();
    let setup = before_the_token(Chancery::setup(), &faults).configure(|config| {
        config["log"]["checkpoint_interval_seconds"] = Value::Integer(1);
    });
    let mut chancery = setup.start().await.unwrap();
    chancery.create_key("k", Algorithm::Ed25519).await.unwrap();
    until_signed(&chancery).await;
    chancery.terminate().await.unwrap();
    let dir = chancery.dir();
    let whole = Saved::of(&dir);
    for table in ["checkpoints", "shown_checkpoint"] {
        whole.put(&dir);
        hand::edit(&hand::database(&dir), &format!("UPDATE {table} SET note = substr(note, 1, 10)"));
        faults.set(&[Rule::new("away", Then::Absent)]).unwrap();
        chancery.launch().unwrap();
        chancery.wait_until_serving().await.unwrap();
        let (_, said) = admin_get(&chancery, "/readyz").await;
        assert!(said.starts_with("not ready\nstate: unchecked"), "{said}");
        assert!(
            chancery.log().contains("a checkpoint of the log in the database cannot be read"),
            "{}",
            chancery.log()
        );
        faults.set(&[]).unwrap();
        until("the state is refused", async || {
            admin_get(&chancery, "/readyz").await.1.starts_with("not ready\nrecord: closed").then_some(())
        })
        .await;
        chancery.terminate().await.unwrap();
        // As it is refused at a start with the token there.
        let (said, code) = run(command(program()).args(["serve", "--config"]).arg(chancery.config()));
        assert!(code == Some(3) && said.contains("is not one that this log's key signed"), "{table}: {said}");
    }
    whole.put(&dir);
    assert_eq!(check(chancery.config()).1, Some(0));
}

/// A service that has stopped, with more leaves than a tile has, and with its log's name.
async fn with_a_whole_tile() -> Chancery {
    let mut chancery = Chancery::start().await.unwrap();
    let key = chancery.create_key("k", Algorithm::EcdsaP256Sha256).await.unwrap().to_string();
    sign(&chancery, &key, 140).await;
    until_signed(&chancery).await;
    chancery.terminate().await.unwrap();
    chancery
}

async fn sign(chancery: &Chancery, key: &str, times: usize) {
    let caller = chancery.caller().await.unwrap();
    for number in 0..times {
        caller.sign(key, format!("message {number}").as_str(), EcdsaEncoding::Der).await.unwrap();
    }
}

const REMADE: &str = "the tiles of the log's tree are held to its leaves";

fn acts(chancery: &Chancery) -> String {
    succeed(chancery.cli().args(["audit", "list", "--kind", "act", "--limit", "400", "-o", "json"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_that_are_not_those_of_the_leaves_are_made_again_and_no_checkpoint_is_lost() {
    let mut chancery = with_a_whole_tile().await;
    let (dir, config) = (chancery.dir(), chancery.config().to_owned());
    let before = Kept::of(&dir);
    let key = "keyRings/dev/keys/k";

    // One of the edge makes the root at the start.
    hand::edit(&hand::database(&dir), "UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 1");
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
    assert!(chancery.log().contains("tiles of the log's tree were not those of its leaves"), "{}", chancery.log());
    assert_eq!(acts(&chancery).matches(REMADE).count(), 1);
    sign(&chancery, key, 1).await;
    until_signed(&chancery).await;
    chancery.terminate().await.unwrap();
    let after = Kept::of(&dir);
    after.assert_signed("dev");
    assert!(after.leaves.starts_with(&before.leaves));
    // Which checkpoints are kept is a matter of their hours; the newest before is one of this hour.
    assert_eq!(before.checkpoints.first(), after.checkpoints.first(), "nothing was withdrawn");

    // The same by `state check`, which finds the others, too; and says 0, since the service would go by the state.
    hand::edit(&hand::database(&dir), "UPDATE tiles SET hashes = zeroblob(length(hashes))");
    let (said, code) = check(&config);
    assert!(code == Some(0) && said.contains("were made again: 2"), "{said}");
    let (said, code) = check(&config);
    assert!(code == Some(0) && !said.contains("made again"), "{said}");
    Kept::of(&dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_signed_over_its_leaves_whatever_tiles_were_left() {
    let mut chancery = with_a_whole_tile().await;
    let (dir, config) = (chancery.dir(), chancery.config().to_owned());
    // In the middle of what was a whole tile.
    let cut = "DELETE FROM outcomes WHERE intent >= 200 OR idx >= 200; DELETE FROM open_intents WHERE idx >= 200;
               DELETE FROM details WHERE idx >= 200; DELETE FROM leaves WHERE idx >= 200;
               UPDATE head SET next_index = 200;";
    hand::edit(&hand::database(&dir), cut);
    let (said, code) = check(&config);
    assert!(code == Some(1) && said.contains("it was cut, or is of an earlier time"), "{said}");
    let accept = |reason: &str| {
        let mut accept = command(program());
        succeed(accept.args(["state", "accept", "--yes", "--reason", reason, "--config"]).arg(&config))
    };
    let accepted = accept("ticket 4711");
    assert!(accepted.contains("were made again: 2"), "{accepted}");
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
    sign(&chancery, "keyRings/dev/keys/k", 1).await;
    let operator = chancery.operator().await.unwrap();
    until_signed(&chancery).await;
    // Before the tile is whole again, and after.
    let proof = operator.get_inclusion_proof(202, None).await.unwrap();
    assert!(proof.tree_size < 256, "{}", proof.tree_size);
    sign(&chancery, "keyRings/dev/keys/k", 40).await;
    chancery.terminate().await.unwrap();
    let kept = Kept::of(&dir);
    kept.assert_signed("dev");
    assert!(kept.leaves.len() > 256, "{}", kept.leaves.len());

    // Of the checkpoints only those go that are not the log's: a made-up one with cosignatures takes none that are good along.
    hand::edit(&hand::database(&dir), "INSERT INTO cosigned_checkpoints (size, time, note) VALUES (5, 1, 'made up')");
    let (said, code) = check(&config);
    assert!(code == Some(1) && said.contains("with cosignatures in the database is not one"), "{said}");
    accept("ticket 4712");
    assert_eq!(Kept::of(&dir).checkpoints, kept.checkpoints);
    assert_eq!(check(&config).1, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_token_of_the_log_does_not_sign_checkpoints_wait_and_callers_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultRules::new(folder.path()).unwrap();
    faults.set(&[]).unwrap();
    let setup = with_a_ring_on_a_token(Chancery::setup(), "other");
    let setup = before_the_token(setup, &faults).configure(|config| {
        config["log"]["checkpoint_interval_seconds"] = Value::Integer(1);
    });
    let mut chancery = setup.start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let name = "keyRings/other/keys/k".parse().unwrap();
    operator.create_key(chancery_testkit::client::NewKey::new(name, Algorithm::EcdsaP256Sha256)).await.unwrap();
    until_signed(&chancery).await;
    faults.set(&[Rule::returning("sign", "C_Sign", "CKR_DEVICE_ERROR")]).unwrap();
    let caller = chancery.caller().await.unwrap();
    let said = until("the log is said to be unsigned", async || {
        caller.sign("keyRings/other/keys/k", "m", EcdsaEncoding::Der).await.unwrap();
        let (status, said) = admin_get(&chancery, "/readyz").await;
        (said.contains("log: unsigned")).then_some((status, said))
    })
    .await;
    assert!(said.0 == 200 && said.1.contains("the token of the system ring does not sign"), "{said:?}");
    assert_ne!(unsigned(&chancery).await, Some(0));
    faults.set(&[]).unwrap();
    until_signed(&chancery).await;
    until("nothing is amiss", async || (!admin_get(&chancery, "/readyz").await.1.contains("log:")).then_some(())).await;
    chancery.terminate().await.unwrap();
    Kept::of(&chancery.dir()).assert_signed("dev");
}
