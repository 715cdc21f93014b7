//! Hash functions.

use std::fmt;

/// A hash function: of FIPS 180-4, or Keccak-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashAlgorithm {
    /// SHA-256: 32 bytes.
    Sha256,
    /// SHA-384: 48 bytes.
    Sha384,
    /// SHA-512: 64 bytes.
    Sha512,
    /// Keccak-256 with the padding of the Keccak submission, as Ethereum uses it; not SHA3-256 of FIPS 202. 32 bytes.
    Keccak256,
}

impl HashAlgorithm {
    /// Length of a digest in bytes.
    #[must_use]
    pub const fn output_bytes(self) -> usize {
        match self {
            Self::Sha256 | Self::Keccak256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The standard's name, for example `SHA-256`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
            Self::Keccak256 => "KECCAK-256",
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
