//! OpenSSH's lines.

use crate::{VECTORS, mldsa_of_zero_seed};
use chancery_model::{Algorithm, KeyPurpose, KeyType};

#[test]
fn a_line_is_that_of_ssh_keygen() {
    for vector in VECTORS {
        assert_eq!(vector.key().to_openssh("").as_deref(), vector.openssh, "{}", vector.algorithm);
    }
}

#[test]
fn the_comment_ends_the_line_and_begins_no_other() {
    let vector = VECTORS.into_iter().find(|vector| vector.algorithm == Algorithm::Ed25519).unwrap();
    let bare = vector.openssh.unwrap().trim_end();
    for (comment, expected) in [
        ("keyRings/r/keys/k/versions/1", format!("{bare} keyRings/r/keys/k/versions/1\n")),
        ("two words", format!("{bare} two words\n")),
        ("a\nssh-ed25519 AAAA\r\0b\u{85}c", format!("{bare} a ssh-ed25519 AAAA  b c\n")),
        ("\n", format!("{bare}\n")),
    ] {
        assert_eq!(vector.key().to_openssh(comment), Some(expected));
    }
}

/// A key of each signature algorithm of which OpenSSH knows the type, and no other, has a line.
#[test]
fn only_types_that_openssh_knows_have_a_line() {
    let (mut lines, mut none) = (0, 0);
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.purpose() == KeyPurpose::Signature) {
        let key = match algorithm.key_type() {
            KeyType::MlDsa(_) => mldsa_of_zero_seed(algorithm),
            key_type => match VECTORS.into_iter().find(|vector| vector.algorithm.key_type() == key_type) {
                Some(vector) => vector.key_for(algorithm),
                // The vectors have RSA keys of one size; the size changes nothing here.
                None => continue,
            },
        };
        match key.to_openssh("") {
            Some(line) => {
                assert!(line.starts_with("ssh-") || line.starts_with("ecdsa-sha2-nistp"), "{line}");
                lines += 1;
            }
            None => none += 1,
        }
    }
    // RSA 2048 twice, three NIST curves, Ed25519; secp256k1 twice, ML-DSA three times.
    assert_eq!((lines, none), (6, 5));
}
