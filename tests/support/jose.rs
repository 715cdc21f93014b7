//! JWS and JWK as a verifier reads them, by RFC 7515, 7517 and 7638 alone, with none of the service's code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions run inside tests, which stop at the first surprise"
)]

use aws_lc_rs::signature::{self as s, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use k256::ecdsa::signature::Verifier as _;
use serde_json::Value;

/// A compact JWS, taken apart and not yet believed.
#[derive(Debug)]
pub struct Jws<'a> {
    signing_input: &'a str,
    /// The header's text.
    pub header: String,
    /// The payload's text.
    pub payload: String,
    signature: Vec<u8>,
}

/// base64url without padding (RFC 7515, section 2).
#[must_use]
pub fn unbase64(text: &str) -> Vec<u8> {
    Base64UrlUnpadded::decode_vec(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    #[must_use]
    pub fn parse(token: &'a str) -> Self {
        let (signing_input, signature) = token.rsplit_once('.').expect("three parts");
        let (header, payload) = signing_input.split_once('.').expect("three parts");
        assert!(!payload.contains('.'), "three parts: {token}");
        let text = |part| String::from_utf8(unbase64(part)).unwrap();
        Self { signing_input, header: text(header), payload: text(payload), signature: unbase64(signature) }
    }

    /// What was signed: header and payload in base64url.
    #[must_use]
    pub const fn signing_input(&self) -> &str {
        self.signing_input
    }

    /// The claims.
    #[must_use]
    pub fn claims(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap()
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> Value {
        serde_json::from_str(&self.header).unwrap()
    }

    /// Whether the signature is this key's, by the key's algorithm: the header's is not asked, but must be the same.
    #[must_use]
    pub fn is_signed_by(&self, jwk: &Value) -> bool {
        assert_eq!(self.header()["alg"], jwk["alg"]);
        verifies(jwk, self.signing_input.as_bytes(), &self.signature)
    }
}

/// The RFC 7638 thumbprint of a JWK: SHA-256 of its required members, in the order of their names.
#[must_use]
pub fn thumbprint(jwk: &Value) -> String {
    let members: &[&str] = match jwk["kty"].as_str().unwrap() {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "AKP" => &["alg", "kty", "pub"],
        other => panic!("{other}"),
    };
    let members: Vec<String> = members.iter().map(|name| format!("\"{name}\":{}", jwk[*name])).collect();
    let text = format!("{{{}}}", members.join(","));
    Base64UrlUnpadded::encode_string(&crate::contract::sha256(text.as_bytes()))
}

fn verifies(jwk: &Value, message: &[u8], signature: &[u8]) -> bool {
    let member = |name: &str| unbase64(jwk[name].as_str().unwrap_or_else(|| panic!("no {name} in {jwk}")));
    let by = |algorithm: &'static dyn VerificationAlgorithm, key: Vec<u8>| {
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    };
    let rsa = |parameters: &s::RsaParameters| {
        RsaPublicKeyComponents { n: member("n"), e: member("e") }.verify(parameters, message, signature).is_ok()
    };
    let point = || [vec![4], member("x"), member("y")].concat();
    match (jwk["kty"].as_str().unwrap(), jwk["alg"].as_str().unwrap()) {
        ("RSA", "RS256") => rsa(&s::RSA_PKCS1_2048_8192_SHA256),
        ("RSA", "RS512") => rsa(&s::RSA_PKCS1_2048_8192_SHA512),
        ("RSA", "PS256") => rsa(&s::RSA_PSS_2048_8192_SHA256),
        ("RSA", "PS512") => rsa(&s::RSA_PSS_2048_8192_SHA512),
        ("EC", "ES256") => by(&s::ECDSA_P256_SHA256_FIXED, point()),
        ("EC", "ES384") => by(&s::ECDSA_P384_SHA384_FIXED, point()),
        ("EC", "ES512") => by(&s::ECDSA_P521_SHA512_FIXED, point()),
        ("EC", "ES256K") => {
            let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&point()).unwrap();
            k256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
        }
        ("OKP", "EdDSA") => by(&s::ED25519, member("x")),
        ("AKP", "ML-DSA-44") => by(&s::ML_DSA_44, member("pub")),
        ("AKP", "ML-DSA-65") => by(&s::ML_DSA_65, member("pub")),
        ("AKP", "ML-DSA-87") => by(&s::ML_DSA_87, member("pub")),
        other => panic!("{other:?}"),
    }
}
