//! Files of expected decisions, in TOML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use chancery_model::{Action, Algorithm, Id, Role};
use chancery_policy::OperationKind;
use serde::{Deserialize, Deserializer};

use crate::exit::Failure;
use crate::input::Source;

/// A file of expected decisions.
#[derive(Debug)]
pub struct TestFile {
    /// How it is called on the command line.
    pub name: String,
    /// The environment of everything that does not name its own.
    pub environment: Option<Id>,
    /// Who the cases speak of, by id.
    pub callers: BTreeMap<Id, CallerTable>,
    /// The key rings that do not belong to the file's environment, by id.
    pub rings: BTreeMap<Id, RingTable>,
    /// The keys that the cases speak of, by `ring/key`.
    pub keys: BTreeMap<String, KeyTable>,
    /// The cases, one for each action.
    pub cases: Vec<Case>,
}

/// One expected decision.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Who calls.
    pub caller: Id,
    /// What is called.
    pub action: Action,
    /// On what, as written; nothing for the policy set, the record and the tokens as a whole.
    pub resource: Option<String>,
    /// The decision.
    pub expect: Expectation,
    /// The `@id`s of exactly the policies that decide; not checked where not given.
    pub policies: Option<BTreeSet<String>>,
    /// The circumstances.
    pub context: ContextTable,
}

/// What is expected of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// It is allowed.
    Allow,
    /// It is denied.
    Deny,
}

impl Expectation {
    /// That of a decision.
    pub const fn of(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Deny }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// A caller, by the names that the configuration uses.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallerTable {
    /// Of the file's environment where not given.
    #[serde(deserialize_with = "optional_id")]
    pub environment: Option<Id>,
    /// Roles.
    #[serde(deserialize_with = "roles")]
    pub roles: BTreeSet<Role>,
    /// Groups.
    #[serde(deserialize_with = "ids")]
    pub groups: BTreeSet<Id>,
    /// The rings to which the roles extend.
    #[serde(deserialize_with = "ids")]
    pub key_rings: BTreeSet<Id>,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
}

/// A key ring.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingTable {
    /// Its environment.
    #[serde(deserialize_with = "id")]
    pub environment: Id,
}

/// A key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyTable {
    /// Its algorithm, by the API's name.
    #[serde(deserialize_with = "algorithm")]
    pub algorithm: Algorithm,
    /// Whether it signs digests.
    #[serde(default)]
    pub allow_digest: bool,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether it was adopted although a copy of it may be outside the token.
    #[serde(default)]
    pub extractable: bool,
}

/// The circumstances of a call; what is not given is usual.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContextTable {
    /// Where the call comes from; not known where not given.
    pub source_address: Option<IpAddr>,
    /// When it is decided, in RFC 3339; at noon (UTC) of 1 January 2026 where not given, so that a case means the same on
    /// every day.
    pub time: Option<String>,
    /// For Sign: `message` (where not given) or `digest`.
    pub input: Option<InputWord>,
    /// For Sign, MacSign and MacVerify: length of the message or digest in bytes; 1, and 32 of a digest, where not given.
    pub input_bytes: Option<u32>,
    /// For Sign: how many items the call holds; 1 where not given.
    pub batch_size: Option<u16>,
    /// For Sign, SignJwt, CreateCertificateSigningRequest, MacSign and MacVerify: the key version's number; 1 where not given.
    pub version: Option<u32>,
    /// For SignJwt: the claim `iss`.
    pub issuer: Option<String>,
    /// For SignJwt: the claim `sub`. For CreateCertificateSigningRequest: the subject; empty where not given.
    pub subject: Option<String>,
    /// For CreateCertificateSigningRequest: the subject alternative names, each with its kind, for example `dns:shop.example`.
    pub alternative_names: Option<Vec<String>>,
    /// For SignJwt: the claim `aud`.
    pub audiences: Option<Vec<String>>,
    /// For SignJwt: from `iat` to `exp`, for example `5m`; an hour where not given. For IssueApiKey and RotateApiKey: of the new
    /// key; 30 days where not given.
    pub lifetime: Option<String>,
    /// For SignJwt: the header's `typ`; `JWT` where not given.
    #[serde(rename = "type")]
    pub token_type: Option<String>,
    /// For GenerateRandomBytes: how many; 1 where not given.
    pub length: Option<u32>,
    /// For CreateKey and AdoptKey: the algorithm that the key would have.
    #[serde(deserialize_with = "optional_algorithm")]
    pub algorithm: Option<Algorithm>,
    /// For CreateKey and AdoptKey: whether the key would sign digests.
    pub allow_digest: Option<bool>,
    /// For CreateCaller and UpdateCaller: the caller as it would be registered. Where not given, a new one without groups, roles
    /// and key rings, and one that stays what it is.
    pub registration: Option<RegistrationTable>,
}

