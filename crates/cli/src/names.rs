//! Names as people type them: whole (`keyRings/dev/keys/k/versions/3`) or short (`dev/k/3`).

use std::fmt;
use std::str::FromStr;

use chancery_client::KeyRef;
use chancery_model::{ApiKeyId, Id, KeyName, KeyVersionName, RingName};

/// A ring: `dev` or `keyRings/dev`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingArgument(pub RingName);

/// A key: `dev/k` or `keyRings/dev/keys/k`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyArgument(pub KeyName);

/// A key version: `dev/k/3` or `keyRings/dev/keys/k/versions/3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionArgument(pub KeyVersionName);

/// A key (for its primary version) or one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrVersionArgument {
    /// A key.
    Key(KeyName),
    /// A version.
    Version(KeyVersionName),
}

/// What policy and the record speak of: a ring, a key, a version, a token (`tokens/main`), or a
/// caller (`callers/billing`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceArgument(pub String);

/// Resources that there is one of each, as they are named. A ring that is called so is named whole (`keyRings/tokens`).
const SINGLE: [&str; 4] = ["policySet", "auditLog", "callers", "tokens"];

/// What records are about: all of that, an API key (`callers/billing/apiKeys/0aZ9bY8cX7dW`), or one of `policySet`,
/// `auditLog`, `callers`, `tokens`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedArgument(pub String);

/// What access is reviewed of: a ring, a key, a token (`tokens/main`), a caller (`callers/billing`), or one of `policySet`,
/// `auditLog`, `callers`, `tokens`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewedArgument(pub String);

/// A token: `main` or `tokens/main`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenArgument(pub Id);

/// A caller: `billing` or `callers/billing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerArgument(pub Id);

/// An API key: `billing/0aZ9bY8cX7dW` or `callers/billing/apiKeys/0aZ9bY8cX7dW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyArgument {
    caller: Id,
    id: ApiKeyId,
}

impl fmt::Display for ApiKeyArgument {
    /// The whole resource name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "callers/{}/apiKeys/{}", self.caller, self.id)
    }
}

impl FromStr for ApiKeyArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let segments: Vec<&str> = text.split('/').collect();
        let (caller, id) = match segments.as_slice() {
            ["callers", caller, "apiKeys", id] | [caller, id] => (*caller, *id),
            _ => return Err("an API key is meant here: CALLER/ID, for example billing/0aZ9bY8cX7dW".to_owned()),
        };
        let id = id.parse().map_err(|error: chancery_model::InvalidApiKeyId| error.to_string())?;
        Ok(Self { caller: whole_id("the caller id", caller)?, id })
    }
}

/// Any of the resources that a slash-separated text can mean.
pub enum Parsed {
    /// A ring.
    Ring(RingName),
    /// A key.
    Key(KeyName),
    /// A version.
    Version(KeyVersionName),
}

/// Reads a short or whole name.
///
/// # Errors
/// What a name looks like.
pub fn parse(text: &str) -> Result<Parsed, String> {
    let segments: Vec<&str> = text.split('/').collect();
    let (ring, key, version) = match segments.as_slice() {
        ["keyRings", ring] | [ring] => (*ring, None, None),
        ["keyRings", ring, "keys", key] | [ring, key] => (*ring, Some(*key), None),
        ["keyRings", ring, "keys", key, "versions", version] | [ring, key, version] => {
            (*ring, Some(*key), Some(*version))
        }
        _ => {
            return Err(format!(
                "{text:?} is no name; use RING, RING/KEY or RING/KEY/VERSION, or a whole resource name"
            ));
        }
    };
    // The whole name is built and parsed by the model: one place knows the rules.
    let whole = match (key, version) {
        (None, _) => return whole(&format!("keyRings/{ring}")).map(Parsed::Ring),
        (Some(key), None) => return whole(&format!("keyRings/{ring}/keys/{key}")).map(Parsed::Key),
        (Some(key), Some(version)) => format!("keyRings/{ring}/keys/{key}/versions/{version}"),
    };
    self::whole(&whole).map(Parsed::Version)
}

fn whole<T: FromStr<Err: fmt::Display>>(name: &str) -> Result<T, String> {
    name.parse().map_err(|error| format!("{error}"))
}

impl FromStr for RingArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse(text)? {
            Parsed::Ring(ring) => Ok(Self(ring)),
            Parsed::Key(_) | Parsed::Version(_) => Err("a key ring is meant here, for example dev".to_owned()),
        }
    }
}

impl FromStr for KeyArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse(text)? {
            Parsed::Key(key) => Ok(Self(key)),
            Parsed::Ring(_) => Err("a key is meant here: RING/KEY, for example dev/invoices".to_owned()),
            Parsed::Version(version) => Err(format!("a key is meant here, not a version: {}", short(&version.key))),
        }
    }
}

