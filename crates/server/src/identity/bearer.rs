//! The API key of a call: taken out of its headers before anything else sees them.

use super::Unidentified;
use chancery_crypto::ApiKeyText;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The API key that a call brings as `authorization: Bearer <key>`. Whatever was in the header is gone from the headers
/// afterwards. (Buffers of HTTP/2 and TLS may hold copies for a while; those are out of reach.)
pub(crate) fn take_api_key(headers: &mut HeaderMap) -> Result<Option<ApiKeyText>, Unidentified> {
    if !headers.contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    let several = headers.get_all(AUTHORIZATION).iter().count() > 1;
    let Some(value) = headers.remove(AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| !several).ok_or(Unidentified::Authorization)?;
    let (scheme, key) = text.split_once(' ').ok_or(Unidentified::Authorization)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Unidentified::Authorization);
    }
    ApiKeyText::parse(key.trim_matches(' ')).map(Some).map_err(Unidentified::ApiKeyMalformed)
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
            let taken = take_api_key(&mut headers).unwrap().unwrap();
            assert_eq!((taken.id(), headers.len()), (key.id(), 0));
        }
        assert!(take_api_key(&mut HeaderMap::new()).unwrap().is_none());
        let bearer = format!("Bearer {}", key.reveal());
        for values in [&["Basic dXNlcjpzZWNyZXQ="][..], &["Bearer"], &["Bearer x"], &[&bearer, &bearer]] {
            let mut headers = headers(values);
            let refused = take_api_key(&mut headers).unwrap_err();
            assert!(headers.is_empty(), "{values:?}");
            assert!(!refused.to_string().contains("dXNlcjpzZWNyZXQ="));
        }
    }
}
