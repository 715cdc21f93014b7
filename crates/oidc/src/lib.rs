//! Bearer tokens of OpenID Connect issuers (JWT, RFC 7519 and RFC 8725), such as Kubernetes gives its service accounts.
//!
//! In scope: an issuer's key set, from a file or over HTTPS, kept fresh; whether a token is one of a configured issuer, for
//! us, now, and whom it names. Out of scope: who is registered under that name, and what comes of it.
//!
//! [`Issuers::verify`] never waits: it decides with the keys that are there. [`Issuer::follow`] keeps them so; a token that
//! names a key which is not there wakes it.
//!
//! No error, and no log line, holds anything of a token.

mod algorithm;
mod fetch;
mod issuer;
mod jwks;
mod refused;
mod token;

pub use algorithm::{JwsAlgorithm, UnknownAlgorithm};
pub use chancery_https::{HttpsUrl, RequestError};
pub use fetch::FetchError;
pub use issuer::{Issuer, Issuers, KeySource, KeysState, Proof, RefreshError, RequiredClaim, Settings, check_key_file};
pub use jwks::JwksError;
pub use refused::Refused;
