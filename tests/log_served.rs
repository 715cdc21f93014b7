//! The transparency log as others get it: served in the layout of C2SP tlog-tiles, exported to a folder, and verified.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;

use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::note::VerifierKey;
use chancery_audit::tree::{Appender, Resource, Tile, leaf_hash, read_bundle};
use chancery_model::Algorithm;
use chancery_testkit::client::EcdsaEncoding;
use chancery_testkit::{Chancery, IdentityFiles};
use chancery_tests::contract::admin_get;
use chancery_tests::hand;
use chancery_tests::load::until;
use chancery_tests::program::{chancery as program, command, run, succeed};
use chancery_tests::web::{self, Web};
use serde_json::Value as Json;

const HTTP1: &[&str] = &["http/1.1"];
const HTTP2: &[&str] = &["h2"];

/// A service whose record has more leaves than a tile has.
async fn with_records() -> Chancery {
    let chancery = Chancery::start().await.unwrap();
    let key = chancery.create_key("k", Algorithm::EcdsaP256Sha256).await.unwrap().to_string();
    let caller = chancery.caller().await.unwrap();
    for number in 0..140 {
        caller.sign(&key, format!("message {number}").as_str(), EcdsaEncoding::Der).await.unwrap();
    }
    until_signed(&chancery).await;
    chancery
}

async fn until_signed(chancery: &Chancery) {
    until("a checkpoint covers every record", async || {
        let (_, metrics) = admin_get(chancery, "/metrics").await;
        metrics.lines().any(|line| line.starts_with("chancery_log_unsigned") && line.ends_with(" 0")).then_some(())
    })
    .await;
}

fn operator(chancery: &Chancery) -> IdentityFiles {
    let announcement: Json = serde_json::from_slice(&std::fs::read(chancery.dir().join("dev.json")).unwrap()).unwrap();
    let path = |what: &str| PathBuf::from(announcement["operator"][what].as_str().unwrap());
    IdentityFiles { certificate: path("cert"), private_key: path("key") }
}

/// The log's key, as the database beside the running service pins it.
fn log_key(chancery: &Chancery) -> VerifierKey {
    let reader = chancery_store::look_into(&hand::database(&chancery.dir())).unwrap();
    let [key] = chancery_core::kept_log_keys(&reader).unwrap().try_into().unwrap();
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_served_as_tiles_to_who_may_read_the_record_and_to_nobody_else() {
    let chancery = with_records().await;
    let web = Web::new(&chancery, &operator(&chancery), HTTP1);
    let answer = web.get("/log/checkpoint").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), "private, no-cache");
    let signed = SignedCheckpoint::parse(&answer.body).unwrap();
    let keys = [log_key(&chancery)];
    let checkpoint = signed.verify(&keys).unwrap();
    let size = checkpoint.size();
    assert!(size > 256, "{size}");

    // Everything that a copy of the log has, by both protocols; and it is what was signed.
    let over_http2 = Web::new(&chancery, &operator(&chancery), HTTP2);
    let fetch = async |resource: Resource| {
        let path = format!("/log/{resource}");
        let answer = web.get(&path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/octet-stream"), "{path}");
        assert_eq!(answer.header("cache-control"), "private, max-age=31536000, immutable");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        let other = over_http2.get(&path).await;
        assert_eq!((other.status, &other.body), (200, &answer.body), "{path}");
        answer.body
    };
    let (mut tree, mut whole) = (Appender::new(), Vec::new());
    for tile in Tile::of_tree(size).filter(|tile| tile.level() == 0) {
        let bundle = fetch(Resource::Entries(tile)).await;
        for leaf in read_bundle(&bundle, tile.width()).unwrap() {
            tree.append(leaf_hash(leaf), |tile, hashes| whole.push((tile, hashes.to_vec())));
        }
    }
    assert_eq!(tree.root(), *checkpoint.root());
    whole.extend(tree.edge().map(|(tile, hashes)| (tile, hashes.to_vec())));
    assert_eq!(whole.len(), Tile::of_tree(size).count());
    for (tile, hashes) in whole {
        assert_eq!(fetch(Resource::Tile(tile)).await, hashes.as_flattened(), "{tile}");
        // A narrower one is its beginning.
        let narrow = Tile::new(tile.level(), tile.index(), 1).unwrap();
        assert_eq!(fetch(Resource::Tile(narrow)).await, hashes[0].as_slice());
    }

    // What is not there, and what is no path.
    let beyond = Tile::new(0, size / 256 + 1, 1).unwrap();
    for path in
        [beyond.to_string(), Resource::Entries(beyond).to_string(), "tile/1/000".into(), "tile/2/000.p/1".into()]
    {
        let answer = web.get(&format!("/log/{path}")).await;
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (404, Some("NOT_IN_LOG")), "{path}");
    }
    for path in ["/log/", "/log", "/log/tile/0/0", "/log/tile/0/000/", "/log/checkpoint/", "/log/%63heckpoint"] {
        let answer = web.get(path).await;
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (404, Some("PATH_NOT_FOUND")), "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("/log/tile/entries/N[.p/W]"), "{path}");
    }
    for (method, web) in [("POST", &web), ("PUT", &over_http2), ("POST", &over_http2)] {
        assert_eq!(web.ask(method, "/log/checkpoint", &[], b"").await.status, 405, "{method}");
    }
    let head = web.ask("HEAD", "/log/tile/0/000", &[], b"").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "8192", 0));

    // Who may not read the record is not told what there is, and the attempt is on the record.
    let stranger = Web::new(&chancery, &web::caller(&chancery), HTTP1);
    let mut said = Vec::new();
    for path in ["checkpoint", "tile/0/000", "tile/0/999", "tile/entries/000", "tile/entries/999"] {
        let answer = stranger.get(&format!("/log/{path}")).await;
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (403, Some("ACCESS_DENIED")), "{path}");
        said.push(answer.body);
    }
    said.dedup();
    assert_eq!(said.len(), 1);
    // What is no path of any log says nothing of this one.
    for path in ["/log/zzz", "/log/tile/0/1", "/log/tile/99/000"] {
        let (answer, to_who_may) = (stranger.get(path).await, web.get(path).await);
        assert_eq!((answer.status, &answer.body), (404, &to_who_may.body), "{path}");
    }
    until("the denial is on the record", async || {
        let list = ["audit", "list", "--kind", "denial", "--action", "ListRecords", "-o", "json"];
        succeed(chancery.cli().args(list)).contains("auditLog").then_some(())
    })
    .await;
}

