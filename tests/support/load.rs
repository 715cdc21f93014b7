//! Load on a service, what it was answered, and what the record says of it afterwards.
//!
//! In scope: calls with the times between which they ran, so that a test can say which began after something was
//! answered; the whole record, read through the API; waiting for a condition with a deadline. Out of scope: starting and
//! killing (the testkit), and what is expected of either.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail like tests"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chancery_api::v1;
use chancery_client::{Client, ClientError, EcdsaEncoding, Input, Signed};
use serde_json::Value;
use tokio::task::JoinSet;

/// How long a test waits for what must come: far longer than it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const POLL: Duration = Duration::from_millis(5);
/// What a task of a load waits after a call that failed, so that a service that refuses is asked often and not flooded.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(5);

/// Looks until there is something to see.
///
/// # Panics
/// Where nothing came in [`PATIENCE`]; says `what` was waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Asks for a key in the ring `dev`.
///
/// # Errors
/// Those of CreateKey.
pub async fn try_create_key(operator: &Client, id: &str, algorithm: v1::Algorithm) -> Result<v1::Key, ClientError> {
    let request = v1::CreateKeyRequest {
        parent: "keyRings/dev".to_owned(),
        key_id: id.to_owned(),
        key: Some(v1::Key { algorithm: algorithm.into(), ..v1::Key::default() }),
        request_id: String::new(),
    };
    let answer = operator.keys().create_key(request).await.map_err(|status| operator.error(status))?;
    Ok(answer.into_inner())
}

/// Creates an ECDSA P-256 key in the ring `dev` and answers its name.
///
/// # Panics
/// Where it cannot be created.
pub async fn create_key(operator: &Client, id: &str) -> String {
    try_create_key(operator, id, v1::Algorithm::EcdsaP256Sha256).await.unwrap().name
}

/// Signs `message`; ECDSA signatures come as r and s of fixed width, which is what the record hashes.
///
/// # Errors
/// Those of Sign.
pub async fn sign(client: &Client, key: &str, message: &str) -> Result<Signed, ClientError> {
    // One call, one attempt: what the record says of each is compared with what was answered.
    client.without_retries().sign(key, Input::Message(message.as_bytes().to_vec()), EcdsaEncoding::P1363).await
}

/// The development token.
///
/// # Panics
/// Where it cannot be read.
pub async fn token(operator: &Client) -> v1::Token {
    let request = v1::GetTokenRequest { name: "tokens/main".to_owned() };
    operator.tokens().get_token(request).await.unwrap().into_inner()
}

/// A call of a load.
#[derive(Debug)]
pub struct Call {
    /// Before the request was sent.
    pub began: Instant,
    /// After the answer, or its absence.
    pub ended: Instant,
    /// What was to be signed; no two calls have the same.
    pub message: String,
    /// How it ended.
    pub end: Result<Signed, ClientError>,
}

