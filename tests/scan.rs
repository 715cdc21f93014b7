//! `chancery scan`: finds real API keys and private keys, in a tree and in what git remembers, and shows neither.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::path::Path;
use std::process::Command;

use chancery_api::v1;
use chancery_testkit::Chancery;
use chancery_tests::program::{self, chancery, command, succeed};
use serde_json::Value;

fn git(folder: &Path, words: &[&str]) {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["-c", "user.name=A Test", "-c", "user.email=test@example.org"]).args(words);
    let _said = succeed(&mut git);
}

/// Scans: the findings, the exit code, and all that it said.
fn scan(folder: &Path, words: &[&str]) -> (Vec<Value>, i32, String) {
    let mut scan = command(chancery());
    scan.arg("scan").arg(folder).args(words).args(["-o", "json"]);
    let (said, code) = program::run(&mut scan);
    let findings = serde_json::from_str::<Value>(&said)
        .map(|said| said["findings"].as_array().unwrap().clone())
        .unwrap_or_default();
    (findings, code.unwrap(), said)
}

/// An API key that a service issued.
async fn api_key() -> String {
    let chancery = Chancery::start().await.unwrap();
    let scope = v1::ApiKeyScope { access: v1::ApiKeyAccess::ReadOnly.into(), ..v1::ApiKeyScope::default() };
    let request = v1::IssueApiKeyRequest {
        parent: "callers/caller".to_owned(),
        lifetime: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        scope: Some(scope),
        request_id: String::new(),
    };
    chancery.operator().await.unwrap().callers().issue_api_key(request).await.unwrap().into_inner().key
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_found_with_file_and_line_in_the_tree_and_in_the_history() {
    let key = api_key().await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("repository");
    std::fs::create_dir_all(root.join("deploy")).unwrap();
    git(&root, &["init", "-q", "-b", "main"]);
    let damaged = format!("{}{}", &key[..key.len() - 1], if key.ends_with('x') { "y" } else { "x" });
    std::fs::write(root.join("README.md"), format!("An API key looks like {damaged}\n")).unwrap();
    let (findings, code, said) = scan(&root, &["--history"]);
    assert_eq!((findings.len(), code), (0, 0), "{said}");

    // Committed, and taken out again by the next commit; and a private key that was never committed.
    std::fs::write(root.join("deploy/env"), format!("A=1\nB=2\nCHANCERY_API_KEY={key}\n")).unwrap();
    git(&root, &["add", "-A"]);
    git(&root, &["commit", "-q", "-m", "Deploy"]);
    std::fs::write(root.join("deploy/env"), "A=1\nB=2\n").unwrap();
    git(&root, &["commit", "-q", "-a", "-m", "Tidy up"]);
    let dev = folder.path().join("dev");
    let _said = succeed(command(chancery()).args(["dev", "--prepare", "--dir"]).arg(&dev));
    let private_key = std::fs::read_to_string(dev.join("tls/caller.key")).unwrap();
    std::fs::write(root.join("caller.key"), &private_key).unwrap();

    let (findings, code, said) = scan(&root, &[]);
    assert_eq!((findings.len(), code), (1, 1), "{said}");
    assert_eq!((&findings[0]["kind"], &findings[0]["line"]), (&"PRIVATE_KEY".into(), &1.into()));
    assert!(findings[0]["file"].as_str().unwrap().ends_with("/caller.key"));
    let (findings, code, said) = scan(&root, &["--history"]);
    assert_eq!((findings.len(), code), (2, 1), "{said}");
    let found = &findings[1];
    assert_eq!((&found["kind"], &found["file"], &found["line"]), (&"API_KEY".into(), &"deploy/env".into(), &3.into()));
    assert_eq!(found["commit"].as_str().unwrap().len(), 40);
    let id = &key["chy_dev_".len()..][..12];
    assert!(found["description"].as_str().unwrap().contains(&format!("{id} of environment dev")));

    let table = program::run(command(chancery()).arg("scan").arg(&root).arg("--history"));
    assert_eq!(table.1, Some(1));
    assert!(table.0.contains("deploy/env:3: Chancery API key"), "{}", table.0);
    let secret = &key["chy_dev_".len() + 12..];
    let inner = private_key.lines().nth(1).unwrap();
    for said in [&said, &table.0] {
        assert!(!said.contains(secret) && !said.contains(inner), "the secrets are not shown");
    }

    // What is known is passed over, and what is new is not.
    let baseline = folder.path().join("baseline");
    let (_, code, _) = scan(&root, &["--history", "--write-baseline", baseline.to_str().unwrap()]);
    assert_eq!(code, 1);
    let known = std::fs::read_to_string(&baseline).unwrap();
    assert!(!known.contains(secret) && known.contains("deploy/env:3"), "{known}");
    let with_baseline = ["--history", "--baseline", baseline.to_str().unwrap()];
    let (findings, code, _) = scan(&root, &with_baseline);
    assert_eq!((findings.len(), code), (0, 0));
    std::fs::write(root.join("other.txt"), api_key().await).unwrap();
    let (findings, code, _) = scan(&root, &with_baseline);
    assert_eq!((findings.len(), code), (1, 1));
}

#[test]
fn what_cannot_be_scanned_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (_, code, said) = scan(&folder.path().join("missing"), &[]);
    assert_eq!(code, 3, "{said}");
    let (_, code, said) = scan(folder.path(), &["--history"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("git cannot tell the history"), "{said}");
    let baseline = folder.path().join("baseline");
    std::fs::write(&baseline, "# known\nnonsense\n").unwrap();
    let (_, code, said) = scan(folder.path(), &["--baseline", baseline.to_str().unwrap()]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("baseline:2"), "{said}");
}

/// The rule for gitleaks, with its own expression: real keys, and nothing that only looks like one. (gitleaks reads RE2, of which
/// this expression is a part that the regex crate reads alike.)
#[tokio::test(flavor = "multi_thread")]
async fn the_rule_for_gitleaks_matches_keys_and_no_near_misses() {
    let text = std::fs::read_to_string(program::source_tree().join("deploy/scanners/gitleaks.toml")).unwrap();
    let rules: toml::Table = text.parse().unwrap();
    let [rule] = rules["rules"].as_array().unwrap().as_slice() else { panic!("one rule") };
    let expression = regex::Regex::new(rule["regex"].as_str().unwrap()).unwrap();
    let group = usize::try_from(rule["secretGroup"].as_integer().unwrap()).unwrap();
    let found = |line: &str| expression.captures(line).map(|found| found[group].to_owned());
    let least = rule["entropy"].as_float().unwrap();
    let issued = api_key().await;
    let environment = |name: &str| {
        let name = chancery_model::Id::parse("the environment", name).unwrap();
        chancery_crypto::ApiKeyText::generate(&name).unwrap().reveal().to_owned()
    };
    for key in [issued.clone(), environment("prod"), environment("eu-west-1"), environment(&"e".repeat(63))] {
        for line in
            [key.clone(), format!("TOKEN={key}"), format!("\"{key}\","), format!("Authorization: Bearer {key}\r")]
        {
            assert_eq!(found(&line).as_deref(), Some(random_part(&key)), "{line}");
        }
        let keywords = rule["keywords"].as_array().unwrap();
        assert!(keywords.iter().any(|word| key.contains(word.as_str().unwrap())), "what gitleaks looks for first");
        assert!(entropy(random_part(&key)) > least, "{key}: {}", entropy(random_part(&key)));
    }
    let near = [
        issued[..issued.len() - 1].to_owned(),
        format!("{issued}x"),
        format!("x{issued}"),
        issued.replacen("chy_", "chi_", 1),
        issued.replacen("chy_dev_", "chy_Dev_", 1),
        issued.replacen("chy_dev_", "chy_1dev_", 1),
        issued.replacen("chy_dev_", "chy__", 1),
        issued.replacen("chy_dev_", &format!("chy_{}_", "e".repeat(64)), 1),
        format!("{}-{}", &issued[..30], &issued[31..]),
    ];
    for near in near {
        assert_eq!(found(&near), None, "{near}");
    }
    for filler in ["a".repeat(48), "EXAMPLE0".repeat(6), "xxxxxxXXXXXX".repeat(4)] {
        assert!(entropy(&filler) < least, "a placeholder of a manual is passed over: {filler}");
    }
}

/// Id, secret and checksum.
fn random_part(key: &str) -> &str {
    key.rsplit('_').next().unwrap()
}

/// Shannon's, of the characters, as gitleaks computes it.
fn entropy(text: &str) -> f64 {
    let length = text.chars().count() as f64;
    let mut counts = std::collections::BTreeMap::new();
    for character in text.chars() {
        *counts.entry(character).or_insert(0.0) += 1.0;
    }
    counts.values().map(|count: &f64| -(count / length) * (count / length).log2()).sum()
}
