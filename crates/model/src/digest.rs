//! Digests whose length is known to fit their hash.

use crate::HashAlgorithm;
use std::fmt;

/// A SHA-256 hash of something of ours: a public key, a policy set, a signature, a row.
pub type Sha256Hash = [u8; 32];

/// The output of a hash function; as long as the function says.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    bytes: Vec<u8>,
}

/// The bytes are not as long as the hash function's output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {algorithm} digest has {expected} bytes, not {actual}")]
pub struct InvalidDigest {
    /// The hash function.
    pub algorithm: HashAlgorithm,
    /// Length of its output in bytes.
    pub expected: usize,
    /// Length that was given.
    pub actual: usize,
}

impl Digest {
    /// Takes bytes for the output of `algorithm`.
    ///
    /// # Errors
    /// [`InvalidDigest`] where the length is another.
    pub fn new(algorithm: HashAlgorithm, bytes: Vec<u8>) -> Result<Self, InvalidDigest> {
        let expected = algorithm.output_bytes();
        if bytes.len() == expected {
            Ok(Self { algorithm, bytes })
        } else {
            Err(InvalidDigest { algorithm, expected, actual: bytes.len() })
        }
    }

    /// The hash function.
    #[must_use]
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The digest itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Digest {
    // A digest can identify a payload: it goes into the record, not into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.algorithm)
    }
}
