//! What a caller is told when a token did not do what it was asked. Which PKCS#11 code led to which kind is in the hsm
//! crate's table; from here on no code is left, and none is to come back.

use super::Refusal;
use chancery_hsm::{ClearLatchError, HsmErrorKind};
use chancery_model::{Action, Id};
use tonic::Code;

pub(super) fn refusal(operation: Action, token: &Id, kind: HsmErrorKind) -> Refusal {
    let refusal = |code, reason: &'static str, message: String| {
        Refusal::new(code, reason, message).with("resource", format!("tokens/{token}")).with("action", operation)
    };
    let makes_a_key = matches!(operation, Action::CreateKey | Action::RotateKey);
    match kind {
        HsmErrorKind::OutcomeUnknown | HsmErrorKind::WorkerLost => outcome_unknown(operation, token, refusal),
        // In the middle of a generation these, too, leave open whether there is a key.
        HsmErrorKind::Session
        | HsmErrorKind::LoginLost
        | HsmErrorKind::Module
        | HsmErrorKind::Memory
        | HsmErrorKind::Deadline
            if makes_a_key =>
        {
            outcome_unknown(operation, token, refusal)
        }
        HsmErrorKind::Session
        | HsmErrorKind::LoginLost
        | HsmErrorKind::TokenAbsent
        | HsmErrorKind::Module
        | HsmErrorKind::Stopping => {
            let message = format!("{operation} failed, because tokens/{token} does not answer now; try again soon");
            refusal(Code::Unavailable, "TOKEN_UNAVAILABLE", message).retry_soon()
        }
        HsmErrorKind::PinLatched => {
            let message = format!(
                "{operation} failed, because tokens/{token} refused its PIN; nothing is tried on it until the operator has \
                 put that right"
            );
            refusal(Code::Unavailable, "TOKEN_LATCHED", message)
        }
        HsmErrorKind::Capacity | HsmErrorKind::Memory => {
            let message = format!(
                "{operation} failed, because tokens/{token} has no room for it now; try again, with fewer at once"
            );
            refusal(Code::ResourceExhausted, "TOKEN_AT_CAPACITY", message).retry_soon()
        }
        HsmErrorKind::Overloaded => {
            let message = format!("too many calls wait for tokens/{token} already; try again, with fewer at once");
            refusal(Code::ResourceExhausted, "OVERLOADED", message).retry_soon()
        }
        HsmErrorKind::KeyNotFound => {
            let message = format!(
                "tokens/{token} does not hold this key version any more; rotate the key, and let the operator find out \
                 why it is gone"
            );
            refusal(Code::FailedPrecondition, "KEY_NOT_IN_TOKEN", message)
        }
        HsmErrorKind::KeyAmbiguous => {
            let message = format!(
                "tokens/{token} holds more than one key with this version's id, so none is used; the operator must remove \
                 the one that is not ours"
            );
            refusal(Code::Internal, "KEY_AMBIGUOUS_IN_TOKEN", message)
        }
        HsmErrorKind::Configuration => {
            let message = format!(
                "tokens/{token} cannot do {operation} with this key, however often it is asked; the operator finds the \
                 cause in the log"
            );
            refusal(Code::FailedPrecondition, "TOKEN_CANNOT", message)
        }
        HsmErrorKind::InputLength => {
            let description = "the token does not take an input of this length for the key's algorithm";
            Refusal::new(Code::InvalidArgument, "INVALID_FIELD", format!("input: {description}"))
                .violation("input", description)
        }
        HsmErrorKind::Deadline => {
            let message = format!(
                "tokens/{token} did not answer before the deadline; no signature was handed out, and the record says what \
                 is known"
            );
            refusal(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message)
        }
        HsmErrorKind::WrongSignature => {
            let message = format!(
                "tokens/{token} made a signature that does not verify, so it was thrown away; the operator finds the \
                 cause in the log"
            );
            refusal(Code::Internal, "TOKEN_SIGNATURE_WRONG", message)
        }
        HsmErrorKind::Bug => {
            let message = format!(
                "{operation} failed in tokens/{token}; the operator finds the cause in the log, by the trace id"
            );
            refusal(Code::Internal, "INTERNAL", message)
        }
    }
}

/// A PIN latch that stays closed. Never of a kind that clients repeat by themselves: each repetition could be one wrong PIN
/// more.
pub(super) fn still_latched(token: &Id, why: &ClearLatchError) -> Refusal {
    let what = match why {
        ClearLatchError::NotLatched => "is not latched by now, and no login was tried; see its state",
        ClearLatchError::Pin(_) => {
            "stays latched, and no login was tried: its PIN file cannot be used; the operator finds the cause in the log, \
             puts the file right, and clears the latch again"
        }
        ClearLatchError::Failed(failure) if failure.kind == HsmErrorKind::PinLatched => {
            "refused the PIN again, and stays latched; compare the PIN file with the token before you clear the latch once \
             more: after some wrong PINs a token locks for good"
        }
        ClearLatchError::Failed(_) => {
            "stays latched: it did not get as far as a login, or failed in it; the operator finds the cause in the log, \
             mends it, and clears the latch again"
        }
    };
    Refusal::new(Code::FailedPrecondition, "TOKEN_LATCHED", format!("tokens/{token} {what}"))
        .with("resource", format!("tokens/{token}"))
        .with("action", Action::ClearPinLatch)
}

/// A signature may be asked for again: it changes nothing. A key that may or may not have been made is first looked for
/// (with the same request id), so that clients do not retry by themselves.
fn outcome_unknown(operation: Action, token: &Id, refusal: impl Fn(Code, &'static str, String) -> Refusal) -> Refusal {
    const REASON: &str = "TOKEN_OUTCOME_UNKNOWN";
    if matches!(operation, Action::CreateKey | Action::RotateKey) {
        let message = format!(
            "tokens/{token} failed in the middle of {operation}, and may or may not have made the key; what it left is \
             swept up, so repeat the call with the same request_id"
        );
        return refusal(Code::Aborted, REASON, message);
    }
    let message = format!("tokens/{token} failed in the middle of {operation}; no signature was handed out, try again");
    refusal(Code::Unavailable, REASON, message).retry_soon()
}
