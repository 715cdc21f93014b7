//! What a call brings in its `authorization` header: taken out of the headers before anything else sees them.

use super::Unidentified;
use chancery_crypto::ApiKeyText;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

/// What a call brings beside the connection's certificate, not yet checked.
pub(crate) enum Bearer {
    ApiKey(ApiKeyText),
    /// A token of an OpenID Connect issuer; nothing shows it.
    OidcToken(Zeroizing<String>),
}

/// What a call brings as `authorization: Bearer`. Whatever was in the header is gone from the headers afterwards. (Buffers
/// of HTTP/2 and TLS may hold copies for a while; those are out of reach.)
pub(crate) fn take_bearer(headers: &mut HeaderMap) -> Result<Option<Bearer>, Unidentified> {
    if !headers.contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    let several = headers.get_all(AUTHORIZATION).iter().count() > 1;
    let Some(value) = headers.remove(AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| !several).ok_or(Unidentified::Authorization)?;
    let (scheme, bearer) = text.split_once(' ').ok_or(Unidentified::Authorization)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Unidentified::Authorization);
    }
    let bearer = bearer.trim_matches(' ');
    // The parts of a token are joined by dots, which no API key has.
    if bearer.contains('.') {
        return Ok(Some(Bearer::OidcToken(Zeroizing::new(bearer.to_owned()))));
    }
    ApiKeyText::parse(bearer).map(|key| Some(Bearer::ApiKey(key))).map_err(Unidentified::ApiKeyMalformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_model::Id;
    use http::HeaderValue;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_key_is_taken_out_of_the_headers_whatever_becomes_of_it() {
        let key = ApiKeyText::generate(&Id::parse("the environment", "dev").unwrap()).unwrap();
        for scheme in ["Bearer", "bearer"] {
            let mut headers = headers(&[&format!("{scheme} {}", key.reveal())]);
            let Some(Bearer::ApiKey(taken)) = take_bearer(&mut headers).unwrap() else { panic!("no API key") };
            assert_eq!((taken.id(), headers.len()), (key.id(), 0));
        }
        assert!(take_bearer(&mut HeaderMap::new()).unwrap().is_none());
        let bearer = format!("Bearer {}", key.reveal());
        for values in [
            &["Basic dXNlcjpzZWNyZXQ="][..],
            &["Bearer"],
            &["Bearer x"],
            &[&bearer, &bearer],
            &["Bearer a.b.c", &bearer],
            &["DPoP a.b.c"],
        ] {
            let mut headers = headers(values);
            let Err(refused) = take_bearer(&mut headers) else { panic!("{values:?}") };
            assert!(headers.is_empty(), "{values:?}");
            assert!(!refused.to_string().contains("dXNlcjpzZWNyZXQ=") && !refused.to_string().contains("a.b.c"));
        }
    }

    #[test]
    fn a_token_is_told_from_a_key_and_taken_out_too() {
        let mut headers = headers(&["Bearer  eyJh.eyJi.c2ln"]);
        let Some(Bearer::OidcToken(token)) = take_bearer(&mut headers).unwrap() else { panic!("no token") };
        assert_eq!((token.as_str(), headers.len()), ("eyJh.eyJi.c2ln", 0));
    }
}
