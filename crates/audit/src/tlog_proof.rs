//! Proofs to keep: a checkpoint and the proof that a leaf is in its tree, in one text that is checked without the log.
//! C2SP tlog-proof (<https://c2sp.org/tlog-proof>).

use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint, hash_from_base64};
use crate::decimal;
use crate::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::tree::{ProofError, check_inclusion};
use base64ct::{Base64, Encoding};
use chancery_model::Sha256Hash;
use std::fmt;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The most bytes of extra data: room for a leaf of any length, its salt and its details.
pub const MAX_EXTRA_BYTES: usize = 512 * 1024;

/// The most bytes that are read: header, extra data in base64, index, 64 hashes, checkpoint.
const MAX_BYTES: usize = MAX_EXTRA_BYTES / 3 * 4 + 4 * 1024 + MAX_NOTE_BYTES;

/// No tree of fewer than 2^64 leaves has a longer proof.
const MAX_HASHES: usize = 64;

/// A proof. Not verified: see [`TlogProof::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// What the application needs to make the leaf again. **Not part of the proof**: nothing vouches for it but that the
    /// leaf's hash comes out right.
    pub extra: Vec<u8>,
    /// The leaf's index.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling up.
    pub hashes: Vec<Sha256Hash>,
    /// The checkpoint.
    pub checkpoint: SignedCheckpoint,
}

/// Why something is no proof, or proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Longer than any proof.
    #[error("{0} bytes are more than a proof may have ({MAX_BYTES})")]
    TooLong(usize),
    /// Not a proof.
    #[error("not a {HEADER}: {0}")]
    Form(&'static str),
    /// The checkpoint in it.
    #[error("the proof's checkpoint does not hold")]
    Checkpoint(#[from] CheckpointError),
    /// The inclusion proof in it.
    #[error("the leaf is not shown to be in the log")]
    Inclusion(#[from] ProofError),
}

impl TlogProof {
    /// Reads a proof, strictly: writing it again gives the same bytes.
    ///
    /// # Errors
    /// [`TlogProofError`] says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        let form = TlogProofError::Form;
        if bytes.len() > MAX_BYTES {
            return Err(TlogProofError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).or(Err(form("it is not UTF-8")))?;
        if text.contains('\r') {
            return Err(form(
                "its lines end in CR LF, and those of a proof in LF: something took it for text and changed it",
            ));
        }
        // The first empty line: the checkpoint has another one.
        let (proof, checkpoint) = text.split_once("\n\n").ok_or(form("it has no checkpoint"))?;
        let mut lines = proof.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(form("its first line is another"));
        }
        let mut line = lines.next();
        let mut extra = Vec::new();
        if let Some(encoded) = line.and_then(|line| line.strip_prefix("extra ")) {
            extra = Base64::decode_vec(encoded).or(Err(form("its extra data is not base64")))?;
            if extra.is_empty() || extra.len() > MAX_EXTRA_BYTES {
                return Err(form("its extra data is empty or too long"));
            }
            line = lines.next();
        }
        let index = line.and_then(|line| line.strip_prefix("index ")).and_then(decimal::parse);
        let index = index.ok_or(form("the leaf's index is missing"))?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == MAX_HASHES {
                return Err(form("it has more hashes than any tree is high"));
            }
            hashes.push(hash_from_base64(line).ok_or(form("a line of it is not a SHA-256 hash in base64"))?);
        }
        Ok(Self { extra, index, hashes, checkpoint: SignedCheckpoint::parse(checkpoint.as_bytes())? })
    }

    /// Checks that the log, by one of its keys, says that its leaf [`index`](Self::index) has this hash, and answers the
    /// checkpoint in which it says so. The caller makes the hash from the leaf, and the leaf from what he knows; the
    /// checkpoint's cosignatures are checked by themselves ([`SignedCheckpoint::cosignatures`]).
    ///
    /// # Errors
    /// [`TlogProofError`]: that is not shown.
    pub fn verify(&self, leaf_hash: &Sha256Hash, log_keys: &[VerifierKey]) -> Result<&Checkpoint, TlogProofError> {
        let checkpoint = self.checkpoint.verify(log_keys)?;
        check_inclusion(leaf_hash, self.index, checkpoint.size(), checkpoint.root(), &self.hashes)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", Base64::encode_string(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", Base64::encode_string(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
