//! Callers, resources and circumstances in Cedar's terms, built natively (JSON would cost more than the decision).

use crate::request::{AccessRequest, KeyFacts, Mismatch, OperationContext, Resource, RingFacts};
use crate::uids;
use cedar_policy::{Context, Entity, EntityUid, RestrictedExpression as Value};
use chancery_model::{Caller, Timestamp};
use std::collections::HashSet;
use std::net::IpAddr;
use time::OffsetDateTime;

/// Why a request could not be put to Cedar; always a deny.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FactsError {
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("the attributes of an entity: {0}")]
    Entity(#[from] Box<cedar_policy::EntityAttrEvaluationError>),
    #[error("the entities: {0}")]
    Entities(#[from] Box<cedar_policy::entities_errors::EntitiesError>),
    #[error("the context: {0}")]
    Context(#[from] Box<cedar_policy::ContextCreationError>),
    #[error("the selected policies: {0}")]
    Policies(#[from] Box<cedar_policy::PolicySetError>),
    #[error("the request: {0}")]
    Request(#[from] Box<cedar_policy::RequestValidationError>),
}

/// A caller as policies see it.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    pub(crate) uid: EntityUid,
    /// Groups, roles and all callers: everything that the caller can be `in`, beside itself.
    pub(crate) memberships: HashSet<EntityUid>,
    pub(crate) entity: Entity,
}

impl Principal {
    pub(crate) fn new(caller: &Caller) -> Result<Self, FactsError> {
        let uid = uids::caller(&caller.id);
        let groups = caller.groups.iter().map(uids::group);
        let roles = caller.roles.iter().copied().map(uids::role);
        let memberships: HashSet<EntityUid> = groups.chain(roles).chain([uids::callers()]).collect();
        let rings = caller.rings.iter().map(|ring| Value::new_entity_uid(uids::key_ring(ring)));
        let attributes = [
            ("id".to_owned(), text(&caller.id)),
            ("environment".to_owned(), text(&caller.environment)),
            ("rings".to_owned(), Value::new_set(rings)),
        ];
        let tags = caller.attributes.iter().map(|(name, value)| (name.clone(), text(value)));
        let entity = entity(uid.clone(), attributes, memberships.iter().cloned(), tags)?;
        Ok(Self { uid, memberships, entity })
    }
}

/// Cedar's name for the resource of a request.
pub(crate) fn resource_uid(resource: &Resource) -> EntityUid {
    match resource {
        Resource::KeyRing(facts) => uids::key_ring(&facts.ring),
        Resource::Key(facts) => uids::key(&facts.name),
        Resource::PolicySet => uids::policy_set(),
        Resource::AuditLog => uids::audit_log(),
        Resource::Token(id) => uids::token(id),
        Resource::Tokens => uids::tokens(),
        Resource::Caller(caller) => uids::caller(&caller.id),
        Resource::Callers => uids::callers(),
    }
}

/// Who asks, the resource, and everything that a policy can follow from either. Whoever asks something of themselves is
/// one entity.
pub(crate) fn entities(principal: &Principal, resource: &Resource) -> Result<Vec<Entity>, FactsError> {
    let mut entities = resource_entities(resource)?;
    entities.retain(|entity| entity.uid() != principal.uid);
    entities.push(principal.entity.clone());
    Ok(entities)
}

/// The resource with everything that a policy can follow from it.
fn resource_entities(resource: &Resource) -> Result<Vec<Entity>, FactsError> {
    let uid = resource_uid(resource);
    Ok(match resource {
        Resource::KeyRing(facts) => vec![ring_entity(facts)?],
        Resource::Key(facts) => {
            let ring = RingFacts { ring: facts.name.ring.clone(), environment: facts.environment.clone() };
            vec![key_entity(uid, facts)?, ring_entity(&ring)?]
        }
        Resource::Token(id) => vec![entity(uid, [("id".to_owned(), text(id))], [uids::tokens()], [])?],
        Resource::Caller(caller) => vec![Principal::new(caller)?.entity],
        Resource::PolicySet | Resource::AuditLog | Resource::Tokens | Resource::Callers => {
            vec![Entity::with_uid(uid)]
        }
    })
}

fn ring_entity(facts: &RingFacts) -> Result<Entity, FactsError> {
    let attributes = [("id".to_owned(), text(&facts.ring)), ("environment".to_owned(), text(&facts.environment))];
    entity(uids::key_ring(&facts.ring), attributes, [], [])
}

fn key_entity(uid: EntityUid, facts: &KeyFacts) -> Result<Entity, FactsError> {
    let ring = uids::key_ring(&facts.name.ring);
    let attributes = [
        ("id".to_owned(), text(&facts.name.key)),
        ("ring".to_owned(), Value::new_entity_uid(ring.clone())),
        ("environment".to_owned(), text(&facts.environment)),
        ("algorithm".to_owned(), text(&facts.algorithm)),
        ("allowDigest".to_owned(), Value::new_bool(facts.allow_digest)),
        ("extractable".to_owned(), Value::new_bool(facts.extractable)),
    ];
    let labels = facts.labels.iter().map(|(name, value)| (name.clone(), text(value)));
    entity(uid, attributes, [ring], labels)
}

fn entity(
    uid: EntityUid,
    attributes: impl IntoIterator<Item = (String, Value)>,
    parents: impl IntoIterator<Item = EntityUid>,
    tags: impl IntoIterator<Item = (String, Value)>,
) -> Result<Entity, FactsError> {
    Entity::new_with_tags(uid, attributes, parents, tags).map_err(|error| Box::new(error).into())
}

/// The circumstances of a request.
pub(crate) fn context(request: &AccessRequest) -> Result<Context, FactsError> {
    let mut pairs = Vec::with_capacity(8);
    let mut add = |name: &str, value| pairs.push((name.to_owned(), value));
    add("authentication", Value::new_string(request.context.authentication.to_owned()));
    add("now", Value::new_datetime(datetime(request.context.now)));
    if let Some(source) = request.context.source {
        add("sourceAddress", Value::new_ip(address(source)));
    }
    match &request.context.operation {
        OperationContext::Plain => {}
        OperationContext::Sign { input, input_bytes, batch_size, version } => {
            add("input", Value::new_string(input.as_str().to_owned()));
            add("inputBytes", Value::new_long(long(*input_bytes)));
            add("batchSize", Value::new_long(long(*batch_size)));
            add("version", Value::new_long(i64::from(*version)));
        }
        OperationContext::SignJwt { issuer, subject, audiences, lifetime_seconds, token_type, version } => {
            if let Some(issuer) = issuer {
                add("issuer", Value::new_string(issuer.clone()));
            }
            if let Some(subject) = subject {
                add("subject", Value::new_string(subject.clone()));
            }
            add("audiences", Value::new_set(audiences.iter().cloned().map(Value::new_string)));
            add("lifetime", Value::new_duration(duration(*lifetime_seconds)));
            add("type", Value::new_string(token_type.clone()));
            add("version", Value::new_long(i64::from(*version)));
        }
        OperationContext::SigningRequest { subject, alternative_names, version } => {
            add("subject", Value::new_string(subject.clone()));
            let names = alternative_names.iter().cloned().map(Value::new_string);
            add("subjectAlternativeNames", Value::new_set(names));
            add("version", Value::new_long(i64::from(*version)));
        }
        OperationContext::Mac { input_bytes, version } => {
            add("inputBytes", Value::new_long(long(*input_bytes)));
            add("version", Value::new_long(i64::from(*version)));
        }
        OperationContext::Random { length } => add("length", Value::new_long(long(*length))),
        OperationContext::CreateKey { algorithm, allow_digest } => {
            add("algorithm", text(algorithm));
            add("allowDigest", Value::new_bool(*allow_digest));
        }
        OperationContext::Registration { environment, groups, roles, rings } => {
            let set = |uids: Vec<EntityUid>| Value::new_set(uids.into_iter().map(Value::new_entity_uid));
            add("environment", text(environment));
            add("groups", set(groups.iter().map(uids::group).collect()));
            add("roles", set(roles.iter().copied().map(uids::role).collect()));
            add("rings", set(rings.iter().map(uids::key_ring).collect()));
        }
        OperationContext::ApiKey { lifetime_seconds } => {
            add("lifetime", Value::new_duration(duration(*lifetime_seconds)));
        }
    }
    Context::from_pairs(pairs).map_err(|error| Box::new(error).into())
}

fn text(value: &impl ToString) -> Value {
    Value::new_string(value.to_string())
}

/// Cedar's numbers end at 2^63 - 1; what is more is that.
pub(crate) fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Seconds as Cedar parses a duration, `3600s`. It counts milliseconds in 63 bits: what is more is the most that it can say.
pub(crate) fn duration(seconds: u64) -> String {
    format!("{}s", seconds.min(i64::MAX.unsigned_abs() / 1000))
}

/// An address as Cedar parses it: an IPv4 address that came in an IPv6 one is an IPv4 address again, so that ranges of
/// IPv4 addresses hold it; an IPv6 address is written in full, since Cedar takes no dotted form of one.
pub(crate) fn address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|segment| format!("{segment:x}")).join(":"),
    }
}

