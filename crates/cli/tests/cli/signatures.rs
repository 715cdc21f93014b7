//! sign, verify, public-key.

use chancery_testkit::{Chancery, Module};

use crate::{run, run_with};

#[tokio::test]
async fn a_file_is_signed_and_verified_and_a_changed_one_is_not() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (message, other, signature) = (path("message"), path("other"), path("signature"));
    std::fs::write(&message, "pay 5 to Ada").unwrap();
    std::fs::write(&other, "pay 500 to Ada").unwrap();
    run(chancery.cli(), &["keys", "create", "dev/k", "--algorithm", "ECDSA_P256_SHA256"]).text();

    let signed = run(chancery.cli(), &["sign", "dev/k", "--in", &message, "--signature", &signature]).text();
    assert!(signed.contains("keyRings/dev/keys/k/versions/1"), "{signed}");
    assert_eq!(std::fs::read(&signature).unwrap()[0], 0x30, "raw DER");

    let verified = run(chancery.cli(), &["verify", "dev/k/1", "--in", &message, "--signature", &signature]).text();
    assert_eq!(verified, "valid: checked against keyRings/dev/keys/k/versions/1 (ACTIVE)\n");
    let forged = run(chancery.cli(), &["verify", "dev/k", "--in", &other, "--signature", &signature]);
    assert_eq!(forged.code, 1);
    assert!(String::from_utf8(forged.out).unwrap().starts_with("NOT VALID"));

    run(chancery.cli(), &["keys", "rotate", "dev/k"]).text();
    let stale = run(chancery.cli(), &["verify", "dev/k", "--in", &message, "--signature", &signature]);
    assert_eq!((stale.code, stale.out.starts_with(b"NOT VALID")), (1, true));
    assert!(stale.err.contains("dev/k/1"), "the version that signed: {}", stale.err);
}

#[tokio::test]
async fn standard_input_and_output_carry_message_and_signature() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let signature = folder.path().join("signature");
    run(chancery.cli(), &["keys", "create", "dev/k", "--algorithm", "ed25519"]).text();

    let signed = run_with(chancery.cli(), &["sign", "dev/k"], b"message");
    assert!(signed.err.contains("signed by keyRings/dev/keys/k/versions/1 (record "), "{}", signed.err);
    let base64 = signed.text();
    assert_eq!(base64.trim_end().len(), 88, "64 bytes in base64, and nothing else: {base64}");
    std::fs::write(&signature, &base64).unwrap();
    let words = ["verify", "dev/k", "--signature", signature.to_str().unwrap(), "--output", "json"];
    let verdict = run_with(chancery.cli(), &words, b"message").json();
    assert_eq!(
        verdict,
        serde_json::json!({
            "valid": true, "verdict": "VALID", "version": "keyRings/dev/keys/k/versions/1", "state": "ACTIVE"
        })
    );

    let both = run(chancery.cli(), &["verify", "dev/k", "--signature", "-"]);
    both.failed(2, &["cannot both come from standard input"]);
    run(chancery.cli(), &["sign", "dev/k"]).failed(3, &["standard input is empty"]);
}

#[tokio::test]
async fn a_digest_is_signed_where_the_key_allows_it() {
    // Whatever the other tests run on: only secp256k1 has recovery ids, and Kryoptic has no secp256k1.
    let chancery = Chancery::setup().module(Module::SoftHsm).start().await.unwrap();
    run(chancery.cli(), &["keys", "create", "dev/blind", "-a", "ECDSA_SECP256K1_SHA256", "--allow-digest"]).text();
    run(chancery.cli(), &["keys", "create", "dev/sighted", "-a", "ECDSA_P256_SHA256"]).text();
    let digest = "ab".repeat(32);

    let words = ["sign", "dev/blind", "--digest", &digest, "--encoding", "p1363", "--output", "json"];
    let signed = run(chancery.cli(), &words).json();
    assert_eq!(signed["algorithm"], "ECDSA_SECP256K1_SHA256");
    assert!(signed["recovery_id"].as_u64().is_some_and(|id| id < 4), "{signed}");
    assert_eq!(signed["signature"].as_str().unwrap().len(), 88, "64 bytes in base64");
    let words = ["verify", "dev/blind/1", "--digest", &digest, "--encoding", "p1363", "--signature", "-"];
    run_with(chancery.cli(), &words, signed["signature"].as_str().unwrap().as_bytes()).text();

    run(chancery.cli(), &["sign", "dev/sighted", "--digest", &digest]).failed(6, &["DIGEST_NOT_ALLOWED", "--in"]);
    run(chancery.cli(), &["sign", "dev/blind", "--digest", "abcd"]).failed(6, &["INVALID_FIELD", "digest"]);
}

