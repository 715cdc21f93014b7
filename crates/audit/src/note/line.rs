//! The line of a signature: a dash, the key's name, and base64 of the key's id and the signature.

use crate::note::KeyName;
use base64ct::{Base64, Encoding};
use std::fmt;

/// A signature of a note, not verified. What is in it beside the key's id is the kind's business, and the kind is known to
/// who has the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The name of the key that it is said to be of.
    pub name: KeyName,
    /// The id of that key.
    pub key_id: u32,
    /// The signature.
    pub signature: Vec<u8>,
}

impl NoteSignature {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
        let name = KeyName::parse(name).ok()?;
        let bytes = Base64::decode_vec(encoded).ok()?;
        let (key_id, signature) = bytes.split_first_chunk()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name, key_id: u32::from_be_bytes(*key_id), signature: signature.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.key_id.to_be_bytes().as_slice(), &self.signature].concat();
        write!(f, "— {} {}", self.name, Base64::encode_string(&bytes))
    }
}
