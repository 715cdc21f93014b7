//! Between the words of the wire and ours.

use chancery_api::v1;
use chancery_model::{Algorithm, EcdsaEncoding, KeyState};

/// The algorithm that a number on the wire stands for; `None` for a newer service's, or where none was given.
#[must_use]
pub fn algorithm_from_proto(number: i32) -> Option<Algorithm> {
    let name = v1::Algorithm::try_from(number).ok()?.as_str_name();
    name.strip_prefix("ALGORITHM_")?.parse().ok()
}

/// The algorithm as the wire says it.
#[must_use]
pub const fn algorithm_to_proto(algorithm: Algorithm) -> v1::Algorithm {
    match algorithm {
        Algorithm::RsaPkcs1_2048Sha256 => v1::Algorithm::RsaPkcs12048Sha256,
        Algorithm::RsaPkcs1_3072Sha256 => v1::Algorithm::RsaPkcs13072Sha256,
        Algorithm::RsaPkcs1_4096Sha256 => v1::Algorithm::RsaPkcs14096Sha256,
        Algorithm::RsaPss2048Sha256 => v1::Algorithm::RsaPss2048Sha256,
        Algorithm::RsaPss3072Sha256 => v1::Algorithm::RsaPss3072Sha256,
        Algorithm::RsaPss4096Sha256 => v1::Algorithm::RsaPss4096Sha256,
        Algorithm::EcdsaP256Sha256 => v1::Algorithm::EcdsaP256Sha256,
        Algorithm::EcdsaP384Sha384 => v1::Algorithm::EcdsaP384Sha384,
        Algorithm::EcdsaP521Sha512 => v1::Algorithm::EcdsaP521Sha512,
        Algorithm::EcdsaSecp256k1Sha256 => v1::Algorithm::EcdsaSecp256k1Sha256,
        Algorithm::Ed25519 => v1::Algorithm::Ed25519,
        Algorithm::RsaPkcs1_4096Sha512 => v1::Algorithm::RsaPkcs14096Sha512,
        Algorithm::RsaPss4096Sha512 => v1::Algorithm::RsaPss4096Sha512,
        Algorithm::EcdsaSecp256k1Keccak256 => v1::Algorithm::EcdsaSecp256k1Keccak256,
        Algorithm::MlDsa44 => v1::Algorithm::MlDsa44,
        Algorithm::MlDsa65 => v1::Algorithm::MlDsa65,
        Algorithm::MlDsa87 => v1::Algorithm::MlDsa87,
        Algorithm::HmacSha256 => v1::Algorithm::HmacSha256,
        Algorithm::HmacSha384 => v1::Algorithm::HmacSha384,
        Algorithm::HmacSha512 => v1::Algorithm::HmacSha512,
        Algorithm::AesCmac => v1::Algorithm::AesCmac,
    }
}

/// The state that a number on the wire stands for; `None` for a newer service's, or where none was given.
#[must_use]
pub fn state_from_proto(number: i32) -> Option<KeyState> {
    let name = v1::KeyState::try_from(number).ok()?.as_str_name();
    name.strip_prefix("KEY_STATE_")?.parse().ok()
}

pub(crate) const fn encoding_to_proto(encoding: EcdsaEncoding) -> v1::SignatureEncoding {
    match encoding {
        EcdsaEncoding::Der => v1::SignatureEncoding::Der,
        EcdsaEncoding::P1363 => v1::SignatureEncoding::P1363,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_goes_there_and_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm_from_proto(algorithm_to_proto(algorithm) as i32), Some(algorithm));
        }
        assert_eq!(algorithm_from_proto(0), None);
        assert_eq!(algorithm_from_proto(9999), None);
    }

    #[test]
    fn each_state_comes_back() {
        let known: Vec<_> = (1..=8).map(state_from_proto).collect();
        assert_eq!(known, KeyState::ALL.map(Some));
        assert_eq!(state_from_proto(0), None);
        assert_eq!(state_from_proto(9), None);
    }
}
