//! `[log.archive]`: old *leaves* move from the database into a folder, for its room, and nothing is lost by it: lists, proofs,
//! exports, verification and erasing go on as before. What the service is while the folder is away, and with that of another
//! log. (That details are erased for good is another rule's: `retention.rs`.)

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_api::v1::{self, Algorithm, RecordKind};
use chancery_audit::Anchor;
use chancery_client::ClientError;
use chancery_fail_point::FAIL_POINT_VARIABLE;
use chancery_testkit::Chancery;
use chancery_tests::contract::{admin_get, create, eventually, hex, new_key, records, refused, sign};
use chancery_tests::hand::{self, Saved};
use chancery_tests::program::{chancery as program, command, run, succeed};
use chancery_tests::web::Web;
use tonic::Code;

const RING: &str = "keyRings/dev";

/// Makes every leaf older, as if the service had stood still for so many days. So the tree is another one, and what was signed
/// of it is forgotten: the next start makes it again.
fn let_days_pass(folder: &Path, days: i64) {
    let (database, micros) = (hand::database(folder), days * 86_400_000_000);
    let mut sql = format!(
        "BEGIN; {}
         DELETE FROM tiles; DELETE FROM checkpoints; DELETE FROM cosigned_checkpoints;
         DELETE FROM shown_checkpoint;",
        hand::older(days)
    );
    for (index, leaf) in leaves(folder).iter().enumerate() {
        // Behind version, kind and epoch.
        let time = i64::from_be_bytes(leaf[10..18].try_into().unwrap()) - micros;
        let older = [&leaf[..10], &time.to_be_bytes()[..], &leaf[18..]].concat();
        sql.push_str(&format!("UPDATE leaves SET leaf = x'{}' WHERE idx = {index};", hex(&older)));
    }
    hand::edit(&database, &format!("{sql} COMMIT"));
    let anchor = hand::anchor(folder);
    let known = Anchor::read(&anchor).unwrap().unwrap();
    Anchor { checkpoint: None, log_root: None, ..known }.write(&anchor).unwrap();
}

