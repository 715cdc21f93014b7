//! What every answer is held to.

use std::str::FromStr;

use chancery_model::{Algorithm, InvalidName, KeyState, KeyVersionName, Timestamp};

use crate::ClientError;
use crate::convert::{algorithm_from_proto, state_from_proto};

pub(crate) fn damaged_unless(whole: bool, what: &'static str) -> Result<(), ClientError> {
    if whole { Ok(()) } else { Err(ClientError::Damaged { what }) }
}

/// A resource name of the kind that is expected.
pub(crate) fn resource<T: FromStr<Err = InvalidName>>(name: &str) -> Result<T, ClientError> {
    name.parse().map_err(|error| ClientError::Answer { what: format!("the name {name:?} is not of its kind: {error}") })
}

pub(crate) fn version(name: &str) -> Result<KeyVersionName, ClientError> {
    resource(name)
}

pub(crate) fn known_algorithm(number: i32) -> Result<Algorithm, ClientError> {
    algorithm_from_proto(number)
        .ok_or_else(|| ClientError::Answer { what: format!("algorithm {number} is not known to this client") })
}

pub(crate) fn known_state(number: i32) -> Result<KeyState, ClientError> {
    state_from_proto(number)
        .ok_or_else(|| ClientError::Answer { what: format!("key state {number} is not known to this client") })
}

/// A time that must be there.
pub(crate) fn time(what: &'static str, time: Option<prost_types::Timestamp>) -> Result<Timestamp, ClientError> {
    optional_time(time).ok_or_else(|| ClientError::Answer { what: format!("{what} is missing") })
}

pub(crate) fn optional_time(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let prost_types::Timestamp { seconds, nanos } = time?;
    Some(Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos) / 1000)))
}

/// A time for the wire.
pub(crate) fn proto_time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.unix_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back_also_before_1970() {
        for micros in [0, 1, -1, 1_700_000_000_123_456, -1_500_000] {
            let time = Timestamp::from_unix_micros(micros);
            assert_eq!(optional_time(Some(proto_time(time))), Some(time));
        }
        assert_eq!(proto_time(Timestamp::from_unix_micros(-1)).nanos, 999_999_000);
        assert!(matches!(super::time("`iat`", None), Err(ClientError::Answer { .. })));
    }
}
