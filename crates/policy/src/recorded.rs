//! Calls as the record has them, read back so that another policy set can be asked about them.

use crate::request::{
    AccessRequest, KeyFacts, OperationContext, OperationKind, RequestContext, Resource, RingFacts, SignInputKind,
};
use chancery_model::{Action, Authentication, Caller, CallerLimits, CallerState, Id, KeyName, Timestamp, Uid};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A call that was decided once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCall {
    /// Who asked, with the groups, roles and rings of then.
    pub caller: Arc<Caller>,
    /// What was asked.
    pub request: AccessRequest,
}

/// Attributes that no call can be made of: those of another version of Chancery, for example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the recorded attributes have no {0} that this version can read")]
pub struct NotReplayable(pub &'static str);

impl RecordedCall {
    /// Reads what [`Permit::attributes`](crate::Permit::attributes) and [`Denied::attributes`](crate::Denied::attributes)
    /// wrote of a call of `action`.
    ///
    /// # Errors
    /// [`NotReplayable`].
    pub fn from_attributes(action: Action, attributes: &Value) -> Result<Self, NotReplayable> {
        let part = |name| attributes.get(name).unwrap_or(&Value::Null);
        let (principal, resource, context) =
            (Fields(part("principal")), Fields(part("resource")), Fields(part("context")));
        let caller = recorded_caller(&principal)?;
        let request = AccessRequest {
            action,
            resource: recorded_resource(&resource)?,
            context: RequestContext {
                source: context.optional("sourceAddress", |text| text.parse().ok())?,
                authentication: context
                    .read("authentication", |text| Authentication::NAMES.into_iter().find(|known| *known == text))?,
                now: context.read("now", moment)?,
                operation: operation(action, &context)?,
            },
        };
        request.check().map_err(|_mismatch| NotReplayable("resource of this action"))?;
        Ok(Self { caller: Arc::new(caller), request })
    }
}

/// A caller as policy saw it; who asked, or who was asked about.
fn recorded_caller(caller: &Fields<'_>) -> Result<Caller, NotReplayable> {
    // Records of the time before callers had attributes say nothing of them.
    let attributes = if caller.0.get("attributes").is_some() { caller.map("attributes")? } else { BTreeMap::new() };
    Ok(Caller {
        id: caller.id("id")?,
        uid: Uid::NONE,
        environment: caller.id("environment")?,
        identities: BTreeSet::new(),
        groups: caller.ids("groups")?,
        roles: caller.each("roles", |text| text.parse().ok())?,
        rings: caller.ids("rings")?,
        attributes,
        // What policy does not see.
        required_factors: BTreeSet::new(),
        limits: CallerLimits::default(),
        state: CallerState::Active,
    })
}

fn recorded_resource(resource: &Fields<'_>) -> Result<Resource, NotReplayable> {
    Ok(match resource.text("type")? {
        "KeyRing" => {
            Resource::KeyRing(RingFacts { ring: resource.id("id")?, environment: resource.id("environment")? })
        }
        "Key" => Resource::Key(KeyFacts {
            name: KeyName { ring: resource.id("ring")?, key: resource.id("id")? },
            environment: resource.id("environment")?,
            algorithm: resource.read("algorithm", |text| text.parse().ok())?,
            allow_digest: resource.flag("allowDigest")?,
            labels: Arc::new(resource.map("labels")?),
            // Records of the time before keys could be adopted say nothing of it: there was none of which a copy could be.
            extractable: resource.0.get("extractable").is_some() && resource.flag("extractable")?,
        }),
        "Token" => Resource::Token(resource.id("id")?),
        "PolicySet" => Resource::PolicySet,
        "AuditLog" => Resource::AuditLog,
        "Tokens" => Resource::Tokens,
        "Callers" => Resource::Callers,
        "Caller" => Resource::Caller(Arc::new(recorded_caller(resource)?)),
        _ => return Err(NotReplayable("type")),
    })
}

/// What only calls of this action have. An action without circumstances of its own has none.
fn operation(action: Action, context: &Fields<'_>) -> Result<OperationContext, NotReplayable> {
    let version = || u32::try_from(context.number("version")?).map_err(|_too_large| NotReplayable("version"));
    Ok(match OperationKind::of(action) {
        OperationKind::Sign => OperationContext::Sign {
            input: context.read("input", |text| match text {
                "message" => Some(SignInputKind::Message),
                "digest" => Some(SignInputKind::Digest),
                _ => None,
            })?,
            input_bytes: context.number("inputBytes")?,
            batch_size: context.number("batchSize")?,
            version: version()?,
        },
        OperationKind::SignJwt => OperationContext::SignJwt {
            issuer: context.optional("issuer", |text| Some(text.to_owned()))?,
            subject: context.optional("subject", |text| Some(text.to_owned()))?,
            audiences: context.list("audiences", |text| Some(text.to_owned()))?,
            lifetime_seconds: context.read("lifetime", |text| text.strip_suffix('s')?.parse().ok())?,
            token_type: context.text("type")?.to_owned(),
            version: version()?,
        },
        OperationKind::SigningRequest => OperationContext::SigningRequest {
            subject: context.text("subject")?.to_owned(),
            alternative_names: context.list("subjectAlternativeNames", |text| Some(text.to_owned()))?,
            version: version()?,
        },
        OperationKind::Mac => OperationContext::Mac { input_bytes: context.number("inputBytes")?, version: version()? },
        OperationKind::Random => OperationContext::Random { length: context.number("length")? },
        OperationKind::CreateKey => OperationContext::CreateKey {
            algorithm: context.read("algorithm", |text| text.parse().ok())?,
            allow_digest: context.flag("allowDigest")?,
        },
        OperationKind::Registration => OperationContext::Registration {
            environment: context.id("environment")?,
            groups: context.ids("groups")?,
            roles: context.each("roles", |text| text.parse().ok())?,
            rings: context.ids("rings")?,
        },
        OperationKind::ApiKey => OperationContext::ApiKey {
            lifetime_seconds: context.read("lifetime", |text| text.strip_suffix('s')?.parse().ok())?,
        },
        OperationKind::Plain => OperationContext::Plain,
    })
}

fn moment(text: &str) -> Option<Timestamp> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    i64::try_from(nanos.div_euclid(1000)).ok().map(Timestamp::from_unix_micros)
}

