//! What policy would decide of a call, and why.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chancery_model::{Action, Algorithm, Caller, Id, RingName, Role, Timestamp};
use chancery_policy::{
    AccessRequest, Explanation, KeyFacts, OperationContext, OperationKind, PolicyDocument, RequestContext, Resource,
    SignInputKind,
};

use crate::keys::{KeyOrVersion, key_resource};
use crate::rings::ring_resource;
use crate::state::Snapshot;
use crate::{Chancery, Error, Requester};

/// For how long an API key would be of use where a question does not say: as the documentation issues them.
const USUAL_API_KEY_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A hypothetical call.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    /// Who would ask; the one who asks now where not given.
    pub caller: Option<Id>,
    /// For what.
    pub action: Action,
    /// On what.
    pub resource: ExplainResource,
    /// For a key that does not exist yet.
    pub algorithm: Option<Algorithm>,
    /// For a key that does not exist yet.
    pub allow_digest: bool,
    /// For Sign: whether a digest (of 32 bytes, where `input_bytes` does not say) would be signed.
    pub digest: bool,
    /// Where the call would come from.
    pub source: Option<IpAddr>,
    /// For SignJwt: the token that would be made.
    pub jwt: HypotheticalJwt,
    /// For GenerateRandomBytes: how many bytes; 1 where not given.
    pub length: Option<u64>,
    /// When the call would be decided; now where not given.
    pub time: Option<Timestamp>,
    /// For Sign, MacSign and MacVerify: length of the message in bytes; 1 where not given.
    pub input_bytes: Option<u64>,
    /// For Sign: how many items the call would hold; 1 where not given.
    pub batch_size: Option<u64>,
    /// A proposed policy set, in the place of the one in force; that one where empty.
    pub documents: Vec<PolicyDocument>,
    /// For CreateCertificateSigningRequest: the subject and the alternative names, each with its kind.
    pub certificate: (String, Vec<String>),
    /// For CreateCaller and UpdateCaller: what the caller would be; where not given, a new one with nothing, and one that stays
    /// what it is.
    pub registration: Option<HypotheticalRegistration>,
    /// For IssueApiKey and RotateApiKey: for how long the key would be of use; 30 days where not given.
    pub api_key_lifetime_seconds: Option<u64>,
}

/// What policy would see of a caller as it would be registered.
#[derive(Debug, Clone, Default)]
pub struct HypotheticalRegistration {
    /// The environment of a new caller; that of who asks where not given.
    pub environment: Option<Id>,
    /// The groups.
    pub groups: BTreeSet<Id>,
    /// The roles.
    pub roles: BTreeSet<Role>,
    /// The rings to which the roles would extend.
    pub rings: BTreeSet<Id>,
}

/// What policy would see of a JWT.
#[derive(Debug, Clone, Default)]
pub struct HypotheticalJwt {
    /// The claim `iss`.
    pub issuer: Option<String>,
    /// The claim `sub`.
    pub subject: Option<String>,
    /// The claim `aud`.
    pub audiences: Vec<String>,
    /// From `iat` to `exp`, in seconds; the key's maximum where not given.
    pub lifetime_seconds: Option<u64>,
    /// The header's `typ`; `JWT` where not given.
    pub token_type: Option<String>,
}

/// The resource of a hypothetical call.
#[derive(Debug, Clone)]
pub enum ExplainResource {
    /// For actions on the policy set, the record, all tokens, or all callers.
    None,
    /// A key ring.
    Ring(RingName),
    /// A key or a version.
    Key(KeyOrVersion),
    /// A token.
    Token(Id),
    /// A caller.
    Caller(Id),
}

impl Chancery {
    /// Says which policies would decide a call and why.
    ///
    /// # Errors
    /// [`Error::AccessDenied`]; [`Error::NotFound`] for an unknown caller or key ring; [`Error::InvalidField`] where the
    /// resource is not of the action's kind, or a key that does not exist is not described; [`Error::PolicyInvalid`] for
    /// a proposed set.
    pub async fn explain(&self, from: &Requester, request: ExplainRequest) -> Result<Explanation, Error> {
        let snapshot = self.snapshot();
        self.authorize_policy(&snapshot, from, Action::ExplainAuthorization)?;
        let caller = match &request.caller {
            None => snapshot.callers.by_uid(from.caller.uid).map_or_else(|| Arc::clone(&from.caller), Arc::clone),
            Some(id) => snapshot.callers.by_id(id).ok_or_else(|| Error::NotFound { name: format!("callers/{id}") })?,
        };
        let resource = self.hypothetical_resource(&snapshot, &request)?;
        let operation = hypothetical_operation(&snapshot, &caller, &request)?;
        let now = request.time.unwrap_or_else(Timestamp::now);
        let context = RequestContext { source: request.source, authentication: "certificate", now, operation };
        let question = AccessRequest { action: request.action, resource, context };
        let policy = self.policy_of(&snapshot, from, request.documents).await?;
        Ok(policy.explain(&caller, &question))
    }

