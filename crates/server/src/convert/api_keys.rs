//! The API keys of CallerService.

use super::callers::{caller_named, rings, words};
use super::enums::known;
use super::fields::{invalid, reason, request_id, timestamp};
use super::page::PageOf;
use chancery_api::v1;
use chancery_core::{ApiKeyName, ApiKeyState, ApiKeyView, Error, IssueApiKey, IssuedApiKey, RotateApiKey};
use chancery_model::{ApiKeyAccess, ApiKeyScope, Id};
use std::time::Duration;

pub(crate) fn issue_request(request: v1::IssueApiKeyRequest) -> Result<IssueApiKey, Error> {
    let v1::IssueApiKeyRequest { parent, lifetime, scope: given, request_id: id } = request;
    let lifetime = lifetime.ok_or_else(|| invalid("lifetime", "must be given: every API key expires"))?;
    let given = given.ok_or_else(|| invalid("scope", "must be given, with its access"))?;
    Ok(IssueApiKey {
        caller: caller_named("parent", &parent)?,
        lifetime: seconds("lifetime", lifetime)?,
        scope: scope(given)?,
        request_id: request_id(id)?,
    })
}

pub(crate) fn issue_response(issued: &IssuedApiKey) -> v1::IssueApiKeyResponse {
    v1::IssueApiKeyResponse { api_key: Some(api_key(&issued.view)), key: issued.text.reveal().to_owned() }
}

pub(crate) fn list_request(request: v1::ListApiKeysRequest) -> Result<(Id, PageOf), Error> {
    let v1::ListApiKeysRequest { parent, page_size, page_token } = request;
    let page = PageOf::parse(&format!("ListApiKeys {parent}"), page_size, &page_token)?;
    Ok((caller_named("parent", &parent)?, page))
}

pub(crate) fn rotate_request(request: v1::RotateApiKeyRequest) -> Result<RotateApiKey, Error> {
    let v1::RotateApiKeyRequest { name, lifetime, overlap, request_id: id } = request;
    Ok(RotateApiKey {
        name: api_key_named("name", &name)?,
        lifetime: lifetime.map(|lifetime| seconds("lifetime", lifetime)).transpose()?,
        overlap: overlap.map(|overlap| seconds("overlap", overlap)).transpose()?.unwrap_or(Duration::ZERO),
        request_id: request_id(id)?,
    })
}

pub(crate) fn rotate_response(issued: &IssuedApiKey) -> v1::RotateApiKeyResponse {
    v1::RotateApiKeyResponse { api_key: Some(api_key(&issued.view)), key: issued.text.reveal().to_owned() }
}

pub(crate) fn revoke_request(request: v1::RevokeApiKeyRequest) -> Result<(ApiKeyName, String), Error> {
    let v1::RevokeApiKeyRequest { name, reason: why } = request;
    Ok((api_key_named("name", &name)?, reason(why)?))
}

pub(crate) fn api_key(view: &ApiKeyView) -> v1::ApiKey {
    let ApiKeyView { name, entry, state, last_used, dormant, expiring, replaced_by } = view;
    let ApiKeyScope { access, actions, rings, networks } = &entry.scope;
    let scope = v1::ApiKeyScope {
        access: access_number(*access),
        actions: actions.iter().map(ToString::to_string).collect(),
        key_rings: rings.iter().map(|ring| format!("keyRings/{ring}")).collect(),
        networks: networks.iter().map(ToString::to_string).collect(),
    };
    v1::ApiKey {
        name: name.to_string(),
        scope: Some(scope),
        state: state_number(*state),
        create_time: Some(timestamp(entry.created)),
        expire_time: Some(timestamp(entry.expires)),
        revoke_time: entry.revoked.map(timestamp),
        last_use_time: last_used.map(timestamp),
        replaced_by: replaced_by.as_ref().map(ToString::to_string).unwrap_or_default(),
        dormant: *dormant,
        expiring: *expiring,
    }
}

/// `callers/{caller}/apiKeys/{id}`.
pub(super) fn api_key_named(field: &str, text: &str) -> Result<ApiKeyName, Error> {
    let (caller, id) = text
        .split_once("/apiKeys/")
        .ok_or_else(|| invalid(field, "the name must have the form callers/{caller}/apiKeys/{id}"))?;
    let id = id.parse().map_err(|error: chancery_model::InvalidApiKeyId| invalid(field, error.to_string()))?;
    Ok(ApiKeyName { caller: caller_named(field, caller)?, id })
}

