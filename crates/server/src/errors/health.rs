//! What is told of a token that is not up, in its health and at `/readyz`. The full reason, with return codes and paths, is in
//! the service's log only.

use chancery_hsm::HealthCause;

/// What happened to the token, and what to do.
pub(super) const fn token_reason(cause: HealthCause) -> &'static str {
    match cause {
        HealthCause::CallsFail => {
            "several calls have failed in the token lately; it goes on signing; the service's log has the return codes, and the \
             device's own log what it makes of them"
        }
        HealthCause::FewerLanes => {
            "the token gives fewer sessions than it was asked for, so fewer calls are signed side by side; end what else uses \
             it, or ask for fewer signing threads; lanes without a session ask again by themselves"
        }
        HealthCause::WorkerNearLimit => {
            "the token's worker is near the memory or the threads that it may use, or above them and was replaced a moment ago; \
             its module may leak, or need more: raise max_worker_memory_bytes then"
        }
        HealthCause::KeysCannotBeMade => {
            "the token makes no keys, although it lists mechanisms for it; it signs with those that there are; look for a write \
             protection, a full memory, or a policy in the device"
        }
        HealthCause::WorkerEnded => {
            "the token's worker process ended; the next one is on its way, and calls wait for it; if it goes on, the module \
             crashes: the service's log says how"
        }
        HealthCause::WorkerHung => {
            "the token's PKCS#11 module did not come back from a call, so its worker is replaced; calls wait for the next one; \
             if it goes on, look at the device and the network to it"
        }
        HealthCause::WorkerOverLimit => {
            "the token's worker used more memory or threads than it may, so it is replaced; calls wait for the next one; if it \
             goes on, the module leaks, or needs more: raise max_worker_memory_bytes then"
        }
        HealthCause::LatchCleared => {
            "an operator has cleared the token's PIN latch; one login is tried, and calls wait for it"
        }
        HealthCause::TokenFailed => {
            "the token failed, or keeps neither session nor login; the service's log has the cause, and the token is tried again \
             and again"
        }
        HealthCause::TokenAbsent => {
            "the token is not there; see that it is connected and reached, and that the module's own settings name it; it is \
             tried again and again"
        }
        HealthCause::OtherToken => {
            "in the token's place is another one, with its label and another serial number, which is not taken; put the right one \
             back, or correct the serial in the configuration and start the service again"
        }
        HealthCause::TokenInUse => {
            "another process holds the token; end it, or give each its own token; it is tried again and again"
        }
        HealthCause::ModuleNotLoadable => {
            "the token's PKCS#11 module cannot be loaded; see that it is installed, with all that it needs; it is tried again \
             and again"
        }
        HealthCause::ModuleFailed => {
            "the token's PKCS#11 module does not start or does not come back; see that its own settings are right and that it \
             reaches its device; the service's log has the cause, and the token is tried again and again"
        }
        HealthCause::NoSessions => {
            "the token has no session left for the service; end what else uses it, or lower its number of signing threads; \
             it is tried again and again"
        }
        HealthCause::Misconfigured => {
            "the token cannot be used as it is configured; the service's log says which setting to correct"
        }
        HealthCause::PinRefused => {
            "the token refused its PIN, so nothing is tried on it any more; put the PIN file right, and then have one login tried \
             with ClearPinLatch (chancery token clear-pin-latch)"
        }
        HealthCause::Stopping => "the service has let go of the token, because it is stopping; start it again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_what_to_do_without_codes_or_paths() {
        for cause in HealthCause::ALL {
            let reason = token_reason(cause);
            assert!(reason.contains(';'), "what happened; what to do: {reason}");
            for detail in ["CKR_", "C_", "0x", "/"] {
                assert!(!reason.contains(detail), "{detail} in {reason}");
            }
        }
        assert!(token_reason(HealthCause::PinRefused).contains("clear-pin-latch"));
    }
}
