//! The words of Chancery as types.
//!
//! In scope: names, algorithms, digests, signatures, states, callers, actions, times; each parsed once
//! and then known to be well-formed. Out of scope: I/O, async, serialisation formats, protobuf, SQL,
//! PKCS#11. A type here never learns how it is stored or sent.

mod action;
mod algorithm;
mod caller;
mod digest;
mod key;
mod name;
mod time;
mod uid;

pub use action::{Action, ActionGroup, UnknownAction};
pub use algorithm::{
    Algorithm, Curve, HashAlgorithm, KeyPurpose, KeyType, MlDsaParameterSet, SignatureScheme, UnknownAlgorithm,
};
pub use caller::{Authentication, Caller, Identity, InvalidIdentity, Role, UnknownRole};
pub use digest::{Digest, InvalidDigest, Sha256Hash};
pub use key::{EcdsaEncoding, KeyState, UnknownKeyState};
pub use name::{Id, InvalidName, KeyName, KeyVersionName, RingName};
pub use time::Timestamp;
pub use uid::{InvalidUid, Uid};
