//! A service with tokens that fail as told, beside one that does not: what is asked of it, what it answers, what it leaves.
//!
//! In scope: the faulty module before each token but one, with rules of its own; a token that is whole, with a caller who
//! signs with it all the time; calls of which every answer is verified. Out of scope: which faults, and what is expected of
//! each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail like tests"
)]

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use chancery_api::v1;
use chancery_client::{Client, ClientError, PublicKeyFormat};
use chancery_pkcs11_fault::{FaultRules, Rule, Then, library};
use chancery_testkit::{Chancery, Setup};
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use toml::{Table, Value};

use crate::load::{Call, PATIENCE, sign, until};

/// The ring on the token that does not fail.
pub const WHOLE_RING: &str = "whole";
/// Its token.
const WHOLE_TOKEN: &str = "second";
/// Between two signatures of the caller whose token does not fail.
const BYSTANDER_PAUSE: Duration = Duration::from_millis(25);
/// The rule by which each login is counted.
const LOGINS: &str = "logins";
/// At most once in so long a worker is replaced because it asks to be.
pub const BREAKER: Duration = Duration::from_secs(30);
/// Calls of a burst that are under way at the same time.
const AT_ONCE: usize = 8;

/// Puts the faulty module before the one of the development token.
#[must_use]
pub fn before_the_token(setup: Setup, faults: &FaultRules) -> Setup {
    let faults = faults.clone();
    setup.configure(move |config| {
        put_before(config["token"][0].as_table_mut().unwrap(), &faults);
        without_checkpoints(config);
    })
}

/// Has the service sign its log once a day: what it asks of the token and writes by itself would meet the faults that are for
/// callers, and be counted with their calls.
///
/// # Panics
/// Where `[log]` is no table.
pub fn without_checkpoints(config: &mut Table) {
    let log = config.entry("log").or_insert_with(|| Value::Table(Table::new()));
    log.as_table_mut().unwrap().insert("checkpoint_interval_seconds".to_owned(), Value::Integer(86_400));
}

fn put_before(token: &mut Table, faults: &FaultRules) {
    let module = Value::String(library().unwrap().to_str().unwrap().to_owned());
    let behind = token.insert("module".to_owned(), module).unwrap();
    let environment = faults.environment(Path::new(behind.as_str().unwrap()));
    let there = token.entry("environment").or_insert_with(|| Value::Table(Table::new()));
    there.as_table_mut().unwrap().extend(environment.into_iter().map(|(name, value)| (name, Value::String(value))));
}

/// A token that fails as told, and what is asked of it. A clone is the same token.
#[derive(Debug, Clone)]
pub struct FaultyToken {
    /// Its id: `main`.
    pub id: String,
    /// The ring on it: `dev`.
    pub ring: String,
    /// What it does wrong. To be set through [`FaultyToken::rules`].
    pub faults: FaultRules,
    /// Administers keys, reads the record.
    pub operator: Client,
    /// Signs.
    pub caller: Client,
    directory: PathBuf,
    /// SoftHSM's own file of it, as it was when the service came up.
    token_file: Option<Arc<(PathBuf, Vec<u8>)>>,
    next: Arc<AtomicU64>,
}

/// A service with tokens that fail and one that does not. It stands for the first of those that fail.
#[derive(Debug)]
pub struct Faulty {
    /// The service.
    pub chancery: Chancery,
    tokens: Vec<FaultyToken>,
    _rules: TempDir,
}

impl Deref for Faulty {
    type Target = FaultyToken;

    fn deref(&self) -> &FaultyToken {
        &self.tokens[0]
    }
}

impl Faulty {
    /// Starts it with one token that fails; without a fault.
    ///
    /// # Panics
    /// Where it does not come up.
    pub async fn start() -> Self {
        Self::with_tokens(1).await
    }

    /// Starts it with one token that fails so from its first start on.
    ///
    /// # Panics
    /// Where it does not come up.
    pub async fn under(rules: &[Rule]) -> Self {
        Self::with_tokens_under(1, rules).await
    }

    /// Starts it with several tokens that fail, each by itself; without a fault.
    ///
    /// # Panics
    /// Where it does not come up.
    pub async fn with_tokens(count: usize) -> Self {
        Self::with_tokens_under(count, &[]).await
    }

