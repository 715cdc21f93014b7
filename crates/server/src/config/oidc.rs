//! `[[listener.oidc]]`: issuers whose tokens are accepted.

use super::parse;
use chancery_oidc::{HttpsUrl, Issuer, JwsAlgorithm, KeySource, RequiredClaim, Settings};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// How often a file with keys is looked at, as the files of the listener are.
const FILE_REFRESH: Duration = Duration::from_secs(3);
/// Who sends tokens does not decide how often an issuer is asked: no sooner than this after the last time.
const LEAST_PAUSE: Duration = Duration::from_secs(5);

/// An issuer of OpenID Connect whose tokens are accepted as `authorization: Bearer`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The issuer, as its tokens name it in `iss`, to the letter: `https://host/path`.
    pub issuer: String,
    /// For whom its tokens have to be (`aud`): names of this service that no other one takes.
    pub audiences: BTreeSet<String>,
    /// Its keys, in a file (JWKS). Read again when it changes.
    pub jwks_file: Option<PathBuf>,
    /// Its keys, at an HTTPS address: `jwks_uri` of its `/.well-known/openid-configuration`.
    #[serde(default, deserialize_with = "parse::optional_https_url")]
    pub jwks_url: Option<HttpsUrl>,
    /// PEM file of the authorities that may have issued the certificate of whoever answers at `jwks_url`.
    pub jwks_ca: Option<PathBuf>,
    /// File with a bearer token to show at `jwks_url`, where the keys are not for everybody. Read at each request.
    pub jwks_token_file: Option<PathBuf>,
    /// What its tokens may be signed by: RS256, PS256, ES256, ES384, EdDSA. Default: each of them; a key is for one.
    #[serde(default = "all_algorithms", deserialize_with = "parse::jws_algorithms")]
    pub algorithms: BTreeSet<JwsAlgorithm>,
    /// What the header's `typ` has to be. Not given: it is not looked at.
    pub token_type: Option<String>,
    /// The claim that names the caller. Default sub.
    #[serde(default = "sub")]
    pub subject_claim: String,
    /// Claims that a token must have beside those, with their values.
    #[serde(default)]
    pub required_claims: BTreeMap<String, RequiredValue>,
    /// By how much the issuer's clock and ours may differ. Default 30, at most 300.
    #[serde(rename = "clock_leeway_seconds", default = "half_a_minute", deserialize_with = "parse::seconds")]
    pub clock_leeway: Duration,
    /// The longest time for which a token may be issued, from `iat` to `exp`. Default 3600.
    #[serde(rename = "max_token_lifetime_seconds", default = "an_hour", deserialize_with = "parse::seconds")]
    pub max_token_lifetime: Duration,
    /// How often `jwks_url` is asked. Default 300.
    #[serde(rename = "refresh_seconds", default, deserialize_with = "parse::optional_seconds")]
    pub refresh: Option<Duration>,
    /// How old the keys may become while they cannot be read again; then no token of the issuer is accepted. Default 86400.
    #[serde(rename = "max_stale_seconds", default = "a_day", deserialize_with = "parse::seconds")]
    pub max_stale: Duration,
}

/// The value of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RequiredValue {
    /// This text, or an array with it.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
}

impl Oidc {
    /// How often the keys are read without a reason.
    pub(super) fn refresh(&self) -> Duration {
        match self.jwks_file {
            Some(_) => FILE_REFRESH,
            None => self.refresh.unwrap_or(Duration::from_secs(300)),
        }
    }

    /// The issuer that this is, without keys yet; `None` where it does not say where they are, which
    /// [`Config::check`](super::Config::check) finds.
    pub(crate) fn to_issuer(&self) -> Option<Issuer> {
        let keys = match (&self.jwks_file, &self.jwks_url, &self.jwks_ca) {
            (Some(file), None, None) => KeySource::File(file.clone()),
            (None, Some(url), Some(ca)) => {
                KeySource::Url { url: url.clone(), ca: ca.clone(), token: self.jwks_token_file.clone() }
            }
            _ => return None,
        };
        let required = |value: &RequiredValue| match value {
            RequiredValue::Text(text) => RequiredClaim::Text(text.clone()),
            RequiredValue::Flag(flag) => RequiredClaim::Flag(*flag),
        };
        let refresh = self.refresh();
        Some(Issuer::new(Settings {
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            keys,
            algorithms: self.algorithms.clone(),
            token_type: self.token_type.clone(),
            subject_claim: self.subject_claim.clone(),
            required_claims: self.required_claims.iter().map(|(name, value)| (name.clone(), required(value))).collect(),
            leeway: self.clock_leeway,
            max_lifetime: self.max_token_lifetime,
            refresh,
            least_pause: LEAST_PAUSE.min(refresh),
            max_age: self.max_stale,
        }))
    }
}

fn all_algorithms() -> BTreeSet<JwsAlgorithm> {
    JwsAlgorithm::ALL.into()
}

fn sub() -> String {
    "sub".to_owned()
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

const fn an_hour() -> Duration {
    Duration::from_secs(60 * 60)
}

const fn a_day() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}