/// A time as Cedar parses it, `2026-11-23T21:14:00.000Z`. Cedar's years have four digits: what lies before or after
/// them is the first or last moment that it can say.
pub(crate) fn datetime(at: Timestamp) -> String {
    const FIRST: i64 = -62_167_219_200; // 0000-01-01T00:00:00Z
    const LAST: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z
    let micros = at.unix_micros();
    let seconds = micros.div_euclid(1_000_000).clamp(FIRST, LAST);
    let millis = micros.rem_euclid(1_000_000) / 1_000;
    let utc = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, time) = (utc.date(), utc.time());
    let (hour, minute, second) = time.as_hms();
    format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds_and_stay_within_four_digits() {
        let at = |micros| datetime(Timestamp::from_unix_micros(micros));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(at(1_709_210_096_123_999), "2024-02-29T12:34:56.123Z");
        assert!(at(i64::MIN).starts_with("0000-01-01T00:00:00."));
        assert!(at(i64::MAX).starts_with("9999-12-31T23:59:59."));
        for micros in [i64::MIN, -1, 0, i64::MAX] {
            Context::from_pairs([("now".to_owned(), Value::new_datetime(at(micros)))]).unwrap();
        }
    }

    #[test]
    fn every_address_is_one_to_cedar() {
        let addresses = ["10.1.2.3", "::1", "::", "2001:db8::1", "::ffff:10.1.2.3", "::10.1.2.3", "64:ff9b::10.1.2.3"];
        for text in addresses {
            let value = Value::new_ip(address(text.parse().unwrap()));
            Context::from_pairs([("sourceAddress".to_owned(), value)]).unwrap();
        }
        assert_eq!(address("::ffff:10.1.2.3".parse().unwrap()), "10.1.2.3");
        assert_eq!(address("2001:db8::1".parse().unwrap()), "2001:db8:0:0:0:0:0:1");
    }
}
