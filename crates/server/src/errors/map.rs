//! Each error of the core, once. No catch-all arm: a new error breaks the build until someone decides.

use super::Refusal;
use super::{device, evidence, limits};
use chancery_core::Error;
use chancery_model::{Action, KeyPurpose, KeyState};
use chancery_policy::{PolicyError, PolicyErrors};
use std::time::Duration;
use tonic::Code;

/// How many errors of a policy set a caller is told at once.
const MAX_POLICY_ERRORS: usize = 20;

pub(super) fn refusal(error: &Error) -> Refusal {
    match error {
        Error::AccessDenied { action, resource } => {
            let message = format!(
                "{action} on {resource} is not allowed, or there is no such resource; check the name, and ask whoever \
                 administers policy (they can run: chancery policy explain)"
            );
            Refusal::new(Code::PermissionDenied, "ACCESS_DENIED", message)
                .with("action", action)
                .with("resource", resource)
        }
        Error::CallerSignature { action, resource, fault } => evidence::refusal(*action, resource, fault),
        Error::NoAudience => evidence::not_taken(),
        Error::CallerSignaturesNotYet { retry_after } => evidence::not_yet(*retry_after),
        Error::TooManyCallerSignatures => evidence::too_many(),
        Error::CallerSuspended { caller } => {
            let message = format!(
                "callers/{caller} is suspended; ask whoever administers callers (they can run: chancery callers resume)"
            );
            Refusal::new(Code::PermissionDenied, "CALLER_SUSPENDED", message)
                .with("resource", format!("callers/{caller}"))
        }
        Error::CredentialRefused { caller } => {
            let message = format!(
                "what this call came with is not, or no longer, enough for callers/{caller}; ask whoever administers callers \
                 (they can run: chancery callers show)"
            );
            Refusal::new(Code::Unauthenticated, "CREDENTIAL_REFUSED", message)
                .with("resource", format!("callers/{caller}"))
        }
        Error::CallerExists { name } => {
            let message = format!("{name} exists already; choose another id, or change it with UpdateCaller");
            Refusal::new(Code::AlreadyExists, "CALLER_ALREADY_EXISTS", message).with("resource", name)
        }
        Error::ApiKeyShown { name } => {
            let message = format!(
                "{name} was issued for this request id before, and an API key is shown once; where it was lost, revoke it and \
                 issue another with a new request id"
            );
            Refusal::new(Code::AlreadyExists, "API_KEY_SHOWN", message).with("resource", name)
        }
        Error::ApiKeyOver { name } => {
            let message = format!("{name} is expired, revoked or rotated already; issue another with IssueApiKey");
            Refusal::new(Code::FailedPrecondition, "API_KEY_OVER", message).with("resource", name)
        }
        Error::TooManyApiKeys { caller, limit } => {
            let message = format!(
                "callers/{caller} has {limit} API keys that are of use, which is the limit; revoke those that nobody needs \
                 (ListApiKeys says which are dormant)"
            );
            Refusal::new(Code::FailedPrecondition, "TOO_MANY_API_KEYS", message)
                .with("resource", format!("callers/{caller}"))
        }
        Error::NoSystemRing => {
            let message = "API keys are hashed under a secret in a token, and no token is configured for it; the operator \
                           gives the configuration a [system_ring]";
            Refusal::new(Code::FailedPrecondition, "SYSTEM_RING_MISSING", message)
        }
        Error::LogGap => {
            let message = "a leaf of the log is missing, so that nothing can be shown of it; the operator restores a backup \
                           (docs/operations.md)";
            Refusal::new(Code::FailedPrecondition, "LOG_INCOMPLETE", message)
        }
        // What was seen is in the service's log.
        Error::LogDamaged { what: _ } => {
            let message = "what the service keeps of its log here is not what was signed, and so is not handed out; the \
                           operator finds in /readyz and docs/operations.md what to do";
            Refusal::new(Code::DataLoss, "LOG_DAMAGED", message)
        }
        Error::LogNotSigned => {
            let message = "the service has no key to sign its log with; the operator gives the configuration a \
                           [system_ring] on a token that makes Ed25519 keys";
            Refusal::new(Code::FailedPrecondition, "LOG_NOT_SIGNED", message)
        }
        Error::NoCheckpoint => {
            let message = "no checkpoint of the log that counts covers this, and none could be made in time: the log is not \
                           signed, or too few of its witnesses cosign it; the operator finds in /readyz which. Try again, \
                           unless a witness is in conflict: that ends only when the operator ends it (docs/operations.md)";
            // As often as the token, and a witness at the soonest, are asked again.
            Refusal::new(Code::Unavailable, "CHECKPOINT_UNAVAILABLE", message).retry_after(Duration::from_secs(1))
        }
        Error::ArchiveUnreadable { index, why: _ } => {
            let message = format!(
                "the leaf of record {index} is in the archive of the log, which cannot be read now; newer records can, and nothing \
                 else depends on it; the operator mounts the archive, or finds in the service's log what is amiss with it \
                 (docs/operations.md)"
            );
            Refusal::new(Code::Unavailable, "ARCHIVE_UNAVAILABLE", message).with("recordIndex", index)
        }
        Error::BeyondLog { what, records } => {
            let message = format!(
                "the log has {records} records, and so no {what}; if you have seen a checkpoint or an answer of more, find \
                 out who took records away"
            );
            Refusal::new(Code::OutOfRange, "BEYOND_RECORD", message).with("nextIndex", records)
        }
        Error::CallerLockout { what } => {
            let message = format!(
                "after this change no caller that is registered with a certificate could {what}; let another caller do that \
                 first"
            );
            Refusal::new(Code::FailedPrecondition, "CALLER_CHANGE_LOCKS_OUT", message)
        }
        Error::InvalidField { field, description } => {
            Refusal::new(Code::InvalidArgument, "INVALID_FIELD", format!("{field}: {description}"))
                .violation(field, description)
        }
        Error::KeyRingFrozen { ring, action } => {
            let message = format!(
                "{action} is not done, because {ring} is frozen: nothing is signed with its keys and none is made, while \
                 verification goes on; GetKeyRing (chancery rings show) says why, and whoever administers its keys can \
                 unfreeze it"
            );
            Refusal::new(Code::FailedPrecondition, "KEY_RING_FROZEN", message)
                .with("resource", ring)
                .with("action", action)
        }
        Error::NotAdoptable { token, why } => Refusal::new(
            Code::FailedPrecondition,
            "KEY_NOT_ADOPTABLE",
            format!("nothing of tokens/{token} is adopted: {why}"),
        )
        .with("resource", format!("tokens/{token}"))
        .with("action", Action::AdoptKey),
        Error::KeyExtractable { ring } => {
            let message = format!(
                "the key can be taken out of the token, or the token does not vouch that it never could: a copy of it may be \
                 anywhere, and {ring} takes no such key; create one, or have the operator give the ring allow_extractable = \
                 true: it is then adopted, and stays marked"
            );
            Refusal::new(Code::FailedPrecondition, "KEY_EXTRACTABLE", message)
                .with("resource", ring)
                .with("action", Action::AdoptKey)
        }
        Error::ObjectTaken { token, object } => {
            let message = format!(
                "the key with CKA_ID {object} of tokens/{token} is under management already, and is adopted once only; look \
                 for it among the keys of the token's rings"
            );
            Refusal::new(Code::AlreadyExists, "TOKEN_OBJECT_TAKEN", message).with("resource", format!("tokens/{token}"))
        }
        Error::DigestNotAllowed { key } => {
            let message = format!(
                "{key} signs messages only; send the message as input.message, or create a key with allow_digest"
            );
            Refusal::new(Code::FailedPrecondition, "DIGEST_NOT_ALLOWED", message).with("resource", key)
        }
        Error::WrongPurpose { key, algorithm, action } => {
            let message = match algorithm.purpose() {
                KeyPurpose::Signature => format!(
                    "{action} is for MAC keys, and {key} is a signing key ({algorithm}); use Sign and Verify, or name a MAC \
                     key (HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, AES_CMAC)"
                ),
                KeyPurpose::Mac => format!(
                    "{action} is for signing keys, and {key} is a MAC key ({algorithm}), which has no public half; use \
                     MacSign and MacVerify, or name a signing key"
                ),
            };
            Refusal::new(Code::FailedPrecondition, "KEY_PURPOSE_MISMATCH", message)
                .with("resource", key)
                .with("algorithm", algorithm)
                .with("action", action)
        }
        Error::NotInJose { key, algorithm } => {
            let message = format!(
                "{key} is a key of {algorithm}, which JOSE has no name for: there is no JWT and no JWK of it; create a key \
                 of another algorithm"
            );
            Refusal::new(Code::FailedPrecondition, "ALGORITHM_NOT_IN_JOSE", message)
                .with("resource", key)
                .with("algorithm", algorithm)
        }
        Error::NotInX509 { key, algorithm } => {
            let message = format!(
                "{key} is a key of {algorithm}, which X.509 has no name for: there is no certificate of it; create a key of \
                 another algorithm"
            );
            Refusal::new(Code::FailedPrecondition, "ALGORITHM_NOT_IN_X509", message)
                .with("resource", key)
                .with("algorithm", algorithm)
        }
        Error::NotActive { version, state } => {
            let message = format!("{version} is {state}, and only an ACTIVE version signs; {}", way_back(*state));
            Refusal::new(Code::FailedPrecondition, "KEY_VERSION_NOT_ACTIVE", message)
                .with("resource", version)
                .with("state", state)
        }
        Error::NoPrimary { key } => {
            let message = format!(
                "{key} has no primary version yet: its first one is being made; try again when GetKey (chancery keys show) \
                 names one"
            );
            Refusal::new(Code::FailedPrecondition, "KEY_HAS_NO_PRIMARY_VERSION", message).with("resource", key)
        }
        Error::WrongState { version, state, action } => {
            let message = format!("{action} is not possible, because {version} is {state}; {}", needed_for(*action));
            Refusal::new(Code::FailedPrecondition, "KEY_VERSION_STATE", message)
                .with("resource", version)
                .with("action", action)
                .with("state", state)
        }
        Error::DeletionProtected { key } => {
            let message = format!(
                "{key} is protected against deletion, so none of its versions is destroyed; switch deletion_protection off \
                 with UpdateKey (chancery keys update --deletion-protection off) if it is to be"
            );
            Refusal::new(Code::FailedPrecondition, "DELETION_PROTECTED", message).with("resource", key)
        }
        Error::DestructionBegun { version } => {
            let message = format!(
                "the token has been asked to destroy {version}, and there is no way back; rotate the key for a new version"
            );
            Refusal::new(Code::FailedPrecondition, "DESTRUCTION_BEGUN", message).with("resource", version)
        }
        Error::AlreadyExists { name } => {
            let message = format!("{name} exists already; choose another id, or use RotateKey for a new version");
            Refusal::new(Code::AlreadyExists, "KEY_ALREADY_EXISTS", message).with("resource", name)
        }
        Error::NotFound { name } => {
            let message = format!("{name} does not exist; check the name");
            Refusal::new(Code::NotFound, "RESOURCE_NOT_FOUND", message).with("resource", name)
        }
        Error::BeyondRecord { start_index, next_index } => {
            let message = format!(
                "the record has no index {start_index} yet, its next one will be {next_index}; resume from the next_index \
                 of your last answer, and if that is what you did, find out who took records away"
            );
            Refusal::new(Code::OutOfRange, "BEYOND_RECORD", message).with("nextIndex", next_index)
        }
        Error::RequestIdReused { request_id } => {
            let description = format!("{request_id} was used before for another request; choose a new UUID");
            Refusal::new(Code::InvalidArgument, "REQUEST_ID_REUSED", format!("request_id: {description}"))
                .violation("request_id", description)
        }
        Error::EtagMismatch { name } => {
            let message = format!("{name} has changed since it was read; read it again, and repeat with its new etag");
            Refusal::new(Code::Aborted, "ETAG_MISMATCH", message).with("resource", name)
        }
        Error::AlgorithmNotOffered(missing) => {
            let message =
                format!("{missing}; choose one of the algorithms that GetKeyRing lists, or a ring on another token");
            Refusal::new(Code::FailedPrecondition, "ALGORITHM_NOT_OFFERED", message)
                .with("resource", format!("tokens/{}", missing.token))
                .with("algorithm", missing.algorithm)
        }
        Error::PolicyInvalid(errors) => policy_invalid(errors),
        Error::PolicyLockout => {
            let message = "after this policy set no registered caller could apply another one; permit ApplyPolicySet to \
                           somebody";
            Refusal::new(Code::FailedPrecondition, "POLICY_SET_LOCKS_OUT", message)
        }
        Error::UsageLimit { of, kind, limit, retry_after } => limits::usage(of, *kind, *limit, *retry_after),
        Error::RateLimit { of, rate, uses, retry_after } => limits::rate(of, *rate, *uses, *retry_after),
        Error::ConcurrencyLimit { key, limit, uses } => limits::concurrency(key, *limit, *uses),
        Error::StateChanging => {
            let message = "keys or policy kept changing while the call was decided; nothing was done, try again";
            Refusal::new(Code::Unavailable, "STATE_CHANGING", message).retry_soon()
        }
        Error::StateUnchecked => {
            let message = "the service has come up without the token that its state is checked with, and decides on nothing \
                           before; try again later, or another instance, and the operator looks after the token (ListTokens)";
            Refusal::new(Code::Unavailable, "STATE_UNCHECKED", message).retry_soon()
        }
        Error::Overloaded => {
            let message =
                "the service has as many calls under way as it takes on; wait and try again, with fewer at once";
            Refusal::new(Code::ResourceExhausted, "OVERLOADED", message).retry_soon()
        }
        Error::RecordClosed { reason: _ } => {
            let message = "the record cannot be written, and nothing is signed or changed without it; another instance may \
                           do it, and the operator finds the cause in this one's log";
            Refusal::new(Code::Unavailable, "RECORD_UNAVAILABLE", message)
        }
        Error::Device { operation, token, failure } => device::refusal(*operation, token, failure.kind),
        Error::TokenNotLatched { token } => {
            let message = format!(
                "tokens/{token} has no refused PIN to clear, and no login was tried; see its state with GetToken (chancery \
                 token show)"
            );
            Refusal::new(Code::FailedPrecondition, "TOKEN_NOT_LATCHED", message)
                .with("resource", format!("tokens/{token}"))
        }
        Error::TokenStillLatched { token, why } => device::still_latched(token, why),
        Error::DeadlineExceeded { record_index } => {
            let refusal = |message| Refusal::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message);
            match record_index {
                None => refusal("the deadline passed before the call was done; allow more time, or send less at once"),
                Some(index) => refusal(
                    "the deadline passed after the intent was recorded; the record says how it ended, and no signature \
                     was handed out",
                )
                .with("recordIndex", index),
            }
        }
        Error::Internal { what: _ } => {
            let message = "the service failed; the operator finds the cause in its log, by the time and the trace id";
            Refusal::new(Code::Internal, "INTERNAL", message)
        }
    }
}

