//! The one map from what went wrong to what a caller is told.
//!
//! A caller gets a code, a stable reason (`ErrorInfo`, domain `chancery`), the resource where there is one, what to do
//! next, and how long to wait where a retry may help. What is only ours to know (return codes, paths, the state of the
//! record) goes to the log: [`log`].

mod device;
mod evidence;
mod health;
mod limits;
mod map;
mod refusal;

pub(crate) use refusal::Refusal;

use crate::identity::Unidentified;
use chancery_core::Error;
use chancery_hsm::{HealthCause, HsmFailure};
use chancery_model::Id;
use tonic::{Code, Status};

/// What a caller is told of an error.
pub(crate) fn refusal(error: &Error) -> Refusal {
    map::refusal(error)
}

/// The same as a gRPC status.
#[cfg(test)]
pub(crate) fn status(error: &Error) -> Status {
    map::refusal(error).into_status()
}

/// Why a token does not serve, for whoever looks at its health.
pub(crate) const fn token_reason(cause: HealthCause) -> &'static str {
    health::token_reason(cause)
}

/// A call without a registered caller, or of one that is not let in.
pub(crate) fn unauthenticated(unidentified: &Unidentified) -> Status {
    let reason = unidentified.told().to_ascii_uppercase();
    // Who is suspended is known, and may come again as often as they like: PERMISSION_DENIED is no reason to look for
    // another credential.
    let code = match unidentified {
        Unidentified::Suspended(_) | Unidentified::ApiKeySource(_) => Code::PermissionDenied,
        // A retry helps as soon as the token, or the issuer, is there again.
        Unidentified::ApiKeysUnavailable | Unidentified::OidcKeysUnavailable => Code::Unavailable,
        Unidentified::NoCertificate
        | Unidentified::Unreadable
        | Unidentified::NoIdentity(_)
        | Unidentified::SeveralIdentities(_)
        | Unidentified::MalformedIdentity { .. }
        | Unidentified::NotYetValid
        | Unidentified::Expired
        | Unidentified::Untrusted
        | Unidentified::Revoked
        | Unidentified::CrlStale
        | Unidentified::RevocationUnknown
        | Unidentified::AmbiguousAuthority
        | Unidentified::Unregistered(_)
        | Unidentified::FactorMissing { .. }
        | Unidentified::Authorization
        | Unidentified::ApiKeyMalformed(_)
        | Unidentified::ApiKeyUnknown
        | Unidentified::ApiKeyExpired
        | Unidentified::ApiKeyRevoked
        | Unidentified::OidcToken(_)
        | Unidentified::NoLongerTheirs(_)
        | Unidentified::AnotherCaller(_) => Code::Unauthenticated,
    };
    let refusal = Refusal::new(code, reason, unidentified.to_string());
    let refusal = if code == Code::Unavailable { refusal.retry_soon() } else { refusal };
    refusal.into_status()
}

/// One call too many of one caller.
pub(crate) fn caller_limit(caller: &Id, limit: usize) -> Refusal {
    let message = format!(
        "callers/{caller} has {limit} calls under way, which is the limit for one caller; wait for some to end, and send \
         many small inputs with BatchSign"
    );
    Refusal::new(Code::ResourceExhausted, "CALLER_LIMIT", message)
        .with("resource", format!("callers/{caller}"))
        .retry_soon()
}

/// One stream too many of one caller.
pub(crate) fn stream_limit(caller: &Id, limit: usize) -> Refusal {
    let message = format!(
        "callers/{caller} has {limit} open stream{s}, which is the limit for one caller; use those that are open, or end one",
        s = if limit == 1 { "" } else { "s" }
    );
    Refusal::new(Code::ResourceExhausted, "CALLER_LIMIT", message)
        .with("resource", format!("callers/{caller}"))
        .retry_soon()
}

/// One call of the health service too many on one connection.
pub(crate) fn health_limit(limit: usize) -> Refusal {
    let message = format!(
        "this connection has {limit} calls of the health service under way, open watches among them, which is the limit for \
         one; use those that are open, or end one"
    );
    Refusal::new(Code::ResourceExhausted, "HEALTH_LIMIT", message).retry_soon()
}

/// A stream that ends because its connection does.
pub(crate) fn connection_ends() -> Refusal {
    let message = "the service ends this connection, because it stops or the connection is old; what was read of the stream \
                   has been answered: connect again, and open another one for the rest";
    Refusal::new(Code::Unavailable, "CONNECTION_ENDS", message).retry_soon()
}

