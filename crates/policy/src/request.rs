//! What policy is asked: an action, the facts about its resource, and the circumstances.

use chancery_model::{Action, Algorithm, Caller, Id, KeyName, Role, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// One question to policy; who asks is given beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    /// What is to be done.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// Under which circumstances.
    pub context: RequestContext,
}

/// The resource of a call, with the facts that policies can ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A key ring: ListKeyRings (asked for each ring), GetKeyRing, FreezeKeyRing, UnfreezeKeyRing, ListKeys, CreateKey,
    /// AdoptKey, GenerateRandomBytes.
    KeyRing(RingFacts),
    /// A key: Sign, SignJwt, MacSign, Verify, MacVerify, GetPublicKey, GetKey, RotateKey and all that concerns a key's
    /// versions.
    Key(KeyFacts),
    /// The policy set in force.
    PolicySet,
    /// The record.
    AuditLog,
    /// One HSM token: GetToken, ClearPinLatch.
    Token(Id),
    /// All HSM tokens: ListTokens.
    Tokens,
    /// A registered caller: GetCaller, UpdateCaller, SuspendCaller, ResumeCaller, and all that concerns its API keys.
    Caller(Arc<Caller>),
    /// All registered callers: ListCallers, CreateCaller.
    Callers,
}

/// What policies see of a key ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingFacts {
    /// The ring's id.
    pub ring: Id,
    /// The environment that the ring belongs to.
    pub environment: Id,
}

/// What policies see of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// The key's name.
    pub name: KeyName,
    /// The environment of the key's ring.
    pub environment: Id,
    /// The key's algorithm.
    pub algorithm: Algorithm,
    /// Whether the key signs digests that the service has not computed itself.
    pub allow_digest: bool,
    /// The key's labels. Shared: comparing the labels of one key with themselves costs nothing.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Whether a version of the key was adopted of which a copy may be outside the token.
    pub extractable: bool,
}

/// The circumstances of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// Where the call came from; `None` where that is not known.
    pub source: Option<IpAddr>,
    /// How the caller proved who it is: [`chancery_model::Authentication::as_str`].
    pub authentication: &'static str,
    /// When the call is decided. Policies see milliseconds.
    pub now: Timestamp,
    /// What only this kind of call has: of the kind that [`OperationKind::of`] says of the action. Anything else is denied.
    pub operation: OperationContext,
}

/// What only some actions have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationContext {
    /// Nothing of its own.
    Plain,
    /// A signature.
    Sign {
        /// Whether a message or its digest is to be signed.
        input: SignInputKind,
        /// Length of the message or digest in bytes.
        input_bytes: u64,
        /// How many items the call holds; 1 for Sign.
        batch_size: u64,
        /// The number of the key version that would sign.
        version: u32,
    },
    /// A JSON Web Token.
    SignJwt {
        /// The claim `iss`.
        issuer: Option<String>,
        /// The claim `sub`.
        subject: Option<String>,
        /// The claim `aud`.
        audiences: Vec<String>,
        /// From `iat` to `exp`, in seconds.
        lifetime_seconds: u64,
        /// The header's `typ`.
        token_type: String,
        /// The number of the key version that would sign.
        version: u32,
    },
    /// A request for a certificate (PKCS #10).
    SigningRequest {
        /// The subject (RFC 4514).
        subject: String,
        /// The subject alternative names, each with its kind: `dns:shop.example`.
        alternative_names: Vec<String>,
        /// The number of the key version that would sign.
        version: u32,
    },
    /// A message authentication code, to be made or checked.
    Mac {
        /// Length of the message in bytes.
        input_bytes: u64,
        /// The number of the key version that would be used.
        version: u32,
    },
    /// Random bytes.
    Random {
        /// How many.
        length: u64,
    },
    /// A new key, to be made or adopted.
    CreateKey {
        /// The algorithm that it would have.
        algorithm: Algorithm,
        /// Whether it would sign digests.
        allow_digest: bool,
    },
    /// A caller as it would be registered.
    Registration {
        /// Its environment.
        environment: Id,
        /// Its groups.
        groups: BTreeSet<Id>,
        /// Its roles.
        roles: BTreeSet<Role>,
        /// The key rings to which its roles would extend.
        rings: BTreeSet<Id>,
    },
    /// A new API key.
    ApiKey {
        /// For how long it would be, in seconds.
        lifetime_seconds: u64,
    },
}

