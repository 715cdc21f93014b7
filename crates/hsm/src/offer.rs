//! Which algorithms a token can serve, from what it lists and what a probe showed; never from its name.

use crate::wire::{MechanismFact, TokenFacts};
use chancery_model::{Algorithm, Curve, KeyType, SignatureScheme};

/// The mechanism that signs for an algorithm.
pub(crate) const fn signing_mechanism(algorithm: Algorithm) -> &'static str {
    match algorithm.scheme() {
        SignatureScheme::RsaPkcs1 => "CKM_RSA_PKCS",
        SignatureScheme::RsaPss => "CKM_RSA_PKCS_PSS",
        SignatureScheme::Ecdsa => "CKM_ECDSA",
        SignatureScheme::Ed25519 => "CKM_EDDSA",
    }
}

/// The mechanism that makes key pairs for an algorithm.
pub(crate) const fn generating_mechanism(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Rsa { .. } => "CKM_RSA_PKCS_KEY_PAIR_GEN",
        KeyType::Ec(_) => "CKM_EC_KEY_PAIR_GEN",
        KeyType::Ed25519 => "CKM_EC_EDWARDS_KEY_PAIR_GEN",
    }
}

/// The curve of a key type, as facts and messages name it; `None` for RSA.
pub(crate) const fn curve_name(key_type: KeyType) -> Option<&'static str> {
    match key_type {
        KeyType::Rsa { .. } => None,
        KeyType::Ec(curve) => Some(curve.as_str()),
        KeyType::Ed25519 => Some("Ed25519"),
    }
}

/// The key types whose curves are probed.
pub(crate) const CURVES: [KeyType; 5] = [
    KeyType::Ec(Curve::P256),
    KeyType::Ec(Curve::P384),
    KeyType::Ec(Curve::P521),
    KeyType::Ec(Curve::Secp256k1),
    KeyType::Ed25519,
];

impl TokenFacts {
    /// What the token lacks for an algorithm, in words; `None` where it lacks nothing.
    pub(crate) fn missing(&self, algorithm: Algorithm) -> Option<String> {
        let signing = signing_mechanism(algorithm);
        let generating = generating_mechanism(algorithm.key_type());
        let Some(signs) = self.mechanism(signing).filter(|mechanism| mechanism.signs) else {
            return Some(format!("mechanism {signing} with the flag CKF_SIGN"));
        };
        let Some(generates) = self.mechanism(generating).filter(|mechanism| mechanism.generates_pairs) else {
            return Some(format!("mechanism {generating} with the flag CKF_GENERATE_KEY_PAIR"));
        };
        match (algorithm.key_type(), curve_name(algorithm.key_type())) {
            (KeyType::Rsa { modulus_bits }, _) => [signs, generates]
                .into_iter()
                .find(|mechanism| !(mechanism.min_bits..=mechanism.max_bits).contains(&u64::from(modulus_bits)))
                .map(|mechanism| {
                    let MechanismFact { name, min_bits, max_bits, .. } = mechanism;
                    format!("RSA keys of {modulus_bits} bits ({name} takes {min_bits} to {max_bits})")
                }),
            (_, Some(curve)) if !self.curves.contains(curve) => {
                Some(format!("the curve {curve} (it made no such key pair under {generating})"))
            }
            _ => None,
        }
    }

    fn mechanism(&self, name: &str) -> Option<&MechanismFact> {
        self.mechanisms.iter().find(|mechanism| mechanism.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(name: &str, min_bits: u64, max_bits: u64) -> MechanismFact {
        let generates_pairs = name.ends_with("KEY_PAIR_GEN");
        MechanismFact { name: name.to_owned(), min_bits, max_bits, signs: !generates_pairs, generates_pairs }
    }

    fn facts() -> TokenFacts {
        TokenFacts {
            mechanisms: vec![
                fact("CKM_RSA_PKCS_KEY_PAIR_GEN", 512, 3072),
                fact("CKM_RSA_PKCS", 512, 16_384),
                fact("CKM_EC_KEY_PAIR_GEN", 112, 521),
                fact("CKM_ECDSA", 112, 521),
            ],
            curves: ["P-256".to_owned()].into(),
            ..TokenFacts::default()
        }
    }

    #[test]
    fn what_is_there_is_offered() {
        for algorithm in [Algorithm::RsaPkcs1_2048Sha256, Algorithm::RsaPkcs1_3072Sha256, Algorithm::EcdsaP256Sha256] {
            assert_eq!(facts().missing(algorithm), None, "{algorithm}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (algorithm, word) in [
            (Algorithm::RsaPkcs1_4096Sha256, "4096 bits (CKM_RSA_PKCS_KEY_PAIR_GEN takes 512 to 3072)"),
            (Algorithm::RsaPss2048Sha256, "CKM_RSA_PKCS_PSS"),
            (Algorithm::EcdsaSecp256k1Sha256, "secp256k1"),
            (Algorithm::Ed25519, "CKM_EDDSA"),
        ] {
            let missing = facts().missing(algorithm).unwrap();
            assert!(missing.contains(word), "{missing}");
        }
    }

    #[test]
    fn a_mechanism_without_its_flag_does_not_count() {
        let mut facts = facts();
        for mechanism in &mut facts.mechanisms {
            mechanism.signs = false;
        }
        assert!(facts.missing(Algorithm::EcdsaP256Sha256).unwrap().contains("CKF_SIGN"));
    }
}
