//! Which service, as whom, and what is said when that does not work.

use std::process::Command;

use chancery_testkit::{Authority, Chancery, IdentityFiles, Leaf};

use crate::{Ended, run};

fn health(chancery: &Chancery, endpoint: &str, identity: &IdentityFiles, more: &[&str]) -> Ended {
    let mut command: Command = chancery.cli();
    command.env_remove("CHANCERY_DEV");
    let (cert, key) = (identity.certificate.to_str().unwrap(), identity.private_key.to_str().unwrap());
    let words = ["health", "--endpoint", endpoint, "--cert", cert, "--key", key];
    let ca = ["--ca", chancery.ca().to_str().unwrap()];
    run(command, &[&words[..], if more.contains(&"--ca") { &[] } else { &ca[..] }, more].concat())
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_told_from_a_service_that_is_not_there() {
    let chancery = Chancery::start().await.unwrap();
    let issue = |leaf: Leaf, name: &str| chancery.issue(leaf, name).unwrap();
    let good = issue(Leaf::spiffe("spiffe://chancery.dev/operator"), "good");
    let endpoint = chancery.endpoint();
    assert!(health(&chancery, endpoint, &good, &[]).text().contains("SERVING"));

    // Held, so that no other service gets the port, and not listened to.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    health(&chancery, &format!("https://{closed}"), &good, &[])
        .failed(4, &[&closed.to_string(), "nothing listens there", "chancery serve"]);

    let refused = ["does not accept the client's certificate", "--cert"];
    let expired = issue(Leaf::spiffe("spiffe://chancery.dev/operator").expired(), "expired");
    health(&chancery, endpoint, &expired, &[]).failed(5, &refused);
    let wrong_use = issue(Leaf::spiffe("spiffe://chancery.dev/operator").for_servers(), "server-only");
    health(&chancery, endpoint, &wrong_use, &[]).failed(5, &refused);
    let unknown = Authority::unknown().unwrap();
    let stranger = unknown.issue(Leaf::spiffe("spiffe://chancery.dev/operator"), &chancery.identities(), "stranger");
    health(&chancery, endpoint, &stranger.unwrap(), &[]).failed(5, &refused);

    let other_ca = chancery.identities().join("other-ca.pem");
    std::fs::write(&other_ca, unknown.certificate()).unwrap();
    health(&chancery, endpoint, &good, &["--ca", other_ca.to_str().unwrap()])
        .failed(4, &["the server's certificate is not accepted", "UnknownIssuer", "--ca"]);
    health(&chancery, endpoint, &good, &["--server-name", "other.example"]).failed(4, &["other.example"]);
}

#[tokio::test]
async fn files_that_do_not_fit_are_named() {
    let chancery = Chancery::start().await.unwrap();
    let good = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/operator"), "good").unwrap();
    let other = chancery.issue(Leaf::spiffe("spiffe://chancery.dev/operator"), "other").unwrap();
    let endpoint = chancery.endpoint();

    let missing = IdentityFiles { certificate: "/nowhere/cert.pem".into(), ..good.clone() };
    health(&chancery, endpoint, &missing, &[]).failed(3, &["/nowhere/cert.pem", "No such file"]);
    let swapped = IdentityFiles { certificate: good.private_key.clone(), private_key: good.certificate.clone() };
    health(&chancery, endpoint, &swapped, &[]).failed(3, &["good.key holds no client certificate"]);
    let mixed = IdentityFiles { private_key: other.private_key, ..good.clone() };
    health(&chancery, endpoint, &mixed, &[]).failed(3, &["good.pem", "other.key", "cannot be used together"]);
    health(&chancery, "http://127.0.0.1:1", &good, &[]).failed(2, &["https://host:port"]);
}

#[test]
fn nothing_known_is_said_with_all_that_is_missing() {
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        for name in ["CHANCERY_DEV", "CHANCERY_ENDPOINT", "CHANCERY_CA", "CHANCERY_CERT", "CHANCERY_KEY"] {
            command.env_remove(name);
        }
        command
    };
    run(command(), &["keys", "list"]).failed(2, &["CHANCERY_ENDPOINT", "CHANCERY_KEY", "--dev DIR"]);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    run(command(), &["keys", "list", "--dev", dir]).failed(4, &["no service runs in", "chancery dev --dir"]);
    run(command(), &["keys", "list", "--dev", dir, "--endpoint", "https://x:1"]).failed(2, &["--dev", "--endpoint"]);
}
