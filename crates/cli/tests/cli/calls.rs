//! policy, audit, token, health, config, completion.

use std::os::unix::fs::PermissionsExt as _;

use chancery_testkit::Chancery;

use crate::{run, run_with};

#[tokio::test]
async fn a_policy_set_is_read_checked_and_replaced() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let before = run(chancery.cli(), &["policy", "get", "-o", "json"]).json();
    run(chancery.cli(), &["policy", "get", "--dir", dir]).text();
    let roles = folder.path().join("roles.cedar");
    assert_eq!(std::fs::read_to_string(&roles).unwrap(), before["documents"][0]["text"].as_str().unwrap());

    let extra = folder.path().join("extra.cedar");
    std::fs::write(&extra, "permit (principal, action, resource);\n").unwrap();
    let (roles, extra) = (roles.to_str().unwrap(), extra.to_str().unwrap());
    let checked = run(chancery.cli(), &["policy", "validate", roles, extra]);
    assert_eq!(checked.code, 1);
    assert!(String::from_utf8(checked.out).unwrap().contains("extra.cedar:1:1: error"));
    run(chancery.cli(), &["policy", "apply", roles, extra, "--yes"]).failed(6, &["POLICY_SET_INVALID"]);

    std::fs::write(extra, "@id(\"stop\")\nforbid (principal, action == Chancery::Action::\"Sign\", resource);\n")
        .unwrap();
    assert!(run(chancery.cli(), &["policy", "validate", roles, extra]).text().contains("valid: sha256 "));
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).text();
    run_with(chancery.cli(), &["sign", "dev/k"], b"m").text();
    let applied = run(chancery.cli(), &["policy", "apply", roles, extra, "--yes", "-o", "json"]).json();
    assert_eq!(applied["applied_by"], "callers/operator");
    assert_eq!(applied["version"].as_u64().unwrap(), before["version"].as_u64().unwrap() + 1);
    run_with(chancery.cli(), &["sign", "dev/k"], b"m").failed(5, &["ACCESS_DENIED"]);
    run(chancery.cli(), &["policy", "apply", roles, "--yes", "--etag", before["etag"].as_str().unwrap()])
        .failed(6, &["ETAG_MISMATCH"]);
}

#[tokio::test]
async fn a_decision_is_explained_and_its_exit_code_is_the_decision() {
    let chancery = Chancery::start().await.unwrap();
    let explain = |more: &[&str]| {
        let words = [&["policy", "explain", "--action", "Sign", "--resource", "dev/k"], more].concat();
        run(chancery.cli(), &words)
    };
    let allowed = explain(&["--caller", "caller", "--algorithm", "ED25519"]);
    assert_eq!(allowed.code, 0, "{allowed:?}");
    assert!(String::from_utf8(allowed.out).unwrap().starts_with("allowed: "));
    let denied = explain(&["--caller", "operator", "--algorithm", "ED25519", "-o", "json"]);
    assert_eq!(denied.code, 1, "{denied:?}");
    assert_eq!(denied.json()["determining_policies"][0]["effect"], "forbid");
    run(chancery.cli(), &["policy", "explain", "--action", "Fly"]).failed(2, &["Sign"]);
}

