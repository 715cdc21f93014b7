//! Why a call was not done, as data. The server maps each case to a status code and a reason; nothing here knows of them.

use std::fmt;
use std::time::Duration;

use chancery_audit::RecordError;
use chancery_audit::archive::CopyError;
use chancery_hsm::{ClearLatchError, HsmFailure, MissingMechanism, Unadoptable};
use chancery_model::{
    Action, Algorithm, Id, KeyName, KeyState, KeyVersionName, LimitKind, Rate, RingName, TokenObjectId,
};
use chancery_policy::PolicyErrors;

use crate::EvidenceFault;

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Policy does not allow it, or there is no such resource: both look alike from outside.
    #[error("{action} on {resource} is not allowed, or there is no such resource")]
    AccessDenied {
        /// What was asked for.
        action: Action,
        /// On what, as the caller named it.
        resource: String,
    },
    /// The caller's own signature of the request is missing, or not good.
    #[error("{action} on {resource} is not allowed: {fault}")]
    CallerSignature {
        /// What was asked for.
        action: Action,
        /// On what, as the caller named it.
        resource: String,
        /// What is wrong.
        fault: EvidenceFault,
    },
    /// No audience is configured that callers' signatures could be for.
    #[error("no audience is configured that callers' signatures could be for")]
    NoAudience,
    /// The service was started so lately, or after its clock was set back, that it cannot know whether a signature was used before.
    #[error(
        "the service was started too lately, or after its clock was set back, to know which signatures of callers were used"
    )]
    CallerSignaturesNotYet {
        /// How long until it takes one that is made then.
        retry_after: Duration,
    },
    /// So many signatures of callers are remembered that no more can be told from replayed ones.
    #[error("as many signatures of callers are remembered as there is room for")]
    TooManyCallerSignatures,
    /// The caller is suspended.
    #[error("callers/{caller} is suspended")]
    CallerSuspended {
        /// The caller.
        caller: Id,
    },
    /// What the call came with is the caller's credential no more.
    #[error("the credential of the call is not, or no longer, enough for callers/{caller}")]
    CredentialRefused {
        /// The caller that the call came from.
        caller: Id,
    },
    /// A field of the request is not as it must be.
    #[error("{field}: {description}")]
    InvalidField {
        /// Path of the field as in the proto, for example `input.digest`.
        field: String,
        /// What is wrong, and what it must be.
        description: String,
    },
    /// The key is for something else.
    #[error("{action} is not what {key} is for: its algorithm is {algorithm}")]
    WrongPurpose {
        /// The key.
        key: KeyName,
        /// Its algorithm, which says what it is for.
        algorithm: Algorithm,
        /// What was asked for.
        action: Action,
    },
    /// JOSE has no name for the key's algorithm, so there is neither JWT nor JWK of it.
    #[error("JOSE does not know the algorithm of {key}, {algorithm}")]
    NotInJose {
        /// The key.
        key: KeyName,
        /// Its algorithm.
        algorithm: Algorithm,
    },
    /// X.509 has no name for the key's algorithm, so there is no certificate of it.
    #[error("X.509 does not know the algorithm of {key}, {algorithm}")]
    NotInX509 {
        /// The key.
        key: KeyName,
        /// Its algorithm.
        algorithm: Algorithm,
    },
    /// The ring is frozen.
    #[error("{action} is not done while {ring} is frozen")]
    KeyRingFrozen {
        /// The ring.
        ring: RingName,
        /// What was asked for.
        action: Action,
    },
    /// No key of the token can be adopted as asked.
    #[error("nothing of token {token} is adopted: {why}")]
    NotAdoptable {
        /// The token's id in the configuration.
        token: Id,
        /// Why.
        #[source]
        why: Unadoptable,
    },
    /// A copy of the key may be outside the token.
    #[error("{ring} takes no key of which a copy may be outside the token")]
    KeyExtractable {
        /// The ring.
        ring: RingName,
    },
    /// The key in the token is under management already.
    #[error("the key with CKA_ID {object} of token {token} is under management already")]
    ObjectTaken {
        /// The token's id in the configuration.
        token: Id,
        /// Its CKA_ID.
        object: TokenObjectId,
    },
    /// The key takes messages only.
    #[error("{key} signs messages only, it does not allow digests")]
    DigestNotAllowed {
        /// The key.
        key: KeyName,
    },
    /// The version is in a state that does not sign.
    #[error("{version} is {state}; only an ACTIVE version signs")]
    NotActive {
        /// The version.
        version: KeyVersionName,
        /// Its state.
        state: KeyState,
    },
    /// The key has no version yet that could be used.
    #[error("{key} has no primary version")]
    NoPrimary {
        /// The key.
        key: KeyName,
    },
    /// The version's state does not allow the transition.
    #[error("{action} is not possible: {version} is {state}")]
    WrongState {
        /// The version.
        version: KeyVersionName,
        /// Its state.
        state: KeyState,
        /// What was asked for.
        action: Action,
    },
    /// The key's versions are not to be destroyed.
    #[error("{key} is protected: none of its versions is destroyed")]
    DeletionProtected {
        /// The key.
        key: KeyName,
    },
    /// The token has been asked to destroy the version.
    #[error("the destruction of {version} has begun")]
    DestructionBegun {
        /// The version.
        version: KeyVersionName,
    },
    /// The name is taken.
    #[error("{name} exists already")]
    AlreadyExists {
        /// The name.
        name: String,
    },
    /// A request for an API key was answered before, and the key is shown once.
    #[error("{name} was issued for this request before, and is shown once")]
    ApiKeyShown {
        /// The key.
        name: String,
    },
    /// The API key opens nothing any more, or was rotated already.
    #[error("{name} is expired, revoked or rotated already")]
    ApiKeyOver {
        /// The key.
        name: String,
    },
    /// The caller has as many API keys as one may have.
    #[error("callers/{caller} has {limit} API keys that are of use")]
    TooManyApiKeys {
        /// The caller.
        caller: Id,
        /// How many one may have.
        limit: usize,
    },
    /// There is no place for the secret under which API keys are hashed.
    #[error("no system ring is configured")]
    NoSystemRing,
    /// A leaf of the log is missing.
    #[error("the log has a gap, and so no tree that could be signed")]
    LogGap,
    /// There is no key to sign the log with.
    #[error("the log is not signed: no system ring is configured")]
    LogNotSigned,
    /// No checkpoint covers what was asked for.
    #[error("there is no checkpoint of the log yet that covers this")]
    NoCheckpoint,
    /// What is kept of the log is not what was signed.
    #[error("what is kept of the log is not what was signed: {what}")]
    LogDamaged {
        /// What was seen; for the log, not for callers.
        what: String,
    },
    /// The log has not so many records.
    #[error("the log has {records} records, and so no {what}")]
    BeyondLog {
        /// What was asked for.
        what: String,
        /// How many records there are.
        records: u64,
    },
    /// The leaf of an old record is in the archive, which cannot be read.
    #[error("the leaf of record {index} is in the archive, and is not to be had: {why}")]
    ArchiveUnreadable {
        /// The record.
        index: u64,
        /// Why; for the log, not for callers.
        why: String,
    },
    /// The name is that of a caller already.
    #[error("{name} exists already")]
    CallerExists {
        /// The name.
        name: String,
    },
    /// There is no such resource, and the caller may know it.
    #[error("{name} does not exist")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The record does not reach up to where somebody wants to go on reading.
    #[error("the record has no index {start_index}: the next one is {next_index}")]
    BeyondRecord {
        /// Where reading was to begin.
        start_index: u64,
        /// The index that the next record will have.
        next_index: u64,
    },
    /// The request id was used before for something else.
    #[error("the request id {request_id} was used before for another request")]
    RequestIdReused {
        /// The request id.
        request_id: String,
    },
    /// The resource changed since the caller read it.
    #[error("{name} has changed since it was read")]
    EtagMismatch {
        /// The resource.
        name: String,
    },
    /// The ring's token cannot have such keys.
    #[error(transparent)]
    AlgorithmNotOffered(#[from] MissingMechanism),
    /// The policy set does not hold together.
    #[error("the policy set is not valid")]
    PolicyInvalid(#[source] PolicyErrors),
    /// After this policy set nobody could apply another.
    #[error("after this policy set no registered caller could apply another one")]
    PolicyLockout,
    /// After this change nobody could govern the service in some way in which somebody can now.
    #[error("after this change no registered caller could {what}")]
    CallerLockout {
        /// What nobody could do.
        what: &'static str,
    },
    /// The key has made, or the caller was given, as many signatures as it may.
    #[error("{of} has had its {limit} signatures")]
    UsageLimit {
        /// Whose limit.
        of: Limited,
        /// Which of its limits.
        kind: LimitKind,
        /// How many it allows.
        limit: u64,
        /// How long until there are more; none where no waiting helps.
        retry_after: Option<Duration>,
    },
    /// The key is used, or the caller asks, faster than it may.
    #[error("{of} may have {} uses in a second and {} at once, and {uses} were asked for", rate.per_second, rate.burst)]
    RateLimit {
        /// Whose limit.
        of: Limited,
        /// The limit.
        rate: Rate,
        /// How many uses the call asked for.
        uses: u32,
        /// How long until there are so many; none where there never are.
        retry_after: Option<Duration>,
    },
    /// The key has as many uses under way as it may.
    #[error("{key} may have {limit} uses under way, and {uses} more were asked for")]
    ConcurrencyLimit {
        /// The key.
        key: KeyName,
        /// How many it may.
        limit: u32,
        /// How many uses the call asked for.
        uses: u32,
    },
    /// The state changed under the call again and again.
    #[error("the state kept changing while the call was decided")]
    StateChanging,
    /// Whether the state is the one that was sealed is not known yet: the token that says so does not answer.
    #[error("the state has not been checked since the service was started")]
    StateUnchecked,
    /// More is under way than the service takes on.
    #[error("the service is at its limit of calls under way")]
    Overloaded,
    /// The record cannot be written; nothing is signed until the service was restarted.
    #[error("the record cannot be written: {reason}")]
    RecordClosed {
        /// Why; for the log, not for callers.
        reason: String,
    },
    /// The token did not do it.
    #[error("{operation} failed in token {token}")]
    Device {
        /// What was asked for.
        operation: Action,
        /// The token's id in the configuration.
        token: Id,
        /// What went wrong; its return code is for the log and the record only.
        #[source]
        failure: HsmFailure,
    },
    /// There is no PIN latch to clear.
    #[error("token {token} is not latched")]
    TokenNotLatched {
        /// The token's id in the configuration.
        token: Id,
    },
    /// The token's PIN latch stays closed.
    #[error("token {token} stays latched")]
    TokenStillLatched {
        /// The token's id in the configuration.
        token: Id,
        /// Why; return codes and paths in it are for the log and the record only.
        #[source]
        why: ClearLatchError,
    },
    /// The deadline passed.
    #[error("the deadline passed")]
    DeadlineExceeded {
        /// The intent's index, where one was recorded.
        record_index: Option<u64>,
    },
    /// A fault of ours.
    #[error("{what}")]
    Internal {
        /// What happened; for the log, not for callers.
        what: String,
    },
}

/// Whose limit it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limited {
    /// A key's.
    Key(KeyName),
    /// A caller's.
    Caller(Id),
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Caller(caller) => write!(f, "callers/{caller}"),
        }
    }
}

