//! Signed notes and verifier keys.

use crate::notaries::{Notary, key};
use base64ct::{Base64, Encoding};
use chancery_audit::note::{
    InvalidVerifierKey, KeyName, MAX_NOTE_BYTES, MAX_SIGNATURES, NoteError, SignatureKind, SignedNote, VerifierKey,
};
use chancery_crypto::{PublicKey, ec_spki, ed25519_spki};
use chancery_model::{Algorithm, Curve};

// C2SP signed-note, "Example", and golang.org/x/mod/sumdb/note, package documentation.
pub const NOTES: [(&str, &str); 2] = [
    (
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n",
    ),
    (
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n",
    ),
];

#[test]
fn the_published_notes_hold() {
    for (vkey, text) in NOTES {
        let key = key(vkey);
        let note = SignedNote::parse(text.as_bytes()).unwrap();
        assert_eq!(note.to_string(), text);
        assert_eq!(note.text(), &text[..text.find("\n\n").unwrap() + 1]);
        let keys = [key];
        let verified = note.verify(&keys).unwrap();
        assert_eq!(verified.len(), 1);
        assert_eq!((verified[0].key, verified[0].time), (&keys[0], None));
        // Another's key, and none.
        let others = NOTES.iter().map(|(vkey, _)| VerifierKey::parse(vkey).unwrap());
        let others: Vec<VerifierKey> = others.filter(|other| *other != keys[0]).collect();
        assert_eq!(note.verify(&others), Err(NoteError::NotTrusted));
        assert_eq!(note.verify(&[]), Err(NoteError::NotTrusted));
        // One that has another's name and id, as a key that was made to collide: it is asked, and its no is the note's end.
        let changed = text.replacen("is", "ıs", 1);
        let changed = SignedNote::parse(changed.as_bytes()).unwrap();
        assert_eq!(changed.verify(&keys), Err(NoteError::BadSignature { name: keys[0].name().clone() }));
    }
    // The text may have empty lines: C2SP signed-note, first example.
    let poem = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
    let note = SignedNote::parse(poem.as_bytes()).unwrap();
    assert!(note.text().ends_with(":\n\ned è subito sera.\n"));
    assert_eq!(note.to_string(), poem);
    assert_eq!((note.signatures()[0].key_id, note.signatures()[0].signature.len()), (0x367b_a04b, 64));
}

#[test]
fn the_published_verifier_keys_are_read() {
    // github.com/transparency-dev/formats v0.1.1, note/note_cosigv1_test.go. Base64 may have plus signs.
    let log = key("TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6");
    assert_eq!((log.name().as_str(), log.kind(), log.id()), ("TEST", SignatureKind::Ed25519, 0x7997_405c));
    let witness = key("remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2");
    assert_eq!((witness.kind(), witness.id()), (SignatureKind::Cosignature, 0xda77_ade7));
}

