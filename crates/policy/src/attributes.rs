//! What policy saw, as JSON for the record.

use crate::facts::{datetime, duration, long};
use crate::request::{OperationContext, RequestContext, Resource};
use chancery_model::{Caller, Id};
use serde_json::{Value, json};

/// The principal's, the resource's and the context's attributes, by the names that policies use.
pub(crate) fn attributes(caller: &Caller, resource: &Resource, context: &RequestContext) -> Value {
    json!({ "principal": caller_attributes(caller), "resource": resource_attributes(resource), "context": circumstances(context) })
}

fn caller_attributes(caller: &Caller) -> Value {
    json!({
        "type": "Caller",
        "id": caller.id.as_str(),
        "environment": caller.environment.as_str(),
        "groups": caller.groups.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        "roles": caller.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "rings": caller.rings.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        "attributes": caller.attributes,
    })
}

fn resource_attributes(resource: &Resource) -> Value {
    let kind = resource.kind();
    match resource {
        Resource::KeyRing(facts) => {
            json!({ "type": kind, "id": facts.ring.as_str(), "environment": facts.environment.as_str() })
        }
        Resource::Key(facts) => json!({
            "type": kind,
            "id": facts.name.key.as_str(),
            "ring": facts.name.ring.as_str(),
            "environment": facts.environment.as_str(),
            "algorithm": facts.algorithm.to_string(),
            "allowDigest": facts.allow_digest,
            "labels": *facts.labels,
            "extractable": facts.extractable,
        }),
        Resource::Token(id) => json!({ "type": kind, "id": id.as_str() }),
        Resource::Caller(caller) => caller_attributes(caller),
        Resource::PolicySet | Resource::AuditLog | Resource::Tokens | Resource::Callers => json!({ "type": kind }),
    }
}

fn circumstances(context: &RequestContext) -> Value {
    let mut value = json!({ "authentication": context.authentication, "now": datetime(context.now) });
    let Value::Object(fields) = &mut value else { return value };
    let mut add = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    if let Some(source) = context.source {
        add("sourceAddress", source.to_canonical().to_string().into());
    }
    match &context.operation {
        OperationContext::Plain => {}
        OperationContext::Sign { input, input_bytes, batch_size, version } => {
            add("input", input.as_str().into());
            add("inputBytes", long(*input_bytes).into());
            add("batchSize", long(*batch_size).into());
            add("version", (*version).into());
        }
        OperationContext::SignJwt { issuer, subject, audiences, lifetime_seconds, token_type, version } => {
            if let Some(issuer) = issuer {
                add("issuer", issuer.as_str().into());
            }
            if let Some(subject) = subject {
                add("subject", subject.as_str().into());
            }
            add("audiences", audiences.clone().into());
            add("lifetime", duration(*lifetime_seconds).into());
            add("type", token_type.as_str().into());
            add("version", (*version).into());
        }
        OperationContext::SigningRequest { subject, alternative_names, version } => {
            add("subject", subject.as_str().into());
            add("subjectAlternativeNames", alternative_names.clone().into());
            add("version", (*version).into());
        }
        OperationContext::Mac { input_bytes, version } => {
            add("inputBytes", long(*input_bytes).into());
            add("version", (*version).into());
        }
        OperationContext::Random { length } => add("length", long(*length).into()),
        OperationContext::CreateKey { algorithm, allow_digest } => {
            add("algorithm", algorithm.to_string().into());
            add("allowDigest", (*allow_digest).into());
        }
        OperationContext::Registration { environment, groups, roles, rings } => {
            add("environment", environment.as_str().into());
            add("groups", groups.iter().map(Id::as_str).collect());
            add("roles", roles.iter().map(|role| role.as_str()).collect());
            add("rings", rings.iter().map(Id::as_str).collect());
        }
        OperationContext::ApiKey { lifetime_seconds } => add("lifetime", duration(*lifetime_seconds).into()),
    }
    value
}
