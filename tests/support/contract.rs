//! What the tests of the contract have in common: one service for the tests of a file, calls with less writing, and
//! refusals taken apart.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these functions run inside tests, which stop at the first surprise"
)]

use std::fmt::Debug;
use std::future::Future;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use chancery_api::v1;
use chancery_client::{Client, Refusal};
use chancery_testkit::{Chancery, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How long anything that is only waited for may take: machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One service for all tests of a file that leave it as they found it. Starts with the first of them, and is one test's at
/// a time: a call that meets too many changes of keys made by others is rightly told to come again (STATE_CHANGING), and
/// no test here wants to hear that by chance.
#[derive(Debug)]
pub struct Fixture {
    setup: fn() -> Setup,
    running: OnceCell<Running>,
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Running {
    chancery: Chancery,
    /// Never read: it is its death, and its standard input's, that counts.
    _guard: Child,
}

/// The service, as one test uses it. Shows the log where the test fails.
#[derive(Debug)]
pub struct Shared {
    chancery: &'static Chancery,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    /// A service with this setup.
    #[must_use]
    pub const fn new(setup: fn() -> Setup) -> Self {
        Self { setup, running: OnceCell::const_new(), turn: Mutex::const_new(()) }
    }

    /// The service, started where it has not been. Waits for the test that has it.
    pub async fn get(&'static self) -> Shared {
        let turn = self.turn.lock().await;
        let start = async || {
            let chancery = (self.setup)().start().await.unwrap();
            let guard = guard(&chancery);
            Running { chancery, _guard: guard }
        };
        Shared { chancery: &self.running.get_or_init(start).await.chancery, _turn: turn }
    }
}

/// Statics are never dropped, so somebody else must see the service off: a process that waits for the end of its standard
/// input, which comes when the test program ends, however it ends.
fn guard(chancery: &Chancery) -> Child {
    let script = "cat >/dev/null; kill -s TERM \"$1\" 2>/dev/null; \
                  for i in $(seq 600); do kill -s 0 \"$1\" 2>/dev/null || break; sleep 0.1; done; \
                  [ -n \"$CHANCERY_TESTKIT_KEEP\" ] || rm -rf \"$2\"";
    let folder = chancery.dir().parent().unwrap().to_owned();
    Command::new("sh")
        .args(["-c", script, "sh", &chancery.pid().to_string()])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Deref for Shared {
    type Target = Chancery;

    fn deref(&self) -> &Chancery {
        self.chancery
    }
}

impl Drop for Shared {
    #[allow(clippy::print_stderr, reason = "the test runner captures and shows it with the failing test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of chancery in {}\n{}", self.dir().display(), self.log());
        }
    }
}

/// What was refused, and that it was; checks what every refusal has.
pub fn refused<T: Debug>(answer: Result<T, Status>) -> Refusal {
    match answer {
        Ok(answer) => panic!("was not refused: {answer:?}"),
        Err(status) => refusal(status),
    }
}

/// A refusal with its details; checks what every one has.
#[must_use]
pub fn refusal(status: Status) -> Refusal {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "chancery");
    assert!(!status.message().is_empty(), "{status:?}");
    Refusal::from(status)
}

/// Checks that a call was refused with this code and reason.
#[track_caller]
pub fn assert_refused<T: Debug>(answer: Result<T, Status>, code: Code, reason: &str) -> Refusal {
    let refusal = refused(answer);
    assert_eq!((refusal.code, refusal.reason.as_deref()), (code, Some(reason)), "{refusal}");
    refusal
}

/// What a caller is told of a refusal, headers and all, without what differs from call to call.
#[must_use]
pub fn seen(status: &Status) -> (Code, String, Vec<(String, Vec<u8>)>) {
    let headers = status.metadata().clone().into_headers();
    let mut headers: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name.as_str() != "date")
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    headers.sort();
    (status.code(), status.message().to_owned(), headers)
}

