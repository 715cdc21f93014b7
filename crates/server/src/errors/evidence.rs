//! What callers are told of their own signatures of requests.

use super::Refusal;
use chancery_core::EvidenceFault;
use chancery_crypto::CALLER_KEYS;
use chancery_model::Action;
use std::time::Duration;
use tonic::Code;

/// The least that is waited for.
const AT_LEAST: Duration = Duration::from_millis(50);

pub(super) fn refusal(action: Action, resource: &str, fault: &EvidenceFault) -> Refusal {
    let (reason, message) = match fault {
        EvidenceFault::Required => (
            "CALLER_SIGNATURE_REQUIRED",
            format!(
                "{resource} signs only what its caller has signed, too, with the key of its client certificate, and this \
                 request has no caller_signature; see docs/caller-evidence.md (chancery sign --caller-signature)"
            ),
        ),
        EvidenceFault::NoCertificate => (
            "CALLER_SIGNATURE_OTHER_CERTIFICATE",
            "the request has a caller_signature, and its connection no client certificate by whose key it could be checked; \
             connect with the certificate whose key signs, or leave caller_signature away"
                .to_owned(),
        ),
        EvidenceFault::OtherCertificate => (
            "CALLER_SIGNATURE_OTHER_CERTIFICATE",
            "caller_signature.certificate_sha256 is not the SHA-256 of the client certificate (DER) of this connection; sign \
             with the key of the certificate that the connection was made with"
                .to_owned(),
        ),
        EvidenceFault::Unusable(why) => (
            "CALLER_SIGNATURE_INVALID",
            format!("the caller_signature cannot be checked: {why}; requests are signed by keys of {CALLER_KEYS}"),
        ),
        EvidenceFault::Invalid { audience, hash, algorithm } => {
            let digest = hash.map(|hash| format!(", with the {hash} digest of what is signed")).unwrap_or_default();
            let message = format!(
                "caller_signature is not a signature ({algorithm}) by the client certificate's key over this request, for the \
                 audience {audience}, the method {action} and the name {resource}{digest}; docs/caller-evidence.md has the \
                 bytes that are signed, with test vectors"
            );
            ("CALLER_SIGNATURE_INVALID", message)
        }
        EvidenceFault::Stale => (
            "CALLER_SIGNATURE_STALE",
            "caller_signature.create_time is more than 60 seconds old, or more than 5 seconds ahead of the service's time; \
             check this machine's clock, and sign the request again"
                .to_owned(),
        ),
        EvidenceFault::Replayed => (
            "CALLER_SIGNATURE_REPLAYED",
            "this caller_signature was used before, and each is good once; sign the request again, with a new nonce"
                .to_owned(),
        ),
    };
    Refusal::new(Code::PermissionDenied, reason, message).with("action", action).with("resource", resource)
}

pub(super) fn not_taken() -> Refusal {
    let message = "this service takes no signatures of callers, because its configuration names no audience for them; the \
                   operator can give it one ([caller_signatures], docs/caller-evidence.md)";
    Refusal::new(Code::FailedPrecondition, "CALLER_SIGNATURES_NOT_TAKEN", message)
}

pub(super) fn not_yet(retry_after: Duration) -> Refusal {
    let message = "the service was started a moment ago, or after its clock was set back, and cannot know whether a \
                   caller_signature of this time was used before; sign the request again when the time in RetryInfo is over";
    Refusal::new(Code::Unavailable, "CALLER_SIGNATURES_NOT_YET", message).retry_after(retry_after.max(AT_LEAST))
}

pub(super) fn too_many() -> Refusal {
    let message = "so many signatures of callers came in the last minute that no more can be told from replayed ones; \
                   sign less often, or try again with a new signature";
    Refusal::new(Code::ResourceExhausted, "CALLER_SIGNATURES_EXHAUSTED", message).retry_soon()
}
