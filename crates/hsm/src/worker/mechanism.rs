//! How each algorithm is asked of a token.

use super::fault::Fault;
use crate::{HsmErrorKind, MAX_DEVICE_MESSAGE_BYTES};
use chancery_model::{Algorithm, Curve, HashAlgorithm, KeyType, MlDsaParameterSet, SignatureScheme};
use cryptoki::mechanism::dsa::{HedgeType, SignAdditionalContext};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, MlDsaParameterSetType};
use cryptoki::types::Ulong;

/// The mechanism that signs, or makes and checks MACs, with its parameters.
pub(super) fn signing(algorithm: Algorithm) -> Result<Mechanism<'static>, Fault> {
    Ok(match algorithm.scheme() {
        SignatureScheme::RsaPkcs1 => Mechanism::RsaPkcs,
        SignatureScheme::RsaPss => Mechanism::RsaPkcsPss(pss(algorithm)?),
        SignatureScheme::Ecdsa => Mechanism::Ecdsa,
        SignatureScheme::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
        // Without parameters: pure, with an empty context, hedged if the token likes (PKCS#11 v3.2, section 6.67.6).
        SignatureScheme::MlDsa => Mechanism::MlDsa(SignAdditionalContext::new(HedgeType::Preferred, None)),
        SignatureScheme::Hmac(HashAlgorithm::Sha256) => Mechanism::Sha256Hmac,
        SignatureScheme::Hmac(HashAlgorithm::Sha384) => Mechanism::Sha384Hmac,
        SignatureScheme::Hmac(HashAlgorithm::Sha512) => Mechanism::Sha512Hmac,
        SignatureScheme::Hmac(HashAlgorithm::Keccak256) => return Err(no_mechanism(HashAlgorithm::Keccak256)),
        SignatureScheme::AesCmac => Mechanism::AesCMac,
    })
}

fn pss(algorithm: Algorithm) -> Result<PkcsPssParams, Fault> {
    let hash = hash_of(algorithm)?;
    let (hash_alg, mgf) = match hash {
        HashAlgorithm::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        HashAlgorithm::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        HashAlgorithm::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
        HashAlgorithm::Keccak256 => return Err(no_mechanism(hash)),
    };
    let s_len =
        Ulong::try_from(hash.output_bytes()).map_err(|error| Fault::pkcs11("the length of the PSS salt", &error))?;
    Ok(PkcsPssParams { hash_alg, mgf, s_len })
}

/// Checks the input's length. Tokens do not: CKM_ECDSA takes anything up to 1,000 bytes and cuts it off silently.
pub(super) fn check_input(algorithm: Algorithm, input: &[u8]) -> Result<(), Fault> {
    let fits = match algorithm.scheme() {
        // DigestInfo of the SHA-2 hashes: 19 bytes, then the digest.
        SignatureScheme::RsaPkcs1 => input.len() == 19 + hash_of(algorithm)?.output_bytes(),
        SignatureScheme::RsaPss | SignatureScheme::Ecdsa => input.len() == hash_of(algorithm)?.output_bytes(),
        SignatureScheme::Ed25519 | SignatureScheme::MlDsa | SignatureScheme::Hmac(_) | SignatureScheme::AesCmac => {
            input.len() <= MAX_DEVICE_MESSAGE_BYTES
        }
    };
    if fits {
        Ok(())
    } else {
        let message = format!("{} bytes are no input for {algorithm}", input.len());
        Err(Fault::new(HsmErrorKind::InputLength, message))
    }
}

fn no_mechanism(hash: HashAlgorithm) -> Fault {
    Fault::new(HsmErrorKind::Bug, format!("PKCS#11 has no mechanism for this with {hash}"))
}

fn hash_of(algorithm: Algorithm) -> Result<HashAlgorithm, Fault> {
    algorithm.hash().ok_or_else(|| Fault::new(HsmErrorKind::Bug, format!("{algorithm} has no hash function")))
}

