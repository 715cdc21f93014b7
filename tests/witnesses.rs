//! Witnesses: a checkpoint counts once enough of them have cosigned it, and they remember what the service's own disk forgot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::kept_tree;
use chancery_audit::note::{KeyName, SignatureKind, VerifierKey};
use chancery_audit::witness::WitnessPolicy;
use chancery_crypto::PublicKey;
use chancery_model::Algorithm;
use chancery_testkit::Chancery;
use chancery_testkit::client::EcdsaEncoding;
use chancery_tests::contract::admin_get;
use chancery_tests::hand::{self, Saved};
use chancery_tests::load::until;
use chancery_tests::program::{Running, chancery as program, command, run, succeed};
use tempfile::TempDir;
use toml::{Table, Value};

const ORIGIN: &str = "log.example/chancery";

/// A witness in a process of its own.
struct Witness {
    name: String,
    folder: PathBuf,
    log: VerifierKey,
    tls: bool,
    /// Where it listens, once it has.
    address: String,
    key: VerifierKey,
    running: Option<Running>,
}

impl Witness {
    fn start(folder: &Path, name: &str, log: &VerifierKey, tls: bool) -> Self {
        let name = format!("witness.example/{name}");
        let folder = folder.join(name.rsplit_once('/').unwrap().1);
        std::fs::create_dir(&folder).unwrap();
        let host = own_host();
        if tls {
            let made = rcgen::generate_simple_self_signed([host.clone()]).unwrap();
            std::fs::write(folder.join("tls.pem"), made.cert.pem()).unwrap();
            std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        }
        let said =
            succeed(command(program()).args(["witness", "--prepare", "--name", &name, "--dir"]).arg(folder.join("w")));
        let key = VerifierKey::parse(said.strip_prefix("verifier key: ").unwrap().trim()).unwrap();
        let address = format!("{host}:0");
        let mut witness = Self { name, folder, log: log.clone(), tls, address, key, running: None };
        witness.run();
        witness
    }

    fn command(&self) -> Command {
        let mut command = command(program());
        command.args(["witness", "--name", &self.name, "--listen", &self.address, "--log", &self.log.to_string()]);
        command.arg("--dir").arg(self.folder.join("w"));
        if self.tls {
            command.arg("--tls-certificate").arg(self.folder.join("tls.pem"));
            command.arg("--tls-key").arg(self.folder.join("tls.key"));
        }
        command
    }

    /// Starts it, where it was before.
    fn run(&mut self) {
        let mut running = Running::start(&mut self.command(), &self.folder.join("log"));
        let listening = running.until("an address", |said| {
            let (_, rest) = said.split_once("listening: ")?;
            rest.split_once('\n').map(|(url, _)| url.to_owned())
        });
        assert!(running.log().contains(&self.key.to_string()), "the key is the same");
        self.address = listening.rsplit_once('/').unwrap().1.to_owned();
        self.running = Some(running);
    }

    /// As a machine that loses its power does, as far as a test can.
    fn kill(&mut self) {
        chancery_testkit::signal(self.running.as_ref().unwrap().pid(), "KILL").unwrap();
        self.running = None;
    }

    /// `[[log.witness]]`.
    fn configuration(&self) -> Table {
        let mut table = Table::new();
        table.insert("key".to_owned(), Value::String(self.key.to_string()));
        let scheme = if self.tls { "https" } else { "http" };
        table.insert("url".to_owned(), Value::String(format!("{scheme}://{}", self.address)));
        if self.tls {
            table.insert("ca".to_owned(), Value::String(self.folder.join("tls.pem").display().to_string()));
        }
        table
    }
}

