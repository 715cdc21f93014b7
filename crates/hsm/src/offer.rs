//! Which algorithms a token can serve, from what it lists and what a probe showed; never from its name.

use crate::wire::{MechanismFact, MechanismFlag, TokenFacts};
use chancery_model::{Algorithm, Curve, HashAlgorithm, KeyPurpose, KeyType, MlDsaParameterSet, SignatureScheme};

/// The mechanism that signs, or makes MACs, for an algorithm.
pub(crate) const fn signing_mechanism(algorithm: Algorithm) -> &'static str {
    match algorithm.scheme() {
        SignatureScheme::RsaPkcs1 => "CKM_RSA_PKCS",
        SignatureScheme::RsaPss => "CKM_RSA_PKCS_PSS",
        SignatureScheme::Ecdsa => "CKM_ECDSA",
        SignatureScheme::Ed25519 => "CKM_EDDSA",
        SignatureScheme::MlDsa => "CKM_ML_DSA",
        SignatureScheme::Hmac(HashAlgorithm::Sha256) => "CKM_SHA256_HMAC",
        SignatureScheme::Hmac(HashAlgorithm::Sha384) => "CKM_SHA384_HMAC",
        SignatureScheme::Hmac(HashAlgorithm::Sha512) => "CKM_SHA512_HMAC",
        // PKCS#11 has none, so no token lists it.
        SignatureScheme::Hmac(HashAlgorithm::Keccak256) => "HMAC with Keccak-256",
        SignatureScheme::AesCmac => "CKM_AES_CMAC",
    }
}

/// The mechanism that makes keys for an algorithm.
pub(crate) const fn generating_mechanism(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Rsa { .. } => "CKM_RSA_PKCS_KEY_PAIR_GEN",
        KeyType::Ec(_) => "CKM_EC_KEY_PAIR_GEN",
        KeyType::Ed25519 => "CKM_EC_EDWARDS_KEY_PAIR_GEN",
        KeyType::MlDsa(_) => "CKM_ML_DSA_KEY_PAIR_GEN",
        KeyType::GenericSecret { .. } => "CKM_GENERIC_SECRET_KEY_GEN",
        KeyType::Aes { .. } => "CKM_AES_KEY_GEN",
    }
}

/// A key of this type, as facts and messages name it.
pub(crate) fn key_name(key_type: KeyType) -> String {
    match key_type {
        KeyType::Rsa { modulus_bits } => format!("an RSA key of {modulus_bits} bits"),
        KeyType::Ec(curve) => format!("a key on the curve {}", curve.as_str()),
        KeyType::Ed25519 => "a key on the curve Ed25519".to_owned(),
        KeyType::MlDsa(set) => format!("an {} key", set.as_str()),
        KeyType::GenericSecret { bytes } => format!("a secret of {bytes} bytes"),
        KeyType::Aes { bytes } => format!("an AES key of {bytes} bytes"),
    }
}

/// The key types of which one is made to see whether the token can: what it lists does not tell its curves and
/// parameter sets, and gives the sizes of secrets in bits, in bytes or not at all.
pub(crate) const PROBED: [KeyType; 12] = [
    KeyType::Ec(Curve::P256),
    KeyType::Ec(Curve::P384),
    KeyType::Ec(Curve::P521),
    KeyType::Ec(Curve::Secp256k1),
    KeyType::Ed25519,
    KeyType::MlDsa(MlDsaParameterSet::MlDsa44),
    KeyType::MlDsa(MlDsaParameterSet::MlDsa65),
    KeyType::MlDsa(MlDsaParameterSet::MlDsa87),
    KeyType::GenericSecret { bytes: 32 },
    KeyType::GenericSecret { bytes: 48 },
    KeyType::GenericSecret { bytes: 64 },
    KeyType::Aes { bytes: 32 },
];

impl TokenFacts {
    /// What the token lacks for an algorithm, in words; `None` where it lacks nothing.
    pub(crate) fn missing(&self, algorithm: Algorithm) -> Option<String> {
        let key_type = algorithm.key_type();
        let signing = signing_mechanism(algorithm);
        let generating = generating_mechanism(key_type);
        let demanded: &[_] = match algorithm.purpose() {
            KeyPurpose::Signature => &[(signing, MechanismFlag::Sign), (generating, MechanismFlag::GenerateKeyPair)],
            KeyPurpose::Mac => &[
                (signing, MechanismFlag::Sign),
                (signing, MechanismFlag::Verify),
                (generating, MechanismFlag::Generate),
            ],
        };
        if let Some((name, flag)) = demanded
            .iter()
            .find(|(name, flag)| !self.mechanism(name).is_some_and(|mechanism| mechanism.flags.contains(flag)))
        {
            return Some(format!("mechanism {name} with the flag {}", flag.as_str()));
        }
        match key_type {
            KeyType::Rsa { modulus_bits } => [signing, generating]
                .into_iter()
                .filter_map(|name| self.mechanism(name))
                .find(|mechanism| !(mechanism.min_size..=mechanism.max_size).contains(&u64::from(modulus_bits)))
                .map(|mechanism| {
                    let MechanismFact { name, min_size, max_size, .. } = mechanism;
                    format!("RSA keys of {modulus_bits} bits ({name} takes {min_size} to {max_size})")
                }),
            KeyType::Ec(_)
            | KeyType::Ed25519
            | KeyType::MlDsa(_)
            | KeyType::GenericSecret { .. }
            | KeyType::Aes { .. } => {
                let name = key_name(key_type);
                (!self.made.contains(&name)).then(|| format!("{generating} for {name}: it made none"))
            }
        }
    }