impl FromStr for VersionArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse(text)? {
            Parsed::Version(version) => Ok(Self(version)),
            Parsed::Key(key) => {
                Err(format!("say which version: {}/VERSION, for example {}/1", short(&key), short(&key)))
            }
            Parsed::Ring(_) => {
                Err("a key version is meant here: RING/KEY/VERSION, for example dev/invoices/1".to_owned())
            }
        }
    }
}

impl FromStr for KeyOrVersionArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match parse(text)? {
            Parsed::Key(key) => Ok(Self::Key(key)),
            Parsed::Version(version) => Ok(Self::Version(version)),
            Parsed::Ring(_) => Err("a key is meant here: RING/KEY, for example dev/invoices".to_owned()),
        }
    }
}

impl fmt::Display for KeyOrVersionArgument {
    /// The whole resource name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Version(version) => version.fmt(f),
        }
    }
}

impl KeyOrVersionArgument {
    /// What to try where a check said no: only the primary version was `checked`, and one before it may be meant. Nothing
    /// where a version was named, or the primary one is the first.
    pub fn earlier_versions(&self, checked: &KeyVersionName) -> Option<String> {
        match self {
            Self::Key(key) if checked.version > 1 => Some(format!(
                "hint: only the primary version was tried; name the one that signed, for example {}/{}",
                short(key),
                checked.version - 1
            )),
            Self::Key(_) | Self::Version(_) => None,
        }
    }
}

impl From<KeyOrVersionArgument> for KeyRef {
    fn from(argument: KeyOrVersionArgument) -> Self {
        match argument {
            KeyOrVersionArgument::Key(key) => Self::Key(key),
            KeyOrVersionArgument::Version(version) => Self::Version(version),
        }
    }
}

impl FromStr for ResourceArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(token) = text.strip_prefix("tokens/") {
            return whole_id("the token id", token).map(|id| Self(format!("tokens/{id}")));
        }
        if let Some(caller) = text.strip_prefix("callers/") {
            return whole_id("the caller id", caller).map(|id| Self(format!("callers/{id}")));
        }
        Ok(Self(match parse(text)? {
            Parsed::Ring(ring) => ring.to_string(),
            Parsed::Key(key) => key.to_string(),
            Parsed::Version(version) => version.to_string(),
        }))
    }
}

impl FromStr for RecordedArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if SINGLE.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        if text.starts_with("callers/") && text.contains("/apiKeys/") {
            return text.parse().map(|key: ApiKeyArgument| Self(key.to_string()));
        }
        text.parse().map(|ResourceArgument(name)| Self(name))
    }
}

impl FromStr for ReviewedArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if SINGLE.contains(&text) {
            return Ok(Self(text.to_owned()));
        }
        match parse(text) {
            Ok(Parsed::Version(version)) => {
                Err(format!("access is that of a key, not of a version: {}", short(&version.key)))
            }
            Ok(Parsed::Ring(_) | Parsed::Key(_)) | Err(_) => text.parse().map(|ResourceArgument(name)| Self(name)),
        }
    }
}

impl FromStr for TokenArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole_id("the token id", text.strip_prefix("tokens/").unwrap_or(text)).map(Self)
    }
}

impl FromStr for CallerArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole_id("the caller id", text.strip_prefix("callers/").unwrap_or(text)).map(Self)
    }
}

fn whole_id(what: &'static str, text: &str) -> Result<Id, String> {
    Id::parse(what, text).map_err(|error| error.to_string())
}

fn short(key: &KeyName) -> String {
    format!("{}/{}", key.ring, key.key)
}

/// The short form of a whole name, for messages that are to be typed; what has none stays as it is, and so does what is in a
/// ring `callers` or `tokens`: in short it would be the name of something else.
pub fn shorten(name: &str) -> String {
    if SINGLE.iter().any(|single| name.strip_prefix("keyRings/").is_some_and(|ring| is_in(ring, single))) {
        return name.to_owned();
    }
    match parse(name) {
        Ok(Parsed::Ring(ring)) => ring.ring.to_string(),
        Ok(Parsed::Key(key)) => short(&key),
        Ok(Parsed::Version(version)) => format!("{}/{}", short(&version.key), version.version),
        Err(_) => name.to_owned(),
    }
}

