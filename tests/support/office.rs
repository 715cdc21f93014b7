//! The core of a real service in this process, on a real token and a real database of its own, with a clock that a test sets.
//!
//! The folder is one that `chancery dev` made, and the worker is the real binary's; only transport is left out, since no test
//! may wait for months.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions run inside tests, which stop at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chancery_audit::{Log, LogSettings};
use chancery_core::{
    ApiKeySettings, Assembly, CallerChange, CallerDeclaration, Chancery as Core, CheckpointSettings, Clock, Error,
    Held, Input, KeyOrVersion, LimitChanges, Limits, Observer, Requester, Ring, RuleChanges, SignAnswer, SignRequest,
    VersionEntry,
};
use chancery_hsm::{Pin, Token, TokenSettings, WorkerCommand};
use chancery_model::{
    Algorithm, Authentication, CertificateProof, EcdsaEncoding, Id, Identity, KeyName, KeyState, RingName, Role,
    Timestamp,
};
use chancery_policy::PolicySet;
use chancery_testkit::Chancery;
use tokio::time::Instant;

use crate::hand;

/// Days, in the clock's terms.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// The core, and what it stands on.
pub struct Office {
    /// The use cases.
    pub core: Core,
    /// The token of the ring `dev`.
    pub token: Token,
    now: Arc<AtomicI64>,
    chancery: Chancery,
}

impl Office {
    /// Comes up on a new folder. The clock shows 2030-01-01.
    pub async fn open() -> Self {
        let mut chancery = Chancery::start().await.unwrap();
        chancery.terminate().await.unwrap();
        // 2030-01-01T00:00:00Z
        Self::on(chancery, Arc::new(AtomicI64::new(1_893_456_000_000_000))).await
    }

    async fn on(chancery: Chancery, now: Arc<AtomicI64>) -> Self {
        let token = Token::start(token_settings(&chancery), worker(&chancery)).await.unwrap();
        let (writer, reader) = hand::store(&chancery.dir().join("office.db")).unwrap();
        let instance = id("office");
        let log = Log::start(writer, LogSettings::new(instance.clone())).unwrap();
        let main = id("main");
        let shown = Arc::clone(&now);
        let assembly = Assembly {
            instance,
            rings: vec![Ring {
                name: RingName { ring: id("dev") },
                environment: id("dev"),
                token: main.clone(),
                allow_extractable: false,
            }],
            tokens: BTreeMap::from([(main, token.clone())]),
            callers: [
                ("keeper", Role::KeyAdministrator),
                ("signer", Role::Signer),
                ("boss", Role::PolicyAdministrator),
                ("registrar", Role::CallerAdministrator),
            ]
            .map(|(name, role)| declaration(name, role))
            .into(),
            system_ring: None,
            anchor: None,
            checkpoints: CheckpointSettings {
                origin: chancery_audit::note::KeyName::parse("office").unwrap(),
                interval: Duration::from_secs(1),
                witnesses: Vec::new(),
                required: 0,
            },
            // Beside the schedule: the test itself says when it is looked at what is old enough.
            retention: chancery_core::Retention::default(),
            archive: None,
            api_keys: ApiKeySettings::default(),
            first_policy_set: PolicySet::shipped().documents().to_vec(),
            log,
            reader,
            // The test itself says when it is looked at what is due.
            limits: Limits { schedule_interval: Duration::from_secs(1 << 30), ..Limits::default() },
            observer: Observer::new(|_| {}),
            clock: Clock::new(move || Timestamp::from_unix_micros(shown.load(Ordering::SeqCst))),
            audience: None,
        };
        let core = Core::start(assembly).await.unwrap();
        Self { core, token, now, chancery }
    }

    /// Goes down, and comes up again at the same time.
    pub async fn reopen(self) -> Self {
        self.core.shutdown().await;
        let Self { core, token, now, chancery } = self;
        drop((core, token));
        Self::on(chancery, now).await
    }

