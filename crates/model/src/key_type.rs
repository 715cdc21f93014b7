//! What kind of key an algorithm needs, what it is for, and how it is used.

use crate::HashAlgorithm;

/// What the keys of an algorithm are for (NIST SP 800-57 part 1, section 5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// A key pair that makes signatures: Sign, Verify, GetPublicKey.
    Signature,
    /// A secret that makes and checks message authentication codes: MacSign, MacVerify. It has no public half.
    Mac,
}

/// What kind of key an algorithm needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RSA with this modulus size in bits; the public exponent is 65537.
    Rsa {
        /// Size of the modulus in bits.
        modulus_bits: u32,
    },
    /// A key pair on a short Weierstrass curve.
    Ec(Curve),
    /// An Ed25519 key pair.
    Ed25519,
    /// An ML-DSA key pair.
    MlDsa(MlDsaParameterSet),
    /// A secret for HMAC.
    GenericSecret {
        /// Length of the secret in bytes: that of the hash's output (RFC 2104, section 3).
        bytes: u32,
    },
    /// A secret for AES.
    Aes {
        /// Length of the secret in bytes.
        bytes: u32,
    },
}

/// A parameter set of ML-DSA (FIPS 204, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MlDsaParameterSet {
    /// ML-DSA-44.
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
}

impl MlDsaParameterSet {
    /// The standard's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        }
    }

    /// Length of a public key in bytes (FIPS 204, table 2).
    #[must_use]
    pub const fn public_key_bytes(self) -> usize {
        match self {
            Self::MlDsa44 => 1312,
            Self::MlDsa65 => 1952,
            Self::MlDsa87 => 2592,
        }
    }

    /// Length of a signature in bytes (FIPS 204, table 2).
    #[must_use]
    pub const fn signature_bytes(self) -> usize {
        match self {
            Self::MlDsa44 => 2420,
            Self::MlDsa65 => 3309,
            Self::MlDsa87 => 4627,
        }
    }
}

/// A named short Weierstrass curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-256 (secp256r1).
    P256,
    /// NIST P-384 (secp384r1).
    P384,
    /// NIST P-521 (secp521r1).
    P521,
    /// secp256k1 (SEC 2).
    Secp256k1,
}

impl Curve {
    /// Length of a coordinate (and of r and of s) in bytes: 32, 48, 66 or 32.
    #[must_use]
    pub const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 | Self::Secp256k1 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The curve's usual name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::Secp256k1 => "secp256k1",
        }
    }
}

/// How a signature or a MAC is made with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1,
    /// RSASSA-PSS; salt as long as the hash, MGF1 with the same hash.
    RsaPss,
    /// ECDSA.
    Ecdsa,
    /// Pure Ed25519.
    Ed25519,
    /// Pure ML-DSA with an empty context.
    MlDsa,
    /// HMAC with this hash.
    Hmac(HashAlgorithm),
    /// AES-CMAC.
    AesCmac,
}
