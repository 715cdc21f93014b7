//! Enumerations, both ways. A number that this version does not know is refused, not guessed at.

use super::fields::invalid;
use chancery_api::v1;
use chancery_core::{Error, Verdict};
use chancery_model::{Adoption, Algorithm, EcdsaEncoding, KeyState, RingState};

/// An algorithm that must be given.
pub(super) fn algorithm(field: &str, number: i32) -> Result<Algorithm, Error> {
    optional_algorithm(field, number)?.ok_or_else(|| invalid(field, "must be given"))
}

/// An algorithm that may be given.
pub(super) fn optional_algorithm(field: &str, number: i32) -> Result<Option<Algorithm>, Error> {
    Ok(Some(match known(field, number)? {
        v1::Algorithm::Unspecified => return Ok(None),
        v1::Algorithm::RsaPkcs12048Sha256 => Algorithm::RsaPkcs1_2048Sha256,
        v1::Algorithm::RsaPkcs13072Sha256 => Algorithm::RsaPkcs1_3072Sha256,
        v1::Algorithm::RsaPkcs14096Sha256 => Algorithm::RsaPkcs1_4096Sha256,
        v1::Algorithm::RsaPss2048Sha256 => Algorithm::RsaPss2048Sha256,
        v1::Algorithm::RsaPss3072Sha256 => Algorithm::RsaPss3072Sha256,
        v1::Algorithm::RsaPss4096Sha256 => Algorithm::RsaPss4096Sha256,
        v1::Algorithm::EcdsaP256Sha256 => Algorithm::EcdsaP256Sha256,
        v1::Algorithm::EcdsaP384Sha384 => Algorithm::EcdsaP384Sha384,
        v1::Algorithm::EcdsaP521Sha512 => Algorithm::EcdsaP521Sha512,
        v1::Algorithm::EcdsaSecp256k1Sha256 => Algorithm::EcdsaSecp256k1Sha256,
        v1::Algorithm::Ed25519 => Algorithm::Ed25519,
        v1::Algorithm::RsaPkcs14096Sha512 => Algorithm::RsaPkcs1_4096Sha512,
        v1::Algorithm::RsaPss4096Sha512 => Algorithm::RsaPss4096Sha512,
        v1::Algorithm::EcdsaSecp256k1Keccak256 => Algorithm::EcdsaSecp256k1Keccak256,
        v1::Algorithm::MlDsa44 => Algorithm::MlDsa44,
        v1::Algorithm::MlDsa65 => Algorithm::MlDsa65,
        v1::Algorithm::MlDsa87 => Algorithm::MlDsa87,
        v1::Algorithm::HmacSha256 => Algorithm::HmacSha256,
        v1::Algorithm::HmacSha384 => Algorithm::HmacSha384,
        v1::Algorithm::HmacSha512 => Algorithm::HmacSha512,
        v1::Algorithm::AesCmac => Algorithm::AesCmac,
    }))
}

/// An algorithm, for an answer.
pub(super) const fn algorithm_number(algorithm: Algorithm) -> i32 {
    (match algorithm {
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
    }) as i32
}

/// A state, for an answer.
pub(super) const fn state_number(state: KeyState) -> i32 {
    (match state {
        KeyState::PendingGeneration => v1::KeyState::PendingGeneration,
        KeyState::PreActive => v1::KeyState::PreActive,
        KeyState::Active => v1::KeyState::Active,
        KeyState::Suspended => v1::KeyState::Suspended,
        KeyState::Deactivated => v1::KeyState::Deactivated,
        KeyState::Compromised => v1::KeyState::Compromised,
        KeyState::DestroyScheduled => v1::KeyState::DestroyScheduled,
        KeyState::Destroyed => v1::KeyState::Destroyed,
    }) as i32
}

/// A ring's state, for an answer.
pub(super) const fn ring_state_number(state: RingState) -> i32 {
    (match state {
        RingState::Active => v1::KeyRingState::Active,
        RingState::Frozen => v1::KeyRingState::Frozen,
    }) as i32
}

/// Where a version comes from, for an answer.
pub(super) const fn origin_number(adoption: Option<&Adoption>) -> i32 {
    (match adoption {
        None => v1::KeyOrigin::Generated,
        Some(Adoption { imported: false, .. }) => v1::KeyOrigin::Adopted,
        Some(Adoption { imported: true, .. }) => v1::KeyOrigin::Imported,
    }) as i32
}

/// A verdict, for an answer.
pub(super) const fn verdict_number(verdict: Verdict) -> i32 {
    (match verdict {
        Verdict::Valid => v1::Verdict::Valid,
        Verdict::Invalid => v1::Verdict::Invalid,
        Verdict::KeyCompromised => v1::Verdict::KeyCompromised,
        Verdict::KeyNotYetActive => v1::Verdict::KeyNotYetActive,
        Verdict::KeyDestroyed => v1::Verdict::KeyDestroyed,
    }) as i32
}

/// How an ECDSA signature is written; DER where not given.
pub(super) fn encoding(number: i32) -> Result<EcdsaEncoding, Error> {
    Ok(match known("encoding", number)? {
        v1::SignatureEncoding::Unspecified | v1::SignatureEncoding::Der => EcdsaEncoding::Der,
        v1::SignatureEncoding::P1363 => EcdsaEncoding::P1363,
    })
}

/// The enumeration's value of this number.
pub(super) fn known<E: TryFrom<i32>>(field: &str, number: i32) -> Result<E, Error> {
    E::try_from(number).map_err(|_unknown| {
        invalid(field, format!("{number} is no value that this version knows; see the proto files of chancery.v1"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    #[test]
    fn every_algorithm_goes_both_ways_under_its_own_name() {
        for expected in Algorithm::ALL {
            let number = algorithm_number(expected);
            assert_eq!(algorithm("key.algorithm", number).unwrap(), expected);
            let name = v1::Algorithm::try_from(number).unwrap().as_str_name();
            assert_eq!(name, format!("ALGORITHM_{expected}"));
        }
    }

    #[test]
    fn every_state_has_its_own_name() {
        for state in KeyState::ALL {
            let name = v1::KeyState::try_from(state_number(state)).unwrap().as_str_name();
            assert_eq!(name, format!("KEY_STATE_{state}"));
        }
    }

    #[test]
    fn every_ring_state_has_its_own_name() {
        for state in RingState::ALL {
            let name = v1::KeyRingState::try_from(ring_state_number(state)).unwrap().as_str_name();
            assert_eq!(name, format!("KEY_RING_STATE_{state}"));
        }
    }

    #[test]
    fn unknown_numbers_are_refused() {
        for number in [-1, 22, i32::MAX] {
            let (field, description) = violation(algorithm("key.algorithm", number).unwrap_err());
            assert_eq!(field, "key.algorithm");
            let expected = format!("{number} is no value that this version knows; see the proto files of chancery.v1");
            assert_eq!(description, expected);
        }
        let (_, description) = violation(algorithm("key.algorithm", 0).unwrap_err());
        assert_eq!(description, "must be given");
        assert_eq!(violation(encoding(3).unwrap_err()).0, "encoding");
        assert_eq!(encoding(0).unwrap(), EcdsaEncoding::Der);
    }
}
