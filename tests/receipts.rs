//! Receipts: with a signature, or later; verified without the service, by the command and by a second implementation.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use chancery_api::v1::{self, ReceiptStatus};
use chancery_client::{
    Client, EcdsaEncoding, JwtRequest, KeyRef, NewKey, NoReceipt, PublicKeyFormat, RecordQuery, SignItem, Signed,
};
use chancery_model::{Algorithm, KeyName};
use chancery_pkcs11_fault::{FaultRules, Rule, Then};
use chancery_testkit::{CallerSetup, Chancery};
use chancery_tests::contract::{assert_field, assert_refused, hex, sha256, sign};
use chancery_tests::faults::{before_the_token, with_a_ring_on_a_token};
use chancery_tests::leaf::{Body, Leaf};
use chancery_tests::load::until;
use chancery_tests::program::{chancery as program, command, run, succeed};
use chancery_tests::proofs;
use chancery_tests::web::Web;
use serde_json::Value as Json;
use toml::Value;
use tonic::{Code, Request};

const MESSAGE: &[u8] = b"pay 5 to Ada";

/// No checkpoint is signed by itself while the test runs: only receipts ask for one.
fn only_on_request(config: &mut toml::Table) {
    let log = toml::toml! { origin = "log.example/chancery" checkpoint_interval_seconds = 86400 };
    config.insert("log".to_owned(), log.into());
}

async fn log_key(operator: &Client) -> String {
    operator.get_checkpoint().await.unwrap().log_key
}

fn item(key: &str, message: &[u8]) -> SignItem {
    SignItem::new(key.parse::<KeyRef>().unwrap(), message).with_receipt()
}