/// As they are in the database itself.
fn leaves(folder: &Path) -> Vec<Vec<u8>> {
    let connection = hand::open(&hand::database(folder));
    let mut statement = connection.prepare("SELECT leaf FROM leaves ORDER BY idx").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// A service with old records, of which three tiles are whole, and which it has signed since they are old.
struct Aged {
    chancery: Chancery,
    archive: PathBuf,
    key: String,
    /// How many records are old.
    old: u64,
    /// The making of the key, and a signature.
    act: u64,
    intent: u64,
}

/// How many records three tiles have.
const ARCHIVED: u64 = 768;

async fn aged() -> Aged {
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let key = create(&operator, new_key(RING, "k", Algorithm::Ed25519)).await.name;
    let acts = v1::ListRecordsRequest { resource: key.clone(), kind: RecordKind::Act.into(), ..Default::default() };
    let act = records(&operator, acts).await.pop().unwrap().index;
    let caller = chancery.caller().await.unwrap();
    let mut intent = 0;
    for batch in 0..4 {
        let requests = (0..200).map(|number| sign(&key, format!("{batch}/{number}").as_bytes())).collect();
        let answer = caller.signing().batch_sign(v1::BatchSignRequest { requests }).await.unwrap().into_inner();
        let Some(v1::batch_sign_result::Result::Response(signed)) = answer.results[0].result.clone() else { panic!() };
        intent = signed.record_index;
    }
    drop((operator, caller));
    chancery.terminate().await.unwrap();
    let_days_pass(&chancery.dir(), 3);
    let old = leaves(&chancery.dir()).len() as u64;
    assert_eq!(old / 256 * 256, ARCHIVED, "{old} records");
    chancery.restart().await.unwrap();
    let archive = chancery.dir().join("archive");
    let aged = Aged { chancery, archive, key, old, act, intent };
    aged.until_signed().await;
    aged
}

impl Aged {
    async fn until_signed(&self) {
        eventually("a checkpoint covers every record", async || {
            let (_, metrics) = admin_get(&self.chancery, "/metrics").await;
            metrics.lines().any(|line| line.starts_with("chancery_log_unsigned") && line.ends_with(" 0")).then_some(())
        })
        .await;
    }

    /// Starts it again with the rule.
    async fn restart_with_archive(&mut self) {
        self.chancery.terminate().await.unwrap();
        self.configure();
        self.chancery.restart().await.unwrap();
    }

    fn configure(&self) {
        let dir = self.archive.to_str().unwrap().to_owned();
        let archive = toml::Table::from_iter([("dir".to_owned(), dir.into()), ("after_days".to_owned(), 2.into())]);
        let log = toml::Table::from_iter([("archive".to_owned(), archive.into())]);
        self.chancery.configure(|config| drop(config.insert("log".to_owned(), log.into()))).unwrap();
    }

    fn archived(&self) -> u64 {
        chancery_store::look_into(&hand::database(&self.chancery.dir())).unwrap().archived().unwrap()
    }

    async fn until_archived(&self) {
        let shown = format!("chancery_log_archived {ARCHIVED}");
        eventually("all that is old is archived", async || {
            let (_, metrics) = admin_get(&self.chancery, "/metrics").await;
            metrics.lines().any(|line| line == shown).then_some(())
        })
        .await;
        assert_eq!(self.archived(), ARCHIVED);
    }

    /// The old records, page by page.
    async fn records(&self, oldest_first: bool) -> Vec<v1::AuditRecord> {
        let range = v1::ListRecordsRequest { start_index: Some(0), end_index: Some(self.old), ..Default::default() };
        let request = v1::ListRecordsRequest { page_size: 90, oldest_first, ..range };
        records(&self.chancery.operator().await.unwrap(), request).await
    }

    fn web(&self) -> Web {
        Web::new(&self.chancery, &self.chancery.operator_identity(), &["h2"])
    }

    fn show(&self, index: u64) -> String {
        succeed(self.chancery.cli().args(["audit", "show", &index.to_string()]))
    }

    /// What can be seen of the old records from outside.
    async fn seen(&self) -> Seen {
        let (web, operator) = (self.web(), self.chancery.operator().await.unwrap());
        let partial = self.old % 256;
        let mut files = Vec::new();
        for path in ["entries/000", "entries/001", "entries/002", "entries/002.p/7", "0/000", "0/002", "1/000.p/3"] {
            files.push((path.to_owned(), web.get(&format!("/log/tile/{path}")).await));
        }
        let last = format!("entries/003.p/{partial}");
        files.push((last.clone(), web.get(&format!("/log/tile/{last}")).await));
        let body = |(path, answer): (String, chancery_tests::web::Answer)| {
            assert_eq!(answer.status, 200, "{path}");
            (path, answer.body.to_vec())
        };
        let mut proofs = Vec::new();
        for index in [0, 255, 256, self.act, self.intent, self.old - 1] {
            proofs.push(operator.get_inclusion_proof(index, Some(self.old)).await.unwrap().hashes);
        }
        Seen {
            records: [self.records(true).await, self.records(false).await],
            files: files.into_iter().map(body).collect(),
            proofs,
            shown: [self.show(self.act), self.show(self.intent)],
        }
    }

    /// Whether `/readyz` and the metric say that the archive cannot be read.
    async fn is_unreadable(&self) -> bool {
        let (_, ready) = admin_get(&self.chancery, "/readyz").await;
        let (_, metrics) = admin_get(&self.chancery, "/metrics").await;
        ready.contains("archive: unreadable: ") && metrics.lines().any(|line| line == "chancery_log_archive_readable 0")
    }

    async fn until_readable(&self) {
        eventually("it says that the archive can be read", async || {
            let (_, ready) = admin_get(&self.chancery, "/readyz").await;
            (!ready.contains("archive:")).then_some(())
        })
        .await;
    }

    fn log_key(&self) -> String {
        hand::log_key(&self.chancery.dir()).to_string()
    }

    /// `chancery audit verify` of the database with its archive: what it says, and its exit code.
    fn verify(&self) -> (String, Option<i32>) {
        let database = hand::database(&self.chancery.dir());
        let mut verify = command(program());
        verify.args(["audit", "verify", "--log-key", &self.log_key(), "--database"]).arg(database);
        run(verify.arg("--archive").arg(&self.archive))
    }

    async fn acts(&self) -> Vec<String> {
        let acts = v1::ListRecordsRequest { kind: RecordKind::Act.into(), ..Default::default() };
        let acts = records(&self.chancery.operator().await.unwrap(), acts).await;
        let details = acts.into_iter().map(|act| String::from_utf8(act.details_json.to_vec()).unwrap());
        details.filter(|details| details.contains("log.archive.after_days")).collect()
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    records: [Vec<v1::AuditRecord>; 2],
    files: Vec<(String, Vec<u8>)>,
    proofs: Vec<Vec<[u8; 32]>>,
    shown: [String; 2],
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_is_listed_proved_exported_verified_and_erased_as_before() {
    let mut aged = aged().await;
    let before = aged.seen().await;
    assert_eq!(before.records[0].len() as u64, aged.old);
    aged.restart_with_archive().await;
    aged.until_archived().await;
    let after = aged.seen().await;
    assert!(after == before, "something is seen otherwise");
    let [act] = aged.acts().await.try_into().unwrap();
    assert!(act.contains("the leaves of the records 0 to 767, 3 whole tiles of the log, are in the archive"), "{act}");
    let in_database = leaves(&aged.chancery.dir());
    assert!(in_database[..768].iter().all(Vec::is_empty) && !in_database[768..].iter().any(Vec::is_empty));
    for (path, served) in before.files.iter().filter(|(path, _)| !path.contains(".p/")) {
        assert_eq!(&std::fs::read(aged.archive.join("tile").join(path)).unwrap(), served, "{path}");
    }

    // Receipts of an archived act and of an archived signature hold; an export is whole, from the service and from the database.
    let dir = aged.chancery.dir();
    for index in [aged.act, aged.intent] {
        let receipt = succeed(aged.chancery.cli().args(["audit", "receipt", &index.to_string()]));
        let receipt = chancery_tests::proofs::receipt(&receipt, &aged.log_key()).unwrap();
        assert_eq!((receipt.index, receipt.leaf), (index, before.records[0][index as usize].leaf.to_vec()));
    }
    let (online, offline) = (dir.join("online"), dir.join("offline"));
    let key = aged.log_key();
    let _said = succeed(aged.chancery.cli().args(["audit", "export", "--log-key", &key]).arg(&online));
    let database = hand::database(&dir);
    let export = |archive: Option<&Path>| {
        let mut export = command(program());
        export.args(["audit", "export"]).arg(&offline).arg("--database").arg(&database);
        if let Some(archive) = archive {
            export.arg("--archive").arg(archive);
        }
        run(&mut export)
    };
    let (said, code) = export(None);
    assert!(code != Some(0) && said.contains("no archive is named") && said.contains("--archive DIR"), "{said}");
    let (said, code) = export(Some(&aged.archive));
    assert_eq!(code, Some(0), "{said}");
    for export in [&online, &offline] {
        for (path, served) in before.files.iter().filter(|(path, _)| !path.contains(".p/")) {
            assert_eq!(&std::fs::read(export.join("tile").join(path)).unwrap(), served, "{path}");
        }
        let said = succeed(command(program()).args(["audit", "verify", "--log-key", &key]).arg(export));
        assert!(said.contains("yes"), "{said}");
    }
    let (said, code) = aged.verify();
    assert!(code == Some(0) && said.contains("yes"), "{said}");
    let (said, code) = run(command(program()).args(["audit", "verify", "--database"]).arg(&database));
    assert!(code != Some(0) && code != Some(1) && said.contains("--archive DIR"), "{code:?}: {said}");

    // What somebody changes in the archive is found, by its place.
    for (file, place) in [("tile/entries/001", 100), ("tile/entries/002", 0), ("tile/0/002", 8_191)] {
        let path = aged.archive.join(file);
        let bytes = std::fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let (said, code) = aged.verify();
        assert!(code == Some(1) && said.contains(&format!("{file}: in the archive: ")), "{said}");
        std::fs::write(&path, &bytes).unwrap();
    }

    // Details of archived records are erased as others are.
    aged.chancery.terminate().await.unwrap();
    let erase = ["state", "erase-details", "--caller", "caller", "--reason", "ticket 4711", "-o", "json", "--config"];
    let said = succeed(command(program()).args(erase).arg(aged.chancery.config()));
    assert!(said.contains("\"records\": 804"), "800 intents, 4 outcomes: {said}");
    aged.chancery.restart().await.unwrap();
    let erased = aged.records(true).await;
    let intent = &erased[aged.intent as usize];
    assert!(intent.details_json.is_empty() && intent.erasure_index.is_some());
    assert_eq!(intent.leaf, before.records[0][aged.intent as usize].leaf);
    assert_eq!(erased[aged.act as usize], before.records[0][aged.act as usize]);
    let (said, code) = aged.verify();
    assert!(code == Some(0) && said.contains("yes"), "{said}");
    aged.chancery.terminate().await.unwrap();
    let (said, code) = run(command(program()).args(["state", "check", "--config"]).arg(aged.chancery.config()));
    assert_eq!(code, Some(0), "{said}");

    // A row that somebody edits is held against the archived act that made it; without the archive it is refused all the same.
    let edit = "UPDATE keys SET allow_digest = 1 - allow_digest WHERE key = 'k'";
    hand::edit(&hand::database(&aged.chancery.dir()), edit);
    let check = || run(command(program()).args(["state", "check", "--config"]).arg(aged.chancery.config()));
    let (said, code) = check();
    assert!(code == Some(1) && said.contains(&format!("{} was edited: it is not as record ", aged.key)), "{said}");
    std::fs::rename(&aged.archive, dir.join("away")).unwrap();
    let (said, code) = check();
    assert!(code == Some(1) && !said.contains(&aged.key) && said.contains("NOT the state that was sealed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_archive_is_away_the_service_starts_and_signs_and_says_so() {
    let mut aged = aged().await;
    aged.restart_with_archive().await;
    aged.until_archived().await;
    aged.chancery.terminate().await.unwrap();
    let away = aged.chancery.dir().join("away");
    std::fs::rename(&aged.archive, &away).unwrap();
    // As an empty mount point.
    std::fs::create_dir(&aged.archive).unwrap();
    aged.chancery.restart().await.unwrap();
    let caller = aged.chancery.caller().await.unwrap();
    let receipt = v1::SignRequest { receipt: true, ..sign(&aged.key, b"while it is away") };
    let signed = caller.signing().sign(receipt).await.unwrap().into_inner();
    assert!(format!("{:?}", signed.receipt).contains("c2sp.org/tlog-proof"), "{:?}", signed.receipt);
    let line = eventually("it says so", async || {
        let (status, ready) = admin_get(&aged.chancery, "/readyz").await;
        assert_eq!(status, 200, "{ready}");
        ready.lines().find(|line| line.starts_with("archive: unreadable: ")).map(ToOwned::to_owned)
    })
    .await;
    assert!(!line.contains(aged.archive.to_str().unwrap()), "paths are for the log: {line}");
    let (_, metrics) = admin_get(&aged.chancery, "/metrics").await;
    assert!(metrics.lines().any(|line| line == "chancery_log_archive_readable 0"), "{metrics}");
    let log = aged.chancery.log();
    assert!(log.contains("leaves of old records cannot be read; signing goes on") && log.contains("mount it"), "{log}");

    // What needs an archived leaf is refused, and says why; what does not, works.
    let operator = aged.chancery.operator().await.unwrap();
    let old = v1::ListRecordsRequest { end_index: Some(ARCHIVED + 1), page_size: 5, ..Default::default() };
    let refusal = refused(operator.audit().list_records(old.clone()).await);
    assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::Unavailable, Some("ARCHIVE_UNAVAILABLE")));
    assert!(refusal.message.contains("the leaf of record 767 is in the archive"), "{refusal}");
    assert!(!refusal.message.contains(aged.archive.to_str().unwrap()), "{refusal}");
    let shown: ClientError = operator.get_record(aged.act).await.unwrap_err();
    assert_eq!(shown.reason(), Some("ARCHIVE_UNAVAILABLE"));
    let live = v1::ListRecordsRequest { start_index: Some(ARCHIVED), ..old.clone() };
    assert_eq!(records(&operator, live).await.len(), 1);
    operator.get_inclusion_proof(aged.act, Some(aged.old)).await.unwrap();
    let web = aged.web();
    for (path, status) in [("entries/000", 503), ("0/000", 200), ("1/000.p/3", 200)] {
        assert_eq!(web.get(&format!("/log/tile/{path}")).await.status, status, "{path}");
    }
    assert_eq!(web.get("/log/checkpoint").await.status, 200);
    assert_eq!(std::fs::read_dir(&aged.archive).unwrap().count(), 0, "nothing is written beside what is away");

    // It comes back, without a restart.
    std::fs::remove_dir(&aged.archive).unwrap();
    std::fs::rename(&away, &aged.archive).unwrap();
    operator.get_record(aged.act).await.unwrap().unwrap();
    aged.until_readable().await;

    // Who finds an older file changed makes that known, and who reads another one well does not take it back.
    let lost = aged.archive.join("tile/entries/001");
    let bytes = std::fs::read(&lost).unwrap();
    let mut changed = bytes.clone();
    changed[100] ^= 1;
    std::fs::write(&lost, changed).unwrap();
    assert_eq!(operator.get_record(256).await.unwrap_err().reason(), Some("ARCHIVE_UNAVAILABLE"));
    assert!(aged.is_unreadable().await);
    operator.get_record(600).await.unwrap().unwrap();
    assert!(aged.is_unreadable().await);
    std::fs::write(&lost, &bytes).unwrap();
    operator.get_record(256).await.unwrap().unwrap();
    aged.until_readable().await;

    // One is lost while the service does not run: it says so before anybody asks.
    drop(operator);
    aged.chancery.terminate().await.unwrap();
    std::fs::remove_file(&lost).unwrap();
    let (said, code) = aged.verify();
    assert!(
        code == Some(1) && said.contains("tile/entries/001: in the archive: ") && said.contains("is not there"),
        "{said}"
    );
    aged.chancery.restart().await.unwrap();
    eventually("a look finds it", async || aged.is_unreadable().await.then_some(())).await;
    let operator = aged.chancery.operator().await.unwrap();
    let error = operator.get_record(256).await.unwrap_err();
    assert_eq!(error.reason(), Some("ARCHIVE_UNAVAILABLE"));
    operator.get_record(255).await.unwrap().unwrap();
    assert!(aged.chancery.log().contains("is not there, and was"));
    assert!(aged.is_unreadable().await);
    std::fs::write(&lost, bytes).unwrap();
    operator.get_record(256).await.unwrap().unwrap();
    aged.until_readable().await;

    // Without the section it is as if it were away.
    aged.chancery.configure(|config| drop(config.remove("log"))).unwrap();
    aged.chancery.restart().await.unwrap();
    let operator = aged.chancery.operator().await.unwrap();
    assert_eq!(operator.get_record(256).await.unwrap_err().reason(), Some("ARCHIVE_UNAVAILABLE"));
    eventually("it says so", async || {
        let (_, ready) = admin_get(&aged.chancery, "/readyz").await;
        ready.contains("archive: unreadable: ").then_some(())
    })
    .await;
    assert!(aged.chancery.log().contains("no archive is named; name its folder: [log.archive]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_hashes_of_archived_leaves_are_made_again_from_the_archive_and_from_nothing_else() {
    let mut aged = aged().await;
    aged.restart_with_archive().await;
    aged.until_archived().await;
    let before = aged.seen().await;
    aged.chancery.terminate().await.unwrap();
    let (database, away) = (hand::database(&aged.chancery.dir()), aged.chancery.dir().join("away"));
    hand::edit(&database, "UPDATE tiles SET hashes = zeroblob(8192) WHERE level = 0 AND idx = 1");
    let check = |aged: &Aged| run(command(program()).args(["state", "check", "--config"]).arg(aged.chancery.config()));
    let lost = "the hashes that the database keeps of the archived records 256 to 511 do not lead to what was signed";

    // While the archive is away: nothing that they make is handed out, and nothing is accepted in their place.
    std::fs::rename(&aged.archive, &away).unwrap();
    let (said, code) = check(&aged);
    assert!(code == Some(1) && said.contains(lost) && said.contains("there is no archive in"), "{code:?}: {said}");
    aged.chancery.restart().await.unwrap();
    let operator = aged.chancery.operator().await.unwrap();
    let refused = operator.get_inclusion_proof(300, Some(aged.old)).await.unwrap_err();
    assert_eq!(refused.reason(), Some("LOG_DAMAGED"), "{refused}");
    assert_eq!(aged.web().get("/log/tile/0/001").await.status, 500);
    operator.get_inclusion_proof(3, Some(aged.old)).await.unwrap();
    aged.chancery.caller().await.unwrap().signing().sign(sign(&aged.key, b"m")).await.unwrap();
    aged.chancery.terminate().await.unwrap();

    // With a leaf in it that somebody has changed.
    std::fs::rename(&away, &aged.archive).unwrap();
    let bundle = aged.archive.join("tile/entries/001");
    let bytes = std::fs::read(&bundle).unwrap();
    let mut changed = bytes.clone();
    changed[100] ^= 1;
    std::fs::write(&bundle, changed).unwrap();
    let (said, code) = check(&aged);
    let file = "tile/entries/001 is not what was archived: its leaves do not lead to what was signed";
    assert!(code == Some(1) && said.contains(lost) && said.contains(file), "{code:?}: {said}");
    std::fs::write(&bundle, &bytes).unwrap();

    let (said, code) = check(&aged);
    assert!(code == Some(0) && said.contains("were made again: 1"), "{code:?}: {said}");
    aged.chancery.restart().await.unwrap();
    assert!(aged.seen().await == before, "something is seen otherwise");
    let (said, code) = aged.verify();
    assert!(code == Some(0) && said.contains("yes"), "{said}");
    aged.chancery.terminate().await.unwrap();

    // What a start notices, it mends itself: here all that is kept of the tree is gone, or wrong.
    hand::edit(&database, "DELETE FROM tiles WHERE level = 0 AND idx = 2");
    hand::edit(&database, "UPDATE tiles SET hashes = zeroblob(length(hashes))");
    aged.chancery.restart().await.unwrap();
    assert!(aged.seen().await == before, "something is seen otherwise");
    assert!(aged.chancery.log().contains("were made again from the archive"), "{}", aged.chancery.log());
    let (said, code) = aged.verify();
    assert!(code == Some(0) && said.contains("yes"), "{said}");
}

/// As on a share whose server has gone: opening the file never ends.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_hangs_holds_up_nothing_but_old_records() {
    let mut aged = aged().await;
    aged.restart_with_archive().await;
    aged.until_archived().await;
    let bundle = aged.archive.join("tile/entries/001");
    let bytes = std::fs::read(&bundle).unwrap();
    std::fs::remove_file(&bundle).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&bundle).status().unwrap().success());
    let operator = aged.chancery.operator().await.unwrap();
    let old = v1::ListRecordsRequest { start_index: Some(256), end_index: Some(300), ..Default::default() };
    // More than may list at the same time.
    for _ in 0..4 {
        let mut request = tonic::Request::new(old.clone());
        request.set_timeout(Duration::from_secs(1));
        operator.audit().list_records(request).await.unwrap_err();
    }
    let watch = v1::WatchRecordsRequest { start_index: Some(256), ..Default::default() };
    let watching = operator.audit().watch_records(watch).await.unwrap();
    let live =
        v1::ListRecordsRequest { start_index: Some(ARCHIVED), end_index: Some(ARCHIVED + 3), ..Default::default() };
    assert_eq!(records(&operator, live).await.len(), 3);
    operator.get_record(3).await.unwrap().unwrap();
    operator.get_inclusion_proof(300, Some(aged.old)).await.unwrap();
    let caller = aged.chancery.caller().await.unwrap();
    let receipt = v1::SignRequest { receipt: true, ..sign(&aged.key, b"while it hangs") };
    let signed = caller.signing().sign(receipt).await.unwrap().into_inner();
    assert!(format!("{:?}", signed.receipt).contains("c2sp.org/tlog-proof"), "{:?}", signed.receipt);
    drop((watching, caller));
    std::fs::remove_file(&bundle).unwrap();
    std::fs::write(&bundle, bytes).unwrap();
    assert_eq!(records(&operator, old).await.len(), 44);
    drop(operator);
    aged.chancery.terminate().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_it_is_killed_the_next_start_goes_on() {
    if !chancery_fail_point::ARMED {
        return;
    }
    let mut aged = aged().await;
    let before = aged.records(true).await;
    aged.chancery.terminate().await.unwrap();
    aged.configure();
    for (point, archived) in [("leaves-copied:1", 0), ("leaves-emptied:2", 512)] {
        aged.chancery.set_environment(FAIL_POINT_VARIABLE, Some(point));
        aged.chancery.launch().unwrap();
        let status = eventually(point, async || aged.chancery.ended().unwrap()).await;
        assert_eq!(status.signal(), Some(9), "{point}: {status}");
        assert_eq!(aged.archived(), archived, "{point}");
        let (said, code) = aged.verify();
        assert!(code == Some(0) && said.contains("yes"), "{point}: {said}");
    }
    aged.chancery.set_environment(FAIL_POINT_VARIABLE, None);
    aged.chancery.launch().unwrap();
    aged.chancery.wait_until_serving().await.unwrap();
    aged.until_archived().await;
    assert!(aged.records(true).await == before);
    let acts = aged.acts().await;
    assert_eq!(acts.len(), 2, "the first copy was on no record: {acts:?}");
    assert!(
        acts[0].contains("records 512 to 767, 1 whole") && acts[1].contains("records 0 to 767, 3 whole"),
        "{acts:?}"
    );
    let (said, code) = aged.verify();
    assert!(code == Some(0) && said.contains("yes"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_goes_on_with_a_newer_archive_and_another_log_s_is_refused() {
    let mut aged = aged().await;
    let before = aged.records(true).await;
    aged.chancery.terminate().await.unwrap();
    let older = Saved::of(&aged.chancery.dir());

    // The archive of another log; then something else in a tile's place; then a leaf that somebody has edited.
    std::fs::create_dir_all(aged.archive.join("tile/entries")).unwrap();
    let keys = aged.archive.join("log-keys");
    let other = "log.example/chancery+fe94a607+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c\n";
    std::fs::write(&keys, other).unwrap();
    aged.configure();
    aged.refuses("its log-keys are others").await;
    assert_eq!(std::fs::read_to_string(&keys).unwrap(), other);
    std::fs::remove_file(&keys).unwrap();
    let bundle = aged.archive.join("tile/entries/001");
    std::fs::write(&bundle, "something else").unwrap();
    aged.refuses("tile/entries/001 in it is another one").await;
    assert_eq!(std::fs::read_to_string(&bundle).unwrap(), "something else");
    std::fs::remove_file(&bundle).unwrap();
    aged.chancery.terminate().await.unwrap();
    let leaf = leaves(&aged.chancery.dir()).swap_remove(300);
    let mut edited = leaf.clone();
    *edited.last_mut().unwrap() ^= 1;
    let edit = |leaf: &[u8]| format!("UPDATE leaves SET leaf = x'{}' WHERE idx = 300", hex(leaf));
    hand::edit(&hand::database(&aged.chancery.dir()), &edit(&edited));
    aged.refuses("record 300 is not the one whose hash is in the tree").await;
    aged.chancery.terminate().await.unwrap();
    hand::edit(&hand::database(&aged.chancery.dir()), &edit(&leaf));

    aged.chancery.restart().await.unwrap();
    aged.until_archived().await;
    aged.chancery.terminate().await.unwrap();
    older.put(&aged.chancery.dir());
    assert_eq!(aged.archived(), 0);
    aged.chancery.restart().await.unwrap();
    aged.until_archived().await;
    assert!(aged.records(true).await == before);
    let (said, code) = aged.verify();
    assert!(code == Some(0) && said.contains("yes"), "{said}");
}

impl Aged {
    /// Starts again, and archives nothing for this reason, while it signs.
    async fn refuses(&mut self, why: &str) {
        self.chancery.restart().await.unwrap();
        eventually(why, async || {
            let (status, ready) = admin_get(&self.chancery, "/readyz").await;
            assert_eq!(status, 200, "{ready}");
            ready.contains("archive: behind: ").then_some(())
        })
        .await;
        let log = self.chancery.log();
        let last = log.lines().rfind(|line| line.contains("are not archived, although they should be")).unwrap();
        assert!(last.contains(why), "{last}");
        assert_eq!(self.archived(), 0);
        self.chancery.caller().await.unwrap().signing().sign(sign(&self.key, b"m")).await.unwrap();
    }
}
