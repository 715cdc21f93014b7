//! What is told of a token that does not serve, in its health and at `/readyz`. The full reason, with return codes and
//! paths, is in the service's log only.

use chancery_hsm::HsmErrorKind;

/// What happened to the token, and what to do.
pub(super) const fn token_reason(kind: HsmErrorKind) -> &'static str {
    match kind {
        HsmErrorKind::PinLatched => {
            "the token refused its PIN, so nothing is tried on it any more; put the PIN right, remove the latch file that \
             the service's log names, and start the service again"
        }
        HsmErrorKind::TokenAbsent => {
            "the token is not there, or another process holds it; see that it is connected and that nothing else uses it; \
             it is tried again and again"
        }
        HsmErrorKind::Module => {
            "the token's PKCS#11 module cannot be loaded or does not work; see that it is installed and that its own \
             settings are right; the service's log has the cause, and the token is tried again and again"
        }
        HsmErrorKind::Configuration => {
            "the token cannot be used as it is configured; the service's log says which setting to correct"
        }
        HsmErrorKind::Session | HsmErrorKind::LoginLost => {
            "the token does not keep its session or its login; the service's log has the cause, and the token is tried \
             again and again"
        }
        HsmErrorKind::Capacity => {
            "the token has no session left for the service; end what else uses it, or lower its number of signing threads; \
             it is tried again and again"
        }
        HsmErrorKind::Memory | HsmErrorKind::Overloaded => {
            "the token or the machine has no room for the token's work; give it some; it is tried again and again"
        }
        HsmErrorKind::Deadline | HsmErrorKind::WorkerLost | HsmErrorKind::OutcomeUnknown => {
            "the token's worker process ended or did not answer in time; the service's log has the cause, and the token \
             is tried again and again"
        }
        HsmErrorKind::Stopping => "the service has let go of the token, because it is stopping; start it again",
        HsmErrorKind::KeyNotFound
        | HsmErrorKind::KeyAmbiguous
        | HsmErrorKind::InputLength
        | HsmErrorKind::WrongSignature
        | HsmErrorKind::Bug => {
            "the token could not be taken, for a cause that should not occur; the service's log has it, and the token is \
             tried again and again"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_what_to_do_without_codes_or_paths() {
        for kind in HsmErrorKind::ALL {
            let reason = token_reason(kind);
            assert!(reason.contains(';'), "what happened; what to do: {reason}");
            for detail in ["CKR_", "C_", "0x", "/"] {
                assert!(!reason.contains(detail), "{detail} in {reason}");
            }
        }
        assert!(token_reason(HsmErrorKind::PinLatched).contains("latch file"));
    }
}
