//! The JSON of tokens and key sets (JOSE), read (RFC 8259) so that no other reader can take it for something else: to the
//! last byte, and as strictly as the strictest of its readers.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// How many arrays and objects may lie within each other, the outermost counted.
const MAX_DEPTH: usize = 16;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// A string, which holds no U+0000.
    Text(String),
    /// A number without fraction and exponent.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// `true` or `false`.
    Flag(bool),
    /// `null`.
    Null,
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(JsonObject),
}

/// An object, in the order in which it was written; each name occurs once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JsonObject(Vec<(String, Json)>);

/// A member that is there and of another kind than it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a member is of another kind than it has to be")]
pub struct WrongKind;

/// Bytes that are no object, or one that two readers could take for two. Says where, and nothing of what is there.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidJson(serde_json::Error);

impl JsonObject {
    /// Reads an object that is all of the bytes. Refuses a name that occurs twice, here or further inside; numbers that are
    /// too large for a double; strings that are not Unicode, or hold U+0000, where readers in C end them; and what is nested
    /// more than 16 deep.
    ///
    /// # Errors
    /// [`InvalidJson`].
    pub fn read(bytes: &[u8]) -> Result<Self, InvalidJson> {
        // Of a value of another kind, the reader would say which.
        if bytes.iter().find(|byte| !b" \t\r\n".contains(byte)) != Some(&b'{') {
            return Err(InvalidJson(serde_json::Error::custom("it does not begin with {")));
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let object = Members { depth: 1 }.deserialize(&mut reader).map_err(InvalidJson)?;
        reader.end().map_err(InvalidJson)?;
        Ok(object)
    }

    /// Whether it has no members.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// A member that is text where it is there.
    ///
    /// # Errors
    /// [`WrongKind`].
    pub fn text(&self, name: &str) -> Result<Option<&str>, WrongKind> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(_) => Err(WrongKind),
        }
    }

    /// A member that is a number where it is there.
    ///
    /// # Errors
    /// [`WrongKind`].
    #[expect(clippy::cast_precision_loss, reason = "times beyond 2^53 seconds are refused by whoever asks for one")]
    pub fn number(&self, name: &str) -> Result<Option<f64>, WrongKind> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Integer(number)) => Ok(Some(*number as f64)),
            Some(Json::Float(number)) => Ok(Some(*number)),
            Some(_) => Err(WrongKind),
        }
    }
}

impl IntoIterator for JsonObject {
    type Item = (String, Json);
    type IntoIter = std::vec::IntoIter<(String, Json)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Reads an object.
struct Members {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Members {
    type Value = JsonObject;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<JsonObject, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = JsonObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject, A::Error> {
        let mut members = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            whole(&name)?;
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a name occurs twice"));
            }
            members.push((name, map.next_value_seed(Value { depth: self.depth })?));
        }
        Ok(JsonObject(members))
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
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Integer(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "beyond i64, a number has no exact form here")]
    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::Float(number as f64), Json::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Float(number))
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
        Members { depth }.visit_map(map).map(Json::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<JsonObject, InvalidJson> {
        JsonObject::read(text.as_bytes())
    }

    #[test]
    fn members_are_read_in_their_order() {
        let members = read(
            r#" { "b" : "x\u00e9" , "a":[1,{"n":null}], "c": -0, "d":1.0, "e":1e2, "f":18446744073709551615, "g":true} "#,
        );
        let inner = JsonObject(vec![("n".to_owned(), Json::Null)]);
        let expected = [
            ("b", Json::Text("xé".to_owned())),
            ("a", Json::Array(vec![Json::Integer(1), Json::Object(inner)])),
            // No integers: verifiers read them in different ways.
            ("c", Json::Float(-0.0)),
            ("d", Json::Float(1.0)),
            ("e", Json::Float(100.0)),
            ("f", Json::Float(18_446_744_073_709_551_615.0)),
            ("g", Json::Flag(true)),
        ];
        let members: Vec<_> = members.unwrap().into_iter().collect();
        assert_eq!(members, expected.map(|(name, value)| (name.to_owned(), value)));
        assert!(read("{}").unwrap().is_empty());
    }

    #[test]
    fn members_are_found_by_their_names() {
        let object = read(r#"{"a":"x","n":1.5,"i":-7,"t":false}"#).unwrap();
        assert_eq!(
            (object.text("a"), object.text("none"), object.text("n")),
            (Ok(Some("x")), Ok(None), Err(WrongKind))
        );
        assert_eq!((object.number("n"), object.number("i")), (Ok(Some(1.5)), Ok(Some(-7.0))));
        assert_eq!((object.number("a"), object.number("none")), (Err(WrongKind), Ok(None)));
        assert_eq!((object.get("t"), object.get("T")), (Some(&Json::Flag(false)), None));
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
            assert!(read(text).is_err(), "{text}");
        }
        assert!(JsonObject::read(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(read(&nested(16)).is_ok());
        assert!(read(&nested(17)).unwrap_err().to_string().starts_with("more than 16 arrays"));
        assert!(read(&nested(8000)).is_err());
        let objects = format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17));
        assert!(read(&objects).is_err());
    }

    #[test]
    fn an_error_holds_nothing_of_the_text() {
        for text in [r#"{"secret":1,"secret":2}"#, r#"["secret"]"#, r#""secret""#, r#"{"a":secret}"#] {
            let said = read(text).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
