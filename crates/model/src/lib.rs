//! The words of Chancery as types.
//!
//! In scope: names, algorithms, digests, signatures, states, callers, actions, times; each parsed once
//! and then known to be well-formed. Out of scope: I/O, async, serialisation formats, protobuf, SQL,
//! PKCS#11. A type here never learns how it is stored or sent.

mod action;
mod algorithm;
mod api_key;
mod caller;
mod digest;
mod hash;
mod key;
mod key_type;
mod life_cycle;
mod name;
mod rules;
mod time;
mod uid;

pub use action::{Action, ActionGroup, UnknownAction};
pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use api_key::{ApiKeyAccess, ApiKeyId, ApiKeyScope, InvalidApiKeyId, InvalidNetwork, Network, UnknownApiKeyAccess};
pub use caller::{
    ApiKeyProof, Authentication, Caller, CallerState, CertificateProof, Factor, Identity, InvalidIdentity, OidcProof,
    Role, UnknownCallerState, UnknownFactor, UnknownRole,
};
pub use digest::{Digest, InvalidDigest, Sha256Hash};
pub use hash::HashAlgorithm;
pub use key::{EcdsaEncoding, KeyState, UnknownKeyState};
pub use key_type::{Curve, KeyPurpose, KeyType, MlDsaParameterSet, SignatureScheme};
pub use life_cycle::{Step, Transition, VersionLife};
pub use name::{Id, InvalidName, KeyName, KeyVersionName, RingName};
pub use rules::{KeyRules, LimitKind, Usage, UsageLimits};
pub use time::Timestamp;
pub use uid::{InvalidUid, Uid};
