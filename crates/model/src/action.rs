//! What can be asked for: one action for each method of the API that touches something.

use std::fmt;
use std::str::FromStr;

/// An action that policy decides on. The name is that of the API method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Sign, each item of BatchSign and each message of StreamSign.
    Sign,
    /// SignJwt.
    SignJwt,
    /// MacSign.
    MacSign,
    /// Verify, and each item of BatchVerify.
    Verify,
    /// MacVerify.
    MacVerify,
    /// GetPublicKey.
    GetPublicKey,
    /// GenerateRandomBytes, on the ring whose token makes them.
    GenerateRandomBytes,
    /// ListKeyRings; asked for each ring, and the answer holds the allowed ones.
    ListKeyRings,
    /// GetKeyRing.
    GetKeyRing,
    /// FreezeKeyRing.
    FreezeKeyRing,
    /// UnfreezeKeyRing.
    UnfreezeKeyRing,
    /// CreateKey.
    CreateKey,
    /// AdoptKey.
    AdoptKey,
    /// GetKey.
    GetKey,
    /// ListKeys, on the ring.
    ListKeys,
    /// UpdateKey.
    UpdateKey,
    /// RotateKey.
    RotateKey,
    /// ListKeyVersions, on the key.
    ListKeyVersions,
    /// GetKeyVersion.
    GetKeyVersion,
    /// SuspendKeyVersion.
    SuspendKeyVersion,
    /// ResumeKeyVersion.
    ResumeKeyVersion,
    /// DeactivateKeyVersion.
    DeactivateKeyVersion,
    /// MarkKeyVersionCompromised.
    MarkKeyVersionCompromised,
    /// ScheduleKeyVersionDestruction.
    ScheduleKeyVersionDestruction,
    /// CancelKeyVersionDestruction.
    CancelKeyVersionDestruction,
    /// CreateCertificateSigningRequest.
    CreateCertificateSigningRequest,
    /// SetCertificateChain.
    SetCertificateChain,
    /// GetPolicySet.
    GetPolicySet,
    /// ApplyPolicySet.
    ApplyPolicySet,
    /// ValidatePolicySet.
    ValidatePolicySet,
    /// ExplainAuthorization.
    ExplainAuthorization,
    /// ListEffectiveAccess.
    ListEffectiveAccess,
    /// ReplayPolicySet, which asks for ListRecords, too.
    ReplayPolicySet,
    /// ListRecords.
    ListRecords,
    /// WatchRecords.
    WatchRecords,
    /// GetCheckpoint.
    GetCheckpoint,
    /// GetInclusionProof.
    GetInclusionProof,
    /// GetConsistencyProof.
    GetConsistencyProof,
    /// ListTokens.
    ListTokens,
    /// GetToken.
    GetToken,
    /// ClearPinLatch.
    ClearPinLatch,
    /// CreateCaller, on all callers.
    CreateCaller,
    /// GetCaller.
    GetCaller,
    /// ListCallers, on all callers; the answer holds those that GetCaller allows.
    ListCallers,
    /// UpdateCaller.
    UpdateCaller,
    /// SuspendCaller.
    SuspendCaller,
    /// ResumeCaller.
    ResumeCaller,
    /// IssueApiKey, on the caller.
    IssueApiKey,
    /// ListApiKeys, on the caller.
    ListApiKeys,
    /// RotateApiKey, on the caller.
    RotateApiKey,
    /// RevokeApiKey, on the caller.
    RevokeApiKey,
}

/// The groups that the shipped policies use; an action belongs to exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActionGroup {
    /// Makes signatures and MACs.
    Signing,
    /// Checks signatures and MACs, and reads public keys.
    Verifying,
    /// Takes random bytes from a token.
    GeneratingRandom,
    /// Reads key rings and keys.
    ReadingKeys,
    /// Creates and changes keys.
    AdministeringKeys,
    /// Takes keys under management that others have put into a token.
    AdoptingKeys,
    /// Freezes and unfreezes key rings.
    FreezingKeyRings,
    /// Marks key versions as compromised.
    ReportingCompromise,
    /// Has key versions destroyed, and changes its mind.
    DestroyingKeys,
    /// Reads, tries and explains policy.
    ReadingPolicy,
    /// Changes policy.
    AdministeringPolicy,
    /// Reads the record.
    Auditing,
    /// Reads the state of tokens.
    ReadingTokens,
    /// Lets tokens be used again.
    AdministeringTokens,
    /// Reads callers.
    ReadingCallers,
    /// Registers, changes, suspends and resumes callers.
    AdministeringCallers,
    /// Issues, rotates and revokes API keys.
    AdministeringApiKeys,
}

