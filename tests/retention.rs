//! `[retention]` and `chancery state erase-details`: the *details* of old records, or of one caller's, are erased for good, from the
//! database's files, too; leaves, proofs, checkpoints and the state stay as they were. Whoever reads a record, verifies the log
//! or an export of it is told which record says that details are gone, and where none does. (That leaves move to a folder, and
//! stay what they were, is another rule's: `archive.rs`.)

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise, also in its helper functions"
)]

use std::path::Path;

use chancery_api::v1::{self, Algorithm, RecordKind};
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::kept_tree;
use chancery_audit::tree::{check_inclusion, leaf_hash};
use chancery_audit::verify::{LogRecord, Report, verify_log};
use chancery_client::{Client, Record};
use chancery_store::{Order, RecordQuery, StoreError};
use chancery_testkit::{CallerSetup, Chancery};
use chancery_tests::canary::{Canary, found};
use chancery_tests::contract::{create, eventually, hex, new_key, records, sha256, sign};
use chancery_tests::hand;
use chancery_tests::program::{chancery as program, command, run, succeed};
use serde_json::Value;
use tonic::Request;

const RING: &str = "keyRings/dev";
const TRACE: [u8; 16] =
    [0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36];

/// As if the service had stood still for so many days, but for the leaves, which no rule of retention asks.
fn let_days_pass(folder: &Path, days: i64) {
    hand::open(&hand::database(folder)).execute_batch(&hand::older(days)).unwrap();
}

/// Signs a message, traced; the record's index once its outcome is on the record, too, and the outcome's.
async fn signed(chancery: &Chancery, key: &str, message: &[u8]) -> (u64, u64) {
    let mut request = Request::new(sign(key, message));
    let parent = format!("00-{}-00f067aa0ba902b7-01", hex(&TRACE));
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    let caller = chancery.caller().await.unwrap();
    let index = caller.signing().sign(request).await.unwrap().into_inner().record_index;
    let operator = chancery.operator().await.unwrap();
    let outcome = eventually("the outcome", async || record(&operator, index).await.outcome_index).await;
    (index, outcome)
}

/// The newest act there is.
async fn newest_act(chancery: &Chancery) -> u64 {
    let acts = v1::ListRecordsRequest { kind: RecordKind::Act.into(), ..v1::ListRecordsRequest::default() };
    records(&chancery.operator().await.unwrap(), acts).await.first().unwrap().index
}

async fn record(operator: &Client, index: u64) -> Record {
    operator.get_record(index).await.unwrap().unwrap()
}

