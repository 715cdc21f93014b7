//! `chancery dev`: the folder, and what survives what.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use chancery_testkit::Chancery;

use crate::{run, run_with};

#[tokio::test]
async fn keys_outlive_a_stop_and_a_kill() {
    let mut chancery = Chancery::start().await.unwrap();
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).text();
    let first = run(chancery.cli(), &["public-key", "dev/k"]).text();
    let signature = run_with(chancery.cli(), &["sign", "dev/k"], b"m").text();

    assert!(chancery.terminate().await.unwrap().success(), "{}", chancery.log());
    assert!(!chancery.dir().join("dev.json").exists(), "the announcement goes with the service");
    chancery.restart().await.unwrap();
    chancery.kill().unwrap();
    assert!(chancery.dir().join("dev.json").exists(), "nobody could remove it");
    run(chancery.cli(), &["health"]).failed(4, &["nothing listens there"]);
    chancery.restart().await.unwrap();

    assert_eq!(run(chancery.cli(), &["public-key", "dev/k"]).text(), first);
    let file = chancery.identities().with_file_name("signature");
    std::fs::write(&file, signature).unwrap();
    run_with(chancery.cli(), &["verify", "dev/k/1", "--signature", file.to_str().unwrap()], b"m").text();
}

#[tokio::test]
async fn a_second_service_on_the_folder_is_told_about_the_first() {
    let chancery = Chancery::start().await.unwrap();
    let before = std::fs::read(chancery.dir().join("dev.json")).unwrap();
    let second = run(chancery.cli(), &["dev", "--dir", chancery.dir().to_str().unwrap()]);
    second.failed(3, &["already runs", &format!("process {}", chancery.pid()), chancery.endpoint()]);
    assert_eq!(std::fs::read(chancery.dir().join("dev.json")).unwrap(), before);
    run(chancery.cli(), &["health"]).text();
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_with_the_way_to_another() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let taken = chancery.endpoint().strip_prefix("https://").unwrap();
    let words = ["dev", "--dir", folder.path().to_str().unwrap(), "--listen", taken, "--admin-listen", "127.0.0.1:0"];
    let ended = run(chancery.cli(), &words);
    assert_eq!(ended.code, 4, "{ended:?}");
    for said in [taken, "cannot be listened on", "port 0 takes a free one"] {
        assert!(ended.err.contains(said), "{said:?} in {}", ended.err);
    }
    assert!(!folder.path().join("dev.json").exists(), "nothing serves");
}

#[tokio::test]
async fn secrets_are_their_owners_alone_and_the_announcement_is_whole() {
    let chancery = Chancery::start().await.unwrap();
    let mode = |relative: &str| std::fs::metadata(chancery.dir().join(relative)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for secret in ["tls/ca.key", "tls/server.key", "tls/operator.key", "tls/caller.key"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    for secret in ["pin", "so-pin"] {
        let path = chancery.token_dir().join(secret);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{secret}");
    }
    let pin = std::fs::read_to_string(chancery.token_dir().join("pin")).unwrap();
    assert!(!chancery.log().contains(&pin), "the PIN is in the log");

    let announcement: serde_json::Value =
        serde_json::from_slice(&std::fs::read(chancery.dir().join("dev.json")).unwrap()).unwrap();
    let names: Vec<_> = announcement.as_object().unwrap().keys().map(String::as_str).collect();
    let promised = ["admin_endpoint", "ca", "caller", "config", "endpoint", "key_ring", "operator"];
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>(), promised.iter().collect());
    for path in ["/ca", "/config", "/operator/cert", "/operator/key", "/caller/cert", "/caller/key"] {
        let path = std::path::Path::new(announcement.pointer(path).unwrap().as_str().unwrap());
        assert!(path.is_absolute() && path.is_file(), "{}", path.display());
    }
}

#[test]
fn a_folder_that_is_half_made_is_completed_and_nothing_else_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let prepare = || {
        let words = ["dev", "--dir", dir.to_str().unwrap(), "--prepare"];
        run(Command::new(env!("CARGO_BIN_EXE_chancery")), &words).text()
    };
    assert!(prepare().contains("made the SoftHSM token"));
    assert_eq!(prepare().lines().count(), 1, "complete: there is nothing to do");

    // As a crash leaves it: files that are not there yet.
    let token = std::fs::read(dir.join("softhsm/token.json")).unwrap();
    std::fs::remove_file(dir.join("tls/caller.pem")).unwrap();
    std::fs::remove_file(dir.join("chancery.toml")).unwrap();
    let operator = std::fs::read(dir.join("tls/operator.pem")).unwrap();
    let done = prepare();
    assert!(done.contains("caller.pem") && done.contains("chancery.toml"), "{done}");
    assert!(!done.contains("token") && !done.contains("operator"), "{done}");
    assert_eq!(std::fs::read(dir.join("softhsm/token.json")).unwrap(), token);
    assert_eq!(std::fs::read(dir.join("tls/operator.pem")).unwrap(), operator);

    // As a crash before the token's folder got its name leaves it.
    std::fs::rename(dir.join("softhsm"), dir.join("softhsm.new")).unwrap();
    assert!(prepare().contains("made the SoftHSM token"));
    assert!(!dir.join("softhsm.new").exists());
    assert_ne!(std::fs::read(dir.join("softhsm/token.json")).unwrap(), token);
}

/// Any module will do: SoftHSM, named as one that `chancery dev` does not know.
#[test]
fn a_folder_keeps_to_the_module_that_it_was_made_with() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("dev");
    let template = parent.path().join("other.conf.template");
    std::fs::write(&template, "directories.tokendir = @TOKENS@\nobjectstore.backend = file\n").unwrap();
    let library = chancery_hsm::find_softhsm_module().unwrap();
    let configuration = format!("SOFTHSM2_CONF={}", template.display());
    let prepare = |more: &[&str]| {
        let words = [&["dev", "--dir", dir.to_str().unwrap(), "--prepare"], more].concat();
        run(Command::new(env!("CARGO_BIN_EXE_chancery")), &words)
    };
    let module = ["--module", library.to_str().unwrap(), "--module-config", &configuration];
    prepare(&module[..2]).failed(2, &["--module-config"]);
    assert!(prepare(&module).text().contains("made the token"));
    let config: toml::Table = std::fs::read_to_string(dir.join("chancery.toml")).unwrap().parse().unwrap();
    let token = &config["token"][0];
    assert_eq!(token["pin_file"].as_str(), Some("token/pin"));
    let file = token["environment"]["SOFTHSM2_CONF"].as_str().unwrap();
    assert!(file.ends_with("dev/token/other.conf"), "{file}");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.starts_with("directories.tokendir = /") && text.contains("/dev/token/tokens\n"), "{text}");

    for again in [&module[..], &[]] {
        assert_eq!(prepare(again).text().lines().count(), 1, "complete: there is nothing to do");
    }
    std::fs::write(&template, "slots.removable = true\n").unwrap();
    prepare(&module).failed(3, &["another module", "another folder"]);
}

#[test]
fn without_softhsm_it_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.env("SOFTHSM2_MODULE", "/nowhere/libsofthsm2.so");
    let words = ["dev", "--dir", folder.path().to_str().unwrap()];
    run(command, &words).failed(3, &["SoftHSM 2", "softhsm/install.sh", "softhsm2 (Debian"]);
}