fn scope(scope: v1::ApiKeyScope) -> Result<ApiKeyScope, Error> {
    let v1::ApiKeyScope { access, actions, key_rings, networks } = scope;
    let access = match known("scope.access", access)? {
        v1::ApiKeyAccess::Unspecified => return Err(invalid("scope.access", "must be given: read-only or read-write")),
        v1::ApiKeyAccess::ReadOnly => ApiKeyAccess::ReadOnly,
        v1::ApiKeyAccess::ReadWrite => ApiKeyAccess::ReadWrite,
    };
    Ok(ApiKeyScope {
        access,
        actions: words("scope.actions", &actions)?,
        rings: rings("scope.key_rings", &key_rings)?,
        networks: words("scope.networks", &networks)?,
    })
}

const fn access_number(access: ApiKeyAccess) -> i32 {
    (match access {
        ApiKeyAccess::ReadOnly => v1::ApiKeyAccess::ReadOnly,
        ApiKeyAccess::ReadWrite => v1::ApiKeyAccess::ReadWrite,
    }) as i32
}

const fn state_number(state: ApiKeyState) -> i32 {
    (match state {
        ApiKeyState::Active => v1::ApiKeyState::Active,
        ApiKeyState::Expired => v1::ApiKeyState::Expired,
        ApiKeyState::Revoked => v1::ApiKeyState::Revoked,
    }) as i32
}

/// Whole seconds.
fn seconds(field: &str, duration: prost_types::Duration) -> Result<Duration, Error> {
    match u64::try_from(duration.seconds) {
        Ok(seconds) if duration.nanos == 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(invalid(field, "must be a whole number of seconds, and not negative")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    fn request() -> v1::IssueApiKeyRequest {
        v1::IssueApiKeyRequest {
            parent: "callers/shop".to_owned(),
            lifetime: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            scope: Some(v1::ApiKeyScope {
                access: 2,
                actions: vec!["Sign".to_owned()],
                key_rings: vec!["keyRings/dev".to_owned()],
                networks: vec!["10.0.0.0/8".to_owned()],
            }),
            request_id: String::new(),
        }
    }

    #[test]
    fn a_request_is_read_whole() {
        let issue = issue_request(request()).unwrap();
        assert_eq!((issue.caller.as_str(), issue.lifetime), ("shop", Duration::from_secs(60)));
        assert_eq!(issue.scope.access, ApiKeyAccess::ReadWrite);
        assert_eq!(issue.scope.networks.first().unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn what_is_wrong_with_a_request_names_its_field() {
        type Change = fn(&mut v1::IssueApiKeyRequest);
        let changes: [(&str, Change); 10] = [
            ("parent", |request| request.parent = "shop".to_owned()),
            ("lifetime", |request| request.lifetime = None),
            ("lifetime", |request| request.lifetime = Some(prost_types::Duration { seconds: 1, nanos: 1 })),
            ("lifetime", |request| request.lifetime = Some(prost_types::Duration { seconds: -1, nanos: 0 })),
            ("scope", |request| request.scope = None),
            ("scope.access", |request| request.scope.as_mut().unwrap().access = 0),
            ("scope.actions", |request| request.scope.as_mut().unwrap().actions = vec!["sign".to_owned()]),
            ("scope.key_rings", |request| request.scope.as_mut().unwrap().key_rings = vec!["dev".to_owned()]),
            ("scope.networks", |request| request.scope.as_mut().unwrap().networks = vec!["10.1.2.3/8".to_owned()]),
            ("request_id", |request| request.request_id = "1".to_owned()),
        ];
        for (field, change) in changes {
            let mut request = request();
            change(&mut request);
            assert_eq!(violation(issue_request(request).unwrap_err()).0, field);
        }
    }

    #[test]
    fn an_api_key_is_named_in_four_segments() {
        let name = api_key_named("name", "callers/shop/apiKeys/0aZ9bY8cX7dW").unwrap();
        assert_eq!(name.to_string(), "callers/shop/apiKeys/0aZ9bY8cX7dW");
        for text in
            ["", "callers/shop", "callers/shop/apiKeys/", "callers/shop/apiKeys/short", "shop/apiKeys/0aZ9bY8cX7dW"]
        {
            assert_eq!(violation(api_key_named("name", text).unwrap_err()).0, "name", "{text:?}");
        }
    }

    #[test]
    fn states_and_accesses_have_their_own_names() {
        for access in ApiKeyAccess::ALL {
            let name = v1::ApiKeyAccess::try_from(access_number(access)).unwrap().as_str_name();
            assert_eq!(name, format!("API_KEY_ACCESS_{access}"));
        }
        for (state, word) in
            [(ApiKeyState::Active, "ACTIVE"), (ApiKeyState::Expired, "EXPIRED"), (ApiKeyState::Revoked, "REVOKED")]
        {
            let name = v1::ApiKeyState::try_from(state_number(state)).unwrap().as_str_name();
            assert_eq!(name, format!("API_KEY_STATE_{word}"));
        }
    }
}
