//! Calls of all kinds over several connections, and what they were answered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use chancery_client::{Client, ClientError, EcdsaEncoding, KeyRef, SignItem, Signed};
use chancery_tests::contract::hex;
use tokio::task::JoinSet;

use crate::entry::sha256;

/// A P-256 key, an Ed25519 key and a MAC key, which are rotated now and then; and a P-256 key whose only version is
/// suspended and resumed.
pub const FIRST: &str = "keyRings/dev/keys/first";
pub const EDWARDS: &str = "keyRings/dev/keys/edwards";
pub const MACS: &str = "keyRings/dev/keys/macs";
pub const TOGGLED: &str = "keyRings/dev/keys/toggled";

/// The callers: that of the development folder, and another one.
pub const CALLERS: [&str; 2] = ["caller", "second"];

/// Inputs of a batch, and messages of a stream that are under way at once.
const MANY: usize = 6;

/// One input that was sent to be signed, or one MAC.
#[derive(Debug, Clone)]
pub struct Call {
    pub caller: &'static str,
    /// `Sign`, `MacSign` or `MacVerify`.
    pub action: &'static str,
    pub message: Vec<u8>,
    /// SHA-256 of the message, in hexadecimal.
    pub digest: String,
    pub answer: Answer,
}

#[derive(Debug, Clone)]
pub enum Answer {
    Received(Received),
    /// The service's reason; or what the client says of an answer that it cannot use.
    Refused(String),
    /// The connection broke, or the time was over.
    Nothing,
}

/// What a client holds in hand.
#[derive(Debug, Clone)]
pub struct Received {
    pub version: String,
    pub record_index: u64,
    /// The signature (r and s of fixed width for ECDSA) or the MAC; nothing of a verdict.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, in hexadecimal; empty of a verdict.
    pub sha256: String,
}

impl Received {
    fn new(version: String, record_index: u64, bytes: Vec<u8>) -> Self {
        let sha256 = if bytes.is_empty() { String::new() } else { hex(&sha256(&bytes)) };
        Self { version, record_index, bytes, sha256 }
    }
}

/// A MAC of an earlier round, to be checked in a later one.
#[derive(Debug, Clone)]
pub struct OldMac {
    pub version: String,
    pub message: Vec<u8>,
    pub mac: Vec<u8>,
}

/// Calls under way.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    stop: Arc<AtomicBool>,
    /// What no other round's messages begin with.
    round: String,
    next: AtomicU64,
    calls: Mutex<Vec<Call>>,
}

impl Shared {
    fn message(&self) -> Vec<u8> {
        format!("{} {}", self.round, self.next.fetch_add(1, Ordering::SeqCst)).into_bytes()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Notes what a call came to; answers whether the connection still stands.
    fn note(
        &self,
        caller: &'static str,
        action: &'static str,
        message: Vec<u8>,
        answer: Result<Received, ClientError>,
    ) -> bool {
        let answer = match answer {
            Ok(received) => Answer::Received(received),
            Err(error) => failed(&error),
        };
        let stands = !matches!(answer, Answer::Nothing);
        let digest = hex(&sha256(&message));
        self.calls.lock().unwrap().push(Call { caller, action, message, digest, answer });
        stands
    }
}

/// A broken connection is what a kill is expected to come to; anything else was said, and the comparison has to like it.
fn failed(error: &ClientError) -> Answer {
    match error {
        ClientError::Connection { .. } | ClientError::TimedOut { .. } | ClientError::StreamEnded => Answer::Nothing,
        ClientError::Shared(error) => failed(error),
        other => Answer::Refused(other.reason().map_or_else(|| other.to_string(), str::to_owned)),
    }
}

fn received(signed: Signed) -> Received {
    Received::new(signed.version.to_string(), signed.record_index, signed.signature)
}

impl Load {
    /// Begins: Sign, BatchSign, StreamSign, MacSign and MacVerify over a connection of each caller.
    pub fn start(clients: [Client; 2], round: String, stop: Arc<AtomicBool>, old_macs: Vec<OldMac>) -> Self {
        let shared = Arc::new(Shared { stop, round, next: AtomicU64::new(0), calls: Mutex::default() });
        let mut tasks = JoinSet::new();
        for (caller, client) in CALLERS.into_iter().zip(clients) {
            // One call, one attempt: each is compared with one intent.
            let client = client.without_retries();
            for key in [FIRST, TOGGLED] {
                tasks.spawn(sign(Arc::clone(&shared), caller, client.clone(), key));
            }
            tasks.spawn(batch(Arc::clone(&shared), caller, client.clone()));
            tasks.spawn(stream(Arc::clone(&shared), caller, client.clone()));
            tasks.spawn(macs(Arc::clone(&shared), caller, client, old_macs.clone()));
        }
        Self { shared, tasks }
    }

