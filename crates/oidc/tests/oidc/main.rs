//! Tokens as issuers make them, signed by real keys, and whatever else is sent in their place; key sets from files and from a
//! real HTTPS server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod https;
mod key_sets;
mod keys;
mod server;
mod tokens;

use chancery_oidc::{Issuer, Issuers, JwsAlgorithm, KeySource, Settings};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const AUDIENCE: &str = "https://chancery.internal";

fn settings(keys: KeySource) -> Settings {
    Settings {
        issuer: ISSUER.to_owned(),
        audiences: ["https://other.example".to_owned(), AUDIENCE.to_owned()].into(),
        keys,
        algorithms: JwsAlgorithm::ALL.into(),
        token_type: None,
        subject_claim: "sub".to_owned(),
        required_claims: BTreeMap::new(),
        leeway: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(24 * 3600),
        refresh: Duration::from_secs(300),
        least_pause: Duration::from_millis(20),
        max_age: Duration::from_secs(3600),
    }
}

/// An issuer whose keys are in a file.
async fn in_file(folder: &Path, jwks: &str, change: impl FnOnce(&mut Settings)) -> Issuers {
    let path = folder.join("jwks.json");
    std::fs::write(&path, jwks).unwrap();
    let mut settings = settings(KeySource::File(path));
    change(&mut settings);
    let issuer = Issuer::new(settings);
    issuer.refresh().await.unwrap();
    Issuers::from_iter([issuer])
}

/// Seconds since 1970.
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}
