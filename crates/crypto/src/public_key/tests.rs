//! What is taken for a public key, and what is not.

use super::*;
use crate::{ec_spki, ed25519_spki, mldsa_spki, rsa_spki};
use chancery_model::{Curve, KeyPurpose};

/// The algorithms whose keys have a public half.
fn algorithms() -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.into_iter().filter(|algorithm| algorithm.purpose() == KeyPurpose::Signature)
}

/// Odd, of exactly this many bits. That it is no product of two primes is for nobody to see.
fn modulus(bits: usize) -> Vec<u8> {
    let mut modulus = vec![0xa5; bits.div_ceil(8)];
    modulus[0] = 1 << ((bits - 1) % 8);
    modulus
}

fn rsa(bits: usize, exponent: &[u8]) -> Vec<u8> {
    rsa_spki(&modulus(bits), exponent).unwrap()
}

/// The base point of the curve: SEC 2, section 2, and FIPS 186.
fn point(curve: Curve) -> Vec<u8> {
    hex::decode(match curve {
        Curve::P256 => {
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
             4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
        }
        Curve::P384 => {
            "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7\
             3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f"
        }
        Curve::P521 => {
            "0400c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8\
             de3348b3c1856a429bf97e7e31c2e5bd66011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e66\
             2c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650"
        }
        Curve::Secp256k1 => {
            "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
             483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
        }
    })
}

const EC: [Algorithm; 5] = [
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::EcdsaP521Sha512,
    Algorithm::EcdsaSecp256k1Sha256,
    Algorithm::EcdsaSecp256k1Keccak256,
];

fn ec(algorithm: Algorithm) -> Vec<u8> {
    let curve = algorithm.curve().unwrap();
    ec_spki(curve, &point(curve)).unwrap()
}

/// An SPKI that fits each algorithm.
fn fitting(algorithm: Algorithm) -> Vec<u8> {
    match algorithm.key_type() {
        KeyType::Rsa { modulus_bits } => rsa(modulus_bits as usize, &[1, 0, 1]),
        KeyType::Ec(_) => ec(algorithm),
        // RFC 8032, section 7.1, test 1.
        KeyType::Ed25519 => {
            let point = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
            ed25519_spki(&hex::decode(point)).unwrap()
        }
        KeyType::MlDsa(parameter_set) => {
            mldsa_spki(parameter_set, &vec![0x5a; parameter_set.public_key_bytes()]).unwrap()
        }
        KeyType::GenericSecret { .. } | KeyType::Aes { .. } => unreachable!("{algorithm} has no public keys"),
    }
}

#[test]
fn a_key_is_taken_for_its_own_type_and_no_other() {
    for key_of in algorithms() {
        let spki = fitting(key_of);
        for algorithm in algorithms() {
            let result = PublicKey::from_spki_der(algorithm, &spki);
            if algorithm.key_type() == key_of.key_type() {
                let key = result.unwrap();
                assert_eq!((key.algorithm(), key.spki_der()), (algorithm, spki.as_slice()));
                assert_eq!(key.spki_sha256(), sha256(&spki));
            } else {
                let refused = matches!(result, Err(PublicKeyError::WrongType(_) | PublicKeyError::ModulusSize { .. }));
                assert!(refused, "{key_of} as {algorithm}: {result:?}");
            }
        }
    }
}

#[test]
fn a_mac_key_has_no_public_half() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.purpose() == KeyPurpose::Mac) {
        for key_of in algorithms() {
            let result = PublicKey::from_spki_der(algorithm, &fitting(key_of));
            assert!(matches!(result, Err(PublicKeyError::NoPublicKey(of)) if of == algorithm), "{result:?}");
        }
    }
}

/// RFC 9881, section 2: the parameters must be absent.
#[test]
fn an_mldsa_key_has_no_parameters() {
    let spki = fitting(Algorithm::MlDsa44);
    assert_eq!(spki[..8], [0x30, 0x82, 0x05, 0x32, 0x30, 0x0b, 0x06, 0x09]);
    let (before, after) = spki.split_at(17);
    let mut with_null = [before, &[5, 0], after].concat();
    with_null[3] += 2;
    with_null[5] += 2;
    let result = PublicKey::from_spki_der(Algorithm::MlDsa44, &with_null);
    assert!(matches!(result, Err(PublicKeyError::NotCanonical)), "{result:?}");
}

#[test]
fn nothing_may_be_added_or_missing() {
    for algorithm in algorithms() {
        let spki = fitting(algorithm);
        let longer = [spki.as_slice(), &[0]].concat();
        assert!(PublicKey::from_spki_der(algorithm, &longer).is_err(), "{algorithm}");
        for length in 0..spki.len() {
            assert!(PublicKey::from_spki_der(algorithm, &spki[..length]).is_err(), "{algorithm} {length}");
        }
    }
}

#[test]
fn no_bit_of_an_ec_key_can_be_flipped() {
    for algorithm in EC {
        let spki = ec(algorithm);
        for bit in 0..8 * spki.len() {
            let mut flipped = spki.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // -P is the one other point with this x, and is far from P in its bits.
            assert!(PublicKey::from_spki_der(algorithm, &flipped).is_err(), "{algorithm}, bit {bit}");
        }
    }
}