#[tokio::test]
async fn the_record_says_what_happened_and_filters_narrow_it() {
    let chancery = Chancery::start().await.unwrap();
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).text();
    let signed = run_with(chancery.cli(), &["sign", "dev/k", "-o", "json"], b"m").json();
    run_with(chancery.cli(), &["sign", "dev/k", "--as", "operator"], b"m").failed(5, &[]);

    let words = ["audit", "list", "--kind", "intent", "--caller", "caller", "--resource", "dev/k", "-o", "json"];
    let intents = run(chancery.cli(), &words).json();
    let record = &intents["records"][0];
    assert_eq!(intents["records"].as_array().unwrap().len(), 1);
    assert_eq!(record["index"], signed["record_index"]);
    assert_eq!((&record["action"], &record["kind"]), (&"Sign".into(), &"INTENT".into()));
    assert_eq!(record["details"]["caller"], "caller");

    let first = run(chancery.cli(), &["audit", "list", "--oldest-first", "--limit", "1", "-o", "json"]).json();
    assert_eq!((&first["records"][0]["index"], &first["more"]), (&0.into(), &true.into()));
    let table = run(chancery.cli(), &["audit", "list", "--action", "Sign"]).text();
    assert!(table.starts_with("INDEX") && table.contains("dev/k/1"), "{table}");
    let future = run(chancery.cli(), &["audit", "list", "--since", "2999-01-01T00:00:00Z", "-o", "json"]).json();
    assert_eq!(future, serde_json::json!({"records": [], "more": false}));
    run(chancery.cli(), &["audit", "list", "--as", "caller"]).failed(5, &["ACCESS_DENIED"]);
}

#[tokio::test]
async fn tokens_and_health_are_shown() {
    let chancery = Chancery::start().await.unwrap();
    let tokens = run(chancery.cli(), &["token", "list", "-o", "json"]).json();
    assert_eq!(tokens["tokens"][0]["health"], "UP");
    let token = run(chancery.cli(), &["token", "show", "main"]).text();
    assert!(token.contains("CKM_ECDSA") && token.contains("chancery-dev"), "{token}");
    run(chancery.cli(), &["token", "show", "nope"]).failed(5, &["ACCESS_DENIED"]);

    let health = run(chancery.cli(), &["health"]).text();
    assert!(health.contains("(the whole)") && !health.contains("NOT_SERVING"), "{health}");
    assert!(run(chancery.cli(), &["health", "tokens/main"]).text().contains("SERVING"));
    run(chancery.cli(), &["health", "chancery.v1.Nothing"]).failed(6, &[]);
}