/// Checks that a call was refused for one field of the request; answers what is said about it.
#[track_caller]
pub fn assert_field<T: Debug>(answer: Result<T, Status>, field: &str) -> String {
    field_violation(&refused(answer), field)
}

/// Checks that a refusal is for one field of the request; answers what is said about it.
#[track_caller]
pub fn field_violation(refusal: &Refusal, field: &str) -> String {
    assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::InvalidArgument, Some("INVALID_FIELD")), "{refusal}");
    let [violation] = refusal.violations.as_slice() else { panic!("one violation is expected: {refusal:?}") };
    assert_eq!(violation.field, field, "{refusal}");
    assert_eq!(refusal.message, format!("{field}: {}", violation.description));
    assert!(!violation.description.is_empty());
    violation.description.clone()
}

/// A request for a new key.
#[must_use]
pub fn new_key(ring: &str, id: &str, algorithm: v1::Algorithm) -> v1::CreateKeyRequest {
    let key = v1::Key { algorithm: algorithm.into(), ..v1::Key::default() };
    v1::CreateKeyRequest { parent: ring.to_owned(), key_id: id.to_owned(), key: Some(key), request_id: String::new() }
}

/// The same with `allow_digest`.
#[must_use]
pub fn new_digest_key(ring: &str, id: &str, algorithm: v1::Algorithm) -> v1::CreateKeyRequest {
    let key = v1::Key { algorithm: algorithm.into(), allow_digest: true, ..v1::Key::default() };
    v1::CreateKeyRequest { key: Some(key), ..new_key(ring, id, algorithm) }
}

/// Makes a key.
#[track_caller]
pub fn create(client: &Client, request: v1::CreateKeyRequest) -> impl Future<Output = v1::Key> {
    let mut keys = client.keys();
    let caller = std::panic::Location::caller();
    async move {
        let made = keys.create_key(request).await;
        made.unwrap_or_else(|status| panic!("at {caller}: {}", Refusal::from(status))).into_inner()
    }
}

/// A message to sign or to verify, without checksum.
#[must_use]
pub fn message(bytes: &[u8]) -> Option<v1::SignInput> {
    let input = v1::sign_input::Input::Message(bytes.to_vec().into());
    Some(v1::SignInput { input: Some(input), crc32c: None })
}

/// A digest to sign or to verify, without checksum.
#[must_use]
pub fn digest_input(bytes: &[u8]) -> Option<v1::SignInput> {
    let input = v1::sign_input::Input::Digest(bytes.to_vec().into());
    Some(v1::SignInput { input: Some(input), crc32c: None })
}

/// A request to sign a message.
#[must_use]
pub fn sign(name: &str, bytes: &[u8]) -> v1::SignRequest {
    v1::SignRequest { name: name.to_owned(), input: message(bytes), ..v1::SignRequest::default() }
}

/// A request to sign a digest.
#[must_use]
pub fn sign_digest(name: &str, bytes: &[u8]) -> v1::SignRequest {
    v1::SignRequest { name: name.to_owned(), input: digest_input(bytes), ..v1::SignRequest::default() }
}

/// All records that match, page by page.
pub async fn records(client: &Client, request: v1::ListRecordsRequest) -> Vec<v1::AuditRecord> {
    let mut all = Vec::new();
    let mut request = request;
    loop {
        let page = client.audit().list_records(request.clone()).await.unwrap().into_inner();
        all.extend(page.records);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// Where there is none in [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// GET from the admin address: status code and body.
pub async fn admin_get(chancery: &Chancery, path: &str) -> (u16, String) {
    let endpoint = chancery.admin_endpoint().expect("chancery dev has an admin address");
    let address = endpoint.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `needle` occurs in `haystack`.
#[must_use]
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// A version 4 UUID.
#[must_use]
pub fn uuid() -> String {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    let digits = hex(&bytes);
    let parts = [&digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..]];
    let [a, b, c, d, e] = parts;
    format!("{a}-{b}-4{c}-8{d}-{e}")
}
