//! TokenService.

use super::enums::algorithm_number;
use super::fields::{id_in, reason};
use super::page::PageOf;
use crate::errors::token_reason;
use chancery_api::v1;
use chancery_core::{Error, TokenView};
use chancery_hsm::{HealthCause, TokenHealth, TokenState, TokenStatus};
use chancery_model::Id;
use std::time::SystemTime;

pub(crate) fn list_tokens_request(request: v1::ListTokensRequest) -> Result<PageOf, Error> {
    let v1::ListTokensRequest { page_size, page_token } = request;
    PageOf::parse("ListTokens", page_size, &page_token)
}

pub(crate) fn get_token_request(request: v1::GetTokenRequest) -> Result<Id, Error> {
    let v1::GetTokenRequest { name } = request;
    id_in("name", &name, "tokens", "the token id")
}

pub(crate) fn clear_pin_latch_request(request: v1::ClearPinLatchRequest) -> Result<(Id, String), Error> {
    let v1::ClearPinLatchRequest { name, reason: why } = request;
    Ok((id_in("name", &name, "tokens", "the token id")?, reason(why)?))
}

pub(crate) fn token(view: TokenView) -> v1::Token {
    let TokenView { status, rings } = view;
    let TokenStatus {
        id,
        label,
        serial,
        manufacturer,
        model,
        firmware_version,
        hardware_version,
        health,
        next_attempt,
        worker_pid,
        restarts,
        replacements_held_back,
        worker_memory_bytes,
        worker_memory_limit_bytes,
        worker_threads,
        sessions_open,
        sessions_max,
        mechanisms,
        algorithms,
        signing_threads,
        signing_threads_configured,
        in_flight,
        queued,
    } = status;
    let TokenHealth { state, cause, detail: _, since } = health;
    v1::Token {
        name: format!("tokens/{id}"),
        label,
        serial,
        manufacturer,
        model,
        firmware_version,
        hardware_version,
        health: state_number(state).into(),
        health_reason: cause.map(token_reason).unwrap_or_default().to_owned(),
        open_sessions: count(sessions_open),
        max_sessions: sessions_max.map_or(0, count),
        signing_threads: count(signing_threads),
        in_flight: count(in_flight),
        queued: count(queued),
        worker_restarts: count(restarts),
        worker_pid: worker_pid.unwrap_or(0),
        mechanisms,
        algorithms: algorithms.into_iter().map(algorithm_number).collect(),
        key_rings: rings.iter().map(ToString::to_string).collect(),
        health_cause: cause.map_or(v1::TokenHealthCause::Unspecified, cause_number).into(),
        health_change_time: Some(timestamp(since)),
        next_attempt_time: next_attempt.map(timestamp),
        configured_signing_threads: count(signing_threads_configured),
        worker_memory_bytes: worker_memory_bytes.unwrap_or(0),
        worker_memory_limit_bytes,
        worker_threads: worker_threads.unwrap_or(0),
        replacements_held_back: count(replacements_held_back),
    }
}

const fn state_number(state: TokenState) -> v1::TokenHealth {
    match state {
        TokenState::Starting => v1::TokenHealth::Starting,
        TokenState::Up => v1::TokenHealth::Up,
        TokenState::Degraded => v1::TokenHealth::Degraded,
        TokenState::Recovering => v1::TokenHealth::Recovering,
        TokenState::Down => v1::TokenHealth::Down,
        TokenState::Latched => v1::TokenHealth::Latched,
    }
}

