//! Several files, MACs, random bytes.

use chancery_testkit::Chancery;

use crate::{run, run_with};

#[tokio::test]
async fn several_files_are_signed_and_verified_each_with_its_signature_beside_it() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<String> = (0..70)
        .map(|number| {
            let path = folder.path().join(format!("file-{number}"));
            std::fs::write(&path, format!("content {number}")).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let words = |first: &[&'static str]| -> Vec<String> {
        first.iter().map(|word| (*word).to_owned()).chain(files.clone()).collect()
    };
    let run_words = |words: &[String]| run(chancery.cli(), &words.iter().map(String::as_str).collect::<Vec<_>>());
    run(chancery.cli(), &["keys", "create", "dev/k", "--algorithm", "ed25519"]).text();

    let mut signing = words(&["sign", "-o", "json", "dev/k"]);
    signing.push(folder.path().join("absent").to_str().unwrap().to_owned());
    let signed = run_words(&signing);
    assert_eq!(signed.code, 3, "one file is absent, the others are signed: {}", signed.err);
    assert!(signed.err.contains("absent: error: cannot read"), "{}", signed.err);
    assert_eq!(signed.json()["signed"].as_array().unwrap().len(), 70);
    assert_eq!(std::fs::read(format!("{}.sig", files[69])).unwrap().len(), 64);

    let verified = run_words(&words(&["verify", "dev/k/1"])).text();
    assert_eq!(verified.lines().filter(|line| line.starts_with("valid ")).count(), 70, "{verified}");
    std::fs::write(&files[7], "changed").unwrap();
    let verified = run_words(&words(&["verify", "dev/k/1", "-o", "json"]));
    assert_eq!(verified.code, 1);
    let checked = verified.json()["checked"].as_array().unwrap().clone();
    let wrong: Vec<usize> = (0..70).filter(|index| checked[*index]["valid"] == false).collect();
    assert_eq!(wrong, [7]);

    let denied = run(chancery.cli(), &["sign", "dev/nowhere", &files[0], &files[1]]);
    assert_eq!(denied.code, 5, "{denied:?}");
    assert_eq!(denied.err.matches("ACCESS_DENIED").count(), 2, "each file is told of: {}", denied.err);
}

#[tokio::test]
async fn a_mac_is_made_and_checked() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mac = folder.path().join("mac");
    let mac = mac.to_str().unwrap();
    run(chancery.cli(), &["keys", "create", "dev/m", "-a", "HMAC_SHA256"]).text();
    let made = run_with(chancery.cli(), &["mac", "sign", "dev/m"], b"pay 5 to Ada");
    assert!(made.err.contains("made by keyRings/dev/keys/m/versions/1 (record "), "{}", made.err);
    let base64 = made.text();
    assert_eq!(base64.trim_end().len(), 44, "32 bytes in base64, and nothing else: {base64}");
    std::fs::write(mac, base64).unwrap();
    let right = run_with(chancery.cli(), &["mac", "verify", "dev/m/1", "--mac", mac], b"pay 5 to Ada").text();
    assert_eq!(right, "valid: checked with keyRings/dev/keys/m/versions/1 (ACTIVE)\n");
    let wrong = run_with(chancery.cli(), &["mac", "verify", "dev/m", "--mac", mac, "-o", "json"], b"pay 6 to Ada");
    assert_eq!((wrong.code, wrong.json()["valid"].as_bool()), (1, Some(false)));
    run(chancery.cli(), &["mac", "verify", "dev/m", "--mac", "-"]).failed(2, &["cannot both come"]);
    // A caller's signature that nobody would look at is not passed over, unless it is meant for every command.
    let words = ["mac", "sign", "dev/m", "--caller-signature", "chancery-dev"];
    run_with(chancery.cli(), &words, b"m").failed(2, &["--caller-signature", "a MAC has no signature of its caller"]);
    let mut by_environment = chancery.cli();
    by_environment.env("CHANCERY_CALLER_SIGNATURE", "chancery-dev");
    run_with(by_environment, &["mac", "sign", "dev/m"], b"m").text();
}

#[tokio::test]
async fn random_bytes_come_in_each_form_and_never_twice() {
    let chancery = Chancery::start().await.unwrap();
    let hex = run(chancery.cli(), &["random", "dev"]).text();
    assert!(hex.len() == 65 && hex.trim_end().bytes().all(|digit| digit.is_ascii_hexdigit()), "{hex}");
    assert_ne!(run(chancery.cli(), &["random", "dev"]).text(), hex);
    assert_eq!(run(chancery.cli(), &["random", "dev", "-n", "3000", "--form", "raw"]).out.len(), 3000);
    let json = run(chancery.cli(), &["random", "dev", "-n", "18", "-o", "json"]).json();
    assert_eq!((json["ring"].as_str(), json["data"].as_str().map(str::len)), (Some("keyRings/dev"), Some(24)));
}