#[test]
fn verifier_keys_are_refused_for_every_change() {
    for (text, _) in NOTES {
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = String::from_utf8_lossy(&bytes);
            assert!(VerifierKey::parse(&changed).is_err(), "{changed}");
        }
        for end in 0..text.len() {
            assert!(VerifierKey::parse(&text[..end]).is_err(), "{end}");
            assert!(VerifierKey::parse(&text[end + 1..]).is_err(), "{end}");
        }
    }
    let refused = |text: &str| VerifierKey::parse(text).unwrap_err();
    let id = refused("example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k");
    assert!(matches!(id, InvalidVerifierKey::Id { expected: 0x530d_903a, actual: 0x530d_903b }), "{id}");
    // An id in capitals, padded; a key with a line feed, as from a file.
    assert!(matches!(
        refused("example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
        InvalidVerifierKey::Form
    ));
    assert!(matches!(
        refused("example.com/foo+0530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
        InvalidVerifierKey::Form
    ));
    assert!(matches!(
        refused("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n"),
        InvalidVerifierKey::Form
    ));
    assert!(matches!(refused("+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"), InvalidVerifierKey::Name));
    let long = format!("{}+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "a".repeat(256));
    assert!(matches!(refused(&long), InvalidVerifierKey::Name));
    assert!(matches!(refused(&format!("a+00000000+{}", "A".repeat(1 << 20))), InvalidVerifierKey::Form));
    // A witness of ML-DSA-44 (type 06), and a key of the identity element, for which anybody can sign.
    let mldsa = Base64::encode_string(&[6; 1_313]);
    assert!(matches!(refused(&format!("a+00000000+{mldsa}")), InvalidVerifierKey::Kind(6)));
    let mut identity = [0; 33];
    identity[..2].copy_from_slice(&[1, 1]);
    let identity = Base64::encode_string(&identity);
    assert!(matches!(refused(&format!("a+00000000+{identity}")), InvalidVerifierKey::Key(_)));
    let spki = ed25519_spki(&[0; 32]).unwrap();
    assert!(PublicKey::from_spki_der(Algorithm::Ed25519, &spki).is_err());
    for name in ["", "a b", "a+b", "a\nb", "a\tb", "a\u{2003}b", "a\u{0}b", &"a".repeat(256)] {
        assert!(KeyName::parse(name).is_err(), "{name:?}");
    }
    assert_eq!(KeyName::parse(&"a".repeat(255)).unwrap().as_str().len(), 255);
}

#[test]
fn a_key_that_the_store_pins_is_a_verifier_key() {
    let log = Notary::log("log.example/chancery", 1).key;
    let name = || KeyName::parse("log.example/chancery").unwrap();
    assert_eq!(VerifierKey::from_public_key(name(), SignatureKind::Ed25519, log.public()).unwrap(), log);
    let der = ec_spki(
        Curve::P256,
        &[
            // The base point (SEC 2, section 2.4.2).
            0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77,
            0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42,
            0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b,
            0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
        ],
    );
    let p256 = PublicKey::from_spki_der(Algorithm::EcdsaP256Sha256, &der.unwrap()).unwrap();
    let refused = VerifierKey::from_public_key(name(), SignatureKind::Ed25519, &p256).unwrap_err();
    assert!(matches!(refused, InvalidVerifierKey::Algorithm(Algorithm::EcdsaP256Sha256)), "{refused}");
}

#[test]
fn what_is_no_note_is_refused() {
    let line = "— a AAAAAAA=\n";
    assert!(SignedNote::parse(format!("text\n\n{line}").as_bytes()).is_ok());
    for (text, why) in [
        (String::new(), "nothing"),
        ("text\n".to_owned(), "no signature"),
        ("text\n\n".to_owned(), "no signature line"),
        ("text\n\n\n".to_owned(), "an empty signature line"),
        (format!("text\n{line}"), "no empty line"),
        (format!("\n\n{line}"), "no text"),
        (format!("\n{line}"), "no text and no line"),
        (format!("text\n\n{}", line.trim_end()), "no last newline"),
        (format!("text\n\n{line}\n"), "an empty line behind"),
        (format!("text\n\n{line}more\n"), "something else behind"),
        (format!("te\txt\n\n{line}"), "a tabulator"),
        (format!("text\r\n\r\n{line}"), "carriage returns"),
        (format!("te\0xt\n\n{line}"), "a zero byte"),
        ("text\n\n- a AAAAAAA=\n".to_owned(), "a hyphen"),
        ("text\n\n—a AAAAAAA=\n".to_owned(), "no space"),
        ("text\n\n—  AAAAAAA=\n".to_owned(), "no name"),
        ("text\n\n— a+b AAAAAAA=\n".to_owned(), "a plus in the name"),
        ("text\n\n— a b AAAAAAA=\n".to_owned(), "a space in the name"),
        ("text\n\n— a AAAAAAA\n".to_owned(), "no padding"),
        ("text\n\n— a AAAAAAB=\n".to_owned(), "bits that mean nothing"),
        ("text\n\n— a AAAAAA==\n".to_owned(), "no signature behind the id"),
        ("text\n\n— a AAAA\n".to_owned(), "half an id"),
        ("text\n\n— a \n".to_owned(), "an empty signature"),
        ("text\n\n— a AAAAAAA= \n".to_owned(), "a space behind"),
        ("text\n\n— a AA-_AAA=\n".to_owned(), "the other base64"),
    ] {
        assert!(SignedNote::parse(text.as_bytes()).is_err(), "{why}");
    }
    assert!(SignedNote::parse(b"te\xffxt\n\n\xe2\x80\x94 a AAAAAAA=\n").is_err());
    let signatures = |count| format!("text\n\n{}", line.repeat(count));
    assert_eq!(SignedNote::parse(signatures(MAX_SIGNATURES).as_bytes()).unwrap().signatures().len(), 64);
    let more = SignedNote::parse(signatures(MAX_SIGNATURES + 1).as_bytes());
    assert_eq!(more, Err(NoteError::TooManySignatures));
    let long = format!("{}\n\n{line}", "a".repeat(MAX_NOTE_BYTES));
    assert_eq!(SignedNote::parse(long.as_bytes()), Err(NoteError::TooLong(long.len())));
    for text in ["", "\n", "text", "te\0xt\n"] {
        assert!(SignedNote::unsigned(text.to_owned()).is_err(), "{text:?}");
    }
}
