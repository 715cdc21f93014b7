//! A service whose disk fails as told under its database: what it does then, and what is there after a restart.
//!
//! In scope: the real binary with the library of `chancery-disk-fault` before its C library; the fault, and the proof that
//! it happened and that nothing touched the files afterwards; what a closed record looks like from outside; the rows of
//! `docs/reliability.md`. Out of scope: which faults.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail like tests"
)]

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chancery_client::{Client, ClientError};
use chancery_disk_fault::{Call, FaultRules, File, Logged, Rule, Then};
use chancery_testkit::{Chancery, Setup};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::load::{self, Record, admin_page, sign, token, until};

/// The id of the rule by which the disk fails.
pub const FAULT: &str = "fault";
/// The id of the rule that notes what is done to the files after it.
const AFTER: &str = "after";
/// The file name of the database that `chancery dev` makes.
const DATABASE: &str = "chancery.db";

/// A service on a disk that fails as told.
#[derive(Debug)]
pub struct FailingDisk {
    /// The service.
    pub chancery: Chancery,
    /// Administers keys and policy, reads the record.
    pub operator: Client,
    /// Signs.
    pub caller: Client,
    /// What the disk does. [`FailingDisk::fail`] sets it.
    pub faults: FaultRules,
    _folder: TempDir,
}

impl FailingDisk {
    /// Starts it on a whole disk.
    ///
    /// # Panics
    /// Where it does not come up.
    pub async fn start() -> Self {
        Self::start_with(Chancery::setup()).await
    }

    /// The same with more in the set-up.
    ///
    /// # Panics
    /// Where it does not come up.
    pub async fn start_with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = FaultRules::new(folder.path()).unwrap();
        let environment = faults.environment(DATABASE).unwrap();
        let setup = environment.iter().fold(setup, |setup, (name, value)| setup.environment(name, value));
        // What is noted of the files is what is done to the database.
        let elsewhere = |config: &mut toml::Table| {
            config["store"].as_table_mut().unwrap().insert("anchor".to_owned(), "tls/chancery.anchor".into());
        };
        let chancery = setup.configure(elsewhere).start().await.unwrap();
        let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
        Self { chancery, operator, caller, faults, _folder: folder }
    }

    /// Has the disk fail by this rule from now on; what is done to the files after its first fault is noted.
    ///
    /// # Panics
    /// Where the rule means nothing.
    pub fn fail(&self, rule: Rule) {
        let changing = [Call::Write, Call::Fsync, Call::Ftruncate, Call::Fallocate, Call::Unlink];
        let files = [File::Database, File::Wal, File::Journal, File::Folder];
        let watch = Rule::new(AFTER, &changing, &files, Then::Note).when(|when| when.since = Some(FAULT.to_owned()));
        // Before the fault: the first rule that lets a call fail decides, and this one decides nothing.
        self.faults.set(&[watch, Rule { id: FAULT.to_owned(), ..rule }]).unwrap();
    }

    /// How often the disk has failed.
    ///
    /// # Panics
    /// Where the library complained.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.faults.by(FAULT).unwrap().len()
    }

    /// What was done to the files since the disk failed.
    ///
    /// # Panics
    /// Where the library complained.
    #[must_use]
    pub fn touched(&self) -> Vec<Logged> {
        self.faults.by(AFTER).unwrap()
    }

    /// The write-ahead log.
    #[must_use]
    pub fn wal(&self) -> PathBuf {
        self.chancery.dir().join(format!("{DATABASE}-wal"))
    }

    /// The record is closed: everything that needs it is refused, the reason is told to those who operate the service and
    /// not to callers, and what does not need it works.
    ///
    /// # Panics
    /// Where it is not so.
    pub async fn assert_closed(&mut self, key: &str, cause: &str) {
        until("health turns", async || (serving(&self.operator, "").await == ServingStatus::NotServing).then_some(()))
            .await;
        assert_eq!(serving(&self.operator, "chancery.v1.SigningService").await, ServingStatus::NotServing);
        let refused = sign(&self.caller, key, "after the fault").await.unwrap_err();
        assert_unavailable(&refused);
        assert!(!format!("{refused:?} {refused}").contains(cause), "a caller is told of the disk: {refused:?}");
        let (status, text) = admin_page(self.chancery.admin_endpoint().unwrap(), "/readyz");
        assert_eq!(status, 503);
        assert!(text.contains("record: closed"), "{text}");
        assert_eq!(admin_page(self.chancery.admin_endpoint().unwrap(), "/livez").0, 200);
        assert_eq!(token(&self.operator).await.name, "tokens/main");
        assert!(self.chancery.ended().unwrap().is_none(), "the service lives and says what is wrong");
        let log = self.chancery.log();
        let closed = log.lines().rfind(|line| line.contains("the record is closed")).expect("the log says so");
        assert!(closed.contains(cause), "the log says why: {closed}");
    }

    /// Stops the service, whose record is closed, and shows that since the fault nobody touched the files: no write, and
    /// above all no second sync, which might succeed and mean nothing.
    ///
    /// # Panics
    /// Where somebody did.
    pub async fn stop(&mut self) {
        let pid = self.chancery.pid();
        assert!(self.faults.by(FAULT).unwrap().iter().any(|fault| fault.pid == pid));
        assert!(self.chancery.terminate().await.unwrap().success());
        assert_eq!(self.touched(), [], "nothing is written and nothing synced after the fault");
        self.faults.clear().unwrap();
    }

    /// Starts it again, on a disk that is whole; answers after how long it serves.
    ///
    /// # Panics
    /// Where it does not come up.
    pub async fn restart(&mut self) -> Duration {
        let begun = Instant::now();
        self.chancery.restart().await.unwrap();
        let took = begun.elapsed();
        (self.operator, self.caller) = (self.chancery.operator().await.unwrap(), self.chancery.caller().await.unwrap());
        took
    }

    /// The record is whole: read to its end without a gap, with an end for each intent and each act that had one to come; it
    /// is written and signatures are made.
    ///
    /// # Panics
    /// Where it is not so.
    pub async fn assert_whole(&self, key: &str) -> Record {
        sign(&self.caller, key, "after the restart").await.unwrap();
        assert_eq!(serving(&self.operator, "").await, ServingStatus::Serving);
        assert_eq!(admin_page(self.chancery.admin_endpoint().unwrap(), "/readyz").0, 200);
        Record::read_settled(&self.operator).await
    }
}

