//! Public keys in the formats of others: what we write is, to the byte, what OpenSSL, OpenSSH, Node and the RFCs write.
//!
//! `vectors/` holds a key of each kind: `.pem` by OpenSSL within Node, `.pub` by ssh-keygen, `.jwk.json` by Node;
//! `vectors/make.mjs` made them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

mod jwk;
mod openssh;

use aws_lc_rs::signature::{
    KeyPair, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm,
};
use chancery_crypto::{PublicKey, mldsa_spki};
use chancery_model::{Algorithm, KeyType};
use spki::DecodePublicKey;

/// One key in the formats of other programs.
struct Vector {
    algorithm: Algorithm,
    pem: &'static str,
    jwk: &'static str,
    /// `None` where OpenSSH does not know the type.
    openssh: Option<&'static str>,
}

macro_rules! vector {
    ($algorithm:ident, $name:literal, $openssh:expr) => {
        Vector {
            algorithm: Algorithm::$algorithm,
            pem: include_str!(concat!("vectors/", $name, ".pem")),
            jwk: include_str!(concat!("vectors/", $name, ".jwk.json")),
            openssh: $openssh,
        }
    };
    ($algorithm:ident, $name:literal) => {
        vector!($algorithm, $name, Some(include_str!(concat!("vectors/", $name, ".pub"))))
    };
}

const VECTORS: [Vector; 6] = [
    vector!(RsaPkcs1_2048Sha256, "rsa_pkcs1_2048_sha256"),
    vector!(EcdsaP256Sha256, "ecdsa_p256_sha256"),
    vector!(EcdsaP384Sha384, "ecdsa_p384_sha384"),
    vector!(EcdsaP521Sha512, "ecdsa_p521_sha512"),
    vector!(EcdsaSecp256k1Sha256, "ecdsa_secp256k1_sha256", None),
    vector!(Ed25519, "ed25519"),
];

impl Vector {
    /// The key, for this or another algorithm of its type.
    fn key_for(&self, algorithm: Algorithm) -> PublicKey {
        let spki = spki::Document::from_public_key_pem(self.pem).unwrap();
        PublicKey::from_spki_der(algorithm, spki.as_bytes()).unwrap()
    }

    fn key(&self) -> PublicKey {
        self.key_for(self.algorithm)
    }
}

/// The ML-DSA key whose seed is 32 zero bytes, as in the examples of RFC 9964.
fn mldsa_of_zero_seed(algorithm: Algorithm) -> PublicKey {
    let signing: &'static PqdsaSigningAlgorithm = match algorithm {
        Algorithm::MlDsa44 => &ML_DSA_44_SIGNING,
        Algorithm::MlDsa65 => &ML_DSA_65_SIGNING,
        _ => &ML_DSA_87_SIGNING,
    };
    let KeyType::MlDsa(parameter_set) = algorithm.key_type() else { unreachable!("{algorithm} is no ML-DSA") };
    let pair = PqdsaKeyPair::from_seed(signing, &[0; 32]).unwrap();
    PublicKey::from_spki_der(algorithm, &mldsa_spki(parameter_set, pair.public_key().as_ref()).unwrap()).unwrap()
}

#[test]
fn pem_is_that_of_openssl() {
    for vector in VECTORS {
        assert_eq!(vector.key().to_pem(), vector.pem, "{}", vector.algorithm);
    }
}
