//! The words of Chancery as types.
//!
//! In scope: names, algorithms, digests, signatures, states, callers, actions, times; each parsed once
//! and then known to be well-formed. Out of scope: I/O, async, serialisation formats, protobuf, SQL,
//! PKCS#11. A type here never learns how it is stored or sent.

mod action;
mod algorithm;
mod api_key;
mod authentication;
mod caller;
mod digest;
mod hash;
mod identity;
mod key;
mod key_type;
mod life_cycle;
mod name;
mod ring;
mod rules;
mod text;
mod time;
mod token_object;
mod uid;

pub use action::{Action, ActionGroup, UnknownAction};
pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use api_key::{ApiKeyAccess, ApiKeyId, ApiKeyScope, InvalidApiKeyId, InvalidNetwork, Network, UnknownApiKeyAccess};
pub use authentication::{ApiKeyProof, Authentication, CertificateProof, Factor, OidcProof, UnknownFactor};
pub use caller::{Caller, CallerState, Role, UnknownCallerState, UnknownRole};
pub use digest::{Digest, InvalidDigest, Sha256Hash};
pub use hash::HashAlgorithm;
pub use identity::{Identity, InvalidIdentity};
pub use key::{EcdsaEncoding, KeyState, UnknownKeyState};
pub use key_type::{Curve, KeyPurpose, KeyType, MlDsaParameterSet, SignatureScheme};
pub use life_cycle::{Step, Transition, VersionLife};
pub use name::{Id, InvalidName, KeyName, KeyVersionName, RingName};
pub use ring::{RingState, UnknownRingState};
pub use rules::{CallerLimits, KeyRules, LimitKind, Pace, Rate, Usage, UsageLimits, UsageOf};
pub use text::misleads;
pub use time::Timestamp;
pub use token_object::{Adoption, InvalidTokenObjectId, TokenObjectId};
pub use uid::{InvalidUid, Uid};