/// What a call is answered that needs the record, when the record is closed.
///
/// # Panics
/// Where it is not that.
#[track_caller]
pub fn assert_unavailable(error: &ClientError) {
    assert_eq!((error.code(), error.reason()), (Some(Code::Unavailable), Some("RECORD_UNAVAILABLE")), "{error:?}");
}

async fn serving(client: &Client, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    client.health().check(request).await.unwrap().into_inner().status()
}

/// One fault and what came of it, for `docs/reliability.md`.
#[derive(Debug)]
pub struct Row<'a> {
    /// The test that saw it.
    pub test: &'static str,
    /// The rule by which the disk failed.
    pub rule: &'a Rule,
    /// The calls of the load.
    pub calls: &'a [load::Call],
    /// How often the disk was synced after the fault and before the restart.
    pub fsyncs_after: usize,
    /// From the start until calls were taken.
    pub restart: Duration,
}

impl Row<'_> {
    /// Writes it, and those before it, to `disk.json` in the folder that `CHANCERY_RELIABILITY_DIR` names, where it does.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn report(&self) {
        static ROWS: Mutex<Vec<Value>> = Mutex::new(Vec::new());
        let Some(folder) = std::env::var_os("CHANCERY_RELIABILITY_DIR") else { return };
        let Self { test, rule, calls, fsyncs_after, restart } = self;
        let signed = calls.iter().filter(|call| call.end.is_ok()).count();
        let what = match &rule.then {
            Then::Error(name) => name.clone(),
            Then::Short(bytes) => format!("short: {bytes} bytes"),
            Then::Note => "nothing".to_owned(),
        };
        let row = json!({
            "test": format!("disk_faults::{test}"),
            "call": rule.call.iter().map(|call| call.name()).collect::<Vec<_>>().join(", "),
            "errno": what,
            "where": rule.file.iter().map(|file| file.name()).collect::<Vec<_>>().join(", "),
            "often": if rule.when.first == Some(1) || rule.when.nth.is_some() { "once" } else { "from now on" },
            "refused": calls.len() - signed,
            "fsyncs_after": fsyncs_after,
            "signatures_compared": signed,
            "restart_ms": u64::try_from(restart.as_millis()).unwrap_or(u64::MAX),
        });
        let mut rows = ROWS.lock().unwrap();
        rows.push(row);
        let text = serde_json::to_string_pretty(&json!({ "rows": *rows })).unwrap();
        std::fs::write(PathBuf::from(folder).join("disk.json"), text).unwrap();
    }
}