#[tokio::test]
async fn a_configuration_is_checked_without_being_used() {
    let chancery = Chancery::start().await.unwrap();
    let config = chancery.config().to_str().unwrap();
    assert!(run(chancery.cli(), &["config", "check", config]).text().contains("ok"));

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("chancery.toml");
    std::fs::copy(config, &copy).unwrap();
    let elsewhere = run(chancery.cli(), &["config", "check", copy.to_str().unwrap(), "-o", "json"]);
    assert_eq!(elsewhere.code, 1, "its files are not beside it: {elsewhere:?}");
    assert_eq!(elsewhere.json()["ok"], false);

    let text = std::fs::read_to_string(&copy).unwrap().replace("client_auth", "client_autz");
    std::fs::write(&copy, text).unwrap();
    run(chancery.cli(), &["config", "check", copy.to_str().unwrap()]).failed(3, &["client_autz", "chancery.toml:"]);
    run(chancery.cli(), &["serve", "--config", "/nowhere/chancery.toml"]).failed(3, &["/nowhere/chancery.toml"]);
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_no_error() {
    let chancery = Chancery::start().await.unwrap();
    let mut command = std::process::Command::new("sh");
    let script = "\"$0\" completion bash | head -n 1; \"$0\" token show main | true";
    command.args(["-c", script]).arg(chancery.cli().get_program()).env("CHANCERY_DEV", chancery.dir());
    let ended = run(command, &[]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
}

#[tokio::test]
async fn a_file_of_the_log_that_is_not_what_it_should_be_is_named_for_what_it_is() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = run(chancery.cli(), &["audit", "log-key"]).text().trim().to_owned();

    // Who begins to watch over a log is told how, and a checkpoint that was lost is no beginning.
    let kept = path("kept");
    let watch = ["audit", "checkpoint", "--log-key", &key, "--continues", &kept, "--out", &kept];
    run(chancery.cli(), &watch).failed(3, &["cannot read", "to begin", "--out"]);
    run(chancery.cli(), &["audit", "checkpoint", "--log-key", &key, "--out", &kept]).text();
    run(chancery.cli(), &watch).text();
    // What was verified is said where the checkpoint alone is printed, too.
    let shown = run(chancery.cli(), &["audit", "checkpoint", "--log-key", &key, "--continues", &kept]);
    let signer = key.splitn(3, '+').take(2).collect::<Vec<_>>().join("+");
    for said in
        ["verified: the checkpoint of ", &format!("signed by a key that was given ({signer})"), "continues the log of "]
    {
        assert!(shown.err.contains(said), "{said:?} in {shown:?}");
    }
    assert!(!shown.text().contains("verified"));
    let plain = run(chancery.cli(), &["audit", "checkpoint"]);
    assert_eq!(plain.err, "", "nothing was verified");

    // With another log's key the two keys are named, and nothing is said to be on this side.
    let other = "log.example/chancery+fe94a607+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    let named = [&format!("it is signed by {signer}, and --log-key names log.example/chancery+fe94a607") as &str];
    run(chancery.cli(), &["audit", "checkpoint", "--log-key", other]).failed(1, &named);
    run(chancery.cli(), &["audit", "export", &path("export"), "--log-key", other]).failed(1, &named);
    run(chancery.cli(), &["audit", "checkpoint", "--log-key", other, "--continues", &kept]).failed(3, &named);
    let database = chancery.dir().join("chancery.db");
    let of_database =
        ["audit", "export", &path("export"), "--log-key", other, "--database", database.to_str().unwrap()];
    let both = format!("--log-key names log.example/chancery+fe94a607, and the database {signer}");
    run(chancery.cli(), &of_database).failed(1, &[&both]);

    // A folder that is there keeps its rights, which is said once, when an export begins in it.
    let shared = path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o755)).unwrap();
    let warning = "was there before, and others on this machine may get at it (mode 755)";
    for warned in [true, false] {
        let exported = run(chancery.cli(), &["audit", "export", &shared, "--log-key", &key]);
        assert_eq!(exported.err.contains(warning), warned, "{exported:?}");
        exported.text();
    }
    std::fs::write(path("empty"), "").unwrap();
    let empty = ["audit", "checkpoint", "--log-key", &key, "--continues", &path("empty")];
    run(chancery.cli(), &empty).failed(3, &["holds no checkpoint"]);

    // A kept checkpoint that is not the log's is no fault of the log.
    let verify =
        |checkpoint: &str| run(chancery.cli(), &["audit", "verify", "--log-key", &key, "--checkpoint", checkpoint]);
    assert!(verify(&kept).text().contains("yes"));
    let text = std::fs::read_to_string(&kept).unwrap();
    let (name, _) = text.split_once('\n').unwrap();
    std::fs::write(path("renamed"), text.replace(name, "log.example/before")).unwrap();
    verify(&path("renamed")).failed(3, &["renamed is not one of this log's", "another name", "--log-key once more"]);

    std::fs::write(path("release.txt"), "no database").unwrap();
    let export = ["audit", "export", &path("export"), "--database", &path("release.txt")];
    run(chancery.cli(), &export).failed(3, &["release.txt is no SQLite database"]);

    let receipt = run(chancery.cli(), &["audit", "receipt", "0"]).text().replace('\n', "\r\n");
    std::fs::write(path("receipt"), receipt).unwrap();
    let said = run(chancery.cli(), &["verify", "--receipt", &path("receipt"), "--log-key", &key]);
    assert!(said.code == 1 && String::from_utf8(said.out).unwrap().contains("CR LF"));

    // Beside a running service nothing begins.
    let config = chancery.dir().join("chancery.toml");
    let erase = ["state", "erase-details", "--config", config.to_str().unwrap(), "--caller", "caller", "--reason", "x"];
    run(chancery.cli(), &erase).failed(3, &["error: nothing is erased", "in use"]);
}
