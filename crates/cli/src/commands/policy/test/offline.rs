//! Decides cases here, of the callers and keys that their file declares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chancery_model::{Action, Caller, CallerLimits, CallerState, Id, Timestamp, Uid};
use chancery_policy::{
    AccessRequest, Explanation, KeyFacts, OperationContext, OperationKind, PolicyPoint, PolicySet, RequestContext,
    Resource, RingFacts, SignInputKind,
};

use super::cases::{Case, ContextTable, Expectation, InputWord, KeyTable, RegistrationTable, TestFile};
use super::report::Decided;
use crate::exit::Failure;
use crate::names::{Parsed, parse};

/// When a call is decided whose case does not say: 2026-01-01T12:00:00Z.
pub const NOON: i64 = 1_767_268_800;
/// The lifetime of a JWT whose case does not say, in seconds.
const JWT_LIFETIME: u64 = 3600;
/// The same of an API key.
const API_KEY_LIFETIME: u64 = 30 * 24 * 3600;

/// A policy set with the callers and keys of one file.
pub struct Office<'a> {
    file: &'a TestFile,
    point: PolicyPoint,
    callers: BTreeMap<Id, Arc<Caller>>,
}

/// Decides all cases.
pub fn decide(set: &PolicySet, files: &[TestFile]) -> Result<Vec<Decided>, Failure> {
    let mut decided = Vec::new();
    for file in files {
        let refuse = |message: String| Failure::local(format!("{}: {message}", file.name));
        let office = Office::new(set, file).map_err(refuse)?;
        for case in &file.cases {
            let explanation = office.explain(case).map_err(|why| refuse(format!("case {:?}: {why}", case.name)))?;
            let policies = explanation.determining.into_iter().map(|policy| policy.id).collect();
            let decision = Expectation::of(explanation.allowed);
            decided.push(Decided::new(&file.name, case, decision, policies, explanation.reason));
        }
    }
    Ok(decided)
}

impl<'a> Office<'a> {
    /// Registers the callers of a file.
    pub fn new(set: &PolicySet, file: &'a TestFile) -> Result<Self, String> {
        let mut callers = BTreeMap::new();
        for (id, table) in &file.callers {
            let environment = table.environment.as_ref().or(file.environment.as_ref());
            let environment = environment.ok_or_else(|| no_environment(&format!("callers.{id}")))?;
            let caller = Caller {
                id: id.clone(),
                uid: Uid::NONE,
                environment: environment.clone(),
                identities: BTreeSet::new(),
                groups: table.groups.clone(),
                roles: table.roles.clone(),
                rings: table.key_rings.clone(),
                attributes: table.attributes.clone(),
                required_factors: BTreeSet::new(),
                limits: CallerLimits::default(),
                state: CallerState::Active,
            };
            callers.insert(id.clone(), Arc::new(caller));
        }
        let all: Vec<Arc<Caller>> = callers.values().cloned().collect();
        let point = PolicyPoint::new(set.clone(), &all).map_err(|errors| errors.to_string())?;
        Ok(Self { file, point, callers })
    }

    /// Decides a case, and says why.
    pub fn explain(&self, case: &Case) -> Result<Explanation, String> {
        let caller = self.callers.get(&case.caller).ok_or_else(|| {
            format!("there is no [callers.{}]; declare it, or ask the service with --online", case.caller)
        })?;
        let resource = self.resource(case)?;
        let context = RequestContext {
            source: case.context.source_address,
            authentication: "certificate",
            now: time(&case.context)?,
            operation: operation(case.action, &case.context, || {
                registration(caller, &resource, case.context.registration.as_ref())
            })?,
        };
        Ok(self.point.explain(caller, &AccessRequest { action: case.action, resource, context }))
    }

