//! What a run came to, for people and for `docs/reliability.md`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chancery_fail_point::FailPoint;
use serde_json::{Value, json};

use crate::plan::under_load;

/// Counts of a campaign, or of all.
#[derive(Debug, Default)]
pub struct Report {
    pub seed: u64,
    pub took: Duration,
    pub rounds: usize,
    /// Databases and tokens that were begun.
    pub folders: usize,
    kills: BTreeMap<&'static str, usize>,
    /// Records read, and how many of them are intents.
    pub records: u64,
    pub intents: u64,
    /// Answers that clients were given, each found on the record and verified.
    pub signatures: u64,
    pub macs: u64,
    /// Calls that broke with the connection, and those of them whose intent is on the record.
    pub unanswered: u64,
    pub unanswered_and_recorded: u64,
    /// Intents that ended as unknown.
    pub unknown: u64,
    /// Administrative changes: answered; cut off and in force; cut off and not.
    pub changes: u64,
    pub changes_cut_off_in_force: u64,
    pub changes_cut_off_undone: u64,
    /// Copies of the database that were read before the service was started again.
    pub databases: u64,
    pub slowest_restart: Duration,
}

impl Report {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn of_a_folder() -> Self {
        Self { folders: 1, ..Self::default() }
    }

    /// A round has ended by a kill of this kind.
    pub fn killed(&mut self, how: &'static str) {
        self.rounds += 1;
        *self.kills.entry(how).or_default() += 1;
    }

    pub fn kills_by_point(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let kills = |point: FailPoint| (point.name(), self.kills.get(point.name()).copied().unwrap_or_default());
        under_load().map(kills)
    }

    /// Adds another part of the same run.
    pub fn add(&mut self, part: Self) {
        let Self {
            seed: _,
            took: _,
            rounds,
            folders,
            kills,
            records,
            intents,
            signatures,
            macs,
            unanswered,
            unanswered_and_recorded,
            unknown,
            changes,
            changes_cut_off_in_force,
            changes_cut_off_undone,
            databases,
            slowest_restart,
        } = part;
        self.rounds += rounds;
        self.folders += folders;
        for (how, count) in kills {
            *self.kills.entry(how).or_default() += count;
        }
        self.records += records;
        self.intents += intents;
        self.signatures += signatures;
        self.macs += macs;
        self.unanswered += unanswered;
        self.unanswered_and_recorded += unanswered_and_recorded;
        self.unknown += unknown;
        self.changes += changes;
        self.changes_cut_off_in_force += changes_cut_off_in_force;
        self.changes_cut_off_undone += changes_cut_off_undone;
        self.databases += databases;
        self.slowest_restart = self.slowest_restart.max(slowest_restart);
    }

    /// In one line. There is a report only where nothing was violated.
    pub fn to_json(&self) -> Value {
        json!({
            "test": "crash",
            "seed": self.seed,
            "seconds": self.took.as_secs(),
            "rounds": self.rounds,
            "folders": self.folders,
            "kills": self.kills,
            "records": self.records,
            "intents": self.intents,
            "signatures_compared": self.signatures,
            "macs_compared": self.macs,
            "calls_unanswered": self.unanswered,
            "calls_unanswered_and_recorded": self.unanswered_and_recorded,
            "intents_unknown": self.unknown,
            "changes_answered": self.changes,
            "changes_cut_off_in_force": self.changes_cut_off_in_force,
            "changes_cut_off_undone": self.changes_cut_off_undone,
            "databases_read": self.databases,
            "slowest_restart_ms": u64::try_from(self.slowest_restart.as_millis()).unwrap(),
            "violations": 0,
        })
    }

    /// Writes it to the folder that `CHANCERY_RELIABILITY_DIR` names, where it names one.
    pub fn write(&self) {
        let Some(folder) = std::env::var_os("CHANCERY_RELIABILITY_DIR").filter(|folder| !folder.is_empty()) else {
            return;
        };
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("crash.json"), format!("{}\n", self.to_json())).unwrap();
    }
}
