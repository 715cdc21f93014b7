//! Proofs to keep; and that no bytes are read as anything but what they are.

use crate::growing::{grown, leaves};
use crate::notaries::{GO_CHECKPOINT, GO_LOG, GO_WITNESS, key};
use crate::note::NOTES;
use base64ct::{Base64, Encoding};
use chancery_audit::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use chancery_audit::note::{NoteError, SignedNote, VerifierKey};
use chancery_audit::tree::{ProofError, leaf_hash};
use chancery_audit::{MAX_EXTRA_BYTES, TlogProof, TlogProofError};
use proptest::prelude::*;

fn proof_of(index: u64, extra: &[u8]) -> TlogProof {
    let checkpoint = SignedCheckpoint::parse(GO_CHECKPOINT.as_bytes()).unwrap();
    let (_, tiles) = grown(&leaves(300));
    let hashes = tiles.tree(300).inclusion_proof(index).unwrap();
    TlogProof { extra: extra.to_vec(), index, hashes, checkpoint }
}

#[test]
fn a_proof_has_the_form_of_the_specification_and_holds() {
    let keys = [key(GO_LOG)];
    for (index, extra) in [(299_u64, b"leaf 299".as_slice()), (0, b"")] {
        let proof = proof_of(index, extra);
        let text = proof.to_string();
        let mut expected = vec!["c2sp.org/tlog-proof@v1".to_owned()];
        if !extra.is_empty() {
            expected.push(format!("extra {}", Base64::encode_string(extra)));
        }
        expected.push(format!("index {index}"));
        expected.extend(proof.hashes.iter().map(|hash| Base64::encode_string(hash)));
        expected.push(String::new());
        assert_eq!(text, expected.join("\n") + "\n" + GO_CHECKPOINT);
        assert_eq!(TlogProof::parse(text.as_bytes()).unwrap(), proof);

        let leaf = leaf_hash(format!("leaf {index}").as_bytes());
        assert_eq!(proof.verify(&leaf, &keys).unwrap().size(), 300);
        assert_eq!(proof.verify(&leaf_hash(b"leaf 7"), &keys), Err(ProofError::Root.into()));
        let untrusted = |error: CheckpointError| Err(TlogProofError::Checkpoint(error));
        assert_eq!(proof.verify(&leaf, &[]), untrusted(NoteError::NotTrusted.into()));
        let witness = [key(GO_WITNESS)];
        let origin = CheckpointError::Origin { origin: "log.example/chancery".to_owned() };
        assert_eq!(proof.verify(&leaf, &witness), untrusted(origin), "a witness does not speak for the log");
        let beyond = TlogProof { index: 300, ..proof };
        assert_eq!(beyond.verify(&leaf, &keys), Err(ProofError::Range { part: 300, size: 300 }.into()));
    }
}

#[test]
fn every_changed_bit_of_a_proof_is_refused() {
    // The leaf is in the extra data, as in a receipt, and the witness is required: so no byte is free.
    let proof = proof_of(299, b"leaf 299");
    let (log, witness) = ([key(GO_LOG)], [key(GO_WITNESS)]);
    let holds = |bytes: &[u8]| {
        let Ok(proof) = TlogProof::parse(bytes) else { return false };
        let log_says = proof.verify(&leaf_hash(&proof.extra), &log).is_ok();
        let witness_says = proof.checkpoint.cosignatures(&witness).is_ok_and(|found| found.len() == 1);
        assert_eq!(proof.to_string().as_bytes(), bytes);
        log_says && witness_says
    };
    let bytes = proof.to_string().into_bytes();
    assert!(holds(&bytes));
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!holds(&changed), "bit {} of byte {}", bit % 8, bit / 8);
        refused += 1;
    }
    for at in 0..bytes.len() {
        assert!(!holds(&bytes[..at]), "cut at {at}");
        assert!(!holds(&[&bytes[..at], &bytes[at + 1..]].concat()), "without byte {at}");
        refused += 2;
    }
    assert_eq!(refused, bytes.len() * 10);
}

#[test]
fn what_is_no_proof_is_refused() {
    let hash = Base64::encode_string(&[1; 32]);
    let proof = |head: &str| TlogProof::parse(format!("{head}\n{GO_CHECKPOINT}").as_bytes());
    let header = "c2sp.org/tlog-proof@v1\n";
    assert!(proof(&format!("{header}index 0\n")).is_ok());
    assert!(proof(&format!("{header}extra AAAA\nindex 7\n{hash}\n{hash}\n")).is_ok());
    assert!(proof(&format!("{header}index 0\n{}", format!("{hash}\n").repeat(64))).is_ok());
    for head in [
        String::new(),
        header.to_owned(),
        "c2sp.org/tlog-proof@v2\nindex 0\n".to_owned(),
        format!(" {header}index 0\n"),
        format!("{header}extra AAAA\n"),
        format!("{header}extra \nindex 0\n"),
        format!("{header}extra\nindex 0\n"),
        format!("{header}extra A\nindex 0\n"),
        format!("{header}extra AAAA\nextra AAAA\nindex 0\n"),
        format!("{header}index 0\nextra AAAA\n"),
        format!("{header}index 00\n"),
        format!("{header}index -1\n"),
        format!("{header}index \n"),
        format!("{header}index 18446744073709551616\n"),
        format!("{header}{hash}\nindex 0\n"),
        format!("{header}index 0\nAAAA\n"),
        format!("{header}index 0\n{hash} \n"),
        format!("{header}index 0\n{}", format!("{hash}\n").repeat(65)),
        format!("{header}index 0\n\n"),
        format!("{header}extra {}\nindex 0\n", Base64::encode_string(&vec![0; MAX_EXTRA_BYTES + 1])),
    ] {
        assert!(matches!(proof(&head), Err(TlogProofError::Form(_) | TlogProofError::Checkpoint(_))), "{head:.100}");
    }
    assert!(proof(&format!("{header}extra {}\nindex 0\n", Base64::encode_string(&vec![0; MAX_EXTRA_BYTES]))).is_ok());
    let long = vec![b'a'; 4 << 20];
    assert_eq!(TlogProof::parse(&long), Err(TlogProofError::TooLong(4 << 20)));
    assert!(TlogProof::parse(GO_CHECKPOINT.as_bytes()).is_err());
}

/// Any bytes; and valid ones with some bytes changed, put in or left out.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let proof = proof_of(7, b"leaf 7").to_string();
    let valid = prop::sample::select(vec![NOTES[0].1.to_owned(), GO_CHECKPOINT.to_owned(), GO_LOG.to_owned(), proof]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..3, any::<u8>()), 0..4);
    let edited = (valid, edits).prop_map(|(text, edits)| {
        let mut bytes = text.into_bytes();
        for (at, edit, byte) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), edited]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_is_read_is_written_again_byte_for_byte(bytes in input()) {
        if let Ok(note) = SignedNote::parse(&bytes) {
            prop_assert_eq!(note.to_string().into_bytes(), &*bytes);
        }
        if let Ok(checkpoint) = SignedCheckpoint::parse(&bytes) {
            prop_assert_eq!(checkpoint.to_string().into_bytes(), &*bytes);
        }
        if let Ok(proof) = TlogProof::parse(&bytes) {
            prop_assert_eq!(proof.to_string().into_bytes(), &*bytes);
        }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            if let Ok(key) = VerifierKey::parse(text) {
                prop_assert_eq!(key.to_string(), text);
            }
            if let Ok(checkpoint) = Checkpoint::parse(text) {
                prop_assert_eq!(checkpoint.to_string(), text);
            }
        }
    }
}
