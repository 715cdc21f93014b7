//! Real faults: a process that is killed, and a disk that takes no more.
//!
//! Each test runs itself again as a child process, which records under load, says on its standard output what was
//! acknowledged to it, and meets its fault. The parent then reads the database that was left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests are free to stop at the first surprise"
)]
#![allow(clippy::print_stdout, reason = "the child speaks to its parent")]

mod support;

use chancery_audit::{LogHealth, OutcomeResult, RecordError};
use chancery_model::Uid;
use chancery_store::RecordProgress;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{act, folder, instance, intent, outcome, read, start};

const DATABASE: &str = "CHANCERY_TEST_DATABASE";
const CALLERS: usize = 32;

/// The database that this process is to work on, if it is a child.
fn child() -> Option<PathBuf> {
    std::env::var_os(DATABASE).map(PathBuf::from)
}

/// Records from many tasks until the log refuses; says each acknowledgement. Gives the refusals.
async fn work(path: &Path) -> (chancery_audit::Log, chancery_store::Epoch, Vec<RecordError>) {
    let (log, reader) = start(path);
    let epoch = reader.load_state().unwrap().epoch;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let log = log.clone();
            tokio::spawn(async move {
                loop {
                    let slot = match log.reserve(Uid::NONE, 1) {
                        Ok(slot) => slot,
                        Err(error) => return error,
                    };
                    let was_closed = log.health() != LogHealth::Open;
                    match log.record_intents(epoch, vec![intent()]).await {
                        Ok(_) if was_closed => panic!("acknowledged by a log that was closed before"),
                        Ok(recorded) => {
                            println!("recorded {}", recorded[0].index());
                            // Some never end: the next start has to close them.
                            if caller % 4 == 0 {
                                drop(slot);
                            } else {
                                log.record_outcome(slot, outcome(&[recorded[0].index()], OutcomeResult::Done));
                            }
                        }
                        Err(error) => return error,
                    }
                }
            })
        })
        .collect();
    let mut refusals = Vec::new();
    for caller in callers {
        refusals.push(caller.await.unwrap());
    }
    (log, epoch, refusals)
}

fn acknowledged(lines: impl Iterator<Item = String>) -> BTreeSet<u64> {
    lines.filter_map(|line| line.split_once("recorded ")?.1.trim().parse().ok()).collect()
}

/// After the fault: everything that was acknowledged is there, and the next start closes what was left open.
async fn check(path: &Path, acknowledged: &BTreeSet<u64>) {
    let (log, reader) = start(path);
    let before = read(&reader);
    for index in acknowledged {
        assert!(before.get(usize::try_from(*index).unwrap()).is_some(), "{index} was acknowledged and is not there");
    }
    let open = reader.open_intents(&instance("one")).unwrap();
    assert!(!open.is_empty());
    log.close_open_intents(&open).await.unwrap();
    assert_eq!(reader.open_intents(&instance("one")).unwrap(), []);
    let after = read(&reader);
    for intent in &open {
        let progress = after[usize::try_from(intent.index).unwrap()].0.progress;
        assert!(matches!(progress, RecordProgress::Ended(end) if end.result == OutcomeResult::Unknown.code()));
    }
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill() {
    if let Some(path) = child() {
        work(&path).await;
        return;
    }
    let (_folder, path) = folder();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_acknowledged_survives_a_kill", "--nocapture"])
        .env(DATABASE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut recorded = acknowledged(lines.by_ref().take(500));
    child.kill().unwrap();
    recorded.extend(acknowledged(lines));
    child.wait().unwrap();
    assert!(recorded.len() > 300, "{}", recorded.len());
    check(&path, &recorded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_more_closes_the_log_for_good() {
    if let Some(path) = child() {
        let (log, epoch, refusals) = work(&path).await;
        for refusal in refusals {
            let RecordError::Closed { reason } = refusal else { panic!("{refusal}") };
            assert!(reason.starts_with("the database failed while"), "{reason}");
        }
        // Closed, and it stays so: for everybody, although the disk might take a small record again.
        assert!(matches!(log.health(), LogHealth::Closed { .. }));
        assert!(matches!(log.reserve(Uid::NONE, 1).map(drop), Err(RecordError::Closed { .. })));
        assert!(matches!(log.record_intents(epoch, vec![intent()]).await, Err(RecordError::Closed { .. })));
        assert!(matches!(log.change(epoch, vec![], act(false)).await, Err(RecordError::Closed { .. })));
        assert!(matches!(log.flush().await, Err(RecordError::Closed { .. })));
        log.shutdown().await;
        println!("closed for good");
        return;
    }
    let (_folder, path) = folder();
    // Files of this process may have 2 MiB (4096 blocks of 512 bytes) at most: the write-ahead log meets that first, and the system
    // refuses to write on. The signal that would tell so is ignored, so that the refusal is an error of `write`.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_disk_that_takes_no_more_closes_the_log_for_good", "--nocapture"])
        .env(DATABASE, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("closed for good"), "{said}");
    let recorded = acknowledged(said.lines().map(str::to_owned));
    assert!(recorded.len() > 100, "{}", recorded.len());
    check(&path, &recorded).await;
}
