//! What is taken away is gone: against thousands of signatures on open connections and open streams, no call and no stream message
//! that began after the change's answer is allowed. How long after the answer the last one was handed out is measured.
//!
//! In scope: a caller suspended, an API key revoked, a certificate put on the CRL, a key ring frozen, a policy set replaced. Out of scope: how often
//! they take turns (`races`), and what each of them is answered in peace (`callers`, `api_keys`, `crl`, `freeze`, `policy_set`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chancery_api::v1;
use chancery_client::{ApiKey, Client, ConnectOptions, Refusal};
use chancery_testkit::{Chancery, Crl, Leaf, signal};
use chancery_tests::load::{Load, Record, create_key, failures, metric, until};
use chancery_tests::reliability::folder;
use chancery_tests::streams::{Answer, answer, stream_request};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

/// Open connections, tasks that call on each, and streams beside them on each.
const CONNECTIONS: usize = 3;
const TASKS: usize = 6;
const STREAMS: usize = 2;
/// Signatures before the change, by calls and on streams.
const CALLS_BEFORE: usize = 1_500;
const MESSAGES_BEFORE: usize = 500;
/// How long they may take: far longer than on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Calls that begin after the change's answer and have to be refused.
const CALLS_AFTER: usize = 100;
/// Messages of a stream that goes on after the change, to be refused.
const MESSAGES_AFTER: usize = 20;

/// What became of the messages of a stream.
#[derive(Default)]
struct Messages {
    /// When each that was signed began and ended.
    signed: Vec<(Instant, Instant)>,
    /// When each that was refused began, and the last of the reasons.
    refused: Vec<Instant>,
    reasons: BTreeSet<String>,
}

