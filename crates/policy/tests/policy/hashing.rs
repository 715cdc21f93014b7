//! The hash names exactly one set of rules.

use crate::cases::{document, parse};
use aws_lc_rs::digest::{SHA256, digest};
use chancery_model::Sha256Hash;
use chancery_policy::{Effect, PolicyDocument, PolicySet, SCHEMA_VERSION};

/// The hash as docs/policy.md specifies it, written down a second time.
fn expected(documents: &[PolicyDocument]) -> Sha256Hash {
    expected_under(SCHEMA_VERSION, BUILTIN, documents)
}

const BUILTIN: &str = include_str!("../../policies/builtin.cedar");
const BUILTIN_TO_2: &str = include_str!("../../policies/earlier/builtin-of-schemas-1-and-2.cedar");
const BUILTIN_OF_3: &str = include_str!("../../policies/earlier/builtin-of-schema-3.cedar");

fn expected_under(schema_version: u32, builtin: &str, documents: &[PolicyDocument]) -> Sha256Hash {
    let mut bytes = b"chancery policy set v1\n".to_vec();
    bytes.extend(schema_version.to_be_bytes());
    let put = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.bytes());
    };
    put(&mut bytes, "builtin.cedar");
    put(&mut bytes, builtin);
    bytes.extend((documents.len() as u64).to_be_bytes());
    for document in documents {
        put(&mut bytes, &document.name);
        put(&mut bytes, &document.text);
    }
    digest(&SHA256, &bytes).as_ref().try_into().unwrap()
}

#[test]
fn it_is_the_hash_of_the_canonical_form() {
    let shipped = [document("roles.cedar", include_str!("../../policies/roles.cedar"))];
    assert_eq!(PolicySet::shipped().hash(), expected(&shipped));
    assert_eq!(parse(vec![]).hash(), expected(&[]));
}

#[test]
fn a_hash_under_an_earlier_schema_is_known_again_and_no_other() {
    let (a, b) = (document("a.cedar", "// a"), document("a.cedar", "// b"));
    let set = parse(vec![a.clone()]);
    for earlier in 1..SCHEMA_VERSION {
        let builtin = match earlier {
            1 | 2 => BUILTIN_TO_2,
            3 => BUILTIN_OF_3,
            _ => BUILTIN,
        };
        assert!(set.had_hash(&expected_under(earlier, builtin, std::slice::from_ref(&a))), "{earlier}");
    }
    for other in [
        expected_under(1, BUILTIN_TO_2, &[b]),
        expected_under(1, BUILTIN, std::slice::from_ref(&a)),
        expected_under(3, BUILTIN_TO_2, std::slice::from_ref(&a)),
        expected_under(0, BUILTIN_TO_2, std::slice::from_ref(&a)),
        expected_under(SCHEMA_VERSION, BUILTIN, &[a]),
        [0; 32],
    ] {
        assert!(!set.had_hash(&other));
    }
}

#[test]
fn the_order_of_documents_does_not_matter_and_everything_else_does() {
    let (a, b) = (document("a.cedar", "// a"), document("b.cedar", "// b"));
    let both = parse(vec![b.clone(), a.clone()]);
    assert_eq!(both.hash(), parse(vec![a.clone(), b.clone()]).hash());
    assert_eq!(both.hash(), expected(&[a.clone(), b.clone()]));
    assert_eq!(both.documents(), [a.clone(), b.clone()]);
    assert_eq!(both.clone().hash(), both.hash());
    for other in [
        vec![a.clone()],
        vec![document("a.cedar", "// a"), document("c.cedar", "// b")],
        vec![document("a.cedar", "// a "), b.clone()],
        vec![document("a.cedar", "// b"), document("b.cedar", "// a")],
    ] {
        assert_ne!(both.hash(), parse(other.clone()).hash(), "{other:?}");
    }
}

#[test]
fn policies_are_listed_with_those_that_are_always_in_force() {
    let set = parse(vec![document(
        "own.cedar",
        "// first\n@id(\"mine\")\n@owner(\"ops\")\nforbid (principal, action, resource)\nunless { true };",
    )]);
    let policies = set.policies();
    let ids: Vec<&str> = policies.iter().map(|policy| policy.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "builtin-keys-stay-in-their-environment",
            "builtin-key-rings-stay-in-their-environment",
            "builtin-key-administrators-never-sign",
            "builtin-policy-administrators-never-sign",
            "builtin-caller-administrators-never-sign",
            "builtin-nobody-administers-their-own-registration",
            "mine",
        ]
    );
    assert!(policies[..6].iter().all(|p| p.document == "builtin.cedar" && p.effect == Effect::Forbid));
    let mine = &policies[6];
    assert_eq!((mine.document.as_str(), mine.effect, &mine.description), ("own.cedar", Effect::Forbid, &None));
    assert_eq!(mine.annotations["owner"], "ops");
    assert_eq!(mine.text, "@id(\"mine\")\n@owner(\"ops\")\nforbid (principal, action, resource)\nunless { true };");
    for policy in PolicySet::shipped().policies() {
        assert!(policy.description.is_some(), "{} says what it is for", policy.id);
    }
}