/// What a caller hands in to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignInputKind {
    /// A message; the service hashes it.
    Message,
    /// A digest; the service cannot know of what.
    Digest,
}

impl SignInputKind {
    /// The word used in policies: `message` or `digest`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Digest => "digest",
        }
    }
}

/// An action and a resource or circumstances that do not belong together; a mistake of the code that asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{action} cannot be asked of {what}: no policy can decide it")]
pub(crate) struct Mismatch {
    action: Action,
    what: &'static str,
}

impl AccessRequest {
    /// Whether the schema lets this action be asked of such a resource in such circumstances. Policies are validated
    /// for requests that fit the schema, so nothing else may reach them.
    pub(crate) fn check(&self) -> Result<(), Mismatch> {
        self.resource.check(self.action)?;
        let mismatch = |what| Err(Mismatch { action: self.action, what });
        match (OperationKind::of(self.action), self.context.operation.kind()) {
            (wanted, given) if wanted == given => Ok(()),
            (OperationKind::Plain, _) => mismatch("a call with the details of another action"),
            (_, _) => mismatch("a call without the details of that action"),
        }
    }
}

impl OperationContext {
    /// Which one it is.
    #[must_use]
    pub const fn kind(&self) -> OperationKind {
        match self {
            Self::Plain => OperationKind::Plain,
            Self::Sign { .. } => OperationKind::Sign,
            Self::SignJwt { .. } => OperationKind::SignJwt,
            Self::SigningRequest { .. } => OperationKind::SigningRequest,
            Self::Mac { .. } => OperationKind::Mac,
            Self::Random { .. } => OperationKind::Random,
            Self::CreateKey { .. } => OperationKind::CreateKey,
            Self::Registration { .. } => OperationKind::Registration,
            Self::ApiKey { .. } => OperationKind::ApiKey,
        }
    }
}

/// Which [`OperationContext`] a call has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the one of the same name")]
pub enum OperationKind {
    Plain,
    Sign,
    SignJwt,
    SigningRequest,
    Mac,
    Random,
    CreateKey,
    Registration,
    ApiKey,
}

impl OperationKind {
    /// That of the calls of an action: the one place where it is said.
    #[must_use]
    pub const fn of(action: Action) -> Self {
        match action {
            Action::Sign => Self::Sign,
            Action::SignJwt => Self::SignJwt,
            Action::CreateCertificateSigningRequest => Self::SigningRequest,
            Action::MacSign | Action::MacVerify => Self::Mac,
            Action::GenerateRandomBytes => Self::Random,
            Action::CreateKey | Action::AdoptKey => Self::CreateKey,
            Action::CreateCaller | Action::UpdateCaller => Self::Registration,
            Action::IssueApiKey | Action::RotateApiKey => Self::ApiKey,
            Action::Verify
            | Action::GetPublicKey
            | Action::ListKeyRings
            | Action::GetKeyRing
            | Action::FreezeKeyRing
            | Action::UnfreezeKeyRing
            | Action::GetKey
            | Action::ListKeys
            | Action::UpdateKey
            | Action::RotateKey
            | Action::ListKeyVersions
            | Action::GetKeyVersion
            | Action::SuspendKeyVersion
            | Action::ResumeKeyVersion
            | Action::DeactivateKeyVersion
            | Action::MarkKeyVersionCompromised
            | Action::ScheduleKeyVersionDestruction
            | Action::CancelKeyVersionDestruction
            | Action::SetCertificateChain
            | Action::GetPolicySet
            | Action::ApplyPolicySet
            | Action::ValidatePolicySet
            | Action::ExplainAuthorization
            | Action::ListEffectiveAccess
            | Action::ReplayPolicySet
            | Action::ListRecords
            | Action::WatchRecords
            | Action::GetCheckpoint
            | Action::GetInclusionProof
            | Action::GetConsistencyProof
            | Action::ListTokens
            | Action::GetToken
            | Action::ClearPinLatch
            | Action::GetCaller
            | Action::ListCallers
            | Action::SuspendCaller
            | Action::ResumeCaller
            | Action::ListApiKeys
            | Action::RevokeApiKey => Self::Plain,
        }
    }
}