/// Whoever takes a wrong tile keeps it for ever, and a proof that does not hold looks like a forged log.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_was_signed_is_not_handed_out_and_that_is_said_loudly_once() {
    let mut chancery = with_records().await;
    chancery.terminate().await.unwrap();
    let damage = "UPDATE tiles SET hashes = zeroblob(8192) WHERE level = 0 AND idx = 0";
    hand::edit(&hand::database(&chancery.dir()), damage);
    // A start reads the edge of the tree alone.
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
    until_signed(&chancery).await;
    let (status, said) = admin_get(&chancery, "/readyz").await;
    assert!(status == 200 && !said.contains("log: damaged"), "{said}");
    let web = Web::new(&chancery, &operator(&chancery), HTTP1);
    for path in ["/log/tile/0/000", "/log/tile/0/000.p/7"] {
        let answer = web.get(path).await;
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (500, Some("LOG_DAMAGED")), "{path}");
    }
    let auditor = chancery.operator().await.unwrap();
    for size in [None, Some(200)] {
        let refused = auditor.get_inclusion_proof(3, size).await.unwrap_err();
        assert_eq!(refused.reason(), Some("LOG_DAMAGED"), "{refused}");
    }
    // What is whole is served: the leaves, and the tile above.
    for path in ["/log/tile/entries/000", "/log/tile/1/000.p/1"] {
        assert_eq!(web.get(path).await.status, 200, "{path}");
    }
    let (status, said) = admin_get(&chancery, "/readyz").await;
    assert!(status == 200 && said.contains("log: damaged: "), "{said}");
    let (_, metrics) = admin_get(&chancery, "/metrics").await;
    assert!(metrics.lines().any(|line| line.starts_with("chancery_log_damaged") && line.ends_with(" 1")), "{metrics}");
    assert_eq!(chancery.log().matches("is not what was signed").count(), 1, "{}", chancery.log());
    chancery.terminate().await.unwrap();

    let mut check = command(program());
    let checked = succeed(check.args(["state", "check", "--config"]).arg(chancery.config()));
    assert!(checked.contains("were made again: 1"), "{checked}");
    chancery.launch().unwrap();
    chancery.wait_until_serving().await.unwrap();
    until_signed(&chancery).await;
    chancery.operator().await.unwrap().get_inclusion_proof(3, Some(200)).await.unwrap();
    let answer = Web::new(&chancery, &operator(&chancery), HTTP1).get("/log/tile/0/000").await;
    assert_eq!((answer.status, answer.body.len()), (200, 8192));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_exported_and_verified_by_the_command_line() {
    let mut chancery = with_records().await;
    let folder = tempfile::tempdir().unwrap();
    let (export, database) = (folder.path().join("log"), hand::database(&chancery.dir()));
    let (export, database) = (export.to_str().unwrap(), database.to_str().unwrap().to_owned());
    let key = log_key(&chancery).to_string();
    let json = |text: &str| -> Json { serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")) };
    let audit = |chancery: &Chancery, arguments: &[&str]| run(chancery.cli().arg("audit").args(arguments));

    // From the service; then from its database, beside it, with what was recorded since.
    let first = json(&succeed(chancery.cli().args(["audit", "export", export, "--log-key", &key, "-o", "json"])));
    assert!(first["records"].as_u64().unwrap() > 256 && first["added"] == first["records"], "{first}");
    let hexadecimal = |hash: &Json| {
        hash.as_str().is_some_and(|text| text.len() == 64 && !text.contains(|digit: char| !digit.is_ascii_hexdigit()))
    };
    assert!(hexadecimal(&first["root_hash"]), "{first}");
    let kept = folder.path().join("kept");
    std::fs::copy(format!("{export}/checkpoint"), &kept).unwrap();
    let kept = kept.to_str().unwrap();
    chancery.create_key("another", Algorithm::Ed25519).await.unwrap();
    until_signed(&chancery).await;
    let second =
        json(&succeed(chancery.cli().args(["audit", "export", export, "--database", &database, "-o", "json"])));
    let added = second["records"].as_u64().unwrap() - first["records"].as_u64().unwrap();
    assert!(added > 0 && second["added"] == added, "{first} {second}");

    for place in [vec![export], vec!["--database", &database], vec![]] {
        let mut arguments = vec!["verify", "--log-key", &key, "--checkpoint", kept, "-o", "json"];
        arguments.extend(&place);
        let (said, code) = audit(&chancery, &arguments);
        assert_eq!(code, Some(0), "{place:?}: {said}");
        let said = json(&said);
        assert_eq!((&said["verified"], &said["log_keys_pinned"]), (&Json::Bool(true), &Json::Bool(true)), "{said}");
        let report = &said["report"];
        assert!(report["records"].as_u64() >= second["records"].as_u64(), "{said}");
        assert_eq!(report["details"], report["records"], "{said}");
        assert!(hexadecimal(&report["root_hash"]), "{said}");
        assert!(report["checkpoints"].as_u64() >= Some(2), "{said}");
    }
    // Without a pinned key it says so; a service has none to give.
    let (said, code) = audit(&chancery, &["verify", export]);
    assert!(code == Some(0) && said.contains("warning: the log's key was taken from the same place"), "{said}");
    assert_eq!(audit(&chancery, &["verify"]).1, Some(2));
    // An archive belongs to a database; before anything is in it, it need not be there.
    assert_eq!(audit(&chancery, &["verify", export, "--archive", "nowhere"]).1, Some(2));
    let (said, code) = audit(&chancery, &["verify", "--database", &database, "--archive", "nowhere"]);
    assert_eq!(code, Some(0), "{said}");
    let other = "log.example/chancery+fe94a607+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    for place in [vec![export], vec!["--database", &database], vec![]] {
        let (said, code) = audit(&chancery, &[&["verify", "--log-key", other], place.as_slice()].concat());
        assert!(code == Some(1) && said.contains("first fault"), "{place:?}: {said}");
    }

    // A bit of a record, in the export and in the database.
    let bundle = format!("{export}/tile/entries/000");
    let mut bytes = std::fs::read(&bundle).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let (said, code) = audit(&chancery, &["verify", export, "--log-key", &key, "-o", "json"]);
    assert!(code == Some(1) && json(&said)["fault"]["record"] == 255, "{said}");
    chancery.terminate().await.unwrap();
    let edit = "DROP TRIGGER leaves_are_not_changed;
        UPDATE leaves SET leaf = CAST(substr(leaf, 1, length(leaf) - 1)
            || CASE substr(leaf, -1) WHEN x'78' THEN 'y' ELSE 'x' END AS BLOB) WHERE idx = 7;";
    rusqlite::Connection::open(&database).unwrap().execute_batch(edit).unwrap();
    let (said, code) = audit(&chancery, &["verify", "--database", &database, "--log-key", &key, "-o", "json"]);
    let fault = &json(&said)["fault"];
    assert!(
        code == Some(1) && fault["record"] == 7 && fault["next_step"].as_str().unwrap().contains("evidence"),
        "{said}"
    );
}