/// An object whose members are read by name.
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn text(&self, name: &'static str) -> Result<&'a str, NotReplayable> {
        self.0.get(name).and_then(Value::as_str).ok_or(NotReplayable(name))
    }

    fn read<T>(&self, name: &'static str, read: impl Fn(&'a str) -> Option<T>) -> Result<T, NotReplayable> {
        read(self.text(name)?).ok_or(NotReplayable(name))
    }

    /// `None` where there is no such member.
    fn optional<T>(&self, name: &'static str, read: impl Fn(&'a str) -> Option<T>) -> Result<Option<T>, NotReplayable> {
        if self.0.get(name).is_none() { Ok(None) } else { self.read(name, read).map(Some) }
    }

    fn id(&self, name: &'static str) -> Result<Id, NotReplayable> {
        self.read(name, |text| Id::parse("the id", text).ok())
    }

    fn list<T>(&self, name: &'static str, read: impl Fn(&'a str) -> Option<T>) -> Result<Vec<T>, NotReplayable> {
        let members = self.0.get(name).and_then(Value::as_array).ok_or(NotReplayable(name))?;
        members.iter().map(|member| member.as_str().and_then(&read).ok_or(NotReplayable(name))).collect()
    }

    fn each<T: Ord>(
        &self,
        name: &'static str,
        read: impl Fn(&'a str) -> Option<T>,
    ) -> Result<BTreeSet<T>, NotReplayable> {
        Ok(self.list(name, read)?.into_iter().collect())
    }

    fn ids(&self, name: &'static str) -> Result<BTreeSet<Id>, NotReplayable> {
        self.each(name, |text| Id::parse("the id", text).ok())
    }

    fn number(&self, name: &'static str) -> Result<u64, NotReplayable> {
        self.0.get(name).and_then(Value::as_u64).ok_or(NotReplayable(name))
    }

    fn flag(&self, name: &'static str) -> Result<bool, NotReplayable> {
        self.0.get(name).and_then(Value::as_bool).ok_or(NotReplayable(name))
    }

    fn map(&self, name: &'static str) -> Result<BTreeMap<String, String>, NotReplayable> {
        let members = self.0.get(name).and_then(Value::as_object).ok_or(NotReplayable(name))?;
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(NotReplayable(name));
        members.iter().map(|(member, value)| Ok((member.clone(), text(value)?))).collect()
    }
}