    fn hypothetical_resource(&self, snapshot: &Snapshot, request: &ExplainRequest) -> Result<Resource, Error> {
        let ring_of = |ring: &Id| {
            let name = format!("keyRings/{ring}");
            self.inner.rings.get(ring).ok_or(Error::NotFound { name })
        };
        let kind = Kind::of(request.action);
        match (kind, &request.resource) {
            (Kind::Ring, ExplainResource::Ring(name)) => Ok(ring_resource(ring_of(&name.ring)?)),
            (Kind::Key, ExplainResource::Key(name)) => {
                let ring = ring_of(&name.key().ring)?;
                match (snapshot.keys.get(name.key()), request.algorithm) {
                    (Some(key), _) => Ok(key_resource(key, ring)),
                    (None, Some(algorithm)) => Ok(Resource::Key(KeyFacts {
                        name: name.key().clone(),
                        environment: ring.environment.clone(),
                        algorithm,
                        allow_digest: request.allow_digest,
                        labels: Arc::default(),
                        extractable: false,
                    })),
                    (None, None) => {
                        let why = format!("{} does not exist; describe it with `algorithm`", name.key());
                        Err(Error::invalid("algorithm", why))
                    }
                }
            }
            (Kind::Token, ExplainResource::Token(id)) => Ok(Resource::Token(id.clone())),
            (Kind::PolicySet, ExplainResource::None) => Ok(Resource::PolicySet),
            (Kind::AuditLog, ExplainResource::None) => Ok(Resource::AuditLog),
            (Kind::Tokens, ExplainResource::None) => Ok(Resource::Tokens),
            (Kind::Callers, ExplainResource::None) => Ok(Resource::Callers),
            (Kind::Caller, ExplainResource::Caller(id)) => {
                let name = || Error::NotFound { name: format!("callers/{id}") };
                snapshot.callers.by_id(id).map(Resource::Caller).ok_or_else(name)
            }
            (kind, _) => {
                Err(Error::invalid("resource", format!("{} is asked on {}", request.action, kind.description())))
            }
        }
    }
}

/// On what kind of resource an action is asked.
#[derive(Clone, Copy)]
enum Kind {
    Ring,
    Key,
    Token,
    Tokens,
    PolicySet,
    AuditLog,
    Caller,
    Callers,
}

impl Kind {
    const fn of(action: Action) -> Self {
        match action {
            Action::ListKeyRings
            | Action::GetKeyRing
            | Action::FreezeKeyRing
            | Action::UnfreezeKeyRing
            | Action::CreateKey
            | Action::AdoptKey
            | Action::ListKeys
            | Action::GenerateRandomBytes => Self::Ring,
            Action::Sign
            | Action::SignJwt
            | Action::MacSign
            | Action::Verify
            | Action::MacVerify
            | Action::GetPublicKey
            | Action::GetKey
            | Action::RotateKey
            | Action::ListKeyVersions
            | Action::GetKeyVersion
            | Action::SuspendKeyVersion
            | Action::ResumeKeyVersion
            | Action::UpdateKey
            | Action::DeactivateKeyVersion
            | Action::MarkKeyVersionCompromised
            | Action::ScheduleKeyVersionDestruction
            | Action::CancelKeyVersionDestruction
            | Action::SetCertificateChain
            | Action::CreateCertificateSigningRequest => Self::Key,
            Action::GetPolicySet
            | Action::ApplyPolicySet
            | Action::ValidatePolicySet
            | Action::ExplainAuthorization
            | Action::ListEffectiveAccess
            | Action::ReplayPolicySet => Self::PolicySet,
            Action::ListRecords
            | Action::WatchRecords
            | Action::GetCheckpoint
            | Action::GetInclusionProof
            | Action::GetConsistencyProof => Self::AuditLog,
            Action::ListTokens => Self::Tokens,
            Action::GetToken | Action::ClearPinLatch => Self::Token,
            Action::CreateCaller | Action::ListCallers => Self::Callers,
            Action::GetCaller
            | Action::UpdateCaller
            | Action::SuspendCaller
            | Action::ResumeCaller
            | Action::IssueApiKey
            | Action::ListApiKeys
            | Action::RotateApiKey
            | Action::RevokeApiKey => Self::Caller,
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Ring => "a key ring: keyRings/{ring}",
            Self::Key => "a key or a key version: keyRings/{ring}/keys/{key}",
            Self::Token => "a token: tokens/{token}",
            Self::Tokens => "the tokens as a whole; leave the resource empty",
            Self::PolicySet => "the policy set; leave the resource empty",
            Self::AuditLog => "the record; leave the resource empty",
            Self::Caller => "a caller: callers/{caller}",
            Self::Callers => "the callers as a whole; leave the resource empty",
        }
    }
}

