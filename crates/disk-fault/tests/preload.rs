//! A process that uses SQLite on a disk that fails as told.
//!
//! The library is preloaded, so each test runs itself again as a process of its own that has it, and looks at what came of
//! it there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use chancery_disk_fault::{Call, FaultRules, File, HarnessError, Rule, Then};
use rusqlite::Connection;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Names the folder to the process whose disk fails.
const FOLDER: &str = "DISK_FAULT_TEST_FOLDER";

fn folder_here() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn run(test: &str, folder: &Path, faults: &FaultRules) -> Output {
    let work = folder.join("work");
    std::fs::create_dir_all(&work).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, &work)
        .envs(faults.environment("test.db").unwrap())
        .output()
        .unwrap()
}

fn passes(test: &str, folder: &Path, faults: &FaultRules) {
    let output = run(test, folder, faults);
    assert!(output.status.success(), "{output:?}");
}

fn database(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("test.db")).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").unwrap();
    connection.execute_batch("CREATE TABLE IF NOT EXISTS x (y INTEGER)").unwrap();
    connection
}

fn insert(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute("INSERT INTO x VALUES (7)", [])
}

fn rows(connection: &Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM x", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_sync_fails_once_and_what_came_after_it_is_noted() {
    let test = "a_sync_fails_once_and_what_came_after_it_is_noted";
    if let Some(folder) = folder_here() {
        let connection = database(&folder);
        let error = insert(&connection).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::SystemIoFailure));
        // What a program must not do.
        insert(&connection).unwrap();
        assert_eq!(rows(&connection), 1);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultRules::new(folder.path()).unwrap();
    faults
        .set(&[
            Rule::new("after", &[Call::Fsync], &[File::Wal], Then::Note)
                .when(|when| when.since = Some("sync".to_owned())),
            // The first two are those of making the table: the log's head, and the commit.
            Rule::failing("sync", Call::Fsync, File::Wal, "EIO").when(|when| when.nth = Some(3)),
        ])
        .unwrap();
    passes(test, folder.path(), &faults);
    let fault = faults.by("sync").unwrap();
    assert_eq!(fault.len(), 1);
    assert_eq!(
        (fault[0].call.as_str(), fault[0].file.as_str(), fault[0].what.as_str()),
        ("fsync", "wal", "answered EIO")
    );
    assert!(!faults.by("after").unwrap().is_empty(), "the program synced again");
}

/// Each kind of call can be made to fail on each file, in a program that does not go through SQLite.
#[test]
fn every_call_fails_as_told_and_every_other_file_is_left_alone() {
    let test = "every_call_fails_as_told_and_every_other_file_is_left_alone";
    if let Some(folder) = folder_here() {
        use std::os::unix::fs::FileExt as _;
        let failed = |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error());
        let path = folder.join("test.db-wal");
        let open =
            |path: &Path| std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = open(&path).unwrap();
        let other = open(&folder.join("other")).unwrap();
        for (name, call) in [("EIO", "write"), ("EDQUOT", "ftruncate"), ("EROFS", "fsync"), ("ENOMEM", "read")] {
            let doing = |file: &std::fs::File| match call {
                "write" => (&*file).write(b"x").map(drop),
                "ftruncate" => file.set_len(9),
                "fsync" => file.sync_all(),
                _ => file.read_at(&mut [0], 0).map(drop),
            };
            assert_eq!(failed(doing(&file)), chancery_disk_fault::errno(name), "{call}");
            assert_eq!(failed(doing(&other)), None, "{call}");
        }
        assert_eq!(failed(file.sync_data()), chancery_disk_fault::errno("EROFS"));
        // The journal falls short, and the folder was learnt from the files in it.
        let journal = open(&folder.join("test.db-journal")).unwrap();
        assert_eq!((&journal).write(b"four").unwrap(), 3);
        assert_eq!(journal.read_at(&mut [0; 4], 0).unwrap(), 2);
        let itself = std::fs::File::open(&folder).unwrap();
        assert_eq!(failed(itself.sync_all()), chancery_disk_fault::errno("EIO"));
        assert_eq!(failed(open(&folder.join("test.db-shm")).map(drop)), chancery_disk_fault::errno("EMFILE"));
        assert_eq!(failed(std::fs::remove_file(&path)), chancery_disk_fault::errno("EPERM"));
        // A descriptor that is closed is nobody's.
        drop(file);
        let next = open(&folder.join("next")).unwrap();
        assert_eq!(failed((&next).write(b"x").map(drop)), None);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultRules::new(folder.path()).unwrap();
    let failing = |id: &str, call, file, error: &str| Rule::failing(id, call, file, error);
    faults
        .set(&[
            failing("write", Call::Write, File::Wal, "EIO"),
            failing("cut", Call::Ftruncate, File::Wal, "EDQUOT"),
            failing("sync", Call::Fsync, File::Wal, "EROFS"),
            failing("read", Call::Read, File::Wal, "ENOMEM"),
            Rule::new("short-write", &[Call::Write], &[File::Journal], Then::Short(3)),
            Rule::new("short-read", &[Call::Read], &[File::Journal], Then::Short(2)),
            failing("folder", Call::Fsync, File::Folder, "EIO"),
            failing("open", Call::Open, File::Shm, "EMFILE"),
            failing("unlink", Call::Unlink, File::Wal, "EPERM"),
        ])
        .unwrap();
    passes(test, folder.path(), &faults);
    for (rule, times) in [("write", 1), ("sync", 2), ("short-write", 1), ("folder", 1), ("open", 1), ("unlink", 1)] {
        assert_eq!(faults.by(rule).unwrap().len(), times, "{rule}");
    }
}

#[test]
fn an_error_after_the_call_is_an_error_of_what_was_done() {
    let test = "an_error_after_the_call_is_an_error_of_what_was_done";
    if let Some(folder) = folder_here() {
        let path = folder.join("test.db");
        let file = std::fs::File::create(&path).unwrap();
        assert!((&file).write(b"done").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"done");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultRules::new(folder.path()).unwrap();
    faults.set(&[Rule::failing("late", Call::Write, File::Database, "EIO").after_the_call()]).unwrap();
    passes(test, folder.path(), &faults);
    assert_eq!(faults.by("late").unwrap().first().unwrap().what, "answered EIO after the call");
}

#[test]
fn rules_that_mean_nothing_are_loud() {
    let test = "rules_that_mean_nothing_are_loud";
    if let Some(folder) = folder_here() {
        assert!(std::fs::File::create(folder.join("test.db")).is_err(), "the disk works, whatever the rules say");
        std::fs::File::create(folder.join("other")).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultRules::new(folder.path()).unwrap();
    assert!(faults.set(&[Rule::failing("r", Call::Write, File::Wal, "ENOTHING")]).is_err());
    std::fs::write(faults.rules_path(), "[[rule]]\nid = \"r\"\nthen = { error = \"ENOTHING\" }\n").unwrap();
    passes(test, folder.path(), &faults);
    assert!(matches!(faults.log(), Err(HarnessError::Complaint(line)) if line.contains("ENOTHING")));
}

#[test]
fn the_examples_can_be_followed() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for example in std::fs::read_dir(examples).unwrap() {
        let path = example.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(chancery_disk_fault::parse(&text).is_ok_and(|rules| !rules.is_empty()), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 3, "{seen}");
}
