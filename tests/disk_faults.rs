//! No record, no signature, whatever the disk does: errors of the calls by which SQLite uses it.
//!
//! The real binary, with a library before its C library that lets calls on the database's files fail
//! (`crates/disk-fault`). What a file system does to the whole process is in `record_closed.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use chancery_api::v1;
use chancery_disk_fault::{Call, File, Rule, Then};
use chancery_testkit::Chancery;
use chancery_tests::disk::{FailingDisk, Row, assert_unavailable};
use chancery_tests::faults::without_checkpoints;
use chancery_tests::load::{Load, Record, create_key, failures, sign, try_create_key};
use tonic::Code;

/// What a device, a full disk and a quota say.
const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EDQUOT"];

/// How SQLite, in the service's log, calls what a call came to.
fn said_of(call: Call, error: &str) -> &'static str {
    match (call, error) {
        (Call::Write, "ENOSPC") => "database or disk is full",
        _ => "disk I/O error",
    }
}

/// Under load the disk fails, once and from then on; the service signs no more until a restart, and everything that it
/// handed out is on the record that the restart finds.
async fn closes_for_good(test: &'static str, rules: Vec<(Rule, &'static str)>) {
    let mut disk = FailingDisk::start().await;
    let key = create_key(&disk.operator, "k").await;
    for (rule, cause) in rules {
        let before = disk.failed();
        let load = Load::start(&[disk.caller.clone(), disk.chancery.caller().await.unwrap()], 2, &key);
        load.wait_for_signatures(10).await;
        disk.fail(rule.clone());
        load.wait_for(20, "were refused", |call| call.end.is_err()).await;
        let calls = load.stop().await;
        assert_eq!(disk.failed(), before + 1, "nothing is tried again: {rule:?}");
        failures(&calls).for_each(assert_unavailable);
        disk.assert_closed(&key, cause).await;
        disk.stop().await;
        let restart = disk.restart().await;
        disk.assert_whole(&key).await.assert_holds(&calls);
        Row { test, rule: &rule, calls: &calls, fsyncs_after: 0, restart }.report();
    }
}

