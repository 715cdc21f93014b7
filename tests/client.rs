//! The Rust client against a real service: through restarts, renewed certificates, and in quantity.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery_client::model::{Algorithm, KeyState};
use chancery_client::{
    Client, ClientError, ConnectOptions, Credentials, EcdsaEncoding, JwtRequest, LocalVerification, NewKey,
    PublicKeyFormat, RecordFilter, RecordKind, RecordQuery, RefusalKind, RetryPolicy, Rotation, SignItem, VerifyItem,
    WatchOptions,
};
use chancery_testkit::{CallerSetup, Chancery};
use tokio::net::{TcpListener, TcpStream};

/// An address that stays while the service behind it moves with each restart.
struct Door {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Door {
    async fn before(chancery: &Chancery) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(address_of(chancery)));
        let door = Self { address, target: Arc::clone(&target) };
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let target = *target.lock().unwrap();
                tokio::spawn(async move {
                    // While nothing listens behind it, the door closes in the caller's face.
                    if let Ok(mut far) = TcpStream::connect(target).await {
                        let _broken = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        door
    }

    fn lead_to(&self, chancery: &Chancery) {
        *self.target.lock().unwrap() = address_of(chancery);
    }

    fn options(&self, options: ConnectOptions) -> ConnectOptions {
        ConnectOptions { endpoint: format!("https://{}", self.address), ..options }
    }
}

fn address_of(chancery: &Chancery) -> SocketAddr {
    chancery.endpoint().strip_prefix("https://").unwrap().parse().unwrap()
}

/// Patient enough for a restart on a busy machine.
fn patient() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 10_000,
        initial_backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(200),
        budget_tokens: 100_000,
        ..RetryPolicy::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_service_is_not_seen_by_those_who_sign() {
    let mut chancery = Chancery::start().await.unwrap();
    let key = chancery.key().await.unwrap().clone();
    let door = Door::before(&chancery).await;
    let options = door.options(chancery.connect_options(&chancery.caller_identity()));
    let client = Client::connect(options.retry(patient()).request_timeout(Duration::from_secs(90))).await.unwrap();

    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (client, key, stop) = (client.clone(), key.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut signed = 0_u32;
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    client.sign(&key, "pay 5 to Ada", EcdsaEncoding::Der).await.unwrap();
                    signed += 1;
                }
                signed
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    chancery.restart().await.unwrap();
    door.lead_to(&chancery);
    client.sign(&key, "after the restart", EcdsaEncoding::Der).await.unwrap();
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 0, "no call failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_after_a_restart_without_loss_or_duplicate() {
    let mut chancery = Chancery::start().await.unwrap();
    let key = chancery.key().await.unwrap().clone();
    let door = Door::before(&chancery).await;
    let operator = door.options(chancery.connect_options(&chancery.operator_identity())).retry(patient());
    let operator = Client::connect(operator).await.unwrap();
    let filter = RecordFilter { kind: Some(RecordKind::Intent), ..RecordFilter::default() };
    let options = WatchOptions { start_index: Some(0), filter: filter.clone(), patience: None };
    let mut watch = operator.watch_records(options).await.unwrap();

    let mut signed = BTreeSet::new();
    for round in 0..2 {
        let caller = chancery.caller().await.unwrap();
        for number in 0..20 {
            let message = format!("round {round}, message {number}");
            signed.insert(caller.sign(&key, message.as_str(), EcdsaEncoding::Der).await.unwrap().record_index);
        }
        if round == 0 {
            chancery.restart().await.unwrap();
            door.lead_to(&chancery);
        }
    }
    let mut watched = Vec::new();
    while watched.len() < 40 {
        let record = tokio::time::timeout(Duration::from_secs(60), watch.next()).await.unwrap().unwrap().unwrap();
        watched.push(record.index);
    }
    assert!(watched.is_sorted_by(|earlier, later| earlier < later), "oldest first, each once: {watched:?}");
    assert_eq!(watched.iter().copied().collect::<BTreeSet<_>>(), signed);
    assert!(watch.next_index() > *watched.last().unwrap());

    let query = RecordQuery { filter, oldest_first: true, ..RecordQuery::default() };
    let listed = operator.list_records(query).collect().await.unwrap();
    assert_eq!(listed.iter().map(|record| record.index).collect::<Vec<_>>(), watched);
    assert!(listed.iter().all(|record| record.action == "Sign" && record.caller.is_some()));
}

fn copy(from: &Path, to: &Path) {
    // Whole or not at all, as those who rotate certificates should.
    let new = to.with_extension("new");
    std::fs::copy(from, &new).unwrap();
    std::fs::rename(&new, to).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_used_without_a_restart_and_a_half_written_one_is_not() {
    let caller = |id: &str| CallerSetup::new(id).role("signer").ring("dev");
    let chancery = Chancery::setup().with(caller("before")).with(caller("after")).start().await.unwrap();
    let key = chancery.key().await.unwrap().clone();
    let operator = chancery.operator().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, private_key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let file = |id: &str, kind: &str| chancery.identities().join(format!("{id}.{kind}"));
    copy(&file("before", "pem"), &certificate);
    copy(&file("before", "key"), &private_key);
    let credentials = Credentials::Certificate { certificate: certificate.clone(), private_key: private_key.clone() };
    let options = ConnectOptions::with_credentials(chancery.endpoint(), chancery.ca(), credentials);
    let client = Client::connect(options.reload_every(Duration::from_millis(50))).await.unwrap();
    let who = async || {
        let index = client.sign(&key, "who am I?", EcdsaEncoding::Der).await.unwrap().record_index;
        let records = operator.list_records(RecordQuery::default()).collect().await.unwrap();
        records.into_iter().find(|record| record.index == index).unwrap().caller.unwrap().to_string()
    };
    assert_eq!(who().await, "before");

    copy(&file("after", "pem"), &certificate);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(who().await, "before", "the certificate's key is not there yet");
    copy(&file("after", "key"), &private_key);
    let mut looks = 0;
    while who().await != "after" {
        looks += 1;
        assert!(looks < 300, "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_are_signed_as_a_batch_and_as_a_stream_and_verified_on_both_sides() {
    let chancery = Chancery::start().await.unwrap();
    let key = chancery.key().await.unwrap().clone();
    let caller = chancery.caller().await.unwrap().verify_locally(LocalVerification::on_first_use());
    let message = |number: usize| format!("message {number}").into_bytes();

    let items = (0..1000).map(|number| SignItem::new(&key, message(number)));
    let signed: Vec<_> = caller.batch_sign(items).await.into_iter().map(Result::unwrap).collect();
    let records: BTreeSet<u64> = signed.iter().map(|signed| signed.record_index).collect();
    assert_eq!(records.len(), 1000, "each has a record of its own");
    // One is swapped: its place, and no other, does not verify.
    let checks = signed.iter().enumerate().map(|(number, signed)| {
        let number = if number == 500 { 501 } else { number };
        VerifyItem::new(&signed.version, message(number), signed.signature.clone())
    });
    let verdicts: Vec<_> = caller.batch_verify(checks).await.into_iter().map(Result::unwrap).collect();
    let wrong: Vec<usize> = (0..1000).filter(|number| !verdicts[*number].valid).collect();
    assert_eq!(wrong, [500]);

    let (sender, mut answers) = caller.stream_sign().await.unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..1000 {
            sender.send(number.to_string(), SignItem::new(&key, message(number))).await.unwrap();
        }
    });
    let mut answered = BTreeSet::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        answer.result.unwrap();
        assert!(answered.insert(answer.correlation_id));
    }
    sending.await.unwrap();
    assert_eq!((answered.len(), answers.unanswered().len()), (1000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_speaks_the_models_words() {
    let chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let caller = chancery.caller().await.unwrap();
    let ring = "keyRings/dev".parse().unwrap();

    let rings = operator.key_rings().collect().await.unwrap();
    assert_eq!(rings, [operator.key_ring(&ring).await.unwrap()]);
    let name = rings.first().unwrap().key("k").unwrap();
    let new = NewKey::new(name.clone(), Algorithm::EcdsaP256Sha256).label("team", "billing");
    let new = new.max_jwt_lifetime(Duration::from_secs(600)).request_id(chancery_client::new_request_id().unwrap());
    let key = operator.create_key(new.clone()).await.unwrap();
    assert_eq!(operator.create_key(new).await.unwrap(), key, "the same request id answers the same key");
    assert_eq!(key.max_jwt_lifetime, Some(Duration::from_secs(600)));
    assert_eq!(operator.key(&name).await.unwrap(), key);
    assert_eq!(operator.list_keys(&ring).collect().await.unwrap(), std::slice::from_ref(&key));
    let second = operator.rotate_key(&name, Rotation { etag: Some(key.etag), request_id: None }).await.unwrap();
    let versions = operator.key_versions(&name).collect().await.unwrap();
    assert_eq!(versions.iter().map(|version| version.name.version).collect::<Vec<_>>(), [2, 1]);
    let suspended = operator.suspend_key_version(&second.name, "test").await.unwrap();
    assert_eq!((suspended.version.state, suspended.open_intents.len()), (KeyState::Suspended, 0));
    let refused = caller.sign(&second.name, "m", EcdsaEncoding::Der).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().kind(), RefusalKind::WrongState);
    assert!(!refused.is_transient());
    operator.resume_key_version(&second.name, "test").await.unwrap();
    assert_eq!(operator.key_version(&second.name).await.unwrap().state, KeyState::Active);

    let (version, public) = caller.verifying_key(&name).await.unwrap();
    assert_eq!((&version, public.algorithm()), (&second.name, Algorithm::EcdsaP256Sha256));
    let jwk = caller.public_key(&version, PublicKeyFormat::Jwk).await.unwrap();
    assert_eq!(jwk.data, public.to_jwk().unwrap().to_json().into_bytes());
    let jwt = caller.sign_jwt(&name, JwtRequest::new(r#"{"sub":"ada"}"#)).await.unwrap();
    assert_eq!(Some(jwt.key_id.as_str()), public.kid());
    assert_eq!(jwt.expires.unix_micros() - jwt.issued.unix_micros(), 600_000_000);

    let mac_key = rings.first().unwrap().key("m").unwrap();
    operator.create_key(NewKey::new(mac_key.clone(), Algorithm::HmacSha256)).await.unwrap();
    let mac = caller.mac_sign(&mac_key, "pay 5 to Ada").await.unwrap();
    assert!(caller.mac_verify(&mac.version, "pay 5 to Ada", mac.mac.clone()).await.unwrap().valid);
    assert!(!caller.mac_verify(&mac.version, "pay 6 to Ada", mac.mac).await.unwrap().valid);

    let random = caller.random_bytes(&ring, 3000).await.unwrap();
    let (first, second) = random.split_at(1500);
    assert!(random.len() == 3000 && first != second);
    let denied = operator.sign(&name, "m", EcdsaEncoding::Der).await.unwrap_err();
    assert!(matches!(&denied, ClientError::Refused(refusal) if refusal.kind() == RefusalKind::Denied), "{denied}");
    assert_eq!(denied.refusal().unwrap().resource(), Some("keyRings/dev/keys/k"));
}
