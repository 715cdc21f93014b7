//! A service whose token fails as told, beside one that does not: what is asked of it, what it answers, what it leaves.
//!
//! In scope: the faulty module before the token of the ring `dev`; a second token, whole, with a caller who signs with it
//! all the time; calls of which every answer is verified. Out of scope: which faults, and what is expected of each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail like tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use chancery_api::v1;
use chancery_client::{Client, ClientError, PublicKeyFormat};
use chancery_pkcs11_fault::{FaultRules, Rule, Then, library};
use chancery_testkit::{Chancery, Setup};
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use toml::{Table, Value};

use crate::load::{Call, create_key, sign};

/// The ring on the token that does not fail.
pub const WHOLE_RING: &str = "whole";
/// Between two signatures of the caller whose token does not fail.
const BYSTANDER_PAUSE: Duration = Duration::from_millis(25);
/// The rule by which each login is counted.
const LOGINS: &str = "logins";

/// Puts the faulty module before the one of the development token.
#[must_use]
pub fn before_the_token(setup: Setup, faults: &FaultRules) -> Setup {
    let (faults, module) = (faults.clone(), library().unwrap());
    setup.configure(move |config| {
        let token = config["token"][0].as_table_mut().unwrap();
        let module = Value::String(module.to_str().unwrap().to_owned());
        let behind = token.insert("module".to_owned(), module).unwrap();
        let environment = faults.environment(Path::new(behind.as_str().unwrap()));
        let there = token.entry("environment").or_insert_with(|| Value::Table(Table::new()));
        there.as_table_mut().unwrap().extend(environment.into_iter().map(|(name, value)| (name, Value::String(value))));
    })
}

/// A service with a token that fails and one that does not.
#[derive(Debug)]
pub struct Faulty {
    /// The service.
    pub chancery: Chancery,
    /// What its first token does wrong. To be set through [`Faulty::rules`].
    pub faults: FaultRules,
    /// Administers keys, reads the record.
    pub operator: Client,
    /// Signs.
    pub caller: Client,
    next: AtomicU64,
    _rules: TempDir,
    // Stopped; its folder has the second token.
    _whole: Chancery,
}

impl Faulty {
    /// Starts it, without a fault.
    ///
    /// # Panics
    /// Where it does not come up.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = FaultRules::new(folder.path()).unwrap();
        let mut whole = Chancery::start().await.unwrap();
        assert!(whole.terminate().await.unwrap().success());
        let second = second_token(&whole);
        let setup = before_the_token(Chancery::setup(), &faults).configure(move |config| {
            config["token"].as_array_mut().unwrap().push(Value::Table(second));
            let ring = [("id", WHOLE_RING), ("token", "second"), ("environment", "dev")];
            let ring = ring.map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())));
            config["key_ring"].as_array_mut().unwrap().push(Value::Table(ring.into_iter().collect()));
            for caller in config["caller"].as_array_mut().unwrap() {
                caller["key_rings"].as_array_mut().unwrap().push(Value::String(WHOLE_RING.to_owned()));
            }
        });
        let chancery = setup.start().await.unwrap();
        let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
        let faulty =
            Self { chancery, faults, operator, caller, next: AtomicU64::new(0), _rules: folder, _whole: whole };
        faulty.rules(&[]);
        faulty
    }

    /// Stops the service and starts it again; answers whether it came up.
    pub async fn restart(&mut self) -> Result<(), chancery_testkit::Error> {
        self.chancery.restart().await?;
        (self.operator, self.caller) = (self.chancery.operator().await.unwrap(), self.chancery.caller().await.unwrap());
        Ok(())
    }

    /// Has these faults happen, and no others; logins are counted all the while.
    ///
    /// # Panics
    /// Where a rule means nothing.
    pub fn rules(&self, rules: &[Rule]) {
        let watch = Rule::new(LOGINS, Then::DelayMs(0)).on("C_Login");
        self.faults.set(&[&[watch], rules].concat()).unwrap();
    }

    /// How often the token was given the PIN since [`FaultRules::clear_log`].
    ///
    /// # Panics
    /// Where the module complained.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.faults.count(LOGINS).unwrap()
    }

    /// Signs something new.
    pub async fn sign(&self, key: &str) -> Call {
        one_call(&self.caller, key, &format!("burst {}", self.next.fetch_add(1, Ordering::Relaxed))).await
    }

    /// Signs `count` messages with `key`, eight at a time.
    ///
    /// # Panics
    /// Where a task did.
    pub async fn burst(&self, key: &str, count: usize) -> Vec<Call> {
        let mut calls = Vec::with_capacity(count);
        let mut running = JoinSet::new();
        for number in 0..count {
            if number >= 8 {
                calls.extend(running.join_next().await.map(Result::unwrap));
            }
            let (client, key) = (self.caller.clone(), key.to_owned());
            let message = format!("burst {}", self.next.fetch_add(1, Ordering::Relaxed));
            running.spawn(async move { one_call(&client, &key, &message).await });
        }
        calls.extend(running.join_all().await);
        calls
    }

    /// Ends all faults, and signs until it works again. Answers after how long that was, with the calls.
    ///
    /// # Panics
    /// Where it does not within half a minute.
    pub async fn recover(&self, key: &str) -> (Duration, Vec<Call>) {
        self.rules(&[]);
        let ended = Instant::now();
        let mut calls = Vec::new();
        loop {
            let call = self.sign(key).await;
            let works = call.end.is_ok();
            calls.push(call);
            if works {
                return (ended.elapsed(), calls);
            }
            assert!(ended.elapsed() < Duration::from_secs(30), "does not recover: {:?}", calls.last());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts to sign with a key on the token that does not fail, until it is stopped.
    ///
    /// # Panics
    /// Where the key cannot be made.
    pub async fn bystander(&self) -> Bystander {
        let request = v1::CreateKeyRequest {
            parent: format!("keyRings/{WHOLE_RING}"),
            key_id: format!("bystander-{}", self.next.fetch_add(1, Ordering::Relaxed)),
            key: Some(v1::Key { algorithm: v1::Algorithm::EcdsaP256Sha256.into(), ..v1::Key::default() }),
            request_id: String::new(),
        };
        let key = self.operator.keys().create_key(request).await.unwrap().into_inner().name;
        let stop = Arc::new(AtomicBool::new(false));
        let (client, stopped) = (self.chancery.caller().await.unwrap(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut calls = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let message = format!("bystander {}", calls.len());
                calls.push(one_call(&client, &key, &message).await);
                tokio::time::sleep(BYSTANDER_PAUSE).await;
            }
            calls
        });
        Bystander { stop, task }
    }

    /// Creates a P-256 key on the token that fails, while it does not. Answers its name and what it verifies with.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub async fn key(&self, id: &str) -> (String, PublicKey) {
        let name = create_key(&self.operator, id).await;
        let public = self.public(&name).await;
        (name, public)
    }

    /// What the signatures of a P-256 key verify with.
    ///
    /// # Panics
    /// Where it cannot be had.
    pub async fn public(&self, name: &str) -> PublicKey {
        PublicKey(self.caller.public_key(name, PublicKeyFormat::Der).await.unwrap().data)
    }

    /// The keys of the ring `dev` that the service knows, by name, with how many objects each has in the token.
    ///
    /// # Panics
    /// Where they cannot be listed.
    pub async fn keys(&self) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListKeysRequest { parent: "keyRings/dev".to_owned(), page_size: 250, page_token };
            let page = self.operator.keys().list_keys(request).await.unwrap().into_inner();
            let objects = |key: &v1::Key| {
                if key.primary_version.is_empty() {
                    // Reserved, and not settled yet.
                    usize::MAX
                } else if key.algorithm() == v1::Algorithm::HmacSha256 {
                    1
                } else {
                    2
                }
            };
            keys.extend(page.keys.iter().map(|key| (key.name.clone(), objects(key))));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return keys;
            }
        }
    }

    /// How many key objects the faulty token's files hold, where the module keeps a file for each (SoftHSM): whoever made
    /// them, and whatever the service thinks.
    #[must_use]
    pub fn objects_in_token(&self) -> Option<usize> {
        // The token's own object, and the sentinel.
        softhsm_objects(&self.chancery.token_dir().join("tokens")).map(|objects| objects.len() - 2)
    }
}

