//! Receipts of a small log, made here with a key in memory; every bit of one flipped; everything that is held against one.

use super::*;
use crate::codes::Decision;
use crate::details::SignedDetails;
use crate::hex::Hex;
use crate::leaf::{Body, Subject};
use crate::note::{KeyName, SignatureKind};
use crate::tree::{Appender, StoredTree, Tile};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use chancery_crypto::{ed25519_spki, sha256};
use chancery_model::{Action, Algorithm, EcdsaEncoding, Id, Timestamp, Uid};
use std::convert::Infallible;
use std::future::ready;

const MESSAGE: &[u8] = b"pay 5 to Ada";
const SIZE: u64 = 13;
const INDEX: u64 = 6;

struct Key {
    pair: Ed25519KeyPair,
    point: [u8; 32],
}

fn key(seed: u8) -> Key {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let point = pair.public_key().as_ref().try_into().unwrap();
    Key { pair, point }
}

fn verifier(key: &Key, name: &str) -> VerifierKey {
    VerifierKey::new(KeyName::parse(name).unwrap(), SignatureKind::Ed25519, key.point).unwrap()
}

/// The record of an intent to sign that was decided so, with these details.
fn record(decision: Decision, details: &Details) -> DisclosedRecord {
    record_of(Action::Sign, decision, details)
}

fn record_of(action: Action, decision: Decision, details: &Details) -> DisclosedRecord {
    let (salt, details) = ([9; 32], details.to_json());
    let leaf = Leaf {
        epoch: 4,
        time: Timestamp::from_unix_micros(1_767_225_600_123_456),
        instance: Id::parse("the instance", "chancery-1").unwrap(),
        body: Body::Intent(Subject {
            caller: Uid::from_bytes([1; 16]),
            resource: Uid::from_bytes([2; 16]),
            action: Some(action),
            decision,
            policy_set: [3; 32],
        }),
        commitment: commitment_to_details(&salt, &details),
    };
    let mut bytes = Vec::new();
    leaf.encode(&mut bytes);
    DisclosedRecord { leaf: bytes, salt, details }
}

fn details() -> Details {
    Details {
        caller: Some("checkout".to_owned()),
        action: Some("Sign".to_owned()),
        resource: Some("keyRings/payments/keys/k/versions/1".to_owned()),
        algorithm: Some(Algorithm::Ed25519.to_string()),
        signed: Some(SignedDetails { hash: "SHA-256".to_owned(), digest: Hex::from(sha256(MESSAGE)) }),
        spki_sha256: Some(Hex::from(sha256(&ed25519_spki(&key(2).point).unwrap()))),
        decision: Some(Decision::Allow),
        policy_set: Some(Hex::from([3; 32])),
        ..Details::default()
    }
}