/// The first of the policy errors: a status travels in HTTP/2 headers, which clients take up to a few KiB only.
fn policy_invalid(errors: &PolicyErrors) -> Refusal {
    let more = errors.errors.len().saturating_sub(MAX_POLICY_ERRORS);
    let shown: Vec<&PolicyError> = errors.errors.iter().take(MAX_POLICY_ERRORS).collect();
    let what = match shown.as_slice() {
        _ if more == 0 => errors.to_string(),
        shown => {
            let lines: String = shown.iter().map(|error| format!("\n  {error}")).collect();
            format!("the policy set is refused, for {} reasons:{lines}\n  and {more} more", errors.errors.len())
        }
    };
    let message = format!("{what}; correct it, and try it with ValidatePolicySet (chancery policy validate)");
    let refusal = Refusal::new(Code::InvalidArgument, "POLICY_SET_INVALID", message);
    let refusal = shown.iter().fold(refusal, |refusal, error| refusal.violation("documents", error.to_string()));
    if more == 0 { refusal } else { refusal.violation("documents", format!("and {more} more")) }
}

/// What can be done about a version that does not sign.
const fn way_back(state: KeyState) -> &'static str {
    match state {
        // It may be the primary version: the key's name would be no way round it then.
        KeyState::Suspended => "resume it, name a version that is ACTIVE, or rotate the key",
        KeyState::PendingGeneration => "wait until the token has made it",
        KeyState::PreActive => "name a version that is ACTIVE, or wait until this one takes over",
        // These, too, may be the primary version. An ACTIVE one is not refused for its state; it is here because states are.
        KeyState::Active
        | KeyState::Deactivated
        | KeyState::Compromised
        | KeyState::DestroyScheduled
        | KeyState::Destroyed => "name a version that is ACTIVE, or rotate the key for a new one",
    }
}

