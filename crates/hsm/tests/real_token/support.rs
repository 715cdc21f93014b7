//! Tokens in temporary directories, and the processes that hold them.

use crate::module_under_test::module_under_test;
use chancery_crypto::{PublicKey, new_uid};
use chancery_hsm::{
    DeviceSignature, GeneratedKey, HsmError, HsmFailure, InitialiseToken, InitialisedToken, MacKey, Pin, SignInput,
    SigningKey, SlotToken, Token, TokenHealth, TokenSettings, WorkerCommand, initialise_token, list_slots,
};
use chancery_model::{Algorithm, Id};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::{Session, UserType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

pub const LABEL: &str = "test";
pub const PIN: &str = "1234";
/// How long anything that is only waited for may take: machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A module's files of its own, with one token in them.
pub struct Tokens {
    directory: TempDir,
}

impl Tokens {
    pub async fn new() -> Self {
        let tokens = Self { directory: tempfile::tempdir().unwrap() };
        tokens.initialise(LABEL).await.unwrap();
        tokens
    }

    pub async fn initialise(&self, label: &str) -> Result<InitialisedToken, HsmError> {
        // Kryoptic shows a free slot for each token of its configuration, SoftHSM one in all.
        let library = module_under_test().library.clone();
        let slots = list_slots(&worker(), library, &self.environment()).await?;
        let free = slots.iter().find(|report| matches!(report.token, SlotToken::Uninitialised(_)));
        let request = InitialiseToken {
            module: module_under_test().library.clone(),
            module_environment: self.environment(),
            lock_dir: self.directory.path().to_owned(),
            label: label.to_owned(),
            slot: free.map(|report| report.slot),
            so_pin: pin("5678"),
            user_pin: pin(PIN),
            storage_is_new: false,
        };
        initialise_token(&worker(), request).await
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn environment(&self) -> BTreeMap<String, String> {
        environment_in(self.directory.path())
    }

    pub fn settings(&self) -> TokenSettings {
        settings_in(self.directory.path())
    }

    pub async fn token(&self) -> Token {
        Token::start(self.settings(), worker()).await.unwrap()
    }
}

pub fn environment_in(directory: &Path) -> BTreeMap<String, String> {
    module_under_test().configuration.write(directory).unwrap()
}

pub fn settings_in(directory: &Path) -> TokenSettings {
    TokenSettings {
        id: Id::parse("the token id", "soft").unwrap(),
        module: module_under_test().library.clone(),
        label: LABEL.to_owned(),
        serial: None,
        pin: pin(PIN),
        pin_file: None,
        module_environment: environment_in(directory),
        lock_dir: directory.to_owned(),
        signing_threads: 2,
        keepalive: Duration::from_secs(10),
        max_worker_memory_bytes: 1 << 30,
        queue_limit: 1024,
    }
}

pub fn pin(text: &str) -> Pin {
    Pin::new(text.to_owned().into())
}

pub fn worker() -> WorkerCommand {
    re_exec("worker_entry")
}

/// How to run one of the ignored entry points of this program.
pub fn re_exec(entry: &str) -> WorkerCommand {
    let arguments = [entry, "--exact", "--ignored", "--nocapture"].map(str::to_owned).to_vec();
    WorkerCommand { program: std::env::current_exe().unwrap(), arguments }
}

/// Runs one of the ignored entry points that load the module themselves, while no worker does. Answers what it says.
pub fn run_entry(entry: &str, tokens: &Tokens) -> String {
    let WorkerCommand { program, arguments } = re_exec(entry);
    let output = Command::new(program).args(arguments).envs(tokens.environment()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("1 passed"), "{entry}: {output:?}");
    said
}

/// For such an entry point: a session of the user that can write.
pub fn raw_session() -> Session {
    let pkcs11 = Pkcs11::new(&module_under_test().library).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&PIN.into())).unwrap();
    session
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Makes a key pair.
pub async fn make_key(token: &Token, algorithm: Algorithm) -> (GeneratedKey, SigningKey) {
    let uid = new_uid().unwrap();
    let made = token.generate(uid, "a key", algorithm, soon()).await.unwrap();
    let public = PublicKey::from_spki_der(algorithm, made.spki_der.as_ref().unwrap()).unwrap();
    (made, SigningKey { id: uid.into(), public })
}

/// Makes a secret for MACs.
pub async fn make_mac_key(token: &Token, algorithm: Algorithm) -> (GeneratedKey, MacKey) {
    let uid = new_uid().unwrap();
    let made = token.generate(uid, "a secret", algorithm, soon()).await.unwrap();
    (made, MacKey { id: uid.into(), algorithm })
}

/// Uses the token again and again while it makes a key, and while it makes more where one was made too fast to tell. How often.
pub async fn while_keys_are_made(token: &Token, algorithm: Algorithm, used: impl AsyncFn()) -> u32 {
    let mut meanwhile = 0;
    for _ in 0..10 {
        let (maker, uid) = (token.clone(), new_uid().unwrap());
        let making = tokio::spawn(async move { maker.generate(uid, "slow", algorithm, soon()).await });
        while !making.is_finished() {
            used().await;
            meanwhile += 1;
        }
        making.await.unwrap().unwrap();
        if meanwhile > 20 || !module_under_test().signs_while_generating {
            break;
        }
    }
    meanwhile
}

pub async fn sign(token: &Token, key: &SigningKey, message: &[u8]) -> Result<DeviceSignature, HsmFailure> {
    token.sign(key, SignInput::Message(message), soon()).await
}

/// Sends a signal to a process, by its number.
#[allow(unsafe_code, reason = "std cannot send signals, and not every machine has kill as a program")]
pub fn signal(signal: libc::c_int, pid: u32) {
    // SAFETY: kill takes two numbers and touches no memory of ours.
    let result = unsafe { libc::kill(pid.try_into().unwrap(), signal) };
    assert_eq!(result, 0, "signal {signal} to {pid}: {}", std::io::Error::last_os_error());
}

/// A process that was stopped. Goes on when this is dropped, so that a test that fails leaves nothing behind.
pub struct Stopped(u32);

impl Drop for Stopped {
    fn drop(&mut self) {
        if is_running(self.0) {
            signal(libc::SIGCONT, self.0);
        }
    }
}

/// Stops a process, and waits until each of its threads stands: the signal alone does not say when.
pub async fn stop(pid: u32) -> Stopped {
    signal(libc::SIGSTOP, pid);
    let stopped = Stopped(pid);
    wait_until("standing still", Duration::from_secs(5), || {
        let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        threads.all(|thread| state(&thread.unwrap().path().join("stat")) == Some('T'))
    })
    .await;
    stopped
}

/// Whether a process is there and no zombie.
pub fn is_running(pid: u32) -> bool {
    !matches!(state(&PathBuf::from(format!("/proc/{pid}/stat"))), None | Some('Z'))
}

/// The state in a `stat` file of proc(5): it follows the command's name, which is in brackets.
fn state(stat: &Path) -> Option<char> {
    std::fs::read_to_string(stat).ok()?.rsplit(')').next()?.trim_start().chars().next()
}

pub async fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < until, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn wait_for_health(token: &Token, limit: Duration, mut wanted: impl FnMut(&TokenHealth) -> bool) {
    let mut health = token.subscribe();
    let waited = tokio::time::timeout(limit, health.wait_for(|health| wanted(health))).await;
    assert!(waited.is_ok(), "health stays {:?}", token.status().health);
}
