//! secp256k1: the curve that Bitcoin and Ethereum sign on, and what they ask of a signature.

use crate::{PublicKey, SignatureEncodingError, public_key::Verifier};
use chancery_model::{Curve, Digest};
use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use k256::elliptic_curve::ops::{Invert, MulByGeneratorVartime, Reduce};
use k256::elliptic_curve::point::AffineCoordinates;
use k256::{FieldBytes, ProjectivePoint, Scalar};

/// A signature in the one form that chains accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secp256k1Signature {
    /// r || s, 32 bytes each, big-endian, with s in the lower half of the group's order (BIP 62, rule 5).
    pub fixed: [u8; 64],
    /// 0 to 3: leads from signature and digest back to the public key (SEC 1, section 4.1.6). Bit 0 is the
    /// parity of the y of the signature's point, bit 1 is set where its x was not below the group's order.
    pub recovery_id: u8,
}

/// Brings a token's signature (r || s, either s) into low-S form and finds its recovery id.
///
/// Finding it amounts to verifying the signature: `Ok` says that the low-S signature is one of `public` over
/// `digest`, and that recovery with the id gives exactly `public`.
///
/// # Errors
/// [`SignatureEncodingError`]: another algorithm's key or digest, bytes that are no signature, or a signature
/// that `public` did not make over `digest` ([`SignatureEncodingError::NotRecoverable`]).
pub fn secp256k1_finish(
    public: &PublicKey,
    digest: &Digest,
    fixed: &[u8],
) -> Result<Secp256k1Signature, SignatureEncodingError> {
    let algorithm = public.algorithm();
    let (Verifier::K256(key), Some(expected)) = (public.verifier(), algorithm.hash()) else {
        return Err(SignatureEncodingError::NotSecp256k1(algorithm));
    };
    if digest.algorithm() != expected {
        return Err(SignatureEncodingError::WrongDigest { expected, actual: digest.algorithm() });
    }
    let signature = parse_fixed(fixed)?.normalize_s();
    let recovery_id = recovery_id(key, digest, &signature).ok_or(SignatureEncodingError::NotRecoverable)?;
    Ok(Secp256k1Signature { fixed: signature.to_bytes().into(), recovery_id: recovery_id.to_byte() })
}

/// The signature's point is R = (z G + r Q) / s, for the key Q and the digest z. Recovery solves the same
/// equation for Q, so R itself says which of the four candidates it was; and that its x is r says that the
/// signature is valid. One multiplication, where trying the candidates would take up to five.
fn recovery_id(key: &VerifyingKey, digest: &Digest, signature: &Signature) -> Option<RecoveryId> {
    let z = Scalar::reduce(&FieldBytes::try_from(digest.as_bytes()).ok()?);
    let (r, s) = signature.split_scalars();
    let s_inverse = *s.invert_vartime();
    let point = ProjectivePoint::mul_by_generator_and_mul_add_vartime(
        &(z * s_inverse),
        &(*r * s_inverse),
        &ProjectivePoint::from(*key.as_affine()),
    )
    .to_affine();
    let x = point.x();
    // The point at infinity has no coordinates; its x reads as zero, which r never is.
    let valid = Scalar::reduce(&x) == *r;
    valid.then(|| RecoveryId::new(point.y_is_odd().into(), x != r.to_bytes()))
}

/// Whether `fixed` (r || s, either s) is a signature of `key` over a 32-byte digest.
pub(crate) fn verify(key: &VerifyingKey, digest: &Digest, fixed: &[u8]) -> bool {
    // k256 verifies low-S signatures only. (r, n - s) is as good as (r, s): refusing one of them is a rule of
    // chains against malleability, which we keep when we sign, and no part of ECDSA.
    parse_fixed(fixed).is_ok_and(|signature| key.verify_prehash(digest.as_bytes(), &signature.normalize_s()).is_ok())
}