/// Those who sign until they cannot.
struct Signers {
    load: Load,
    streams: JoinSet<Messages>,
    signed_on_streams: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Signers {
    async fn start(clients: &[Client], key: &str) -> Self {
        let (stop, signed_on_streams) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut streams = JoinSet::new();
        for client in clients.iter().flat_map(|client| std::iter::repeat_n(client, STREAMS)) {
            let (client, key) = (client.clone(), key.to_owned());
            streams.spawn(on_a_stream(client, key, Arc::clone(&stop), Arc::clone(&signed_on_streams)));
        }
        let load = Load::start(clients, TASKS, key);
        let end = Instant::now() + PATIENCE;
        loop {
            let calls = load.count(|call| call.end.is_ok());
            let messages = signed_on_streams.load(Ordering::SeqCst);
            if calls >= CALLS_BEFORE && messages >= MESSAGES_BEFORE {
                break;
            }
            assert!(Instant::now() < end, "only {calls} calls and {messages} messages in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { load, streams, signed_on_streams, stop }
    }

    /// Ends them all; `answered` is when the change was.
    async fn end(self, kind: &str, answered: Instant, expected: &[&str], record: impl AsyncFnOnce() -> Record) {
        let Self { load, streams, signed_on_streams, stop } = self;
        load.wait_for(CALLS_AFTER, "ended after the change", |call| call.began > answered).await;
        stop.store(true, Ordering::SeqCst);
        let (calls, streams) = (load.stop().await, streams.join_all().await);
        for failure in failures(&calls) {
            // STATE_CHANGING: the state changed three times while one call was decided; nothing was done.
            let reason = failure.reason().unwrap_or_default();
            assert!(expected.contains(&reason) || reason == "STATE_CHANGING", "{kind}: {failure:?}");
        }
        let late = calls.iter().filter(|call| call.began > answered);
        assert!(late.clone().count() >= CALLS_AFTER);
        let allowed: Vec<_> = late.filter_map(|call| call.end.as_ref().ok()).collect();
        assert!(allowed.is_empty(), "{kind}: began after the answer, and was allowed: {allowed:?}");
        let mut refused_on_streams = 0;
        for Messages { signed, refused, reasons } in &streams {
            let allowed = signed.iter().filter(|(began, _)| *began > answered).count();
            assert_eq!(allowed, 0, "{kind}: messages that were sent after the answer, and signed");
            assert!(refused.iter().any(|began| *began > answered) || reasons.len() == 1, "{kind}: {reasons:?}");
            for reason in reasons {
                assert!(expected.contains(&reason.as_str()), "{kind}: a message was refused as {reason}");
            }
            refused_on_streams += refused.len();
        }
        record().await.assert_holds(&calls);

        let of_calls = calls.iter().filter(|call| call.end.is_ok()).map(|call| (call.began, call.ended));
        let of_streams = streams.iter().flat_map(|messages| messages.signed.iter().copied());
        let (began, ended) = of_calls.chain(of_streams).max_by_key(|(_, ended)| *ended).unwrap();
        Measured {
            kind,
            signed_by_calls: calls.iter().filter(|call| call.end.is_ok()).count(),
            signed_on_streams: signed_on_streams.load(Ordering::SeqCst),
            refused: failures(&calls).count() + refused_on_streams,
            last_began_before: answered.saturating_duration_since(began),
            last_ended_after: ended.saturating_duration_since(answered),
        }
        .tell();
    }
}

/// Sends one message after the other, until the stream ends with a status, or it is time to stop.
async fn on_a_stream(client: Client, key: String, stop: Arc<AtomicBool>, signed: Arc<AtomicUsize>) -> Messages {
    let (messages, waiting) = mpsc::channel(1);
    let mut answers = client.signing().stream_sign(ReceiverStream::new(waiting)).await.unwrap().into_inner();
    let mut found = Messages::default();
    while !(stop.load(Ordering::SeqCst) && found.refused.len() >= MESSAGES_AFTER) {
        let began = Instant::now();
        // The stream may be over; the answer says so.
        let _over = messages.send(stream_request("one", &key, b"of a stream")).await;
        let refusal = match answers.message().await {
            Ok(Some(next)) => match answer(next).1 {
                Answer::Signed(_) => {
                    found.signed.push((began, Instant::now()));
                    signed.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                Answer::Refused(refusal) => refusal,
            },
            Ok(None) => panic!("the stream ended in order"),
            Err(status) => {
                found.refused.push(began);
                found.reasons.extend(Refusal::from(status).reason);
                return found;
            }
        };
        found.refused.push(began);
        found.reasons.extend(refusal.reason);
    }
    found
}

/// What a contest came to.
struct Measured<'a> {
    kind: &'a str,
    signed_by_calls: usize,
    signed_on_streams: usize,
    refused: usize,
    /// The last signature that was handed out: how long before the answer it was asked for, ...
    last_began_before: Duration,
    /// ... and how long after the answer it came.
    last_ended_after: Duration,
}

impl Measured<'_> {
    /// Prints it, and writes it where `docs/reliability.md` is made from.
    #[allow(clippy::print_stderr, reason = "a measurement is for whoever runs the test")]
    fn tell(&self) {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap();
        let row = json!({
            "change": self.kind,
            "signed_by_calls": self.signed_by_calls,
            "signed_on_streams": self.signed_on_streams,
            "refused": self.refused,
            "last_began_before_micros": micros(self.last_began_before),
            "last_ended_after_micros": micros(self.last_ended_after),
        });
        eprintln!("{row}");
        if let Some(folder) = folder() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("revocation-{}.json", self.kind.replace(' ', "-"))), row.to_string())
                .unwrap();
        }
    }
}

/// The whole record, in which no intent stands behind the change.
async fn record(operator: &Client, action: &str, resource: &str) -> Record {
    let record = Record::read_settled(operator).await;
    let changed = record.acts(action, resource).map(|act| act.index).max().unwrap();
    assert!(record.intents().all(|intent| intent.index < changed), "an intent stands behind {action}");
    record
}