fn receipt(record: DisclosedRecord) -> Receipt {
    let hashes: Vec<Sha256Hash> =
        (0..SIZE).map(|index| leaf_hash(if index == INDEX { &record.leaf } else { b"another" })).collect();
    let mut appender = Appender::new();
    hashes.iter().for_each(|hash| appender.append(*hash, |_, _| ()));
    let log = key(1);
    let verifier = verifier(&log, "log.example/a");
    let unsigned = SignedCheckpoint::unsigned(Checkpoint::new(verifier.name(), SIZE, appender.root()));
    let mut checkpoint = unsigned.unwrap();
    let signer = |message: Vec<u8>| ready(Ok::<_, Infallible>(log.pair.sign(&message).as_ref().try_into().unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(checkpoint.note_mut().sign(&verifier, signer)).unwrap();
    let mut tree = StoredTree::new(SIZE, |_: Tile| Ok::<_, Infallible>(hashes.clone()));
    let proof = tree.inclusion_proof(INDEX).unwrap();
    Receipt::new(record, INDEX, proof, checkpoint).unwrap()
}

fn good() -> Receipt {
    receipt(record(Decision::Allow, &details()))
}

fn log_keys() -> [VerifierKey; 1] {
    [verifier(&key(1), "log.example/a")]
}

#[test]
fn a_receipt_goes_through_text_and_proves_its_record() {
    let text = good().to_string();
    let read = Receipt::parse(text.as_bytes()).unwrap();
    assert_eq!((read.to_string(), read.index()), (text, INDEX));
    let proven = read.verify(&log_keys()).unwrap();
    assert_eq!((proven.index, proven.checkpoint.size()), (INDEX, SIZE));
    assert_eq!(proven.details.caller.as_deref(), Some("checkout"));
    assert!(!format!("{read:?} {proven:?}").contains("checkout"), "names stay out of logs");
}

#[test]
fn every_bit_of_a_receipt_counts() {
    let text = good().to_string().into_bytes();
    for bit in 0..text.len() * 8 {
        let mut changed = text.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let proven = Receipt::parse(&changed).and_then(|receipt| receipt.verify(&log_keys()));
        assert!(proven.is_err(), "bit {bit}");
    }
    for length in 0..text.len() {
        assert!(Receipt::parse(&text[..length]).and_then(|receipt| receipt.verify(&log_keys())).is_err(), "{length}");
    }
}

#[test]
fn each_part_has_an_error_of_its_own() {
    let said = |receipt: &Receipt| {
        let error = receipt.verify(&log_keys()).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    };
    let good = good();
    let mut changed = good.clone();
    changed.record.salt[0] ^= 1;
    assert!(said(&changed).contains("not those that its leaf commits to"));
    let mut changed = good.clone();
    changed.record.details.push(b' ');
    assert!(said(&changed).contains("not those that its leaf commits to"));
    let mut changed = good.clone();
    changed.record.leaf[60] ^= 1;
    assert!(said(&changed).contains("not shown to be in the log"));
    let mut changed = good.clone();
    changed.proof.index += 1;
    assert!(said(&changed).contains("not shown to be in the log"));
    let mut changed = good.clone();
    changed.proof.hashes[0][0] ^= 1;
    assert!(said(&changed).contains("not shown to be in the log"));
    let text = good.to_string().replace("\n13\n", "\n14\n");
    assert!(said(&Receipt::parse(text.as_bytes()).unwrap()).contains("checkpoint does not hold"));
    let other = verifier(&key(3), "log.example/a");
    assert!(matches!(good.verify(&[other]), Err(ReceiptError::Proof(TlogProofError::Checkpoint(_)))));
    let contradiction = Details { policy_set: Some(Hex::from([4; 32])), ..details() };
    assert!(said(&receipt(record(Decision::Allow, &contradiction))).contains("do not say the same of the policy set"));
    let contradiction = Details { action: Some("SignJwt".to_owned()), ..details() };
    assert!(said(&receipt(record(Decision::Allow, &contradiction))).contains("of the action"));
    // Details that say nothing of what the leaf says are no confirmation of it.
    for (silent, what) in [
        (Details { action: None, ..details() }, "of the action"),
        (Details { decision: None, ..details() }, "of the decision"),
        (Details { policy_set: None, ..details() }, "of the policy set"),
    ] {
        assert!(said(&receipt(record(Decision::Allow, &silent))).contains(what), "{what}");
    }
    for (extra, words) in [(vec![], "no extra data"), (vec![2; 40], "a version"), (vec![1; 34], "ends too early")] {
        let error = DisclosedRecord::decode(&extra).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let long = DisclosedRecord { details: vec![b' '; MAX_EXTRA_BYTES], ..good.record };
    assert!(matches!(long.encode(), Err(ReceiptError::Record(_))));
}

#[test]
fn what_somebody_has_is_held_against_the_record() {
    let proven = good().verify(&log_keys()).unwrap();
    let signer = key(2);
    let spki = ed25519_spki(&signer.point).unwrap();
    let signature = signer.pair.sign(MESSAGE);
    let signature = signature.as_ref();
    proven.check_digest(&sha256(MESSAGE)).unwrap();
    proven.check_message(MESSAGE).unwrap();
    let public = proven.public_key(&spki).unwrap();
    let check = |message: Option<&[u8]>, signature: &[u8]| {
        proven.check_signature(&public, message, signature, EcdsaEncoding::Der)
    };
    check(Some(MESSAGE), signature).unwrap();

    assert!(matches!(proven.check_message(b"pay 6 to Ada"), Err(Mismatch::Digest { .. })));
    assert!(matches!(proven.check_digest(&[0; 64]), Err(Mismatch::Digest { .. })));
    let other = ed25519_spki(&key(3).point).unwrap();
    assert!(matches!(proven.public_key(&other), Err(Mismatch::PublicKey { .. })));
    let mut altered = signature.to_vec();
    altered[40] ^= 1;
    assert!(matches!(check(Some(MESSAGE), &altered), Err(Mismatch::Signature)));
    assert!(matches!(check(Some(b"another"), signature), Err(Mismatch::Digest { .. })));
    assert!(matches!(check(None, signature), Err(Mismatch::NeedsMessage(Algorithm::Ed25519))));

    // Records that speak of no signature.
    let denied = Details { decision: Some(Decision::Deny), ..details() };
    let denied = receipt(record(Decision::Deny, &denied)).verify(&log_keys()).unwrap();
    assert!(matches!(denied.check_message(MESSAGE), Err(Mismatch::NotASignature { .. })));
    // By MacVerify whoever may ask has any message on the record, with whatever MAC.
    for action in Action::ALL {
        let of_it = Details { action: Some(action.to_string()), ..details() };
        let of_it = receipt(record_of(action, Decision::Allow, &of_it)).verify(&log_keys()).unwrap();
        let makes = ["Sign", "SignJwt", "CreateCertificateSigningRequest", "MacSign"].contains(&action.as_str());
        match of_it.check_message(MESSAGE) {
            Ok(()) => assert!(makes, "{action}"),
            Err(Mismatch::NotASignature { what, .. }) => assert!(!makes && what == format!("one to {action}")),
            Err(other) => panic!("{action}: {other}"),
        }
    }
    for silent in [Details { signed: None, ..details() }, Details { algorithm: Some("ROT13".to_owned()), ..details() }]
    {
        let silent = receipt(record(Decision::Allow, &silent)).verify(&log_keys()).unwrap();
        assert!(matches!(silent.check_message(MESSAGE), Err(Mismatch::NotSaid { .. })));
    }
    let keyless = Details { spki_sha256: None, ..details() };
    let keyless = receipt(record(Decision::Allow, &keyless)).verify(&log_keys()).unwrap();
    assert!(matches!(keyless.public_key(&spki), Err(Mismatch::NotSaid { .. })));
}

/// The receipt in docs/receipts.md was made by another program, from the specifications.
#[test]
fn the_receipt_in_the_documents_is_the_one_that_is_made_here() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/receipts.md"));
    let text = page.split_once("```text\nc2sp.org").unwrap().1.split_once("```\n").unwrap().0;
    let text = format!("c2sp.org{text}");
    assert_eq!(text, good().to_string());
    let key = page.split_once("under the log key `").unwrap().1.split_once('`').unwrap().0;
    let proven = Receipt::parse(text.as_bytes()).unwrap().verify(&[VerifierKey::parse(key).unwrap()]).unwrap();
    proven.check_message(MESSAGE).unwrap();
}
