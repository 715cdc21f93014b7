//! SigningService: JSON Web Tokens.

use super::caller_signature::caller_signature;
use super::fields::{invalid, key_or_version, timestamp};
use super::signing::receipt_parts;
use chancery_api::v1;
use chancery_core::{Error, SignJwtAnswer, SignJwtRequest};
use std::time::Duration;

pub(crate) fn sign_jwt_request(request: v1::SignJwtRequest) -> Result<SignJwtRequest, Error> {
    let v1::SignJwtRequest { name, claims, lifetime, r#type, caller_signature: signed, receipt } = request;
    Ok(SignJwtRequest {
        name: key_or_version("name", &name)?,
        claims,
        lifetime: optional_duration("lifetime", lifetime)?,
        token_type: r#type,
        caller_signature: caller_signature(signed)?,
        receipt,
    })
}

pub(crate) fn sign_jwt_response(answer: SignJwtAnswer) -> v1::SignJwtResponse {
    let SignJwtAnswer { version, algorithm: _, token, key_id, issued, expires, record_index, receipt } = answer;
    let (receipt, receipt_status) = receipt_parts(receipt);
    v1::SignJwtResponse {
        name: version.to_string(),
        token_crc32c: ::crc32c::crc32c(token.as_bytes()),
        token,
        key_id,
        issue_time: Some(timestamp(issued)),
        expire_time: Some(timestamp(expires)),
        record_index,
        receipt,
        receipt_status,
    }
}

/// A span of time that may be given.
pub(super) fn optional_duration(field: &str, given: Option<prost_types::Duration>) -> Result<Option<Duration>, Error> {
    given.map(|given| duration(field, given)).transpose()
}

/// A span of time. How long it may be is for the core to say.
pub(super) fn duration(field: &str, duration: prost_types::Duration) -> Result<Duration, Error> {
    let prost_types::Duration { seconds, nanos } = duration;
    let parts = u64::try_from(seconds).ok().zip(u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000));
    // Not prost's own conversion, which panics at the least of all seconds.
    parts
        .map(|(seconds, nanos)| Duration::new(seconds, nanos))
        .ok_or_else(|| invalid(field, "is no positive google.protobuf.Duration: nanos must be from 0 to 999999999"))
}

/// A span of time, for an answer.
pub(super) fn duration_proto(duration: Duration) -> prost_types::Duration {
    // What is longer than 292 thousand million years is that.
    prost_types::Duration::try_from(duration).unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    fn request(lifetime: Option<(i64, i32)>) -> v1::SignJwtRequest {
        let lifetime = lifetime.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
        v1::SignJwtRequest {
            caller_signature: None,
            name: "keyRings/r/keys/k".to_owned(),
            claims: "{}".to_owned(),
            lifetime,
            r#type: String::new(),
            receipt: false,
        }
    }

    #[test]
    fn a_lifetime_is_read_to_the_nanosecond_and_never_negative() {
        for (given, read) in [
            (None, None),
            (Some((0, 0)), Some(Duration::ZERO)),
            (Some((1, 500_000_000)), Some(Duration::from_millis(1500))),
        ] {
            assert_eq!(sign_jwt_request(request(given)).unwrap().lifetime, read, "{given:?}");
        }
        for negative in [(-1, 0), (0, -1), (i64::MIN, 0)] {
            assert_eq!(violation(sign_jwt_request(request(Some(negative))).unwrap_err()).0, "lifetime", "{negative:?}");
        }
    }

    #[test]
    fn durations_are_answered_as_they_are() {
        assert_eq!(duration_proto(Duration::from_secs(900)), prost_types::Duration { seconds: 900, nanos: 0 });
        assert_eq!(duration_proto(Duration::MAX).seconds, i64::MAX);
    }
}