/// The state that a transition begins in.
const fn needed_for(action: Action) -> &'static str {
    match action {
        Action::SuspendKeyVersion => "only an ACTIVE version can be suspended",
        Action::ResumeKeyVersion => "only a SUSPENDED version can be resumed",
        Action::DeactivateKeyVersion => "only an ACTIVE or SUSPENDED version can be deactivated",
        Action::MarkKeyVersionCompromised => "wait until the token has made it",
        Action::ScheduleKeyVersionDestruction => {
            "it is being made, is gone, or its destruction is scheduled already: cancel that to choose another time"
        }
        Action::CancelKeyVersionDestruction => {
            "only of a version that is DESTROY_SCHEDULED can the destruction be cancelled"
        }
        Action::GetPublicKey => "only public keys that verifiers may trust are handed out",
        Action::SetCertificateChain => "only public keys that verifiers may trust have certificates",
        Action::Sign
        | Action::SignJwt
        | Action::MacSign
        | Action::Verify
        | Action::MacVerify
        | Action::GenerateRandomBytes
        | Action::ListKeyRings
        | Action::GetKeyRing
        | Action::FreezeKeyRing
        | Action::UnfreezeKeyRing
        | Action::CreateKey
        | Action::AdoptKey
        | Action::GetKey
        | Action::ListKeys
        | Action::UpdateKey
        | Action::RotateKey
        | Action::CreateCertificateSigningRequest
        | Action::ListKeyVersions
        | Action::GetKeyVersion
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
        | Action::CreateCaller
        | Action::GetCaller
        | Action::ListCallers
        | Action::UpdateCaller
        | Action::SuspendCaller
        | Action::ResumeCaller
        | Action::IssueApiKey
        | Action::ListApiKeys
        | Action::RotateApiKey
        | Action::RevokeApiKey => "look at it with GetKeyVersion (chancery keys show)",
    }
}
