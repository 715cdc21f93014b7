//! keys create, list, rings, show, rotate, suspend, resume.

use chancery_testkit::{CallerSetup, Chancery};

use crate::{run, run_with};

#[tokio::test]
async fn a_key_lives_from_its_creation_through_a_rotation_and_a_suspension() {
    let chancery = Chancery::start().await.unwrap();
    let words = ["keys", "create", "dev/k", "-a", "ECDSA_P384_SHA384", "--label", "team=billing", "-o", "json"];
    let key = run(chancery.cli(), &words).json();
    assert_eq!(key["name"], "keyRings/dev/keys/k");
    assert_eq!(key["labels"]["team"], "billing");
    assert_eq!(key["primary_version"], "keyRings/dev/keys/k/versions/1");

    let rotated = run(chancery.cli(), &["keys", "rotate", "dev/k", "-o", "json"]).json();
    assert_eq!(rotated["name"], "keyRings/dev/keys/k/versions/2");
    run(chancery.cli(), &["keys", "rotate", "dev/k", "--etag", key["etag"].as_str().unwrap()])
        .failed(6, &["ETAG_MISMATCH", "read it again"]);

    let suspended = run(chancery.cli(), &["keys", "suspend", "dev/k/1", "--reason", "test", "-o", "json"]).json();
    assert_eq!(suspended["key_version"]["state"], "SUSPENDED");
    assert_eq!(suspended["open_intents"], serde_json::json!([]));
    run_with(chancery.cli(), &["sign", "dev/k/1"], b"m").failed(6, &["KEY_VERSION_NOT_ACTIVE", "resume"]);
    run_with(chancery.cli(), &["sign", "dev/k"], b"m").text();

    let shown = run(chancery.cli(), &["keys", "show", "dev/k", "-o", "json"]).json();
    let versions: Vec<_> = shown["versions"].as_array().unwrap().iter().map(|version| &version["state"]).collect();
    assert_eq!(versions, ["ACTIVE", "SUSPENDED"], "newest first");
    assert_eq!(shown["key"]["primary_version"], "keyRings/dev/keys/k/versions/2");

    run(chancery.cli(), &["keys", "resume", "dev/k/1"]).text();
    let version = run(chancery.cli(), &["keys", "show", "dev/k/1", "-o", "json"]).json();
    assert_eq!(version["state"], "ACTIVE");
    assert_eq!(version["public_key_sha256"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn keys_are_listed_by_ring() {
    let administrator = CallerSetup::new("both").role("key-administrator").ring("dev").ring("other");
    let chancery = Chancery::setup().ring("other", "dev").with(administrator).start().await.unwrap();
    let cli = || {
        // As the caller that sees both rings: `--as` knows only the two of `chancery dev`.
        let mut command = chancery.cli();
        let identity = |file: &str| chancery.identities().join(file);
        command.env_remove("CHANCERY_DEV").env("CHANCERY_ENDPOINT", chancery.endpoint());
        command.env("CHANCERY_CA", chancery.ca()).env("CHANCERY_CERT", identity("both.pem"));
        command.env("CHANCERY_KEY", identity("both.key"));
        command
    };
    for key in ["dev/b", "dev/a", "other/c"] {
        run(cli(), &["keys", "create", key, "-a", "ECDSA_P256_SHA256"]).text();
    }
    let names = |ended: crate::Ended| -> Vec<String> {
        let keys = ended.json()["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = ["keyRings/dev/keys/a", "keyRings/dev/keys/b", "keyRings/other/keys/c"];
    assert_eq!(names(run(cli(), &["keys", "list", "-o", "json"])), all);
    assert_eq!(names(run(cli(), &["keys", "list", "other", "-o", "json"])), all[2..]);
    let one = names(run(chancery.cli(), &["keys", "list", "--as", "caller", "-o", "json"]));
    assert_eq!(one, all[..2], "the caller has one ring");

    let rings = run(cli(), &["keys", "rings"]).text();
    assert!(rings.contains("keyRings/other  ACTIVE  dev") && rings.contains("ECDSA_P256_SHA256"), "{rings}");
    assert_eq!(run(cli(), &["rings", "list"]).text(), rings);
}

#[tokio::test]
async fn a_ring_is_frozen_and_says_why() {
    let chancery = Chancery::start().await.unwrap();
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).text();
    let frozen = run(chancery.cli(), &["rings", "freeze", "dev", "--reason", "incident 77", "-o", "json"]).json();
    assert_eq!((&frozen["key_ring"]["state"], &frozen["open_intents"]), (&"FROZEN".into(), &serde_json::json!([])));
    let shown = run(chancery.cli(), &["rings", "show", "dev"]).text();
    assert!(shown.contains("FROZEN") && shown.contains("incident 77"), "{shown}");
    run(chancery.cli(), &["keys", "rotate", "dev/k"]).failed(6, &["KEY_RING_FROZEN", "chancery rings show"]);
    run(chancery.cli(), &["rings", "freeze", "dev", "--as", "caller"]).failed(5, &["ACCESS_DENIED"]);
    let open = run(chancery.cli(), &["rings", "unfreeze", "dev", "-o", "json"]).json();
    assert_eq!((&open["state"], &open["state_reason"]), (&"ACTIVE".into(), &"".into()));
    run(chancery.cli(), &["keys", "rotate", "dev/k"]).text();
    run(chancery.cli(), &["keys", "adopt", "dev/a", "-a", "ED25519", "--object-id", "AA"])
        .failed(6, &["KEY_NOT_ADOPTABLE", "holds no such key"]);
}

#[tokio::test]
async fn what_cannot_be_created_says_why() {
    let chancery = Chancery::start().await.unwrap();
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).text();
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).failed(6, &["KEY_ALREADY_EXISTS"]);
    run(chancery.cli(), &["keys", "create", "dev/d", "-a", "ED25519", "--allow-digest"]).failed(6, &["INVALID_FIELD"]);
    run(chancery.cli(), &["keys", "create", "nowhere/k", "-a", "ED25519"]).failed(5, &["ACCESS_DENIED"]);
    run(chancery.cli(), &["keys", "create", "dev/k2", "-a", "ED25519", "--as", "caller"])
        .failed(5, &["ACCESS_DENIED", "policy explain --caller CALLER --action CreateKey --resource dev"]);
    run(chancery.cli(), &["keys", "create", "dev/K", "-a", "ED25519"]).failed(2, &["[a-z][a-z0-9-]"]);
    run(chancery.cli(), &["keys", "create", "dev/k2", "-a", "DSA"]).failed(2, &["ECDSA_P256_SHA256"]);
    let twice = ["keys", "create", "dev/k2", "-a", "ED25519", "--label", "a=1", "--label", "a=2"];
    run(chancery.cli(), &twice).failed(2, &["twice"]);
}

#[tokio::test]
async fn a_request_id_makes_a_creation_safe_to_repeat() {
    let chancery = Chancery::start().await.unwrap();
    let id = "7d2f0e1c-3b54-4c8e-9a64-0c1f5f4f8a11";
    let words = ["keys", "create", "dev/k", "-a", "ED25519", "--request-id", id, "-o", "json"];
    let first = run(chancery.cli(), &words).json();
    assert_eq!(run(chancery.cli(), &words).json(), first);
    let other = ["keys", "create", "dev/k", "-a", "ECDSA_P256_SHA256", "--request-id", id];
    run(chancery.cli(), &other).failed(6, &["REQUEST_ID_REUSED"]);
}