impl Error {
    pub(crate) fn invalid(field: &str, description: impl Into<String>) -> Self {
        Self::InvalidField { field: field.to_owned(), description: description.into() }
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::StaleEpoch => Self::StateChanging,
            RecordError::Overloaded => Self::Overloaded,
            // Who records intents that count against limits knows whose they are, and says it better (see `usage`).
            error @ RecordError::UsageLimit { .. } => Self::internal(error.to_string()),
            RecordError::Unchecked => Self::StateUnchecked,
            error @ RecordError::Anchor { .. } => Self::internal(error.to_string()),
            RecordError::Closed { reason } => Self::RecordClosed { reason },
        }
    }
}

impl From<chancery_crypto::RandomError> for Error {
    fn from(error: chancery_crypto::RandomError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<CopyError> for Error {
    fn from(error: CopyError) -> Self {
        use std::error::Error as _;
        match error {
            CopyError::Database(error) => error.into(),
            error => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                Self::internal(format!("{error}{cause}"))
            }
        }
    }
}

impl From<chancery_store::StoreError> for Error {
    fn from(error: chancery_store::StoreError) -> Self {
        use std::error::Error as _;
        match error {
            chancery_store::StoreError::OutOfTime => Self::DeadlineExceeded { record_index: None },
            chancery_store::StoreError::Archived { index, source } => {
                Self::ArchiveUnreadable { index, why: crate::archive::why(&source) }
            }
            error => {
                // The disk's own words are in the cause.
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                Self::internal(format!("the store could not be read: {error}{cause}"))
            }
        }
    }
}
