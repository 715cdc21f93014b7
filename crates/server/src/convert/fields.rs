//! Fields that occur in many requests, and the one way to say what is wrong with them.

use chancery_core::{Error, KeyOrVersion};
use chancery_model::{Id, InvalidName, Timestamp, misleads};
use std::str::FromStr;

/// A field that is not as it must be; the description says what it must be.
pub(super) fn invalid(field: impl Into<String>, description: impl Into<String>) -> Error {
    Error::InvalidField { field: field.into(), description: description.into() }
}

/// A resource name.
pub(super) fn name<T: FromStr<Err = InvalidName>>(field: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|error: InvalidName| invalid(field, error.to_string()))
}

/// The name of a key, which stands for its primary version, or of one version.
pub(super) fn key_or_version(field: &str, text: &str) -> Result<KeyOrVersion, Error> {
    // The fifth segment, since a ring or a key may be called `versions`, too.
    if text.split('/').nth(4).is_some() {
        return name(field, text).map(KeyOrVersion::Version);
    }
    let key = text.parse().map_err(|error| match error {
        InvalidName::Pattern { .. } => {
            let forms = "the name must have the form keyRings/{ring}/keys/{key} or keyRings/{ring}/keys/{key}/versions/{version}";
            invalid(field, forms)
        }
        InvalidName::Id { .. } | InvalidName::Version => invalid(field, error.to_string()),
    });
    key.map(KeyOrVersion::Key)
}

/// The id of a resource with a name of two segments, for example `tokens/{token}`.
pub(super) fn id_in(field: &str, text: &str, collection: &str, what: &'static str) -> Result<Id, Error> {
    let id = text.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/'));
    let id = id.ok_or_else(|| invalid(field, format!("the name must have the form {collection}/{{id}}")))?;
    Id::parse(what, id).map_err(|error| invalid(field, error.to_string()))
}

/// Checks a CRC-32C (Castagnoli, RFC 3720) where one is given; answers whether it was.
pub(super) fn crc32c(field: &str, given: Option<u32>, bytes: &[u8]) -> Result<bool, Error> {
    let Some(given) = given else { return Ok(false) };
    let actual = ::crc32c::crc32c(bytes);
    if given == actual {
        return Ok(true);
    }
    let description = format!(
        "the CRC-32C of the {length} bytes that arrived is {actual:#010x}, and {given:#010x} was given: they were damaged \
         on the way, or the checksum is of another kind; send them again",
        length = bytes.len()
    );
    Err(invalid(field, description))
}

/// A UUID that makes a retry safe; none where empty. Letter case does not matter.
pub(super) fn request_id(text: String) -> Result<Option<String>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let well_formed = text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if well_formed {
        Ok(Some(text.to_ascii_lowercase()))
    } else {
        Err(invalid(
            "request_id",
            "must be a UUID (RFC 9562), for example 9f1b7a3e-6f0c-4a55-8d5e-1c2b3a4d5e6f, or empty",
        ))
    }
}

/// Why something is done, for the record.
pub(super) fn reason(text: String) -> Result<String, Error> {
    const MAX_REASON_BYTES: usize = 512;
    if text.len() > MAX_REASON_BYTES {
        let description = format!("has {} bytes; at most {MAX_REASON_BYTES} are kept", text.len());
        return Err(invalid("reason", description));
    }
    if text.chars().any(misleads) {
        let description = "is one line of text: control characters, and those that turn the direction of writing, could make the \
                           record look like another where it is shown";
        return Err(invalid("reason", description));
    }
    Ok(text)
}

/// A point in time.
pub(super) fn time(field: &str, time: prost_types::Timestamp) -> Result<Timestamp, Error> {
    let prost_types::Timestamp { seconds, nanos } = time;
    let micros = (0..1_000_000_000)
        .contains(&nanos)
        .then(|| seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1000)))
        .flatten();
    micros
        .map(Timestamp::from_unix_micros)
        .ok_or_else(|| invalid(field, "is no google.protobuf.Timestamp: nanos must be from 0 to 999999999"))
}

