//! From the file's words to our types, so that what is malformed is refused with its line.

use chancery_audit::note::{KeyName, VerifierKey};
use chancery_https::Url;
use chancery_model::{Factor, Id, Identity, InvalidIdentity, Role};
use chancery_oidc::{HttpsUrl, JwsAlgorithm};
use serde::de::{Deserialize, Deserializer, Error};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_id(&text).map_err(D::Error::custom)
}

pub(super) fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Id>, D::Error> {
    set(deserializer, "id", parse_id)
}

pub(super) fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Role>, D::Error> {
    set(deserializer, "role", |text| text.parse::<Role>().map_err(|error| error.to_string()))
}

pub(super) fn factors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Factor>, D::Error> {
    set(deserializer, "factor", |text| text.parse::<Factor>().map_err(|error| error.to_string()))
}

pub(super) fn identities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Identity>, D::Error> {
    set(deserializer, "identity", parse_identity)
}

pub(super) fn jws_algorithms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<JwsAlgorithm>, D::Error> {
    set(deserializer, "algorithm", |text| text.parse::<JwsAlgorithm>().map_err(|error| error.to_string()))
}

pub(super) fn optional_https_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HttpsUrl>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
}

pub(super) fn optional_origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<KeyName>, D::Error> {
    KeyName::parse(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

pub(super) fn verifier_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VerifierKey, D::Error> {
    VerifierKey::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// Whole seconds, at least one.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(D::Error::custom("must be at least 1 second")),
        seconds => Ok(Duration::from_secs(u64::from(seconds))),
    }
}

/// As [`seconds`], for a limit that is off where it is not given.
pub(super) fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    seconds(deserializer).map(Some)
}

fn parse_id(text: &str) -> Result<Id, String> {
    Id::parse("an id", text).map_err(|error| format!("{text:?}: {error}"))
}

/// What names a caller in its certificate, `spiffe://trust-domain/path` or `dns:name`, or in an issuer's tokens,
/// `oidc:https://issuer#subject`.
///
/// # Errors
/// What is wrong with it, and how to write it.
pub fn parse_identity(text: &str) -> Result<Identity, String> {
    text.parse().map_err(|error: InvalidIdentity| match error {
        InvalidIdentity::Form => {
            format!(
                "{text:?}: write a SPIFFE id as spiffe://trust-domain/path, a DNS name as dns:name, or the subject of an \
                 OIDC issuer as oidc:https://issuer#subject"
            )
        }
        error => format!("{text:?}: {error}"),
    })
}

fn set<'de, D: Deserializer<'de>, T: Ord>(
    deserializer: D,
    what: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<BTreeSet<T>, D::Error> {
    let mut values = BTreeSet::new();
    for text in Vec::<String>::deserialize(deserializer)? {
        if !values.insert(parse(&text).map_err(D::Error::custom)?) {
            return Err(D::Error::custom(format!("the {what} {text:?} is given twice; remove one")));
        }
    }
    Ok(values)
}