/// Calls of Sign, one after the other in each of several tasks, until it is stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    next: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap()
    }

    async fn run(&self, client: Client, key: String) {
        while !self.stop.load(Ordering::SeqCst) {
            let message = format!("message {}", self.next.fetch_add(1, Ordering::SeqCst));
            let began = Instant::now();
            let end = sign(&client, &key, &message).await;
            let (ended, failed) = (Instant::now(), end.is_err());
            self.lock().push(Call { began, ended, message, end });
            if failed {
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

impl Load {
    /// Signs with `key` over each of the connections, in `tasks` tasks on each.
    #[must_use]
    pub fn start(clients: &[Client], tasks: usize, key: &str) -> Self {
        let shared = Arc::<Shared>::default();
        let mut running = JoinSet::new();
        for client in clients {
            for _ in 0..tasks {
                let (shared, client, key) = (Arc::clone(&shared), client.clone(), key.to_owned());
                running.spawn(async move { shared.run(client, key).await });
            }
        }
        Self { shared, tasks: running }
    }

    /// How many calls have ended for which `which` holds.
    #[must_use]
    pub fn count(&self, which: impl Fn(&Call) -> bool) -> usize {
        self.shared.lock().iter().filter(|call| which(call)).count()
    }

    /// Waits until `count` calls have ended for which `which` holds.
    ///
    /// # Panics
    /// After [`PATIENCE`]; shows the last failure.
    pub async fn wait_for(&self, count: usize, what: &str, which: impl Fn(&Call) -> bool) {
        let end = Instant::now() + PATIENCE;
        while self.count(&which) < count {
            if Instant::now() > end {
                let calls = self.shared.lock();
                let last = calls.iter().rev().find_map(|call| call.end.as_ref().err());
                panic!(
                    "{} of {} calls {what}, not {count}; last failure: {last:?}",
                    calls.iter().filter(|call| which(call)).count(),
                    calls.len()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `count` calls that began from now on were answered with a signature.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn wait_for_signatures(&self, count: usize) {
        let now = Instant::now();
        self.wait_for(count, "signed", |call| call.began >= now && call.end.is_ok()).await;
    }

    /// Lets the calls under way end, and answers all.
    ///
    /// # Panics
    /// Where a task of the load panicked.
    pub async fn stop(self) -> Vec<Call> {
        let Self { shared, mut tasks } = self;
        shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *shared.lock())
    }
}

/// The failures among calls.
pub fn failures(calls: &[Call]) -> impl Iterator<Item = &ClientError> {
    calls.iter().filter_map(|call| call.end.as_ref().err())
}

/// The whole record, oldest first.
#[derive(Debug)]
pub struct Record {
    /// By index.
    pub records: Vec<v1::AuditRecord>,
    ends: BTreeMap<u64, Vec<v1::RecordedOutcome>>,
}

impl Record {
    /// Reads all of it.
    ///
    /// # Panics
    /// Where it cannot be read, or an index is missing.
    pub async fn read(auditor: &Client) -> Self {
        let mut records = Vec::new();
        let mut page_token = String::new();
        loop {
            let request =
                v1::ListRecordsRequest { page_size: 250, page_token, oldest_first: true, ..Default::default() };
            let answer = auditor.audit().list_records(request).await.unwrap().into_inner();
            records.extend(answer.records);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        for (place, record) in (0..).zip(&records) {
            assert_eq!(record.index, place, "the record has no gaps");
        }
        let mut ends = BTreeMap::<_, Vec<_>>::new();
        for outcome in records.iter().flat_map(|record| &record.outcomes) {
            ends.entry(outcome.record_index).or_default().push(outcome.clone());
        }
        Self { records, ends }
    }

    /// Reads it again and again until `enough` is satisfied with it: outcomes and denials come a moment later.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn read_until(auditor: &Client, what: &str, enough: impl Fn(&Self) -> bool) -> Self {
        until(what, async || {
            let record = Self::read(auditor).await;
            enough(&record).then_some(record)
        })
        .await
    }

    /// Reads it when every intent and every open act has its outcome.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn read_settled(auditor: &Client) -> Self {
        Self::read_until(auditor, "each intent has its outcome", |record| {
            record.intents().all(|intent| record.ends.contains_key(&intent.index))
        })
        .await
    }

    /// Records of a kind.
    pub fn of(&self, kind: v1::RecordKind) -> impl Iterator<Item = &v1::AuditRecord> {
        self.records.iter().filter(move |record| record.kind() == kind)
    }

    /// The intents.
    pub fn intents(&self) -> impl Iterator<Item = &v1::AuditRecord> {
        self.of(v1::RecordKind::Intent)
    }

    /// Acts of an action on a resource.
    pub fn acts(&self, action: &str, resource: &str) -> impl Iterator<Item = &v1::AuditRecord> {
        self.of(v1::RecordKind::Act).filter(move |act| act.action == action && act.resource == resource)
    }

    /// How an intent or an act ended, where it has.
    ///
    /// # Panics
    /// Where two outcomes are there for it.
    #[must_use]
    pub fn end(&self, index: u64) -> Option<&v1::RecordedOutcome> {
        let ends = self.ends.get(&index)?;
        assert_eq!(ends.len(), 1, "record {index} has one outcome: {ends:?}");
        ends.first()
    }

    /// The indexes of intents that ended so.
    #[must_use]
    pub fn ended(&self, result: &str) -> Vec<u64> {
        let ended = self.intents().filter(|intent| self.end(intent.index).is_some_and(|end| end.result == result));
        ended.map(|intent| intent.index).collect()
    }

    /// Each signature that a client was given has its own intent, of this very input and version; and where the outcome
    /// is known, it is this signature's.
    ///
    /// # Panics
    /// Where one has not.
    pub fn assert_holds(&self, calls: &[Call]) {
        let mut used = std::collections::BTreeSet::new();
        for (call, signed) in calls.iter().filter_map(|call| Some((call, call.end.as_ref().ok()?))) {
            let index = signed.record_index;
            assert!(used.insert(index), "two signatures point to the record {index}");
            let intent = usize::try_from(index).ok().and_then(|index| self.records.get(index));
            let intent = intent.unwrap_or_else(|| panic!("a signature was given out, and there is no record {index}"));
            assert_eq!(intent.kind(), v1::RecordKind::Intent);
            assert_eq!((intent.action.as_str(), intent.caller.as_str()), ("Sign", "callers/caller"));
            assert_eq!(intent.resource, signed.version.to_string());
            assert_eq!(details(intent)["signed"]["digest"], Value::from(hex(&sha256(call.message.as_bytes()))));
            let Some(end) = self.end(index) else { continue };
            match end.result.as_str() {
                "DONE" => assert_eq!(end.signature_sha256, sha256(&signed.signature)),
                "UNKNOWN" => assert!(end.signature_sha256.is_empty()),
                other => panic!("a signature was given out, and the record {index} says that it {other}"),
            }
        }
    }
}

/// The details of a record, as they were committed to.
///
/// # Panics
/// Where they are no JSON.
#[must_use]
pub fn details(record: &v1::AuditRecord) -> Value {
    serde_json::from_slice(&record.details_json).unwrap()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A page of the admin address: the HTTP status, and the text.
///
/// # Panics
/// Where nothing answers.
#[must_use]
pub fn admin_page(endpoint: &str, path: &str) -> (u16, String) {
    let host = endpoint.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), text.to_owned())
}

/// A counter of `/metrics`, all of its lines that contain `label` added together; 0 where there is none yet.
///
/// # Panics
/// Where the metrics cannot be read.
#[must_use]
pub fn metric(endpoint: &str, name: &str, label: &str) -> f64 {
    let (status, text) = admin_page(endpoint, "/metrics");
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Whether a process is there and not merely waiting to be reaped.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the program's name, which is in parentheses and may itself hold some.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Stops a process, and waits until each of its threads stands still: a signal is delivered a while after it was sent.
///
/// # Panics
/// Where there is no such process, or it goes on for minutes.
pub async fn stop(pid: u32) {
    chancery_testkit::signal(pid, "STOP").unwrap();
    let stands = |path: std::path::PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    until("every thread stands still", async || {
        let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        threads.all(|thread| stands(thread.unwrap().path())).then_some(())
    })
    .await;
}
