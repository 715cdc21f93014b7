//! SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7): one spelling for each key, and that one only.

use chancery_model::{Algorithm, Curve, KeyPurpose, KeyType, MlDsaParameterSet};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{Decode, Encode, Sequence};
use spki::{AlgorithmIdentifier, SubjectPublicKeyInfoRef};

/// Why bytes are not a public key of an algorithm.
#[derive(Debug, thiserror::Error)]
pub enum PublicKeyError {
    /// Not the DER structure of a public key.
    #[error("the public key is not a well-formed DER SubjectPublicKeyInfo")]
    Der(#[source] der::Error),
    /// A public key of another type or on another curve.
    #[error("the public key is not of the type or curve of {0}")]
    WrongType(Algorithm),
    /// The same key could be written in one other way, which is the standard's.
    #[error("the public key is not in the canonical encoding of its type (uncompressed points; exact parameters)")]
    NotCanonical,
    /// An RSA modulus of another size.
    #[error("the RSA modulus has {actual} bits; {algorithm} needs exactly {expected}")]
    ModulusSize {
        /// The algorithm.
        algorithm: Algorithm,
        /// Size that the algorithm needs, in bits.
        expected: u32,
        /// Size of the modulus that was given, in bits.
        actual: usize,
    },
    /// An RSA public exponent that keys of ours do not have.
    #[error("the RSA public exponent is not 65537")]
    Exponent,
    /// RSA modulus or exponent without a digit other than zero.
    #[error("the RSA modulus or public exponent is zero")]
    Zero,
    /// A point of another length or form.
    #[error("the public point has {actual} bytes; {expected}")]
    PointEncoding {
        /// What the bytes should have been.
        expected: &'static str,
        /// Length that was given, in bytes.
        actual: usize,
    },
    /// An ML-DSA public key of another length.
    #[error("the public key has {actual} bytes; one of {set} has {expected}", set = .parameter_set.as_str(), expected = .parameter_set.public_key_bytes())]
    KeyLength {
        /// The parameter set.
        parameter_set: MlDsaParameterSet,
        /// Length that was given, in bytes.
        actual: usize,
    },
    /// The algorithm's keys are secrets for message authentication codes.
    #[error("a key of {0} is one secret, which has no public half: use MacVerify to check what it made")]
    NoPublicKey(Algorithm),
    /// Not a point of the curve, or one of small order.
    #[error("the public point is not a point of prime order on the curve of {0}")]
    NotOnCurve(Algorithm),
    /// aws-lc refused the key.
    #[error("the cryptographic library refused the public key for {algorithm}")]
    Rejected {
        /// The algorithm.
        algorithm: Algorithm,
        /// Its reason.
        #[source]
        source: aws_lc_rs::error::KeyRejected,
    },
    /// k256 refused the key.
    #[error("the cryptographic library refused the public key on secp256k1; is the point on the curve?")]
    RejectedSecp256k1(#[source] k256::ecdsa::Error),
}

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The parameter set's OID (RFC 9881, section 2).
pub(crate) const fn mldsa_oid(parameter_set: MlDsaParameterSet) -> ObjectIdentifier {
    match parameter_set {
        MlDsaParameterSet::MlDsa44 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"),
        MlDsaParameterSet::MlDsa65 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"),
        MlDsaParameterSet::MlDsa87 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"),
    }
}

/// The curve's OID (RFC 5480, section 2.1.1.1; SEC 2, appendix A.2).
const fn curve_oid(curve: Curve) -> ObjectIdentifier {
    match curve {
        Curve::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        Curve::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        Curve::P521 => ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        Curve::Secp256k1 => ObjectIdentifier::new_unwrap("1.3.132.0.10"),
    }
}

/// `RSAPublicKey` (RFC 8017, appendix A.1.1).
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

/// The SPKI of an RSA key, from modulus and public exponent as a token exports them: big-endian, leading
/// zeros tolerated. The key type is `rsaEncryption`, for PSS keys as well.
///
/// Only writes; whether the numbers make a key for an algorithm is for [`PublicKey::from_spki_der`] to say.
///
/// # Errors
/// [`PublicKeyError::Zero`] where one of them is zero or empty; [`PublicKeyError::Der`] beyond 256 MiB.
///
/// [`PublicKey::from_spki_der`]: crate::PublicKey::from_spki_der
pub fn rsa_spki(modulus: &[u8], public_exponent: &[u8]) -> Result<Vec<u8>, PublicKeyError> {
    let is_zero = |number: &[u8]| number.iter().all(|byte| *byte == 0);
    if is_zero(modulus) || is_zero(public_exponent) {
        return Err(PublicKeyError::Zero);
    }
    let number = |bytes| UintRef::new(bytes).map_err(PublicKeyError::Der);
    let key = RsaPublicKey { modulus: number(modulus)?, public_exponent: number(public_exponent)? };
    write_spki(RSA_ENCRYPTION, Some(AnyRef::NULL), &key.to_der().map_err(PublicKeyError::Der)?)
}

/// The SPKI of a key on a short Weierstrass curve, from its public point as a token exports it: uncompressed
/// (SEC 1, section 2.3.3), wrapped in a DER OCTET STRING as PKCS#11 says or bare as some tokens do. The two
/// cannot be confused: their lengths differ.
///
/// Only writes; whether the point is on the curve is for [`PublicKey::from_spki_der`] to say.
///
/// # Errors
/// [`PublicKeyError::PointEncoding`] where the bytes are neither.
///
/// [`PublicKey::from_spki_der`]: crate::PublicKey::from_spki_der
pub fn ec_spki(curve: Curve, point: &[u8]) -> Result<Vec<u8>, PublicKeyError> {
    let length = 1 + 2 * curve.coordinate_bytes();
    let bare = unwrapped(point, OCTET_STRING, length);
    if bare.len() != length || bare.first() != Some(&0x04) {
        let expected = "an uncompressed point is 04, x and y, bare or in a DER OCTET STRING";
        return Err(PublicKeyError::PointEncoding { expected, actual: point.len() });
    }
    let oid = curve_oid(curve);
    write_spki(EC_PUBLIC_KEY, Some(AnyRef::from(&oid)), bare)
}

/// The SPKI of an Ed25519 key (RFC 8410), from its public point as a token exports it: 32 bytes (RFC 8032,
/// section 5.1.2), bare, in a DER OCTET STRING or in a DER BIT STRING; PKCS#11 modules differ.
///
/// Only writes; whether the point is on the curve is for [`PublicKey::from_spki_der`] to say.
///
/// # Errors
/// [`PublicKeyError::PointEncoding`] where the bytes are none of the three.
///
/// [`PublicKey::from_spki_der`]: crate::PublicKey::from_spki_der
pub fn ed25519_spki(point: &[u8]) -> Result<Vec<u8>, PublicKeyError> {
    let bare = match unwrapped(point, OCTET_STRING, 32) {
        octets if octets.len() == 32 => octets,
        // A BIT STRING begins with the number of unused bits.
        _ => unwrapped(point, BIT_STRING, 33).strip_prefix(&[0]).unwrap_or_default(),
    };
    if bare.len() != 32 {
        let expected = "an Ed25519 point is 32 bytes, bare or in a DER OCTET STRING or BIT STRING";
        return Err(PublicKeyError::PointEncoding { expected, actual: point.len() });
    }
    write_spki(ED25519, None, bare)
}

/// The SPKI of an ML-DSA key (RFC 9881, section 4), from its public key as FIPS 204 encodes it (algorithm 22) and as a
/// token exports it: 1312, 1952 or 2592 bytes.
///
/// # Errors
/// [`PublicKeyError::KeyLength`] where the length is not that of the parameter set.
pub fn mldsa_spki(parameter_set: MlDsaParameterSet, public_key: &[u8]) -> Result<Vec<u8>, PublicKeyError> {
    if public_key.len() != parameter_set.public_key_bytes() {
        return Err(PublicKeyError::KeyLength { parameter_set, actual: public_key.len() });
    }
    write_spki(mldsa_oid(parameter_set), None, public_key)
}

const OCTET_STRING: u8 = 0x04;
const BIT_STRING: u8 = 0x03;

/// The `length` bytes within a DER value of type `tag`, or `bytes` where they are no such value.
fn unwrapped(bytes: &[u8], tag: u8, length: usize) -> &[u8] {
    let header: &[u8] = match u8::try_from(length) {
        Ok(short) if short < 0x80 => &[tag, short],
        Ok(long) => &[tag, 0x81, long],
        Err(_) => return bytes,
    };
    match bytes.strip_prefix(header) {
        Some(content) if content.len() == length => content,
        _ => bytes,
    }
}

fn write_spki(
    oid: ObjectIdentifier,
    parameters: Option<AnyRef<'_>>,
    public_key: &[u8],
) -> Result<Vec<u8>, PublicKeyError> {
    let subject_public_key = BitStringRef::from_bytes(public_key).map_err(PublicKeyError::Der)?;
    let algorithm = AlgorithmIdentifier { oid, parameters };
    SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der().map_err(PublicKeyError::Der)
}

/// What an SPKI holds.
#[derive(Debug)]
pub(crate) enum KeyMaterial<'a> {
    /// Big-endian, without leading zeros.
    Rsa { modulus: &'a [u8], public_exponent: &'a [u8] },
    /// The uncompressed point.
    Ec { curve: Curve, point: &'a [u8] },
    /// The 32 bytes of the point.
    Ed25519 { point: &'a [u8] },
    /// As FIPS 204 encodes it.
    MlDsa { parameter_set: MlDsaParameterSet, public_key: &'a [u8] },
}

/// Reads an SPKI of the key type and curve of `algorithm`.
///
/// Canonical by construction: whatever was read is written again and has to give the same bytes.
pub(crate) fn read_spki(algorithm: Algorithm, der: &[u8]) -> Result<KeyMaterial<'_>, PublicKeyError> {
    if algorithm.purpose() == KeyPurpose::Mac {
        return Err(PublicKeyError::NoPublicKey(algorithm));
    }
    let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(PublicKeyError::Der)?;
    let public_key = spki.subject_public_key.as_bytes().ok_or(PublicKeyError::NotCanonical)?;
    let material = match (algorithm.key_type(), spki.algorithm.oid) {
        (KeyType::Ec(curve), EC_PUBLIC_KEY)
            if spki.algorithm.parameters_oid().is_ok_and(|oid| oid == curve_oid(curve)) =>
        {
            KeyMaterial::Ec { curve, point: public_key }
        }
        (KeyType::Ed25519, ED25519) => KeyMaterial::Ed25519 { point: public_key },
        (KeyType::Rsa { .. }, RSA_ENCRYPTION) => {
            let key = RsaPublicKey::from_der(public_key).map_err(PublicKeyError::Der)?;
            KeyMaterial::Rsa { modulus: key.modulus.as_bytes(), public_exponent: key.public_exponent.as_bytes() }
        }
        (KeyType::MlDsa(parameter_set), oid) if oid == mldsa_oid(parameter_set) => {
            KeyMaterial::MlDsa { parameter_set, public_key }
        }
        _ => return Err(PublicKeyError::WrongType(algorithm)),
    };
    let canonical = match material {
        KeyMaterial::Rsa { modulus, public_exponent } => rsa_spki(modulus, public_exponent)?,
        KeyMaterial::Ec { curve, point } => ec_spki(curve, point)?,
        KeyMaterial::Ed25519 { point } => ed25519_spki(point)?,
        KeyMaterial::MlDsa { parameter_set, public_key } => mldsa_spki(parameter_set, public_key)?,
    };
    if canonical == der { Ok(material) } else { Err(PublicKeyError::NotCanonical) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_taken_bare_and_wrapped() {
        for curve in [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1] {
            let mut bare = vec![0x5a; 1 + 2 * curve.coordinate_bytes()];
            bare[0] = 0x04;
            let wrapped = der::asn1::OctetStringRef::new(&bare).unwrap().to_der().unwrap();
            assert_eq!(ec_spki(curve, &bare).unwrap(), ec_spki(curve, &wrapped).unwrap());
        }
        let bare = [0x5a; 32];
        let octets = der::asn1::OctetStringRef::new(&bare).unwrap().to_der().unwrap();
        let bits = BitStringRef::from_bytes(&bare).unwrap().to_der().unwrap();
        let spki = ed25519_spki(&bare).unwrap();
        assert_eq!(spki.len(), 44);
        assert_eq!(ed25519_spki(&octets).unwrap(), spki);
        assert_eq!(ed25519_spki(&bits).unwrap(), spki);
    }

    #[test]
    fn other_points_are_refused() {
        let mut compressed = vec![0x5a; 33];
        compressed[0] = 0x02;
        let mut hybrid = vec![0x5a; 65];
        hybrid[0] = 0x06;
        let mut twice = vec![0x04, 0x43, 0x04, 0x41, 0x04];
        twice.resize(69, 0x5a);
        for point in [vec![], vec![0x04], compressed, hybrid, twice, vec![0x04; 64], vec![0x04; 66], vec![0x04; 97]] {
            let result = ec_spki(Curve::P256, &point);
            assert!(matches!(result, Err(PublicKeyError::PointEncoding { .. })), "{point:02x?}: {result:02x?}");
        }
        let unused_bits = [&[0x03, 0x21, 0x01], [0x5a; 32].as_slice()].concat();
        for point in [vec![], vec![0x5a; 31], vec![0x5a; 33], vec![0x5a; 34], unused_bits] {
            let result = ed25519_spki(&point);
            assert!(matches!(result, Err(PublicKeyError::PointEncoding { .. })), "{point:02x?}: {result:02x?}");
        }
    }

    #[test]
    fn an_mldsa_key_has_exactly_its_length() {
        let sets = [MlDsaParameterSet::MlDsa44, MlDsaParameterSet::MlDsa65, MlDsaParameterSet::MlDsa87];
        for parameter_set in sets {
            let length = parameter_set.public_key_bytes();
            assert_eq!(mldsa_spki(parameter_set, &vec![1; length]).unwrap().len(), length + 22);
            for actual in [0, length - 1, length + 1] {
                let error = mldsa_spki(parameter_set, &vec![1; actual]).unwrap_err();
                let expected =
                    format!("the public key has {actual} bytes; one of {} has {length}", parameter_set.as_str());
                assert_eq!(error.to_string(), expected);
            }
        }
    }

    #[test]
    fn leading_zeros_of_rsa_numbers_do_not_matter_and_zero_is_refused() {
        let plain = rsa_spki(&[0x80, 1], &[1, 0, 1]).unwrap();
        assert_eq!(rsa_spki(&[0, 0, 0x80, 1], &[0, 1, 0, 1]).unwrap(), plain);
        for (modulus, exponent) in
            [([].as_slice(), [3].as_slice()), (&[0, 0], &[3]), (&[0x80, 1], &[]), (&[0x80, 1], &[0])]
        {
            assert!(matches!(rsa_spki(modulus, exponent), Err(PublicKeyError::Zero)));
        }
    }
}
