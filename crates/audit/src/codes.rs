//! The numbers that leaves hold for words. Final: a number is never used again for another word.
//!
//! docs/audit-record.md lists them, and a test holds the two lists together.

use chancery_model::Action;
use serde::{Deserialize, Serialize};

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What was authorised, durable before it is done.
    Intent,
    /// How intents and acts ended.
    Outcome,
    /// A change of the state.
    Act,
    /// What was refused.
    Denial,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Intent, Self::Outcome, Self::Act, Self::Denial];

    /// The number in leaves.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Intent => 1,
            Self::Outcome => 2,
            Self::Act => 3,
            Self::Denial => 4,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "INTENT",
            Self::Outcome => "OUTCOME",
            Self::Act => "ACT",
            Self::Denial => "DENIAL",
        }
    }
}

/// What policy said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Decision {
    /// The call may be done.
    Allow,
    /// It may not.
    Deny,
}

impl Decision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Allow, Self::Deny];

    /// The number in leaves.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Allow => 1,
            Self::Deny => 2,
        }
    }

    /// The decision with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|decision| decision.code() == code)
    }

    /// The name in details and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
        }
    }
}

/// How an intent or an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutcomeResult {
    /// It was done.
    Done,
    /// It was not done, and no signature of it left the service.
    Failed,
    /// Whether it was done cannot be known: the service stopped in between, or the token did not answer.
    Unknown,
    /// It was recorded, and the token was never asked: the caller had gone.
    Abandoned,
}

impl OutcomeResult {
    /// Every result.
    pub const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Unknown, Self::Abandoned];

    /// The number in leaves.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 1,
            Self::Failed => 2,
            Self::Unknown => 3,
            Self::Abandoned => 4,
        }
    }

    /// The result with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|result| result.code() == code)
    }

    /// The name in details and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
            Self::Abandoned => "ABANDONED",
        }
    }
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DenialReason {
    /// No policy permits it.
    NotPermitted,
    /// A policy forbids it.
    Forbidden,
    /// A policy could not be evaluated, which is a refusal.
    EvaluationFailed,
    /// The key ring is of another environment than the caller.
    OtherEnvironment,
    /// There is no such resource; the caller was told what he would be told of one that he may not use.
    UnknownResource,
    /// The credential is no registered caller's, or none.
    UnknownCaller,
    /// The caller is suspended.
    CallerSuspended,
    /// The caller's credential does not hold: its identity is no longer the caller's, its API key is expired, revoked or
    /// for other addresses, or a factor that the caller requires is missing.
    CredentialRefused,
    /// The API key that the call came with leaves this out, whatever its caller may do.
    OutOfScope,
    /// The key signs only what its caller has signed, too, and the request has no signature of its caller.
    CallerSignatureRequired,
    /// The caller's signature is not one of his certificate's key over this request.
    CallerSignatureInvalid,
    /// The caller's signature is of another certificate than the connection's, or the call came with no certificate.
    CallerSignatureOtherCertificate,
    /// The caller's signature was made too long ago, or is to be made yet.
    CallerSignatureStale,
    /// The caller's signature was used before.
    CallerSignatureReplayed,
    /// Not a refusal of its own: so many more were refused than could be recorded singly.
    Overflow,
}

