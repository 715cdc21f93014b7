//! What tests of faults found, in files that `docs/reliability.md` is made of (`make reliability`).
//!
//! In scope: one file for each test in the folder that `CHANCERY_RELIABILITY_DIR` names; without it, nothing is written.
//! Out of scope: what the page makes of them (`tests/reliability.rs`).

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail like tests")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery_testkit::Module;
use serde_json::{Value, json};

/// The folder that the page is made from, where somebody wants it.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("CHANCERY_RELIABILITY_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// One fault, and how it was survived.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The row of the page: the codes of a row of the table, or what went wrong in words.
    pub fault: String,
    /// The PKCS#11 function in which it happened, where it is about one.
    pub function: String,
    /// `once`, `10 %`, `always`.
    pub often: String,
    /// How often it really happened.
    pub faults: usize,
    /// Calls that were made meanwhile.
    pub calls: usize,
    /// Of these, answered with what was asked for; each signature was verified.
    pub answered: usize,
    /// From the end of the fault until the token worked again.
    pub recovery: Option<Duration>,
}

/// What one test found. A clone is the same.
#[derive(Debug, Clone)]
pub struct Findings {
    test: &'static str,
    found: Arc<Mutex<Vec<Finding>>>,
}

impl Findings {
    /// Of the test function of this name, which is how the page names it.
    #[must_use]
    pub fn of(test: &'static str) -> Self {
        Self { test, found: Arc::default() }
    }

    /// Notes one.
    ///
    /// # Panics
    /// Where another thread did while it noted one.
    pub fn note(&self, finding: Finding) {
        self.found.lock().unwrap().push(finding);
    }

    /// Writes them, where they are wanted.
    ///
    /// # Panics
    /// Where that cannot be done.
    pub fn write(&self) {
        let Some(folder) = folder() else { return };
        let token = match Module::from_environment().unwrap() {
            Module::SoftHsm => "SoftHSM",
            Module::Kryoptic => "Kryoptic",
        };
        let findings: Vec<Value> = self.found.lock().unwrap().iter().map(to_json).collect();
        let text = json!({ "test": self.test, "token": token, "findings": findings }).to_string();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("faults-{token}-{}.json", self.test)), text).unwrap();
    }
}

fn to_json(finding: &Finding) -> Value {
    let Finding { fault, function, often, faults, calls, answered, recovery } = finding;
    let recovery = recovery.map(|took| u64::try_from(took.as_micros()).unwrap());
    json!({
        "fault": fault, "function": function, "often": often, "faults": faults, "calls": calls, "answered": answered,
        "recovery_micros": recovery,
    })
}