/// Whether this is a ring of that id, or in it.
fn is_in(name: &str, ring: &str) -> bool {
    name.strip_prefix(ring).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_whole_names_mean_the_same() {
        for (short, whole) in [
            ("dev/k", "keyRings/dev/keys/k"),
            ("dev/k/3", "keyRings/dev/keys/k/versions/3"),
            ("keys/versions", "keyRings/keys/keys/versions"),
        ] {
            let parsed: KeyOrVersionArgument = short.parse().unwrap();
            assert_eq!(parsed.to_string(), whole);
            assert_eq!(whole.parse::<KeyOrVersionArgument>().unwrap(), parsed);
            assert_eq!(shorten(whole), short);
        }
        assert_eq!("dev".parse::<RingArgument>().unwrap(), "keyRings/dev".parse().unwrap());
        assert_eq!(shorten("keyRings/dev"), "dev");
        assert_eq!(shorten("callers/x/y/z"), "callers/x/y/z");
        for whole in ["keyRings/callers", "keyRings/tokens/keys/k", "keyRings/callers/keys/k/versions/1"] {
            assert_eq!(shorten(whole), whole, "in short it would be another resource");
        }
        assert_eq!(shorten("keyRings/tokens-2/keys/k"), "tokens-2/k");
    }

    #[test]
    fn the_wrong_kind_of_name_is_told_what_is_meant() {
        assert!("dev/k/1".parse::<KeyArgument>().unwrap_err().contains("dev/k"));
        assert!("dev/k".parse::<VersionArgument>().unwrap_err().contains("dev/k/1"));
        assert!("dev".parse::<KeyOrVersionArgument>().unwrap_err().contains("RING/KEY"));
        assert!("dev/k".parse::<RingArgument>().is_err());
    }

    #[test]
    fn earlier_versions_are_pointed_to_where_there_are_any_and_none_was_named() {
        let hint = |named: &str, checked: &str| {
            let (named, VersionArgument(checked)) =
                (named.parse::<KeyOrVersionArgument>().unwrap(), checked.parse().unwrap());
            named.earlier_versions(&checked)
        };
        assert!(hint("dev/k", "dev/k/3").unwrap().ends_with("dev/k/2"));
        assert_eq!(hint("dev/k", "dev/k/1"), None);
        assert_eq!(hint("dev/k/3", "dev/k/3"), None);
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in ["", "/", "Dev/k", "dev/k/0", "dev/k/1/2", "dev/k/versions/1", "keyRings/dev/k", "dev//1", "dev/ä"]
        {
            assert!(text.parse::<KeyOrVersionArgument>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn access_is_reviewed_of_rings_keys_tokens_and_what_there_is_one_of() {
        for (text, whole) in [
            ("dev", "keyRings/dev"),
            ("dev/k", "keyRings/dev/keys/k"),
            ("tokens/main", "tokens/main"),
            ("tokens", "tokens"),
            ("keyRings/tokens", "keyRings/tokens"),
            ("callers", "callers"),
            ("callers/billing", "callers/billing"),
            ("keyRings/callers", "keyRings/callers"),
            ("policySet", "policySet"),
            ("auditLog", "auditLog"),
        ] {
            assert_eq!(text.parse::<ReviewedArgument>().unwrap().0, whole);
        }
        assert!("dev/k/1".parse::<ReviewedArgument>().unwrap_err().contains("dev/k"));
        assert!("Dev".parse::<ReviewedArgument>().is_err());
    }

    #[test]
    fn a_record_is_found_by_whatever_it_is_about() {
        for (text, whole) in [
            ("dev/k/1", "keyRings/dev/keys/k/versions/1"),
            ("tokens/main", "tokens/main"),
            ("tokens", "tokens"),
            ("keyRings/tokens", "keyRings/tokens"),
            ("callers/billing", "callers/billing"),
            ("callers/billing/apiKeys/0aZ9bY8cX7dW", "callers/billing/apiKeys/0aZ9bY8cX7dW"),
            ("callers", "callers"),
            ("policySet", "policySet"),
            ("auditLog", "auditLog"),
        ] {
            assert_eq!(text.parse::<RecordedArgument>().unwrap().0, whole);
        }
        assert!("callers/billing/apiKeys/x".parse::<RecordedArgument>().is_err());
        assert!("Policy".parse::<RecordedArgument>().is_err());
    }

    #[test]
    fn resources_tokens_and_callers() {
        for (text, whole) in [
            ("dev", "keyRings/dev"),
            ("dev/k", "keyRings/dev/keys/k"),
            ("dev/k/1", "keyRings/dev/keys/k/versions/1"),
            ("tokens/main", "tokens/main"),
        ] {
            assert_eq!(text.parse::<ResourceArgument>().unwrap().0, whole);
        }
        assert_eq!("tokens/main".parse::<TokenArgument>().unwrap(), "main".parse().unwrap());
        assert_eq!("callers/a".parse::<CallerArgument>().unwrap(), "a".parse().unwrap());
        let key: ApiKeyArgument = "a/0aZ9bY8cX7dW".parse().unwrap();
        assert_eq!(key.to_string(), "callers/a/apiKeys/0aZ9bY8cX7dW");
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!("0aZ9bY8cX7dW".parse::<ApiKeyArgument>().is_err() && "a/short".parse::<ApiKeyArgument>().is_err());
        assert!("tokens/a/b".parse::<ResourceArgument>().is_err());
    }
}
