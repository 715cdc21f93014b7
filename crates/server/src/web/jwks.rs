//! `GET /.well-known/jwks.json`: the public keys of a ring or of a key, as a JSON Web Key Set (RFC 7517, section 5).

use super::problem::Problem;
use super::query;
use crate::grpc::Office;
use chancery_core::Requester;
use chancery_crypto::Jwk;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tonic::body::Body;

/// For how long a verifier may go on with what it has. A minute, because that is how long a version that was marked as
/// compromised is still trusted after it has left the set; and because with an `ETag` asking again is cheap. Private: which
/// keys are in it depends on who asks.
const CACHE: HeaderValue = HeaderValue::from_static("private, max-age=60");

pub(super) async fn respond(
    office: &Office,
    from: &Requester,
    query: Option<&str>,
    asked: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    let of = query::key_set(query)?;
    let keys = office.core.published_keys(from, of).await;
    let keys = keys.map_err(|error| Problem::from_status(&office.refuse(&error)))?;
    Ok(key_set(&keys, asked))
}

fn key_set(keys: &[Jwk], asked: &HeaderMap) -> Response<Body> {
    let keys: Vec<String> = keys.iter().map(Jwk::to_json).collect();
    let text = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    let etag = etag(text.as_bytes());
    let known = is_known(&etag, asked);
    let body = if known { Body::empty() } else { Body::new(Full::new(Bytes::from(text))) };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if !known {
        // RFC 7517, section 8.5.2.
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    }
    headers.insert(CACHE_CONTROL, CACHE);
    // Hexadecimal digits in quotes are a header's value.
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

/// A strong validator: the same keys always give the same bytes.
fn etag(text: &[u8]) -> String {
    let hash = chancery_crypto::sha256(text);
    let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// `If-None-Match`, by the weak comparison that it is defined with (RFC 9110, section 13.1.2).
fn is_known(etag: &str, asked: &HeaderMap) -> bool {
    let lists = asked.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let mut known = lists.flat_map(|list| list.split(',')).map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(values: &[&str]) -> HeaderMap {
        let pairs = values.iter().map(|value| (IF_NONE_MATCH, value.parse().unwrap()));
        pairs.fold(HeaderMap::new(), |mut headers, (name, value): (_, HeaderValue)| {
            headers.append(name, value);
            headers
        })
    }

    #[test]
    fn what_the_verifier_has_is_not_sent_again() {
        let fresh = key_set(&[], &asked(&[]));
        assert_eq!(fresh.status(), StatusCode::OK);
        assert_eq!(fresh.headers()[CONTENT_TYPE], "application/jwk-set+json");
        let etag = fresh.headers()[ETAG].to_str().unwrap().to_owned();
        for known in [etag.as_str(), &format!("W/{etag}"), &format!("\"other\", {etag}"), "*"] {
            let response = key_set(&[], &asked(&[known]));
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(
                (&response.headers()[ETAG], &response.headers()[CACHE_CONTROL]),
                (&fresh.headers()[ETAG], &CACHE)
            );
        }
        assert_eq!(key_set(&[], &asked(&["\"other\"", &etag])).status(), StatusCode::NOT_MODIFIED, "two header lines");
        for other in ["\"other\"", etag.trim_matches('"'), ""] {
            assert_eq!(key_set(&[], &asked(&[other])).status(), StatusCode::OK, "{other}");
        }
    }
}
