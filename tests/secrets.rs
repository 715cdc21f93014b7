//! Secrets stay where they belong: PINs, what is signed and authenticated, and random bytes are searched for in everything
//! that a run with faults leaves behind, and nobody reads the memory of the processes that hold them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime};

use chancery_api::v1::{self, Algorithm, TokenHealth};
use chancery_client::{Client, ConnectOptions};
use chancery_oidc::JwsAlgorithm;
use chancery_pkcs11_fault::{Crash, FaultRules, Rule, Then, library, return_codes};
use chancery_testkit::{Chancery, Setup, signal};
use chancery_tests::canary::{Canary, found, found_in_folder};
use chancery_tests::collector::Collector;
use chancery_tests::contract::{PATIENCE, create, eventually, new_key, records, refused, sign};
use chancery_tests::faults::clear_pin_latch;
use chancery_tests::issuer_keys::{Signer, jwks};
use chancery_tests::load::{admin_page, token, until};
use chancery_tests::program::{self, Running, command, succeed};
use prost::Message as _;

const RING: &str = "keyRings/dev";

const ISSUER: &str = "https://issuer.example";

/// A service behind whose token the faulty module stands, that says all it can say: to its log and to the collector. It takes
/// tokens of [`ISSUER`], whose keys are in a file.
fn setup(faults: &FaultRules, collector: &Collector, jwks_file: &Path) -> Setup {
    let (faults, endpoint) = (faults.clone(), collector.endpoint());
    let issuer = format!("issuer = {ISSUER:?}\naudiences = [\"chancery\"]\njwks_file = {jwks_file:?}");
    let issuer: toml::Table = issuer.parse().unwrap();
    Chancery::setup().environment("OTEL_BSP_SCHEDULE_DELAY", "50").configure(move |config| {
        let listener = config["listener"].as_table_mut().unwrap();
        listener.insert("client_auth".to_owned(), "optional".into());
        listener.insert("oidc".to_owned(), vec![issuer].into());
        let token = config["token"][0].as_table_mut().unwrap();
        let behind = PathBuf::from(token["module"].as_str().unwrap());
        token.insert("module".to_owned(), library().unwrap().display().to_string().into());
        let environment = token["environment"].as_table_mut().unwrap();
        environment.extend(faults.environment(&behind).into_iter().map(|(name, value)| (name, value.into())));
        let telemetry = config["telemetry"].as_table_mut().unwrap();
        telemetry.insert("log_filter".to_owned(), "trace".into());
        telemetry.insert("otlp_endpoint".to_owned(), endpoint.into());
    })
}

/// The secrets of a run.
#[derive(Default)]
struct Secrets(Vec<Canary>);

impl Secrets {
    /// A new one, for a request.
    fn payload(&mut self, name: &str) -> Vec<u8> {
        let (canary, text) = Canary::random(name);
        self.0.push(canary);
        text.into_bytes()
    }

    /// One that somebody else has made.
    fn file(&mut self, path: &Path) -> String {
        let text = std::fs::read_to_string(path).unwrap();
        self.0.push(Canary::new(path.file_name().unwrap().to_str().unwrap(), text.trim_end().as_bytes()));
        text
    }
}

/// Lets this process and those that it starts from now on write cores, as far as it may.
fn ask_for_cores() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let hard = core_limits(&limits).1;
    let core = format!("--core={hard}:");
    let _silent = succeed(Command::new("prlimit").args(["--pid", &std::process::id().to_string(), &core]));
}

/// The soft and the hard limit on the size of a core.
fn core_limits(limits: &str) -> (String, String) {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let mut values = line.split_whitespace().map(ToOwned::to_owned);
    (values.next().unwrap(), values.next().unwrap())
}

