//! Signed notes: text, and the signatures of those who vouch for it. C2SP signed-note
//! (<https://c2sp.org/signed-note>).
//!
//! In scope: the format, verifier keys, and the two kinds of signatures that Chancery meets: a log's (Ed25519) and a
//! witness's (tlog-cosignature v1, the same with a time). Out of scope: private keys; who signs hands in a function.
//!
//! A note is nobody's word until it was verified.

mod key;
mod line;
mod sign;

pub use key::{InvalidVerifierKey, KeyName, SignatureKind, VerifierKey};
pub use line::NoteSignature;
pub use sign::SignError;

use std::collections::BTreeMap;
use std::fmt;

/// The longest note that is read: room for more signatures than [`MAX_SIGNATURES`] of any size in use.
pub const MAX_NOTE_BYTES: usize = 512 * 1024;

/// The most signatures that a note may have. (Readers must take 16 at least.)
pub const MAX_SIGNATURES: usize = 64;

/// Text with signatures. Not verified: see [`SignedNote::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// Why something is no note, or a note is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("{0} bytes are more than a signed note may have ({MAX_NOTE_BYTES})")]
    TooLong(usize),
    /// Not a note.
    #[error("not a signed note: {0}")]
    Form(&'static str),
    /// A signature line that is none.
    #[error("not a signed note: its signature line {0} is not a dash, a key's name and a signature in base64")]
    Line(usize),
    /// More than [`MAX_SIGNATURES`].
    #[error("the note has more signatures than the {MAX_SIGNATURES} that are read")]
    TooManySignatures,
    /// A signature by the name and id of a known key that is not its.
    #[error("the signature by {name} is not one of its key over this note: the note was changed, or the signature")]
    BadSignature {
        /// The key's name.
        name: KeyName,
    },
    /// No signature of a known key.
    #[error("none of the note's signatures is by a key that was named as trusted")]
    NotTrusted,
}

/// A signature that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified<'a> {
    /// By which key.
    pub key: &'a VerifierKey,
    /// When, in seconds since 1970-01-01T00:00:00Z, as the signer says; only cosignatures say it.
    pub time: Option<u64>,
}

impl SignedNote {
    /// A text that nobody has signed yet.
    ///
    /// # Errors
    /// [`NoteError::Form`] for a text that no note can have.
    pub fn unsigned(text: String) -> Result<Self, NoteError> {
        check_characters(&text)?;
        if text.len() < 2 || !text.ends_with('\n') {
            return Err(NoteError::Form("its text does not end in a newline"));
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Reads a note, strictly: writing it again gives the same bytes.
    ///
    /// # Errors
    /// [`NoteError`] says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let note = std::str::from_utf8(bytes).or(Err(NoteError::Form("it is not UTF-8")))?;
        // The text may have empty lines; the last one ends it.
        let (text, signatures) =
            note.rsplit_once("\n\n").ok_or(NoteError::Form("no empty line stands before signatures"))?;
        let Self { text, .. } = Self::unsigned(format!("{text}\n"))?;
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Form("it does not end in a newline"))?;
        let mut signatures = Vec::new();
        for (number, line) in (1..).zip(lines.split('\n')) {
            if number > MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::Line(number))?);
        }
        Ok(Self { text, signatures })
    }

    /// What is signed, with its last newline.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in their order, unverified.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The signatures of these keys, each key once, in the order of `keys`; where a key signed twice, its latest. Signatures
    /// of other keys are passed over.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] where one that is said to be of one of these keys is not; [`NoteError::NotTrusted`] where
    /// there is none of these keys.
    pub fn verify<'a>(&self, keys: &'a [VerifierKey]) -> Result<Vec<Verified<'a>>, NoteError> {
        let mut verified = BTreeMap::new();
        for signature in &self.signatures {
            let known = keys.iter().enumerate().filter(|(_, key)| key.is_named_by(signature));
            for (place, key) in known {
                let Ok(time) = key.verify(&self.text, &signature.signature) else {
                    return Err(NoteError::BadSignature { name: signature.name.clone() });
                };
                let latest = verified.entry(place).or_insert(Verified { key, time });
                latest.time = latest.time.max(time);
            }
        }
        if verified.is_empty() { Err(NoteError::NotTrusted) } else { Ok(verified.into_values().collect()) }
    }

    /// Adds the signatures of these keys that are among `lines`, as a witness answers them; what the note has already is
    /// not added again. Nothing is added that was not verified.
    ///
    /// # Errors
    /// [`NoteError`]: `lines` are no lines of signatures, one of them is said to be of one of these keys and is not, or
    /// none is of one of them. The note is as it was.
    pub fn add_verified<'a>(&mut self, lines: &[u8], keys: &'a [VerifierKey]) -> Result<Vec<Verified<'a>>, NoteError> {
        let answer = Self::parse(&[self.text.as_bytes(), b"\n", lines].concat())?;
        // An empty line in the answer would make what stands before it a part of the text that is verified.
        if answer.text != self.text {
            return Err(NoteError::Form("what should be lines of signatures has text before them"));
        }
        let verified = answer.verify(keys)?;
        let known = |signature: &NoteSignature| {
            keys.iter().any(|key| key.is_named_by(signature)) && !self.signatures.contains(signature)
        };
        let new: Vec<NoteSignature> = answer.signatures.into_iter().filter(known).collect();
        if self.signatures.len() + new.len() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.extend(new);
        Ok(verified)
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// Newline is the only control character that a note may have.
fn check_characters(text: &str) -> Result<(), NoteError> {
    if text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(NoteError::Form("it has control characters"));
    }
    Ok(())
}