/// A fault of ours, with what happened for the log.
pub(crate) fn fault(what: &str) -> Error {
    Error::Internal { what: what.to_owned() }
}

/// Tells the log what a caller is not told. What a caller did wrong is no matter for the log: it was told everything.
pub(crate) fn log(error: &Error) {
    write(error, None);
}

/// The same for the items of a batch, all at once: what went wrong in the same way is said once, with how often it did.
pub(crate) fn log_items<'a>(errors: impl Iterator<Item = &'a Error>) {
    for (error, items) in alike(errors) {
        write(error, Some(items));
    }
}

/// The first error of each kind that the log is told of apart, and how many there are.
fn alike<'a>(errors: impl Iterator<Item = &'a Error>) -> Vec<(&'a Error, usize)> {
    let mut kinds: Vec<(&Error, usize)> = Vec::new();
    for error in errors {
        match kinds.iter_mut().find(|(first, _)| are_alike(first, error)) {
            Some((_, items)) => *items += 1,
            None => kinds.push((error, 1)),
        }
    }
    kinds
}

fn are_alike(one: &Error, other: &Error) -> bool {
    match (one, other) {
        (Error::Device { failure, token, .. }, Error::Device { failure: other_failure, token: other_token, .. }) => {
            let of = |failure: &HsmFailure| (failure.kind, failure.function, failure.return_code);
            token == other_token && of(failure) == of(other_failure)
        }
        (Error::Internal { what }, Error::Internal { what: other }) => what == other,
        // Of these the log is told nothing that differs from one to the next.
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn write(error: &Error, items: Option<usize>) {
    match error {
        Error::Device { failure, operation, token } => tracing::warn!(
            %operation, %token, kind = %failure.kind, function = failure.function, return_code = failure.return_code,
            attempts = failure.attempts, items, "the token failed: {failure}"
        ),
        Error::TokenStillLatched { token, why } => tracing::warn!(%token, "the PIN latch stays closed: {why}"),
        // The record has said so once, as an error, when it closed.
        Error::RecordClosed { reason } => {
            tracing::debug!(reason, items, "refused, because the record cannot be written")
        }
        Error::ArchiveUnreadable { index, why } => {
            tracing::warn!(record = index, why, items, "the leaf of an old record is not to be had")
        }
        // Said once, as an error, when it was seen first.
        Error::LogDamaged { what } => tracing::debug!(what, "refused, because the log is damaged"),
        Error::Internal { what } => tracing::error!(what, items, "a fault of ours"),
        Error::AccessDenied { .. }
        | Error::CallerSignature { .. }
        | Error::NoAudience
        | Error::CallerSignaturesNotYet { .. }
        | Error::TooManyCallerSignatures
        | Error::CallerSuspended { .. }
        | Error::CredentialRefused { .. }
        | Error::CallerExists { .. }
        | Error::ApiKeyShown { .. }
        | Error::ApiKeyOver { .. }
        | Error::TooManyApiKeys { .. }
        | Error::NoSystemRing
        | Error::LogGap
        | Error::LogNotSigned
        | Error::NoCheckpoint
        | Error::BeyondLog { .. }
        | Error::CallerLockout { .. }
        | Error::InvalidField { .. }
        | Error::WrongPurpose { .. }
        | Error::KeyRingFrozen { .. }
        | Error::NotAdoptable { .. }
        | Error::KeyExtractable { .. }
        | Error::ObjectTaken { .. }
        | Error::DigestNotAllowed { .. }
        | Error::NotInJose { .. }
        | Error::NotInX509 { .. }
        | Error::NotActive { .. }
        | Error::NoPrimary { .. }
        | Error::WrongState { .. }
        | Error::DeletionProtected { .. }
        | Error::DestructionBegun { .. }
        | Error::UsageLimit { .. }
        | Error::RateLimit { .. }
        | Error::ConcurrencyLimit { .. }
        | Error::AlreadyExists { .. }
        | Error::NotFound { .. }
        | Error::BeyondRecord { .. }
        | Error::RequestIdReused { .. }
        | Error::EtagMismatch { .. }
        | Error::AlgorithmNotOffered(_)
        | Error::PolicyInvalid(_)
        | Error::PolicyLockout
        | Error::StateChanging
        | Error::StateUnchecked
        | Error::Overloaded
        | Error::TokenNotLatched { .. }
        | Error::DeadlineExceeded { .. } => {}
    }
}

#[cfg(test)]
mod tests;