    /// What the clock shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.now.load(Ordering::SeqCst))
    }

    /// Sets the clock, forward or back.
    pub fn set_clock(&self, now: Timestamp) {
        self.now.store(now.unix_micros(), Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn pass(&self, duration: Duration) {
        self.set_clock(self.now().after(duration));
    }

    /// Lets a number of days pass, looking every hour of them at what is due: as a service that is up does.
    pub async fn live(&self, days: u32) {
        for _ in 0..days * 24 {
            self.pass(Duration::from_secs(3600));
            self.look().await;
        }
    }

    /// Looks at what is due; all of it must go well. Says what was done, in words.
    pub async fn look(&self) -> Vec<String> {
        let report = self.core.act_on_schedule().await;
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        report.done.into_iter().map(|(key, due)| format!("{} {}", due.as_str(), key.key)).collect()
    }

    /// Somebody of this id.
    #[must_use]
    pub fn requester(&self, name: &str) -> Requester {
        let identity = identity(name);
        let proof = CertificateProof { identity, fingerprint: [0; 32], serial: "1".to_owned() };
        Requester {
            caller: self.core.caller(&id(name)).unwrap(),
            authentication: Authentication::Certificate(proof),
            certificate: None,
            source: None,
            trace_id: None,
            deadline: Instant::now() + Duration::from_secs(60),
            held: Held::default(),
        }
    }

    /// Makes a key with these rules.
    pub async fn create(&self, key: &str, rules: RuleChanges) -> KeyName {
        let name: KeyName = format!("keyRings/dev/keys/{key}").parse().unwrap();
        let request = chancery_core::CreateKey {
            name: name.clone(),
            algorithm: Algorithm::EcdsaP256Sha256,
            allow_digest: false,
            labels: BTreeMap::new(),
            max_jwt_lifetime: None,
            rules,
            request_id: None,
        };
        self.core.create_key(&self.requester("keeper"), request).await.unwrap();
        name
    }

    /// Changes a caller's limits.
    pub async fn limit_caller(&self, name: &str, limits: LimitChanges) {
        let change = CallerChange {
            id: id(name),
            etag: None,
            identities: None,
            groups: None,
            roles: None,
            rings: None,
            attributes: None,
            required_factors: None,
            limits,
        };
        self.core.update_caller(&self.requester("registrar"), change).await.unwrap();
    }

    /// All versions, the first one first.
    pub async fn versions(&self, key: &KeyName) -> Vec<Arc<VersionEntry>> {
        let page = self.core.list_key_versions(&self.requester("keeper"), key.clone(), None, 1000).await.unwrap();
        page.items.into_iter().rev().collect()
    }

    /// Their states.
    pub async fn states(&self, key: &KeyName) -> Vec<KeyState> {
        self.versions(key).await.iter().map(|version| version.state).collect()
    }

    /// Signs with the key.
    pub async fn sign(&self, key: &KeyName) -> Result<SignAnswer, Error> {
        let name = KeyOrVersion::Key(key.clone());
        let input = Input::Message(Bytes::from_static(b"m"));
        let encoding = EcdsaEncoding::Der;
        let request = SignRequest { name, input, encoding, caller_signature: None, receipt: false };
        self.core.sign(&self.requester("signer"), request).await
    }

    /// How many objects the token has under a version's CKA_ID.
    pub async fn objects_of(&self, version: &VersionEntry) -> usize {
        let objects = self.token.list(Instant::now() + Duration::from_secs(60)).await.unwrap();
        objects.iter().filter(|object| object.id == version.object_id().as_bytes()).count()
    }
}

fn id(text: &str) -> Id {
    Id::parse("the id", text).unwrap()
}

fn identity(name: &str) -> Identity {
    Identity::spiffe_id(&format!("spiffe://chancery.dev/{name}")).unwrap()
}

fn declaration(name: &str, role: Role) -> CallerDeclaration {
    CallerDeclaration {
        id: id(name),
        environment: id("dev"),
        identities: BTreeSet::from([identity(name)]),
        groups: BTreeSet::new(),
        roles: BTreeSet::from([role]),
        rings: BTreeSet::from([id("dev")]),
        attributes: BTreeMap::new(),
        required_factors: BTreeSet::new(),
    }
}

/// How workers of the binary under test are started.
#[must_use]
pub fn worker(chancery: &Chancery) -> WorkerCommand {
    let program = PathBuf::from(chancery.cli().get_program());
    WorkerCommand { program, arguments: vec!["hsm-worker".to_owned()] }
}

/// The token of the folder's configuration.
///
/// # Panics
/// Where the configuration is not as `chancery dev` makes it.
#[must_use]
pub fn token_settings(chancery: &Chancery) -> TokenSettings {
    let config: toml::Table = std::fs::read_to_string(chancery.config()).unwrap().parse().unwrap();
    let base = chancery.dir();
    let path = |value: &toml::Value| base.join(Path::new(value.as_str().unwrap()));
    let token = config["token"][0].as_table().unwrap();
    let environment = token.get("environment").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    TokenSettings {
        id: id("main"),
        module: path(&token["module"]),
        label: token["label"].as_str().unwrap().to_owned(),
        serial: token.get("serial").and_then(toml::Value::as_str).map(str::to_owned),
        pin: Pin::read_file(&path(&token["pin_file"])).unwrap(),
        module_environment: environment
            .into_iter()
            .map(|(name, value)| (name, value.as_str().unwrap().into()))
            .collect(),
        lock_dir: path(&config["hsm"]["lock_dir"]),
        pin_file: None,
        keepalive: Duration::from_secs(30),
        max_worker_memory_bytes: 1 << 30,
        signing_threads: 2,
        queue_limit: 1024,
    }
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Office in {}", self.chancery.dir().display())
    }
}