/// Each error of a call on a file, once and from then on.
fn each_error(call: Call, file: File) -> Vec<(Rule, &'static str)> {
    let both = |error| {
        let rule = Rule::failing("fault", call, file, error);
        [(rule.clone().once(), said_of(call, error)), (rule, said_of(call, error))]
    };
    ERRORS.into_iter().flat_map(both).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_synced_ends_signing_until_a_restart() {
    let mut rules = each_error(Call::Fsync, File::Wal);
    // The disk has it, and says that it has not.
    rules.push((Rule::failing("fault", Call::Fsync, File::Wal, "EIO").once().after_the_call(), "disk I/O error"));
    closes_for_good("a_record_that_is_not_synced_ends_signing_until_a_restart", rules).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_written_ends_signing_until_a_restart() {
    let mut rules = each_error(Call::Write, File::Wal);
    // A disk that takes nothing and names no error.
    rules.push((Rule::new("fault", &[Call::Write], &[File::Wal], Then::Short(0)), "database or disk is full"));
    closes_for_good("a_record_that_is_not_written_ends_signing_until_a_restart", rules).await;
}

/// The record is in the write-ahead log by then, but what the log is copied to is not to be trusted: SQLite alone would say
/// nothing, and try again at the next commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_synced_ends_signing_until_a_restart() {
    let rules = each_error(Call::Fsync, File::Database);
    closes_for_good("a_database_that_is_not_synced_ends_signing_until_a_restart", rules).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_written_ends_signing_until_a_restart() {
    let mut rules = each_error(Call::Write, File::Database);
    // What is copied is read from the log; and where all of it was copied, the database is cut to its size.
    // SQLite takes EIO there for a damaged file system, and calls it so.
    rules.push((Rule::failing("fault", Call::Read, File::Wal, "EIO").once(), "database disk image is malformed"));
    rules.push((Rule::failing("fault", Call::Read, File::Wal, "ESTALE").once(), "disk I/O error"));
    rules.push((Rule::failing("fault", Call::Ftruncate, File::Database, "EIO").once(), "disk I/O error"));
    closes_for_good("a_database_that_is_not_written_ends_signing_until_a_restart", rules).await;
}

/// What POSIX lets happen to any call, and what comes when all is on the disk, harms nothing.
#[tokio::test(flavor = "multi_thread")]
async fn short_writes_interruptions_and_late_errors_of_close_lose_nothing() {
    let every = &[File::Database, File::Wal, File::Shm, File::Journal];
    let mut disk = FailingDisk::start().await;
    let key = create_key(&disk.operator, "k").await;
    for rule in [
        Rule::new("fault", &[Call::Write], every, Then::Short(1_000)),
        Rule::new("fault", &[Call::Write], every, Then::Error("EINTR".to_owned())).when(|when| when.nth = Some(5)),
        Rule::new("fault", &[Call::Close], every, Then::Error("EIO".to_owned())),
    ] {
        disk.fail(rule.clone());
        let load = Load::start(&[disk.caller.clone()], 2, &key);
        load.wait_for_signatures(20).await;
        let calls = load.stop().await;
        assert_eq!(failures(&calls).count(), 0, "{rule:?}");
        // Stopped and started with the fault, too.
        let restart = disk.restart().await;
        assert!(disk.failed() > 0, "{rule:?}");
        disk.assert_whole(&key).await.assert_holds(&calls);
        let fsyncs_after = disk.touched().iter().filter(|touched| touched.call == "fsync").count();
        let test = "short_writes_interruptions_and_late_errors_of_close_lose_nothing";
        Row { test, rule: &rule, calls: &calls, fsyncs_after, restart }.report();
    }
}

/// Not acknowledged unless durable; and after the restart either in force and on the record, or neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_disk_refuses_is_not_acknowledged() {
    let mut disk = FailingDisk::start().await;
    let key = create_key(&disk.operator, "k").await;
    let other = create_key(&disk.operator, "other").await;
    let version = format!("{other}/versions/1");
    for fault in [
        Rule::failing("fault", Call::Fsync, File::Wal, "EIO").once(),
        Rule::failing("fault", Call::Write, File::Wal, "ENOSPC").once(),
    ] {
        // A suspension.
        disk.fail(fault.clone());
        let request = v1::SuspendKeyVersionRequest { name: version.clone(), reason: String::new() };
        let refused = disk.operator.keys().suspend_key_version(request).await.unwrap_err();
        assert_unavailable(&disk.operator.error(refused));
        restarted(&mut disk, &key).await;
        let record = Record::read(&disk.operator).await;
        let resumed = record.acts("ResumeKeyVersion", &version).count();
        let suspended = record.acts("SuspendKeyVersion", &version).count() - resumed;
        let signed = sign(&disk.caller, &other, "suspended or not").await;
        assert_eq!(signed.is_err(), suspended == 1, "{signed:?}");
        if suspended == 1 {
            let request = v1::ResumeKeyVersionRequest { name: version.clone(), reason: String::new() };
            disk.operator.keys().resume_key_version(request).await.unwrap();
        }

        // A policy set.
        let set = disk.operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
        let more = v1::PolicyDocument { name: "more.cedar".to_owned(), text: format!("// after {}\n", set.version) };
        let mut documents = set.documents;
        documents.retain(|document| document.name != more.name);
        documents.push(more);
        disk.fail(fault.clone());
        let request = v1::ApplyPolicySetRequest { documents: documents.clone(), etag: set.etag };
        let refused = disk.operator.policy().apply_policy_set(request).await.unwrap_err();
        assert_unavailable(&disk.operator.error(refused));
        restarted(&mut disk, &key).await;
        let now = disk.operator.policy().get_policy_set(v1::GetPolicySetRequest {}).await.unwrap().into_inner();
        let applied = Record::read(&disk.operator).await;
        let applied = applied.of(v1::RecordKind::Act).filter(|act| act.action == "ApplyPolicySet").count() as u64;
        assert_eq!(now.version, applied, "what is in force is what is on the record");
        assert_eq!(now.documents == documents, now.version == set.version + 1);

        // A key: its reservation, and the end of its making.
        for nth in [1, 2] {
            let id = format!("made-{}-{nth}", disk.failed());
            disk.fail(fault.clone().when(|when| (when.first, when.nth) = (None, Some(nth))));
            let refused = try_create_key(&disk.operator, &id, v1::Algorithm::EcdsaP256Sha256).await.unwrap_err();
            assert_unavailable(&refused);
            restarted(&mut disk, &key).await;
            let name = format!("keyRings/dev/keys/{id}");
            let record = Record::read_settled(&disk.operator).await;
            let act = record.acts("CreateKey", &format!("{name}/versions/1")).next();
            let made = sign(&disk.caller, &name, "made or not").await.is_ok();
            let done = act.is_some_and(|act| record.end(act.index).is_some_and(|end| end.result == "DONE"));
            assert_eq!(made, done, "{act:?}");
        }
    }
}

/// After a fault: closed, nothing touched, and whole again on a disk that is.
async fn restarted(disk: &mut FailingDisk, key: &str) {
    disk.assert_closed(key, "the database failed while").await;
    disk.stop().await;
    disk.restart().await;
    disk.assert_whole(key).await;
}

/// A start that the disk refuses ends with a reason, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_the_disk_refuses_ends_with_the_reason_and_loses_nothing() {
    let mut disk = FailingDisk::start().await;
    let key = create_key(&disk.operator, "k").await;
    for (call, file, error) in [
        (Call::Open, File::Database, "EIO"),
        (Call::Open, File::Wal, "EMFILE"),
        (Call::Open, File::Shm, "EACCES"),
        (Call::Read, File::Database, "EIO"),
        (Call::Read, File::Wal, "EIO"),
        (Call::Mmap, File::Shm, "ENOMEM"),
        (Call::Write, File::Shm, "ENOSPC"),
        (Call::Fsync, File::Folder, "EIO"),
        (Call::Fsync, File::Wal, "EIO"),
        (Call::Write, File::Database, "ENOSPC"),
        (Call::Fsync, File::Database, "EIO"),
        (Call::Ftruncate, File::Wal, "EIO"),
    ] {
        let load = Load::start(&[disk.caller.clone()], 2, &key);
        load.wait_for_signatures(5).await;
        // In the write-ahead log, and nowhere else.
        disk.chancery.kill().unwrap();
        let calls = load.stop().await;
        refuses_to_start(&mut disk, call, file, error).await;
        let fsyncs_after = disk.touched().iter().filter(|touched| touched.call == "fsync").count();
        assert_eq!(fsyncs_after, 0, "what failed to sync is not synced again: {call:?} {file:?}");
        let restart = disk.restart().await;
        disk.assert_whole(&key).await.assert_holds(&calls);
        let test = "a_start_that_the_disk_refuses_ends_with_the_reason_and_loses_nothing";
        Row { test, rule: &Rule::failing("fault", call, file, error), calls: &calls, fsyncs_after, restart }.report();
    }
}