/// What the system has on a process, and shows to everybody or to root: nothing of the secrets, and no way to more.
fn examine(pid: u32, secrets: &Secrets) {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}"));
    assert!(!read("cmdline").unwrap().is_empty());
    assert_eq!(found(&secrets.0, &read("cmdline").unwrap()), BTreeSet::new());
    match read("environ") {
        Ok(environment) => assert_eq!(found(&secrets.0, &environment), BTreeSet::new()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "only root may look"),
    }
    let limits = String::from_utf8(read("limits").unwrap()).unwrap();
    assert_eq!(
        core_limits(&limits),
        ("0".to_owned(), "0".to_owned()),
        "it may write no core, and cannot allow itself to"
    );
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        // Threads that wait for work end when there is none.
        let thread = thread.unwrap().path();
        let status = match std::fs::read_to_string(thread.join("status")) {
            Err(_) if !thread.exists() => continue,
            status => status.unwrap(),
        };
        assert!(status.contains("NoNewPrivs:\t1\n"), "a thread can gain rights: {status}");
    }
}

/// Signs with a token of the issuer's, whose signature is the secret, and is refused with another.
async fn bring_tokens(chancery: &Chancery, operator: &Client, issuer: &Signer, key: &str, secrets: &mut Secrets) {
    let caller = v1::Caller {
        environment: "dev".to_owned(),
        identities: vec![format!("oidc:{ISSUER}#checkout")],
        roles: vec!["signer".to_owned()],
        key_rings: vec![RING.to_owned()],
        ..v1::Caller::default()
    };
    let request =
        v1::CreateCallerRequest { caller_id: "checkout".to_owned(), caller: Some(caller), request_id: String::new() };
    operator.callers().create_caller(request).await.unwrap();
    let tokens = tempfile::tempdir().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for (audience, taken) in [("chancery", true), ("somebody", false)] {
        let exp = now + 1800;
        let token = issuer
            .sign(&format!(r#"{{"iss":"{ISSUER}","aud":"{audience}","sub":"checkout","iat":{now},"exp":{exp}}}"#));
        let (_, signature) = token.rsplit_once('.').unwrap();
        secrets.0.push(Canary::new(&format!("a token for {audience}"), signature.as_bytes()));
        let file = tokens.path().join(audience);
        std::fs::write(&file, &token).unwrap();
        let options = ConnectOptions::with_oidc_token_file(chancery.endpoint(), chancery.ca(), &file);
        let client = Client::connect(options).await.unwrap();
        let signs = async || client.signing().sign(sign(key, b"m")).await;
        if taken {
            // The issuer's keys may not have been read yet.
            until("the token is taken", async || signs().await.ok()).await;
        } else {
            assert_eq!(refused(signs().await).reason.as_deref(), Some("OIDC_TOKEN_REFUSED"));
        }
    }
}

async fn make_signature(client: &Client, key: &str, message: &[u8]) {
    client.signing().sign(sign(key, message)).await.unwrap();
}

/// Waits for a service that was sent a deadly signal, as the system sees it.
async fn death(chancery: &mut Chancery) -> ExitStatus {
    eventually("the service dies", async || chancery.ended().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_faults_leaves_no_secret_behind() {
    ask_for_cores();
    let here = std::env::current_dir().unwrap();
    let cores = || -> BTreeSet<PathBuf> {
        let files = std::fs::read_dir(&here).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("core")).collect()
    };
    let before = cores();
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultRules::new(folder.path()).unwrap();
    let collector = Collector::start().await;
    let issuer = Signer::new(JwsAlgorithm::Es256, "k");
    let jwks_file = folder.path().join("jwks.json");
    std::fs::write(&jwks_file, jwks(&[&issuer])).unwrap();
    let mut chancery = setup(&faults, &collector, &jwks_file).start().await.unwrap();
    let mut secrets = Secrets::default();
    let pin_file = chancery.token_dir().join("pin");
    let pin = secrets.file(&pin_file);
    secrets.file(&chancery.token_dir().join("so-pin"));

    // Work of every kind that a secret goes into or comes out of; also such as is refused.
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = create(&operator, new_key(RING, "signs", Algorithm::EcdsaP256Sha256)).await.name;
    let mac_key = create(&operator, new_key(RING, "macs", Algorithm::HmacSha256)).await.name;
    make_signature(&caller, &key, &secrets.payload("a message")).await;
    let message = secrets.payload("an authenticated message");
    let request = v1::MacSignRequest { name: mac_key.clone(), message: message.clone().into(), message_crc32c: None };
    let mac = caller.signing().mac_sign(request.clone()).await.unwrap().into_inner().mac;
    let check = v1::MacVerifyRequest {
        name: mac_key,
        message: message.into(),
        mac: mac.into(),
        ..v1::MacVerifyRequest::default()
    };
    assert!(caller.signing().mac_verify(check.clone()).await.unwrap().into_inner().valid);
    let guessed = v1::MacVerifyRequest { mac: secrets.payload("a guessed MAC").into(), ..check };
    assert!(!caller.signing().mac_verify(guessed).await.unwrap().into_inner().valid);
    let denied = sign(&key, &secrets.payload("a message of the operator, who may not sign"));
    refused(operator.signing().sign(denied).await);
    let mistaken = v1::MacSignRequest {
        name: key.clone(),
        message: secrets.payload("a message for the wrong key").into(),
        ..request
    };
    refused(caller.signing().mac_sign(mistaken).await);
    bring_tokens(&chancery, &operator, &issuer, &key, &mut secrets).await;
    let random = v1::GenerateRandomBytesRequest { name: RING.to_owned(), length: 32 };
    let random = caller.signing().generate_random_bytes(random).await.unwrap().into_inner().data;
    secrets.0.push(Canary::new("random bytes", &random));
    let worker = token(&operator).await.worker_pid;
    examine(worker, &secrets);
    examine(chancery.pid(), &secrets);

    // The worker dies with a message in its hands.
    faults.set(&[Rule::new("crash", Then::Crash(Crash::Segv)).on("C_Sign").times(1)]).unwrap();
    make_signature(&caller, &key, &secrets.payload("the message that killed a worker")).await;
    assert_eq!(faults.count("crash").unwrap(), 1);
    faults.clear().unwrap();
    let next = until("another worker serves", async || {
        let next = token(&operator).await.worker_pid;
        (next != 0 && next != worker).then_some(next)
    })
    .await;
    examine(next, &secrets);

    // Everything that a token can answer, with a message in its hands and with the PIN in its hands.
    let message = secrets.payload("a message that met return codes");
    for (code, _) in return_codes() {
        faults.set(&[Rule::returning("code", "C_Sign", code).times(1)]).unwrap();
        let answer = caller.signing().sign(sign(&key, &[&message, code.as_bytes()].concat())).await;
        let told = format!("{answer:?}");
        assert_eq!(found(&secrets.0, told.as_bytes()), BTreeSet::new(), "{code}: {told}");
    }
    for code in ["CKR_DEVICE_ERROR", "CKR_ARGUMENTS_BAD", "CKR_PIN_LEN_RANGE"] {
        // So that sessions are lost each time: a rule that stays as it was goes on counting.
        faults.clear().unwrap();
        faults
            .set(&[
                Rule::new("lost", Then::CloseSessions).on("C_SignInit").times(1),
                Rule::returning("code", "C_Login", code).times(1),
            ])
            .unwrap();
        let answer = caller.signing().sign(sign(&key, &[&message, code.as_bytes()].concat())).await;
        let told = format!("{answer:?}");
        assert_eq!(found(&secrets.0, told.as_bytes()), BTreeSet::new(), "{code}: {told}");
    }
    until("the PIN is said to be refused", async || {
        (token(&operator).await.health() == TokenHealth::Latched).then_some(())
    })
    .await;
    faults.clear().unwrap();
    clear_pin_latch(&operator, "main").await.unwrap();
    make_signature(&caller, &key, &secrets.payload("a message after all those")).await;
    let page = admin_page(chancery.admin_endpoint().unwrap(), "/metrics").1;
    assert!(page.contains("chancery_") && found(&secrets.0, page.as_bytes()).is_empty(), "{page}");

    // The service dies, in both of the ways in which a program that goes wrong does.
    signal(chancery.pid(), "ABRT").unwrap();
    let end = death(&mut chancery).await;
    assert_eq!((end.signal(), end.core_dumped()), (Some(6), false), "{end}");
    chancery.restart().await.unwrap();
    make_signature(&chancery.caller().await.unwrap(), &key, &secrets.payload("the last message before a crash")).await;
    let end = eventually("the service dies", async || {
        // Rust's own handler takes the first one for what it could be, a stack that overflowed.
        let _gone = signal(chancery.pid(), "SEGV");
        chancery.ended().unwrap()
    })
    .await;
    assert_eq!((end.signal(), end.core_dumped()), (Some(11), false), "{end}");

    // A PIN that is not the token's.
    let wrong = String::from_utf8(secrets.payload("a wrong PIN")).unwrap();
    std::fs::write(&pin_file, &wrong).unwrap();
    chancery.restart().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let latched = token(&operator).await;
    assert_eq!(latched.health(), v1::TokenHealth::Latched);
    assert_eq!(found(&secrets.0, format!("{latched:?}").as_bytes()), BTreeSet::new());
    let refusal = clear_pin_latch(&operator, "main").await.unwrap_err().to_string();
    assert!(refusal.contains("refused the PIN again"), "{refusal}");
    assert_eq!(found(&secrets.0, refusal.as_bytes()), BTreeSet::new());
    std::fs::write(&pin_file, &pin).unwrap();
    for entry in std::fs::read_dir(chancery.dir().join("locks")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("pin-latch") {
            assert_eq!(found(&secrets.0, &std::fs::read(&path).unwrap()), BTreeSet::new());
        }
    }
    clear_pin_latch(&operator, "main").await.unwrap();
    let caller = chancery.caller().await.unwrap();
    let message = secrets.payload("the message after all");
    // The state is checked with a secret of that token, a moment after it is back.
    until("calls are decided", async || caller.signing().sign(sign(&key, &message)).await.ok()).await;

    // What everybody who may read the record reads, and what the collector got.
    let record = records(&operator, v1::ListRecordsRequest::default()).await;
    assert!(record.len() > 10, "{} records", record.len());
    for leaf in &record {
        assert_eq!(found(&secrets.0, &leaf.encode_to_vec()), BTreeSet::new(), "{leaf:?}");
        assert_eq!(found(&secrets.0, format!("{leaf:?}").as_bytes()), BTreeSet::new());
    }
    let signed = || collector.all_spans().iter().filter(|span| span.name.ends_with("/Sign")).count();
    eventually("spans", async || (signed() >= 3).then_some(())).await;
    for trace in collector.traces() {
        assert_eq!(found(&secrets.0, &trace.encode_to_vec()), BTreeSet::new(), "{trace:?}");
    }
    for metrics in collector.all_metrics() {
        assert_eq!(found(&secrets.0, &metrics.encode_to_vec()), BTreeSet::new(), "{metrics:?}");
    }
    // What is on disk while it runs and once it has stopped: logs, database, its log of changes, locks, the token's files.
    let (top, homes) =
        (chancery.dir().parent().unwrap().to_owned(), [pin_file.clone(), pin_file.with_file_name("so-pin")]);
    let everywhere = || -> Vec<(PathBuf, BTreeSet<String>)> {
        let mut hits = found_in_folder(&secrets.0, &top);
        hits.append(&mut found_in_folder(&secrets.0, folder.path()));
        let at_home: BTreeSet<PathBuf> =
            hits.extract_if(.., |(path, _)| homes.contains(path)).map(|hit| hit.0).collect();
        assert_eq!(at_home, BTreeSet::from(homes.clone()), "the search finds what is there");
        hits
    };
    let wal = chancery.dir().join("chancery.db-wal").metadata().unwrap().len();
    assert!(wal > 0, "the database's log of changes has something to search");
    assert!(chancery.log().contains("TRACE"), "the log says all that it can say");
    assert_eq!(everywhere(), []);
    chancery.terminate().await.unwrap();
    assert_eq!(everywhere(), []);
    assert_eq!(cores(), before, "no core was written where the service and its worker ran");
}

/// How to be a user without privileges: oneself, or nobody where this is root.
struct Ordinary {
    root: bool,
}

impl Ordinary {
    const NOBODY: u32 = 65534;

    fn command(&self, program: &Path) -> Command {
        if !self.root {
            return program::command(program);
        }
        let mut command = program::command("setpriv");
        let id = Self::NOBODY;
        command.args([format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".to_owned()]).arg(program);
        command
    }

    /// What `cat` as this user says of a file of another of its processes, and how it ends.
    fn read(&self, pid: u32, file: &str) -> (String, Option<i32>) {
        program::run(self.command(Path::new("cat")).arg(format!("/proc/{pid}/{file}")).env("LC_ALL", "C"))
    }

    /// The same, of a process that is to become `sleep` first.
    fn read_of_sleep(&self, pid: u32, file: &str) -> (String, Option<i32>) {
        let until = Instant::now() + PATIENCE;
        while std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() != "sleep\n" {
            assert!(Instant::now() < until, "sleep does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.read(pid, file)
    }
}

/// The children of a process.
fn children(parent: u32) -> Vec<u32> {
    let of_parent = format!("PPid:\t{parent}\n");
    let numbers =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    // One may end while we look.
    let is_child =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|s| s.contains(&of_parent));
    numbers.filter(is_child).collect()
}

#[test]
fn another_process_of_the_same_user_reads_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let user = Ordinary { root: folder.path().metadata().unwrap().uid() == 0 };
    let mut program = program::chancery();
    if user.root {
        // The source tree may be in a folder that nobody else gets into.
        let copy = folder.path().join("chancery");
        // By a process of its own: what another test forks here meanwhile would have the file open for writing, and nobody could
        // run it yet.
        let _said = succeed(command("cp").arg(&program).arg(&copy));
        program = copy;
        chown(folder.path(), Some(Ordinary::NOBODY), Some(Ordinary::NOBODY)).unwrap();
    }
    let dir = folder.path().join("dev");
    let mut command = user.command(&program);
    command.arg("dev").arg("--dir").arg(&dir).args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut service = Running::start(command.current_dir(folder.path()), log.path());
    service.until("it serves", |_| dir.join("dev.json").is_file().then_some(()));

    // That nothing but the mark on our processes is in the way: an ordinary process, of the same user, is an open book.
    let mut open = user.command(Path::new("sleep")).arg("600").spawn().unwrap();
    let (said, code) = user.read_of_sleep(open.id(), "maps");
    let workers = children(service.pid());
    let looks: Vec<_> = [service.pid()]
        .into_iter()
        .chain(workers.iter().copied())
        .flat_map(|pid| ["environ", "maps", "mem"].map(|file| (file, user.read(pid, file))))
        .collect();
    open.kill().unwrap();
    open.wait().unwrap();

    assert!(code == Some(0) && said.contains("[stack]"), "{said}");
    assert_eq!(workers.len(), 1, "one token, one worker");
    for (file, (said, code)) in looks {
        assert!(code == Some(1) && said.contains("Permission denied"), "{file} was read: {said}");
    }
    assert!(service.stop().success());
}

/// The check for cores above can fail: under the same limits an ordinary program leaves one, where the system writes cores
/// to files at all.
#[test]
fn an_ordinary_program_dumps_core_under_the_same_limits() {
    ask_for_cores();
    let folder = tempfile::tempdir().unwrap();
    let end = Command::new("sh").args(["-c", "kill -s ABRT $$"]).current_dir(folder.path()).status().unwrap();
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let allowed = core_limits(&std::fs::read_to_string("/proc/self/limits").unwrap()).0 != "0";
    let to_a_file = !pattern.trim().is_empty() && !pattern.starts_with(['|', '@', '/']);
    assert_eq!(end.signal(), Some(6));
    if allowed && to_a_file {
        assert!(end.core_dumped(), "{end}, with core_pattern {pattern:?}");
    }
}