impl ActionGroup {
    /// Every group.
    pub const ALL: [Self; 17] = [
        Self::Signing,
        Self::Verifying,
        Self::GeneratingRandom,
        Self::ReadingKeys,
        Self::AdministeringKeys,
        Self::AdoptingKeys,
        Self::FreezingKeyRings,
        Self::ReportingCompromise,
        Self::DestroyingKeys,
        Self::ReadingPolicy,
        Self::AdministeringPolicy,
        Self::Auditing,
        Self::ReadingTokens,
        Self::AdministeringTokens,
        Self::ReadingCallers,
        Self::AdministeringCallers,
        Self::AdministeringApiKeys,
    ];

    /// The name used in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Verifying => "verifying",
            Self::GeneratingRandom => "generating-random",
            Self::ReadingKeys => "reading-keys",
            Self::AdministeringKeys => "administering-keys",
            Self::AdoptingKeys => "adopting-keys",
            Self::FreezingKeyRings => "freezing-key-rings",
            Self::ReportingCompromise => "reporting-compromise",
            Self::DestroyingKeys => "destroying-keys",
            Self::ReadingPolicy => "reading-policy",
            Self::AdministeringPolicy => "administering-policy",
            Self::Auditing => "auditing",
            Self::ReadingTokens => "reading-tokens",
            Self::AdministeringTokens => "administering-tokens",
            Self::ReadingCallers => "reading-callers",
            Self::AdministeringCallers => "administering-callers",
            Self::AdministeringApiKeys => "administering-api-keys",
        }
    }
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 51] = [
        Self::Sign,
        Self::SignJwt,
        Self::MacSign,
        Self::Verify,
        Self::MacVerify,
        Self::GetPublicKey,
        Self::GenerateRandomBytes,
        Self::ListKeyRings,
        Self::GetKeyRing,
        Self::FreezeKeyRing,
        Self::UnfreezeKeyRing,
        Self::CreateKey,
        Self::AdoptKey,
        Self::GetKey,
        Self::ListKeys,
        Self::UpdateKey,
        Self::RotateKey,
        Self::ListKeyVersions,
        Self::GetKeyVersion,
        Self::SuspendKeyVersion,
        Self::ResumeKeyVersion,
        Self::DeactivateKeyVersion,
        Self::MarkKeyVersionCompromised,
        Self::ScheduleKeyVersionDestruction,
        Self::CancelKeyVersionDestruction,
        Self::CreateCertificateSigningRequest,
        Self::SetCertificateChain,
        Self::GetPolicySet,
        Self::ApplyPolicySet,
        Self::ValidatePolicySet,
        Self::ExplainAuthorization,
        Self::ListEffectiveAccess,
        Self::ReplayPolicySet,
        Self::ListRecords,
        Self::WatchRecords,
        Self::GetCheckpoint,
        Self::GetInclusionProof,
        Self::GetConsistencyProof,
        Self::ListTokens,
        Self::GetToken,
        Self::ClearPinLatch,
        Self::CreateCaller,
        Self::GetCaller,
        Self::ListCallers,
        Self::UpdateCaller,
        Self::SuspendCaller,
        Self::ResumeCaller,
        Self::IssueApiKey,
        Self::ListApiKeys,
        Self::RotateApiKey,
        Self::RevokeApiKey,
    ];

    /// The name used in the API, policies and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "Sign",
            Self::SignJwt => "SignJwt",
            Self::MacSign => "MacSign",
            Self::Verify => "Verify",
            Self::MacVerify => "MacVerify",
            Self::GetPublicKey => "GetPublicKey",
            Self::GenerateRandomBytes => "GenerateRandomBytes",
            Self::ListKeyRings => "ListKeyRings",
            Self::GetKeyRing => "GetKeyRing",
            Self::FreezeKeyRing => "FreezeKeyRing",
            Self::UnfreezeKeyRing => "UnfreezeKeyRing",
            Self::CreateKey => "CreateKey",
            Self::AdoptKey => "AdoptKey",
            Self::GetKey => "GetKey",
            Self::ListKeys => "ListKeys",
            Self::UpdateKey => "UpdateKey",
            Self::RotateKey => "RotateKey",
            Self::ListKeyVersions => "ListKeyVersions",
            Self::GetKeyVersion => "GetKeyVersion",
            Self::SuspendKeyVersion => "SuspendKeyVersion",
            Self::ResumeKeyVersion => "ResumeKeyVersion",
            Self::DeactivateKeyVersion => "DeactivateKeyVersion",
            Self::MarkKeyVersionCompromised => "MarkKeyVersionCompromised",
            Self::ScheduleKeyVersionDestruction => "ScheduleKeyVersionDestruction",
            Self::CancelKeyVersionDestruction => "CancelKeyVersionDestruction",
            Self::CreateCertificateSigningRequest => "CreateCertificateSigningRequest",
            Self::SetCertificateChain => "SetCertificateChain",
            Self::GetPolicySet => "GetPolicySet",
            Self::ApplyPolicySet => "ApplyPolicySet",
            Self::ValidatePolicySet => "ValidatePolicySet",
            Self::ExplainAuthorization => "ExplainAuthorization",
            Self::ListEffectiveAccess => "ListEffectiveAccess",
            Self::ReplayPolicySet => "ReplayPolicySet",
            Self::ListRecords => "ListRecords",
            Self::WatchRecords => "WatchRecords",
            Self::GetCheckpoint => "GetCheckpoint",
            Self::GetInclusionProof => "GetInclusionProof",
            Self::GetConsistencyProof => "GetConsistencyProof",
            Self::ListTokens => "ListTokens",
            Self::GetToken => "GetToken",
            Self::ClearPinLatch => "ClearPinLatch",
            Self::CreateCaller => "CreateCaller",
            Self::GetCaller => "GetCaller",
            Self::ListCallers => "ListCallers",
            Self::UpdateCaller => "UpdateCaller",
            Self::SuspendCaller => "SuspendCaller",
            Self::ResumeCaller => "ResumeCaller",
            Self::IssueApiKey => "IssueApiKey",
            Self::ListApiKeys => "ListApiKeys",
            Self::RotateApiKey => "RotateApiKey",
            Self::RevokeApiKey => "RevokeApiKey",
        }
    }

    /// The group that the action belongs to.
    #[must_use]
    pub const fn group(self) -> ActionGroup {
        match self {
            Self::Sign | Self::SignJwt | Self::MacSign | Self::CreateCertificateSigningRequest => ActionGroup::Signing,
            Self::Verify | Self::MacVerify | Self::GetPublicKey => ActionGroup::Verifying,
            Self::GenerateRandomBytes => ActionGroup::GeneratingRandom,
            Self::ListKeyRings
            | Self::GetKeyRing
            | Self::GetKey
            | Self::ListKeys
            | Self::ListKeyVersions
            | Self::GetKeyVersion => ActionGroup::ReadingKeys,
            Self::CreateKey
            | Self::UpdateKey
            | Self::RotateKey
            | Self::SuspendKeyVersion
            | Self::ResumeKeyVersion
            | Self::DeactivateKeyVersion
            | Self::SetCertificateChain => ActionGroup::AdministeringKeys,
            Self::AdoptKey => ActionGroup::AdoptingKeys,
            Self::FreezeKeyRing | Self::UnfreezeKeyRing => ActionGroup::FreezingKeyRings,
            Self::MarkKeyVersionCompromised => ActionGroup::ReportingCompromise,
            Self::ScheduleKeyVersionDestruction | Self::CancelKeyVersionDestruction => ActionGroup::DestroyingKeys,
            Self::GetPolicySet
            | Self::ValidatePolicySet
            | Self::ExplainAuthorization
            | Self::ListEffectiveAccess
            | Self::ReplayPolicySet => ActionGroup::ReadingPolicy,
            Self::ApplyPolicySet => ActionGroup::AdministeringPolicy,
            Self::ListRecords
            | Self::WatchRecords
            | Self::GetCheckpoint
            | Self::GetInclusionProof
            | Self::GetConsistencyProof => ActionGroup::Auditing,
            Self::ListTokens | Self::GetToken => ActionGroup::ReadingTokens,
            Self::ClearPinLatch => ActionGroup::AdministeringTokens,
            Self::GetCaller | Self::ListCallers | Self::ListApiKeys => ActionGroup::ReadingCallers,
            Self::IssueApiKey | Self::RotateApiKey | Self::RevokeApiKey => ActionGroup::AdministeringApiKeys,
            Self::CreateCaller | Self::UpdateCaller | Self::SuspendCaller | Self::ResumeCaller => {
                ActionGroup::AdministeringCallers
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown action {0:?}; actions are named as the API's methods are, for example Sign or CreateKey")]
pub struct UnknownAction(pub String);

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|action| action.as_str() == word).ok_or_else(|| UnknownAction(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_parses_back_to_its_action() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
    }
}
