//! Verifier keys: a public key with the name it signs by, written `name+id+key`. C2SP signed-note, "Verifier keys".

use crate::note::NoteSignature;
use base64ct::{Base64, Encoding};
use chancery_crypto::{PublicKey, PublicKeyError, SignedInput, ed25519_spki, sha256};
use chancery_model::{Algorithm, EcdsaEncoding};
use std::fmt;

/// The longest name of a key: as long as the name of a cosigner may be.
const MAX_NAME_BYTES: usize = 255;

/// The longest verifier key that is read: those of ML-DSA-44, the longest in use, have 1,313 bytes before base64.
const MAX_BYTES: usize = 4_096;

/// The name that a key signs by. For a log the same as its origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

impl KeyName {
    /// Reads a name: 1 to 255 bytes, no spaces, no plus, no control characters. An address without its scheme is
    /// recommended, such as `example.com/chancery/prod`; nothing needs to be reachable there.
    ///
    /// # Errors
    /// [`InvalidVerifierKey::Name`] where it is none.
    pub fn parse(name: &str) -> Result<Self, InvalidVerifierKey> {
        let refused = |char: char| char.is_whitespace() || char == '+' || char < ' ';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(refused) {
            return Err(InvalidVerifierKey::Name);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The kinds of signatures that Chancery makes and checks. It makes none of the others, and passes over theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureKind {
    /// Ed25519 over the text: a log's.
    Ed25519,
    /// Ed25519 over a time and the text: a witness's (C2SP tlog-cosignature, v1).
    Cosignature,
}

impl SignatureKind {
    const ALL: [Self; 2] = [Self::Ed25519, Self::Cosignature];

    const fn code(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

/// A public key with the name it signs by.
#[derive(Debug, Clone)]
pub struct VerifierKey {
    name: KeyName,
    kind: SignatureKind,
    id: u32,
    point: [u8; 32],
    public: PublicKey,
}

/// Why something is no verifier key.
#[derive(Debug, thiserror::Error)]
pub enum InvalidVerifierKey {
    /// The name.
    #[error("a key's name is 1 to {MAX_NAME_BYTES} bytes without spaces, plus signs and control characters")]
    Name,
    /// The form.
    #[error(
        "a verifier key has the form NAME+ID+KEY, with an id of 8 lower-case hexadecimal digits and a key in base64"
    )]
    Form,
    /// The kind of signature.
    #[error("only Ed25519 keys (type 01) and cosigners of version 1 (type 04) can be used, not type {0:02x}")]
    Kind(u8),
    /// The id.
    #[error(
        "the verifier key's id is {actual:08x}, and its name and key make {expected:08x}: it was changed or mistyped"
    )]
    Id {
        /// As it should be.
        expected: u32,
        /// As it is.
        actual: u32,
    },
    /// The key.
    #[error("the verifier key's public key cannot be used")]
    Key(#[from] PublicKeyError),
    /// A public key of another algorithm.
    #[error("a log is signed with an Ed25519 key, not with one for {0}")]
    Algorithm(Algorithm),
}

impl VerifierKey {
    /// From a public key of 32 bytes, as RFC 8032 encodes it.
    ///
    /// # Errors
    /// [`InvalidVerifierKey::Key`] for what is no point that may be a public key.
    pub fn new(name: KeyName, kind: SignatureKind, point: [u8; 32]) -> Result<Self, InvalidVerifierKey> {
        let public = PublicKey::from_spki_der(Algorithm::Ed25519, &ed25519_spki(&point)?)?;
        let id = key_id(&name, kind, &point);
        Ok(Self { name, kind, id, point, public })
    }

    /// From a public key as the store pins it.
    ///
    /// # Errors
    /// [`InvalidVerifierKey::Algorithm`] for a key that is not for Ed25519.
    pub fn from_public_key(name: KeyName, kind: SignatureKind, public: &PublicKey) -> Result<Self, InvalidVerifierKey> {
        match (public.algorithm(), public.spki_der().last_chunk()) {
            // The SPKI of an Ed25519 key ends with the 32 bytes.
            (Algorithm::Ed25519, Some(point)) => Self::new(name, kind, *point),
            (algorithm, _) => Err(InvalidVerifierKey::Algorithm(algorithm)),
        }
    }

    /// Reads a verifier key, strictly: writing it again gives the same text.
    ///
    /// # Errors
    /// [`InvalidVerifierKey`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, InvalidVerifierKey> {
        let form = || InvalidVerifierKey::Form;
        if text.len() > MAX_BYTES {
            return Err(form());
        }
        // Base64 has plus signs, too; name and id have none.
        let (name, rest) = text.split_once('+').ok_or_else(form)?;
        let (id, encoded) = rest.split_once('+').ok_or_else(form)?;
        let name = KeyName::parse(name)?;
        let actual = u32::from_str_radix(id, 16).or(Err(form()))?;
        let bytes = Base64::decode_vec(encoded).or(Err(form()))?;
        let (code, point) = bytes.split_first().ok_or_else(form)?;
        let kind = SignatureKind::ALL.into_iter().find(|kind| kind.code() == *code);
        let kind = kind.ok_or(InvalidVerifierKey::Kind(*code))?;
        let key = Self::new(name, kind, point.try_into().or(Err(form()))?)?;
        if key.id != actual {
            return Err(InvalidVerifierKey::Id { expected: key.id, actual });
        }
        if key.to_string() == text { Ok(key) } else { Err(form()) }
    }

    /// The name it signs by.
    #[must_use]
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// The kind of signatures it makes.
    #[must_use]
    pub const fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// Its id, which is in its signatures: an identifier, and too short to be a fingerprint.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Whether a signature says that it is of this key.
    pub(super) fn is_named_by(&self, signature: &NoteSignature) -> bool {
        signature.key_id == self.id && signature.name == self.name
    }

    /// What this key signs for a text; at this time, in seconds, for a cosignature.
    pub(super) fn message(&self, text: &str, time: u64) -> Vec<u8> {
        match self.kind {
            SignatureKind::Ed25519 => text.as_bytes().to_vec(),
            SignatureKind::Cosignature => format!("cosignature/v1\ntime {time}\n{text}").into_bytes(),
        }
    }

    /// Checks a signature over a text, and answers the time that a cosignature says.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, NotItsSignature> {
        let (time, signature) = match self.kind {
            SignatureKind::Ed25519 => (None, signature),
            SignatureKind::Cosignature => {
                let (time, signature) = signature.split_first_chunk().ok_or(NotItsSignature)?;
                let time = u64::from_be_bytes(*time);
                // The specification's limit.
                i64::try_from(time).or(Err(NotItsSignature))?;
                (Some(time), signature)
            }
        };
        let message = self.message(text, time.unwrap_or_default());
        // The encoding plays no part for Ed25519.
        let verified = self.public.verify(SignedInput::Message(&message), signature, EcdsaEncoding::P1363);
        verified.map(|()| time).or(Err(NotItsSignature))
    }
}

/// The signature is not one of the key over the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotItsSignature;

impl PartialEq for VerifierKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.kind, self.point) == (&other.name, other.kind, other.point)
    }
}

impl Eq for VerifierKey {}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = [self.kind.code(); 33];
        key[1..].copy_from_slice(&self.point);
        write!(f, "{}+{:08x}+{}", self.name, self.id, Base64::encode_string(&key))
    }
}

/// The first four bytes of SHA-256 of the name, a newline, the kind's code and the key.
fn key_id(name: &KeyName, kind: SignatureKind, point: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = sha256(&[name.as_str().as_bytes(), b"\n", &[kind.code()], point].concat());
    u32::from_be_bytes([a, b, c, d])
}