/// The whole log of a service that has stopped, verified against the key that its state pins.
fn verified(folder: &Path) -> Report {
    let key = hand::log_key(folder);
    let (_writer, reader) = hand::store(&hand::database(folder)).unwrap();
    let checkpoints: Vec<SignedCheckpoint> = reader
        .checkpoints_after(None, u32::MAX)
        .unwrap()
        .iter()
        .map(|row| SignedCheckpoint::parse(row.note.as_bytes()).unwrap())
        .collect();
    let query = RecordQuery { order: Order::OldestFirst, limit: u32::MAX, ..RecordQuery::default() };
    let records = reader.list_records(&query).unwrap().records.into_iter().map(|record| {
        let details = record.details.map(|details| (details.salt, details.content));
        Ok::<_, StoreError>(LogRecord { index: record.index, leaf: record.leaf, details, erased_by: record.erased_by })
    });
    verify_log(vec![key], records, checkpoints.into_iter().map(Ok)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_details_are_erased_everywhere_and_the_log_still_proves_itself() {
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let made = create(&operator, new_key(RING, "k", Algorithm::Ed25519)).await.name;
    let (old, end) = signed(&chancery, &made, b"an old contract").await;
    // Enough that SQLite moves rows about.
    for number in 0..150 {
        let caller = chancery.caller().await.unwrap();
        caller.signing().sign(sign(&made, format!("old {number}").as_bytes())).await.unwrap();
    }
    let nothing = format!("{RING}/keys/nothing");
    chancery.caller().await.unwrap().signing().sign(sign(&nothing, b"m")).await.unwrap_err();
    let refusals = v1::ListRecordsRequest { kind: RecordKind::Denial.into(), ..v1::ListRecordsRequest::default() };
    let refused =
        eventually("the refusal", async || records(&operator, refusals.clone()).await.into_iter().next()).await;
    let acts = v1::ListRecordsRequest { kind: RecordKind::Act.into(), ..v1::ListRecordsRequest::default() };
    let acts: Vec<u64> = records(&operator, acts).await.iter().map(|record| record.index).collect();
    let before = record(&operator, old).await;
    assert!(!before.details_json.is_empty() && before.erasure_index.is_none());
    drop(operator);
    chancery.terminate().await.unwrap();
    let first = verified(&chancery.dir());
    assert_eq!(first.details, first.size, "all of them");
    let salt = Canary::new("the salt", &before.salt);
    let digest = sha256(b"an old contract");
    let canaries = [salt, Canary::new("the digest", &digest)];
    let in_files = |chancery: &Chancery| -> Vec<String> {
        let files = ["", "-wal"].map(|end| format!("{}{end}", hand::database(&chancery.dir()).display()));
        let contents = files.iter().filter_map(|file| std::fs::read(file).ok());
        contents.flat_map(|content| found(&canaries, &content)).collect()
    };
    assert!(in_files(&chancery).len() >= 2, "they can be found at all");

    let_days_pass(&chancery.dir(), 3);
    chancery
        .configure(|config| {
            config.insert("retention".to_owned(), toml::toml! { signature_details_days = 2 }.into());
        })
        .unwrap();
    chancery.restart().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let (new, _) = signed(&chancery, &made, b"a new contract").await;
    let act = eventually("the erasure", async || record(&operator, old).await.erasure_index).await;
    eventually("of the outcome", async || record(&operator, end).await.erasure_index).await;
    eventually("the last of the old ones", async || {
        let Record { details_json, .. } = record(&operator, refused.index - 1).await;
        details_json.is_empty().then_some(())
    })
    .await;

    let after = record(&operator, old).await;
    assert_eq!((after.leaf.clone(), after.outcome_index), (before.leaf, before.outcome_index), "it is final");
    assert!(after.details_json.is_empty() && after.salt.is_empty() && after.caller.is_none());
    assert_eq!(after.action, "Sign", "the leaf says it");
    assert!(!record(&operator, new).await.details_json.is_empty(), "too young");
    assert!(!record(&operator, refused.index).await.details_json.is_empty(), "another rule's");
    let mut outcomes = 0;
    for act in acts {
        let act = record(&operator, act).await;
        assert!(!act.details_json.is_empty(), "what changed the state: {}", act.index);
        if let Some(outcome) = act.outcome_index {
            assert!(!record(&operator, outcome).await.details_json.is_empty(), "and how that ended: {outcome}");
            outcomes += 1;
        }
    }
    assert!(outcomes > 0, "a key was made");
    let said = record(&operator, act).await;
    let said = String::from_utf8(said.details_json).unwrap();
    assert!(
        said.contains("by rule, signature_details_days = 2: the details of ") && !said.contains("caller\""),
        "{said}"
    );
    let of_caller = succeed(chancery.cli().args(["audit", "list", "--trace-id", &hex(&TRACE), "-o", "json"]));
    assert!(!of_caller.contains(&format!("\"index\": {old},")) && of_caller.contains(&format!("\"index\": {new},")));
    let shown = succeed(chancery.cli().args(["audit", "show", &old.to_string()]));
    for part in ["the details were erased", &format!("record {act}, "), "by rule, signature_details_days = 2"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    let (said, code) = run(chancery.cli().args(["audit", "receipt", &old.to_string()]));
    assert!(code == Some(6) && said.contains(&format!("the details of record {old} were erased")), "{said}");
    drop(operator);
    // The write-ahead log is emptied by the service itself, some moment after the erasure.
    eventually("nothing of it in the files", async || in_files(&chancery).is_empty().then_some(())).await;
    chancery.terminate().await.unwrap();

    let second = verified(&chancery.dir());
    assert!(second.size > first.size && second.details < first.details, "{} and {}", second.size, second.details);
    let (writer, reader) = hand::store(&hand::database(&chancery.dir())).unwrap();
    let mut tree = kept_tree(&reader, second.size);
    let (root, proof) = (tree.root().unwrap(), tree.inclusion_proof(old).unwrap());
    check_inclusion(&leaf_hash(&after.leaf), old, second.size, &root, &proof).unwrap();
    drop((tree, reader));
    writer.close().unwrap();
    let (said, code) = run(command(program()).args(["state", "check", "--config"]).arg(chancery.config()));
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rule_nothing_is_erased_and_a_row_that_somebody_removed_is_said_to_be() {
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let made = create(&operator, new_key(RING, "k", Algorithm::Ed25519)).await.name;
    let (old, _) = signed(&chancery, &made, b"m").await;
    drop(operator);
    chancery.terminate().await.unwrap();
    let_days_pass(&chancery.dir(), 30_000);
    hand::open(&hand::database(&chancery.dir()))
        .execute("DELETE FROM details WHERE idx = ?1", [i64::try_from(old).unwrap()])
        .unwrap();
    // A rule for what there is none of.
    chancery
        .configure(|config| {
            config.insert("retention".to_owned(), toml::toml! { refusal_details_days = 1 }.into());
        })
        .unwrap();
    chancery.restart().await.unwrap();
    let (new, _) = signed(&chancery, &made, b"m").await;
    let (shown, code) = run(chancery.cli().args(["audit", "show", &old.to_string()]));
    assert!(code == Some(1) && shown.contains("by no record: somebody removed"), "{shown}");
    // So is whoever asks for its receipt.
    let receipt = |index: u64| run(chancery.cli().args(["audit", "receipt", &index.to_string()]));
    let removed = format!("somebody removed the details of record {old}: they are not there, and no act");
    let (said, code) = receipt(old);
    assert!(code == Some(1) && said.contains(&removed) && said.contains("chancery audit verify"), "{said}");
    // Whoever verifies the log is told, of the database and of the service.
    let key = succeed(chancery.cli().args(["audit", "log-key"]));
    let database = hand::database(&chancery.dir()).display().to_string();
    let all = |arguments: &[&str]| {
        let verify = ["audit", "verify", "-o", "json", "--log-key", key.trim()];
        let (said, code) = run(chancery.cli().args(verify).args(arguments));
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        (said, code)
    };
    for arguments in [&["--database", &database] as &[&str], &[]] {
        let (said, code) = all(arguments);
        assert_eq!((&said["verified"], code), (&Value::Bool(false), Some(1)), "{said}");
        let removed = serde_json::json!({"erased": 0, "removed": 1, "first_removed": [old]});
        assert_eq!(said["report"]["missing"], removed, "{said}");
    }
    // A note that names an act that says nothing of the kind is not believed.
    let act = newest_act(&chancery).await;
    hand::open(&hand::database(&chancery.dir()))
        .execute("INSERT INTO erased VALUES (?1, ?2)", [old, act].map(|index| i64::try_from(index).unwrap()))
        .unwrap();
    let (shown, code) = run(chancery.cli().args(["audit", "show", &old.to_string(), "-o", "json"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["commitment"], code), (&Value::from("REMOVED"), Some(1)), "{shown}");
    assert_eq!(all(&[]).1, Some(1));
    let (said, code) = receipt(old);
    assert!(code == Some(1) && said.contains(&removed), "{said}");
    hand::open(&hand::database(&chancery.dir())).execute("DELETE FROM erased", []).unwrap();
    let operator = chancery.operator().await.unwrap();
    for index in (0..new).filter(|index| *index != old) {
        let record = record(&operator, index).await;
        assert!(!record.details_json.is_empty() && record.erasure_index.is_none(), "{index}");
    }
    // Details that were changed are no trouble of the service's, either.
    hand::open(&hand::database(&chancery.dir()))
        .execute("UPDATE details SET salt = zeroblob(32) WHERE idx = ?1", [i64::try_from(new).unwrap()])
        .unwrap();
    let (said, code) = receipt(new);
    let changed = format!("the details of record {new} are not those that its leaf commits to");
    assert!(code == Some(1) && said.contains(&changed) && said.contains("chancery audit verify"), "{said}");
    chancery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_erases_what_there_is_of_one_caller_and_of_nobody_else() {
    let other = CallerSetup::new("other").role("signer").ring("dev");
    let mut chancery = Chancery::setup().with(other).start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let made = create(&operator, new_key(RING, "k", Algorithm::Ed25519)).await.name;
    let (hers, end) = signed(&chancery, &made, b"hers").await;
    let other = chancery.connect_as("other").await.unwrap();
    let others = other.signing().sign(sign(&made, b"another's")).await.unwrap().into_inner().record_index;
    eventually("the outcome", async || record(&operator, others).await.outcome_index).await;
    chancery.caller().await.unwrap().signing().sign(sign(&format!("{RING}/keys/nothing"), b"m")).await.unwrap_err();
    let refusals = v1::ListRecordsRequest { kind: RecordKind::Denial.into(), ..v1::ListRecordsRequest::default() };
    let refused =
        eventually("the refusal", async || records(&operator, refusals.clone()).await.into_iter().next()).await;
    let salt = Canary::new("the salt", &record(&operator, hers).await.salt);
    drop((operator, other));

    let erase = |caller: &str| {
        let mut erase = command(program());
        erase.args(["state", "erase-details", "--caller", caller, "--reason", "ticket 4711", "-o", "json", "--config"]);
        erase.arg(chancery.config());
        erase
    };
    let (said, code) = run(&mut erase("caller"));
    assert!(
        code != Some(0) && said.contains("error: nothing is erased") && said.contains("in use"),
        "the service runs: {said}"
    );
    let [mut of_nobody, mut of_her, mut again] = ["nobody", "callers/caller", "caller"].map(erase);
    chancery.terminate().await.unwrap();
    let (said, code) = run(&mut of_nobody);
    assert!(
        code == Some(6) && said.contains("error: nothing is erased: callers/nobody does not exist"),
        "{code:?}: {said}"
    );
    let said: Value = serde_json::from_str(&succeed(&mut of_her)).unwrap();
    assert_eq!(said["records"], 3, "intent, outcome and refusal: {said}");
    let acts: Vec<u64> = said["acts"].as_array().unwrap().iter().map(|act| act.as_u64().unwrap()).collect();
    let again: Value = serde_json::from_str(&succeed(&mut again)).unwrap();
    assert_eq!((&again["records"], &again["acts"]), (&0.into(), &serde_json::json!([])));
    for end in ["", "-wal"] {
        let file = format!("{}{end}", hand::database(&chancery.dir()).display());
        let content = std::fs::read(file).unwrap_or_default();
        assert_eq!(found(std::slice::from_ref(&salt), &content).len(), 0, "{end}");
    }

    chancery.restart().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    for (index, act) in [(hers, acts[0]), (end, acts[0]), (refused.index, acts[1])] {
        let record = record(&operator, index).await;
        assert!(record.details_json.is_empty() && record.erasure_index == Some(act), "{index}");
    }
    assert!(!record(&operator, others).await.details_json.is_empty());
    let said = record(&operator, acts[0]).await;
    let said = String::from_utf8(said.details_json).unwrap();
    assert!(said.contains("because: ticket 4711") && !said.contains("caller\""), "{said}");
    let shown = succeed(chancery.cli().args(["audit", "show", &acts[0].to_string()]));
    assert!(shown.starts_with("An operator erased details, with a command on the service's machine."), "{shown}");
    drop(operator);
    chancery.terminate().await.unwrap();
    let report = verified(&chancery.dir());
    assert_eq!(report.details, report.size - 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_erasure_has_left_is_no_fault_and_goes_with_the_next_start() {
    let mut chancery = Chancery::start().await.unwrap();
    let operator = chancery.operator().await.unwrap();
    let made = create(&operator, new_key(RING, "k", Algorithm::Ed25519)).await.name;
    let (old, _) = signed(&chancery, &made, b"m").await;
    drop(operator);
    chancery.terminate().await.unwrap();
    let database = hand::database(&chancery.dir());
    let verify = || succeed(command(program()).args(["audit", "verify", "--database"]).arg(&database));
    let left = || -> i64 {
        hand::open(&database)
            .query_row("SELECT count(*) FROM details WHERE idx = ?1", [old as i64], |row| row.get(0))
            .unwrap()
    };
    let _said = verify();
    // As it is between the two steps of an erasure.
    let mut erase = command(program());
    erase.args(["state", "erase-details", "--caller", "caller", "--reason", "ticket 4711", "--config"]);
    let _said = succeed(erase.arg(chancery.config()));
    assert_eq!(left(), 0);
    let empty = format!(
        "INSERT INTO details (idx, salt, content, time, kind)
         SELECT {old}, zeroblob(32), zeroblob(0), time, 1 FROM details WHERE idx = 0"
    );
    hand::open(&database).execute_batch(&empty).unwrap();
    let said = verify();
    assert!(said.contains("of 2 records erased"), "intent and outcome: {said}");
    assert_eq!(left(), 1);
    // An export knows it, too, once it has the act, which no checkpoint covers before the next start.
    let folder = chancery.dir().join("export");
    let exported = || {
        let _said = succeed(command(program()).args(["audit", "export", "--database"]).arg(&database).arg(&folder));
        let (said, code) = run(command(program()).args(["audit", "verify", "-o", "json"]).arg(&folder));
        // A warning stands behind it: the key is the export's own.
        let mut said = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
        (said.next().unwrap().unwrap(), code)
    };
    let (said, code) = exported();
    let missing = serde_json::json!({"erased": 0, "removed": 0, "first_removed": [], "behind": 2});
    assert_eq!((&said["report"]["missing"], &said["verified"], code), (&missing, &Value::Bool(false), Some(1)));
    chancery.restart().await.unwrap();
    eventually("the row is removed, without a rule", async || (left() == 0).then_some(())).await;
    chancery.terminate().await.unwrap();
    let _said = verify();
    let (said, code) = exported();
    let missing = serde_json::json!({"erased": 2, "removed": 0, "first_removed": []});
    assert_eq!(
        (&said["report"]["missing"], &said["verified"], code),
        (&missing, &Value::Bool(true), Some(0)),
        "{said}"
    );
}