#[test]
fn the_modulus_has_exactly_the_size() {
    let algorithm = Algorithm::RsaPkcs1_2048Sha256;
    for bits in [1024, 2040, 2047, 2049, 2056, 4096] {
        let error = PublicKey::from_spki_der(algorithm, &rsa(bits, &[1, 0, 1])).unwrap_err();
        assert!(matches!(error, PublicKeyError::ModulusSize { actual, .. } if actual == bits), "{error}");
    }
    let mut even = modulus(2048);
    even[255] = 0xa4;
    let even = rsa_spki(&even, &[1, 0, 1]).unwrap();
    assert!(matches!(PublicKey::from_spki_der(algorithm, &even), Err(PublicKeyError::Rejected { .. })));
}

#[test]
fn other_exponents_are_for_keys_from_elsewhere() {
    let algorithm = Algorithm::RsaPss2048Sha256;
    for exponent in [[0, 0, 3], [0, 1, 1], [1, 0, 3]] {
        let spki = rsa(2048, &exponent);
        assert!(matches!(PublicKey::from_spki_der(algorithm, &spki), Err(PublicKeyError::Exponent)));
        assert!(PublicKey::from_spki_der_any_exponent(algorithm, &spki).is_ok());
    }
    for exponent in [[0, 0, 1].as_slice(), &[1, 0, 0], &[1, 0, 0, 0, 0, 0, 1]] {
        let result = PublicKey::from_spki_der_any_exponent(algorithm, &rsa(2048, exponent));
        assert!(matches!(result, Err(PublicKeyError::Rejected { .. })), "{exponent:?}");
    }
}

#[test]
fn other_spellings_of_a_key_are_refused() {
    let spki = ec(Algorithm::EcdsaP256Sha256);
    let compressed = {
        // SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of the compressed point }
        let mut der = spki[..26].to_vec();
        der[1] = 0x39;
        der[24] = 0x22;
        der.push(0x03);
        der.extend_from_slice(&spki[27..59]);
        der
    };
    let hybrid = {
        let mut der = spki.clone();
        der[26] = 0x07;
        der
    };
    for (what, der) in [("compressed", compressed), ("hybrid", hybrid)] {
        let result = PublicKey::from_spki_der(Algorithm::EcdsaP256Sha256, &der);
        assert!(matches!(result, Err(PublicKeyError::PointEncoding { .. })), "{what}: {result:?}");
    }
    let long_length = [&[0x30, 0x81, 0x59], &spki[2..]].concat();
    let result = PublicKey::from_spki_der(Algorithm::EcdsaP256Sha256, &long_length);
    assert!(matches!(result, Err(PublicKeyError::Der(_))), "{result:?}");

    let wrapped_in_octets = {
        let mut der = [&spki[..26], &[0x04, 0x41], &spki[26..]].concat();
        der[1] += 2;
        der[24] += 2;
        der
    };
    let result = PublicKey::from_spki_der(Algorithm::EcdsaP256Sha256, &wrapped_in_octets);
    assert!(matches!(result, Err(PublicKeyError::NotCanonical)), "{result:?}");

    let without_null = {
        let spki = rsa(2048, &[1, 0, 1]);
        let (before, after) = spki.split_at(17);
        assert_eq!(after[..2], [5, 0], "the NULL");
        let mut der = [before, &after[2..]].concat();
        der[3] -= 2;
        der[5] -= 2;
        der
    };
    let result = PublicKey::from_spki_der(Algorithm::RsaPkcs1_2048Sha256, &without_null);
    assert!(matches!(result, Err(PublicKeyError::NotCanonical)), "{result:?}");
}

#[test]
fn an_ed25519_point_is_checked_when_the_key_is_loaded() {
    // y = 2 is on no point; y = 1 is the neutral element.
    for y in [2, 1] {
        let mut point = [0; 32];
        point[0] = y;
        let result = PublicKey::from_spki_der(Algorithm::Ed25519, &ed25519_spki(&point).unwrap());
        assert!(matches!(result, Err(PublicKeyError::NotOnCurve(_))), "{result:?}");
    }
}

#[test]
fn pem_is_that_of_rfc_8410() {
    // RFC 8410, section 10.1.
    let pem = "-----BEGIN PUBLIC KEY-----\n\
               MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
               -----END PUBLIC KEY-----\n";
    let point = hex::decode("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
    let key = PublicKey::from_spki_der(Algorithm::Ed25519, &ed25519_spki(&point).unwrap()).unwrap();
    assert_eq!(key.to_pem(), pem);
}

#[test]
fn debug_says_which_key_it_is_and_keys_compare_by_it() {
    let spki = ec(Algorithm::EcdsaP256Sha256);
    let key = PublicKey::from_spki_der(Algorithm::EcdsaP256Sha256, &spki).unwrap();
    let debug = format!("{key:?}");
    assert!(debug.contains("EcdsaP256Sha256") && debug.contains(&hex::encode(&sha256(&spki))), "{debug}");
    assert_eq!(key, PublicKey::from_spki_der(Algorithm::EcdsaP256Sha256, &spki).unwrap());
    assert_ne!(key, PublicKey::from_spki_der(Algorithm::Ed25519, &fitting(Algorithm::Ed25519)).unwrap());
}

#[test]
fn keys_are_shared_between_threads() {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<PublicKey>();
}
