//! The public half of cryptography.
//!
//! In scope: hashing, random bytes, public keys as SubjectPublicKeyInfo (DER and PEM), as JWK and as OpenSSH writes
//! them, the encodings of ECDSA signatures, the low-S form and recovery id of secp256k1, verification in software, requests
//! for certificates (PKCS #10) but for their signatures, whether a chain of certificates is one of a key, API keys as
//! they are written, callers' own signatures over their requests, and the JSON of tokens and key sets (JOSE), read strictly.
//! Out of scope: private keys (they live in tokens, behind `hsm`), the names and states of keys (`model`,
//! `core`), who asks and whether he may (`policy`), TLS, and who issued its certificates (`server`), message authentication codes
//! (their keys are secret, so only the token can make and check them).
//!
//! All inputs but API keys are public, so nothing here needs to run in constant time: API keys are checked where their
//! hashes are (`core`).
//!
//! Whose mathematics: aws-lc-rs for RSA, the NIST curves, Ed25519, ML-DSA and SHA-2; k256 for secp256k1; sha3 for
//! Keccak-256. How they are held to account: `tests/wycheproof` sends every signature set that applies through
//! [`PublicKey::verify`], the same function that the API's Verify and the check before release call;
//! `tests/cross_check.rs` does so with fresh signatures of other signers; `tests/formats` compares the formats of keys
//! with what other programs write.

mod algorithm_identifier;
mod api_key;
mod caller_evidence;
mod certificate;
mod ecdsa;
mod ed25519_point;
mod hash;
mod hex;
mod json;
mod jwk;
mod openssh;
mod public_key;
mod random;
mod secp256k1;
mod signing_request;
mod spki;
mod verify;

pub use api_key::{API_KEY_PREFIX, ApiKeyText, InvalidApiKey};
pub use caller_evidence::{
    CALLER_KEYS, CALLER_STATEMENT_FORMAT, CallerKey, CallerKeyError, CallerNonce, CallerRequest, CallerStatement,
};
pub use certificate::{
    CertificateChainError, CertificateNames, MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, certificate_names,
    certificate_spki, check_certificate_chain,
};
pub use ecdsa::{SignatureEncodingError, ecdsa_der_from_fixed, ecdsa_fixed_from_der};
pub use hash::{digest_info, hash, sha256, sha256_of};
pub use json::{InvalidJson, Json, JsonObject, WrongKind};
pub use jwk::{Jwk, JwkKey, jose_algorithm};
pub use public_key::PublicKey;
pub use random::{RandomError, new_uid, random_bytes};
pub use secp256k1::{Secp256k1Signature, secp256k1_finish};
pub use signing_request::{
    AlternativeName, SigningRequestError, is_in_x509, signing_request, signing_request_info, signing_request_pem,
};
pub use spki::{PublicKeyError, ec_spki, ed25519_spki, mldsa_spki, rsa_spki};
pub use verify::{SignedInput, VerifyError};
