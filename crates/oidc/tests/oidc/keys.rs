//! Keys that sign tokens, and their public halves as JWK. Also used by `tests/oidc.rs` of the workspace.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these functions run inside tests, which stop at the first surprise"
)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use chancery_oidc::JwsAlgorithm;

/// base64url without padding (RFC 7515, section 2).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key pair for one algorithm.
#[derive(Debug)]
pub struct Signer {
    /// By which it signs.
    pub algorithm: JwsAlgorithm,
    /// How its tokens and key set name it.
    pub kid: String,
    pair: Pair,
}

impl Signer {
    /// A new one.
    #[must_use]
    pub fn new(algorithm: JwsAlgorithm, kid: &str) -> Self {
        let pair = match algorithm {
            JwsAlgorithm::Rs256 | JwsAlgorithm::Ps256 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
            JwsAlgorithm::Es256 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            JwsAlgorithm::Es384 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            JwsAlgorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
        };
        Self { algorithm, kid: kid.to_owned(), pair }
    }

    /// The members of the public key, without `kid`, `alg` and `use`.
    #[must_use]
    pub fn bare_jwk(&self) -> String {
        match &self.pair {
            Pair::Rsa(pair) => {
                // RSAPublicKey (RFC 8017, appendix A.1.1) of a 2048-bit key: its two numbers are where they always are.
                let der = pair.public_key().as_ref();
                assert!(der[4..9] == [2, 0x82, 1, 1, 0] && der[265..267] == [2, 3]);
                let (n, e) = (&der[9..265], &der[267..]);
                format!(r#""kty":"RSA","n":"{}","e":"{}""#, base64(n), base64(e))
            }
            Pair::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                format!(r#""kty":"EC","crv":"{crv}","x":"{}","y":"{}""#, base64(x), base64(y))
            }
            Pair::Ed25519(pair) => {
                format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, base64(pair.public_key().as_ref()))
            }
        }
    }

    /// The public key.
    #[must_use]
    pub fn jwk(&self) -> String {
        format!(r#"{{{},"kid":"{}","alg":"{}","use":"sig"}}"#, self.bare_jwk(), self.kid, self.algorithm)
    }

    /// The header of its tokens.
    #[must_use]
    pub fn header(&self) -> String {
        format!(r#"{{"alg":"{}","kid":"{}"}}"#, self.algorithm, self.kid)
    }

    /// A token.
    #[must_use]
    pub fn sign(&self, claims: &str) -> String {
        self.sign_with(&self.header(), claims)
    }

    /// A token with any header.
    #[must_use]
    pub fn sign_with(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &dyn aws_lc_rs::signature::RsaEncoding =
                    if self.algorithm == JwsAlgorithm::Ps256 { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(padding, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", base64(&signature))
    }
}

/// A key set.
#[must_use]
pub fn jwks(keys: &[&Signer]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.iter().map(|key| key.jwk()).collect::<Vec<_>>().join(","))
}