    /// Waits until every task has seen the end of its connection, and answers all calls.
    pub async fn end(self) -> Vec<Call> {
        let Self { shared, mut tasks } = self;
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *shared.calls.lock().unwrap())
    }
}

async fn sign(shared: Arc<Shared>, caller: &'static str, client: Client, key: &'static str) {
    while !shared.stopped() {
        let message = shared.message();
        let answer = client.sign(key, &*message, EcdsaEncoding::P1363).await.map(received);
        if !shared.note(caller, "Sign", message, answer) {
            return;
        }
    }
}

fn item(key: &str, message: &[u8]) -> SignItem {
    let key: KeyRef = key.parse().unwrap();
    SignItem { encoding: EcdsaEncoding::P1363, ..SignItem::new(key, message) }
}

async fn batch(shared: Arc<Shared>, caller: &'static str, client: Client) {
    while !shared.stopped() {
        let messages: Vec<_> = (0..MANY).map(|_| shared.message()).collect();
        let keys = [FIRST, EDWARDS, TOGGLED];
        let items = messages.iter().zip(keys.iter().cycle()).map(|(message, key)| item(key, message));
        let answers = client.batch_sign(items).await;
        let mut stands = true;
        for (message, answer) in messages.into_iter().zip(answers) {
            stands &= shared.note(caller, "Sign", message, answer.map(received));
        }
        if !stands {
            return;
        }
    }
}

async fn stream(shared: Arc<Shared>, caller: &'static str, client: Client) {
    let Ok((sender, mut answers)) = client.stream_sign().await else { return };
    let mut sent = HashMap::new();
    let mut next = 0_u64;
    loop {
        while !shared.stopped() && sent.len() < MANY {
            next += 1;
            let message = shared.message();
            let key = if next.is_multiple_of(3) { EDWARDS } else { FIRST };
            let item = item(key, &message);
            // It may have left although the stream is said to have ended.
            sent.insert(next.to_string(), message);
            if sender.send(next.to_string(), item).await.is_err() {
                break;
            }
        }
        if sent.is_empty() {
            return;
        }
        let Some(Ok(answer)) = answers.next().await else { break };
        let message = sent.remove(&answer.correlation_id).unwrap();
        shared.note(caller, "Sign", message, answer.result.map(received));
    }
    for message in sent.into_values() {
        shared.note(caller, "Sign", message, Err(ClientError::StreamEnded));
    }
}

async fn macs(shared: Arc<Shared>, caller: &'static str, client: Client, old: Vec<OldMac>) {
    let mut old = old.into_iter();
    while !shared.stopped() {
        let message = shared.message();
        let answer = client.mac_sign(MACS, &*message).await;
        let answer = answer.map(|mac| Received::new(mac.version.to_string(), mac.record_index, mac.mac));
        if !shared.note(caller, "MacSign", message, answer) {
            return;
        }
        if let Some(OldMac { version, message, mac }) = old.next() {
            let answer = client.mac_verify(version.as_str(), &*message, mac).await.map(|verdict| {
                assert!(verdict.valid, "the MAC of an earlier round is no longer one of {version}");
                Received::new(verdict.version.to_string(), verdict.record_index, Vec::new())
            });
            if !shared.note(caller, "MacVerify", message, answer) {
                return;
            }
        }
    }
}
