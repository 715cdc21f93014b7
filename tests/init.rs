//! From `chancery init` to a service in production that answers, as its operator gets there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use chancery_tests::program::{Running, chancery, command, run, succeed};
use serde_json::Value;

/// A token and certificates, such as an operator has before he begins: those that `chancery dev` makes.
struct Site {
    folder: tempfile::TempDir,
    /// The file with the token's PIN.
    pin: PathBuf,
    /// The options that name them.
    options: Vec<String>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dev = folder.path().join("dev");
        let _said = succeed(command(chancery()).args(["dev", "--prepare", "--dir"]).arg(&dev));
        let made: toml::Table = std::fs::read_to_string(dev.join("chancery.toml")).unwrap().parse().unwrap();
        let token = &made["token"][0];
        let text = |name: &str| token[name].as_str().unwrap();
        let (module, label, serial) = (text("module"), text("label"), text("serial"));
        let pin = dev.join(text("pin_file"));
        let environment = token["environment"].as_table().unwrap().iter();
        let environment: String =
            environment.map(|(name, value)| format!(",env.{name}={}", value.as_str().unwrap())).collect();
        let at = |path: &str| dev.join(path).display().to_string();
        let token =
            format!("main,module={module},label={label},serial={serial},pin-file={}{environment}", pin.display());
        let options = [
            ("--server-cert", at("tls/server.pem")),
            ("--server-key", at("tls/server.key")),
            ("--client-ca", at("tls/ca.pem")),
            ("--store", folder.path().join("state/chancery.db").display().to_string()),
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--admin-listen", "127.0.0.1:0".to_owned()),
            ("--token", token),
            ("--ring", "letters".to_owned()),
            ("--caller", "ops,identity=spiffe://chancery.dev/operator,role=policy-administrator".to_owned()),
            ("--caller", "post,identity=spiffe://chancery.dev/caller,role=signer,ring=letters".to_owned()),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        Self { folder, pin, options }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// `chancery init`, which has no terminal here.
    fn init(&self, config: &Path) -> Command {
        let mut init = command(chancery());
        init.arg("init").arg("--config").arg(config).args(&self.options);
        init
    }
}

fn findings(config: &Path) -> (Vec<Value>, Option<i32>) {
    let (said, code) = run(command(chancery()).args(["config", "check", "--output", "json"]).arg(config));
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (answer["findings"].as_array().unwrap().clone(), code)
}

#[test]
fn a_service_starts_from_what_init_wrote() {
    let site = Site::new();
    let config = site.path("etc/chancery.toml");
    let said = succeed(&mut site.init(&config));
    assert!(said.contains(&format!("wrote {}", config.display())), "{said}");

    // What is still missing is said by init, and by the command that it names.
    let state = site.path("state");
    assert!(said.contains("error: store.path") && said.contains(&format!("chancery {}", state.display())), "{said}");
    assert!(said.contains(&format!("chancery config check {}", config.display())), "{said}");
    let (missing, code) = findings(&config);
    assert_eq!(code, Some(1), "{missing:?}");
    std::fs::create_dir(&state).unwrap();

    // Then it can be started with; what is weak is said: keys in files are not for production.
    let (weak, code) = findings(&config);
    assert_eq!(code, Some(0), "{weak:?}");
    assert!(weak.iter().all(|finding| finding["severity"] == "warning"), "{weak:?}");
    let fields: Vec<&str> = weak.iter().map(|finding| finding["field"].as_str().unwrap()).collect();
    assert!(fields.contains(&"token.main.module"), "{fields:?}");

    let mut service = Running::start(command(chancery()).args(["serve", "--config"]).arg(&config), &site.path("log"));
    let address = service.until("the address that it takes calls at", |log| {
        let line = log.lines().find(|line| line.contains("the service takes calls"))?;
        let line: Value = serde_json::from_str(line).ok()?;
        let fields = line.get("fields").unwrap_or(&line);
        Some(fields.get("address")?.as_str()?.to_owned())
    });
    let tls = |file: &str| site.path("dev/tls").join(file);
    let call = |identity: &str, arguments: &[&str]| {
        let mut call = command(chancery());
        call.args(arguments).args(["--endpoint", &format!("https://{address}"), "--ca"]).arg(tls("ca.pem"));
        call.arg("--cert").arg(tls(&format!("{identity}.pem"))).arg("--key").arg(tls(&format!("{identity}.key")));
        call
    };
    let healthy = succeed(&mut call("operator", &["health"]));
    assert!(healthy.contains("SERVING") && !healthy.contains("NOT_SERVING"), "{healthy}");
    // The callers are who they were said to be, and may do what their roles say.
    let (said, code) = run(&mut call("caller", &["keys", "create", "letters/k", "--algorithm", "ED25519"]));
    assert_eq!(code, Some(5), "a signer makes no keys: {said}");
    let status = service.stop();
    assert!(status.success(), "{status}: {}", service.log());
}

#[test]
fn the_file_holds_no_secret_and_is_explained() {
    let site = Site::new();
    let config = site.path("chancery.toml");
    let said = succeed(&mut site.init(&config));
    let text = std::fs::read_to_string(&config).unwrap();
    let secrets =
        [site.pin.clone(), site.path("dev/tls/server.key")].map(|path| std::fs::read_to_string(path).unwrap());
    for line in secrets.iter().flat_map(|secret| secret.lines()).filter(|line| !line.starts_with("-----")) {
        assert!(line.len() > 8, "a PIN of 128 bits, and lines of a key");
        assert!(!text.contains(line) && !said.contains(line), "a secret is in the file, or was said");
    }
    assert_eq!(std::fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(text.lines().filter(|line| line.starts_with('#')).count() > 10, "{text}");
}

#[test]
fn nothing_is_overwritten_unless_forced() {
    let site = Site::new();
    let config = site.path("chancery.toml");
    std::fs::write(&config, "mine\n").unwrap();
    let (said, code) = run(&mut site.init(&config));
    assert!(code == Some(3) && said.contains("--force"), "{code:?} {said}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "mine\n");
    let _said = succeed(site.init(&config).arg("--force"));
    assert!(std::fs::read_to_string(&config).unwrap().contains("[listener]"));
}

#[test]
fn without_a_terminal_every_missing_option_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("chancery.toml");
    for arguments in [[].as_slice(), ["--non-interactive"].as_slice()] {
        let (said, code) = run(command(chancery()).arg("init").args(arguments).arg("--config").arg(&config));
        assert_eq!(code, Some(2), "{said}");
        for option in ["--server-cert", "--server-key", "--client-ca", "--token", "--ring", "--caller"] {
            assert!(said.contains(option), "{option}: {said}");
        }
        assert!(!config.exists());
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let site = Site::new();
    let config = site.path("chancery.toml");
    for (secret, word) in
        [("env.P11_PASSWORD=hunter2", "P11_PASSWORD"), ("pin=hunter2", "never typed"), ("hunter2", "part 5")]
    {
        let token = format!("spare,module=/m,label=l,pin-file=/p,{secret}");
        let (said, code) = run(site.init(&config).args(["--token", &token]));
        assert!(code == Some(2) && said.contains(word), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!config.exists());
    }
}