    async fn with_tokens_under(count: usize, from_the_start: &[Rule]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<(String, String)> = std::iter::once(("main".to_owned(), "dev".to_owned()))
            .chain((2..=count).map(|number| (format!("faulty-{number}"), format!("ring-{number}"))))
            .collect();
        let faults: Vec<FaultRules> = names
            .iter()
            .map(|(id, _)| {
                let place = folder.path().join(id);
                std::fs::create_dir(&place).unwrap();
                let faults = FaultRules::new(&place).unwrap();
                faults.set(&counting_logins(from_the_start)).unwrap();
                faults
            })
            .collect();
        let mut setup = Chancery::setup();
        for (id, _) in &names[1..] {
            setup = setup.token(id);
        }
        let (rings, rules) = (names.clone(), faults.clone());
        let setup = setup.token(WHOLE_TOKEN).configure(move |config| {
            for (token, faults) in config["token"].as_array_mut().unwrap().iter_mut().zip(&rules) {
                put_before(token.as_table_mut().unwrap(), faults);
            }
            for (id, ring) in &rings[1..] {
                add_ring(config, ring, id);
            }
            add_ring(config, WHOLE_RING, WHOLE_TOKEN);
            // Where the service's own secrets are, so that what is done to the others is done for callers alone.
            config["system_ring"]["token"] = Value::String(WHOLE_TOKEN.to_owned());
        });
        let chancery = setup.start().await.unwrap();
        let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
        let next = Arc::new(AtomicU64::new(0));
        let tokens = names.into_iter().zip(faults).map(|((id, ring), faults)| {
            let directory = if id == "main" { chancery.token_dir() } else { chancery.further_token_dir(&id) };
            let (operator, caller, next) = (operator.clone(), caller.clone(), Arc::clone(&next));
            let token_file = softhsm_token_file(&directory).map(Arc::new);
            FaultyToken { id, ring, faults, operator, caller, directory, token_file, next }
        });
        let tokens = tokens.collect();
        Self { chancery, tokens, _rules: folder }
    }

    /// The tokens that fail.
    #[must_use]
    pub fn tokens(&self) -> &[FaultyToken] {
        &self.tokens
    }

    /// Shares cases out to the tokens that fail: each takes the next one when it has come to the end of one. Answers what
    /// came of them, in no order.
    ///
    /// # Panics
    /// Where a case did.
    pub async fn share<C, R, F>(
        &self,
        cases: Vec<C>,
        run: impl Fn(FaultyToken, C) -> F + Clone + Send + 'static,
    ) -> Vec<R>
    where
        C: Send + 'static,
        R: Send + 'static,
        F: Future<Output = R> + Send,
    {
        let cases = Arc::new(Mutex::new(VecDeque::from(cases)));
        let mut running = JoinSet::new();
        for token in self.tokens.clone() {
            let (cases, run) = (Arc::clone(&cases), run.clone());
            running.spawn(async move {
                let mut ends = Vec::new();
                loop {
                    let case = cases.lock().unwrap().pop_front();
                    let Some(case) = case else { return ends };
                    ends.push(run(token.clone(), case).await);
                }
            });
        }
        let mut ends = Vec::new();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(of_one) => ends.extend(of_one),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        ends
    }

    /// Stops the service and starts it again.
    ///
    /// # Errors
    /// Those of [`Chancery::restart`].
    ///
    /// # Panics
    /// Where it serves and nobody can connect.
    pub async fn restart(&mut self) -> Result<(), chancery_testkit::Error> {
        self.chancery.restart().await?;
        let (operator, caller) = (self.chancery.operator().await.unwrap(), self.chancery.caller().await.unwrap());
        for token in &mut self.tokens {
            (token.operator, token.caller) = (operator.clone(), caller.clone());
        }
        Ok(())
    }

