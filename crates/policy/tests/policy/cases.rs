//! Callers, requests and policy sets to test with.

use chancery_model::{Action, Algorithm, Caller, CallerLimits, CallerState, Id, KeyName, Role, Timestamp, Uid};
use chancery_policy::{
    AccessRequest, Decision, Denied, KeyFacts, OperationContext, Permit, PolicyDocument, PolicyPoint, PolicySet,
    RequestContext, Resource, RingFacts, SignInputKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub fn id(text: &str) -> Id {
    Id::parse("an id", text).unwrap()
}

pub fn ids(texts: &[&str]) -> BTreeSet<Id> {
    texts.iter().map(|text| id(text)).collect()
}

/// A caller of environment `dev` with these roles, whose rings are `payments`.
pub fn caller(name: &str, roles: &[Role]) -> Arc<Caller> {
    caller_in("dev", name, &[], roles, &["payments"])
}

pub fn caller_in(environment: &str, name: &str, groups: &[&str], roles: &[Role], rings: &[&str]) -> Arc<Caller> {
    Arc::new(Caller {
        id: id(name),
        uid: Uid::NONE,
        environment: id(environment),
        identities: BTreeSet::new(),
        groups: ids(groups),
        roles: roles.iter().copied().collect(),
        rings: ids(rings),
        attributes: BTreeMap::from([("team".to_owned(), "till".to_owned())]),
        required_factors: BTreeSet::new(),
        limits: CallerLimits::default(),
        state: CallerState::Active,
    })
}

pub fn ring(ring: &str, environment: &str) -> Resource {
    Resource::KeyRing(RingFacts { ring: id(ring), environment: id(environment) })
}

pub fn key_facts(name: &str, environment: &str) -> KeyFacts {
    let (ring, key) = name.split_once('/').unwrap();
    KeyFacts {
        name: KeyName { ring: id(ring), key: id(key) },
        environment: id(environment),
        algorithm: Algorithm::EcdsaP256Sha256,
        allow_digest: false,
        labels: Arc::new(BTreeMap::from([("tier".to_owned(), "gold".to_owned())])),
        extractable: false,
    }
}

pub fn key(name: &str, environment: &str) -> Resource {
    Resource::Key(key_facts(name, environment))
}

/// The resource that an action is asked of, in ring `ring` (where it is about keys) of `environment`.
pub fn resource_for(action: Action, ring_id: &str, environment: &str) -> Resource {
    match action {
        Action::ListKeyRings
        | Action::GetKeyRing
        | Action::FreezeKeyRing
        | Action::UnfreezeKeyRing
        | Action::ListKeys
        | Action::CreateKey
        | Action::AdoptKey
        | Action::GenerateRandomBytes => ring(ring_id, environment),
        Action::Sign
        | Action::SignJwt
        | Action::MacSign
        | Action::Verify
        | Action::MacVerify
        | Action::GetPublicKey
        | Action::GetKey
        | Action::ListKeyVersions
        | Action::GetKeyVersion
        | Action::RotateKey
        | Action::SuspendKeyVersion
        | Action::ResumeKeyVersion
        | Action::UpdateKey
        | Action::DeactivateKeyVersion
        | Action::MarkKeyVersionCompromised
        | Action::ScheduleKeyVersionDestruction
        | Action::CancelKeyVersionDestruction
        | Action::CreateCertificateSigningRequest
        | Action::SetCertificateChain => key(&format!("{ring_id}/jwt"), environment),
        Action::GetPolicySet
        | Action::ApplyPolicySet
        | Action::ValidatePolicySet
        | Action::ExplainAuthorization
        | Action::ListEffectiveAccess
        | Action::ReplayPolicySet => Resource::PolicySet,
        Action::ListRecords
        | Action::WatchRecords
        | Action::GetCheckpoint
        | Action::GetInclusionProof
        | Action::GetConsistencyProof => Resource::AuditLog,
        Action::ListTokens => Resource::Tokens,
        Action::GetToken | Action::ClearPinLatch => Resource::Token(id("soft-1")),
        Action::CreateCaller | Action::ListCallers => Resource::Callers,
        Action::GetCaller
        | Action::UpdateCaller
        | Action::SuspendCaller
        | Action::ResumeCaller
        | Action::IssueApiKey
        | Action::ListApiKeys
        | Action::RotateApiKey
        | Action::RevokeApiKey => Resource::Caller(caller_in(environment, "till", &["ledger"], &[Role::Signer], &[])),
    }
}

pub fn operation_for(action: Action) -> OperationContext {
    match action {
        Action::Sign => {
            OperationContext::Sign { input: SignInputKind::Message, input_bytes: 100, batch_size: 1, version: 1 }
        }
        Action::SignJwt => OperationContext::SignJwt {
            issuer: Some("https://issuer.example".to_owned()),
            subject: Some("alice".to_owned()),
            audiences: vec!["shop".to_owned(), "till".to_owned()],
            lifetime_seconds: 600,
            token_type: "JWT".to_owned(),
            version: 1,
        },
        Action::CreateCertificateSigningRequest => OperationContext::SigningRequest {
            subject: "CN=shop".to_owned(),
            alternative_names: vec!["dns:shop.example".to_owned()],
            version: 1,
        },
        Action::MacSign | Action::MacVerify => OperationContext::Mac { input_bytes: 100, version: 1 },
        Action::GenerateRandomBytes => OperationContext::Random { length: 32 },
        Action::CreateKey | Action::AdoptKey => {
            OperationContext::CreateKey { algorithm: Algorithm::Ed25519, allow_digest: false }
        }
        Action::CreateCaller | Action::UpdateCaller => registration("dev", &[Role::Signer]),
        Action::IssueApiKey | Action::RotateApiKey => OperationContext::ApiKey { lifetime_seconds: 3600 },
        _ => OperationContext::Plain,
    }
}

/// A caller of this environment as it would be registered, with these roles on the ring `payments`.
pub fn registration(environment: &str, roles: &[Role]) -> OperationContext {
    OperationContext::Registration {
        environment: id(environment),
        groups: ids(&["till"]),
        roles: roles.iter().copied().collect(),
        rings: ids(&["payments"]),
    }
}

/// A request at noon (UTC) from 10.1.2.3.
pub fn request(action: Action, resource: Resource) -> AccessRequest {
    let context = RequestContext {
        source: Some("10.1.2.3".parse().unwrap()),
        authentication: "certificate",
        now: Timestamp::from_unix_micros(1_764_072_000_000_000), // 2025-11-25T12:00:00Z
        operation: operation_for(action),
    };
    AccessRequest { action, resource, context }
}

pub fn sign(key_name: &str) -> AccessRequest {
    request(Action::Sign, key(key_name, "dev"))
}

pub fn document(name: &str, text: &str) -> PolicyDocument {
    PolicyDocument { name: name.to_owned(), text: text.to_owned() }
}

/// The shipped roles and one document more.
pub fn roles_and(text: &str) -> PolicySet {
    let mut documents = PolicySet::shipped().documents().to_vec();
    documents.push(document("own.cedar", text));
    parse(documents)
}

/// One document alone.
pub fn only(text: &str) -> PolicySet {
    parse(vec![document("own.cedar", text)])
}

pub fn parse(documents: Vec<PolicyDocument>) -> PolicySet {
    PolicySet::parse(documents).unwrap_or_else(|errors| panic!("{errors}"))
}

pub fn point(set: &PolicySet, callers: &[&Arc<Caller>]) -> PolicyPoint {
    let callers: Vec<Arc<Caller>> = callers.iter().map(|caller| Arc::clone(caller)).collect();
    PolicyPoint::new(set.clone(), &callers).unwrap()
}

pub fn allowed(decision: Decision) -> Permit {
    match decision {
        Decision::Allowed(permit) => permit,
        Decision::Denied(denied) => panic!("denied: {denied:?}"),
    }
}

pub fn denied(decision: Decision) -> Denied {
    match decision {
        Decision::Allowed(permit) => panic!("allowed: {permit:?}"),
        Decision::Denied(denied) => denied,
    }
}

pub fn names(policies: &[Arc<str>]) -> Vec<&str> {
    policies.iter().map(AsRef::as_ref).collect()
}