/// A loopback address that nothing else uses: a port that is given up for a while is not taken there by somebody's connection.
fn own_host() -> String {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{low}.{}", high | 128, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A service that has stopped, with a key to sign with, and three witnesses of its log of which two are required.
struct Scene {
    chancery: Chancery,
    witnesses: [Witness; 3],
    log: VerifierKey,
    signed: u32,
    _folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setup = Chancery::setup().configure(|config| {
            config.insert("log".to_owned(), toml::toml! { origin = "log.example/chancery" }.into());
        });
        let mut chancery = setup.start().await.unwrap();
        let _key = chancery.create_key("k", Algorithm::Ed25519).await.unwrap();
        until("a checkpoint is signed", async || {
            (metric(&chancery, "chancery_log_unsigned").await == Some(0)).then_some(())
        })
        .await;
        assert_eq!(metric(&chancery, "chancery_log_uncounted").await, Some(0), "no witness is required");
        chancery.terminate().await.unwrap();
        let log = log_key(&chancery.dir());
        let witness = |name, tls| Witness::start(folder.path(), name, &log, tls);
        let witnesses = [witness("w1", true), witness("w2", false), witness("w3", false)];
        let configured: Vec<Value> = witnesses.iter().map(|witness| witness.configuration().into()).collect();
        chancery
            .configure(|config| {
                config["log"].as_table_mut().unwrap().insert("witness".to_owned(), Value::Array(configured));
                config["log"].as_table_mut().unwrap().insert("required_witnesses".to_owned(), Value::Integer(2));
            })
            .unwrap();
        Self { chancery, witnesses, log, signed: 0, _folder: folder }
    }

    async fn serve(&mut self) {
        self.chancery.launch().unwrap();
        self.chancery.wait_until_serving().await.unwrap();
    }

    async fn sign(&mut self) {
        self.signed += 1;
        let caller = self.chancery.caller().await.unwrap();
        let message = format!("message {}", self.signed);
        caller.sign("keyRings/dev/keys/k", message.as_str(), EcdsaEncoding::Der).await.unwrap();
    }

    /// Signs by the command line, with a receipt; its exit code.
    fn sign_for_a_receipt(&self, receipt: &Path) -> (String, Option<i32>) {
        let message = receipt.with_extension("message");
        std::fs::write(&message, "for a receipt").unwrap();
        let mut sign = self.chancery.cli();
        sign.args(["sign", "dev/k", "--in"]).arg(message).arg("--signature").arg(receipt.with_extension("sig"));
        run(sign.arg("--receipt").arg(receipt))
    }

    /// What a verifier who trusts these witnesses, and no service, says of a receipt.
    fn verify_receipt(&self, receipt: &Path, witnesses: &[&VerifierKey], more: &[&str]) -> serde_json::Value {
        let mut verify = command(program());
        verify.args(["verify", "-o", "json", "--log-key", &self.log.to_string(), "--receipt"]).arg(receipt).args(more);
        for witness in witnesses {
            verify.args(["--witness", &witness.to_string()]);
        }
        let (said, code) = run(&mut verify);
        let verdict: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(code, Some(if verdict["proven"] == true { 0 } else { 1 }), "{said}");
        verdict
    }

    async fn metric(&self, name: &str) -> Option<u64> {
        metric(&self.chancery, name).await
    }

    async fn readyz(&self) -> String {
        let (status, said) = admin_get(&self.chancery, "/readyz").await;
        assert_eq!(status, 200, "signing goes on whatever witnesses do: {said}");
        said
    }

    /// The messages of the acts that say that this witness has seen another history.
    async fn conflicts_on_record(&self, witness: u8) -> String {
        let list = ["audit", "list", "--kind", "act", "--limit", "1000", "-o", "json"];
        let said: serde_json::Value = serde_json::from_str(&succeed(self.chancery.cli().args(list))).unwrap();
        let messages = said["records"].as_array().unwrap().iter().filter_map(|act| act["details"]["message"].as_str());
        let start = format!("the witness witness.example/w{witness} has seen another history");
        messages.filter(|message| message.starts_with(&start)).map(|message| format!("{message}\n")).collect()
    }

    /// The newest checkpoint as it is answered, which must continue the one in the file, where there is one; it is kept there.
    fn checkpoint(&self, kept: &Path, more: &[String]) -> u64 {
        let mut show = self.chancery.cli();
        show.args(["audit", "checkpoint", "-o", "json", "--log-key", &self.log.to_string(), "--out"])
            .arg(kept)
            .args(more);
        if kept.exists() {
            show.arg("--continues").arg(kept);
        }
        let said: serde_json::Value = serde_json::from_str(&succeed(&mut show)).unwrap();
        said["tree_size"].as_u64().unwrap()
    }

    /// `audit verify` with the log's key: of the database with `--database` alone, of the service without anything.
    fn verify_log(&self, keys: &[&VerifierKey], more: &[&str]) -> (serde_json::Value, Option<i32>) {
        let mut verify = self.chancery.cli();
        verify.args(["audit", "verify", "-o", "json"]).args(more);
        if more.last() == Some(&"--database") {
            verify.arg(hand::database(&self.chancery.dir()));
        }
        for key in keys {
            verify.args(["--log-key", &key.to_string()]);
        }
        let (said, code) = run(&mut verify);
        (serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")), code)
    }

    async fn until_counted(&self) {
        until("a checkpoint that counts covers every record", async || {
            (self.metric("chancery_log_uncounted").await == Some(0)).then_some(())
        })
        .await;
    }

    async fn until_signed(&self) {
        until("a checkpoint covers every record", async || {
            (self.metric("chancery_log_unsigned").await == Some(0)).then_some(())
        })
        .await;
    }

    /// Waits until each witness is in such a state, in their order.
    async fn until_witnesses(&self, states: [&str; 3]) {
        let of = |witness: &Witness, state: &str| {
            format!("chancery_log_witness_state{{chancery_state=\"{state}\",chancery_witness=\"{}\"}}", witness.name)
        };
        until(&format!("the witnesses are {states:?}"), async || {
            for (witness, state) in self.witnesses.iter().zip(states) {
                if self.metric(&of(witness, state)).await != Some(1) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// The newest checkpoint that counted, of the stopped service: checked as somebody who trusts two of the witnesses does.
    fn counted(&self) -> u64 {
        let (_writer, reader) = hand::store(&hand::database(&self.chancery.dir())).unwrap();
        let keys = self.witnesses.iter().map(|witness| witness.key.clone()).collect();
        let policy = WitnessPolicy::new(keys, 2).unwrap();
        let rows = reader.cosigned_checkpoints_after(None, u32::MAX).unwrap();
        for row in &rows {
            let checkpoint = SignedCheckpoint::parse(row.note.as_bytes()).unwrap();
            let said = checkpoint.verify(std::slice::from_ref(&self.log)).unwrap();
            assert_eq!((said.size(), *said.root()), (row.size, kept_tree(&reader, row.size).root().unwrap()));
            assert!(policy.check(&checkpoint).unwrap().iter().all(|one| one.time.is_some()));
        }
        rows.last().unwrap().size
    }
}

async fn metric(chancery: &Chancery, name: &str) -> Option<u64> {
    let (_, metrics) = admin_get(chancery, "/metrics").await;
    let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))?;
    line.rsplit(' ').next()?.parse::<f64>().ok().map(|number| number as u64)
}

/// The verifier key of a log whose service has stopped.
fn log_key(folder: &Path) -> VerifierKey {
    let (_writer, reader) = hand::store(&hand::database(folder)).unwrap();
    let state = reader.load_state().unwrap();
    let key = state.keys.iter().find(|key| key.name.to_string() == "keyRings/system/keys/log").unwrap();
    let version = state.key_versions.iter().find(|version| version.key_uid == key.uid).unwrap();
    let public = PublicKey::from_spki_der(Algorithm::Ed25519, version.spki_der.as_deref().unwrap()).unwrap();
    VerifierKey::from_public_key(KeyName::parse(ORIGIN).unwrap(), SignatureKind::Ed25519, &public).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_counts_once_enough_witnesses_have_cosigned_it() {
    let mut scene = Scene::new().await;
    scene.serve().await;
    scene.sign().await;
    scene.until_counted().await;
    scene.until_witnesses(["cosigns"; 3]).await;
    let said = scene.readyz().await;
    assert!(!said.contains("witness") && !said.contains("log:"), "{said}");

    // A receipt is made of a checkpoint that counts, and who trusts the witnesses verifies that without the service.
    let receipt = scene.chancery.dir().join("with-witnesses.receipt");
    let (said, code) = scene.sign_for_a_receipt(&receipt);
    assert_eq!(code, Some(0), "{said}");
    let keys: Vec<VerifierKey> = scene.witnesses.iter().map(|witness| witness.key.clone()).collect();
    let [w1, w2, w3] = [&keys[0], &keys[1], &keys[2]];
    let verdict = scene.verify_receipt(&receipt, &[w1, w2, w3], &["--required-witnesses", "2"]);
    assert!(verdict["proven"] == true && verdict["record"]["witnesses"].as_array().unwrap().len() >= 2, "{verdict}");
    // Another key by the name of a witness has cosigned nothing.
    let stranger =
        VerifierKey::from_public_key(w1.name().clone(), SignatureKind::Cosignature, scene.log.public()).unwrap();
    let verdict = scene.verify_receipt(&receipt, &[&stranger], &[]);
    assert!(verdict["proven"] == false && verdict["fault"]["part"] == "WITNESSES", "{verdict}");

    // One is down: the others are enough, and it is named.
    scene.witnesses[2].kill();
    scene.sign().await;
    scene.until_counted().await;
    scene.until_witnesses(["cosigns", "cosigns", "silent"]).await;
    let said = scene.readyz().await;
    assert!(said.contains("witness witness.example/w3: silent: ") && !said.contains("log:"), "{said}");

    // Two are down: callers get signatures, checkpoints are signed, and no new one counts.
    scene.witnesses[1].kill();
    scene.sign().await;
    scene.until_signed().await;
    scene.until_witnesses(["cosigns", "silent", "silent"]).await;
    assert_ne!(scene.metric("chancery_log_uncounted").await, Some(0));
    let unwitnessed = scene.chancery.dir().join("without-witnesses.receipt");
    let (said, code) = scene.sign_for_a_receipt(&unwitnessed);
    assert_eq!(code, Some(1), "the signature is there, and no receipt: {said}");
    assert!(unwitnessed.with_extension("sig").exists() && !unwitnessed.exists(), "{said}");
    let said = scene.readyz().await;
    assert!(said.contains("log: uncounted: ") && said.contains("the 2 witnesses that are required"), "{said}");

    // What counted counts after a restart, too.
    scene.chancery.terminate().await.unwrap();
    let counted = scene.counted();
    scene.serve().await;
    scene.sign().await;
    scene.until_signed().await;
    scene.until_witnesses(["cosigns", "silent", "silent"]).await;
    let uncounted = scene.metric("chancery_log_uncounted").await.unwrap();
    assert!(scene.metric("chancery_log_counted_checkpoint_age_seconds").await.is_some());
    assert!(uncounted > 0, "{uncounted}");

    // One comes back, with what it had seen, and is asked without anything new being recorded.
    scene.witnesses[1].run();
    scene.until_counted().await;
    scene.until_witnesses(["cosigns", "cosigns", "silent"]).await;
    scene.witnesses[2].run();
    scene.until_witnesses(["cosigns"; 3]).await;
    let said = scene.readyz().await;
    assert!(!said.contains("witness") && !said.contains("log:"), "{said}");
    scene.chancery.terminate().await.unwrap();
    assert!(scene.counted() > counted);
    let log = scene.chancery.log();
    assert!(log.contains("a witness does not cosign") && log.contains("the witness cosigns again"), "{log}");
    assert!(!log.contains("another history"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_yesterday_with_its_anchor_is_found_by_those_who_remember_today() {
    let mut scene = Scene::new().await;
    let dir = scene.chancery.dir();
    scene.serve().await;
    scene.sign().await;
    scene.until_counted().await;
    scene.until_witnesses(["cosigns"; 3]).await;
    scene.chancery.terminate().await.unwrap();
    let yesterday = Saved::of(&dir);

    // Today only the third is there, and sees more.
    scene.witnesses[0].kill();
    scene.witnesses[1].kill();
    scene.serve().await;
    for _ in 0..10 {
        scene.sign().await;
    }
    scene.until_signed().await;
    scene.until_witnesses(["silent", "silent", "cosigns"]).await;
    let export = scene.witnesses[0].folder.join("export");
    let _said =
        succeed(scene.chancery.cli().args(["audit", "export", "--database"]).arg(hand::database(&dir)).arg(&export));
    let exported = std::fs::read(export.join("checkpoint")).unwrap();
    scene.chancery.terminate().await.unwrap();

    // Yesterday again: nothing on this disk says that there was more.
    yesterday.put(&dir);
    let mut check = command(program());
    let (said, code) = run(check.args(["state", "check", "--config"]).arg(scene.chancery.config()));
    assert_eq!(code, Some(0), "the disk has no memory of today: {said}");
    scene.witnesses[0].run();
    scene.witnesses[1].run();
    scene.serve().await;
    // So does an export of today.
    let from_service = ["audit", "export", "--log-key", &scene.log.to_string()].map(str::to_owned);
    let (said, code) = run(scene.chancery.cli().args(&from_service).arg(&export));
    assert!(code == Some(1) && said.contains("it was cut, or an old copy was put back"), "{said}");
    let kept = export.join("checkpoint").display().to_string();
    assert!(said.contains(&format!("chancery audit verify --log-key VKEY --checkpoint {kept}")), "{said}");
    // And its checkpoint alone.
    let continues =
        ["audit", "checkpoint", "--log-key", &scene.log.to_string(), "--continues", &kept].map(str::to_owned);
    let (said, code) = run(scene.chancery.cli().args(&continues));
    assert!(code == Some(1) && said.contains("the log has been cut"), "{said}");
    let (said, code) = scene.verify_log(&[&scene.log], &["--checkpoint", &kept]);
    assert!(code == Some(1) && said["fault"]["what"].as_str().unwrap().contains("it was cut"), "{said}");
    scene.sign().await;
    scene.until_witnesses(["cosigns", "cosigns", "conflict"]).await;
    let said = scene.readyz().await;
    assert!(said.contains("witness witness.example/w3: conflict: it has cosigned "), "{said}");
    assert!(said.contains("of an earlier time") && said.contains("docs/operations.md"), "{said}");
    let log = scene.chancery.log();
    assert!(log.contains("ERROR") && log.contains("a witness has seen another history of this log"), "{log}");
    // Two of three saw only yesterday and what comes after it now: with them it counts, as was configured.
    scene.until_counted().await;
    let acts = scene.conflicts_on_record(3).await;
    assert!(acts.contains("the witness witness.example/w3 has seen another history of the log log.example/chancery"));
    assert!(acts.contains("records by this name, and the log that it was asked to cosign has"), "{acts}");
    scene.chancery.terminate().await.unwrap();

    // Yesterday once more, and now all of them remember a today: nothing counts.
    yesterday.put(&dir);
    let counted = scene.counted();
    scene.serve().await;
    scene.until_witnesses(["conflict"; 3]).await;
    // Once it has as many records as they saw, what they saw is not what is there.
    for _ in 0..20 {
        scene.sign().await;
    }
    scene.until_signed().await;
    until("each witness says that this is another log", async || {
        let said = scene.readyz().await;
        let forks = said.matches("conflict: it has cosigned another log by this name and key").count();
        (forks == 3).then_some(said)
    })
    .await;
    assert!(scene.readyz().await.contains("log: uncounted: "));
    assert_ne!(scene.metric("chancery_log_uncounted").await, Some(0));
    // Nor is it what was exported, though it has as many records by now, and the service shows fewer of them.
    let (said, code) = run(scene.chancery.cli().args(&from_service).arg(&export));
    assert!(code == Some(1) && said.contains("the log was forked since the export was begun"), "{said}");
    let from_database = ["audit", "export", "--database"];
    let (said, code) = run(scene.chancery.cli().args(from_database).arg(hand::database(&dir)).arg(&export));
    assert!(code == Some(1) && said.contains("the log was forked since the export was begun"), "{said}");
    let verify = format!("chancery audit verify --database {} --checkpoint {kept}", hand::database(&dir).display());
    assert!(said.contains(&verify), "{said}");
    let (said, code) = run(scene.chancery.cli().args(&continues));
    assert!(code == Some(1) && said.contains("is not shown to have") && said.contains("evidence"), "{said}");
    let (said, code) = scene.verify_log(&[&scene.log], &["--checkpoint", &kept]);
    assert!(code == Some(1) && said["fault"]["what"].as_str().unwrap().contains("the log was forked"), "{said}");
    assert_eq!(std::fs::read(export.join("checkpoint")).unwrap(), exported, "it is as it was");
    // Each has contradicted in two ways, and was asked more often than that.
    for witness in 1..=3 {
        until("both are on the record", async || {
            let acts = scene.conflicts_on_record(witness).await;
            assert!(acts.lines().count() <= 2, "{acts}");
            (acts.lines().count() == 2 && acts.contains("does not continue")).then_some(())
        })
        .await;
    }
    scene.chancery.terminate().await.unwrap();
    assert_eq!(scene.counted(), counted, "no checkpoint of the second history counts");
    let (said, code) = scene.verify_log(&[&scene.log], &["--database"]);
    assert_eq!((code, said["report"]["attested"] == said["report"]["records"]), (Some(0), true), "{said}");
    for witness in &scene.witnesses {
        let said = witness.running.as_ref().unwrap().log();
        assert!(said.contains("does not continue what was cosigned"), "{said}");
    }
}

/// `--witness` for each of these, of which so many are required.
fn trusting(witnesses: &[&Witness], required: usize) -> Vec<String> {
    let witness = |witness: &&Witness| ["--witness".to_owned(), witness.key.to_string()];
    let mut arguments: Vec<String> = witnesses.iter().flat_map(witness).collect();
    arguments.extend(["--required-witnesses".to_owned(), required.to_string()]);
    arguments
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_is_shown_until_more_counts_whatever_is_configured() {
    let mut scene = Scene::new().await;
    let dir = scene.chancery.dir();
    let kept = dir.join("kept.checkpoint");
    let newest = |dir: &Path| {
        let reader = chancery_store::look_into(&hand::database(dir)).unwrap();
        reader.newest_checkpoint().unwrap().unwrap().size
    };
    let require = |scene: &mut Scene, required: i64| {
        let set = |config: &mut Table| config["log"]["required_witnesses"] = Value::Integer(required);
        scene.chancery.configure(set).unwrap();
    };
    // Without witnesses each checkpoint counted. With them, and too few there, that is what others see.
    let shown = newest(&dir);
    scene.witnesses[1].kill();
    scene.witnesses[2].kill();
    scene.serve().await;
    scene.sign().await;
    scene.until_signed().await;
    scene.until_witnesses(["cosigns", "silent", "silent"]).await;
    assert!(scene.readyz().await.contains("log: uncounted: "));
    assert_eq!(scene.checkpoint(&kept, &[]), shown);
    assert_ne!(scene.metric("chancery_log_uncounted").await, Some(0));

    // They are back: it goes on from there. Then three are wanted, and one of them is not there.
    scene.witnesses[1].run();
    scene.until_counted().await;
    let two = trusting(&[&scene.witnesses[0], &scene.witnesses[1]], 2);
    assert!(scene.checkpoint(&kept, &two) > shown);
    scene.chancery.terminate().await.unwrap();
    let counted = scene.counted();
    require(&mut scene, 3);
    scene.serve().await;
    scene.sign().await;
    scene.until_signed().await;
    scene.until_witnesses(["cosigns", "cosigns", "silent"]).await;
    assert!(scene.readyz().await.contains("log: uncounted: "));
    assert_eq!(scene.checkpoint(&kept, &[]), counted);
    scene.chancery.terminate().await.unwrap();

    // None are wanted for a while, and then three again.
    require(&mut scene, 0);
    scene.serve().await;
    scene.sign().await;
    scene.until_counted().await;
    assert!(scene.checkpoint(&kept, &[]) > counted);
    scene.chancery.terminate().await.unwrap();
    let shown = newest(&dir);
    require(&mut scene, 3);
    scene.serve().await;
    scene.sign().await;
    scene.until_signed().await;
    assert_eq!(scene.checkpoint(&kept, &[]), shown, "it counted when it was signed");
    scene.witnesses[2].run();
    scene.until_counted().await;
    let all: Vec<&Witness> = scene.witnesses.iter().collect();
    assert!(scene.checkpoint(&kept, &trusting(&all, 3)) > shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_verifies_a_log_says_which_witnesses_it_must_have() {
    let mut scene = Scene::new().await;
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("log");
    let (database, key) = (hand::database(&scene.chancery.dir()), scene.log.to_string());
    let [export, database] = [&export, &database].map(|path| path.to_str().unwrap().to_owned());
    let from_database = ["audit", "export", &export, "--database", &database, "-o", "json"];
    let from_service = ["audit", "export", &export, "--log-key", &key, "-o", "json"];
    let json = |said: &str| -> serde_json::Value { serde_json::from_str(said).unwrap() };
    scene.serve().await;
    scene.sign().await;
    scene.until_counted().await;
    scene.until_witnesses(["cosigns"; 3]).await;

    // An export of the database has what was cosigned, and one of the service adds to it, and the other way round.
    let first = json(&succeed(scene.chancery.cli().args(from_database)));
    scene.witnesses[1].kill();
    scene.witnesses[2].kill();
    scene.sign().await;
    scene.until_signed().await;
    scene.until_witnesses(["cosigns", "silent", "silent"]).await;
    let second = json(&succeed(scene.chancery.cli().args(from_database)));
    assert!(second["records"].as_u64() > first["records"].as_u64() && second["behind"].is_null(), "{second}");
    let third = json(&succeed(scene.chancery.cli().args(from_service)));
    let behind = third["behind"].as_u64().unwrap();
    assert_eq!((&third["records"], &third["added"]), (&second["records"], &serde_json::json!(0)), "{third}");
    assert!(behind >= first["records"].as_u64().unwrap() && behind < third["records"].as_u64().unwrap(), "{third}");

    // Nor is it an alarm for whoever kept the larger checkpoint: all of its records are there.
    let exported = format!("{export}/checkpoint");
    let (said, code) = scene.verify_log(&[&scene.log], &["--checkpoint", &exported]);
    let report = &said["report"];
    assert_eq!((code, &report["records"], &report["attested"]), (Some(0), &second["records"], &second["records"]));
    assert_eq!(report["behind"].as_u64(), Some(behind), "{said}");
    let kept = folder.path().join("kept");
    std::fs::copy(&exported, &kept).unwrap();
    let kept = kept.to_str().unwrap();
    let continues = ["audit", "checkpoint", "--log-key", &key, "--continues", kept];
    let keep = [continues.as_slice(), &["--out", kept, "-o", "json"]].concat();
    let said = json(&succeed(scene.chancery.cli().args(keep)));
    assert_eq!(
        (said["tree_size"].as_u64(), &said["continued_by_tree_of"]),
        (Some(behind), &second["records"]),
        "{said}"
    );
    assert!(said["continues_tree_of"].is_null(), "{said}");
    assert_eq!(std::fs::read(kept).unwrap(), std::fs::read(&exported).unwrap(), "what is kept becomes no smaller");
    let said = succeed(scene.chancery.cli().args(continues));
    let all = format!("covers {} records, and the log has all of them", second["records"]);
    assert!(said.contains(&all) && said.contains(&format!("verified: the checkpoint of {behind} records")), "{said}");

    // How far enough of them vouch for it, of the export, the database and the service.
    let [w1, w2, w3] = &scene.witnesses;
    let stranger =
        VerifierKey::from_public_key(w1.key.name().clone(), SignatureKind::Cosignature, scene.log.public()).unwrap();
    for place in [vec![export.as_str()], vec!["--database", &database], vec![]] {
        let verify = |witnesses: &[String]| {
            let witnesses: Vec<&str> = witnesses.iter().map(String::as_str).collect();
            scene.verify_log(&[&scene.log], &[witnesses, place.clone()].concat())
        };
        let (said, code) = verify(&trusting(&[w1, w2, w3], 2));
        let (report, witnessed) = (&said["report"], &said["report"]["witnessed"]);
        assert_eq!((code, &said["verified"]), (Some(0), &serde_json::Value::Bool(true)), "{place:?}: {said}");
        assert!(witnessed["records"].as_u64() == Some(behind) && witnessed["required"] == 2, "{place:?}: {said}");
        assert!(witnessed["by"].as_array().unwrap().len() >= 2, "{place:?}: {said}");
        // The service hands out what counts alone.
        let rest = report["records"].as_u64() > Some(behind);
        assert_eq!(rest, !place.is_empty(), "{place:?}: {said}");
        // It says itself how much more there is, which is in the database.
        let uncovered = report["uncovered"].as_u64().unwrap();
        assert_eq!(uncovered > 0, place.is_empty(), "{place:?}: {said}");
        let there = report["records"].as_u64().unwrap() + uncovered;
        assert!(there >= second["records"].as_u64().unwrap(), "{place:?}: {said}");
        let (said, code) = verify(&["--witness".to_owned(), stranger.to_string()]);
        assert!(code == Some(1) && said["report"]["witnessed"]["records"] == 0, "{place:?}: {said}");
        let mut for_people = scene.chancery.cli();
        for_people.args(["audit", "verify", "--log-key", &key, "--witness", &stranger.to_string()]).args(&place);
        let (said, code) = run(&mut for_people);
        let verdict = "no: the log fits together, and no checkpoint has the cosignatures of 1 of the 1 witnesses";
        assert!(code == Some(1) && said.contains(verdict), "{place:?}: {said}");
    }
    let mut show = scene.chancery.cli();
    show.args(["audit", "checkpoint", "--log-key", &key, "--witness", &stranger.to_string()]);
    let (said, code) = run(&mut show);
    assert!(
        code == Some(1) && said.contains("has the cosignatures of 0 of the witnesses, and 1 are required"),
        "{said}"
    );
    assert_eq!(run(scene.chancery.cli().args(["audit", "verify", &export, "--required-witnesses", "1"])).1, Some(2));
    // Of none nobody vouches.
    let none = ["--log-key", &key, "--witness", &w1.key.to_string(), "--required-witnesses", "0"].map(str::to_owned);
    for what in [&["audit", "verify", &export] as &[&str], &["audit", "checkpoint"], &["verify", "--receipt", "r"]] {
        let (said, code) = run(scene.chancery.cli().args(what).args(&none));
        assert!(code == Some(2) && said.contains("--required-witnesses"), "{said}");
    }

    // A cosignature that was changed is a fault, with its place.
    let sizes = [format!("{export}/checkpoints/{behind:020}")];
    let note = std::fs::read_to_string(&sizes[0]).unwrap();
    let line = note.lines().find(|line| line.contains(w1.key.name().as_str())).unwrap();
    let mut changed = line.to_owned();
    let at = changed.len() - 20;
    let other = if changed.as_bytes()[at] == b'A' { "B" } else { "A" };
    changed.replace_range(at..=at, other);
    std::fs::write(&sizes[0], note.replace(line, &changed)).unwrap();
    let trusted = trusting(&[w1, w2], 1);
    let arguments: Vec<&str> = trusted.iter().map(String::as_str).chain([export.as_str()]).collect();
    let (said, code) = scene.verify_log(&[&scene.log], &arguments);
    assert!(code == Some(1) && said["fault"]["checkpoint"].as_u64() == Some(behind), "{said}");
    assert!(said["fault"]["what"].as_str().unwrap().contains("a cosignature on it is false"), "{said}");
}
