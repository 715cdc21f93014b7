//! Rings on several tokens and modules at once, and each way in which a PIN comes to a service.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::path::{Path, PathBuf};

use chancery_client::model::{Algorithm, KeyName};
use chancery_client::{EcdsaEncoding, NewKey};
use chancery_pkcs11_fault::{Crash, Rule, Then};
use chancery_testkit::{Chancery, Setup};
use chancery_tests::program::{Running, chancery, command, succeed};
use chancery_tests::softhsm::{LABEL, SoftHsm, USER_PIN};
use chancery_tests::terminal::AtTerminal;
use toml::{Table, Value};

/// Adds a token and a ring on it, to which every caller's roles extend.
fn with_ring(setup: Setup, ring: &str, hsm: &SoftHsm, pin: (&str, Value)) -> Setup {
    let text = |text: &str| Value::String(text.to_owned());
    let environment = hsm.environment().iter().map(|(name, value)| (name.clone(), text(value)));
    let token = Table::from_iter([
        ("id".to_owned(), text(ring)),
        ("module".to_owned(), text(hsm.module().to_str().unwrap())),
        ("label".to_owned(), text(LABEL)),
        (pin.0.to_owned(), pin.1),
        ("environment".to_owned(), Value::Table(environment.collect())),
    ]);
    // The tokens have one label and no lock in common: each is in a module's files of its own.
    let ring = ring.to_owned();
    setup.configure(move |config| {
        config["token"].as_array_mut().unwrap().push(Value::Table(token));
        let entry = [("id", ring.as_str()), ("token", &ring), ("environment", "dev")];
        let entry = entry.map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())));
        config["key_ring"].as_array_mut().unwrap().push(Value::Table(entry.into_iter().collect()));
        for caller in config["caller"].as_array_mut().unwrap() {
            caller["key_rings"].as_array_mut().unwrap().push(Value::String(ring.clone()));
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn rings_on_several_tokens_and_modules_serve_side_by_side() {
    let spare = SoftHsm::with_token();
    let (frail, faults) = SoftHsm::with_token().faulty();
    let frail_pin = Value::String(frail.path("pin").to_str().unwrap().to_owned());
    let setup = with_ring(Chancery::setup(), "spare", &spare, ("pin_credential", Value::String("pin".to_owned())));
    let setup = with_ring(setup, "frail", &frail, ("pin_file", frail_pin)).configure(|config| {
        // Two tokens of one label are told apart by their serials, in the locks, too.
        for token in config["token"].as_array_mut().unwrap().iter_mut().skip(1) {
            let token = token.as_table_mut().unwrap();
            let serial = serial_of(token);
            token.insert("serial".to_owned(), Value::String(serial));
        }
    });
    let credentials = spare.path("");
    let service = setup.environment("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()).start().await.unwrap();

    let (operator, caller) = (service.operator().await.unwrap(), service.caller().await.unwrap());
    let mut keys = Vec::new();
    for ring in ["dev", "spare", "frail"] {
        let name: KeyName = format!("keyRings/{ring}/keys/k").parse().unwrap();
        keys.push(operator.create_key(NewKey::new(name, Algorithm::EcdsaP256Sha256)).await.unwrap().name);
    }
    for key in &keys {
        caller.sign(key, "in turn", EcdsaEncoding::Der).await.unwrap();
    }
    // A module that crashes takes its own worker with it and nothing else.
    faults.set(&[Rule::new("crash", Then::Crash(Crash::Segv)).on("C_Sign").times(1)]).unwrap();
    let mut signed = Vec::new();
    for key in &keys {
        signed.push(caller.sign(key, "beside a crash", EcdsaEncoding::Der).await.unwrap().version.to_string());
    }
    assert_eq!(faults.count("crash").unwrap(), 1);
    assert_eq!(signed, ["dev", "spare", "frail"].map(|ring| format!("keyRings/{ring}/keys/k/versions/1")));
    let tokens = succeed(service.cli().args(["token", "list", "-o", "json"]));
    let tokens: serde_json::Value = serde_json::from_str(&tokens).unwrap();
    let restarts: Vec<_> = tokens["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| (token["name"].clone(), token["worker_restarts"].clone()))
        .collect();
    assert!(restarts.contains(&("tokens/frail".into(), 1.into())), "{restarts:?}");
    assert!(restarts.contains(&("tokens/spare".into(), 0.into())), "{restarts:?}");
    assert!(!service.log().contains(USER_PIN));
}

/// The serial number of the one token that a module shows.
fn serial_of(token: &Table) -> String {
    let mut list = command(chancery());
    list.args(["token", "list", "-o", "json", "--module", token["module"].as_str().unwrap()]);
    for (name, value) in token["environment"].as_table().unwrap() {
        list.args(["--env", &format!("{name}={}", value.as_str().unwrap())]);
    }
    let slots: serde_json::Value = serde_json::from_str(&succeed(&mut list)).unwrap();
    let slots = slots["slots"].as_array().unwrap();
    slots.iter().find(|slot| slot["token"] == "initialised").unwrap()["serial"].as_str().unwrap().to_owned()
}

/// A folder of `chancery dev` that is complete and not served, with another source of the PIN; and the PIN's file.
fn prepared(source: &str, value: Value) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dev = folder.path().join("dev");
    let _said = succeed(
        command(chancery())
            .args(["dev", "--prepare", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--dir"])
            .arg(&dev),
    );
    let path = dev.join("chancery.toml");
    let mut config: Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let token = config["token"][0].as_table_mut().unwrap();
    let pin = dev.join(token.remove("pin_file").unwrap().as_str().unwrap());
    token.insert(source.to_owned(), value);
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    (folder, pin)
}

fn serve(folder: &Path) -> std::process::Command {
    let mut serve = command(chancery());
    serve.args(["serve", "--config"]).arg(folder.join("dev/chancery.toml"));
    serve
}

#[test]
fn a_pin_comes_over_an_inherited_descriptor() {
    let (folder, pin) = prepared("pin_descriptor", Value::Integer(7));
    let mut shell = command("bash");
    shell.args(["-c", "exec 7< \"$0\"; exec \"$@\""]).arg(&pin);
    let serve = serve(folder.path());
    shell.arg(serve.get_program()).args(serve.get_args());
    let mut service = Running::start(&mut shell, &folder.path().join("log"));
    service.until("a service", |log| log.contains("the service takes calls").then_some(()));
    // It was read once, and nobody has it any more.
    let open = std::fs::read_dir(format!("/proc/{}/fd", service.pid()));
    if let Ok(open) = open {
        let links: Vec<_> = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect();
        assert!(!links.contains(&pin), "{links:?}");
    }
    assert!(service.stop().success(), "{}", service.log());

    let mut service = command("bash");
    service.args(["-c", "exec 7>&-; exec \"$@\"", "bash"]).arg(serve.get_program()).args(serve.get_args());
    let (said, code) = chancery_tests::program::run(&mut service);
    assert!(code == Some(3) && said.contains("descriptor 7"), "{code:?} {said}");
}

#[test]
fn a_pin_is_typed_when_the_service_starts() {
    let (folder, pin) = prepared("pin_prompt", Value::Boolean(true));
    let pin = std::fs::read_to_string(pin).unwrap();
    let mut service = AtTerminal::run(&serve(folder.path()));
    service.answer("User PIN of token main (\"chancery-dev\"): ", &format!("{}\r", pin.trim_end()));
    // Ctrl-C is a signal again.
    service.answer("the service takes calls", "\u{3}");
    let (said, code) = service.end();
    assert!(code == Some(0) && !said.contains(pin.trim_end()), "{code:?} {said}");
}
