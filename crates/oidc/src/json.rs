//! Reading JSON (RFC 8259) so that no other reader can take it for something else: a name that occurs twice is refused,
//! wherever it is.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// How many arrays and objects may lie within each other, the outermost counted.
const MAX_DEPTH: usize = 16;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Text(String),
    Number(f64),
    Array(Vec<Json>),
    Object(Object),
    /// `true`, `false` or `null`.
    Other,
}

/// An object; each name occurs once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object(Vec<(String, Json)>);

/// A member that is there and of another kind than it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrongKind;

impl Object {
    /// Reads an object that is all of the bytes. The error says where it breaks, and nothing of what is there.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        // Of a value of another kind, the reader would say which.
        if bytes.iter().find(|byte| !b" \t\r\n".contains(byte)) != Some(&b'{') {
            return Err(serde_json::Error::custom("it does not begin with {"));
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let object = Members { depth: 1 }.deserialize(&mut reader)?;
        reader.end()?;
        Ok(object)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// A member that is text where it is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, WrongKind> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(WrongKind),
        }
    }

    /// A member that is a number where it is there.
    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>, WrongKind> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Number(number)) => Ok(Some(*number)),
            Some(_) => Err(WrongKind),
        }
    }
}

struct Members {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Object, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut members = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a name occurs twice"));
            }
            members.push((name, map.next_value_seed(Value { depth: self.depth })?));
        }
        Ok(Object(members))
    }
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

    #[expect(clippy::cast_precision_loss, reason = "times beyond 2^53 seconds are refused")]
    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "times beyond 2^53 seconds are refused")]
    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
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
        Members { depth }.visit_map(map).map(Json::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_names() {
        let object = Object::read(br#" {"a":"x","n":1.5,"o":{"a":[1,null,true]},"t":false} "#).unwrap();
        assert_eq!(
            (object.text("a"), object.text("none"), object.text("n")),
            (Ok(Some("x")), Ok(None), Err(WrongKind))
        );
        assert_eq!((object.number("n"), object.number("a")), (Ok(Some(1.5)), Err(WrongKind)));
        let Some(Json::Object(inner)) = object.get("o") else { panic!("{object:?}") };
        let array = Json::Array(vec![Json::Number(1.0), Json::Other, Json::Other]);
        assert_eq!(inner.get("a"), Some(&array));
    }

    #[test]
    fn what_readers_could_disagree_about_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{",
            "{}x",
            "{}{}",
            "\u{feff}{}",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":"\ud800"}"#,
        ] {
            assert!(Object::read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Object::read(b"{\"a\":\"\xff\"}").is_err());
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Object::read(nested(16).as_bytes()).is_ok());
        assert!(Object::read(nested(17).as_bytes()).is_err());
    }

    #[test]
    fn an_error_holds_nothing_of_the_text() {
        for text in [r#"{"secret":1,"secret":2}"#, r#"["secret"]"#, r#"{"a":secret}"#] {
            let said = Object::read(text.as_bytes()).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
