//! A key has ONE algorithm, fixed when it is made; it names key type, size, hash and padding together.

use std::fmt;
use std::str::FromStr;

use crate::{Curve, HashAlgorithm, KeyPurpose, KeyType, MlDsaParameterSet, SignatureScheme};

/// A signing algorithm: everything needed to make and to check a signature, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2), modulus of 2048 bits, SHA-256.
    RsaPkcs1_2048Sha256,
    /// RSASSA-PKCS1-v1_5, modulus of 3072 bits, SHA-256.
    RsaPkcs1_3072Sha256,
    /// RSASSA-PKCS1-v1_5, modulus of 4096 bits, SHA-256.
    RsaPkcs1_4096Sha256,
    /// RSASSA-PKCS1-v1_5, modulus of 4096 bits, SHA-512.
    RsaPkcs1_4096Sha512,
    /// RSASSA-PSS (RFC 8017, section 8.1), modulus of 2048 bits, SHA-256, MGF1 with SHA-256, salt of 32 bytes.
    RsaPss2048Sha256,
    /// RSASSA-PSS, modulus of 3072 bits, SHA-256, MGF1 with SHA-256, salt of 32 bytes.
    RsaPss3072Sha256,
    /// RSASSA-PSS, modulus of 4096 bits, SHA-256, MGF1 with SHA-256, salt of 32 bytes.
    RsaPss4096Sha256,
    /// RSASSA-PSS, modulus of 4096 bits, SHA-512, MGF1 with SHA-512, salt of 64 bytes.
    RsaPss4096Sha512,
    /// ECDSA (FIPS 186-5) on NIST P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on NIST P-384 with SHA-384.
    EcdsaP384Sha384,
    /// ECDSA on NIST P-521 with SHA-512.
    EcdsaP521Sha512,
    /// ECDSA on secp256k1 (SEC 2) with SHA-256; signatures are made low-S and carry a recovery id.
    EcdsaSecp256k1Sha256,
    /// ECDSA on secp256k1 with Keccak-256, as Ethereum uses it; signatures are made low-S and carry a recovery id.
    EcdsaSecp256k1Keccak256,
    /// Ed25519 (RFC 8032), pure: the token reads the message itself.
    Ed25519,
    /// ML-DSA-44 (FIPS 204), pure, with an empty context: the token reads the message itself.
    MlDsa44,
    /// ML-DSA-65 (FIPS 204), pure, with an empty context.
    MlDsa65,
    /// ML-DSA-87 (FIPS 204), pure, with an empty context.
    MlDsa87,
    /// HMAC (FIPS 198-1, RFC 2104) with SHA-256: a key of 32 bytes, a MAC of 32 bytes.
    HmacSha256,
    /// HMAC with SHA-384: a key of 48 bytes, a MAC of 48 bytes.
    HmacSha384,
    /// HMAC with SHA-512: a key of 64 bytes, a MAC of 64 bytes.
    HmacSha512,
    /// AES-CMAC (NIST SP 800-38B, RFC 4493) with a key of 256 bits: a MAC of 16 bytes.
    AesCmac,
}

impl Algorithm {
    /// Every algorithm, in the order in which documents list them.
    pub const ALL: [Self; 21] = [
        Self::RsaPkcs1_2048Sha256,
        Self::RsaPkcs1_3072Sha256,
        Self::RsaPkcs1_4096Sha256,
        Self::RsaPkcs1_4096Sha512,
        Self::RsaPss2048Sha256,
        Self::RsaPss3072Sha256,
        Self::RsaPss4096Sha256,
        Self::RsaPss4096Sha512,
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::EcdsaP521Sha512,
        Self::EcdsaSecp256k1Sha256,
        Self::EcdsaSecp256k1Keccak256,
        Self::Ed25519,
        Self::MlDsa44,
        Self::MlDsa65,
        Self::MlDsa87,
        Self::HmacSha256,
        Self::HmacSha384,
        Self::HmacSha512,
        Self::AesCmac,
    ];