    fn resource(&self, case: &Case) -> Result<Resource, String> {
        let resource = match case.resource.as_deref() {
            None => {
                let whole = [Resource::PolicySet, Resource::AuditLog, Resource::Tokens, Resource::Callers];
                let found = whole.into_iter().find(|resource| resource.takes(case.action));
                return found.ok_or_else(|| format!("say on which resource {} is called", case.action));
            }
            Some(name) if name.starts_with("callers/") => {
                let id = name.trim_start_matches("callers/");
                let known = Id::parse("the caller id", id).map_err(|error| error.to_string())?;
                let caller =
                    self.callers.get(&known).ok_or_else(|| format!("there is no [callers.{id}]; declare it"))?;
                Resource::Caller(Arc::clone(caller))
            }
            Some(name) => match name.strip_prefix("tokens/") {
                Some(token) => Resource::Token(Id::parse("the token id", token).map_err(|error| error.to_string())?),
                None => match parse(name)? {
                    Parsed::Ring(ring) => Resource::KeyRing(self.ring(&ring.ring)?),
                    Parsed::Key(key) => Resource::Key(self.key(key)?),
                    Parsed::Version(version) => {
                        return Err(format!(
                            "name the key, not a version of it: {}; context.version says which",
                            version.key
                        ));
                    }
                },
            },
        };
        match resource.takes(case.action) {
            true => Ok(resource),
            false => Err(format!("{} is never asked of {resource}", case.action)),
        }
    }

    fn ring(&self, ring: &Id) -> Result<RingFacts, String> {
        let own = self.file.rings.get(ring).map(|table| &table.environment);
        let environment =
            own.or(self.file.environment.as_ref()).ok_or_else(|| no_environment(&format!("rings.{ring}")))?;
        Ok(RingFacts { ring: ring.clone(), environment: environment.clone() })
    }

    fn key(&self, name: chancery_model::KeyName) -> Result<KeyFacts, String> {
        let short = format!("{}/{}", name.ring, name.key);
        let KeyTable { algorithm, allow_digest, labels, extractable } =
            self.file.keys.get(&short).ok_or_else(|| {
                format!(
                    "there is no [keys.\"{short}\"]; declare it with its algorithm, or ask the service with --online"
                )
            })?;
        let environment = self.ring(&name.ring)?.environment;
        let (algorithm, allow_digest, labels) = (*algorithm, *allow_digest, Arc::new(labels.clone()));
        Ok(KeyFacts { name, environment, algorithm, allow_digest, labels, extractable: *extractable })
    }
}

fn no_environment(of: &str) -> String {
    format!("{of} has no environment; give it one, or write `environment = \"..\"` at the top of the file")
}

/// When the call is decided.
pub fn time(context: &ContextTable) -> Result<Timestamp, String> {
    let seconds = match &context.time {
        None => return Ok(Timestamp::from_unix_micros(NOON * 1_000_000)),
        Some(text) => text.parse::<prost_types::Timestamp>(),
    };
    let prost_types::Timestamp { seconds, nanos } =
        seconds.map_err(|_unhelpful| "context.time must be like 2026-11-23T09:30:00Z".to_owned())?;
    Ok(Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos / 1000))))
}

/// The lifetime of a case's JWT or API key in seconds.
pub fn lifetime(action: Action, context: &ContextTable) -> Result<u64, String> {
    let usual = if OperationKind::of(action) == OperationKind::ApiKey { API_KEY_LIFETIME } else { JWT_LIFETIME };
    let given = context.lifetime.as_deref().map(crate::duration::parse).transpose()?;
    Ok(given.map_or(usual, |lifetime| lifetime.as_secs()))
}

/// What the case says that the caller would be; otherwise one that stays what it is, or a new one without groups, roles and
/// rings. A new one is in the environment of who asks where the case does not say.
fn registration(from: &Caller, resource: &Resource, given: Option<&RegistrationTable>) -> OperationContext {
    let registered = match resource {
        Resource::Caller(caller) => Some(caller.as_ref()),
        Resource::KeyRing(_)
        | Resource::Key(_)
        | Resource::PolicySet
        | Resource::AuditLog
        | Resource::Token(_)
        | Resource::Tokens
        | Resource::Callers => None,
    };
    let stays = |caller: &Caller| RegistrationTable {
        environment: None,
        groups: caller.groups.clone(),
        roles: caller.roles.clone(),
        key_rings: caller.rings.clone(),
    };
    let unchanged = || registered.map(stays).unwrap_or_default();
    let RegistrationTable { environment, groups, roles, key_rings: rings } = given.cloned().unwrap_or_else(unchanged);
    let environment = environment.unwrap_or_else(|| registered.unwrap_or(from).environment.clone());
    OperationContext::Registration { environment, groups, roles, rings }
}

