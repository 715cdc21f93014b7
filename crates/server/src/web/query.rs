//! The query of a request for keys: `name=keyRings/{ring}` or `name=keyRings/{ring}/keys/{key}`.

use super::problem::Problem;
use chancery_core::KeySetOf;
use chancery_model::{InvalidName, KeyName, RingName};
use percent_encoding::percent_decode_str;

const FORMS: &str =
    "give name=keyRings/{ring} for the keys of a ring, or name=keyRings/{ring}/keys/{key} for those of one key";

/// Whose keys are asked for. There is nothing else that could be asked, so anything else is a mistake that is named.
pub(super) fn key_set(query: Option<&str>) -> Result<KeySetOf, Problem> {
    let mut name = None;
    for parameter in query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if key != "name" {
            return Err(Problem::invalid(format!("there is no such parameter; {FORMS}")));
        }
        if name.replace(value).is_some() {
            return Err(Problem::invalid(format!("name is given twice; {FORMS}")));
        }
    }
    let name = name.ok_or_else(|| Problem::invalid(format!("name is missing; {FORMS}")))?;
    let Ok(name) = percent_decode_str(name).decode_utf8() else {
        return Err(Problem::invalid(format!("name is not UTF-8; {FORMS}")));
    };
    let parsed = if name.split('/').nth(2).is_some() {
        name.parse::<KeyName>().map(KeySetOf::Key)
    } else {
        name.parse::<RingName>().map(KeySetOf::Ring)
    };
    parsed.map_err(|error: InvalidName| Problem::invalid(format!("name: {error}; {FORMS}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<KeySetOf, u16> {
        key_set(Some(query)).map_err(|problem| problem.status.as_u16())
    }

    #[test]
    fn rings_and_keys_are_named_plain_or_encoded() {
        let ring = KeySetOf::Ring("keyRings/dev".parse().unwrap());
        let key = KeySetOf::Key("keyRings/dev/keys/jwt".parse().unwrap());
        for query in ["name=keyRings/dev", "name=keyRings%2Fdev", "name=keyRings%2fde%76", "&name=keyRings/dev&"] {
            assert_eq!(read(query), Ok(ring.clone()), "{query}");
        }
        for query in ["name=keyRings/dev/keys/jwt", "name=keyRings%2Fdev%2Fkeys%2Fjwt"] {
            assert_eq!(read(query), Ok(key.clone()), "{query}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for query in [
            "",
            "name",
            "name=",
            "Name=keyRings/dev",
            "name=keyRings/dev&name=keyRings/dev",
            "name=keyRings/dev&x=1",
            "name=keyRings/",
            "name=keyRings/DEV",
            "name=keyRings/dev/",
            "name=keyRings/dev/keys/jwt/versions/1",
            "name=keyRings+dev",
            "name=%ff",
            "name=keyRings/dev%00",
        ] {
            assert_eq!(read(query), Err(400), "{query}");
        }
        assert!(key_set(None).is_err());
    }
}