    /// The name used in the API, the command line, the store and the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsaPkcs1_2048Sha256 => "RSA_PKCS1_2048_SHA256",
            Self::RsaPkcs1_3072Sha256 => "RSA_PKCS1_3072_SHA256",
            Self::RsaPkcs1_4096Sha256 => "RSA_PKCS1_4096_SHA256",
            Self::RsaPkcs1_4096Sha512 => "RSA_PKCS1_4096_SHA512",
            Self::RsaPss2048Sha256 => "RSA_PSS_2048_SHA256",
            Self::RsaPss3072Sha256 => "RSA_PSS_3072_SHA256",
            Self::RsaPss4096Sha256 => "RSA_PSS_4096_SHA256",
            Self::RsaPss4096Sha512 => "RSA_PSS_4096_SHA512",
            Self::EcdsaP256Sha256 => "ECDSA_P256_SHA256",
            Self::EcdsaP384Sha384 => "ECDSA_P384_SHA384",
            Self::EcdsaP521Sha512 => "ECDSA_P521_SHA512",
            Self::EcdsaSecp256k1Sha256 => "ECDSA_SECP256K1_SHA256",
            Self::EcdsaSecp256k1Keccak256 => "ECDSA_SECP256K1_KECCAK256",
            Self::Ed25519 => "ED25519",
            Self::MlDsa44 => "ML_DSA_44",
            Self::MlDsa65 => "ML_DSA_65",
            Self::MlDsa87 => "ML_DSA_87",
            Self::HmacSha256 => "HMAC_SHA256",
            Self::HmacSha384 => "HMAC_SHA384",
            Self::HmacSha512 => "HMAC_SHA512",
            Self::AesCmac => "AES_CMAC",
        }
    }

    /// What the algorithm's keys are for.
    #[must_use]
    pub const fn purpose(self) -> KeyPurpose {
        match self.scheme() {
            SignatureScheme::Hmac(_) | SignatureScheme::AesCmac => KeyPurpose::Mac,
            SignatureScheme::RsaPkcs1
            | SignatureScheme::RsaPss
            | SignatureScheme::Ecdsa
            | SignatureScheme::Ed25519
            | SignatureScheme::MlDsa => KeyPurpose::Signature,
        }
    }

    /// The kind of key.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::RsaPkcs1_2048Sha256 | Self::RsaPss2048Sha256 => KeyType::Rsa { modulus_bits: 2048 },
            Self::RsaPkcs1_3072Sha256 | Self::RsaPss3072Sha256 => KeyType::Rsa { modulus_bits: 3072 },
            Self::RsaPkcs1_4096Sha256 | Self::RsaPkcs1_4096Sha512 | Self::RsaPss4096Sha256 | Self::RsaPss4096Sha512 => {
                KeyType::Rsa { modulus_bits: 4096 }
            }
            Self::EcdsaP256Sha256 => KeyType::Ec(Curve::P256),
            Self::EcdsaP384Sha384 => KeyType::Ec(Curve::P384),
            Self::EcdsaP521Sha512 => KeyType::Ec(Curve::P521),
            Self::EcdsaSecp256k1Sha256 | Self::EcdsaSecp256k1Keccak256 => KeyType::Ec(Curve::Secp256k1),
            Self::Ed25519 => KeyType::Ed25519,
            Self::MlDsa44 => KeyType::MlDsa(MlDsaParameterSet::MlDsa44),
            Self::MlDsa65 => KeyType::MlDsa(MlDsaParameterSet::MlDsa65),
            Self::MlDsa87 => KeyType::MlDsa(MlDsaParameterSet::MlDsa87),
            Self::HmacSha256 => KeyType::GenericSecret { bytes: 32 },
            Self::HmacSha384 => KeyType::GenericSecret { bytes: 48 },
            Self::HmacSha512 => KeyType::GenericSecret { bytes: 64 },
            Self::AesCmac => KeyType::Aes { bytes: 32 },
        }
    }

    /// How the signature or the MAC is made.
    #[must_use]
    pub const fn scheme(self) -> SignatureScheme {
        match self {
            Self::RsaPkcs1_2048Sha256
            | Self::RsaPkcs1_3072Sha256
            | Self::RsaPkcs1_4096Sha256
            | Self::RsaPkcs1_4096Sha512 => SignatureScheme::RsaPkcs1,
            Self::RsaPss2048Sha256 | Self::RsaPss3072Sha256 | Self::RsaPss4096Sha256 | Self::RsaPss4096Sha512 => {
                SignatureScheme::RsaPss
            }
            Self::EcdsaP256Sha256
            | Self::EcdsaP384Sha384
            | Self::EcdsaP521Sha512
            | Self::EcdsaSecp256k1Sha256
            | Self::EcdsaSecp256k1Keccak256 => SignatureScheme::Ecdsa,
            Self::Ed25519 => SignatureScheme::Ed25519,
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => SignatureScheme::MlDsa,
            Self::HmacSha256 => SignatureScheme::Hmac(HashAlgorithm::Sha256),
            Self::HmacSha384 => SignatureScheme::Hmac(HashAlgorithm::Sha384),
            Self::HmacSha512 => SignatureScheme::Hmac(HashAlgorithm::Sha512),
            Self::AesCmac => SignatureScheme::AesCmac,
        }
    }

    /// The hash that is applied to the message before the token is asked; `None` where the token
    /// takes the message itself (Ed25519, ML-DSA, HMAC, AES-CMAC).
    #[must_use]
    pub const fn hash(self) -> Option<HashAlgorithm> {
        match self {
            Self::RsaPkcs1_2048Sha256
            | Self::RsaPkcs1_3072Sha256
            | Self::RsaPkcs1_4096Sha256
            | Self::RsaPss2048Sha256
            | Self::RsaPss3072Sha256
            | Self::RsaPss4096Sha256
            | Self::EcdsaP256Sha256
            | Self::EcdsaSecp256k1Sha256 => Some(HashAlgorithm::Sha256),
            Self::EcdsaP384Sha384 => Some(HashAlgorithm::Sha384),
            Self::RsaPkcs1_4096Sha512 | Self::RsaPss4096Sha512 | Self::EcdsaP521Sha512 => Some(HashAlgorithm::Sha512),
            Self::EcdsaSecp256k1Keccak256 => Some(HashAlgorithm::Keccak256),
            Self::Ed25519
            | Self::MlDsa44
            | Self::MlDsa65
            | Self::MlDsa87
            | Self::HmacSha256
            | Self::HmacSha384
            | Self::HmacSha512
            | Self::AesCmac => None,
        }
    }

    /// Length of a MAC in bytes, for MAC algorithms: it is never truncated.
    #[must_use]
    pub const fn mac_bytes(self) -> Option<usize> {
        match self.scheme() {
            SignatureScheme::Hmac(hash) => Some(hash.output_bytes()),
            SignatureScheme::AesCmac => Some(16),
            SignatureScheme::RsaPkcs1
            | SignatureScheme::RsaPss
            | SignatureScheme::Ecdsa
            | SignatureScheme::Ed25519
            | SignatureScheme::MlDsa => None,
        }
    }

    /// The curve, for ECDSA algorithms.
    #[must_use]
    pub const fn curve(self) -> Option<Curve> {
        match self.key_type() {
            KeyType::Ec(curve) => Some(curve),
            KeyType::Rsa { .. }
            | KeyType::Ed25519
            | KeyType::MlDsa(_)
            | KeyType::GenericSecret { .. }
            | KeyType::Aes { .. } => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no algorithm of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown algorithm {0:?}; the known ones are {known}", known = known_algorithms())]
pub struct UnknownAlgorithm(pub String);

fn known_algorithms() -> String {
    Algorithm::ALL.map(Algorithm::as_str).join(", ")
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Accepts the API's name in any letter case, with `-` for `_`.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let wanted = word.to_ascii_uppercase().replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == wanted)
            .ok_or_else(|| UnknownAlgorithm(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_parses_back_to_its_algorithm() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            assert_eq!(algorithm.as_str().to_lowercase().replace('_', "-").parse(), Ok(algorithm));
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let error = "DSA_1024".parse::<Algorithm>().unwrap_err();
        assert!(error.to_string().contains("ECDSA_P256_SHA256"), "{error}");
    }
}
