//! What is cosigned, and what is not; and what is remembered.

use crate::log::{Log, ORIGIN};
use crate::serving::{Serving, name};
use chancery_audit::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_audit::note::{KeyName, VerifierKey};
use chancery_audit::witness::AddCheckpoint;
use chancery_model::Sha256Hash;
use chancery_witness::{Answer, AskError, CosignerKey, Desk, DeskError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn what_continues_the_log_is_cosigned_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (log, other) = (Log::new(ORIGIN, 1, 40), Log::new("other.example/log", 3, 5));
    let serving = Serving::start(folder.path(), &[&log, &other], None).await;
    let witness = serving.witness(None);
    let keys = std::slice::from_ref(&serving.key);
    let mut seen = 0;
    for size in [1, 1, 2, 7, 8, 8, 13, 32, 33] {
        let request = log.request(seen, size).await;
        let Answer::Cosigned(line) = witness.add_checkpoint(&request).await.unwrap() else { panic!("a conflict") };
        let mut checkpoint = request.checkpoint.clone();
        let verified = checkpoint.note_mut().add_verified(format!("{line}\n").as_bytes(), keys).unwrap();
        assert!(verified.len() == 1 && verified[0].time.is_some_and(|time| time > 1_700_000_000), "{verified:?}");
        assert_eq!(checkpoint.cosignatures(keys).unwrap().len(), 1);
        seen = size;
    }
    // Where it is not at what is said, it says where it is.
    for (old, size) in [(0, 33), (32, 34), (0, 5), (34, 40)] {
        let request = log.request(old, size).await;
        assert_eq!(witness.add_checkpoint(&request).await.unwrap(), Answer::Conflict { size: 33 }, "{old} {size}");
    }
    assert_eq!(serving.add(&log.request(0, 40).await.to_string()).await, (409, "33\n".to_owned()));
    let never = other.request(2, 3).await;
    assert_eq!(serving.add(&never.to_string()).await, (409, "0\n".to_owned()), "of each log for itself");

    // A fork, of more leaves and of as many; a proof that is none, too long, too short.
    let mut fork = Log::new(ORIGIN, 1, 40);
    fork.leaves[20] = [99; 32];
    let good = log.request(33, 40).await;
    let with = |proof: Vec<Sha256Hash>| AddCheckpoint { proof, ..good.clone() };
    let (mut changed, mut short, mut long) = (good.proof.clone(), good.proof.clone(), good.proof.clone());
    changed[1][7] ^= 1;
    short.pop();
    long.push([1; 32]);
    for refused in [
        fork.request(33, 40).await,
        fork.request(33, 33).await,
        AddCheckpoint { proof: vec![[0; 32]], ..log.request(33, 33).await },
        with(changed),
        with(short),
        with(long),
        with(Vec::new()),
    ] {
        assert_eq!(serving.add(&refused.to_string()).await.0, 422);
        assert!(matches!(witness.add_checkpoint(&refused).await, Err(AskError::Proof(_))));
    }

    // Before anything was seen there is nothing to be proven; and one empty tree.
    let first = AddCheckpoint { proof: vec![[0; 32]], ..other.request(0, 3).await };
    assert_eq!(serving.add(&first.to_string()).await.0, 422);
    let root = other.sign(Checkpoint::new(other.key.name(), 0, [7; 32])).await;
    let empty = AddCheckpoint { old_size: 0, proof: Vec::new(), checkpoint: root };
    assert_eq!(serving.add(&empty.to_string()).await.0, 422);
    assert_eq!(serving.add(&other.request(0, 0).await.to_string()).await.0, 200);

    // Not signed by the log: another key by its name, a changed text, nobody; and a log that is not known.
    let good = good.to_string();
    let stranger = Log::new(ORIGIN, 9, 40).request(33, 40).await.to_string();
    let changed = good.replacen("\n40\n", "\n41\n", 1);
    assert_ne!(changed, good);
    assert_eq!((serving.add(&stranger).await.0, serving.add(&changed).await.0), (403, 403));
    let impostor = Log::new("other.example/log", 1, 40).request(0, 40).await.to_string();
    assert_eq!(serving.add(&impostor).await.0, 403, "a key is good for its own log only");
    let unknown = Log::new("unknown.example/log", 1, 3).request(0, 3).await;
    assert_eq!(serving.add(&unknown.to_string()).await.0, 404);
    assert!(matches!(witness.add_checkpoint(&unknown).await, Err(AskError::Unknown { .. })));

    // What is no request.
    for malformed in [
        String::new(),
        good.replacen("old 33", "old 033", 1),
        good.replacen("old 33", "old 41", 1),
        good.replacen("\n\n", "\n", 1),
        good.trim_end().to_owned(),
        "x".repeat(600 * 1024),
    ] {
        assert_eq!(serving.add(&malformed).await.0, 400);
    }
    assert_eq!(serving.ask("GET", "/add-checkpoint", "").await.0, 405);
    assert_eq!(serving.ask("POST", "/elsewhere", good.clone()).await.0, 404);

    // Nothing of all that was taken.
    assert_eq!(serving.add(&good).await.0, 200);
    let stranger = Log::new("stranger.example/log", 5, 1);
    let mut noted = log.request(40, 40).await;
    noted
        .checkpoint
        .note_mut()
        .sign(&stranger.key, async |text: Vec<u8>| Ok::<_, ()>(stranger.pair.sign(&text).as_ref().try_into().unwrap()))
        .await
        .unwrap();
    assert_eq!(serving.add(&noted.to_string()).await.0, 200, "signatures of strangers are passed over");
    // What it cosigned last is there for monitors, by the hash of the origin.
    assert_eq!(serving.ask("GET", "/00ff/checkpoint", "").await.0, 404);
    let hash = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, ORIGIN.as_bytes()).as_ref());
    let (status, _, text) = serving.ask("GET", &format!("/{hash}/checkpoint"), "").await;
    let served = SignedCheckpoint::parse(text.as_bytes()).unwrap();
    assert_eq!((status, served.verify(std::slice::from_ref(&log.key)).unwrap().size()), (200, 40));
    assert_eq!((served.cosignatures(keys).unwrap().len(), served.note().signatures().len()), (1, 2));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_the_same_time_one_finds_the_other_there() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::new(ORIGIN, 1, 60);
    let mut fork = Log::new(ORIGIN, 1, 60);
    fork.leaves[10] = [99; 32];
    let serving = Arc::new(Serving::start(folder.path(), &[&log], None).await);
    assert_eq!(serving.add(&log.request(0, 10).await.to_string()).await.0, 200);
    // Two histories, which share what was cosigned so far; each asks for five checkpoints at once.
    let mut seen = 10;
    while seen < 50 {
        let mut asking = Vec::new();
        for (number, history) in (1..=5).flat_map(|number| [(number, &log), (number, &fork)]) {
            let (serving, body) = (Arc::clone(&serving), history.request(seen, seen + number).await.to_string());
            asking.push(tokio::spawn(async move { serving.add(&body).await.0 }));
        }
        let mut statuses = Vec::new();
        for asking in asking {
            statuses.push(asking.await.unwrap());
        }
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        // Once one history was chosen, the other does not continue it.
        assert!(statuses.iter().all(|status| matches!(status, 200 | 409 | 422)), "{statuses:?}");
        assert!(seen > 10 || !statuses.contains(&422), "{statuses:?}");
        seen = serving.add(&log.request(0, 60).await.to_string()).await.1.trim().parse().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_never_seen_may_begin_and_one_that_was_may_not_begin_again() {
    let folder = tempfile::tempdir().unwrap();
    let (log, other) = (Log::new(ORIGIN, 1, 40), Log::new("other.example/log", 3, 5));
    let serving = Serving::start(folder.path(), &[&log, &other], None).await;
    assert_eq!(serving.add(&log.request(0, 10).await.to_string()).await.0, 200);
    serving.task.abort();
    let logs = folder.path().join("logs");
    let keys = vec![log.key.clone(), other.key.clone()];
    let open = || Desk::open(folder.path(), name(), keys.clone()).map(drop);
    while matches!(open(), Err(DeskError::InUse(_))) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Of the other log nothing was cosigned, so nothing is missing.
    open().unwrap();
    let file = std::fs::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(file).unwrap();
    assert!(matches!(open(), Err(DeskError::ForgottenLog { .. })));
    // Without that log the witness may go on with the other one.
    Desk::open(folder.path(), name(), vec![other.key.clone()]).map(drop).unwrap();
    assert!(matches!(open(), Err(DeskError::ForgottenLog { .. })), "and still knows of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_is_seen_after_a_restart_and_where_it_is_gone_there_is_no_witness() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("w");
    let log = Log::new(ORIGIN, 1, 20);
    let first = Serving::start(&dir, &[&log], None).await;
    let (vkey, keys) = (first.key.to_string(), vec![log.key.clone()]);
    assert_eq!(first.add(&log.request(0, 10).await.to_string()).await.0, 200);
    let again = |name: KeyName| Desk::open(&dir, name, Vec::clone(&keys)).map(drop);
    assert!(matches!(again(name()), Err(DeskError::InUse(_))));
    first.task.abort();

    let second = Serving::start(&dir, &[&log], None).await;
    assert_eq!(second.key.to_string(), vkey);
    assert_eq!(second.add(&log.request(0, 20).await.to_string()).await, (409, "10\n".to_owned()));
    second.task.abort();
    while matches!(again(name()), Err(DeskError::InUse(_))) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    again(name()).unwrap();

    let (key, logs) = (dir.join("key.pk8"), dir.join("logs"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&key), mode(&logs), mode(&dir)), (0o600, 0o700, 0o700));
    let other = KeyName::parse("witness.example/w2").unwrap();
    assert!(matches!(again(other), Err(DeskError::Kept { .. })), "another name would not know what it cosigned");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(again(name()), Err(DeskError::Key(_))));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    again(name()).unwrap();

    // The file of what was seen: cut, changed, another's.
    let file = std::fs::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
    let kept = std::fs::read_to_string(&file).unwrap();
    let elsewhere = folder.path().join("key.pk8");
    let stranger = CosignerKey::make(&elsewhere, name()).unwrap();
    assert_ne!(stranger.verifier().to_string(), vkey);
    for damaged in [&kept[..kept.len() / 2], "", &kept.replacen("\n10\n", "\n9\n", 1), &kept.replacen(ORIGIN, "x", 1)] {
        std::fs::write(&file, damaged).unwrap();
        assert!(matches!(again(name()), Err(DeskError::Kept { .. })), "{damaged}");
    }
    std::fs::write(&file, &kept).unwrap();
    let own = std::fs::read(&key).unwrap();
    std::fs::copy(&elsewhere, &key).unwrap();
    assert!(matches!(again(name()), Err(DeskError::Kept { .. })), "another key");
    std::fs::write(&key, b"no key").unwrap();
    assert!(matches!(again(name()), Err(DeskError::Key(_))));
    std::fs::write(&key, own).unwrap();
    again(name()).unwrap();
    // That of one log is gone, or the list that says so: a fork could begin at size 0.
    std::fs::remove_file(&file).unwrap();
    let Err(DeskError::ForgottenLog { origin, path }) = again(name()) else { panic!("it begins without what it saw") };
    assert_eq!((origin.as_str(), &path), (ORIGIN, &file));
    std::fs::write(&file, &kept).unwrap();
    again(name()).unwrap();
    let (list, away) = (dir.join("origins"), folder.path().join("list"));
    std::fs::rename(&list, &away).unwrap();
    assert!(matches!(again(name()), Err(DeskError::Forgotten(_))));
    // It stopped after the file was kept, and before it was listed: it is listed then.
    std::fs::write(&list, "").unwrap();
    again(name()).unwrap();
    assert_eq!(std::fs::read_to_string(&list).unwrap(), format!("{ORIGIN}\n"));
    assert_eq!(mode(&list), 0o600);
    std::fs::rename(&logs, folder.path().join("away")).unwrap();
    assert!(matches!(again(name()), Err(DeskError::Forgotten(_))));
    let cosigner = VerifierKey::parse(&vkey).unwrap();
    assert!(matches!(Desk::open(&folder.path().join("n"), name(), vec![cosigner]), Err(DeskError::NotOfALog(_))));
}