/// The mechanism that makes a key, and what the template (of a pair: the public one) must say about it: the modulus,
/// the curve, the parameter set or the length.
pub(super) fn generating(
    key_type: KeyType,
    edwards: EdwardsName,
) -> Result<(Mechanism<'static>, Vec<Attribute>), Fault> {
    Ok(match key_type {
        KeyType::Rsa { modulus_bits } => {
            let bits = Attribute::ModulusBits(size(modulus_bits)?);
            (Mechanism::RsaPkcsKeyPairGen, vec![bits, Attribute::PublicExponent(vec![1, 0, 1])])
        }
        KeyType::Ec(curve) => (Mechanism::EccKeyPairGen, vec![Attribute::EcParams(curve_oid(curve).to_vec())]),
        KeyType::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, vec![Attribute::EcParams(edwards.parameters().to_vec())]),
        KeyType::MlDsa(set) => (Mechanism::MlDsaKeyPairGen, vec![Attribute::ParameterSet(parameter_set(set).into())]),
        KeyType::GenericSecret { bytes } => {
            (Mechanism::GenericSecretKeyGen, vec![secret_type(key_type)?, Attribute::ValueLen(size(bytes)?)])
        }
        KeyType::Aes { bytes } => {
            (Mechanism::AesKeyGen, vec![secret_type(key_type)?, Attribute::ValueLen(size(bytes)?)])
        }
    })
}

/// Whether a key of this type is one secret object and not a pair.
pub(super) const fn is_secret(key_type: KeyType) -> bool {
    match key_type {
        KeyType::GenericSecret { .. } | KeyType::Aes { .. } => true,
        KeyType::Rsa { .. } | KeyType::Ec(_) | KeyType::Ed25519 | KeyType::MlDsa(_) => false,
    }
}

/// CKA_KEY_TYPE of a secret. One for HMAC is a generic one: the key types that name a hash are not known to every token.
pub(super) fn secret_type(key_type: KeyType) -> Result<Attribute, Fault> {
    match key_type {
        KeyType::GenericSecret { .. } => Ok(Attribute::KeyType(cryptoki::object::KeyType::GENERIC_SECRET)),
        KeyType::Aes { .. } => Ok(Attribute::KeyType(cryptoki::object::KeyType::AES)),
        KeyType::Rsa { .. } | KeyType::Ec(_) | KeyType::Ed25519 | KeyType::MlDsa(_) => {
            Err(Fault::new(HsmErrorKind::Bug, "a key pair is no secret"))
        }
    }
}

fn size(size: u32) -> Result<Ulong, Fault> {
    let size =
        usize::try_from(size).map_err(|error| Fault::new(HsmErrorKind::Bug, format!("the size of a key: {error}")))?;
    Ulong::try_from(size).map_err(|error| Fault::pkcs11("the size of a key", &error))
}

const fn parameter_set(set: MlDsaParameterSet) -> MlDsaParameterSetType {
    match set {
        MlDsaParameterSet::MlDsa44 => MlDsaParameterSetType::ML_DSA_44,
        MlDsaParameterSet::MlDsa65 => MlDsaParameterSetType::ML_DSA_65,
        MlDsaParameterSet::MlDsa87 => MlDsaParameterSetType::ML_DSA_87,
    }
}

/// DER OBJECT IDENTIFIER of a curve (SEC 2; RFC 5480, section 2.1.1.1).
pub(super) const fn curve_oid(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P256 => &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07],
        Curve::P384 => &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22],
        Curve::P521 => &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x23],
        Curve::Secp256k1 => &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x0A],
    }
}

/// How a token wants Ed25519 named in CKA_EC_PARAMS; the probe finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EdwardsName {
    /// By its object identifier (RFC 8410, section 3; PKCS#11 v3.1).
    Oid,
    /// By a PrintableString (PKCS#11 v3.0, section 2.3.10).
    CurveName,
}

impl EdwardsName {
    const fn parameters(self) -> &'static [u8] {
        match self {
            Self::Oid => &[0x06, 0x03, 0x2B, 0x65, 0x70],
            Self::CurveName => b"\x13\x0Cedwards25519",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_any_other_length_are_refused() {
        for algorithm in Algorithm::ALL {
            let right = match (algorithm.scheme(), algorithm.hash()) {
                (SignatureScheme::RsaPkcs1, Some(hash)) => 19 + hash.output_bytes(),
                (_, Some(hash)) => hash.output_bytes(),
                (_, None) => MAX_DEVICE_MESSAGE_BYTES,
            };
            assert!(check_input(algorithm, &vec![0; right]).is_ok(), "{algorithm}");
            assert!(check_input(algorithm, &vec![0; right + 1]).is_err(), "{algorithm}");
            if algorithm.hash().is_some() {
                assert!(check_input(algorithm, &vec![0; right - 1]).is_err(), "{algorithm}");
            }
        }
    }
}
