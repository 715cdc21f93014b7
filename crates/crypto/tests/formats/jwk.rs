//! JSON Web Keys, their thumbprints, and JOSE's names for algorithms.

use crate::{VECTORS, mldsa_of_zero_seed};
use base64ct::{Base64UrlUnpadded, Encoding};
use chancery_crypto::{Jwk, JwkKey, PublicKey, ed25519_spki, jose_algorithm, rsa_spki};
use chancery_model::{Algorithm, KeyPurpose};

fn base64(text: &str) -> Vec<u8> {
    Base64UrlUnpadded::decode_vec(text).unwrap()
}

/// RFC 7638, section 3.1, whose modulus this is.
const RFC_7638_MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_\
    BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs\
    8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls\
    1jF44-csFCur-kEgU8awapJzKnqDKgw";

#[test]
fn jwks_are_those_of_node() {
    for vector in VECTORS {
        let key = vector.key();
        assert_eq!(key.to_jwk().unwrap().to_json(), vector.jwk.trim_end(), "{}", vector.algorithm);
        let kid = key.kid().unwrap();
        assert!(vector.jwk.contains(&format!("\"kid\":\"{kid}\"")));
        assert_eq!(base64(kid), key.jwk_thumbprint().unwrap());
    }
}

/// A coordinate keeps its leading zeros (RFC 7518, section 6.2.1.2): the vector was drawn for its x.
#[test]
fn coordinates_are_as_long_as_the_curve_says() {
    let vector = VECTORS.into_iter().find(|vector| vector.algorithm == Algorithm::EcdsaP256Sha256).unwrap();
    let Some(Jwk { key: JwkKey::Ec { x, .. }, .. }) = vector.key().to_jwk() else { panic!("no EC key") };
    let x = base64(&x);
    assert_eq!((x.len(), x[0]), (32, 0));
}

#[test]
fn the_thumbprints_of_the_rfcs_hold() {
    let rsa = rsa_spki(&base64(RFC_7638_MODULUS), &base64("AQAB")).unwrap();
    // RFC 8037, appendix A.3.
    let ed25519 = ed25519_spki(&base64("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")).unwrap();
    for (algorithm, spki, thumbprint) in [
        (Algorithm::RsaPkcs1_2048Sha256, rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (Algorithm::Ed25519, ed25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ] {
        let key = PublicKey::from_spki_der(algorithm, &spki).unwrap();
        assert_eq!(key.kid(), Some(thumbprint), "{algorithm}");
    }
    // RFC 9964, appendix A.
    for (algorithm, thumbprint) in [
        (Algorithm::MlDsa44, "T4xl70S7MT6Zeq6r9V9fPJGVn76wfnXJ21-gyo0Gu6o"),
        (Algorithm::MlDsa65, "Suiu29qbfuaBaR4Ats-c6XQBePB_OpAxAwcTR_0KXVM"),
        (Algorithm::MlDsa87, "tRn1JNIkgMsABVQBlXeDHxAIcclh-2IX0UdDEzPt5XU"),
    ] {
        assert_eq!(mldsa_of_zero_seed(algorithm).kid(), Some(thumbprint), "{algorithm}");
    }
}

#[test]
fn an_mldsa_key_names_its_algorithm_once() {
    let jwk = mldsa_of_zero_seed(Algorithm::MlDsa44).to_jwk().unwrap();
    let JwkKey::Akp { public } = &jwk.key else { panic!("no AKP key: {jwk:?}") };
    // RFC 9964 shows the ends of this key.
    assert!(public.starts_with("unH59k4Ru") && public.ends_with("DZgbTP07e7gEWzw4MFRrndjbDQ"), "{public}");
    let kid = "T4xl70S7MT6Zeq6r9V9fPJGVn76wfnXJ21-gyo0Gu6o";
    let expected = format!(r#"{{"alg":"ML-DSA-44","kid":"{kid}","kty":"AKP","pub":"{public}","use":"sig"}}"#);
    assert_eq!(jwk.to_json(), expected);
    assert_eq!(jwk.kty(), "AKP");
}

/// The thumbprint names the key, whatever it is for: an RSA key has the same one under both paddings.
#[test]
fn the_algorithm_is_no_part_of_an_rsa_thumbprint() {
    let vector = &VECTORS[0];
    let (pkcs1, pss) = (vector.key(), vector.key_for(Algorithm::RsaPss2048Sha256));
    assert_eq!(pkcs1.kid(), pss.kid());
    assert_eq!((pkcs1.to_jwk().unwrap().alg, pss.to_jwk().unwrap().alg), ("RS256", "PS256"));
}

#[test]
fn secp256k1_with_keccak_has_no_jwk() {
    let vector = VECTORS.into_iter().find(|vector| vector.algorithm == Algorithm::EcdsaSecp256k1Sha256).unwrap();
    let key = vector.key_for(Algorithm::EcdsaSecp256k1Keccak256);
    assert_eq!((key.to_jwk(), key.jwk_thumbprint(), key.kid()), (None, None, None));
}

#[test]
fn the_name_is_worked_out_once_for_all_clones() {
    let key = VECTORS[0].key();
    let clone = key.clone();
    assert!(std::ptr::eq(key.kid().unwrap(), clone.kid().unwrap()));
}

/// The "JSON Web Signature and Encryption Algorithms" registry of IANA.
#[test]
fn names_are_those_of_iana() {
    let names: Vec<_> = Algorithm::ALL.into_iter().filter_map(|a| Some((a.as_str(), jose_algorithm(a)?))).collect();
    let expected = [
        ("RSA_PKCS1_2048_SHA256", "RS256"),
        ("RSA_PKCS1_3072_SHA256", "RS256"),
        ("RSA_PKCS1_4096_SHA256", "RS256"),
        ("RSA_PKCS1_4096_SHA512", "RS512"),
        ("RSA_PSS_2048_SHA256", "PS256"),
        ("RSA_PSS_3072_SHA256", "PS256"),
        ("RSA_PSS_4096_SHA256", "PS256"),
        ("RSA_PSS_4096_SHA512", "PS512"),
        ("ECDSA_P256_SHA256", "ES256"),
        ("ECDSA_P384_SHA384", "ES384"),
        ("ECDSA_P521_SHA512", "ES512"),
        ("ECDSA_SECP256K1_SHA256", "ES256K"),
        ("ED25519", "EdDSA"),
        ("ML_DSA_44", "ML-DSA-44"),
        ("ML_DSA_65", "ML-DSA-65"),
        ("ML_DSA_87", "ML-DSA-87"),
    ];
    assert_eq!(names, expected);
    let macs = Algorithm::ALL.into_iter().filter(|algorithm| algorithm.purpose() == KeyPurpose::Mac);
    assert!(macs.map(jose_algorithm).all(|name| name.is_none()));
}