const fn cause_number(cause: HealthCause) -> v1::TokenHealthCause {
    match cause {
        HealthCause::CallsFail => v1::TokenHealthCause::CallsFail,
        HealthCause::FewerLanes => v1::TokenHealthCause::FewerLanes,
        HealthCause::WorkerNearLimit => v1::TokenHealthCause::WorkerNearLimit,
        HealthCause::KeysCannotBeMade => v1::TokenHealthCause::KeysCannotBeMade,
        HealthCause::WorkerEnded => v1::TokenHealthCause::WorkerEnded,
        HealthCause::WorkerHung => v1::TokenHealthCause::WorkerHung,
        HealthCause::WorkerOverLimit => v1::TokenHealthCause::WorkerOverLimit,
        HealthCause::LatchCleared => v1::TokenHealthCause::LatchCleared,
        HealthCause::TokenFailed => v1::TokenHealthCause::TokenFailed,
        HealthCause::TokenAbsent => v1::TokenHealthCause::TokenAbsent,
        HealthCause::OtherToken => v1::TokenHealthCause::OtherToken,
        HealthCause::TokenInUse => v1::TokenHealthCause::TokenInUse,
        HealthCause::ModuleNotLoadable => v1::TokenHealthCause::ModuleNotLoadable,
        HealthCause::ModuleFailed => v1::TokenHealthCause::ModuleFailed,
        HealthCause::NoSessions => v1::TokenHealthCause::NoSessions,
        HealthCause::Misconfigured => v1::TokenHealthCause::Misconfigured,
        HealthCause::PinRefused => v1::TokenHealthCause::PinRefused,
        HealthCause::Stopping => v1::TokenHealthCause::Stopping,
    }
}

fn timestamp(time: SystemTime) -> prost_types::Timestamp {
    // Of these messages the runtime's own conversion is the whole story.
    prost_types::Timestamp::from(time)
}

/// A count, as the API writes it; one that does not fit is as good as the largest.
fn count(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    #[test]
    fn a_tokens_name_has_two_segments() {
        let get = |name: &str| get_token_request(v1::GetTokenRequest { name: name.to_owned() });
        assert_eq!(get("tokens/main").unwrap().as_str(), "main");
        for name in ["", "main", "tokens", "tokens/", "tokens/Main", "tokens/a/b", "tokensmain", "keyRings/main"] {
            assert_eq!(violation(get(name).unwrap_err()).0, "name", "{name:?}");
        }
    }

    #[test]
    fn each_state_and_each_cause_is_told_as_what_it_is() {
        let named = |prefix: &str, name: &str| format!("{prefix}{}", name.to_ascii_uppercase().replace('-', "_"));
        for state in TokenState::ALL {
            assert_eq!(state_number(state).as_str_name(), named("TOKEN_HEALTH_", state.as_str()));
        }
        for cause in HealthCause::ALL {
            assert_eq!(cause_number(cause).as_str_name(), named("TOKEN_HEALTH_CAUSE_", cause.as_str()));
        }
    }

    #[test]
    fn a_token_that_is_not_up_says_why() {
        let status = TokenStatus {
            id: Id::parse("the token id", "main").unwrap(),
            label: "soft".to_owned(),
            serial: "1".to_owned(),
            manufacturer: String::new(),
            model: String::new(),
            firmware_version: "2.6".to_owned(),
            hardware_version: "2.6".to_owned(),
            health: TokenHealth::now(
                TokenState::Latched,
                Some(HealthCause::PinRefused),
                "C_Login returned 0xa0; /var/lib/chancery/latch",
            ),
            next_attempt: None,
            worker_pid: None,
            restarts: 1 << 40,
            replacements_held_back: 0,
            worker_memory_bytes: None,
            worker_memory_limit_bytes: 1 << 30,
            worker_threads: None,
            sessions_open: 3,
            sessions_max: None,
            mechanisms: vec!["CKM_ECDSA".to_owned()],
            algorithms: vec![chancery_model::Algorithm::EcdsaP256Sha256],
            signing_threads: 0,
            signing_threads_configured: 2,
            in_flight: 1,
            queued: 0,
        };
        let token = token(TokenView { status, rings: vec!["keyRings/dev".parse().unwrap()] });
        assert_eq!(token.health(), v1::TokenHealth::Latched);
        assert_eq!(token.health_cause(), v1::TokenHealthCause::PinRefused);
        assert_eq!(token.health_reason, token_reason(HealthCause::PinRefused), "and not the reason for the log");
        assert!(token.health_change_time.is_some() && token.next_attempt_time.is_none());
        assert_eq!((token.worker_restarts, token.worker_pid, token.max_sessions), (u32::MAX, 0, 0));
        assert_eq!(
            (token.name.as_str(), token.key_rings.as_slice()),
            ("tokens/main", ["keyRings/dev".to_owned()].as_slice())
        );
    }
}