/// The circumstances of the hypothetical call: one item of one byte where the request does not say.
fn hypothetical_operation(
    snapshot: &Snapshot,
    caller: &Caller,
    request: &ExplainRequest,
) -> Result<OperationContext, Error> {
    let version = match &request.resource {
        ExplainResource::Key(name) => snapshot.keys.get(name.key()).map_or(1, |key| key.version_named(name).max(1)),
        ExplainResource::None | ExplainResource::Ring(_) | ExplainResource::Token(_) | ExplainResource::Caller(_) => 1,
    };
    Ok(match OperationKind::of(request.action) {
        OperationKind::Sign => {
            let (input, usual) = if request.digest { (SignInputKind::Digest, 32) } else { (SignInputKind::Message, 1) };
            let (input_bytes, batch_size) = (request.input_bytes.unwrap_or(usual), request.batch_size.unwrap_or(1));
            OperationContext::Sign { input, input_bytes, batch_size, version }
        }
        OperationKind::SignJwt => {
            let HypotheticalJwt { issuer, subject, audiences, lifetime_seconds, token_type } = request.jwt.clone();
            let maximum = || match &request.resource {
                ExplainResource::Key(name) => {
                    snapshot.keys.get(name.key()).and_then(|key| key.max_jwt_lifetime_seconds).map(u64::from)
                }
                ExplainResource::None
                | ExplainResource::Ring(_)
                | ExplainResource::Token(_)
                | ExplainResource::Caller(_) => None,
            };
            OperationContext::SignJwt {
                issuer,
                subject,
                audiences,
                lifetime_seconds: lifetime_seconds
                    .or_else(maximum)
                    .unwrap_or(crate::DEFAULT_MAX_JWT_LIFETIME.as_secs()),
                token_type: token_type.unwrap_or_else(|| "JWT".to_owned()),
                version,
            }
        }
        OperationKind::SigningRequest => {
            let (subject, alternative_names) = request.certificate.clone();
            OperationContext::SigningRequest { subject, alternative_names, version }
        }
        OperationKind::Mac => OperationContext::Mac { input_bytes: request.input_bytes.unwrap_or(1), version },
        OperationKind::Random => OperationContext::Random { length: request.length.unwrap_or(1) },
        OperationKind::CreateKey => {
            let missing = || format!("{} is decided by the algorithm, too; give it", request.action);
            let algorithm = request.algorithm.ok_or_else(|| Error::invalid("algorithm", missing()))?;
            OperationContext::CreateKey { algorithm, allow_digest: request.allow_digest }
        }
        OperationKind::ApiKey => {
            let lifetime_seconds = request.api_key_lifetime_seconds.unwrap_or(USUAL_API_KEY_LIFETIME.as_secs());
            OperationContext::ApiKey { lifetime_seconds }
        }
        OperationKind::Registration => hypothetical_registration(snapshot, caller, request)?,
        OperationKind::Plain => OperationContext::Plain,
    })
}

/// Where the request does not say: a caller that stays what it is, or a new one without groups, roles and rings. A new one is in
/// the environment of who asks where it is in no other.
fn hypothetical_registration(
    snapshot: &Snapshot,
    caller: &Caller,
    request: &ExplainRequest,
) -> Result<OperationContext, Error> {
    let registered = match &request.resource {
        ExplainResource::Caller(id) => snapshot.callers.by_id(id),
        ExplainResource::None | ExplainResource::Ring(_) | ExplainResource::Key(_) | ExplainResource::Token(_) => None,
    };
    let unchanged = || {
        let stays = |caller: Arc<Caller>| HypotheticalRegistration {
            environment: None,
            groups: caller.groups.clone(),
            roles: caller.roles.clone(),
            rings: caller.rings.clone(),
        };
        registered.clone().map(stays).unwrap_or_default()
    };
    let HypotheticalRegistration { environment, groups, roles, rings } =
        request.registration.clone().unwrap_or_else(unchanged);
    if registered.is_some() && environment.is_some() {
        let why = format!("{} changes no environment; leave it empty", request.action);
        return Err(Error::invalid("registration.environment", why));
    }
    let usual = || registered.as_deref().unwrap_or(caller).environment.clone();
    Ok(OperationContext::Registration { environment: environment.unwrap_or_else(usual), groups, roles, rings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_policy::RingFacts;

    #[test]
    fn ring_facts_are_those_of_the_ring() {
        let id = |text| Id::parse("the id", text).unwrap();
        let ring = crate::Ring {
            name: RingName { ring: id("payments") },
            environment: id("prod"),
            token: id("main"),
            allow_extractable: false,
        };
        let expected = RingFacts { ring: id("payments"), environment: id("prod") };
        assert_eq!(ring_resource(&ring), Resource::KeyRing(expected));
    }
}
