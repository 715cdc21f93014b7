//! TokenService.

use super::enums::algorithm_number;
use super::fields::id_in;
use super::page::PageOf;
use crate::errors::token_reason;
use chancery_api::v1;
use chancery_core::{Error, TokenView};
use chancery_hsm::{TokenHealth, TokenStatus};
use chancery_model::Id;

pub(crate) fn list_tokens_request(request: v1::ListTokensRequest) -> Result<PageOf, Error> {
    let v1::ListTokensRequest { page_size, page_token } = request;
    PageOf::parse("ListTokens", page_size, &page_token)
}

pub(crate) fn get_token_request(request: v1::GetTokenRequest) -> Result<Id, Error> {
    let v1::GetTokenRequest { name } = request;
    id_in("name", &name, "tokens", "the token id")
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
        worker_pid,
        restarts,
        sessions_open,
        sessions_max,
        mechanisms,
        algorithms,
        signing_threads,
        in_flight,
        queued,
    } = status;
    let (health, health_reason) = match health {
        TokenHealth::Starting => (v1::TokenHealth::Starting, ""),
        TokenHealth::Up => (v1::TokenHealth::Up, ""),
        TokenHealth::Down { kind, reason: _ } => (v1::TokenHealth::Down, token_reason(kind)),
        TokenHealth::Latched { kind, reason: _ } => (v1::TokenHealth::Latched, token_reason(kind)),
    };
    v1::Token {
        name: format!("tokens/{id}"),
        label,
        serial,
        manufacturer,
        model,
        firmware_version,
        hardware_version,
        health: health.into(),
        health_reason: health_reason.to_owned(),
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
    }
}

/// A count, as the API writes it; one that does not fit is as good as the largest.
fn count(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;
    use chancery_hsm::HsmErrorKind;

    #[test]
    fn a_tokens_name_has_two_segments() {
        let get = |name: &str| get_token_request(v1::GetTokenRequest { name: name.to_owned() });
        assert_eq!(get("tokens/main").unwrap().as_str(), "main");
        for name in ["", "main", "tokens", "tokens/", "tokens/Main", "tokens/a/b", "tokensmain", "keyRings/main"] {
            assert_eq!(violation(get(name).unwrap_err()).0, "name", "{name:?}");
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
            health: TokenHealth::Latched {
                kind: HsmErrorKind::PinLatched,
                reason: "C_Login returned 0xa0; remove /var/lib/chancery/latch".to_owned(),
            },
            worker_pid: None,
            restarts: 1 << 40,
            sessions_open: 3,
            sessions_max: None,
            mechanisms: vec!["CKM_ECDSA".to_owned()],
            algorithms: vec![chancery_model::Algorithm::EcdsaP256Sha256],
            signing_threads: 2,
            in_flight: 1,
            queued: 0,
        };
        let token = token(TokenView { status, rings: vec!["keyRings/dev".parse().unwrap()] });
        assert_eq!(token.health(), v1::TokenHealth::Latched);
        assert_eq!(token.health_reason, token_reason(HsmErrorKind::PinLatched), "and not the reason for the log");
        assert_eq!((token.worker_restarts, token.worker_pid, token.max_sessions), (u32::MAX, 0, 0));
        assert_eq!(
            (token.name.as_str(), token.key_rings.as_slice()),
            ("tokens/main", ["keyRings/dev".to_owned()].as_slice())
        );
    }
}
