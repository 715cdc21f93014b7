//! Reading JSON (RFC 8259) to the last byte: as strictly as the strictest of its readers.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// How many arrays and objects may lie within each other, the outermost counted.
const MAX_DEPTH: usize = 16;

/// A value, as far as claims are looked into.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json {
    Text(String),
    /// Without fraction and exponent.
    Integer(i64),
    Array(Vec<Json>),
    /// An object, `true`, `false`, `null`, or another number.
    Other,
}

/// The members of an object, in their order. Refuses a name that occurs twice, here or further inside; numbers that are
/// too large for a double; strings that are not Unicode, or hold U+0000, where readers in C end them; and what is nested deeper than [`MAX_DEPTH`].
///
/// The error says where, and nothing of what is there.
pub(super) fn object(text: &str) -> Result<Vec<(String, Json)>, serde_json::Error> {
    // Of a value of another kind, the reader would say which.
    if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        return Err(serde_json::Error::custom("it does not begin with {"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let members = Members { depth: 1 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(members)
}

/// Reads an object.
struct Members {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Vec<(String, Json)>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Json)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            whole(&name)?;
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a name occurs twice"));
            }
            members.push((name, map.next_value_seed(Value { depth: self.depth })?));
        }
        Ok(members)
    }
}

fn whole<E: serde::de::Error>(text: &str) -> Result<(), E> {
    if text.contains('\0') { Err(E::custom("a string holds U+0000")) } else { Ok(()) }
}

/// Reads any value, inside `depth` others.
struct Value {
    depth: usize,
}

impl Value {
    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth < MAX_DEPTH {
            Ok(self.depth + 1)
        } else {
            Err(E::custom(format_args!("more than {MAX_DEPTH} arrays and objects lie within each other")))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::Other, Json::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Json, E> {
        whole(text)?;
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(Value { depth })? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Json, A::Error> {
        let depth = self.deeper()?;
        Members { depth }.visit_map(map)?;
        Ok(Json::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_in_their_order() {
        let members =
            object(r#" { "b" : "x\u00e9" , "a":[1,{"n":null}], "c": -0, "d":1.0, "e":1e2, "f":18446744073709551615} "#);
        let expected = [
            ("b", Json::Text("xé".to_owned())),
            ("a", Json::Array(vec![Json::Integer(1), Json::Other])),
            ("c", Json::Other),
            ("d", Json::Other),
            ("e", Json::Other),
            ("f", Json::Other),
        ];
        assert_eq!(members.unwrap(), expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(object("{}").unwrap(), []);
    }

    #[test]
    fn what_readers_could_disagree_about_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "\"x\"",
            "{",
            "{}x",
            "{}{}",
            "\u{feff}{}",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
            r#"{"a":1,}"#,
            r#"{a:1}"#,
            r#"{'a':1}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":["\ud800"]}"#,
            r#"{"\udc00":1}"#,
            r#"{"sub\u0000x":1}"#,
            r#"{"a":["ada\u0000x"]}"#,
            "{\"a\":\"line\nbreak\"}",
            "{/* no */}",
        ] {
            assert!(object(text).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(object(&nested(16)).is_ok());
        assert!(object(&nested(17)).unwrap_err().to_string().starts_with("more than 16 arrays"));
        assert!(object(&nested(8000)).is_err());
        let objects = format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17));
        assert!(object(&objects).is_err());
    }

    #[test]
    fn an_error_holds_nothing_of_the_claims() {
        for text in [r#"{"secret":1,"secret":2}"#, r#"["secret"]"#, r#""secret""#, r#"{"a":secret}"#] {
            let said = object(text).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