/// A point in time, for an answer.
pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.unix_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;
    use chancery_model::{KeyName, KeyVersionName, RingName};

    #[test]
    fn malformed_names_are_refused_with_the_form_that_is_expected() {
        for text in ["", "keys/k", "keyRings/a", "keyRings/a/keys", "keyRings/a/versions/1", "//"] {
            let (field, description) = violation(key_or_version("name", text).unwrap_err());
            assert_eq!(field, "name");
            let form = "the name must have the form keyRings/{ring}/keys/{key} or keyRings/{ring}/keys/{key}/versions/{version}";
            assert_eq!(description, form, "{text:?}");
        }
        for (text, expected) in [
            ("keyRings/ä/keys/k", "the key ring id must match [a-z][a-z0-9-]{0,62} (ASCII)"),
            ("keyRings/a/keys/ключ", "the key id must match [a-z][a-z0-9-]{0,62} (ASCII)"),
            ("keyRings/a/keys/K", "the key id must match [a-z][a-z0-9-]{0,62} (ASCII)"),
            (
                "keyRings/a/keys/k/versions/0",
                "the version must be a decimal number from 1 to 4294967295 without leading zeros",
            ),
            ("keyRings/a/keys/k/", "the name must have the form keyRings/{ring}/keys/{key}/versions/{version}"),
            (
                "keyRings/a/keys/k/version/1",
                "the name must have the form keyRings/{ring}/keys/{key}/versions/{version}",
            ),
        ] {
            let (_, description) = violation(key_or_version("name", text).unwrap_err());
            assert_eq!(description, expected, "{text:?}");
        }
        let (field, _) = violation(name::<RingName>("parent", "keyRings/").unwrap_err());
        assert_eq!(field, "parent");
        assert!(name::<KeyName>("name", "keyRings/a/keys/k/versions/1").is_err());
        assert!(name::<KeyVersionName>("name", "keyRings/a/keys/k").is_err());
    }

    #[test]
    fn a_key_name_and_a_version_name_are_told_apart() {
        assert!(matches!(key_or_version("name", "keyRings/a/keys/k"), Ok(KeyOrVersion::Key(_))));
        let Ok(KeyOrVersion::Version(version)) = key_or_version("name", "keyRings/a/keys/versions/versions/3") else {
            panic!("a key may be called versions");
        };
        assert_eq!((version.key.key.as_str(), version.version), ("versions", 3));
    }

    #[test]
    fn a_key_called_versions_is_found_by_its_own_name() {
        assert!(matches!(key_or_version("name", "keyRings/a/keys/versions"), Ok(KeyOrVersion::Key(_))));
        assert!(matches!(key_or_version("name", "keyRings/versions/keys/k"), Ok(KeyOrVersion::Key(_))));
    }

    #[test]
    fn a_wrong_checksum_is_refused_and_an_absent_one_is_not_checked() {
        // RFC 3720, appendix B.4: 32 bytes of zeros have the CRC-32C 8a9136aa.
        assert!(crc32c("input.crc32c", Some(0x8a91_36aa), &[0; 32]).unwrap());
        assert!(!crc32c("input.crc32c", None, &[0; 32]).unwrap());
        let (field, description) = violation(crc32c("input.crc32c", Some(1), &[0; 32]).unwrap_err());
        assert_eq!(field, "input.crc32c");
        assert!(
            description.starts_with("the CRC-32C of the 32 bytes that arrived is 0x8a9136aa, and 0x00000001 was given")
        );
    }

    #[test]
    fn a_request_id_is_a_uuid_in_any_letter_case() {
        assert_eq!(request_id(String::new()).unwrap(), None);
        let id = request_id("9F1B7A3E-6f0c-4a55-8d5e-1c2b3a4d5e6f".to_owned()).unwrap();
        assert_eq!(id.as_deref(), Some("9f1b7a3e-6f0c-4a55-8d5e-1c2b3a4d5e6f"));
        for text in ["1", "9f1b7a3e6f0c4a558d5e1c2b3a4d5e6f", "9f1b7a3e-6f0c-4a55-8d5e-1c2b3a4d5eäf", &"-".repeat(36)]
        {
            assert_eq!(violation(request_id(text.to_owned()).unwrap_err()).0, "request_id", "{text}");
        }
    }

    #[test]
    fn a_reason_has_at_most_512_bytes() {
        assert!(reason("x".repeat(512)).is_ok());
        let (field, description) = violation(reason("x".repeat(513)).unwrap_err());
        assert_eq!((field.as_str(), description.as_str()), ("reason", "has 513 bytes; at most 512 are kept"));
    }

    #[test]
    fn a_reason_is_one_line_that_looks_like_what_it_is() {
        assert!(reason("Überprüft, „Ticket 4711“ — ok".to_owned()).is_ok());
        for text in ["x\ncommitment  holds: the leaf", "x\u{1b}[2K", "x\u{9b}2K", "x\u{202e}y", "x\ty", "x\u{2069}"] {
            let (field, description) = violation(reason(text.to_owned()).unwrap_err());
            assert!(field == "reason" && description.starts_with("is one line of text"), "{text:?}: {description}");
        }
    }

    #[test]
    fn times_go_both_ways_and_before_1970_too() {
        for micros in [0, 1, -1, 1_764_000_000_123_456, -1_500_000] {
            let there = timestamp(Timestamp::from_unix_micros(micros));
            assert!((0..1_000_000_000).contains(&there.nanos));
            assert_eq!(time("start_time", there).unwrap().unix_micros(), micros);
        }
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            assert_eq!(
                violation(time("end_time", prost_types::Timestamp { seconds, nanos }).unwrap_err()).0,
                "end_time"
            );
        }
    }
}
