//! Why a token is not accepted.

/// Why a token is not accepted. For the service's record and metrics: whoever sent it learns no more than that it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Refused {
    /// Not a JWS in the compact serialization whose header and payload are JSON objects.
    #[error("it is no signed JWT")]
    Malformed,
    /// Longer than any that is looked at.
    #[error("it is too long")]
    TooLong,
    /// Signed by an algorithm that is not allowed, `none` and MACs among them.
    #[error("its algorithm is not allowed")]
    Algorithm,
    /// A header with `crit`: something must be understood that nobody here does.
    #[error("its header has crit")]
    Critical,
    /// Another `typ` than configured.
    #[error("its typ is not the configured one")]
    Type,
    /// Of an issuer that is not configured.
    #[error("its issuer is not configured")]
    Issuer,
    /// No key set of its issuer is there, or it is too old.
    #[error("there is no key set of its issuer that is fresh enough")]
    KeysUnavailable,
    /// Its key is not in its issuer's key set, or not for its algorithm; or it names none and there are several.
    #[error("its key is not in its issuer's key set")]
    UnknownKey,
    /// The signature does not hold.
    #[error("its signature does not hold")]
    Signature,
    /// For somebody else.
    #[error("it is not for the configured audience")]
    Audience,
    /// A claim that the configuration requires is missing, or has another value.
    #[error("a claim that the configuration requires is missing, or has another value")]
    RequiredClaim,
    /// A claim that is needed is missing or malformed.
    #[error("a claim that is needed is missing or malformed")]
    Claims,
    /// No longer valid.
    #[error("it has expired")]
    Expired,
    /// Not valid yet, or issued in the future.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Issued for a longer time than configured.
    #[error("it was issued for longer than is allowed")]
    Lifetime,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::Malformed,
        Self::TooLong,
        Self::Algorithm,
        Self::Critical,
        Self::Type,
        Self::Issuer,
        Self::KeysUnavailable,
        Self::UnknownKey,
        Self::Signature,
        Self::Audience,
        Self::RequiredClaim,
        Self::Claims,
        Self::Expired,
        Self::NotYetValid,
        Self::Lifetime,
    ];

    /// A word for record and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "oidc_token_malformed",
            Self::TooLong => "oidc_token_too_long",
            Self::Algorithm => "oidc_token_algorithm",
            Self::Critical => "oidc_token_critical_header",
            Self::Type => "oidc_token_type",
            Self::Issuer => "oidc_token_issuer",
            Self::KeysUnavailable => "oidc_token_keys_unavailable",
            Self::UnknownKey => "oidc_token_key_unknown",
            Self::Signature => "oidc_token_signature",
            Self::Audience => "oidc_token_audience",
            Self::RequiredClaim => "oidc_token_required_claim",
            Self::Claims => "oidc_token_claims",
            Self::Expired => "oidc_token_expired",
            Self::NotYetValid => "oidc_token_not_yet_valid",
            Self::Lifetime => "oidc_token_lifetime",
        }
    }
}
