//! The two ways to write an ECDSA signature (r, s), and the way from one to the other.
//!
//! Only the encoding is checked here, never the signature: r and s may be any numbers that fit.

use chancery_model::{Algorithm, Curve, HashAlgorithm};
use der::asn1::UintRef;
use der::{Decode, Encode, Sequence};

/// Bytes that are not an ECDSA signature in the encoding that was asked for, or cannot be finished as one.
#[derive(Debug, thiserror::Error)]
pub enum SignatureEncodingError {
    /// A fixed-width signature of another length.
    #[error("a fixed-width {curve} signature has {expected} bytes, not {actual}", curve = .curve.as_str())]
    Length {
        /// The curve.
        curve: Curve,
        /// Twice the length of a coordinate.
        expected: usize,
        /// The length that was given.
        actual: usize,
    },
    /// Not a DER `SEQUENCE { r INTEGER, s INTEGER }` with two numbers that are not negative.
    #[error("the signature is not a DER SEQUENCE of two INTEGERs (RFC 3279, section 2.2.3)")]
    Der(#[source] der::Error),
    /// r or s is longer than a coordinate of the curve.
    #[error("r or s has {actual} bytes; on {curve} it has at most {maximum}", curve = .curve.as_str())]
    TooLong {
        /// The curve.
        curve: Curve,
        /// The length of a coordinate in bytes.
        maximum: usize,
        /// The length of r or of s in bytes, without leading zeros.
        actual: usize,
    },
    /// r or s is zero or not below the curve's order.
    #[error("r or s is zero or not below the order of secp256k1")]
    OutOfRange(#[source] k256::ecdsa::Error),
    /// The public key is of another algorithm.
    #[error("low-S form and recovery id exist for secp256k1, and the key is {0}")]
    NotSecp256k1(Algorithm),
    /// The digest is of another hash function than the key's.
    #[error("the key signs {expected} digests, not {actual}")]
    WrongDigest {
        /// The hash function of the key's algorithm.
        expected: HashAlgorithm,
        /// The hash function of the digest.
        actual: HashAlgorithm,
    },
    /// No recovery id leads to the public key: the signature was not made by it over this digest.
    #[error("the signature is not one of this public key over this digest, so it has no recovery id")]
    NotRecoverable,
}

/// `Ecdsa-Sig-Value` (RFC 3279, section 2.2.3).
#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// r || s, each as long as a coordinate of the curve (IEEE P1363, PKCS#11), as DER.
///
/// # Errors
/// [`SignatureEncodingError::Length`] where `fixed` is not exactly twice a coordinate long.
pub fn ecdsa_der_from_fixed(curve: Curve, fixed: &[u8]) -> Result<Vec<u8>, SignatureEncodingError> {
    let expected = 2 * curve.coordinate_bytes();
    if fixed.len() != expected {
        return Err(SignatureEncodingError::Length { curve, expected, actual: fixed.len() });
    }
    let (r, s) = fixed.split_at(curve.coordinate_bytes());
    let uint = |bytes| UintRef::new(bytes).map_err(SignatureEncodingError::Der);
    EcdsaSigValue { r: uint(r)?, s: uint(s)? }.to_der().map_err(SignatureEncodingError::Der)
}

/// A DER signature as r || s, each as long as a coordinate of the curve (IEEE P1363).
///
/// Strictly DER: no other length form, no padding of the numbers, no negative numbers, nothing behind.
///
/// # Errors
/// [`SignatureEncodingError::Der`] where the bytes are not that; [`SignatureEncodingError::TooLong`] where r
/// or s does not fit.
pub fn ecdsa_fixed_from_der(curve: Curve, der: &[u8]) -> Result<Vec<u8>, SignatureEncodingError> {
    let EcdsaSigValue { r, s } = EcdsaSigValue::from_der(der).map_err(SignatureEncodingError::Der)?;
    let width = curve.coordinate_bytes();
    let mut fixed = Vec::with_capacity(2 * width);
    for number in [r.as_bytes(), s.as_bytes()] {
        let padding = width.checked_sub(number.len()).ok_or(SignatureEncodingError::TooLong {
            curve,
            maximum: width,
            actual: number.len(),
        })?;
        fixed.resize(fixed.len() + padding, 0);
        fixed.extend_from_slice(number);
    }
    Ok(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVES: [Curve; 4] = [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1];

    /// A signature whose r has its top bit set and whose s is the small number 5.
    fn example(curve: Curve) -> Vec<u8> {
        let width = curve.coordinate_bytes();
        let mut fixed = vec![0; 2 * width];
        fixed[0] = 0x80;
        fixed[2 * width - 1] = 5;
        fixed
    }

    #[test]
    fn both_ways_lead_back() {
        for curve in CURVES {
            for fixed in
                [example(curve), vec![0xff; 2 * curve.coordinate_bytes()], vec![0; 2 * curve.coordinate_bytes()]]
            {
                let der = ecdsa_der_from_fixed(curve, &fixed).unwrap();
                assert_eq!(ecdsa_fixed_from_der(curve, &der).unwrap(), fixed);
            }
        }
    }

    #[test]
    fn der_is_minimal_and_its_numbers_positive() {
        let der = ecdsa_der_from_fixed(Curve::P256, &example(Curve::P256)).unwrap();
        assert_eq!(der[..5], [0x30, 0x26, 0x02, 0x21, 0x00], "a leading zero keeps r positive");
        assert_eq!(der[37..], [0x02, 0x01, 0x05], "s is one byte");
    }

    #[test]
    fn any_other_width_is_refused() {
        for curve in CURVES {
            for length in [0, 1, 2 * curve.coordinate_bytes() - 1, 2 * curve.coordinate_bytes() + 1] {
                let error = ecdsa_der_from_fixed(curve, &vec![1; length]).unwrap_err();
                assert!(matches!(error, SignatureEncodingError::Length { actual, .. } if actual == length), "{error}");
            }
        }
    }

    #[test]
    fn ber_is_refused() {
        let malformed: [(&str, &[u8]); 10] = [
            ("empty", &[]),
            ("long form of a short length", &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1]),
            ("indefinite length", &[0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0]),
            ("padded r", &[0x30, 7, 2, 2, 0, 1, 2, 1, 1]),
            ("negative s", &[0x30, 6, 2, 1, 1, 2, 1, 0xff]),
            ("no digits", &[0x30, 5, 2, 0, 2, 1, 1]),
            ("bytes behind", &[0x30, 6, 2, 1, 1, 2, 1, 1, 0]),
            ("a third number", &[0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1]),
            ("one number", &[0x30, 3, 2, 1, 1]),
            ("a SET", &[0x31, 6, 2, 1, 1, 2, 1, 1]),
        ];
        assert!(ecdsa_fixed_from_der(Curve::P256, &[0x30, 6, 2, 1, 1, 2, 1, 1]).is_ok());
        for (what, der) in malformed {
            let result = ecdsa_fixed_from_der(Curve::P256, der);
            assert!(matches!(result, Err(SignatureEncodingError::Der(_))), "{what}: {result:?}");
        }
    }

    #[test]
    fn a_number_of_a_larger_curve_does_not_fit() {
        let der = ecdsa_der_from_fixed(Curve::P384, &example(Curve::P384)).unwrap();
        let error = ecdsa_fixed_from_der(Curve::P256, &der).unwrap_err();
        assert!(matches!(error, SignatureEncodingError::TooLong { maximum: 32, actual: 48, .. }), "{error}");
    }
}