fn softhsm_objects(tokens: &Path) -> Option<Vec<PathBuf>> {
    let mut objects = Vec::new();
    for token in std::fs::read_dir(tokens).ok()? {
        let Ok(files) = std::fs::read_dir(token.ok()?.path()) else { continue };
        let files = files.map(|file| file.unwrap().path());
        objects.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "object")));
    }
    (!objects.is_empty()).then_some(objects)
}

fn second_token(of: &Chancery) -> Table {
    let config: Table = std::fs::read_to_string(of.config()).unwrap().parse().unwrap();
    let mut token = config["token"][0].as_table().unwrap().clone();
    token.insert("id".to_owned(), Value::String("second".to_owned()));
    let pin = of.dir().join(token["pin_file"].as_str().unwrap());
    token.insert("pin_file".to_owned(), Value::String(pin.to_str().unwrap().to_owned()));
    token
}

/// Lets one login be tried on a token that refused its PIN. Once: nothing is repeated by itself.
///
/// # Errors
/// Those of ClearPinLatch.
pub async fn clear_pin_latch(operator: &Client, token: &str) -> Result<v1::Token, ClientError> {
    let request =
        v1::ClearPinLatchRequest { name: format!("tokens/{token}"), reason: "the PIN was put right".to_owned() };
    let answer = operator.tokens().clear_pin_latch(request).await.map_err(|status| operator.error(status))?;
    Ok(answer.into_inner())
}

async fn one_call(client: &Client, key: &str, message: &str) -> Call {
    let began = Instant::now();
    let end = sign(client, key, message).await;
    Call { began, ended: Instant::now(), message: message.to_owned(), end }
}

/// Somebody who signs with a token that does not fail.
#[derive(Debug)]
pub struct Bystander {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Call>>,
}

impl Bystander {
    /// Stops, and checks that nothing of what happened to the other token reached this one. Answers the calls.
    ///
    /// # Panics
    /// Where something did.
    pub async fn assert_unaffected(self) -> Vec<Call> {
        self.stop.store(true, Ordering::SeqCst);
        let calls = self.task.await.unwrap();
        assert!(!calls.is_empty());
        for call in &calls {
            assert!(call.end.is_ok(), "the other token's caller felt it: {call:?}");
        }
        calls
    }
}

/// What the signatures of a P-256 key verify with.
#[derive(Debug)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Each signature that was handed out is one of its message.
    ///
    /// # Panics
    /// Where one is not.
    #[track_caller]
    pub fn assert_verifies(&self, calls: &[Call]) {
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0);
        for (call, signed) in calls.iter().filter_map(|call| Some((call, call.end.as_ref().ok()?))) {
            let verified = public.verify(call.message.as_bytes(), &signed.signature);
            assert!(verified.is_ok(), "a wrong signature was released: {call:?}");
        }
    }
}
