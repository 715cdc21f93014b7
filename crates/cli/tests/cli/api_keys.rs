//! api-keys issue, list, rotate, revoke; and calling with one.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use chancery_testkit::Chancery;

use crate::{run, run_with};

async fn start() -> Chancery {
    let setup = Chancery::setup().configure(|config| {
        config["listener"].as_table_mut().unwrap().insert("client_auth".to_owned(), "optional".into());
    });
    setup.start().await.unwrap()
}

/// A command line that calls with the API key in this file.
fn with_key(chancery: &Chancery, file: &std::path::Path) -> Command {
    let mut command = chancery.cli();
    command.env_remove("CHANCERY_DEV").env("CHANCERY_ENDPOINT", chancery.endpoint()).env("CHANCERY_CA", chancery.ca());
    command.env("CHANCERY_API_KEY_FILE", file);
    command
}

#[tokio::test]
async fn a_key_goes_into_a_file_of_its_own_signs_is_rotated_and_revoked() {
    let chancery = start().await;
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).text();
    let issue =
        ["api-keys", "issue", "caller", "--lifetime", "1d", "--action", "sign", "--key-ring", "dev", "--key-file"];
    let issued = run(chancery.cli(), &[&issue[..], &[first.to_str().unwrap(), "-o", "json"]].concat()).json();
    let name = issued["name"].as_str().unwrap();
    assert_eq!((&issued["state"], &issued["actions"]), (&"ACTIVE".into(), &serde_json::json!(["Sign"])));
    assert_eq!(std::fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&first).unwrap();
    assert!(key.starts_with("chy_dev_") && !issued.to_string().contains(key.trim()), "only the file has it");
    run(chancery.cli(), &[&issue[..], &[first.to_str().unwrap()]].concat()).failed(3, &["cannot create"]);

    run_with(with_key(&chancery, &first), &["sign", "dev/k"], b"m").text();
    run(with_key(&chancery, &first), &["keys", "show", "dev/k"]).failed(5, &["ACCESS_DENIED"]);
    let short = name.replace("callers/", "").replace("apiKeys/", "");
    let rotate =
        ["api-keys", "rotate", &short, "--overlap", "1h", "--key-file", second.to_str().unwrap(), "-o", "json"];
    let rotated = run(chancery.cli(), &rotate).json();
    for file in [&first, &second] {
        run_with(with_key(&chancery, file), &["sign", "dev/k"], b"m").text();
    }
    run(chancery.cli(), &["api-keys", "revoke", &short, "--reason", "test"]).text();
    run_with(with_key(&chancery, &first), &["sign", "dev/k"], b"m").failed(5, &["API_KEY_REVOKED"]);
    let list = run(chancery.cli(), &["api-keys", "list", "caller", "-o", "json"]).json();
    let list = list["api_keys"].as_array().unwrap();
    let states: Vec<_> = list.iter().map(|key| (key["name"].clone(), key["state"].clone())).collect();
    assert!(states.contains(&(issued["name"].clone(), "REVOKED".into())), "{states:?}");
    assert!(states.contains(&(rotated["name"].clone(), "ACTIVE".into())), "{states:?}");
    std::fs::set_permissions(&second, std::fs::Permissions::from_mode(0o644)).unwrap();
    run_with(with_key(&chancery, &second), &["sign", "dev/k"], b"m").failed(3, &["open to other users", "chmod 600"]);
}

#[tokio::test]
async fn without_a_file_the_key_alone_is_on_standard_output() {
    let chancery = start().await;
    let issue = ["api-keys", "issue", "caller", "--lifetime", "12h", "--read-only"];
    let ended = run(chancery.cli(), &issue);
    assert!(ended.err.contains("READ_ONLY") && ended.err.contains("shown this once"), "{}", ended.err);
    let key = ended.text();
    assert!(key.starts_with("chy_dev_") && key.ends_with('\n') && key.lines().count() == 1);
    let json = run(chancery.cli(), &[&issue[..], &["-o", "json"]].concat()).json();
    assert!(json["key"].as_str().unwrap().starts_with("chy_dev_"));
    assert_eq!(json["api_key"]["access"], "READ_ONLY");
    // What is refused leaves no file behind.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("never");
    let too_long = ["api-keys", "issue", "caller", "--lifetime", "91d", "--key-file", file.to_str().unwrap()];
    run(chancery.cli(), &too_long).failed(6, &["lifetime"]);
    assert!(!file.exists());
}