fn operation(
    action: Action,
    context: &ContextTable,
    registration: impl FnOnce() -> OperationContext,
) -> Result<OperationContext, String> {
    let version = context.version.unwrap_or(1);
    Ok(match OperationKind::of(action) {
        OperationKind::Sign => {
            let (input, usual) = match context.input.unwrap_or(InputWord::Message) {
                InputWord::Message => (SignInputKind::Message, 1),
                InputWord::Digest => (SignInputKind::Digest, 32),
            };
            OperationContext::Sign {
                input,
                input_bytes: context.input_bytes.unwrap_or(usual).into(),
                batch_size: context.batch_size.unwrap_or(1).into(),
                version,
            }
        }
        OperationKind::SignJwt => OperationContext::SignJwt {
            issuer: context.issuer.clone(),
            subject: context.subject.clone(),
            audiences: context.audiences.clone().unwrap_or_default(),
            lifetime_seconds: lifetime(action, context)?,
            token_type: context.token_type.clone().unwrap_or_else(|| "JWT".to_owned()),
            version,
        },
        OperationKind::SigningRequest => OperationContext::SigningRequest {
            subject: context.subject.clone().unwrap_or_default(),
            alternative_names: context.alternative_names.clone().unwrap_or_default(),
            version,
        },
        OperationKind::Mac => OperationContext::Mac { input_bytes: context.input_bytes.unwrap_or(1).into(), version },
        OperationKind::Random => OperationContext::Random { length: context.length.unwrap_or(1).into() },
        OperationKind::CreateKey => OperationContext::CreateKey {
            algorithm: context.algorithm.ok_or("give context.algorithm")?,
            allow_digest: context.allow_digest.unwrap_or(false),
        },
        OperationKind::Registration => registration(),
        OperationKind::ApiKey => OperationContext::ApiKey { lifetime_seconds: lifetime(action, context)? },
        OperationKind::Plain => OperationContext::Plain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORLD: &str = r#"
environment = "prod"
[callers.shop]
roles = ["signer"]
key_rings = ["payments"]
[keys."payments/jwt"]
algorithm = "ED25519"
labels = { use = "seal" }
[rings.lab]
environment = "dev"
"#;

    fn decided(cases: &str) -> Vec<Decided> {
        let file = TestFile::parse("t.toml", &format!("{WORLD}{cases}")).unwrap();
        decide(&PolicySet::shipped(), &[file]).unwrap()
    }

    fn case(action: &str, resource: &str, expect: &str, more: &str) -> String {
        format!(
            "[[case]]\ncaller = \"shop\"\naction = \"{action}\"\nresource = \"{resource}\"\nexpect = \"{expect}\"\n{more}\n"
        )
    }

    #[test]
    fn decisions_are_those_of_the_set() {
        let cases = [
            case("Sign", "payments/jwt", "allow", "policies = [\"signer\"]"),
            case("Sign", "payments/jwt", "deny", ""),
            case("ListKeys", "other", "deny", ""),
            case("ListKeys", "lab", "deny", "policies = [\"builtin-key-rings-stay-in-their-environment\"]"),
            case("Sign", "payments/jwt", "allow", "policies = [\"signer\", \"verifier\"]"),
            "[[case]]\ncaller = \"shop\"\naction = \"ListRecords\"\nexpect = \"deny\"\n".to_owned(),
        ];
        let passed: Vec<bool> = decided(&cases.concat()).iter().map(|decided| decided.passed).collect();
        assert_eq!(passed, [true, false, true, true, false, true]);
    }

    /// Of the shipped set: who is no policy administrator gives nobody that role, and nobody registers callers elsewhere.
    #[test]
    fn what_a_caller_would_be_is_decided_upon() {
        let administered = "[callers.olga]\nroles = [\"caller-administrator\"]\n[callers.web]\nroles = [\"signer\"]\n";
        let case = |action: &str, registration: &str, expect: &str| {
            let resource = if action == "UpdateCaller" { "resource = \"callers/web\"\n" } else { "" };
            format!(
                "[[case]]\ncaller = \"olga\"\naction = \"{action}\"\n{resource}expect = \"{expect}\"\n\
                 context = {{ registration = {registration} }}\n"
            )
        };
        let (signer, boss) =
            ("{ roles = [\"signer\"], key_rings = [\"payments\"] }", "{ roles = [\"policy-administrator\"] }");
        let cases = [
            case("CreateCaller", signer, "allow"),
            case("CreateCaller", boss, "deny"),
            case("CreateCaller", "{ environment = \"dev\" }", "deny"),
            case("UpdateCaller", signer, "allow"),
            case("UpdateCaller", boss, "deny"),
        ];
        let decided = decided(&format!("{administered}{}", cases.concat()));
        assert!(decided.iter().all(|decided| decided.passed), "{decided:?}");
    }

    #[test]
    fn how_long_an_api_key_would_be_of_use_is_decided_upon() {
        let shipped = PolicySet::shipped();
        let short = chancery_policy::PolicyDocument {
            name: "short.cedar".to_owned(),
            text: "@id(\"short-keys\") forbid (principal, action in [Chancery::Action::\"IssueApiKey\", \
                   Chancery::Action::\"RotateApiKey\"], resource) when { context.lifetime > duration(\"7d\") };"
                .to_owned(),
        };
        let set = PolicySet::parse(shipped.documents().iter().cloned().chain([short]).collect::<Vec<_>>()).unwrap();
        let case = |context: &str, expect: &str| {
            format!(
                "[[case]]\ncaller = \"olga\"\naction = [\"IssueApiKey\", \"RotateApiKey\"]\nresource = \"callers/shop\"\n\
                 expect = \"{expect}\"\n{context}\n"
            )
        };
        let cases = [
            case("context = { lifetime = \"7d\" }", "allow"),
            case("context = { lifetime = \"8d\" }\npolicies = [\"short-keys\"]", "deny"),
            // 30 days.
            case("", "deny"),
        ];
        let olga = "[callers.olga]\nroles = [\"caller-administrator\"]\n";
        let file = TestFile::parse("t.toml", &format!("{WORLD}{olga}{}", cases.concat())).unwrap();
        let decided = decide(&set, &[file]).unwrap();
        assert!(decided.len() == 6 && decided.iter().all(|decided| decided.passed), "{decided:?}");
    }

    #[test]
    fn a_case_that_cannot_be_decided_is_told_with_its_name() {
        for (case, said) in [
            (case("Sign", "payments/other", "allow", ""), "[keys.\"payments/other\"]"),
            (case("Sign", "payments/jwt", "allow", "").replace("shop", "till"), "[callers.till]"),
            (case("Sign", "payments", "allow", ""), "Sign is never asked of keyRings/payments"),
            (case("Sign", "payments/jwt/1", "allow", ""), "context.version"),
            (case("Sign", "payments/jwt", "allow", "context = { time = \"noon\" }"), "context.time"),
            (case("SignJwt", "payments/jwt", "allow", "context = { lifetime = \"long\" }"), "no duration"),
            ("[[case]]\ncaller = \"shop\"\naction = \"Sign\"\nexpect = \"deny\"\n".to_owned(), "on which resource"),
        ] {
            let file = TestFile::parse("t.toml", &format!("{WORLD}{case}")).unwrap();
            let (text, _) = decide(&PolicySet::shipped(), &[file]).unwrap_err().report();
            assert!(text.contains(said) && text.contains("t.toml"), "{said:?} in {text}");
        }
    }

    #[test]
    fn times_are_read_and_noon_is_noon() {
        let at = |text: Option<&str>| {
            time(&ContextTable { time: text.map(str::to_owned), ..ContextTable::default() }).unwrap()
        };
        assert_eq!(at(None), at(Some("2026-01-01T12:00:00Z")));
        assert_eq!(at(Some("1970-01-01T00:00:01.5Z")).unix_micros(), 1_500_000);
    }
}
