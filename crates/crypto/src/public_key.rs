//! A public key, checked and parsed once, for many verifications.

use crate::jwk::JoseName;
use crate::spki::{KeyMaterial, read_spki};
use crate::{PublicKeyError, ed25519_point, hex, sha256};
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use chancery_model::{Algorithm, KeyType, Sha256Hash};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// The public half of a key pair, with the one algorithm that it is for.
///
/// Cheap to clone, and shared between threads. Two are equal where algorithm and SPKI are.
#[derive(Clone)]
pub struct PublicKey(Arc<Inner>);

struct Inner {
    algorithm: Algorithm,
    spki_der: Box<[u8]>,
    spki_sha256: Sha256Hash,
    verifier: Verifier,
    /// Worked out at the first use.
    jose_name: OnceLock<Option<JoseName>>,
}

/// The key as the library that verifies with it keeps it.
pub(crate) enum Verifier {
    /// RSA, NIST curves (signatures in DER), Ed25519 and ML-DSA.
    AwsLc(ParsedPublicKey),
    /// secp256k1.
    K256(k256::ecdsa::VerifyingKey),
}

/// Which public exponents an RSA key may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exponents {
    Only65537,
    Any,
}

impl PublicKey {
    /// Takes an SPKI for a key of `algorithm`, as Chancery's tokens make them.
    ///
    /// Strict, since what passes is pinned and then trusted: the key type and curve are those of the
    /// algorithm, an RSA modulus has exactly the size and the public exponent 65537, a point is uncompressed,
    /// on the curve and not of small order, and the bytes are the one canonical DER encoding.
    ///
    /// # Errors
    /// [`PublicKeyError`] says which of these does not hold.
    pub fn from_spki_der(algorithm: Algorithm, der: &[u8]) -> Result<Self, PublicKeyError> {
        Self::load(algorithm, der, Exponents::Only65537)
    }

    /// As [`PublicKey::from_spki_der`], and takes any odd RSA public exponent from 3 to 33 bits: to verify with
    /// keys that were made elsewhere. Not for keys that Chancery pins.
    ///
    /// # Errors
    /// [`PublicKeyError`], as [`PublicKey::from_spki_der`].
    pub fn from_spki_der_any_exponent(algorithm: Algorithm, der: &[u8]) -> Result<Self, PublicKeyError> {
        Self::load(algorithm, der, Exponents::Any)
    }

    fn load(algorithm: Algorithm, der: &[u8], exponents: Exponents) -> Result<Self, PublicKeyError> {
        let material = read_spki(algorithm, der)?;
        match (&material, algorithm.key_type()) {
            (KeyMaterial::Rsa { modulus, public_exponent }, KeyType::Rsa { modulus_bits: expected }) => {
                let actual = bit_length(modulus);
                if u32::try_from(actual) != Ok(expected) {
                    return Err(PublicKeyError::ModulusSize { algorithm, expected, actual });
                }
                if exponents == Exponents::Only65537 && **public_exponent != [1, 0, 1] {
                    return Err(PublicKeyError::Exponent);
                }
            }
            (KeyMaterial::Ed25519 { point }, _) => {
                let sound = (*point).try_into().is_ok_and(ed25519_point::is_sound_public_key);
                if !sound {
                    return Err(PublicKeyError::NotOnCurve(algorithm));
                }
            }
            // The libraries check that the point is on the curve. These curves have no points of small order.
            // Any bytes of the right length are a public key of ML-DSA.
            (KeyMaterial::Ec { .. } | KeyMaterial::Rsa { .. } | KeyMaterial::MlDsa { .. }, _) => {}
        }
        let verifier = Verifier::load(algorithm, &material, der)?;
        Ok(Self(Arc::new(Inner {
            algorithm,
            spki_der: der.into(),
            spki_sha256: sha256(der),
            verifier,
            jose_name: OnceLock::new(),
        })))
    }

    /// The key's algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// The key as DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki_der
    }

    /// The SHA-256 hash of [`PublicKey::spki_der`].
    #[must_use]
    pub fn spki_sha256(&self) -> Sha256Hash {
        self.0.spki_sha256
    }

    /// The key as PEM, label `PUBLIC KEY` (RFC 7468, section 13), lines ending in LF.
    #[must_use]
    pub fn to_pem(&self) -> String {
        #[expect(clippy::expect_used, reason = "the label is a constant and the size of the text is measured first")]
        der::pem::encode_string("PUBLIC KEY", der::pem::LineEnding::LF, &self.0.spki_der)
            .expect("a key of a few thousand bytes has a PEM form")
    }

    /// The numbers and points that other encodings of the key are made of.
    pub(crate) fn material(&self) -> KeyMaterial<'_> {
        #[expect(clippy::expect_used, reason = "there is no PublicKey whose SPKI was not read by this function before")]
        read_spki(self.algorithm(), self.spki_der()).expect("an SPKI that was read once is read again")
    }

    pub(crate) fn jose_name(&self) -> Option<&JoseName> {
        self.0.jose_name.get_or_init(|| JoseName::of(self)).as_ref()
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }
}

impl Verifier {
    fn load(algorithm: Algorithm, material: &KeyMaterial<'_>, spki_der: &[u8]) -> Result<Self, PublicKeyError> {
        let backend: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::RsaPkcs1_2048Sha256 | Algorithm::RsaPkcs1_3072Sha256 | Algorithm::RsaPkcs1_4096Sha256 => {
                &signature::RSA_PKCS1_2048_8192_SHA256
            }
            Algorithm::RsaPkcs1_4096Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            // Salt exactly as long as the hash, MGF1 with the same hash: what aws-lc-rs does unless told otherwise.
            Algorithm::RsaPss2048Sha256 | Algorithm::RsaPss3072Sha256 | Algorithm::RsaPss4096Sha256 => {
                &signature::RSA_PSS_2048_8192_SHA256
            }
            Algorithm::RsaPss4096Sha512 => &signature::RSA_PSS_2048_8192_SHA512,
            Algorithm::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            Algorithm::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
            Algorithm::EcdsaP521Sha512 => &signature::ECDSA_P521_SHA512_ASN1,
            Algorithm::Ed25519 => &signature::ED25519,
            Algorithm::MlDsa44 => &signature::ML_DSA_44,
            Algorithm::MlDsa65 => &signature::ML_DSA_65,
            Algorithm::MlDsa87 => &signature::ML_DSA_87,
            Algorithm::HmacSha256 | Algorithm::HmacSha384 | Algorithm::HmacSha512 | Algorithm::AesCmac => {
                return Err(PublicKeyError::NoPublicKey(algorithm));
            }
            Algorithm::EcdsaSecp256k1Sha256 | Algorithm::EcdsaSecp256k1Keccak256 => {
                let KeyMaterial::Ec { point, .. } = material else {
                    return Err(PublicKeyError::WrongType(algorithm));
                };
                return k256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                    .map(Self::K256)
                    .map_err(PublicKeyError::RejectedSecp256k1);
            }
        };
        ParsedPublicKey::new(backend, spki_der)
            .map(Self::AwsLc)
            .map_err(|source| PublicKeyError::Rejected { algorithm, source })
    }
}

/// Length in bits of a big-endian number without leading zero bytes.
fn bit_length(number: &[u8]) -> usize {
    match number {
        [] => 0,
        [first, rest @ ..] => 8 * rest.len() + (u8::BITS - first.leading_zeros()) as usize,
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.algorithm == other.0.algorithm && self.0.spki_der == other.0.spki_der
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("algorithm", &self.0.algorithm)
            .field("spki_sha256", &format_args!("{}", hex::encode(&self.0.spki_sha256)))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
