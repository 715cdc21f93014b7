//! callers create, list, show, update, suspend, resume.

use chancery_testkit::{Chancery, Leaf};

use crate::{run, run_with};

#[tokio::test]
async fn a_caller_is_registered_changed_suspended_and_resumed() {
    let chancery = Chancery::start().await.unwrap();
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).text();
    let identity = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/till"), "till").unwrap();
    let till = || {
        let mut command = chancery.cli();
        command.env_remove("CHANCERY_DEV").env("CHANCERY_ENDPOINT", chancery.endpoint());
        command.env("CHANCERY_CA", chancery.ca()).env("CHANCERY_CERT", &identity.certificate);
        command.env("CHANCERY_KEY", &identity.private_key);
        command
    };
    run_with(till(), &["sign", "dev/k"], b"m").failed(5, &["CALLER_NOT_REGISTERED", "chancery callers create"]);

    let words = ["callers", "create", "till", "--environment", "dev", "--identity", "spiffe://chancery.dev/till"];
    let more = ["--role", "verifier", "--key-ring", "dev", "--attribute", "team=shop", "-o", "json"];
    let created = run(chancery.cli(), &[&words[..], &more[..]].concat()).json();
    assert_eq!((&created["name"], &created["state"]), (&"callers/till".into(), &"ACTIVE".into()));
    run_with(till(), &["sign", "dev/k"], b"m").failed(5, &["ACCESS_DENIED"]);
    let words = ["callers", "update", "till", "--add-role", "signer", "--remove-role", "verifier", "-o", "json"];
    let updated = run(chancery.cli(), &words).json();
    assert_eq!(updated["roles"], serde_json::json!(["signer"]));
    assert_eq!(updated["key_rings"], serde_json::json!(["keyRings/dev"]), "what is not named stays");
    run_with(till(), &["sign", "dev/k"], b"m").text();
    let stale = created["etag"].as_str().unwrap();
    run(chancery.cli(), &["callers", "update", "till", "--add-role", "auditor", "--etag", stale])
        .failed(6, &["ETAG_MISMATCH"]);
    run(chancery.cli(), &["callers", "update", "till"]).failed(2, &["nothing is to be changed"]);

    let suspended = run(chancery.cli(), &["callers", "suspend", "till", "--reason", "test", "-o", "json"]).json();
    assert_eq!(
        (&suspended["caller"]["state"], &suspended["open_intents"]),
        (&"SUSPENDED".into(), &serde_json::json!([]))
    );
    run_with(till(), &["sign", "dev/k"], b"m").failed(5, &["CALLER_SUSPENDED", "chancery callers resume"]);
    let list = run(chancery.cli(), &["callers", "list"]).text();
    assert!(list.lines().any(|line| line.starts_with("callers/till") && line.contains("SUSPENDED")), "{list}");
    run(chancery.cli(), &["callers", "resume", "till"]).text();
    let shown = run(chancery.cli(), &["callers", "show", "till", "-o", "json"]).json();
    assert_eq!((&shown["state"], &shown["attributes"]["team"]), (&"ACTIVE".into(), &"shop".into()));
    run_with(till(), &["sign", "dev/k"], b"m").text();

    run(chancery.cli(), &["callers", "suspend", "operator"]).failed(5, &["ACCESS_DENIED"]);
    let words = ["policy", "explain", "--action", "SuspendCaller", "--resource", "callers/operator"];
    assert!(run(chancery.cli(), &words).out.windows(7).any(|text| text == b"builtin"));
    let record = run(chancery.cli(), &["audit", "list", "--resource", "callers/till", "--kind", "act"]).text();
    assert_eq!(record.matches("UpdateCaller").count(), 1, "{record}");
}