async fn callers(chancery: &Chancery) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(chancery.caller().await.unwrap());
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_caller_who_is_suspended() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let signers = Signers::start(&callers(&chancery).await, &key).await;
    let request = v1::SuspendCallerRequest { name: "callers/caller".to_owned(), reason: "a test".to_owned() };
    let answer = operator.callers().suspend_caller(request).await.unwrap().into_inner();
    let answered = Instant::now();
    assert_eq!(answer.open_intents, Vec::<u64>::new(), "it waited for what was under way");
    signers
        .end("caller suspended", answered, &["CALLER_SUSPENDED"], async || {
            record(&operator, "SuspendCaller", "callers/caller").await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_api_key_that_is_revoked() {
    let chancery = Chancery::setup()
        .configure(|config| {
            config["listener"].as_table_mut().unwrap().insert("client_auth".to_owned(), "optional".into());
        })
        .start()
        .await
        .unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let scope = v1::ApiKeyScope { access: v1::ApiKeyAccess::ReadWrite.into(), ..v1::ApiKeyScope::default() };
    let request = v1::IssueApiKeyRequest {
        parent: "callers/caller".to_owned(),
        lifetime: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        scope: Some(scope),
        request_id: String::new(),
    };
    let issued = operator.callers().issue_api_key(request).await.unwrap().into_inner();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let key = ApiKey::parse(&issued.key).unwrap();
        let options = ConnectOptions::with_api_key(chancery.endpoint(), chancery.ca(), key);
        clients.push(Client::connect(options).await.unwrap());
    }
    let signers = Signers::start(&clients, &key).await;
    let name = issued.api_key.unwrap().name;
    let request = v1::RevokeApiKeyRequest { name: name.clone(), reason: "a test".to_owned() };
    operator.callers().revoke_api_key(request).await.unwrap();
    let answered = Instant::now();
    // The second: let in before, and decided after.
    let expected = ["API_KEY_REVOKED", "CREDENTIAL_REFUSED"];
    signers.end("API key revoked", answered, &expected, async || record(&operator, "RevokeApiKey", &name).await).await;
}

/// A list is a file: that it is in force is the answer.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_certificate_that_is_put_on_the_list() {
    let chancery = Chancery::setup().crl(Crl::new()).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let leaf = Leaf::spiffe("spiffe://chancery.dev/caller").serial(13);
    let identity = chancery.issue(leaf, "serial-13").unwrap();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(chancery.connect(&identity).await.unwrap());
    }
    let signers = Signers::start(&clients, &key).await;
    let admin = chancery.admin_endpoint().unwrap();
    let reloads = || metric(admin, "chancery_tls_reloads", r#"result="succeeded""#);
    let before = reloads();
    chancery.publish_crl(&Crl::new().revoke(13)).unwrap();
    signal(chancery.pid(), "HUP").unwrap();
    let answered = until("it is in force", async || (reloads() > before).then(Instant::now)).await;
    signers
        .end("certificate on the CRL", answered, &["CERTIFICATE_REVOKED"], async || {
            Record::read_settled(&operator).await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_key_ring_that_is_frozen() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let signers = Signers::start(&callers(&chancery).await, &key).await;
    let request = v1::FreezeKeyRingRequest { name: "keyRings/dev".to_owned(), reason: "a test".to_owned() };
    let answer = operator.keys().freeze_key_ring(request).await.unwrap().into_inner();
    let answered = Instant::now();
    assert_eq!(answer.open_intents, Vec::<u64>::new(), "it waited for what was under way");
    signers
        .end("key ring frozen", answered, &["KEY_RING_FROZEN"], async || {
            record(&operator, "FreezeKeyRing", "keyRings/dev").await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_policy_set_that_is_replaced() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create_key(&operator, "k").await;
    let signers = Signers::start(&callers(&chancery).await, &key).await;
    let in_force = operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
    let mut documents = in_force.documents;
    documents.push(v1::PolicyDocument {
        name: "stop.cedar".to_owned(),
        text: r#"@id("stop") forbid (principal, action == Chancery::Action::"Sign", resource);"#.to_owned(),
    });
    operator.policy().apply_policy_set(v1::ApplyPolicySetRequest { documents, etag: in_force.etag }).await.unwrap();
    let answered = Instant::now();
    signers
        .end("policy set replaced", answered, &["ACCESS_DENIED"], async || {
            record(&operator, "ApplyPolicySet", "policySet").await
        })
        .await;
}