fn parse_fixed(fixed: &[u8]) -> Result<Signature, SignatureEncodingError> {
    let curve = Curve::Secp256k1;
    let expected = 2 * curve.coordinate_bytes();
    if fixed.len() != expected {
        return Err(SignatureEncodingError::Length { curve, expected, actual: fixed.len() });
    }
    Signature::from_slice(fixed).map_err(SignatureEncodingError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SignedInput, VerifyError, ec_spki, hash, hex};
    use chancery_model::{Algorithm, EcdsaEncoding, HashAlgorithm};
    use k256::ecdsa::SigningKey;

    fn public(key: &VerifyingKey) -> PublicKey {
        public_for(Algorithm::EcdsaSecp256k1Sha256, key)
    }

    fn public_for(algorithm: Algorithm, key: &VerifyingKey) -> PublicKey {
        let spki = ec_spki(Curve::Secp256k1, key.to_sec1_point(false).as_bytes()).unwrap();
        PublicKey::from_spki_der(algorithm, &spki).unwrap()
    }

    fn signing_key(seed: u8) -> SigningKey {
        SigningKey::from_slice(&crate::sha256(&[seed])).unwrap()
    }

    /// (r, n - s).
    fn other_s(signature: &Signature) -> Signature {
        Signature::from_scalars(signature.r().to_bytes(), (-signature.s()).to_bytes()).unwrap()
    }

    fn sha256_digest(message: &[u8]) -> Digest {
        hash(HashAlgorithm::Sha256, message)
    }

    #[test]
    fn either_s_gives_the_low_one_with_an_id_that_recovers_the_key() {
        let mut ids = [0; 4];
        let algorithms = [Algorithm::EcdsaSecp256k1Sha256, Algorithm::EcdsaSecp256k1Keccak256];
        for (algorithm, seed) in algorithms.into_iter().flat_map(|algorithm| (0..40).map(move |seed| (algorithm, seed)))
        {
            let key = signing_key(seed);
            let digest = hash(algorithm.hash().unwrap(), &[seed, 1]);
            let public = public_for(algorithm, key.verifying_key());
            // k256's own low-S signature and id, made with the private key, are what has to come out.
            let (low, id) = key.sign_prehash_recoverable(digest.as_bytes());
            for signature in [low, other_s(&low)] {
                let finished = secp256k1_finish(&public, &digest, &signature.to_bytes()).unwrap();
                assert_eq!(finished.fixed.as_slice(), low.to_bytes().as_slice());
                assert_eq!(finished.recovery_id, id.to_byte());
                let recovered = VerifyingKey::recover_from_prehash(digest.as_bytes(), &low, id).unwrap();
                assert_eq!(&recovered, key.verifying_key());
            }
            ids[usize::from(id.to_byte())] += 1;
        }
        assert!(ids[0] > 0 && ids[1] > 0, "{ids:?}");
    }

    /// The example of EIP-155: a transaction, its hash, its signature, and the sender that a chain finds in them.
    #[test]
    fn ethereums_example_holds() {
        let transaction =
            hex::decode("ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080");
        let digest = hash(HashAlgorithm::Keccak256, &transaction);
        let expected = "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53";
        assert_eq!(hex::encode(digest.as_bytes()), expected);
        let key = SigningKey::from_slice(&[0x46; 32]).unwrap();
        let public = public_for(Algorithm::EcdsaSecp256k1Keccak256, key.verifying_key());
        let fixed = hex::decode(
            "28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276\
             67cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83",
        );
        let finished = secp256k1_finish(&public, &digest, &fixed).unwrap();
        // v = 37 = recovery id + 35 + 2 * (chain id 1).
        assert_eq!((finished.fixed.as_slice(), finished.recovery_id), (fixed.as_slice(), 0));
        assert_eq!(public.verify(SignedInput::Message(&transaction), &fixed, EcdsaEncoding::P1363), Ok(()));
        assert_eq!(public.verify(SignedInput::Digest(&digest), &fixed, EcdsaEncoding::P1363), Ok(()));
        let point = key.verifying_key().to_sec1_point(false);
        let address = hash(HashAlgorithm::Keccak256, &point.as_bytes()[1..]);
        assert_eq!(hex::encode(&address.as_bytes()[12..]), "9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f");
        // The same key, signature and transaction are nothing to the other algorithm of the curve.
        let other = public_for(Algorithm::EcdsaSecp256k1Sha256, key.verifying_key());
        let result = other.verify(SignedInput::Message(&transaction), &fixed, EcdsaEncoding::P1363);
        assert_eq!(result, Err(VerifyError::Invalid));
        let result = secp256k1_finish(&other, &digest, &fixed);
        assert!(matches!(result, Err(SignatureEncodingError::WrongDigest { .. })), "{result:?}");
    }

    #[test]
    fn points_whose_x_is_beyond_the_order_have_ids_2_and_3() {
        // No signer meets one by chance (1 in 2^127), so the key is made to fit the signature.
        let digest = sha256_digest(b"message");
        let mut ids = [0; 4];
        for r in 1..32_u8 {
            let mut fixed = [0; 64];
            fixed[31] = r;
            fixed[63] = 7;
            let signature = Signature::from_slice(&fixed).unwrap();
            for id in 0..=3 {
                let recovery_id = RecoveryId::from_byte(id).unwrap();
                let key = VerifyingKey::recover_from_prehash(digest.as_bytes(), &signature, recovery_id);
                let Ok(key) = key else { continue };
                let finished = secp256k1_finish(&public(&key), &digest, &fixed).unwrap();
                assert_eq!(finished, Secp256k1Signature { fixed, recovery_id: id });
                ids[usize::from(id)] += 1;
            }
        }
        assert!(ids.into_iter().all(|count| count > 0), "{ids:?}");
    }

    #[test]
    fn a_signature_of_another_key_or_digest_has_no_id() {
        let key = signing_key(1);
        let digest = sha256_digest(b"message");
        let (signature, _) = key.sign_prehash_recoverable(digest.as_bytes());
        let fixed = signature.to_bytes();
        let other_key = public(signing_key(2).verifying_key());
        for result in [
            secp256k1_finish(&other_key, &digest, &fixed),
            secp256k1_finish(&public(key.verifying_key()), &sha256_digest(b"other"), &fixed),
        ] {
            assert!(matches!(result, Err(SignatureEncodingError::NotRecoverable)), "{result:?}");
        }
    }

    #[test]
    fn what_cannot_be_finished_is_told_apart() {
        let public = public(signing_key(1).verifying_key());
        let digest = sha256_digest(b"message");
        let finish = |digest: &Digest, fixed: &[u8]| secp256k1_finish(&public, digest, fixed).unwrap_err();
        assert!(matches!(finish(&digest, &[1; 63]), SignatureEncodingError::Length { actual: 63, .. }));
        assert!(matches!(finish(&digest, &[0; 64]), SignatureEncodingError::OutOfRange(_)));
        assert!(matches!(finish(&digest, &[0xff; 64]), SignatureEncodingError::OutOfRange(_)));
        let long = hash(HashAlgorithm::Sha512, b"message");
        assert!(matches!(finish(&long, &[1; 64]), SignatureEncodingError::WrongDigest { .. }));
    }
}