/// A caller as it would be registered. What is not given, it would not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrationTable {
    /// Of a new one; that of who asks where not given.
    #[serde(deserialize_with = "optional_id")]
    pub environment: Option<Id>,
    /// Groups.
    #[serde(deserialize_with = "ids")]
    pub groups: BTreeSet<Id>,
    /// Roles.
    #[serde(deserialize_with = "roles")]
    pub roles: BTreeSet<Role>,
    /// The rings to which the roles extend.
    #[serde(deserialize_with = "ids")]
    pub key_rings: BTreeSet<Id>,
}

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputWord {
    /// A message.
    Message,
    /// A digest.
    Digest,
}

impl ContextTable {
    /// Refuses circumstances that calls of this action do not have: a case that gives them means something else than it
    /// tests.
    pub fn check(&self, action: Action) -> Result<(), String> {
        let Self {
            source_address: _,
            time: _,
            input,
            input_bytes,
            batch_size,
            version,
            issuer,
            subject,
            alternative_names,
            audiences,
            lifetime,
            token_type,
            length,
            algorithm,
            allow_digest,
            registration,
        } = self;
        let kind = OperationKind::of(action);
        let (sign, jwt, csr) =
            (kind == OperationKind::Sign, kind == OperationKind::SignJwt, kind == OperationKind::SigningRequest);
        let (mac, random, create) =
            (kind == OperationKind::Mac, kind == OperationKind::Random, kind == OperationKind::CreateKey);
        let (api_key, registered) = (kind == OperationKind::ApiKey, kind == OperationKind::Registration);
        let given = [
            ("input", input.is_some(), sign),
            ("input_bytes", input_bytes.is_some(), sign || mac),
            ("batch_size", batch_size.is_some(), sign),
            ("version", version.is_some(), sign || jwt || mac || csr),
            ("issuer", issuer.is_some(), jwt),
            ("subject", subject.is_some(), jwt || csr),
            ("alternative_names", alternative_names.is_some(), csr),
            ("audiences", audiences.is_some(), jwt),
            ("lifetime", lifetime.is_some(), jwt || api_key),
            ("type", token_type.is_some(), jwt),
            ("length", length.is_some(), random),
            ("algorithm", algorithm.is_some(), create),
            ("allow_digest", allow_digest.is_some(), create),
            ("registration", registration.is_some(), registered),
        ];
        match given.into_iter().find(|(_, given, belongs)| *given && !belongs) {
            Some((name, ..)) => Err(format!("{action} has no context.{name}")),
            None if create && algorithm.is_none() => {
                Err(format!("{action} is decided by the algorithm, too: give context.algorithm"))
            }
            None if action == Action::UpdateCaller
                && registration.as_ref().is_some_and(|registration| registration.environment.is_some()) =>
            {
                Err(format!("{action} changes no environment: leave out context.registration.environment"))
            }
            None => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    #[serde(default, deserialize_with = "optional_id")]
    environment: Option<Id>,
    #[serde(default)]
    callers: BTreeMap<String, CallerTable>,
    #[serde(default)]
    rings: BTreeMap<String, RingTable>,
    #[serde(default)]
    keys: BTreeMap<String, KeyTable>,
    #[serde(default)]
    case: Vec<CaseTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseTable {
    name: Option<String>,
    #[serde(deserialize_with = "id")]
    caller: Id,
    action: OneOrMore,
    resource: Option<String>,
    expect: Expectation,
    policies: Option<BTreeSet<String>>,
    #[serde(default)]
    context: ContextTable,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl TestFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        Self::parse(&name, &Source::File(path.to_owned()).read_policy()?)
    }

    /// Reads the text of a file that is called so.
    pub fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let refuse = |message: String| Failure::local(format!("{name}: {message}"));
        let table: FileTable = toml::from_str(text).map_err(|error| refuse(error.to_string().trim_end().to_owned()))?;
        let FileTable { environment, callers, rings, keys, case } = table;
        let by_id = |text: &str, what| Id::parse(what, text).map_err(|error| refuse(error.to_string()));
        let mut file = Self {
            name: name.to_owned(),
            environment,
            callers: BTreeMap::new(),
            rings: BTreeMap::new(),
            keys,
            cases: Vec::new(),
        };
        for (id, caller) in callers {
            file.callers.insert(by_id(&id, "the caller id")?, caller);
        }
        for (id, ring) in rings {
            file.rings.insert(by_id(&id, "the key ring id")?, ring);
        }
        for (number, case) in case.into_iter().enumerate() {
            let place = |message: String| refuse(format!("case {}: {message}", number + 1));
            let CaseTable { name, caller, action, resource, expect, policies, context } = case;
            let actions = match action {
                OneOrMore::One(action) => vec![action],
                OneOrMore::More(actions) => actions,
            };
            for action in actions {
                let action: Action = action.parse().map_err(|error| place(format!("{error}")))?;
                context.check(action).map_err(place)?;
                let called = resource.as_ref().map_or(String::new(), |resource| format!(" on {resource}"));
                let call = format!("{caller} {action}{called}");
                let name = name.as_ref().map_or_else(|| call.clone(), |name| format!("{name} ({call})"));
                let (caller, resource) = (caller.clone(), resource.clone());
                let (policies, context) = (policies.clone(), context.clone());
                file.cases.push(Case { name, caller, action, resource, expect, policies, context });
            }
        }
        if file.cases.is_empty() {
            return Err(refuse("holds no [[case]]: a test that tests nothing always passes".to_owned()));
        }
        Ok(file)
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
    let text = String::deserialize(deserializer)?;
    Id::parse("the id", &text).map_err(serde::de::Error::custom)
}

fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Id>, D::Error> {
    id(deserializer).map(Some)
}

fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Id>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| Id::parse("the id", text).map_err(serde::de::Error::custom)).collect()
}

fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Role>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

fn algorithm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Algorithm, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn optional_algorithm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Algorithm>, D::Error> {
    algorithm(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        TestFile::parse("t.toml", text).unwrap_err().report().0
    }

    #[test]
    fn a_case_of_several_actions_is_a_case_of_each() {
        let text =
            "[[case]]\ncaller = \"shop\"\naction = [\"Sign\", \"Verify\"]\nresource = \"dev/k\"\nexpect = \"allow\"\n";
        let file = TestFile::parse("t.toml", text).unwrap();
        let names: Vec<&str> = file.cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["shop Sign on dev/k", "shop Verify on dev/k"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let case = "[[case]]\ncaller = \"shop\"\naction = \"Sign\"\nresource = \"dev/k\"\nexpect = \"allow\"\n";
        for (text, said) in [
            ("", "holds no [[case]]"),
            ("cases = []", "unknown field `cases`"),
            (&case.replace("Sign", "Fly"), "case 1: unknown action"),
            (&case.replace("allow", "maybe"), "unknown variant `maybe`"),
            (&case.replace("shop", "Shop"), "line 2"),
            (&format!("{case}context = {{ lenght = 1 }}"), "unknown field `lenght`"),
            (&format!("{case}context = {{ length = 1 }}"), "Sign has no context.length"),
            (&format!("[callers.a]\nroles = [\"singer\"]\n{case}"), "unknown role"),
            (&format!("[keys.\"dev/k\"]\nalgorithm = \"MD5\"\n{case}"), "MD5"),
            (&case.replace("\"Sign\"", "\"CreateKey\""), "give context.algorithm"),
            (&format!("{case}context = {{ lifetime = \"1d\" }}"), "Sign has no context.lifetime"),
            (&format!("{case}context = {{ registration = {{}} }}"), "Sign has no context.registration"),
            (&format!("{case}context = {{ registration = {{ ring = [] }} }}"), "unknown field `ring`"),
            (
                &case
                    .replace("\"Sign\"", "\"UpdateCaller\"")
                    .replace("expect", "context = { registration = { environment = \"prod\" } }\nexpect"),
                "UpdateCaller changes no environment",
            ),
        ] {
            let refused = refusal(text);
            assert!(refused.contains(said) && refused.contains("t.toml"), "{said:?} in {refused}");
        }
    }
}