    /// Starts to sign with a key on the token that does not fail, until it is stopped.
    ///
    /// # Panics
    /// Where the key cannot be made.
    pub async fn bystander(&self) -> Bystander {
        let id = format!("bystander-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let key = new_key(&self.operator, WHOLE_RING, &id, v1::Algorithm::EcdsaP256Sha256).await.unwrap().name;
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
}

impl FaultyToken {
    /// Has these faults happen, and no others; logins are counted all the while.
    ///
    /// # Panics
    /// Where a rule means nothing.
    pub fn rules(&self, rules: &[Rule]) {
        self.faults.set(&counting_logins(rules)).unwrap();
    }

    /// How often the token was given the PIN since [`FaultRules::clear_log`].
    ///
    /// # Panics
    /// Where the module complained.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.faults.count(LOGINS).unwrap()
    }

    /// How the service sees it.
    ///
    /// # Panics
    /// Where that cannot be read.
    pub async fn status(&self) -> v1::Token {
        let request = v1::GetTokenRequest { name: format!("tokens/{}", self.id) };
        self.operator.tokens().get_token(request).await.unwrap().into_inner()
    }

    /// A number that nobody else gets.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Signs something new.
    pub async fn sign(&self, key: &str) -> Call {
        one_call(&self.caller, key, &format!("message {}", self.number())).await
    }

    /// Has a MAC made.
    ///
    /// # Errors
    /// Those of MacSign.
    pub async fn mac(&self, key: &str, message: &[u8]) -> Result<Vec<u8>, ClientError> {
        let message = message.to_vec().into();
        let request = v1::MacSignRequest { name: key.to_owned(), message, message_crc32c: None };
        loop {
            let made = self.caller.signing().mac_sign(request.clone()).await;
            let made = made.map_err(|status| self.caller.error(status));
            if !was_undecided(&made) {
                return Ok(made?.into_inner().mac.to_vec());
            }
        }
    }

    /// Asks for random bytes.
    ///
    /// # Errors
    /// Those of GenerateRandomBytes.
    pub async fn random(&self, length: i32) -> Result<Vec<u8>, ClientError> {
        let request = v1::GenerateRandomBytesRequest { name: format!("keyRings/{}", self.ring), length };
        let drawn = self.caller.signing().generate_random_bytes(request).await;
        Ok(drawn.map_err(|status| self.caller.error(status))?.into_inner().data.to_vec())
    }

    /// Signs `count` messages with `key`, eight at a time.
    ///
    /// # Panics
    /// Where a task did.
    pub async fn burst(&self, key: &str, count: usize) -> Vec<Call> {
        let mut calls = Vec::with_capacity(count);
        let mut running = JoinSet::new();
        for number in 0..count {
            if number >= AT_ONCE {
                calls.extend(running.join_next().await.map(Result::unwrap));
            }
            let (client, key) = (self.caller.clone(), key.to_owned());
            let message = format!("message {}", self.number());
            running.spawn(async move { one_call(&client, &key, &message).await });
        }
        calls.extend(running.join_all().await);
        calls
    }

    /// Has the worker log in again, and be refused its PIN; waits until the token is latched.
    ///
    /// # Panics
    /// Where it does not come to that.
    pub async fn latch(&self, key: &str) -> v1::Token {
        self.rules(&[
            Rule::new("lost", Then::CloseSessions).on("C_SignInit").times(1),
            Rule::returning("refused", "C_Login", "CKR_PIN_INCORRECT"),
        ]);
        assert!(self.burst(key, 4).await.iter().any(|call| call.end.is_err()));
        self.until_health(v1::TokenHealth::Latched).await
    }

    /// Waits until it is so. A token file that SoftHSM has destroyed meanwhile is put back.
    ///
    /// # Panics
    /// Where it does not come to that.
    pub async fn until_health(&self, health: v1::TokenHealth) -> v1::Token {
        let began = Instant::now();
        until(&format!("the token is {health:?}"), async || {
            let token = self.status().await;
            let is = token.health() == health;
            let _put_back = !is && began.elapsed() > Duration::from_secs(1) && self.put_back_token_file();
            is.then_some(token)
        })
        .await
    }

    /// Ends all faults, and signs until it works again. Answers after how long that was, with the calls.
    ///
    /// # Panics
    /// Where it does not within a minute.
    pub async fn recover(&self, key: &str) -> (Duration, Vec<Call>) {
        self.recover_under(key, &[]).await
    }

    /// The same, under rules that are no reason not to work.
    ///
    /// # Panics
    /// Where it does not within a minute.
    pub async fn recover_under(&self, key: &str, rules: &[Rule]) -> (Duration, Vec<Call>) {
        self.rules(rules);
        let mut ended = Instant::now();
        let mut calls = Vec::new();
        loop {
            let call = self.sign(key).await;
            let works = call.end.is_ok();
            calls.push(call);
            if works {
                return (ended.elapsed(), calls);
            }
            if ended.elapsed() > Duration::from_secs(1) && self.put_back_token_file() {
                ended = Instant::now();
            }
            if ended.elapsed() > BREAKER + PATIENCE {
                let (last, token) = (calls.last(), self.status().await);
                panic!("does not recover: the last of {} calls: {last:?}; {token:?}", calls.len());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks for a key on it.
    ///
    /// # Errors
    /// Those of CreateKey.
    pub async fn try_create_key(&self, id: &str, algorithm: v1::Algorithm) -> Result<v1::Key, ClientError> {
        new_key(&self.operator, &self.ring, id, algorithm).await
    }

    /// Creates a P-256 key on it, while it does not fail. Answers its name and what it verifies with.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub async fn key(&self, id: &str) -> (String, PublicKey) {
        let name = self.try_create_key(id, v1::Algorithm::EcdsaP256Sha256).await.unwrap().name;
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

    /// The keys of its ring that the service knows, by name, with how many objects each has in the token.
    ///
    /// # Panics
    /// Where they cannot be listed.
    pub async fn keys(&self) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let parent = format!("keyRings/{}", self.ring);
            let request = v1::ListKeysRequest { parent, page_size: 250, page_token };
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

    /// The same, when none is reserved and unsettled any more.
    ///
    /// # Panics
    /// Where one stays so for [`PATIENCE`].
    pub async fn settled_keys(&self) -> BTreeMap<String, usize> {
        let end = Instant::now() + PATIENCE;
        loop {
            let keys = self.keys().await;
            if keys.values().all(|objects| *objects != usize::MAX) {
                return keys;
            }
            assert!(Instant::now() < end, "not settled after {PATIENCE:?}: {keys:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SoftHSM writes its token's own file anew at a login, and not in one step. Where its process dies there, the file is cut and
    /// the token gone for good. No service mends that: whoever operates the token puts the file back, as this does. Whether it
    /// had to.
    #[allow(clippy::print_stderr, reason = "whoever reads what a test printed should know of it")]
    pub fn put_back_token_file(&self) -> bool {
        let Some((path, whole)) = self.token_file.as_deref() else { return false };
        let cut = std::fs::read(path).is_ok_and(|now| now.len() < whole.len());
        if cut {
            eprintln!("SoftHSM has destroyed the token {}; its file is put back", self.id);
            std::fs::write(path, whole).unwrap();
        }
        cut
    }

    /// Cuts that file, as such a crash does; `None` where the module keeps none.
    #[must_use]
    pub fn cut_token_file(&self) -> Option<()> {
        let (path, _) = self.token_file.as_deref()?;
        std::fs::write(path, []).unwrap();
        Some(())
    }

    /// How many key objects the token's files hold, where the module keeps a file for each (SoftHSM): whoever made them, and
    /// whatever the service thinks.
    #[must_use]
    pub fn objects_in_token(&self) -> Option<usize> {
        // The token's own object, and the sentinel.
        softhsm_objects(&self.directory.join("tokens")).map(|objects| objects.len() - 2)
    }
}

fn counting_logins(rules: &[Rule]) -> Vec<Rule> {
    let watch = Rule::new(LOGINS, Then::DelayMs(0)).on("C_Login");
    [&[watch], rules].concat()
}

async fn new_key(operator: &Client, ring: &str, id: &str, algorithm: v1::Algorithm) -> Result<v1::Key, ClientError> {
    let request = v1::CreateKeyRequest {
        parent: format!("keyRings/{ring}"),
        key_id: id.to_owned(),
        key: Some(v1::Key { algorithm: algorithm.into(), ..v1::Key::default() }),
        request_id: String::new(),
    };
    loop {
        let made = operator.keys().create_key(request.clone()).await.map_err(|status| operator.error(status));
        if !was_undecided(&made) {
            return Ok(made?.into_inner());
        }
    }
}

/// Whether nothing was done, not even recorded, because keys kept changing on the other tokens of the service: no token has
/// to do with that, and the call is made anew.
fn was_undecided<T>(end: &Result<T, ClientError>) -> bool {
    end.as_ref().is_err_and(|failure| failure.reason() == Some("STATE_CHANGING"))
}

/// A token of its own, and on it a ring of the same id, which is open to the development callers.
#[must_use]
pub fn with_a_ring_on_a_token(setup: Setup, id: &'static str) -> Setup {
    setup.token(id).configure(move |config| add_ring(config, id, id))
}

/// A ring on a token, open to the development callers.
fn add_ring(config: &mut Table, id: &str, token: &str) {
    let ring = [("id", id), ("token", token), ("environment", "dev")];
    let ring = ring.map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())));
    config["key_ring"].as_array_mut().unwrap().push(Value::Table(ring.into_iter().collect()));
    for caller in config["caller"].as_array_mut().unwrap() {
        caller["key_rings"].as_array_mut().unwrap().push(Value::String(id.to_owned()));
    }
}

fn softhsm_token_file(directory: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let mut objects = softhsm_objects(&directory.join("tokens"))?.into_iter();
    let path = objects.find(|path| path.ends_with("token.object"))?;
    let whole = std::fs::read(&path).unwrap();
    Some((path, whole))
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
    loop {
        let began = Instant::now();
        let end = sign(client, key, message).await;
        if !was_undecided(&end) {
            return Call { began, ended: Instant::now(), message: message.to_owned(), end };
        }
    }
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
#[derive(Debug, Clone)]
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
