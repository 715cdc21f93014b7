//! Keys of a session, inputs, and whether a signature is right: what several rooms need.

use super::Patient;
use crate::HsmErrorKind;
use crate::worker::fault::Fault;
use crate::worker::probe::{self, SessionKey};
use crate::worker::{keys, mechanism};
use chancery_crypto::{PublicKey, SignedInput};
use chancery_model::{Algorithm, Curve, Digest, EcdsaEncoding, KeyPurpose, KeyType, SignatureScheme};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

/// A key pair that ends with its session.
pub(super) struct Pair {
    pub(super) private: ObjectHandle,
    pub(super) public_object: ObjectHandle,
    pub(super) public: PublicKey,
}

/// Makes a key pair for an algorithm, and reads its public half.
pub(super) fn make_pair(patient: &Patient, algorithm: Algorithm) -> Result<Pair, Fault> {
    let session = &patient.writing;
    let SessionKey { signs, public } = probe::make_session_key(session, algorithm.key_type(), patient.edwards)?;
    let public_object =
        public.ok_or_else(|| Fault::new(HsmErrorKind::Bug, format!("the keys of {algorithm} have no public half")))?;
    let spki = keys::read_public(session, algorithm, public_object)?;
    let public = public_key(algorithm, &spki)?;
    Ok(Pair { private: signs, public_object, public })
}

/// The same public key for another algorithm of the same key type.
pub(super) fn public_key(algorithm: Algorithm, spki: &[u8]) -> Result<PublicKey, Fault> {
    PublicKey::from_spki_der(algorithm, spki)
        .map_err(|error| Fault::new(HsmErrorKind::Bug, format!("the token shows a public key that is none: {error}")))
}

/// A message as an algorithm takes it.
pub(super) struct Sample {
    pub(super) message: Vec<u8>,
    digest: Option<Digest>,
    /// What the mechanism is given.
    pub(super) input: Vec<u8>,
}

pub(super) fn sample(algorithm: Algorithm, number: u32) -> Result<Sample, Fault> {
    let message = format!("chancery token doctor, message {number}").into_bytes();
    let digest = algorithm.hash().map(|hash| chancery_crypto::hash(hash, &message));
    let input = match (&digest, algorithm.scheme()) {
        (None, _) => message.clone(),
        (Some(digest), SignatureScheme::RsaPkcs1) => chancery_crypto::digest_info(digest)
            .ok_or_else(|| Fault::new(HsmErrorKind::Bug, format!("no DigestInfo names the hash of {algorithm}")))?,
        (Some(digest), _) => digest.as_bytes().to_vec(),
    };
    Ok(Sample { message, digest, input })
}

/// Signs as Chancery does.
pub(super) fn sign(
    session: &Session,
    algorithm: Algorithm,
    key: ObjectHandle,
    sample: &Sample,
) -> Result<Vec<u8>, Fault> {
    session
        .sign(&mechanism::signing(algorithm)?, key, &sample.input)
        .map_err(|error| Fault::pkcs11(format!("signing for {algorithm}"), &error))
}

/// Whether a signature holds, checked in software.
pub(super) fn is_right(public: &PublicKey, sample: &Sample, signature: &[u8]) -> bool {
    let signed = match &sample.digest {
        Some(digest) => SignedInput::Digest(digest),
        None => SignedInput::Message(&sample.message),
    };
    public.verify(signed, signature, EcdsaEncoding::P1363).is_ok()
}

/// The algorithms of one purpose that the token offers.
pub(super) fn offered(patient: &Patient, purpose: KeyPurpose) -> Vec<Algorithm> {
    let mut algorithms = Algorithm::ALL.to_vec();
    algorithms.retain(|algorithm| algorithm.purpose() == purpose && patient.facts.missing(*algorithm).is_none());
    algorithms
}

/// The signing algorithm that most is asked with: a fast one where the token has it.
pub(super) fn favourite(patient: &Patient) -> Option<Algorithm> {
    let offered = offered(patient, KeyPurpose::Signature);
    [Algorithm::EcdsaP256Sha256, Algorithm::Ed25519, Algorithm::EcdsaP384Sha384, Algorithm::RsaPkcs1_2048Sha256]
        .into_iter()
        .find(|algorithm| offered.contains(algorithm))
        .or_else(|| offered.first().copied())
}

/// Destroys the objects of a session early, so that tokens with little room do not fill up.
pub(super) fn destroy(session: &Session, objects: &[ObjectHandle]) -> Result<(), Fault> {
    objects.iter().try_for_each(|object| {
        session.destroy_object(*object).map_err(|error| Fault::pkcs11("destroying a session object", &error))
    })
}

/// Whether the s of an r || s is in the upper half of the group's order, on secp256k1.
pub(super) fn is_high_s(signature: &[u8]) -> bool {
    /// Half of the order, rounded down (SEC 2, section 2.4.1).
    const HALF: [u8; 32] = [
        0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x5D, 0x57,
        0x6E, 0x73, 0x57, 0xA4, 0x50, 0x1D, 0xDF, 0xE9, 0x2F, 0x46, 0x68, 0x1B, 0x20, 0xA0,
    ];
    signature.get(32..64).is_some_and(|s| s > HALF.as_slice())
}

/// Length in bytes of a bare public point of this key type.
pub(super) const fn bare_point_bytes(key_type: KeyType) -> Option<usize> {
    match key_type {
        KeyType::Ec(Curve::P256 | Curve::Secp256k1) => Some(65),
        KeyType::Ec(Curve::P384) => Some(97),
        KeyType::Ec(Curve::P521) => Some(133),
        KeyType::Ed25519 => Some(32),
        KeyType::Rsa { .. } | KeyType::MlDsa(_) | KeyType::GenericSecret { .. } | KeyType::Aes { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_begins_after_half_of_the_order() {
        let mut signature = [0; 64];
        assert!(!is_high_s(&signature));
        signature[32..].copy_from_slice(&[
            0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x5D, 0x57,
            0x6E, 0x73, 0x57, 0xA4, 0x50, 0x1D, 0xDF, 0xE9, 0x2F, 0x46, 0x68, 0x1B, 0x20, 0xA0,
        ]);
        assert!(!is_high_s(&signature));
        signature[63] += 1;
        assert!(is_high_s(&signature));
        assert!(!is_high_s(&signature[..40]));
    }
}