#[tokio::test]
async fn a_public_key_comes_as_pem_as_der_and_in_json() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.der");
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "RSA_PSS_2048_SHA256"]).text();

    let pem = run(chancery.cli(), &["public-key", "dev/k"]).text();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("-----END PUBLIC KEY-----\n"), "{pem}");
    let words = ["public-key", "dev/k/1", "--format", "der", "--out", file.to_str().unwrap()];
    let said = run(chancery.cli(), &words).text();
    assert!(said.contains("RSA_PSS_2048_SHA256"), "{said}");
    let der = run(chancery.cli(), &["public-key", "dev/k", "--format", "der"]);
    assert_eq!(der.out, std::fs::read(&file).unwrap());
    let json = run(chancery.cli(), &["public-key", "dev/k", "-o", "json"]).json();
    assert_eq!((json["pem"].as_str(), json["state"].as_str()), (Some(pem.as_str()), Some("ACTIVE")));
}

#[tokio::test]
async fn a_public_key_comes_as_verifiers_and_ssh_take_it() {
    let chancery = Chancery::start().await.unwrap();
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).text();
    let jwk = run(chancery.cli(), &["public-key", "dev/k", "--format", "jwk"]).json();
    assert_eq!((&jwk["kty"], &jwk["alg"]), (&"OKP".into(), &"EdDSA".into()));
    let json = run(chancery.cli(), &["public-key", "dev/k", "--format", "jwk", "-o", "json"]).json();
    assert_eq!(json["jwk"], jwk, "an object, not its text");
    let line = run(chancery.cli(), &["public-key", "dev/k", "--format", "openssh"]).text();
    assert!(line.starts_with("ssh-ed25519 ") && line.ends_with(" keyRings/dev/keys/k/versions/1\n"), "{line}");
}

#[tokio::test]
async fn a_token_is_printed_alone_and_its_version_beside_it() {
    let chancery = Chancery::start().await.unwrap();
    let words = ["keys", "create", "dev/k", "-a", "ED25519", "--max-jwt-lifetime", "15m", "-o", "json"];
    assert_eq!(run(chancery.cli(), &words).json()["max_jwt_lifetime_seconds"], 900);

    let words = ["jwt", "sign", "dev/k", "--claims", r#"{"sub":"ada"}"#, "--lifetime", "5m"];
    let signed = run(chancery.cli(), &words);
    assert!(signed.err.contains("signed by keyRings/dev/keys/k/versions/1, expires 2"), "{}", signed.err);
    let token = signed.text();
    assert_eq!(token.trim_end().split('.').count(), 3, "{token}");
    let words = ["jwt", "sign", "dev/k/1", "--claims-file", "-", "--type", "at+jwt", "-o", "json"];
    let json = run_with(chancery.cli(), &words, br#"{"sub":"ada"}"#).json();
    assert_eq!(json["version"], "keyRings/dev/keys/k/versions/1");
    assert!(json["issue_time"].as_str() < json["expire_time"].as_str(), "{json}");

    run(chancery.cli(), &["jwt", "sign", "dev/k", "--lifetime", "16m"]).failed(6, &["lifetime", "900 seconds"]);
    run(chancery.cli(), &["jwt", "sign", "dev/k", "--claims", "[]"]).failed(6, &["claims", "JSON object"]);
    run(chancery.cli(), &["jwt", "sign", "dev/k", "--lifetime", "5"]).failed(2, &["15m"]);
}

#[tokio::test]
async fn a_receipt_is_written_where_it_was_meant_to_be_or_nothing_is_signed() {
    let chancery = Chancery::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (message, signature, receipt) = (path("message"), path("message.sig"), path("message.receipt"));
    std::fs::write(&message, "pay 5 to Ada").unwrap();
    run(chancery.cli(), &["keys", "create", "dev/k", "-a", "ED25519"]).text();
    let records =
        || run(chancery.cli(), &["audit", "list", "--kind", "intent", "-o", "json"]).json()["records"].clone();

    let sign = |more: &[&str]| run(chancery.cli(), &[&["sign", "dev/k", "--in", &message], more].concat());
    sign(&["--receipts"]).failed(2, &["--receipts goes with the files", "--receipt FILE"]);
    sign(&["--receipts", "--signature", &signature]).failed(2, &["--receipts goes with the files"]);
    run_with(chancery.cli(), &["sign", "dev/k", "--receipts"], b"m").failed(2, &["--receipts goes with the files"]);
    sign(&["--signature", &signature, "--receipt", &signature])
        .failed(2, &["the receipt would overwrite the signature"]);
    sign(&["--signature", &message]).failed(2, &["the signature would overwrite the message"]);
    for option in ["--receipt", "--signature"] {
        sign(&[option, "-"]).failed(2, &["standard output is for the command's answer"]);
    }
    assert_eq!(records().as_array().unwrap().len(), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is written, either");

    sign(&["--signature", &signature, "--receipt", &receipt]).text();
    let written = std::fs::read_to_string(&receipt).unwrap();
    assert!(written.starts_with("c2sp.org/tlog-proof@v1\n") && std::fs::read(&signature).unwrap().len() == 64);
    let both = run(chancery.cli(), &["sign", "dev/k", &message, "--receipts"]);
    assert_eq!(
        (both.code, std::fs::read_to_string(&receipt).unwrap().lines().next().unwrap()),
        (0, "c2sp.org/tlog-proof@v1")
    );
}