impl Resource {
    /// Refuses an action that is never asked of this kind of resource.
    pub(crate) fn check(&self, action: Action) -> Result<(), Mismatch> {
        if self.takes(action) { Ok(()) } else { Err(Mismatch { action, what: self.kind() }) }
    }

    /// The caller that something is done to, if it is one.
    pub(crate) const fn caller(&self) -> Option<&Arc<Caller>> {
        match self {
            Self::Caller(caller) => Some(caller),
            Self::KeyRing(_)
            | Self::Key(_)
            | Self::PolicySet
            | Self::AuditLog
            | Self::Token(_)
            | Self::Tokens
            | Self::Callers => None,
        }
    }

    /// Whether the schema lets `action` be asked of this kind of resource.
    #[must_use]
    pub fn takes(&self, action: Action) -> bool {
        match action {
            Action::ListKeyRings
            | Action::GetKeyRing
            | Action::FreezeKeyRing
            | Action::UnfreezeKeyRing
            | Action::ListKeys
            | Action::CreateKey
            | Action::AdoptKey
            | Action::GenerateRandomBytes => matches!(self, Self::KeyRing(_)),
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
            | Action::SetCertificateChain => matches!(self, Self::Key(_)),
            Action::GetPolicySet
            | Action::ValidatePolicySet
            | Action::ExplainAuthorization
            | Action::ListEffectiveAccess
            | Action::ReplayPolicySet
            | Action::ApplyPolicySet => {
                matches!(self, Self::PolicySet)
            }
            Action::ListRecords
            | Action::WatchRecords
            | Action::GetCheckpoint
            | Action::GetInclusionProof
            | Action::GetConsistencyProof => matches!(self, Self::AuditLog),
            Action::ListTokens => matches!(self, Self::Tokens),
            Action::GetToken | Action::ClearPinLatch => matches!(self, Self::Token(_)),
            Action::CreateCaller | Action::ListCallers => matches!(self, Self::Callers),
            Action::GetCaller
            | Action::UpdateCaller
            | Action::SuspendCaller
            | Action::ResumeCaller
            | Action::IssueApiKey
            | Action::ListApiKeys
            | Action::RotateApiKey
            | Action::RevokeApiKey => matches!(self, Self::Caller(_)),
        }
    }

    /// The name of the resource's entity type.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::KeyRing(_) => "KeyRing",
            Self::Key(_) => "Key",
            Self::PolicySet => "PolicySet",
            Self::AuditLog => "AuditLog",
            Self::Token(_) => "Token",
            Self::Tokens => "Tokens",
            Self::Caller(_) => "Caller",
            Self::Callers => "Callers",
        }
    }
}

/// The resource's name as the API writes it.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyRing(facts) => write!(f, "keyRings/{}", facts.ring),
            Self::Key(facts) => fmt::Display::fmt(&facts.name, f),
            Self::PolicySet => f.write_str("policySet"),
            Self::AuditLog => f.write_str("auditLog"),
            Self::Token(id) => write!(f, "tokens/{id}"),
            Self::Tokens => f.write_str("tokens"),
            Self::Caller(caller) => write!(f, "callers/{}", caller.id),
            Self::Callers => f.write_str("callers"),
        }
    }
}