/// The receipt of a signature that must have one.
fn issued(signed: &Signed) -> &str {
    signed.receipt.as_ref().expect("a receipt was asked for").as_ref().expect("there is one")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_comes_with_a_receipt_that_a_second_implementation_believes() {
    let chancery = Chancery::setup().configure(only_on_request).start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = chancery.create_key("k", Algorithm::EcdsaP256Sha256).await.unwrap().to_string();
    let log_key = log_key(&operator).await;
    let signed = caller.sign_item(item(&key, MESSAGE)).await.unwrap();
    let receipt = proofs::receipt(issued(&signed), &log_key).unwrap();

    // The record is the signature's own intent, leaf and details alike.
    assert_eq!(receipt.index, signed.record_index);
    let record = operator.get_record(signed.record_index).await.unwrap().unwrap();
    assert_eq!(receipt.leaf, record.leaf);
    assert!(matches!(Leaf::read(&receipt.leaf).body, Body::Intent { action: 1, decision: 1, .. }));
    let spki = caller.public_key(&*signed.version.to_string(), PublicKeyFormat::Der).await.unwrap();
    let details = &receipt.details;
    assert_eq!(details["caller"], "caller");
    assert_eq!(details["resource"], signed.version.to_string());
    assert_eq!(details["signed"]["digest"], hex(&sha256(MESSAGE)));
    assert_eq!(details["spki_sha256"], hex(&sha256(&spki.data)));
    assert_eq!(receipt.checkpoint.origin, "log.example/chancery");

    // The other calls that make signatures: a stream's messages, and tokens.
    let (sender, mut answers) = caller.stream_sign().await.unwrap();
    sender.send("with", item(&key, MESSAGE)).await.unwrap();
    sender.send("without", SignItem::new(key.parse::<KeyRef>().unwrap(), MESSAGE)).await.unwrap();
    for _ in 0..2 {
        let answer = answers.next().await.unwrap().unwrap();
        let signed = answer.result.unwrap();
        assert_eq!(signed.receipt.is_some(), answer.correlation_id == "with");
        if signed.receipt.is_some() {
            assert_eq!(proofs::receipt(issued(&signed), &log_key).unwrap().index, signed.record_index);
        }
    }
    let request = JwtRequest { receipt: true, ..JwtRequest::new(r#"{"sub":"ada"}"#) };
    let jwt = caller.sign_jwt(&*key, request).await.unwrap();
    let receipt = proofs::receipt(&jwt.receipt.unwrap().unwrap(), &log_key).unwrap();
    let input = jwt.token.rsplit_once('.').unwrap().0;
    assert_eq!(receipt.details["signed"]["digest"], hex(&sha256(input.as_bytes())));
    assert!(caller.sign(&*key, MESSAGE, EcdsaEncoding::Der).await.unwrap().receipt.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_256_has_256_receipts_by_one_checkpoint() {
    let chancery = Chancery::setup().configure(only_on_request).start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = chancery.create_key("k", Algorithm::EcdsaP256Sha256).await.unwrap().to_string();
    let log_key = log_key(&operator).await;
    let items = (0..256).map(|number| item(&key, format!("message {number}").as_bytes()));
    let mut notes = BTreeSet::new();
    let mut indexes = BTreeSet::new();
    for (number, signed) in caller.batch_sign(items).await.into_iter().enumerate() {
        let signed = signed.unwrap();
        let receipt = proofs::receipt(issued(&signed), &log_key).unwrap();
        assert_eq!(receipt.index, signed.record_index);
        let digest = hex(&sha256(format!("message {number}").as_bytes()));
        assert_eq!(receipt.details["signed"]["digest"], digest, "each item has its own");
        notes.insert(receipt.note);
        indexes.insert(receipt.index);
    }
    assert_eq!((notes.len(), indexes.len()), (1, 256), "one checkpoint for all");

    // Only those that want one have one; one that is refused does not stop the others.
    let mixed = vec![
        item(&key, b"a"),
        SignItem::new(key.parse::<KeyRef>().unwrap(), b"b"),
        item(&format!("{key}-that-is-not-there"), b"c"),
        item(&key, b"d"),
    ];
    let answers = caller.batch_sign(mixed).await;
    let with: Vec<Option<bool>> =
        answers.iter().map(|answer| answer.as_ref().ok().map(|signed| signed.receipt.is_some())).collect();
    assert_eq!(with, [Some(true), Some(false), None, Some(true)]);

    // Many callers who wait at one time share checkpoints, too: these are 50 ms apart at least.
    let begun = Instant::now();
    let calls = (0..64).map(|number| {
        let (caller, key) = (caller.clone(), key.clone());
        tokio::spawn(async move { caller.sign_item(item(&key, format!("call {number}").as_bytes())).await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    let mut notes = BTreeSet::new();
    for call in calls {
        let signed = call.await.unwrap();
        notes.insert(proofs::receipt(issued(&signed), &log_key).unwrap().note);
    }
    let most = begun.elapsed().as_millis() / 50 + 2;
    assert!((notes.len() as u128) <= most, "{} checkpoints for 64 calls, and {most} at most", notes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_made_later_and_stay_good_while_the_log_grows() {
    let chancery = Chancery::setup().configure(only_on_request).start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = chancery.create_key("k", Algorithm::EcdsaP256Sha256).await.unwrap().to_string();
    let early = caller.sign_item(item(&key, MESSAGE)).await.unwrap();
    let log_key = succeed(chancery.cli().args(["audit", "log-key"]));
    let log_key = log_key.trim();
    let before = proofs::receipt(issued(&early), log_key).unwrap();
    let kept = chancery.dir().join("kept.checkpoint");
    std::fs::write(&kept, &before.note).unwrap();
    for _ in 0..3 {
        let more =
            (0..120).map(|number| SignItem::new(key.parse::<KeyRef>().unwrap(), format!("more {number}").as_bytes()));
        assert!(caller.batch_sign(more).await.into_iter().all(|signed| signed.is_ok()));
    }
    let index = caller.sign(&*key, MESSAGE, EcdsaEncoding::Der).await.unwrap().record_index;

    // The latest record is covered at once, since somebody asks for it; the early receipt is as good as ever.
    let late = succeed(chancery.cli().args(["audit", "receipt", &index.to_string()]));
    let late = proofs::receipt(&late, log_key).unwrap();
    assert_eq!((late.index, &late.details["signed"]["digest"]), (index, &before.details["signed"]["digest"]));
    let again = succeed(chancery.cli().args(["audit", "receipt", &early.record_index.to_string()]));
    let again = proofs::receipt(&again, log_key).unwrap();
    assert_eq!((&again.leaf, again.checkpoint.size > before.checkpoint.size), (&before.leaf, true));
    assert!(proofs::receipt(issued(&early), log_key).is_ok());

    // And the later log begins with the earlier one.
    let (older, newer) = (&before.checkpoint, &again.checkpoint);
    let proof = operator.get_consistency_proof(older.size, Some(newer.size)).await.unwrap();
    let hashes: Vec<Vec<u8>> = proof.hashes.iter().map(|hash| hash.to_vec()).collect();
    let roots = proofs::roots_by_proof(older.size, newer.size, &older.root, true, &hashes);
    assert_eq!(roots, Some((older.root.clone(), newer.root.clone())));
    let continues = ["audit", "checkpoint", "--log-key", log_key, "--continues", kept.to_str().unwrap(), "-o", "json"];
    let shown: Json = serde_json::from_str(&succeed(chancery.cli().args(continues))).unwrap();
    assert_eq!(shown["continues_tree_of"], older.size);
    // As it is kept by the clock: the new one takes the old one's place, whole.
    let mut open = std::fs::File::open(&kept).unwrap();
    let keep = [&continues[..], &["--out", kept.to_str().unwrap()]].concat();
    let _said = succeed(chancery.cli().args(keep));
    let mut old = String::new();
    std::io::Read::read_to_string(&mut open, &mut old).unwrap();
    assert_eq!(old, before.note, "the file that was kept was not written over");
    let newest = proofs::checkpoint(&std::fs::read_to_string(&kept).unwrap(), log_key).unwrap();
    assert!(newest.size >= newer.size);
    proofs::checkpoint(shown["note"].as_str().unwrap(), log_key).unwrap();

    // An outcome has a receipt, too, which says what was made, and not by which key or of what.
    let outcome = operator.get_record(early.record_index).await.unwrap().unwrap().outcome_index.unwrap();
    let receipt = chancery.dir().join("outcome.receipt");
    let make = ["audit", "receipt", &outcome.to_string(), "--out", receipt.to_str().unwrap()];
    let _said = succeed(chancery.cli().args(make));
    let offline = Offline { log_key: log_key.to_owned(), folder: chancery.dir() };
    let (said, code) = offline.verify(&receipt, &[]);
    let made = chancery_crypto::ecdsa_fixed_from_der(chancery_model::Curve::P256, &early.signature).unwrap();
    let ended = serde_json::json!([{
        "record_index": early.record_index, "result": "DONE", "signature_sha256": hex(&sha256(&made)),
    }]);
    assert_eq!((&said["record"]["kind"], &said["record"]["outcomes"], code), (&"OUTCOME".into(), &ended, Some(0)));
    let mut for_people = command(program());
    for_people.args(["verify", "--log-key", log_key, "--receipt"]).arg(&receipt);
    let text = succeed(&mut for_people);
    let ends =
        format!("record {}: DONE, it was done; the signature's SHA-256 is {}", early.record_index, hex(&sha256(&made)));
    assert!(text.contains(&ends), "{text}");
    let (signature, other) = (offline.write("sig", &early.signature), offline.write("other-sig", [7; 64]));
    let pem = offline.folder.join("pem").to_str().unwrap().to_owned();
    let _said = succeed(chancery.cli().args(["public-key", &key, "--out", &pem]));
    for with in [&["--signature", &signature][..], &["--signature", &signature, "--public-key", &pem]] {
        let (said, code) = offline.verify(&receipt, with);
        assert_eq!((&said["signature_of"], code), (&early.record_index.into(), Some(0)), "{said}");
        assert_eq!(said["checked"], serde_json::json!({"input": false, "public_key": false, "signature": true}));
    }
    let text = succeed(for_people.args(["--signature", &signature]));
    assert!(text.contains(&format!("the one that was made for record {}", early.record_index)), "{text}");
    assert_eq!(offline.fault(&receipt, &["--signature", &other]), "SIGNATURE");
    assert_eq!(offline.fault(&receipt, &["--public-key", &pem]), "RECORD");
    let (said, code) = offline.verify(&receipt, &["--digest", &"00".repeat(32)]);
    assert_eq!((said["fault"]["part"].as_str(), code), (Some("RECORD"), Some(1)), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_of_a_check_is_none_of_what_was_checked() {
    let chancery = Chancery::setup().configure(only_on_request).start().await.unwrap();
    let caller = chancery.caller().await.unwrap();
    let key = chancery.create_key("m", Algorithm::HmacSha256).await.unwrap().to_string();
    let log_key = succeed(chancery.cli().args(["audit", "log-key"])).trim().to_owned();
    let offline = Offline { log_key: log_key.clone(), folder: chancery.dir() };
    let message = offline.write("message", MESSAGE);
    let beside = ["--in", &message];
    let receipt_of = |index: u64| {
        let path = chancery.dir().join(format!("{index}.receipt"));
        let make = ["audit", "receipt", &index.to_string(), "--out", path.to_str().unwrap()];
        let _said = succeed(chancery.cli().args(make));
        path
    };

    // Any MAC will do to have a message on the record.
    let checked = caller.mac_verify(key.parse::<KeyRef>().unwrap(), MESSAGE.to_vec(), vec![0; 32]).await.unwrap();
    assert!(!checked.valid);
    let receipt = receipt_of(checked.record_index);
    assert_eq!(offline.verify(&receipt, &[]).1, Some(0), "it is on the record that somebody asked");
    let (said, code) = offline.verify(&receipt, &beside);
    assert_eq!((said["fault"]["part"].as_str(), code), (Some("RECORD"), Some(1)), "{said}");
    assert!(said["fault"]["because"].as_str().unwrap().contains("one to MacVerify"), "{said}");
    let mut for_people = command(program());
    for_people.args(["verify", "--log-key", &log_key, "--receipt"]).arg(&receipt);
    let text = succeed(&mut for_people);
    assert!(text.lines().any(|line| line.split_whitespace().eq(["action", "MacVerify"])), "{text}");

    let made = caller.mac_sign(key.parse::<KeyRef>().unwrap(), MESSAGE.to_vec()).await.unwrap();
    let receipt = receipt_of(made.record_index);
    let (said, code) = offline.verify(&receipt, &beside);
    assert_eq!((&said["record"]["details"]["action"], code), (&Json::from("MacSign"), Some(0)), "{said}");
    assert_eq!(offline.fault(&receipt, &["--audience", "chancery-dev"]), "CALLER_SIGNATURE");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_and_proofs_are_answered_and_what_cannot_be_is_refused() {
    let setup = Chancery::setup().with(CallerSetup::new("signer").role("signer").ring("dev"));
    let chancery = setup.configure(only_on_request).start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = chancery.create_key("k", Algorithm::EcdsaP256Sha256).await.unwrap().to_string();
    for number in 0..140 {
        caller.sign(&*key, format!("m {number}").as_str(), EcdsaEncoding::Der).await.unwrap();
    }
    let last = caller.sign_item(item(&key, MESSAGE)).await.unwrap();
    let checkpoint = operator.get_checkpoint().await.unwrap();
    assert!(checkpoint.tree_size > last.record_index && checkpoint.tree_size > 256, "{}", checkpoint.tree_size);
    let believed = proofs::checkpoint(&checkpoint.note, &checkpoint.log_key).unwrap();
    assert_eq!((believed.size, believed.root.as_slice()), (checkpoint.tree_size, checkpoint.root_hash.as_slice()));

    // Every record is in it, and every earlier tree is its beginning.
    let mut leaves = operator.list_records(RecordQuery { oldest_first: true, ..RecordQuery::default() });
    let mut hashes = Vec::new();
    while let Some(record) = leaves.next().await {
        hashes.push(proofs::leaf_hash(&record.unwrap().leaf));
    }
    let size = checkpoint.tree_size;
    for index in [0, 1, 127, 128, 255, 256, size - 1] {
        let proof = operator.get_inclusion_proof(index, Some(size)).await.unwrap();
        let path: Vec<Vec<u8>> = proof.hashes.iter().map(|hash| hash.to_vec()).collect();
        let leaf = hashes[usize::try_from(index).unwrap()].clone();
        assert_eq!(
            proofs::root_by_path(index, size, leaf, &path).as_deref(),
            Some(believed.root.as_slice()),
            "{index}"
        );
        assert!(proof.checkpoint.is_none(), "another tree was asked for");
    }
    for older in [1, 2, 127, 128, 129, 255, 256, 257, size] {
        let proof = operator.get_consistency_proof(older, Some(size)).await.unwrap();
        let proof: Vec<Vec<u8>> = proof.hashes.iter().map(|hash| hash.to_vec()).collect();
        let old_root = root(&hashes[..usize::try_from(older).unwrap()]);
        let roots = proofs::roots_by_proof(older, size, &old_root, true, &proof);
        assert_eq!(roots, Some((old_root, believed.root.clone())), "{older}");
    }
    assert!(operator.get_consistency_proof(0, None).await.unwrap().hashes.is_empty());
    let newest = operator.get_inclusion_proof(0, None).await.unwrap();
    assert_eq!(newest.checkpoint.unwrap().tree_size, newest.tree_size);

    let mut audit = operator.audit();
    let beyond = v1::GetInclusionProofRequest { record_index: 1 << 40, tree_size: None };
    assert_refused(audit.get_inclusion_proof(beyond).await, Code::OutOfRange, "BEYOND_RECORD");
    let beyond = v1::GetInclusionProofRequest { record_index: 0, tree_size: Some(u64::MAX) };
    assert_refused(audit.get_inclusion_proof(beyond).await, Code::OutOfRange, "BEYOND_RECORD");
    let outside = v1::GetInclusionProofRequest { record_index: 5, tree_size: Some(5) };
    assert_field(audit.get_inclusion_proof(outside).await, "tree_size");
    let beyond = v1::GetConsistencyProofRequest { old_tree_size: 1 << 40, new_tree_size: None };
    assert_refused(audit.get_consistency_proof(beyond).await, Code::OutOfRange, "BEYOND_RECORD");
    let backwards = v1::GetConsistencyProofRequest { old_tree_size: 5, new_tree_size: Some(4) };
    assert_field(audit.get_consistency_proof(backwards).await, "new_tree_size");
    let denied = chancery.connect_as("signer").await.unwrap();
    let answer = denied.audit().get_checkpoint(v1::GetCheckpointRequest {}).await;
    assert_refused(answer, Code::PermissionDenied, "ACCESS_DENIED");
    let (said, code) = run(chancery.cli().args(["audit", "receipt", "1000000000"]));
    assert!(code == Some(6) && said.contains("there is no record 1000000000"), "{said}");
}

/// RFC 6962, section 2.1, over hashes of leaves.
fn root(hashes: &[Vec<u8>]) -> Vec<u8> {
    match hashes {
        [only] => only.clone(),
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            sha256(&[&[1], root(left).as_slice(), root(right).as_slice()].concat())
        }
    }
}

/// `chancery verify --receipt`, with nothing that calls a service.
struct Offline {
    log_key: String,
    folder: PathBuf,
}

impl Offline {
    fn verify(&self, receipt: &Path, more: &[&str]) -> (Json, Option<i32>) {
        let mut verify = command(program());
        verify.args(["verify", "-o", "json", "--log-key", &self.log_key, "--receipt"]).arg(receipt).args(more);
        let output = verify.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let said = serde_json::from_str(&said)
            .unwrap_or_else(|error| panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)));
        (said, output.status.code())
    }

    /// The part of the receipt, or beside it, that is said not to fit.
    fn fault(&self, receipt: &Path, more: &[&str]) -> String {
        let (said, code) = self.verify(receipt, more);
        assert_eq!((&said["proven"], code), (&Json::Bool(false), Some(1)), "{said}");
        said["fault"]["part"].as_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_verified_without_the_service_and_every_altered_part_is_found() {
    let mut chancery = Chancery::setup().configure(only_on_request).start().await.unwrap();
    let folder = chancery.dir();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let algorithms = [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519];
    let message = path("message");
    std::fs::write(&message, MESSAGE).unwrap();
    for (number, algorithm) in algorithms.into_iter().enumerate() {
        let key = chancery.create_key(&format!("k{number}"), algorithm).await.unwrap();
        let key = key.to_string();
        let (signature, receipt) = (path(&format!("sig{number}")), path(&format!("receipt{number}")));
        let _said = succeed(chancery.cli().args([
            "sign",
            &key,
            "--in",
            &message,
            "--signature",
            &signature,
            "--receipt",
            &receipt,
        ]));
        let _said = succeed(chancery.cli().args(["public-key", &key, "--out", &path(&format!("pem{number}"))]));
    }
    // What is written again takes the old one's place, whole, and keeps its rights; what is no file is written to.
    let kept = [path("sig0"), path("receipt0")];
    kept.iter().for_each(|file| std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap());
    let before = kept.each_ref().map(|file| (std::fs::read(file).unwrap(), std::fs::File::open(file).unwrap()));
    let _said = succeed(chancery.cli().args([
        "sign",
        "dev/k0",
        "--in",
        &message,
        "--signature",
        &kept[0],
        "--receipt",
        &kept[1],
    ]));
    for ((before, mut open), file) in before.into_iter().zip(&kept) {
        let mut still = Vec::new();
        std::io::Read::read_to_end(&mut open, &mut still).unwrap();
        assert_eq!(still, before, "{file} was written over");
        assert_ne!(std::fs::read(file).unwrap(), before, "{file}");
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let said = succeed(chancery.cli().args(["public-key", "dev/k0", "--out", "/dev/stdout"]));
    assert!(said.contains(std::fs::read_to_string(path("pem0")).unwrap().trim()), "{said}");
    let files = [path("a.txt"), path("b.txt")];
    files.iter().for_each(|file| std::fs::write(file, MESSAGE).unwrap());
    let _said = succeed(chancery.cli().args(["sign", "dev/k0", &files[0], &files[1], "--receipts"]));
    let log_key = succeed(chancery.cli().args(["audit", "log-key"])).trim().to_owned();
    chancery.terminate().await.unwrap();

    let offline = Offline { log_key: log_key.clone(), folder: folder.clone() };
    let receipt = folder.join("receipt0");
    let all = ["--in", &message, "--signature", &path("sig0"), "--public-key", &path("pem0")];
    let (said, code) = offline.verify(&receipt, &all);
    assert_eq!((&said["proven"], code), (&Json::Bool(true), Some(0)), "{said}");
    assert_eq!(said["checked"], serde_json::json!({"input": true, "public_key": true, "signature": true}));
    assert_eq!(said["record"]["details"]["caller"], "caller");
    // Of what was hashed the message is not needed, of what the token read itself it is.
    let by_record = ["--signature", &path("sig0"), "--public-key", &path("pem0")];
    assert_eq!(offline.verify(&receipt, &by_record).1, Some(0));
    assert_eq!(offline.verify(&receipt, &["--digest", &hex(&sha256(MESSAGE))]).1, Some(0));
    let ed25519 = ["--signature", &path("sig1"), "--public-key", &path("pem1")];
    assert_eq!(offline.fault(&folder.join("receipt1"), &ed25519), "SIGNATURE");
    let with_message = [&ed25519[..], &["--in", &message]].concat();
    assert_eq!(offline.verify(&folder.join("receipt1"), &with_message).1, Some(0));
    for file in ["a.txt", "b.txt"] {
        let beside = ["--in", &message, "--signature", &path(&format!("{file}.sig")), "--public-key", &path("pem0")];
        assert_eq!(offline.verify(&folder.join(format!("{file}.receipt")), &beside).1, Some(0), "{file}");
    }
    let mut for_people = command(program());
    for_people.args(["verify", "--log-key", &log_key, "--receipt"]).arg(&receipt).args(all);
    let text = succeed(&mut for_people);
    assert!(text.starts_with("proven: this record is in the log\n") && text.contains("valid: by this key"), "{text}");

    // What is beside the receipt.
    let other = offline.write("other", b"pay 6 to Ada");
    assert_eq!(offline.fault(&receipt, &["--in", &other]), "INPUT");
    assert_eq!(offline.fault(&receipt, &["--digest", &"00".repeat(32)]), "INPUT");
    assert_eq!(offline.fault(&receipt, &["--public-key", &path("pem1")]), "PUBLIC_KEY");
    let mut forged = std::fs::read(path("sig0")).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let forged = offline.write("forged", forged);
    assert_eq!(offline.fault(&receipt, &["--signature", &forged, "--public-key", &path("pem0")]), "SIGNATURE");
    let p1363 = ["--encoding", "p1363", "--signature", &path("sig0"), "--public-key", &path("pem0")];
    assert_eq!(offline.fault(&receipt, &p1363), "SIGNATURE", "in another encoding than is said");

    // Every part of the receipt: by line, and every byte of the record in it.
    let text = std::fs::read_to_string(&receipt).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let flip = |line: &str, at: usize| {
        let mut bytes = line.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let blank = lines.iter().position(|line| line.is_empty()).unwrap();
    let index: u64 = lines[2].strip_prefix("index ").unwrap().parse().unwrap();
    let altered = |number: usize, line: String| {
        let mut lines = lines.clone();
        lines[number] = &line;
        lines.join("\n") + "\n"
    };
    let cases = [
        ("header", altered(0, flip(lines[0], 3)), "FORM"),
        // Version, salt, the leaf's length; then the leaf; then, at the end, the details.
        ("version", altered(1, flip(lines[1], "extra ".len())), "FORM"),
        ("salt", altered(1, flip(lines[1], "extra ".len() + 20)), "DETAILS"),
        ("leaf", altered(1, flip(lines[1], "extra ".len() + 100)), "INCLUSION"),
        ("details", altered(1, flip(lines[1], lines[1].len() - 20)), "DETAILS"),
        ("index", altered(2, format!("index {}", index - 1)), "INCLUSION"),
        ("proof", altered(3, flip(lines[3], 5)), "INCLUSION"),
        ("proof cut", text.replacen(&format!("{}\n", lines[3]), "", 1), "INCLUSION"),
        ("origin", altered(blank + 1, "log.example/chancerz".to_owned()), "CHECKPOINT"),
        ("size", altered(blank + 2, "1000000".to_owned()), "CHECKPOINT"),
        ("root", altered(blank + 3, flip(lines[blank + 3], 5)), "CHECKPOINT"),
        ("signature", altered(blank + 5, flip(lines[blank + 5], lines[blank + 5].len() - 20)), "CHECKPOINT"),
        ("cut", text[..text.len() / 2].to_owned(), "FORM"),
        ("of another", std::fs::read_to_string(folder.join("receipt1")).unwrap().replacen(lines[1], "", 0), ""),
    ];
    for (what, text, part) in &cases {
        assert_eq!(proofs::receipt(text, &log_key).is_ok(), part.is_empty(), "{what}: the second implementation");
        let file = offline.write("altered", text);
        if part.is_empty() {
            assert_eq!(offline.fault(Path::new(&file), &by_record), "PUBLIC_KEY", "{what}");
        } else {
            assert_eq!(offline.fault(Path::new(&file), &[]), *part, "{what}");
        }
    }

    // Another log's key, and what is not to be answered with yes or no.
    let stranger = "log.example/chancery+fe94a607+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c".to_owned();
    let with_stranger = Offline { log_key: stranger, folder: folder.clone() };
    assert_eq!(with_stranger.fault(&receipt, &[]), "CHECKPOINT");
    let verify =
        |more: &[&str]| run(command(program()).args(["verify", "--receipt", receipt.to_str().unwrap()]).args(more));
    assert_eq!(verify(&[]).1, Some(2), "without a key nothing is believed");
    assert_eq!(verify(&["--log-key", "nonsense"]).1, Some(2));
    assert_eq!(verify(&["--log-key", &log_key, "--signature", &path("sig0")]).1, Some(2));
    assert_eq!(verify(&["--log-key", &log_key, "--in", "/nowhere/x"]).1, Some(3));
    assert_eq!(verify(&["--log-key", &log_key, "dev/k0"]).1, Some(2));
    // What belongs to a receipt is of no use without one, and is not passed over.
    for with in [["--log-key", log_key.as_str()], ["--public-key", &path("pem0")]] {
        let mut forgotten = chancery.cli();
        forgotten.args(["verify", "dev/k0", "--in", &message, "--signature", &path("sig0")]).args(with);
        let (said, code) = run(&mut forgotten);
        assert!(code == Some(2) && said.contains("--receipt"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_is_not_signed_signatures_come_without_receipts() {
    let folder = tempfile::tempdir().unwrap();
    let faults = FaultRules::new(folder.path()).unwrap();
    faults.set(&[]).unwrap();
    let setup = with_a_ring_on_a_token(Chancery::setup(), "other");
    let chancery = before_the_token(setup, &faults).start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let name: KeyName = "keyRings/other/keys/k".parse().unwrap();
    operator.create_key(NewKey::new(name.clone(), Algorithm::EcdsaP256Sha256)).await.unwrap();
    let key = name.to_string();
    let log_key = log_key(&operator).await;
    let good = caller.sign_item(item(&key, MESSAGE)).await.unwrap();
    proofs::receipt(issued(&good), &log_key).unwrap();

    // The token of the log's key refuses; that of the caller's key does not.
    faults.set(&[Rule::returning("sign", "C_Sign", "CKR_DEVICE_ERROR")]).unwrap();
    let unsigned = caller.sign_item(item(&key, MESSAGE)).await.unwrap();
    assert_eq!(unsigned.receipt, Some(Err(NoReceipt::Unsigned)));
    assert!(
        caller.verify(&unsigned.version, MESSAGE, unsigned.signature.clone(), EcdsaEncoding::Der).await.unwrap().valid
    );
    let items = (0..3).map(|_| item(&key, MESSAGE));
    for signed in caller.batch_sign(items).await {
        assert_eq!(signed.unwrap().receipt, Some(Err(NoReceipt::Unsigned)));
    }
    let (file, sig) = (chancery.dir().join("none.receipt"), chancery.dir().join("some.sig"));
    let message = chancery.dir().join("m");
    std::fs::write(&message, MESSAGE).unwrap();
    let mut by_command = chancery.cli();
    by_command.args(["sign", "other/k", "--in"]).arg(&message).arg("--signature").arg(&sig).arg("--receipt").arg(&file);
    let (said, code) = run(by_command.args(["-o", "json"]));
    assert!(
        code == Some(1)
            && said.contains("no receipt: the log could not be signed now, or too few of its witnesses")
            && said.contains("\"receipt_status\": \"UNSIGNED\""),
        "{said}"
    );
    assert!(sig.exists() && !file.exists() && said.contains("chancery audit receipt "), "{said}");

    // Once it signs again, the receipt of what was signed meanwhile can be had.
    faults.set(&[]).unwrap();
    let late = until("the log is signed again", async || {
        let proof = operator.get_inclusion_proof(unsigned.record_index, None).await.ok()?;
        (proof.tree_size > unsigned.record_index).then_some(())
    });
    late.await;
    let late = succeed(chancery.cli().args(["audit", "receipt", &unsigned.record_index.to_string()]));
    assert_eq!(proofs::receipt(&late, &log_key).unwrap().index, unsigned.record_index);

    // A token that takes its time: the call's own time decides, and the signature is not lost.
    faults.set(&[Rule::new("slow", Then::DelayMs(4_500)).on("C_Sign")]).unwrap();
    let mut request = Request::new(item_request(&key));
    request.set_timeout(Duration::from_secs(3));
    let answer = caller.signing().sign(request).await.unwrap().into_inner();
    assert!(!answer.signature.is_empty() && answer.receipt.is_empty());
    assert_eq!(answer.receipt_status(), ReceiptStatus::NotInTime);
}

fn item_request(key: &str) -> v1::SignRequest {
    v1::SignRequest { receipt: true, ..sign(key, MESSAGE) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_key_for_its_log_says_so() {
    let setup = Chancery::setup().configure(|config| {
        config.remove("system_ring");
        config["store"].as_table_mut().unwrap().insert("state_root".to_owned(), Value::Boolean(false));
    });
    let chancery = setup.start().await.unwrap();
    let (operator, caller) = (chancery.operator().await.unwrap(), chancery.caller().await.unwrap());
    let key = chancery.create_key("k", Algorithm::EcdsaP256Sha256).await.unwrap().to_string();
    let signed = caller.sign_item(item(&key, MESSAGE)).await.unwrap();
    assert_eq!(signed.receipt, Some(Err(NoReceipt::NotKept)));
    let answer = operator.audit().get_checkpoint(v1::GetCheckpointRequest {}).await;
    assert_refused(answer, Code::FailedPrecondition, "LOG_NOT_SIGNED");

    // Over the web the same, in the same words, also to the commands that read the log there.
    let web = Web::new(&chancery, &chancery.operator_identity(), &["h2"]);
    for path in ["checkpoint", "tile/0/000", "tile/entries/000"] {
        let answer = web.get(&format!("/log/{path}")).await;
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (400, Some("LOG_NOT_SIGNED")), "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("[system_ring]"), "{path}");
    }
    let some_key = "log.example/chancery+fe94a607+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    let export = chancery.dir().join("export");
    for line in [vec!["audit", "verify"], vec!["audit", "export", export.to_str().unwrap()]] {
        let (said, code) = run(chancery.cli().args(&line).args(["--log-key", some_key]));
        assert!(code == Some(6) && said.contains("no key to sign its log with"), "{line:?}: {code:?}: {said}");
    }

    // Who signs by command is told what would give him a receipt, and a program has it in JSON.
    let (message, receipt) = (chancery.dir().join("m"), chancery.dir().join("none.receipt"));
    std::fs::write(&message, MESSAGE).unwrap();
    let one = |cli: &mut Command| {
        run(cli.args(["sign", "dev/k", "-o", "json", "--in"]).arg(&message).arg("--receipt").arg(&receipt))
    };
    let several = |cli: &mut Command| run(cli.args(["sign", "dev/k", "-o", "json", "--receipts"]).arg(&message));
    let jwt = |cli: &mut Command| run(cli.args(["jwt", "sign", "dev/k", "-o", "json", "--receipt"]).arg(&receipt));
    for (said, code) in [one(&mut chancery.cli()), several(&mut chancery.cli()), jwt(&mut chancery.cli())] {
        assert!(code == Some(1) && said.contains("\"receipt_status\": \"NOT_KEPT\""), "{code:?}: {said}");
        assert!(said.contains("no receipt: the service does not sign its log"), "{said}");
        assert!(said.contains("[system_ring]") && said.contains("chancery audit receipt "), "{said}");
    }
}
