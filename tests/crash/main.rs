//! kill -9, and what the record says afterwards.
//!
//! A service under load is killed by SIGKILL, again and again: at each step between the decision on a call and its answer
//! (`crates/fail-point`), at any time, and while it starts. After each restart, what clients were answered is compared with
//! the record, the keys, the policy set and the token, and the log with the last checkpoint that a client saw. The service
//! alone is killed: a kill of the token's worker during login or key generation can destroy a SoftHSM token, and workers have
//! tests of their own (`worker_faults`).
//!
//! ```text
//! make crash                                                   10,000 rounds
//! make crash CHANCERY_CRASH_ROUNDS=50 CHANCERY_CRASH_SEED=7    so many, and those
//! ```
//!
//! The first violation ends the run; it says seed and round, and the folder with database, token and log stays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod campaign;
mod changes;
mod checker;
mod comparison;
mod database;
mod entry;
mod load;
mod plan;
mod rare;
mod report;
mod token_files;
mod transparency;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use campaign::Campaign;
use report::Report;
use tokio::task::JoinSet;

/// Rounds in `make test`.
const ROUNDS: usize = 200;
/// Rounds on one database and token; then a new folder is begun, so that what grows does not slow down what is tested.
const ROUNDS_IN_A_FOLDER: usize = 500;
/// Services that are killed side by side: a start is mostly waiting.
const SIDE_BY_SIDE: usize = 2;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[allow(clippy::print_stderr, reason = "whoever runs ten thousand rounds wants to see how far they are")]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_client_was_answered_is_on_the_record_after_a_kill() {
    if !chancery_fail_point::ARMED {
        eprintln!("skipped: a build without debug assertions has no fail points");
        return;
    }
    let rounds = number("CHANCERY_CRASH_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let now = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    let seed = number("CHANCERY_CRASH_SEED").unwrap_or_else(now);
    eprintln!("{rounds} rounds; CHANCERY_CRASH_SEED={seed} repeats their plan");

    let begun = Instant::now();
    let done = Arc::new(AtomicUsize::new(0));
    let folder = rounds.div_ceil(SIDE_BY_SIDE).clamp(1, ROUNDS_IN_A_FOLDER);
    let mut waiting = (0..rounds).step_by(folder).map(|first| folder.min(rounds - first)).enumerate();
    let mut running = JoinSet::new();
    let mut report = Report::new(seed);
    loop {
        while running.len() < SIDE_BY_SIDE
            && let Some((number, rounds)) = waiting.next()
        {
            let done = Arc::clone(&done);
            running.spawn(Campaign::new(seed, number, rounds).run(move || {
                let done = done.fetch_add(1, Ordering::SeqCst) + 1;
                if done.is_multiple_of(100) {
                    eprintln!("{done} rounds in {:.0?}", begun.elapsed());
                }
            }));
        }
        let Some(ended) = running.join_next().await else { break };
        report.add(ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    report.took = begun.elapsed();
    report.write();
    eprintln!("{}", report.to_json());
    assert_eq!(report.rounds, rounds);
    if rounds >= ROUNDS {
        for (point, kills) in report.kills_by_point() {
            assert!(kills >= 3, "the service died only {kills} times at {point}");
        }
    }
}

/// What `cargo build` makes, of any profile, has the fail points without their feature: only dev-dependencies ask for it.
#[test]
fn builds_that_are_no_tests_have_no_fail_points() {
    let tree = |edges: &str| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments = [
            "tree",
            "--locked",
            "--offline",
            "--workspace",
            "--edges",
            edges,
            "--prefix",
            "none",
            "--format",
            "{p}|{f}",
        ];
        let tree = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).unwrap();
        let lines = tree.lines().filter(|line| line.starts_with("chancery-fail-point "));
        let features = lines.map(|line| line.rsplit_once('|').unwrap().1.trim_end_matches(" (*)").to_owned());
        features.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(tree("normal,build"), [String::new()].into());
    assert_eq!(tree("normal,build,dev"), ["armed".to_owned()].into(), "builds of tests have them");
}