impl DenialReason {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::NotPermitted,
        Self::Forbidden,
        Self::EvaluationFailed,
        Self::OtherEnvironment,
        Self::UnknownResource,
        Self::UnknownCaller,
        Self::CallerSuspended,
        Self::CredentialRefused,
        Self::OutOfScope,
        Self::CallerSignatureRequired,
        Self::CallerSignatureInvalid,
        Self::CallerSignatureOtherCertificate,
        Self::CallerSignatureStale,
        Self::CallerSignatureReplayed,
        Self::Overflow,
    ];

    /// The number in leaves.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NotPermitted => 1,
            Self::Forbidden => 2,
            Self::EvaluationFailed => 3,
            Self::OtherEnvironment => 4,
            Self::UnknownResource => 5,
            Self::UnknownCaller => 6,
            Self::CallerSuspended => 20,
            Self::CredentialRefused => 21,
            Self::OutOfScope => 22,
            Self::CallerSignatureRequired => 30,
            Self::CallerSignatureInvalid => 31,
            Self::CallerSignatureOtherCertificate => 32,
            Self::CallerSignatureStale => 33,
            Self::CallerSignatureReplayed => 34,
            Self::Overflow => 255,
        }
    }

    /// Whether it is about the caller's own signature of the request: policy has allowed what it is refused for.
    #[must_use]
    pub const fn is_of_caller_signature(self) -> bool {
        match self {
            Self::CallerSignatureRequired
            | Self::CallerSignatureInvalid
            | Self::CallerSignatureOtherCertificate
            | Self::CallerSignatureStale
            | Self::CallerSignatureReplayed => true,
            Self::NotPermitted
            | Self::Forbidden
            | Self::EvaluationFailed
            | Self::OtherEnvironment
            | Self::UnknownResource
            | Self::UnknownCaller
            | Self::CallerSuspended
            | Self::CredentialRefused
            | Self::OutOfScope
            | Self::Overflow => false,
        }
    }

    /// The reason with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The name in details and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotPermitted => "NOT_PERMITTED",
            Self::Forbidden => "FORBIDDEN",
            Self::EvaluationFailed => "EVALUATION_FAILED",
            Self::OtherEnvironment => "OTHER_ENVIRONMENT",
            Self::UnknownResource => "UNKNOWN_RESOURCE",
            Self::UnknownCaller => "UNKNOWN_CALLER",
            Self::CallerSuspended => "CALLER_SUSPENDED",
            Self::CredentialRefused => "CREDENTIAL_REFUSED",
            Self::OutOfScope => "OUT_OF_SCOPE",
            Self::CallerSignatureRequired => "CALLER_SIGNATURE_REQUIRED",
            Self::CallerSignatureInvalid => "CALLER_SIGNATURE_INVALID",
            Self::CallerSignatureOtherCertificate => "CALLER_SIGNATURE_OTHER_CERTIFICATE",
            Self::CallerSignatureStale => "CALLER_SIGNATURE_STALE",
            Self::CallerSignatureReplayed => "CALLER_SIGNATURE_REPLAYED",
            Self::Overflow => "OVERFLOW",
        }
    }
}

/// The number of an action in leaves. 0 is no action.
#[must_use]
pub const fn action_code(action: Action) -> u16 {
    match action {
        Action::Sign => 1,
        Action::Verify => 2,
        Action::GetPublicKey => 3,
        Action::ListKeyRings => 4,
        Action::GetKeyRing => 5,
        Action::CreateKey => 6,
        Action::GetKey => 7,
        Action::ListKeys => 8,
        Action::RotateKey => 9,
        Action::ListKeyVersions => 10,
        Action::GetKeyVersion => 11,
        Action::SuspendKeyVersion => 12,
        Action::ResumeKeyVersion => 13,
        Action::GetPolicySet => 14,
        Action::ApplyPolicySet => 15,
        Action::ValidatePolicySet => 16,
        Action::ExplainAuthorization => 17,
        Action::ListRecords => 18,
        Action::ListTokens => 19,
        Action::GetToken => 20,
        Action::MacSign => 21,
        Action::MacVerify => 22,
        Action::GenerateRandomBytes => 23,
        Action::WatchRecords => 24,
        Action::SignJwt => 25,
        Action::ListEffectiveAccess => 26,
        Action::ClearPinLatch => 27,
        Action::UpdateKey => 28,
        Action::DeactivateKeyVersion => 29,
        Action::MarkKeyVersionCompromised => 30,
        Action::ScheduleKeyVersionDestruction => 31,
        Action::CancelKeyVersionDestruction => 32,
        Action::CreateCertificateSigningRequest => 33,
        Action::SetCertificateChain => 34,
        Action::FreezeKeyRing => 35,
        Action::UnfreezeKeyRing => 36,
        Action::AdoptKey => 37,
        Action::ReplayPolicySet => 38,
        Action::GetCheckpoint => 45,
        Action::GetInclusionProof => 46,
        Action::GetConsistencyProof => 47,
        Action::CreateCaller => 60,
        Action::GetCaller => 61,
        Action::ListCallers => 62,
        Action::UpdateCaller => 63,
        Action::SuspendCaller => 64,
        Action::ResumeCaller => 65,
        Action::IssueApiKey => 66,
        Action::ListApiKeys => 67,
        Action::RotateApiKey => 68,
        Action::RevokeApiKey => 69,
    }
}

/// The action with this number.
#[must_use]
pub fn action_from_code(code: u16) -> Option<Action> {
    Action::ALL.into_iter().find(|action| action_code(*action) == code)
}