/// The same where there is no database yet: what a start left half made is no obstacle to the next one. SQLite syncs again
/// there, to take back what it began; there is nothing in it yet that could be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_made_is_made_by_the_next_start() {
    let mut disk = FailingDisk::start().await;
    for (call, file, error) in [
        (Call::Write, File::Database, "ENOSPC"),
        (Call::Fsync, File::Database, "EIO"),
        (Call::Fsync, File::Folder, "EIO"),
        (Call::Write, File::Wal, "ENOSPC"),
        (Call::Fsync, File::Wal, "EIO"),
    ] {
        disk.chancery.terminate().await.unwrap();
        for name in ["chancery.db", "chancery.db-wal", "chancery.db-shm", "tls/chancery.anchor"] {
            let removed = std::fs::remove_file(disk.chancery.dir().join(name));
            assert!(removed.is_ok() || name != "chancery.db");
        }
        refuses_to_start(&mut disk, call, file, error).await;
        disk.restart().await;
        let key = create_key(&disk.operator, &format!("k{}", disk.failed())).await;
        disk.assert_whole(&key).await;
    }
}

/// The disk fails, and the service does not start and says why.
async fn refuses_to_start(disk: &mut FailingDisk, call: Call, file: File, error: &str) {
    let fault = Rule::failing("fault", call, file, error);
    disk.faults.clear_log().unwrap();
    disk.fail(fault);
    let refused = disk.chancery.restart().await.expect_err("the service starts on a disk that fails").to_string();
    assert!(refused.contains("ended with exit status: 3"), "{refused}");
    let said = refused.lines().rfind(|line| line.contains("the service does not start")).expect("it says so");
    assert!(said.contains("store.path: ") && said.contains("chancery.db"), "{said}");
    assert!(disk.failed() > 0, "{refused}");
    disk.faults.clear().unwrap();
}

/// What cannot be read is said to be no fault of the caller's, and is not taken for something that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_not_said_to_be_empty() {
    // Without a tick of the log while the files cannot be read: what it then reads in order to write closes the record, rightly.
    let setup = Chancery::setup().configure(without_checkpoints);
    let disk = FailingDisk::start_with(setup).await;
    let key = create_key(&disk.operator, "k").await;
    sign(&disk.caller, &key, "one").await.unwrap();
    let whole = Record::read_settled(&disk.operator).await.records.len();
    // After a change, whoever reads next reads from the files.
    let request = v1::SuspendKeyVersionRequest { name: format!("{key}/versions/1"), reason: String::new() };
    disk.operator.keys().suspend_key_version(request).await.unwrap();
    disk.fail(Rule::new("fault", &[Call::Read], &[File::Database, File::Wal], Then::Error("ESTALE".to_owned())));
    let list = async || disk.operator.audit().list_records(v1::ListRecordsRequest::default()).await;
    let refused = list().await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal, "{refused:?}");
    assert!(!format!("{refused:?}").contains("disk"), "{refused:?}");
    assert!(disk.failed() > 0);
    assert!(disk.chancery.log().contains("disk I/O error"), "the log says why: {}", disk.chancery.log());
    disk.faults.clear().unwrap();
    assert_eq!(list().await.unwrap().into_inner().records.len(), whole + 1);
    // What is in memory was there all the time, and the record is open.
    create_key(&disk.operator, "another").await;
}
