//! Checkpoints: what a log says of itself, signed. C2SP tlog-checkpoint (<https://c2sp.org/tlog-checkpoint>).

use crate::decimal;
use crate::note::{KeyName, NoteError, SignatureKind, SignedNote, Verified, VerifierKey};
use base64ct::{Base64, Encoding};
use chancery_model::Sha256Hash;
use std::fmt;

/// The size and root of a log: its text form is what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Sha256Hash,
    extensions: Vec<String>,
}

/// A checkpoint with its signatures. Not verified: see [`SignedCheckpoint::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    note: SignedNote,
    checkpoint: Checkpoint,
}

/// Why something is no checkpoint, or a checkpoint is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text of the note.
    #[error("not a checkpoint: {0}")]
    Form(&'static str),
    /// The log's name is not the signer's.
    #[error("the checkpoint is of the log {origin:?}, and signed by no trusted key of that name")]
    Origin {
        /// The log's name.
        origin: String,
    },
}

impl Checkpoint {
    /// The checkpoint of a log that signs by its own name.
    #[must_use]
    pub fn new(origin: &KeyName, size: u64, root: Sha256Hash) -> Self {
        Self { origin: origin.as_str().to_owned(), size, root, extensions: Vec::new() }
    }

    /// Reads the text of a checkpoint, strictly: writing it again gives the same text.
    ///
    /// # Errors
    /// [`CheckpointError::Form`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let form = CheckpointError::Form;
        let mut lines = text.strip_suffix('\n').ok_or(form("its text does not end in a newline"))?.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty());
        let origin = line().ok_or(form("its first line, the log's name, is missing"))?;
        // Others count in signed numbers of 64 bits.
        let size = line().and_then(decimal::parse).filter(|size| i64::try_from(*size).is_ok());
        let size = size.ok_or(form("its second line is not the number of leaves"))?;
        let root = line().and_then(hash_from_base64).ok_or(form("its third line is not a SHA-256 hash in base64"))?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.iter().any(String::is_empty) {
            return Err(form("it has an empty line"));
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions })
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many leaves the log has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    #[must_use]
    pub const fn root(&self) -> &Sha256Hash {
        &self.root
    }

    /// Further lines, which mean nothing to Chancery. It writes none.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, Base64::encode_string(&self.root))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl SignedCheckpoint {
    /// A checkpoint that nobody has signed yet.
    ///
    /// # Errors
    /// [`CheckpointError`] for a log's name that a checkpoint cannot have.
    pub fn unsigned(checkpoint: Checkpoint) -> Result<Self, CheckpointError> {
        Ok(Self { note: SignedNote::unsigned(checkpoint.to_string())?, checkpoint })
    }

    /// Reads a checkpoint with its signatures, strictly: writing it again gives the same bytes.
    ///
    /// # Errors
    /// [`CheckpointError`] says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = SignedNote::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        Ok(Self { note, checkpoint })
    }

    /// The note, to be signed, and its signatures, to be shown.
    pub const fn note(&self) -> &SignedNote {
        &self.note
    }

    /// The note, to add signatures to.
    pub const fn note_mut(&mut self) -> &mut SignedNote {
        &mut self.note
    }

    /// What it says, whoever says it.
    #[must_use]
    pub const fn unverified(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What it says, if the log says it: signed by one of these keys, whose name is the log's. Several keys are for a log
    /// that changed its key.
    ///
    /// # Errors
    /// [`CheckpointError`]: it is not to be believed.
    pub fn verify(&self, log_keys: &[VerifierKey]) -> Result<&Checkpoint, CheckpointError> {
        let of_the_log = |verified: &Verified<'_>| {
            verified.key.kind() == SignatureKind::Ed25519 && verified.key.name().as_str() == self.checkpoint.origin
        };
        if self.note.verify(log_keys)?.iter().any(of_the_log) {
            Ok(&self.checkpoint)
        } else {
            Err(CheckpointError::Origin { origin: self.checkpoint.origin.clone() })
        }
    }

    /// The cosignatures of these witnesses, each once. Other keys' are passed over, and so are keys that are no witness's.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`]: a signature is said to be of one of these keys and is not.
    pub fn cosignatures<'a>(&self, witnesses: &'a [VerifierKey]) -> Result<Vec<Verified<'a>>, NoteError> {
        match self.note.verify(witnesses) {
            Err(NoteError::NotTrusted) => Ok(Vec::new()),
            verified => Ok(verified?.into_iter().filter(|one| one.time.is_some()).collect()),
        }
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

/// A hash as the C2SP formats write it.
pub(crate) fn hash_from_base64(text: &str) -> Option<Sha256Hash> {
    let mut hash = Sha256Hash::default();
    (Base64::decode(text, &mut hash).ok()?.len() == 32).then_some(hash)
}