    fn mechanism(&self, name: &str) -> Option<&MechanismFact> {
        self.mechanisms.iter().find(|mechanism| mechanism.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(name: &str, min_size: u64, max_size: u64) -> MechanismFact {
        let flags = match name {
            _ if name.ends_with("KEY_PAIR_GEN") => vec![MechanismFlag::GenerateKeyPair],
            _ if name.ends_with("KEY_GEN") => vec![MechanismFlag::Generate],
            _ => vec![MechanismFlag::Sign, MechanismFlag::Verify],
        };
        MechanismFact { name: name.to_owned(), min_size, max_size, flags }
    }

    fn facts() -> TokenFacts {
        TokenFacts {
            mechanisms: vec![
                fact("CKM_RSA_PKCS_KEY_PAIR_GEN", 512, 3072),
                fact("CKM_RSA_PKCS", 512, 16_384),
                fact("CKM_EC_KEY_PAIR_GEN", 112, 521),
                fact("CKM_ECDSA", 112, 521),
                fact("CKM_ML_DSA_KEY_PAIR_GEN", 1312, 2592),
                fact("CKM_ML_DSA", 1312, 2592),
                fact("CKM_GENERIC_SECRET_KEY_GEN", 0, 0),
                fact("CKM_SHA256_HMAC", 0, 0),
                fact("CKM_SHA384_HMAC", 0, 0),
            ],
            made: [
                KeyType::Ec(Curve::P256),
                KeyType::MlDsa(MlDsaParameterSet::MlDsa65),
                KeyType::GenericSecret { bytes: 32 },
            ]
            .map(key_name)
            .into(),
            ..TokenFacts::default()
        }
    }

    #[test]
    fn what_is_there_is_offered() {
        for algorithm in [
            Algorithm::RsaPkcs1_2048Sha256,
            Algorithm::RsaPkcs1_3072Sha256,
            Algorithm::EcdsaP256Sha256,
            Algorithm::MlDsa65,
            Algorithm::HmacSha256,
        ] {
            assert_eq!(facts().missing(algorithm), None, "{algorithm}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (algorithm, word) in [
            (Algorithm::RsaPkcs1_4096Sha256, "4096 bits (CKM_RSA_PKCS_KEY_PAIR_GEN takes 512 to 3072)"),
            (Algorithm::RsaPss2048Sha256, "CKM_RSA_PKCS_PSS"),
            (Algorithm::EcdsaSecp256k1Keccak256, "secp256k1"),
            (Algorithm::Ed25519, "CKM_EDDSA"),
            (Algorithm::MlDsa87, "ML-DSA-87"),
            (Algorithm::HmacSha384, "a secret of 48 bytes"),
            (Algorithm::HmacSha512, "CKM_SHA512_HMAC"),
            (Algorithm::AesCmac, "CKM_AES_CMAC"),
        ] {
            let missing = facts().missing(algorithm).unwrap();
            assert!(missing.contains(word), "{missing}");
        }
    }

    #[test]
    fn a_mechanism_without_its_flag_does_not_count() {
        for (flag, algorithm) in [
            (MechanismFlag::Sign, Algorithm::EcdsaP256Sha256),
            (MechanismFlag::GenerateKeyPair, Algorithm::EcdsaP256Sha256),
            (MechanismFlag::Sign, Algorithm::HmacSha256),
            (MechanismFlag::Verify, Algorithm::HmacSha256),
            (MechanismFlag::Generate, Algorithm::HmacSha256),
        ] {
            let mut facts = facts();
            for mechanism in &mut facts.mechanisms {
                mechanism.flags.retain(|there| *there != flag);
            }
            assert!(facts.missing(algorithm).unwrap().contains(flag.as_str()), "{algorithm}");
        }
    }

    #[test]
    fn every_key_type_but_rsa_is_probed() {
        for algorithm in Algorithm::ALL {
            let key_type = algorithm.key_type();
            assert_ne!(PROBED.contains(&key_type), matches!(key_type, KeyType::Rsa { .. }), "{algorithm}");
        }
    }
}
